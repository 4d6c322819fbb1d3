//! One pass over everything.

use serde_json::Value;
use tokio::time::Instant;

use super::Turn;
use super::media::{manager_path, slots};
use crate::error::BmcError;
use crate::facts::{
    BmcFacts, BootOverrideState, Capabilities, Channel, Manager, MediaSlot, Reading, TrustInForce,
};
use crate::link::Link;
use crate::reading;
use crate::target::TlsTrust;

pub(super) async fn observe(turn: &mut Turn<'_>, tls: &TlsTrust) -> Result<BmcFacts, BmcError> {
    let deadline = turn.deadline;
    let link = &mut *turn.link;
    if !turn.opened {
        link.reread_root(deadline).await?;
    }
    let system = link.system(deadline).await?;
    let manager = optional(manager(link, &system, deadline).await)?;
    let media = optional(media(link, &system, deadline).await)?;
    let pending_boot_override = optional(pending_override(link, &system, deadline).await)?;
    let info = match reading::reset_info(&system) {
        Some(path) => link.get(&path, deadline).await.ok(),
        None => None,
    };
    let identity = link.identity(&system);
    let path = identity.system_path.clone();
    let capabilities = Capabilities {
        reset: reading::reset(&system, &path, info.as_ref()),
        boot_override: reading::override_capability(&system, &path),
        virtual_media: reading::media_capability(&media, &path),
        boot_progress: reading::progress_capability(&system, &path),
        power_restore: reading::restore_capability(&system, &path),
        sessions: link.sessions().clone(),
    };
    Ok(BmcFacts {
        manager,
        power: reading::power(&system),
        boot_progress: reading::boot_progress(&system),
        boot_override: reading::boot_override(&system),
        pending_boot_override,
        media,
        power_restore: reading::power_restore(&system),
        capabilities,
        channel: Channel {
            remote: link.remote(),
            trust: match tls {
                TlsTrust::CaBundle(_) => TrustInForce::CaBundle,
                TlsTrust::PinnedKey(_) => TrustInForce::PinnedKey,
                TlsTrust::NoVerification => TrustInForce::NoVerification,
                TlsTrust::PlainHttp => TrustInForce::PlainHttp,
            },
            authentication: link.authentication(),
        },
        identity,
    })
}

/// A part that the facts can do without: its failure is a fact too, unless it
/// is about us and not about the part.
fn optional<T>(read: Result<Reading<T>, BmcError>) -> Result<Reading<T>, BmcError> {
    match read {
        Ok(reading) => Ok(reading),
        Err(error @ BmcError::CredentialsRefused { .. }) => Err(error),
        // Linked, and not there after all.
        Err(
            BmcError::NotOffered { .. }
            | BmcError::ReadFailed {
                status: 404 | 405 | 501,
                ..
            },
        ) => Ok(Reading::NotOffered),
        Err(error) => Ok(Reading::NotRead(error.to_string())),
    }
}

async fn manager(
    link: &mut Link,
    system: &Value,
    deadline: Instant,
) -> Result<Reading<Manager>, BmcError> {
    let Some(path) = manager_path(link, system, deadline).await? else {
        return Ok(Reading::NotOffered);
    };
    let document = link.get(&path, deadline).await?;
    Ok(Reading::Read(reading::manager(&document, path)))
}

async fn media(
    link: &mut Link,
    system: &Value,
    deadline: Instant,
) -> Result<Reading<Vec<MediaSlot>>, BmcError> {
    let slots = slots(link, system, deadline).await?;
    Ok(Reading::Read(
        slots.into_iter().map(|read| read.slot).collect(),
    ))
}

async fn pending_override(
    link: &mut Link,
    system: &Value,
    deadline: Instant,
) -> Result<Reading<BootOverrideState>, BmcError> {
    match reading::settings_path(system) {
        Some(path) => {
            let settings = link.get(&path, deadline).await?;
            Ok(reading::boot_override(&settings))
        }
        None => Ok(Reading::NotOffered),
    }
}
