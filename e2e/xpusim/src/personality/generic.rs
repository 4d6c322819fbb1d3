//! A card and a host that do everything by the standard (hardware.md 1.5).

use super::{
    Access, AccountIds, Activation, Boot, Firmware, Hardware, Ids, Listing, Media, MediaPlace,
    Offers, Personality, Progress, Resets, Role, Root, Update,
};
use crate::reset::ResetType;
use crate::stage::Stage;

/// Accounts and sessions as a careful implementer of the standard would have them.
const ACCESS: Access = Access {
    user: "admin",
    factory_password: None,
    other_users: &[],
    ids: AccountIds::Name,
    account_types: true,
    password_length: (8, 64),
    lockout: Some((10, 600)),
    session_timeout: 1800,
    most_sessions: 64,
};

pub(super) const ALL_RESETS: &[ResetType] = &[
    ResetType::On,
    ResetType::ForceOff,
    ResetType::GracefulShutdown,
    ResetType::GracefulRestart,
    ResetType::ForceRestart,
    ResetType::PowerCycle,
    ResetType::Nmi,
    ResetType::ForceOn,
];

pub(super) const HOST_STAGES: &[(Stage, u64)] = &[
    (Stage::ResetBootRom, 2),
    (Stage::Firmware1, 10),
    (Stage::Firmware2, 30),
    (Stage::Uefi, 40),
    (Stage::OsStarting, 25),
    (Stage::OsRunning, 0),
];

pub(super) const HOST_TARGETS: &[&str] = &[
    "None",
    "Pxe",
    "Hdd",
    "Cd",
    "Usb",
    "UefiHttp",
    "UefiShell",
    "BiosSetup",
];

pub(super) const CD_AND_USB: &[(&str, &[&str])] = &[("Cd", &["CD", "DVD"]), ("Usb", &["USBStick"])];

/// `SystemType: DPU`, and everything that a generic client may hope for.
pub(super) const DPU: Personality = Personality {
    name: "generic-dpu",
    about: "a card by the standard: SystemType DPU, everything offered",
    role: Role::Card,
    root: Root {
        name: "Redfish Service",
        vendor: Some("Example"),
        product: Some("Example DPU"),
        version: "1.18.0",
        port: 443,
    },
    ids: Ids {
        system: "DPU",
        manager: "BMC",
        chassis: &[("Card", "Card")],
        bios_settings: "Settings",
    },
    hardware: Hardware {
        system_type: "DPU",
        manufacturer: "Example",
        model: "Example DPU 200G",
        part_number: "EX-DPU-200",
        sku: "EX-DPU-200-A",
        serial_prefix: "EXD",
        architecture: ("ARM", "ARM-A64"),
        processor: "Example Arm 16C",
        cores: 16,
        memory: (32, 1),
        disks: &[("eMMC0", "SSD", "eMMC", 64_000_000_000)],
        ports: &[("p0", 200), ("p1", 200)],
        pci: (0x1af4, 0x1041),
        recovery_pci: None,
    },
    reset: Resets {
        types: ALL_RESETS,
        listing: Listing::Inline,
        cycle_waits_for_hosts: false,
        shutdown_pauses: false,
        restart_turns_on: true,
        link_drops_on: &[ResetType::ForceOff, ResetType::PowerCycle],
        manager_types: &["GracefulRestart", "ForceRestart"],
        manager_takes_machine: false,
        manager_seconds: 120,
        shutdown_seconds: 8,
        off_seconds: 5,
    },
    boot: Boot {
        stages: &[
            (Stage::ResetBootRom, 1),
            (Stage::Firmware1, 3),
            (Stage::Firmware2, 4),
            (Stage::Uefi, 15),
            (Stage::OsStarting, 30),
            (Stage::OsRunning, 0),
        ],
        progress: Progress::Standard,
        targets: &["None", "Pxe", "Hdd", "Cd", "Usb", "UefiHttp", "UefiShell"],
        once_only: None,
        settings_object: false,
        media_first: false,
        install_seconds: 240,
        restore_policy: false,
    },
    media: Some(Media {
        place: MediaPlace::System,
        slots: CD_AND_USB,
        parameters: &[
            ("TransferProtocolType", &["HTTP", "HTTPS", "NFS"]),
            ("TransferMethod", &["Stream", "Upload"]),
        ],
        eject_only_when_inserted: false,
        task_seconds: None,
    }),
    update: Update {
        protocols: &["HTTP", "HTTPS"],
        multipart: Some("/redfish/v1/UpdateService/update-multipart"),
        most_bytes: None,
        names_reset: None,
        firmware: &[
            Firmware {
                id: "BMC",
                version: "2.4.1",
                activation: Activation::Manager,
                installs_os: false,
            },
            Firmware {
                id: "UEFI",
                version: "1.9.0",
                activation: Activation::Boot,
                installs_os: false,
            },
            Firmware {
                id: "NIC",
                version: "7.12.3",
                activation: Activation::PowerCycle,
                installs_os: false,
            },
        ],
        inventory: true,
        seconds: 90,
        one_at_a_time: true,
    },
    access: ACCESS,
    offers: Offers {
        chassis: true,
        logs: true,
        etags: true,
        secure_boot: true,
        bios: Some(&[("BootMode", "Uefi"), ("SriovEnable", "Enabled")]),
        integrity: &["DPU_IRoT"],
        bluefield: false,
        last_reset_time: true,
        copies_in: None,
    },
};

