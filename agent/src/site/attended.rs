//! BMCs that their workers see, so that the search need not ask them too.
//!
//! In steady state a BMC is asked once a poll interval. Discovery and the worker of an object that
//! was proposed would each ask, so the worker vouches: whoever read its machine's system lately,
//! and found the machine that is meant, knows as much as a look at the service root tells.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_crds::bmc::place;
use lockstep_redfish::SpkiPin;
use tokio::time::Instant;

/// What a worker vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// When it saw the machine.
    pub at: Instant,
    /// The key that the BMC proved to have. A worker may trust more than one, and whoever goes by
    /// its word must not miss that it is another.
    pub pin: Option<SpkiPin>,
}

/// The BMCs of a site, by their places.
#[derive(Clone, Debug, Default)]
pub struct Attended(Arc<Mutex<HashMap<String, Attendance>>>);

impl Attended {
    /// The machine that is meant answered at this address.
    pub fn saw(&self, address: &str, attendance: Attendance) {
        self.all().insert(place(address), attendance);
    }

    /// It did not, or nobody looks there any more.
    pub fn lost(&self, address: &str) {
        self.all().remove(&place(address));
    }

    /// Who vouches for this address.
    pub fn of(&self, address: &str) -> Option<Attendance> {
        self.all().get(&place(address)).cloned()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Attendance>> {
        // Entries are replaced whole: a panic elsewhere cannot leave one half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
