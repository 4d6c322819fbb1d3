//! Whether two texts name one version. Vendors decorate: `BF-24.10-10` in the inventory is the
//! `24.10-10` of the release, `MEV-2.0.0.11126` and `2.0.0.11126` are one.

/// Whether two texts name one version: the same numbers and words in the same order, whatever
/// separates them, without a note in brackets at the end and without a PSID. A prefix of letters
/// may stand before one of them; two that differ make two versions.
pub fn same_version(one: &str, other: &str) -> bool {
    let (one, other) = (Parts::of(one), Parts::of(other));
    let prefixes = one.prefix.ends_with(&other.prefix) || other.prefix.ends_with(&one.prefix);
    prefixes && !one.words.is_empty() && one.words == other.words
}

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    /// Words of letters before the first number.
    prefix: Vec<String>,
    /// Everything from the first number on.
    words: Vec<String>,
}

impl Parts {
    fn of(text: &str) -> Self {
        let text = text.trim().to_ascii_lowercase();
        let text = without_note(&text);
        let mut words = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty() && !is_psid(word))
            .flat_map(|word| word.split('_').filter(|word| !word.is_empty()))
            .map(plain)
            .collect::<Vec<_>>();
        let start = words
            .iter()
            .position(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            .unwrap_or(words.len());
        let rest = words.split_off(start);
        Self {
            prefix: words,
            words: rest,
        }
    }
}

/// A number without zeros before it, and a `v` before a number left out.
fn plain(word: &str) -> String {
    let numbered = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let word = match word.strip_prefix('v') {
        Some(rest) if numbered(rest) => rest,
        Some(_) | None => word,
    };
    let trimmed = word.trim_start_matches('0');
    if numbered(word) && !numbered(trimmed) {
        return format!("0{trimmed}");
    }
    trimmed.to_owned()
}

/// `24.43.1014 (MT_0000000884)` without what stands in the brackets at its end.
fn without_note(text: &str) -> &str {
    let Some(inner) = text.strip_suffix(')') else {
        return text;
    };
    match inner.rfind('(') {
        Some(open) if open > 0 => text[..open].trim_end(),
        Some(_) | None => text,
    }
}

/// The name of a board's configuration, beside an NVIDIA NIC's version: `MT_0000000884`.
fn is_psid(word: &str) -> bool {
    let digits = word.strip_prefix("mt_").unwrap_or_default();
    digits.len() == 10 && digits.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_version_is_told_in_many_forms() {
        for (one, other) in [
            ("24.10-10", "BF-24.10-10"),
            ("bf-24.10-10 ", "OEM-BF-24.10-10(rel)"),
            ("2.0.0.11126", "MEV-2.0.0.11126"),
            ("24.43.1014", "24.43.1014 (MT_0000000884)"),
            ("24.43.1014", "24.43.1014 MT_0000000884"),
            ("v4.9.0", "4.9.0"),
            ("02.04.07", "2.4.7"),
            ("2.9.0_release", "2.9.0-release"),
            ("1.0.0", "1.0.00"),
        ] {
            assert!(same_version(one, other), "{one} {other}");
            assert!(same_version(other, one), "{other} {one}");
        }
    }

    #[test]
    fn other_versions_stay_others() {
        for (one, other) in [
            ("24.10-10", "24.10-1"),
            ("24.10-10", "24.10"),
            ("24.10-10", "24.10-10-dirty"),
            ("BF-24.10-10", "MEV-24.10-10"),
            ("24.1010", "24.10-10"),
            ("24.43.1014 (MT_0000000884)", "24.43.1015 (MT_0000000884)"),
            ("1.10", "11.0"),
            ("", ""),
            ("latest", "latest"),
            ("(1.0)", "1.1"),
        ] {
            assert!(!same_version(one, other), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_and_order_does_not_matter(one in ".{0,40}", other in ".{0,40}") {
            prop_assert_eq!(same_version(&one, &other), same_version(&other, &one));
        }

        #[test]
        fn decoration_never_makes_two_numbers_one(
            left in proptest::collection::vec(0_u32..100, 2..5),
            right in proptest::collection::vec(0_u32..100, 2..5),
            prefix in "[A-Z]{1,5}",
        ) {
            let shown = |numbers: &[u32]| {
                numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
            };
            let told = format!("{prefix}-{}(rel)", shown(&right));
            prop_assert_eq!(same_version(&shown(&left), &told), left == right);
        }
    }
}
