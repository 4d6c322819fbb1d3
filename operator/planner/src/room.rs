//! Whether a card has the disk that the installer of its wanted image needs.
//!
//! Asked before an install begins, and never of what is under way: disks change, and no medium is taken
//! from under an installer for one. Words count as long as their agents are alive. A disk of which nobody
//! tells is no obstacle: who could tell is often the very system that an install brings.

use jiff::Timestamp;

use crate::card::machine;
use crate::intent::Intent;
use crate::reason::Reason;
use crate::requirement::Judgement;
use crate::vetting::Vetting;
use crate::view::{CardView, DisksSeen, Room};

/// Whether nobody who is alive says that the card lacks the disk that an image needs, by its version.
/// `Err` says who does.
pub(crate) fn allows(
    card: &CardView,
    image: &str,
    vetting: &Vetting,
    now: Timestamp,
) -> Result<(), Intent> {
    let Some(room) = &vetting.room else {
        return Ok(());
    };
    let is_alive = |seen: &DisksSeen| seen.agent.is_some_and(|lease| lease.is_fresh(now));
    match judge(room, is_alive) {
        Judgement::Met | Judgement::NotKnown(_) => Ok(()),
        Judgement::NotMet(why) => Err(Intent::stall(
            Reason::ImageDoesNotFit,
            format!("{image} is not made for {}: {why}", machine(card)),
        )),
    }
}

/// Judges by the words that count. There is no room where all of them know every disk, and none knows one
/// that is large enough.
pub fn judge(room: &Room, counts: impl Fn(&DisksSeen) -> bool) -> Judgement {
    let needs = format!("it needs a disk of {} bytes, and", room.wanted);
    let told: Vec<&DisksSeen> = room.told.iter().filter(|seen| counts(seen)).collect();
    let is_enough =
        |seen: &DisksSeen| matches!(&seen.largest, Some((_, bytes)) if *bytes >= room.wanted);
    if told.iter().any(|seen| is_enough(seen)) {
        return Judgement::Met;
    }
    if let Some(lacking) = told.iter().find(|seen| !seen.is_whole) {
        let said = said(lacking);
        return Judgement::NotKnown(format!("{needs} {said}, which lacks a disk or a size"));
    }
    match told.first() {
        Some(first) => Judgement::NotMet(format!("{needs} {}", said(first))),
        None => Judgement::NotKnown(format!(
            "{needs} nobody tells the card's (disks of its DpuInventory)"
        )),
    }
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
