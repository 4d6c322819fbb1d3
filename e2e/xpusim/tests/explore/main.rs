//! The product's own explorer against every personality: what it reports is compared with what
//! the simulator was told, and what it did is judged by the simulator's own record.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod identify;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lockstep_redfish::{
    AllowedNetworks, BmcOptions, Credentials, Endpoint, ExploredSystem, Explorer, Redfish, TlsTrust,
};
use lockstep_xpusim::effect::What;
use lockstep_xpusim::fault::{Fault, Rule};
use lockstep_xpusim::personality::{self, Progress, Role};
use lockstep_xpusim::spec::FleetSpec;
use lockstep_xpusim::{Fleet, Listen, Server};

/// Every personality once, each alone, and a host with two cards.
const PAIRED: &str = "\
- hosts: [{name: host, personality: generic-host, password: a-good-password-1}]
  cards:
  - {name: card-1, personality: bluefield-3, password: a-good-password-1,
     slots: [{host: host, number: 1}]}
  - {name: card-2, personality: generic-dpu, password: a-good-password-1,
     slots: [{host: host, number: 4}]}
- cards: [{name: nic-mode-2, personality: bluefield-2, password: a-good-password-1, nicMode: true},
          {name: nic-mode-3, personality: bluefield-3, password: a-good-password-1, nicMode: true}]
";

/// Reads for a full inventory of a card, or of a host without cards: what the bar of a thousand
/// BMCs in a minute rests on.
const MOST_FOR_ONE: u64 = 75;

fn everybody() -> Arc<Fleet> {
    let mut yaml = "timeScale: 1000\ndomains:\n".to_owned();
    for one in personality::ALL {
        let kind = match one.role {
            Role::Card => "cards",
            Role::Host => "hosts",
        };
        yaml += &format!(
            "- {kind}: [{{name: {0}, personality: {0}, password: a-good-password-1}}]\n",
            one.name
        );
    }
    yaml += PAIRED;
    Fleet::new(&FleetSpec::parse(&yaml).unwrap()).unwrap()
}

async fn serve(fleet: &Arc<Fleet>, address: &str) -> Server {
    let address: SocketAddr = address.parse().unwrap();
    Server::start(fleet, Listen::Ports(address), true)
        .await
        .unwrap()
}

fn redfish() -> Redfish {
    let networks = ["127.0.0.0/8", "::1/128"].map(|one| one.parse().unwrap());
    let options = BmcOptions {
        part_timeout: Duration::from_secs(1),
        identify_deadline: Duration::from_secs(2),
        ..BmcOptions::default()
    };
    Redfish::new(AllowedNetworks(networks.to_vec()), options)
}

fn endpoint(server: &Server, name: &str) -> Endpoint {
    Endpoint {
        address: server.url(name).unwrap().parse().unwrap(),
        tls: TlsTrust::CaBundle(server.certificate_pem(name).unwrap()),
    }
}

fn credentials(fleet: &Fleet, name: &str) -> Credentials {
    let state = fleet.state(name).unwrap();
    Credentials {
        username: state.user,
        password: state.password,
    }
}

async fn explore(fleet: &Fleet, server: &Server, name: &str) -> ExploredSystem {
    let found = redfish()
        .explore(&endpoint(server, name), &credentials(fleet, name))
        .await;
    assert!(found.is_ok(), "{name}: {found:?}");
    let found = found.unwrap();
    assert!(found.unread.is_empty(), "{name}: {found:?}");
    let mut found = found.systems;
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0)
}

/// The requests that may change something, sessions aside.
fn changing(fleet: &Fleet, name: &str) -> Vec<String> {
    let requests = fleet.requests(name).unwrap().by_path.into_keys();
    requests
        .filter(|request| !request.starts_with("GET "))
        .filter(|request| !request.contains("/SessionService/Sessions"))
        .collect()
}

