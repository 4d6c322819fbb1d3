//! One pass over everything.

use serde_json::Value;

use super::Turn;
use super::media::slots;
use crate::documents::{Documents, Within, manager_path};
use crate::error::BmcError;
use crate::facts::{
    BmcFacts, BootOverrideState, Capabilities, Capability, Channel, Manager, MediaSlot, Reading,
    SystemGlance, SystemIdentity, TrustInForce,
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
    let identity = link.identity(&system);
    let sessions = link.sessions().clone();
    let channel = channel(link, tls);
    let documents = &mut Within { link, deadline };
    facts(documents, &system, identity, sessions, channel).await
}

pub(super) async fn glance(turn: &mut Turn<'_>) -> Result<SystemGlance, BmcError> {
    let link = &mut *turn.link;
    let system = link.brief_system(turn.deadline).await?;
    Ok(SystemGlance {
        identity: link.identity(&system),
        power: reading::power(&system),
        boot_progress: reading::boot_progress(&system),
        boot_override: reading::boot_override(&system),
        boot_order: reading::boot_order_shown(&system),
        power_restore: reading::power_restore(&system),
    })
}

/// How the BMC behind a link was reached.
pub(crate) fn channel(link: &Link, tls: &TlsTrust) -> Channel {
    Channel {
        remote: link.remote(),
        trust: match tls {
            TlsTrust::CaBundle(_) => TrustInForce::CaBundle,
            TlsTrust::PinnedKey(_) => TrustInForce::PinnedKey,
            TlsTrust::NoVerification => TrustInForce::NoVerification,
            TlsTrust::PlainHttp => TrustInForce::PlainHttp,
        },
        authentication: link.authentication(),
    }
}

/// The facts of one ComputerSystem and of what belongs to it.
pub(crate) async fn facts(
    documents: &mut impl Documents,
    system: &Value,
    identity: SystemIdentity,
    sessions: Capability,
    channel: Channel,
) -> Result<BmcFacts, BmcError> {
    let manager = optional(manager(documents, system).await)?;
    let media = optional(media(documents, system).await)?;
    let pending_boot_override = optional(pending_override(documents, system).await)?;
    let info = match reading::reset_info(system) {
        Some(path) => documents.get(&path).await.ok(),
        None => None,
    };
    let path = identity.system_path.clone();
    let boot_override = reading::boot_override(system);
    let targets = reading::override_capability(system, &path);
    // Where settings for the next reset live apart, they are what is changed.
    let settings = (pending_boot_override != Reading::NotOffered).then_some(&pending_boot_override);
    let capabilities = Capabilities {
        reset: reading::reset(system, &path, info.as_deref()),
        uefi_http: Capability {
            values: reading::override_durations(system),
            ..reading::http_boot_capability(&targets, settings.unwrap_or(&boot_override), &path)
        },
        boot_override: targets,
        virtual_media: reading::media_capability(&media, &path),
        boot_progress: reading::progress_capability(system, &path),
        power_restore: reading::restore_capability(system, &path),
        sessions,
    };
    Ok(BmcFacts {
        service: reading::service(documents.root()),
        manager,
        power: reading::power(system),
        boot_progress: reading::boot_progress(system),
        boot_override,
        pending_boot_override,
        boot_order: reading::boot_order_shown(system),
        media,
        power_restore: reading::power_restore(system),
        capabilities,
        channel,
        identity,
    })
}

/// A part that the facts can do without: its failure is a fact too, unless it
/// is about us and not about the part.
pub(super) fn optional<T>(read: Result<Reading<T>, BmcError>) -> Result<Reading<T>, BmcError> {
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
    documents: &mut impl Documents,
    system: &Value,
) -> Result<Reading<Manager>, BmcError> {
    let Some(path) = manager_path(documents, system).await? else {
        return Ok(Reading::NotOffered);
    };
    let document = documents.get(&path).await?;
    Ok(Reading::Read(reading::manager(&document, path)))
}

async fn media(
    documents: &mut impl Documents,
    system: &Value,
) -> Result<Reading<Vec<MediaSlot>>, BmcError> {
    let slots = slots(documents, system).await?;
    Ok(Reading::Read(
        slots.into_iter().map(|read| read.slot).collect(),
    ))
}

async fn pending_override(
    documents: &mut impl Documents,
    system: &Value,
) -> Result<Reading<BootOverrideState>, BmcError> {
    match reading::settings_path(system) {
        Some(path) => {
            let settings = documents.get(&path).await?;
            Ok(reading::boot_override(&settings))
        }
        None => Ok(Reading::NotOffered),
    }
}
