//! What is said to the process and what it answers: one line of JSON each, in
//! order. It ends when nobody can speak to it any more.

use lockstep_store::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
pub enum Order {
    /// Have an image in the store.
    Fetch {
        /// Its sha256.
        digest: Digest,
        /// Its size, if it is known beforehand.
        size: Option<u64>,
        /// Where it may come from, in order: http(s) URLs, and artefacts as `oci://…`.
        sources: Vec<String>,
        /// Accounts for them, as in a docker configuration.
        accounts: Option<Value>,
    },
    /// Tell what cosign has put beside an artefact.
    Cosigned {
        /// The image's sha256.
        digest: Digest,
        /// The artefact, as `oci://…`.
        source: String,
        /// Accounts for it, as in a docker configuration.
        accounts: Option<Value>,
    },
    /// Let a card read an image.
    Grant {
        /// Which.
        digest: Digest,
        /// Who.
        card: String,
    },
    /// End what a card was granted.
    Revoke {
        /// Who.
        card: String,
    },
    /// Tell what the store holds.
    Status,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "answer")]
pub enum Answer {
    /// The store is open, and images are served here.
    Serves {
        /// The port on loopback.
        port: u16,
    },
    /// The image is in the store.
    Stored {
        /// Its size.
        size: u64,
    },
    /// An artefact and its signatures, as the registry gave them out.
    Beside {
        /// The manifest that is signed, and the one in it if that is an index.
        manifests: Vec<String>,
        /// Documents, each with its signature if that is no part of it.
        signatures: Vec<(String, Option<String>)>,
    },
    /// The card reads the image under this path.
    Granted {
        /// Below the address of the server.
        path: String,
    },
    /// The grants of the card are void.
    Revoked,
    /// What the store holds.
    Holds {
        /// Bytes of images.
        images: u64,
        /// Bytes of downloads, with what is reserved for the running ones.
        partials: u64,
    },
    /// It cannot be done.
    Failed {
        /// The bounded word for it.
        category: String,
        /// The whole of it.
        message: String,
    },
}
