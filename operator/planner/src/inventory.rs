//! One truthful object for each card, from everybody who saw it. Pure.
//!
//! [`join`] takes every object and report of one namespace and returns what each card and each
//! host is, what contradicts what, and which objects should be proposed, withdrawn or moved.

mod agreement;
mod approvals;
mod boot_stream;
mod cards;
mod completeness;
mod conflicts;
mod contested;
mod endpoint;
mod fits;
mod gone;
mod groups;
mod hosts;
mod ids;
mod joined;
mod keys;
mod machines;
mod mark;
mod matching;
mod moves;
mod naming;
mod places;
mod plugged;
mod proposals;
mod proposed;
mod recorded_node;
mod requirements;
mod returning;
mod room;
mod sightings;
mod strangers;
mod unclaimed;
mod vendors;
mod witnesses;
mod yielding;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lockstep_crds::dpu::{HostPlace, InventorySummary};
use lockstep_crds::dpu_inventory::Sourced;
use lockstep_crds::inspection::Inspected;
use lockstep_crds::inventory::{Actors, BootPlatform, CapabilityRecord, DiskList, Slots};
use lockstep_crds::report::Vantage;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuInventorySpec, DpuReportSpec, names};

pub use self::boot_stream::boots;
use self::cards::Evidence;
pub use self::fits::{fits, selects};
pub use self::gone::FORGOTTEN_AFTER;
use self::hosts::CardsOfHosts;
use self::machines::Machines;
use self::places::Seat;
use self::recorded_node::recorded;
pub use self::requirements::required;
pub use self::room::room;

pub use self::plugged::{Around, Plugged, plugged};

/// Label of a proposed card: its maker.
pub const VENDOR_LABEL: &str = "provisioning.opiproject.org/vendor";

/// Label of a proposed card: its family.
pub const FAMILY_LABEL: &str = "provisioning.opiproject.org/family";

/// Everything of one namespace.
#[derive(Clone, Debug, Default)]
pub struct SiteView<'a> {
    /// Cards.
    pub cards: Vec<&'a Dpu>,
    /// Hosts.
    pub hosts: Vec<&'a DpuHost>,
    /// Policies.
    pub policies: Vec<&'a DpuBootPolicy>,
    /// Reports, by name.
    pub reports: BTreeMap<&'a str, &'a DpuReportSpec>,
    /// Reports whose word counts now: whoever wrote them is alive and, where they are about a BMC,
    /// it answers. Nothing but approvals asks for that here; plans ask themselves.
    pub alive: BTreeSet<&'a str>,
    /// When this is.
    pub now: Timestamp,
}

/// What follows from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiteJoin {
    /// By name of the `Dpu`.
    pub cards: BTreeMap<String, JoinedCard>,
    /// By name of the `DpuHost`.
    pub hosts: BTreeMap<String, JoinedHost>,
    /// Objects that should be created.
    pub proposals: Vec<Proposal>,
    /// Proposed objects that go, each with the reason.
    pub withdrawals: Vec<Withdrawal>,
    /// Proposed objects whose BMC answers at another address now.
    pub moves: Vec<Move>,
    /// Proposed cards, by name, that a policy approves.
    pub approvals: Vec<Approval>,
    /// Proposed objects that a person has changed, and that are marked as the operator's still.
    pub taken_up: Vec<TakenUp>,
}

/// One card.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedCard {
    /// The spec of its `DpuInventory`.
    pub inventory: DpuInventorySpec,
    /// The same in short.
    pub summary: InventorySummary,
    /// Where it sits.
    pub places: Vec<HostPlace>,
    /// Whether it is inventoried: the reason is `Complete`, `Partial` or `Conflicting`.
    pub inventoried: Verdict,
    /// Who tells a version, where that is another report than the one its group comes from: by
    /// field, such as `firmware.fw.mgmt`.
    pub tellers: BTreeMap<String, Teller>,
    /// What each report tells of its disks, in the order in which they are believed.
    pub disks: Vec<Sourced<DiskList>>,
    /// The last inspection that a search's report answered, by name of the report.
    pub inspected: BTreeMap<String, Inspected>,
    /// Who vouches for where it sits.
    pub witnesses: Vec<Witness>,
    /// Somebody else than its own operating system tells its serial number.
    pub is_told_by_others: bool,
    /// The operating system of another card claims what this one is known by: no policy approves it.
    pub is_claimed_by_word: bool,
}

