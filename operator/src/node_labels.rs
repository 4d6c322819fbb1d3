//! The labels that tell on a Node which cards are proved to sit in its machine, for selectors of
//! pods. Their prefix is one that no kubelet may set for its own Node.
//!
//! Only cards that were approved count: that a card is there at all may be the word of the agent on
//! that very Node, whose token whoever is root there has.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;
use lockstep_crds::dpu_inventory::KnownPairing;

use crate::inventory_objects::label_value;
use crate::key::Key;
use crate::world::World;

/// What all of them begin with.
const PREFIX: &str = "xpu.node-restriction.kubernetes.io/";
/// How many cards sit there.
const COUNT: &str = "xpu.node-restriction.kubernetes.io/count";
/// Their families, in order, with `_` between them.
const FAMILIES: &str = "xpu.node-restriction.kubernetes.io/families";

/// The families of the cards at each Node, by name of the card.
pub(crate) type AtNodes = BTreeMap<String, BTreeMap<String, Option<String>>>;

/// Which cards are proved to sit at which Node, by namespace.
#[derive(Debug, Default)]
pub(crate) struct NodeCards {
    by_namespace: BTreeMap<String, AtNodes>,
}

impl NodeCards {
    /// Replaces what is known in a namespace; returns the Nodes of which something else is said.
    pub(crate) fn set(&mut self, namespace: &str, new: AtNodes) -> BTreeSet<String> {
        let old = self.by_namespace.remove(namespace).unwrap_or_default();
        let nodes = old.keys().chain(new.keys());
        let changed = nodes
            .filter(|node| old.get(*node) != new.get(*node))
            .cloned()
            .collect();
        self.by_namespace.insert(namespace.to_owned(), new);
        changed
    }

    /// The labels that a Node is to carry.
    fn labels(&self, node: &str) -> BTreeMap<String, String> {
        let cards = self
            .by_namespace
            .values()
            .filter_map(|nodes| nodes.get(node));
        let families: Vec<Option<&String>> = cards
            .flat_map(|cards| cards.values().map(Option::as_ref))
            .collect();
        if families.is_empty() {
            return BTreeMap::new();
        }
        let named: BTreeSet<&String> = families.iter().copied().flatten().collect();
        let named: Vec<&str> = named.into_iter().map(String::as_str).collect();
        let families_label = label_value(&named.join("_")).map(|value| (FAMILIES, value));
        let count = (COUNT, families.len().to_string());
        std::iter::once(count)
            .chain(families_label)
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

/// The labels of ours that a Node carries.
pub(crate) fn of_ours(node: &Node) -> BTreeMap<String, String> {
    let labels = node.metadata.labels.iter().flatten();
    labels
        .filter(|(key, _)| key.starts_with(PREFIX))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The approved cards that the last join of a namespace places at each Node.
pub(crate) fn cards_at_nodes(world: &World, namespace: &str) -> AtNodes {
    let mut found = AtNodes::new();
    let Some(joined) = world.joins.of(namespace) else {
        return found;
    };
    for (name, card) in &joined.join.cards {
        let object = world.cards.get(&Key::new(namespace, name.as_str()));
        if !object.is_some_and(|card| card.spec.approved) {
            continue;
        }
        let observed = card.places.iter();
        for place in observed.filter(|place| place.pairing == KnownPairing::Observed) {
            let key = Key::new(namespace, place.name.as_str());
            let host = world.hosts.get(&key);
            if let Some(node) = host.and_then(|host| world.node_of(&key, host)) {
                let family = card.inventory.system.as_ref();
                let family = family.and_then(|system| system.facts.family.clone());
                found.entry(node).or_default().insert(name.clone(), family);
            }
        }
    }
    found
}

/// Whether a Node carries what it is to carry, or does not exist.
pub(crate) fn is_as_wanted(world: &World, node: &str) -> bool {
    let carried = world.nodes.labels(node);
    carried.is_none_or(|carried| *carried == world.node_cards.labels(node))
}

/// How the labels of a Node have to change: `None` in place of a value takes a label away.
/// Nothing is changed before every namespace with hosts has been joined.
pub(crate) fn change(
    world: &World,
    node: &str,
) -> Result<BTreeMap<String, Option<String>>, NotJoined> {
    let Some(carried) = world.nodes.labels(node) else {
        return Ok(BTreeMap::new());
    };
    let wanted = world.node_cards.labels(node);
    if *carried == wanted {
        return Ok(BTreeMap::new());
    }
    if world
        .hosts
        .iter()
        .any(|(host, _)| !world.is_joined(&host.namespace))
    {
        return Err(NotJoined);
    }
    let gone = carried.keys().filter(|key| !wanted.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), None));
    let set = wanted
        .iter()
        .filter(|(key, value)| carried.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), Some(value.clone())));
    Ok(gone.chain(set).collect())
}

/// Some namespace's reports have not been joined yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJoined;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(node: &str, cards: &[(&str, Option<&str>)]) -> AtNodes {
        let cards = cards
            .iter()
            .map(|(name, family)| ((*name).to_owned(), family.map(str::to_owned)))
            .collect();
        AtNodes::from([(node.to_owned(), cards)])
    }

    #[test]
    fn a_node_tells_what_sits_in_it() {
        let mut cards = NodeCards::default();
        let changed = cards.set(
            "a",
            at("n", &[("c1", Some("E2100")), ("c2", Some("BlueField-3"))]),
        );
        assert_eq!(changed, BTreeSet::from(["n".to_owned()]));
        cards.set("b", at("n", &[("c1", Some("E2100")), ("c9", None)]));
        let labels = cards.labels("n");
        assert_eq!(labels[COUNT], "4");
        assert_eq!(labels[FAMILIES], "BlueField-3_E2100");
        assert_eq!(cards.set("b", AtNodes::new()).len(), 1);
        assert_eq!(cards.labels("n")[COUNT], "2");
        assert!(cards.labels("other").is_empty());
        let same = at("n", &[("c1", Some("E2100")), ("c2", Some("BlueField-3"))]);
        assert!(cards.set("a", same).is_empty(), "nothing new");
    }

    #[test]
    fn cards_of_no_family_are_counted_and_not_named() {
        let mut cards = NodeCards::default();
        cards.set("a", at("n", &[("c1", None)]));
        assert_eq!(cards.labels("n").len(), 1);
    }
}
