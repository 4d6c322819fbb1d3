//! The operator around the planner: plan, check, record, conclude, as the real one does,
//! with crashes between the writes.

use lockstep_crds::directive::Directive;
use lockstep_crds::host::CardRecord;
use lockstep_crds::{DpuHostStatus, DpuStatus, FINALIZER, condition};
use lockstep_planner::decision::TaintEffect;
use lockstep_planner::view::Wanted;
use lockstep_planner::{Decision, Plan, View, invariants, plan};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{World, secs};

/// Writes to the API server, by whom and to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    pub host_status: usize,
    pub card_status: usize,
    pub finalizers: usize,
    pub accounts: usize,
    pub renewed: usize,
    pub withdrawn: usize,
    pub agents: usize,
}

impl Writes {
    pub fn total(&self) -> usize {
        self.host_status
            + self.card_status
            + self.finalizers
            + self.accounts
            + self.renewed
            + self.withdrawn
            + self.agents
    }
}

/// Where an operator dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    Never,
    BeforeRecord,
    AfterRecord,
}

/// As the API server would hand it out again: times lose their fractions.
pub fn stored<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_value(serde_json::to_value(value).unwrap()).unwrap()
}

fn differs<T: Serialize + PartialEq>(one: Option<&T>, other: &T) -> bool {
    if one == Some(other) {
        return false;
    }
    one.map(|one| serde_json::to_value(one).unwrap()) != Some(serde_json::to_value(other).unwrap())
}

impl World {
    pub fn operator_step(&mut self) {
        self.operator_step_to(Crash::Never);
    }

    /// Plans and carries the plan out up to the crash; returns the decision.
    pub fn operator_step_to(&mut self, crash: Crash) -> Option<Decision> {
        self.strands_nothing();
        let view = self.view()?;
        let plan = plan(&view, self.now);
        self.check(&view, &plan);
        if self.strict {
            self.was_not_overslept(&view, &plan);
        }
        if crash == Crash::BeforeRecord {
            self.looked = None;
            return Some(plan.decision);
        }
        if self.record(&view, &plan) && crash == Crash::Never {
            let objects = self.objects();
            self.conclude(&plan);
            if self.strict && objects == self.objects() && plan.taints.is_empty() {
                self.nothing_is_left_to_write(&plan.decision);
            }
        }
        Some(plan.decision)
    }

    /// With nothing new to see, nothing is to be done or told before the time at which the
    /// last plan wanted to look again: an operator may sleep until then.
    fn was_not_overslept(&mut self, view: &View, plan: &Plan) {
        let mut seen = view.clone();
        seen.site_agent = None;
        let mut pushes = false;
        if let Some(agent) = seen.host_agent.as_mut() {
            let lease = agent.agent.take();
            pushes = lease.is_some_and(|lease| lease.is_fresh(self.now));
        }
        for card in &mut seen.cards {
            card.os_agent = None;
        }
        let live: Vec<bool> = view
            .cards
            .iter()
            .map(|card| card.live_os(self.now).is_some())
            .collect();
        let seen = format!(
            "{} {pushes} {live:?} {seen:?}",
            view.site_agent_fresh(self.now)
        );
        if let Some((before, look_again)) = self.looked.take()
            && before == seen
            && look_again.is_none_or(|at| self.now + secs(1) < at)
        {
            let told = |status: &DpuHostStatus| (status.conditions.clone(), status.seq);
            let before = view.host.status.as_ref().map(told);
            assert!(
                !differs(before.as_ref(), &told(&plan.host_status)),
                "slept over a change until {look_again:?}\n{:#?}\n{}",
                plan.decision,
                self.told()
            );
        }
        self.looked = Some((seen, plan.look_again));
    }

    /// A host that went down because we told it to is in the record, with a time at which that
    /// ends and a finalizer, for as long as it is down (S10, S12).
    pub fn strands_nothing(&self) {
        if !self.owed || self.host_machine.is_on() {
            return;
        }
        let host = self.host.as_ref();
        let held = host
            .and_then(|host| host.status.as_ref())
            .is_some_and(|status| status.hold.is_some());
        let protected = host
            .and_then(|host| host.metadata.finalizers.as_ref())
            .is_some_and(|names| names.iter().any(|name| name == FINALIZER));
        assert!(held && protected, "the host is stranded\n{}", self.told());
    }

