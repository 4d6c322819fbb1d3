//! BMCs that a search has found.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;

open_enum! {
    /// What a BMC stands for.
    pub enum MachineRole {
        /// A card.
        Card,
        /// A host.
        Host,
        /// It shows nothing that tells.
        Unclear,
    }
}

/// A BMC that was found by looking for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundBmc {
    /// What it stands for.
    pub role: MachineRole,
    /// What tells so, such as `SystemType DPU` or `Model BlueField-3 DPU`.
    #[schemars(length(max = 256))]
    pub recognised_by: String,
    /// The site whose agent found it; a proposed object belongs to it.
    #[schemars(length(max = 50))]
    #[serde(default)]
    pub site: String,
    /// How it was reached; a proposed object takes this over.
    pub endpoint: FoundEndpoint,
    /// How it was found: `list`, `range 10.0.0.0/24`, `lease 52:54:00:12:34:56`.
    #[schemars(length(max = 4), inner(length(max = 64)))]
    pub sources: Vec<String>,
    /// Other addresses at which the same BMC answers, with the same key.
    #[schemars(length(max = 4), inner(length(max = 255)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_at: Vec<String>,
    /// Since when it was not found any more; the report stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Time>,
}

open_enum! {
    /// The values of `TlsTrust`, as an agent reports them.
    pub enum FoundTrust {
        /// The certificate chains to the site's bundle and names the address.
        Ca,
        /// The key is the one that was seen first.
        PinnedKey,
        /// Encrypted, but nobody checks by whom.
        NoVerification,
        /// Not even encrypted.
        PlainHttp,
    }
}

/// How a BMC that was found is reached: what `spec.bmc` of its object will say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundEndpoint {
    /// Base URL of the Redfish service.
    #[schemars(length(max = 255))]
    pub address: String,
    /// Path of the ComputerSystem, where the BMC serves several.
    #[schemars(length(max = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_path: Option<String>,
    /// The Secret of the range that it was found in.
    #[schemars(length(max = 253))]
    pub credentials: String,
    /// What the trust in the channel rests on.
    pub trust: FoundTrust,
    /// The ConfigMap with the bundle, for `Ca`.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map: Option<String>,
    /// SHA-256 of the public key, in lower-case hex, for `PinnedKey`.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_key_sha256: Option<String>,
    /// SHA-256 of the public key that it showed when it was read, in lower-case hex, whatever the
    /// trust rests on: by it the same BMC is known at another address. Absent without TLS.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_key_sha256: Option<String>,
}

/// The search for BMCs of one site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScanReport {
    /// Endpoints that were identified and are told of in reports of their own.
    pub identified: i64,
    /// Addresses of ranges where nothing listens.
    pub silent: i64,
    /// Endpoints that are listed, leased, or answered, and could not be identified.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedEndpoint>,
    /// How many of those are left out.
    #[serde(default)]
    pub omitted: i64,
}

/// An endpoint that could not be identified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedEndpoint {
    /// Its URL.
    #[schemars(length(max = 255))]
    pub address: String,
    /// How it came to be looked at.
    #[schemars(length(max = 64))]
    pub source: String,
    /// A condition reason, such as `Unreachable`, `NoAnswer`, `NotRedfish`, `CredentialsRefused`,
    /// `CredentialsNotAllowed`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What happened and what helps.
    #[schemars(length(max = 256))]
    pub message: String,
}
