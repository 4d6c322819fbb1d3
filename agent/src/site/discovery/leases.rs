//! Lease files of dnsmasq. Pure, but for [`read`].
//!
//! A lease is a hint: it says where to look, and never whom to trust or which credentials to
//! show. Whoever can forge one makes this agent ask one more address within the networks of its
//! own configuration for its service root.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;

/// The longest file that is read, in bytes: some 500,000 leases.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Longest name of a client in a source.
const LONGEST_CLIENT: usize = 48;

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// The address that was given.
    pub(super) address: IpAddr,
    /// Hardware address of the client; for IPv6 its DUID.
    pub(super) client: String,
    /// When it ends, in seconds of Unix time; `None` for never.
    pub(super) expires: Option<i64>,
}

impl Lease {
    pub(super) fn is_current(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > now.as_second())
    }

    /// How the address came to be looked at.
    pub(super) fn source(&self) -> String {
        format!("lease {}", self.client)
    }
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leases {
    /// Its leases.
    pub(super) leases: Vec<Lease>,
    /// Lines that are none, by number, with what is wrong.
    pub(super) malformed: Vec<(usize, String)>,
}

/// Reads the text of a lease file.
///
/// Lines are `EXPIRY MAC ADDRESS NAME CLIENT-ID`; after a line `duid SERVER-DUID` they are
/// `EXPIRY IAID ADDRESS NAME CLIENT-DUID`. Names are `*` where there is none.
pub(super) fn parse(text: &str) -> Leases {
    let mut found = Leases::default();
    for (at, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] | ["duid", _] => {}
            [expiry, client, address, _, id, ..] => match lease(expiry, client, address, id) {
                Ok(lease) => found.leases.push(lease),
                Err(why) => found.malformed.push((at + 1, why)),
            },
            short => found.malformed.push((
                at + 1,
                format!("{} words where a lease has five", short.len()),
            )),
        }
    }
    found
}

fn lease(expiry: &str, client: &str, address: &str, id: &str) -> Result<Lease, String> {
    let expires: i64 = expiry
        .parse()
        .map_err(|_| "the expiry is no number".to_owned())?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| "the third word is no address".to_owned())?;
    // The second word of an IPv6 lease counts the client's interfaces and names nobody.
    let client = match address {
        IpAddr::V4(_) => client.to_owned(),
        IpAddr::V6(_) => format!("duid {id}"),
    };
    Ok(Lease {
        address,
        client: client.chars().take(LONGEST_CLIENT).collect(),
        expires: (expires != 0).then_some(expires),
    })
}

/// What tells that a file is another than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

/// One lease file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LeaseFile {
    /// As before.
    Unchanged,
    /// Read.
    Read(Stamp, Leases),
    /// It cannot be read: why.
    Unreadable(String),
}

/// Reads a file, unless it is as it was.
pub(super) fn read(path: &Path, before: Option<&Stamp>) -> LeaseFile {
    let failed = |error: std::io::Error| LeaseFile::Unreadable(error.to_string());
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return failed(error),
    };
    let stamp = Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
    };
    if before == Some(&stamp) {
        return LeaseFile::Unchanged;
    }
    if stamp.length > LONGEST {
        return LeaseFile::Unreadable(format!("it is longer than {LONGEST} bytes"));
    }
    match std::fs::read(path) {
        Ok(bytes) => LeaseFile::Read(stamp, parse(&String::from_utf8_lossy(&bytes))),
        Err(error) => failed(error),
    }
}

/// A lease file and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Its path.
    pub(super) path: PathBuf,
    /// As it was read last.
    pub(super) stamp: Option<Stamp>,
    /// Its leases.
    pub(super) leases: Leases,
    /// Why it could not be read the last time.
    pub(super) unreadable: Option<String>,
}

