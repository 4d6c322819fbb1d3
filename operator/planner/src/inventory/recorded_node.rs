//! The Node that a host's status records, where agents or BMCs tell what does not go with it.
//!
//! A Node that was proved once stays the host's (S12): neither silence, nor a second claim, nor a
//! reading that differs may make a host look free. A BMC shows another UUID after its firmware or
//! its board was replaced, and lists other cards once one was; whoever is told otherwise may run
//! there still. So a recorded Node that exists ends only by its own agent, which is alive, tells it
//! later than the host's BMC was read, and is proved on another host by more than its own word; or, if
//! no agent tells of it, by a person who names it there. Everything else that cannot be is told, another
//! Node's proof included, and stops what would take the host down. A BMC that lists no cards
//! says nothing: many list none while the host is off.

use jiff::Timestamp;
use lockstep_crds::{DpuHost, DpuReportSpec, names};

use super::SiteView;
use super::agreement::sees_other_cards;
use super::keys::{self, Keys, Kind};
use super::machines::{Machine, MachineView, Machines, host_keys, inside};
use super::proposed::{host_may_yield, name};
use crate::standing::CLOCK_SKEW;

/// What has become of the Node in a host's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// There is none, or nothing speaks against it, or another is proved by the host's identity.
    Unopposed,
    /// It runs on another machine now.
    Departed(String),
    /// It is the host's still, though this is told, which cannot be if it is; with the remedy.
    Opposed(String),
}

/// Judges the Node in the status of a host, whose machine is `own`.
pub(super) fn recorded(
    host: &DpuHost,
    own: usize,
    machines: &Machines<'_>,
    view: &SiteView<'_>,
) -> Recorded {
    let node = host.status.as_ref().and_then(|it| it.node_name.as_deref());
    // Who is named in the spec needs no record.
    let node = node.filter(|_| host.spec.node_name.is_none());
    let (Some(node), Some(machine)) = (node, machines.list.get(own)) else {
        return Recorded::Unopposed;
    };
    if !view.reports.contains_key(names::host(node).as_str())
        && is_named_elsewhere(node, host, view)
    {
        return Recorded::Departed(node.to_owned());
    }
    let agent = Agent::elsewhere(node, own, machines, view);
    if let Some(agent) = &agent
        && agent.has_left(machine, view)
    {
        return Recorded::Departed(node.to_owned());
    }
    let other = machine.node_name().filter(|other| *other != node);
    let why = match other {
        Some(other) => Some(format!("{} tells of this machine, too", names::host(other))),
        None => agent.and_then(|agent| agent.speaks_against(machine)),
    };
    why.map_or(Recorded::Unopposed, |why| {
        Recorded::Opposed(format!(
            "status.nodeName records Node {node}, and {why}; Node {node} counts as the one that runs \
             here until that is settled: name the Node that does in spec.nodeName; if {node} does not \
             run any more, delete that Node; if it runs on another machine, have a DpuHost with its own BMC stand for that one, or name {node} in its \
             spec.nodeName, and delete the DpuReport {}, which the agent there writes anew",
            names::host(node)
        ))
    })
}

/// The agent on the Node that is recorded; what it tells is not joined to the host.
struct Agent<'m, 'a> {
    node: &'m str,
    report: String,
    told: &'a DpuReportSpec,
    keys: Keys,
    /// The machine that it is joined to.
    machine: &'m Machine<'a>,
}

impl<'m, 'a> Agent<'m, 'a> {
    fn elsewhere(
        node: &'m str,
        own: usize,
        machines: &'m Machines<'a>,
        view: &SiteView<'a>,
    ) -> Option<Self> {
        let report = names::host(node);
        let there = *machines.of_report.get(report.as_str())?;
        let told = *view.reports.get(report.as_str())?;
        (there != own).then_some(Self {
            node,
            told,
            keys: host_keys(told),
            machine: machines.list.get(there)?,
            report,
        })
    }

