//! The site's agent: it looks, accepts before it acts, acts once, and tells what it saw.
//! What goes wrong with the next effects is queued as faults.

use std::collections::VecDeque;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::{ActionKind, Directive, OrphanAction, OutcomeKind};
use lockstep_crds::inspection::Inspected;
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::{
    CustodyState, Execution, ImageState, Outcome, Reachability, UpdateReport, UpdateState, Vantage,
};
use lockstep_crds::{DpuHostStatus, DpuReportSpec};
use lockstep_planner::view::Wanted;

use super::effects::firmware_update;
use super::host_agent;
use super::machine::{Coming, HttpBoot, Machine};
use super::stored::stored;
use super::{World, secs};

/// What goes wrong with an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Fine,
    /// The reply is lost; the effect is there.
    LostReply,
    /// The call is lost, and nobody knows.
    LostCall,
    /// The reply is lost, and the effect comes later.
    Late(i64),
    /// The agent dies after it accepted and before it acts.
    CrashBefore,
    /// The agent dies after it acted and before it can say so.
    CrashAfter,
    /// The BMC refuses.
    Refused,
    /// Half of the effect is there, and the other half never will be.
    Half,
}

#[derive(Clone, Debug)]
pub struct SiteAgent {
    pub alive: bool,
    pub lease: Option<Timestamp>,
    pub faults: VecDeque<Fault>,
    pub on_orphan: OrphanAction,
    /// It never takes anything up.
    pub idle: bool,
}

impl SiteAgent {
    pub fn new() -> Self {
        Self {
            alive: true,
            lease: None,
            faults: VecDeque::new(),
            on_orphan: OrphanAction::KeepHeld,
            idle: false,
        }
    }
}

/// Which machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Host,
    Card(usize),
}

impl World {
    pub fn machine(&mut self, which: Which) -> &mut Machine {
        match which {
            Which::Host => &mut self.host_machine,
            Which::Card(index) => &mut self.cards[index].machine,
        }
    }

    fn subject(&self, which: Which) -> Option<(String, String)> {
        let meta = match which {
            Which::Host => self
                .host
                .as_ref()
                .filter(|host| host.spec.bmc.is_some())
                .map(|host| &host.metadata),
            Which::Card(index) => self.cards[index]
                .dpu
                .as_ref()
                .filter(|dpu| dpu.spec.bmc.is_some())
                .map(|dpu| &dpu.metadata),
        }?;
        Some((meta.name.clone().unwrap(), meta.uid.clone().unwrap()))
    }

    /// The agent dies; what it was doing stays undone or done as it is.
    pub fn agent_dies(&mut self) {
        if self.agent.alive {
            self.agent.alive = false;
            self.tell("agent: dies");
        }
    }

    /// It comes back: what it had accepted and not finished is not known to it.
    pub fn agent_starts(&mut self) {
        if self.agent.alive {
            return;
        }
        self.agent.alive = true;
        self.tell("agent: starts");
        let cards = (0..self.cards.len()).map(Which::Card);
        for which in std::iter::once(Which::Host).chain(cards) {
            if let Some(execution) = self.machine(which).execution.as_mut()
                && execution.outcome.is_none()
            {
                execution.outcome = outcome(OutcomeKind::Unknown, "the agent was restarted");
            }
        }
    }

    /// One look at every machine, and one step of what was accepted.
    pub fn agent_step(&mut self) {
        self.card_agents();
        if !self.agent.alive {
            return;
        }
        self.agent.lease = Some(self.now);
        self.fetch();
        self.search();
        let cards = (0..self.cards.len()).map(Which::Card);
        for which in std::iter::once(Which::Host).chain(cards) {
            if self.subject(which).is_none() || !self.agent.alive {
                continue;
            }
            let accepted = self.machine(which).execution.clone();
            if accepted.is_some_and(|execution| execution.outcome.is_none()) {
                self.carry_out(which);
            } else {
                self.accept(which);
            }
            if self.agent.alive {
                self.publish(which);
            }
        }
    }

    fn directive(&self, which: Which) -> Option<Directive> {
        let (_, uid) = self.subject(which)?;
        let status = self.host.as_ref()?.status.as_ref()?;
        let mut open = status.directives.iter();
        let found = open.find(|open| open.target.uid == uid && !host_agent::is_for(open));
        found.cloned()
    }

    fn kept_record(&self) -> Option<&DpuHostStatus> {
        self.host.as_ref()?.status.as_ref()
    }

    fn is_at_rest(&self) -> bool {
        self.kept_record().is_some_and(DpuHostStatus::is_at_rest)
    }