/// A report that proves where a card sits, as long as who wrote it is alive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Witness {
    /// Name of the `DpuHost`; empty if none stands for that machine.
    pub host: String,
    /// The report.
    pub report: String,
}

/// A report that tells something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teller {
    /// Where it looks from.
    pub from: Vantage,
    /// Its name.
    pub report: String,
}

/// A condition to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `True`, `False`, `Unknown`.
    pub status: &'static str,
    /// CamelCase.
    pub reason: &'static str,
    /// What is missing or contradicts what, and the remedy.
    pub message: String,
}

/// One host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinedHost {
    /// The Node that runs there, if exactly one agent proves it. The one that the status records
    /// goes before it as long as that exists and has not departed.
    pub node_name: Option<String>,
    /// The Node that its status records, where its own agent proves since that it runs on another
    /// machine.
    pub departed: Option<String>,
    /// How it boots and holds.
    pub firmware: Option<BootPlatform>,
    /// Its slots.
    pub slots: Option<Slots>,
    /// Who takes part when it boots.
    pub actors: Option<Actors>,
    /// What it can be asked to do.
    pub capabilities: Option<CapabilityRecord>,
    /// What is told of it that cannot be, each with the remedy: two Nodes that run on it, an
    /// identity that another machine claims as well, a Node in its status that its BMC or the
    /// agent there speaks against.
    pub contradictions: Vec<String>,
    /// BMCs that show its identity and are not the one that its spec names, in words. Nothing that
    /// they tell is taken, so nothing waits for this to be settled.
    pub strangers: Vec<String>,
}

/// An object that should be created.
#[derive(Clone, Debug, PartialEq)]
pub enum Proposal {
    /// A card, not approved.
    Card(Box<Dpu>),
    /// A host.
    Host(Box<DpuHost>),
}

/// Which kind an object is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A `Dpu`.
    Card,
    /// A `DpuHost`.
    Host,
}

/// A proposed object that gives way to another, or whose machine has been gone for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Its kind.
    pub subject: Subject,
    /// Its name.
    pub name: String,
    /// Its uid: nothing else of that name is deleted.
    pub uid: String,
    /// What it gives way to, or since when its machine is gone, for the event.
    pub why: String,
}

/// A proposed object whose BMC moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Its kind.
    pub subject: Subject,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The address that its BMC answers at now.
    pub address: String,
    /// Its mark once it has been moved, if nobody but the operator has written it. Else it has none;
    /// what a person has changed stays theirs.
    pub mark: Option<String>,
}

/// A proposed object that a person has changed: its mark goes, so that it stays theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenUp {
    /// Its kind.
    pub subject: Subject,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A proposed card that a policy approves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Name of the card.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The policy, and what fitted.
    pub why: String,
    /// Its mark once it has been approved.
    pub mark: String,
}

/// Joins everything of one namespace. The same input gives the same output, in whatever order
/// it comes. Each list of proposals is bounded; applying it and joining again gives the rest.
pub fn join(view: &SiteView<'_>) -> SiteJoin {
    let view = &sorted(view);
    let machines = machines::machines(view);
    let cards = seated(view, &machines);
    let mut all = SiteJoin {
        proposals: proposals::proposals(view, &machines, &cards),
        ..SiteJoin::default()
    };
    all.withdrawals = yielding::withdrawals(view, &machines, &cards, &all.proposals);
    returning::keep(view, &mut all.withdrawals, |left| {
        let machines = machines::machines(left);
        proposals::proposals(left, &machines, &seated(left, &machines))
    });
    let mut cards_of_hosts = CardsOfHosts::new();
    for (evidence, seats) in &cards {
        let Some(card) = evidence.card else { continue };
        let joined = joined::joined(card, evidence, seats, &machines);
        for host in places::host_names(&joined.inventory.hosts) {
            cards_of_hosts
                .entry(host.to_owned())
                .or_default()
                .push(evidence);
        }
        for twin in &evidence.yielding {
            all.cards
                .insert(proposed::name(&twin.metadata).to_owned(), joined.clone());
        }
        all.cards
            .insert(proposed::name(&card.metadata).to_owned(), joined);
        all.moves.extend(moves::of_card(evidence));
    }
    for evidence in cards_of_hosts.values_mut() {
        evidence.sort_by_key(|one| one.card.map(|card| proposed::name(&card.metadata)));
    }
    for host in &view.hosts {
        let own = proposed::name(&host.metadata);
        let Some(number) = machines.of_host.get(own) else {
            continue;
        };
        if let Some(machine) = machines.list.get(*number) {
            let recorded = recorded(host, *number, &machines, view);
            let joined = hosts::joined(own, machine, recorded, &cards_of_hosts);
            all.hosts.insert(own.to_owned(), joined);
        }
    }
    all.moves
        .extend(machines.list.iter().filter_map(moves::of_host));
    all.approvals = approved(view, &all);
    let leaves = leaving(&all.withdrawals);
    all.moves
        .retain(|moved| !leaves.contains(&(moved.subject, moved.name.as_str())));
    all.moves
        .sort_by(|one, other| (one.subject, &one.name).cmp(&(other.subject, &other.name)));
    // A move says itself whose it is.
    let moves: BTreeSet<(Subject, &str)> = all
        .moves
        .iter()
        .map(|moved| (moved.subject, moved.name.as_str()))
        .collect();
    let mut taken_up = mark::taken_up(view);
    taken_up.retain(|taken| !moves.contains(&(taken.subject, taken.name.as_str())));
    all.taken_up = taken_up;
    all
}

