//! Whether a card has the disk that the installer of its wanted image needs.
//!
//! Asked before an install begins, and never of what is under way: disks change, and one that nobody
//! tells any more is no reason to take a medium from under an installer. A word counts as long as its
//! agent is alive, or if it was when Lockstep took its system down.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::host::CardRecord;
use lockstep_crds::report::Vantage;

use crate::card::machine;
use crate::intent::Intent;
use crate::reach;
use crate::reason::Reason;
use crate::requirement::{self, Judgement};
use crate::vetting::Vetting;
use crate::view::{CardView, DisksSeen, LeaseSeen, Room};

/// Whether the card has the disk that an image needs, by its version. `Err` is what is awaited.
pub(crate) fn has(
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    image: &str,
    vetting: &Vetting,
    now: Timestamp,
) -> Result<(), Intent> {
    let Some(room) = &vetting.room else {
        return Ok(());
    };
    let machine = machine(card);
    match judge(room, |seen| is_believed(record, kept, seen, now)) {
        Judgement::Met => Ok(()),
        Judgement::NotMet(why) => Err(Intent::stall(
            Reason::ImageDoesNotFit,
            format!("{image} is not made for {machine}: {why}"),
        )),
        Judgement::NotKnown(why) => Err(Intent::wait(
            Reason::ImageFitNotKnown,
            format!("whether {image} is made for {machine} is not known: {why}"),
            reach::SILENCE,
        )),
    }
}

/// Judges by the words that count: the first that tells whether there is such a disk decides. After
/// one that lacks something, only a disk that is large enough does.
pub fn judge(room: &Room, counts: impl Fn(&DisksSeen) -> bool) -> Judgement {
    let needs = format!("it needs a disk of {} bytes, and", room.wanted);
    let mut lacks = None;
    let mut silent = None;
    for seen in &room.told {
        let said = said(seen);
        if !counts(seen) {
            silent.get_or_insert(format!("{needs} {said}, which nobody vouches for now"));
            continue;
        }
        if matches!(&seen.largest, Some((_, bytes)) if *bytes >= room.wanted) {
            return Judgement::Met;
        }
        if seen.is_whole && lacks.is_none() {
            return Judgement::NotMet(format!("{needs} {said}"));
        }
        lacks.get_or_insert(format!("{needs} {said}, which lacks a disk or a size"));
    }
    let nobody = || format!("{needs} nobody has told the card's (disks of its DpuInventory)");
    Judgement::NotKnown(lacks.or(silent).unwrap_or_else(nobody))
}

fn said(seen: &DisksSeen) -> String {
    let DisksSeen {
        from, report, at, ..
    } = seen;
    let told = format!("as report {report} ({from}) told at {at}");
    match &seen.largest {
        Some((name, bytes)) => format!("the card's largest is {name} with {bytes}, {told}"),
        None if seen.is_whole => format!("the card has none, {told}"),
        None => format!("none has a size, {told}"),
    }
}

/// Whether a word counts: its agent is alive, or was until we took its system down.
fn is_believed(
    record: &DpuHostStatus,
    kept: &CardRecord,
    seen: &DisksSeen,
    now: Timestamp,
) -> bool {
    let is_taken_down = match seen.from {
        Vantage::CardOs => {
            // What an installer may have written over does not speak again.
            let is_written = kept.booted_at.is_some() || kept.roll_back.is_some();
            is_written && kept.observed_at.is_none() || went_with_host(record, seen.agent)
        }
        Vantage::HostOs
        | Vantage::CardBmc
        | Vantage::HostBmc
        | Vantage::FoundBmc
        | Vantage::Site
        | Vantage::Scan
        | Vantage::Spec
        | Vantage::Unrecognized(_) => false,
    };
    is_taken_down || requirement::is_believed(record, kept, (&seen.from, seen.agent), now)
}

/// Whether a card's system that lost its power with the host that we hold was alive until then, but for
/// the time in which the host went down.
fn went_with_host(record: &DpuHostStatus, agent: Option<LeaseSeen>) -> bool {
    let both = record.hold.as_ref().zip(agent);
    both.is_some_and(|(hold, agent)| {
        hold.since.0.duration_since(agent.renewed) <= agent.duration + reach::SILENCE
    })
}