    /// What a report answers that is made now.
    fn asked(&self) -> Option<Inspected> {
        let uid = self.host.as_ref()?.metadata.uid.clone()?;
        let asked = self.kept_record()?.inspection.as_ref()?;
        Some(asked.of(&uid))
    }

    fn hands_off(&self) -> bool {
        self.host.as_ref().is_some_and(|host| host.spec.hands_off)
    }

    fn accept(&mut self, which: Which) {
        if self.hands_off() || self.agent.idle {
            return;
        }
        let Some(directive) = self.directive(which) else {
            return;
        };
        let now = self.now;
        let machine = self.machine(which);
        let last = machine.execution.as_ref().map_or(0, |last| last.accepted);
        if directive.seq > last && now <= directive.deadline.0 {
            machine.execution = Some(Execution {
                accepted: directive.seq,
                outcome: None,
            });
        }
    }

    fn carry_out(&mut self, which: Which) {
        let directive = self.directive(which);
        let hands_off = self.hands_off();
        let machine = self.machine(which);
        let Some(execution) = machine.execution.clone() else {
            return;
        };
        let Some(directive) = directive.filter(|d| d.seq == execution.accepted) else {
            self.end(which, OutcomeKind::Failed, "withdrawn");
            return;
        };
        if hands_off {
            self.end(which, OutcomeKind::Failed, "handsOff");
            return;
        }
        let beside = (self.host_machine.answers).then(|| self.host_machine.power.clone());
        let host_busy = directive.expects.host.is_some() && self.host_machine.busy.is_some();
        let machine = self.machine(which);
        let takes_power = matches!(
            directive.action.kind,
            ActionKind::ShutdownGracefully | ActionKind::ForceOff | ActionKind::RestartCard
        );
        if takes_power && (host_busy || machine.busy.is_some()) {
            self.end(which, OutcomeKind::Failed, "UpdatesBusy");
            return;
        }
        if let Some(why) = refusal(machine, beside.as_ref(), &directive) {
            self.end(which, OutcomeKind::Failed, &why);
            return;
        }
        let fault = self.agent.faults.pop_front().unwrap_or(Fault::Fine);
        match fault {
            Fault::Fine => {
                self.affect(which, &directive);
                let kind = &directive.action.kind;
                let boots = *kind == ActionKind::PowerOn || kind.is_update();
                let dark = boots && !self.machine(which).is_on();
                let over_http = matches!(
                    directive.action.kind,
                    ActionKind::StageHttpBoot | ActionKind::SetNetworkBoot
                );
                let drops = over_http && self.machine(which).makes_of_http == HttpBoot::DropsUrl;
                if dark {
                    self.end(which, OutcomeKind::Unknown, "sent, and not seen");
                } else if drops {
                    self.end(which, OutcomeKind::Partly, "the URL was dropped");
                } else {
                    self.end(which, OutcomeKind::Done, "seen");
                }
            }
            Fault::LostReply => {
                self.affect(which, &directive);
                self.end(which, OutcomeKind::Unknown, "no reply");
            }
            Fault::LostCall => {
                self.noted(which, &directive);
                self.end(which, OutcomeKind::Unknown, "no reply");
            }
            Fault::Late(seconds) => {
                let at = self.now + secs(seconds.min(directive.settle_seconds - 5));
                let coming = match directive.action.kind {
                    ActionKind::PowerOn => Some(Coming::PowerOn),
                    ActionKind::ForceOff => Some(Coming::PowerOff),
                    ActionKind::HoldHost
                    | ActionKind::ReleaseHost
                    | ActionKind::StageInstall
                    | ActionKind::StageHttpBoot
                    | ActionKind::SetNetworkBoot
                    | ActionKind::StagePxeBoot
                    | ActionKind::StageBootEntry
                    | ActionKind::SetBootOrder
                    | ActionKind::PullUpdate
                    | ActionKind::PushUpdate
                    | ActionKind::PullFirmware
                    | ActionKind::PushFirmware
                    | ActionKind::ResetBmc
                    | ActionKind::RestartCard
                    | ActionKind::OfferImage
                    | ActionKind::PushImage
                    | ActionKind::FlashFirmware
                    | ActionKind::ClearInstall
                    | ActionKind::ShutdownGracefully
                    | ActionKind::Unrecognized(_) => None,
                };
                match coming {
                    Some(coming) => {
                        self.note(&directive);
                        self.machine(which).coming.push((at, coming));
                    }
                    None => self.affect(which, &directive),
                }
                self.end(which, OutcomeKind::Unknown, "no reply");
            }
            Fault::CrashBefore => self.agent_dies(),
            Fault::CrashAfter => {
                self.affect(which, &directive);
                self.agent_dies();
            }
            Fault::Half => {
                if directive.action.kind == ActionKind::StageInstall {
                    self.affect(which, &directive);
                    self.machine(which).boot_override = false;
                    self.end(which, OutcomeKind::Partly, "no boot override");
                } else if let (true, Which::Card(index)) =
                    (directive.action.kind.is_update(), which)
                {
                    self.note(&directive);
                    self.power_on_card(index);
                    self.end(which, OutcomeKind::Partly, "on, and the update refused");
                } else {
                    self.end(which, OutcomeKind::Failed, "the BMC refused");
                }
            }
            Fault::Refused => self.end(which, OutcomeKind::Failed, "the BMC refused"),
        }
    }

