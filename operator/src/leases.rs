//! Leases of agents, timed by this operator's own clock.
//!
//! A renewal is not news: nobody is woken for it. News is an agent that was
//! silent and is back, and one whose Lease has run out: `expire` tells those.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use lockstep_planner::view::LeaseSeen;

use crate::key::Key;

/// Duration of a Lease that does not say: the shortest that our agents use.
const UNSAID: SignedDuration = SignedDuration::from_secs(60);
/// The longest that is believed, whatever a Lease says. Admission takes no longer one from an
/// agent: who no longer lives must not pass for alive.
const LONGEST: SignedDuration = SignedDuration::from_secs(300);

#[derive(Debug)]
struct Held {
    holder: String,
    renew_time: Option<Timestamp>,
    seen: LeaseSeen,
    /// Whether its end has been told.
    expired: bool,
}

/// The Leases of all agents.
#[derive(Debug, Default)]
pub struct Leases {
    held: BTreeMap<Key, Held>,
}

impl Leases {
    /// The Lease as last seen; `None` if nobody holds it.
    pub fn seen(&self, key: &Key) -> Option<LeaseSeen> {
        self.held.get(key).map(|held| held.seen)
    }

    /// The keys of a namespace, or of all of them.
    pub fn keys(&self, namespace: Option<&str>) -> Vec<Key> {
        let ours = |key: &&Key| namespace.is_none_or(|namespace| key.namespace == namespace);
        self.held.keys().filter(ours).cloned().collect()
    }

    /// Takes note of a Lease, or of its end. Returns whether anybody should be told.
    ///
    /// A Lease seen for the first time counts from its own `renewTime` where
    /// that lies in the past: an operator that has just started must not take
    /// an agent for alive that fell silent long ago. Where its clock is behind
    /// ours it looks silent until it renews under our eyes.
    pub fn observe(&mut self, key: &Key, lease: Option<&Lease>, now: Timestamp) -> bool {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        let holder = spec
            .and_then(|spec| spec.holder_identity.clone())
            .unwrap_or_default();
        let (Some(spec), false) = (spec, holder.is_empty()) else {
            return self.held.remove(key).is_some_and(|held| !held.expired);
        };
        let duration = spec.lease_duration_seconds.map_or(UNSAID, |seconds| {
            SignedDuration::from_secs(i64::from(seconds)).min(LONGEST)
        });
        let renew_time = spec.renew_time.as_ref().map(|time| time.0);
        let (renewed, was_live) = match self.held.get(key) {
            Some(held) if held.holder == holder && held.renew_time == renew_time => {
                (held.seen.renewed, !held.expired)
            }
            Some(held) => (now, !held.expired),
            None => (renew_time.map_or(now, |time| time.min(now)), false),
        };
        let seen = LeaseSeen { renewed, duration };
        let live = seen.is_fresh(now);
        self.held.insert(
            key.clone(),
            Held {
                holder,
                renew_time,
                seen,
                expired: !live,
            },
        );
        live != was_live
    }

    /// Leases that have run out since this was last asked.
    pub fn expire(&mut self, now: Timestamp) -> BTreeSet<Key> {
        let mut ended = BTreeSet::new();
        for (key, held) in &mut self.held {
            if !held.expired && !held.seen.is_fresh(now) {
                held.expired = true;
                ended.insert(key.clone());
            }
        }
        ended
    }

    /// When the next Lease runs out unless it is renewed.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let live = self.held.values().filter(|held| !held.expired);
        live.filter_map(|held| held.seen.renewed.checked_add(held.seen.duration).ok())
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn lease(holder: &str, renewed: i64) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                renew_time: Some(MicroTime(at(renewed))),
                lease_duration_seconds: Some(60),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn renewals_are_no_news_and_silence_is() {
        let key = Key::new("site", "site-a");
        let mut leases = Leases::default();
        assert!(
            leases.observe(&key, Some(&lease("a", 0)), at(1)),
            "first seen"
        );
        assert!(
            !leases.observe(&key, Some(&lease("a", 30)), at(31)),
            "renewed"
        );
        assert_eq!(leases.next_expiry(), Some(at(91)));
        assert!(leases.expire(at(91)).is_empty());
        assert_eq!(leases.expire(at(92)), BTreeSet::from([key.clone()]));
        assert!(leases.expire(at(93)).is_empty(), "told once");
        assert_eq!(leases.next_expiry(), None);
        assert!(
            leases.observe(&key, Some(&lease("a", 200)), at(201)),
            "back"
        );
        assert!(leases.observe(&key, None, at(202)), "deleted");
    }

    #[test]
    fn our_clock_counts_once_a_renewal_is_seen() {
        let key = Key::new("site", "site-a");
        let mut leases = Leases::default();
        leases.observe(&key, Some(&lease("a", 500)), at(0));
        assert_eq!(
            leases.seen(&key).unwrap().renewed,
            at(0),
            "their clock is ahead"
        );
        leases.observe(&key, Some(&lease("a", 530)), at(30));
        assert_eq!(leases.seen(&key).unwrap().renewed, at(30));
        leases.observe(&key, Some(&lease("a", 530)), at(50));
        assert_eq!(
            leases.seen(&key).unwrap().renewed,
            at(30),
            "the same renewal, listed again"
        );
    }

    #[test]
    fn long_dead_agents_are_not_alive_for_a_new_operator() {
        let key = Key::new("site", "site-a");
        let mut leases = Leases::default();
        assert!(!leases.observe(&key, Some(&lease("a", -600)), at(0)));
        assert!(!leases.seen(&key).unwrap().is_fresh(at(0)));
        assert!(leases.expire(at(1)).is_empty());
    }

    #[test]
    fn no_agent_lives_for_ever_by_its_own_word() {
        let key = Key::new("site", "xpu-c1");
        for (seconds, believed) in [(60, 60), (300, 300), (301, 300), (i32::MAX, 300)] {
            let mut lease = lease("a", 0);
            lease.spec.as_mut().unwrap().lease_duration_seconds = Some(seconds);
            let mut leases = Leases::default();
            leases.observe(&key, Some(&lease), at(0));
            assert!(leases.seen(&key).unwrap().is_fresh(at(believed)));
            assert!(!leases.seen(&key).unwrap().is_fresh(at(believed + 1)));
        }
    }

    #[test]
    fn a_lease_given_up_is_nobodys() {
        let key = Key::new("site", "site-a");
        let mut leases = Leases::default();
        leases.observe(&key, Some(&lease("a", 0)), at(1));
        assert!(leases.observe(&key, Some(&lease("", 5)), at(6)));
        assert_eq!(leases.seen(&key), None);
    }
}
