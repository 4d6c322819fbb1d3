//! What should be proposed: a `Dpu` for every card and a `DpuHost` for every host that nobody
//! has an object for. Nothing is approved, and nothing may be disturbed.
//!
//! A `Dpu` needs a host. One that is seen in none gets a `DpuHost` of its own name that stands
//! in for it, with `role: ChassisOnly`: so the card is visible at once, nothing can be done to
//! any server for it, and once somebody sees the card in its host, both proposals give way to
//! one that names that host.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lockstep_crds::dpu::{HostRef, Pairing};
use lockstep_crds::dpu_inventory::KnownPairing;
use lockstep_crds::host::{Disruption, HostRole, SlotPower, TrustDomain};
use lockstep_crds::report::{FoundBmc, MachineRole};
use lockstep_crds::{
    BmcEndpoint, DISCOVERED_ADDRESS, Dpu, DpuHost, DpuHostSpec, DpuSpec, LocalRef, MachineIdentity,
    PROPOSED_LABEL, PROPOSED_SPEC,
};

use super::cards::Evidence;
use super::gone::is_forgotten;
use super::groups::groups;
use super::machines::{Machine, Machines};
use super::naming::{dns, free_name, label};
use super::places::Seat;
use super::proposed::{name, proposed_id};
use super::unclaimed::{Unclaimed, site, telling};
use super::vendors::maker;
use super::{FAMILY_LABEL, Proposal, SiteView, VENDOR_LABEL, endpoint, mark};

/// Objects that are proposed at once; the next join proposes the next ones.
pub(super) const MOST_PROPOSALS: usize = 256;

/// Hosts that a `Dpu` can name.
const MOST_HOST_REFS: usize = 8;

/// The policy of what is proposed, where none says that it is for that.
const DISCOVERED: &str = "discovered";

