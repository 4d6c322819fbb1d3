//! One host, its cards, their BMCs and operating systems, the site's agent and store,
//! all as state without a clock: time moves when a test says so.
//!
//! The physics lie in [`machine`], the hands in [`agent`], the operator in [`operator`],
//! and [`build`] makes the objects that a user would apply.

pub mod agent;
pub mod build;
pub mod effects;
pub mod host_agent;
pub mod machine;
pub mod operator;
pub mod others;
pub mod stored;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use lockstep_configuration::Inputs;
use lockstep_crds::directive::{Directive, ImageFacts};
use lockstep_crds::image::FirmwareWriter;
use lockstep_crds::report::{FilesystemReport, StoredImage};
use lockstep_crds::service::ServicesReport;
use lockstep_crds::wipe::WipeResult;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuBootPolicySpec, DpuHost, DpuReportSpec};
use lockstep_planner::choice::{Choice, choose};
use lockstep_planner::decision::TaintEffect;
use lockstep_planner::inventory::JoinedHost;
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;
use lockstep_planner::view::{
    CardJoined, CardView, Fallback, FirmwareImage, Golden, LeaseSeen, NodeSeen, Required,
    SeenInHost, ServiceImage, Sighting, View, Wanted, WantedFirmware, WantedService, record_about,
};
use lockstep_planner::{back_image, node_of};

use agent::SiteAgent;
use host_agent::HostAgent;
use machine::{CardOs, Machine};
use stored::Bytes;

/// Seconds as a duration.
pub fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// How long Leases last.
pub const SITE_LEASE: SignedDuration = SignedDuration::from_secs(90);
pub const CARD_LEASE: SignedDuration = SignedDuration::from_secs(180);

/// A card: the object that stands for it and the thing itself.
#[derive(Clone, Debug)]
pub struct Card {
    /// The object, until it is gone.
    pub dpu: Option<Dpu>,
    pub machine: Machine,
    /// What is on its disk: digest and version.
    pub disk: Option<ImageFacts>,
    /// What it has booted from the network this time.
    pub fetched: Option<ImageFacts>,
    /// What its wiper tells when it is through.
    pub wipes: WipeResult,
    /// What the kernel of its system tells of its filesystems.
    pub filesystems: Option<Vec<FilesystemReport>>,
    /// The token of each wipe that ran on it.
    pub wiped: Vec<String>,
    pub os: Option<CardOs>,
    /// Report and Lease of its own agent; they outlive the system that wrote them.
    pub os_report: Option<DpuReportSpec>,
    pub os_lease: Option<Timestamp>,
    /// It never comes up after an install.
    pub dead: bool,
    /// What its own agent has reported so far, by digest.
    pub ran: BTreeSet<String>,
    /// How the agent of its host has seen it.
    pub in_host: Option<SeenInHost>,
    /// Where it has been seen, and what it is made of, as joined from reports.
    pub sightings: Vec<Sighting>,
    /// What the wanted image requires, and what is seen of that.
    pub brought: Vec<Required>,
    /// The boot in which its system got the token that is void now.
    pub void: Option<String>,
    pub requirements: Vec<Required>,
    /// Versions of firmware of its BMC that are wanted.
    pub firmware: Vec<String>,
    /// Images of services that are wanted: `SERVICE-VERSION`.
    pub services: Vec<String>,
    /// What its agent tells of services; `None` from one that runs none.
    pub runs_services: Option<ServicesReport>,
    /// What its own files are made of.
    pub configuration: Option<Inputs>,
    /// What its components run by now, which a search sees when it reads the card the next time.
    pub runs: Option<String>,
    pub joined: Option<CardJoined>,
    /// What reports tell of its family.
    pub family: Option<String>,
}

