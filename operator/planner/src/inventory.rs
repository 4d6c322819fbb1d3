//! One truthful object for each card, from everybody who saw it. Pure.
//!
//! [`join`] takes every object and report of one namespace and returns what each card and each
//! host is, what contradicts what, and which objects should be proposed, withdrawn or moved.

use std::collections::BTreeMap;

use lockstep_crds::dpu::{HostPlace, InventorySummary};
use lockstep_crds::inventory::{Actors, BootPlatform, CapabilityRecord, Slots};
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuInventorySpec, DpuReportSpec};

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
    /// Proposed objects that give way, each with the reason.
    pub withdrawals: Vec<Withdrawal>,
    /// Proposed objects whose BMC answers at another address now.
    pub moves: Vec<Move>,
    /// Proposed cards, by name, that a policy approves.
    pub approvals: Vec<Approval>,
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
    /// The Node that runs there, if exactly one agent proves it.
    pub node_name: Option<String>,
    /// How it boots and holds.
    pub firmware: Option<BootPlatform>,
    /// Its slots.
    pub slots: Option<Slots>,
    /// Who takes part when it boots.
    pub actors: Option<Actors>,
    /// What it can be asked to do.
    pub capabilities: Option<CapabilityRecord>,
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

/// A proposed object that gives way to a user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Its kind.
    pub subject: Subject,
    /// Its name.
    pub name: String,
    /// Its uid: nothing else of that name is deleted.
    pub uid: String,
    /// The object that it gives way to, and why, for the event.
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
}

/// Joins everything of one namespace. The same input gives the same output.
pub fn join(view: &SiteView<'_>) -> SiteJoin {
    let _ = view;
    SiteJoin::default()
}
