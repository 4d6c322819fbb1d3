//! Ending a hold by its work order, without operator or API server (S14).
//!
//! The state is kept in the order's file before each effect. Putting settings
//! back may be repeated; power-on is sent once per order, and what became of
//! it is looked for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use lockstep_crds::directive::Expects;
use lockstep_redfish::{Bmc, BmcError, EffectCertainty, PowerAction, PowerState};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::durable::StateError;
use crate::site::context::Site;
use crate::site::expiry::{OrderDecision, Seen, decide, follow, is_due};
use crate::site::inquiry::ask;
use crate::site::judge::check_expects;
use crate::site::order::{Order, OrderState};
use crate::site::orders::{Listing, OrderBook};

/// Between looks at the orders.
const TICK: Duration = Duration::from_secs(5);
/// How long a host may take to be seen on.
const UP_WITHIN: Duration = Duration::from_secs(120);
/// Between looks for it.
const LOOK_PAUSE: Duration = Duration::from_secs(3);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Between looks whether the host of an order that was carried out is gone.
const GONE_CHECK: Duration = Duration::from_secs(600);

/// What came of an attempt to end a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Settings are back, and the host is on.
    Released(Option<String>),
    /// Power-on was sent, and the host is not on.
    NotUp(String),
    /// Nothing was sent that must not be repeated; it can be tried again.
    NotNow(String),
}

/// How far an attempt may go, and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The state of an order that was carried out.
    pub released: OrderState,
    /// Whether a person takes it on themselves to send power-on once more
    /// after it was sent without being seen to work.
    pub again: bool,
    /// How long the host may take to be seen on.
    pub up_within: Duration,
}

/// Proves the machine, puts its settings back and powers it on. The caller
/// holds the order's lock.
pub async fn carry_out(
    book: &OrderBook,
    order: &mut Order,
    bmc: &dyn Bmc,
    attempt: Attempt,
) -> Result<Carried, StateError> {
    let facts = match bmc.observe().await {
        Ok(facts) => facts,
        Err(error) => return Ok(Carried::NotNow(words(&error))),
    };
    if let Err(refusal) = check_expects(&order.meant(), &facts) {
        return Ok(Carried::NotNow(refusal.message));
    }
    let mut note = None;
    let was_sent = order.state == OrderState::PoweringOn;
    if !was_sent {
        order.state = OrderState::Restoring;
        book.put(order)?;
    }
    if let Some(policy) = order.previous_policy() {
        match bmc.set_power_restore_policy(&policy).await {
            Ok(_) => {}
            // A setting that the BMC will not take back must not keep a host off.
            Err(error @ (BmcError::Refused { .. } | BmcError::NotOffered { .. })) => {
                note = Some(format!(
                    "PowerRestorePolicy was not put back: {}",
                    words(&error)
                ));
            }
            Err(error) => return Ok(Carried::NotNow(words(&error))),
        }
    }
    let is_on = facts.power.value() == Some(&PowerState::On);
    if !is_on && (!was_sent || attempt.again) {
        order.state = OrderState::PoweringOn;
        order.leads_to = Some(attempt.released);
        book.put(order)?;
        if let Err(error) = bmc.power(PowerAction::On).await
            && error.effect() == EffectCertainty::None
        {
            // Certainly not sent, so it may be tried again.
            order.state = OrderState::Restoring;
            book.put(order)?;
            return Ok(Carried::NotNow(words(&error)));
        }
    }
    if is_up(bmc, &order.meant(), attempt.up_within).await {
        order.state = attempt.released;
        book.put(order)?;
        return Ok(Carried::Released(note));
    }
    Ok(Carried::NotUp(
        "power-on was sent once, and the host was not seen to come up; it is not sent again"
            .to_owned(),
    ))
}

