//! Hosts: which objects, agents and BMCs are about one machine.
//!
//! The system UUID decides. A serial number joins where no UUID contradicts it, `spec.nodeName`
//! ties the Node that it names, and where no BMC shows a UUID a card that one agent and one BMC see
//! proves that both look at the same machine. Where a BMC shows one, an agent that runs there reads
//! it, too: one that tells none is not bound by a card alone, for a card may have been moved since
//! the BMC was read. By UUID, agent and BMC must see a card in common where both tell of cards.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::inventory::Inventory;
use lockstep_crds::report::{MachineRole, Vantage};
use lockstep_crds::{DpuHost, DpuReportSpec, names};

use super::SiteView;
use super::agreement::sees_other_cards;
use super::endpoint;
use super::ids::{self, Found};
use super::keys::{self, Key, Keys, Kind};
use super::matching::{Body, Contested, Rules, matched};
use super::proposed::{age, host_may_yield, name, uid};
use super::strangers::{self, FoundAt, NamedBmc, SharedKeys};

const HOSTS: Rules = Rules {
    single: &[Kind::Uuid],
};

/// A report about a host.
#[derive(Clone, Copy, Debug)]
pub(super) struct MachineView<'a> {
    pub report: &'a str,
    pub spec: &'a DpuReportSpec,
}

impl<'a> MachineView<'a> {
    pub(super) fn inventory(&self) -> Option<&'a Inventory> {
        self.spec.inventory.as_ref()
    }

    pub(super) fn at(&self) -> &'a Time {
        &self.spec.observed_at
    }

    /// The word of the host's BMC.
    pub(super) fn is_of_bmc(&self) -> bool {
        match self.spec.vantage {
            Vantage::HostBmc | Vantage::FoundBmc => true,
            Vantage::CardBmc
            | Vantage::CardOs
            | Vantage::HostOs
            | Vantage::Site
            | Vantage::Scan
            | Vantage::Spec
            | Vantage::Unrecognized(_) => false,
        }
    }

    /// It was found once and is not any more.
    pub(super) fn missing(&self) -> bool {
        let found = self.spec.found.as_ref();
        found.is_some_and(|found| found.missing_since.is_some())
    }
}

/// One host machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine<'a> {
    /// Its object.
    pub host: Option<&'a DpuHost>,
    /// Proposed objects for the same machine that give way to it.
    pub yielding: Vec<&'a DpuHost>,
    /// Nodes whose agents run on it.
    pub nodes: BTreeSet<&'a str>,
    /// Reports about it: its BMC's first.
    pub views: Vec<MachineView<'a>>,
    pub keys: Keys,
    /// What is told of it that cannot be.
    pub contradictions: Vec<String>,
    /// BMCs that show what it is known by and are not the one that its object names, in words.
    pub strangers: Vec<String>,
    /// It is such a BMC's, and nobody has an object for it: nothing that it tells is taken.
    pub is_stranger: bool,
    /// An agent tells that it runs there, and the machine is another's: it proves no place.
    pub disputed: bool,
}

impl Machine<'_> {
    pub(super) fn host_name(&self) -> Option<&str> {
        self.host.map(|host| name(&host.metadata))
    }

    /// Who is there; those that are missing only where nobody is.
    fn there(&self) -> impl Iterator<Item = &MachineView<'_>> {
        let nobody = self.views.iter().all(MachineView::missing);
        let views = self.views.iter();
        views.filter(move |view| nobody || !view.missing())
    }

    /// The UUID as told, not as compared.
    pub(super) fn system_uuid(&self) -> Option<String> {
        let told = self.there().flat_map(|view| {
            let machine = view
                .spec
                .machine
                .as_ref()
                .and_then(|m| m.system_uuid.as_deref());
            let bmc = keys::told_by_bmc(view.spec).and_then(|b| b.identity.system_uuid.as_deref());
            let system = view.inventory().and_then(|i| i.system.as_ref());
            [machine, bmc, system.and_then(|s| s.system_uuid.as_deref())]
        });
        let spec = self.host.and_then(|host| host.spec.identity.as_ref());
        told.chain([spec.and_then(|identity| identity.system_uuid.as_deref())])
            .flatten()
            .find_map(lockstep_crds::identity::meaningful_uuid)
    }

    /// The serial number as told.
    pub(super) fn serial_number(&self) -> Option<String> {
        let told = self.there().flat_map(|view| {
            let machine = view
                .spec
                .machine
                .as_ref()
                .and_then(|m| m.serial_number.as_deref());
            let bmc =
                keys::told_by_bmc(view.spec).and_then(|b| b.identity.serial_number.as_deref());
            let system = view.inventory().and_then(|i| i.system.as_ref());
            [
                bmc,
                system.and_then(|s| s.serial_number.as_deref()),
                machine,
            ]
        });
        told.flatten()
            .find_map(|text| lockstep_crds::identity::meaningful_serial(text).map(str::to_owned))
    }

    /// The Node that runs there, if exactly one agent proves it.
    pub(super) fn node_name(&self) -> Option<&str> {
        let mut nodes = self.nodes.iter();
        match (nodes.next(), nodes.next()) {
            (Some(node), None) => Some(node),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }
}

