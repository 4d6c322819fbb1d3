//! Filters that make any value one word of a language: what is in it cannot end the word.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, Error, ErrorKind, Value};

/// Makes the filters known: `sh`, `yaml`, `json`, `b64`.
pub(crate) fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("sh", |value: &Value| of(value).and_then(|text| sh(&text)));
    environment.add_filter("yaml", |value: &Value| of(value).map(|text| yaml(&text)));
    environment.add_filter("json", |value: &Value| of(value).map(|text| json(&text)));
    environment.add_filter("b64", |value: &Value| {
        of(value).map(|text| STANDARD.encode(text))
    });
}

/// The text of a value; what is not given has none, whatever a filter would make of it.
fn of(value: &Value) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    Ok(value.to_string())
}

/// One word of a POSIX shell.
pub(crate) fn sh(text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        let why = "no word of a shell holds a NUL";
        return Err(Error::new(ErrorKind::InvalidOperation, why));
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// One double-quoted scalar of YAML. JSON's quoting will not do: YAML has no surrogate pairs, and
/// takes some characters as they are in escapes only.
pub(crate) fn yaml(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for each in text.chars() {
        let code = u32::from(each);
        let written = match each {
            '"' | '\\' => write!(quoted, "\\{each}"),
            ' '..='~' => write!(quoted, "{each}"),
            '\u{0}'..='\u{ff}' => write!(quoted, "\\x{code:02x}"),
            '\u{100}'..='\u{ffff}' => write!(quoted, "\\u{code:04x}"),
            '\u{10000}'.. => write!(quoted, "\\U{code:08x}"),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    quoted.push('"');
    quoted
}

/// One string of JSON.
pub(crate) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a POSIX shell reads of its input as its first word, with the rest.
    fn first_word(mut input: &str) -> (String, &str) {
        let mut word = String::new();
        loop {
            if let Some(rest) = input.strip_prefix('\'') {
                let end = rest.find('\'').unwrap();
                word.push_str(&rest[..end]);
                input = &rest[end + 1..];
            } else if let Some(rest) = input.strip_prefix('\\') {
                let escaped = rest.chars().next().unwrap();
                word.push(escaped);
                input = &rest[escaped.len_utf8()..];
            } else {
                return (word, input);
            }
        }
    }

    #[test]
    fn a_real_shell_reads_back_what_was_quoted() {
        for text in ["", "a b", "'; reboot; '", "$(x) `y` \"z\" \\ \n '' é", "-n"] {
            let script = format!("printf %s {}", sh(text).unwrap());
            let output = std::process::Command::new("/bin/sh")
                .args(["-c", &script])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
        assert!(sh("a\0b").is_err());
    }

    proptest! {
        #[test]
        fn nothing_ends_the_word_of_a_shell(text in any::<String>(), more in "[^']*") {
            prop_assume!(!text.contains('\0'));
            let line = format!("{} {more}", sh(&text).unwrap());
            let (word, rest) = first_word(&line);
            prop_assert_eq!(word, text);
            prop_assert_eq!(rest, format!(" {}", more));
        }

        #[test]
        fn yaml_and_json_read_back_what_was_quoted(text in any::<String>()) {
            let quoted = yaml(&text);
            prop_assert!(quoted.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let document = format!("a: {quoted}\nb: 1\n");
            let read: serde_json::Value = serde_yaml::from_str(&document).unwrap();
            prop_assert_eq!(&read, &serde_json::json!({"a": text, "b": 1}));
            let read: String = serde_json::from_str(&json(&text)).unwrap();
            prop_assert_eq!(read, text);
        }
    }
}
