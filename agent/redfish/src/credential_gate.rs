//! Stops a wrong password before it locks the BMC's account.
//!
//! Tries are counted per target and credentials value. Only another value, or
//! the BMC accepting this one, clears them; whoever keeps [`Refusals`] has
//! them outlive the process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::target::Credentials;

/// Refusals after which a value is not tried again.
const MOST_TRIES: u8 = 2;

/// Values remembered per target; the oldest goes first.
const MOST_VALUES: usize = 16;

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
}

impl CredentialGate {
    pub(crate) fn new(refusals: Refusals) -> Self {
        Self {
            refusals: watch::Sender::new(refusals),
        }
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
            let values = refusals.targets.entry(target.to_owned()).or_default();
            if let Some(entry) = values.iter_mut().find(|entry| entry.value == value) {
                entry.tries = entry.tries.saturating_add(1);
                tries = entry.tries;
                return;
            }
            if values.len() >= MOST_VALUES {
                values.remove(0);
            }
            values.push(Refused { value, tries });
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
