//! Everything the planner may know about one power domain.
//!
//! Assembled by the operator from its caches. Reports are facts; whether they
//! are fresh is decided here, from the Lease of the agent that wrote them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_configuration::Inputs;
use lockstep_crds::directive::{ActivatedBy, ImageFacts};
use lockstep_crds::dpu::{HostPlace, InventorySummary};
use lockstep_crds::host::CardRecord;
use lockstep_crds::image::FirmwareWriter;
use lockstep_crds::inspection::Inspected;
use lockstep_crds::inventory::{FirmwareComponent, HostAccess};
use lockstep_crds::report::{BmcReport, Execution, StoredImage, Vantage};
use lockstep_crds::{
    ComponentRequirement, Dpu, DpuBootPolicy, DpuHost, DpuHostStatus, DpuReportSpec,
};

use crate::choice::Choice;
use crate::decision::TaintEffect;
use crate::inventory::{JoinedHost, Verdict};
use crate::reach::is_stranger;
use crate::vetting::Vetting;

/// One host, its cards, and what their agents have reported.
#[derive(Clone, Debug)]
pub struct View {
    /// The host, with the record of the power domain in its status.
    pub host: DpuHost,
    /// The policy that `policyRef` names, if it exists.
    pub policy: Option<DpuBootPolicy>,
    /// The last report about the host's BMC.
    pub host_report: Option<DpuReportSpec>,
    /// Lease of the site's agent.
    pub site_agent: Option<LeaseSeen>,
    /// The agent in the host's operating system, if it has ever reported.
    pub host_agent: Option<HostAgentSeen>,
    /// What the site's store holds.
    pub images: Vec<StoredImage>,
    /// Name of the Node that runs on this host, as [`node_of`](crate::node_of) tells.
    pub node_name: Option<String>,
    /// That Node, if it exists.
    pub node: Option<NodeSeen>,
    /// The Nodes that carry the taint of this very host, and with which effects.
    pub tainted: BTreeMap<String, Vec<TaintEffect>>,
    /// The cards whose first host this is, in order of their names.
    pub cards: Vec<CardView>,
    /// Why this host's BMC, identity or Node is claimed twice, in words; empty if it is not.
    pub conflicts: Vec<String>,
    /// Whether the admission guards of this cluster are all in place.
    pub guards_intact: bool,
    /// What all reports together say of the host; `None` until they have been joined.
    pub joined: Option<JoinedHost>,
}

/// One card.
#[derive(Clone, Debug)]
pub struct CardView {
    /// The card.
    pub dpu: Dpu,
    /// The last report about its BMC.
    pub report: Option<DpuReportSpec>,
    /// The last report from its own operating system.
    pub os: Option<DpuReportSpec>,
    /// Lease of the agent in its operating system.
    pub os_agent: Option<LeaseSeen>,
    /// By whose word an image is wanted of it.
    pub choice: Choice,
    /// The image it should run.
    pub wanted: Wanted,
    /// What that image asks of the card's components, and what is seen of them.
    pub requirements: Vec<Required>,
    /// What that image brings along with its system, and what is seen of it.
    pub brought: Vec<Required>,
    /// Whether that image is trusted, and made for this card.
    pub vetting: Vetting,
    /// The firmware that it should run, in the order in which it is written.
    pub firmware: Vec<WantedFirmware>,
    /// The services that it should run.
    pub services: Vec<WantedService>,
    /// The images that its record says are offered to it, as far as they are there with those bytes.
    pub offered: Vec<WantedService>,
    /// What the card's own files are made of, if that image has any.
    pub configuration: Option<Inputs>,
    /// The image that the card goes back to, or the last good one if it may have to, by its record, as
    /// long as its `DpuImage` is there and names the same bytes.
    pub fallback: Option<Box<Fallback>>,
    /// The golden image of the policy, as long as its `DpuImage` is there.
    pub golden: Option<Box<Golden>>,
    /// The image that wipes it, if one is named and there.
    pub wiper: Option<Box<Fallback>>,
    /// Why its BMC or identity is claimed twice, in words; empty if it is not.
    pub conflicts: Vec<String>,
    /// Where it has been seen, by the host or the BMC of the host.
    pub sightings: Vec<Sighting>,
    /// How the agent in its host's operating system sees it, if it does.
    pub in_host: Option<SeenInHost>,
    /// What its BMC says that its host may do to it.
    pub host_access: Option<HostAccess>,
    /// What its status tells of its inventory; `None` until reports have been joined.
    pub joined: Option<CardJoined>,
}

/// Another image of a card, and what is found of it: as of the wanted one.
#[derive(Clone, Debug, PartialEq)]
pub struct Fallback {
    /// What it is.
    pub image: ImageFacts,
    /// What it asks of the card's components, and what is seen of them.
    pub requirements: Vec<Required>,
    /// What it brings along with its system, and what is seen of it.
    pub brought: Vec<Required>,
    /// Whether it is trusted, and made for this card.
    pub vetting: Vetting,
    /// What the card's own files are made of, if it has any.
    pub configuration: Option<Inputs>,
}

