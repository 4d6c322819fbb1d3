//! The seed: what a card's agent is told, laid over the image while it is served.

use std::fmt;
use std::path::{Path, PathBuf};

use lockstep_crds::wipe::WipeOrder;
use serde::{Deserialize, Serialize};

/// Written by the site agent for one card and image, read by that card's agent.
/// Fields are only ever added: agents are as old as the image on their card.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seed {
    /// The API server's URL.
    pub api_server: String,
    /// PEM bundle that signs it.
    pub ca: String,
    /// Namespace of the card's objects.
    pub namespace: String,
    /// Name of the `Dpu`.
    pub dpu: String,
    /// uid of the `Dpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpu_uid: Option<String>,
    /// Bearer token of the card's ServiceAccount. A secret.
    pub token: String,
    /// Version of the image that carries this seed.
    pub image_version: String,
    /// Digest of the image that carries this seed.
    pub image_digest: String,
    /// The site's store, where services on this card are turned on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreSeed>,
    /// What a `Wiper` image is ordered to wipe; without it, it touches nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<WipeOrder>,
}

/// How a card's agent reaches the site's store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreSeed {
    /// Its URL.
    pub url: String,
    /// PEM bundle that signs it; without it no https URL can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Bearer token of the card's ServiceAccount that the store alone takes. A secret.
    pub token: String,
}

impl fmt::Debug for StoreSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSeed")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seed")
            .field("api_server", &self.api_server)
            .field("namespace", &self.namespace)
            .field("dpu", &self.dpu)
            .field("image_version", &self.image_version)
            .field("image_digest", &self.image_digest)
            .finish_non_exhaustive()
    }
}

/// The seed cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("seed {path}: {reason}; install the card again, so that it gets a new seed")]
pub struct SeedError {
    path: PathBuf,
    reason: String,
}

impl Seed {
    /// Reads a seed file; spaces that pad it are fine.
    pub fn load(path: &Path) -> Result<Self, SeedError> {
        let failed = |reason: String| SeedError {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        // The parser's own message could quote the token.
        serde_json::from_str(&text).map_err(|error| {
            failed(format!(
                "not a seed (line {}, column {})",
                error.line(),
                error.column()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> Seed {
        Seed {
            api_server: "https://10.0.0.1:6443".to_owned(),
            ca: "PEM".to_owned(),
            namespace: "site".to_owned(),
            dpu: "card1".to_owned(),
            dpu_uid: None,
            token: "very-secret".to_owned(),
            image_version: "1".to_owned(),
            image_digest: "sha256:00".to_owned(),
            store: Some(StoreSeed {
                url: "http://10.0.0.2:8080".to_owned(),
                ca: None,
                token: "very-secret".to_owned(),
            }),
            wipe: None,
        }
    }

    #[test]
    fn a_padded_seed_with_unknown_fields_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.json");
        let mut text = serde_json::to_string(&seed()).unwrap();
        text.insert_str(1, r#""newer":1,"#);
        text.push_str("     \n");
        std::fs::write(&path, text).unwrap();
        assert_eq!(Seed::load(&path).unwrap(), seed());
    }

    #[test]
    fn neither_debug_nor_errors_show_the_token() {
        assert!(!format!("{:?}", seed()).contains("very-secret"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed.json");
        std::fs::write(&path, r#"{"token":"very-secret","dpu":7}"#).unwrap();
        let error = Seed::load(&path).unwrap_err().to_string();
        assert!(!error.contains("very-secret"), "{error}");
    }
}
