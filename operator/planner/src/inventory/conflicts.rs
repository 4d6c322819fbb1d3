//! Fields about which vantage points say different things.
//!
//! What differs only in form (case, padding, a maker's old name, a rounded size) is no conflict.
//! What people write freely (SKU, asset tag, revision, date) is not compared: the better source's
//! word stands.

use lockstep_crds::dpu_inventory::{Conflict, Said};
use lockstep_crds::identity::{meaningful, meaningful_device_serial, meaningful_serial};
use lockstep_crds::inventory::{Inventory, SystemFacts};

use super::keys::canonical_uuid;
use super::sightings::{Sighting, bmc_version};
use super::vendors::{plain, same_maker};

/// Bounds of the lists and texts in a `DpuInventory`.
pub(super) const MOST_CONFLICTS: usize = 32;
pub(super) const MOST_SAID: usize = 8;
pub(super) const LONGEST_SAID: usize = 256;

/// At most so many characters.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let kept: String = text.chars().take(longest.saturating_sub(1)).collect();
    format!("{kept}…")
}

pub(super) fn said(sighting: &Sighting<'_>, value: impl AsRef<str>) -> Said {
    Said {
        from: sighting.from().clone(),
        report: sighting.report.to_owned(),
        value: cut(value.as_ref(), LONGEST_SAID),
    }
}

/// What views contradict each other in, and themselves.
pub(super) fn conflicts(sightings: &[Sighting<'_>]) -> Vec<Conflict> {
    let now: Vec<&Sighting<'_>> = sightings.iter().filter(|one| !one.missing()).collect();
    let mut found = of_system(&now);
    found.extend(of_groups(&now));
    found.extend(of_firmware(&now));
    for sighting in &now {
        // What contradicts itself in the view of a host is about the host.
        let own = sighting.seen.is_none();
        for text in sighting.facts.contradictions.iter().filter(|_| own) {
            found.push(Conflict {
                field: "view".to_owned(),
                said: vec![said(sighting, text)],
            });
        }
    }
    found
}

fn of_system(now: &[&Sighting<'_>]) -> Vec<Conflict> {
    let text = |get: fn(&SystemFacts) -> Option<&String>| {
        move |facts: &Inventory| {
            let told = get(facts.system.as_ref()?)?;
            meaningful(told).map(str::to_owned)
        }
    };
    let mut found: Vec<Option<Conflict>> = vec![
        disagree(
            "system.vendor",
            now,
            text(|s| s.vendor.as_ref()),
            same_maker,
        ),
        disagree("system.family", now, text(|s| s.family.as_ref()), same_text),
        disagree(
            "system.serialNumber",
            now,
            |facts| {
                let told = facts.system.as_ref()?.serial_number.as_deref()?;
                meaningful_serial(told).map(str::to_owned)
            },
            same_text,
        ),
        disagree(
            "system.systemUuid",
            now,
            |facts| canonical_uuid(facts.system.as_ref()?.system_uuid.as_deref()?),
            |one, other| one == other,
        ),
        disagree(
            "system.deviceSerial",
            now,
            |facts| meaningful_device_serial(facts.system.as_ref()?.device_serial.as_deref()?),
            |one, other| one == other,
        ),
        disagree(
            "system.partNumber",
            now,
            text(|s| s.part_number.as_ref()),
            one_within_the_other,
        ),
    ];
    // Where the family is recognised, models are names for people.
    let recognised = now.iter().any(|one| {
        let system = one.facts.system.as_ref();
        system.is_some_and(|system| system.family.is_some())
    });
    if !recognised {
        found.push(disagree(
            "system.model",
            now,
            text(|s| s.model.as_ref()),
            one_within_the_other,
        ));
    }
    found.into_iter().flatten().collect()
}

fn of_groups(now: &[&Sighting<'_>]) -> Vec<Conflict> {
    [
        disagree(
            "cpu.cores",
            now,
            |facts| told(facts.cpu.as_ref()?.cores.filter(|cores| *cores > 0)),
            |one, other| one == other,
        ),
        disagree(
            "cpu.architecture",
            now,
            |facts| facts.cpu.as_ref()?.architecture.clone(),
            |one, other| architecture(one) == architecture(other),
        ),
        disagree(
            "memory.totalBytes",
            now,
            |facts| {
                told(
                    facts
                        .memory
                        .as_ref()?
                        .total_bytes
                        .filter(|total| *total > 0),
                )
            },
            about_the_same,
        ),
        disagree(
            "tpm.present",
            now,
            |facts| told(facts.tpm.as_ref().map(|tpm| tpm.present)),
            |one, other| one == other,
        ),
        disagree(
            "secureBoot.enabled",
            now,
            |facts| told(facts.secure_boot.as_ref()?.enabled),
            |one, other| one == other,
        ),
        disagree(
            "bmc.firmwareVersion",
            now,
            |facts| bmc_version(facts.bmc.as_ref()).map(str::to_owned),
            same_text,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Versions that run, by component.
fn of_firmware(now: &[&Sighting<'_>]) -> Vec<Conflict> {
    let mut names: Vec<&str> = now
        .iter()
        .filter_map(|one| one.facts.firmware.as_ref())
        .flat_map(|list| &list.components)
        .map(|component| component.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup_by_key(|name| plain(name));
    let of = |name: &str| {
        let version = |facts: &Inventory| {
            let components = &facts.firmware.as_ref()?.components;
            let mut named = components
                .iter()
                .filter(|one| plain(&one.name) == plain(name));
            named.find_map(|component| component.running.clone())
        };
        disagree(&format!("firmware.{name}"), now, version, same_text)
    };
    names.into_iter().filter_map(of).collect()
}

fn told<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn disagree(
    field: &str,
    now: &[&Sighting<'_>],
    get: impl Fn(&Inventory) -> Option<String>,
    same: impl Fn(&str, &str) -> bool,
) -> Option<Conflict> {
    let told: Vec<(&Sighting<'_>, String)> = now
        .iter()
        .filter_map(|one| Some((*one, get(&one.facts)?)))
        .collect();
    let (_, first) = told.first()?;
    if told.iter().all(|(_, value)| same(first, value)) {
        return None;
    }
    // Whoever says something new first: what many say must not hide what one says.
    let mut said_so: Vec<&str> = Vec::new();
    let (mut new, mut again) = (Vec::new(), Vec::new());
    for (one, value) in &told {
        if said_so.iter().any(|other| same(other, value)) {
            again.push(said(one, value));
        } else {
            said_so.push(value);
            new.push(said(one, value));
        }
    }
    new.append(&mut again);
    new.truncate(MOST_SAID);
    Some(Conflict {
        field: cut(field, 64),
        said: new,
    })
}

pub(super) fn same_text(one: &str, other: &str) -> bool {
    plain(one) == plain(other)
}

/// A part number with a revision behind it is the same part.
fn one_within_the_other(one: &str, other: &str) -> bool {
    let (one, other) = (plain(one), plain(other));
    one.contains(&other) || other.contains(&one)
}

pub(super) fn architecture(told: &str) -> String {
    match plain(told).as_str() {
        "arm64" | "arma64" | "arm" | "armv8" | "aarch64" => "aarch64".to_owned(),
        "amd64" | "x86" | "x8664" => "x8664".to_owned(),
        other => other.to_owned(),
    }
}

/// A BMC tells memory in rounded GiB, and an operating system without what firmware keeps.
fn about_the_same(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (one.parse::<i64>(), other.parse::<i64>()) else {
        return one == other;
    };
    one.abs_diff(other) <= one.max(other).unsigned_abs() / 16
}