/// Every card, and where it is seen.
fn seated<'a>(view: &SiteView<'a>, machines: &Machines<'a>) -> Vec<(Evidence<'a>, Vec<Seat>)> {
    let cards = cards::cards(view, machines).into_iter();
    let seated = cards.map(|evidence| {
        let seats = places::seats(&evidence, machines);
        (evidence, seats)
    });
    seated.collect()
}

/// Objects that give way.
fn leaving(withdrawals: &[Withdrawal]) -> BTreeSet<(Subject, &str)> {
    withdrawals
        .iter()
        .map(|one| (one.subject, one.name.as_str()))
        .collect()
}

/// What comes in no particular order, by name, and no report from where its writer is not.
fn sorted<'a>(view: &SiteView<'a>) -> SiteView<'a> {
    let mut view = view.clone();
    view.cards
        .sort_by_key(|card| proposed::name(&card.metadata));
    view.hosts
        .sort_by_key(|host| proposed::name(&host.metadata));
    view.policies
        .sort_by_key(|policy| proposed::name(&policy.metadata));
    view.reports
        .retain(|report, spec| speaks_for_itself(report, spec));
    view
}

/// Who may write a report is told by its name, and it speaks from nowhere else.
fn speaks_for_itself(report: &str, spec: &DpuReportSpec) -> bool {
    let of = spec.subject.as_str();
    let name = match &spec.vantage {
        Vantage::CardBmc => names::card_bmc(of),
        Vantage::HostBmc => names::host_bmc(of),
        Vantage::CardOs => names::xpu(of),
        Vantage::HostOs => names::host(of),
        Vantage::FoundBmc => names::found_bmc(of),
        Vantage::Site => names::site(of),
        Vantage::Scan => names::scan(of),
        // What none of these writes tells of no card and no host.
        Vantage::Spec | Vantage::Unrecognized(_) => return false,
    };
    let found = spec.vantage == Vantage::FoundBmc;
    report == name && (found || spec.found.is_none())
}

/// Cards that stay and that the policy of their first host approves.
fn approved(view: &SiteView<'_>, all: &SiteJoin) -> Vec<Approval> {
    let leaves = leaving(&all.withdrawals);
    let hosts: BTreeMap<&str, &DpuHost> = view
        .hosts
        .iter()
        .map(|host| (proposed::name(&host.metadata), *host))
        .collect();
    let policies: BTreeMap<&str, &DpuBootPolicy> = view
        .policies
        .iter()
        .map(|policy| (proposed::name(&policy.metadata), *policy))
        .collect();
    let recorded = proposed::recorded(&view.hosts);
    view.cards
        .iter()
        .filter(|card| !leaves.contains(&(Subject::Card, proposed::name(&card.metadata))))
        .filter_map(|card| {
            let joined = all.cards.get(proposed::name(&card.metadata))?;
            let host = hosts.get(card.spec.host_refs.first()?.name.as_str())?;
            let policy = policies.get(host.spec.policy_ref.name.as_str())?;
            approvals::approval(card, joined, (host, policy), &recorded, &view.alive)
        })
        .collect()
}
