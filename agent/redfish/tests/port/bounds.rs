//! What a BMC tells beyond what is read or can be, is told as such and taken for nothing else.

use lockstep_redfish::{Explored, ExploredSystem, Explorer};
use serde_json::Value;

use super::explore::endpoint;
use super::*;

const CHASSIS: &str = "/redfish/v1/Chassis";

async fn explored(bmc: &ScriptedBmc) -> Explored {
    let redfish = Redfish::new(loopback(), quick());
    let (endpoint, credentials) = (endpoint(bmc), credentials(PASSWORD));
    redfish.explore(&endpoint, &credentials).await.unwrap()
}

/// The only system behind it.
async fn only(bmc: &ScriptedBmc) -> ExploredSystem {
    let mut systems = explored(bmc).await.systems;
    assert_eq!(systems.len(), 1);
    systems.remove(0)
}

/// Serves a collection of that many members, of which one that is `None` is listed and not there.
fn list(bmc: &ScriptedBmc, path: &str, members: usize, one: impl Fn(usize) -> Option<Value>) {
    let at = |number: usize| format!("{path}/{number}");
    let links: Vec<Value> = (0..members)
        .map(|number| json!({"@odata.id": at(number)}))
        .collect();
    bmc.add(path, json!({"@odata.id": path, "Members": links}));
    for number in 0..members {
        if let Some(mut document) = one(number) {
            document["@odata.id"] = json!(at(number));
            bmc.add(&at(number), document);
        }
    }
}

/// Makes it the BMC of a server, in these chassis.
fn in_chassis(bmc: &ScriptedBmc, paths: &[String]) {
    let links: Vec<Value> = paths
        .iter()
        .map(|path| json!({"@odata.id": path}))
        .collect();
    bmc.change(SYSTEM, |system| {
        system["Links"]["Chassis"] = json!(links);
        system["SystemType"] = json!("Physical");
        system["Manufacturer"] = json!("Dell Inc.");
    });
}

/// Serves what the system links under that name.
fn below(bmc: &ScriptedBmc, name: &str, members: usize, one: impl Fn(usize) -> Option<Value>) {
    let path = format!("{SYSTEM}/{name}");
    bmc.change(SYSTEM, |system| system[name] = json!({"@odata.id": path}));
    list(bmc, &path, members, one);
}

#[tokio::test]
async fn a_card_beyond_the_devices_that_are_read_is_not_left_out_in_silence() {
    for (devices, at, is_read) in [(40, 30, true), (60, 55, false)] {
        let bmc = ScriptedBmc::plain();
        let chassis = format!("{CHASSIS}/1");
        let path = format!("{chassis}/PCIeDevices");
        in_chassis(&bmc, std::slice::from_ref(&chassis));
        bmc.add(
            &chassis,
            json!({"@odata.id": chassis, "ChassisType": "RackMount", "PCIeDevices": {"@odata.id": path}}),
        );
        list(&bmc, &path, devices, |number| {
            let model = if number == at {
                "BlueField-3 DPU"
            } else {
                "Chipset"
            };
            let serial = format!("PCI{number}");
            Some(json!({"Manufacturer": "Example", "Model": model, "SerialNumber": serial}))
        });
        let inventory = only(&bmc).await.inventory;
        let is_told = inventory.unread.iter().any(|one| one.group == "cards");
        assert_eq!((!inventory.cards.is_empty(), is_told), (is_read, !is_read));
    }
}

#[tokio::test]
async fn a_chassis_beyond_those_that_are_read_is_not_left_out_in_silence() {
    for (count, is_read) in [(6, true), (10, false)] {
        let bmc = ScriptedBmc::plain();
        let at = |number: usize| format!("{CHASSIS}/{number}");
        let paths: Vec<String> = (0..count).map(at).collect();
        in_chassis(&bmc, &paths);
        for path in &paths {
            let mut chassis = json!({"@odata.id": path, "ChassisType": "Sled"});
            if Some(path) == paths.last() {
                let devices = format!("{path}/PCIeDevices");
                chassis["PCIeDevices"] = json!({"@odata.id": devices});
                list(&bmc, &devices, 1, |_| {
                    Some(json!({"Model": "BlueField-3 DPU", "SerialNumber": "MT1X"}))
                });
            }
            bmc.add(path, chassis);
        }
        let inventory = only(&bmc).await.inventory;
        let is_told = inventory.unread.iter().any(|one| one.group == "system");
        assert_eq!((!inventory.cards.is_empty(), is_told), (is_read, !is_read));
    }
}

