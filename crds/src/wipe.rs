//! Wiping a card: what a person asks for, what goes to the card, and what became of each part.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bmc::{LocalRef, MachineIdentity};
use crate::open_enum::open_enum;

/// What a person wants wiped. Setting or changing it takes the verb `wipe` on `dpus`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WipeSpec {
    /// Any value. Each is carried out once at most, whatever becomes of it: another try needs
    /// another token.
    #[schemars(length(min = 1, max = 63))]
    pub token: String,
    /// The card, once more: `serialNumber` or `systemUuid` as they stand in `identity`. With
    /// anything else nothing is done.
    #[schemars(length(min = 1, max = 64))]
    pub confirm: String,
    /// The card is not booted to be wiped after this, which lies within the next 24 hours: what
    /// is applied once more from a repository or a backup wipes nothing.
    pub not_after: Time,
    /// The `DpuImage` of kind `Wiper` that carries it out.
    pub image_ref: LocalRef,
    /// The card has no disk. Without it a wiper that sees none has failed: its system may lack the driver.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub diskless: bool,
}

/// What the system of a `Wiper` image is told. Without it, it touches nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WipeOrder {
    /// `spec.wipe.token`.
    #[schemars(length(max = 63))]
    pub token: String,
    /// The machine that it must find itself on.
    pub identity: MachineIdentity,
}

open_enum! {
    /// What became of one part of a card.
    pub enum WipeResult {
        /// It was wiped, and read back.
        Wiped,
        /// It cannot be wiped from the card's own system, or is left on purpose; see the message.
        NotSupported,
        /// It was to be wiped, and may hold what it held.
        Failed,
    }
}

/// The part that stands for every disk where a wiper sees none, or cannot list them.
pub const NO_DISK: &str = "Disks";

/// One part of a card, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WipeItem {
    /// `Disk NAME`, `Disks`, `Tpm`, `BootEntries`, `SecureBootKeys`, `Bmc`, or `Machine` where nothing
    /// of it was touched.
    #[schemars(length(max = 64))]
    pub item: String,
    /// What became of it.
    pub result: WipeResult,
    /// How, or why not.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What the system of a `Wiper` image tells when it is through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WipeReport {
    /// The token of its order.
    #[schemars(length(max = 63))]
    pub token: String,
    /// Every part that it knows of.
    #[schemars(length(max = 32))]
    pub items: Vec<WipeItem>,
}

/// A wipe of a card, as far as it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WipeRecord {
    /// `spec.wipe.token`.
    #[schemars(length(max = 63))]
    pub token: String,
    /// When the card was powered on to be wiped. It is not again for this token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Time>,
    /// When its result was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// What became of each part, as the wiper tells.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<WipeItem>,
    /// `spec.wipe.notAfter`: until then this outlives the `Dpu`.
    pub not_after: Time,
    /// Tokens that were carried out before, the latest last.
    #[schemars(length(max = 16), inner(length(max = 63)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<String>,
}

impl WipeRecord {
    /// Whether everything that can be wiped was. A wiper that tells of nothing has wiped nothing.
    pub fn is_done(&self) -> bool {
        let good =
            |one: &WipeItem| matches!(one.result, WipeResult::Wiped | WipeResult::NotSupported);
        self.ended_at.is_some() && !self.items.is_empty() && self.items.iter().all(good)
    }
}
