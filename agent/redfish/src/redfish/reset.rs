//! Which reset a machine is sent for what somebody wants of it, in the state that it is in. Pure.
//!
//! The state is read in the same session as the proof of identity, just before the request: on a state
//! of a moment ago some verbs prove nothing. A paused BlueField answers `On` with success and does
//! nothing, and takes `ForceRestart` (that of no other machine is a way to power it on); what is off refuses `ForceRestart`; and what comes to a machine
//! that is on its way up or down is lost.

use crate::effect::PowerAction;
use crate::facts::{BootProgress, Capability, PowerState, Reading};
use crate::stage::BootStage;

/// What is done about a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This reset type is sent.
    Send(&'static str),
    /// Nothing: the state is as wanted.
    There,
    /// Nothing: the machine is on its way there.
    OnItsWay,
}

/// Why nothing is done about a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Not {
    /// The state will change by itself, or is read again: the same may be asked for later.
    Now(String),
    /// It makes no sense in this state.
    Here(PowerState),
    /// The boot stage forbids it, or cannot be told.
    InThisStage(String),
    /// The BMC does not list this reset type.
    Offered(&'static str),
}

/// What is sent for `wish`, if anything; `paused_needs_restart`: of a machine that takes no `On` while it is paused. What is not listed is never sent: some BMCs answer 204 to
/// what they do not know, and do nothing.
pub(super) fn reset_for(
    wish: PowerAction,
    state: &Reading<PowerState>,
    progress: &Reading<BootProgress>,
    offer: &Capability,
    paused_needs_restart: bool,
) -> Result<Step, Not> {
    match wish {
        PowerAction::On => match state {
            Reading::Read(PowerState::On) => Ok(Step::There),
            Reading::Read(PowerState::PoweringOn) => Ok(Step::OnItsWay),
            Reading::Read(PowerState::PoweringOff) => Err(not_now(state)),
            Reading::Read(PowerState::Paused) if paused_needs_restart => {
                may_be_woken(progress).map_err(Not::InThisStage)?;
                send("ForceRestart", offer)
            }
            // Of a machine that is on after all nothing is taken.
            Reading::Read(PowerState::Off | PowerState::Paused | PowerState::Other(_))
            | Reading::NotOffered
            | Reading::NotRead(_) => {
                send("On", offer).or_else(|not| send("ForceOn", offer).map_err(|_| not))
            }
        },
        PowerAction::GracefulShutdown => match state {
            Reading::Read(PowerState::Off) => Ok(Step::There),
            Reading::Read(PowerState::PoweringOff) => Ok(Step::OnItsWay),
            Reading::Read(PowerState::PoweringOn) | Reading::NotRead(_) => Err(not_now(state)),
            Reading::Read(PowerState::On | PowerState::Paused | PowerState::Other(_))
            | Reading::NotOffered => take_down(wish, progress, offer),
        },
        PowerAction::ForceOff => match state {
            Reading::Read(PowerState::Off) => Ok(Step::There),
            Reading::Read(PowerState::PoweringOn) | Reading::NotRead(_) => Err(not_now(state)),
            // A shutdown that hangs is on its way down for ever.
            Reading::Read(
                PowerState::On
                | PowerState::PoweringOff
                | PowerState::Paused
                | PowerState::Other(_),
            )
            | Reading::NotOffered => take_down(wish, progress, offer),
        },
        PowerAction::ForceRestart | PowerAction::PowerCycle => match state {
            Reading::Read(PowerState::Off) => Err(Not::Here(PowerState::Off)),
            Reading::Read(PowerState::PoweringOn | PowerState::PoweringOff)
            | Reading::NotRead(_) => Err(not_now(state)),
            Reading::Read(PowerState::On | PowerState::Paused | PowerState::Other(_))
            | Reading::NotOffered => take_down(wish, progress, offer),
        },
    }
}

fn send(kind: &'static str, offer: &Capability) -> Result<Step, Not> {
    if offer.allows(kind) {
        return Ok(Step::Send(kind));
    }
    Err(Not::Offered(kind))
}