#[tokio::test]
async fn machines_beyond_those_that_are_read_are_told() {
    let bmc = ScriptedBmc::plain();
    list(&bmc, "/redfish/v1/Systems", 40, |number| {
        Some(json!({"SerialNumber": format!("SN{number}")}))
    });
    let explored = explored(&bmc).await;
    assert_eq!(explored.systems.len() + explored.unread.len(), 40);
    let why = &explored.unread.first().unwrap().why;
    assert_eq!(why.category(), "TooManySystems");
}

#[tokio::test]
async fn numbers_that_no_machine_has_are_not_believed() {
    let bmc = ScriptedBmc::plain();
    below(&bmc, "Memory", 2, |_| Some(json!({"CapacityMiB": -2048})));
    below(&bmc, "Processors", 1, |_| {
        Some(json!({"ProcessorType": "CPU", "TotalCores": -4, "TotalThreads": 8}))
    });
    let inventory = only(&bmc).await.inventory;
    assert_eq!(inventory.cpu.and_then(|cpu| cpu.cores), None);
    assert_eq!(inventory.memory.and_then(|memory| memory.total_bytes), None);
}

#[tokio::test]
async fn sizes_whose_sum_does_not_fit_end_nothing() {
    let bmc = ScriptedBmc::plain();
    below(&bmc, "Memory", 2, |_| {
        Some(json!({"CapacityMiB": 1_i64 << 42}))
    });
    let memory = only(&bmc).await.inventory.memory.unwrap();
    assert_eq!(memory.total_bytes, None);
}

#[tokio::test]
async fn a_sum_without_a_listed_member_is_no_sum() {
    let bmc = ScriptedBmc::plain();
    let first = |document: Value| move |number: usize| (number == 0).then(|| document.clone());
    below(&bmc, "Memory", 2, first(json!({"CapacityMiB": 1024})));
    let cpu = json!({"ProcessorType": "CPU", "TotalCores": 16});
    below(&bmc, "Processors", 2, first(cpu));
    let inventory = only(&bmc).await.inventory;
    let memory = inventory.memory.unwrap();
    assert_eq!((memory.total_bytes, memory.omitted), (None, 1));
    assert_eq!(inventory.cpu.and_then(|cpu| cpu.cores), None);
}

#[tokio::test]
async fn a_serial_number_is_told_without_its_padding() {
    let bmc = ScriptedBmc::plain();
    bmc.change(SYSTEM, |system| {
        system["SerialNumber"] = json!("MT2334XZ0A1\u{0}\u{0}");
    });
    let found = only(&bmc).await;
    let told = found.inventory.system.unwrap().serial_number;
    assert_eq!(told.as_deref(), Some("MT2334XZ0A1"));
    assert_eq!(found.identity.serial_number, told);
}

#[tokio::test]
async fn a_serial_number_that_would_be_cut_is_none() {
    let bmc = ScriptedBmc::plain();
    bmc.change(SYSTEM, |system| {
        system["SerialNumber"] = json!(format!("MT{}", "0123456789ABCDEX".repeat(4)));
    });
    let found = only(&bmc).await;
    assert_eq!(found.inventory.system.unwrap().serial_number, None);
    assert_eq!(found.identity.serial_number, None);
}

#[tokio::test]
async fn where_nothing_tells_the_mode_the_final_stage_is_not_told() {
    let bmc = ScriptedBmc::plain();
    bmc.change(SYSTEM, |system| {
        system["Model"] = json!("BlueField-4 DPU");
    });
    let record = only(&bmc).await.inventory.capabilities.unwrap();
    assert_eq!(record.vendor_table, "bluefield-4");
    assert_eq!(record.final_stage, None);
}

