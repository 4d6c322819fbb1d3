//! Leave to change a card: everything that S12 asks for, and the hold that the policy wants.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{
    BootOrder, DpuBootPolicySpec, HoldMechanism, OnTimeout, WaitUntil,
};
use lockstep_crds::directive::{Action, ActionKind, Step, WorkOrder};
use lockstep_crds::dpu::Pairing;
use lockstep_crds::host::{Disruption, HeldBy, HoldState, HoldStatus, HostRole, SlotPower};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::card;
use crate::host::{self, directed, expects, machine, target};
use crate::intent::{Draft, Intent, TaintStep, plain};
use crate::reach;
use crate::reason::Reason;
use crate::slot_power;
use crate::stage;
use crate::taint;
use crate::view::{CardView, Readiness, View};

/// Why a hold by taint needs leave to disturb the host.
const BESIDE: &str = "its cards are changed beside a host that is up";

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
        return under_hold(view, record, spec, card, hold, now);
    }
    let ready = readiness(view) == Some(Readiness::Ready);
    if ready && view.host.spec.disruption == Disruption::Never {
        return Err(in_use(view, "its Node is Ready"));
    }
    let facts = host_facts(view, now)?;
    if ready && facts.power == Some(PowerState::Off) {
        return Err(Intent::stall(
            Reason::DrainNotProved,
            format!(
                "the BMC of {} says Off while its Node is Ready: until that ends, one of them may be another machine's",
                machine(view)
            ),
        ));
    }
    let waits = spec.host_wait.until == WaitUntil::OsRunning;
    match facts.power {
        Some(PowerState::Off) => match spec.order {
            BootOrder::HostFirst => power_on_first(view),
            BootOrder::XpuFirst if waits => {
                let mechanism = mechanism(view, record, spec)?;
                require_installable(view, record, spec, card, now)?;
                match mechanism {
                    Mechanism::PoweredOff => Ok(Leave::AfterHold(Box::new(hold(view, spec, now)))),
                    Mechanism::NodeTainted(begin) => Err(begin),
                }
            }
            BootOrder::XpuFirst | BootOrder::Parallel => {
                require_lit_slot(view, record, Reason::SlotHasNoPower)?;
                Ok(Leave::Granted)
            }
        },
        Some(PowerState::On) => {
            require_disruption(view)?;
            if spec.order == BootOrder::HostFirst {
                require_booted(view, facts)?;
            }
            stage::may_cut_power(&host_machine(view, facts), spec, now)?;
            if !waits {
                require_quiet_siblings(view, record, spec, card, now)?;
                return Ok(Leave::Granted);
            }
            let mechanism = mechanism(view, record, spec)?;
            require_installable(view, record, spec, card, now)?;
            match mechanism {
                Mechanism::PoweredOff => {
                    require_quiet_cards(view, record, spec, now)?;
                    Err(shut_down(view, record, spec, facts, now))
                }
                Mechanism::NodeTainted(begin) => Err(begin),
            }
        }
        Some(_) | None => Err(power_unknown(view, facts)),
    }
}

/// A hold is in the record: it must show at the host, and must not be ending.
fn under_hold(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
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
    if hold.mechanism == HeldBy::NodeTainted {
        return under_taint(view, record, spec, card, facts, now);
    }
    if facts.power != Some(PowerState::Off) {
        return Err(power_unknown(view, facts));
    }
    require_lit_slot(view, record, Reason::HoldNeedsSlotPower)?;
    Ok(Leave::Granted)
}

