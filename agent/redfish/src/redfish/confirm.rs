//! Looking for an accepted change.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::Turn;
use crate::effect::Confirmation;
use crate::error::BmcError;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Reads `path` until `seen` finds the change, or the time to look is over.
/// A failed read is no news: the change was accepted all the same.
pub(super) async fn look_for(
    turn: &mut Turn<'_>,
    path: &str,
    seen: impl Fn(&Value) -> Option<Confirmation> + Send + Sync,
) -> Confirmation {
    let until = turn.deadline.min(Instant::now() + turn.confirm_window);
    let mut pause = FIRST_PAUSE;
    loop {
        match turn.link.get(path, until).await {
            Ok(document) => {
                if let Some(confirmation) = seen(&document) {
                    return confirmation;
                }
            }
            Err(error) => {
                tracing::debug!(bmc = turn.link.origin(), %error, "reading back failed");
                if matches!(error, BmcError::CredentialsRefused { .. }) {
                    // Every further read would be another refusal on the account.
                    return Confirmation::NotSeen;
                }
            }
        }
        let next = Instant::now() + pause;
        if next >= until {
            return Confirmation::NotSeen;
        }
        sleep_until(next).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}
