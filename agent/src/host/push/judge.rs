//! Whether an image may be pushed to a card, by what the host sees. Pure: no I/O, no clock.
//!
//! Opening the way resets the card, so whatever can be said against it is said here.

use lockstep_crds::directive::{Directive, Expects};
use lockstep_crds::host::TrustDomain;
use lockstep_crds::identity::plain_uuid;
use lockstep_crds::observed::{Knowledge, PowerState};
use lockstep_crds::report::BmcReport;
use lockstep_crds::{DpuHost, DpuReportSpec, MachineIdentity};
use lockstep_local::Fact;
use lockstep_local::pci::Card;
use lockstep_local::rshim::Settings;
use lockstep_rshim::generation;

use crate::site::judge::{Refusal, hands_off};

/// What is seen just before a push.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) host: &'a DpuHost,
    /// The machine that this runs on.
    pub(super) machine: &'a MachineIdentity,
    /// The cards in it.
    pub(super) cards: &'a [Card],
    /// What the rshim says that is to be used.
    pub(super) settings: &'a Settings,
    /// What is reported of the card's BMC.
    pub(super) bmc: Option<&'a DpuReportSpec>,
}

/// What keeps every push and every flash from a host, for people.
pub(in crate::host) fn check_host(host: &DpuHost) -> Result<(), Refusal> {
    if host.spec.hands_off {
        return Err(hands_off());
    }
    if host.spec.trust_domain != TrustDomain::Trusted {
        return Err(Refusal::new(
            "Unsupported",
            "this host is Isolated, so nothing reaches a card through it; set trustDomain: Trusted on the DpuHost if whoever is root here may be root on its cards",
        ));
    }
    if host.metadata.deletion_timestamp.is_some() {
        return Err(Refusal::new(
            "Withdrawn",
            "the DpuHost is being deleted, so nothing is begun; nothing was done to the card",
        ));
    }
    // By what this machine says of itself it could be any host.
    if host.spec.node_name.is_none() {
        return Err(Refusal::new(
            "NodeNotNamed",
            "the DpuHost does not say which Node this host is, and the Node's own word is no ground to trust it with cards; set nodeName on the DpuHost",
        ));
    }
    Ok(())
}

/// Whether the push may go on; the generation of the card that it is for.
pub(super) fn check(directive: &Directive, seen: Seen<'_>) -> Result<u8, Refusal> {
    check_host(seen.host)?;
    check_machine(seen.host.spec.identity.as_ref(), seen.machine)?;
    check_way(seen.settings)?;
    check_card(&directive.expects, seen.settings, seen.cards)?;
    check_bmc(directive, seen.bmc)?;
    let device = known(&seen.settings.device);
    device.and_then(|device| generation(device)).ok_or_else(|| {
        Refusal::new(
            "CardUnknown",
            format!(
                "rshim does not say of which generation the card is ({}), so nobody can tell whether the image is made for it",
                seen.settings.device
            ),
        )
    })
}

pub(in crate::host) fn known<T>(fact: &Fact<T>) -> Option<&T> {
    match fact {
        Fact::Known(value) => Some(value),
        Fact::NotOffered | Fact::NotRead(_) => None,
    }
}

/// Whether this is the machine that the object stands for (S13).
pub(in crate::host) fn check_machine(
    wanted: Option<&MachineIdentity>,
    seen: &MachineIdentity,
) -> Result<(), Refusal> {
    let Some(wanted) = wanted else {
        return Err(Refusal::new(
            "IdentityNotGiven",
            "the DpuHost does not say which machine it stands for; set identity on it",
        ));
    };
    require_same(
        wanted,
        seen,
        "this host",
        "nodeName or identity of the DpuHost",
    )
}

fn require_same(
    wanted: &MachineIdentity,
    seen: &MachineIdentity,
    who: &str,
    remedy: &str,
) -> Result<(), Refusal> {
    let uuid = |uuid: &Option<String>| uuid.as_deref().and_then(plain_uuid);
    let serial = |serial: &Option<String>| serial.as_ref().map(|text| text.trim().to_owned());
    let uuids = uuid(&wanted.system_uuid).is_none_or(|id| uuid(&seen.system_uuid) == Some(id));
    let serials =
        serial(&wanted.serial_number).is_none_or(|id| serial(&seen.serial_number) == Some(id));
    if uuids && serials && *wanted != MachineIdentity::default() {
        return Ok(());
    }
    Err(Refusal::new(
        "IdentityMismatch",
        format!(
            "{who} is another machine than the one meant: system UUID {}, serial number {}; correct {remedy}",
            seen.system_uuid.as_deref().unwrap_or("(none)"),
            seen.serial_number.as_deref().unwrap_or("(none)"),
        ),
    ))
}

