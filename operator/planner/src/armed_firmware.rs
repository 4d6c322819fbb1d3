//! Firmware that is written at a card and runs once that is powered off and on: it is judged again before
//! Lockstep lets it run (S9), and what is refused by then stays armed and is told (S15).
//!
//! No BMC takes back what is written. Another image for the component is written over it; and whoever
//! powers the card off and on lets it run.

use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::DpuBootPolicySpec;
use lockstep_crds::directive::{ActionKind, ActivatedBy};
use lockstep_crds::host::{CardRecord, ComponentRecord, SlotPower};

use crate::card::machine;
use crate::firmware_record::runs;
use crate::intent::Intent;
use crate::reach;
use crate::reason::Reason;
use crate::requirement::Judgement;
use crate::slot_power;
use crate::torn;
use crate::vetting;
use crate::view::{CardView, FirmwareImage, View};
use crate::waiting_firmware::{is_let_run_by, is_of_image};

/// The version that this lets run, if one waits for it that was not seen to run.
fn waiting<'a>(one: &'a ComponentRecord, by: &ActivatedBy) -> Option<&'a str> {
    let waits = match &one.waits {
        Some(waits) => is_let_run_by(waits, by),
        // What the BMC lists though it was let run.
        None => one.activation.as_ref() == Some(by) && one.observed_at.is_none(),
    };
    let pending = one.pending.as_deref();
    pending.filter(|_| waits && one.reset_at.is_none())
}

/// Why something that is written may not be let run, or not yet.
enum Lack {
    /// Nobody can tell yet.
    Awaited(Intent),
    /// It may not; in words.
    Refused(String),
}

/// Why the card may not be powered on by us with what waits there, if it may not. What is not known now
/// was known when it was written.
pub(crate) fn refused(view: &View, card: &CardView, kept: &CardRecord) -> Option<String> {
    refused_to(&ActivatedBy::CardPowerCycle, view, card, kept, None)
}

/// The same of an effect on the card, whatever that is for.
pub(crate) fn refused_by(
    view: &View,
    card: &CardView,
    kept: &CardRecord,
    action: &ActionKind,
) -> Option<String> {
    let lets_run = [
        (ActionKind::PowerOn, ActivatedBy::CardPowerCycle),
        (ActionKind::ResetBmc, ActivatedBy::BmcReset),
        (ActionKind::RestartCard, ActivatedBy::CardPowerCycle),
        (ActionKind::RestartCard, ActivatedBy::BmcReset),
    ];
    let mut lets_run = lets_run.into_iter().filter(|(kind, _)| kind == action);
    lets_run.find_map(|(_, by)| refused_to(&by, view, card, kept, None))
}

/// Why the host may be neither powered on, off nor reset where the slots of its cards go along with it: what
/// waits at any of them would run, be it by a restart of its BMC, which may have no other power.
pub(crate) fn refused_at_host(view: &View, record: &DpuHostStatus) -> Option<String> {
    if slot_power::effective(view, record) == SlotPower::Yes {
        return None;
    }
    view.cards.iter().find_map(|card| {
        let kept = record.record_of(&card.uid())?;
        refused_by(view, card, kept, &ActionKind::RestartCard)
    })
}

/// The same of what lets `component` run: the others that it would let run too.
pub(crate) fn refused_beside(
    component: &str,
    by: &ActivatedBy,
    view: &View,
    card: &CardView,
    kept: &CardRecord,
) -> Option<String> {
    refused_to(by, view, card, kept, Some(component))
}

fn refused_to(
    by: &ActivatedBy,
    view: &View,
    card: &CardView,
    kept: &CardRecord,
    but: Option<&str>,
) -> Option<String> {
    let spec = &view.policy.as_ref()?.spec;
    // Nobody is told that anything runs once a card is powered off which may not be.
    let components = kept.components.iter().filter(|_| !torn::is_torn(kept));
    let mut components = components.filter(|one| Some(one.component.as_str()) != but);
    components.find_map(|one| match judge(spec, card, one, waiting(one, by)?) {
        Err(Lack::Refused(why)) => Some(why),
        Ok(()) | Err(Lack::Awaited(_)) => None,
    })
}

