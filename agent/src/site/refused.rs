//! Which credentials BMCs refused, on disk: an agent that is restarted again
//! and again must not lock an account that one process would have spared.

use std::path::{Path, PathBuf};

use lockstep_redfish::Refusals;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::durable;

/// The file that they are kept in; nothing in it opens a BMC.
pub(super) struct RefusedCredentials(PathBuf);

impl RefusedCredentials {
    pub(super) fn open(state_dir: &Path) -> Self {
        Self(state_dir.join("refused-credentials.json"))
    }

    /// What the last process kept. Without it each value is tried anew, which
    /// is better than none at all.
    pub(super) fn read(&self) -> Refusals {
        durable::read(&self.0)
            .unwrap_or_else(|error| {
                tracing::error!("refused credentials are tried again: {error}");
                None
            })
            .unwrap_or_default()
    }

    /// Keeps every change until `ending`.
    pub(super) async fn keep(
        self,
        mut refusals: watch::Receiver<Refusals>,
        ending: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                changed = refusals.changed() => if changed.is_err() { return },
            }
            let now = refusals.borrow_and_update().clone();
            if let Err(error) = durable::write(&self.0, &now) {
                tracing::error!("refused credentials are not kept: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_change_is_kept_and_what_is_garbled_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("refused-credentials.json");
        std::fs::write(&path, "{").unwrap();
        let first = RefusedCredentials::open(dir.path());
        let (news, refusals) = watch::channel(first.read());
        let ending = CancellationToken::new();
        let keeper = tokio::spawn(first.keep(refusals, ending.clone()));
        let told = serde_json::json!({"salt": "ab", "targets": {
            "https://192.0.2.1": [{"value": "cd", "tries": 2}],
        }});
        news.send_replace(serde_json::from_value(told.clone()).unwrap());
        for _ in 0..1000 {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.contains("192.0.2.1") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let kept = RefusedCredentials::open(dir.path()).read();
        assert_eq!(serde_json::to_value(kept).unwrap(), told);
        ending.cancel();
        keeper.await.unwrap();
    }
}