/// Whether the rshim leads to a card that takes an image.
fn check_way(settings: &Settings) -> Result<(), Refusal> {
    if known(&settings.dropped) == Some(&true) {
        return Err(Refusal::new(
            "RshimGivenAway",
            "this host has given the rshim away (DROP_MODE 1), perhaps to the card's BMC; take it back (echo DROP_MODE 0 > misc) if nobody uses it",
        ));
    }
    if known(&settings.locked) == Some(&true) {
        return Err(Refusal::new(
            "Unsupported",
            "the card has locked this host out (SECURE_NIC_MODE 1); install it through its BMC",
        ));
    }
    if known(&settings.mode).is_some_and(|mode| mode.starts_with("NIC")) {
        return Err(Refusal::new(
            "Unsupported",
            "the card is in NIC mode, in which no system runs on it; put it into DPU mode first",
        ));
    }
    Ok(())
}

/// Whether the card behind the rshim is the one meant (S13).
fn check_card(expects: &Expects, settings: &Settings, cards: &[Card]) -> Result<(), Refusal> {
    let mismatch = |what: String| {
        Err(Refusal::new(
            "IdentityMismatch",
            format!("{what}; the operator plans anew from what this host reports"),
        ))
    };
    let Some(wanted) = &expects.rshim else {
        return mismatch("the directive names no rshim".to_owned());
    };
    let Some(address) = known(&settings.pci) else {
        return mismatch(format!(
            "{} does not say which PCI function it is ({})",
            wanted.name, settings.pci
        ));
    };
    let Some(card) = cards.iter().find(|card| card.functions.contains(address)) else {
        return mismatch(format!("no card is at {address}, where {} is", wanted.name));
    };
    let (serial, device) = (
        wanted.serial_number.as_deref(),
        wanted.device_serial.as_ref(),
    );
    if is_card(card, serial, device) {
        return Ok(());
    }
    mismatch(format!(
        "behind {} is another card: serial number {}, device serial number {}",
        wanted.name, card.serial, card.device_serial
    ))
}

/// Whether a card has the serial numbers that are meant, and at least one is.
pub(in crate::host) fn is_card(
    card: &Card,
    serial_number: Option<&str>,
    device_serial: Option<&String>,
) -> bool {
    let serial = known(&card.serial).map(|serial| serial.trim());
    let device = known(&card.device_serial).map(|serial| serial.replace('-', ""));
    let same_serial = serial_number.is_none_or(|wanted| serial == Some(wanted.trim()));
    let same_device = device_serial.is_none_or(|wanted| device.as_ref() == Some(wanted));
    let named = serial_number.is_some() || device_serial.is_some();
    named && same_serial && same_device
}

/// Whether the card may be reset, by the last word of its BMC (S1).
pub(in crate::host) fn check_bmc(
    directive: &Directive,
    report: Option<&DpuReportSpec>,
) -> Result<(), Refusal> {
    let report = report.filter(|report| report.subject_uid == directive.target.uid);
    let answers = report.and_then(|report| report.reachable.as_ref());
    let facts = report
        .filter(|_| answers.is_some_and(|reach| reach.ok))
        .and_then(|report| report.bmc.as_ref());
    let Some(facts) = facts else {
        return Err(Refusal::new(
            "FactsNotRead",
            "the card's BMC does not answer, so nobody can tell whether the card may be reset; see its report",
        ));
    };
    require_same(
        &directive.expects.identity,
        &facts.identity,
        "the card by its BMC",
        "the bmc or identity of the Dpu",
    )?;
    if let Some(wanted) = &directive.expects.power
        && facts.power.as_ref() != Some(wanted)
    {
        let found = facts.power.as_ref().map_or("not read", PowerState::as_str);
        return Err(Refusal::new(
            "PowerStateUnexpected",
            format!(
                "the card's power state is {found}, and {wanted} was expected; the operator plans anew from what is seen"
            ),
        ));
    }
    check_stage(facts)
}

fn check_stage(facts: &BmcReport) -> Result<(), Refusal> {
    match (&facts.stage_knowledge, &facts.stage) {
        (Knowledge::NotOffered, _) => Ok(()),
        (Knowledge::Known, Some(stage)) if stage.forbids_power_cut() => Err(Refusal::new(
            "StageForbids",
            format!(
                "the card is in boot stage {stage}, in which it must not be reset; it is tried again when the stage has ended"
            ),
        )),
        (Knowledge::Known, Some(_)) => Ok(()),
        (Knowledge::Known | Knowledge::NotRead | Knowledge::Unrecognized(_), _) => {
            Err(Refusal::new(
                "StageNotRead",
                "the card's boot stage was not read, so it is not reset; it is read again before the next try",
            ))
        }
    }
}

#[cfg(test)]
mod tests;
