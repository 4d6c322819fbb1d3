//! How long a machine is left alone between two power commands.
//!
//! What was sent to a machine last is kept on disk, by what the machine itself is called and not by the
//! name of its object: it holds across a crash, for the next holder of the site's Lease, for another
//! object of the same machine, and for the offline release. It is written before anything is sent, and
//! again once the call has ended: the gap counts from the later time at which it may have landed.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_redfish::{BmcError, Effect, EffectCertainty, PowerAction, PowerGaps, SystemIdentity};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::durable::{self, StateError};

/// What is lost with the note of a machine.
const LOSS: &str = "the next power command may then come too soon after the last";
/// The longest name of a note.
const LONGEST_NAME: usize = 120;

/// What was sent to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A power action.
    Power(PowerAction),
    /// A restart of its BMC.
    RestartBmc,
}

/// The last commands of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// When the last power command was sent.
    #[serde(default)]
    pub power_at: Option<Time>,
    /// When its power was cut last.
    #[serde(default)]
    pub cut_at: Option<Time>,
    /// When its BMC was restarted last.
    #[serde(default)]
    pub bmc_at: Option<Time>,
}

impl Sent {
    fn with(&self, command: Command, at: Time) -> Self {
        let mut sent = self.clone();
        match command {
            Command::Power(action) => {
                if action == PowerAction::ForceOff {
                    sent.cut_at = Some(at.clone());
                }
                sent.power_at = Some(at);
            }
            Command::RestartBmc => sent.bmc_at = Some(at),
        }
        sent
    }
}

/// When `action` may be sent at the earliest, if that lies ahead; `answers_since` is since when the
/// machine's BMC has been answering without a break.
pub fn not_before(
    sent: &Sent,
    action: PowerAction,
    gaps: PowerGaps,
    answers_since: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let since = |at: &Option<Time>, gap: i64| {
        let gap = SignedDuration::from_secs(gap);
        // A clock that was set back by more than the gap tells nothing of when that was.
        let at = at.as_ref()?.0;
        (gap.is_positive() && at <= now + gap).then(|| at + gap)
    };
    let cut = since(&sent.cut_at, gaps.after_cut).filter(|_| action == PowerAction::On);
    let bmc = sent.bmc_at.as_ref().map(|asked| {
        let again = answers_since.filter(|since| *since > asked.0 && *since <= now);
        Time(again.unwrap_or(asked.0))
    });
    [
        since(&sent.power_at, gaps.between),
        cut,
        since(&bmc, gaps.after_bmc_restart),
    ]
    .into_iter()
    .flatten()
    .filter(|until| *until > now)
    .max()
}

/// The notes of one state folder.
#[derive(Clone, Debug)]
pub struct PowerBook {
    dir: PathBuf,
}

/// A command that is about to be sent.
#[derive(Clone, Debug)]
#[must_use = "what became of the command is noted at its end"]
pub struct Note {
    path: PathBuf,
    before: Sent,
    command: Command,
}

impl PowerBook {
    /// Opens, or makes, the folder of notes.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        let dir = state_dir.join("power");
        durable::make_private_dir(&dir)?;
        Ok(Self { dir })
    }

    /// What was sent to a machine last.
    pub fn last(&self, machine: &SystemIdentity) -> Result<Sent, StateError> {
        match self.path(machine) {
            Some(path) => read(&path),
            None => Ok(Sent::default()),
        }
    }

    /// Notes that a command is about to be sent; `None` of a machine without a name of its own, to
    /// which nothing is sent anyway.
    pub fn begin(
        &self,
        machine: &SystemIdentity,
        command: Command,
    ) -> Result<Option<Note>, StateError> {
        let Some(path) = self.path(machine) else {
            return Ok(None);
        };
        let before = read(&path)?;
        durable::write(&path, &before.with(command, clock::now()))?;
        Ok(Some(Note {
            path,
            before,
            command,
        }))
    }

    fn path(&self, machine: &SystemIdentity) -> Option<PathBuf> {
        let (kind, name) = match (&machine.system_uuid, &machine.serial_number) {
            (Some(uuid), _) => ("uuid", uuid),
            (None, Some(serial)) => ("serial", serial),
            (None, None) => return None,
        };
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        };
        let name: String = name.chars().take(LONGEST_NAME).map(plain).collect();
        Some(self.dir.join(format!("{kind}-{name}.json")))
    }
}

impl Note {
    /// Notes what became of the command. A note that cannot be written is as it was at the beginning:
    /// the gap is then a little shorter.
    pub fn end(&self, done: &Result<Effect, BmcError>) {
        let sent = match done {
            Ok(effect) => effect.sent,
            Err(error) => error.effect() == EffectCertainty::Unknown,
        };
        let now = if sent {
            self.before.with(self.command, clock::now())
        } else {
            self.before.clone()
        };
        self.put(&now);
    }

    /// Notes that what was sent is seen to have landed now: the gap counts from here.
    pub fn landed(&self) {
        self.put(&self.before.with(self.command, clock::now()));
    }

    fn put(&self, sent: &Sent) {
        if let Err(error) = durable::write(&self.path, sent) {
            tracing::error!("{error}");
        }
    }
}

