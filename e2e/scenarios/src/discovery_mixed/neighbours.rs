//! What one that accepts and says nothing costs those that are listed beside it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::fleet::{Front, Half};
use super::trap::Trap;
use crate::report::Report;

/// More than looks at the reports are apart on a busy machine, and less than the one that hangs
/// would cost who waits until its caller gives up.
const NOTHING: Duration = Duration::from_secs(10);
/// Below what the kernel gives to others, so that this one is the first in the agent's order.
const PORTS: std::ops::Range<u16> = 10_000..10_100;

/// The one that says nothing.
pub(super) async fn mute() -> Result<Trap> {
    for port in PORTS {
        if let Ok(trap) = Trap::mute(SocketAddr::from(([127, 0, 0, 1], port))).await {
            return Ok(trap);
        }
    }
    Trap::mute(SocketAddr::from(([127, 0, 0, 1], 0))).await
}

/// When everything was seen first, from the start of the agent.
#[derive(Debug, Default)]
pub(super) struct Seen {
    by_uuid: BTreeMap<String, Duration>,
    hung: Option<Duration>,
}

impl Seen {
    /// Takes in a look at the reports.
    pub(super) fn look<'a>(
        &mut self,
        at: Duration,
        found: impl Iterator<Item = &'a String>,
        mute: &Trap,
    ) {
        for uuid in found {
            self.by_uuid.entry(uuid.clone()).or_insert(at);
        }
        if mute.accepted() > 0 {
            self.hung.get_or_insert(at);
        }
    }

    /// Fails if the neighbours had to wait longer than BMCs of the same kind in another range.
    pub(super) fn compare(&self, fronts: &[Front], report: &mut Report) -> Result<()> {
        let (median, last) = self.of(fronts, Half::BesideMute)?;
        let (median_apart, last_apart) = self.of(fronts, Half::Apart)?;
        report.say(format!(
            "beside the one that hangs, inventories came after {median:?} (median) and {last:?} (last); apart from it after {median_apart:?} and {last_apart:?}"
        ));
        let hung = self.hung.context("nobody called the one that hangs")?;
        ensure!(
            hung <= last,
            "it was called after its neighbours had been found: this shows nothing"
        );
        ensure!(
            median <= median_apart + NOTHING && last <= last_apart + NOTHING,
            "the one that hangs costs its neighbours more than {NOTHING:?}"
        );
        Ok(())
    }

    fn of(&self, fronts: &[Front], half: Half) -> Result<(Duration, Duration)> {
        let mut times = fronts
            .iter()
            .filter(|front| front.half == half)
            .map(|front| self.by_uuid.get(&front.uuid).copied())
            .collect::<Option<Vec<Duration>>>()
            .context("not every BMC was seen")?;
        times.sort();
        let last = times.last().copied().context("an empty range")?;
        Ok((times[times.len() / 2], last))
    }
}
