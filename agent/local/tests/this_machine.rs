//! The machine that runs the tests, against what the usual tools say of it. A tool that is not
//! installed is passed over, and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use lockstep_local::disks::disks;
use lockstep_local::filesystems::{filesystems, replayed};
use lockstep_local::inventory::{Inventory, MAX_JSON};
use lockstep_local::netlink::{
    FlashError, Handle, Told, device, flash, offloads, permanent_addresses,
};
use lockstep_local::pci::functions;
use lockstep_local::ports::ports;
use lockstep_local::{Fact, Root, cpu, smbios};
use serde_json::Value;

fn root() -> Root {
    Root::new("/")
}

/// What a tool prints, if it is there and can.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new(program).args(arguments).output();
    match done {
        Ok(done) if done.status.success() => String::from_utf8(done.stdout).ok(),
        Ok(done) => {
            eprintln!("{program} {arguments:?}: {}", done.status);
            None
        }
        Err(error) => {
            eprintln!("{program}: {error}");
            None
        }
    }
}

#[test]
fn an_inventory_is_read_and_fits() {
    let inventory = Inventory::read(&root(), &Told::ask(), Duration::from_secs(5));
    let json = serde_json::to_vec(&inventory).unwrap();
    assert!(json.len() <= MAX_JSON);
    assert_eq!(
        serde_json::from_slice::<Inventory>(&json).unwrap(),
        inventory
    );
    eprintln!("{}", String::from_utf8_lossy(&json));
}

#[test]
fn pci_is_what_lspci_says() {
    let Some(text) = output("lspci", &["-D", "-n", "-vmm", "-k"]) else {
        return;
    };
    let Fact::Known(all) = functions(&root()) else {
        assert_eq!(text.trim(), "");
        return;
    };
    let listed: BTreeMap<String, BTreeMap<&str, &str>> = text
        .split("\n\n")
        .filter_map(|block| {
            let lines: BTreeMap<&str, &str> = block
                .lines()
                .filter_map(|line| line.split_once(":\t"))
                .collect();
            Some(((*lines.get("Slot")?).to_owned(), lines))
        })
        .collect();
    for function in &all.found {
        let said = &listed[&function.address.to_string()];
        assert_eq!(said["Vendor"], function.vendor.to_string());
        assert_eq!(said["Device"], function.device.to_string());
        assert_eq!(said["Class"], format!("{:04x}", function.class >> 8));
        let driver = function.driver.clone().known().flatten();
        assert_eq!(said.get("Driver").copied(), driver.as_deref());
        let subsystem = function.subsystem.clone().known();
        assert_eq!(
            said.get("SVendor").map(|text| (*text).to_owned()),
            subsystem.map(|subsystem| subsystem.vendor.to_string())
        );
    }
    let virtual_functions = usize::try_from(all.virtual_functions).unwrap();
    assert_eq!(listed.len(), all.found.len() + virtual_functions);
}

#[test]
fn disks_are_what_lsblk_says() {
    const COLUMNS: &str = "NAME,TYPE,SIZE,SERIAL,RO,RM,ROTA";
    let Some(text) = output("lsblk", &["-J", "-b", "-d", "-o", COLUMNS]) else {
        return;
    };
    let said: Value = serde_json::from_str(&text).unwrap();
    let said = said["blockdevices"].as_array().unwrap();
    for disk in disks(&root()).known().unwrap_or_default() {
        let same = said.iter().find(|other| other["name"] == disk.name);
        let same = same.unwrap_or_else(|| panic!("lsblk does not know {disk:?}"));
        assert_eq!(same["size"].as_u64(), disk.bytes.known());
        assert_eq!(same["ro"].as_bool(), disk.read_only.known());
        assert_eq!(same["rm"].as_bool(), disk.removable.known());
        assert_eq!(same["rota"].as_bool(), disk.rotational.known());
    }
}

#[test]
fn processors_are_what_lscpu_says() {
    let Some(text) = output("lscpu", &["-p=CPU,CORE,SOCKET"]) else {
        return;
    };
    let lines: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(',').collect())
        .collect();
    let distinct = |column: usize| {
        let all: BTreeSet<&str> = lines.iter().map(|line| line[column]).collect();
        u32::try_from(all.len()).unwrap()
    };
    let cpu = cpu::cpu(&root());
    assert_eq!(cpu.threads, Fact::Known(distinct(0)));
    assert_eq!(cpu.cores, Fact::Known(distinct(1)));
    if cpu.sockets.is_known() {
        assert_eq!(cpu.sockets, Fact::Known(distinct(2)));
    }
}

