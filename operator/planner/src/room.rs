//! Whether a card has the disk that the installer of its wanted image needs.
//!
//! Asked before an install begins, and never of what is under way: disks change, and no medium is taken
//! from under an installer for one. Words count as long as their agents are alive. A disk of which nobody
//! tells is no obstacle: who could tell is often the very system that an install brings. Nor is it asked for
//! firmware and services, which install nothing there.

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
    let wanted = room.wanted;
    let not_known = |why: &str| {
        Judgement::NotKnown(format!(
            "no obstacle by itself: an install stops only where all who are alive tell of all disks and none has the {wanted} bytes that it needs; {why}"
        ))
    };
    let told: Vec<&DisksSeen> = room.told.iter().filter(|seen| counts(seen)).collect();
    let is_enough =
        |seen: &DisksSeen| matches!(&seen.largest, Some((_, bytes)) if *bytes >= wanted);
    if told.iter().any(|seen| is_enough(seen)) {
        return Judgement::Met;
    }
    if let Some(lacking) = told.iter().find(|seen| !seen.is_whole) {
        return not_known(&format!("{}, which lacks a disk or a size", said(lacking)));
    }
    match told.first() {
        Some(first) => Judgement::NotMet(format!(
            "it needs a disk of {wanted} bytes, and {}",
            said(first)
        )),
        None => not_known("nobody tells of any (disks of its DpuInventory)"),
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