/// An effect that reached a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    pub seq: i64,
    pub what: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct World {
    pub now: Timestamp,
    pub host: Option<DpuHost>,
    pub policy: Option<DpuBootPolicy>,
    pub catalogue: BTreeMap<String, ImageFacts>,
    /// Firmware whose `DpuImage` is gone, by version.
    pub gone: BTreeSet<String>,
    /// What is found of images, by version; nothing is against the others.
    pub vetted: BTreeMap<String, Vetting>,
    /// Versions whose system never comes up.
    pub broken: BTreeSet<String>,
    pub host_machine: Machine,
    pub node: Option<NodeSeen>,
    /// Nodes that carry the taint of this host.
    pub tainted: BTreeMap<String, Vec<TaintEffect>>,
    /// Cards lose power with their host.
    pub coupled: bool,
    /// So do their BMCs, if they are coupled.
    pub dark_bmcs: bool,
    pub cards: Vec<Card>,
    pub agent: SiteAgent,
    /// The agent in the host's operating system, if one runs there.
    pub host_agent: Option<HostAgent>,
    pub store: Vec<StoredImage>,
    /// What the store reads in an image, by its digest.
    pub bytes: BTreeMap<String, Bytes>,
    /// Whether the source of images gives them out.
    pub source_ok: bool,
    /// What the store fetches takes for ever.
    pub source_hangs: bool,
    pub conflicts: Vec<String>,
    pub card_conflicts: BTreeMap<String, Vec<String>>,
    pub guards_intact: bool,
    /// What all reports together say of the host.
    pub joined: Option<JoinedHost>,
    /// What reached the machines, in order.
    pub effects: Vec<Effect>,
    /// Every directive that was ever recorded.
    pub recorded: Vec<Directive>,
    pub writes: operator::Writes,
    /// The host was up, we told it to go down, and it has not been up again since, nor left
    /// off as the policy says.
    pub owed: bool,
    /// What happened, one line each.
    pub story: Vec<String>,
    /// Counts what a person wants anew of the cards: attempts count for one such wish.
    pub wish: usize,
    /// The wish for which each directive was recorded.
    pub wish_of: BTreeMap<i64, usize>,
    /// The image that was asked for when each directive was recorded, by digest.
    pub asked_of: BTreeMap<i64, Option<String>>,
    /// Images whose installs were begun, by card and wish, in their order.
    pub boots: BTreeMap<(usize, usize), Vec<String>>,
    /// How often each card was put back for its present wish, by its serial number.
    pub repaired: BTreeMap<String, others::Repaired>,
    /// Every plan is asked for twice: what is recorded must not ask for another write.
    pub strict: bool,
    /// What the last plan was made from, and when it wanted to look again.
    pub looked: Option<(String, Option<Timestamp>)>,
}

impl World {
    /// What the operator knows. `None` once the host object is gone.
    pub fn view(&self) -> Option<View> {
        let host = self.host.clone()?;
        let node_name = node_of(&host, self.joined.as_ref(), |_| self.node.is_some());
        let cards = self
            .cards
            .iter()
            .filter_map(|card| self.card_view(card))
            .collect();
        Some(View {
            host_report: host.spec.bmc.as_ref().and(self.host_machine.report.clone()),
            policy: self.policy.clone(),
            site_agent: self.agent.lease.map(|renewed| LeaseSeen {
                renewed,
                duration: SITE_LEASE,
            }),
            host_agent: self.host_agent.as_ref().and_then(HostAgent::seen),
            images: self.store.clone(),
            node: node_name.as_ref().and(self.node.clone()),
            node_name,
            joined: self.joined.clone(),
            tainted: self.tainted.clone(),
            host,
            cards,
            conflicts: self.conflicts.clone(),
            guards_intact: self.guards_intact,
        })
    }

    fn card_view(&self, card: &Card) -> Option<CardView> {
        let of_host = |dpu: &&Dpu| dpu.spec.host_refs.iter().any(|host| host.name == "host1");
        let dpu = card.dpu.as_ref().filter(of_host)?.clone();
        let name = dpu.metadata.name.clone().unwrap();
        let choice = self.choice(card, &dpu);
        let wanted = self.wanted(&choice);
        let vetting = match &wanted {
            Wanted::Image(image) => self.vetting(image),
            Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => Vetting::of_nothing(),
        };
        let mut view = CardView {
            choice,
            wanted,
            vetting,
            fallback: None,
            golden: None,
            wiper: self.wiper(&dpu),
            report: card.machine.report.clone(),
            os: card.os_report.clone(),
            os_agent: card.os_lease.map(|renewed| LeaseSeen {
                renewed,
                duration: CARD_LEASE,
            }),
            conflicts: self.card_conflicts.get(&name).cloned().unwrap_or_default(),
            sightings: card.sightings.clone(),
            in_host: card.in_host.clone(),
            host_access: card.machine.host_access.clone(),
            requirements: card.requirements.clone(),
            brought: card.brought.clone(),
            configuration: card.configuration.clone(),
            firmware: self.firmware_of(card, &dpu),
            services: card
                .services
                .iter()
                .map(|name| self.service(name))
                .collect(),
            offered: self.offered(&dpu),
            joined: card.joined.clone(),
            dpu,
        };
        if let Some(os) = &mut view.os {
            os.services.clone_from(&card.runs_services);
        }
        view.fallback = self.fallback(&view);
        view.golden = self.golden(&view);
        Some(view)
    }

