//! How a host is going to be held: the first of the policy's mechanisms that it can honour.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{DpuBootPolicySpec, HoldMechanism, OnTimeout};
use lockstep_crds::directive::{Action, ActionKind, Step, WorkOrder};
use lockstep_crds::host::{Disruption, SlotPower};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::host::{expects, machine, target};
use crate::intent::{Draft, Intent, TaintStep, plain};
use crate::node_binding::node_in_doubt;
use crate::reason::Reason;
use crate::slot_power;
use crate::stage;
use crate::view::View;

/// Why a hold by taint needs leave to disturb the host.
pub(crate) const BESIDE: &str = "its cards are changed beside a host that is up";

/// How the host is going to be held.
pub(crate) enum Mechanism {
    /// By its BMC.
    PoweredOff,
    /// By its Node; this begins it.
    NodeTainted(Intent),
}

/// The first of the policy's mechanisms that this host can honour. If there is none, the
/// first one's refusal is what people read, with the words of the others.
pub(crate) fn mechanism(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    facts: &BmcReport,
) -> Result<Mechanism, Intent> {
    let mut refused: Vec<(Reason, String)> = Vec::new();
    for wanted in &spec.hold.mechanisms {
        let refusal = match wanted {
            HoldMechanism::PoweredOff => match no_power_hold(view, record, facts) {
                None => return Ok(Mechanism::PoweredOff),
                Some(why) => why,
            },
            HoldMechanism::NodeTainted => match no_taint_hold(view, spec) {
                None => return Ok(Mechanism::NodeTainted(begin_taint(view, &refused))),
                Some(why) => (Reason::HoldNeedsNode, why),
            },
        };
        refused.push(refusal);
    }
    let reason = refused
        .first()
        .map_or(Reason::HoldNeedsSlotPower, |(reason, _)| *reason);
    Err(Intent::stall(
        reason,
        format!(
            "{} is to be held, and {}",
            machine(view),
            join_words(&refused)
        ),
    ))
}

fn join_words(refused: &[(Reason, String)]) -> String {
    let words: Vec<&str> = refused.iter().map(|(_, why)| why.as_str()).collect();
    words.join("; ")
}

fn no_power_hold(
    view: &View,
    record: &DpuHostStatus,
    facts: &BmcReport,
) -> Option<(Reason, String)> {
    if slot_power::effective(view, record) != SlotPower::Yes {
        let why = format!(
            "PoweredOff needs slots that keep power: {}",
            said(view, record)
        );
        return Some((Reason::HoldNeedsSlotPower, why));
    }
    let lack = stage::may_be_cycled(facts).err()?;
    let why = format!("PoweredOff needs a BMC that takes it down and powers it on again: {lack}");
    Some((Reason::CapabilityMissing, why))
}

fn no_taint_hold(view: &View, spec: &DpuBootPolicySpec) -> Option<String> {
    let host = &view.host.spec;
    if spec.host_wait.on_timeout == OnTimeout::PowerOff {
        return Some("NodeTainted cannot power the host off when the wait ends".to_owned());
    }
    let Some(node) = &view.node_name else {
        return Some(
            "NodeTainted needs a Node, and nodeName is not set and no agent proves which it is"
                .to_owned(),
        );
    };
    if view.node.is_none() {
        return Some(format!(
            "NodeTainted needs a Node, and {node} does not exist"
        ));
    }
    if let Some(why) = node_in_doubt(view) {
        return Some(format!("NodeTainted needs to know the Node, and {why}"));
    }
    (host.disruption == Disruption::Never)
        .then(|| format!("NodeTainted needs disruption: Allowed: {BESIDE}"))
}

fn begin_taint(view: &View, refused: &[(Reason, String)]) -> Intent {
    let node = view.node_name.as_deref().unwrap_or("(none)");
    let instead = if refused.is_empty() {
        String::new()
    } else {
        format!(" ({})", join_words(refused))
    };
    Intent::Taint(TaintStep::Begin {
        message: format!("holding the host by a taint of Node {node}{instead}"),
    })
}

/// What is known of slot power, in words.
pub(crate) fn said(view: &View, record: &DpuHostStatus) -> String {
    record.slot_power.as_ref().map_or_else(
        || {
            format!(
                "slotPowerWhenHostOff is {:?}",
                view.host.spec.slot_power_when_host_off
            )
        },
        |known| format!("measured {:?}: {}", known.value, known.evidence),
    )
}

/// What ends a hold, or the taking down for one, if nobody else does (S14).
pub(crate) fn work_order(spec: &DpuBootPolicySpec, now: Timestamp) -> WorkOrder {
    let expires = now + SignedDuration::from_secs(spec.hold.orphan_after_seconds);
    WorkOrder {
        expires_at: Time(expires),
        on_orphan: spec.hold.on_orphan.into(),
    }
}

/// The directive that has the host's BMC keep it off.
pub(crate) fn hold(view: &View, spec: &DpuBootPolicySpec, now: Timestamp) -> Draft {
    Draft {
        step: Step::HoldHost,
        target: target(view),
        action: Action {
            work_order: Some(work_order(spec, now)),
            ..plain(ActionKind::HoldHost)
        },
        expects: expects(view, Some(PowerState::Off), false),
        settle_seconds: 30,
        message: "holding the host powered off until its cards are ready".to_owned(),
        release: None,
    }
}
