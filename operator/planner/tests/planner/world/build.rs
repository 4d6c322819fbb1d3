//! The objects that a user would apply, and the machines they stand for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::{ActivatedBy, ImageFacts};
use lockstep_crds::image::{FirmwareWriter, ImageSlot};
use lockstep_crds::report::Reachability;
use lockstep_crds::service::ServicesReport;
use lockstep_crds::wipe::WipeResult;
use lockstep_crds::{
    Dpu, DpuBootPolicy, DpuBootPolicySpec, DpuHost, DpuHostSpec, DpuSpec, ImageChoice,
    MachineIdentity,
};
use lockstep_planner::inventory::JoinedHost;
use serde_json::{Value, json};

use super::agent::SiteAgent;
use super::machine::Machine;
use super::{Card, World};

pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub fn image(version: &str) -> ImageFacts {
    let letter = version.chars().last().unwrap();
    ImageFacts {
        digest: format!("sha256:{}", letter.to_string().repeat(64)),
        version: version.to_owned(),
        stateless: version.starts_with("net-"),
        slot: slot(version),
    }
}

/// Images of a disk with two slots take them in turn.
fn slot(version: &str) -> Option<ImageSlot> {
    let number = version.strip_prefix("ab-")?.parse::<u8>().unwrap();
    let name = if number % 2 == 1 { "A" } else { "B" };
    Some(ImageSlot {
        name: name.to_owned(),
        boot_entry: format!("Card OS {name}"),
    })
}

/// What lets firmware of that version run: that of the network interface needs a power cycle of the card.
pub fn activation(version: &str) -> ActivatedBy {
    if version.starts_with("nic-") || version.starts_with("dev-") {
        ActivatedBy::CardPowerCycle
    } else {
        ActivatedBy::BmcReset
    }
}

/// Who writes firmware of that version: the card's BMC, or its host's driver.
pub fn writer(version: &str) -> FirmwareWriter {
    if version.starts_with("dev-") {
        FirmwareWriter::HostDevlink
    } else {
        FirmwareWriter::CardBmc
    }
}

fn serial(name: &str) -> MachineIdentity {
    MachineIdentity {
        system_uuid: None,
        serial_number: Some(format!("SN-{name}")),
    }
}

fn bmc(name: &str) -> Value {
    json!({
        "address": format!("https://{name}.example"),
        "credentialsRef": {"name": "bmc"},
        "tls": {"trust": "Ca", "caConfigMapRef": {"name": "ca"}},
    })
}

pub fn policy(spec: Value) -> DpuBootPolicy {
    let spec: DpuBootPolicySpec = serde_json::from_value(spec).unwrap();
    let mut policy = DpuBootPolicy::new("policy", spec);
    policy.metadata.generation = Some(1);
    policy
}

pub fn host(name: &str) -> DpuHost {
    let spec: DpuHostSpec = serde_json::from_value(json!({
        "bmc": bmc(name),
        "identity": {"serialNumber": format!("SN-{name}")},
        "policyRef": {"name": "policy"},
        "slotPowerWhenHostOff": "Yes",
    }))
    .unwrap();
    let mut host = DpuHost::new(name, spec);
    host.metadata.uid = Some(format!("uid-{name}"));
    host.metadata.generation = Some(1);
    host.metadata.creation_timestamp = Some(Time(start()));
    host
}

pub fn dpu(name: &str) -> Dpu {
    let spec: DpuSpec = serde_json::from_value(json!({
        "hostRefs": [{"name": "host1", "pairing": "Asserted"}],
        "bmc": bmc(name),
        "identity": {"serialNumber": format!("SN-{name}")},
    }))
    .unwrap();
    let mut dpu = Dpu::new(name, spec);
    dpu.metadata.uid = Some(format!("uid-{name}"));
    dpu.metadata.generation = Some(1);
    dpu.metadata.creation_timestamp = Some(Time(start()));
    dpu
}

/// A choice of that image for the cards of a family, by whose name it goes.
pub fn by_family(family: &str, image: &str) -> ImageChoice {
    serde_json::from_value(json!({
        "name": family, "cards": {"families": [family]}, "imageRef": {"name": image},
    }))
    .unwrap()
}

/// What an agent tells that runs services, and has none.
fn runs_none() -> ServicesReport {
    ServicesReport {
        asked: Reachability {
            ok: true,
            since: Time(start()),
            reason: None,
            message: None,
        },
        services: Vec::new(),
    }
}