    /// The policy names it, so without one, and as long as a choice that says more is not made, there is none.
    fn firmware_of(&self, card: &Card, dpu: &Dpu) -> Vec<WantedFirmware> {
        let policy = self.policy.as_ref().map(|policy| &policy.spec);
        let decides = |policy: &DpuBootPolicySpec| {
            let mut choices = policy.image_choices.iter();
            choices.any(|one| one.firmware_refs.is_some())
        };
        let is_chosen = !matches!(self.choice(card, dpu), Choice::NotKnown(_));
        let is_known = policy.is_some_and(|policy| is_chosen || !decides(policy));
        let named = card.firmware.iter().filter(|_| is_known);
        named.map(|version| self.firmware(version)).collect()
    }

    /// An image of that version for the BMC; the catalogue has none whose name ends so.
    fn firmware(&self, version: &str) -> WantedFirmware {
        let facts = build::image(version);
        WantedFirmware {
            name: version.to_owned(),
            image: (!version.ends_with("missing") && !self.gone.contains(version)).then(|| {
                FirmwareImage {
                    component: match build::writer(version) {
                        FirmwareWriter::CardBmc => machine::FIRMWARE.to_owned(),
                        FirmwareWriter::HostDevlink => machine::LISTED.to_owned(),
                    },
                    activation: build::activation(version),
                    writer: build::writer(version),
                    requirements: Vec::new(),
                    vetting: self.vetting(&facts),
                    facts,
                }
            }),
        }
    }

    /// An image of a service; the catalogue has none whose name ends so.
    fn service(&self, name: &str) -> WantedService {
        let facts = build::image(name);
        let (service, _) = name.split_once('-').unwrap();
        WantedService {
            name: name.to_owned(),
            image: (!name.ends_with("missing")).then(|| ServiceImage {
                service: service.to_owned(),
                requirements: Vec::new(),
                vetting: self.vetting(&facts),
                facts,
            }),
        }
    }

    /// The images that the record says are offered.
    fn offered(&self, dpu: &Dpu) -> Vec<WantedService> {
        let uid = dpu.metadata.uid.as_deref().unwrap();
        let record = self.host.as_ref().and_then(|host| host.status.as_ref());
        let kept = record.and_then(|record| record.record_of(uid));
        let offered = kept.into_iter().flat_map(|kept| &kept.services);
        offered.map(|one| self.service(&one.image)).collect()
    }

    fn wiper(&self, dpu: &Dpu) -> Option<Box<Fallback>> {
        let named = &dpu.spec.wipe.as_ref()?.image_ref.name;
        let image = self.catalogue.get(named)?;
        Some(Box::new(Fallback {
            image: image.clone(),
            requirements: Vec::new(),
            brought: Vec::new(),
            vetting: self.vetting(image),
            configuration: None,
        }))
    }

    fn vetting(&self, image: &ImageFacts) -> Vetting {
        let found = self.vetted.get(&image.version).cloned();
        found.unwrap_or_else(Vetting::of_nothing)
    }

    /// What the card may go back to, as its record and the catalogue say.
    fn fallback(&self, card: &CardView) -> Option<Box<Fallback>> {
        let record = self.host.as_ref()?.status.as_ref()?;
        let back = back_image(record, card)?;
        let there = self.catalogue.get(back.name);
        let image = there.filter(|image| image.digest == back.image.digest)?;
        Some(Box::new(Fallback {
            image: image.clone(),
            requirements: card.requirements.clone(),
            brought: Vec::new(),
            vetting: self.vetting(image),
            configuration: None,
        }))
    }

    fn golden(&self, card: &CardView) -> Option<Box<Golden>> {
        let install = &self.policy.as_ref()?.spec.install;
        let named = install.golden_image_ref.as_ref()?;
        let image = self.catalogue.get(&named.name)?;
        Some(Box::new(Golden {
            name: named.name.clone(),
            found: Fallback {
                image: image.clone(),
                requirements: card.requirements.clone(),
                brought: Vec::new(),
                vetting: self.vetting(image),
                configuration: None,
            },
        }))
    }

    /// By whose word the card gets an image: its policy may ask for its family.
    fn choice(&self, card: &Card, dpu: &Dpu) -> Choice {
        let record = self.host.as_ref().and_then(|host| host.status.as_ref());
        let kept = record.and_then(|record| record_about(record, dpu));
        let policy = self.policy.as_ref().map(|policy| &policy.spec);
        choose(dpu, policy, kept, |selector| match &card.family {
            None => Judgement::NotKnown("nobody has told the card's family".to_owned()),
            Some(family) if selector.families.contains(family) => Judgement::Met,
            Some(family) => Judgement::NotMet(format!("its family is {family}")),
        })
    }

