//! Stops a wrong password before it locks the BMC's account.
//!
//! Tries are counted per target and credentials value, for the life of the
//! process. Only another value, or the BMC accepting this one, clears them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::target::Credentials;

/// Refusals after which a value is not tried again.
const MOST_TRIES: u8 = 2;

/// Values remembered per target; the oldest goes first.
const MOST_VALUES: usize = 16;

#[derive(Debug)]
pub(crate) struct CredentialGate {
    salt: [u8; 32],
    refused: Mutex<HashMap<String, Vec<Refused>>>,
}

#[derive(Debug)]
struct Refused {
    value: [u8; 32],
    tries: u8,
}

impl CredentialGate {
    pub(crate) fn new() -> Self {
        Self {
            salt: rand::random(),
            refused: Mutex::default(),
        }
    }

    /// Whether this value may be tried; else how often it was refused.
    pub(crate) fn check(&self, target: &str, credentials: &Credentials) -> Result<(), u8> {
        let value = self.fingerprint(credentials);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match refused
            .get(target)
            .and_then(|values| values.iter().find(|entry| entry.value == value))
        {
            Some(entry) if entry.tries >= MOST_TRIES => Err(entry.tries),
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a refusal and says how many there are now.
    pub(crate) fn refused(&self, target: &str, credentials: &Credentials) -> u8 {
        let value = self.fingerprint(credentials);
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let values = refused.entry(target.to_owned()).or_default();
        if let Some(entry) = values.iter_mut().find(|entry| entry.value == value) {
            entry.tries = entry.tries.saturating_add(1);
            return entry.tries;
        }
        if values.len() >= MOST_VALUES {
            values.remove(0);
        }
        values.push(Refused { value, tries: 1 });
        1
    }

    /// Forgets the refusals of a value that the BMC took.
    pub(crate) fn accepted(&self, target: &str, credentials: &Credentials) {
        let value = self.fingerprint(credentials);
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = refused.get_mut(target) {
            values.retain(|entry| entry.value != value);
            if values.is_empty() {
                refused.remove(target);
            }
        }
    }

    /// Salted, so that memory holds nothing to guess passwords against offline
    /// with tables made beforehand.
    fn fingerprint(&self, credentials: &Credentials) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.salt)
            .chain_update(credentials.username.len().to_le_bytes())
            .chain_update(&credentials.username)
            .chain_update(&credentials.password)
            .finalize()
            .into()
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
        let gate = CredentialGate::new();
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
        let gate = CredentialGate::new();
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
        let gate = CredentialGate::new();
        for n in 0..100 {
            gate.refused("a", &credentials(&n.to_string()));
        }
        assert_eq!(gate.refused.lock().unwrap()["a"].len(), MOST_VALUES);
    }

    #[test]
    fn debug_shows_no_password() {
        let gate = CredentialGate::new();
        gate.refused("a", &credentials("hunter2"));
        assert!(!format!("{gate:?}").contains("hunter2"));
    }
}
