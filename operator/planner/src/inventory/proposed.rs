//! Objects that discovery proposed, and when they may give way.
//!
//! Only what nobody has approved or changed and nothing was ever done to gives way: a proposal
//! that a person took up is theirs.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lockstep_crds::host::{Disruption, HostRole};
use lockstep_crds::{Dpu, DpuHost, PROPOSED_LABEL};

use super::mark::{has_no_others, is_as_written};

/// The id that discovery gave an object that it proposed.
pub(super) fn proposed_id(metadata: &ObjectMeta) -> Option<&str> {
    metadata
        .labels
        .as_ref()?
        .get(PROPOSED_LABEL)
        .map(String::as_str)
}

pub(super) fn name(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

pub(super) fn uid(metadata: &ObjectMeta) -> &str {
    metadata.uid.as_deref().unwrap_or_default()
}

/// Who came first: what is older stays.
pub(super) fn age(metadata: &ObjectMeta) -> (Option<jiff::Timestamp>, &str) {
    (
        metadata.creation_timestamp.as_ref().map(|time| time.0),
        name(metadata),
    )
}

/// An annotation that the operator keeps.
pub(super) fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    let annotations = metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

/// Whether nothing is to be undone for it, and it is not going.
fn is_free(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_none() && metadata.finalizers.iter().flatten().next().is_none()
}

/// uids of cards that any host has a record of.
pub(super) fn recorded<'a>(hosts: &[&'a DpuHost]) -> BTreeSet<&'a str> {
    hosts
        .iter()
        .flat_map(|host| host.status.iter().flat_map(|status| &status.cards))
        .map(|record| record.uid.as_str())
        .collect()
}

/// Whether a card was proposed, is not approved or changed, and nothing was ever done to it: a
/// policy may approve it.
pub(super) fn card_waits(card: &Dpu, recorded: &BTreeSet<&str>) -> bool {
    proposed_id(&card.metadata).is_some()
        && !card.spec.approved
        && is_free(&card.metadata)
        && !recorded.contains(uid(&card.metadata))
        && is_as_written(card)
}

/// Whether, besides, nobody has put anything on it that would be lost with it.
pub(super) fn card_may_yield(card: &Dpu, recorded: &BTreeSet<&str>) -> bool {
    has_no_others(&card.metadata) && card_waits(card, recorded)
}

/// Whether a host was proposed, is as it was proposed, and nothing was ever done to it.
pub(super) fn host_may_yield(host: &DpuHost) -> bool {
    let idle = host.status.as_ref().is_none_or(|status| {
        status.seq == 0
            && status.directives.is_empty()
            && status.cards.is_empty()
            && status.hold.is_none()
    });
    proposed_id(&host.metadata).is_some()
        && is_free(&host.metadata)
        && has_no_others(&host.metadata)
        && host.spec.disruption == Disruption::Never
        && idle
        && is_as_written(host)
}

/// Whether a host stands in for one that nobody has seen yet.
pub(super) fn stands_in(host: &DpuHost) -> bool {
    host.spec.role == HostRole::ChassisOnly && host_may_yield(host)
}