    /// What is written down of an install that goes on only ever gets later.
    fn keeps_its_ends(&self, before: &DpuHostStatus, after: &DpuHostStatus) {
        for old in before.cards.iter().filter(|old| old.booted_at.is_some()) {
            let same = |new: &&CardRecord| new.uid == old.uid && new.booted_at == old.booted_at;
            let shrinks = after.cards.iter().find(same).is_some_and(|new| {
                new.observed_at.is_none() && new.install_ends < old.install_ends
            });
            assert!(!shrinks, "an install is to end earlier\n{}", self.told());
        }
    }

    fn objects(&self) -> usize {
        let cards = self.cards.iter().filter(|card| card.dpu.is_some());
        cards.count() + usize::from(self.host.is_some())
    }

    fn check(&mut self, view: &View, plan: &Plan) {
        let violations = invariants::violations(view, plan, self.now);
        assert!(
            violations.is_empty(),
            "{violations:#?}\n{:#?}\n{}",
            plan.decision,
            self.told()
        );
        if let Decision::Start(directives) = &plan.decision {
            for directive in directives {
                let twice = self.recorded.iter().any(|old| old.seq == directive.seq);
                let known = self
                    .recorded
                    .iter()
                    .any(|old| old.seq == directive.seq && old == &stored(directive));
                assert!(
                    !twice || known,
                    "{} was recorded twice\n{}",
                    directive.seq,
                    self.told()
                );
            }
        }
    }

    /// The same again with nothing new to see writes nothing: no operator can spin.
    fn nothing_is_left_to_write(&self, decision: &Decision) {
        if matches!(decision, Decision::Start(_)) {
            return;
        }
        let Some(view) = self.view() else { return };
        let again = plan(&view, self.now);
        let host = differs(view.host.status.as_ref(), &again.host_status);
        let card = again.cards.iter().find(|(name, status)| {
            view.cards
                .iter()
                .any(|card| card.name() == *name && differs(card.dpu.status.as_ref(), status))
        });
        assert!(
            !host && card.is_none() && again.taints.is_empty(),
            "the plan is not at rest\n{decision:#?}\n{:#?}\n{card:#?}\n{}",
            again.host_status,
            self.told()
        );
    }

    /// Nobody reads that all is as wanted of a card that runs something else.
    fn is_not_ready_and_drifted(&self, status: &DpuStatus) {
        let holds = |kind: &str| {
            let found = condition::find(&status.conditions, kind);
            found.is_some_and(|condition| condition.status == "True")
        };
        let both = holds(condition::READY) && holds(condition::DRIFTED);
        assert!(!both, "ready and drifted\n{}", self.told());
    }

    /// Finalizers, then the host's status. False if nothing may be begun.
    fn record(&mut self, view: &View, plan: &Plan) -> bool {
        let last = view.host.status.as_ref().map_or(0, |status| status.seq);
        let begun: Vec<_> = plan
            .host_status
            .directives
            .iter()
            .filter(|directive| directive.seq > last)
            .cloned()
            .collect();
        let mut too_late = false;
        if plan.finalizers.host {
            let host = self.host.as_mut().unwrap();
            too_late |= protect(&mut host.metadata, &mut self.writes);
        }
        for card in &mut self.cards {
            if let Some(dpu) = card.dpu.as_mut()
                && plan
                    .finalizers
                    .cards
                    .contains(dpu.metadata.name.as_ref().unwrap())
            {
                too_late |= protect(&mut dpu.metadata, &mut self.writes);
            }
        }
        if too_late && !begun.is_empty() {
            return false;
        }
        self.writes.accounts += plan.service_accounts.len();
        self.writes.renewed += plan.renewed_accounts.len();
        for card in &mut self.cards {
            let dpu = card.dpu.as_ref();
            let name = dpu.and_then(|dpu| dpu.metadata.name.as_ref());
            if name.is_some_and(|name| plan.renewed_accounts.contains(name)) {
                card.void = card.os.as_ref().map(|os| os.epoch.clone());
            }
        }
        let before = view.host.status.clone().unwrap_or_default();
        self.keeps_its_ends(&before, &stored(&plan.host_status));
        self.counts_repairs(view, &before, &plan.host_status);
        let host = self.host.as_mut().unwrap();
        if differs(host.status.as_ref(), &plan.host_status) {
            host.status = Some(stored(&plan.host_status));
            self.writes.host_status += 1;
            let shown = host.status.as_ref().unwrap();
            let line = format!(
                "host write {}: {} {}",
                self.writes.host_status,
                shown.step.as_ref().map_or("-", |step| step.as_str()),
                shown.message.as_deref().unwrap_or("")
            );
            self.tell(line);
        }
        for directive in begun {
            self.tell(format!(
                "recorded {}: {}",
                directive.seq,
                lockstep_planner::ledger::what(&directive)
            ));
            self.wish_of.insert(directive.seq, self.wish);
            self.asked_of.insert(directive.seq, asked(view, &directive));
            self.recorded.push(stored(&directive));
        }
        true
    }

