//! The boot override, and the URL for HTTP boot beside it.

use serde_json::{Value, json};

use super::Turn;
use super::confirm::look_for;
use super::power::not_offered;
use crate::effect::{BootOverride, BootTarget, Confirmation, Effect, OverrideEnabled};
use crate::error::BmcError;
use crate::facts::{BootOverrideState, Capability, ImageUrl, Offer, Reading};
use crate::link::Change;
use crate::reading;

/// What is wanted of `Boot`.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    Override(&'a BootOverride),
    /// Another URL than this one, or none.
    Without(&'a ImageUrl),
}

pub(super) async fn set_override(
    turn: &mut Turn<'_>,
    wanted: &BootOverride,
) -> Result<Effect, BmcError> {
    change(turn, Wanted::Override(wanted)).await
}

pub(super) async fn forget_http_uri(
    turn: &mut Turn<'_>,
    uri: &ImageUrl,
) -> Result<Effect, BmcError> {
    change(turn, Wanted::Without(uri)).await
}

async fn change(turn: &mut Turn<'_>, wanted: Wanted<'_>) -> Result<Effect, BmcError> {
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
    if let Some(confirmation) = wanted.in_force(&state) {
        return Ok(Effect::unneeded(confirmation));
    }
    let offer = reading::override_capability(&proven.system, &proven.system_path);
    if let Some(what) = wanted.lack(&offer, &state) {
        return Err(not_offered(origin, what, offer));
    }
    let change = Change {
        verb: "a change of the boot override",
        path: &path,
        body: wanted.body(),
        image: wanted.uri().map(ImageUrl::expose),
    };
    proven.patch(change, deadline).await?;
    let confirmation = look_for(turn, &path, |document| {
        wanted.landed(&reading::boot_override(document))
    })
    .await;
    Ok(Effect {
        sent: true,
        confirmation,
    })
}

impl<'a> Wanted<'a> {
    fn in_force(self, state: &Reading<BootOverrideState>) -> Option<Confirmation> {
        match (self, state) {
            (Self::Override(wanted), Reading::Read(state)) => in_force(state, wanted),
            (Self::Without(uri), Reading::Read(state)) => {
                (!holds(state, uri)).then_some(Confirmation::Confirmed)
            }
            (Self::Override(_), Reading::NotOffered | Reading::NotRead(_)) => None,
            (Self::Without(_), Reading::NotOffered | Reading::NotRead(_)) => {
                Some(Confirmation::Confirmed)
            }
        }
    }

    fn landed(self, state: &Reading<BootOverrideState>) -> Option<Confirmation> {
        match self {
            Self::Override(wanted) => landed(state.value()?, wanted),
            Self::Without(_) => self.in_force(state),
        }
    }

    /// What the change needs and the BMC does not offer.
    fn lack(self, offer: &Capability, state: &Reading<BootOverrideState>) -> Option<String> {
        let target = match self {
            Self::Override(BootOverride::Once(target) | BootOverride::Continuous(target)) => target,
            Self::Override(BootOverride::OnceFrom(_) | BootOverride::AlwaysFrom(_)) => {
                &BootTarget::UefiHttp
            }
            Self::Override(BootOverride::OnceEntry(_)) => &boot_next(),
            Self::Override(BootOverride::Disabled) | Self::Without(_) => return None,
        };
        if !offer.allows(target.as_str()) {
            return Some(format!("the boot override target {}", target.as_str()));
        }
        let from = self.uri().is_some();
        let http = reading::http_boot_capability(offer, state, &offer.source);
        (from && http.offer != Offer::Offered).then(|| "HttpBootUri".to_owned())
    }

