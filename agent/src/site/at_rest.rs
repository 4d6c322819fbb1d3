//! What somebody else has written at a BMC: it is looked for before the power of a machine is cut, and
//! while something goes on about its host; what is found is told until it has ended (S1).

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::condition;
use lockstep_crds::directive::{Directive, TargetKind};
use lockstep_crds::report::BusyReport;
use lockstep_redfish::{Components, UpdateFacts, at_rest};
use tokio::time::Instant;

use crate::clock;
use crate::site::activity::Activity;
use crate::site::clearance::BUSY;
use crate::site::glances::PATIENCE;
use crate::site::judge::Refusal;
use crate::site::worker::Worker;

/// How long what was seen is good, while something goes on about the host.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// How long that something is written, while nothing goes on about the host.
const BUSY_FOR: Duration = Duration::from_secs(600);

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Rest {
    read_at: Option<Instant>,
    busy: Option<BusyReport>,
}

impl Rest {
    /// Whether the next look is to read it.
    pub(super) fn is_due(&self, activity: Activity) -> bool {
        let good_for = match activity {
            Activity::UnderWay if self.busy.is_some() => Duration::ZERO,
            Activity::UnderWay => GOOD_FOR,
            Activity::Kept if self.busy.is_some() => BUSY_FOR,
            Activity::Kept | Activity::Proposed => return false,
        };
        self.read_at.is_none_or(|at| at.elapsed() >= good_for)
    }

    /// What the report says. The words stay as they were first: each change of a percent is a write.
    pub(super) fn told(&self) -> Option<BusyReport> {
        self.busy.clone()
    }

    /// What is not known counts as something that is written (S5).
    pub(super) fn not_read(&mut self, why: &str) {
        let seen = Err(format!(
            "its tasks were not read ({why}); they are read again"
        ));
        self.note(&seen, clock::now());
    }

    fn note(&mut self, seen: &Result<(), String>, now: Time) {
        self.read_at = Some(Instant::now());
        match seen {
            Ok(()) => self.busy = None,
            Err(what) => {
                self.busy.get_or_insert_with(|| BusyReport {
                    what: condition::truncated(what),
                    since: now,
                });
            }
        }
    }
}

/// The cards that an action may take down, by name.
fn cards_of(directive: &Directive) -> impl Iterator<Item = &str> {
    let radius = directive.blast_radius.iter();
    radius.filter_map(|one| one.strip_prefix("dpu/"))
}

impl Worker {
    /// Keeps in mind what goes on at this BMC.
    pub(super) fn note_rest(&mut self, facts: &UpdateFacts) -> Result<(), String> {
        let seen = at_rest("its BMC", facts);
        self.rest.note(&seen, clock::now());
        seen
    }

    /// Whether nothing is written at the BMC of the machine that loses power, nor at that of its host or
    /// of the cards in it, as far as this agent looks after them.
    pub(super) async fn require_rest(&mut self, directive: &Directive) -> Result<(), Refusal> {
        let busy = |why: String| Refusal::new(BUSY, format!("nothing was sent: {why}"));
        let bmc = self.may_go_on()?;
        let own = bmc
            .observe_updates(&Components::Named(Vec::new()))
            .await
            .inspect_err(|error| self.rest.not_read(&error.to_string()))
            .map_err(|error| busy(error.to_string()))?;
        self.note_rest(&own).map_err(busy)?;
        if let Some(host) = &directive.expects.host {
            let seen = self.site.glances.updates(host, PATIENCE).await?;
            at_rest(&format!("the BMC of {}", host.name), &seen).map_err(busy)?;
        }
        if directive.target.kind == TargetKind::Host {
            let glances = &self.site.glances;
            let looks = cards_of(directive).map(async |name| {
                let seen = glances.beside(name, PATIENCE).await;
                (name, seen)
            });
            for (name, seen) in join_all(looks).await {
                let Some(seen) = seen else { continue };
                at_rest(&format!("the BMC of card {name}"), &*seen?).map_err(busy)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_is_told_in_its_first_words_until_it_has_ended() {
        let mut rest = Rest::default();
        assert!(rest.is_due(Activity::UnderWay) && !rest.is_due(Activity::Kept));
        rest.note(&Ok(()), at(1));
        assert!(!rest.is_due(Activity::UnderWay));
        tokio::time::advance(GOOD_FOR).await;
        assert!(rest.is_due(Activity::UnderWay) && !rest.is_due(Activity::Kept));
        rest.note(&Err("4 %".to_owned()), at(2));
        rest.note(&Err("9 %".to_owned()), at(3));
        let told = rest.told().unwrap();
        assert_eq!((told.what.as_str(), told.since), ("4 %", at(2)));
        assert!(rest.is_due(Activity::UnderWay) && !rest.is_due(Activity::Kept));
        tokio::time::advance(BUSY_FOR).await;
        assert!(rest.is_due(Activity::Kept) && !rest.is_due(Activity::Proposed));
        rest.note(&Ok(()), at(4));
        assert!(rest.told().is_none() && !rest.is_due(Activity::UnderWay));
        rest.not_read("HTTP 500");
        assert!(rest.told().unwrap().what.contains("HTTP 500"));
    }
}