/// The golden image, by the name of its `DpuImage`, and what is found of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// Name of the `DpuImage`.
    pub name: String,
    /// What is found of it.
    pub found: Fallback,
}

/// A firmware image that is named for a card.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedFirmware {
    /// Name of its `DpuImage`.
    pub name: String,
    /// What is found of it; `None`: there is none of that name.
    pub image: Option<FirmwareImage>,
}

/// What is found of a firmware image for one card.
#[derive(Clone, Debug, PartialEq)]
pub struct FirmwareImage {
    /// Id of the component that it is for.
    pub component: String,
    /// What lets it run once it is written.
    pub activation: ActivatedBy,
    /// Who writes it.
    pub writer: FirmwareWriter,
    /// What it is.
    pub facts: ImageFacts,
    /// What it asks of the card's components, and what is seen of them.
    pub requirements: Vec<Required>,
    /// Whether it is trusted, and made for this card.
    pub vetting: Vetting,
}

/// A service that is named for a card.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedService {
    /// Name of its `DpuImage`.
    pub name: String,
    /// What is found of it; `None`: there is none of that name.
    pub image: Option<ServiceImage>,
}

/// What is found of the image of a service for one card.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceImage {
    /// Name of the service.
    pub service: String,
    /// What it is.
    pub facts: ImageFacts,
    /// What it asks of the card's components, and what is seen of them.
    pub requirements: Vec<Required>,
    /// Whether it is trusted, and made for this card.
    pub vetting: Vetting,
}

/// The agent in the operating system of a host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostAgentSeen {
    /// Its report, by whose name directives call it.
    pub report: String,
    /// Its Lease.
    pub agent: Option<LeaseSeen>,
    /// When that report changed last.
    pub observed_at: Time,
    /// The last directive that it accepted.
    pub execution: Option<Execution>,
}

/// A card as the operating system of its host sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenInHost {
    /// Its rshim there, if it has one.
    pub rshim: Option<String>,
    /// Its serial number.
    pub serial_number: Option<String>,
    /// Its PCI device serial number.
    pub device_serial: Option<String>,
    /// Its devlink device there, if its driver offers one.
    pub devlink: Option<String>,
    /// Versions of its firmware, as that driver lists them.
    pub firmware: Vec<FirmwareComponent>,
}

/// A card that was seen in a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Name of the `DpuHost`; empty if none stands for that machine.
    pub host: String,
    /// The report that tells so.
    pub report: String,
    /// Lease of the agent that wrote it, if what it writes about answers.
    pub agent: Option<LeaseSeen>,
}

/// One requirement of an image, and what is known of the component on the card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Required {
    /// What is required.
    pub requirement: ComponentRequirement,
    /// Every component of that name; empty if the card's inventory has none.
    pub seen: Vec<ComponentSeen>,
    /// Who says what, if vantage points contradict each other in it.
    pub contradicted: Option<String>,
}

/// A component as the inventory of a card tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentSeen {
    /// Its name there.
    pub name: String,
    /// The version that runs.
    pub running: Option<String>,
    /// A version that takes effect later.
    pub pending: Option<String>,
    /// Where it is seen from.
    pub from: Vantage,
    /// The report that tells so.
    pub report: String,
    /// The last inspection that this report answered when it told so.
    pub inspected: Option<Inspected>,
    /// Lease of the agent that wrote it, if what it writes about answers.
    pub agent: Option<LeaseSeen>,
}

/// The disk that an image needs, and what is told of the card's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that the largest must have.
    pub wanted: i64,
    /// By everybody who tells, in the order in which they are believed.
    pub told: Vec<DisksSeen>,
}

/// A card's disks as one report tells them, but for what comes and goes or lies elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisksSeen {
    /// Name and bytes of the largest of those that are told with their size.
    pub largest: Option<(String, i64)>,
    /// All are told, each with its size.
    pub is_whole: bool,
    /// Where they are seen from.
    pub from: Vantage,
    /// The report that tells so.
    pub report: String,
    /// When it did.
    pub at: Timestamp,
    /// Lease of the agent that wrote it, if what it writes about answers.
    pub agent: Option<LeaseSeen>,
}

/// A card's inventory as far as its status tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardJoined {
    /// Whether anybody has told what the card is made of.
    pub has_evidence: bool,
    /// The card in short.
    pub summary: InventorySummary,
    /// Where it sits.
    pub places: Vec<HostPlace>,
    /// Whether it is inventoried.
    pub inventoried: Verdict,
}

/// The image a card should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Neither the card nor its policy names one.
    Nothing,
    /// A name that no `DpuImage` has.
    Missing(String),
    /// The policy chooses it by what the card is, and that is not known; why.
    Unchosen(String),
    /// This one.
    Image(ImageFacts),
}

/// A Lease as the operator's own clock saw it: comparing another machine's
/// clock with ours would make skew look like silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSeen {
    /// When this operator saw the Lease change last.
    pub renewed: Timestamp,
    /// For how long a renewal is good.
    pub duration: SignedDuration,
}

