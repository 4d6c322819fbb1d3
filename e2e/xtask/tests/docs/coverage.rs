//! `docs/coverage.md`: one row for each requirement, and nothing in it that is not there.

use std::collections::BTreeSet;

use lockstep_scenarios::registry;

use crate::{cells, quoted, read, sources, workspace};

const STATUS: &[&str] = &["done", "first form", "not yet"];
const WITNESS: &[&str] = &[
    "independent part",
    "own simulator",
    "untested on hardware",
    "none",
];
const REQUIREMENTS: usize = 166;

struct Row {
    name: String,
    status: String,
    what: String,
    tests: String,
    witness: String,
}

fn rows() -> Vec<Row> {
    read(&workspace().join("docs/coverage.md"))
        .lines()
        .filter(|line| line.starts_with("| R") && line.as_bytes()[3].is_ascii_digit())
        .map(|line| {
            let cells = cells(line);
            let [name, _, status, what, tests, witness] = cells.as_slice() else {
                panic!("not six cells: {line}");
            };
            Row {
                name: name.clone(),
                status: status.clone(),
                what: what.clone(),
                tests: tests.clone(),
                witness: witness.clone(),
            }
        })
        .collect()
}

/// Names of all functions marked as tests.
fn test_functions() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&workspace(), &mut files);
    let mut found = BTreeSet::new();
    for file in files {
        let mut marked = false;
        for line in read(&file).lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if marked && let Some((_, rest)) = line.split_once("fn ") {
                let name: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                found.insert(name);
                marked = false;
            }
        }
    }
    found
}

#[test]
fn every_requirement_has_its_row_in_order() {
    let named: Vec<String> = rows().into_iter().map(|row| row.name).collect();
    let wanted: Vec<String> = (1..=REQUIREMENTS).map(|n| format!("R{n}")).collect();
    assert_eq!(named, wanted);
}

#[test]
fn every_row_uses_the_words_that_the_page_explains() {
    for row in rows() {
        let Row { name, status, .. } = &row;
        assert!(STATUS.contains(&status.as_str()), "{name}: {status}");
        assert!(
            WITNESS.contains(&row.witness.as_str()),
            "{name}: {}",
            row.witness
        );
        if status == "not yet" {
            assert_eq!(row.witness, "none", "{name} is not yet there");
            assert_eq!(row.tests, "", "{name} is not yet there");
        } else {
            assert!(!row.what.is_empty(), "{name}: what is implemented?");
            assert!(!quoted(&row.tests).is_empty(), "{name}: by which test?");
        }
    }
}

#[test]
fn every_test_and_scenario_that_is_named_exists() {
    let functions = test_functions();
    let mut missing = Vec::new();
    for row in rows() {
        for name in quoted(&row.tests) {
            if registry::find(name).is_none() && !functions.contains(name) {
                missing.push(format!("{}: {name}", row.name));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "docs/coverage.md names tests that do not exist: {missing:#?}"
    );
}

#[test]
fn the_counts_on_the_page_are_those_of_its_rows() {
    let text = read(&workspace().join("docs/coverage.md"));
    let rows = rows();
    for status in STATUS {
        let count = rows.iter().filter(|row| row.status == *status).count();
        let line = format!("| {status} | {count} |");
        assert!(text.contains(&line), "the page lacks {line:?}");
    }
}

/// It stays until somebody has run this on hardware, and says so.
#[test]
fn hardware_is_not_claimed() {
    for page in ["README.md", "docs/coverage.md"] {
        let text = read(&workspace().join(page));
        assert!(text.contains("verified on hardware: none"), "{page}");
    }
}
