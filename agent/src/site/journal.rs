//! What was accepted for each machine, on disk: it survives an API server that
//! forgets (an older snapshot restored) as well as a crash of this process.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lockstep_crds::directive::{Directive, OutcomeKind};
use lockstep_crds::report::{Execution, Outcome};
use serde::{Deserialize, Serialize};

use crate::durable::{self, StateError};
use crate::site::machine::{MachineKey, MachineKind};

/// What is lost with a journal.
const LOSS: &str = "what was accepted is then taken from the DpuReport, and the outcome of a directive under way is not known";

/// How far an accepted directive has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Taken; nothing has been sent.
    Accepted,
    /// Something may have been sent.
    Acting,
    /// All of it was sent, of an effect that takes a while to send.
    Sent,
    /// Its outcome is known.
    Ended,
}

/// The last directive accepted for one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The directive.
    pub directive: Directive,
    /// How far it has come.
    pub stage: Stage,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// The journal of one machine.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    last: Option<Entry>,
}

impl Journal {
    /// The journal of a machine below the state folder; nothing is read yet.
    pub fn new(state_dir: &Path, key: &MachineKey) -> Self {
        let kind = match key.kind {
            MachineKind::Card => "card",
            MachineKind::Host => "host",
        };
        let name = format!("{kind}-{}.json", key.name);
        Self {
            path: state_dir.join("journal").join(name),
            last: None,
        }
    }

    /// The latest entry of all journals below a state folder.
    pub fn latest(state_dir: &Path) -> Result<Option<Entry>, StateError> {
        let dir = state_dir.join("journal");
        let files = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            files => files.map_err(durable::failed(&dir))?,
        };
        let mut latest: Option<Entry> = None;
        for file in files {
            let path = file.map_err(durable::failed(&dir))?.path();
            // What is being written has another name.
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let entry: Option<Entry> =
                durable::read(&path).map_err(|error: StateError| error.or_move_away(LOSS))?;
            let seq = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.directive.seq);
            if seq(&entry) > seq(&latest) {
                latest = entry;
            }
        }
        Ok(latest)
    }

    /// Reads what the last process wrote.
    pub fn load(&mut self) -> Result<(), StateError> {
        if let Some(dir) = self.path.parent() {
            durable::make_private_dir(dir)?;
        }
        self.last = durable::read(&self.path).map_err(|error| error.or_move_away(LOSS))?;
        Ok(())
    }

    /// The last entry.
    pub fn last(&self) -> Option<&Entry> {
        self.last.as_ref()
    }

    /// Notes that a directive is taken and will never be taken again.
    pub fn accept(&mut self, directive: &Directive) -> Result<(), StateError> {
        self.put(Entry {
            directive: directive.clone(),
            stage: Stage::Accepted,
            outcome: None,
        })
    }

    /// Notes that its effect is about to be sent.
    pub fn act(&mut self, directive: &Directive) -> Result<(), StateError> {
        self.put(Entry {
            directive: directive.clone(),
            stage: Stage::Acting,
            outcome: None,
        })
    }

    /// Notes that nothing of it is left to be sent.
    pub fn sent(&mut self, directive: &Directive) -> Result<(), StateError> {
        self.put(Entry {
            directive: directive.clone(),
            stage: Stage::Sent,
            outcome: None,
        })
    }

    /// Notes how it ended.
    pub fn end(&mut self, directive: &Directive, outcome: &Outcome) -> Result<(), StateError> {
        self.put(Entry {
            directive: directive.clone(),
            stage: Stage::Ended,
            outcome: Some(outcome.clone()),
        })
    }

    fn put(&mut self, entry: Entry) -> Result<(), StateError> {
        durable::write(&self.path, &entry)?;
        self.last = Some(entry);
        Ok(())
    }
}

/// What a restarted executor finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Resumed {
    /// Nothing was ever accepted.
    Fresh,
    /// The last directive ended like this.
    Ended(Execution),
    /// The last directive may have been sent, and nothing tells what became of it.
    Interrupted(Box<Directive>),
}

/// Joins what the report says with what the journal says; the higher seq wins.
pub fn resume(report: Option<&Execution>, journal: Option<&Entry>) -> Resumed {
    let reported = report.map_or(0, |execution| execution.accepted);
    let journalled = journal.map_or(0, |entry| entry.directive.seq);
    if let Some(entry) = journal.filter(|_| journalled >= reported) {
        let known = report
            .filter(|_| reported == journalled)
            .and_then(|execution| execution.outcome.clone());
        let outcome = match (known.or_else(|| entry.outcome.clone()), entry.stage) {
            (Some(outcome), _) => outcome,
            (None, Stage::Acting | Stage::Sent) => {
                return Resumed::Interrupted(Box::new(entry.directive.clone()));
            }
            (None, Stage::Accepted | Stage::Ended) => restarted(
                OutcomeKind::Failed,
                "the site agent restarted after it had accepted the directive and before it sent anything",
            ),
        };
        return Resumed::Ended(Execution {
            accepted: journalled,
            outcome: Some(outcome),
        });
    }
    match report {
        None => Resumed::Fresh,
        Some(execution) => Resumed::Ended(Execution {
            accepted: execution.accepted,
            outcome: Some(execution.outcome.clone().unwrap_or_else(|| {
                restarted(
                    OutcomeKind::Unknown,
                    "the site agent restarted without its journal; observation tells what became of the directive",
                )
            })),
        }),
    }
}

