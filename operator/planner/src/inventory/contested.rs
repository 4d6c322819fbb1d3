//! Keys that several cards claim, told to each of them.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_crds::dpu_inventory::{Conflict, Said};
use lockstep_crds::report::Vantage;

use super::cards::{SINGLE, Source, said_by_spec};
use super::conflicts::{self, MOST_SAID};
use super::keys::{Key, Keys, Kind};
use super::matching::{Contested, Matching};

/// Tells everybody who holds a contested key of it.
pub(super) fn tell(
    contested: &Contested,
    sources: &[Source<'_>],
    matching: &Matching,
    told: &mut BTreeMap<usize, Vec<(Key, Conflict)>>,
) {
    // Whose id it is tells nothing that their identities do not.
    if contested.key.kind() == Kind::Found {
        return;
    }
    let endpoint = contested.key.kind() == Kind::Endpoint;
    let word = |body: usize| word(sources.get(body)?, &contested.key);
    let first: Vec<(usize, Said)> = contested
        .holders
        .iter()
        .filter_map(|(body, cluster)| Some((*cluster, word(*body)?)))
        .take(MOST_SAID)
        .collect();
    // An address is contested only if somebody was found there: objects of one BMC that serves
    // several systems may share it. Whoever was found has it; who expected to has a conflict.
    let there: BTreeSet<usize> = contested
        .holders
        .iter()
        .map(|(_, cluster)| *cluster)
        .filter(|cluster| endpoint && seen_there(*cluster, contested, sources, matching))
        .collect();
    if endpoint && there.is_empty() {
        return;
    }
    // A weaker key may have shown that some of them are one.
    let mut apart: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (body, cluster) in &contested.holders {
        apart.entry(*cluster).or_default().push(*body);
    }
    apart.retain(|cluster, _| !there.contains(cluster));
    for (cluster, own) in apart {
        let own = own.into_iter().filter_map(word);
        let others = first.iter().filter(|(other, _)| *other != cluster);
        let said: Vec<Said> = own
            .take(MOST_SAID / 2)
            .chain(others.map(|(_, said)| said.clone()))
            .take(MOST_SAID)
            .collect();
        let field = field(contested.key.kind());
        told.entry(cluster)
            .or_default()
            .push((contested.key.clone(), Conflict { field, said }));
    }
}

fn seen_there(
    cluster: usize,
    contested: &Contested,
    sources: &[Source<'_>],
    matching: &Matching,
) -> bool {
    let members = matching.clusters.get(cluster).into_iter().flatten();
    members
        .filter_map(|body| sources.get(*body))
        .any(|source| source.card.is_none() && source.body.keys.contains(&contested.key))
}

/// The key, and what else the same view tells of that card.
fn described(key: &Key, keys: &Keys) -> String {
    let rest: Vec<String> = keys
        .iter()
        .filter(|other| *other != key && SINGLE.contains(&other.kind()))
        .map(|other| format!("{} {}", other.kind().words(), other.value()))
        .collect();
    if rest.is_empty() {
        key.value().to_owned()
    } else {
        format!("{} with {}", key.value(), rest.join(", "))
    }
}

/// What a card's own operating system alone tells of it, where another card is known by that.
pub(super) struct OwnWord {
    /// Of the card whose system tells it.
    pub source: usize,
    /// For that card: nobody can make another card doubtful by his own word.
    pub conflict: Conflict,
    /// Clusters of the cards that are known by it.
    pub known_by_it: BTreeSet<usize>,
}

/// All of them.
pub(super) fn own_words(sources: &[Source<'_>], matching: &Matching) -> Vec<OwnWord> {
    let claimed: BTreeSet<&Key> = sources.iter().flat_map(|source| &source.own_word).collect();
    let mut holders: BTreeMap<&Key, Vec<usize>> = BTreeMap::new();
    for (body, source) in sources.iter().enumerate() {
        let there = source.body.keys.iter().filter(|_| !source.body.missing);
        for key in there.filter(|key| claimed.contains(key)) {
            holders.entry(key).or_default().push(body);
        }
    }
    let cluster_of = |body: usize| matching.cluster_of.get(body).copied();
    let mut told = Vec::new();
    for (body, source) in sources.iter().enumerate() {
        for key in &source.own_word {
            let holders = holders.get(key).map_or(&[][..], Vec::as_slice);
            let known_by_it: BTreeSet<usize> = holders
                .iter()
                .filter_map(|other| cluster_of(*other))
                .collect();
            let is_its_own = cluster_of(body).is_some_and(|own| known_by_it.contains(&own));
            if known_by_it.is_empty() || is_its_own {
                continue;
            }
            let others = holders
                .iter()
                .filter_map(|other| word(sources.get(*other)?, key));
            let said = word(source, key).into_iter().chain(others);
            told.push(OwnWord {
                source: body,
                conflict: Conflict {
                    field: field(key.kind()),
                    said: said.take(MOST_SAID).collect(),
                },
                known_by_it,
            });
        }
    }
    told
}

/// Who of a source tells a key, and what else that is known by.
fn word(source: &Source<'_>, key: &Key) -> Option<Said> {
    let value = described(key, &source.body.keys);
    // Where others tell it as well the card's own system is not asked.
    let by_others = !source.own_word.contains(key);
    let told = source.sightings.iter().find(|sighting| {
        sighting.keys.contains(key) && !(by_others && *sighting.from() == Vantage::CardOs)
    });
    match (told.or(source.sightings.first()), source.card) {
        (Some(sighting), None) => Some(conflicts::said(sighting, value)),
        (Some(sighting), Some(_)) if told.is_some() => Some(conflicts::said(sighting, value)),
        (Some(_) | None, Some(card)) => Some(said_by_spec(card, &value)),
        (None, None) => None,
    }
}

fn field(kind: Kind) -> String {
    match kind {
        Kind::Serial | Kind::Uuid | Kind::DeviceSerial => format!("system.{}", kind.field()),
        Kind::Mac => "ports.mac".to_owned(),
        Kind::Endpoint => "bmc.address".to_owned(),
        Kind::CardInside | Kind::Node | Kind::Found => kind.field().to_owned(),
    }
}
