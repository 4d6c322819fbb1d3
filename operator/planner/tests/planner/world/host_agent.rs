//! The agent in the operating system of the host: up when the host is, and the hand that pushes
//! images to cards.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::{Directive, OutcomeKind};
use lockstep_crds::report::{Execution, Outcome};
use lockstep_planner::view::{HostAgentSeen, LeaseSeen, SeenInHost};

use super::machine::{Coming, INSTALL};
use super::{World, secs};

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

#[derive(Clone, Debug, Default)]
pub struct HostAgent {
    pub runs: bool,
    pub pushes: VecDeque<Push>,
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
            self.push(&directive);
        } else if let Some(execution) = accepted.filter(|last| last.outcome.is_none()) {
            // It does not know what it did before it died.
            agent.tells(execution.accepted, Some(OutcomeKind::Unknown), now);
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
        let uid = Some(&directive.target.uid);
        let index = self
            .cards
            .iter()
            .position(|card| card.dpu.as_ref().and_then(|dpu| dpu.metadata.uid.as_ref()) == uid)
            .unwrap();
        let machine = &self.cards[index].machine;
        let stage = machine.facts().stage;
        let forbids = stage.is_some_and(|stage| stage.forbids_power_cut());
        // What changed since the plan it sees for itself.
        if !machine.is_on() || forbids || machine.granted != directive.action.image {
            let agent = self.host_agent.as_mut().unwrap();
            return agent.tells(directive.seq, Some(OutcomeKind::Failed), now);
        }
        self.note(directive);
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

impl HostAgent {
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
