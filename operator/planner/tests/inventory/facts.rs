//! What a card is made of: sources, conflicts, and what is missing (R16–R25, R31).

use lockstep_crds::dpu_inventory::Completeness;
use lockstep_crds::report::Vantage;
use serde_json::{Value, json};

use crate::site::{Site, UUID, conflicts, said};

fn whole() -> Value {
    json!({
        "system": {"vendor": "NVIDIA", "model": "BlueField-3 DPU", "serialNumber": "MT1", "partNumber": "900-9D3B6-00CV-AA0"},
        "cpu": {"architecture": "aarch64", "cores": 16},
        "memory": {"totalBytes": 34_359_738_368_i64},
        "disks": {"disks": [{"name": "nvme0n1", "serialNumber": "D1"}]},
        "ports": {"ports": [{"name": "p0", "mac": "b8:3f:d2:00:00:01"}]},
        "firmware": {"components": [{"name": "BMC_Firmware", "running": "24.10"}]},
    })
}

fn without(path: &str) -> Value {
    let mut inventory = whole();
    let (group, field) = path.split_once('.').unwrap_or((path, ""));
    if field.is_empty() {
        inventory.as_object_mut().unwrap().remove(group);
    } else {
        inventory[group].as_object_mut().unwrap().remove(field);
    }
    inventory
}

#[test]
fn every_field_of_the_minimum_is_missed() {
    let told = |inventory: Value| {
        let card = Site::default()
            .card("c", json!({}))
            .card_bmc("c", inventory)
            .joined("c");
        let missing: Vec<String> = card
            .inventory
            .missing
            .iter()
            .map(|m| m.what.clone())
            .collect();
        (
            card.inventory.completeness,
            card.inventoried.reason,
            missing,
        )
    };
    assert_eq!(told(whole()), (Completeness::Complete, "Complete", vec![]));
    for (path, what) in [
        ("system.vendor", "system.vendor"),
        ("system.model", "system.model"),
        ("system.serialNumber", "system.serialNumber"),
        ("ports", "ports.mac"),
        ("cpu.cores", "cpu.cores"),
        ("memory", "memory.totalBytes"),
        ("disks", "disks"),
        ("firmware", "firmware"),
    ] {
        let expected = (Completeness::Partial, "Partial", vec![what.to_owned()]);
        assert_eq!(told(without(path)), expected, "{path}");
    }
    let mut diskless = whole();
    diskless["disks"]["disks"] = json!([]);
    assert_eq!(told(diskless).1, "Complete");
}

/// A card without a Redfish service, which its host alone tells of.
#[test]
fn what_a_card_is_declared_to_do_stands_in_its_inventory() {
    let offer = json!({"offer": "NotOffered", "source": "table pensando-dsc"});
    let mut declared = json!({"vendorTable": "pensando-dsc", "installMethods": ["DevlinkFlash"]});
    for name in [
        "reset",
        "bmcReset",
        "bootOverride",
        "virtualMedia",
        "simpleUpdate",
        "multipartPush",
        "bootProgress",
        "secureBoot",
        "spdm",
        "sessions",
        "events",
    ] {
        declared[name] = offer.clone();
    }
    let seen = json!([{"family": "DSC", "serialNumber": "FPN1", "capabilities": declared}]);
    let card = Site::default()
        .card("c", json!({"identity": {"serialNumber": "FPN1"}}))
        .agent("node1", UUID, seen)
        .joined("c");
    let told = card.inventory.capabilities.unwrap();
    assert_eq!(told.facts.vendor_table, "pensando-dsc");
    assert_eq!(told.facts.probed_at, None);
}

/// A card on auxiliary power, of which its BMC can read the FRU alone (R157).
#[test]
fn a_card_that_shows_but_its_fru_is_partly_known() {
    let fru = json!({"system": {"vendor": "NVIDIA", "serialNumber": "MT1", "partNumber": "900-9D3B6-00CV-AA0"}});
    let card = Site::default()
        .card("c", json!({}))
        .card_bmc("c", fru)
        .joined("c");
    assert_eq!(card.inventory.completeness, Completeness::Partial);
    assert_eq!(
        (card.inventoried.status, card.inventoried.reason),
        ("False", "Partial")
    );
    assert_eq!(card.summary.serial_number.as_deref(), Some("MT1"));
    let missing = card.inventory.missing.iter().map(|one| one.what.as_str());
    for what in [
        "ports.mac",
        "cpu.cores",
        "memory.totalBytes",
        "disks",
        "firmware",
    ] {
        assert!(missing.clone().any(|missing| missing == what), "{what}");
    }
}

