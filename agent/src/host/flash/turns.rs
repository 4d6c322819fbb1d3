//! Turns at devices: whoever asks a driver may wait for its answer for ever, and nobody can end that. So
//! each device has one asker at most, and no more threads wait than there are devices.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_local::netlink::Handle;

/// The devices at which somebody is.
#[derive(Clone, Debug, Default)]
pub(in crate::host) struct Turns(Arc<Mutex<BTreeSet<String>>>);

/// One asker's turn at a device, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    device: String,
}

impl Turns {
    /// The next turn; `None` as long as an earlier asker has no answer.
    pub(super) fn take(&self, handle: &Handle) -> Option<Turn> {
        let device = handle.to_string();
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(device.clone()).then(|| Turn {
            turns: self.clone(),
            device,
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.device);
    }
}
