//! What a BMC tells beyond what is read or can be, is told as such and taken for nothing else.

use lockstep_redfish::Explorer;

use super::explore::endpoint;
use super::*;

/// A host's BMC lists more PCIe devices than are read.
#[tokio::test]
async fn a_card_beyond_the_devices_that_are_read_is_not_left_out_in_silence() {
    let bmc = ScriptedBmc::plain();
    let chassis = "/redfish/v1/Chassis/1";
    let devices = format!("{chassis}/PCIeDevices");
    bmc.change(SYSTEM, |system| {
        system["Links"]["Chassis"] = json!([{"@odata.id": chassis}]);
        system["SystemType"] = json!("Physical");
        system["Manufacturer"] = json!("Dell Inc.");
    });
    bmc.add(
        chassis,
        json!({"@odata.id": chassis, "ChassisType": "RackMount",
            "PCIeDevices": {"@odata.id": devices}}),
    );
    let paths: Vec<String> = (0..40).map(|one| format!("{devices}/{one}")).collect();
    let members: Vec<_> = paths.iter().map(|one| json!({"@odata.id": one})).collect();
    bmc.add(&devices, json!({"@odata.id": devices, "Members": members}));
    for (number, path) in paths.iter().enumerate() {
        let model = if number == 30 {
            "BlueField-3 DPU"
        } else {
            "Chipset"
        };
        bmc.add(
            path,
            json!({"@odata.id": path, "Manufacturer": "Example", "Model": model,
                "SerialNumber": format!("PCI{number}")}),
        );
    }
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap()
        .systems;
    let inventory = &found[0].inventory;
    assert!(
        !inventory.cards.is_empty() || inventory.unread.iter().any(|one| one.group == "cards"),
        "cards {:?}, unread {:?}",
        inventory.cards,
        inventory.unread
    );
}

/// A BMC of many machines.
#[tokio::test]
async fn machines_beyond_those_that_are_read_are_told() {
    let bmc = ScriptedBmc::plain();
    let paths: Vec<String> = (0..40)
        .map(|one| format!("/redfish/v1/Systems/{one}"))
        .collect();
    for (number, path) in paths.iter().enumerate() {
        bmc.add(
            path,
            json!({"@odata.id": path, "SerialNumber": format!("SN{number}")}),
        );
    }
    let members: Vec<_> = paths.iter().map(|one| json!({"@odata.id": one})).collect();
    bmc.change("/redfish/v1/Systems", |systems| {
        systems["Members"] = json!(members);
    });
    let redfish = Redfish::new(loopback(), quick());
    let explored = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap();
    assert_eq!(
        explored.systems.len() + explored.unread.len(),
        40,
        "{} read, {} told unread",
        explored.systems.len(),
        explored.unread.len()
    );
}

/// Numbers that no machine has.
#[tokio::test]
async fn numbers_that_no_machine_has_are_not_believed() {
    let bmc = ScriptedBmc::plain();
    let memory = format!("{SYSTEM}/Memory");
    let cpus = format!("{SYSTEM}/Processors");
    bmc.change(SYSTEM, |system| {
        system["Memory"] = json!({"@odata.id": memory});
        system["Processors"] = json!({"@odata.id": cpus});
    });
    let module = |one: usize| format!("{memory}/{one}");
    bmc.add(
        &memory,
        json!({"@odata.id": memory, "Members": [{"@odata.id": module(0)}, {"@odata.id": module(1)}]}),
    );
    for one in 0..2 {
        bmc.add(
            &module(one),
            json!({"@odata.id": module(one), "CapacityMiB": -2048}),
        );
    }
    let cpu = format!("{cpus}/0");
    bmc.add(
        &cpus,
        json!({"@odata.id": cpus, "Members": [{"@odata.id": cpu}]}),
    );
    bmc.add(
        &cpu,
        json!({"@odata.id": cpu, "ProcessorType": "CPU", "TotalCores": -4, "TotalThreads": 8}),
    );
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap()
        .systems;
    let inventory = &found[0].inventory;
    assert_eq!(inventory.cpu.as_ref().and_then(|cpu| cpu.cores), None);
    assert_eq!(
        inventory
            .memory
            .as_ref()
            .and_then(|memory| memory.total_bytes),
        None
    );
}

/// Sizes whose sum does not fit.
#[tokio::test]
async fn sizes_whose_sum_does_not_fit_end_nothing() {
    let bmc = ScriptedBmc::plain();
    let memory = format!("{SYSTEM}/Memory");
    bmc.change(SYSTEM, |system| {
        system["Memory"] = json!({"@odata.id": memory});
    });
    let module = |one: usize| format!("{memory}/{one}");
    bmc.add(
        &memory,
        json!({"@odata.id": memory, "Members": [{"@odata.id": module(0)}, {"@odata.id": module(1)}]}),
    );
    for one in 0..2 {
        bmc.add(
            &module(one),
            json!({"@odata.id": module(one), "CapacityMiB": 1_i64 << 42}),
        );
    }
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap()
        .systems;
    let memory = found[0].inventory.memory.as_ref().unwrap();
    assert_eq!(memory.total_bytes, None);
}

/// A serial number with padding of another kind than blanks.
#[tokio::test]
async fn a_serial_number_is_told_without_its_padding() {
    let bmc = ScriptedBmc::plain();
    bmc.change(SYSTEM, |system| {
        system["SerialNumber"] = json!("MT2334XZ0A1\u{0}\u{0}");
    });
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap()
        .systems;
    let serial = |told: &Option<String>| told.clone().unwrap_or_default();
    let system = found[0].inventory.system.as_ref().unwrap();
    assert_eq!(serial(&system.serial_number), "MT2334XZ0A1");
    assert_eq!(serial(&found[0].identity.serial_number), "MT2334XZ0A1");
}