impl LeaseSeen {
    /// Whether its holder is alive as far as can be known.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.renewed) <= self.duration
    }
}

/// A Node's Ready condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Its kubelet says that it is.
    Ready,
    /// Its kubelet says that it is not.
    NotReady,
    /// Its kubelet says nothing. What ran there may run still.
    Unknown,
}

/// What matters of a Kubernetes Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    /// Its Ready condition.
    pub ready: Readiness,
    /// Its boot id.
    pub boot_id: Option<String>,
}

impl View {
    /// Whether the site's agent is alive.
    pub fn site_agent_fresh(&self, now: Timestamp) -> bool {
        self.site_agent.is_some_and(|lease| lease.is_fresh(now))
    }

    /// BMC facts of the host that may be believed: fresh, reachable, and not of another machine.
    pub fn host_bmc(&self, now: Timestamp) -> Option<&BmcReport> {
        let wanted = self.host.spec.identity.as_ref();
        self.host_answer(now)
            .filter(|facts| !is_stranger(wanted, facts))
    }

    /// What answers at the address of the host's BMC, whichever machine it is.
    /// Without a BMC in the spec nobody looks, and what was seen earlier counts no more.
    pub(crate) fn host_answer(&self, now: Timestamp) -> Option<&BmcReport> {
        self.host.spec.bmc.as_ref()?;
        trusted_bmc(
            self.host_report.as_ref(),
            &self.host_uid(),
            self.site_agent_fresh(now),
        )
    }

    /// BMC facts of a card that may be believed: fresh, reachable, and not of another machine.
    pub fn card_bmc<'a>(&self, card: &'a CardView, now: Timestamp) -> Option<&'a BmcReport> {
        let wanted = card.dpu.spec.identity.as_ref();
        self.card_answer(card, now)
            .filter(|facts| !is_stranger(wanted, facts))
    }

    /// What answers at the address of a card's BMC, whichever machine it is.
    pub(crate) fn card_answer<'a>(
        &self,
        card: &'a CardView,
        now: Timestamp,
    ) -> Option<&'a BmcReport> {
        card.dpu.spec.bmc.as_ref()?;
        trusted_bmc(
            card.report.as_ref(),
            &card.uid(),
            self.site_agent_fresh(now),
        )
    }

    /// uid of the host object.
    pub fn host_uid(&self) -> String {
        self.host.metadata.uid.clone().unwrap_or_default()
    }

    /// Name of the host object.
    pub fn host_name(&self) -> String {
        self.host.metadata.name.clone().unwrap_or_default()
    }
}

impl CardView {
    /// Name of the card object.
    pub fn name(&self) -> String {
        self.dpu.metadata.name.clone().unwrap_or_default()
    }

    /// uid of the card object.
    pub fn uid(&self) -> String {
        self.dpu.metadata.uid.clone().unwrap_or_default()
    }

    /// When the card's own agent was last heard of, if it is alive.
    pub fn os_seen(&self, now: Timestamp) -> Option<Timestamp> {
        self.live_os(now)
            .and(self.os_agent)
            .map(|lease| lease.renewed)
    }

    /// What the card's own agent says, if that agent is alive.
    pub fn live_os(&self, now: Timestamp) -> Option<&lockstep_crds::report::OsReport> {
        self.os_agent
            .filter(|lease| lease.is_fresh(now))
            .and(self.os.as_ref())
            .filter(|report| self.is_about_this_object(report))
            .and_then(|report| report.os.as_ref())
    }

    /// A report of an earlier object of that name may still be there. An agent that was
    /// installed by other means need not know the uid.
    fn is_about_this_object(&self, report: &DpuReportSpec) -> bool {
        report.subject_uid.is_empty() || report.subject_uid == self.uid()
    }

    /// The card itself, whatever object stands for it: attempts belong to it.
    pub fn physical_id(&self) -> String {
        physical_id(&self.dpu)
    }
}

fn physical_id(dpu: &Dpu) -> String {
    let identity = dpu.spec.identity.clone().unwrap_or_default();
    identity
        .system_uuid
        .map(|uuid| uuid.trim().to_lowercase())
        .or_else(|| {
            identity
                .serial_number
                .map(|serial| serial.trim().to_owned())
        })
        .unwrap_or_default()
}

/// The record of a card: its own, else that of an object for the same physical card.
pub fn record_about<'a>(record: &'a DpuHostStatus, dpu: &Dpu) -> Option<&'a CardRecord> {
    let uid = dpu.metadata.uid.as_deref().unwrap_or_default();
    let physical = physical_id(dpu);
    record.record_of(uid).or_else(|| {
        let mut cards = record.cards.iter();
        cards.find(|kept| !physical.is_empty() && kept.physical_id == physical)
    })
}

fn trusted_bmc<'a>(
    report: Option<&'a DpuReportSpec>,
    uid: &str,
    agent_fresh: bool,
) -> Option<&'a BmcReport> {
    report
        .filter(|report| agent_fresh && report.subject_uid == uid)
        .filter(|report| report.reachable.as_ref().is_some_and(|reach| reach.ok))
        .and_then(|report| report.bmc.as_ref())
}
