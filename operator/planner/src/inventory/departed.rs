//! Nodes that a host's status records and that run on another machine by now.
//!
//! A Node that was proved once stays the host's (S12): silence, or a second claim, must not make a
//! host look free. Only a reading that came later and cannot be of this host ends that: its agent
//! proves that it runs on another host, tells another system UUID, or tells none and sees nothing
//! of what the host's BMC lists since. A BMC that lists no cards says nothing: many list none while
//! the host is off.

use lockstep_crds::{DpuHost, names};

use super::SiteView;
use super::agreement::sees_other_cards;
use super::keys::{self, Key, Keys, Kind};
use super::machines::{Machine, Machines, host_keys, inside};

/// The Node in the status of a host, if it is that of another machine now.
pub(super) fn departed(
    host: &DpuHost,
    own: usize,
    machines: &Machines<'_>,
    view: &SiteView<'_>,
) -> Option<String> {
    let node = host.status.as_ref()?.node_name.as_deref()?;
    let report = names::host(node);
    let there = *machines.of_report.get(report.as_str())?;
    if there == own {
        return None;
    }
    let (machine, other) = (machines.list.get(own)?, machines.list.get(there)?);
    let agent = view.reports.get(report.as_str())?;
    let told = host_keys(agent);
    let proved_elsewhere = other.host.is_some() && other.node_name() == Some(node);
    let of_another = !keys::contradictions(&told, &machine.keys, &[Kind::Uuid]).is_empty();
    let has_uuid = told.iter().any(|key: &Key| key.kind() == Kind::Uuid);
    let listed = listed_since(machine, agent.observed_at.0);
    let sees_others = !has_uuid && sees_other_cards(&inside(agent), &listed);
    (proved_elsewhere || of_another || sees_others).then(|| node.to_owned())
}

/// What the BMC of a host lists by readings that are newer than that.
fn listed_since(machine: &Machine<'_>, than: jiff::Timestamp) -> Keys {
    let views = machine.views.iter();
    let by_bmc = views.filter(|view| !view.missing() && view.is_of_bmc() && view.at().0 > than);
    by_bmc.flat_map(|view| inside(view.spec)).collect()
}
