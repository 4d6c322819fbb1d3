//! Services on cards: what is offered to a card, what its own agent tells of it, what people read.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;
use crate::report::Reachability;

/// A payload that a card may fetch from its site's store, and is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferedService {
    /// Name of the service.
    #[schemars(length(max = 63))]
    pub service: String,
    /// Name of the `DpuImage`.
    #[schemars(length(max = 253))]
    pub image: String,
    /// Its version.
    #[schemars(length(max = 63))]
    pub version: String,
    /// Its digest.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// The highest security version that was offered under this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_version: Option<i64>,
}

open_enum! {
    /// How a service on a card is.
    pub enum ServiceState {
        /// Its bytes are on their way to the card.
        Fetching,
        /// It runs.
        Running,
        /// It ended by itself, and is started again later.
        BackingOff,
        /// It was asked to end.
        Stopping,
        /// It could not be had or started, and is tried again later.
        Failed,
        /// It does not run, and nothing of it is offered to the card.
        NotOffered,
    }
}

/// What a card's own agent tells of services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicesReport {
    /// Whether the agent could read what is offered to its card.
    pub asked: Reachability,
    /// Each service that it has something to do with.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceReport>,
}

/// What a card's own agent tells of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReport {
    /// Its name.
    #[schemars(length(max = 63))]
    pub service: String,
    /// How it is.
    pub state: ServiceState,
    /// Digest of what runs, as the agent itself hashed it.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Version of what runs, as it was offered.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Since when it is so.
    pub since: Time,
    /// How often it ended by itself since it was first started in this version by this agent.
    #[serde(default)]
    pub restarts: i64,
    /// A condition reason, where something is wrong.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is wrong, with the last words of what ended.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One service of a card, as people read it, and with `offered` as the card's own agent does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Name of the service; of an image that does not exist, the name that it is asked for by.
    #[schemars(length(max = 253))]
    pub service: String,
    /// The `DpuImage` that is wanted; absent once the service is not wanted any more.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_image: Option<String>,
    /// What the card may fetch and is to run: the wanted image once it is vetted, until then the one
    /// before it. Where there is none of a service that is wanted, the card's agent leaves what runs
    /// and starts nothing; a service that is not wanted it stops and removes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<OfferedService>,
    /// How it is, as the card's agent told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ServiceState>,
    /// Digest of what runs, as the card's agent hashed it.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_digest: Option<String>,
    /// Its version.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_version: Option<String>,
    /// Since when its state is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// How often it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i64>,
    /// What is awaited, refused or wrong.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
