//! Whether the agent of a host may reset one of its cards now. Pure: no I/O, no clock.
//!
//! Between the plan and the reset lies a download. So what the plan rests on is looked at again just
//! before, at the card's BMC and at that of the host: by the agent of the site, which alone reaches
//! them.

use lockstep_crds::directive::{Directive, Expects};
use lockstep_redfish::{BmcFacts, UpdateFacts, quiet};

use crate::site::judge::{Refusal, check_expects};

/// The reason of a refusal that ends by itself, when what goes on has ended.
pub const BUSY: &str = "UpdatesBusy";

/// What was seen for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// The card, by its BMC.
    pub(super) card: &'a BmcFacts,
    /// What goes on there.
    pub(super) updates: &'a UpdateFacts,
    /// Name of the host, and what goes on at its BMC, if it has one.
    pub(super) host: Option<(&'a str, &'a UpdateFacts)>,
}

/// Whether nothing speaks against the reset of that push: the card is the one meant, as planned, in
/// a stage that allows it, and nothing goes on at either BMC (S1, S13).
pub(super) fn check(push: &Directive, seen: Seen<'_>) -> Result<(), Refusal> {
    let expects = Expects {
        safe_stage: true,
        ..push.expects.clone()
    };
    check_expects(&expects, seen.card)?;
    let host = seen
        .host
        .map(|(name, updates)| (format!("the BMC of {name}"), updates));
    let others: Vec<_> = host
        .iter()
        .map(|(name, updates)| (name.as_str(), *updates))
        .collect();
    quiet(seen.updates, &others)
        .map_err(|why| Refusal::new(BUSY, format!("nothing was done to the card: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::samples;
    use lockstep_redfish::{BootProgress, BootStage, PowerState, Reading, TaskFacts};

    fn task() -> TaskFacts {
        TaskFacts {
            path: "/redfish/v1/TaskService/Tasks/0".to_owned(),
            name: Some("Update CEC".to_owned()),
            state: None,
            status: None,
            percent: None,
            started: None,
            messages: Vec::new(),
        }
    }

    fn updates(tasks: Reading<Vec<TaskFacts>>) -> UpdateFacts {
        UpdateFacts {
            service: Reading::NotOffered,
            tasks,
            firmware: Reading::NotOffered,
            last_reset: Reading::NotOffered,
            background_copy: Reading::NotOffered,
        }
    }

    struct Facts {
        card: BmcFacts,
        updates: UpdateFacts,
        host: Option<UpdateFacts>,
    }

    fn judged(spoil: impl FnOnce(&mut Facts)) -> Result<(), (String, String)> {
        let mut push = samples::directive(1, "PushImage");
        push.expects.power = Some("On".into());
        let mut facts = Facts {
            card: samples::facts(),
            updates: updates(Reading::Read(Vec::new())),
            host: Some(updates(Reading::NotOffered)),
        };
        facts.card.power = Reading::Read(PowerState::On);
        spoil(&mut facts);
        let seen = Seen {
            card: &facts.card,
            updates: &facts.updates,
            host: facts.host.as_ref().map(|updates| ("h1", updates)),
        };
        check(&push, seen).map_err(|refusal| (refusal.reason, refusal.message))
    }

    fn stage(stage: Option<BootStage>) -> Reading<BootProgress> {
        Reading::Read(BootProgress {
            stage,
            last_state: None,
            oem_last_state: None,
            last_state_time: None,
        })
    }

    #[test]
    fn a_card_that_is_as_planned_and_at_rest_may_be_reset() {
        assert_eq!(judged(|_| {}), Ok(()));
        assert_eq!(judged(|facts| facts.host = None), Ok(()));
        let runs = |facts: &mut Facts| {
            facts.card.boot_progress = stage(Some(BootStage::OsRunning));
        };
        assert_eq!(judged(runs), Ok(()));
    }

    #[test]
    fn whatever_goes_on_or_is_not_known_keeps_it_from_that() {
        type Spoil = fn(&mut Facts);
        let grounds: [(&str, &str, Spoil); 8] = [
            ("UpdatesBusy", "Update CEC runs on this BMC", |facts| {
                facts.updates = updates(Reading::Read(vec![task()]));
            }),
            ("UpdatesBusy", "Update CEC runs on the BMC of h1", |facts| {
                facts.host = Some(updates(Reading::Read(vec![task()])));
            }),
            ("UpdatesBusy", "HTTP 500", |facts| {
                facts.updates = updates(Reading::NotRead("HTTP 500".to_owned()));
            }),
            ("UpdatesBusy", "HTTP 500", |facts| {
                facts.host = Some(updates(Reading::NotRead("HTTP 500".to_owned())));
            }),
            ("StageForbids", "FirmwareUpdating", |facts| {
                facts.card.boot_progress = stage(Some(BootStage::FirmwareUpdating));
            }),
            ("StageNotRead", "no stage", |facts| {
                facts.card.boot_progress = stage(None);
            }),
            ("PowerStateUnexpected", "Off", |facts| {
                facts.card.power = Reading::Read(PowerState::Off);
            }),
            ("IdentityMismatch", "BMC address", |facts| {
                facts.card.identity.serial_number = Some("SN2".to_owned());
            }),
        ];
        for (reason, words, spoil) in grounds {
            let (told, message) = judged(spoil).unwrap_err();
            assert_eq!(told, reason, "{message}");
            assert!(message.contains(words), "{message}");
        }
    }
}
