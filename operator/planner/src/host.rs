//! What the host of a power domain needs: hold, release, and leave to change its cards.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{BootOrder, DpuBootPolicySpec, OnTimeout, WaitUntil};
use lockstep_crds::directive::{Action, ActionKind, Expects, Step, Target, TargetKind, WorkOrder};
use lockstep_crds::dpu::Pairing;
use lockstep_crds::host::{
    Disruption, HoldState, HostRole, ReleaseReason, ReleaseStatus, SlotPower,
};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::{BmcReport, CustodyState};

use crate::decision::Explanation;
use crate::intent::{Draft, Intent, plain};
use crate::reach;
use crate::reason::Reason;
use crate::slot_power;
use crate::stage;
use crate::view::{CardView, View};

/// How long a released host may take to be seen up.
const HOST_UP: SignedDuration = SignedDuration::from_mins(30);

/// Books what the site agent says of the hold in its keeping, and whether the hold is broken.
pub fn absorb_custody(view: &View, record: &mut DpuHostStatus, now: Timestamp) {
    let custody = view
        .host_report
        .as_ref()
        .filter(|report| report.subject_uid == view.host_uid())
        .and_then(|report| report.custody.as_ref());
    let ended = custody.and_then(|custody| match custody.state {
        CustodyState::ExpiredReleased => Some(ReleaseReason::Orphaned),
        CustodyState::ReleasedOffline => Some(ReleaseReason::Manual),
        CustodyState::Kept | CustodyState::ExpiredKeptHeld | CustodyState::Unrecognized(_) => None,
    });
    if let Some(reason) = ended
        && record.hold.take().is_some()
    {
        record.release = Some(ReleaseStatus {
            reason,
            at: Time(now),
        });
    }
    let power = view.host_bmc(now).and_then(|bmc| bmc.power.clone());
    if let Some(hold) = record.hold.as_mut() {
        let up = power == Some(PowerState::On);
        if up && hold.releasing.is_none() && hold.state == HoldState::PoweredOff {
            hold.state = HoldState::HoldBroken;
            hold.broken_by = Some("powered on by somebody other than Lockstep".to_owned());
        } else if power == Some(PowerState::Off) && hold.state == HoldState::HoldBroken {
            hold.state = HoldState::PoweredOff;
            hold.broken_by = None;
        }
    }
}

/// Whether the hold is in force and unbroken.
pub fn is_held(record: &DpuHostStatus) -> bool {
    record
        .hold
        .as_ref()
        .is_some_and(|hold| hold.state == HoldState::PoweredOff && hold.releasing.is_none())
}

/// Whether a hold has lasted as long as the policy allows.
pub fn wait_is_over(record: &DpuHostStatus, now: Timestamp) -> bool {
    record
        .hold
        .as_ref()
        .is_some_and(|hold| now >= hold.deadline.0)
}

/// What the host needs once its cards have said what they need.
///
/// `cards_ready`: every card runs what it should. `deleting`: the host object goes.
pub fn intent(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    cards_ready: bool,
    now: Timestamp,
) -> Intent {
    let deleting = view.host.metadata.deletion_timestamp.is_some();
    let Some(hold) = &record.hold else {
        return if deleting {
            Intent::Done
        } else {
            after_release(view, record, now)
        };
    };
    let end = if deleting || view.cards.is_empty() {
        Some((ReleaseReason::Manual, true))
    } else if cards_ready {
        Some((ReleaseReason::Ready, true))
    } else if wait_is_over(record, now) {
        match spec.host_wait.on_timeout {
            OnTimeout::Continue => Some((ReleaseReason::Timeout, true)),
            OnTimeout::PowerOff => Some((ReleaseReason::Timeout, false)),
            OnTimeout::Hold => {
                return Intent::stall(
                    Reason::HostWaitTimedOut,
                    format!(
                        "the host is held since {} and its wait ended at {} without its cards; the policy says Hold",
                        hold.since.0, hold.deadline.0
                    ),
                );
            }
        }
    } else {
        None
    };
    match end {
        Some((reason, power_on)) => release(view, reason, power_on, now),
        None if hold.state == HoldState::HoldBroken => Intent::stall(
            Reason::HoldBroken,
            format!(
                "the host is up though it was to be held until its cards are ready: {}",
                hold.broken_by.as_deref().unwrap_or("cause unknown")
            ),
        ),
        None => Intent::Done,
    }
}