#[test]
fn what_is_missing_says_who_could_tell_it_and_why_they_do_not() {
    let card = Site::default().card("c", json!({})).joined("c");
    assert_eq!(
        (card.inventoried.status, card.inventoried.reason),
        ("Unknown", "Partial")
    );
    let cores = |site: Site| {
        let card = site.joined("c");
        let mut missing = card.inventory.missing.into_iter();
        missing
            .find(|missing| missing.what == "cpu.cores")
            .unwrap()
            .why
    };
    assert_eq!(
        cores(Site::default().card("c", json!({}))),
        "no agent runs in the card's operating system; spec.bmc names no BMC that could tell it"
    );
    let unread = json!({"unread": [{"group": "cpu", "why": "/proc/cpuinfo: permission denied"}]});
    let refused = json!({
        "subjectUid": "uid-c",
        "reachable": {"ok": false, "since": "2026-05-01T00:00:00Z", "reason": "CredentialsRefused"},
    });
    let site = Site::default()
        .card("c", json!({}))
        .own_agent("c", unread)
        .report("bmc-card-c", "CardBmc", "c", refused);
    assert_eq!(
        cores(site),
        "the card's own agent could not read it: /proc/cpuinfo: permission denied; \
         its BMC does not answer (CredentialsRefused)"
    );
}

#[test]
fn each_group_comes_from_its_best_source_and_is_completed_from_others() {
    let site = Site::default()
        .card("c", json!({"identity": {"serialNumber": "MT1"}}))
        .own_agent("c", json!({
            "system": {"serialNumber": "MT1", "systemUuid": UUID, "assetTag": "os"},
            "cpu": {"cores": 16},
            "firmware": {"components": [{"name": "uefi", "running": "4.9"}]},
        }))
        .card_bmc("c", json!({
            "system": {"serialNumber": "MT1", "partNumber": "P1", "assetTag": "bmc"},
            "cpu": {"cores": 16, "model": "Cortex-A78"},
            "firmware": {"components": [{"name": "BMC_Firmware", "running": "24.10"}]},
        }))
        .agent("n", "", json!([{"serialNumber": "mt1", "vendor": "Mellanox Technologies", "family": "BlueField-3"}]));
    let card = site.joined("c");
    let system = card.inventory.system.unwrap();
    assert_eq!(system.from, Vantage::HostOs);
    assert_eq!(system.report, "host-n");
    assert_eq!(system.completed_from, [Vantage::CardBmc, Vantage::CardOs]);
    assert_eq!(system.facts.serial_number.as_deref(), Some("mt1"));
    assert_eq!(system.facts.part_number.as_deref(), Some("P1"));
    assert_eq!(system.facts.asset_tag.as_deref(), Some("bmc"));
    assert_eq!(system.facts.system_uuid.as_deref(), Some(UUID));
    let cpu = card.inventory.cpu.unwrap();
    assert_eq!(cpu.from, Vantage::CardOs);
    assert_eq!(cpu.completed_from, [Vantage::CardBmc]);
    assert_eq!(cpu.facts.model.as_deref(), Some("Cortex-A78"));
    let firmware = card.inventory.firmware.unwrap();
    let names: Vec<&str> = firmware
        .facts
        .components
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(names, ["BMC_Firmware", "uefi"]);
    assert_eq!(card.summary.vendor.as_deref(), Some("NVIDIA"));
    assert_eq!(card.summary.model.as_deref(), Some("BlueField-3"));
    assert_eq!(card.summary.cores, Some(16));
}

#[test]
fn what_differs_in_form_only_is_no_conflict() {
    let site = Site::default()
        .card("c", json!({}))
        .own_agent("c", json!({
            "system": {"vendor": "Mellanox Technologies", "model": "BlueField-3 SmartNIC Main Card", "family": "BlueField-3", "partNumber": "900-9D3B6-00CV-AA0"},
            "cpu": {"architecture": "aarch64"},
            "memory": {"totalBytes": 33_500_000_000_i64},
        }))
        .card_bmc("c", json!({
            "system": {"vendor": "NVIDIA", "model": "BlueField-3 DPU", "partNumber": "900-9d3b6-00cv-aa0 A1"},
            "cpu": {"architecture": "ARM"},
            "memory": {"totalBytes": 34_359_738_368_i64},
        }));
    assert_eq!(conflicts(&site.joined("c")), Vec::<String>::new());
}

#[test]
fn what_differs_is_told_with_who_says_what() {
    let site = Site::default()
        .card("c", json!({}))
        .own_agent(
            "c",
            json!({
                "system": {"vendor": "NVIDIA", "partNumber": "P1"}, "cpu": {"cores": 16},
                "firmware": {"components": [{"name": "fw.mgmt", "running": "32.1"}]},
            }),
        )
        .card_bmc(
            "c",
            json!({
                "system": {"vendor": "Intel", "partNumber": "P2"}, "cpu": {"cores": 8},
                "firmware": {"components": [{"name": "FW_MGMT", "running": "32.2"}]},
            }),
        );
    let card = site.joined("c");
    assert_eq!(
        conflicts(&card),
        [
            "system.vendor",
            "system.partNumber",
            "cpu.cores",
            "firmware.FW_MGMT"
        ]
    );
    let mut who = said(&card, "cpu.cores");
    who.sort();
    assert_eq!(
        who,
        [
            ("bmc-card-c".to_owned(), "8".to_owned()),
            ("xpu-c".to_owned(), "16".to_owned()),
        ]
    );
    assert_eq!(card.inventory.cpu.unwrap().facts.cores, Some(16));
}

