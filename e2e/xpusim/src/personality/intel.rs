//! Intel IPU E2100 (hardware.md 1.2): the Redfish service of its management
//! complex (IMC), which stands for the Arm complex (ACC).
//!
//! Assumption, for want of a public source: all times but those of the flash
//! and of the session.

use super::{
    Access, AccountIds, Activation, Boot, Firmware, Hardware, Ids, Listing, Media, MediaPlace,
    Offers, Personality, Progress, Resets, Role, Root, Update,
};
use crate::reset::ResetType;
use crate::stage::Stage;

/// No boot progress, logs, chassis, firmware inventory or ETags: readiness
/// must come from elsewhere.
pub(super) const E2100: Personality = Personality {
    name: "intel-e2100",
    about: "Intel IPU E2100: SystemType DPU, OS by virtual media, the manager's reset takes the card",
    role: Role::Card,
    root: Root {
        name: "Intel IPU Redfish Service",
        vendor: None,
        product: None,
        version: "1.21.0",
        port: 8443,
    },
    ids: Ids {
        system: "1",
        manager: "1",
        chassis: &[],
        bios_settings: "Settings",
    },
    hardware: Hardware {
        system_type: "DPU",
        manufacturer: "Intel(R) Corporation",
        model: "IPU Adapter E2100-CCQDA2",
        part_number: "E2100-CCQDA2",
        sku: "E2100",
        serial_prefix: "00",
        architecture: ("ARM", "ARM-A64"),
        processor: "Neoverse N1",
        cores: 16,
        memory: (48, 1),
        disks: &[("NVMe0", "SSD", "NVMe", 64_000_000_000)],
        ports: &[("p0", 200)],
        pci: (0x8086, 0x1452),
        recovery_pci: None,
    },
    reset: Resets {
        types: &[ResetType::GracefulShutdown, ResetType::GracefulRestart],
        listing: Listing::Inline,
        cycle_waits_for_hosts: false,
        shutdown_pauses: false,
        restart_turns_on: false,
        link_drops_on: &[],
        manager_types: &["ForceRestart"],
        manager_takes_machine: true,
        manager_seconds: 120,
        shutdown_seconds: 10,
        off_seconds: 2,
    },
    boot: Boot {
        stages: &[
            (Stage::ResetBootRom, 2),
            (Stage::Firmware1, 5),
            (Stage::Firmware2, 5),
            (Stage::Uefi, 30),
            (Stage::OsStarting, 60),
            (Stage::OsRunning, 0),
        ],
        progress: Progress::Hidden,
        targets: &["None", "Cd", "RemoteDrive", "Utilities", "UefiShell"],
        once_only: Some(&["Cd"]),
        settings_object: false,
        media_first: false,
        install_seconds: 900,
        restore_policy: false,
    },
    media: Some(Media {
        place: MediaPlace::System,
        slots: &[("1", &["CD", "DVD"])],
        parameters: &[
            ("TransferMethod", &["Upload"]),
            ("TransferProtocolType", &["HTTP", "HTTPS"]),
        ],
        eject_only_when_inserted: true,
        task_seconds: Some(60),
    }),
    update: Update {
        protocols: &["HTTP", "HTTPS"],
        multipart: None,
        // 1.5 GB at most; the image as a whole needs a power cycle of the host.
        most_bytes: Some(1_500_000_000),
        names_reset: Some("POR"),
        firmware: &[Firmware {
            id: "IMC",
            version: "MEV-2.0.0.11126",
            activation: Activation::PowerCycle,
            installs_os: false,
        }],
        inventory: false,
        seconds: 2400,
        one_at_a_time: true,
    },
    access: Access {
        user: "root",
        factory_password: None,
        other_users: &[],
        ids: AccountIds::Name,
        account_types: true,
        password_length: (16, 64),
        lockout: None,
        session_timeout: 30,
        most_sessions: 16,
    },
    offers: Offers {
        chassis: false,
        logs: false,
        etags: false,
        secure_boot: false,
        bios: None,
        integrity: &[],
        bluefield: false,
        last_reset_time: true,
        copies_in: None,
    },
};
