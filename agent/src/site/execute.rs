//! Carrying out one directive: judge, accept, look again, act once, tell.
//!
//! The order of things is the contract. The journal is synced before the
//! report is written, the report is written before anything is sent, the
//! facts are read again after that, and an effect whose outcome is not known
//! is looked for and never sent again. What needs no effect is told in one
//! write.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::condition;
use lockstep_crds::directive::{ActionKind, Directive, Expects, OutcomeKind};
use lockstep_crds::report::{Execution, Outcome};
use lockstep_redfish::{BmcError, BmcFacts, Confirmation, Effect, EffectCertainty};
use tokio::time::Instant;

use crate::clock;
use crate::report::Cause;
use crate::site::actions::Prepared;
use crate::site::calls::BmcPort;
use crate::site::glances::PATIENCE;
use crate::site::journal::restarted;
use crate::site::judge::{self, Refusal, Standing};
use crate::site::plan::Plan;
use crate::site::worker::{Progress, Worker};

/// Between looks for an effect.
const SETTLE_PAUSE: Duration = Duration::from_secs(3);

/// How long the second request of an action may take to land once the first is seen: it changes
/// a setting, or ejects.
const SECOND_SETTLES: Duration = Duration::from_secs(60);

/// How one step, or a whole action, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The wanted state is there; with what a person should know.
    Done(Option<String>),
    /// Certainly nothing was changed.
    Failed(Refusal),
    /// A part took effect, and certainly no other part will.
    Partly(Refusal),
    /// Nothing tells what became of it.
    Unknown(Refusal),
}

impl End {
    pub(crate) fn outcome(self) -> Outcome {
        let (result, reason, message) = match self {
            Self::Done(message) => (OutcomeKind::Done, None, message),
            Self::Failed(refusal) => (
                OutcomeKind::Failed,
                Some(refusal.reason),
                Some(refusal.message),
            ),
            Self::Partly(refusal) => (
                OutcomeKind::Partly,
                Some(refusal.reason),
                Some(refusal.message),
            ),
            Self::Unknown(refusal) => (
                OutcomeKind::Unknown,
                Some(refusal.reason),
                Some(refusal.message),
            ),
        };
        Outcome {
            result,
            reason,
            message: message.map(|text| condition::truncated(&text)),
        }
    }
}

/// Whether what is sent now may be seen only after the operator has given the directive up.
fn is_too_late(directive: &Directive, now: Timestamp) -> bool {
    let half = SignedDuration::from_secs(directive.settle_seconds.max(0)) / 2;
    now > directive.deadline.0 + half
}

/// The words for a failed call.
pub(super) fn refusal_of(error: &BmcError) -> Refusal {
    Refusal::new(error.category(), format!("{error}. {}", error.remedy()))
}

impl Worker {
    /// Deals with a directive that was never accepted before.
    pub(super) async fn carry_out(&mut self, directive: &Directive) -> anyhow::Result<Progress> {
        if !self.site.mandate.holds() {
            tracing::debug!(machine = %self.current().key, seq = directive.seq, "not ours to act on: the site's Lease is not held");
            return Ok(Progress::Later);
        }
        if let Err(refusal) = self.admit(directive) {
            return self.conclude(directive, End::Failed(refusal));
        }
        if !self.look().await {
            // Nothing was accepted: until its deadline it may still succeed.
            return Ok(Progress::Later);
        }
        let planned = self
            .check(directive)
            .and_then(|facts| self.plan(directive, &facts));
        match planned {
            Err(refusal) => return self.conclude(directive, End::Failed(refusal)),
            Ok(Plan::Nothing(why)) => {
                return match self.without_effect(directive).await {
                    Ok(()) => self.conclude(directive, End::Done(Some(why))),
                    Err(refusal) => self.conclude(directive, End::Failed(refusal)),
                };
            }
            Ok(Plan::Act) => {}
        }
        if self.ending.is_cancelled() {
            return Ok(Progress::Later);
        }
        self.meant = who_is_meant(directive);
        self.journal.accept(directive)?;
        self.execution = Some(Execution {
            accepted: directive.seq,
            outcome: None,
        });
        tracing::info!(machine = %self.current().key, seq = directive.seq, action = %directive.action.kind, "directive accepted");
        if let Err(error) = self.tell(Cause::Accept).await {
            let refusal = Refusal::new(
                "AcceptanceNotRecorded",
                format!("nothing was sent, because the acceptance could not be recorded: {error}"),
            );
            return self.conclude(directive, End::Failed(refusal));
        }
        let end = self.execute_accepted(directive).await?;
        if matches!(end, End::Unknown(_)) && self.ending.is_cancelled() {
            // Not known yet: the next process looks on for the effect.
            self.interrupted = Some(Box::new(directive.clone()));
            return Ok(Progress::Later);
        }
        self.conclude(directive, end)
    }

