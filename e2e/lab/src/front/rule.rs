//! Faults that a front puts between a client and its BMC.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::{Map, Value};
use tokio::sync::watch;

/// Which requests a rule is for, and what happens to them.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Only this method; any if `None`.
    pub method: Option<Method>,
    /// Only paths that contain this text.
    pub path: String,
    /// Only bodies that contain this text.
    pub body: String,
    /// Matching requests that pass untouched before the rule begins.
    pub skip: u32,
    /// Requests it strikes; for ever if `None`.
    pub times: Option<u32>,
    /// What it does to them.
    pub fault: Fault,
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The BMC never sees it; the connection is closed without an answer.
    Drop,
    /// The BMC does it; the connection is closed without an answer.
    DropReply,
    /// The BMC never sees it and nobody answers while the rule stands. Then the connection is
    /// closed.
    Hang,
    /// The BMC does it and the answer is kept back while the rule stands. Then the connection is
    /// closed.
    HangReply,
    /// It is forwarded after this time.
    Delay(Duration),
    /// The BMC never sees it; this is the answer.
    Answer {
        /// Status code.
        status: u16,
        /// Body, sent as `application/json`.
        body: String,
    },
    /// The BMC does it; the answer keeps its status but its body is no JSON.
    Garbage,
    /// It is forwarded after this time; where the BMC answers with an error, it is one of this
    /// status.
    Fails {
        /// Before it is forwarded.
        after: Duration,
        /// Status code of 400 or more.
        status: u16,
    },
    /// The BMC does it; where the answer is the system itself it has these members too, in place of
    /// its own of that name.
    Tells(Map<String, Value>),
}

impl Rule {
    /// Strikes every request.
    pub fn all(fault: Fault) -> Self {
        Self {
            method: None,
            path: String::new(),
            body: String::new(),
            skip: 0,
            times: None,
            fault,
        }
    }

    /// Strikes requests of this method whose path contains this text.
    pub fn on(method: Method, path: &str, fault: Fault) -> Self {
        Self {
            method: Some(method),
            path: path.to_owned(),
            ..Self::all(fault)
        }
    }

    /// Strikes the first match only.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.times = Some(1);
        self
    }

    /// Lets this many matches pass first.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    fn matches(&self, method: &Method, path: &str, body: &str) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted == method)
            && path.contains(&self.path)
            && body.contains(&self.body)
    }
}

/// Names a rule of one front, to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(u64);

/// A fault to carry out. `ended` fires when its rule is removed.
pub(super) struct Strike {
    pub(super) fault: Fault,
    pub(super) ended: watch::Receiver<bool>,
}

impl Strike {
    /// Returns when the rule is removed.
    pub(super) async fn until_ended(mut self) {
        // An error means that the table is gone, which ends the rule as well.
        if let Err(_gone) = self.ended.wait_for(|ended| *ended).await {
            tracing::debug!("the rules of a front ended with it");
        }
    }
}

#[derive(Debug)]
struct Standing {
    id: RuleId,
    rule: Rule,
    ended: Arc<watch::Sender<bool>>,
}

/// The rules of one front; the first that matches strikes.
#[derive(Debug, Default)]
pub(super) struct Rules {
    standing: Mutex<(u64, Vec<Standing>)>,
}

impl Rules {
    fn standing(&self) -> MutexGuard<'_, (u64, Vec<Standing>)> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, rule: Rule) -> RuleId {
        let mut standing = self.standing();
        standing.0 += 1;
        let id = RuleId(standing.0);
        standing.1.push(Standing {
            id,
            rule,
            ended: Arc::new(watch::Sender::new(false)),
        });
        id
    }

    pub(super) fn remove(&self, wanted: impl Fn(RuleId) -> bool) {
        self.standing().1.retain(|standing| {
            let remove = wanted(standing.id);
            if remove {
                standing.ended.send_replace(true);
            }
            !remove
        });
    }

    pub(super) fn strike(&self, method: &Method, path: &str, body: &str) -> Option<Strike> {
        let mut standing = self.standing();
        for Standing { rule, ended, .. } in &mut standing.1 {
            if !rule.matches(method, path, body) || rule.times == Some(0) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if let Some(times) = &mut rule.times {
                *times -= 1;
            }
            return Some(Strike {
                fault: rule.fault.clone(),
                ended: ended.subscribe(),
            });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_skips_then_strikes_as_often_as_told() {
        let rules = Rules::default();
        rules.add(
            Rule::on(Method::POST, "Reset", Fault::DropReply)
                .after(1)
                .once(),
        );
        let strike = |method| rules.strike(&method, "/x/Reset", "").is_some();
        assert!(!strike(Method::GET));
        assert!(!strike(Method::POST));
        assert!(strike(Method::POST));
        assert!(!strike(Method::POST));
    }

    #[tokio::test]
    async fn removing_a_rule_frees_what_it_held() {
        let rules = Rules::default();
        let id = rules.add(Rule::all(Fault::Hang));
        let strike = rules.strike(&Method::GET, "/", "").unwrap();
        rules.remove(|one| one == id);
        tokio::time::timeout(Duration::from_secs(5), strike.until_ended())
            .await
            .unwrap();
        assert!(rules.strike(&Method::GET, "/", "").is_none());
    }
}
