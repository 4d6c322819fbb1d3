//! What a BMC writes: updates that were asked for, and what is written besides.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observed::Offer;
use crate::open_enum::open_enum;

open_enum! {
    /// What a BMC tells of an update. None of it proves that the image runs.
    pub enum UpdateState {
        /// It was (or may have been) asked for, and nothing is told of it yet.
        Asked,
        /// A task says that it goes on.
        Running,
        /// The task says that it went well, or the BMC shows the version as written.
        Ended,
        /// The task says that it went wrong.
        Failed,
        /// Nothing tells what became of it.
        Lost,
    }
}

/// Something that is written at a BMC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BusyReport {
    /// What, as it was first seen.
    #[schemars(length(max = 1024))]
    pub what: String,
    /// When it was first seen.
    pub since: Time,
}

/// An update that a card's BMC was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateReport {
    /// Digest of our image.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// By which way.
    pub method: crate::inventory::InstallMethod,
    /// When it was asked for.
    pub since: Time,
    /// What is told of it.
    pub state: UpdateState,
    /// How far it is as its task says, in steps of 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i64>,
    /// What the BMC says, or what is missing.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A component that the card's BMC may write, as its FirmwareInventory shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentReport {
    /// Its id there.
    #[schemars(length(max = 96))]
    pub name: String,
    /// The version that runs.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// Another version that is written and does not run yet.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// Whether the BMC fetches an image for it from the site's store.
    pub simple_update: Offer,
    /// Whether the BMC takes an image for it that is sent.
    pub multipart_push: Offer,
}

/// An update of a component that a card's BMC was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentUpdate {
    /// Number of the directive that asked for it.
    pub seq: i64,
    /// Id of the component.
    #[schemars(length(max = 96))]
    pub component: String,
    /// What is told of it.
    #[serde(flatten)]
    pub update: UpdateReport,
}
