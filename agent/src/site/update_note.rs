//! What is remembered of an update that a card's BMC was, or may have been, asked for.
//!
//! It is written before the request. That of a card's system is kept until a `ClearInstall`, that of
//! a component until another update of one, whatever the BMC says: where there is none, certainly
//! nothing was asked for.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::{ActionKind, ActivatedBy};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::report::{ComponentUpdate, UpdateReport, UpdateState};
use lockstep_redfish::UpdateTicket;
use serde::{Deserialize, Serialize};

use crate::durable::{self, StateError};
use crate::site::judge::Refusal;
use crate::site::worker::Worker;

/// No policy waits longer for an update of firmware.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(24);

/// What of a card an update is of: there is a note for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Its operating system.
    System,
    /// Firmware.
    Component,
}

impl Subject {
    pub(super) fn of(kind: &ActionKind) -> Self {
        if kind.is_firmware() {
            Self::Component
        } else {
            Self::System
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::System => "updates",
            Self::Component => "component-updates",
        }
    }
}

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
    /// Id of the component that is written, or stands for the card's system, and what it ran before.
    pub(super) component: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
    /// What lets a component run once it is written. Absent is a restart of the BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) activation: Option<ActivatedBy>,
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
    /// Whether nobody waits for it any more: no later word can change it, or none has come for as long
    /// as any policy waits.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        let is_lost = self.told.state == UpdateState::Lost;
        self.told.is_final() || is_lost && now.duration_since(self.since.0) >= LONGEST_WAIT
    }

    fn path(state_dir: &Path, subject: Subject, name: &str) -> PathBuf {
        let folder = state_dir.join(subject.folder());
        folder.join(format!("{name}.json"))
    }

    /// The note about the card of that name, if it is about the object with that uid.
    pub(super) fn read(
        state_dir: &Path,
        subject: Subject,
        name: &str,
        uid: &str,
    ) -> Result<Option<Self>, StateError> {
        let note = durable::read::<Self>(&Self::path(state_dir, subject, name))?;
        Ok(note.filter(|note| note.uid == uid))
    }

    pub(super) fn write(
        &self,
        state_dir: &Path,
        subject: Subject,
        name: &str,
    ) -> Result<(), StateError> {
        durable::make_private_dir(&state_dir.join(subject.folder()))?;
        durable::write(&Self::path(state_dir, subject, name), self)
    }

    pub(super) fn remove(state_dir: &Path, subject: Subject, name: &str) -> Result<(), StateError> {
        durable::remove(&Self::path(state_dir, subject, name))
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

    pub(super) fn component_report(&self) -> ComponentUpdate {
        ComponentUpdate {
            seq: self.seq,
            component: self.component.clone(),
            update: self.report(),
        }
    }
}

fn not_stored(error: &StateError) -> Refusal {
    Refusal::new("StateUnusable", error.to_string())
}

impl Worker {
    /// What is remembered of an update of this card.
    pub(super) fn own_update(&self, subject: Subject) -> Result<Option<UpdateNote>, Refusal> {
        let input = self.current();
        let state_dir = &self.site.config.state_dir;
        UpdateNote::read(state_dir, subject, &input.key.name, &input.uid)
            .map_err(|error| not_stored(&error))
    }

    pub(super) fn keep_update(&self, subject: Subject, note: &UpdateNote) -> Result<(), Refusal> {
        note.write(
            &self.site.config.state_dir,
            subject,
            &self.current().key.name,
        )
        .map_err(|error| not_stored(&error))
    }

    /// Forgets it, also in what is reported next: that may go out before another look.
    pub(super) fn forget_update(&mut self, subject: Subject) -> Result<(), Refusal> {
        let name = &self.current().key.name;
        UpdateNote::remove(&self.site.config.state_dir, subject, name)
            .map_err(|error| not_stored(&error))?;
        if let Some(known) = &mut self.bmc {
            match subject {
                Subject::System => known.update = None,
                Subject::Component => known.component_update = None,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::CustomResourceExt as _;
    use lockstep_crds::DpuBootPolicy;

    #[test]
    fn a_lost_update_is_over_once_no_policy_waits_for_it() {
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let over = |state: UpdateState, hours: i64| {
            let note = UpdateNote {
                uid: "uid-1".to_owned(),
                seq: 1,
                digest: String::new(),
                version: "1".to_owned(),
                method: InstallMethod::SimpleUpdate,
                since: Time(since),
                component: "BMC".to_owned(),
                before: None,
                activation: None,
                ticket: None,
                told: Told {
                    state,
                    ..Told::nothing()
                },
            };
            note.is_over(since + SignedDuration::from_hours(hours))
        };
        assert!(over(UpdateState::Failed, 0) && over(UpdateState::Ended, 0));
        assert!(!over(UpdateState::Lost, 23) && over(UpdateState::Lost, 24));
        assert!(!over(UpdateState::Running, 48) && !over(UpdateState::Asked, 48));
    }

    #[test]
    fn no_policy_waits_longer_than_that() {
        let crd = serde_json::to_value(DpuBootPolicy::crd()).unwrap();
        let install = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/install";
        let install = crd.pointer(install).unwrap();
        let most = install["properties"]["firmwareTimeoutSeconds"]["maximum"].as_f64();
        assert_eq!(most, Some(LONGEST_WAIT.as_secs_f64()));
    }
}
