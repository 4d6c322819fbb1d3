//! Looks at a machine for others: what a card's power may take down is looked at just before, too
//! (S5, S12), and so is a card that its host is about to reset (S1).
//!
//! A BMC is spoken to by its own worker only. So others ask, and that worker looks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_crds::directive::HostExpects;
use lockstep_crds::observed::PowerState;
use lockstep_redfish::{BmcFacts, UpdateFacts};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::site::judge::Refusal;
use crate::site::machine::{MachineKey, MachineKind};

/// How long a look may be waited for: one call in progress, and one more.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What one look at a machine showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Glance {
    /// When it began.
    pub at: Instant,
    /// uid of the machine's object.
    pub uid: String,
    /// The power state; `None` if it could not be read, or another machine answered.
    pub power: Option<PowerState>,
    /// All that was read, where somebody asked what goes on there; whoever judges by it looks which
    /// machine has answered. `None` if it was not read.
    pub facts: Option<Arc<BmcFacts>>,
    /// What goes on there, where somebody asked for it; `None` if that was not read.
    pub updates: Option<Arc<UpdateFacts>>,
}

/// Where a worker is asked to look, and tells what it saw.
#[derive(Debug, Default)]
pub struct Eye {
    asked: Notify,
    /// Whether tasks are to be read too.
    wants_updates: AtomicBool,
    /// Whether a worker looks when it is asked.
    attended: AtomicBool,
    seen: watch::Sender<Option<Glance>>,
}

/// For as long as a worker looks when it is asked.
#[derive(Debug)]
pub struct Attending(Arc<Eye>);

impl Drop for Attending {
    fn drop(&mut self) {
        self.0.attended.store(false, Ordering::Relaxed);
    }
}

impl Eye {
    /// A worker looks from now on.
    pub fn attend(self: &Arc<Self>) -> Attending {
        self.attended.store(true, Ordering::Relaxed);
        Attending(Arc::clone(self))
    }

    /// Waits until somebody asks. Who asked meanwhile counts.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Whether somebody wants to know what goes on at the BMC; who asks again is told again. To be
    /// asked before a look begins: who asks later is not answered by it.
    pub fn is_asked_for_updates(&self) -> bool {
        self.wants_updates.swap(false, Ordering::Relaxed)
    }

    /// Tells what was seen.
    pub fn tell(&self, glance: Glance) {
        self.seen.send_replace(Some(glance));
    }

    /// Has the machine looked at now. `None` if nobody looks in time.
    async fn look(&self, within: Duration, at_updates: bool) -> Option<Glance> {
        let from = Instant::now();
        let mut seen = self.seen.subscribe();
        self.wants_updates.fetch_or(at_updates, Ordering::Relaxed);
        self.asked.notify_one();
        let is_new = |glance: &Option<Glance>| {
            let mut glance = glance.iter();
            glance.any(|one| one.at >= from && (!at_updates || one.updates.is_some()))
        };
        let new = tokio::time::timeout(within, seen.wait_for(is_new)).await;
        new.ok()?.ok()?.clone()
    }
}

/// The machines of a site.
#[derive(Clone, Debug, Default)]
pub struct Glances(Arc<Mutex<HashMap<MachineKey, Arc<Eye>>>>);

fn host(expects: &HostExpects) -> MachineKey {
    MachineKey {
        kind: MachineKind::Host,
        name: expects.name.clone(),
    }
}

impl Glances {
    /// The eye of that machine's worker, whether it runs or not.
    pub fn of(&self, machine: &MachineKey) -> Arc<Eye> {
        // The map is only filled: a panic elsewhere cannot leave it wrong.
        let mut eyes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(eyes.entry(machine.clone()).or_default())
    }

