//! What a BMC says, without what nobody else may see.
//!
//! Some BMCs quote in an error what was just sent to them: the password, the
//! session's token, an image URL that is a capability. All of their words come
//! through here before they stand in an error, a log or a report, and before
//! anything is cut short: half a password is one too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::target::Credentials;

/// A user name shorter than this stands in too many words to be taken out of them.
const SHORTEST_USER: usize = 3;
/// Parts of an image URL that are as long as this may be a capability.
const SHORTEST_PART: usize = 8;

/// The words that must not be seen, each with what stands in its place.
#[derive(Clone)]
pub(crate) struct Scrub {
    words: Vec<(String, &'static str)>,
}

impl Scrub {
    /// For everything that a BMC says to the owner of this account.
    pub(crate) fn of(credentials: &Credentials) -> Self {
        let Credentials { username, password } = credentials;
        let mut scrub = Self { words: Vec::new() };
        scrub.hide(
            &STANDARD.encode(format!("{username}:{password}")),
            "[credentials]",
        );
        scrub.hide(password, "[password]");
        if username.len() >= SHORTEST_USER {
            scrub.hide(username, "[user]");
        }
        scrub
    }

    /// For words that only URLs have to be taken out of.
    pub(crate) fn nothing() -> Self {
        Self { words: Vec::new() }
    }

    /// Hides a session's token as well.
    pub(crate) fn hide_token(&mut self, token: &str) {
        self.words.retain(|(_, stand_in)| *stand_in != "[token]");
        self.hide(token, "[token]");
    }

    /// Hides also an image URL and every longer part of it.
    pub(crate) fn and_image(&self, url: &str) -> Self {
        let mut scrub = self.clone();
        let parts = url.split(['/', '?', '&', '=']);
        for part in parts.filter(|part| part.len() >= SHORTEST_PART) {
            scrub.hide(part, "[image]");
        }
        scrub.hide(url, "[image]");
        scrub
    }

    /// Keeps the longest word first: what holds another one goes as a whole.
    fn hide(&mut self, word: &str, stand_in: &'static str) {
        let quoted = serde_json::Value::from(word).to_string();
        for form in [word, quoted.trim_matches('"')] {
            if !form.is_empty() && !self.words.iter().any(|(known, _)| known == form) {
                self.words.push((form.to_owned(), stand_in));
            }
        }
        self.words
            .sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
    }

    /// The text without them, and without any URL: it may be another image's. A password may look
    /// like the beginning of a URL, so words go first.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut cleaned = text.to_owned();
        for (word, stand_in) in &self.words {
            cleaned = cleaned.replace(word.as_str(), stand_in);
        }
        without_urls(&cleaned)
    }
}

fn without_urls(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>');
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let scheme = rest[..at]
            .rfind(|c: char| !c.is_ascii_alphanumeric())
            .map_or(0, |before| {
                before + rest[before..].chars().next().map_or(1, char::len_utf8)
            });
        cleaned.push_str(&rest[..scheme]);
        cleaned.push_str("[URL]");
        let address = &rest[at..];
        rest = &address[address.find(is_end).unwrap_or(address.len())..];
    }
    cleaned.push_str(rest);
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub() -> Scrub {
        Scrub::of(&Credentials {
            username: "root".to_owned(),
            password: r#"hun"ter2"#.to_owned(),
        })
    }

    #[test]
    fn credentials_go_in_every_form_they_come_in() {
        let mut scrub = scrub();
        scrub.hide_token("tok-1");
        scrub.hide_token("tok-2");
        for (said, shown) in [
            (
                r#"'hun"ter2' of root is too short"#,
                "'[password]' of [user] is too short",
            ),
            (
                r#"{"Password": "hun\"ter2"}"#,
                r#"{"Password": "[password]"}"#,
            ),
            ("Basic cm9vdDpodW4idGVyMg==", "Basic [credentials]"),
            ("tok-2 expired, not tok-1", "[token] expired, not tok-1"),
        ] {
            assert_eq!(scrub.clean(said), shown);
        }
    }

    #[test]
    fn urls_go_whosever_they_are_and_the_parts_of_ours() {
        let url = "http://192.0.2.1:8080/i/0123456789abcdef/card.iso";
        let scrub = scrub().and_image(url);
        for (said, shown) in [
            (
                "no route to http://192.0.2.1/i/x/a.iso now",
                "no route to [URL] now",
            ),
            ("é\u{2014}nfs://x/y<b>", "é\u{2014}[URL]<b>"),
            ("://", "[URL]"),
            ("GET /i/0123456789abcdef/ failed", "GET /i/[image]/ failed"),
            ("nothing to hide", "nothing to hide"),
        ] {
            assert_eq!(scrub.clean(said), shown);
        }
    }

    #[test]
    fn a_password_that_looks_like_a_url_goes_as_a_whole() {
        let scrub = Scrub::of(&Credentials {
            username: "root".to_owned(),
            password: "ab://c<d".to_owned(),
        });
        for (said, shown) in [
            ("ab://c<d is too short", "[password] is too short"),
            ("http://root:ab://c<d@192.0.2.1/i now", "[URL] now"),
        ] {
            assert_eq!(scrub.clean(said), shown);
        }
    }

    #[test]
    fn a_short_user_and_an_empty_password_hide_nothing() {
        let scrub = Scrub::of(&Credentials {
            username: "a".to_owned(),
            password: String::new(),
        });
        assert_eq!(scrub.clean("a bad day"), "a bad day");
    }
}
