//! The agent in the operating system of the host: up when the host is, and the hand that pushes
//! images to cards, and has their firmware flashed.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::{ActionKind, Directive, OutcomeKind};
use lockstep_crds::inventory::FirmwareComponent;
use lockstep_crds::report::{Execution, Outcome};
use lockstep_planner::view::{HostAgentSeen, LeaseSeen, SeenInHost};

use super::machine::{Coming, INSTALL, LISTED, Machine, WRITES};
use super::{Card, World, secs};

const LEASE: SignedDuration = SignedDuration::from_secs(180);

/// What becomes of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// The card is installed.
    Installs,
    /// Somebody else has the rshim: nothing is changed.
    Busy,
    /// It breaks off, and the card waits for the rest.
    BreaksOff,
    /// The agent dies before it resets the card, and comes back.
    DiesBefore,
    /// It dies while the card installs, and knows nothing of it when it comes back.
    DiesAfter,
}

/// What becomes of a flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flash {
    /// It is stored, and the agent says so.
    Stores,
    /// The driver does not begin.
    Refused,
    /// It gives up.
    BreaksOff,
    /// It says that it is done, and nothing is stored.
    KeepsOld,
    /// It says that it is done, and lists nothing of what is stored.
    Hides,
    /// The agent dies before it asks the driver, and comes back.
    DiesBefore,
    /// It dies while the driver writes, and nobody hears it say that it is done.
    DiesMeanwhile,
    /// The same, and the driver is cut off with it.
    CutOff,
    /// The driver does not end in time.
    Hangs,
}

/// Seconds that a driver takes which does not end in time.
const HANGS: i64 = 6000;

/// A driver that was asked to write.
#[derive(Clone, Debug)]
struct Flashing {
    card: usize,
    directive: Directive,
    flash: Flash,
}

#[derive(Clone, Debug, Default)]
pub struct HostAgent {
    pub runs: bool,
    pub pushes: VecDeque<Push>,
    pub flashes: VecDeque<Flash>,
    /// What a driver writes at which card for that directive.
    flashing: Option<Flashing>,
    /// Whether what it accepted last is a flash.
    flashes_last: bool,
    lease: Option<Timestamp>,
    pub execution: Option<Execution>,
    observed_at: Option<Timestamp>,
}

impl HostAgent {
    pub(super) fn seen(&self) -> Option<HostAgentSeen> {
        Some(HostAgentSeen {
            report: "host-node1".to_owned(),
            agent: self.lease.map(|renewed| LeaseSeen {
                renewed,
                duration: LEASE,
            }),
            observed_at: Time(self.observed_at?),
            execution: self.execution.clone(),
        })
    }
}

pub(super) fn is_for(directive: &Directive) -> bool {
    directive.action.kind.is_of_host_agent()
}

impl World {
    /// An agent that has run on the host before, and has seen all cards there with their rshims.
    pub fn has_host_agent(&mut self) {
        self.host_agent = Some(HostAgent {
            observed_at: Some(self.now),
            execution: Some(Execution {
                accepted: 0,
                outcome: None,
            }),
            ..HostAgent::default()
        });
        for (index, card) in self.cards.iter_mut().enumerate() {
            card.in_host = Some(SeenInHost {
                rshim: Some(format!("rshim{index}")),
                serial_number: card.machine.identity.serial_number.clone(),
                device_serial: None,
                devlink: Some(format!("pci/0000:0{}:00.0", index + 3)),
                firmware: listed(&card.machine),
            });
        }
        if self.host_machine.is_on() {
            self.host_agent_starts();
        }
    }

    pub(super) fn host_agent_starts(&mut self) {
        if let Some(agent) = self.host_agent.as_mut() {
            agent.runs = true;
        }
    }

    pub(super) fn host_agent_stops(&mut self) {
        if let Some(agent) = self.host_agent.as_mut() {
            agent.runs = false;
        }
    }