/// A server by the standard.
pub(super) const HOST: Personality = Personality {
    name: "generic-host",
    about: "a server by the standard, everything offered",
    role: Role::Host,
    root: Root {
        name: "Redfish Service",
        vendor: Some("Example"),
        product: Some("Example Server BMC"),
        version: "1.18.0",
        port: 443,
    },
    ids: Ids {
        system: "System",
        manager: "BMC",
        chassis: &[("Chassis", "RackMount")],
        bios_settings: "Settings",
    },
    hardware: Hardware {
        system_type: "Physical",
        manufacturer: "Example",
        model: "Example Server 2U",
        part_number: "EX-SRV-2U",
        sku: "EX-SRV-2U-A",
        serial_prefix: "EXS",
        architecture: ("x86", "x86-64"),
        processor: "Example x86 32C",
        cores: 32,
        memory: (256, 8),
        disks: &[("NVMe0", "SSD", "NVMe", 1_920_383_410_176)],
        ports: &[("eth0", 25), ("eth1", 25)],
        pci: (0x8086, 0x1593),
        recovery_pci: None,
    },
    reset: Resets {
        types: ALL_RESETS,
        listing: Listing::ActionInfo,
        cycle_waits_for_hosts: false,
        shutdown_pauses: false,
        restart_turns_on: true,
        link_drops_on: &[],
        manager_types: &["GracefulRestart", "ForceRestart"],
        manager_takes_machine: false,
        manager_seconds: 120,
        shutdown_seconds: 20,
        off_seconds: 10,
    },
    boot: Boot {
        stages: HOST_STAGES,
        progress: Progress::Standard,
        targets: HOST_TARGETS,
        once_only: None,
        settings_object: false,
        media_first: false,
        install_seconds: 600,
        restore_policy: true,
    },
    media: Some(Media {
        place: MediaPlace::System,
        slots: CD_AND_USB,
        parameters: &[("TransferProtocolType", &["HTTP", "HTTPS", "NFS"])],
        eject_only_when_inserted: false,
        task_seconds: None,
    }),
    update: Update {
        protocols: &["HTTP", "HTTPS"],
        multipart: Some("/redfish/v1/UpdateService/update-multipart"),
        most_bytes: None,
        names_reset: None,
        firmware: &[
            Firmware {
                id: "BMC",
                version: "3.1.0",
                activation: Activation::Manager,
                installs_os: false,
            },
            Firmware {
                id: "BIOS",
                version: "2.22.1",
                activation: Activation::Boot,
                installs_os: false,
            },
        ],
        inventory: true,
        seconds: 180,
        one_at_a_time: true,
    },
    access: ACCESS,
    offers: Offers {
        chassis: true,
        logs: true,
        etags: true,
        secure_boot: true,
        bios: Some(&[("BootMode", "Uefi"), ("SriovEnable", "Enabled")]),
        integrity: &[],
        bluefield: false,
        last_reset_time: true,
        copies_in: None,
    },
};
