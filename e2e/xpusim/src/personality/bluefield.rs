//! NVIDIA BlueField-2, -3 and -4 (hardware.md 1.1 and 2).
//!
//! Assumptions, for want of a public source: BlueField-4's resource ids and
//! all of its times.

use super::{
    Access, AccountIds, Activation, Boot, Firmware, Hardware, Ids, Listing, Media, MediaPlace,
    Offers, Personality, Progress, Resets, Role, Root, Update,
};
use crate::reset::ResetType;
use crate::stage::Stage;

const RESETS: &[ResetType] = &[
    ResetType::ForceOff,
    ResetType::PowerCycle,
    ResetType::Nmi,
    ResetType::GracefulShutdown,
    ResetType::On,
    ResetType::ForceOn,
    ResetType::GracefulRestart,
    ResetType::ForceRestart,
];

const STAGES: &[(Stage, u64)] = &[
    (Stage::ResetBootRom, 1),
    (Stage::Firmware1, 4),
    (Stage::Firmware2, 3),
    (Stage::Uefi, 25),
    (Stage::OsStarting, 60),
    (Stage::OsRunning, 0),
];

const TARGETS: &[&str] = &[
    "None",
    "Pxe",
    "UefiHttp",
    "UefiShell",
    "UefiTarget",
    "UefiBootNext",
];

