//! BMCs that their workers see, so that the search need not ask them too.
//!
//! In steady state a BMC is asked once a poll interval. Discovery and the worker of an object that
//! was proposed would each ask, so the worker vouches: whoever read its machine's system lately,
//! and found the machine that is meant, knows as much as a look at the service root tells. What
//! the root alone shows it passes on whenever it has read that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_crds::bmc::place;
use lockstep_redfish::{Service, SpkiPin, SystemIdentity};
use tokio::time::Instant;
use url::Url;

/// What a worker vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// When it saw the machine.
    pub at: Instant,
    /// The key that the BMC proved to have. A worker may trust more than one, and whoever goes by
    /// its word must not miss that it is another.
    pub pin: Option<SpkiPin>,
    /// Which machine that is.
    pub machine: Option<SystemIdentity>,
    /// What it saw of the service when it read the machine whole, and when it had.
    pub service: Option<(Instant, Service)>,
}

/// The BMCs of a site.
#[derive(Clone, Debug, Default)]
pub struct Attended(Arc<Mutex<HashMap<Place, Attendance>>>);

/// Who is spoken to, and how: HTTP and HTTPS of one place may be two programs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    scheme: String,
    port: Option<u16>,
    place: String,
}

impl Place {
    fn at(address: &str) -> Self {
        let url = Url::parse(address.trim()).ok();
        Self {
            scheme: url.as_ref().map_or("", Url::scheme).to_owned(),
            port: url.as_ref().and_then(Url::port_or_known_default),
            place: place(address),
        }
    }
}

impl Attended {
    /// The machine that is meant answered at this address.
    pub fn saw(&self, address: &str, attendance: Attendance) {
        self.all().insert(Place::at(address), attendance);
    }

    /// It did not, or nobody looks there any more.
    pub fn lost(&self, address: &str) {
        self.all().remove(&Place::at(address));
    }

    /// Who vouches for this address.
    pub fn of(&self, address: &str) -> Option<Attendance> {
        self.all().get(&Place::at(address)).cloned()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Attendance>> {
        // Entries are replaced whole: a panic elsewhere cannot leave one half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_http_vouches_for_no_https_of_the_same_place() {
        let attended = Attended::default();
        let seen = Attendance {
            at: Instant::now(),
            pin: None,
            machine: None,
            service: None,
        };
        attended.saw("http://BMC.example./redfish/v1", seen.clone());
        for same in ["http://bmc.example", "http://bmc.example:80/"] {
            assert_eq!(attended.of(same), Some(seen.clone()), "{same}");
        }
        for other in [
            "https://bmc.example",
            "https://bmc.example:80",
            "http://bmc.example:443",
            "http://bmc.example:8080",
        ] {
            assert_eq!(attended.of(other), None, "{other}");
            attended.lost(other);
        }
        attended.lost("http://bmc.example:80");
        assert_eq!(attended.of("http://bmc.example"), None);
    }
}