    /// An update is noted before it is asked for.
    fn noted(&mut self, which: Which, directive: &Directive) {
        let now = Time(self.now);
        if directive.action.kind.is_firmware() && directive.action.image.is_some() {
            let method = InstallMethod::SimpleUpdate;
            let update = firmware_update(directive, method, UpdateState::Lost, self.now);
            self.machine(which).component_update = Some(update);
        }
        if let (true, Some(image)) = (directive.action.kind.is_update(), &directive.action.image) {
            self.machine(which).update = Some(UpdateReport {
                digest: image.digest.clone(),
                method: InstallMethod::SimpleUpdate,
                since: now,
                state: UpdateState::Lost,
                percent: None,
                message: None,
            });
        }
    }

    fn end(&mut self, which: Which, result: OutcomeKind, message: &str) {
        let machine = self.machine(which);
        let seq = machine.execution.as_ref().map_or(0, |e| e.accepted);
        let line = format!("agent: {seq} {result} ({message})");
        machine.execution = Some(Execution {
            accepted: seq,
            outcome: outcome(result, message),
        });
        self.tell(line);
    }

    /// Writes a machine's report if it says something new.
    fn publish(&mut self, which: Which) {
        let Some((subject, subject_uid)) = self.subject(which) else {
            return;
        };
        let now = Time(self.now);
        let asked = self.asked();
        let rests = self.is_at_rest();
        let machine = self.machine(which);
        let before = machine.report.clone();
        let usable = machine.answers && machine.refusal.is_none();
        let seen = before.as_ref().filter(|old| old.subject_uid == subject_uid);
        let since = seen
            .and_then(|old| old.reachable.clone())
            .filter(|reach| reach.ok == usable)
            .map_or(now.clone(), |reach| reach.since);
        let silent = machine.refusal.unwrap_or("Unreachable").to_owned();
        let vantage = match which {
            Which::Host => Vantage::HostBmc,
            Which::Card(_) => Vantage::CardBmc,
        };
        let observed_at = seen.map_or(now.clone(), |old| old.observed_at.clone());
        let read = usable.then(|| machine.look(rests, now.0));
        let known = seen.and_then(|old| old.inspected.clone());
        let report = DpuReportSpec {
            subject_uid: subject_uid.clone(),
            inspected: asked.filter(|_| usable).or(known),
            reachable: Some(Reachability {
                ok: usable,
                since,
                reason: (!usable).then_some(silent),
                message: (!usable).then(|| "no answer".to_owned()),
            }),
            bmc: read.or_else(|| seen.and_then(|old| old.bmc.clone())),
            execution: machine.execution.clone(),
            custody: machine.custody.clone(),
            configuration: machine.tried.clone(),
            ..DpuReportSpec::new(vantage, &subject, "0.1.0", observed_at)
        };
        if before.as_ref() != Some(&report) {
            machine.report = Some(DpuReportSpec {
                observed_at: now,
                ..report
            });
            self.writes.agents += 1;
        }
    }

    /// Reads what cards are made of, where an inspection asks for it.
    fn search(&mut self) {
        let asks = |status: &DpuHostStatus| status.inspection.clone();
        let inspection = self.kept_record().and_then(asks);
        let (Some(asked), Some(inspection)) = (self.asked(), inspection) else {
            return;
        };
        for card in &mut self.cards {
            let required = card.requirements.iter_mut();
            let seen = required.flat_map(|required| &mut required.seen);
            for seen in seen.filter(|seen| inspection.reports.contains(&seen.report)) {
                seen.inspected = Some(asked.clone());
                if let Some(runs) = &card.runs {
                    seen.running = Some(runs.clone());
                }
            }
        }
    }