    /// Whether it says, later than anything that the BMC of its host says, that it runs on another.
    fn has_left(&self, from: &Machine<'_>, view: &SiteView<'_>) -> bool {
        let is_alive = view.alive.contains(self.report.as_str());
        let newest = by_bmc(from).map(|view| view.at().0).max();
        let sees_what_is_there = by_bmc(from).any(|view| {
            let listed = inside(view.spec);
            !listed.is_disjoint(&inside(self.told))
        });
        is_alive
            && newest.is_none_or(|newest| self.is_newer(newest))
            && !sees_what_is_there
            && !self.is_known_at(from)
            && self.is_proved_there(view)
    }

    /// Whether it tells the very UUID that the host is known by, or whose that is is not settled.
    fn is_known_at(&self, from: &Machine<'_>) -> bool {
        let objects = from.host.iter().chain(&from.yielding);
        let demanded = objects.filter_map(|host| host.spec.identity.as_ref());
        let mut known: Keys = demanded.flat_map(keys::of_identity).collect();
        known.extend(by_bmc(from).flat_map(|view| host_keys(view.spec)));
        let mut uuids = self.keys.iter().filter(|key| key.kind() == Kind::Uuid);
        uuids.any(|uuid| known.contains(uuid)) || !from.contradictions.is_empty()
    }

    /// Facts have the time of their last change, by the clock of whoever read them: an equal time
    /// proves nothing, nor does one that a clock may have made later.
    fn is_newer(&self, than: Timestamp) -> bool {
        self.told.observed_at.0 > than + CLOCK_SKEW
    }

    /// Discovery proposes a host for what an agent alone tells: that proves nothing besides. The
    /// BMC of the other host must show the UUID now, or a person have named the Node there.
    fn is_proved_there(&self, view: &SiteView<'_>) -> bool {
        let Some(host) = self.machine.host else {
            return false;
        };
        let is_named = is_named_by_person(self.node, host);
        let is_shown = || {
            by_bmc(self.machine).any(|bmc| {
                let mut shown = host_keys(bmc.spec).into_iter();
                view.alive.contains(bmc.report)
                    && shown.any(|key| key.kind() == Kind::Uuid && self.keys.contains(&key))
            })
        };
        self.machine.node_name() == Some(self.node) && (is_named || is_shown())
    }

    /// What it tells that cannot be if it runs on that machine, in words.
    fn speaks_against(&self, machine: &Machine<'_>) -> Option<String> {
        let differs = |other: &Keys| {
            let against = keys::contradictions(&self.keys, other, &[Kind::Uuid]);
            !against.is_empty()
        };
        let by_uuid = || by_bmc(machine).find(|view| differs(&host_keys(view.spec)));
        let by_cards = || {
            by_bmc(machine).find(|view| sees_other_cards(&inside(self.told), &inside(view.spec)))
        };
        let report = &self.report;
        if let Some(bmc) = by_uuid() {
            return Some(format!(
                "{report} tells another system UUID than {}",
                bmc.report
            ));
        }
        if differs(&machine.keys) {
            return Some(format!(
                "{report} tells another system UUID than this host is known by"
            ));
        }
        if let Some(bmc) = by_cards() {
            return Some(format!(
                "{report} sees none of the cards that {} lists",
                bmc.report
            ));
        }
        let there = self.machine.host.map(|host| name(&host.metadata))?;
        (self.machine.node_name() == Some(self.node))
            .then(|| format!("{report} is that of the DpuHost {there} as well"))
    }
}

/// What the BMC of a host tells that was not lost since.
fn by_bmc<'m, 'a>(machine: &'m Machine<'a>) -> impl Iterator<Item = &'m MachineView<'a>> {
    let views = machine.views.iter();
    views.filter(|view| view.is_of_bmc() && !view.missing())
}

/// Whether a person says that this Node runs on that host. Discovery writes names, too, into objects
/// that may still give way.
fn is_named_by_person(node: &str, host: &DpuHost) -> bool {
    host.spec.node_name.as_deref() == Some(node) && !host_may_yield(host)
}

fn is_named_elsewhere(node: &str, than: &DpuHost, view: &SiteView<'_>) -> bool {
    let own = name(&than.metadata);
    let mut others = view.hosts.iter().filter(|host| name(&host.metadata) != own);
    others.any(|host| is_named_by_person(node, host))
}
