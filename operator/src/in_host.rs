//! How a card and its host stand to each other: what the agent in the host's operating system
//! sees of the card, and what the card's BMC says that its host may do.

use lockstep_crds::inventory::{CardSeen, HostAccess};
use lockstep_crds::{DpuReportSpec, names};
use lockstep_planner::inventory::JoinedCard;
use lockstep_planner::view::{HostAgentSeen, SeenInHost};

use crate::key::Key;
use crate::world::World;

/// The agent on the Node of a host, if it has ever reported.
pub(crate) fn host_agent(world: &World, near: &Key, node: Option<&str>) -> Option<HostAgentSeen> {
    let name = names::host(node?);
    let key = near.sibling(&name);
    let report = &world.reports.get(&key)?.spec;
    Some(HostAgentSeen {
        report: name,
        agent: world.leases.seen(&key),
        observed_at: report.observed_at.clone(),
        execution: report.execution.clone(),
    })
}

/// The card as that agent sees it, if the join says that it is one of those which it sees.
pub(crate) fn seen_in_host(
    world: &World,
    near: &Key,
    node: Option<&str>,
    joined: &JoinedCard,
) -> Option<SeenInHost> {
    let name = names::host(node?);
    let mut witnesses = joined.witnesses.iter();
    witnesses.find(|witness| witness.report == name)?;
    let report = &world.reports.get(&near.sibling(&name))?.spec;
    let system = joined.inventory.system.as_ref().map(|told| &told.facts)?;
    let is_this = |card: &&CardSeen| {
        let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        same(&card.serial_number, &system.serial_number)
            || same(&card.device_serial, &system.device_serial)
    };
    let mut those = cards(report).iter().filter(is_this);
    let (card, another) = (those.next()?, those.next());
    // Nobody could tell which of the two is meant.
    another.is_none().then(|| SeenInHost {
        rshim: card.rshim.clone(),
        serial_number: card.serial_number.clone(),
        device_serial: card.device_serial.clone(),
        devlink: card.devlink.clone(),
        firmware: card.firmware.clone(),
    })
}

fn cards(report: &DpuReportSpec) -> &[CardSeen] {
    let inventory = report.inventory.as_ref();
    inventory.map_or(&[], |inventory| &inventory.cards)
}

/// What the card's BMC says that its host may do, by the first of the reports on the card that
/// tells.
pub(crate) fn host_access(world: &World, near: &Key, joined: &JoinedCard) -> Option<HostAccess> {
    let mut views = joined.inventory.views.iter();
    views.find_map(|view| {
        let report = world.reports.get(&near.sibling(&view.report))?;
        report.spec.inventory.as_ref()?.host_access.clone()
    })
}
