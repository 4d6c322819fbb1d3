//! Leave to change a card: everything that S12 asks for, and the hold that the policy wants.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{BootOrder, DpuBootPolicySpec, HoldMechanism, WaitUntil};
use lockstep_crds::directive::{Action, ActionKind, Step, WorkOrder};
use lockstep_crds::dpu::Pairing;
use lockstep_crds::host::{Disruption, HoldState, HoldStatus, HostRole, SlotPower};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::card;
use crate::host::{directed, expects, machine, target};
use crate::intent::{Draft, Intent, plain};
use crate::reach;
use crate::reason::Reason;
use crate::slot_power;
use crate::stage;
use crate::view::{CardView, View};

/// What a card's change must wait for at the host.
#[derive(Clone, Debug, PartialEq)]
pub enum Leave {
    /// Nothing.
    Granted,
    /// The hold, which this draft asks for. Arming a card that is off may go on meanwhile.
    AfterHold(Box<Draft>),
}

/// Leave to change a card of this host. `Err` is what must happen first.
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
    if let Some(hold) = &record.hold {
        return under_hold(view, record, hold, now);
    }
    if node_is_ready(view) && view.host.spec.disruption == Disruption::Never {
        return Err(in_use(view, "its Node is Ready"));
    }
    let facts = host_facts(view, now)?;
    let waits = spec.host_wait.until == WaitUntil::OsRunning;
    match facts.power {
        Some(PowerState::Off) => match spec.order {
            BootOrder::HostFirst => power_on_first(view),
            BootOrder::XpuFirst if waits => {
                may_hold(view, record, spec)?;
                Ok(Leave::AfterHold(Box::new(hold(view, spec, now))))
            }
            BootOrder::XpuFirst | BootOrder::Parallel => {
                require_lit_slot(view, record, Reason::SlotHasNoPower)?;
                Ok(Leave::Granted)
            }
        },
        Some(PowerState::On) => {
            require_disruption(view)?;
            require_host_stage(view, facts)?;
            if !waits {
                return Ok(Leave::Granted);
            }
            may_hold(view, record, spec)?;
            require_quiet_cards(view, record, spec, now)?;
            Err(shut_down(view, record, spec, facts, now))
        }
        Some(_) | None => Err(power_unknown(view, facts)),
    }
}

/// A hold is in the record: it must show at the host, and must not be ending.
fn under_hold(
    view: &View,
    record: &DpuHostStatus,
    hold: &HoldStatus,
    now: Timestamp,
) -> Result<Leave, Intent> {
    if hold.state == HoldState::HoldBroken {
        return Err(Intent::stall(
            Reason::HoldBroken,
            format!(
                "the host is up though it was to be held: {}",
                hold.broken_by.as_deref().unwrap_or("cause unknown")
            ),
        ));
    }
    if let Some(pending) = directed(record) {
        return Err(pending);
    }
    let facts = host_facts(view, now)?;
    if facts.power != Some(PowerState::Off) {
        return Err(power_unknown(view, facts));
    }
    require_lit_slot(view, record, Reason::HoldNeedsSlotPower)?;
    Ok(Leave::Granted)
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
        view.host_answer(now),
        view.host_report.as_ref(),
    )
}

fn power_unknown(view: &View, facts: &BmcReport) -> Intent {
    Intent::wait(
        Reason::HostStateUnknown,
        format!(
            "the power state of {} is {}",
            machine(view),
            facts.power.as_ref().map_or("not read", PowerState::as_str)
        ),
        reach::SILENCE,
    )
}

fn node_is_ready(view: &View) -> bool {
    view.node.as_ref().is_some_and(|node| node.ready)
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
    if node_is_ready(view) {
        return Err(Intent::stall(
            Reason::DrainNotProved,
            format!("the Node of {} is Ready", machine(view)),
        ));
    }
    Ok(())
}

/// A card's change may hit a host that is up: not while its power must not be cut (S1).
fn require_host_stage(view: &View, facts: &BmcReport) -> Result<(), Intent> {
    match &facts.stage {
        Some(stage) if stage.forbids_power_cut() => Err(stage::forbidden(&machine(view), stage)),
        Some(_) | None => Ok(()),
    }
}

/// The host boots first, and then its cards are changed beside a host that is up.
fn power_on_first(view: &View) -> Result<Leave, Intent> {
    if view.host.spec.disruption == Disruption::Never {
        return Err(in_use(
            view,
            "the policy's order is HostFirst, so the card would be changed while the host is up",
        ));
    }
    Err(Intent::act(Draft {
        step: Step::AwaitHost,
        target: target(view),
        action: plain(ActionKind::PowerOn),
        expects: expects(view, Some(PowerState::Off), false),
        settle_seconds: 60,
        message: "powering the host on, which boots first".to_owned(),
        release: None,
    }))
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

/// Every card shares the host's fate: none may be in the middle of something (S1).
fn require_quiet_cards(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    now: Timestamp,
) -> Result<(), Intent> {
    for card in view.cards.iter().filter(|card| card.dpu.spec.bmc.is_some()) {
        if let Some(until) = card::install_ends(view, record, card, now) {
            return Err(Intent::wait_until(
                Reason::AwaitingOs,
                format!("an install is under way on {}", card::machine(card)),
                until,
            ));
        }
        let facts = card::proved(view, card, now)?;
        if facts.power != Some(PowerState::Off) {
            stage::may_cut_power(&card::running(card, facts, now), spec, now)?;
        }
    }
    Ok(())
}

/// Whether the host can be held in a way that the policy allows.
fn may_hold(view: &View, record: &DpuHostStatus, spec: &DpuBootPolicySpec) -> Result<(), Intent> {
    if !spec.hold.mechanisms.contains(&HoldMechanism::PoweredOff) {
        return Err(Intent::stall(
            Reason::HoldMechanismNotOffered,
            format!(
                "{} is to be held, and the policy's hold.mechanisms do not allow PoweredOff",
                machine(view)
            ),
        ));
    }
    let slot = slot_power::effective(view, record);
    if slot == SlotPower::Yes {
        return Ok(());
    }
    Err(Intent::stall(
        Reason::HoldNeedsSlotPower,
        format!(
            "{} cannot be held powered off: {}",
            machine(view),
            said(view, record)
        ),
    ))
}

/// A card whose slot is known to be dead beside its host that is off cannot boot.
fn require_lit_slot(view: &View, record: &DpuHostStatus, reason: Reason) -> Result<(), Intent> {
    if slot_power::effective(view, record) != SlotPower::No {
        return Ok(());
    }
    Err(Intent::stall(
        reason,
        format!(
            "the cards of {} have no power while it is off: {}",
            machine(view),
            said(view, record)
        ),
    ))
}

fn said(view: &View, record: &DpuHostStatus) -> String {
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

fn hold(view: &View, spec: &DpuBootPolicySpec, now: Timestamp) -> Draft {
    let expires = now + SignedDuration::from_secs(spec.hold.orphan_after_seconds);
    Draft {
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
    }
}
