//! What each vantage point would see of a made-up card or host.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use lockstep_crds::inventory::{
    BmcFacts, CardHealth, CardSeen, CpuFacts, Disk, DiskList, FirmwareComponent, FirmwareList,
    Inventory, MemoryFacts, OsFacts, Port, PortList, SystemFacts,
};
use lockstep_crds::report::{
    FoundBmc, FoundEndpoint, FoundTrust, MachineRole, OsReport, Reachability, Vantage,
};
use lockstep_crds::{DpuReportSpec, MachineIdentity, names};

const VERSION: &str = "0.1.0";

fn now() -> Time {
    Time(Timestamp::now())
}

/// A report and its name.
pub(super) type Told = (String, DpuReportSpec);

/// A made-up card.
#[derive(Clone, Debug)]
pub(super) struct Card {
    /// Id of its BMC's report.
    pub(super) id: &'static str,
    pub(super) serial: String,
    pub(super) uuid: String,
    pub(super) address: &'static str,
    pub(super) mac: &'static str,
}

impl Card {
    /// As its BMC shows it to the site agent that found it.
    pub(super) fn found(&self) -> Told {
        let inventory = Inventory {
            system: Some(SystemFacts {
                vendor: Some("Nvidia".to_owned()),
                model: Some("BlueField-3 DPU".to_owned()),
                family: Some("BlueField-3".to_owned()),
                serial_number: Some(self.serial.clone()),
                system_uuid: Some(self.uuid.clone()),
                part_number: Some("900-9D3B6-00CV-AA0".to_owned()),
                ..SystemFacts::default()
            }),
            firmware: Some(FirmwareList {
                components: vec![FirmwareComponent {
                    name: "BMC_Firmware".to_owned(),
                    running: Some("BF-24.10-10".to_owned()),
                    pending: None,
                    updateable: Some(true),
                }],
                omitted: 0,
            }),
            ports: Some(ports(self.mac)),
            bmc: Some(BmcFacts {
                firmware_version: Some("BF-24.10-10".to_owned()),
                ..BmcFacts::default()
            }),
            ..Inventory::default()
        };
        found(
            self.id,
            MachineRole::Card,
            self.address,
            &self.uuid,
            &self.serial,
            inventory,
        )
    }

    /// As its own operating system shows it, which tells `serial`.
    pub(super) fn own(&self, dpu: &str, uid: &str, serial: &str) -> [Told; 1] {
        let inventory = Inventory {
            system: Some(SystemFacts {
                serial_number: Some(serial.to_owned()),
                system_uuid: Some(self.uuid.clone()),
                ..SystemFacts::default()
            }),
            os: Some(OsFacts {
                name: Some("Card OS 1".to_owned()),
                ..OsFacts::default()
            }),
            cpu: Some(CpuFacts {
                architecture: Some("aarch64".to_owned()),
                cores: Some(16),
                threads: Some(16),
                ..CpuFacts::default()
            }),
            memory: Some(MemoryFacts {
                total_bytes: Some(32 << 30),
                usable_bytes: Some(31 << 30),
                ..MemoryFacts::default()
            }),
            disks: Some(DiskList {
                disks: vec![Disk {
                    name: "mmcblk0".to_owned(),
                    kind: Some("Emmc".to_owned()),
                    size_bytes: Some(64 << 30),
                    model: None,
                    serial_number: None,
                    wwn: None,
                }],
                omitted: 0,
            }),
            ports: Some(ports(self.mac)),
            ..Inventory::default()
        };
        let mut told = DpuReportSpec::new(Vantage::CardOs, dpu, VERSION, now());
        told.subject_uid = uid.to_owned();
        told.os = Some(os(&format!("boot-of-{dpu}")));
        told.inventory = Some(inventory);
        [(names::xpu(dpu), told)]
    }

    /// As a host sees it in `slot`.
    pub(super) fn seen(&self, slot: &str, function: &str) -> CardSeen {
        CardSeen {
            vendor: Some("Mellanox Technologies".to_owned()),
            family: Some("BlueField-3".to_owned()),
            serial_number: Some(format!("{}   ", self.serial)),
            slot: Some(slot.to_owned()),
            functions: vec![function.to_owned()],
            macs: vec![self.mac.to_owned()],
            health: Some(CardHealth::Answers),
            ..CardSeen::default()
        }
    }
}

fn ports(mac: &str) -> PortList {
    PortList {
        ports: vec![Port {
            name: "p0".to_owned(),
            mac: Some(mac.to_owned()),
            speed_mbps: Some(200_000),
            link_up: Some(true),
            driver: None,
            pci_address: None,
        }],
        omitted: 0,
    }
}

/// A host as its BMC shows it.
pub(super) fn host_bmc(id: &str, uuid: &str, address: &str, cards: Vec<CardSeen>) -> Told {
    let serial = format!("HOST-{id}");
    let inventory = Inventory {
        system: Some(SystemFacts {
            vendor: Some("Dell Inc.".to_owned()),
            model: Some("PowerEdge R760".to_owned()),
            serial_number: Some(serial.clone()),
            system_uuid: Some(uuid.to_owned()),
            ..SystemFacts::default()
        }),
        cards,
        ..Inventory::default()
    };
    found(id, MachineRole::Host, address, uuid, &serial, inventory)
}

/// A host as its own operating system shows it.
pub(super) fn host_os(node: &str, uuid: &str, boot: &str, cards: Vec<CardSeen>) -> [Told; 1] {
    let mut told = DpuReportSpec::new(Vantage::HostOs, node, VERSION, now());
    told.machine = Some(MachineIdentity {
        system_uuid: Some(uuid.to_owned()),
        serial_number: None,
    });
    told.os = Some(os(boot));
    told.inventory = Some(Inventory {
        system: Some(SystemFacts {
            system_uuid: Some(uuid.to_owned()),
            ..SystemFacts::default()
        }),
        cards,
        ..Inventory::default()
    });
    [(names::host(node), told)]
}

fn found(
    id: &str,
    role: MachineRole,
    address: &str,
    uuid: &str,
    serial: &str,
    inventory: Inventory,
) -> Told {
    let mut spec = DpuReportSpec::new(Vantage::FoundBmc, id, VERSION, now());
    spec.reachable = Some(Reachability {
        ok: true,
        since: now(),
        reason: None,
        message: None,
    });
    spec.machine = Some(MachineIdentity {
        system_uuid: Some(uuid.to_owned()),
        serial_number: Some(serial.to_owned()),
    });
    spec.found = Some(FoundBmc {
        site: crate::objects::SITE.to_owned(),
        role,
        recognised_by: "made up".to_owned(),
        endpoint: FoundEndpoint {
            address: address.to_owned(),
            system_path: None,
            credentials: "bmc".to_owned(),
            trust: FoundTrust::PinnedKey,
            ca_config_map: None,
            pinned_key_sha256: Some("ab".repeat(32)),
            shown_key_sha256: Some("ab".repeat(32)),
        },
        sources: vec!["list".to_owned()],
        also_at: Vec::new(),
        missing_since: None,
    });
    spec.inventory = Some(inventory);
    (names::found_bmc(id), spec)
}

fn os(epoch: &str) -> OsReport {
    OsReport {
        boot_epoch: epoch.to_owned(),
        epoch_source: "boot_id".to_owned(),
        uptime_seconds: 60,
        os: Some("Lab OS".to_owned()),
        image_version: None,
        image_digest: None,
        kernel: None,
        architecture: None,
        addresses: Vec::new(),
        wipe: None,
        filesystems: None,
    }
}
