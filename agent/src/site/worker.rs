//! One machine's worker: looks at its BMC, keeps its report true, and carries
//! out what is wanted of it. Everything about one machine happens here, one
//! thing after the other.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use lockstep_crds::DpuReportSpec;
use lockstep_crds::directive::{ActionKind, Directive, Expects};
use lockstep_crds::inspection::Inspected;
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::{BmcReport, ConfigurationTried, Custody, Execution, Reachability};
use lockstep_redfish::BmcFacts;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::durable::StateError;
use crate::report::{Cause, ReportError, ReportWriter};
use crate::site::activity::Activity;
use crate::site::at_rest::Rest;
use crate::site::boot_entry::Known;
use crate::site::context::Site;
use crate::site::expiry::follow;
use crate::site::journal::{Journal, Resumed, Stage, resume};
use crate::site::judge;
use crate::site::look::{Reached, WHOLE_AGE_PROPOSED};
use crate::site::machine::{MachineInput, MachineKind};
use crate::site::order::{Access, Order};
use crate::site::plan::policy_to_change;
use crate::site::update_watch::Updates;

/// How often the report is compared with what the API server holds.
const REPORT_AGE: Duration = Duration::from_secs(300);
/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Looks after one machine.
pub struct Worker {
    pub(super) site: Arc<Site>,
    pub(super) journal: Journal,
    pub(super) ending: CancellationToken,
    pub(super) reached: Option<Reached>,
    pub(super) facts: Option<BmcFacts>,
    pub(super) execution: Option<Execution>,
    pub(super) cause: Cause,
    pub(super) interrupted: Option<Box<Directive>>,
    /// Who must answer while the effect of a directive is looked for.
    pub(super) meant: Expects,
    input: watch::Receiver<MachineInput>,
    current: MachineInput,
    writer: ReportWriter,
    loaded: bool,
    compared_at: Instant,
    pub(super) reachable: Option<Reachability>,
    pub(super) bmc: Option<BmcReport>,
    pub(super) failures: u32,
    /// The inspection that what was read whole last answers.
    pub(super) inspected: Option<Inspected>,
    /// When everything was read last; `None`: it is to be read at the next look.
    pub(super) whole_at: Option<Instant>,
    /// How long that is good for while nothing is wanted of the machine; apart from that of others.
    pub(super) proposed_age: Duration,
    /// Whether the card's own files can be made, and when that was tried last.
    pub(super) tried: Option<ConfigurationTried>,
    pub(super) tried_at: Option<Instant>,
    /// What is known of updates of a card.
    pub(super) updates: Updates,
    /// What somebody else has written there.
    pub(super) rest: Rest,
    /// What is known of the boot entries of a card.
    pub(super) entries: Option<Known>,
    /// Since when they could not be read.
    pub(super) entries_unread: Option<Instant>,
}

/// What became of an attempt to carry out a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It ended; there may be another one.
    Ended,
    /// It cannot be dealt with now.
    Later,
}

impl Worker {
    /// A worker that nobody has run yet.
    pub fn new(
        site: Arc<Site>,
        input: watch::Receiver<MachineInput>,
        ending: CancellationToken,
    ) -> Self {
        let current = input.borrow().clone();
        let api = Api::namespaced(site.client.clone(), &site.config.namespace);
        let owner = current.key.owner(&current.uid);
        Self {
            journal: Journal::new(&site.config.state_dir, &current.key),
            writer: ReportWriter::new(api, current.key.report(), Some(owner)),
            site,
            input,
            current,
            ending,
            loaded: false,
            compared_at: Instant::now(),
            reached: None,
            facts: None,
            reachable: None,
            bmc: None,
            failures: 0,
            inspected: None,
            whole_at: None,
            proposed_age: clock::jittered(WHOLE_AGE_PROPOSED, 10),
            tried: None,
            tried_at: None,
            updates: Updates::default(),
            rest: Rest::default(),
            entries: None,
            entries_unread: None,
            execution: None,
            cause: Cause::Facts,
            interrupted: None,
            meant: Expects::default(),
        }
    }

