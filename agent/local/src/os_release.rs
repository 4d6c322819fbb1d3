//! `os-release(5)`: which system is installed.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Fact, Root};

/// The assignments of an os-release file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsRelease {
    fields: BTreeMap<String, String>,
}

/// A line of an os-release file that is no assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsReleaseError {
    /// The line, counted from one.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for OsReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for OsReleaseError {}

/// Reads `/etc/os-release`, else `/usr/lib/os-release`.
pub fn os_release(root: &Root) -> Fact<OsRelease> {
    for path in ["/etc/os-release", "/usr/lib/os-release"] {
        match root.text(path) {
            Fact::Known(text) => {
                return match OsRelease::parse(&text) {
                    Ok(release) => Fact::Known(release),
                    Err(error) => Fact::NotRead(format!("{path}: {error}")),
                };
            }
            Fact::NotOffered => {}
            Fact::NotRead(reason) => return Fact::NotRead(reason),
        }
    }
    Fact::NotOffered
}

impl OsRelease {
    /// Parses the file's text: shell-like assignments, single or double
    /// quotes, backslash escapes; the last assignment of a name counts.
    pub fn parse(text: &str) -> Result<Self, OsReleaseError> {
        let mut fields = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |reason| OsReleaseError {
                line: index + 1,
                reason,
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or_else(|| wrong("no assignment"))?;
            let named = name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if name.is_empty() || !named {
                return Err(wrong("not a variable name"));
            }
            fields.insert(name.to_owned(), unquote(value).map_err(wrong)?);
        }
        Ok(Self { fields })
    }

    /// One assignment by name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// `ID`, which the specification defaults to `linux`.
    pub fn id(&self) -> &str {
        self.get("ID").unwrap_or("linux")
    }

    /// `VERSION_ID`.
    pub fn version_id(&self) -> Option<&str> {
        self.get("VERSION_ID")
    }

    /// `PRETTY_NAME`, which the specification defaults to `Linux`.
    pub fn pretty_name(&self) -> &str {
        self.get("PRETTY_NAME").unwrap_or("Linux")
    }

    /// `IMAGE_ID`.
    pub fn image_id(&self) -> Option<&str> {
        self.get("IMAGE_ID")
    }

    /// `IMAGE_VERSION`.
    pub fn image_version(&self) -> Option<&str> {
        self.get("IMAGE_VERSION")
    }
}

fn unquote(value: &str) -> Result<String, &'static str> {
    let mut plain = String::with_capacity(value.len());
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            // In double quotes a backslash only escapes what the shell would
            // otherwise act on; before anything else it stands for itself.
            (Some('"'), '\\') => match chars.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => plain.push(escaped),
                Some(other) => plain.extend(['\\', other]),
                None => return Err("quote not closed"),
            },
            (None, '\\') => match chars.next() {
                Some(escaped) => plain.push(escaped),
                None => return Err("nothing after the backslash"),
            },
            (None, _) if c.is_whitespace() => return Err("space outside quotes"),
            (_, _) => plain.push(c),
        }
    }
    match quote {
        None => Ok(plain),
        Some(_) => Err("quote not closed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<String, String> {
        OsRelease::parse(&format!("V={text}"))
            .map(|release| release.get("V").unwrap().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn quoting() {
        assert_eq!(value("plain"), Ok("plain".into()));
        assert_eq!(value(""), Ok(String::new()));
        assert_eq!(value(r#""two words""#), Ok("two words".into()));
        assert_eq!(value("'single $x \\'"), Ok("single $x \\".into()));
        assert_eq!(
            value(r#""a \"b\" \\ \$c \`d\` \n""#),
            Ok(r#"a "b" \ $c `d` \n"#.into())
        );
        assert_eq!(value(r#"a"b c"'d'e"#), Ok("ab cde".into()));
        assert_eq!(value(r"a\ b"), Ok("a b".into()));
        assert_eq!(value("with=sign"), Ok("with=sign".into()));
    }

    #[test]
    fn mistakes_name_the_line() {
        assert_eq!(value(r#""open"#), Err("line 1: quote not closed".into()));
        assert_eq!(
            value("two words"),
            Err("line 1: space outside quotes".into())
        );
        let error = OsRelease::parse("# comment\n\nA=1\nnonsense").unwrap_err();
        assert_eq!(error.to_string(), "line 4: no assignment");
        let error = OsRelease::parse("A B=1").unwrap_err();
        assert_eq!(error.reason, "not a variable name");
    }

    #[test]
    fn defaults_and_last_assignment() {
        let empty = OsRelease::parse("").unwrap();
        assert_eq!((empty.id(), empty.pretty_name()), ("linux", "Linux"));
        assert_eq!(empty.version_id(), None);
        let twice = OsRelease::parse("ID=a\nID=b\n").unwrap();
        assert_eq!(twice.id(), "b");
    }
}
