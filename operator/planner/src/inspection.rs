//! Nothing begins on what was seen while a power domain was at rest (S5).
//!
//! The first step for a card goes to its host, or is a taint of the operator's own: no executor
//! reads the card before. So a domain that leaves its rest is inspected, and nothing begins
//! before every machine that answers has been read since. What takes back what was begun does
//! not wait for that.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::inspection::{Inspected, Inspection, MOST_REPORTS};
use lockstep_crds::report::Vantage;
use lockstep_crds::{DpuHostStatus, DpuReportSpec};

use crate::approval::is_approved;
use crate::card;
use crate::firmware;
use crate::host;
use crate::intent::Intent;
use crate::reach;
use crate::reason::Reason;
use crate::view::{CardView, View};

/// What must be read before anything begins; `None` if all of it was.
pub(crate) fn awaited(view: &View, now: Timestamp) -> Option<Intent> {
    let unread = unread(view, now);
    (!unread.is_empty()).then(|| {
        Intent::wait(
            Reason::Inspecting,
            format!(
                "everything is read once more before anything begins; not yet: {}",
                unread.join(", ")
            ),
            reach::SILENCE,
        )
    })
}

/// What was not read since the inspection in the record was asked for, in words.
pub(crate) fn unread(view: &View, now: Timestamp) -> Vec<String> {
    let components = components(view, now);
    let record = view.host.status.as_ref();
    let asked = record.and_then(|record| record.inspection.as_ref());
    let has_rested = asked.is_some() || record.is_some_and(DpuHostStatus::is_at_rest);
    if !has_rested && components.is_empty() {
        // It was read all the time since it was made.
        return Vec::new();
    }
    let wanted = asked.map(|asked| asked.of(&view.host_uid()));
    let answers = |inspected: Option<&Inspected>| wanted.is_some() && inspected == wanted.as_ref();
    let is_old = |report: &DpuReportSpec| !answers(report.inspected.as_ref());
    let host = view.host_answer(now).and(view.host_report.as_ref());
    let host = host.filter(|report| is_old(report));
    let cards = view.cards.iter().filter(|card| {
        is_of(view, card)
            && view.card_answer(card, now).is_some()
            && card.report.as_ref().is_some_and(is_old)
    });
    let components = components
        .into_iter()
        .filter(|component| !answers(component.inspected))
        .map(|component| component.what);
    host.map(|_| host::machine(view))
        .into_iter()
        .chain(cards.map(card::machine))
        .chain(components)
        .collect()
}

/// A component that images require and that is known by a search alone, which reads a machine once
/// in hours.
struct Component<'a> {
    what: String,
    report: &'a str,
    /// The inspection that the report answers.
    inspected: Option<&'a Inspected>,
}

/// Whether the card is looked at for this host: its first one, by the agent of one site.
fn is_of(view: &View, card: &CardView) -> bool {
    let spec = &card.dpu.spec;
    let first = spec.host_refs.first();
    spec.site == view.host.spec.site && first.is_some_and(|first| first.name == view.host_name())
}

fn components(view: &View, now: Timestamp) -> Vec<Component<'_>> {
    let is_installed = |card: &CardView| {
        let record = view.host.status.as_ref();
        record.is_some_and(|record| {
            let kept = card::record_of(record, card);
            card::is_installed(record, card)
                && kept.is_some_and(|kept| firmware::is_as_wanted(view, card, kept, now))
        })
    };
    let cards = view.cards.iter();
    let due = cards.filter(|card| is_of(view, card) && is_approved(card) && !is_installed(card));
    let told = due.flat_map(|card| {
        let images = card.firmware.iter().filter_map(|one| one.image.as_ref());
        let of_firmware = images.flat_map(|image| &image.requirements);
        let required = card.requirements.iter().chain(of_firmware);
        let required = required.flat_map(|required| &required.seen);
        let found = required.filter(move |seen| {
            let agent = seen.agent.filter(|lease| lease.is_fresh(now));
            seen.from == Vantage::FoundBmc && agent.is_some()
        });
        found.map(|seen| Component {
            what: format!("{} of {}", seen.name, card::machine(card)),
            report: &seen.report,
            inspected: seen.inspected.as_ref(),
        })
    });
    told.collect()
}

/// The reports of searches that alone tell what is due.
fn needed(view: &View, now: Timestamp) -> Vec<String> {
    let components = components(view, now);
    let reports: BTreeSet<&str> = components
        .iter()
        .map(|component| component.report)
        .collect();
    let reports = reports.into_iter().take(MOST_REPORTS);
    reports.map(str::to_owned).collect()
}

/// Keeps the inspection as long as the domain is not at rest, and asks for one where it leaves
/// its rest. `is_awaited`: whether something waits for it. What it names may change meanwhile: a
/// report that answers it was made since it was asked for, whenever it was named. `then`: the view of which
/// it is to name what is needed.
pub(crate) fn follow(
    view: &View,
    then: &View,
    record: &mut DpuHostStatus,
    is_awaited: bool,
    now: Timestamp,
) {
    let rested = view
        .host
        .status
        .as_ref()
        .is_some_and(DpuHostStatus::is_at_rest);
    let asked = record.inspection.take();
    let rests = record.is_at_rest();
    let kept = asked
        .filter(|_| is_awaited || !rests)
        .map(|asked| asked.asked_at);
    let begins = is_awaited || (rested && !rests);
    let asked_at = kept.or_else(|| begins.then_some(Time(now)));
    record.inspection = asked_at.map(|asked_at| Inspection {
        asked_at,
        reports: needed(then, now),
    });
}
