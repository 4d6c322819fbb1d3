//! Looks at a host for the workers of its cards: what a card's power may take down is
//! looked at just before, too (S5, S12).
//!
//! A BMC is spoken to by its own worker only. So a card's worker asks, and the host's looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_crds::directive::HostExpects;
use lockstep_crds::observed::PowerState;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::site::judge::Refusal;

/// How long a look may be waited for: one call in progress, and one more.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What one look at a host showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance {
    /// When it began.
    pub at: Instant,
    /// uid of the host's object.
    pub uid: String,
    /// The power state; `None` if it could not be read, or another machine answered.
    pub power: Option<PowerState>,
}

/// Where a host's worker is asked to look, and tells what it saw.
#[derive(Debug, Default)]
pub struct Eye {
    asked: Notify,
    seen: watch::Sender<Option<Glance>>,
}

impl Eye {
    /// Waits until somebody asks. Who asked meanwhile counts.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Tells what was seen.
    pub fn tell(&self, glance: Glance) {
        self.seen.send_replace(Some(glance));
    }

    /// Has the host looked at now. `None` if nobody looks in time.
    async fn look(&self, within: Duration) -> Option<Glance> {
        let from = Instant::now();
        let mut seen = self.seen.subscribe();
        self.asked.notify_one();
        let is_new = |glance: &Option<Glance>| glance.as_ref().is_some_and(|one| one.at >= from);
        let new = tokio::time::timeout(within, seen.wait_for(is_new)).await;
        new.ok()?.ok()?.clone()
    }
}

/// The hosts of a site, by name of their objects.
#[derive(Clone, Debug, Default)]
pub struct Glances(Arc<Mutex<HashMap<String, Arc<Eye>>>>);

impl Glances {
    /// The eye of that host's worker, whether it runs or not.
    pub fn of(&self, host: &str) -> Arc<Eye> {
        // The map is only filled: a panic elsewhere cannot leave it wrong.
        let mut eyes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(eyes.entry(host.to_owned()).or_default())
    }

    /// Whether the host is now as the directive for one of its cards expects.
    pub async fn check(&self, expects: &HostExpects, within: Duration) -> Result<(), Refusal> {
        let seen = self.of(&expects.name).look(within).await;
        let power = seen
            .filter(|seen| seen.uid == expects.uid)
            .and_then(|seen| seen.power);
        match power {
            Some(power) if power == expects.power => Ok(()),
            Some(power) => Err(Refusal::new(
                "HostPowerUnexpected",
                format!(
                    "nothing was sent, because the host {} is {power}, and {} was expected; the operator plans anew from what is seen",
                    expects.name, expects.power
                ),
            )),
            None => Err(Refusal::new(
                "HostNotSeen",
                format!(
                    "nothing was sent, because the host {} could not be looked at just before; see its report",
                    expects.name
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expects(power: PowerState) -> HostExpects {
        HostExpects {
            name: "h".to_owned(),
            uid: "uid-h".to_owned(),
            power,
        }
    }

    fn glance(at: Instant, uid: &str, power: Option<PowerState>) -> Glance {
        Glance {
            at,
            uid: uid.to_owned(),
            power,
        }
    }

    /// A host's worker that looks whenever it is asked, and sees this.
    fn worker(glances: &Glances, uid: &'static str, power: Option<PowerState>) {
        let eye = glances.of("h");
        tokio::spawn(async move {
            loop {
                eye.asked().await;
                eye.tell(glance(Instant::now(), uid, power.clone()));
            }
        });
    }

    #[tokio::test]
    async fn what_is_seen_now_decides() {
        for (uid, power, reason) in [
            ("uid-h", Some(PowerState::Off), None),
            ("uid-h", Some(PowerState::On), Some("HostPowerUnexpected")),
            ("uid-h", None, Some("HostNotSeen")),
            ("uid-of-another", Some(PowerState::Off), Some("HostNotSeen")),
        ] {
            let glances = Glances::default();
            worker(&glances, uid, power);
            let checked = glances.check(&expects(PowerState::Off), PATIENCE).await;
            assert_eq!(checked.err().map(|why| why.reason).as_deref(), reason);
        }
    }

    #[tokio::test]
    async fn an_earlier_look_does_not_count() {
        let glances = Glances::default();
        let eye = glances.of("h");
        eye.tell(glance(Instant::now(), "uid-h", Some(PowerState::Off)));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let checked = glances
            .check(&expects(PowerState::Off), Duration::from_millis(50))
            .await;
        assert_eq!(checked.unwrap_err().reason, "HostNotSeen");
        // Who asked in vain is served by the next one who listens.
        tokio::time::timeout(Duration::from_secs(1), eye.asked())
            .await
            .unwrap();
    }
}
