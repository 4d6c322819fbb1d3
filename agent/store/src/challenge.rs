//! What a server wants to see before it answers: `WWW-Authenticate`, RFC 9110 section 11.6.1.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One scheme that a server takes, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// All that stand in the headers, in order. What makes no sense is left out.
    pub(crate) fn all(headers: &HeaderMap) -> Vec<Self> {
        headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(read)
            .collect()
    }

    pub(crate) fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let mut all = self.parameters.iter();
        all.find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Commas stand between parameters and between challenges alike: a word with `=` after it is a
/// parameter of the challenge before it, another word begins a challenge.
fn read(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let end = rest.find([',', ' ', '\t', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if let Some(value) = after.strip_prefix('=') {
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => unquote(quoted),
                None => bare(value),
            };
            if let Some(challenge) = found.last_mut() {
                challenge.parameters.push((word.to_owned(), value));
            }
            rest = after;
        } else if word.is_empty() {
            return found;
        } else {
            found.push(Challenge {
                scheme: word.to_owned(),
                parameters: Vec::new(),
            });
            rest = after;
        }
    }
}

fn bare(text: &str) -> (String, &str) {
    let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    (value.to_owned(), rest)
}

/// Up to the closing quote; a backslash takes the next character as it is.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, next)| next)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_are_told_apart() {
        let text = r#"Basic realm="a, \"b\"", Bearer realm="https://auth.test/token",service=reg, scope="repository:os:pull,push", Negotiate"#;
        let found = read(text);
        let schemes: Vec<_> = found.iter().map(|each| each.scheme.as_str()).collect();
        assert_eq!(schemes, ["Basic", "Bearer", "Negotiate"]);
        assert_eq!(found[0].parameter("realm"), Some(r#"a, "b""#));
        assert_eq!(found[1].parameter("Realm"), Some("https://auth.test/token"));
        assert_eq!(found[1].parameter("service"), Some("reg"));
        assert_eq!(found[1].parameter("scope"), Some("repository:os:pull,push"));
        assert!(found[1].is("bearer") && found[2].parameter("realm").is_none());
    }

    proptest! {
        #[test]
        fn anything_can_be_read(text in r#"[ -~é\t]{0,80}"#) {
            for challenge in read(&text) {
                prop_assert!(!challenge.scheme.is_empty());
            }
        }
    }
}
