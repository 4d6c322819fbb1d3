//! What is remembered of an update that a card's BMC was, or may have been, asked for.
//!
//! It is written before the request and kept until a `ClearInstall`, whatever the BMC says: where
//! there is none, certainly nothing was asked for.

use std::path::{Path, PathBuf};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::report::{UpdateReport, UpdateState};
use lockstep_redfish::UpdateTicket;
use serde::{Deserialize, Serialize};

use crate::durable::{self, StateError};
use crate::site::judge::Refusal;
use crate::site::worker::Worker;

/// The note about one card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpdateNote {
    pub(super) uid: String,
    /// The directive that asked for it.
    pub(super) seq: i64,
    pub(super) digest: String,
    pub(super) version: String,
    pub(super) method: InstallMethod,
    pub(super) since: Time,
    /// Id of the component that stands for the card's system, and what it ran before.
    pub(super) component: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
    /// What the accepted update is known by; absent until it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ticket: Option<UpdateTicket>,
    /// What was last told of it.
    pub(super) told: Told,
}

/// What is told of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    pub(super) state: UpdateState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) percent: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

impl Told {
    /// Of an update that nothing was heard of yet.
    pub(super) fn nothing() -> Self {
        Self {
            state: UpdateState::Asked,
            percent: None,
            message: None,
        }
    }

    /// Whether no later word can change it.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.state, UpdateState::Ended | UpdateState::Failed)
    }
}

impl UpdateNote {
    fn path(state_dir: &Path, name: &str) -> PathBuf {
        state_dir.join("updates").join(format!("{name}.json"))
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
        durable::make_private_dir(&state_dir.join("updates"))?;
        durable::write(&Self::path(state_dir, name), self)
    }

    pub(super) fn remove(state_dir: &Path, name: &str) -> Result<(), StateError> {
        durable::remove(&Self::path(state_dir, name))
    }

    pub(super) fn report(&self) -> UpdateReport {
        UpdateReport {
            digest: self.digest.clone(),
            method: self.method.clone(),
            since: self.since.clone(),
            state: self.told.state.clone(),
            percent: self.told.percent,
            message: self.told.message.clone(),
        }
    }
}

fn not_stored(error: &StateError) -> Refusal {
    Refusal::new("StateUnusable", error.to_string())
}

impl Worker {
    /// What is remembered of an update of this card.
    pub(super) fn own_update(&self) -> Result<Option<UpdateNote>, Refusal> {
        let input = self.current();
        UpdateNote::read(&self.site.config.state_dir, &input.key.name, &input.uid)
            .map_err(|error| not_stored(&error))
    }

    pub(super) fn keep_update(&self, note: &UpdateNote) -> Result<(), Refusal> {
        note.write(&self.site.config.state_dir, &self.current().key.name)
            .map_err(|error| not_stored(&error))
    }

    /// Forgets it, also in what is reported next: that may go out before another look.
    pub(super) fn forget_update(&mut self) -> Result<(), Refusal> {
        UpdateNote::remove(&self.site.config.state_dir, &self.current().key.name)
            .map_err(|error| not_stored(&error))?;
        if let Some(known) = &mut self.bmc {
            known.update = None;
        }
        Ok(())
    }
}