#[test]
fn a_view_that_contradicts_itself_is_told() {
    let site = Site::default().card("c", json!({})).own_agent(
        "c",
        json!({"contradictions": ["SMBIOS and sysfs tell two serial numbers"]}),
    );
    assert_eq!(said(&site.joined("c"), "view").len(), 1);
}

#[test]
fn hot_facts_stand_until_the_inventory_comes() {
    let bmc = json!({
        "subjectUid": "uid-c",
        "bmc": {
            "identity": {"serialNumber": "MT1"}, "model": "BlueField-3 DPU", "firmwareVersion": "4.9",
            "stageKnowledge": "NotRead", "media": {"owner": "Nobody"},
            "capabilities": {"virtualMedia": "NotRead", "sessions": "NotRead", "bootProgress": "NotRead", "powerRestorePolicy": "NotRead"},
        },
    });
    let os = json!({
        "subjectUid": "uid-c",
        "os": {"bootEpoch": "b", "epochSource": "boot_id", "uptimeSeconds": 1, "os": "Debian 12", "architecture": "aarch64"},
    });
    let site = Site::default()
        .card("c", json!({}))
        .report("bmc-card-c", "CardBmc", "c", bmc)
        .report("xpu-c", "CardOs", "c", os);
    let card = site.joined("c");
    let system = card.inventory.system.unwrap();
    assert_eq!(system.facts.model.as_deref(), Some("BlueField-3 DPU"));
    assert_eq!(system.report, "bmc-card-c");
    assert_eq!(
        card.inventory.os.unwrap().facts.name.as_deref(),
        Some("Debian 12")
    );
    assert_eq!(
        card.inventory.cpu.unwrap().facts.architecture.as_deref(),
        Some("aarch64")
    );
    assert_eq!(
        card.inventory.firmware.unwrap().facts.components[0]
            .running
            .as_deref(),
        Some("4.9")
    );
}

#[test]
fn one_source_without_disks_hides_none_that_another_sees() {
    let site = Site::default()
        .card("c", json!({}))
        .own_agent("c", json!({"disks": {"disks": []}}))
        .card_bmc(
            "c",
            json!({"disks": {"disks": [{"name": "emmc", "kind": "Emmc"}]}}),
        );
    assert_eq!(
        site.joined("c").inventory.disks.unwrap().facts.disks.len(),
        1
    );
}

#[test]
fn the_lists_are_bounded() {
    let components: Vec<Value> = (0..90)
        .map(|n| json!({"name": format!("c{n}"), "running": "1"}))
        .collect();
    let others: Vec<Value> = (0..90)
        .map(|n| json!({"name": format!("c{n}"), "running": "2".repeat(128)}))
        .collect();
    let site = Site::default()
        .card("c", json!({}))
        .own_agent("c", json!({"firmware": {"components": components}}))
        .card_bmc("c", json!({"firmware": {"components": others}}));
    let card = site.joined("c");
    let firmware = card.inventory.firmware.unwrap();
    assert_eq!(
        (firmware.facts.components.len(), firmware.facts.omitted),
        (48, 42)
    );
    assert_eq!(card.inventory.conflicts.len(), 32);
    assert!(card.inventoried.message.chars().count() <= 1024);
}

/// Numbers that no machine has are not what a card must show.
#[test]
fn cores_and_memory_that_no_machine_has_are_missing() {
    let mut inventory = whole();
    inventory["cpu"]["cores"] = json!(-4);
    inventory["memory"]["totalBytes"] = json!(i64::MIN);
    let card = Site::default()
        .card("c", json!({}))
        .card_bmc("c", inventory)
        .joined("c");
    assert_eq!(card.inventoried.reason, "Partial");
}

/// Spellings of one maker that our own BMC port looks for (`CARD_MAKERS` in
/// agent/redfish/src/vendor.rs), as a host's BMC tells them of a card in it.
#[test]
fn the_spellings_that_the_port_knows_are_one_maker() {
    let mut wrong = Vec::new();
    for (vendor, spelling) in [("NVIDIA", "MLNX"), ("NVIDIA", "Mellanox Technologies")] {
        let mut inventory = whole();
        inventory["system"]["vendor"] = json!(vendor);
        let card = Site::default()
            .host(
                "h",
                json!({"identity": {"systemUuid": crate::site::HOST_UUID}}),
            )
            .card("c", json!({}))
            .card_bmc("c", inventory)
            .host_bmc(
                "h",
                json!({"cards": [{"serialNumber": "MT1", "vendor": spelling}]}),
            )
            .joined("c");
        if card.inventoried.reason == "Conflicting" {
            wrong.push((spelling, conflicts(&card)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
