//! CA bundles that may be renewed while the agent runs, as a mounted ConfigMap is.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lockstep_store::Store;
use tokio_util::sync::CancellationToken;

use crate::kube_client::{ClientError, read_bundle, trusted_bundle};

/// Between looks at a bundle that is in use all the time.
const CHECK: Duration = Duration::from_secs(10);

/// A CA bundle, as PEM.
#[derive(Debug)]
pub struct Bundle {
    /// Where it is read again; none if it came from elsewhere.
    file: Option<PathBuf>,
    last: Mutex<String>,
}

impl Bundle {
    /// That of a file.
    ///
    /// # Errors
    /// If there is none.
    pub fn of_file(file: PathBuf) -> Result<Self, ClientError> {
        let last = Mutex::new(read_bundle(&file)?);
        let file = Some(file);
        Ok(Self { file, last })
    }

    /// That by which the API server is trusted; the one of a ServiceAccount is in a file.
    ///
    /// # Errors
    /// If there is none.
    pub fn of_kubeconfig(config: &kube::Config) -> Result<Self, ClientError> {
        let last = Mutex::new(trusted_bundle(config)?);
        let file = config.root_cert_file.clone();
        Ok(Self { file, last })
    }

    /// One that stays as it is.
    #[cfg(test)]
    pub(crate) fn fixed(pem: &str) -> Self {
        Self {
            file: None,
            last: Mutex::new(pem.to_owned()),
        }
    }

    /// What is in the file now; the last good one while that cannot be used.
    pub fn current(&self) -> String {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.file.as_deref().map(read_bundle) {
            None => {}
            Some(Ok(now)) if now == *last => {}
            Some(Ok(now)) => {
                tracing::info!(file = ?self.file, "CA bundle renewed");
                *last = now;
            }
            Some(Err(error)) => tracing::error!("the former CA bundle stays in use: {error}"),
        }
        last.clone()
    }
}

/// Has the store trust what is in the bundle, which it trusts already as it was opened.
pub(super) async fn keep_trusted(bundle: Bundle, store: Store, ending: CancellationToken) {
    let mut trusted = bundle
        .last
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            () = tokio::time::sleep(CHECK) => {}
        }
        let now = bundle.current();
        if now == trusted {
            continue;
        }
        match store.trust(now.as_bytes()) {
            Ok(()) => trusted = now,
            Err(error) => {
                tracing::error!(
                    "the former store.caFile stays in use, and this one is tried again: {error}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_store::StoreConfig;

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn what_is_in_the_file_counts_unless_it_is_no_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.crt");
        let (first, second) = (authority(), authority());
        std::fs::write(&file, &first).unwrap();
        let bundle = Bundle::of_file(file.clone()).unwrap();
        assert_eq!(bundle.current(), first);
        std::fs::write(&file, "half").unwrap();
        assert_eq!(bundle.current(), first);
        std::fs::write(&file, &second).unwrap();
        assert_eq!(bundle.current(), second);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(bundle.current(), second);
        assert!(Bundle::of_file(file).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_trusts_a_renewed_bundle() {
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.crt");
        std::fs::write(&file, authority()).unwrap();
        let bundle = Bundle::of_file(file.clone()).unwrap();
        let store = Store::open(StoreConfig::new(dir.path().join("store"), 1000)).unwrap();
        let mut trusts = store.trusts();
        std::fs::write(&file, authority()).unwrap();
        let ending = CancellationToken::new();
        let keeping = tokio::spawn(keep_trusted(bundle, store, ending.clone()));
        tokio::time::timeout(2 * CHECK, trusts.changed())
            .await
            .unwrap()
            .unwrap();
        ending.cancel();
        keeping.await.unwrap();
    }
}