fn read(path: &Path) -> Result<Sent, StateError> {
    let sent: Option<Sent> =
        durable::read(path).map_err(|error: StateError| error.or_move_away(LOSS))?;
    Ok(sent.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use lockstep_redfish::Confirmation;

    use super::*;
    use crate::site::samples;

    const HOST: PowerGaps = PowerGaps {
        after_cut: 120,
        between: 0,
        after_bmc_restart: 0,
    };
    const BLUEFIELD_2: PowerGaps = PowerGaps {
        after_cut: 20,
        between: 20,
        after_bmc_restart: 30,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// How long one waits at second 100 after the last power command, the last cut and the last restart
    /// of the BMC at these seconds.
    fn waits(sent: [Option<i64>; 3], action: PowerAction, gaps: PowerGaps) -> i64 {
        let [power_at, cut_at, bmc_at] = sent.map(|second| second.map(|second| Time(at(second))));
        let sent = Sent {
            power_at,
            cut_at,
            bmc_at,
        };
        not_before(&sent, action, gaps, Some(at(90)), at(100))
            .map_or(0, |until| until.duration_since(at(100)).as_secs())
    }

    #[test]
    fn a_gap_is_due_where_the_table_has_one_and_nowhere_else() {
        use PowerAction::{ForceOff, GracefulShutdown, On};
        let cut = |second| [Some(second), Some(second), None];
        let asked = |second| [Some(second), None, None];
        for (sent, action, gaps, wanted) in [
            (cut(40), On, HOST, 60),
            (cut(-20), On, HOST, 0),
            // Another command in between ends nothing.
            ([Some(99), Some(40), None], On, HOST, 60),
            // A host that shut down by itself may come up at once, and one that hangs be cut.
            (asked(99), On, HOST, 0),
            (asked(99), ForceOff, HOST, 0),
            (cut(99), GracefulShutdown, HOST, 0),
            ([None; 3], On, HOST, 0),
            (asked(95), ForceOff, BLUEFIELD_2, 15),
            (cut(85), On, BLUEFIELD_2, 5),
            (asked(80), On, BLUEFIELD_2, 0),
            // It answers again since second 90.
            ([None, None, Some(10)], On, BLUEFIELD_2, 20),
            ([None, None, Some(10)], On, HOST, 0),
            // The clock was set back a little, or by far.
            (cut(110), On, HOST, 130),
            (cut(10_000), On, HOST, 0),
        ] {
            assert_eq!(waits(sent, action, gaps), wanted, "{sent:?} {action:?}");
        }
        let still_the_same = Sent {
            bmc_at: Some(Time(at(95))),
            ..Sent::default()
        };
        let until = not_before(&still_the_same, On, BLUEFIELD_2, Some(at(-500)), at(100));
        assert_eq!(until, Some(at(125)), "it was not seen to go yet");
    }

    fn effect(sent: bool) -> Result<Effect, BmcError> {
        Ok(Effect {
            sent,
            confirmation: Confirmation::Confirmed,
        })
    }

    #[test]
    fn what_was_sent_outlives_the_process_and_what_was_not_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let book = PowerBook::open(dir.path()).unwrap();
        let machine = samples::facts().identity;
        let cut = Command::Power(PowerAction::ForceOff);
        let note = book.begin(&machine, cut).unwrap().unwrap();
        // The process ends here, and nobody knows whether it was sent.
        let next = PowerBook::open(dir.path()).unwrap();
        let known = next.last(&machine).unwrap();
        assert!(known.cut_at.is_some() && known.power_at == known.cut_at);
        note.end(&effect(false));
        assert_eq!(next.last(&machine).unwrap(), Sent::default());
        note.landed();
        assert!(next.last(&machine).unwrap().cut_at.is_some());
        note.end(&effect(false));
        let lost = Err(BmcError::OutcomeUnknown {
            address: "fake".to_owned(),
            verb: "a reset",
            reason: "the reply was lost".to_owned(),
        });
        book.begin(&machine, cut).unwrap().unwrap().end(&lost);
        assert!(next.last(&machine).unwrap().cut_at.is_some());
        let on = Command::Power(PowerAction::On);
        book.begin(&machine, on)
            .unwrap()
            .unwrap()
            .end(&effect(true));
        let known = next.last(&machine).unwrap();
        assert!(known.cut_at.is_some(), "the cut is remembered still");
        book.begin(&machine, Command::RestartBmc)
            .unwrap()
            .unwrap()
            .end(&effect(true));
        assert!(next.last(&machine).unwrap().bmc_at.is_some());
    }

    #[test]
    fn a_note_is_that_of_the_machine_whatever_its_object_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let book = PowerBook::open(dir.path()).unwrap();
        let named = |uuid: Option<&str>, serial: Option<&str>| SystemIdentity {
            system_uuid: uuid.map(str::to_owned),
            serial_number: serial.map(str::to_owned),
            ..SystemIdentity::default()
        };
        let name = |machine: &SystemIdentity| {
            let path = book.path(machine)?;
            Some(path.file_name()?.to_str()?.to_owned())
        };
        for (machine, file) in [
            (named(Some("4C4C-AB"), Some("S1")), "uuid-4c4c-ab.json"),
            (named(None, Some("../S 1/x")), "serial----s-1-x.json"),
        ] {
            assert_eq!(name(&machine).as_deref(), Some(file));
        }
        assert_eq!(name(&named(None, None)), None);
        let long = "x".repeat(400);
        assert!(name(&named(None, Some(&long))).unwrap().len() < 200);
        std::fs::write(dir.path().join("power/serial-sn1.json"), "{").unwrap();
        let told = book
            .last(&named(None, Some("SN1")))
            .unwrap_err()
            .to_string();
        assert!(told.contains("too soon"), "{told}");
    }
}