/// Password 12–20, ten tries then 600 s, sessions of 1800 s; the accounts of
/// UEFI must stay.
const fn access(factory: Option<&'static str>, others: &'static [&'static str]) -> Access {
    Access {
        user: "root",
        factory_password: factory,
        other_users: others,
        ids: AccountIds::Name,
        account_types: true,
        password_length: (12, 20),
        lockout: Some((10, 600)),
        session_timeout: 1800,
        most_sessions: 64,
    }
}

const fn resets(listing: Listing, graceful: bool) -> Resets {
    Resets {
        types: RESETS,
        listing,
        cycle_waits_for_hosts: true,
        shutdown_pauses: graceful,
        restart_turns_on: false,
        link_drops_on: &[ResetType::ForceOff, ResetType::PowerCycle],
        manager_types: &["GracefulRestart", "ForceRestart"],
        manager_takes_machine: false,
        manager_seconds: 180,
        shutdown_seconds: 15,
        off_seconds: 5,
    }
}

const fn boot() -> Boot {
    Boot {
        stages: STAGES,
        progress: Progress::Bluefield,
        targets: TARGETS,
        once_only: None,
        settings_object: true,
        media_first: false,
        install_seconds: 600,
        restore_policy: false,
    }
}

const fn firmware(id: &'static str, version: &'static str, activation: Activation) -> Firmware {
    Firmware {
        id,
        version,
        activation,
        installs_os: false,
    }
}

/// BlueField-2: no ERoT, NIC mode in the Bios settings.
pub(super) const BLUEFIELD_2: Personality = Personality {
    name: "bluefield-2",
    about: "NVIDIA BlueField-2: OpenBMC, BFB by SimpleUpdate, NIC mode in the Bios",
    role: Role::Card,
    root: Root {
        name: "Root Service",
        vendor: Some("Nvidia"),
        product: Some("Nvidia-BMCMezz"),
        version: "1.17.0",
        port: 443,
    },
    ids: Ids {
        system: "Bluefield",
        manager: "Bluefield_BMC",
        chassis: &[
            ("Card1", "Card"),
            ("Bluefield_BMC", "Component"),
            ("CPU_0", "Component"),
        ],
        bios_settings: "Settings",
    },
    hardware: Hardware {
        system_type: "Physical",
        manufacturer: "Nvidia",
        model: "BlueField-2 SmartNIC Main Card",
        part_number: "MBF2M516A-EEEOT",
        sku: "MBF2M516A-EEEOT_Ax",
        serial_prefix: "MT2",
        architecture: ("ARM", "ARM-A64"),
        processor: "Cortex-A72",
        cores: 8,
        memory: (16, 1),
        disks: &[("eMMC0", "SSD", "eMMC", 64_000_000_000)],
        ports: &[("eth0", 100), ("eth1", 100)],
        pci: (0x15b3, 0xa2d6),
        recovery_pci: Some(0x0214),
    },
    // A BlueField-2 has no shutdown over its BMC: the OS must be asked.
    reset: resets(Listing::ActionInfo, false),
    boot: boot(),
    media: None,
    update: Update {
        protocols: &["HTTP", "HTTPS", "SCP"],
        multipart: Some("/redfish/v1/UpdateService/update-multipart"),
        most_bytes: None,
        names_reset: None,
        firmware: &[
            firmware("BMC_Firmware", "BF-24.10-10", Activation::Manager),
            Firmware {
                id: "DPU_OS",
                version: "bf-bundle-2.9.0",
                activation: Activation::AtOnce,
                installs_os: true,
            },
            firmware("DPU_UEFI", "4.9.0-25", Activation::Boot),
            firmware("DPU_ATF", "v2.2(release):4.9.0", Activation::Boot),
            firmware("DPU_NIC", "24.43.1014", Activation::PowerCycle),
        ],
        inventory: true,
        seconds: 600,
        one_at_a_time: true,
    },
    access: access(Some("0penBmc"), &["NvBluefieldUefi0", "NvBluefieldUefi1"]),
    offers: Offers {
        chassis: true,
        logs: true,
        etags: true,
        secure_boot: true,
        bios: Some(&[
            ("NicMode", "DpuMode"),
            ("HostPrivilegeLevel", "Privileged"),
            ("InternalCPUModel", "Embedded"),
        ]),
        integrity: &[],
        bluefield: true,
        last_reset_time: false,
        copies_in: None,
    },
};

/// BlueField-3: ERoT, mode and rshim by OEM action.
pub(super) const BLUEFIELD_3: Personality = Personality {
    name: "bluefield-3",
    about: "NVIDIA BlueField-3: OpenBMC, BFB by SimpleUpdate, ERoT, standby instead of off",
    role: Role::Card,
    root: Root {
        name: "Root Service",
        vendor: Some("Nvidia"),
        product: Some("BlueField-3 DPU"),
        version: "1.17.0",
        port: 443,
    },
    ids: Ids {
        system: "Bluefield",
        manager: "Bluefield_BMC",
        chassis: &[
            ("Card1", "Card"),
            ("Bluefield_BMC", "Component"),
            ("Bluefield_ERoT", "Component"),
            ("CPU_0", "Component"),
        ],
        bios_settings: "Settings",
    },
    hardware: Hardware {
        system_type: "Physical",
        manufacturer: "Nvidia",
        model: "BlueField-3 SmartNIC Main Card",
        part_number: "900-9D3B6-00CV-AA0",
        sku: "900-9D3B6-00CV-AA0_Ax",
        serial_prefix: "MT2",
        architecture: ("ARM", "ARM-A64"),
        processor: "Cortex-A78AE",
        cores: 16,
        memory: (32, 1),
        disks: &[
            ("eMMC0", "SSD", "eMMC", 128_000_000_000),
            ("NVMe0", "SSD", "NVMe", 160_041_885_696),
        ],
        ports: &[("eth0", 200), ("eth1", 200)],
        pci: (0x15b3, 0xa2dc),
        recovery_pci: Some(0x021c),
    },
    reset: resets(Listing::ActionInfo, true),
    boot: boot(),
    media: None,
    update: Update {
        protocols: &["HTTP", "HTTPS", "SCP"],
        multipart: Some("/redfish/v1/UpdateService/update-multipart"),
        most_bytes: None,
        names_reset: None,
        firmware: &[
            firmware("BMC_Firmware", "BF-24.10-10", Activation::Manager),
            firmware("Bluefield_FW_ERoT", "00.02.0182.0000", Activation::Manager),
            Firmware {
                id: "DPU_OS",
                version: "bf-bundle-2.9.0",
                activation: Activation::AtOnce,
                installs_os: true,
            },
            firmware("DPU_UEFI", "4.9.0-25", Activation::Boot),
            firmware("DPU_ATF", "v2.2(release):4.9.0", Activation::Boot),
            firmware("DPU_NIC", "32.43.1014", Activation::PowerCycle),
            firmware("golden_image_arm", "bf-bundle-2.7.0", Activation::AtOnce),
        ],
        inventory: true,
        seconds: 600,
        one_at_a_time: true,
    },
    access: access(Some("0penBmc"), &["NvBluefieldUefi0", "NvBluefieldUefi1"]),
    offers: Offers {
        chassis: true,
        logs: true,
        etags: true,
        secure_boot: true,
        bios: Some(&[
            ("HostPrivilegeLevel", "Privileged"),
            ("InternalCPUModel", "Embedded"),
            ("BootPartitionProtection", "Disabled"),
        ]),
        integrity: &["Bluefield_DPU_IRoT", "Bluefield_ERoT"],
        bluefield: true,
        last_reset_time: false,
        copies_in: Some("Bluefield_ERoT"),
    },
};

/// BlueField-4: a Grace-class Arm installed from an ISO, firmware by PLDM.
pub(super) const BLUEFIELD_4: Personality = Personality {
    name: "bluefield-4",
    about: "NVIDIA BlueField-4: OS by virtual media or HTTP boot, firmware as PLDM packages",
    role: Role::Card,
    root: Root {
        name: "Root Service",
        vendor: Some("Nvidia"),
        product: Some("BlueField-4 DPU"),
        version: "1.20.0",
        port: 443,
    },
    ids: Ids {
        system: "Bluefield",
        manager: "Bluefield_BMC",
        chassis: &[("Card1", "Card"), ("Bluefield_BMC", "Component")],
        bios_settings: "Settings",
    },
    hardware: Hardware {
        system_type: "DPU",
        manufacturer: "NVIDIA",
        model: "BlueField-4 DPU",
        part_number: "900-9D4B4-00CW-AA0",
        sku: "900-9D4B4-00CW-AA0_Ax",
        serial_prefix: "MT2",
        architecture: ("ARM", "ARM-A64"),
        processor: "Grace",
        cores: 64,
        memory: (128, 1),
        disks: &[("NVMe0", "SSD", "NVMe", 512_110_190_592)],
        ports: &[("eth0", 400), ("eth1", 400)],
        pci: (0x15b3, 0xa2df),
        recovery_pci: None,
    },
    reset: resets(Listing::Inline, false),
    boot: Boot {
        stages: STAGES,
        progress: Progress::Standard,
        targets: &["None", "Pxe", "UefiHttp", "Usb", "Cd", "Hdd"],
        once_only: None,
        settings_object: true,
        // Media that stay inserted are booted again and again.
        media_first: true,
        install_seconds: 900,
        restore_policy: false,
    },
    media: Some(Media {
        place: MediaPlace::Manager,
        slots: &[("Slot_0", &["CD", "USBStick"]), ("Slot_1", &["USBStick"])],
        parameters: &[("TransferProtocolType", &["HTTPS"])],
        eject_only_when_inserted: false,
        task_seconds: None,
    }),
    update: Update {
        protocols: &["HTTPS"],
        multipart: Some("/redfish/v1/UpdateService/update-multipart"),
        most_bytes: None,
        names_reset: None,
        firmware: &[
            firmware("FW_BMC_0", "BF4-26.01-3", Activation::Manager),
            firmware("FW_CPU_0", "02.04.07", Activation::PowerCycle),
            firmware("FW_NIC_0", "82.47.1026", Activation::PowerCycle),
        ],
        inventory: true,
        seconds: 900,
        one_at_a_time: true,
    },
    access: access(None, &["service"]),
    offers: Offers {
        chassis: true,
        logs: true,
        etags: true,
        secure_boot: true,
        bios: Some(&[("HostPrivilegeLevel", "Privileged")]),
        integrity: &["Bluefield_ERoT"],
        bluefield: false,
        last_reset_time: true,
        copies_in: None,
    },
};