fn release(view: &View, reason: ReleaseReason, power_on: bool, now: Timestamp) -> Intent {
    let machine = machine(view);
    let facts = reach::proved(
        &machine,
        &view.host_uid(),
        view.host.spec.identity.as_ref(),
        view.host_bmc(now),
        view.host_report.as_ref(),
    );
    if let Err(why) = facts {
        return why;
    }
    let message = if power_on {
        format!("releasing the host ({reason}): putting its settings back and powering it on")
    } else {
        format!("ending the hold ({reason}) and leaving the host powered off, as the policy says")
    };
    Intent::Act(Draft {
        step: Step::ReleaseHost,
        target: target(view),
        action: Action {
            power_on: Some(power_on),
            ..plain(ActionKind::ReleaseHost)
        },
        expects: expects(view, None, false),
        settle_seconds: 120,
        message,
        release: Some(reason),
    })
}

fn after_release(view: &View, record: &DpuHostStatus, now: Timestamp) -> Intent {
    let released = record
        .release
        .as_ref()
        .filter(|release| release.reason == ReleaseReason::Ready);
    let (Some(release), Some(node)) = (released, view.host.spec.node_name.as_ref()) else {
        return Intent::Done;
    };
    if view.node.as_ref().is_some_and(|node| node.ready) {
        return Intent::Done;
    }
    Intent::wait_until(
        Reason::AwaitingHost,
        format!("the host was released; waiting for Node {node} to be Ready"),
        (release.at.0 + HOST_UP).max(now),
    )
}

/// Leave to change a card of this host: everything S12 asks for, and the hold
/// that the policy wants. `Err` is what must happen first.
pub fn leave(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    now: Timestamp,
) -> Result<Leave, Intent> {
    match view.host.spec.role {
        HostRole::ChassisOnly => return Ok(Leave::Granted),
        HostRole::Infrastructure => {
            return Err(Intent::stall(
                Reason::HostIsInfrastructure,
                format!(
                    "{} must not be held or cycled, and changing a card may take it down",
                    machine(view)
                ),
            ));
        }
        HostRole::Server => {}
    }
    require_pairing(view, card)?;
    if is_held(record) {
        return Ok(Leave::Granted);
    }
    if let Some(hold) = record
        .hold
        .as_ref()
        .filter(|hold| hold.state == HoldState::HoldBroken)
    {
        return Err(Intent::stall(
            Reason::HoldBroken,
            format!(
                "the host is up though it was to be held: {}",
                hold.broken_by.as_deref().unwrap_or("cause unknown")
            ),
        ));
    }
    if view.node.as_ref().is_some_and(|node| node.ready)
        && view.host.spec.disruption == Disruption::Never
    {
        return Err(in_use(view, "its Node is Ready"));
    }
    let facts = host_facts(view, now)?;
    let waits = spec.host_wait.until == WaitUntil::OsRunning;
    match facts.power {
        Some(PowerState::Off) => match spec.order {
            BootOrder::HostFirst => Err(power_on_first(view)),
            BootOrder::XpuFirst if waits => hold(view, record, spec, now),
            BootOrder::XpuFirst | BootOrder::Parallel => Ok(Leave::Granted),
        },
        Some(PowerState::On) => {
            require_disruption(view)?;
            if waits {
                Err(shut_down(view, record, spec, facts, now))
            } else {
                Ok(Leave::Granted)
            }
        }
        Some(_) | None => Err(Intent::wait(
            Reason::HostStateUnknown,
            format!(
                "the power state of {} is {}",
                machine(view),
                facts.power.as_ref().map_or("not read", PowerState::as_str)
            ),
            reach::SILENCE,
        )),
    }
}

/// What a card's change must wait for at the host.
#[derive(Clone, Debug, PartialEq)]
pub enum Leave {
    /// Nothing.
    Granted,
    /// The hold, which this draft asks for. Arming a card that is off may go on meanwhile.
    AfterHold(Box<Draft>),
}

fn require_pairing(view: &View, card: &CardView) -> Result<(), Intent> {
    let asserted = card
        .dpu
        .spec
        .host_refs
        .first()
        .is_some_and(|host| host.pairing == Pairing::Asserted);
    if asserted {
        return Ok(());
    }
    Err(Intent::stall(
        Reason::PairingNotProved,
        format!(
            "nobody has seen that dpu/{} sits in {}",
            card.name(),
            machine(view)
        ),
    ))
}

