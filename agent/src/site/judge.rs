//! Whether a directive may be carried out. Pure: no I/O, no clock.

use jiff::Timestamp;
use lockstep_crds::directive::{ActionKind, Directive, Expects};
use lockstep_crds::observed::BootStage;
use lockstep_redfish::{BmcFacts, ExpectedIdentity, PowerState, Reading, SpkiPin, prove_identity};
use serde::{Deserialize, Serialize};

/// Why something is not done: a condition reason, and words with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A condition reason.
    pub reason: String,
    /// What, why, remedy.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// What a worker knows when it judges.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// uid of the machine's object.
    pub uid: &'a str,
    /// Highest directive ever accepted for this machine.
    pub accepted: i64,
    /// Whether effects are stopped.
    pub hands_off: bool,
    /// Now.
    pub now: Timestamp,
}

/// The next directive to deal with: the lowest that was never accepted.
pub fn next(directives: &[Directive], accepted: i64) -> Option<&Directive> {
    directives
        .iter()
        .filter(|directive| directive.seq > accepted)
        .min_by_key(|directive| directive.seq)
}

/// What can be said against a directive before any fact is looked at.
pub fn admit(directive: &Directive, standing: Standing<'_>) -> Result<(), Refusal> {
    if directive.seq <= standing.accepted {
        return Err(Refusal::new(
            "AlreadyAccepted",
            format!("directive {} was accepted before", directive.seq),
        ));
    }
    if let ActionKind::Unrecognized(kind) = &directive.action.kind {
        return Err(Refusal::new(
            "ActionUnknown",
            format!(
                "this site agent does not know the action {kind}; upgrade it to the operator's release"
            ),
        ));
    }
    if directive.target.uid != standing.uid {
        return Err(Refusal::new(
            "TargetReplaced",
            format!(
                "the directive is for uid {}, and {} is now another object; the operator plans anew",
                directive.target.uid, directive.target.name
            ),
        ));
    }
    if standing.hands_off {
        return Err(hands_off());
    }
    if standing.now > directive.deadline.0 {
        return Err(Refusal::new(
            "DirectiveExpired",
            format!(
                "the directive was issued at {} by the operator's clock, to be accepted by {}, and by this agent's clock it is {}; the operator plans anew. If that goes on, compare the two clocks",
                directive.issued_at.0, directive.deadline.0, standing.now
            ),
        ));
    }
    Ok(())
}

/// The refusal of S16.
pub fn hands_off() -> Refusal {
    Refusal::new(
        "HandsOff",
        "handsOff is set on the host; unset it to let Lockstep go on",
    )
}

/// Whether the facts are those that the directive was planned on (S1, S13).
pub fn check_expects(expects: &Expects, facts: &BmcFacts) -> Result<(), Refusal> {
    let mismatch = |what: String| {
        Refusal::new(
            "IdentityMismatch",
            format!("{what}; check that the BMC address belongs to this machine"),
        )
    };
    let tls_pin = match expects.bmc_key_pin.as_deref().map(str::parse::<SpkiPin>) {
        None => None,
        Some(Ok(pin)) => Some(pin),
        Some(Err(error)) => return Err(mismatch(error.to_string())),
    };
    let expected = ExpectedIdentity {
        system_uuid: expects.identity.system_uuid.clone(),
        serial_number: expects.identity.serial_number.clone(),
        tls_pin,
    };
    prove_identity(&facts.identity, &expected).map_err(|error| mismatch(error.to_string()))?;
    if let Some(wanted) = &expects.power {
        let found = facts.power.value().map_or("not read", PowerState::as_str);
        if wanted.as_str() != found {
            return Err(Refusal::new(
                "PowerStateUnexpected",
                format!(
                    "the power state is {found}, and {wanted} was expected; the operator plans anew from what is seen"
                ),
            ));
        }
    }
    if expects.safe_stage {
        check_stage(facts)?;
    }
    Ok(())
}

