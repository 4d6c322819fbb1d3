//! An image that brings firmware along with its system: whether all of it runs, once the system does.
//!
//! An installer may end well with a part of it that failed. Nothing is installed again for that: what is
//! missing is told, and the card is not Ready. Its host does not wait for it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::DpuBootPolicySpec;
use lockstep_crds::drift::Drift;
use lockstep_crds::host::CardRecord;

use crate::card::machine;
use crate::firmware;
use crate::firmware_record::runs;
use crate::intent::Intent;
use crate::reason::Reason;
use crate::requirement::{self, Judgement};
use crate::view::{CardView, Required, View};

/// What of the wanted image does not run on a card whose system does; `None`: all of it runs.
pub(crate) fn lacks(
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Option<String> {
    let judged = card.brought.iter().map(|brought| {
        let component = &brought.requirement.component;
        let found = requirement::judge(brought, |seen| {
            requirement::is_believed(record, kept, seen, now)
        });
        (component, found)
    });
    let mut unknown = None;
    for (component, found) in judged {
        match found {
            Judgement::Met => {}
            Judgement::NotMet(why) => return Some(why),
            Judgement::NotKnown(why) => {
                unknown.get_or_insert_with(|| format!("what {component} runs is not known: {why}"));
            }
        }
    }
    // What was seen to run is not taken back by somebody's silence.
    unknown.filter(|_| kept.brought_at.is_none())
}

/// All that the image brings runs.
pub(crate) fn notice(
    record: &DpuHostStatus,
    card: &CardView,
    kept: &mut CardRecord,
    now: Timestamp,
) {
    // Another image than the one that brings them is what was seen then.
    let is_of_it = kept.roll_back.is_none() && !card.brought.is_empty();
    let runs = kept.observed_at.is_some() && is_of_it;
    if runs && kept.brought_at.is_none() && lacks(record, card, kept, now).is_none() {
        kept.brought_at = Some(Time(now));
    }
}

/// An install of ours may put firmware in the place of what `firmwareRefs` name: what it brought is nobody
/// else's change. BMCs take some time to show it.
pub(crate) fn notice_overwritten(
    view: &View,
    card: &CardView,
    kept: &mut CardRecord,
    now: Timestamp,
) {
    let Some(facts) = view.card_bmc(card, now) else {
        return;
    };
    let brought: &[Required] = match (&kept.roll_back, &card.fallback) {
        (None, _) => &card.brought,
        (Some(_), Some(back)) if kept.image.as_ref() == Some(&back.image) => &back.brought,
        (Some(_), _) => &[],
    };
    let installs = view.policy.as_ref().map(|policy| &policy.spec.install);
    let timeout = installs.map_or(0, |install| install.firmware_timeout_seconds);
    let seen = kept
        .observed_at
        .as_ref()
        .filter(|_| kept.booted_at.is_some());
    let is_of_install = seen.is_some_and(|seen| now < seen.0 + SignedDuration::from_secs(timeout));
    let CardRecord {
        components, drift, ..
    } = kept;
    for one in components
        .iter_mut()
        .filter(|one| one.observed_at.is_some())
    {
        let shown = firmware::shown(facts, &one.component);
        let Some(running) = shown.and_then(|shown| shown.running.as_deref()) else {
            continue;
        };
        let mut brings = brought.iter().map(|brought| &brought.requirement.component);
        let is_known = |known: &Drift| known.what == one.component && known.version == running;
        if runs(running, &one.image.version) {
            one.brought = None;
        } else if is_of_install
            && brings.any(|name| *name == one.component)
            && !drift.iter().any(is_known)
        {
            one.brought = Some(running.to_owned());
        }
    }
}

/// What is said of a card that runs its system and not all that the image brought. BMCs take some time to
/// show what runs, and what is told may have been read before the install.
pub(crate) fn rest(
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Option<Intent> {
    let why = lacks(record, card, kept, now)?;
    let version = kept.image.as_ref().map_or("", |image| &image.version);
    let what = format!(
        "{} runs the system of {version} and not all that it brings: {why}",
        machine(card)
    );
    let timeout = SignedDuration::from_secs(spec.install.firmware_timeout_seconds);
    let until = kept.observed_at.as_ref().map(|seen| seen.0 + timeout);
    Some(match until.filter(|until| now < *until) {
        Some(until) => Intent::wait_until(Reason::BundleIncomplete, what, until),
        None => Intent::stall(Reason::BundleIncomplete, what),
    })
}
