//! The hold by taint: which Node is to carry it and how strongly, and when it counts.
//!
//! A taint is state, not an act: the record says that the host is held, the operator
//! makes its Node look like that, and only the Node as it is seen counts. So nothing
//! depends on when an operator dies: whoever comes next sees the same difference.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::directive::Step;
use lockstep_crds::host::{HeldBy, HoldState, HoldStatus};

use crate::decision::{NodeTaint, TaintEffect};
use crate::host::machine;
use crate::intent::{Intent, TaintStep};
use crate::reason::Reason;
use crate::view::View;
use crate::{custody, ledger};

/// How long the API server may take to show a taint.
const TAINTED_WITHIN: SignedDuration = SignedDuration::from_mins(3);

/// Whether the hold in force is one by taint.
pub(crate) fn holds(record: &DpuHostStatus) -> bool {
    record
        .hold
        .as_ref()
        .is_some_and(|hold| hold.mechanism == HeldBy::NodeTainted)
}

/// The Node that is to be tainted, and how.
///
/// A host that is held by taint was not up before it: nothing may run there, bound to
/// the Node earlier or not. A host that somebody brought up though it was held may have
/// been serving for a while, so nothing new comes to it and nothing is evicted.
fn wanted<'a>(view: &'a View, record: &'a DpuHostStatus) -> Option<(&'a str, TaintEffect)> {
    let hold = record.hold.as_ref()?;
    let effect = match (&hold.mechanism, &hold.state) {
        (HeldBy::NodeTainted, _) => TaintEffect::NoExecute,
        (_, HoldState::HoldBroken) => TaintEffect::NoSchedule,
        (
            HeldBy::PoweredOff | HeldBy::Unrecognized(_),
            HoldState::Beginning
            | HoldState::PoweredOff
            | HoldState::NodeTainted
            | HoldState::Unrecognized(_),
        ) => return None,
    };
    let named = view.node_name.as_deref();
    let node = hold.node.as_deref().or(named)?;
    // Only of the Node that the host has now is it known whether it exists.
    let exists = named == Some(node) && view.node.is_some();
    (exists || view.tainted.contains_key(node)).then_some((node, effect))
}

/// Has cards wait for what comes `first` before a hold by taint begins for them; tells whether any
/// does.
pub(crate) fn put_off(cards: &mut [Intent], first: &Intent) -> bool {
    let mut waits = false;
    for card in cards {
        if matches!(card, Intent::Taint(TaintStep::Begin { .. })) {
            *card = first.clone();
            waits = true;
        }
    }
    waits
}

/// The Node that a hold by taint is about: another one that the host is said to have since was
/// not looked at before the hold, and may be serving.
fn node_of_hold(record: &DpuHostStatus) -> Option<&str> {
    record.hold.as_ref()?.node.as_deref()
}

/// What has to change at the Nodes so that they look as the record says.
pub(crate) fn changes(view: &View, record: &DpuHostStatus) -> Vec<NodeTaint> {
    let wanted = wanted(view, record);
    let mut changes: Vec<NodeTaint> = view
        .tainted
        .keys()
        .filter(|node| wanted.is_none_or(|(name, _)| name != node.as_str()))
        .map(|node| NodeTaint {
            node: node.clone(),
            effect: None,
        })
        .collect();
    if let Some((node, effect)) = wanted
        && view.tainted.get(node).map(Vec::as_slice) != Some(&[effect])
    {
        changes.push(NodeTaint {
            node: node.to_owned(),
            effect: Some(effect),
        });
    }
    changes
}

/// Whether the host's Node is seen to carry the taint that keeps everything off it.
pub(crate) fn is_in_place(view: &View, record: &DpuHostStatus) -> bool {
    let named = view.node_name.as_ref();
    let same = |node: &&String| node_of_hold(record).is_none_or(|held| held == node.as_str());
    named
        .filter(same)
        .and_then(|node| view.tainted.get(node))
        .is_some_and(|effects| effects.contains(&TaintEffect::NoExecute))
}

/// Patience until the Node is seen tainted.
pub(crate) fn awaited(view: &View, record: &DpuHostStatus) -> Intent {
    let machine = machine(view);
    if let Some(held) = node_of_hold(record)
        && view.node_name.as_deref() != Some(held)
    {
        return Intent::stall(
            Reason::HoldNeedsNode,
            format!(
                "{machine} is held by the taint of Node {held}, and its Node is {} now, which is not tainted for that: name {held} again, or let the hold end and have the cards installed after it",
                view.node_name.as_deref().unwrap_or("unknown")
            ),
        );
    }
    let Some(node) = view.node.as_ref().and(view.node_name.as_ref()) else {
        return Intent::stall(
            Reason::HoldNeedsNode,
            format!("{machine} is held by taint, and its Node is gone"),
        );
    };
    Intent::wait(
        Reason::TaintingNode,
        format!("{machine} is held by the taint of Node {node}, which does not show it yet"),
        TAINTED_WITHIN,
    )
}

/// Books the beginning or the end of a hold by taint; the Node follows the record.
pub(crate) fn book(view: &View, record: &mut DpuHostStatus, step: &TaintStep, now: Timestamp) {
    match step {
        TaintStep::Begin { .. } => {
            let timeout = ledger::host_wait(view).timeout_seconds;
            record.step = Some(Step::HoldHost);
            record.hold = Some(HoldStatus {
                seq: record.seq,
                mechanism: HeldBy::NodeTainted,
                state: HoldState::NodeTainted,
                since: Time(now),
                deadline: Time(now + SignedDuration::from_secs(timeout)),
                work_order: None,
                releasing: None,
                node: view.node_name.clone(),
                broken_by: None,
            });
        }
        TaintStep::End { reason, .. } => {
            record.step = Some(Step::ReleaseHost);
            custody::end_hold(record, reason.clone(), now);
        }
    }
}
