//! What can be asked of a BMC, and what became of it.

use crate::facts::{ImageUrl, PowerState};

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an accepted request is not yet a seen effect"]
pub struct Effect {
    /// Whether a changing request was sent and accepted. `false`: the state
    /// was already as wanted.
    pub sent: bool,
    /// What reading back showed.
    pub confirmation: Confirmation,
}

/// What reading back showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The state is as wanted.
    Confirmed,
    /// The effect is there, with a difference that the caller must know.
    Differs(String),
    /// Accepted, and not seen within the time given to look.
    NotSeen,
    /// Redfish has nothing to read this effect back from: watch the boot epoch.
    NotObservable,
}

impl Effect {
    pub(crate) fn unneeded(confirmation: Confirmation) -> Self {
        Self {
            sent: false,
            confirmation,
        }
    }
}

/// A power action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerAction {
    /// Power on.
    On,
    /// Ask the operating system to shut down.
    GracefulShutdown,
    /// Cut power.
    ForceOff,
    /// Reset without asking.
    ForceRestart,
    /// Cut power and restore it.
    PowerCycle,
}

impl PowerAction {
    /// The reset type as Redfish spells it.
    pub fn reset_type(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::GracefulShutdown => "GracefulShutdown",
            Self::ForceOff => "ForceOff",
            Self::ForceRestart => "ForceRestart",
            Self::PowerCycle => "PowerCycle",
        }
    }

    /// The power state that the action leads to and that reading can show.
    pub(crate) fn leads_to(self) -> Option<PowerState> {
        match self {
            Self::On => Some(PowerState::On),
            Self::GracefulShutdown | Self::ForceOff => Some(PowerState::Off),
            Self::ForceRestart | Self::PowerCycle => None,
        }
    }
}

/// `ComputerSystem.BootSource`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootTarget {
    /// No override.
    None,
    /// PXE.
    Pxe,
    /// CD or DVD, virtual ones included.
    Cd,
    /// USB.
    Usb,
    /// Hard disk.
    Hdd,
    /// UEFI HTTP boot.
    UefiHttp,
    /// Firmware setup.
    BiosSetup,
    /// Any other value, to be given back as it was found.
    Other(String),
}

impl BootTarget {
    /// The target that leads to the boot entry which `BootNext` names.
    pub const BOOT_NEXT: &'static str = "UefiBootNext";

    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "None" => Self::None,
            "Pxe" => Self::Pxe,
            "Cd" => Self::Cd,
            "Usb" => Self::Usb,
            "Hdd" => Self::Hdd,
            "UefiHttp" => Self::UefiHttp,
            "BiosSetup" => Self::BiosSetup,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The value as Redfish spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::None => "None",
            Self::Pxe => "Pxe",
            Self::Cd => "Cd",
            Self::Usb => "Usb",
            Self::Hdd => "Hdd",
            Self::UefiHttp => "UefiHttp",
            Self::BiosSetup => "BiosSetup",
            Self::Other(other) => other,
        }
    }
}

/// `ComputerSystem.BootSourceOverrideEnabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideEnabled {
    /// For the next boot.
    Once,
    /// Until changed.
    Continuous,
    /// Not at all.
    Disabled,
}

impl OverrideEnabled {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "Once" => Some(Self::Once),
            "Continuous" => Some(Self::Continuous),
            "Disabled" => Some(Self::Disabled),
            _ => None,
        }
    }

    /// The value as Redfish spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Once => "Once",
            Self::Continuous => "Continuous",
            Self::Disabled => "Disabled",
        }
    }
}

/// A boot override to set: a new one, or the one that was found before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootOverride {
    /// Boot from the target at the next boot.
    Once(BootTarget),
    /// Boot over UEFI HTTP from this URL at the next boot.
    OnceFrom(ImageUrl),
    /// Boot over UEFI HTTP from this URL until changed.
    AlwaysFrom(ImageUrl),
    /// Boot the entry with this reference at the next boot.
    OnceEntry(String),
    /// Boot from the target until changed. For giving back what was found.
    Continuous(BootTarget),
    /// No override.
    Disabled,
}

/// Which inserted media an eject means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaMatch {
    /// This image only.
    Image(ImageUrl),
    /// Every image whose URL begins with this: the site store's base URL finds
    /// our media after the tokens in their URLs were lost.
    Prefix(ImageUrl),
    /// Whatever is inserted, strangers' media included.
    Any,
}

impl MediaMatch {
    pub(crate) fn covers(&self, image: Option<&ImageUrl>) -> bool {
        match (self, image) {
            (Self::Any, _) => true,
            (Self::Image(wanted), Some(image)) => wanted.same_as(image),
            (Self::Prefix(prefix), Some(image)) => image.expose().starts_with(prefix.expose()),
            (Self::Image(_) | Self::Prefix(_), None) => false,
        }
    }
}