    /// The boot mode is never in it.
    fn body(self) -> Value {
        let wanted = match self {
            Self::Override(wanted) => wanted,
            Self::Without(_) => return json!({"Boot": {"HttpBootUri": null}}),
        };
        match wanted {
            BootOverride::Once(target) => json!({"Boot": {
                "BootSourceOverrideTarget": target.as_str(),
                "BootSourceOverrideEnabled": OverrideEnabled::Once.as_str(),
            }}),
            BootOverride::OnceFrom(uri) => json!({"Boot": {
                "BootSourceOverrideTarget": BootTarget::UefiHttp.as_str(),
                "BootSourceOverrideEnabled": OverrideEnabled::Once.as_str(),
                "HttpBootUri": uri.expose(),
            }}),
            BootOverride::AlwaysFrom(uri) => json!({"Boot": {
                "BootSourceOverrideTarget": BootTarget::UefiHttp.as_str(),
                "BootSourceOverrideEnabled": OverrideEnabled::Continuous.as_str(),
                "HttpBootUri": uri.expose(),
            }}),
            BootOverride::OnceEntry(entry) => json!({"Boot": {
                "BootSourceOverrideTarget": BootTarget::BOOT_NEXT,
                "BootSourceOverrideEnabled": OverrideEnabled::Once.as_str(),
                "BootNext": entry,
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

    fn uri(self) -> Option<&'a ImageUrl> {
        match self {
            Self::Override(BootOverride::OnceFrom(uri) | BootOverride::AlwaysFrom(uri))
            | Self::Without(uri) => Some(uri),
            Self::Override(
                BootOverride::Once(_)
                | BootOverride::OnceEntry(_)
                | BootOverride::Continuous(_)
                | BootOverride::Disabled,
            ) => None,
        }
    }
}

fn holds(state: &BootOverrideState, uri: &ImageUrl) -> bool {
    let held = state.http_uri.value().and_then(Option::as_ref);
    held.is_some_and(|held| held.same_as(uri))
}

/// Whether the wanted override is in force, so that nothing need be sent. A
/// continuous one to the same target serves the next boot as well as `Once`,
/// and stays: the caller is told.
fn in_force(state: &BootOverrideState, wanted: &BootOverride) -> Option<Confirmation> {
    match wanted {
        BootOverride::OnceFrom(uri) => return in_force_from(state, uri, OverrideEnabled::Once),
        // One that lasts for one boot is not enough.
        BootOverride::AlwaysFrom(uri) if state.enabled == Some(OverrideEnabled::Continuous) => {
            return in_force_from(state, uri, OverrideEnabled::Continuous);
        }
        BootOverride::OnceEntry(entry) => return in_force_for(state, entry),
        BootOverride::AlwaysFrom(_)
        | BootOverride::Once(_)
        | BootOverride::Continuous(_)
        | BootOverride::Disabled => {}
    }
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
            BootOverride::OnceFrom(_) | BootOverride::AlwaysFrom(_) | BootOverride::OnceEntry(_),
            _,
        )
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
        (BootOverride::AlwaysFrom(uri), _) => {
            in_force_from(state, uri, OverrideEnabled::Continuous)
        }
        (BootOverride::Continuous(target), Some(OverrideEnabled::Once))
            if state.target.as_ref() == Some(target) =>
        {
            Some(differs(OverrideEnabled::Once))
        }
        (
            BootOverride::Once(_)
            | BootOverride::OnceFrom(_)
            | BootOverride::OnceEntry(_)
            | BootOverride::Continuous(_)
            | BootOverride::Disabled,
            Some(OverrideEnabled::Once | OverrideEnabled::Continuous | OverrideEnabled::Disabled)
            | None,
        ) => None,
    })
}

fn boot_next() -> BootTarget {
    BootTarget::Other(BootTarget::BOOT_NEXT.to_owned())
}

/// The entry must be the wanted one: another may have been named for the next boot before.
fn in_force_for(state: &BootOverrideState, entry: &str) -> Option<Confirmation> {
    let leads = state.target == Some(boot_next()) && state.next.as_deref() == Some(entry);
    match state.enabled.filter(|_| leads)? {
        OverrideEnabled::Once => Some(Confirmation::Confirmed),
        OverrideEnabled::Continuous => Some(differs(OverrideEnabled::Continuous)),
        OverrideEnabled::Disabled => None,
    }
}

/// The URL must be there: without it the firmware boots from wherever DHCP says. A BMC that
/// fetches the image itself shows the URL beside the target of a medium.
fn in_force_from(
    state: &BootOverrideState,
    uri: &ImageUrl,
    wanted: OverrideEnabled,
) -> Option<Confirmation> {
    let enabled = match state.enabled {
        Some(enabled @ (OverrideEnabled::Once | OverrideEnabled::Continuous)) => enabled,
        Some(OverrideEnabled::Disabled) | None => return None,
    };
    if !holds(state, uri) {
        return None;
    }
    match (&state.target, enabled) {
        (Some(BootTarget::UefiHttp), enabled) if enabled == wanted => Some(Confirmation::Confirmed),
        (Some(BootTarget::UefiHttp), _) => Some(differs(enabled)),
        (Some(BootTarget::Cd), _) => Some(Confirmation::Differs(
            "BootSourceOverrideTarget reads Cd: the BMC fetches the image itself, not the firmware"
                .to_owned(),
        )),
        (Some(_) | None, _) => None,
    }
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
            http_uri: Reading::NotOffered,
            next: None,
        }
    }

    #[test]
    fn an_http_boot_is_in_force_only_with_its_url() {
        use OverrideEnabled::{Continuous, Disabled, Once};
        let uri = ImageUrl::new("http://192.0.2.1/i/a/image.iso");
        let wanted = BootOverride::OnceFrom(uri.clone());
        let seen = |target: BootTarget, enabled, held: Option<&str>| {
            let state = BootOverrideState {
                http_uri: Reading::Read(held.map(ImageUrl::new)),
                ..state(target, Some(enabled))
            };
            landed(&state, &wanted)
        };
        let ours = Some(uri.expose());
        assert_eq!(
            seen(BootTarget::UefiHttp, Once, ours),
            Some(Confirmation::Confirmed)
        );
        assert_eq!(
            seen(BootTarget::UefiHttp, Continuous, ours),
            Some(differs(Continuous))
        );
        assert!(matches!(
            seen(BootTarget::Cd, Continuous, ours),
            Some(Confirmation::Differs(_))
        ));
        for (target, enabled, held) in [
            (BootTarget::UefiHttp, Once, None),
            (BootTarget::UefiHttp, Once, Some("http://192.0.2.1/i/b")),
            (BootTarget::UefiHttp, Disabled, ours),
            (BootTarget::Cd, Once, None),
            (BootTarget::Hdd, Continuous, ours),
        ] {
            assert_eq!(seen(target, enabled, held), None);
        }
    }

    #[test]
    fn a_lasting_http_boot_is_sent_where_one_for_one_boot_is_set() {
        use OverrideEnabled::{Continuous, Disabled, Once};
        let uri = ImageUrl::new("http://192.0.2.1/i/a/image.iso");
        let wanted = BootOverride::AlwaysFrom(uri.clone());
        let seen = |target: BootTarget, enabled, held: &str| BootOverrideState {
            http_uri: Reading::Read(Some(ImageUrl::new(held))),
            ..state(target, Some(enabled))
        };
        let ours = uri.expose();
        let lasting = seen(BootTarget::UefiHttp, Continuous, ours);
        assert_eq!(in_force(&lasting, &wanted), Some(Confirmation::Confirmed));
        let once = seen(BootTarget::UefiHttp, Once, ours);
        assert_eq!(in_force(&once, &wanted), None);
        assert_eq!(landed(&once, &wanted), Some(differs(Once)));
        for state in [
            seen(BootTarget::UefiHttp, Continuous, "http://192.0.2.1/i/b"),
            seen(BootTarget::UefiHttp, Disabled, ours),
            seen(BootTarget::Hdd, Continuous, ours),
        ] {
            assert_eq!(landed(&state, &wanted), None);
        }
    }

    #[test]
    fn a_boot_entry_is_in_force_only_if_it_is_the_one_named() {
        use OverrideEnabled::{Continuous, Disabled, Once};
        let wanted = BootOverride::OnceEntry("Boot0007".to_owned());
        let seen = |target: BootTarget, enabled, next: Option<&str>| {
            let state = BootOverrideState {
                next: next.map(str::to_owned),
                ..state(target, Some(enabled))
            };
            landed(&state, &wanted)
        };
        let ours = Some("Boot0007");
        assert_eq!(seen(boot_next(), Once, ours), Some(Confirmation::Confirmed));
        assert_eq!(
            seen(boot_next(), Continuous, ours),
            Some(differs(Continuous))
        );
        for (target, enabled, next) in [
            (boot_next(), Once, Some("Boot0001")),
            (boot_next(), Once, None),
            (boot_next(), Disabled, ours),
            (BootTarget::Hdd, Once, ours),
        ] {
            assert_eq!(seen(target, enabled, next), None);
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
            BootOverride::OnceFrom(ImageUrl::new("http://192.0.2.1/a.iso")),
            BootOverride::AlwaysFrom(ImageUrl::new("http://192.0.2.1/a.iso")),
            BootOverride::OnceEntry("Boot0007".to_owned()),
            BootOverride::Continuous(BootTarget::Hdd),
            BootOverride::Disabled,
        ] {
            let body = Wanted::Override(&wanted).body();
            assert!(!body.to_string().contains("Mode"));
        }
    }
}