/// Whether the boot stage lets power be cut. A machine that is off has nothing to lose.
pub(super) fn check_stage(facts: &BmcFacts) -> Result<(), Refusal> {
    if facts.power.value() == Some(&PowerState::Off) {
        return Ok(());
    }
    let unread = |why: &str| {
        Err(Refusal::new(
            "StageNotRead",
            format!(
                "the boot stage was not read ({why}), so power is not cut; it is read again before the next try"
            ),
        ))
    };
    match &facts.boot_progress {
        Reading::NotOffered => Ok(()),
        Reading::NotRead(why) => unread(why),
        Reading::Read(progress) => match progress.stage {
            None => unread("the BMC names no stage that is known"),
            Some(stage) if BootStage::from(stage.as_str()).forbids_power_cut() => {
                Err(Refusal::new(
                    "StageForbids",
                    format!(
                        "the boot stage is {stage}, in which power must never be cut; it is tried again when the stage has ended"
                    ),
                ))
            }
            Some(_) => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::samples::{directive, facts};
    use lockstep_redfish::{BootProgress, BootStage as Stage};

    fn standing(now: &str) -> Standing<'static> {
        Standing {
            uid: "uid-1",
            accepted: 4,
            hands_off: false,
            now: now.parse().unwrap(),
        }
    }

    #[test]
    fn a_late_directive_tells_both_clocks() {
        let late = standing("2026-01-01T00:05:00Z");
        let refusal = admit(&directive(5, "PowerOn"), late).unwrap_err();
        for said in [
            "issued at 2026-01-01T00:00:00Z",
            "it is 2026-01-01T00:05:00Z",
            "clocks",
        ] {
            assert!(refusal.message.contains(said), "{}", refusal.message);
        }
    }

    const IN_TIME: &str = "2026-01-01T00:00:30Z";

    #[test]
    fn every_ground_for_refusal_has_its_reason() {
        let good = directive(5, "PowerOn");
        assert_eq!(admit(&good, standing(IN_TIME)), Ok(()));
        let mut unknown = good.clone();
        unknown.action.kind = ActionKind::from("Levitate");
        let mut other = good.clone();
        other.target.uid = "uid-2".to_owned();
        let handsoff = Standing {
            hands_off: true,
            ..standing(IN_TIME)
        };
        for (directive, standing, reason) in [
            (
                &directive(4, "PowerOn"),
                standing(IN_TIME),
                "AlreadyAccepted",
            ),
            (&unknown, standing(IN_TIME), "ActionUnknown"),
            (&other, standing(IN_TIME), "TargetReplaced"),
            (&good, handsoff, "HandsOff"),
            (&good, standing("2026-01-01T00:01:01Z"), "DirectiveExpired"),
        ] {
            assert_eq!(admit(directive, standing).unwrap_err().reason, reason);
        }
    }

    #[test]
    fn the_lowest_never_accepted_directive_is_next() {
        let all = [
            directive(9, "PowerOn"),
            directive(3, "PowerOn"),
            directive(6, "ForceOff"),
        ];
        assert_eq!(next(&all, 3).map(|each| each.seq), Some(6));
        assert_eq!(next(&all, 0).map(|each| each.seq), Some(3));
        assert_eq!(next(&all, 9), None);
    }

    #[test]
    fn a_stranger_is_refused_and_so_is_an_empty_expectation() {
        let good = directive(5, "PowerOn").expects;
        assert_eq!(check_expects(&good, &facts()), Ok(()));
        let mut wrong = good.clone();
        wrong.identity.serial_number = Some("other".to_owned());
        let mut pinned = good.clone();
        pinned.bmc_key_pin = Some("00".repeat(32));
        let mut garbled = good;
        garbled.bmc_key_pin = Some("no pin".to_owned());
        for expects in [wrong, pinned, garbled, Expects::default()] {
            let refusal = check_expects(&expects, &facts()).unwrap_err();
            assert_eq!(refusal.reason, "IdentityMismatch");
        }
    }

    #[test]
    fn power_must_be_as_expected_and_read() {
        let mut expects = directive(5, "PowerOn").expects;
        expects.power = Some("Off".into());
        let mut seen = facts();
        for (power, ok) in [
            (Reading::Read(PowerState::Off), true),
            (Reading::Read(PowerState::On), false),
            (Reading::NotRead("timeout".to_owned()), false),
            (Reading::NotOffered, false),
        ] {
            seen.power = power;
            let reason = check_expects(&expects, &seen).map_err(|refusal| refusal.reason);
            let wanted = if ok {
                Ok(())
            } else {
                Err("PowerStateUnexpected".to_owned())
            };
            assert_eq!(reason, wanted);
        }
    }

    #[test]
    fn power_is_cut_only_in_a_stage_that_was_read_and_allows_it() {
        let mut expects = directive(5, "ForceOff").expects;
        expects.safe_stage = true;
        let mut seen = facts();
        let stage = |stage: Option<Stage>| {
            Reading::Read(BootProgress {
                stage,
                last_state: None,
                oem_last_state: None,
                last_state_time: None,
            })
        };
        for (power, progress, reason) in [
            (PowerState::On, Reading::NotOffered, None),
            (PowerState::On, stage(Some(Stage::OsRunning)), None),
            (PowerState::On, stage(Some(Stage::OsHalted)), None),
            (
                PowerState::On,
                stage(Some(Stage::FirmwareUpdating)),
                Some("StageForbids"),
            ),
            (
                PowerState::On,
                stage(Some(Stage::OsCrashDumping)),
                Some("StageForbids"),
            ),
            (
                PowerState::On,
                stage(Some(Stage::FirmwareCrashDumping)),
                Some("StageForbids"),
            ),
            (PowerState::On, stage(None), Some("StageNotRead")),
            (
                PowerState::On,
                Reading::NotRead("x".to_owned()),
                Some("StageNotRead"),
            ),
            (PowerState::Off, stage(None), None),
        ] {
            seen.power = Reading::Read(power);
            seen.boot_progress = progress;
            let found = check_expects(&expects, &seen)
                .err()
                .map(|refusal| refusal.reason);
            assert_eq!(found.as_deref(), reason, "{:?}", seen.boot_progress);
        }
    }
}