#[test]
fn ports_are_what_ip_says() {
    let Some(text) = output("ip", &["-j", "-d", "link"]) else {
        return;
    };
    let said: Value = serde_json::from_str(&text).unwrap();
    let said = said.as_array().unwrap();
    for port in ports(&root()).known().unwrap_or_default() {
        let same = said.iter().find(|other| other["ifname"] == port.name);
        let same = same.unwrap_or_else(|| panic!("ip does not know {port:?}"));
        assert_eq!(same["address"].as_str(), port.mac.known().as_deref());
        assert_eq!(same["mtu"].as_u64(), port.mtu.known().map(u64::from));
        // Told only where it differs from the address in use.
        if let (Some(permanent), Fact::Known(ours)) =
            (same["permaddr"].as_str(), &port.permanent_mac)
        {
            assert_eq!(permanent, ours);
        }
    }
}

#[test]
fn permanent_addresses_are_what_ip_says() {
    let Some(text) = output("ip", &["-j", "-d", "link"]) else {
        return;
    };
    let said: Value = serde_json::from_str(&text).unwrap();
    for address in permanent_addresses().known().unwrap() {
        let name = &address.name;
        let all = said.as_array().unwrap();
        let Some(same) = all.iter().find(|other| other["ifname"] == **name) else {
            eprintln!("{name} came or went in between");
            continue;
        };
        // Told only where it differs from the address in use.
        let permanent = same["permaddr"].as_str().or(same["address"].as_str());
        assert_eq!(permanent, Some(address.address.as_str()), "{name}");
    }
}

/// `name: on`, `name: off [fixed]`, and groups of names that the kernel does not know.
#[test]
fn offloads_are_what_ethtool_says() {
    let Fact::Known(all) = offloads() else {
        return;
    };
    for features in all {
        let Some(text) = output("ethtool", &["-k", &features.port]) else {
            return;
        };
        let groups = [
            "rx-checksumming",
            "tx-checksumming",
            "scatter-gather",
            "tcp-segmentation-offload",
            "generic-segmentation-offload",
            "generic-receive-offload",
            "large-receive-offload",
            "rx-vlan-offload",
            "tx-vlan-offload",
            "ntuple-filters",
            "receive-hashing",
        ];
        let mut checked = 0;
        for line in text.lines().skip(1) {
            let (name, state) = line.trim().split_once(": ").unwrap();
            if groups.contains(&name) {
                continue;
            }
            checked += 1;
            assert_eq!(
                features.active.contains(name),
                state.starts_with("on"),
                "{line}"
            );
            let changeable = !state.ends_with("[fixed]");
            assert_eq!(features.changeable.contains(name), changeable, "{line}");
        }
        assert!(checked > 10, "{text}");
    }
}

#[test]
fn a_device_that_is_not_there_is_not_flashed() {
    let handle: Handle = "pci/ffff:ff:1f.7".parse().unwrap();
    assert_eq!(device(&handle).known(), None);
    let told = flash(&handle, "lockstep/nothing", |progress| panic!("{progress}"));
    assert!(matches!(told, Err(FlashError::NotBegun(_))), "{told:?}");
}

#[test]
fn the_system_is_what_dmidecode_says() {
    let Some(said) = output("dmidecode", &["-s", "system-uuid"]) else {
        return;
    };
    let tables = smbios::smbios(&root()).known();
    let uuid = tables.and_then(|tables| tables.system?.uuid);
    if let Some(uuid) = uuid {
        assert_eq!(said.trim().to_ascii_lowercase(), uuid);
    }
}

#[test]
fn filesystems_on_disks_are_what_findmnt_says() {
    let columns = ["--list", "--noheadings", "--output", "SOURCE"];
    let Some(text) = output("findmnt", &columns) else {
        return;
    };
    // A folder that is mounted elsewhere is shown as DEVICE[/FOLDER].
    let of_disks = |line: &str| {
        let device = line.trim().strip_prefix("/dev/")?;
        Some(device.split('[').next().unwrap_or(device).to_owned())
    };
    let listed: BTreeSet<String> = text.lines().filter_map(of_disks).collect();
    let found = filesystems(&root()).known().unwrap();
    assert_eq!(found.len(), listed.len(), "{found:?} {listed:?}");
    eprintln!("{found:?} {:?}", replayed(&root()));
}
