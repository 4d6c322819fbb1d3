//! What the joined inventory adds to the statuses of cards and hosts, and when that alone is
//! worth a write.
//!
//! While a machine is on its way there will be another write soon, and the inventory rides along.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_crds::condition::{self, CONTRADICTED, INVENTORIED};
use lockstep_crds::inventory::CapabilityRecord;
use lockstep_crds::{DpuHost, DpuHostStatus, DpuStatus};

use crate::decision::Decision;
use crate::intent::Intent;
use crate::inventory::JoinedHost;
use crate::view::{CardJoined, View};

/// Adds the inventory to a card's status. `before` is the status as it stands, and `under_way`
/// whether another write will follow soon.
pub fn show_card_inventory(
    before: &DpuStatus,
    mut status: DpuStatus,
    joined: Option<&CardJoined>,
    generation: Option<i64>,
    under_way: bool,
    now: Timestamp,
) -> DpuStatus {
    // Until there has been a join, what was known stands.
    let Some(joined) = joined else { return status };
    if status == *before && (under_way || !joined.has_evidence) {
        return status;
    }
    status.inventory = joined.has_evidence.then(|| joined.summary.clone());
    status.hosts.clone_from(&joined.places);
    let said = &joined.inventoried;
    condition::set_to(
        &mut status.conditions,
        Condition {
            type_: INVENTORIED.to_owned(),
            status: said.status.to_owned(),
            reason: said.reason.to_owned(),
            message: condition::truncated(&said.message),
            observed_generation: generation,
            last_transition_time: Time(now),
        },
    );
    status
}

/// Whether a card's own share of the verdict announces that its status will change soon.
pub(crate) fn is_under_way(intent: &Intent) -> bool {
    match intent {
        Intent::Act(_) | Intent::Taint(_) | Intent::Wait(..) => true,
        Intent::Hold(_) | Intent::Stall(_) | Intent::Done => false,
    }
}

/// Adds to a host's record what its platform is, unless that alone would be written while
/// something is under way.
pub(crate) fn show_host_inventory(
    view: &View,
    before: &DpuHostStatus,
    record: &mut DpuHostStatus,
    decision: &Decision,
    now: Timestamp,
) {
    let waits = match decision {
        Decision::Await(..) => true,
        Decision::Start(_) | Decision::Hold(_) | Decision::Stalled(_) | Decision::Settled => false,
    };
    if waits && record == before {
        return;
    }
    bind_node(&view.host, view.node_name.as_ref(), record);
    let Some(joined) = &view.joined else { return };
    let JoinedHost {
        node_name: _,
        departed: _,
        firmware,
        slots,
        actors,
        capabilities,
        contradictions,
        strangers,
    } = joined;
    record.firmware.clone_from(firmware);
    record.slots.clone_from(slots);
    record.actors.clone_from(actors);
    if !is_same_probe(record.capabilities.as_ref(), capabilities.as_ref()) {
        record.capabilities.clone_from(capabilities);
    }
    let conditions = &mut record.conditions;
    let told: Vec<&str> = [contradictions, strangers]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    if told.is_empty() {
        condition::remove(conditions, CONTRADICTED);
    } else {
        let message = told.join("; ");
        let generation = view.host.metadata.generation;
        let reason = "Conflicting";
        let now = Time(now);
        condition::set(
            conditions,
            CONTRADICTED,
            true,
            reason,
            &message,
            generation,
            &now,
        );
    }
}

/// The Node stands in the status only where the spec names none.
fn bind_node(host: &DpuHost, node: Option<&String>, record: &mut DpuHostStatus) {
    record.node_name = match host.spec.node_name {
        Some(_) => None,
        None => node.cloned(),
    };
}

/// Whether two probes found the same, whenever they were made.
fn is_same_probe(one: Option<&CapabilityRecord>, other: Option<&CapabilityRecord>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            let same_time = CapabilityRecord {
                probed_at: one.probed_at.clone(),
                ..other.clone()
            };
            *one == same_time
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
