//! Every write to the apiserver, from its own audit log.
//!
//! The apiserver is a witness that none of our code can talk into anything: the log
//! holds one line per request after its answer was sent. [`AuditLog::writes`] gives the
//! writes that were accepted, oldest first; [`Write`] has the filters, [`tally`] counts
//! them by cause.

mod event;
mod write;

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
};

use anyhow::{Context, Result};

pub use write::{Cause, Write, tally};

/// The apiserver's log of writes.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
}

/// A place in the log; what was written later lies behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl AuditLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The present end of the log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn mark(&self) -> Result<Mark> {
        Ok(Mark(self.read(0)?.end))
    }

    /// All accepted writes so far.
    ///
    /// # Errors
    /// When the log cannot be read or holds something that is no audit event.
    pub fn writes(&self) -> Result<Vec<Write>> {
        self.writes_since(Mark(0))
    }

    /// The accepted writes behind `mark`.
    ///
    /// # Errors
    /// When the log cannot be read or holds something that is no audit event.
    pub fn writes_since(&self, mark: Mark) -> Result<Vec<Write>> {
        let text = self.read(mark.0)?.text;
        parse(&text).with_context(|| format!("in {}", self.path.display()))
    }

    /// Whole lines only: the apiserver may be in the middle of one.
    fn read(&self, from: u64) -> Result<Section> {
        let unreadable = || format!("cannot read the audit log {}", self.path.display());
        let mut bytes = Vec::new();
        let mut file = File::open(&self.path).with_context(unreadable)?;
        file.seek(SeekFrom::Start(from)).with_context(unreadable)?;
        file.read_to_end(&mut bytes).with_context(unreadable)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        bytes.truncate(whole);
        Ok(Section {
            end: from + u64::try_from(whole).context("a log of more than 2^64 bytes")?,
            text: String::from_utf8(bytes).with_context(unreadable)?,
        })
    }
}

struct Section {
    text: String,
    end: u64,
}

fn parse(text: &str) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let event: event::Event =
            serde_json::from_str(line).with_context(|| format!("no audit event: {line}"))?;
        writes.extend(event.into_write());
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const LINES: &str = include_str!("testdata/audit.jsonl");

    #[test]
    fn accepted_writes_are_found_and_nothing_else() {
        let writes = parse(LINES).unwrap();
        let seen: Vec<_> = writes
            .iter()
            .map(|write| {
                format!(
                    "{} {} {} {}/{}",
                    write.user,
                    write.verb,
                    write.kind_path(),
                    write.namespace.as_deref().unwrap_or("-"),
                    write.name.as_deref().unwrap_or("-")
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                "admin create configmaps default/first",
                "system:serviceaccount:site-a:agent patch dpureports/status site-a/bmc-1",
                "system:serviceaccount:kube-system:generic-garbage-collector delete leases kube-system/old",
                "alice create events site-a/dpu-7.abc",
                "admin deletecollection pods default/-",
            ]
        );
    }

    #[test]
    fn a_write_keeps_what_tells_its_cause() {
        let writes = parse(LINES).unwrap();
        let [created, patched, lease, event, _collection] = &writes[..] else {
            panic!("{writes:#?}");
        };
        assert_eq!(created.code, 201);
        assert_eq!(created.user_agent, "kubectl/v1.36.3");
        assert_eq!(created.field_manager.as_deref(), Some("kubectl create"));
        assert_eq!(created.body.as_ref().unwrap()["data"]["a"], "1");
        assert_eq!(created.at.to_string(), "2026-11-21T09:00:00.5Z");
        assert_eq!(patched.field_manager.as_deref(), Some("lockstep/agent"));
        assert_eq!(patched.group, "provisioning.opiproject.org");
        assert_eq!(patched.subresource.as_deref(), Some("status"));
        assert!(lease.is_lease() && !lease.is_event());
        assert!(event.is_event() && !event.is_lease());
        assert_eq!(event.user, "alice", "whoever is impersonated is the user");
    }

    #[test]
    fn a_mark_divides_the_log_and_half_a_line_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let lines: Vec<_> = LINES.lines().collect();
        let (half, rest) = lines[1].split_at(100);
        let mut file = File::create(&path).unwrap();
        write!(file, "{}\n{half}", lines[0]).unwrap();
        let log = AuditLog::new(path);
        assert_eq!(log.writes().unwrap().len(), 1);
        let mark = log.mark().unwrap();
        assert!(log.writes_since(mark).unwrap().is_empty());
        writeln!(file, "{rest}").unwrap();
        let later = log.writes_since(mark).unwrap();
        assert_eq!(later.len(), 1);
        assert_eq!(later[0].resource, "dpureports");
    }

    #[test]
    fn damage_is_an_error_and_not_a_missing_write() {
        let error = parse("{\"kind\":\"Event\"\n").unwrap_err();
        assert!(format!("{error:#}").contains("no audit event"));
    }
}
