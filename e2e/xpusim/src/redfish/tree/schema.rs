//! The schema versions of all documents, in one place: `@odata.type` and
//! `$metadata` are made from this table (DSP8010 2025.4).

/// Schema and version, in the order of the alphabet.
pub(super) const SCHEMAS: [(&str, &str); 36] = [
    ("AccountService", "v1_13_0"),
    ("ActionInfo", "v1_3_0"),
    ("Assembly", "v1_5_0"),
    ("Bios", "v1_2_0"),
    ("BootOption", "v1_0_4"),
    ("Chassis", "v1_23_0"),
    ("ComponentIntegrity", "v1_2_0"),
    ("ComputerSystem", "v1_20_0"),
    ("Drive", "v1_17_0"),
    ("EthernetInterface", "v1_9_0"),
    ("LogEntry", "v1_15_0"),
    ("LogService", "v1_4_0"),
    ("Manager", "v1_18_0"),
    ("ManagerAccount", "v1_10_0"),
    ("ManagerNetworkProtocol", "v1_9_0"),
    ("Memory", "v1_17_0"),
    ("Message", "v1_1_2"),
    ("NetworkAdapter", "v1_9_0"),
    ("NetworkDeviceFunction", "v1_9_0"),
    ("PCIeDevice", "v1_13_0"),
    ("PCIeFunction", "v1_5_0"),
    ("Port", "v1_8_0"),
    ("Processor", "v1_17_0"),
    ("Role", "v1_3_1"),
    ("SecureBoot", "v1_1_0"),
    ("ServiceRoot", "v1_15_0"),
    ("Session", "v1_5_0"),
    ("SessionService", "v1_1_8"),
    ("SoftwareInventory", "v1_10_0"),
    ("Storage", "v1_15_0"),
    ("StorageController", "v1_7_0"),
    ("Task", "v1_7_1"),
    ("TaskService", "v1_2_0"),
    ("UpdateService", "v1_11_1"),
    ("VirtualMedia", "v1_6_0"),
    ("Volume", "v1_9_0"),
];

/// Resources that come in collections.
pub(super) const COLLECTIONS: [&str; 21] = [
    "BootOption",
    "Chassis",
    "ComponentIntegrity",
    "ComputerSystem",
    "EthernetInterface",
    "LogEntry",
    "LogService",
    "Manager",
    "ManagerAccount",
    "Memory",
    "NetworkAdapter",
    "NetworkDeviceFunction",
    "PCIeDevice",
    "PCIeFunction",
    "Port",
    "Processor",
    "Role",
    "Session",
    "SoftwareInventory",
    "StorageController",
    "Task",
];

/// The `@odata.type` of a schema.
pub(super) fn kind(schema: &str) -> String {
    let version = SCHEMAS
        .iter()
        .find(|(name, _)| *name == schema)
        .map_or("", |(_, version)| version);
    format!("#{schema}.{version}.{schema}")
}
