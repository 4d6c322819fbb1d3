//! One report's word about one card, in the shape of an inventory whoever tells it.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::inventory::{
    BmcFacts, CardSeen, CpuFacts, FirmwareComponent, FirmwareList, Inventory, OsFacts, Port,
    PortList, SystemFacts,
};
use lockstep_crds::report::{BmcReport, OsReport, Vantage};
use lockstep_crds::{BmcEndpoint, DpuReportSpec};

use super::endpoint;
use super::ids;
use super::keys::{self, Key, Keys};

/// What one report tells of one card.
#[derive(Clone, Debug)]
pub(super) struct Sighting<'a> {
    pub report: &'a str,
    pub spec: &'a DpuReportSpec,
    pub keys: Keys,
    pub facts: Cow<'a, Inventory>,
    /// It is about the `Dpu` that it names.
    pub by_name: bool,
    /// Where a BMC that was found answers now.
    pub place: Option<Key>,
    /// How a host sees the card, and the number of that host's machine.
    pub seen: Option<(&'a CardSeen, usize)>,
    /// The BMC that tells this, where another object names it and another card answers.
    pub answers_at: Option<(&'a BmcEndpoint, &'a str)>,
}

impl<'a> Sighting<'a> {
    pub(super) fn from(&self) -> &'a Vantage {
        &self.spec.vantage
    }

    pub(super) fn at(&self) -> &'a Time {
        &self.spec.observed_at
    }

    /// It was found once and is not any more: its word stands only where nobody else's does.
    pub(super) fn missing(&self) -> bool {
        let found = self.spec.found.as_ref();
        found.is_some_and(|found| found.missing_since.is_some())
    }

    /// An object says that its BMC is there, or was proposed for it.
    pub(super) fn named_by(&self, named: &Keys) -> bool {
        let id = ids::of_report(self.spec);
        let mut names = self.place.iter().chain(&id);
        names.any(|name| named.contains(name))
    }

    /// A report that names its card, or about a BMC that was found.
    pub(super) fn of_itself(report: &'a str, spec: &'a DpuReportSpec) -> Self {
        let mut facts = match &spec.inventory {
            Some(inventory) => Cow::Borrowed(inventory),
            None => Cow::Owned(Inventory::default()),
        };
        let mut told = keys::of_card(&facts);
        if let Some(bmc) = keys::told_by_bmc(spec) {
            let now = keys::of_identity(&bmc.identity);
            let before = keys::replace(&mut told, now);
            complete_from_bmc(facts.to_mut(), bmc);
            facts
                .to_mut()
                .contradictions
                .extend(before.iter().map(|key| {
                    format!(
                        "the BMC tells another {} now than {}, of which the inventory was read",
                        key.kind().words(),
                        key.value()
                    )
                }));
        }
        if let Some(os) = &spec.os {
            complete_from_os(facts.to_mut(), os);
        }
        let found = spec.found.as_ref();
        let found = found.filter(|found| found.missing_since.is_none());
        Self {
            report,
            spec,
            keys: told,
            facts,
            by_name: false,
            place: found.and_then(|found| endpoint::key_of_found(&found.endpoint)),
            seen: None,
            answers_at: None,
        }
    }

    /// A card that a host or its BMC sees.
    pub(super) fn in_host(
        report: &'a str,
        spec: &'a DpuReportSpec,
        card: &'a CardSeen,
        machine: usize,
    ) -> Self {
        Self {
            report,
            spec,
            keys: keys::of_seen(card),
            facts: Cow::Owned(of_seen(card)),
            by_name: false,
            place: None,
            seen: Some((card, machine)),
            answers_at: None,
        }
    }
}

fn complete_from_bmc(facts: &mut Inventory, bmc: &BmcReport) {
    let system = facts.system.get_or_insert_default();
    let fill = |place: &mut Option<String>, value: &Option<String>| {
        if place.is_none() {
            place.clone_from(value);
        }
    };
    fill(&mut system.serial_number, &bmc.identity.serial_number);
    fill(&mut system.system_uuid, &bmc.identity.system_uuid);
    fill(&mut system.model, &bmc.model);
    if let (None, Some(version)) = (&facts.firmware, &bmc.firmware_version) {
        facts.firmware = Some(FirmwareList {
            components: vec![FirmwareComponent {
                name: "system".to_owned(),
                running: Some(version.clone()),
                pending: None,
                updateable: None,
            }],
            omitted: 0,
        });
    }
}

fn complete_from_os(facts: &mut Inventory, os: &OsReport) {
    let told = facts.os.get_or_insert_with(OsFacts::default);
    if told.name.is_none() {
        told.name.clone_from(&os.os);
    }
    if told.kernel.is_none() {
        told.kernel.clone_from(&os.kernel);
    }
    if os.architecture.is_some() {
        let cpu = facts.cpu.get_or_insert_with(CpuFacts::default);
        if cpu.architecture.is_none() {
            cpu.architecture.clone_from(&os.architecture);
        }
    }
}

/// The card's ports have no names of their own from there: the MAC address is the name.
fn of_seen(card: &CardSeen) -> Inventory {
    let ports: Vec<Port> = card
        .macs
        .iter()
        .map(|mac| Port {
            name: mac.clone(),
            mac: Some(mac.clone()),
            speed_mbps: None,
            link_up: None,
            driver: None,
            pci_address: None,
        })
        .collect();
    Inventory {
        system: Some(SystemFacts {
            vendor: card.vendor.clone(),
            family: card.family.clone(),
            serial_number: card.serial_number.clone(),
            device_serial: card.device_serial.clone(),
            part_number: card.part_number.clone(),
            ..SystemFacts::default()
        }),
        firmware: (!card.firmware.is_empty()).then(|| FirmwareList {
            components: card.firmware.clone(),
            omitted: 0,
        }),
        ports: (!ports.is_empty()).then_some(PortList { ports, omitted: 0 }),
        capabilities: card.capabilities.as_deref().cloned(),
        ..Inventory::default()
    }
}

/// Version of the BMC itself as a view tells it.
pub(super) fn bmc_version(facts: Option<&BmcFacts>) -> Option<&str> {
    facts?.firmware_version.as_deref()
}
