//! Proposed objects whose BMC answers at another address now.
//!
//! Only what discovery wrote is followed; an address that a user wrote is the user's. While the
//! BMC still answers where the spec says, as the machine that was meant, nothing moves: one BMC
//! may be found at several addresses. A BMC that shows nothing that identifies it is not that machine,
//! where the same one is found elsewhere. Nor does anything move to where other credentials, or another
//! trust, are configured: a machine elsewhere would be shown a Secret that is not meant for it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lockstep_crds::bmc::place;
use lockstep_crds::report::FoundBmc;
use lockstep_crds::{BmcEndpoint, DpuReportSpec, names};

use super::cards::Evidence;
use super::machines::Machine;
use super::mark::{self, Proposable, is_as_written};
use super::proposals::found_host;
use super::proposed::{name, uid};
use super::strangers::is_discovered;
use super::unclaimed::found_now;
use super::{Move, Subject, endpoint, keys};

pub(super) fn of_card(evidence: &Evidence<'_>) -> Option<Move> {
    let card = evidence.card?;
    let found = card_left_for(evidence)?;
    let bmc = card.spec.bmc.as_ref()?;
    may_follow(bmc, found).then(|| {
        let mut moved = card.clone();
        moved.spec.bmc = Some(bmc_at(bmc, found));
        to(Subject::Card, card, &moved, found)
    })
}

pub(super) fn of_host(machine: &Machine<'_>) -> Option<Move> {
    let host = machine.host?;
    let found = host_left_for(machine)?;
    let bmc = host.spec.bmc.as_ref()?;
    may_follow(bmc, found).then(|| {
        let mut moved = host.clone();
        moved.spec.bmc = Some(bmc_at(bmc, found));
        to(Subject::Host, host, &moved, found)
    })
}

/// Where the BMC of a proposed card answers instead, under other credentials or another trust.
pub(super) fn card_is_elsewhere<'a>(evidence: &Evidence<'a>) -> Option<&'a FoundBmc> {
    let bmc = evidence.card?.spec.bmc.as_ref()?;
    card_left_for(evidence).filter(|found| !may_follow(bmc, found))
}

/// The same of a host.
pub(super) fn host_is_elsewhere<'a>(machine: &Machine<'a>) -> Option<&'a FoundBmc> {
    let bmc = machine.host?.spec.bmc.as_ref()?;
    host_left_for(machine).filter(|found| !may_follow(bmc, found))
}

fn may_follow(bmc: &BmcEndpoint, found: &FoundBmc) -> bool {
    endpoint::to_spec(&found.endpoint)
        .is_ok_and(|there| there.credentials_ref == bmc.credentials_ref && there.tls == bmc.tls)
}

/// The same BMC where it was found.
fn bmc_at(bmc: &BmcEndpoint, found: &FoundBmc) -> BmcEndpoint {
    BmcEndpoint {
        address: new_address(found).to_owned(),
        ..bmc.clone()
    }
}

fn new_address(found: &FoundBmc) -> &str {
    found.endpoint.address.trim_end_matches('/')
}

fn to<K: Proposable>(subject: Subject, object: &K, moved: &K, found: &FoundBmc) -> Move {
    let metadata = object.metadata();
    Move {
        subject,
        name: name(metadata).to_owned(),
        uid: uid(metadata).to_owned(),
        address: new_address(found).to_owned(),
        mark: is_as_written(object)
            .then(|| mark::of_changed(moved))
            .flatten(),
    }
}

fn card_left_for<'a>(evidence: &Evidence<'a>) -> Option<&'a FoundBmc> {
    let card = evidence.card?;
    let hot = names::card_bmc(name(&card.metadata));
    let own = evidence.sightings.iter().find(|one| one.report == hot);
    let (_, found) = found_now(evidence)?;
    let also = evidence
        .sightings
        .iter()
        .filter_map(|one| one.spec.found.as_ref());
    let bmc = card.spec.bmc.as_ref()?;
    has_left(&card.metadata, bmc, own.map(|one| one.spec), also).then_some(found)
}

fn host_left_for<'a>(machine: &Machine<'a>) -> Option<&'a FoundBmc> {
    let host = machine.host?;
    let hot = names::host_bmc(name(&host.metadata));
    let own = machine.views.iter().find(|view| view.report == hot);
    let (_, found) = found_host(machine)?;
    let also = machine
        .views
        .iter()
        .filter_map(|view| view.spec.found.as_ref());
    let bmc = host.spec.bmc.as_ref()?;
    has_left(&host.metadata, bmc, own.map(|view| view.spec), also).then_some(found)
}

/// Whether the BMC of a proposed object does not answer any more where discovery said that it does.
fn has_left<'f>(
    metadata: &ObjectMeta,
    bmc: &BmcEndpoint,
    own: Option<&DpuReportSpec>,
    mut also: impl Iterator<Item = &'f FoundBmc>,
) -> bool {
    let answers = own.is_some_and(|spec| {
        let reachable = spec.reachable.as_ref();
        reachable.is_some_and(|reachable| reachable.ok) && identifies_itself(spec)
    });
    let here = |found: &FoundBmc| place(&found.endpoint.address) == place(&bmc.address);
    let found_here = also.any(|found| found.missing_since.is_none() && here(found));
    let ours = is_discovered(metadata, bmc) && metadata.deletion_timestamp.is_none();
    ours && !answers && !found_here
}

/// What a BMC shows now, before what its inventory was read of.
fn identifies_itself(spec: &DpuReportSpec) -> bool {
    let now = keys::told_by_bmc(spec).map(|bmc| keys::of_identity(&bmc.identity));
    let read = || {
        let inventory = spec.inventory.as_ref()?;
        inventory.system.as_ref().map(keys::of_system)
    };
    now.or_else(read).is_some_and(|shown| !shown.is_empty())
}