/// What happened to a machine besides logins and the faults of a test.
fn effects(fleet: &Fleet, name: &str) -> Vec<What> {
    let effects = fleet.effects(name, 0).unwrap().into_iter();
    effects
        .map(|effect| effect.what)
        .filter(|what| {
            !matches!(
                what,
                What::Login { .. } | What::FaultSwitched { .. } | What::FaultStruck { .. }
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_personality_is_told_as_the_simulator_has_it() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let mut counts = BTreeMap::new();
    for one in personality::ALL {
        let name = one.name;
        let found = explore(&fleet, &server, name).await;
        let state = fleet.state(name).unwrap();
        let hardware = &one.hardware;
        let inventory = &found.inventory;
        let role = match one.role {
            Role::Card => "Card",
            Role::Host => "Host",
        };
        assert_eq!(found.role.as_str(), role, "{name}: {}", found.recognised_by);
        assert_eq!(
            found.identity.serial_number.as_ref(),
            Some(&state.serial),
            "{name}"
        );
        assert_eq!(
            found.bmc.identity.system_uuid.as_ref(),
            Some(&state.uuid),
            "{name}"
        );
        assert_eq!(found.system_path, None, "{name}: it serves one system");
        assert!(found.bmc.key_pin.is_some(), "{name}");

        let machine = inventory.system.as_ref().unwrap();
        assert_eq!(
            machine.serial_number.as_ref(),
            Some(&state.serial),
            "{name}"
        );
        assert_eq!(
            machine.part_number.as_deref(),
            Some(hardware.part_number),
            "{name}"
        );
        assert_eq!(
            machine.vendor.as_deref(),
            Some(hardware.manufacturer),
            "{name}"
        );
        assert_eq!(machine.model.as_deref(), Some(hardware.model), "{name}");
        assert_eq!(machine.sku.as_deref(), Some(hardware.sku), "{name}");
        let family = match name {
            "bluefield-2" => Some("BlueField-2"),
            "bluefield-3" => Some("BlueField-3"),
            "bluefield-4" => Some("BlueField-4"),
            "intel-e2100" => Some("IPU E2000"),
            _ => None,
        };
        assert_eq!(machine.family.as_deref(), family, "{name}");
        let made = one.offers.chassis.then_some("2025-02-03T00:00:00Z");
        assert_eq!(machine.manufactured.as_deref(), made, "{name}");

        let cpu = inventory.cpu.as_ref().unwrap();
        assert_eq!(cpu.cores, Some(i64::from(hardware.cores)), "{name}");
        assert_eq!(cpu.model.as_deref(), Some(hardware.processor), "{name}");
        let architecture = match one.role {
            Role::Card => "aarch64",
            Role::Host => "x86_64",
        };
        assert_eq!(cpu.architecture.as_deref(), Some(architecture), "{name}");
        let memory = inventory.memory.as_ref().unwrap();
        assert_eq!(
            memory.total_bytes,
            Some(i64::from(hardware.memory.0) << 30),
            "{name}"
        );
        assert_eq!(memory.modules.len(), hardware.memory.1 as usize, "{name}");

        let disks = inventory.disks.as_ref().unwrap().disks.iter();
        let disks: BTreeSet<_> = disks
            .map(|disk| (disk.name.clone(), disk.size_bytes))
            .collect();
        let wanted = hardware.disks.iter();
        let wanted = wanted.map(|(id, _, _, bytes)| ((*id).to_owned(), i64::try_from(*bytes).ok()));
        assert_eq!(disks, wanted.collect(), "{name}");

        let ports = inventory.ports.as_ref().unwrap().ports.iter();
        let ports: Vec<_> = ports
            .map(|port| (port.name.as_str(), port.speed_mbps))
            .collect();
        let wanted = hardware.ports.iter();
        let wanted: Vec<_> = wanted
            .map(|(id, gbit)| (*id, Some(i64::from(gbit * 1000))))
            .collect();
        assert_eq!(ports, wanted, "{name}");
        let firmware = &inventory.firmware.as_ref().unwrap().components;
        if one.update.inventory {
            let told: BTreeSet<_> = firmware
                .iter()
                .map(|one| (one.name.as_str(), one.running.as_deref().unwrap()))
                .collect();
            let wanted = one.update.firmware.iter().map(|one| (one.id, one.version));
            assert_eq!(told, wanted.collect(), "{name}");
        } else {
            assert_eq!(
                firmware[0].running.as_deref(),
                Some(one.update.firmware[0].version)
            );
        }
        assert_eq!(
            inventory.secure_boot.is_some(),
            one.offers.secure_boot,
            "{name}"
        );
        let bmc = inventory.bmc.as_ref().unwrap();
        assert_eq!(
            bmc.redfish_version.as_deref(),
            Some(one.root.version),
            "{name}"
        );
        assert_eq!(bmc.macs.len(), 1, "{name}");
        assert!(bmc.service_uuid.is_some(), "{name}");
        let platform = inventory.platform.as_ref().unwrap();
        assert!(!platform.boot_order.is_empty(), "{name}");
        let restores = platform.power_restore_policy.is_some();
        assert_eq!(restores, one.boot.restore_policy, "{name}");
        assert!(
            inventory.unread.is_empty(),
            "{name}: {:?}",
            inventory.unread
        );
        assert!(inventory.contradictions.is_empty(), "{name}");

        assert!(changing(&fleet, name).is_empty(), "{name}");
        assert!(effects(&fleet, name).is_empty(), "{name}");
        let requests = fleet.requests(name).unwrap();
        assert_eq!(requests.unauthorized, 0, "{name}");
        let most_often = requests.by_path.iter().max_by_key(|(_, times)| **times);
        assert_eq!(
            most_often.map(|(_, times)| *times),
            Some(1),
            "{name}: {most_often:?}"
        );
        assert!(requests.total <= MOST_FOR_ONE, "{name}: {}", requests.total);
        counts.insert(name, requests.total);
        let sessions = requests
            .by_path
            .keys()
            .filter(|path| path.starts_with("DELETE "));
        assert_eq!(sessions.count(), 1, "{name}: the session is ended");
    }
    println!("requests: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capabilities_are_what_is_offered_with_where_it_stood() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    for one in personality::ALL {
        let name = one.name;
        let found = explore(&fleet, &server, name).await;
        let record = found.inventory.capabilities.as_ref().unwrap();
        let mut types = record.reset.values.clone().unwrap();
        let mut wanted: Vec<_> = one.reset.types.iter().map(|one| one.as_str()).collect();
        types.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(types, wanted, "{name}");
        let wanted = one.reset.manager_types.iter().map(|one| (*one).to_owned());
        assert_eq!(record.bmc_reset.values, Some(wanted.collect()), "{name}");
        let told = |offered: bool| if offered { "Offered" } else { "NotOffered" };
        for (probed, offered) in [
            (&record.virtual_media, one.media.is_some()),
            (&record.simple_update, true),
            (&record.multipart_push, one.update.multipart.is_some()),
            (&record.boot_progress, one.boot.progress != Progress::Hidden),
            (&record.secure_boot, one.offers.secure_boot),
            // The simulator does not measure.
            (&record.spdm, false),
            (&record.sessions, true),
            (&record.events, false),
        ] {
            assert_eq!(probed.offer.as_str(), told(offered), "{name}: {probed:?}");
            assert!(
                probed.source.starts_with("/redfish/v1"),
                "{name}: {probed:?}"
            );
        }
        let stage = record.final_stage.as_ref().map(ToString::to_string);
        // Of a BlueField-4 nothing tells in which mode it is.
        let wanted = (name != "bluefield-4").then_some("OsRunning");
        assert_eq!(stage.as_deref(), wanted, "{name}");
        let ways: BTreeSet<_> = record
            .install_methods
            .iter()
            .map(ToString::to_string)
            .collect();
        let wanted: &[&str] = match name {
            "bluefield-2" | "bluefield-3" => {
                &["SimpleUpdate", "MultipartPush", "UefiHttp", "Pxe", "Rshim"]
            }
            "bluefield-4" | "generic-dpu" => &[
                "VirtualMedia",
                "SimpleUpdate",
                "MultipartPush",
                "UefiHttp",
                "Pxe",
            ],
            "intel-e2100" => &["VirtualMedia", "SimpleUpdate"],
            _ => &[],
        };
        assert_eq!(
            ways,
            wanted.iter().map(|one| (*one).to_owned()).collect(),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_in_nic_mode_ends_its_boot_in_uefi() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    for (name, stage, mode) in [
        ("nic-mode-3", "Uefi", "NicMode"),
        ("bluefield-3", "OsRunning", "DpuMode"),
        ("bluefield-2", "OsRunning", "DpuMode"),
    ] {
        let found = explore(&fleet, &server, name).await;
        let record = found.inventory.capabilities.unwrap();
        assert_eq!(record.final_stage.unwrap().as_str(), stage, "{name}");
        let access = found.inventory.host_access.unwrap();
        assert_eq!(access.mode.as_deref(), Some(mode), "{name}");
        assert_eq!(
            access.host_privilege.as_deref(),
            Some("Privileged"),
            "{name}"
        );
    }
    // Nothing tells the mode: nothing is guessed.
    let path = Some("/Bios".to_owned());
    let silent = Rule {
        path,
        status: Some(500),
        ..Rule::always(Fault::AnswerStatus)
    };
    fleet.switch_on("bluefield-2", silent).unwrap();
    let found = explore(&fleet, &server, "bluefield-2").await;
    assert_eq!(found.inventory.capabilities.unwrap().final_stage, None);
    let groups: Vec<_> = found
        .inventory
        .unread
        .into_iter()
        .map(|one| one.group)
        .collect();
    assert_eq!(groups, ["platform"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_tells_the_cards_in_its_slots_by_what_they_say_of_themselves() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let host = explore(&fleet, &server, "host").await;
    let slots = host.inventory.slots.unwrap().slots;
    let names: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
    assert_eq!(names, ["Slot 1", "Slot 4"]);
    let mut seen = BTreeMap::new();
    for card in host.inventory.cards {
        seen.insert(card.serial_number.clone().unwrap(), card);
    }
    for (name, slot, family) in [
        ("card-1", "Slot 1", Some("BlueField-3")),
        ("card-2", "Slot 4", None),
    ] {
        let own = explore(&fleet, &server, name).await.inventory;
        let serial = fleet.state(name).unwrap().serial;
        let card = seen.remove(&serial).unwrap();
        assert_eq!(card.slot.as_deref(), Some(slot), "{name}");
        assert_eq!(card.family.as_deref(), family, "{name}");
        assert_eq!(card.part_number, own.system.unwrap().part_number, "{name}");
        let macs: BTreeSet<_> = own
            .ports
            .unwrap()
            .ports
            .into_iter()
            .map(|port| port.mac)
            .collect();
        let from_host: BTreeSet<_> = card.macs.into_iter().map(Some).collect();
        assert_eq!(from_host, macs, "{name}");
    }
    assert!(seen.is_empty(), "{seen:?}");
    // The cards' ports are not the host's.
    assert_eq!(host.inventory.ports.unwrap().ports.len(), 2);
}
