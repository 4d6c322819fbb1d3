//! What the store saw of a BMC that was to fetch an image.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;

open_enum! {
    /// What the site's store has seen of whoever was given the URL of an image and does not get it.
    pub enum FetchState {
        /// Nobody has asked for that URL or connected from the address of the BMC.
        NotReached,
        /// The address of the BMC has more connections than the store takes from one.
        TooManyConnections,
        /// It connected from the address of the BMC, and asked for nothing.
        NotAsked,
        /// From the address of the BMC the store's certificate was refused.
        NotTrusted,
        /// The same, as out of date.
        NotInDate,
        /// From the address of the BMC something else is spoken than the store speaks.
        ProtocolDiffers,
        /// What was asked for is not what the URL names, or not any more, or in another way than by
        /// GET or HEAD.
        UrlRefused,
        /// The length was asked for, and no byte.
        LengthOnly,
        /// Bytes were asked for that the image does not have.
        RangeRefused,
        /// The connection ended before all was sent that was asked for.
        CutShort,
        /// The store could not read the image.
        StoreFailed,
    }
}

/// What keeps somebody from one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FetchReport {
    /// Digest of the image.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// What was seen.
    pub state: FetchState,
    /// What there is to add, such as an address, a status or a number of bytes.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
