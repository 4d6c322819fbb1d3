//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Looks every `interval` until `look` gives something; fails after `deadline`.
pub(crate) async fn eventually<T>(
    what: &str,
    deadline: Duration,
    interval: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {} s", deadline.as_secs());
        }
        tokio::time::sleep(interval).await;
    }
}
