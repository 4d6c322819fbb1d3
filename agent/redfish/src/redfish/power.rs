//! Power actions and the power restore policy.

use serde_json::json;

use super::Turn;
use super::confirm::look_for;
use super::reset::{Not, Step, reset_for};
use crate::document::listed;
use crate::effect::{Confirmation, Effect, PowerAction};
use crate::error::BmcError;
use crate::facts::{Capability, PowerRestorePolicy, Reading};
use crate::gaps::paused_needs_restart;
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
    let progress = reading::boot_progress(&proven.system);
    let path = proven.system_path.clone();
    let offer = reading::reset(&proven.system, &path, info.as_ref());
    let target = reading::reset_target(&proven.system);
    let needs_restart = paused_needs_restart(&proven.identity());
    let reset = reset_for(action, &state, &progress, &offer, needs_restart);
    let step = match (reset, target) {
        (Ok(Step::There), _) => return Ok(Effect::unneeded(Confirmation::Confirmed)),
        (Ok(Step::OnItsWay), _) => return Ok(Effect::unneeded(Confirmation::NotSeen)),
        (Ok(Step::Send(kind)), Some(target)) => Ok((kind, target)),
        (Ok(Step::Send(kind)), None) => Err(Not::Offered(kind)),
        (Err(not), _) => Err(not),
    };
    let (reset_type, target) = step.map_err(|not| refused(origin, action, not, offer))?;
    let change = Change {
        verb: "a reset",
        path: &target,
        body: json!({ "ResetType": reset_type }),
        image: None,
    };
    proven.post(change, deadline).await?;
    let confirmation = match (action.leads_to(), state) {
        (Some(wanted), Reading::Read(_) | Reading::NotRead(_)) => {
            look_for(turn, &path, |system| {
                (reading::power(system).value() == Some(&wanted)).then_some(Confirmation::Confirmed)
            })
            .await
        }
        (Some(_), Reading::NotOffered) | (None, _) => Confirmation::NotObservable,
    };
    Ok(Effect {
        sent: true,
        confirmation,
    })
}

fn refused(address: String, action: PowerAction, not: Not, offer: Capability) -> BmcError {
    let action = action.reset_type();
    match not {
        Not::Now(why) => BmcError::PowerUnsettled {
            address,
            action,
            why,
        },
        Not::Here(state) => BmcError::WrongPowerState {
            address,
            action,
            state: state.as_str().to_owned(),
        },
        Not::InThisStage(why) => BmcError::StageForbids {
            address,
            action,
            why,
        },
        Not::Offered(kind) => not_offered(address, format!("the reset type {kind}"), offer),
    }
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
