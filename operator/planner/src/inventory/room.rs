//! What is told of a card's disks, by everybody who tells of them.

use lockstep_crds::inventory::{Disk, DiskList};

use super::JoinedCard;
use crate::view::{DisksSeen, LeaseSeen, Room};

/// The disk that an image needs, and what is told of the card's; `agent` tells the Lease of whoever
/// wrote a report, if what that is about answers.
pub fn room(
    joined: Option<&JoinedCard>,
    wanted: i64,
    agent: impl Fn(&str) -> Option<LeaseSeen>,
) -> Room {
    let told = joined.into_iter().flat_map(|joined| &joined.disks);
    let seen = told.map(|told| DisksSeen {
        largest: largest(&told.facts),
        is_whole: is_whole(&told.facts),
        from: told.from.clone(),
        report: told.report.clone(),
        at: told.observed_at.0,
        agent: agent(&told.report),
    });
    Room {
        wanted,
        told: seen.collect(),
    }
}

/// What comes and goes, as virtual media do, lies elsewhere, or is memory of which firmware has made a
/// disk.
fn counts(disk: &Disk) -> bool {
    let is_elsewhere = matches!(
        disk.kind.as_deref(),
        Some("Usb" | "Optical" | "NvmeOverFabrics" | "Iscsi" | "FibreChannel")
    );
    !is_elsewhere && !disk.name.starts_with("pmem")
}

fn largest(list: &DiskList) -> Option<(String, i64)> {
    let fixed = list.disks.iter().filter(|disk| counts(disk));
    let sized = fixed.filter_map(|disk| Some((disk.name.clone(), disk.size_bytes?)));
    sized.max_by_key(|(_, bytes)| *bytes)
}

/// Whether it lacks neither a disk nor a size.
fn is_whole(list: &DiskList) -> bool {
    let mut fixed = list.disks.iter().filter(|disk| counts(disk));
    list.omitted == 0 && fixed.all(|disk| disk.size_bytes.is_some())
}
