//! The boot stages of OPI, as a card goes through them and as its BMC spells
//! them. Deliberately not the product's type: a mistake there must show here.

use serde::{Deserialize, Serialize};

/// OPI boot stages 0–11.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// 0: the boot ROM runs.
    ResetBootRom,
    /// 1: first firmware stage.
    Firmware1,
    /// 2: second firmware stage.
    Firmware2,
    /// 3: UEFI. The final stage of a BlueField in NIC mode.
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
    /// 9: that dump is complete.
    OsCrashDumped,
    /// 10: firmware writes a crash dump.
    FirmwareCrashDumping,
    /// 11: that dump is complete.
    FirmwareCrashDumped,
}

impl Stage {
    /// Whether losing power in this stage does damage: 7, 8 and 10.
    pub fn breaks_without_power(self) -> bool {
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

    /// `BootProgress.LastState` of DSP0268, where it has a word for the stage.
    pub fn standard(self) -> &'static str {
        match self {
            Self::ResetBootRom => "None",
            Self::Firmware1 => "PrimaryProcessorInitializationStarted",
            Self::Firmware2 => "MemoryInitializationStarted",
            Self::Uefi => "SystemHardwareInitializationComplete",
            Self::OsStarting => "OSBootStarted",
            Self::OsRunning => "OSRunning",
            Self::OsHalted
            | Self::FirmwareUpdating
            | Self::OsCrashDumping
            | Self::OsCrashDumped
            | Self::FirmwareCrashDumping
            | Self::FirmwareCrashDumped => "OEM",
        }
    }

    /// `BootProgress.OemLastState` of a BlueField's BMC (its documentation;
    /// the BMC polls the NIC for it over NC-SI).
    pub fn bluefield(self) -> &'static str {
        match self {
            Self::ResetBootRom => "BootRom",
            Self::Firmware1 => "BL2",
            Self::Firmware2 => "BL31",
            Self::Uefi => "UEFI",
            Self::OsStarting => "OsStarting",
            Self::OsRunning => "OsIsRunning",
            Self::OsHalted => "LowPowerStandby",
            Self::FirmwareUpdating => "FirmwareUpdateInProgress",
            Self::OsCrashDumping => "OsCrashDumpInProgress",
            Self::OsCrashDumped => "OsCrashDumpIsComplete",
            Self::FirmwareCrashDumping => "FWFaultCrashDumpInProgress",
            Self::FirmwareCrashDumped => "FWFaultCrashDumpIsComplete",
        }
    }
}
