//! An install that the card's BMC carries out by itself: it is given the image and writes it.
//!
//! The card must be on for that, and is reset by its BMC on the way: what S1 asks of a power cut
//! holds of an update. Nothing is armed before, so an update begins with the directive that asks
//! for it, and everything about an install under way holds from then on.

use jiff::Timestamp;
use lockstep_configuration::Inputs;
use lockstep_crds::boot_policy::{AllowedMethod, DpuBootPolicySpec};
use lockstep_crds::directive::{Action, ActionKind, ImageFacts, Step};
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::BmcReport;

use crate::card;
use crate::intent::{Draft, Intent, plain};
use crate::reason::Reason;
use crate::road;
use crate::stage;
use crate::view::CardView;

/// Seconds in which a BMC may be awaited that does something else, the card be powered on, and
/// the update be asked for; of a push, the image be sent besides.
pub(crate) const PULL_SETTLES: i64 = 900;
pub(crate) const PUSH_SETTLES: i64 = 3600;

/// Asks for the update, with leave to change the card.
pub(crate) fn update(
    spec: &DpuBootPolicySpec,
    card: &CardView,
    wanted: &ImageFacts,
    method: AllowedMethod,
    facts: &BmcReport,
    now: Timestamp,
) -> Result<Intent, Intent> {
    if facts.power == Some(PowerState::Off) {
        if let Some(lack) = stage::lacks(facts, &ActionKind::PowerOn) {
            return Err(Intent::stall(
                Reason::CapabilityMissing,
                format!(
                    "{} must be on for its BMC to write an image: {lack}; power it on yourself",
                    card::machine(card)
                ),
            ));
        }
    } else {
        stage::may_cut_power(&card::running(card, facts, now), spec, now)?;
    }
    Ok(Intent::act(Draft {
        step: Step::UpdateCard,
        target: card::target(card),
        action: Action {
            image: Some(wanted.clone()),
            configuration: card.configuration.as_ref().map(Inputs::digest),
            ..plain(road::arming(method))
        },
        expects: card::expects(card, facts.power.clone(), true),
        settle_seconds: match method {
            AllowedMethod::MultipartPush => PUSH_SETTLES,
            AllowedMethod::SimpleUpdate
            | AllowedMethod::VirtualMedia
            | AllowedMethod::UefiHttp
            | AllowedMethod::Pxe
            | AllowedMethod::LocalStorage
            | AllowedMethod::Rshim
            | AllowedMethod::DevlinkFlash => PULL_SETTLES,
        },
        message: road::deed(method, wanted, &card::machine(card)),
        release: None,
    }))
}