fn take_down(
    wish: PowerAction,
    progress: &Reading<BootProgress>,
    offer: &Capability,
) -> Result<Step, Not> {
    may_go_down(progress).map_err(Not::InThisStage)?;
    send(wish.reset_type(), offer)
}

fn not_now(state: &Reading<PowerState>) -> Not {
    Not::Now(match state {
        Reading::Read(state) => format!("its power state is {}", state.as_str()),
        Reading::NotRead(why) => format!("its power state was not read ({why})"),
        Reading::NotOffered => "its power state is not told".to_owned(),
    })
}

/// Whether the stage lets the machine be taken down (S1). It is read with the proof of identity,
/// just before the request: whoever planned it may have waited for the BMC's lane since.
fn may_go_down(progress: &Reading<BootProgress>) -> Result<(), String> {
    match progress {
        Reading::NotOffered => Ok(()),
        Reading::NotRead(_) | Reading::Read(_) => stage_of(progress).map(|_| ()),
    }
}

/// Whether a paused machine may be restarted because it was to be powered on: a reset, of which nobody
/// has planned that it takes something down. So its stage has to say that its system has ended: one that
/// boots or runs would be hit.
fn may_be_woken(progress: &Reading<BootProgress>) -> Result<(), String> {
    match stage_of(progress)? {
        BootStage::OsHalted | BootStage::OsCrashDumped => Ok(()),
        stage @ (BootStage::OsStarting
        | BootStage::OsRunning
        | BootStage::ResetBootRom
        | BootStage::Firmware1
        | BootStage::Firmware2
        | BootStage::Uefi
        | BootStage::FirmwareUpdating
        | BootStage::OsCrashDumping
        | BootStage::FirmwareCrashDumping
        | BootStage::FirmwareCrashDumped) => Err(format!(
            "it is paused, and takes no On; its boot stage is {stage}, so a restart may hit what goes on there"
        )),
    }
}

