//! The vocabulary of observations: power, boot stage, and what is not known.

use crate::open_enum::open_enum;

open_enum! {
    /// OPI boot stages 0–11 (OPI Provisioning & Lifecycle, boot and crash state table).
    pub enum BootStage {
        /// 0: the boot ROM runs.
        ResetBootRom,
        /// 1: first firmware stage.
        Firmware1,
        /// 2: second firmware stage.
        Firmware2,
        /// 3: UEFI. The final stage of a card in NIC mode.
        Uefi,
        /// 4: the operating system starts.
        OsStarting,
        /// 5: the operating system runs; the host may go.
        OsRunning,
        /// 6: the operating system has halted; power may be cut.
        OsHalted,
        /// 7: firmware is being written; power must never be cut.
        FirmwareUpdating,
        /// 8: the operating system writes a crash dump; power must not be cut.
        OsCrashDumping,
        /// 9: the operating system's crash dump is complete.
        OsCrashDumped,
        /// 10: firmware writes a crash dump; power must not be cut.
        FirmwareCrashDumping,
        /// 11: the firmware's crash dump is complete.
        FirmwareCrashDumped,
    }
}

impl BootStage {
    /// Stages 0 to 4: the machine is on its way up.
    pub fn is_booting(&self) -> bool {
        matches!(
            self,
            Self::ResetBootRom | Self::Firmware1 | Self::Firmware2 | Self::Uefi | Self::OsStarting
        )
    }

    /// Stages in which power must never be cut (S1). A stage of a newer
    /// release is treated as one of them: not understood is not safe.
    pub fn forbids_power_cut(&self) -> bool {
        match self {
            Self::FirmwareUpdating
            | Self::OsCrashDumping
            | Self::FirmwareCrashDumping
            | Self::Unrecognized(_) => true,
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

open_enum! {
    /// Why a fact has no value, or that it has one.
    pub enum Knowledge {
        /// The fact was read.
        Known,
        /// This platform can never tell.
        NotOffered,
        /// It could be read, and has not been.
        NotRead,
    }
}

open_enum! {
    /// Power state of a system as its BMC tells it (Redfish `Resource.PowerState`).
    pub enum PowerState {
        /// The system is powered on.
        On,
        /// The system is powered off; standby power may remain.
        Off,
        /// On its way to `On`.
        PoweringOn,
        /// On its way to `Off`.
        PoweringOff,
        /// Held by the platform.
        Paused,
    }
}

open_enum! {
    /// Whether a platform offers something, as found by probing it.
    pub enum Offer {
        /// The platform offers it.
        Offered,
        /// The platform does not offer it.
        NotOffered,
        /// Probing has not told yet.
        NotRead,
    }
}
