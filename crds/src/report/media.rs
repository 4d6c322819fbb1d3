//! What a BMC's machine would boot: media, network and boot entries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observed::Offer;
use crate::open_enum::open_enum;

open_enum! {
    /// Whose URL a BMC holds. The URL itself is a capability and is not shown.
    pub enum MediaOwner {
        /// There is none.
        Nobody,
        /// An image served by this site's store.
        Lockstep,
        /// Somebody else's.
        Foreign,
    }
}

/// What a BMC holds to boot from: virtual media, or the URL for HTTP boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MediaReport {
    /// Whose it is.
    pub owner: MediaOwner,
    /// Digest of our image, when it is ours.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// The site's PXE service, as it is for one card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PxeReport {
    /// Whether the site's agent keeps one supplied.
    pub supplied: bool,
    /// Digest of the image that it offers to the card's firmware.
    #[schemars(length(max = 71))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The addresses to which it does.
    #[schemars(length(max = 8), inner(length(max = 17)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
}

/// What the firmware of a machine can boot, as its BMC lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootEntriesReport {
    /// Whether the BMC lists them.
    pub listed: Offer,
    /// The boot options.
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<BootEntryReport>,
    /// The boot order, by reference.
    #[schemars(length(max = 32), inner(length(max = 128)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
    /// The one to which the boot override in force leads, by reference.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One boot option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootEntryReport {
    /// By which the boot order names it: `BootOptionReference`.
    #[schemars(length(max = 128))]
    pub reference: String,
    /// Its `DisplayName`.
    #[schemars(length(max = 128))]
    pub name: String,
}
