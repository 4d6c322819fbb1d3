//! Accounts of image servers, each for the host that it was given for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::Deserialize;
use url::Url;

use crate::source::host_and_port;

/// A user name and its password.
#[derive(Clone, PartialEq, Eq)]
struct Account {
    username: String,
    password: String,
}

/// Accounts by host, and within a host by the beginning of the path. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Accounts(Arc<[Entry]>);

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    /// As in URLs: without the port 443.
    host: String,
    /// Empty, or a repository with what lies below it.
    path: String,
    account: Account,
}

/// What is given as accounts is none. Says nothing of what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountsError {
    /// The text is no docker configuration.
    #[error(
        "it is no JSON of the form {{\"auths\": {{HOST: {{\"username\": …, \"password\": …}}}}}}"
    )]
    Unreadable,
    /// A key of `auths`, or the host of the one account, is none.
    #[error("what should be a host with or without a port is none")]
    NoHost,
    /// No user name and password, such as in an entry with a token only.
    #[error("the entry of {host} has no user name and password")]
    NoAccount {
        /// Whose entry it is.
        host: String,
    },
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
}

impl Accounts {
    /// One account, for one host with or without a port.
    pub fn one(host: &str, username: &str, password: &str) -> Result<Self, AccountsError> {
        let (host, path) = scope(host)
            .filter(|(_, path)| path.is_empty())
            .ok_or(AccountsError::NoHost)?;
        let account = Account {
            username: username.to_owned(),
            password: password.to_owned(),
        };
        if !account.is_usable() {
            return Err(AccountsError::NoAccount { host });
        }
        let entry = Entry {
            host,
            path,
            account,
        };
        Ok(Self([entry].into()))
    }

    /// The accounts of a `.dockerconfigjson`.
    pub fn from_docker_config(json: &[u8]) -> Result<Self, AccountsError> {
        let config: DockerConfig =
            serde_json::from_slice(json).map_err(|_| AccountsError::Unreadable)?;
        let mut entries = Vec::new();
        for (key, auth) in config.auths {
            let (host, path) = scope(&key).ok_or(AccountsError::NoHost)?;
            let account = auth
                .account()
                .filter(Account::is_usable)
                .ok_or_else(|| AccountsError::NoAccount { host: host.clone() })?;
            entries.push(Entry {
                host,
                path,
                account,
            });
        }
        // The narrowest first.
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.path.len()));
        Ok(Self(entries.into()))
    }

    /// The account for what lies under `path` at the server of `url`, as a header. None over
    /// anything but https, where whoever listens could read it.
    pub(crate) fn header(&self, url: &Url, path: &str) -> Option<HeaderValue> {
        if url.scheme() != "https" {
            return None;
        }
        let host = host_and_port(url);
        let covers = |entry: &&Entry| {
            let below = path.strip_prefix(&entry.path);
            entry.host == host
                && below.is_some_and(|rest| {
                    entry.path.is_empty() || rest.is_empty() || rest.starts_with('/')
                })
        };
        let account = &self.0.iter().find(covers)?.account;
        let pair = format!("{}:{}", account.username, account.password);
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Account {
    /// A user name with a colon would be cut there.
    fn is_usable(&self) -> bool {
        !self.username.is_empty() && !self.username.contains(':') && !self.password.is_empty()
    }
}

impl DockerAuth {
    fn account(self) -> Option<Account> {
        if let (Some(username), Some(password)) = (self.username, self.password) {
            return Some(Account { username, password });
        }
        let text = String::from_utf8(STANDARD.decode(self.auth?).ok()?).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(Account {
            username: username.to_owned(),
            // Some writers of this file fill it up so.
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

/// Host and path of a key such as `registry.test:5000`, `registry.test/team` or
/// `https://index.docker.io/v1/`, whose `v1` means the whole host.
fn scope(key: &str) -> Option<(String, String)> {
    let bare = key.strip_prefix("https://").unwrap_or(key);
    let url = Url::parse(&format!("https://{bare}")).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let path = match url.path().trim_matches('/') {
        "v1" | "v2" => "",
        path => path,
    };
    is_plain.then(|| (host_and_port(&url), path.to_owned()))
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.0.iter().map(|entry| &entry.host);
        f.debug_list().entries(hosts).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(accounts: &Accounts, url: &str, path: &str) -> Option<String> {
        let header = accounts.header(&Url::parse(url).unwrap(), path)?;
        assert!(header.is_sensitive());
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        Some(String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap())
    }

    fn read(json: &serde_json::Value) -> Result<Accounts, AccountsError> {
        Accounts::from_docker_config(json.to_string().as_bytes())
    }

    #[test]
    fn an_account_is_for_its_host_and_for_https() {
        let accounts = read(&json!({"auths": {
            "registry.test:5000": {"username": "u", "password": "p"},
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:word:with:colons")},
            "team.test/a": {"username": "a", "password": "1"},
            "team.test/a/b": {"username": "ab", "password": "2"},
            "plain.test:443": {"username": "x", "password": "y", "auth": "ignored"},
        }}))
        .unwrap();
        for (url, path, account) in [
            ("https://registry.test:5000/v2/", "os", Some("u:p")),
            ("https://registry.test/v2/", "os", None),
            ("http://registry.test:5000/v2/", "os", None),
            ("https://registry.test.evil:5000/", "os", None),
            (
                "https://index.docker.io/",
                "os",
                Some("hub:word:with:colons"),
            ),
            ("https://team.test/", "a", Some("a:1")),
            ("https://team.test/", "a/b/c", Some("ab:2")),
            ("https://team.test/", "ab", None),
            ("https://plain.test/", "", Some("x:y")),
        ] {
            assert_eq!(
                shown(&accounts, url, path).as_deref(),
                account,
                "{url} {path}"
            );
        }
        let debug = format!("{accounts:?}");
        assert!(
            debug.contains("team.test") && !debug.contains("word"),
            "{debug}"
        );
    }

    #[test]
    fn one_account_is_for_one_host() {
        let accounts = Accounts::one("mirror.test", "u", "p").unwrap();
        let found = shown(&accounts, "https://mirror.test/os.iso", "os.iso");
        assert_eq!(found.as_deref(), Some("u:p"));
        assert_eq!(
            shown(&accounts, "https://other.test/os.iso", "os.iso"),
            None
        );
        assert!(Accounts::one("", "u", "p").is_err());
        assert!(Accounts::one("a.test", "", "p").is_err());
        assert!(Accounts::one("a.test", "u:v", "p").is_err());
        assert!(Accounts::one("a.test/path", "u", "p").is_err());
    }

    #[test]
    fn what_is_no_account_is_told_without_what_it_holds() {
        for (json, why) in [
            (json!({"secret-word": 1}), "no JSON"),
            (
                json!({"auths": {"r.test": {"identitytoken": "secret-word"}}}),
                "entry of r.test",
            ),
            (
                json!({"auths": {"r.test": {"auth": "secret-word"}}}),
                "entry of r.test",
            ),
            (
                json!({"auths": {"r.test": {"username": "u", "password": ""}}}),
                "entry of r.test",
            ),
            (
                json!({"auths": {"u:secret-word@r.test": {}}}),
                "should be a host",
            ),
        ] {
            let said = read(&json).unwrap_err().to_string();
            assert!(
                said.contains(why) && !said.contains("secret-word"),
                "{said}"
            );
        }
    }
}
