//! Errors that the kernel has counted since the function was found (AER).
//!
//! Some platforms count at the root port only, so an endpoint without errors proves nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Fact, Root};

/// More kinds than the specification has bits for.
const MOST_KINDS: usize = 64;

/// Errors of one severity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// All of them.
    pub total: u64,
    /// By the kernel's name (`RxErr`, `CmpltTO` …), those that ever happened.
    pub kinds: BTreeMap<String, u64>,
}

/// What a function itself has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorCounters {
    /// `aer_dev_correctable`.
    pub correctable: Fact<Counters>,
    /// `aer_dev_nonfatal`.
    pub nonfatal: Fact<Counters>,
    /// `aer_dev_fatal`.
    pub fatal: Fact<Counters>,
    /// `aer_rootport_total_err_*`, only at root ports.
    pub root_port: Fact<RootPortErrors>,
}

/// What a root port was told by everything below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RootPortErrors {
    /// Corrected by hardware.
    pub correctable: u64,
    /// Uncorrected, the link still works.
    pub nonfatal: u64,
    /// Uncorrected, the link does not.
    pub fatal: u64,
}

/// Parses a file of `NAME COUNT` lines; the line `TOTAL_…` gives the total, else the sum does.
/// `None` when it is anything else.
pub fn parse(text: &str) -> Option<Counters> {
    let mut counters = Counters::default();
    let mut total = None;
    for (at, line) in text.lines().enumerate() {
        let (name, count) = line.trim().rsplit_once(' ')?;
        let (name, count) = (name.trim(), count.parse::<u64>().ok()?);
        if at == MOST_KINDS || name.is_empty() || name.len() > 40 {
            return None;
        }
        if name.starts_with("TOTAL_") {
            total = Some(count);
        } else if count > 0 {
            counters.kinds.insert(name.to_owned(), count);
        }
    }
    counters.total = total.unwrap_or_else(|| {
        counters
            .kinds
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    });
    Some(counters)
}

pub(super) fn read(root: &Root, folder: &str) -> ErrorCounters {
    let counters = |name: &str| {
        let path = format!("{folder}/{name}");
        root.text(&path).and_then(|text| {
            parse(&text).map_or_else(
                || Fact::NotRead(format!("{path}: not error counts")),
                Fact::Known,
            )
        })
    };
    let total =
        |severity: &str| root.number(&format!("{folder}/aer_rootport_total_err_{severity}"));
    ErrorCounters {
        correctable: counters("aer_dev_correctable"),
        nonfatal: counters("aer_dev_nonfatal"),
        fatal: counters("aer_dev_fatal"),
        root_port: total("cor").and_then(|correctable| {
            total("nonfatal").and_then(|nonfatal| {
                total("fatal").map(|fatal| RootPortErrors {
                    correctable,
                    nonfatal,
                    fatal,
                })
            })
        }),
    }
}