/// The stage, if it is known and power may be cut in it.
fn stage_of(progress: &Reading<BootProgress>) -> Result<BootStage, String> {
    match progress {
        Reading::NotOffered => Err("the BMC tells no boot stage".to_owned()),
        Reading::NotRead(why) => Err(format!("the boot stage was not read ({why})")),
        Reading::Read(progress) => match progress.stage {
            None => Err("the BMC names no boot stage that is known".to_owned()),
            Some(stage) if stage.forbids_power_cut() => Err(format!(
                "the boot stage is {stage}, in which power must never be cut"
            )),
            Some(stage) => Ok(stage),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Offer;

    const ALL: [&str; 6] = [
        "On",
        "GracefulShutdown",
        "ForceOff",
        "ForceRestart",
        "PowerCycle",
        "ForceOn",
    ];

    fn offer(values: Option<&[&str]>) -> Capability {
        Capability {
            offer: Offer::Offered,
            source: String::new(),
            values: values.map(|values| values.iter().map(ToString::to_string).collect()),
        }
    }

    fn stage(stage: Option<BootStage>) -> Reading<BootProgress> {
        Reading::Read(BootProgress {
            stage,
            last_state: None,
            oem_last_state: None,
            last_state_time: None,
        })
    }

    /// In one word: what is sent, `there`, `comes`, `later`, or `never`.
    fn answer(wish: PowerAction, state: &Reading<PowerState>) -> &'static str {
        let halted = stage(Some(BootStage::OsHalted));
        match reset_for(wish, state, &halted, &offer(Some(&ALL)), true) {
            Ok(Step::Send(kind)) => kind,
            Ok(Step::There) => "there",
            Ok(Step::OnItsWay) => "comes",
            Err(Not::Now(_)) => "later",
            Err(Not::Here(_)) => "never",
            Err(not @ (Not::InThisStage(_) | Not::Offered(_))) => panic!("{wish:?}: {not:?}"),
        }
    }

    #[test]
    fn each_wish_has_its_answer_in_each_state() {
        use PowerAction::{ForceOff, ForceRestart, GracefulShutdown, On, PowerCycle};
        let wishes = [On, GracefulShutdown, ForceOff, ForceRestart, PowerCycle];
        let (graceful, off) = ("GracefulShutdown", "ForceOff");
        let (restart, cycle) = ("ForceRestart", "PowerCycle");
        let told = Reading::Read;
        for (state, answers) in [
            (
                told(PowerState::On),
                ["there", graceful, off, restart, cycle],
            ),
            (
                told(PowerState::Off),
                ["On", "there", "there", "never", "never"],
            ),
            (
                told(PowerState::Paused),
                [restart, graceful, off, restart, cycle],
            ),
            (
                told(PowerState::PoweringOn),
                ["comes", "later", "later", "later", "later"],
            ),
            (
                told(PowerState::PoweringOff),
                ["later", "comes", off, "later", "later"],
            ),
            (
                told(PowerState::Other("Odd".to_owned())),
                ["On", graceful, off, restart, cycle],
            ),
            (
                Reading::NotRead("null".to_owned()),
                ["On", "later", "later", "later", "later"],
            ),
            (Reading::NotOffered, ["On", graceful, off, restart, cycle]),
        ] {
            let found = wishes.map(|wish| answer(wish, &state));
            assert_eq!(found, answers, "{state:?}");
        }
    }

    #[test]
    fn what_is_paused_is_restarted_only_where_nothing_can_run() {
        let paused = Reading::Read(PowerState::Paused);
        let woken = |progress: &Reading<BootProgress>| {
            reset_for(PowerAction::On, &paused, progress, &offer(Some(&ALL)), true)
        };
        for resting in [BootStage::OsHalted, BootStage::OsCrashDumped] {
            let found = woken(&stage(Some(resting)));
            assert_eq!(found, Ok(Step::Send("ForceRestart")), "{resting}");
        }
        for doubtful in [
            stage(Some(BootStage::OsRunning)),
            stage(Some(BootStage::OsStarting)),
            stage(Some(BootStage::Uefi)),
            stage(Some(BootStage::FirmwareCrashDumped)),
            stage(Some(BootStage::FirmwareUpdating)),
            stage(Some(BootStage::OsCrashDumping)),
            stage(Some(BootStage::FirmwareCrashDumping)),
            stage(None),
            Reading::NotRead("HTTP 500".to_owned()),
            Reading::NotOffered,
        ] {
            let found = woken(&doubtful);
            assert!(
                matches!(found, Err(Not::InThisStage(_))),
                "{doubtful:?}: {found:?}"
            );
        }
        let halted = stage(Some(BootStage::OsHalted));
        let on_alone = offer(Some(&["On"]));
        let found = reset_for(PowerAction::On, &paused, &halted, &on_alone, true);
        assert_eq!(found, Err(Not::Offered("ForceRestart")), "On does nothing");
        // Of a host nobody knows better, and its cards were not asked.
        for progress in [halted, Reading::NotOffered] {
            let found = reset_for(
                PowerAction::On,
                &paused,
                &progress,
                &offer(Some(&ALL)),
                false,
            );
            assert_eq!(found, Ok(Step::Send("On")));
        }
    }

    #[test]
    fn only_listed_reset_types_are_sent() {
        let sent = |wish, state: PowerState, values: Option<&[&str]>| {
            let state = Reading::Read(state);
            reset_for(wish, &state, &Reading::NotOffered, &offer(values), true)
        };
        let listed: Option<&[&str]> = Some(&["ForceOn", "ForceOff"]);
        let (on, off) = (PowerState::On, PowerState::Off);
        let found = sent(PowerAction::On, off.clone(), listed);
        assert_eq!(found, Ok(Step::Send("ForceOn")));
        let found = sent(PowerAction::On, off, Some(&["ForceOff"]));
        assert_eq!(found, Err(Not::Offered("On")));
        let found = sent(PowerAction::PowerCycle, on.clone(), listed);
        assert_eq!(found, Err(Not::Offered("PowerCycle")));
        let found = sent(PowerAction::PowerCycle, on, None);
        assert_eq!(found, Ok(Step::Send("PowerCycle")));
    }
}
