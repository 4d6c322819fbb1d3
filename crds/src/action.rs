//! What an executor can be asked to do, and what each of it is: one row a kind.
//!
//! Whoever asks what an action takes down, arms or writes asks the table. A new kind is one value and one
//! row, and the compiler asks for the row.

use crate::open_enum::open_enum;

open_enum! {
    /// What an executor can be asked to do.
    pub enum ActionKind {
        /// Host: store what will be changed, keep it powered off, keep the work order.
        HoldHost,
        /// Host: put stored settings back, drop the work order, power it on if `powerOn`.
        ReleaseHost,
        /// Card: insert the image as virtual media and set a one-time boot override to it.
        StageInstall,
        /// Card: set a one-time boot override to UEFI HTTP boot, with the URL of the image.
        StageHttpBoot,
        /// Card: set a lasting boot override to UEFI HTTP boot, with the URL of the image.
        SetNetworkBoot,
        /// Card: offer the image to the firmware of `bootMacs` by the site's PXE service, and set a
        /// one-time boot override to PXE.
        StagePxeBoot,
        /// Card: set a one-time boot override to the boot entry of the image's `slot`.
        StageBootEntry,
        /// Card: put the boot entry of the image's `slot` first in the boot order.
        SetBootOrder,
        /// Card: power it on if it is off, and have its BMC fetch the image and write it.
        PullUpdate,
        /// Card: power it on if it is off, and send the image to its BMC, which writes it.
        PushUpdate,
        /// Card: have its BMC fetch the image and write it to `component`.
        PullFirmware,
        /// Card: send the image to its BMC, which writes it to `component`.
        PushFirmware,
        /// Card: restart its BMC.
        ResetBmc,
        /// Card whose system cannot be reset alone: restart all of it by its BMC, armed as it is.
        RestartCard,
        /// Card: offer the image, with the card's own seed and files, to the agent of its host.
        OfferImage,
        /// Card, by the agent of its host: reset it, and push the offered image over rshim.
        PushImage,
        /// Card, by the agent of its host: flash the image, which is firmware, into `component` by
        /// devlink.
        FlashFirmware,
        /// Card: take back what is armed for an install by any of the ways: eject our media,
        /// empty our HTTP boot URL, put the boot override back, end our offer. What is remembered of
        /// an update is forgotten: a BMC takes none back.
        ClearInstall,
        /// Power the machine on.
        PowerOn,
        /// Ask the machine's operating system to shut down.
        ShutdownGracefully,
        /// Cut the machine's power.
        ForceOff,
    }
}

/// What an action does to the machine that it is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The host's settings are stored and changed so that it stays off, and the work order is kept.
    Holds,
    /// The host's settings are put back, and it may be powered on.
    Releases,
    /// What the next boot will do, or every boot from now on, is armed so that it brings an image.
    Stages,
    /// What the machine boots by itself is changed.
    SetsBoot,
    /// What was armed is taken back.
    TakesBack,
    /// A system is written, which takes down the one that runs.
    WritesSystem,
    /// Firmware is written.
    WritesFirmware,
    /// The machine's BMC restarts.
    RestartsBmc,
    /// The machine gets power.
    PowersOn,
    /// The machine loses power, or is reset.
    TakesPower,
    /// Nobody here knows: a newer release does. It counts as the worst.
    Unknown,
}

/// Whose agent carries an action out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// That of the site, by the machine's BMC.
    Site,
    /// That of the card's host, from inside it.
    Host,
}

/// What one kind of action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it does.
    pub effect: Effect,
    /// Whose agent carries it out.
    pub executor: Executor,
    /// The values of Redfish's `ResetType` that do it, any of them; none, if it is no reset of that resource.
    pub reset_types: &'static [&'static str],
    /// Whether the machine is sent two changes for it, of which one may have landed without the other.
    pub has_halves: bool,
}

impl Row {
    const fn site(effect: Effect) -> Self {
        Self {
            effect,
            executor: Executor::Site,
            reset_types: &[],
            has_halves: false,
        }
    }

    const fn host(effect: Effect) -> Self {
        Self {
            executor: Executor::Host,
            ..Self::site(effect)
        }
    }

