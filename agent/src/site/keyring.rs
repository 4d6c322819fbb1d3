//! The Secrets that an image names, and which account each of its sources gets.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use lockstep_store::ImageSource;

use crate::site::judge::Refusal;
use crate::site::pull_secret::{self, PullSecret};
use crate::site::target::{NOT_ANSWERED, TargetError};
use crate::site::wanted::WantedSource;

/// Between looks at the Secrets of an image whose accounts were refused, or that lacks one.
const SECRET_CHECK: Duration = Duration::from_secs(30);
/// Reason of a Secret of which nothing is known.
const NOT_READ: &str = "SecretNotRead";

/// The Secrets that an image names, as they were read last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keyring(BTreeMap<String, Result<PullSecret, Refusal>>);

impl Keyring {
    /// Reads what these sources need.
    pub(super) async fn read(client: &Client, namespace: &str, sources: &[WantedSource]) -> Self {
        let mut secrets = BTreeMap::new();
        for name in sources.iter().filter_map(|each| each.pull_secret.as_ref()) {
            if secrets.contains_key(name) {
                continue;
            }
            let read = pull_secret::read(client, namespace, name).await;
            let secret = read.map_err(|error| match error {
                TargetError::Unusable(refusal) => refusal,
                TargetError::NotTold(why) if why.reason != NOT_ANSWERED => why,
                TargetError::NotTold(why) => Refusal::new(NOT_READ, why.message),
            });
            secrets.insert(name.clone(), secret);
        }
        Self(secrets)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns once a Secret is another one than it was.
    pub(super) async fn changed(&self, client: &Client, namespace: &str, sources: &[WantedSource]) {
        loop {
            tokio::time::sleep(SECRET_CHECK).await;
            let now = Self::read(client, namespace, sources).await;
            let not_read = |secret: &Result<PullSecret, Refusal>| matches!(secret, Err(refusal) if refusal.reason == NOT_READ);
            if now != *self && !now.0.values().any(not_read) {
                return;
            }
        }
    }

    /// The source with its accounts, unless its Secret cannot be used.
    pub(super) fn open(&self, source: &WantedSource) -> Result<ImageSource, Refusal> {
        let place = source.place.clone();
        let secret = source.pull_secret.as_ref();
        match secret.and_then(|name| self.0.get(name)) {
            None => Ok(place.into()),
            Some(Ok(secret)) => Ok(ImageSource {
                place,
                accounts: secret.accounts.clone(),
            }),
            Some(Err(refusal)) => Err(refusal.clone()),
        }
    }
}
