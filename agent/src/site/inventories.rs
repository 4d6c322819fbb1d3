//! Machines of which somebody wants to know anew what they are made of.
//!
//! A worker reads what it needs to act; what a machine is made of is the search's to read, hours
//! apart. Where an image requires versions of components, the worker passes on that its machine
//! is to be read now.

use std::sync::{Arc, Mutex, PoisonError};

use lockstep_crds::inspection::Inspected;
use lockstep_redfish::SystemIdentity;
use tokio::sync::Notify;

/// What is wanted of the search of a site.
#[derive(Clone, Debug, Default)]
pub struct Inventories {
    wanted: Arc<Mutex<Vec<Wanted>>>,
    grew: Arc<Notify>,
}

/// One machine that is to be read.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What it showed to its worker.
    pub identity: SystemIdentity,
    /// The inspection that the reading answers.
    pub inspected: Inspected,
}

impl Inventories {
    /// A machine is to be read; one that is wanted already is wanted for the later inspection.
    pub fn want(&self, identity: &SystemIdentity, inspected: &Inspected) {
        let mut wanted = self.wanted();
        wanted.retain(|one| one.identity != *identity);
        wanted.push(Wanted {
            identity: identity.clone(),
            inspected: inspected.clone(),
        });
        drop(wanted);
        self.grew.notify_one();
    }

    /// Waits until there is something to take.
    pub async fn grew(&self) {
        self.grew.notified().await;
    }

    /// What is wanted and nobody has taken yet.
    pub fn take(&self) -> Vec<Wanted> {
        std::mem::take(&mut *self.wanted())
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, Vec<Wanted>> {
        // Entries are whole: a panic elsewhere cannot leave one half written.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
