//! From Redfish `BootProgress` to OPI's boot stages.
//!
//! `OemLastState` is the finer source where its value is known (BlueField's
//! BMC writes OPI's stages there); other vendors put free text in it, which
//! says nothing. Values are compared without regard to case.

use std::fmt;

/// OPI boot stages 0–11.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BootStage {
    /// 0: the boot ROM runs.
    ResetBootRom,
    /// 1: first firmware stage.
    Firmware1,
    /// 2: second firmware stage.
    Firmware2,
    /// 3: UEFI.
    Uefi,
    /// 4: the operating system starts.
    OsStarting,
    /// 5: the operating system runs.
    OsRunning,
    /// 6: the operating system has halted.
    OsHalted,
    /// 7: firmware is being written.
    FirmwareUpdating,
    /// 8: the operating system writes a crash dump.
    OsCrashDumping,
    /// 9: the operating system's crash dump is complete.
    OsCrashDumped,
    /// 10: firmware writes a crash dump.
    FirmwareCrashDumping,
    /// 11: the firmware's crash dump is complete.
    FirmwareCrashDumped,
}

impl BootStage {
    /// The stage's name as DESIGN spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ResetBootRom => "ResetBootRom",
            Self::Firmware1 => "Firmware1",
            Self::Firmware2 => "Firmware2",
            Self::Uefi => "Uefi",
            Self::OsStarting => "OsStarting",
            Self::OsRunning => "OsRunning",
            Self::OsHalted => "OsHalted",
            Self::FirmwareUpdating => "FirmwareUpdating",
            Self::OsCrashDumping => "OsCrashDumping",
            Self::OsCrashDumped => "OsCrashDumped",
            Self::FirmwareCrashDumping => "FirmwareCrashDumping",
            Self::FirmwareCrashDumped => "FirmwareCrashDumped",
        }
    }

    /// Stages 7, 8 and 10, in which power must never be cut (S1).
    pub fn forbids_power_cut(self) -> bool {
        match self {
            Self::FirmwareUpdating | Self::OsCrashDumping | Self::FirmwareCrashDumping => true,
            Self::ResetBootRom
            | Self::Firmware1
            | Self::Firmware2
            | Self::Uefi
            | Self::OsStarting
            | Self::OsRunning
            | Self::OsHalted
            | Self::OsCrashDumped
            | Self::FirmwareCrashDumped => false,
        }
    }
}

impl fmt::Display for BootStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The stage that `BootProgress.LastState` and `OemLastState` name, if any.
///
/// `None` (the Redfish value), `OEM` without a known OEM value, and anything
/// unknown name no stage. Either property saying that the OS runs is enough,
/// unless the OEM one names a later stage (halted, updating, dumping).
pub fn stage_of(last_state: Option<&str>, oem_last_state: Option<&str>) -> Option<BootStage> {
    let standard = last_state.and_then(standard_stage);
    let Some(oem) = oem_last_state.and_then(oem_stage) else {
        return standard;
    };
    match oem {
        BootStage::ResetBootRom
        | BootStage::Firmware1
        | BootStage::Firmware2
        | BootStage::Uefi
        | BootStage::OsStarting
            if standard == Some(BootStage::OsRunning) =>
        {
            Some(BootStage::OsRunning)
        }
        BootStage::ResetBootRom
        | BootStage::Firmware1
        | BootStage::Firmware2
        | BootStage::Uefi
        | BootStage::OsStarting
        | BootStage::OsRunning
        | BootStage::OsHalted
        | BootStage::FirmwareUpdating
        | BootStage::OsCrashDumping
        | BootStage::OsCrashDumped
        | BootStage::FirmwareCrashDumping
        | BootStage::FirmwareCrashDumped => Some(oem),
    }
}

/// DSP0268 `ComputerSystem.BootProgressTypes`.
const STANDARD: [(&str, BootStage); 9] = [
    (
        "PrimaryProcessorInitializationStarted",
        BootStage::Firmware1,
    ),
    ("BusInitializationStarted", BootStage::Firmware2),
    ("MemoryInitializationStarted", BootStage::Firmware2),
    (
        "SecondaryProcessorInitializationStarted",
        BootStage::Firmware2,
    ),
    ("PCIResourceConfigStarted", BootStage::Uefi),
    ("SystemHardwareInitializationComplete", BootStage::Uefi),
    ("SetupEntered", BootStage::Uefi),
    ("OSBootStarted", BootStage::OsStarting),
    ("OSRunning", BootStage::OsRunning),
];

/// What BlueField's BMC writes to `OemLastState`, read from the card over NC-SI.
const OEM: [(&str, BootStage); 12] = [
    ("BootRom", BootStage::ResetBootRom),
    ("BL2", BootStage::Firmware1),
    ("BL31", BootStage::Firmware2),
    ("UEFI", BootStage::Uefi),
    ("OsStarting", BootStage::OsStarting),
    ("OsIsRunning", BootStage::OsRunning),
    ("LowPowerStandby", BootStage::OsHalted),
    ("FirmwareUpdateInProgress", BootStage::FirmwareUpdating),
    ("OsCrashDumpInProgress", BootStage::OsCrashDumping),
    ("OsCrashDumpIsComplete", BootStage::OsCrashDumped),
    (
        "FWFaultCrashDumpInProgress",
        BootStage::FirmwareCrashDumping,
    ),
    ("FWFaultCrashDumpIsComplete", BootStage::FirmwareCrashDumped),
];

fn standard_stage(value: &str) -> Option<BootStage> {
    find(&STANDARD, value)
}

fn oem_stage(value: &str) -> Option<BootStage> {
    find(&OEM, value)
}

fn find(table: &[(&str, BootStage)], value: &str) -> Option<BootStage> {
    table
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value.trim()))
        .map(|(_, stage)| *stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_states_map_to_stages() {
        for (value, stage) in STANDARD {
            assert_eq!(stage_of(Some(value), None), Some(stage), "{value}");
        }
        assert_eq!(stage_of(Some("None"), None), None);
        assert_eq!(stage_of(Some("OEM"), None), None);
        assert_eq!(stage_of(Some("Invaild"), Some("")), None);
        assert_eq!(stage_of(None, None), None);
    }

    #[test]
    fn oem_states_cover_all_twelve_stages() {
        for (value, stage) in OEM {
            assert_eq!(stage_of(Some("OEM"), Some(value)), Some(stage), "{value}");
        }
    }

    #[test]
    fn either_source_saying_the_os_runs_is_enough() {
        assert_eq!(
            stage_of(Some("OSRunning"), Some("OsStarting")),
            Some(BootStage::OsRunning)
        );
        assert_eq!(
            stage_of(Some("OSBootStarted"), Some("OsIsRunning")),
            Some(BootStage::OsRunning)
        );
    }

    #[test]
    fn a_later_oem_stage_wins_over_a_stale_running_state() {
        for (value, stage) in &OEM[6..] {
            assert_eq!(stage_of(Some("OSRunning"), Some(value)), Some(*stage));
        }
    }

    #[test]
    fn free_text_of_other_vendors_says_nothing() {
        assert_eq!(
            stage_of(Some("OSRunning"), Some("System boot completed.")),
            Some(BootStage::OsRunning)
        );
    }
}
