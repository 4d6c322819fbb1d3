//! SMBIOS (DMTF DSP0134): what the firmware says is built into the machine.
//!
//! Reads `/sys/firmware/dmi/tables`, where the kernel keeps the entry point and the table as the
//! firmware left them (root only). [`parse`] takes both as bytes: it never reads beyond them,
//! never loops, and skips a structure that is too short for what it should say. Placeholders
//! ([`lockstep_crds::identity`]) come out as `None`, as does what the firmware's version does not yet know.

mod decode;
mod entry;
mod structure;
mod types;

pub use entry::{EntryPoint, SmbiosError};
pub use types::{
    Baseboard, Bios, Chassis, MemoryArray, MemoryDevice, OnboardDevice, PciLocation, Processor,
    Slot, SlotUse, System,
};

use serde::{Deserialize, Serialize};

use crate::{Fact, Root};

/// Where the kernel keeps both parts.
pub const FOLDER: &str = "/sys/firmware/dmi/tables";

/// The structures we read, in their order in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Smbios {
    /// The version of the specification that the firmware follows, as `3.4`.
    pub version: String,
    /// Type 0.
    pub bios: Option<Bios>,
    /// Type 1.
    pub system: Option<System>,
    /// Type 2; blades and carriers have several.
    pub baseboards: Vec<Baseboard>,
    /// Type 3.
    pub chassis: Vec<Chassis>,
    /// Type 4, one for each socket, empty ones as well.
    pub processors: Vec<Processor>,
    /// Type 9.
    pub slots: Vec<Slot>,
    /// Type 16.
    pub memory_arrays: Vec<MemoryArray>,
    /// Type 17, one for each DIMM socket, empty ones as well.
    pub memory_devices: Vec<MemoryDevice>,
    /// Type 41.
    pub onboard_devices: Vec<OnboardDevice>,
    /// Structures of these types that were too short to be read.
    pub unreadable: u16,
}

/// Reads this machine's tables: [`Fact::NotOffered`] when its firmware has none.
pub fn smbios(root: &Root) -> Fact<Smbios> {
    root.bytes(&format!("{FOLDER}/smbios_entry_point"))
        .and_then(|entry| {
            root.bytes(&format!("{FOLDER}/DMI"))
                .and_then(|table| match parse(&entry, &table) {
                    Ok(smbios) => Fact::Known(smbios),
                    Err(error) => Fact::NotRead(format!("{FOLDER}: {error}")),
                })
        })
}

/// Parses an entry point (2.x or 3.x) and the table that it announces.
///
/// # Errors
/// When the entry point is damaged or the table is cut off.
pub fn parse(entry: &[u8], table: &[u8]) -> Result<Smbios, SmbiosError> {
    let entry = EntryPoint::parse(entry)?;
    let mut smbios = Smbios {
        version: format!("{}.{}", entry.major, entry.minor),
        ..Smbios::default()
    };
    for structure in structure::walk(&entry, table) {
        if !decode::take(&structure?, &entry, &mut smbios) {
            smbios.unreadable = smbios.unreadable.saturating_add(1);
        }
    }
    Ok(smbios)
}

#[cfg(test)]
mod tests;
