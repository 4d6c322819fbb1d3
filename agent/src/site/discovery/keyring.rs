//! Secrets and CA bundles of the ways in, read by name, as for every BMC.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;
use lockstep_redfish::{Credentials, TlsTrust};

use crate::config::FirstTrust;
use crate::site::discovery::territory::Access;
use crate::site::judge::Refusal;
use crate::site::target::{NOT_ANSWERED, TargetError, read_bundle, read_credentials};

/// What one way in takes.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The account, and what changes whenever it does.
    pub(super) credentials: Result<(Credentials, String), Refusal>,
    /// The trust in which an endpoint is identified.
    pub(super) tls: Result<TlsTrust, Refusal>,
    /// Whether the API server told it. If not, what it told before counts.
    pub(super) told: bool,
}

impl Keys {
    fn not_told(why: Refusal) -> Self {
        Self {
            credentials: Err(why.clone()),
            tls: Err(why),
            told: false,
        }
    }

    /// Whether the API server gave an answer, if only that it may not tell.
    fn is_answered(&self) -> bool {
        !matches!(&self.credentials, Err(why) if why.reason == NOT_ANSWERED)
    }

    /// What changes whenever anything of it does.
    fn version(&self) -> (Option<&str>, Option<&TlsTrust>) {
        let credentials = self.credentials.as_ref().ok();
        (
            credentials.map(|(_, version)| version.as_str()),
            self.tls.as_ref().ok(),
        )
    }
}

/// What was read of every way in.
pub(super) type Found = BTreeMap<Arc<Access>, Keys>;

/// The keys of every way in.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    keys: Found,
}

impl Keyring {
    pub(super) fn get(&self, access: &Arc<Access>) -> Option<&Keys> {
        self.keys.get(access)
    }

    /// Whether the API server has answered for every way in that it was asked for.
    pub(super) fn is_answered(&self) -> bool {
        self.keys.values().all(Keys::is_answered)
    }

    /// Takes in what was read, and tells what changed.
    pub(super) fn take(&mut self, found: Found) -> Vec<Arc<Access>> {
        let mut changed = Vec::new();
        for (access, keys) in found {
            let before = self.keys.get(&access);
            if !keys.told && before.is_some_and(|before| before.told) {
                continue;
            }
            if before.is_none_or(|before| before.version() != keys.version()) {
                changed.push(Arc::clone(&access));
            }
            self.keys.insert(access, keys);
        }
        changed
    }
}

/// Reads the keys of these ways in.
pub(super) async fn read(client: &Client, namespace: &str, accesses: &[Arc<Access>]) -> Found {
    let mut found = Found::new();
    for access in accesses {
        let keys = keys(client, namespace, access).await.unwrap_or_else(|why| {
            tracing::warn!("credentials for discovery are not read: {}", why.message);
            Keys::not_told(why)
        });
        found.insert(Arc::clone(access), keys);
    }
    found
}

async fn keys(client: &Client, namespace: &str, access: &Access) -> Result<Keys, Refusal> {
    let credentials = answered(read_credentials(client, namespace, &access.credentials).await)?;
    let tls = match access.trust {
        FirstTrust::PlainHttp => Ok(TlsTrust::PlainHttp),
        // Nothing secret is sent before the key is judged.
        FirstTrust::PinFirstSeen | FirstTrust::NoVerification => Ok(TlsTrust::NoVerification),
        FirstTrust::Ca => {
            let name = access.ca.as_deref().unwrap_or_default();
            answered(read_bundle(client, namespace, name).await)?
                .map(|(bundle, _)| TlsTrust::CaBundle(bundle))
        }
    };
    Ok(Keys {
        credentials,
        tls,
        told: true,
    })
}

fn answered<T>(result: Result<T, TargetError>) -> Result<Result<T, Refusal>, Refusal> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(TargetError::Unusable(refusal)) => Ok(Err(refusal)),
        Err(TargetError::NotTold(why)) => Err(why),
    }
}
