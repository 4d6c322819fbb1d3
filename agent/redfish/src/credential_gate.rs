//! Stops a wrong password before it locks the BMC's account.
//!
//! Tries are counted per target and credentials value. Only another value,
//! the BMC accepting this one, or somebody saying anew that this is the value
//! clears them; whoever keeps [`Refusals`] has them outlive the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::target::Credentials;

/// Refusals after which a value is not tried again.
const MOST_TRIES: u8 = 2;

/// Values remembered per target; the oldest goes first.
const MOST_VALUES: usize = 16;

/// Versions remembered per value, likewise.
const MOST_VERSIONS: usize = 16;

/// The credentials that BMCs have refused, as salted hashes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusals {
    /// Against tables made beforehand.
    salt: String,
    targets: BTreeMap<String, Vec<Refused>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Refused {
    value: String,
    tries: u8,
    /// The versions of where the value is written that had their tries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    versions: Vec<String>,
}

impl Refused {
    fn had(&mut self, version: &str) {
        if self.versions.iter().any(|had| had == version) {
            return;
        }
        if self.versions.len() >= MOST_VERSIONS {
            self.versions.remove(0);
        }
        self.versions.push(version.to_owned());
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            salt: hex::encode(rand::random::<[u8; 32]>()),
            targets: BTreeMap::new(),
        }
    }
}

impl Refusals {
    fn fingerprint(&self, credentials: &Credentials) -> String {
        let hash = Sha256::new()
            .chain_update(&self.salt)
            .chain_update(credentials.username.len().to_le_bytes())
            .chain_update(&credentials.username)
            .chain_update(&credentials.password)
            .finalize();
        hex::encode(hash)
    }
}

#[derive(Debug)]
pub(crate) struct CredentialGate {
    refusals: watch::Sender<Refusals>,
    /// The version that each target's value was written in last.
    written: Mutex<HashMap<(String, String), String>>,
}

impl CredentialGate {
    pub(crate) fn new(refusals: Refusals) -> Self {
        Self {
            refusals: watch::Sender::new(refusals),
            written: Mutex::default(),
        }
    }

    /// Notes in which version the value is written. A version that had no tries yet has them
    /// all: somebody has looked after the value, be it that they wrote down the same one.
    pub(crate) fn written(&self, target: &str, credentials: &Credentials, version: &str) {
        let value = self.refusals.borrow().fingerprint(credentials);
        self.refusals.send_if_modified(|refusals| {
            let entry = refusals
                .targets
                .get_mut(target)
                .and_then(|values| values.iter_mut().find(|entry| entry.value == value));
            let Some(entry) = entry.filter(|entry| entry.versions.iter().all(|had| had != version))
            else {
                return false;
            };
            entry.tries = 0;
            entry.had(version);
            true
        });
        self.versions()
            .insert((target.to_owned(), value), version.to_owned());
    }

