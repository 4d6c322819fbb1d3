//! SPDX licence expressions.

/// Whether the licences that `allowed` holds for are enough to use something under `expression`.
/// What is no expression allows nothing.
pub(super) fn allows(expression: &str, allowed: impl Fn(&str) -> bool) -> bool {
    // `/` is how older crates write OR.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let verdict = any(&mut words, &allowed);
    verdict == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &impl Fn(&str) -> bool) -> Option<bool> {
    let mut verdict = all(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        verdict |= all(words, allowed)?;
    }
    Some(verdict)
}

fn all(words: &mut Words<'_>, allowed: &impl Fn(&str) -> bool) -> Option<bool> {
    let mut verdict = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        verdict &= one(words, allowed)?;
    }
    Some(verdict)
}

fn one(words: &mut Words<'_>, allowed: &impl Fn(&str) -> bool) -> Option<bool> {
    match words.next()? {
        "(" => {
            let verdict = any(words, allowed)?;
            words.next_if_eq(&")").map(|_| verdict)
        }
        ")" | "AND" | "OR" | "WITH" => None,
        licence => Some(match words.next_if_eq(&"WITH") {
            Some(_) => allowed(&format!("{licence} WITH {}", words.next()?)),
            None => allowed(licence),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn expressions_mean_what_spdx_says() {
        let mit = |one: &str| one == "MIT" || one == "Apache-2.0 WITH LLVM-exception";
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("MIT/GPL-3.0-only", true),
            ("MIT AND GPL-3.0-only", false),
            ("GPL-3.0-only AND ISC OR MIT", true),
            ("GPL-3.0-only AND (ISC OR MIT)", false),
            ("(MIT OR ISC) AND MIT", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
        ] {
            assert_eq!(allows(expression, mit), expected, "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_allows_nothing() {
        for text in [
            "", "MIT MIT", "(MIT", "MIT)", "MIT OR", "OR MIT", "MIT WITH",
        ] {
            assert!(!allows(text, |_| true), "{text:?}");
        }
    }
}