    pub fn host_agent_step(&mut self) {
        let now = self.now;
        let status = self.host.as_ref().and_then(|host| host.status.as_ref());
        let open = status.and_then(|status| status.directives.iter().find(|open| is_for(open)));
        let open = open.cloned();
        let hands_off = self.host.as_ref().is_some_and(|host| host.spec.hands_off);
        let Some(agent) = self.host_agent.as_mut().filter(|agent| agent.runs) else {
            return;
        };
        agent.lease = Some(now);
        self.lists();
        if self.goes_on_flashing() {
            return;
        }
        let agent = self.host_agent.as_mut().unwrap();
        let accepted = agent.execution.clone();
        if let Some(directive) = open
            && accepted
                .as_ref()
                .is_none_or(|last| last.accepted < directive.seq)
        {
            if hands_off || now > directive.deadline.0 {
                return;
            }
            agent.tells(directive.seq, None, now);
            agent.flashes_last = directive.action.kind == ActionKind::FlashFirmware;
            if directive.action.kind == ActionKind::FlashFirmware {
                self.flash(&directive);
            } else {
                self.push(&directive);
            }
        } else if let Some(execution) = accepted.filter(|last| last.outcome.is_none()) {
            // It does not know what it did before it died.
            if agent.flashes_last {
                let unclear = Some("FlashInterrupted");
                agent.ends(execution.accepted, OutcomeKind::Unknown, unclear, now);
            } else {
                agent.tells(execution.accepted, Some(OutcomeKind::Unknown), now);
            }
        }
    }

    fn push(&mut self, directive: &Directive) {
        let now = self.now;
        let agent = self.host_agent.as_mut().unwrap();
        let push = agent.pushes.pop_front().unwrap_or(Push::Installs);
        match push {
            Push::Busy => return agent.tells(directive.seq, Some(OutcomeKind::Failed), now),
            Push::DiesBefore => return,
            Push::Installs | Push::BreaksOff | Push::DiesAfter => {}
        }
        let index = self.target_of(directive);
        let machine = &self.cards[index].machine;
        let stage = machine.facts().stage;
        let forbids = stage.is_some_and(|stage| stage.forbids_power_cut());
        // What changed since the plan it sees for itself.
        if !machine.is_on() || forbids || machine.granted != directive.action.image {
            let agent = self.host_agent.as_mut().unwrap();
            return agent.tells(directive.seq, Some(OutcomeKind::Failed), now);
        }
        self.note(directive);
        self.is_whole(index, directive);
        let image = directive.action.image.clone().unwrap();
        self.count_install(index, directive.seq, &image);
        let card = &mut self.cards[index];
        card.os = None;
        card.disk = None;
        card.machine.reset(now);
        let (end, outcome) = match push {
            Push::BreaksOff => (None, Some(OutcomeKind::Partly)),
            Push::DiesAfter => (Some(image), None),
            Push::Installs | Push::Busy | Push::DiesBefore => {
                (Some(image), Some(OutcomeKind::Done))
            }
        };
        if let Some(image) = end {
            let done = (now + secs(INSTALL), Coming::Installed(image));
            card.machine.coming.push(done);
        }
        let agent = self.host_agent.as_mut().unwrap();
        agent.tells(directive.seq, outcome, now);
    }
}

/// What a card's driver lists.
fn listed(machine: &Machine) -> Vec<FirmwareComponent> {
    let (runs, waits) = machine.flashed.clone();
    vec![FirmwareComponent {
        name: LISTED.to_owned(),
        running: Some(runs),
        pending: waits.filter(|_| !machine.hides_flashed),
        updateable: None,
    }]
}

fn is_flashed(machine: &Machine) -> bool {
    let mut coming = machine.coming.iter();
    coming.any(|(_, coming)| matches!(coming, Coming::Flashed(_)))
}

impl World {
    fn target_of(&self, directive: &Directive) -> usize {
        let uid = Some(&directive.target.uid);
        let mut cards = self.cards.iter();
        let is_target = |card: &Card| {
            let dpu = card.dpu.as_ref();
            dpu.and_then(|dpu| dpu.metadata.uid.as_ref()) == uid
        };
        cards.position(is_target).unwrap()
    }

    /// A person who is asked to looks whether all of a card's firmware is there, and ends a driver that hangs.
    pub fn looks_at_firmware(&mut self, index: usize) {
        let status = self.host.as_ref().and_then(|host| host.status.as_ref());
        let dpu = self.cards[index].dpu.as_ref();
        let uid = dpu.and_then(|dpu| dpu.metadata.uid.as_deref());
        let kept = status
            .zip(uid)
            .and_then(|(status, uid)| status.record_of(uid));
        let is_torn = kept.is_some_and(|kept| kept.components.iter().any(|one| one.torn.is_some()));
        if is_torn {
            let machine = &mut self.cards[index].machine;
            machine.half_flashed = false;
            let coming = &mut machine.coming;
            coming.retain(|(_, coming)| !matches!(coming, Coming::Flashed(_)));
        }
    }