impl Known {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            stamp: None,
            leases: Leases::default(),
            unreadable: None,
        }
    }

    /// Takes in what was found. A file that cannot be read keeps its leases: it is no proof that
    /// they have ended.
    pub(super) fn take(&mut self, found: LeaseFile) {
        match found {
            LeaseFile::Unchanged => {}
            LeaseFile::Read(stamp, leases) => {
                self.stamp = Some(stamp);
                self.leases = leases;
                self.unreadable = None;
            }
            LeaseFile::Unreadable(why) => {
                self.stamp = None;
                self.unreadable = Some(why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "\
1764340000 52:54:00:12:34:56 10.0.1.7 bmc-7 01:52:54:00:12:34:56
0 52:54:00:12:34:57 10.0.1.8 * *
1764340001 06-00:11:22:33:44:55 10.0.1.9 * *
this is no lease at all
1764340002 52:54:00:12:34:59 10.0.1.300 * *
soon 52:54:00:12:34:59 10.0.1.30 * *
short
duid 00:01:00:01:2f:00:11:22:52:54:00:aa:bb:cc
1764340003 1193046 fd00::7 bmc-7 00:03:00:01:52:54:00:12:34:56
1764340004 T1193046 fd00::8 * 00:03:00:01:52:54:00:12:34:57
";

    #[test]
    fn both_families_are_read_and_a_malformed_line_is_told_by_number() {
        let found = parse(FILE);
        let lease = |address: &str, client: &str, expires: Option<i64>| Lease {
            address: address.parse().unwrap(),
            client: client.to_owned(),
            expires,
        };
        assert_eq!(
            found.leases,
            [
                lease("10.0.1.7", "52:54:00:12:34:56", Some(1_764_340_000)),
                lease("10.0.1.8", "52:54:00:12:34:57", None),
                lease("10.0.1.9", "06-00:11:22:33:44:55", Some(1_764_340_001)),
                lease(
                    "fd00::7",
                    "duid 00:03:00:01:52:54:00:12:34:56",
                    Some(1_764_340_003)
                ),
                lease(
                    "fd00::8",
                    "duid 00:03:00:01:52:54:00:12:34:57",
                    Some(1_764_340_004)
                ),
            ]
        );
        let lines: Vec<usize> = found.malformed.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [4, 5, 6, 7]);
    }

    #[test]
    fn a_lease_without_end_never_ends() {
        let found = parse(FILE);
        let after = Timestamp::from_second(1_764_340_002).unwrap();
        let current: Vec<bool> = found
            .leases
            .iter()
            .map(|lease| lease.is_current(after))
            .collect();
        assert_eq!(current, [false, true, false, true, true]);
    }

    #[test]
    fn a_file_is_read_again_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases");
        let mut known = Known::new(path.clone());
        known.take(read(&path, known.stamp.as_ref()));
        assert!(known.unreadable.is_some());
        std::fs::write(&path, FILE).unwrap();
        known.take(read(&path, known.stamp.as_ref()));
        assert_eq!((known.leases.leases.len(), &known.unreadable), (5, &None));
        assert_eq!(read(&path, known.stamp.as_ref()), LeaseFile::Unchanged);
        std::fs::write(&path, "0 52:54:00:12:34:57 10.0.1.8 * *\n").unwrap();
        known.take(read(&path, known.stamp.as_ref()));
        assert_eq!(known.leases.leases.len(), 1);
        std::fs::remove_file(&path).unwrap();
        known.take(read(&path, known.stamp.as_ref()));
        assert_eq!(known.leases.leases.len(), 1);
        assert!(known.unreadable.is_some());
    }

    proptest! {
        #[test]
        fn whatever_a_file_holds_every_line_is_accounted_for(text in "[ -~\n\u{e9}]{0,400}") {
            let found = parse(&text);
            let lines = text
                .lines()
                .filter(|line| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    !words.is_empty() && !matches!(words.as_slice(), ["duid", _])
                })
                .count();
            prop_assert_eq!(found.leases.len() + found.malformed.len(), lines);
        }
    }
}
