//! What is known of Nodes, and which of them carry the taint of which host.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;
use lockstep_planner::decision::TaintEffect;
use lockstep_planner::view::{NodeSeen, Readiness};

use crate::key::Key;
use crate::node_labels;
use crate::node_taint;
use crate::table::Entry;

/// One Node: what a plan asks of it, and the taints of ours, by uid of their host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    node: NodeSeen,
    taints: Vec<(String, TaintEffect)>,
    /// The labels of ours that it carries.
    labels: BTreeMap<String, String>,
}

/// The Nodes, by name.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    seen: BTreeMap<String, Seen>,
    /// Names of the Nodes that carry a taint for the host of that uid.
    tainted: BTreeMap<String, BTreeSet<String>>,
}

impl Nodes {
    /// Takes note of a Node, or of its end. Returns the uids of the hosts whose taint it
    /// carries or carried, if anything changed that a plan asks for.
    pub(crate) fn change(
        &mut self,
        name: &str,
        new: Option<Entry<Node>>,
    ) -> Option<BTreeSet<String>> {
        let new = new.map(seen);
        let before = match new.clone() {
            Some(new) => self.seen.insert(name.to_owned(), new),
            None => self.seen.remove(name),
        };
        if before == new {
            return None;
        }
        let uids = |seen: &Option<Seen>| -> BTreeSet<String> {
            let taints = seen.iter().flat_map(|seen| &seen.taints);
            taints.map(|(uid, _)| uid.clone()).collect()
        };
        let (was, is) = (uids(&before), uids(&new));
        for uid in was.difference(&is) {
            if let Some(nodes) = self.tainted.get_mut(uid) {
                nodes.remove(name);
                if nodes.is_empty() {
                    self.tainted.remove(uid);
                }
            }
        }
        for uid in &is {
            let nodes = self.tainted.entry(uid.clone()).or_default();
            nodes.insert(name.to_owned());
        }
        Some(was.union(&is).cloned().collect())
    }

    /// What is known of that Node.
    pub(crate) fn get(&self, name: &str) -> Option<&NodeSeen> {
        self.seen.get(name).map(|seen| &seen.node)
    }

    /// The labels of ours that a Node carries; `None` if there is no such Node.
    pub(crate) fn labels(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.seen.get(name).map(|seen| &seen.labels)
    }

    /// The Nodes that carry labels of ours.
    pub(crate) fn labelled(&self) -> impl Iterator<Item = Key> {
        let labelled = self.seen.iter().filter(|(_, seen)| !seen.labels.is_empty());
        labelled.map(|(name, _)| Key::new("", name))
    }

    /// The Nodes that carry a taint for that host, with its effects.
    pub(crate) fn tainted_for(&self, host_uid: &str) -> BTreeMap<String, Vec<TaintEffect>> {
        let names = self.tainted.get(host_uid).into_iter().flatten();
        names
            .filter_map(|name| Some((name.clone(), self.seen.get(name)?)))
            .map(|(name, seen)| {
                let own = seen.taints.iter().filter(|(uid, _)| uid == host_uid);
                (name, own.map(|(_, effect)| *effect).collect())
            })
            .collect()
    }

    /// All of them.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.seen.keys().map(|name| Key::new("", name)).collect()
    }
}

fn seen(entry: Entry<Node>) -> Seen {
    match entry {
        Entry::Readable(node) => Seen {
            taints: node_taint::of_ours(&node),
            labels: node_labels::of_ours(&node),
            node: node_seen(&node),
        },
        // What cannot be read must be assumed to be in use (S12), and not to be tainted.
        Entry::Unreadable(_) => Seen {
            taints: Vec::new(),
            labels: BTreeMap::new(),
            node: NodeSeen {
                ready: Readiness::Ready,
                boot_id: None,
            },
        },
    }
}

fn node_seen(node: &Node) -> NodeSeen {
    let status = node.status.as_ref();
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|one| one.type_ == "Ready"))
        .map_or(Readiness::Unknown, |ready| match ready.status.as_str() {
            "True" => Readiness::Ready,
            "False" => Readiness::NotReady,
            _ => Readiness::Unknown,
        });
    let boot_id = status
        .and_then(|status| status.node_info.as_ref())
        .map(|info| info.boot_id.clone())
        .filter(|boot_id| !boot_id.is_empty());
    NodeSeen { ready, boot_id }
}
