//! What may be built into the product, judged from `cargo metadata --locked`.
//!
//! Licences from a list, sources from the registry only, crates that must not come in, direct
//! dependencies in one version, and no I/O below the pure crates. Exceptions carry their reason
//! in [`rules`], and one that is no longer needed is a finding too. Judged is what the workspace
//! really builds, for every target: optional dependencies that nothing turns on do not count.

mod graph;
mod licence;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use lockstep_scenarios::artefacts::workspace;

use graph::{Graph, Metadata};
use rules::Rules;

/// Judges this workspace.
///
/// # Errors
/// With every finding, and when cargo cannot tell.
pub(crate) fn run() -> Result<()> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace())
        .args(["metadata", "--locked", "--format-version=1"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        output.status
    );
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata is not as documented")?;
    let graph = Graph::new(&metadata)?;
    let findings = judge(&graph, &rules::OURS);
    if findings.is_empty() {
        println!("{} packages are as the policy asks", graph.built().len());
        return Ok(());
    }
    for finding in &findings {
        println!("{finding}");
    }
    bail!(
        "{} finding(s): choose other dependencies, or write the exception and its reason into e2e/xtask/src/policy/rules.rs",
        findings.len()
    )
}

fn judge(graph: &Graph<'_>, rules: &Rules) -> Vec<String> {
    let mut findings = licences(graph, rules);
    findings.extend(sources(graph));
    findings.extend(bans(graph, rules));
    findings.extend(duplicates(graph, rules));
    findings.extend(purity(graph, rules));
    findings
}

fn licences(graph: &Graph<'_>, rules: &Rules) -> Vec<String> {
    let mut findings = Vec::new();
    let mut unused: BTreeSet<&str> = rules.licence_exceptions.iter().map(|one| one.0).collect();
    for package in graph.built().iter().filter(|one| !one.is_ours()) {
        let exception = rules
            .licence_exceptions
            .iter()
            .find(|(name, _, _)| *name == package.name);
        let licence = package.license.as_deref().unwrap_or_default();
        if licence::allows(licence, |one| rules.licences.contains(&one)) {
            continue;
        }
        let extra = exception.map(|(_, licence, _)| *licence);
        if licence::allows(licence, |one| {
            rules.licences.contains(&one) || extra == Some(one)
        }) {
            unused.remove(package.name.as_str());
            continue;
        }
        findings.push(format!(
            "licence: {package} is under {licence:?}, which the list does not allow"
        ));
    }
    findings.extend(
        unused
            .iter()
            .map(|name| format!("licence: the exception for {name} is no longer needed")),
    );
    findings
}

fn sources(graph: &Graph<'_>) -> Vec<String> {
    let foreign = |source: &str| !source.starts_with("registry+");
    graph
        .built()
        .iter()
        .filter(|package| match &package.source {
            Some(source) => foreign(source),
            None => !graph.is_member(package),
        })
        .map(|package| {
            let source = package.source.as_deref().unwrap_or("a folder");
            format!("source: {package} comes from {source}, not from the registry")
        })
        .collect()
}

fn bans(graph: &Graph<'_>, rules: &Rules) -> Vec<String> {
    let mut findings = Vec::new();
    for ban in rules.banned {
        let found: Vec<_> = graph
            .built()
            .into_iter()
            .filter(|one| one.name == ban.name && one.version.starts_with(ban.version))
            .collect();
        if found.is_empty() && !ban.only_below.is_empty() {
            findings.push(format!(
                "ban: the exception for {} is no longer needed",
                ban.name
            ));
        }
        for package in found {
            for above in graph.dependants(package) {
                if !ban.only_below.contains(&above.name.as_str()) {
                    findings.push(format!(
                        "ban: {package} comes in through {above}: {}",
                        ban.because
                    ));
                }
            }
        }
    }
    findings
}

fn duplicates(graph: &Graph<'_>, rules: &Rules) -> Vec<String> {
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in graph.built() {
        versions
            .entry(&package.name)
            .or_default()
            .insert(&package.version);
    }
    let direct = graph.direct();
    for (name, versions) in versions {
        let twice = versions.len() > 1 && direct.contains(name);
        let excepted = rules.duplicates.iter().any(|(known, _)| *known == name);
        if twice && !excepted {
            let list: Vec<&str> = versions.into_iter().collect();
            findings.push(format!(
                "duplicate: we use {name} ourselves, and it is built as {}",
                list.join(" and ")
            ));
        } else if excepted && !twice {
            findings.push(format!(
                "duplicate: the exception for {name} is no longer needed"
            ));
        }
    }
    findings
}

fn purity(graph: &Graph<'_>, rules: &Rules) -> Vec<String> {
    let mut findings = Vec::new();
    for pure in rules.pure {
        match graph.below(pure) {
            None => findings.push(format!("purity: there is no crate {pure}")),
            Some(below) => findings.extend(
                below
                    .iter()
                    .filter(|one| rules.io.contains(&one.name.as_str()))
                    .map(|one| format!("purity: {pure} does no I/O, but {one} is below it")),
            ),
        }
    }
    findings
}

#[cfg(test)]
mod tests;
