//! The boot override.

use serde_json::{Value, json};

use super::Turn;
use super::confirm::look_for;
use super::power::not_offered;
use crate::effect::{BootOverride, BootTarget, Confirmation, Effect, OverrideEnabled};
use crate::error::BmcError;
use crate::facts::{BootOverrideState, Reading};
use crate::link::Change;
use crate::reading;

pub(super) async fn set_override(
    turn: &mut Turn<'_>,
    wanted: &BootOverride,
) -> Result<Effect, BmcError> {
    let deadline = turn.deadline;
    let origin = turn.link.origin().to_owned();
    let mut proven = turn.link.prove(deadline).await?;
    let mut path = proven.system_path.clone();
    // Where settings for the next reset live apart, they are what is compared and changed.
    let mut settings = None;
    if let Some(settings_path) = reading::settings_path(&proven.system) {
        settings = Some(turn.link.get(&settings_path, deadline).await?);
        proven = turn.link.prove(deadline).await?;
        path = settings_path;
    }
    let state = reading::boot_override(settings.as_ref().unwrap_or(&proven.system));
    if let Reading::Read(state) = &state
        && let Some(confirmation) = in_force(state, wanted)
    {
        return Ok(Effect::unneeded(confirmation));
    }
    let offer = reading::override_capability(&proven.system, &proven.system_path);
    if let BootOverride::Once(target) | BootOverride::Continuous(target) = wanted
        && !offer.allows(target.as_str())
    {
        return Err(not_offered(
            origin,
            format!("the boot override target {}", target.as_str()),
            offer,
        ));
    }
    let change = Change {
        verb: "a change of the boot override",
        path: &path,
        body: body(wanted),
        image: None,
    };
    proven.patch(change, deadline).await?;
    let confirmation = look_for(turn, &path, |document| {
        landed(reading::boot_override(document).value()?, wanted)
    })
    .await;
    Ok(Effect {
        sent: true,
        confirmation,
    })
}

fn body(wanted: &BootOverride) -> Value {
    match wanted {
        BootOverride::Once(target) => json!({"Boot": {
            "BootSourceOverrideTarget": target.as_str(),
            "BootSourceOverrideEnabled": OverrideEnabled::Once.as_str(),
        }}),
        BootOverride::Continuous(target) => json!({"Boot": {
            "BootSourceOverrideTarget": target.as_str(),
            "BootSourceOverrideEnabled": OverrideEnabled::Continuous.as_str(),
        }}),
        BootOverride::Disabled => json!({"Boot": {
            "BootSourceOverrideEnabled": OverrideEnabled::Disabled.as_str(),
        }}),
    }
}

/// Whether the wanted override is in force, so that nothing need be sent. A
/// continuous one to the same target serves the next boot as well as `Once`,
/// and stays: the caller is told.
fn in_force(state: &BootOverrideState, wanted: &BootOverride) -> Option<Confirmation> {
    match (wanted, state.enabled) {
        (BootOverride::Disabled, Some(OverrideEnabled::Disabled)) => Some(Confirmation::Confirmed),
        (
            BootOverride::Disabled,
            Some(OverrideEnabled::Once | OverrideEnabled::Continuous) | None,
        ) => (state.target == Some(BootTarget::None)).then_some(Confirmation::Confirmed),
        (BootOverride::Once(target), Some(OverrideEnabled::Once))
        | (BootOverride::Continuous(target), Some(OverrideEnabled::Continuous)) => {
            (state.target.as_ref() == Some(target)).then_some(Confirmation::Confirmed)
        }
        (BootOverride::Once(target), Some(OverrideEnabled::Continuous)) => {
            (state.target.as_ref() == Some(target)).then(|| differs(OverrideEnabled::Continuous))
        }
        (BootOverride::Once(_), Some(OverrideEnabled::Disabled) | None)
        | (
            BootOverride::Continuous(_),
            Some(OverrideEnabled::Once | OverrideEnabled::Disabled) | None,
        ) => None,
    }
}

/// What an accepted change reads back as: in force, or the target with another
/// duration than asked for.
fn landed(state: &BootOverrideState, wanted: &BootOverride) -> Option<Confirmation> {
    in_force(state, wanted).or_else(|| match (wanted, state.enabled) {
        (BootOverride::Continuous(target), Some(OverrideEnabled::Once))
            if state.target.as_ref() == Some(target) =>
        {
            Some(differs(OverrideEnabled::Once))
        }
        (
            BootOverride::Once(_) | BootOverride::Continuous(_) | BootOverride::Disabled,
            Some(OverrideEnabled::Once | OverrideEnabled::Continuous | OverrideEnabled::Disabled)
            | None,
        ) => None,
    })
}

fn differs(found: OverrideEnabled) -> Confirmation {
    Confirmation::Differs(format!(
        "BootSourceOverrideEnabled reads {}",
        found.as_str()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(target: BootTarget, enabled: Option<OverrideEnabled>) -> BootOverrideState {
        BootOverrideState {
            target: Some(target),
            enabled,
            mode: None,
        }
    }

    #[test]
    fn what_is_in_force_is_not_sent_again() {
        use OverrideEnabled::{Continuous, Disabled, Once};
        let once = BootOverride::Once(BootTarget::Cd);
        let confirmed = Some(Confirmation::Confirmed);
        assert_eq!(
            in_force(&state(BootTarget::Cd, Some(Once)), &once),
            confirmed
        );
        assert_eq!(
            in_force(&state(BootTarget::Cd, Some(Continuous)), &once),
            Some(differs(Continuous))
        );
        assert_eq!(
            in_force(&state(BootTarget::Cd, Some(Disabled)), &once),
            None
        );
        assert_eq!(in_force(&state(BootTarget::Hdd, Some(Once)), &once), None);
        assert_eq!(in_force(&state(BootTarget::Cd, None), &once), None);

        let off = BootOverride::Disabled;
        assert_eq!(
            in_force(&state(BootTarget::Cd, Some(Disabled)), &off),
            confirmed
        );
        assert_eq!(
            in_force(&state(BootTarget::None, Some(Continuous)), &off),
            confirmed
        );
        assert_eq!(
            in_force(&state(BootTarget::Hdd, Some(Continuous)), &off),
            None
        );
    }

    #[test]
    fn a_continuous_override_that_became_once_is_told_apart() {
        let wanted = BootOverride::Continuous(BootTarget::Hdd);
        let read = state(BootTarget::Hdd, Some(OverrideEnabled::Once));
        assert_eq!(in_force(&read, &wanted), None);
        assert_eq!(landed(&read, &wanted), Some(differs(OverrideEnabled::Once)));
    }

    #[test]
    fn the_boot_mode_is_never_sent() {
        for wanted in [
            BootOverride::Once(BootTarget::Cd),
            BootOverride::Continuous(BootTarget::Hdd),
            BootOverride::Disabled,
        ] {
            assert!(!body(&wanted).to_string().contains("Mode"));
        }
    }
}
