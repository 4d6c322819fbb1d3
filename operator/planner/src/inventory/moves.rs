//! Proposed objects whose BMC answers at another address now.
//!
//! Only what discovery wrote is followed; an address that a user wrote is the user's. While the
//! BMC still answers where the spec says, as the machine that was meant, nothing moves: one BMC
//! may be found at several addresses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lockstep_crds::report::FoundBmc;
use lockstep_crds::{BmcEndpoint, DpuReportSpec, names};

use super::cards::Evidence;
use super::keys::plain_address;
use super::machines::Machine;
use super::proposals::found_host;
use super::proposed::{name, proposed_id, uid};
use super::unclaimed::found_now;
use super::{Move, Subject};

pub(super) fn of_card(evidence: &Evidence<'_>) -> Option<Move> {
    let card = evidence.card?;
    let hot = names::card_bmc(name(&card.metadata));
    let own = evidence.sightings.iter().find(|one| one.report == hot);
    let (_, found) = found_now(evidence)?;
    let also = evidence
        .sightings
        .iter()
        .filter_map(|one| one.spec.found.as_ref());
    moved(
        Subject::Card,
        &card.metadata,
        card.spec.bmc.as_ref()?,
        own.map(|one| one.spec),
        found,
        also,
    )
}

pub(super) fn of_host(machine: &Machine<'_>) -> Option<Move> {
    let host = machine.host?;
    let hot = names::host_bmc(name(&host.metadata));
    let own = machine.views.iter().find(|view| view.report == hot);
    let (_, found) = found_host(machine)?;
    let also = machine
        .views
        .iter()
        .filter_map(|view| view.spec.found.as_ref());
    moved(
        Subject::Host,
        &host.metadata,
        host.spec.bmc.as_ref()?,
        own.map(|view| view.spec),
        found,
        also,
    )
}

fn moved<'f>(
    subject: Subject,
    metadata: &ObjectMeta,
    bmc: &BmcEndpoint,
    own: Option<&DpuReportSpec>,
    found: &FoundBmc,
    mut also: impl Iterator<Item = &'f FoundBmc>,
) -> Option<Move> {
    let reachable = own.and_then(|spec| spec.reachable.as_ref());
    let answers = reachable.is_some_and(|reachable| reachable.ok);
    let here =
        |found: &FoundBmc| plain_address(&found.endpoint.address) == plain_address(&bmc.address);
    let found_here = also.any(|found| found.missing_since.is_none() && here(found));
    let ours = proposed_id(metadata).is_some() && metadata.deletion_timestamp.is_none();
    // The scheme goes with the trust, which does not move.
    let scheme = |address: &str| address.starts_with("http://");
    let alike = scheme(&found.endpoint.address) == scheme(&bmc.address);
    (ours && alike && !answers && !found_here).then(|| Move {
        subject,
        name: name(metadata).to_owned(),
        uid: uid(metadata).to_owned(),
        address: found.endpoint.address.trim_end_matches('/').to_owned(),
    })
}