    async fn execute_accepted(&mut self, directive: &Directive) -> anyhow::Result<End> {
        let prepared = match self.prepare(directive).await {
            Ok(prepared) => prepared,
            Err(refusal) => return Ok(End::Failed(refusal)),
        };
        let end = self.act_once(directive, &prepared).await?;
        Ok(self.finish(directive, prepared, end).await)
    }

    async fn act_once(
        &mut self,
        directive: &Directive,
        prepared: &Prepared,
    ) -> anyhow::Result<End> {
        if let Some(host) = &directive.expects.host
            && let Err(refusal) = self.site.glances.check(host, PATIENCE).await
        {
            return Ok(End::Failed(refusal));
        }
        if !self.look().await {
            return Ok(End::Failed(Refusal::new(
                "FactsNotRead",
                "nothing was sent, because the machine could not be looked at just before; see reachable",
            )));
        }
        let checked = self
            .check(directive)
            .and_then(|facts| self.plan(directive, &facts).map(|_| ()));
        let bmc = match checked.and_then(|()| self.may_go_on()) {
            Ok(bmc) => bmc,
            Err(refusal) => return Ok(End::Failed(refusal)),
        };
        if self.current().uid != directive.target.uid {
            return Ok(End::Failed(Refusal::new(
                "TargetReplaced",
                "the object was replaced meanwhile; the operator plans anew",
            )));
        }
        if is_too_late(directive, clock::now().0) {
            return Ok(End::Failed(Refusal::new(
                "TooLate",
                "nothing was sent, because looking at everything first took until the operator goes on without it; it is planned anew",
            )));
        }
        self.journal.act(directive)?;
        if let Err(refusal) = self.keep_order(directive, prepared) {
            return Ok(End::Failed(refusal));
        }
        let settled = Instant::now() + settle_time(directive);
        let end = self.act(directive, prepared, bmc, settled).await;
        // The outcome goes out with the facts that follow from it.
        self.look().await;
        Ok(end)
    }

    /// The port for the next request, if it may be sent: asked before each one
    /// (S16). It is the latest, for credentials may have changed meanwhile.
    pub(super) fn may_go_on(&mut self) -> Result<Port, Refusal> {
        self.adopt_input();
        if self.current().hands_off {
            return Err(judge::hands_off());
        }
        if !self.site.mandate.holds() {
            return Err(Refusal::new(
                "LeaseLost",
                "nothing more is sent, because the site's Lease is no longer held",
            ));
        }
        self.reached
            .as_ref()
            .map(|reached| Arc::clone(&reached.bmc))
            .ok_or_else(|| {
                Refusal::new(
                    "FactsNotRead",
                    "nothing more is sent, because there is no way to the BMC; see reachable",
                )
            })
    }

    fn admit(&self, directive: &Directive) -> Result<(), Refusal> {
        let input = self.current();
        let standing = Standing {
            uid: &input.uid,
            accepted: self
                .execution
                .as_ref()
                .map_or(0, |execution| execution.accepted),
            hands_off: input.hands_off,
            now: clock::now().0,
        };
        judge::admit(directive, standing)
    }

    fn check(&self, directive: &Directive) -> Result<BmcFacts, Refusal> {
        let facts = self
            .facts
            .clone()
            .ok_or_else(|| Refusal::new("FactsNotRead", "the machine has not been looked at"))?;
        judge::check_expects(&directive.expects, &facts)?;
        Ok(facts)
    }

    fn conclude(&mut self, directive: &Directive, end: End) -> anyhow::Result<Progress> {
        let outcome = end.outcome();
        tracing::info!(
            machine = %self.current().key,
            seq = directive.seq,
            action = %directive.action.kind,
            result = %outcome.result,
            reason = outcome.reason.as_deref().unwrap_or(""),
            why = outcome.message.as_deref().unwrap_or(""),
            "directive ended"
        );
        self.journal.end(directive, &outcome)?;
        self.execution = Some(Execution {
            accepted: directive.seq,
            outcome: Some(outcome),
        });
        self.cause = Cause::Outcome;
        Ok(Progress::Ended)
    }