#[tokio::test]
async fn what_was_not_looked_at_is_not_told_as_not_offered() {
    let bmc = ScriptedBmc::plain();
    let path = "/redfish/v1/ComponentIntegrity";
    bmc.change("/redfish/v1/", |root| {
        root["ComponentIntegrity"] = json!({"@odata.id": path});
    });
    list(&bmc, path, 6, |_| {
        Some(json!({"ComponentIntegrityType": "TPM"}))
    });
    let record = only(&bmc).await.inventory.capabilities.unwrap();
    assert_eq!(record.spdm.offer.as_str(), "NotRead");
}

/// Two storage subsystems with two drives each.
fn storage(bmc: &ScriptedBmc) {
    let drives = |subsystem: usize| format!("{SYSTEM}/Storage/{subsystem}/Drives");
    below(bmc, "Storage", 2, |subsystem| {
        let at = |number: usize| json!({"@odata.id": format!("{}/{number}", drives(subsystem))});
        Some(json!({"Drives": [at(0), at(1)]}))
    });
    for subsystem in 0..2 {
        list(bmc, &drives(subsystem), 2, |number| {
            Some(json!({"Id": format!("d{subsystem}{number}"), "CapacityBytes": 64}))
        });
    }
}

#[tokio::test]
async fn what_lists_of_disks_do_not_give_is_counted() {
    type Spoil<'a> = &'a dyn Fn(&ScriptedBmc);
    let one = format!("{SYSTEM}/Storage/1");
    let breaks: [(Spoil<'_>, usize, i64); 8] = [
        (&|_| {}, 4, 0),
        // A drive that is listed and not there, and one that cannot be read.
        (
            &|bmc| bmc.fail("GET", "/1/Drives/0", 9, Fault::Answer(404, String::new())),
            3,
            1,
        ),
        (
            &|bmc| bmc.fail("GET", "/1/Drives/0", 9, Fault::Answer(500, String::new())),
            3,
            1,
        ),
        // The same of a subsystem.
        (
            &|bmc| bmc.fail("GET", "/Storage/1", 9, Fault::Answer(404, String::new())),
            2,
            1,
        ),
        (
            &|bmc| bmc.fail("GET", "/Storage/1", 9, Fault::Answer(500, String::new())),
            2,
            1,
        ),
        // More than are listed.
        (
            &|bmc| bmc.change(&one, |one| one["Drives@odata.count"] = json!(5)),
            4,
            3,
        ),
        (
            &|bmc| bmc.change(&one, |one| one["Drives@odata.nextLink"] = json!("/more")),
            4,
            1,
        ),
        (
            &|bmc| {
                bmc.change(&format!("{SYSTEM}/Storage"), |all| {
                    all["Members@odata.count"] = json!(3);
                });
            },
            4,
            1,
        ),
    ];
    for (number, (spoil, disks, omitted)) in breaks.into_iter().enumerate() {
        let bmc = ScriptedBmc::plain();
        storage(&bmc);
        spoil(&bmc);
        let told = only(&bmc).await.inventory.disks.unwrap();
        assert_eq!(
            (told.disks.len(), told.omitted),
            (disks, omitted),
            "{number}"
        );
    }
    // Another collection has disks, and this one may have more.
    let bmc = ScriptedBmc::plain();
    storage(&bmc);
    bmc.fail("GET", "/Storage", 9, Fault::Answer(500, String::new()));
    assert_eq!(only(&bmc).await.inventory.disks, None, "nobody tells any");
    below(&bmc, "SimpleStorage", 1, |_| {
        Some(json!({"Devices": [{"Name": "sda", "CapacityBytes": 64}]}))
    });
    let told = only(&bmc).await.inventory.disks.unwrap();
    assert_eq!((told.disks.len(), told.omitted), (1, 1));
}
