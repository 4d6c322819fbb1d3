//! The graph of what is built, from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The part of `cargo metadata` that the policy looks at.
#[derive(Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: Option<String>,
    pub(super) source: Option<String>,
    #[serde(default)]
    features: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    dependencies: Vec<Declared>,
}

#[derive(Deserialize)]
struct Declared {
    name: String,
    rename: Option<String>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    #[serde(default)]
    deps: Vec<Edge>,
    #[serde(default)]
    features: Vec<String>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Package {
    pub(super) fn is_ours(&self) -> bool {
        self.source.is_none()
    }

    /// Names of the optional dependencies that these features turn on. `a?/b` turns nothing on;
    /// cargo lists it in the resolution nevertheless.
    fn turned_on<'a>(&'a self, features: &'a [String]) -> BTreeSet<&'a str> {
        features
            .iter()
            .filter_map(|feature| self.features.get(feature))
            .flatten()
            .filter_map(|effect| match effect.strip_prefix("dep:") {
                Some(name) => Some(name),
                None => effect
                    .split_once('/')
                    .map(|(name, _)| name)
                    .filter(|name| !name.ends_with('?')),
            })
            .collect()
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Everything that the workspace builds, tests included, and what brings it in.
pub(super) struct Graph<'a> {
    packages: BTreeMap<&'a str, &'a Package>,
    members: BTreeSet<&'a str>,
    /// Dependencies by dependant; `true` if they are in the product and not only in its tests.
    edges: BTreeMap<&'a str, Vec<(&'a str, bool)>>,
    built: BTreeSet<&'a str>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(metadata: &'a Metadata) -> Result<Self> {
        let packages: BTreeMap<&str, &Package> = metadata
            .packages
            .iter()
            .map(|package| (package.id.as_str(), package))
            .collect();
        let mut edges = BTreeMap::new();
        for node in &metadata.resolve.nodes {
            let missing = || format!("cargo metadata resolves an unknown package {}", node.id);
            let package = packages.get(node.id.as_str()).with_context(missing)?;
            let on = package.turned_on(&node.features);
            let mut below = Vec::new();
            for edge in &node.deps {
                let target = packages.get(edge.pkg.as_str()).with_context(missing)?;
                let built = package.dependencies.iter().any(|declared| {
                    let key = declared.rename.as_ref().unwrap_or(&declared.name);
                    declared.name == target.name
                        && (!declared.optional || on.contains(key.as_str()))
                });
                if built {
                    let product = edge
                        .dep_kinds
                        .iter()
                        .any(|one| one.kind.as_deref() != Some("dev"));
                    below.push((edge.pkg.as_str(), product));
                }
            }
            edges.insert(node.id.as_str(), below);
        }
        let members: BTreeSet<&str> = metadata
            .workspace_members
            .iter()
            .map(String::as_str)
            .collect();
        let mut graph = Self {
            packages,
            built: BTreeSet::new(),
            edges,
            members,
        };
        graph.built = graph.reach(graph.members.iter().copied(), false);
        Ok(graph)
    }

    /// Everything that is built.
    pub(super) fn built(&self) -> Vec<&'a Package> {
        self.named(&self.built)
    }

    pub(super) fn is_member(&self, package: &Package) -> bool {
        self.members.contains(package.id.as_str())
    }

    /// What the crate of this name is built from, tests aside; `None` if it is not in the workspace.
    pub(super) fn below(&self, name: &str) -> Option<Vec<&'a Package>> {
        let id = self
            .members
            .iter()
            .find(|id| self.packages[*id].name == name)?;
        Some(self.named(&self.reach([*id], true)))
    }

    /// Who depends on this package directly.
    pub(super) fn dependants(&self, package: &Package) -> Vec<&'a Package> {
        let mut above = self.built();
        above.retain(|one| {
            self.edges
                .get(one.id.as_str())
                .is_some_and(|below| below.iter().any(|(id, _)| *id == package.id))
        });
        above
    }

    /// Names of what the workspace's crates depend on directly.
    pub(super) fn direct(&self) -> BTreeSet<&'a str> {
        self.members
            .iter()
            .filter_map(|id| self.edges.get(id))
            .flatten()
            .filter_map(|(id, _)| self.packages.get(id))
            .map(|package| package.name.as_str())
            .collect()
    }

    fn named(&self, ids: &BTreeSet<&'a str>) -> Vec<&'a Package> {
        ids.iter()
            .filter_map(|id| self.packages.get(id).copied())
            .collect()
    }

    fn reach(
        &self,
        from: impl IntoIterator<Item = &'a str>,
        product_only: bool,
    ) -> BTreeSet<&'a str> {
        let mut seen: BTreeSet<&str> = from.into_iter().collect();
        let mut open: Vec<&str> = seen.iter().copied().collect();
        while let Some(id) = open.pop() {
            for (below, product) in self.edges.get(id).into_iter().flatten() {
                if (*product || !product_only) && seen.insert(below) {
                    open.push(below);
                }
            }
        }
        seen
    }
}
