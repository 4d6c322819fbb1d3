//! Power actions and the power restore policy.

use serde_json::json;

use super::Turn;
use super::confirm::look_for;
use crate::document::listed;
use crate::effect::{Confirmation, Effect, PowerAction};
use crate::error::BmcError;
use crate::facts::{BootProgress, Capability, PowerRestorePolicy, PowerState, Reading};
use crate::link::Change;
use crate::reading;

pub(super) async fn act(turn: &mut Turn<'_>, action: PowerAction) -> Result<Effect, BmcError> {
    let deadline = turn.deadline;
    let origin = turn.link.origin().to_owned();
    let mut proven = turn.link.prove(deadline).await?;
    let mut info = None;
    if let Some(path) = reading::reset_info(&proven.system) {
        info = turn.link.get(&path, deadline).await.ok();
        proven = turn.link.prove(deadline).await?;
    }
    let state = reading::power(&proven.system);
    if let Some(effect) = unneeded(action, state.value()) {
        return Ok(effect);
    }
    if state.value() == Some(&PowerState::Off) && action.leads_to().is_none() {
        return Err(BmcError::WrongPowerState {
            address: origin,
            action: action.reset_type(),
            state: PowerState::Off.as_str().to_owned(),
        });
    }
    if action != PowerAction::On
        && let Err(why) = may_go_down(&reading::boot_progress(&proven.system))
    {
        return Err(BmcError::StageForbids {
            address: origin,
            action: action.reset_type(),
            why,
        });
    }
    let path = proven.system_path.clone();
    let offer = reading::reset(&proven.system, &path, info.as_ref());
    let target = reading::reset_target(&proven.system);
    let (Some(reset_type), Some(target)) = (offered_type(action, &offer), target) else {
        return Err(not_offered(
            origin,
            format!("the reset type {}", action.reset_type()),
            offer,
        ));
    };
    let change = Change {
        verb: "a reset",
        path: &target,
        body: json!({ "ResetType": reset_type }),
        image: None,
    };
    proven.post(change, deadline).await?;
    let confirmation = match (action.leads_to(), state) {
        (Some(wanted), Reading::Read(_)) => {
            look_for(turn, &path, |system| {
                (reading::power(system).value() == Some(&wanted)).then_some(Confirmation::Confirmed)
            })
            .await
        }
        (Some(_), Reading::NotOffered | Reading::NotRead(_)) | (None, _) => {
            Confirmation::NotObservable
        }
    };
    Ok(Effect {
        sent: true,
        confirmation,
    })
}

/// The outcome without sending anything, where the state is as wanted or on
/// its way there.
fn unneeded(action: PowerAction, state: Option<&PowerState>) -> Option<Effect> {
    let confirmation = match (action, state?) {
        (PowerAction::On, PowerState::On)
        | (PowerAction::ForceOff | PowerAction::GracefulShutdown, PowerState::Off) => {
            Confirmation::Confirmed
        }
        (PowerAction::On, PowerState::PoweringOn)
        | (PowerAction::GracefulShutdown, PowerState::PoweringOff) => Confirmation::NotSeen,
        (
            PowerAction::On
            | PowerAction::ForceOff
            | PowerAction::GracefulShutdown
            | PowerAction::ForceRestart
            | PowerAction::PowerCycle,
            PowerState::On
            | PowerState::Off
            | PowerState::PoweringOn
            | PowerState::PoweringOff
            | PowerState::Paused
            | PowerState::Other(_),
        ) => return None,
    };
    Some(Effect::unneeded(confirmation))
}

/// Whether the stage lets the machine be taken down (S1). It is read with the proof of identity,
/// just before the request: whoever planned it may have waited for the BMC's lane since.
fn may_go_down(progress: &Reading<BootProgress>) -> Result<(), String> {
    match progress {
        Reading::NotOffered => Ok(()),
        Reading::NotRead(why) => Err(format!("the boot stage was not read ({why})")),
        Reading::Read(progress) => match progress.stage {
            None => Err("the BMC names no boot stage that is known".to_owned()),
            Some(stage) if stage.forbids_power_cut() => Err(format!(
                "the boot stage is {stage}, in which power must never be cut"
            )),
            Some(_) => Ok(()),
        },
    }
}

