//! What is remembered of a card's boot override while ours is set: what it displaced.

use std::path::{Path, PathBuf};

use lockstep_redfish::BootTarget;
use serde::{Deserialize, Serialize};

use crate::durable::{self, StateError};

/// The note about one card, kept until nothing of an install is left there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OverrideNote {
    pub(super) uid: String,
    /// The target of a lasting override that was found before ours was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    /// Whether ours is HTTP boot.
    #[serde(default)]
    pub(super) http: bool,
    /// Whether ours is PXE.
    #[serde(default)]
    pub(super) pxe: bool,
    /// The boot entry to which ours leads, by reference, where it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) entry: Option<String>,
}

impl OverrideNote {
    /// A note that says nothing yet.
    pub(super) fn of(uid: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            target: None,
            http: false,
            pxe: false,
            entry: None,
        }
    }

    fn path(state_dir: &Path, name: &str) -> PathBuf {
        state_dir.join("overrides").join(format!("{name}.json"))
    }

    /// The note about the card of that name, if it is about the object with that uid.
    pub(super) fn read(
        state_dir: &Path,
        name: &str,
        uid: &str,
    ) -> Result<Option<Self>, StateError> {
        let note = durable::read::<Self>(&Self::path(state_dir, name))?;
        Ok(note.filter(|note| note.uid == uid))
    }

    pub(super) fn write(&self, state_dir: &Path, name: &str) -> Result<(), StateError> {
        durable::make_private_dir(&state_dir.join("overrides"))?;
        durable::write(&Self::path(state_dir, name), self)
    }

    pub(super) fn remove(state_dir: &Path, name: &str) -> Result<(), StateError> {
        durable::remove(&Self::path(state_dir, name))
    }

    /// The lasting target to put back, if one was found.
    pub(super) fn target(&self) -> Option<BootTarget> {
        self.target.as_deref().map(target_named)
    }
}

fn target_named(text: &str) -> BootTarget {
    match text {
        "None" => BootTarget::None,
        "Pxe" => BootTarget::Pxe,
        "Cd" => BootTarget::Cd,
        "Usb" => BootTarget::Usb,
        "Hdd" => BootTarget::Hdd,
        "UefiHttp" => BootTarget::UefiHttp,
        "BiosSetup" => BootTarget::BiosSetup,
        other => BootTarget::Other(other.to_owned()),
    }
}