    /// Whether the host is now as the directive for one of its cards expects.
    pub async fn check(&self, expects: &HostExpects, within: Duration) -> Result<(), Refusal> {
        let seen = self.of(&host(expects)).look(within, false).await;
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

    /// What goes on at the BMC of a host, read now.
    pub async fn updates(
        &self,
        expects: &HostExpects,
        within: Duration,
    ) -> Result<Arc<UpdateFacts>, Refusal> {
        self.updates_of(&host(expects), &expects.uid, within).await
    }

    /// The same for a host of which nothing else is expected.
    pub async fn updates_of(
        &self,
        host: &MachineKey,
        uid: &str,
        within: Duration,
    ) -> Result<Arc<UpdateFacts>, Refusal> {
        let seen = self.of(host).look(within, true).await;
        let updates = seen
            .filter(|seen| seen.uid == uid)
            .and_then(|seen| seen.updates);
        updates.ok_or_else(|| {
            Refusal::new(
                "HostNotSeen",
                format!(
                    "the tasks of the BMC of host {} could not be read; see its report",
                    host.name
                ),
            )
        })
    }

    /// What goes on at the BMC of a card, if this agent looks after it.
    pub async fn beside(
        &self,
        card: &str,
        within: Duration,
    ) -> Option<Result<Arc<UpdateFacts>, Refusal>> {
        let key = MachineKey {
            kind: MachineKind::Card,
            name: card.to_owned(),
        };
        let eye = self.of(&key);
        if !eye.attended.load(Ordering::Relaxed) {
            return None;
        }
        let seen = eye.look(within, true).await;
        let updates = seen.and_then(|seen| seen.updates);
        Some(updates.ok_or_else(|| {
            Refusal::new(
                "CardNotSeen",
                format!(
                    "nothing was sent: the tasks of the BMC of card {card}, which shares the host's fate, could not be read; see its report"
                ),
            )
        }))
    }

    /// All that a card's BMC shows now, and what goes on there.
    pub async fn card(
        &self,
        name: &str,
        uid: &str,
        within: Duration,
    ) -> Result<(Arc<BmcFacts>, Arc<UpdateFacts>), Refusal> {
        let card = MachineKey {
            kind: MachineKind::Card,
            name: name.to_owned(),
        };
        let seen = self.of(&card).look(within, true).await;
        let seen = seen.filter(|seen| seen.uid == uid);
        seen.and_then(|seen| seen.facts.zip(seen.updates))
            .ok_or_else(|| {
                Refusal::new(
                    "FactsNotRead",
                    format!(
                        "the BMC of card {name} could not be looked at just before; see its report"
                    ),
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use lockstep_redfish::Reading;

    use super::*;

    fn expects(power: PowerState) -> HostExpects {
        HostExpects {
            name: "h".to_owned(),
            uid: "uid-h".to_owned(),
            power,
            without_update: false,
        }
    }

    fn glance(at: Instant, uid: &str, power: Option<PowerState>) -> Glance {
        Glance {
            at,
            uid: uid.to_owned(),
            power,
            facts: None,
            updates: None,
        }
    }

    fn key() -> MachineKey {
        host(&expects(PowerState::Off))
    }

    /// A host's worker that looks whenever it is asked, and sees this.
    fn worker(glances: &Glances, uid: &'static str, power: Option<PowerState>) {
        let eye = glances.of(&key());
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
    async fn what_goes_on_at_a_host_is_read_for_who_asks_and_not_for_others() {
        let glances = Glances::default();
        let eye = glances.of(&key());
        tokio::spawn(async move {
            loop {
                eye.asked().await;
                let updates = eye.is_asked_for_updates().then(|| {
                    Arc::new(UpdateFacts {
                        service: Reading::NotOffered,
                        tasks: Reading::Read(Vec::new()),
                        firmware: Reading::NotOffered,
                        last_reset: Reading::NotOffered,
                        background_copy: Reading::NotOffered,
                    })
                });
                let seen = glance(Instant::now(), "uid-h", Some(PowerState::Off));
                eye.tell(Glance { updates, ..seen });
            }
        });
        let host = expects(PowerState::Off);
        glances.check(&host, PATIENCE).await.unwrap();
        let told = glances.updates(&host, PATIENCE).await.unwrap();
        assert_eq!(told.tasks, Reading::Read(Vec::new()));
        let other = HostExpects {
            uid: "uid-of-another".to_owned(),
            ..host
        };
        let refused = glances.updates(&other, PATIENCE).await.unwrap_err();
        assert_eq!(refused.reason, "HostNotSeen");
    }

    #[tokio::test]
    async fn an_earlier_look_does_not_count() {
        let glances = Glances::default();
        let eye = glances.of(&key());
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