/// The reset type to send. What is not listed is never sent: some BMCs answer
/// 204 to what they do not know, and do nothing.
fn offered_type(action: PowerAction, offer: &Capability) -> Option<&'static str> {
    let wanted = action.reset_type();
    if offer.allows(wanted) {
        return Some(wanted);
    }
    (action == PowerAction::On && offer.allows("ForceOn")).then_some("ForceOn")
}

pub(super) async fn set_restore_policy(
    turn: &mut Turn<'_>,
    policy: &PowerRestorePolicy,
) -> Result<Effect, BmcError> {
    let deadline = turn.deadline;
    let origin = turn.link.origin().to_owned();
    let proven = turn.link.prove(deadline).await?;
    if reading::power_restore(&proven.system).value() == Some(policy) {
        return Ok(Effect::unneeded(Confirmation::Confirmed));
    }
    let path = proven.system_path.clone();
    let offer = reading::restore_capability(&proven.system, &path);
    if !offer.allows(policy.as_str()) {
        return Err(not_offered(
            origin,
            format!("the power restore policy {}", policy.as_str()),
            offer,
        ));
    }
    let change = Change {
        verb: "a change of the power restore policy",
        path: &path,
        body: json!({ "PowerRestorePolicy": policy.as_str() }),
        image: None,
    };
    proven.patch(change, deadline).await?;
    let confirmation = look_for(turn, &path, |system| {
        (reading::power_restore(system).value() == Some(policy)).then_some(Confirmation::Confirmed)
    })
    .await;
    Ok(Effect {
        sent: true,
        confirmation,
    })
}

pub(super) fn not_offered(address: String, what: String, offer: Capability) -> BmcError {
    BmcError::NotOffered {
        address,
        what,
        path: offer.source,
        offered: match offer.values {
            Some(values) => listed(&values),
            None => "none".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Offer;

    #[test]
    fn a_state_that_is_as_wanted_needs_no_request() {
        let confirmed = Some(Effect::unneeded(Confirmation::Confirmed));
        let on_the_way = Some(Effect::unneeded(Confirmation::NotSeen));
        for (action, state, effect) in [
            (PowerAction::On, PowerState::On, confirmed.clone()),
            (PowerAction::On, PowerState::PoweringOn, on_the_way.clone()),
            (PowerAction::On, PowerState::Paused, None),
            (PowerAction::ForceOff, PowerState::Off, confirmed.clone()),
            (PowerAction::ForceOff, PowerState::PoweringOff, None),
            (PowerAction::GracefulShutdown, PowerState::Off, confirmed),
            (
                PowerAction::GracefulShutdown,
                PowerState::PoweringOff,
                on_the_way,
            ),
            (PowerAction::ForceRestart, PowerState::On, None),
        ] {
            assert_eq!(
                unneeded(action, Some(&state)),
                effect,
                "{action:?} {state:?}"
            );
        }
        assert_eq!(unneeded(PowerAction::On, None), None);
    }

    #[test]
    fn only_listed_reset_types_are_sent() {
        let offer = |values: Option<&[&str]>| Capability {
            offer: Offer::Offered,
            source: String::new(),
            values: values.map(|values| values.iter().map(ToString::to_string).collect()),
        };
        let listed = offer(Some(&["ForceOn", "ForceOff"]));
        assert_eq!(offered_type(PowerAction::On, &listed), Some("ForceOn"));
        assert_eq!(offered_type(PowerAction::PowerCycle, &listed), None);
        let unlisted = offer(None);
        assert_eq!(
            offered_type(PowerAction::PowerCycle, &unlisted),
            Some("PowerCycle")
        );
    }
}