    /// Works until `ending`. A call that changes something is never cut short.
    pub async fn run(mut self) {
        let mut orders = self.site.orders.changes();
        let eye = self.site.glances.of(&self.current.key);
        let _attending = eye.attend();
        let mut next_look = Instant::now();
        let mut troubles = 0_u32;
        while !self.ending.is_cancelled() {
            self.adopt_and_look(&mut next_look);
            let wake = match self.turn(&mut next_look).await {
                Ok(()) => {
                    troubles = 0;
                    next_look
                }
                Err(error) => {
                    troubles = troubles.saturating_add(1);
                    tracing::warn!(machine = %self.current.key, "{error}");
                    Instant::now()
                        + clock::backoff(troubles, FIRST_PAUSE, self.site.config.poll.idle())
                }
            };
            tokio::select! {
                () = self.ending.cancelled() => {}
                changed = self.input.changed() => if changed.is_err() { break },
                _ = orders.changed(), if self.current.key.kind == MachineKind::Host => {}
                () = eye.asked() => self.look_at_once(&mut next_look),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.site.attended.lost(&self.current.endpoint.address);
        if let Some(reached) = self.reached.take() {
            reached.bmc.close().await;
        }
    }

    /// One round: load, look if it is time, tell, act.
    async fn turn(&mut self, next_look: &mut Instant) -> anyhow::Result<()> {
        if !self.loaded {
            self.load().await?;
        }
        if Instant::now() >= *next_look {
            let ending = self.ending.clone();
            // Nothing is changed by looking, so a look may be dropped.
            tokio::select! {
                () = ending.cancelled() => return Ok(()),
                () = self.look_and_try() => {}
            }
            self.vouch();
            *next_look = Instant::now() + self.pause();
        }
        if let Some(directive) = self.interrupted.take() {
            self.settle_interrupted(*directive).await;
        }
        let tended = self.tend_order();
        if self.compared_at.elapsed() >= REPORT_AGE {
            self.compare().await?;
        }
        self.tell(self.cause).await?;
        tended?;
        // What has begun is finished; nothing else begins.
        while !self.ending.is_cancelled()
            && let Some(directive) = self.next_directive()
        {
            match self.carry_out(&directive).await? {
                Progress::Ended => {
                    self.tend_order()?;
                    self.tell(self.cause).await?;
                }
                Progress::Later => {
                    *next_look = (*next_look).min(Instant::now() + FIRST_PAUSE);
                    break;
                }
            }
            self.adopt_and_look(next_look);
        }
        Ok(())
    }

    async fn look_and_try(&mut self) {
        self.look_as_needed().await;
        self.try_configuration().await;
    }

    /// Takes over what is wanted now, and looks at once if that asks for it.
    fn adopt_and_look(&mut self, next_look: &mut Instant) {
        if self.adopt_input() {
            self.look_at_once(next_look);
        }
    }

    fn look_at_once(&mut self, next_look: &mut Instant) {
        *next_look = Instant::now();
        self.whole_at = None;
    }

    pub(super) fn current(&self) -> &MachineInput {
        &self.current
    }

    /// Takes over what is wanted now; tells whether a look is due because of it.
    pub(super) fn adopt_input(&mut self) -> bool {
        let input = self.input.borrow_and_update().clone();
        let moved =
            input.endpoint != self.current.endpoint || input.identity != self.current.identity;
        if moved {
            self.site.attended.lost(&self.current.endpoint.address);
            if let Some(reached) = &mut self.reached {
                reached.stale = true;
            }
            self.reachable = None;
            self.failures = 0;
        }
        if input.resync != self.current.resync {
            self.compared_at = Instant::now()
                .checked_sub(REPORT_AGE)
                .unwrap_or(self.compared_at);
        }
        // Whatever was enough for a machine of which nothing was wanted is not what anybody
        // decides by.
        let roused =
            input.activity != self.current.activity && input.activity != Activity::Proposed;
        let asked = input.inspection.is_some() && input.inspection != self.current.inspection;
        let configured = input.configuration != self.current.configuration
            || input.components != self.current.components
            || input.boot_entries != self.current.boot_entries;
        if input.activity != self.current.activity {
            // Firmware enters what an install left at the boot after it.
            self.entries = None;
        }
        self.current = input;
        moved || roused || asked || configured
    }

    fn pause(&self) -> Duration {
        let poll = self.site.config.poll;
        let activity = self.current.activity;
        if self.failures > 0 {
            // In the end one that fails is asked no more often than one that answers.
            let longest = match activity {
                Activity::UnderWay => poll.busy(),
                Activity::Kept => poll.idle(),
                Activity::Proposed => poll.idle() * 2,
            };
            return clock::backoff(self.failures, FIRST_PAUSE, longest);
        }
        match activity {
            Activity::UnderWay => clock::jittered(poll.busy(), 10),
            // Never less than the interval: no BMC is asked more often.
            Activity::Kept | Activity::Proposed => clock::jittered(poll.idle() * 11 / 10, 9),
        }
    }

    /// Reads back what was reported and journalled before this process began.
    /// Without the journal nothing is done, and that is said.
    async fn load(&mut self) -> anyhow::Result<()> {
        let uid = self.current.uid.clone();
        let known = self.writer.read().await?.cloned();
        let ours = known.as_ref().filter(|known| known.subject_uid == uid);
        self.bmc = ours.and_then(|known| known.bmc.clone());
        self.reachable = ours.and_then(|known| known.reachable.clone());
        self.inspected = ours.and_then(|known| known.inspected.clone());
        self.tried = ours.and_then(|known| known.configuration.clone());
        let reported = known.as_ref().and_then(|known| known.execution.as_ref());
        if let Err(error) = self.journal.load() {
            self.execution = reported.cloned();
            self.unusable(&error);
            self.tell(Cause::Facts).await?;
            return Err(error.into());
        }
        if self.was_only_offered() {
            self.withdraw_failed_pxe();
        }
        match resume(reported, self.journal.last()) {
            Resumed::Fresh => {}
            Resumed::Ended(execution) => {
                if reported != Some(&execution) {
                    self.cause = Cause::Outcome;
                }
                self.execution = Some(execution);
            }
            Resumed::Interrupted(directive) => {
                self.execution = Some(Execution {
                    accepted: directive.seq,
                    outcome: None,
                });
                self.interrupted = Some(directive);
            }
        }
        self.loaded = true;
        Ok(())
    }

    /// Whether the last process offered something by PXE and ended before it led the card to it.
    fn was_only_offered(&self) -> bool {
        self.journal.last().is_some_and(|entry| {
            entry.directive.action.kind == ActionKind::StagePxeBoot
                && entry.stage == Stage::Accepted
                && entry.outcome.is_none()
        })
    }

    /// Compares with the API server, which may have been set back.
    async fn compare(&mut self) -> Result<(), ReportError> {
        let theirs = self
            .writer
            .read()
            .await?
            .and_then(|known| known.execution.clone());
        self.yield_to(theirs);
        self.compared_at = Instant::now();
        Ok(())
    }

    /// Never falls behind what the report says was accepted.
    fn yield_to(&mut self, theirs: Option<Execution>) {
        let accepted = self.execution.as_ref().map_or(0, |ours| ours.accepted);
        if let Some(theirs) = theirs.filter(|theirs| theirs.accepted > accepted) {
            tracing::warn!(machine = %self.current.key, accepted, theirs = theirs.accepted, "another executor accepted a later directive");
            self.execution = Some(theirs);
        }
    }

    fn next_directive(&self) -> Option<Directive> {
        let accepted = self
            .execution
            .as_ref()
            .map_or(0, |execution| execution.accepted);
        judge::next(&self.current.directives, accepted).cloned()
    }

    /// Writes the report, if it changed.
    pub(super) async fn tell(&mut self, cause: Cause) -> Result<(), ReportError> {
        if self.reachable.is_none() && self.execution.is_none() {
            return Ok(());
        }
        let spec = self.compose();
        let mut written = self.writer.write(&spec, cause).await;
        if matches!(written, Err(ReportError::Conflict(_))) && cause != Cause::Accept {
            self.compare().await?;
            let spec = self.compose();
            written = self.writer.write(&spec, cause).await;
        }
        if written? {
            self.site.metrics.wrote(cause.manager());
        }
        self.cause = Cause::Facts;
        Ok(())
    }

    fn compose(&self) -> DpuReportSpec {
        let input = &self.current;
        let (vantage, version) = (input.key.vantage(), env!("CARGO_PKG_VERSION"));
        let spec = DpuReportSpec {
            subject_uid: input.uid.clone(),
            reachable: self.reachable.clone(),
            inspected: self.inspected.clone(),
            bmc: self.bmc.clone().map(|bmc| BmcReport {
                granted: self.site.granted_to(&input.uid),
                fetches: self.fetches(&bmc),
                busy: self.rest.told(),
                pxe: (input.key.kind == MachineKind::Card)
                    .then(|| self.site.pxe_report(&input.uid)),
                ..bmc
            }),
            execution: self.execution.clone(),
            custody: self.custody(),
            configuration: self.tried.clone(),
            ..DpuReportSpec::new(vantage, &input.key.name, version, clock::now())
        };
        keep_time(spec, self.writer.known())
    }

    fn is_on(&self) -> bool {
        let power = self.bmc.as_ref().and_then(|bmc| bmc.power.as_ref());
        power == Some(&PowerState::On)
    }

    fn custody(&self) -> Option<Custody> {
        if self.current.key.kind != MachineKind::Host {
            return None;
        }
        match self.site.orders.get(&self.current.key.name) {
            Ok(order) => order
                .filter(|order| order.host_uid == self.current.uid)
                .map(|order| self.custody_of(&order)),
            // The look says so.
            Err(_) => self.writer.known().and_then(|known| known.custody.clone()),
        }
    }

    /// What is reported of an order. That its hold is in force is said only of what the machine
    /// itself has shown; while it shows nothing, what it showed last still counts.
    fn custody_of(&self, order: &Order) -> Custody {
        let shown = self
            .facts
            .as_ref()
            .filter(|facts| judge::check_expects(&order.meant(), facts).is_ok())
            .map(|facts| policy_to_change(facts).is_none());
        let known = self.writer.known().and_then(|known| known.custody.as_ref());
        let last = known
            .filter(|known| known.seq == order.seq)
            .and_then(|known| known.in_force);
        order.custody(self.is_on(), shown.or(last).unwrap_or(false))
    }

    /// Keeps the host's work order in step with what its object says, and
    /// drops it once its end has been reported and taken note of.
    fn tend_order(&self) -> Result<(), StateError> {
        let input = &self.current;
        if input.key.kind != MachineKind::Host {
            return Ok(());
        }
        let book = &self.site.orders;
        let Some(order) = book.get(&input.key.name)? else {
            return Ok(());
        };
        let reported = self.writer.known().and_then(|known| known.custody.as_ref());
        if order.host_uid == input.uid
            && order.is_finished()
            && !input.held
            && reported == Some(&self.custody_of(&order))
        {
            return book.remove(&input.key.name);
        }
        let networks = &self.site.config.allowed_networks;
        let access = self
            .reached
            .as_ref()
            .map(|reached| Access::of(&reached.target, networks));
        book.amend(&input.key.name, &input.uid, |order| {
            order.hands_off = input.hands_off;
            if let Some(access) = access {
                order.access = access;
            }
            if let Some(current) = &input.work_order {
                follow(order, current, clock::now().0);
            }
        })
    }
}

/// The report, with the time of the known one if nothing else differs.
pub(super) fn keep_time(mut spec: DpuReportSpec, known: Option<&DpuReportSpec>) -> DpuReportSpec {
    if let Some(known) = known {
        let now: Time = std::mem::replace(&mut spec.observed_at, known.observed_at.clone());
        if spec != *known {
            spec.observed_at = now;
        }
    }
    spec
}
