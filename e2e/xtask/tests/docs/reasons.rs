//! Every reason that an agent, a store or a BMC port gives is explained to users.

use std::collections::BTreeSet;

use crate::{read, sources, workspace};

/// Where categories are made: each is a word in quotes behind `=>`, in a function `category`.
const SOURCES: &[&str] = &["agent/store/src/error.rs", "agent/redfish/src/error.rs"];

fn categories(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for function in text.split("fn category(").skip(1) {
        let body = function.split("\n    }\n").next().unwrap();
        for arm in body.lines().filter_map(|line| line.split_once("=> \"")) {
            found.push(arm.1.split('"').next().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn every_category_is_in_the_troubleshooting_page() {
    let page = read(&workspace().join("docs/troubleshooting.md"));
    let mut missing = Vec::new();
    for source in SOURCES {
        let categories = categories(&read(&workspace().join(source)));
        assert!(categories.len() >= 10, "{source}: {categories:?}");
        let absent = categories
            .into_iter()
            .filter(|category| !page.contains(&format!("| `{category}` |")));
        missing.extend(absent.map(|category| format!("{source}: {category}")));
    }
    assert!(
        missing.is_empty(),
        "docs/troubleshooting.md lacks a row for {missing:#?}"
    );
}

/// The reasons that the site agent itself gives when it refuses.
fn refusals(text: &str) -> Vec<String> {
    text.split("Refusal::new(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"'))
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_refusal_of_an_agent_is_in_the_troubleshooting_page() {
    let page = read(&workspace().join("docs/troubleshooting.md"));
    let mut files = Vec::new();
    sources(&workspace().join("agent/src"), &mut files);
    let given: BTreeSet<String> = files
        .iter()
        .flat_map(|file| refusals(&read(file)))
        .collect();
    assert!(given.len() >= 20, "{given:?}");
    let missing: Vec<&String> = given
        .iter()
        .filter(|reason| !page.contains(&format!("`{reason}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/troubleshooting.md does not explain {missing:?}"
    );
}