    fn wanted(&self, choice: &Choice) -> Wanted {
        if let Choice::NotKnown(why) = choice {
            return Wanted::Unchosen(why.clone());
        }
        let Some(name) = choice.image() else {
            return Wanted::Nothing;
        };
        let image = self.catalogue.get(name);
        image.map_or(Wanted::Missing(name.to_owned()), |image| {
            Wanted::Image(image.clone())
        })
    }

    /// Lets time pass: the machines do what they do by themselves.
    pub fn pass(&mut self, span: SignedDuration) {
        let end = self.now + span;
        while self.now < end {
            self.now += secs(1).min(end.duration_since(self.now));
            self.physics();
        }
    }

    /// One round: the agents look and act, the operator plans, a few seconds pass.
    pub fn round(&mut self) {
        self.agent_step();
        self.host_agent_step();
        self.operator_step();
        self.pass(secs(5));
    }

    /// Rounds until nothing has been written for a while, or the time is over.
    pub fn settle(&mut self, at_most: SignedDuration) {
        let end = self.now + at_most;
        while self.now < end {
            self.round();
        }
    }

    /// Rounds until `done`, which must come true in time.
    #[track_caller]
    pub fn until(&mut self, what: &str, at_most: SignedDuration, done: impl Fn(&World) -> bool) {
        let end = self.now + at_most;
        while !done(self) {
            assert!(
                self.now < end,
                "{what} did not come in time\n{}",
                self.told()
            );
            self.round();
        }
    }

    /// The story so far.
    pub fn told(&self) -> String {
        let status = self.host.as_ref().and_then(|host| host.status.as_ref());
        format!("{}\n{status:#?}", self.story.join("\n"))
    }

    pub fn tell(&mut self, line: impl AsRef<str>) {
        let at = self.now.duration_since(build::start()).as_secs();
        self.story.push(format!("{at:>6}s {}", line.as_ref()));
    }

    /// The effects as words, in order.
    pub fn deeds(&self) -> Vec<&str> {
        self.effects
            .iter()
            .map(|effect| effect.what.as_str())
            .collect()
    }
}

/// What a person reads.
impl World {
    pub fn status(&self) -> &lockstep_crds::DpuHostStatus {
        self.host.as_ref().unwrap().status.as_ref().unwrap()
    }

    /// `Ready: AsWanted`, `Reconciling: FetchingImage`, `Stalled: HostInUse` or `Idle: Paused`.
    pub fn host_says(&self) -> String {
        says(&self.status().conditions)
    }

    pub fn card_says(&self, index: usize) -> String {
        let status = self.cards[index].dpu.as_ref().unwrap().status.as_ref();
        status.map_or("nothing".to_owned(), |status| {
            format!(
                "{} {}",
                status.phase.as_ref().unwrap(),
                says(&status.conditions)
            )
        })
    }

    pub fn is_ready(&self) -> bool {
        (0..self.cards.len()).all(|index| self.card_says(index) == "Ready Ready: AsWanted")
    }

    pub fn card_message(&self, index: usize) -> String {
        let status = self.cards[index].dpu.as_ref().unwrap().status.as_ref();
        status
            .and_then(|status| status.message.clone())
            .unwrap_or_default()
    }

    /// A world whose cards have been installed with `os-1` and whose host is on.
    pub fn installed(cards: &[&str]) -> Self {
        let mut world = Self::new(cards);
        world.until("first light", secs(1200), World::is_ready);
        world.settle(secs(60));
        assert_eq!(world.host_says(), "Ready: AsWanted", "{}", world.told());
        world.effects.clear();
        world.writes = operator::Writes::default();
        world
    }

    /// The cards' phases as they came, one name each.
    pub fn phases(&self, name: &str) -> Vec<String> {
        let mark = format!("s {name}: ");
        let mut phases: Vec<String> = self
            .story
            .iter()
            .filter_map(|line| line.split_once(&mark))
            .map(|(_, rest)| rest.split(' ').next().unwrap().to_owned())
            .collect();
        phases.dedup();
        phases
    }
}

fn says(conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> String {
    let find = |type_: &str| conditions.iter().find(|c| c.type_ == type_);
    for type_ in ["Stalled", "Reconciling"] {
        if let Some(condition) = find(type_) {
            return format!("{type_}: {}", condition.reason);
        }
    }
    match find("Ready") {
        Some(ready) if ready.status == "True" => format!("Ready: {}", ready.reason),
        Some(ready) => format!("Idle: {}", ready.reason),
        None => "nothing".to_owned(),
    }
}
