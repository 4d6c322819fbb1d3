//! Waiting for a condition, never for a length of time.
//!
//! [`eventually`] looks again and again until the condition holds, is known to be
//! out of reach, or the deadline passes. The error names what was awaited and what
//! was seen last, so that a failed wait can be understood without a second run.

use std::time::Duration;

use tokio::time::Instant;

/// Pause between two looks. Short enough not to be felt, long enough not to load the apiserver.
const PAUSE: Duration = Duration::from_millis(100);

/// What one look at the awaited condition found.
#[derive(Debug)]
pub enum Look<T> {
    /// The condition holds, with what the caller wanted from it.
    Holds(T),
    /// Not yet; the text says what was seen instead.
    NotYet(String),
    /// It will never hold (the process is gone, the object was refused): waiting on is useless.
    Never(anyhow::Error),
}

impl<T> Look<T> {
    /// `NotYet` with any displayable observation.
    pub fn not_yet(seen: impl std::fmt::Display) -> Self {
        Self::NotYet(seen.to_string())
    }
}

/// A wait that ended without its condition.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed.
    #[error("{what} did not happen within {deadline:?}; last seen: {last}")]
    Overdue {
        /// What was awaited.
        what: String,
        /// How long was waited.
        deadline: Duration,
        /// The last observation.
        last: String,
    },
    /// A look found that waiting is useless.
    #[error("{what} cannot happen any more: {cause:#}")]
    OutOfReach {
        /// What was awaited.
        what: String,
        /// Why it is out of reach.
        cause: anyhow::Error,
    },
}

/// Looks until the condition holds, at most for `deadline`; a look that hangs counts as time.
///
/// # Errors
/// [`WaitError::Overdue`] after the deadline, [`WaitError::OutOfReach`] as soon as a look says [`Look::Never`].
pub async fn eventually<T>(
    deadline: Duration,
    what: impl Into<String>,
    mut look: impl AsyncFnMut() -> Look<T>,
) -> Result<T, WaitError> {
    let what = what.into();
    let end = Instant::now() + deadline;
    let mut last = "nothing yet".to_owned();
    loop {
        match tokio::time::timeout_at(end, look()).await {
            Ok(Look::Holds(value)) => return Ok(value),
            Ok(Look::NotYet(seen)) => last = seen,
            Ok(Look::Never(cause)) => return Err(WaitError::OutOfReach { what, cause }),
            Err(_elapsed) => {
                last = format!("{last} (and the look after that gave no answer)");
                return Err(WaitError::Overdue {
                    what,
                    deadline,
                    last,
                });
            }
        }
        if Instant::now() + PAUSE >= end {
            return Err(WaitError::Overdue {
                what,
                deadline,
                last,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_gives_its_value() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(5), "three looks", async || {
            looks += 1;
            if looks == 3 {
                Look::Holds(looks)
            } else {
                Look::not_yet(looks)
            }
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }

    #[tokio::test]
    async fn the_error_names_what_was_awaited_and_what_was_seen() {
        let error = eventually::<()>(Duration::from_millis(150), "the card's Lease", async || {
            Look::not_yet("404 Not Found")
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(error.contains("the card's Lease"), "{error}");
        assert!(error.contains("404 Not Found"), "{error}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_outlast_the_deadline() {
        let error = eventually::<()>(Duration::from_millis(100), "an answer", async || {
            std::future::pending().await
        })
        .await
        .unwrap_err();
        assert!(matches!(error, WaitError::Overdue { .. }));
    }

    #[tokio::test]
    async fn out_of_reach_ends_the_wait_at_once() {
        let error = eventually::<()>(Duration::from_secs(600), "etcd", async || {
            Look::Never(anyhow::anyhow!("the process ended with status 1"))
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(error.contains("status 1"), "{error}");
    }
}