/// Whether the machine that is meant is seen on. Another one that answers says nothing of it.
async fn is_up(bmc: &dyn Bmc, meant: &Expects, within: Duration) -> bool {
    let until = Instant::now() + within;
    loop {
        if let Ok(facts) = bmc.observe().await
            && facts.power.value() == Some(&PowerState::On)
            && check_expects(meant, &facts).is_ok()
        {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn words(error: &BmcError) -> String {
    format!("{error}. {}", error.remedy())
}

/// Watches the expiry of every order, by the wall clock.
pub struct Custodian {
    site: Arc<Site>,
    pauses: HashMap<String, (u32, Instant)>,
    /// What was said of files that are not understood.
    said: BTreeSet<String>,
}

impl Custodian {
    /// A custodian of the site's orders.
    pub fn new(site: Arc<Site>) -> Self {
        Self {
            site,
            pauses: HashMap::new(),
            said: BTreeSet::new(),
        }
    }

    /// Watches until `ending`. An order that is being carried out is not cut short.
    pub async fn run(mut self, ending: CancellationToken) {
        while !ending.is_cancelled() {
            if let Err(error) = self.round().await {
                tracing::error!("work orders: {error}");
            }
            tokio::select! {
                () = ending.cancelled() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    async fn round(&mut self) -> Result<(), StateError> {
        let Listing { orders, damaged } = self.site.orders.list()?;
        self.site.metrics.keeps_orders(orders.len() + damaged.len());
        let damaged: BTreeSet<String> = damaged.iter().map(ToString::to_string).collect();
        for error in damaged.difference(&self.said) {
            tracing::error!("a work order is not kept: {error}");
        }
        self.said = damaged;
        self.pauses
            .retain(|host, _| orders.iter().any(|order| order.host == *host));
        for order in orders {
            let paused = self
                .pauses
                .get(&order.host)
                .is_some_and(|(_, until)| Instant::now() < *until);
            if paused {
                continue;
            }
            // What is wrong with one host's order stops no other.
            if let Err(error) = self.tend(&order).await {
                tracing::error!(host = order.host, "work order: {error}");
                self.pause(&order.host);
            }
        }
        Ok(())
    }

    async fn tend(&mut self, order: &Order) -> Result<(), StateError> {
        if order.is_released() {
            return self.forget_if_gone(order).await;
        }
        let begun = matches!(order.state, OrderState::Restoring | OrderState::PoweringOn);
        let now = clock::now().0;
        if !begun && !is_due(order, now) {
            return Ok(());
        }
        let seen = ask(&self.site, order).await;
        if !matches!(seen, Seen::Unreachable) && !self.site.mandate.holds() {
            // Another agent of this site is the one to act, and can be told so.
            return Ok(());
        }
        let decision = if begun && !opposes(order, &seen) {
            OrderDecision::Release
        } else {
            decide(order, now, &seen)
        };
        let book = &self.site.orders;
        let host = &order.host;
        match decision {
            OrderDecision::Rest => {}
            OrderDecision::Defer(why) => {
                tracing::warn!(%host, "work order is due and not carried out: {why}");
                self.pause(host);
            }
            OrderDecision::Follow(current) => {
                book.amend(host, &order.host_uid, |order| follow(order, &current, now))?;
            }
            OrderDecision::KeepHeld => {
                tracing::warn!(%host, "work order expired: the host stays held, as it says");
                book.amend(host, &order.host_uid, |order| {
                    order.state = OrderState::ExpiredKeptHeld;
                })?;
            }
            OrderDecision::Release => self.release(host).await?,
        }
        Ok(())
    }

    /// An order that was carried out, and whose host nobody looks after any
    /// more: it holds the password of a BMC for nothing.
    async fn forget_if_gone(&mut self, order: &Order) -> Result<(), StateError> {
        match ask(&self.site, order).await {
            Seen::Gone => {
                let Some(_lock) = self.site.orders.try_lock(&order.host)? else {
                    return Ok(());
                };
                // It may be another one by now.
                if self.site.orders.get(&order.host)?.as_ref() == Some(order) {
                    tracing::info!(
                        host = order.host,
                        "work order dropped: it was carried out, and its DpuHost is gone"
                    );
                    self.site.orders.remove(&order.host)?;
                }
            }
            Seen::Unreachable | Seen::Unreadable | Seen::Present { .. } => {
                let until = Instant::now() + GONE_CHECK;
                self.pauses.insert(order.host.clone(), (0, until));
            }
        }
        Ok(())
    }

    async fn release(&mut self, host: &str) -> Result<(), StateError> {
        let book = self.site.orders.clone();
        let Some(_lock) = book.try_lock(host)? else {
            return Ok(());
        };
        // It may have changed before the lock was ours.
        let Some(mut order) = book.get(host)?.filter(|order| !order.is_finished()) else {
            return Ok(());
        };
        tracing::warn!(%host, "work order expired: the host is released, as it says");
        let dialled = order
            .target()
            .map_err(|error| error.to_string())
            .and_then(|target| self.site.dial.bmc(target).map_err(|error| words(&error)));
        let bmc = match dialled {
            Ok(bmc) => bmc,
            Err(why) => {
                tracing::error!(%host, "not released: {why}");
                self.pause(host);
                return Ok(());
            }
        };
        let attempt = Attempt {
            released: OrderState::ExpiredReleased,
            again: false,
            up_within: UP_WITHIN,
        };
        let carried = carry_out(&book, &mut order, bmc.as_ref(), attempt).await;
        bmc.close().await;
        match carried? {
            Carried::Released(note) => {
                tracing::warn!(%host, note = note.as_deref().unwrap_or(""), "host released by its work order");
            }
            Carried::NotUp(why) => {
                tracing::error!(%host, "{why}; power it on by hand, or with `lockstep-agent release`");
                order.state = OrderState::ExpiredKeptHeld;
                book.put(&order)?;
            }
            Carried::NotNow(why) => {
                tracing::error!(%host, "not released yet: {why}");
                self.pause(host);
            }
        }
        Ok(())
    }

    fn pause(&mut self, host: &str) {
        let failures = self.pauses.get(host).map_or(0, |(failures, _)| *failures) + 1;
        let pause = clock::backoff(failures, TICK, LONGEST_PAUSE);
        self.pauses
            .insert(host.to_owned(), (failures, Instant::now() + pause));
    }
}

/// Whether `handsOff` stops an order that was begun (S16).
fn opposes(order: &Order, seen: &Seen) -> bool {
    match seen {
        Seen::Present { hands_off, .. } => *hands_off,
        // It may say so; what was begun can wait for somebody who reads it.
        Seen::Unreadable => true,
        Seen::Unreachable | Seen::Gone => order.hands_off,
    }
}

#[cfg(test)]
mod tests {
    use lockstep_redfish::Reading;

    use super::*;
    use crate::site::fake::FakeBmc;
    use crate::site::samples::order;

    const NOW: Attempt = Attempt {
        released: OrderState::ExpiredReleased,
        again: false,
        up_within: Duration::ZERO,
    };

    fn book() -> (tempfile::TempDir, OrderBook) {
        let dir = tempfile::tempdir().unwrap();
        let book = OrderBook::open(dir.path()).unwrap();
        book.put(&order()).unwrap();
        (dir, book)
    }

    #[tokio::test]
    async fn settings_come_back_before_the_host_comes_up() {
        let (_dir, book) = book();
        let bmc = FakeBmc::default();
        let mut order = order();
        let carried = carry_out(&book, &mut order, &bmc, NOW).await.unwrap();
        assert_eq!(carried, Carried::Released(None));
        assert_eq!(bmc.effects(), ["restore LastState", "power On"]);
        let kept = book.get("h1").unwrap().unwrap();
        assert_eq!(kept.state, OrderState::ExpiredReleased);
    }

    #[tokio::test]
    async fn a_host_that_is_up_is_not_powered_on() {
        let (_dir, book) = book();
        let bmc = FakeBmc::default();
        bmc.set(|facts| facts.power = Reading::Read(PowerState::On));
        let carried = carry_out(&book, &mut order(), &bmc, NOW).await.unwrap();
        assert_eq!(carried, Carried::Released(None));
        assert_eq!(bmc.effects(), ["restore LastState"]);
    }

    #[tokio::test]
    async fn a_stranger_gets_nothing() {
        let (_dir, book) = book();
        let bmc = FakeBmc::default();
        let mut order = order();
        order.expects.identity.serial_number = Some("other".to_owned());
        let carried = carry_out(&book, &mut order, &bmc, NOW).await.unwrap();
        assert!(matches!(carried, Carried::NotNow(_)), "{carried:?}");
        assert!(bmc.effects().is_empty());
    }

    #[tokio::test]
    async fn a_stranger_that_is_on_does_not_pass_for_the_host() {
        let (_dir, book) = book();
        let bmc = FakeBmc::default();
        bmc.becomes_a_stranger_when_powered_on();
        let mut order = order();
        let carried = carry_out(&book, &mut order, &bmc, NOW).await.unwrap();
        assert!(matches!(carried, Carried::NotUp(_)), "{carried:?}");
        assert_eq!(bmc.effects(), ["restore LastState", "power On"]);
        let kept = book.get("h1").unwrap().unwrap();
        assert_eq!(kept.state, OrderState::PoweringOn);
    }

    #[tokio::test]
    async fn power_on_is_not_sent_again_after_a_crash_unless_a_person_says_so() {
        let (_dir, book) = book();
        let bmc = FakeBmc::default();
        let mut order = order();
        order.state = OrderState::PoweringOn;
        let carried = carry_out(&book, &mut order, &bmc, NOW).await.unwrap();
        assert!(matches!(carried, Carried::NotUp(_)), "{carried:?}");
        assert_eq!(bmc.effects(), ["restore LastState"]);
        let again = Attempt { again: true, ..NOW };
        let carried = carry_out(&book, &mut order, &bmc, again).await.unwrap();
        assert_eq!(carried, Carried::Released(None));
    }

    #[tokio::test]
    async fn a_lost_reply_is_looked_for() {
        let (_dir, book) = book();
        let bmc = FakeBmc::default();
        bmc.lose_replies(true);
        let mut order = order();
        order.previous_restore_policy = None;
        let carried = carry_out(&book, &mut order, &bmc, NOW).await.unwrap();
        assert_eq!(carried, Carried::Released(None));
        assert_eq!(bmc.effects(), ["power On"]);
    }
}