/// The Node must show the taint; then the host is brought up for the power of its slots.
fn under_taint(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    facts: &BmcReport,
    now: Timestamp,
) -> Result<Leave, Intent> {
    if !taint::is_in_place(view) {
        return Err(taint::awaited(view));
    }
    require_leave_beside(view, BESIDE)?;
    match facts.power {
        Some(PowerState::Off) => {
            require_no_install(view, record, now)?;
            Err(power_on(
                view,
                "powering the host on under the taint of its Node: the slots of its cards need it",
            ))
        }
        Some(PowerState::On) => {
            stage::may_cut_power(&host_machine(view, facts), spec, now)?;
            require_quiet_siblings(view, record, spec, card, now)?;
            Ok(Leave::Granted)
        }
        Some(_) | None => Err(power_unknown(view, facts)),
    }
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

fn readiness(view: &View) -> Option<Readiness> {
    view.node.as_ref().map(|node| node.ready)
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
    let Some(node) = &view.host.spec.node_name else {
        return Ok(());
    };
    let why = match readiness(view) {
        Some(Readiness::NotReady) => return Ok(()),
        Some(Readiness::Ready) => "is Ready",
        Some(Readiness::Unknown) => "says nothing, and what ran there may run still",
        None => "does not exist, so nobody can tell what runs there",
    };
    Err(Intent::stall(
        Reason::DrainNotProved,
        format!("{} is on, and Node {node} {why}", machine(view)),
    ))
}

fn require_leave_beside(view: &View, why: &str) -> Result<(), Intent> {
    match view.host.spec.disruption {
        Disruption::Allowed => Ok(()),
        Disruption::Never => Err(Intent::stall(
            Reason::DisruptionNotAllowed,
            format!("{}: {why}", machine(view)),
        )),
    }
}

/// A host that boots first is up before its cards are changed beside it.
fn require_booted(view: &View, facts: &BmcReport) -> Result<(), Intent> {
    match &facts.stage {
        Some(stage) if stage.is_booting() => Err(Intent::wait(
            Reason::AwaitingHost,
            format!("{} boots first and is in stage {stage}", machine(view)),
            host::HOST_UP,
        )),
        Some(_) | None => Ok(()),
    }
}

/// The host boots first, and then its cards are changed beside a host that is up.
fn power_on_first(view: &View) -> Result<Leave, Intent> {
    require_leave_beside(
        view,
        "the policy's order is HostFirst, so the card would be changed while the host is up",
    )?;
    Err(power_on(view, "powering the host on, which boots first"))
}

fn power_on(view: &View, message: &str) -> Intent {
    Intent::act(Draft {
        step: Step::AwaitHost,
        target: target(view),
        action: plain(ActionKind::PowerOn),
        expects: expects(view, Some(PowerState::Off), false),
        settle_seconds: 60,
        message: message.to_owned(),
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
    stage::stop(host_machine(view, facts), record, spec, Step::HoldHost, now)
}

/// The host as a machine whose power may have to be cut, or that a card's change may hit.
fn host_machine<'a>(view: &View, facts: &'a BmcReport) -> stage::Machine<'a> {
    stage::Machine {
        name: machine(view),
        target: target(view),
        expects: expects(view, Some(PowerState::On), true),
        facts,
        os_seen: None,
    }
}

/// The cards beside one that is on and is going to be stopped: that may take the host
/// down, and the host them (S1).
fn require_quiet_siblings(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    now: Timestamp,
) -> Result<(), Intent> {
    let is_off = |facts: &BmcReport| facts.power == Some(PowerState::Off);
    if view.card_bmc(card, now).is_some_and(is_off) {
        return Ok(());
    }
    require_no_install(view, record, now)?;
    for other in with_bmc(view).filter(|other| other.uid() != card.uid()) {
        let facts = card::proved(view, other, now)?;
        if facts.power != Some(PowerState::Off) {
            stage::may_cut_power(&card::running(other, facts, now), spec, now)?;
        }
    }
    Ok(())
}

fn with_bmc(view: &View) -> impl Iterator<Item = &CardView> {
    let cards = view.cards.iter();
    cards.filter(|card| card.dpu.spec.bmc.is_some())
}

/// A host that is held waits for every card that lacks its image: for one that cannot be
/// installed as things are, it would wait for ever.
fn require_installable(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    asking: &CardView,
    now: Timestamp,
) -> Result<(), Intent> {
    let others = view.cards.iter().filter(|card| card.uid() != asking.uid());
    for card in others {
        if let Some(why) = card::obstacle(view, record, spec, card, now) {
            return Err(Intent::stall(
                Reason::HoldWouldNotEnd,
                format!(
                    "{} would be held for {} too, which cannot be installed: {why}",
                    machine(view),
                    card::machine(card)
                ),
            ));
        }
    }
    Ok(())
}

/// Every card shares the host's fate: none may be in the middle of something (S1).
fn require_quiet_cards(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    now: Timestamp,
) -> Result<(), Intent> {
    require_no_install(view, record, now)?;
    for card in with_bmc(view) {
        let facts = card::proved(view, card, now)?;
        if facts.power != Some(PowerState::Off) {
            stage::may_cut_power(&card::running(card, facts, now), spec, now)?;
        }
    }
    Ok(())
}

/// A host's power must not change under an installer.
fn require_no_install(view: &View, record: &DpuHostStatus, now: Timestamp) -> Result<(), Intent> {
    for card in with_bmc(view) {
        if let Some(until) = card::install_ends(view, record, card, now) {
            return Err(Intent::wait_until(
                Reason::AwaitingOs,
                format!("an install is under way on {}", card::machine(card)),
                until,
            ));
        }
    }
    Ok(())
}

/// How the host is going to be held.
enum Mechanism {
    PoweredOff,
    /// This begins it.
    NodeTainted(Intent),
}

/// The first of the policy's mechanisms that this host can honour. If there is none, the
/// first one's refusal is what people read, with the words of the others.
fn mechanism(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
) -> Result<Mechanism, Intent> {
    let mut refused: Vec<(Reason, String)> = Vec::new();
    for wanted in &spec.hold.mechanisms {
        let refusal = match wanted {
            HoldMechanism::PoweredOff => match no_power_hold(view, record) {
                None => return Ok(Mechanism::PoweredOff),
                Some(why) => (Reason::HoldNeedsSlotPower, why),
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

fn no_power_hold(view: &View, record: &DpuHostStatus) -> Option<String> {
    (slot_power::effective(view, record) != SlotPower::Yes).then(|| {
        format!(
            "PoweredOff needs slots that keep power: {}",
            said(view, record)
        )
    })
}

fn no_taint_hold(view: &View, spec: &DpuBootPolicySpec) -> Option<String> {
    let host = &view.host.spec;
    if spec.host_wait.on_timeout == OnTimeout::PowerOff {
        return Some("NodeTainted cannot power the host off when the wait ends".to_owned());
    }
    let Some(node) = &host.node_name else {
        return Some("NodeTainted needs a Node, and nodeName is not set".to_owned());
    };
    if view.node.is_none() {
        return Some(format!(
            "NodeTainted needs a Node, and {node} does not exist"
        ));
    }
    (host.disruption == Disruption::Never)
        .then(|| format!("NodeTainted needs disruption: Allowed: {BESIDE}"))
}

fn begin_taint(view: &View, refused: &[(Reason, String)]) -> Intent {
    let node = view.host.spec.node_name.as_deref().unwrap_or("(none)");
    let instead = if refused.is_empty() {
        String::new()
    } else {
        format!(" ({})", join_words(refused))
    };
    Intent::Taint(TaintStep::Begin {
        message: format!("holding the host by a taint of Node {node}{instead}"),
    })
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
                on_orphan: spec.hold.on_orphan.into(),
            }),
            ..plain(ActionKind::HoldHost)
        },
        expects: expects(view, Some(PowerState::Off), false),
        settle_seconds: 30,
        message: "holding the host powered off until its cards are ready".to_owned(),
        release: None,
    }
}
