//! The documents say what is: objects in them are valid, links lead somewhere, tests
//! and scenarios that they name exist, reasons that programs give are explained.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failing test says where"
)]

mod coverage;
mod links;
mod machines;
mod objects;
mod reasons;

use std::fs;
use std::path::{Path, PathBuf};

/// The folder that holds the workspace.
fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
}

/// Text of a file of the workspace.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every document for people: path and text.
fn pages() -> Vec<(PathBuf, String)> {
    let root = workspace();
    let mut found: Vec<PathBuf> = [root.clone(), root.join("docs"), root.join("docs/reference")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    found.sort();
    assert!(found.len() >= 8, "{found:?}");
    found
        .into_iter()
        .map(|path| {
            let text = read(&path);
            (path, text)
        })
        .collect()
}

/// Rust files below a folder, `target` left out.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// What stands in backticks in this text.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The cells of a row of a table; `\|` stays within its cell.
fn cells(row: &str) -> Vec<String> {
    const BAR: &str = "\u{0}";
    row.trim()
        .trim_matches('|')
        .replace("\\|", BAR)
        .split('|')
        .map(|cell| cell.replace(BAR, "|").trim().to_owned())
        .collect()
}