/// Every host machine of the namespace.
#[derive(Debug, Default)]
pub(super) struct Machines<'a> {
    pub list: Vec<Machine<'a>>,
    /// The machine that a report tells of.
    pub of_report: BTreeMap<&'a str, usize>,
    /// The machine of an object, by its name; of one that gives way as well.
    pub of_host: BTreeMap<&'a str, usize>,
}

struct Source<'a> {
    body: Body,
    host: Option<&'a DpuHost>,
    node: Option<&'a str>,
    views: Vec<MachineView<'a>>,
}

/// Joins them.
pub(super) fn machines<'a>(view: &SiteView<'a>) -> Machines<'a> {
    let mut sources: Vec<Source<'a>> = Vec::new();
    let mut strangers = Vec::new();
    let paths = endpoint::paths(&view.reports);
    let found = Found::of(&view.reports);
    let shared = SharedKeys::of(&view.reports);
    for host in &view.hosts {
        sources.push(of_object(view, host, (&paths, &found), &mut strangers));
    }
    let mut agents: BTreeMap<&'a str, Vec<MachineView<'a>>> = BTreeMap::new();
    for (report, spec) in &view.reports {
        let told = MachineView { report, spec };
        match &spec.vantage {
            Vantage::HostOs => agents.entry(&spec.subject).or_default().push(told),
            Vantage::FoundBmc if is_found_host(spec) => sources.push(of_found(told, &shared)),
            Vantage::FoundBmc
            | Vantage::CardBmc
            | Vantage::HostBmc
            | Vantage::CardOs
            | Vantage::Site
            | Vantage::Scan
            | Vantage::Spec
            | Vantage::Unrecognized(_) => {}
        }
    }
    for (node, views) in agents {
        let mut body = Body {
            agent: true,
            keys: views.iter().flat_map(|told| host_keys(told.spec)).collect(),
            inside: views.iter().flat_map(|told| inside(told.spec)).collect(),
            ..Body::default()
        };
        body.keys.insert(Key::Node(node.to_owned()));
        sources.push(Source {
            body,
            host: None,
            node: Some(node),
            views,
        });
    }
    sources.extend(strangers);
    assembled(sources)
}