    /// Fetches what is wanted anywhere.
    fn fetch(&mut self) {
        let Some(view) = self.view() else { return };
        let before = self.store.clone();
        let of_cards = view.cards.iter().flat_map(|card| {
            let wanted = match &card.wanted {
                Wanted::Image(wanted) => Some(wanted),
                Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => None,
            };
            let fallback = card.fallback.as_ref().map(|fallback| &fallback.image);
            let golden = card.golden.as_ref().map(|golden| &golden.found.image);
            let wiper = card.wiper.as_ref().map(|wiper| &wiper.image);
            let others = fallback.into_iter().chain(golden).chain(wiper);
            wanted.into_iter().chain(others)
        });
        let of_firmware = view.cards.iter().flat_map(|card| &card.firmware);
        let of_firmware = of_firmware.filter_map(|one| one.image.as_ref());
        let of_firmware = of_firmware.map(|image| &image.facts);
        let services = view.cards.iter().flat_map(|card| &card.services);
        let services = services.filter_map(|one| Some(&one.image.as_ref()?.facts));
        for wanted in of_cards.chain(of_firmware).chain(services) {
            let state = match self.store.iter().find(|i| i.digest == wanted.digest) {
                Some(stored) if stored.state == ImageState::Verified => continue,
                Some(stored) if stored.state == ImageState::Fetching && self.source_hangs => {
                    continue;
                }
                Some(stored) if stored.state == ImageState::Fetching && self.source_ok => {
                    ImageState::Verified
                }
                _ if self.source_ok => ImageState::Fetching,
                _ => ImageState::Failed,
            };
            self.store.retain(|image| image.digest != wanted.digest);
            let bytes = self.bytes.get(&wanted.digest);
            self.store.push(stored(wanted, state, bytes));
        }
        if before != self.store {
            self.writes.agents += 1;
        }
    }

    /// The work order takes effect without anybody's help.
    pub fn custody_runs_out(&mut self) {
        let now = self.now;
        if !self.agent.alive || self.hands_off() {
            return;
        }
        let on_orphan = self.agent.on_orphan.clone();
        let Some(custody) = self.host_machine.custody.as_mut() else {
            return;
        };
        if custody.state != CustodyState::Kept || now < custody.expires_at.0 {
            return;
        }
        match on_orphan {
            OrphanAction::KeepHeld | OrphanAction::Unrecognized(_) => {
                custody.state = CustodyState::ExpiredKeptHeld;
            }
            OrphanAction::RestoreAndRelease => {
                custody.state = CustodyState::ExpiredReleased;
                self.tell("agent: the work order ends the hold");
                self.power_on_host();
            }
        }
    }

    /// A person releases the host with the offline command.
    pub fn release_offline(&mut self) {
        if let Some(custody) = self.host_machine.custody.as_mut() {
            custody.state = CustodyState::ReleasedOffline;
            self.tell("user: releases the host offline");
            self.power_on_host();
        }
    }
}

fn outcome(result: OutcomeKind, message: &str) -> Option<Outcome> {
    Some(Outcome {
        result,
        reason: (message == "UpdatesBusy").then(|| message.to_owned()),
        message: Some(message.to_owned()),
    })
}

/// Why the executor refuses, having re-read what the directive expects.
fn refusal(
    machine: &Machine,
    beside: Option<&PowerState>,
    directive: &Directive,
) -> Option<String> {
    let armed = machine.boot_override || machine.http_override || machine.pxe_override;
    if directive.action.kind == ActionKind::RestartCard && !armed {
        return Some("NotArmed".to_owned());
    }
    let by_entry = [ActionKind::StageBootEntry, ActionKind::SetBootOrder];
    let image = directive.action.image.as_ref();
    if by_entry.contains(&directive.action.kind)
        && image
            .and_then(|image| machine.entry(&image.slot.as_ref()?.boot_entry))
            .is_none()
    {
        return Some("BootEntryNotListed".to_owned());
    }
    let expects = &directive.expects;
    if let Some(host) = &expects.host
        && beside != Some(&host.power)
    {
        return Some(format!("the host is {beside:?}"));
    }
    let facts = machine.facts();
    if !machine.answers || machine.refusal.is_some() {
        return Some("the BMC does not answer".to_owned());
    }
    let serial = |identity: &lockstep_crds::MachineIdentity| {
        let serial = identity.serial_number.as_deref();
        serial.map(|serial| serial.trim().to_owned())
    };
    if serial(&expects.identity) != serial(&machine.identity) {
        return Some("another machine".to_owned());
    }
    if expects.power.is_some() && expects.power != facts.power {
        return Some(format!("the power is {}", machine.power));
    }
    let forbids = facts.stage.is_some_and(|stage| stage.forbids_power_cut());
    (expects.safe_stage && forbids).then(|| "the stage forbids it".to_owned())
}
