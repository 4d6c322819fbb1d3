//! Cards whose system cannot be reset alone: what they are armed with they boot when their BMC
//! restarts, and all of the card with it (Intel IPU: `Manager.Reset`, as its documents install it).
//!
//! Such a card is on all the time, so it is armed while it runs, and leaves the PCIe bus when it is
//! restarted. A driver that is bound to it may take its host down then: the host is off meanwhile.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{BootOrder, DpuBootPolicySpec, WaitUntil};
use lockstep_crds::directive::{Action, ActionKind, ImageFacts, Step};
use lockstep_crds::host::{HeldBy, HostRole};
use lockstep_crds::observed::{Offer, PowerState};
use lockstep_crds::report::BmcReport;

use crate::card;
use crate::host;
use crate::intent::{Draft, Intent, plain};
use crate::mechanism::{Mechanism, mechanism};
use crate::reason::Reason;
use crate::stage;
use crate::view::{CardView, View};

/// Seconds in which its BMC may restart it.
const RESTART_SETTLES: i64 = 300;

/// Whether a card is one of them.
pub(crate) fn is_restarted(facts: &BmcReport) -> bool {
    facts.capabilities.card_restart == Some(Offer::Offered)
}

/// What its install needs, before anything is begun: power, a stage that can be told, and a host that
/// is going to be off.
pub(crate) fn may_begin(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    facts: &BmcReport,
    now: Timestamp,
) -> Result<(), Intent> {
    if facts.power == Some(PowerState::Off) {
        return Err(Intent::stall(
            Reason::CardPoweredOff,
            format!(
                "{} is powered off, and its BMC can restart it, but not power it on; power it on yourself",
                card::machine(card)
            ),
        ));
    }
    // What would never be done is not begun: its host would be held for it.
    if let Err(why @ Intent::Stall(_)) =
        stage::may_cut_power(&card::running(card, facts, now), spec, now)
    {
        return Err(why);
    }
    if view.host.spec.role != HostRole::Server {
        return Ok(());
    }
    let will_be_off = match (&record.hold, view.host_bmc(now)) {
        (Some(hold), _) => hold.mechanism == HeldBy::PoweredOff,
        // What is not known of the host is awaited with the leave to change the card.
        (None, None) => true,
        (None, Some(host)) => match (spec.order, &spec.host_wait.until) {
            (BootOrder::HostFirst, _) => false,
            (BootOrder::XpuFirst, WaitUntil::OsRunning) => {
                matches!(mechanism(view, record, spec, host)?, Mechanism::PoweredOff)
            }
            (BootOrder::XpuFirst | BootOrder::Parallel, _) => is_off(view, now),
        },
    };
    if will_be_off {
        return Ok(());
    }
    Err(beside_a_host(view, card))
}

/// What a card boots from is set for good only while it is off.
pub(crate) fn boots_once(card: &CardView, wanted: &ImageFacts) -> Result<(), Intent> {
    if !wanted.stateless {
        return Ok(());
    }
    Err(Intent::stall(
        Reason::CapabilityMissing,
        format!(
            "{} is stateless, and {} is never off, so what it boots from cannot be set for good",
            wanted.version,
            card::machine(card)
        ),
    ))
}

/// Restarts a card that is armed, with leave to change it.
pub(crate) fn restart(
    view: &View,
    spec: &DpuBootPolicySpec,
    card: &CardView,
    wanted: &ImageFacts,
    facts: &BmcReport,
    now: Timestamp,
) -> Result<Intent, Intent> {
    require_host_off(view, card, facts, now)?;
    stage::may_cut_power(&card::running(card, facts, now), spec, now)?;
    Ok(Intent::act(Draft {
        step: Step::BootCard,
        target: card::target(card),
        action: Action {
            image: Some(wanted.clone()),
            ..plain(ActionKind::RestartCard)
        },
        expects: card::expects(card, Some(PowerState::On), true),
        settle_seconds: RESTART_SETTLES,
        message: format!(
            "restarting all of {} by its BMC to install {}; its own agent must report that image within {} s",
            card::machine(card),
            wanted.version,
            spec.install.os_timeout_seconds
        ),
        release: None,
    }))
}

/// The host of a card that leaves the bus with a restart of its BMC must be seen to be off.
pub(crate) fn require_host_off(
    view: &View,
    card: &CardView,
    facts: &BmcReport,
    now: Timestamp,
) -> Result<(), Intent> {
    if is_restarted(facts) && view.host.spec.role == HostRole::Server && !is_off(view, now) {
        return Err(beside_a_host(view, card));
    }
    Ok(())
}

fn is_off(view: &View, now: Timestamp) -> bool {
    let host = view.host_bmc(now);
    host.is_some_and(|host| host.power == Some(PowerState::Off))
}

fn beside_a_host(view: &View, card: &CardView) -> Intent {
    Intent::stall(
        Reason::HostStaysUp,
        format!(
            "{} is restarted with its BMC, all of it, which a host that is up may not outlive, and {} would not be off",
            card::machine(card),
            host::machine(view)
        ),
    )
}
