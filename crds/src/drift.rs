//! What a card runs that nobody asked Lockstep for, in the place of what it was seen to run as wanted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of the card's operating system in `drift`; whatever else stands there is a component.
pub const SYSTEM: &str = "system";

/// One thing that runs in the place of what was seen to run as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// `system`, or the component as in `components`.
    #[schemars(length(max = 96))]
    pub what: String,
    /// The version that was seen to run last; of a system as its installer stamped it.
    #[schemars(length(max = 128))]
    pub version: String,
    /// Digest of the image that runs; of a system alone.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The version that was seen to run there as wanted.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_version: Option<String>,
    /// Digest of the image that was.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_digest: Option<String>,
    /// Since when something else than what is wanted was seen, whichever it was.
    pub since: Time,
    /// The boot in which that system was seen last, as long as a repair may begin.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_epoch: Option<String>,
    /// Since when that system was seen in that boot, as long as a repair may begin: it cannot have been another
    /// one meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steady_since: Option<Time>,
}

impl Drift {
    /// Whether it is the card's operating system.
    pub fn is_system(&self) -> bool {
        self.digest.is_some()
    }
}

/// What becomes of a card that runs something else than it was seen to run as wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDrift {
    /// It is shown, and a person decides.
    #[default]
    Show,
    /// Its operating system is installed again as if by another `retryToken`, twice at most for one image and
    /// `retryToken`: once another one has run for ten minutes, and only if the install can begin at once.
    /// Firmware, and what a card boots from the network every time, are shown only.
    Repair,
}

/// How often the wanted image was put back after a drift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftRepairs {
    /// Digest of that image.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// `spec.retryToken` for which `begun` counts.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_token: Option<String>,
    /// How often it was begun.
    pub begun: i64,
    /// When that was the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Time>,
}