/// The outcome of a directive that a restart cut short.
pub fn restarted(result: OutcomeKind, message: &str) -> Outcome {
    Outcome {
        result,
        reason: Some("ExecutorRestarted".to_owned()),
        message: Some(message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::samples::directive;

    fn entry(seq: i64, stage: Stage, outcome: Option<OutcomeKind>) -> Entry {
        Entry {
            directive: directive(seq, "PowerOn"),
            stage,
            outcome: outcome.map(plain),
        }
    }

    fn plain(result: OutcomeKind) -> Outcome {
        Outcome {
            result,
            reason: None,
            message: None,
        }
    }

    fn execution(accepted: i64, outcome: Option<OutcomeKind>) -> Execution {
        Execution {
            accepted,
            outcome: outcome.map(plain),
        }
    }

    #[test]
    fn the_higher_of_report_and_journal_wins() {
        use OutcomeKind::{Done, Failed, Unknown};
        let cases = [
            (None, None, None),
            // Report only: an open directive has an unknown end.
            (Some(execution(4, Some(Done))), None, Some((4, Done))),
            (Some(execution(4, None)), None, Some((4, Unknown))),
            // The API server forgot.
            (
                Some(execution(2, Some(Done))),
                Some(entry(4, Stage::Ended, Some(Done))),
                Some((4, Done)),
            ),
            // The journal is older.
            (
                Some(execution(5, Some(Failed))),
                Some(entry(4, Stage::Acting, None)),
                Some((5, Failed)),
            ),
            // Crashed between journal and effect.
            (
                Some(execution(3, Some(Done))),
                Some(entry(4, Stage::Accepted, None)),
                Some((4, Failed)),
            ),
            (
                Some(execution(4, None)),
                Some(entry(4, Stage::Accepted, None)),
                Some((4, Failed)),
            ),
            // Crashed between outcome and report.
            (
                Some(execution(4, None)),
                Some(entry(4, Stage::Ended, Some(Done))),
                Some((4, Done)),
            ),
            // The report knows better than a journal that was not closed.
            (
                Some(execution(4, Some(Done))),
                Some(entry(4, Stage::Acting, None)),
                Some((4, Done)),
            ),
        ];
        for (report, journal, wanted) in cases {
            let found = match resume(report.as_ref(), journal.as_ref()) {
                Resumed::Fresh => None,
                Resumed::Ended(execution) => {
                    Some((execution.accepted, execution.outcome.unwrap().result))
                }
                Resumed::Interrupted(_) => panic!("{report:?} {journal:?}"),
            };
            assert_eq!(found, wanted, "{report:?} {journal:?}");
        }
        for report in [
            None,
            Some(execution(3, Some(Done))),
            Some(execution(4, None)),
        ] {
            let found = resume(report.as_ref(), Some(&entry(4, Stage::Acting, None)));
            assert!(matches!(found, Resumed::Interrupted(_)), "{report:?}");
        }
    }

    #[test]
    fn a_journal_is_read_back_by_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let key = MachineKey {
            kind: MachineKind::Card,
            name: "c1".to_owned(),
        };
        let wanted = directive(7, "PowerOn");
        let mut journal = Journal::new(dir.path(), &key);
        journal.load().unwrap();
        assert_eq!(journal.last(), None);
        journal.accept(&wanted).unwrap();
        journal.act(&wanted).unwrap();
        let mut journal = Journal::new(dir.path(), &key);
        journal.load().unwrap();
        let last = journal.last().unwrap();
        assert_eq!((last.directive.seq, last.stage), (7, Stage::Acting));
    }

    #[test]
    fn of_the_journals_of_several_machines_the_latest_entry_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Journal::latest(dir.path()).unwrap(), None);
        for (name, seq) in [("a", 3), ("b", 11), ("c", 7)] {
            let key = MachineKey {
                kind: MachineKind::Card,
                name: name.to_owned(),
            };
            let mut journal = Journal::new(dir.path(), &key);
            journal.load().unwrap();
            journal.accept(&directive(seq, "PushImage")).unwrap();
        }
        fs::write(dir.path().join("journal/card-d.new"), "{").unwrap();
        let latest = Journal::latest(dir.path()).unwrap().unwrap();
        assert_eq!(latest.directive.seq, 11);
        fs::write(dir.path().join("journal/card-d.json"), "{").unwrap();
        assert!(Journal::latest(dir.path()).is_err());
    }
}
