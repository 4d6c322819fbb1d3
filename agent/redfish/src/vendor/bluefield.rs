//! NVIDIA BlueField.
//!
//! Sources: NVIDIA's BMC documentation 23.07–26.01 for models, part numbers and the attributes of
//! the firmware settings; NVIDIA's libredfish, which reads the mode and the rshim switch of a
//! BlueField-3 from `Systems/Bluefield/Oem/Nvidia`; dpu-update, which takes the part number from
//! `Chassis/Bluefield_BMC` before `Chassis/Card1`. Of BlueField-4 no document was found that tells
//! its mode. PCI ids are those of the PCI ID Repository and of mstflint.
//!
//! `Chassis/Bluefield_ERoT` stalls now and then on some releases, and nothing of an inventory stands
//! there: it is read for its background copy alone, where that matters (NVIDIA's updater waits for
//! `Oem.Nvidia.BackgroundCopyStatus` to be `Completed` before it writes or restarts anything).

use lockstep_crds::inventory::InstallMethod;

use super::generic::CARD;
use super::{Clue, ModeTold, Vendor};

/// The target by which the BMC of a BlueField-2 or -3 installs a boot stream (BFB), and so a system,
/// over its own rshim (BMC documentation, "Installing BFB using SimpleUpdate").
pub(super) const OS_COMPONENT: &str = "DPU_OS";

/// The system, and the chassis of its root of trust, which copies the BMC's new firmware to its second
/// slot after an update.
pub(super) const BACKGROUND_COPY: (&str, &str) = ("Bluefield", "Bluefield_ERoT");

const FAMILY: Vendor = Vendor {
    part_number_in: &["Bluefield_BMC", "Card1"],
    ..CARD
};

/// No ERoT; its mode is a firmware setting.
pub(super) const BLUEFIELD_2: Vendor = Vendor {
    table: "bluefield-2",
    family: Some("BlueField-2"),
    clues: &[Clue::Model("BlueField-2"), Clue::PartNumber("MBF2")],
    pci: &[(0x15b3, 0xa2d6)],
    pci_recovery: &[(0x15b3, 0x0214), (0x15b3, 0x0215)],
    mode: Some(&[ModeTold::Attribute("NicMode")]),
    in_band: &[InstallMethod::Rshim],
    ..FAMILY
};

/// The OEM part numbers are those of Lenovo, HPE and Dell.
pub(super) const BLUEFIELD_3: Vendor = Vendor {
    table: "bluefield-3",
    family: Some("BlueField-3"),
    clues: &[
        Clue::Model("BlueField-3"),
        Clue::PartNumber("900-9D3B"),
        Clue::PartNumber("900-9D3C"),
        Clue::PartNumber("900-9D3D"),
        Clue::PartNumber("900-9D3L"),
        Clue::PartNumber("SN37B36732"),
        Clue::PartNumber("P66102"),
        Clue::PartNumber("0WJ9T5"),
    ],
    pci: &[(0x15b3, 0xa2dc), (0x15b3, 0xa2d9)],
    pci_recovery: &[
        (0x15b3, 0x021a),
        (0x15b3, 0x021b),
        (0x15b3, 0x021c),
        (0x15b3, 0x021d),
    ],
    mode: Some(&[ModeTold::Property("Mode"), ModeTold::Attribute("NicMode")]),
    host_access_in: Some("Oem/Nvidia"),
    in_band: &[InstallMethod::Rshim],
    ..FAMILY
};

/// Installed from an ISO; there is no boot stream over rshim any more.
pub(super) const BLUEFIELD_4: Vendor = Vendor {
    table: "bluefield-4",
    family: Some("BlueField-4"),
    clues: &[Clue::Model("BlueField-4")],
    pci: &[(0x15b3, 0xa2df)],
    pci_recovery: &[(0x15b3, 0x0220), (0x15b3, 0x0221)],
    mode: None,
    ..FAMILY
};

/// One that does not say which.
pub(super) const BLUEFIELD: Vendor = Vendor {
    table: "bluefield",
    clues: &[Clue::Line("BlueField"), Clue::SystemId("Bluefield")],
    mode: BLUEFIELD_3.mode,
    host_access_in: BLUEFIELD_3.host_access_in,
    ..FAMILY
};