    const fn by(self, reset_types: &'static [&'static str]) -> Self {
        Self {
            reset_types,
            ..self
        }
    }

    const fn in_halves(self) -> Self {
        Self {
            has_halves: true,
            ..self
        }
    }
}

impl ActionKind {
    /// The table.
    pub const fn row(&self) -> Row {
        match self {
            Self::HoldHost => Row::site(Effect::Holds),
            Self::ReleaseHost => Row::site(Effect::Releases).by(&["On", "ForceOn"]),
            Self::StageInstall => Row::site(Effect::Stages).in_halves(),
            Self::StageHttpBoot => Row::site(Effect::Stages),
            Self::StagePxeBoot => Row::site(Effect::Stages),
            Self::StageBootEntry => Row::site(Effect::Stages),
            Self::OfferImage => Row::site(Effect::Stages),
            Self::SetNetworkBoot => Row::site(Effect::Stages),
            Self::SetBootOrder => Row::site(Effect::SetsBoot),
            Self::ClearInstall => Row::site(Effect::TakesBack).in_halves(),
            Self::PullUpdate => Row::site(Effect::WritesSystem),
            Self::PushUpdate => Row::site(Effect::WritesSystem),
            Self::PushImage => Row::host(Effect::WritesSystem),
            Self::PullFirmware => Row::site(Effect::WritesFirmware),
            Self::PushFirmware => Row::site(Effect::WritesFirmware),
            Self::FlashFirmware => Row::host(Effect::WritesFirmware),
            Self::ResetBmc => Row::site(Effect::RestartsBmc),
            Self::PowerOn => Row::site(Effect::PowersOn).by(&["On", "ForceOn"]),
            Self::ShutdownGracefully => Row::site(Effect::TakesPower).by(&["GracefulShutdown"]),
            Self::ForceOff => Row::site(Effect::TakesPower).by(&["ForceOff"]),
            Self::RestartCard => Row::site(Effect::TakesPower),
            Self::Unrecognized(_) => Row::site(Effect::Unknown),
        }
    }

    /// Whether the action takes something down (S1, S2, S12 apply).
    pub const fn is_destructive(&self) -> bool {
        match self.row().effect {
            Effect::WritesSystem
            | Effect::WritesFirmware
            | Effect::RestartsBmc
            | Effect::TakesPower
            | Effect::Unknown => true,
            Effect::Holds
            | Effect::Releases
            | Effect::Stages
            | Effect::SetsBoot
            | Effect::TakesBack
            | Effect::PowersOn => false,
        }
    }

    /// Whether the action takes power from the machine, or resets it.
    pub const fn takes_power(&self) -> bool {
        matches!(self.row().effect, Effect::TakesPower | Effect::Unknown)
    }

    /// Whether the action gives the machine power, takes it or resets it.
    pub const fn is_of_power(&self) -> bool {
        matches!(self.row().effect, Effect::PowersOn) || self.takes_power()
    }

    /// Whether the action gives or takes power, or restarts, anything of a card: what no component bears
    /// of which a part may be written. Firmware that is written meanwhile can mend that.
    pub const fn disturbs_firmware(&self) -> bool {
        matches!(
            self.row().effect,
            Effect::WritesSystem | Effect::RestartsBmc
        ) || self.is_of_power()
    }

    /// Whether the action arms a card for an install, by whichever way.
    pub const fn arms_install(&self) -> bool {
        matches!(self.row().effect, Effect::Stages)
    }

    /// Whether the agent of the card's host carries it out.
    pub const fn is_of_host_agent(&self) -> bool {
        matches!(self.row().executor, Executor::Host)
    }

    /// Whether the action is about firmware of a card, and its BMC carries it out.
    pub const fn is_firmware(&self) -> bool {
        let effect = self.row().effect;
        matches!(effect, Effect::WritesFirmware | Effect::RestartsBmc) && !self.is_of_host_agent()
    }

    /// Whether the card's BMC writes the image, which begins the install at once.
    pub const fn is_update(&self) -> bool {
        matches!(self.row().effect, Effect::WritesSystem) && !self.is_of_host_agent()
    }
}

#[cfg(test)]
mod tests;