    fn versions(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), String>> {
        // It is only filled: a panic elsewhere cannot leave it wrong.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is refused, and news of it.
    pub(crate) fn refusals(&self) -> watch::Receiver<Refusals> {
        self.refusals.subscribe()
    }

    /// Whether this value may be tried; else how often it was refused.
    pub(crate) fn check(&self, target: &str, credentials: &Credentials) -> Result<(), u8> {
        let refusals = self.refusals.borrow();
        let value = refusals.fingerprint(credentials);
        match refusals
            .targets
            .get(target)
            .and_then(|values| values.iter().find(|entry| entry.value == value))
        {
            Some(entry) if entry.tries >= MOST_TRIES => Err(entry.tries),
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a refusal and says how many there are now.
    pub(crate) fn refused(&self, target: &str, credentials: &Credentials) -> u8 {
        let mut tries = 1;
        self.refusals.send_modify(|refusals| {
            let value = refusals.fingerprint(credentials);
            let version = self
                .versions()
                .get(&(target.to_owned(), value.clone()))
                .cloned();
            let values = refusals.targets.entry(target.to_owned()).or_default();
            let known = values.iter().position(|entry| entry.value == value);
            let at = known.unwrap_or_else(|| {
                if values.len() >= MOST_VALUES {
                    values.remove(0);
                }
                values.push(Refused {
                    value,
                    tries: 0,
                    versions: Vec::new(),
                });
                values.len() - 1
            });
            let entry = &mut values[at];
            entry.tries = entry.tries.saturating_add(1);
            tries = entry.tries;
            if let Some(version) = version {
                entry.had(&version);
            }
        });
        tries
    }

    /// Forgets the refusals of a value that the BMC took.
    pub(crate) fn accepted(&self, target: &str, credentials: &Credentials) {
        self.refusals.send_if_modified(|refusals| {
            let value = refusals.fingerprint(credentials);
            let Some(values) = refusals.targets.get_mut(target) else {
                return false;
            };
            let before = values.len();
            values.retain(|entry| entry.value != value);
            let changed = values.len() != before;
            if values.is_empty() {
                refusals.targets.remove(target);
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(password: &str) -> Credentials {
        Credentials {
            username: "admin".to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn two_refusals_lock_this_value_on_this_target_only() {
        let gate = CredentialGate::new(Refusals::default());
        let stale = credentials("stale");
        assert_eq!(gate.check("a", &stale), Ok(()));
        assert_eq!(gate.refused("a", &stale), 1);
        assert_eq!(gate.check("a", &stale), Ok(()));
        assert_eq!(gate.refused("a", &stale), 2);
        assert_eq!(gate.check("a", &stale), Err(2));
        assert_eq!(gate.check("b", &stale), Ok(()));
        assert_eq!(gate.check("a", &credentials("fresh")), Ok(()));
    }

    #[test]
    fn another_value_does_not_free_the_refused_one() {
        let gate = CredentialGate::new(Refusals::default());
        for _ in 0..2 {
            gate.refused("a", &credentials("one"));
            gate.refused("a", &credentials("two"));
        }
        gate.accepted("a", &credentials("two"));
        assert_eq!(gate.check("a", &credentials("one")), Err(2));
        assert_eq!(gate.check("a", &credentials("two")), Ok(()));
    }

    #[test]
    fn a_value_written_anew_has_two_more_tries_and_a_restart_has_none() {
        let mut kept = Refusals::default();
        let value = credentials("late");
        let mut tries = 0;
        // Two Secrets hold it; the agent restarts, one is written anew, the agent restarts.
        for versions in [["1", "2"], ["1", "2"], ["3", "2"], ["2", "3"], ["3", "2"]] {
            let gate = CredentialGate::new(kept);
            for version in versions {
                gate.written("a", &value, version);
                while gate.check("a", &value).is_ok() {
                    tries += 1;
                    gate.refused("a", &value);
                }
            }
            let json = serde_json::to_string(&*gate.refusals().borrow()).unwrap();
            kept = serde_json::from_str(&json).unwrap();
        }
        assert_eq!(tries, 6, "two for each version");
        let gate = CredentialGate::new(kept);
        for version in 0..100 {
            gate.written("a", &value, &format!("v{version}"));
        }
        let refusals = gate.refusals();
        assert_eq!(
            refusals.borrow().targets["a"][0].versions.len(),
            MOST_VERSIONS
        );
    }

    #[test]
    fn memory_per_target_is_bounded() {
        let gate = CredentialGate::new(Refusals::default());
        for n in 0..100 {
            gate.refused("a", &credentials(&n.to_string()));
        }
        assert_eq!(gate.refusals.borrow().targets["a"].len(), MOST_VALUES);
    }

    #[test]
    fn what_was_kept_is_refused_by_the_next_process() {
        let gate = CredentialGate::new(Refusals::default());
        let kept = gate.refusals();
        for _ in 0..2 {
            gate.refused("a", &credentials("stale"));
        }
        assert!(kept.has_changed().unwrap());
        let json = serde_json::to_string(&*kept.borrow()).unwrap();
        assert!(!json.contains("stale"));
        let next = CredentialGate::new(serde_json::from_str(&json).unwrap());
        assert_eq!(next.check("a", &credentials("stale")), Err(2));
        assert_eq!(next.check("a", &credentials("fresh")), Ok(()));
        let mut news = next.refusals();
        next.accepted("a", &credentials("fresh"));
        assert!(!news.has_changed().unwrap());
        next.accepted("a", &credentials("stale"));
        assert!(news.borrow_and_update().targets.is_empty());
    }

    #[test]
    fn debug_shows_no_password() {
        let gate = CredentialGate::new(Refusals::default());
        gate.refused("a", &credentials("hunter2"));
        assert!(!format!("{gate:?}").contains("hunter2"));
    }
}
