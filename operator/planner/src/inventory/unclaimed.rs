//! Cards that nobody has an object for, and what their objects would say.

use jiff::Timestamp;
use lockstep_crds::identity::{meaningful_serial, meaningful_uuid};
use lockstep_crds::inventory::CardHealth;
use lockstep_crds::report::{FoundBmc, MachineRole};
use lockstep_crds::{BmcEndpoint, MachineIdentity};

use super::cards::{DEVICE_ID, Evidence};
use super::endpoint;
use super::gone::is_forgotten;
use super::keys::{Key, Kind};
use super::naming::{dns, label};
use super::sightings::Sighting;

/// A card without an object, and what its object would say.
pub(super) struct Unclaimed<'e, 'a> {
    pub evidence: &'e Evidence<'a>,
    pub stem: String,
    pub id: String,
    pub identity: Option<MachineIdentity>,
    pub bmc: Option<BmcEndpoint>,
    pub site: Option<String>,
}

/// The BMC that was found for a card and answers now, the newest first.
pub(super) fn found_now<'e, 'a>(
    evidence: &'e Evidence<'a>,
) -> Option<(&'e Sighting<'a>, &'a FoundBmc)> {
    evidence
        .sightings
        .iter()
        .filter(|one| one.seen.is_none() && !one.missing())
        .filter_map(|one| Some((one, one.spec.found.as_ref()?)))
        .filter(|(_, found)| found.role == MachineRole::Card)
        .min_by_key(|(one, _)| (std::cmp::Reverse(one.at().0), one.report))
}

impl<'e, 'a> Unclaimed<'e, 'a> {
    pub(super) fn of(evidence: &'e Evidence<'a>, now: Timestamp) -> Option<Self> {
        if evidence.is_stranger {
            return None;
        }
        let found = found_now(evidence);
        let there = || {
            let all = evidence.sightings.iter();
            all.filter(|one| !one.missing() && !is_forgotten(one.spec, now))
        };
        let stranger = there().find_map(|one| one.answers_at);
        let seen = there().any(|one| {
            one.seen.is_some_and(|(card, _)| match &card.health {
                // It is a card that was there before.
                Some(CardHealth::Recovery | CardHealth::Gone) => false,
                Some(CardHealth::Answers | CardHealth::Unrecognized(_)) | None => true,
            })
        });
        // A number that two claim does not tell which of them a host sees; an address can be set.
        let mut contested = evidence.contested.iter();
        let certain = contested.all(|key| key.kind() == Kind::Mac);
        if found.is_none() && stranger.is_none() && !(seen && certain) {
            return None;
        }
        let serial = told(evidence, |one| {
            let text = one.facts.system.as_ref()?.serial_number.as_deref()?;
            meaningful_serial(text).map(str::to_owned)
        });
        let uuid = told(evidence, |one| {
            meaningful_uuid(one.facts.system.as_ref()?.system_uuid.as_deref()?)
        });
        let own_serial = serial
            .clone()
            .filter(|text| Key::serial(text).is_some_and(|key| !evidence.contested.contains(&key)));
        let device = evidence
            .sightings
            .iter()
            .filter(|one| !one.missing())
            .flat_map(|one| &one.keys)
            .find(|key| key.kind() == Kind::DeviceSerial)
            .map(|key| format!("{DEVICE_ID}{}", key.value()));
        let told = MachineIdentity {
            system_uuid: uuid.clone(),
            serial_number: serial.clone(),
        };
        // Chassis and hosts may tell more, and that would never be proved.
        let shown = found.and_then(|(one, _)| telling(one.spec.machine.as_ref()?));
        let identity = shown.or_else(|| telling(&told));
        // Where two claim one serial number and tell nothing else, by which of them it is.
        let found_as = found.and_then(|(one, _)| serial.as_ref().map(|_| one.spec.subject.clone()));
        let of = [own_serial, uuid.clone(), device.clone(), found_as];
        let stem = of
            .iter()
            .flatten()
            .map(|text| dns(text))
            .find(|text| !text.is_empty())?;
        let id = match &identity {
            Some(_) => found
                .and_then(|(one, _)| label(&one.spec.subject))
                .or_else(|| label(&stem)),
            None => device,
        };
        Some(Self {
            evidence,
            stem: format!("dpu-{stem}"),
            id: id?,
            identity,
            bmc: match found {
                Some((_, found)) => endpoint::to_spec(&found.endpoint).ok(),
                None => stranger.map(|(bmc, _)| bmc.clone()),
            },
            site: match found {
                Some((_, found)) => site(&found.site),
                None => stranger.and_then(|(_, name)| site(name)),
            },
        })
    }
}

/// What of an identity tells a machine from others; `None` if nothing does.
pub(super) fn telling(told: &MachineIdentity) -> Option<MachineIdentity> {
    let serial = told.serial_number.as_deref().and_then(meaningful_serial);
    let telling = MachineIdentity {
        system_uuid: told.system_uuid.as_deref().and_then(meaningful_uuid),
        serial_number: serial.map(str::to_owned),
    };
    (telling.system_uuid.is_some() || telling.serial_number.is_some()).then_some(telling)
}

/// As the card's BMC shows it, since that is where it will be proved; else as anybody does who is
/// there: what is missing may be of another card.
fn told(evidence: &Evidence<'_>, get: impl Fn(&Sighting<'_>) -> Option<String>) -> Option<String> {
    let there = evidence.sightings.iter().filter(|one| !one.missing());
    let mut sightings: Vec<&Sighting<'_>> = there.collect();
    sightings.sort_by_key(|one| {
        let by_host = one.seen.is_some();
        (by_host, one.from(), one.report)
    });
    sightings.into_iter().find_map(get)
}

pub(super) fn site(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}