fn host_facts(view: &View, now: Timestamp) -> Result<&BmcReport, Intent> {
    if view.host.spec.bmc.is_none() {
        return Err(Intent::stall(
            Reason::HostStateUnknown,
            format!(
                "{} has no BMC, so nobody can tell whether it is up",
                machine(view)
            ),
        ));
    }
    reach::proved(
        &machine(view),
        &view.host_uid(),
        view.host.spec.identity.as_ref(),
        view.host_bmc(now),
        view.host_report.as_ref(),
    )
}

fn in_use(view: &View, how: &str) -> Intent {
    Intent::stall(
        Reason::HostInUse,
        format!(
            "{}: {how}, and changing a card may take it down",
            machine(view)
        ),
    )
}

fn require_disruption(view: &View) -> Result<(), Intent> {
    if view.host.spec.disruption == Disruption::Never {
        return Err(in_use(view, "it is powered on, and disruption is Never"));
    }
    if view.node.as_ref().is_some_and(|node| node.ready) {
        return Err(Intent::stall(
            Reason::DrainNotProved,
            format!("the Node of {} is Ready", machine(view)),
        ));
    }
    Ok(())
}

fn power_on_first(view: &View) -> Intent {
    Intent::Act(Draft {
        step: Step::AwaitHost,
        target: target(view),
        action: plain(ActionKind::PowerOn),
        expects: expects(view, Some(PowerState::Off), false),
        settle_seconds: 60,
        message: "powering the host on, which boots first".to_owned(),
        release: None,
    })
}

fn shut_down(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    facts: &BmcReport,
    now: Timestamp,
) -> Intent {
    stage::stop(
        stage::Machine {
            name: machine(view),
            target: target(view),
            expects: expects(view, Some(PowerState::On), true),
            facts,
            os_runs: false,
        },
        record,
        spec,
        Step::HoldHost,
        now,
    )
}

fn hold(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    now: Timestamp,
) -> Result<Leave, Intent> {
    let slot = slot_power::effective(view, record);
    if slot != SlotPower::Yes {
        let said = record.slot_power.as_ref().map_or_else(
            || format!("slotPowerWhenHostOff is {slot:?}"),
            |known| format!("measured {slot:?}: {}", known.evidence),
        );
        return Err(Intent::stall(
            Reason::HoldNeedsSlotPower,
            format!("{} cannot be held powered off: {said}", machine(view)),
        ));
    }
    let expires = now + SignedDuration::from_secs(spec.hold.orphan_after_seconds);
    Ok(Leave::AfterHold(Box::new(Draft {
        step: Step::HoldHost,
        target: target(view),
        action: Action {
            work_order: Some(WorkOrder {
                expires_at: Time(expires),
                on_orphan: spec.hold.on_orphan,
            }),
            ..plain(ActionKind::HoldHost)
        },
        expects: expects(view, Some(PowerState::Off), false),
        settle_seconds: 30,
        message: "holding the host powered off until its cards are ready".to_owned(),
        release: None,
    })))
}

/// `dpuhost/NAME`.
pub fn machine(view: &View) -> String {
    format!("dpuhost/{}", view.host_name())
}

fn target(view: &View) -> Target {
    Target {
        kind: TargetKind::Host,
        name: view.host_name(),
        uid: view.host_uid(),
    }
}

fn expects(view: &View, power: Option<PowerState>, safe_stage: bool) -> Expects {
    Expects {
        identity: view.host.spec.identity.clone().unwrap_or_default(),
        bmc_key_pin: view
            .host_report
            .as_ref()
            .and_then(|report| report.bmc.as_ref())
            .and_then(|bmc| bmc.key_pin.clone()),
        power,
        safe_stage,
    }
}

/// Why nothing may be planned for this host at all, whatever its cards need.
pub fn gate(view: &View, now: Timestamp) -> Option<Intent> {
    if view.host.spec.hands_off {
        return Some(Intent::hold(
            Reason::HandsOff,
            "handsOff is set on the DpuHost: nothing is changed",
        ));
    }
    if !view.guards_intact {
        return Some(Intent::stall(
            Reason::AdmissionGuardMissing,
            "the admission policies that keep agents to their own objects are missing or changed",
        ));
    }
    if let Some(conflict) = view.conflicts.first() {
        return Some(Intent::stall(Reason::IdentityConflict, conflict.clone()));
    }
    if !view.site_agent_fresh(now) {
        return Some(Intent::Wait(
            Explanation::new(
                Reason::SiteAgentSilent,
                format!(
                    "the agent of site {} has not renewed its Lease",
                    view.host.spec.site
                ),
            ),
            crate::intent::Limit::For(reach::SILENCE),
        ));
    }
    None
}
