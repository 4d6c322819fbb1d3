//! Whether the image that a card is to get may go onto it: trusted, made for such cards, and not
//! older than is allowed (S9).
//!
//! Asked before anything is done to the card or its host, and again at each step. What runs
//! already is adopted whatever is found here.

use lockstep_crds::boot_policy::DpuBootPolicySpec;
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::host::CardRecord;

use crate::card::machine;
use crate::intent::Intent;
use crate::reach;
use crate::reason::Reason;
use crate::requirement::Judgement;
use crate::view::{CardView, Room};
use crate::wipe;

/// What is known of the image that a card is to get, beside what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vetting {
    /// Whether what the policy asks of its signatures holds.
    pub trust: Judgement,
    /// Whether the card is one that it is made for.
    pub fit: Judgement,
    /// The disk that its installer needs, if it needs one: judged before an install begins.
    pub room: Option<Room>,
    /// Its security version, as far as it is trusted.
    pub security_version: i64,
}

impl Vetting {
    /// What is found of a card for which no image is wanted, or one that does not exist.
    pub fn of_nothing() -> Self {
        Self {
            trust: Judgement::Met,
            fit: Judgement::Met,
            room: None,
            security_version: 0,
        }
    }
}

/// Whether the image may go onto the card. `Err` is what is awaited: first what needs a person.
pub(crate) fn passed(
    spec: &DpuBootPolicySpec,
    card: &CardView,
    kept: &CardRecord,
    wanted: &ImageFacts,
) -> Result<(), Intent> {
    // What the card's systems ran says nothing of what wipes it.
    let ran = kept.security_version.filter(|_| !wipe::is_aimed(card));
    allows(&card.vetting, spec, &machine(card), ran, wanted)
}

/// The same of any image, for a machine on which one of security version `ran` has run.
pub(crate) fn allows(
    vetting: &Vetting,
    spec: &DpuBootPolicySpec,
    machine: &str,
    ran: Option<i64>,
    wanted: &ImageFacts,
) -> Result<(), Intent> {
    let Vetting { trust, fit, .. } = vetting;
    let ImageFacts {
        version, digest, ..
    } = wanted;
    if let Judgement::NotMet(why) = trust {
        return Err(Intent::stall(
            Reason::ImageUntrusted,
            format!("{version} ({digest}) does not go onto {machine}: {why}"),
        ));
    }
    if let Judgement::NotMet(why) = fit {
        return Err(Intent::stall(
            Reason::ImageDoesNotFit,
            format!("{version} is not made for {machine}: {why}"),
        ));
    }
    // What is not trusted yet has no security version that counts.
    if let Judgement::NotKnown(why) = trust {
        return Err(Intent::wait(
            Reason::ImageTrustNotKnown,
            format!("whether {version} ({digest}) may be trusted is not known: {why}"),
            reach::SILENCE,
        ));
    }
    if let Some(why) = too_old(spec, vetting, ran) {
        return Err(Intent::stall(
            Reason::SecurityVersionTooLow,
            format!("{version} does not go onto {machine}: {why}"),
        ));
    }
    if let Judgement::NotKnown(why) = fit {
        return Err(Intent::wait(
            Reason::ImageFitNotKnown,
            format!("whether {version} is made for {machine} is not known: {why}"),
            reach::SILENCE,
        ));
    }
    Ok(())
}

fn too_old(spec: &DpuBootPolicySpec, vetting: &Vetting, ran: Option<i64>) -> Option<String> {
    let has = vetting.security_version;
    let rules = spec.images.as_ref();
    let minimum = rules.and_then(|rules| rules.minimum_security_version);
    if let Some(minimum) = minimum.filter(|minimum| has < *minimum) {
        return Some(format!(
            "its security version is {has}, and the policy asks for {minimum}"
        ));
    }
    let ran = ran.filter(|ran| has < *ran)?;
    Some(format!(
        "its security version is {has}, and the card has run {ran}"
    ))
}

/// Several judgements as one: each must hold.
pub fn all_met(judgements: impl IntoIterator<Item = Judgement>) -> Judgement {
    let mut unknown = None;
    for found in judgements {
        match found {
            Judgement::Met => {}
            Judgement::NotMet(_) => return found,
            Judgement::NotKnown(_) => unknown = unknown.or(Some(found)),
        }
    }
    unknown.unwrap_or(Judgement::Met)
}