fn of_object<'a>(
    view: &SiteView<'a>,
    host: &'a DpuHost,
    (paths, found): (&endpoint::Paths, &Found),
    strangers: &mut Vec<Source<'a>>,
) -> Source<'a> {
    let expected = host
        .spec
        .identity
        .as_ref()
        .map(keys::of_identity)
        .unwrap_or_default();
    let mut keys = expected.clone();
    keys.extend(host.spec.node_name.clone().map(Key::Node));
    keys.extend(
        host.spec
            .bmc
            .as_ref()
            .and_then(|bmc| endpoint::key_of_spec(bmc, paths)),
    );
    keys.extend(found.key(&host.metadata));
    let mut views = Vec::new();
    let mut by_bmc = false;
    let mut seen_inside = Keys::new();
    let mut own = None;
    let report = names::host_bmc(name(&host.metadata));
    if let Some((report, spec)) = view.reports.get_key_value(report.as_str())
        && spec.subject_uid == uid(&host.metadata)
    {
        let told = MachineView { report, spec };
        let shown = host_keys(spec);
        if keys::contradictions(&shown, &expected, &[Kind::Serial, Kind::Uuid]).is_empty() {
            keys.extend(shown);
            by_bmc = true;
            own = Some(*spec);
            seen_inside = inside(spec);
            views.push(told);
        } else {
            strangers.push(Source {
                body: Body {
                    keys: shown,
                    inside: inside(spec),
                    by_bmc: true,
                    ..Body::default()
                },
                host: None,
                node: None,
                views: vec![told],
            });
        }
    }
    Source {
        body: Body {
            keys,
            demanded: expected,
            object: true,
            anchor: !host_may_yield(host),
            by_bmc,
            inside: seen_inside,
            named: NamedBmc::of(host, host.spec.bmc.as_ref(), own),
            place: found.place(&host.metadata),
            ..Body::default()
        },
        host: Some(host),
        node: None,
        views,
    }
}

/// A BMC that was found and does not stand for a card.
fn is_found_host(spec: &DpuReportSpec) -> bool {
    spec.found.as_ref().is_some_and(|found| match found.role {
        MachineRole::Host => true,
        MachineRole::Card | MachineRole::Unclear | MachineRole::Unrecognized(_) => false,
    })
}

fn of_found<'a>(told: MachineView<'a>, shared: &SharedKeys<'_>) -> Source<'a> {
    let mut keys = host_keys(told.spec);
    let endpoint = told.spec.found.as_ref().map(|found| &found.endpoint);
    let place = endpoint
        .filter(|_| !told.missing())
        .and_then(endpoint::key_of_found);
    keys.extend(place.clone());
    keys.extend(ids::of_report(told.spec));
    Source {
        body: Body {
            keys,
            by_bmc: true,
            inside: inside(told.spec),
            place,
            found_at: endpoint
                .map(|endpoint| FoundAt::of(told.report, told.spec, endpoint, shared)),
            missing: told.missing(),
            ..Body::default()
        },
        host: None,
        node: None,
        views: vec![told],
    }
}

/// The keys of a host, and of the cards in it, as one report tells them: what a BMC tells now
/// before what its inventory says.
pub(super) fn host_keys(spec: &DpuReportSpec) -> Keys {
    let mut told = Keys::new();
    if let Some(inventory) = &spec.inventory {
        if let Some(system) = &inventory.system {
            told.extend(keys::of_system(system));
        }
        let inside = inventory.cards.iter();
        told.extend(inside.filter_map(|card| Key::card_inside(card.serial_number.as_deref()?)));
    }
    let machine = spec.machine.as_ref();
    let bmc = keys::told_by_bmc(spec).map(|bmc| &bmc.identity);
    for identity in machine.into_iter().chain(bmc) {
        let newer = keys::of_identity(identity);
        let uuids: Keys = newer
            .iter()
            .filter(|key| key.kind() == Kind::Uuid)
            .cloned()
            .collect();
        keys::replace(&mut told, uuids);
        told.extend(newer);
    }
    told
}

/// What one report tells of the cards in a host.
pub(super) fn inside(spec: &DpuReportSpec) -> Keys {
    let cards = spec.inventory.iter().flat_map(|told| &told.cards);
    cards.flat_map(keys::of_seen).collect()
}

