//! Power commands of directives: not sooner after the last than the machine takes them, and noted.

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::directive::{ActionKind, Directive};
use lockstep_redfish::{BmcError, BmcFacts, Effect, PowerAction, PowerState, card_gaps, host_gaps};
use tokio::time::Instant;

use crate::clock;
use crate::site::execute::{End, Port};
use crate::site::gaps::{Command, not_before};
use crate::site::judge::Refusal;
use crate::site::machine::MachineKind;
use crate::site::plan::is_power;
use crate::site::worker::Worker;

/// What is over before that is awaited without a word: a write for it costs more.
const WITHOUT_A_WORD: SignedDuration = SignedDuration::from_secs(30);

/// Until when a machine is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftAlone {
    pub(super) until: Timestamp,
    pub(super) refusal: Refusal,
}

impl LeftAlone {
    /// Whether the directive can still be accepted when that is over, and it is over soon.
    pub(super) fn is_brief(&self, directive: &Directive, now: Timestamp) -> bool {
        self.until.duration_since(now) <= WITHOUT_A_WORD && self.until < directive.deadline.0
    }
}

/// The power command that the directive begins with, given these facts.
fn first_command(directive: &Directive, facts: &BmcFacts) -> Option<PowerAction> {
    match directive.action.kind {
        ActionKind::PowerOn => Some(PowerAction::On),
        ActionKind::ShutdownGracefully => Some(PowerAction::GracefulShutdown),
        ActionKind::ForceOff => Some(PowerAction::ForceOff),
        ActionKind::ReleaseHost => {
            let wants_it_on = directive.action.power_on == Some(true);
            (wants_it_on && !is_power(facts, &PowerState::On)).then_some(PowerAction::On)
        }
        // What is off is powered on for them.
        ActionKind::PullUpdate | ActionKind::PushUpdate => {
            is_power(facts, &PowerState::Off).then_some(PowerAction::On)
        }
        ActionKind::HoldHost
        | ActionKind::StageInstall
        | ActionKind::StageHttpBoot
        | ActionKind::SetNetworkBoot
        | ActionKind::StagePxeBoot
        | ActionKind::StageBootEntry
        | ActionKind::SetBootOrder
        | ActionKind::PullFirmware
        | ActionKind::PushFirmware
        | ActionKind::ResetBmc
        | ActionKind::RestartCard
        | ActionKind::OfferImage
        | ActionKind::PushImage
        | ActionKind::FlashFirmware
        | ActionKind::ClearInstall
        | ActionKind::Unrecognized(_) => None,
    }
}

impl Worker {
    /// Whether the machine is left alone still after what was sent to it last.
    pub(super) fn is_left_alone(
        &self,
        directive: &Directive,
        facts: &BmcFacts,
    ) -> Result<Option<LeftAlone>, Refusal> {
        let Some(action) = first_command(directive, facts) else {
            return Ok(None);
        };
        let machine = &facts.identity;
        let sent = match self.site.power.last(machine) {
            Ok(sent) => sent,
            Err(error) if action == PowerAction::On => {
                tracing::error!("{error}");
                return Ok(None);
            }
            Err(error) => return Err(unusable(&error)),
        };
        let gaps = match self.current().key.kind {
            MachineKind::Card => card_gaps(machine),
            MachineKind::Host => host_gaps(machine),
        };
        let now = clock::now().0;
        let until = not_before(&sent, action, gaps, self.answers_since(), now);
        Ok(until.map(|until| LeftAlone {
            until,
            refusal: too_soon(action, until, now),
        }))
    }

    /// Sends a power action, noted before and after.
    pub(super) async fn power(&mut self, action: PowerAction, bmc: Port, settled: Instant) -> End {
        let wanted = action.leads_to();
        let seen =
            move |facts: &BmcFacts| wanted.as_ref().is_some_and(|state| is_power(facts, state));
        let call = async move { bmc.power(action).await };
        self.noted(Command::Power(action), call, settled, seen)
            .await
    }

    /// Sends one command that a gap counts from, noted before and after.
    pub(super) async fn noted(
        &mut self,
        command: Command,
        call: impl Future<Output = Result<Effect, BmcError>>,
        settled: Instant,
        seen: impl Fn(&BmcFacts) -> bool,
    ) -> End {
        let machine = self.facts.as_ref().map(|facts| facts.identity.clone());
        let note = match self.site.power.begin(&machine.unwrap_or_default(), command) {
            Ok(note) => note,
            // A note that cannot be read or written keeps no machine off.
            Err(error) if command == Command::Power(PowerAction::On) => {
                tracing::error!("{error}");
                None
            }
            Err(error) => return End::Failed(unusable(&error)),
        };
        let unneeded = AtomicBool::new(false);
        let call = async {
            let done = call.await;
            if let Some(note) = &note {
                note.end(&done);
            }
            let is_unneeded = done.as_ref().is_ok_and(|effect| !effect.sent);
            unneeded.store(is_unneeded, Ordering::Relaxed);
            done
        };
        let end = self.step(call, settled, seen).await;
        if let (Some(note), End::Done(_)) = (&note, &end)
            && !unneeded.load(Ordering::Relaxed)
        {
            note.landed();
        }
        end
    }
}

fn unusable(error: &crate::durable::StateError) -> Refusal {
    Refusal::new("StateUnusable", error.to_string())
}

/// The refusal of what comes too soon.
fn too_soon(action: PowerAction, until: Timestamp, now: Timestamp) -> Refusal {
    let seconds = until.duration_since(now).as_secs().max(1);
    Refusal::new("TooSoon", words(action, until)).put_off(seconds)
}

/// What is said of a command that comes too soon.
pub(super) fn words(action: PowerAction, until: Timestamp) -> String {
    format!(
        "{} was not sent: the machine is left alone until {until}, for a command that comes too soon after the last is lost, or leaves it off for good; it is sent then",
        action.reset_type()
    )
}
