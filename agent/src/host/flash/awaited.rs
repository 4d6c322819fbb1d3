//! Firmware that was flashed, and that the operator waits to see running.
//!
//! A driver tells nobody when its device runs another version, and a card whose power was cycled need
//! not leave the bus of its host: so the machine is read now and then, as long as anybody waits.

use std::time::Duration;

use lockstep_crds::DpuHost;
use lockstep_crds::inventory::InstallMethod;
use tokio::time::Instant;

use crate::host::push::Pusher;

/// Between readings.
const READ_EVERY: Duration = Duration::from_secs(60);

/// Whether the record of a card of this host waits for what was flashed.
fn is_awaited(host: &DpuHost) -> bool {
    let cards = host.status.iter().flat_map(|status| &status.cards);
    let mut components = cards.flat_map(|card| &card.components);
    components.any(|one| one.method == Some(InstallMethod::DevlinkFlash) && one.begun_at.is_some())
}

impl Pusher {
    /// Has the machine read again, if that is due.
    pub(in crate::host) fn look_after_flashes(&mut self, host: &DpuHost) {
        let is_due = |read: &Instant| read.elapsed() >= READ_EVERY;
        if is_awaited(host) && self.read_at.as_ref().is_none_or(is_due) {
            self.read_at = Some(Instant::now());
            self.changed.notify_one();
        }
    }
}