    fn conclude(&mut self, plan: &Plan) {
        let mut lines = Vec::new();
        self.writes.withdrawn += plan.withdrawn_accounts.len();
        for (name, status) in &plan.cards {
            self.is_not_ready_and_drifted(status);
            let found = self
                .cards
                .iter_mut()
                .filter_map(|card| card.dpu.as_mut())
                .find(|dpu| dpu.metadata.name.as_ref() == Some(name));
            if let Some(dpu) = found
                && differs(dpu.status.as_ref(), status)
            {
                dpu.status = Some(stored(status));
                self.writes.card_status += 1;
                let phase = status.phase.as_ref().map_or("-", |phase| phase.as_str());
                let message = status.message.as_deref().unwrap_or("");
                lines.push(format!("{name}: {phase} {message}"));
            }
        }
        for change in &plan.taints {
            let node = change.node.clone();
            let effect = change.effect.map_or("none", TaintEffect::as_str);
            lines.push(format!("taint of {node}: {effect}"));
            match change.effect {
                Some(effect) => self.tainted.insert(node, vec![effect]),
                None => self.tainted.remove(&node),
            };
        }
        for event in &plan.events {
            lines.push(format!("event {}: {}", event.reason, event.message));
        }
        for line in lines {
            self.tell(line);
        }
        for card in &mut self.cards {
            if let Some(dpu) = card.dpu.as_mut()
                && !plan
                    .finalizers
                    .cards
                    .contains(dpu.metadata.name.as_ref().unwrap())
            {
                let_go(&mut dpu.metadata, &mut self.writes);
            }
        }
        if !plan.finalizers.host
            && let Some(host) = self.host.as_mut()
        {
            let_go(&mut host.metadata, &mut self.writes);
        }
        self.reap();
    }

    /// What is deleted and held by no finalizer is gone, and its reports with it.
    pub fn reap(&mut self) {
        let gone = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            meta.deletion_timestamp.is_some() && meta.finalizers.as_ref().is_none_or(Vec::is_empty)
        };
        let mut lines = Vec::new();
        for card in &mut self.cards {
            if card.dpu.as_ref().is_some_and(|dpu| gone(&dpu.metadata)) {
                card.dpu = None;
                card.machine.report = None;
                card.os_report = None;
                card.os_lease = None;
                lines.push("the card object is gone");
            }
        }
        if self.host.as_ref().is_some_and(|host| gone(&host.metadata)) {
            self.host = None;
            self.host_machine.report = None;
            lines.push("the host object is gone");
        }
        for line in lines {
            self.tell(line);
        }
    }
}

/// Digest of the image that a person wants of the directive's card.
fn asked(view: &View, directive: &Directive) -> Option<String> {
    let uid = &directive.target.uid;
    let card = view.cards.iter().find(|card| card.uid() == *uid)?;
    let wiper = card.wiper.as_ref().map(|wiper| &wiper.image);
    if wiper.is_some() && directive.action.image.as_ref() == wiper {
        return wiper.map(|wiper| wiper.digest.clone());
    }
    match &card.wanted {
        Wanted::Image(image) => Some(image.digest.clone()),
        Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => None,
    }
}

type Meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Returns whether it is too late.
fn protect(meta: &mut Meta, writes: &mut Writes) -> bool {
    let finalizers = meta.finalizers.get_or_insert_default();
    if finalizers.iter().any(|name| name == FINALIZER) {
        return false;
    }
    if meta.deletion_timestamp.is_some() {
        return true;
    }
    finalizers.push(FINALIZER.to_owned());
    writes.finalizers += 1;
    false
}

fn let_go(meta: &mut Meta, writes: &mut Writes) {
    if let Some(finalizers) = meta.finalizers.as_mut()
        && finalizers.iter().any(|name| name == FINALIZER)
    {
        finalizers.retain(|name| name != FINALIZER);
        writes.finalizers += 1;
    }
}