/// What people read of a card at which it waits.
pub(crate) fn told(why: String) -> Intent {
    Intent::stall(Reason::FirmwareArmed, why)
}

/// Whether what an update has written may be let run; else what is awaited or refused.
pub(crate) fn judged(
    spec: &DpuBootPolicySpec,
    card: &CardView,
    one: &ComponentRecord,
) -> Result<(), Intent> {
    judge(spec, card, one, version(one)).map_err(|lack| match lack {
        Lack::Awaited(awaited) => awaited,
        Lack::Refused(why) => told(why),
    })
}

/// Whether it is certain that it may not.
pub(crate) fn is_refused(spec: &DpuBootPolicySpec, card: &CardView, one: &ComponentRecord) -> bool {
    matches!(judge(spec, card, one, version(one)), Err(Lack::Refused(_)))
}

fn version(one: &ComponentRecord) -> &str {
    one.pending.as_deref().unwrap_or(&one.image.version)
}

fn judge(
    spec: &DpuBootPolicySpec,
    card: &CardView,
    one: &ComponentRecord,
    version: &str,
) -> Result<(), Lack> {
    let images = card.firmware.iter();
    let mut images = images.filter_map(|named| named.image.as_ref());
    let Some(image) = images.find(|image| image.component == one.component) else {
        return Err(nameless(card, one, version));
    };
    // Other bytes of the same version may wait there.
    let waits = one.waits.as_ref();
    let waits = waits.filter(|waits| runs(version, &waits.version));
    let is_other = waits.is_some_and(|waits| !is_of_image(waits, one));
    let is_it = image.facts.digest == one.image.digest && runs(version, &image.facts.version);
    if is_other || !is_it {
        let why = format!("{} is wanted there now", image.facts.version);
        return Err(armed(card, one, version, &why));
    }
    vetted(spec, card, one, image)
}

fn vetted(
    spec: &DpuBootPolicySpec,
    card: &CardView,
    one: &ComponentRecord,
    image: &FirmwareImage,
) -> Result<(), Lack> {
    let found = vetting::allows(
        &image.vetting,
        spec,
        &machine(card),
        one.security_version,
        &image.facts,
    );
    let lack = match found {
        Ok(()) => return Ok(()),
        Err(awaited @ Intent::Wait(..)) => return Err(Lack::Awaited(awaited)),
        Err(_) => match (&image.vetting.trust, &image.vetting.fit) {
            (Judgement::NotMet(why), _) => format!("it is not trusted any more: {why}"),
            (_, Judgement::NotMet(why)) => format!("it is not made for this card: {why}"),
            (_, _) => "its security version is lower than may run there now".to_owned(),
        },
    };
    Err(armed(card, one, &image.facts.version, &lack))
}

fn nameless(card: &CardView, one: &ComponentRecord, version: &str) -> Lack {
    let mut gone = card.firmware.iter().filter(|named| named.image.is_none());
    match gone.next() {
        // Nobody can tell whether it is the one.
        Some(gone) => Lack::Awaited(Intent::wait(
            Reason::ImageNotFound,
            format!(
                "{version} is written to {} of {} and does not run yet; waiting for DpuImage {}",
                one.component,
                machine(card),
                gone.name
            ),
            reach::SILENCE,
        )),
        None => armed(card, one, version, "nobody wants it any more"),
    }
}

fn armed(card: &CardView, one: &ComponentRecord, version: &str, why: &str) -> Lack {
    let machine = machine(card);
    let waits = one.waits.as_ref();
    let by = waits.map_or(&one.activation, |waits| &waits.activation);
    let runs_once = match by {
        Some(ActivatedBy::CardPowerCycle) => format!("{machine} is powered off and on"),
        Some(_) | None => format!("the BMC of {machine} restarts"),
    };
    Lack::Refused(format!(
        "{version} is written to {} and runs once {runs_once}, which Lockstep does not do: {why}",
        one.component
    ))
}