    /// What drivers list that have something to answer, and do not write.
    fn lists(&mut self) {
        for card in &mut self.cards {
            let (machine, seen) = (&card.machine, card.in_host.as_mut());
            if let Some(seen) = seen.filter(|_| machine.is_on() && !is_flashed(machine)) {
                seen.firmware = listed(machine);
            }
        }
    }

    /// Whether a driver writes still; once it does not, how that ended is told.
    fn goes_on_flashing(&mut self) -> bool {
        let now = self.now;
        let agent = self.host_agent.as_mut().unwrap();
        let Some(flashing) = agent.flashing.clone() else {
            return false;
        };
        let seq = flashing.directive.seq;
        let machine = &self.cards[flashing.card].machine;
        if is_flashed(machine) {
            let is_over =
                now >= flashing.directive.deadline.0 + secs(flashing.directive.settle_seconds);
            if is_over && flashing.flash == Flash::Hangs {
                agent.ends(seq, OutcomeKind::Unknown, Some("FlashHangs"), now);
            }
            return true;
        }
        agent.flashing = None;
        // No driver says that it is done with a card that lost its power meanwhile.
        let is_cut = machine.half_flashed;
        let (result, reason) = match flashing.flash {
            Flash::Stores if !is_cut => (OutcomeKind::Done, None),
            Flash::Stores | Flash::BreaksOff => (OutcomeKind::Partly, Some("FlashFailed")),
            Flash::KeepsOld | Flash::Hides => (OutcomeKind::Unknown, Some("VersionNotSeen")),
            Flash::DiesMeanwhile | Flash::CutOff | Flash::DiesBefore | Flash::Refused => {
                (OutcomeKind::Unknown, Some("FlashInterrupted"))
            }
            // It was told before.
            Flash::Hangs => return false,
        };
        agent.ends(seq, result, reason, now);
        false
    }

    fn flash(&mut self, directive: &Directive) {
        let now = self.now;
        let agent = self.host_agent.as_mut().unwrap();
        let flash = agent.flashes.pop_front().unwrap_or(Flash::Stores);
        let index = self.target_of(directive);
        let machine = &self.cards[index].machine;
        let forbids = machine
            .facts()
            .stage
            .is_some_and(|stage| stage.forbids_power_cut());
        let agent = self.host_agent.as_mut().unwrap();
        if flash == Flash::Refused || !machine.is_on() || forbids {
            return agent.ends(
                directive.seq,
                OutcomeKind::Failed,
                Some("FlashRefused"),
                now,
            );
        }
        if flash == Flash::DiesBefore {
            return;
        }
        let agent = self.host_agent.as_mut().unwrap();
        agent.flashing = Some(Flashing {
            card: index,
            directive: directive.clone(),
            flash,
        });
        self.note(directive);
        self.count_update(index, directive);
        assert!(
            !self.writes_firmware(index) && !self.is_installing(index),
            "S1: a flash of a card that is written to\n{}",
            self.told()
        );
        let version = directive.action.image.clone().unwrap().version;
        let stores = match flash {
            Flash::Stores | Flash::Hides | Flash::DiesMeanwhile | Flash::Hangs => true,
            Flash::BreaksOff
            | Flash::KeepsOld
            | Flash::CutOff
            | Flash::Refused
            | Flash::DiesBefore => false,
        };
        let takes = if flash == Flash::Hangs { HANGS } else { WRITES };
        let machine = &mut self.cards[index].machine;
        machine.hides_flashed = flash == Flash::Hides;
        machine.half_flashed = flash != Flash::KeepsOld;
        let written = Coming::Flashed(stores.then_some(version));
        machine.coming.push((now + secs(takes), written));
    }
}

impl HostAgent {
    fn ends(&mut self, seq: i64, result: OutcomeKind, reason: Option<&str>, now: Timestamp) {
        self.observed_at = Some(now);
        self.execution = Some(Execution {
            accepted: seq,
            outcome: Some(Outcome {
                result,
                reason: reason.map(str::to_owned),
                message: Some("as its driver said".to_owned()),
            }),
        });
    }

    fn tells(&mut self, accepted: i64, outcome: Option<OutcomeKind>, now: Timestamp) {
        let broken = outcome == Some(OutcomeKind::Partly);
        self.observed_at = Some(now);
        self.execution = Some(Execution {
            accepted,
            outcome: outcome.map(|result| Outcome {
                result,
                reason: broken.then(|| "PushBroken".to_owned()),
                message: Some("as it was".to_owned()),
            }),
        });
    }
}
