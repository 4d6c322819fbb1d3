//! `Resource.ResetType`, and what a machine can be asked.

use serde::{Deserialize, Serialize};

/// `Resource.ResetType`, as far as a personality offers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ResetType {
    /// Power on.
    On,
    /// Power on, whatever speaks against it.
    ForceOn,
    /// Cut power.
    ForceOff,
    /// Ask the operating system to shut down.
    GracefulShutdown,
    /// Ask the operating system to restart.
    GracefulRestart,
    /// Reset without asking.
    ForceRestart,
    /// Cut power and restore it.
    PowerCycle,
    /// Diagnostic interrupt: the operating system writes a crash dump.
    Nmi,
    /// The button, pressed shortly.
    PushPowerButton,
}

impl ResetType {
    /// Every one of them.
    pub const ALL: [Self; 9] = [
        Self::On,
        Self::ForceOn,
        Self::ForceOff,
        Self::GracefulShutdown,
        Self::GracefulRestart,
        Self::ForceRestart,
        Self::PowerCycle,
        Self::Nmi,
        Self::PushPowerButton,
    ];

    /// As Redfish spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::ForceOn => "ForceOn",
            Self::ForceOff => "ForceOff",
            Self::GracefulShutdown => "GracefulShutdown",
            Self::GracefulRestart => "GracefulRestart",
            Self::ForceRestart => "ForceRestart",
            Self::PowerCycle => "PowerCycle",
            Self::Nmi => "Nmi",
            Self::PushPowerButton => "PushPowerButton",
        }
    }

    /// The type of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// `Resource.PowerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Power {
    /// Off; standby power may remain.
    Off,
    /// On its way to on.
    PoweringOn,
    /// On.
    On,
    /// On its way to off.
    PoweringOff,
    /// Powered, its processors halted.
    Paused,
}

impl Power {
    /// As Redfish spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "Off",
            Self::PoweringOn => "PoweringOn",
            Self::On => "On",
            Self::PoweringOff => "PoweringOff",
            Self::Paused => "Paused",
        }
    }
}

/// `ComputerSystem.PowerRestorePolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RestorePolicy {
    /// Power on when mains power returns.
    AlwaysOn,
    /// Stay off.
    AlwaysOff,
    /// Return to what it was.
    #[default]
    LastState,
}

impl RestorePolicy {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::AlwaysOn, Self::AlwaysOff, Self::LastState];

    /// As Redfish spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlwaysOn => "AlwaysOn",
            Self::AlwaysOff => "AlwaysOff",
            Self::LastState => "LastState",
        }
    }

    /// The policy of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}