fn assembled(sources: Vec<Source<'_>>) -> Machines<'_> {
    let mut bodies: Vec<Body> = sources.iter().map(|source| source.body.clone()).collect();
    let strangers = strangers::set_aside(&mut bodies, &HOSTS);
    let matching = matched(&bodies, &HOSTS);
    let mut machines = Machines {
        list: vec![Machine::default(); matching.clusters.len()],
        ..Machines::default()
    };
    for (source, cluster) in sources.into_iter().zip(&matching.cluster_of) {
        for told in &source.views {
            machines.of_report.insert(told.report, *cluster);
        }
        if let Some(host) = source.host {
            machines.of_host.insert(name(&host.metadata), *cluster);
        }
        let Some(machine) = machines.list.get_mut(*cluster) else {
            continue;
        };
        machine.keys.extend(source.body.keys);
        machine.nodes.extend(source.node);
        machine.views.extend(source.views);
        if let Some(host) = source.host {
            if source.body.anchor {
                machine.host = Some(host);
            } else {
                machine.yielding.push(host);
            }
        }
    }
    for machine in &mut machines.list {
        settle(machine);
    }
    for (body, cluster) in bodies.iter().zip(&matching.cluster_of) {
        if let Some(machine) = machines.list.get_mut(*cluster) {
            machine.is_stranger |= body.aside && machine.host.is_none();
        }
    }
    for stranger in strangers {
        let cluster = matching.cluster_of.get(stranger.object);
        if let Some(machine) = cluster.and_then(|at| machines.list.get_mut(*at)) {
            machine.strangers.push(stranger.words);
        }
    }
    for contested in &matching.contested {
        if !matches!(contested.key.kind(), Kind::Uuid | Kind::Node) {
            continue;
        }
        let strange = strange_agents(contested, &bodies);
        for (_, cluster) in &contested.holders {
            if let Some(machine) = machines.list.get_mut(*cluster) {
                machine.disputed |= contested.key.kind() == Kind::Uuid
                    && machine.host.is_none()
                    && !machine.nodes.is_empty();
            }
        }
        for (_, cluster) in contested.holders.iter().take(MOST_TOLD) {
            if let Some(machine) = machines.list.get_mut(*cluster) {
                machine.contradictions.push(format!(
                    "{} {} is claimed by {} machines that cannot be one; give each its own identity{strange}",
                    contested.key.kind().words(),
                    contested.key.value(),
                    contested.holders.len(),
                ));
            }
        }
    }
    machines
}

/// The Nodes among the holders whose agents see none of the cards that the BMC sees, in words.
fn strange_agents(contested: &Contested, bodies: &[Body]) -> String {
    let holders = || {
        let those = contested.holders.iter();
        those.filter_map(|(body, _)| bodies.get(*body))
    };
    let of_bmcs = holders().filter(|body| !body.agent);
    let by_bmc: Keys = of_bmcs.flat_map(|body| body.inside.clone()).collect();
    let nodes: Vec<String> = holders()
        .filter(|body| body.agent && sees_other_cards(&body.inside, &by_bmc))
        .flat_map(|body| &body.keys)
        .filter(|key| key.kind() == Kind::Node)
        .map(|key| format!("Node {}", key.value()))
        .take(8)
        .collect();
    if nodes.is_empty() {
        return String::new();
    }
    format!(
        "; {} sees none of the cards that the host's BMC sees: look which are in it, and let its BMC \
         be read again",
        nodes.join(", ")
    )
}

/// Contradictions are told on so many objects; more of them say nothing new.
const MOST_TOLD: usize = 64;

/// Who of several objects stays, and in which order reports are believed.
fn settle(machine: &mut Machine<'_>) {
    machine.yielding.sort_by_key(|host| age(&host.metadata));
    if machine.host.is_none() && !machine.yielding.is_empty() {
        machine.host = Some(machine.yielding.remove(0));
    }
    machine.views.sort_by_key(|told| {
        let rank = match &told.spec.vantage {
            Vantage::HostBmc => 0,
            Vantage::FoundBmc if !told.missing() => 1,
            Vantage::HostOs => 2,
            Vantage::FoundBmc
            | Vantage::CardBmc
            | Vantage::CardOs
            | Vantage::Site
            | Vantage::Scan
            | Vantage::Spec
            | Vantage::Unrecognized(_) => 3,
        };
        let newest_first = std::cmp::Reverse(told.at().0);
        (rank, told.inventory().is_none(), newest_first, told.report)
    });
    if machine.nodes.len() > 1 {
        let nodes: Vec<&str> = machine.nodes.iter().copied().take(8).collect();
        machine.contradictions.push(format!(
            "agents of {} Nodes run on this machine by their own account: {}; delete the report of \
             the Node that is gone, or give the machines system UUIDs of their own",
            machine.nodes.len(),
            nodes.join(", "),
        ));
    }
}