/// Everything that is to be proposed, hosts before their cards.
pub(super) fn proposals(
    view: &SiteView<'_>,
    machines: &Machines<'_>,
    cards: &[(Evidence<'_>, Vec<Seat>)],
) -> Vec<Proposal> {
    let mut all = Proposing::new(view);
    let hosts = all.hosts(machines, cards, view.now);
    all.stand_ins_that_are_gone(view);
    let mut unclaimed: Vec<(Unclaimed<'_, '_>, &[Seat])> = cards
        .iter()
        .filter(|(evidence, _)| evidence.card.is_none())
        .filter_map(|(evidence, seats)| {
            Some((Unclaimed::of(evidence, view.now)?, seats.as_slice()))
        })
        .collect();
    unclaimed.sort_by(|(one, _), (other, _)| {
        (&one.stem, &one.evidence.keys).cmp(&(&other.stem, &other.evidence.keys))
    });
    for (found, seats) in unclaimed {
        if all.proposals.len() >= MOST_PROPOSALS {
            break;
        }
        all.card(&found, seats, machines, &hosts);
    }
    all.proposals.truncate(MOST_PROPOSALS);
    all.proposals
}

struct Proposing {
    proposals: Vec<Proposal>,
    /// Names of `Dpu` and of `DpuHost` that are in use.
    cards: BTreeSet<String>,
    hosts: BTreeSet<String>,
    /// Ids of hosts that were proposed, by their names.
    ids: BTreeMap<String, String>,
    policy: String,
    site: String,
}

impl Proposing {
    fn new(view: &SiteView<'_>) -> Self {
        let for_this = view
            .policies
            .iter()
            .filter(|policy| policy.spec.discovered.is_some());
        let policy = for_this.map(|policy| name(&policy.metadata)).min();
        Self {
            proposals: Vec::new(),
            cards: view
                .cards
                .iter()
                .map(|card| name(&card.metadata).to_owned())
                .collect(),
            hosts: view
                .hosts
                .iter()
                .map(|host| name(&host.metadata).to_owned())
                .collect(),
            ids: view
                .hosts
                .iter()
                .filter_map(|host| {
                    let id = proposed_id(&host.metadata)?;
                    Some((name(&host.metadata).to_owned(), id.to_owned()))
                })
                .collect(),
            policy: policy.unwrap_or(DISCOVERED).to_owned(),
            site: site_of(view),
        }
    }

    /// Hosts whose BMC was found, and those that a card is seen in. Returns the names of all
    /// machines, so that cards can refer to them.
    fn hosts(
        &mut self,
        machines: &Machines<'_>,
        cards: &[(Evidence<'_>, Vec<Seat>)],
        now: Timestamp,
    ) -> BTreeMap<usize, String> {
        let holding: BTreeSet<usize> = cards
            .iter()
            .flat_map(|(_, seats)| seats)
            .filter(|seat| seat.place.pairing == KnownPairing::Observed)
            .map(|seat| seat.machine)
            .collect();
        let mut names = BTreeMap::new();
        let mut unclaimed: Vec<(String, usize, &Machine<'_>)> = Vec::new();
        for (number, machine) in machines.list.iter().enumerate() {
            match machine.host_name() {
                Some(host) => {
                    names.insert(number, host.to_owned());
                }
                None if machine.is_stranger => {}
                None if machine
                    .views
                    .iter()
                    .all(|view| is_forgotten(view.spec, now)) => {}
                None if holding.contains(&number) || found_host(machine).is_some() => {
                    unclaimed.extend(host_stem(machine).map(|stem| (stem, number, machine)));
                }
                None => {}
            }
        }
        unclaimed.sort_by(|one, other| (&one.0, &one.2.keys).cmp(&(&other.0, &other.2.keys)));
        for (stem, number, machine) in unclaimed {
            if self.proposals.len() >= MOST_PROPOSALS {
                break;
            }
            let taken = |name: &str| self.hosts.contains(name);
            let Some(host) = free_name(&stem, &machine.keys, taken) else {
                continue;
            };
            self.hosts.insert(host.clone());
            let object = self.host(&host, &stem, machine);
            self.proposals.push(Proposal::Host(Box::new(object)));
            names.insert(number, host);
        }
        names
    }

    fn host(&self, host: &str, stem: &str, machine: &Machine<'_>) -> DpuHost {
        let found = found_host(machine);
        let (system_uuid, serial_number) = (machine.system_uuid(), machine.serial_number());
        // An agent reads another serial number than a BMC may show: its UUID is enough.
        let serial_number = serial_number.filter(|_| found.is_some() || system_uuid.is_none());
        let told = MachineIdentity {
            system_uuid,
            serial_number,
        };
        let identity = shown_by_found_host(machine).or_else(|| telling(&told));
        let subject = found.and_then(|(subject, _)| label(subject));
        let spec = DpuHostSpec {
            site: found
                .and_then(|(_, found)| site(&found.site))
                .unwrap_or_else(|| self.site.clone()),
            bmc: found.and_then(|(_, found)| endpoint::to_spec(&found.endpoint).ok()),
            node_name: match &identity {
                // Nothing else ties the agent to the object.
                None => machine.node_name().map(str::to_owned),
                Some(_) => None,
            },
            identity,
            ..self.empty_host(HostRole::Server)
        };
        labelled_host(DpuHost::new(host, spec), subject.or_else(|| label(stem)))
    }

    fn empty_host(&self, role: HostRole) -> DpuHostSpec {
        DpuHostSpec {
            site: self.site.clone(),
            role,
            bmc: None,
            identity: None,
            node_name: None,
            policy_ref: LocalRef {
                name: self.policy.clone(),
            },
            disruption: Disruption::Never,
            hands_off: false,
            slot_power_when_host_off: SlotPower::Unknown,
            trust_domain: TrustDomain::Isolated,
        }
    }

    fn stand_in(&mut self, name: &str, id: &str, site: &str) {
        let spec = DpuHostSpec {
            site: site.to_owned(),
            ..self.empty_host(HostRole::ChassisOnly)
        };
        let object = labelled_host(DpuHost::new(name, spec), Some(id.to_owned()));
        self.hosts.insert(name.to_owned());
        self.proposals.push(Proposal::Host(Box::new(object)));
    }

    /// The object of a card was created and the one that stands in for its host was not, or is
    /// gone.
    fn stand_ins_that_are_gone(&mut self, view: &SiteView<'_>) {
        for card in &view.cards {
            let own = name(&card.metadata);
            let wants = card.spec.host_refs.iter().any(|host| host.name == own);
            if let Some(id) = proposed_id(&card.metadata)
                && wants
                && card.metadata.deletion_timestamp.is_none()
                && !self.hosts.contains(own)
                && self.proposals.len() < MOST_PROPOSALS
            {
                self.stand_in(own, id, &card.spec.site);
            }
        }
    }

    fn card(
        &mut self,
        found: &Unclaimed<'_, '_>,
        seats: &[Seat],
        machines: &Machines<'_>,
        names: &BTreeMap<usize, String>,
    ) {
        let observed = seats
            .iter()
            .filter(|seat| seat.place.pairing == KnownPairing::Observed);
        let mut hosts: BTreeSet<&str> = BTreeSet::new();
        for seat in observed.clone() {
            match names.get(&seat.machine) {
                Some(host) => {
                    hosts.insert(host);
                }
                // Its host's turn comes with a later join.
                None if self.proposals.len() >= MOST_PROPOSALS => return,
                None => {}
            }
        }
        let of_host = observed
            .filter_map(|seat| machines.list.get(seat.machine)?.host)
            .map(|host| host.spec.site.clone())
            .min();
        let site = found
            .site
            .clone()
            .or(of_host)
            .unwrap_or_else(|| self.site.clone());
        let Some(name) = self.card_name(found, hosts.is_empty()) else {
            return;
        };
        let mut host_refs: Vec<HostRef> = hosts
            .into_iter()
            .take(MOST_HOST_REFS)
            .map(|host| HostRef {
                name: host.to_owned(),
                pairing: Pairing::Observed,
            })
            .collect();
        if host_refs.is_empty() {
            if self.ids.get(&name) != Some(&found.id) {
                if self.proposals.len() + 1 >= MOST_PROPOSALS {
                    return;
                }
                self.stand_in(&name, &found.id, &site);
            }
            host_refs.push(HostRef {
                name: name.clone(),
                pairing: Pairing::Observed,
            });
        }
        let mut card = Dpu::new(
            &name,
            DpuSpec {
                site,
                host_refs,
                bmc: found.bmc.clone(),
                identity: found.identity.clone(),
                image_ref: None,
                firmware_refs: None,
                service_refs: None,
                boot_macs: Vec::new(),
                approved: false,
                paused: false,
                retry_token: None,
                values: Vec::new(),
                wipe: None,
                retired: false,
            },
        );
        let system = groups(&found.evidence.sightings).system;
        let system = system.as_ref().map(|system| &system.facts);
        let vendor = system.and_then(|system| system.vendor.as_deref());
        let family = system.and_then(|system| system.family.as_deref());
        let labels = [
            (PROPOSED_LABEL, Some(found.id.clone())),
            (
                VENDOR_LABEL,
                vendor.and_then(|vendor| label(&maker(vendor))),
            ),
            (FAMILY_LABEL, family.and_then(label)),
        ];
        card.metadata.labels = Some(
            labels
                .into_iter()
                .filter_map(|(label, value)| Some((label.to_owned(), value?)))
                .collect(),
        );
        card.metadata.annotations = annotations(card.spec.bmc.as_ref(), mark::of_new(&card));
        self.proposals.push(Proposal::Card(Box::new(card)));
    }

    /// A free name; one that stands in for a host needs it free among hosts as well, unless its
    /// own is there already.
    fn card_name(&mut self, found: &Unclaimed<'_, '_>, stands_in: bool) -> Option<String> {
        let taken = |name: &str| {
            let by_host = self.hosts.contains(name) && self.ids.get(name) != Some(&found.id);
            self.cards.contains(name) || (stands_in && by_host)
        };
        let name = free_name(&found.stem, &found.evidence.keys, taken)?;
        self.cards.insert(name.clone());
        Some(name)
    }
}

/// That the address is discovery's own, and everything else.
fn annotations(
    bmc: Option<&BmcEndpoint>,
    mark: Option<String>,
) -> Option<BTreeMap<String, String>> {
    let address = bmc.map(|bmc| (DISCOVERED_ADDRESS.to_owned(), bmc.address.clone()));
    let mark = mark.map(|mark| (PROPOSED_SPEC.to_owned(), mark));
    Some(address.into_iter().chain(mark).collect())
}

fn labelled_host(mut host: DpuHost, id: Option<String>) -> DpuHost {
    host.metadata.labels = id.map(|id| BTreeMap::from([(PROPOSED_LABEL.to_owned(), id)]));
    host.metadata.annotations = annotations(host.spec.bmc.as_ref(), mark::of_new(&host));
    host
}

/// The BMC that was found for a host and answers now, with its id.
pub(super) fn found_host<'a>(machine: &Machine<'a>) -> Option<(&'a str, &'a FoundBmc)> {
    machine.views.iter().find_map(|view| {
        let found = view.spec.found.as_ref()?;
        let now = found.role == MachineRole::Host && found.missing_since.is_none();
        now.then_some((view.spec.subject.as_str(), found))
    })
}

/// The identity that the BMC that was found for a host shows where it is proved.
fn shown_by_found_host(machine: &Machine<'_>) -> Option<MachineIdentity> {
    let (subject, _) = found_host(machine)?;
    let mut views = machine.views.iter();
    let view = views.find(|view| view.spec.found.is_some() && view.spec.subject == subject)?;
    telling(view.spec.machine.as_ref()?)
}

fn host_stem(machine: &Machine<'_>) -> Option<String> {
    let node = machine.node_name().map(str::to_owned);
    [machine.serial_number(), machine.system_uuid(), node]
        .iter()
        .flatten()
        .map(|text| dns(text))
        .find(|text| !text.is_empty())
        .map(|stem| format!("host-{stem}"))
}

/// The site of the namespace, for what only an agent on a host has seen: every site is one
/// namespace, and whoever is there already tells which.
fn site_of(view: &SiteView<'_>) -> String {
    let found = view.reports.values().filter_map(|spec| spec.found.as_ref());
    let cards = view.cards.iter().map(|card| card.spec.site.as_str());
    let hosts = view.hosts.iter().map(|host| host.spec.site.as_str());
    let agents = view.reports.iter().filter_map(|(report, spec)| {
        let of = spec.subject.as_str();
        let own = [
            lockstep_crds::names::site(of),
            lockstep_crds::names::scan(of),
        ];
        own.iter().any(|name| name == report).then_some(of)
    });
    let told = found
        .map(|found| found.site.as_str())
        .chain(agents)
        .chain(hosts)
        .chain(cards);
    let site = told.filter(|site| !site.is_empty()).min();
    site.unwrap_or("default").to_owned()
}