    /// Sends one request and, where its reply does not tell, looks for its effect.
    pub(super) async fn step(
        &mut self,
        call: impl Future<Output = Result<Effect, BmcError>>,
        settled: Instant,
        seen: impl Fn(&BmcFacts) -> bool,
    ) -> End {
        match call.await {
            Ok(effect) => match effect.confirmation {
                Confirmation::Confirmed => End::Done(None),
                Confirmation::Differs(how) => End::Done(Some(how)),
                Confirmation::NotObservable => End::Done(Some(
                    "the BMC shows nothing to read it back from".to_owned(),
                )),
                Confirmation::NotSeen => {
                    if self.is_seen_until(settled, seen).await {
                        End::Done(None)
                    } else {
                        End::Unknown(Refusal::new(
                            "EffectNotSeen",
                            "the BMC accepted the request, and its effect was not seen in time; look at the machine's console and the BMC's log",
                        ))
                    }
                }
            },
            Err(error) => match error.effect() {
                EffectCertainty::None => End::Failed(refusal_of(&error)),
                EffectCertainty::Unknown => {
                    tracing::warn!(machine = %self.current().key, "{error}");
                    if self.is_seen_until(settled, seen).await {
                        End::Done(Some(format!("the effect is seen, though {error}")))
                    } else {
                        End::Unknown(refusal_of(&error))
                    }
                }
            },
        }
    }

    /// Looks until the effect is seen, time is up, or this process ends.
    async fn is_seen_until(&mut self, settled: Instant, seen: impl Fn(&BmcFacts) -> bool) -> bool {
        loop {
            let looked = self.look().await;
            // What a stranger at this address shows says nothing about our machine.
            let shows =
                |facts: &BmcFacts| judge::check_expects(&self.meant, facts).is_ok() && seen(facts);
            if looked && self.facts.as_ref().is_some_and(shows) {
                return true;
            }
            if Instant::now() >= settled {
                return false;
            }
            if let Err(error) = self.tell(Cause::Facts).await {
                tracing::warn!(machine = %self.current().key, "{error}");
            }
            let ending = self.ending.clone();
            tokio::select! {
                () = ending.cancelled() => return false,
                () = tokio::time::sleep_until(settled.min(Instant::now() + SETTLE_PAUSE)) => {}
            }
        }
    }

    /// A directive that the last process may have sent: looked for, never sent again.
    pub(super) async fn settle_interrupted(&mut self, directive: Directive) {
        let kind = &directive.action.kind;
        if kind.is_update() || (kind.is_firmware() && *kind != ActionKind::ResetBmc) {
            self.settle_update(&directive);
            return;
        }
        let mut settled = Instant::now() + settle_time(&directive);
        self.meant = who_is_meant(&directive);
        let site = Arc::clone(&self.site);
        let wanted = directive.clone();
        let half = directive.action.kind.row().has_halves
            && self
                .is_seen_until(settled, |facts| site.is_half_done(&wanted, facts))
                .await;
        if half {
            settled = settled.min(Instant::now() + SECOND_SETTLES);
        }
        let seen = self
            .is_seen_until(settled, move |facts| site.is_in_effect(&wanted, facts))
            .await;
        if self.ending.is_cancelled() && !seen {
            // The next process looks for the rest of the time.
            self.interrupted = Some(Box::new(directive));
            return;
        }
        let outcome = if seen {
            let told = "the site agent restarted meanwhile; the wanted state is seen";
            let end = End::Done(Some(told.to_owned()));
            match self.finish_interrupted(&directive, end).await {
                End::Done(_) => restarted(OutcomeKind::Done, told),
                end @ (End::Failed(_) | End::Partly(_) | End::Unknown(_)) => end.outcome(),
            }
        } else if half {
            restarted(
                OutcomeKind::Partly,
                "the site agent restarted in the middle; what is missing is done with the next try",
            )
        } else {
            restarted(
                OutcomeKind::Unknown,
                "the site agent restarted meanwhile, and the wanted state is not seen; observation tells what became of the directive",
            )
        };
        tracing::info!(
            machine = %self.current().key,
            seq = directive.seq,
            action = %directive.action.kind,
            result = %outcome.result,
            "directive of the last process ended"
        );
        if let Err(error) = self.journal.end(&directive, &outcome) {
            tracing::error!("{error}");
        }
        self.execution = Some(Execution {
            accepted: directive.seq,
            outcome: Some(outcome),
        });
        self.cause = Cause::Outcome;
    }
}

/// The machine of a directive, whatever state it is in.
pub(super) fn who_is_meant(directive: &Directive) -> Expects {
    Expects {
        power: None,
        safe_stage: false,
        ..directive.expects.clone()
    }
}

fn settle_time(directive: &Directive) -> Duration {
    Duration::from_secs(
        u64::try_from(directive.settle_seconds)
            .unwrap_or(0)
            .min(3600),
    )
}

/// The port that an action works on.
pub(super) type Port = Arc<dyn BmcPort>;