/// Version and name of the image that policies of these tests name as the golden one.
pub const GOLDEN: &str = "os-0";

impl World {
    /// A host that is off, held until its cards run `os-1`, with these cards, off too.
    pub fn new(cards: &[&str]) -> Self {
        Self {
            now: start(),
            host: Some(host("host1")),
            policy: Some(policy(json!({
                "mode": "Enforce",
                "imageRef": {"name": "os-1"},
                "hostWait": {"until": "OsRunning"},
            }))),
            catalogue: [
                "os-1", "os-2", "net-3", "net-4", "ab-5", "ab-6", "ab-7", GOLDEN, "wiper-9",
            ]
            .map(|version| (version.to_owned(), image(version)))
            .into(),
            gone: BTreeSet::new(),
            vetted: BTreeMap::new(),
            broken: BTreeSet::new(),
            host_machine: Machine::new(serial("host1")),
            node: None,
            coupled: false,
            dark_bmcs: false,
            tainted: BTreeMap::new(),
            cards: cards
                .iter()
                .map(|name| Card {
                    dpu: Some(dpu(name)),
                    machine: Machine::new(serial(name)),
                    disk: None,
                    fetched: None,
                    wipes: WipeResult::Wiped,
                    filesystems: None,
                    wiped: Vec::new(),
                    os: None,
                    os_report: None,
                    os_lease: None,
                    dead: false,
                    ran: BTreeSet::new(),
                    in_host: None,
                    sightings: Vec::new(),
                    requirements: Vec::new(),
                    brought: Vec::new(),
                    void: None,
                    firmware: Vec::new(),
                    services: Vec::new(),
                    runs_services: Some(runs_none()),
                    configuration: None,
                    runs: None,
                    joined: None,
                    family: None,
                })
                .collect(),
            agent: SiteAgent::new(),
            host_agent: None,
            store: Vec::new(),
            bytes: BTreeMap::new(),
            source_ok: true,
            source_hangs: false,
            conflicts: Vec::new(),
            card_conflicts: BTreeMap::new(),
            guards_intact: true,
            joined: Some(JoinedHost::default()),
            effects: Vec::new(),
            owed: false,
            recorded: Vec::new(),
            writes: super::operator::Writes::default(),
            story: Vec::new(),
            wish: 0,
            wish_of: BTreeMap::new(),
            asked_of: BTreeMap::new(),
            boots: BTreeMap::new(),
            repaired: BTreeMap::new(),
            strict: false,
            looked: None,
        }
    }

    /// Edits the host's spec as a user would.
    pub fn edit_host(&mut self, edit: impl FnOnce(&mut DpuHostSpec)) {
        if let Some(host) = self.host.as_mut() {
            edit(&mut host.spec);
            host.metadata.generation = host.metadata.generation.map(|g| g + 1);
        }
    }

    /// Edits a card's spec as a user would.
    pub fn edit_card(&mut self, index: usize, edit: impl FnOnce(&mut DpuSpec)) {
        if let Some(dpu) = self.cards[index].dpu.as_mut() {
            let before = dpu.spec.clone();
            edit(&mut dpu.spec);
            dpu.metadata.generation = dpu.metadata.generation.map(|g| g + 1);
            let same = before.image_ref == dpu.spec.image_ref
                && before.wipe == dpu.spec.wipe
                && before.retired == dpu.spec.retired
                && before.retry_token == dpu.spec.retry_token;
            self.wish += usize::from(!same);
        }
    }

    /// Edits the policy's spec as a user would.
    pub fn edit_policy(&mut self, edit: impl FnOnce(&mut DpuBootPolicySpec)) {
        if let Some(policy) = self.policy.as_mut() {
            let before = policy.spec.clone();
            edit(&mut policy.spec);
            policy.metadata.generation = policy.metadata.generation.map(|g| g + 1);
            let same = before.image_ref == policy.spec.image_ref
                && before.image_choices == policy.spec.image_choices;
            self.wish += usize::from(!same);
        }
    }

    pub fn delete_card(&mut self, index: usize) {
        let now = self.now;
        if let Some(dpu) = self.cards[index].dpu.as_mut() {
            dpu.metadata.deletion_timestamp.get_or_insert(Time(now));
        }
        self.tell("user: deletes the card");
        self.reap();
    }

    pub fn delete_host(&mut self) {
        let now = self.now;
        if let Some(host) = self.host.as_mut() {
            host.metadata.deletion_timestamp.get_or_insert(Time(now));
        }
        self.tell("user: deletes the host");
        self.reap();
    }
}
