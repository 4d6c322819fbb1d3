//! Host BMCs in the manner of Dell, HPE, Lenovo and Supermicro: only the
//! traits that hardware.md sections 2 and 6 tell of; the rest is the generic
//! host's. What they do to their slots is a matter of the slot, in the fleet
//! file (`slotPower`).

use super::generic::{ALL_RESETS, CD_AND_USB, HOST, HOST_STAGES, HOST_TARGETS};
use super::{
    Access, AccountIds, Boot, Hardware, Ids, Listing, Media, MediaPlace, Offers, Personality,
    Progress, Resets, Role, Root, Update,
};

const fn hardware(
    manufacturer: &'static str,
    model: &'static str,
    serial_prefix: &'static str,
) -> Hardware {
    Hardware {
        manufacturer,
        model,
        part_number: model,
        sku: model,
        serial_prefix,
        ..HOST.hardware
    }
}

const fn resets(restart_turns_on: bool, listing: Listing) -> Resets {
    Resets {
        types: ALL_RESETS,
        listing,
        restart_turns_on,
        ..HOST.reset
    }
}

const fn boot(targets: &'static [&'static str]) -> Boot {
    Boot {
        stages: HOST_STAGES,
        progress: Progress::Standard,
        targets,
        ..HOST.boot
    }
}

const fn update() -> Update {
    Update { ..HOST.update }
}

const fn offers(attributes: &'static [(&'static str, &'static str)]) -> Offers {
    Offers {
        bios: Some(attributes),
        ..HOST.offers
    }
}

const fn access(user: &'static str, ids: AccountIds, types: bool, sessions: usize) -> Access {
    Access {
        user,
        ids,
        account_types: types,
        most_sessions: sessions,
        ..HOST.access
    }
}

/// Accounts are numbered slots, the first usable is 3; few sessions (RAC0218);
/// media below the manager.
pub(super) const DELL: Personality = Personality {
    name: "dell-host",
    about: "a server in the manner of Dell: account slots, eight sessions, media below the manager",
    role: Role::Host,
    root: Root {
        name: "Root Service",
        vendor: Some("Dell"),
        product: Some("Integrated Dell Remote Access Controller"),
        version: "1.17.0",
        port: 443,
    },
    ids: Ids {
        system: "System.Embedded.1",
        manager: "iDRAC.Embedded.1",
        chassis: &[("System.Embedded.1", "RackMount")],
        bios_settings: "Settings",
    },
    hardware: hardware("Dell Inc.", "PowerEdge R750", "CN"),
    reset: resets(false, Listing::Inline),
    boot: boot(HOST_TARGETS),
    media: Some(Media {
        place: MediaPlace::Manager,
        slots: &[("CD", &["CD", "DVD"]), ("RemovableDisk", &["USBStick"])],
        parameters: &[],
        eject_only_when_inserted: false,
        task_seconds: None,
    }),
    update: update(),
    access: access("root", AccountIds::Slot(3), true, 8),
    offers: offers(&[("BootMode", "Uefi"), ("SriovGlobalEnable", "Enabled")]),
};

/// Bios settings in lower case, no AccountTypes.
pub(super) const HPE: Personality = Personality {
    name: "hpe-host",
    about: "a server in the manner of HPE: bios/settings in lower case, accounts without types",
    role: Role::Host,
    root: Root {
        name: "HPE RESTful Root Service",
        vendor: Some("HPE"),
        product: Some("ProLiant DL380 Gen11"),
        version: "1.13.0",
        port: 443,
    },
    ids: Ids {
        system: "1",
        manager: "1",
        chassis: &[("1", "RackMount")],
        bios_settings: "settings",
    },
    hardware: hardware("HPE", "ProLiant DL380 Gen11", "CZ"),
    reset: resets(false, Listing::Inline),
    boot: boot(HOST_TARGETS),
    media: Some(Media {
        place: MediaPlace::Manager,
        slots: &[("1", &["USBStick"]), ("2", &["CD", "DVD"])],
        parameters: &[],
        eject_only_when_inserted: false,
        task_seconds: None,
    }),
    update: update(),
    access: access("Administrator", AccountIds::Slot(1), false, 12),
    offers: offers(&[("BootMode", "Uefi"), ("Sriov", "Enabled")]),
};

/// With a slot of `cutBy: [ForceRestart, GracefulRestart]` this
/// is the SR650 V4 whose restarts cut the power of its cards.
pub(super) const LENOVO: Personality = Personality {
    name: "lenovo-host",
    about: "a server in the manner of Lenovo: restarts may cut the power of its cards",
    role: Role::Host,
    root: Root {
        name: "Root Service",
        vendor: Some("Lenovo"),
        product: Some("Lenovo XClarity Controller"),
        version: "1.15.0",
        port: 443,
    },
    ids: Ids {
        system: "1",
        manager: "1",
        chassis: &[("1", "RackMount")],
        bios_settings: "Pending",
    },
    hardware: hardware("Lenovo", "ThinkSystem SR650 V4", "J3"),
    reset: resets(false, Listing::Inline),
    boot: boot(HOST_TARGETS),
    media: Some(Media {
        place: MediaPlace::System,
        slots: &[("EXT1", &["CD", "DVD"]), ("EXT2", &["CD", "DVD"])],
        parameters: &[("TransferProtocolType", &["HTTP", "HTTPS", "NFS", "CIFS"])],
        eject_only_when_inserted: false,
        task_seconds: None,
    }),
    update: update(),
    access: access("USERID", AccountIds::Slot(1), true, 16),
    offers: offers(&[("BootMode", "UEFIMode"), ("SRIOV", "Enabled")]),
};

/// `UsbCd` where others say `Cd`; a restart turns a machine on that is off.
pub(super) const SUPERMICRO: Personality = Personality {
    name: "supermicro-host",
    about: "a server in the manner of Supermicro: UsbCd, a restart turns it on",
    role: Role::Host,
    root: Root {
        name: "Root Service",
        vendor: Some("Supermicro"),
        product: None,
        version: "1.11.0",
        port: 443,
    },
    ids: Ids {
        system: "1",
        manager: "1",
        chassis: &[("1", "RackMount")],
        bios_settings: "SD",
    },
    hardware: hardware("Supermicro", "ARS-121L-DNR", "S4"),
    reset: resets(true, Listing::ActionInfo),
    boot: boot(&["None", "Pxe", "Hdd", "Cd", "UsbCd", "UefiHttp", "BiosSetup"]),
    media: Some(Media {
        place: MediaPlace::Manager,
        slots: CD_AND_USB,
        parameters: &[],
        eject_only_when_inserted: false,
        task_seconds: None,
    }),
    update: update(),
    access: access("ADMIN", AccountIds::Slot(2), true, 16),
    offers: offers(&[("BootModeSelect", "UEFI"), ("SR_IOV", "Enabled")]),
};
