//! Leave to change a card: everything that S12 asks for, and the hold that the policy wants.

use jiff::Timestamp;
use lockstep_crds::boot_policy::{BootOrder, DpuBootPolicySpec, OnTimeout, WaitUntil};
use lockstep_crds::directive::{ActionKind, Step};
use lockstep_crds::host::{Disruption, HeldBy, HoldState, HoldStatus, HostRole, SlotPower};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;
use lockstep_crds::{DpuHostStatus, PROPOSED_LABEL};

use crate::beside::{
    require_installable, require_no_install, require_quiet_cards, require_quiet_siblings,
};
use crate::firmware_record;
use crate::host::{self, directed, expects, machine, target};
use crate::intent::{Draft, Intent, plain};
use crate::mechanism::{BESIDE, Mechanism, hold, mechanism, said, work_order};
use crate::node_binding::node_in_doubt;
use crate::pairing;
use crate::reach;
use crate::reason::Reason;
use crate::slot_power;
use crate::stage;
use crate::taint;
use crate::takedown;
use crate::view::{CardView, Readiness, View};

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
        // Which server the card sits in nobody knows: what is done to it may hit that server.
        HostRole::ChassisOnly if stands_in(view) => {
            return require_pairing(view, card, now).map(|()| Leave::Granted);
        }
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
    require_pairing(view, card, now)?;
    if let Some(hold) = &record.hold
        && !takedown::is_beginning(record)
    {
        return under_hold(view, record, spec, card, hold, now);
    }
    let ready = readiness(view) == Some(Readiness::Ready);
    if ready && view.host.spec.disruption == Disruption::Never {
        return Err(in_use(view, "its Node is Ready"));
    }
    let facts = host_facts(view, now)?;
    stage::is_at_rest(&machine(view), facts)?;
    require_one_word(view, facts)?;
    let waits = spec.host_wait.until == WaitUntil::OsRunning;
    match facts.power {
        Some(PowerState::Off) => match spec.order {
            BootOrder::HostFirst => power_on_first(view, record, facts, now),
            BootOrder::XpuFirst if waits => {
                let mechanism = mechanism(view, record, spec, facts)?;
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
            let mechanism = mechanism(view, record, spec, facts)?;
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
    // What was begun before is brought to its end: the host waits for that.
    if !firmware_record::is_begun(record, card) {
        require_time(record, spec, now)?;
    }
    let facts = host_facts(view, now)?;
    stage::is_at_rest(&machine(view), facts)?;
    if hold.mechanism == HeldBy::NodeTainted {
        return under_taint(view, record, spec, card, facts, now);
    }
    if facts.power != Some(PowerState::Off) {
        return Err(power_unknown(view, facts));
    }
    require_one_word(view, facts)?;
    require_lit_slot(view, record, Reason::HoldNeedsSlotPower)?;
    Ok(Leave::Granted)
}

/// Whether the wait for the cards is over, and the host is to go on without them.
pub(crate) fn goes_on(record: &DpuHostStatus, spec: &DpuBootPolicySpec, now: Timestamp) -> bool {
    let goes_on = match spec.host_wait.on_timeout {
        OnTimeout::Continue | OnTimeout::PowerOff => true,
        OnTimeout::Hold => false,
    };
    goes_on && host::wait_is_over(record, now)
}

/// A host that is to go on without its cards waits for what was begun before, and for nothing new.
fn require_time(
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    now: Timestamp,
) -> Result<(), Intent> {
    if goes_on(record, spec, now) {
        return Err(Intent::wait(
            Reason::HostWaitTimedOut,
            "the host's wait is over, and it goes on as soon as it can: nothing new begins",
            host::HOST_UP,
        ));
    }
    Ok(())
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
    if !taint::is_in_place(view, record) {
        return Err(taint::awaited(view, record));
    }
    require_leave_beside(view, BESIDE)?;
    match facts.power {
        Some(PowerState::Off) => {
            require_no_install(view, record, now)?;
            Err(power_on(
                view,
                facts,
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

/// Whether discovery made this host for a card that is seen in none: no user says that there
/// is no server.
fn stands_in(view: &View) -> bool {
    let labels = view.host.metadata.labels.as_ref();
    view.host.spec.role == HostRole::ChassisOnly
        && labels.is_some_and(|labels| labels.contains_key(PROPOSED_LABEL))
}

fn require_pairing(view: &View, card: &CardView, now: Timestamp) -> Result<(), Intent> {
    pairing::proved(view, card, now).map_err(|why| Intent::stall(Reason::PairingNotProved, why))
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

/// A host whose BMC says Off is not up, or one of the two words is another machine's.
pub(crate) fn require_one_word(view: &View, facts: &BmcReport) -> Result<(), Intent> {
    let ready = readiness(view) == Some(Readiness::Ready);
    if ready && facts.power == Some(PowerState::Off) {
        return Err(Intent::stall(
            Reason::DrainNotProved,
            format!(
                "the BMC of {} says Off while its Node is Ready: until that ends, one of them may be another machine's",
                machine(view)
            ),
        ));
    }
    Ok(())
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
    let Some(node) = &view.node_name else {
        return require_uncontradicted(view);
    };
    let why = match readiness(view) {
        Some(Readiness::NotReady) => return require_uncontradicted(view),
        Some(Readiness::Ready) => "is Ready",
        Some(Readiness::Unknown) => "says nothing, and what ran there may run still",
        None => "does not exist, so nobody can tell what runs there",
    };
    Err(Intent::stall(
        Reason::DrainNotProved,
        format!("{} is on, and Node {node} {why}", machine(view)),
    ))
}

/// A host that no Node is known of, or whose Node is down, may be drained by nobody; not so if it is
/// only not known which of several Nodes runs there.
fn require_uncontradicted(view: &View) -> Result<(), Intent> {
    match node_in_doubt(view) {
        None => Ok(()),
        Some(why) => Err(Intent::stall(
            Reason::DrainNotProved,
            format!("{} is on, and {why}", machine(view)),
        )),
    }
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
fn power_on_first(
    view: &View,
    record: &DpuHostStatus,
    facts: &BmcReport,
    now: Timestamp,
) -> Result<Leave, Intent> {
    require_no_install(view, record, now)?;
    require_leave_beside(
        view,
        "the policy's order is HostFirst, so the card would be changed while the host is up",
    )?;
    Err(power_on(
        view,
        facts,
        "powering the host on, which boots first",
    ))
}

fn power_on(view: &View, facts: &BmcReport, message: &str) -> Intent {
    if let Some(lack) = stage::lacks(facts, &ActionKind::PowerOn) {
        return Intent::stall(
            Reason::CapabilityMissing,
            format!("{message}: {lack}; power {} on yourself", machine(view)),
        );
    }
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
    let mut next = stage::stop(host_machine(view, facts), record, spec, Step::HoldHost, now);
    if let Intent::Act(draft) = &mut next {
        draft.action.work_order = Some(work_order(spec, now));
    }
    next
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