/// Two serial numbers that differ after the 64th character.
#[tokio::test]
async fn serial_numbers_that_are_cut_are_not_the_same() {
    let mut told = Vec::new();
    for last in ["A", "B"] {
        let bmc = ScriptedBmc::plain();
        bmc.change(SYSTEM, |system| {
            system["SerialNumber"] = json!(format!("MT{}{last}", "0123456789ABCDEX".repeat(4)));
        });
        let redfish = Redfish::new(loopback(), quick());
        let found = redfish
            .explore(&endpoint(&bmc), &credentials(PASSWORD))
            .await
            .unwrap()
            .systems;
        told.push(
            found[0]
                .inventory
                .system
                .as_ref()
                .unwrap()
                .serial_number
                .clone(),
        );
    }
    assert!(told[0].is_none() || told[0] != told[1], "{told:?}");
}

/// Of a BlueField-4 nothing tells the mode, so nothing tells where its boot ends.
#[tokio::test]
async fn where_nothing_tells_the_mode_the_final_stage_is_not_told() {
    let bmc = ScriptedBmc::plain();
    bmc.change(SYSTEM, |system| {
        system["Model"] = json!("BlueField-4 DPU");
    });
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap()
        .systems;
    let record = found[0].inventory.capabilities.as_ref().unwrap();
    assert_eq!(record.vendor_table, "bluefield-4");
    assert!(record.final_stage.is_none(), "{:?}", record.final_stage);
}

/// A root of trust beyond those that are looked at.
#[tokio::test]
async fn what_was_not_looked_at_is_not_told_as_not_offered() {
    let bmc = ScriptedBmc::plain();
    let list = "/redfish/v1/ComponentIntegrity";
    bmc.change("/redfish/v1/", |root| {
        root["ComponentIntegrity"] = json!({"@odata.id": list});
    });
    let paths: Vec<String> = (0..6).map(|one| format!("{list}/{one}")).collect();
    let members: Vec<_> = paths.iter().map(|one| json!({"@odata.id": one})).collect();
    bmc.add(list, json!({"@odata.id": list, "Members": members}));
    for (number, path) in paths.iter().enumerate() {
        let mut one = json!({"@odata.id": path, "ComponentIntegrityType": "TPM"});
        if number == 5 {
            one["Actions"] = json!({"#ComponentIntegrity.SPDMGetSignedMeasurements":
                {"target": format!("{path}/Actions/Get")}});
        }
        bmc.add(path, one);
    }
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap()
        .systems;
    let record = found[0].inventory.capabilities.as_ref().unwrap();
    assert_ne!(record.spdm.offer.as_str(), "NotOffered");
}

/// A member that is listed and not there.
#[tokio::test]
async fn a_sum_without_a_listed_member_is_no_sum() {
    let bmc = ScriptedBmc::plain();
    let memory = format!("{SYSTEM}/Memory");
    let cpus = format!("{SYSTEM}/Processors");
    bmc.change(SYSTEM, |system| {
        system["Memory"] = json!({"@odata.id": memory});
        system["Processors"] = json!({"@odata.id": cpus});
    });
    let two = |list: &str| {
        json!({"@odata.id": list, "Members":
            [{"@odata.id": format!("{list}/0")}, {"@odata.id": format!("{list}/1")}]})
    };
    bmc.add(&memory, two(&memory));
    bmc.add(&cpus, two(&cpus));
    let module = format!("{memory}/0");
    bmc.add(&module, json!({"@odata.id": module, "CapacityMiB": 1024}));
    let cpu = format!("{cpus}/0");
    bmc.add(
        &cpu,
        json!({"@odata.id": cpu, "ProcessorType": "CPU", "TotalCores": 16}),
    );
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap()
        .systems;
    let inventory = &found[0].inventory;
    let memory = inventory.memory.as_ref().unwrap();
    assert_eq!(memory.total_bytes, None, "omitted {}", memory.omitted);
    assert_eq!(inventory.cpu.as_ref().and_then(|cpu| cpu.cores), None);
}

/// More chassis than are read.
#[tokio::test]
async fn a_chassis_beyond_those_that_are_read_is_not_left_out_in_silence() {
    let bmc = ScriptedBmc::plain();
    let paths: Vec<String> = (0..6)
        .map(|one| format!("/redfish/v1/Chassis/{one}"))
        .collect();
    let members: Vec<_> = paths.iter().map(|one| json!({"@odata.id": one})).collect();
    bmc.change(SYSTEM, |system| {
        system["Links"]["Chassis"] = json!(members);
        system["SystemType"] = json!("Physical");
        system["Manufacturer"] = json!("Dell Inc.");
    });
    for (number, path) in paths.iter().enumerate() {
        let mut chassis = json!({"@odata.id": path, "ChassisType": "Sled"});
        if number == 5 {
            let devices = format!("{path}/PCIeDevices");
            let card = format!("{devices}/0");
            chassis["PCIeDevices"] = json!({"@odata.id": devices});
            bmc.add(
                &devices,
                json!({"@odata.id": devices, "Members": [{"@odata.id": card}]}),
            );
            bmc.add(
                &card,
                json!({"@odata.id": card, "Model": "BlueField-3 DPU", "SerialNumber": "MT1X"}),
            );
        }
        bmc.add(path, chassis);
    }
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap()
        .systems;
    let inventory = &found[0].inventory;
    assert!(!inventory.cards.is_empty() || !inventory.unread.is_empty());
}
