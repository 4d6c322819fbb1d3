//! Whether the filesystems of a card came through its last boot consistent, as its own agent tells.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::condition::{self, FILESYSTEMS_CONSISTENT};
use lockstep_crds::directive::{ActionKind, OutcomeKind};
use lockstep_crds::report::{FilesystemReport, FilesystemState, OsReport};
use lockstep_crds::{DpuHostStatus, DpuStatus};

use crate::card::machine;
use crate::ledger;
use crate::view::CardView;

/// How long before a boot a power cut counts as what that boot came after.
const BEFORE: SignedDuration = SignedDuration::from_hours(1);

/// Shows it; of a card that is silent what was shown last stays.
pub(crate) fn show_filesystems(
    record: &DpuHostStatus,
    card: &CardView,
    status: &mut DpuStatus,
    now: Timestamp,
) {
    let Some(os) = card.live_os(now) else { return };
    let Some(told) = &os.filesystems else {
        condition::remove(&mut status.conditions, FILESYSTEMS_CONSISTENT);
        return;
    };
    let damaged: Vec<&FilesystemReport> = told
        .iter()
        .filter(|one| one.state != FilesystemState::Replayed)
        .collect();
    let (holds, reason, message) = if damaged.is_empty() && told.is_empty() {
        (
            true,
            "AsWanted",
            "nothing was found wrong with them".to_owned(),
        )
    } else if damaged.is_empty() {
        let what = format!(
            "in use when power went, and consistent since their journals were replayed: {}{}",
            listed(told.iter()),
            cut_before(record, card, os)
        );
        (true, "JournalReplayed", what)
    } else {
        let what = format!(
            "{}{}. Save what is needed; then check them from another system, or have the card wiped (docs/wipe.md), after which what is wanted is installed anew",
            listed(damaged.into_iter()),
            cut_before(record, card, os)
        );
        (false, "FilesystemDamaged", what)
    };
    condition::set(
        &mut status.conditions,
        FILESYSTEMS_CONSISTENT,
        holds,
        reason,
        &condition::truncated(&message),
        card.dpu.metadata.generation,
        &Time(now),
    );
}

fn listed<'a>(told: impl Iterator<Item = &'a FilesystemReport>) -> String {
    let one = |one: &FilesystemReport| {
        let words = one.message.as_ref();
        let words = words.map_or_else(String::new, |words| format!(" ({words})"));
        format!("{} at {}{words}", one.what, one.mount_point)
    };
    let all: Vec<String> = told.map(one).collect();
    all.join(", ")
}

/// That its power was cut by us before it booted, if it was.
fn cut_before(record: &DpuHostStatus, card: &CardView, os: &OsReport) -> String {
    let report = card.os.as_ref();
    let booted = report.map(|report| {
        let up = SignedDuration::from_secs(os.uptime_seconds.max(0));
        report.observed_at.0.saturating_sub(up)
    });
    let Some(booted) = booted.and_then(Result::ok) else {
        return String::new();
    };
    let name = machine(card);
    let cut = record.history.iter().rev().find(|entry| {
        ledger::is_about(&entry.what, &name)
            && ledger::kind_of(&entry.what) == ActionKind::ForceOff
            && entry.outcome != OutcomeKind::Failed
            && entry.at.0 <= booted
            && booted <= entry.at.0 + BEFORE
    });
    cut.map_or_else(String::new, |cut| {
        format!("; Lockstep had cut the card's power at {}", cut.at.0)
    })
}
