//! What the bytes of an image say of how it can be installed: read once it is in the store, so that
//! nobody holds a host for an image that no card can be given.

use futures::StreamExt as _;
use lockstep_crds::report::{BootStreamReport, SeedSlot};
use lockstep_store::{Digest, GrantError, Store};

use crate::pxe::offer::{HEAD, is_efi_program};
use crate::site::boot_stream;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) boot_stream: Option<BootStreamReport>,
    pub(super) seed_slot: SeedSlot,
    pub(super) efi_program: bool,
}

/// Reads it.
///
/// # Errors
/// If it cannot be read now, for people.
pub(super) async fn read(store: &Store, digest: &Digest) -> Result<Seen, String> {
    Ok(Seen {
        boot_stream: boot_stream::read(store, digest).await?,
        seed_slot: seed_slot(store, digest)
            .await
            .map_err(|error| error.to_string())?,
        efi_program: is_efi_program(&head(store, digest).await?),
    })
}

async fn seed_slot(store: &Store, digest: &Digest) -> Result<SeedSlot, GrantError> {
    match store.takes_seed(*digest).await {
        Ok(()) => Ok(SeedSlot::One),
        Err(GrantError::NoSeedSlot { .. }) => Ok(SeedSlot::Absent),
        Err(GrantError::SeedSlotAmbiguous { .. }) => Ok(SeedSlot::Ambiguous),
        Err(error) => Err(error),
    }
}

/// Its first bytes.
async fn head(store: &Store, digest: &Digest) -> Result<Vec<u8>, String> {
    let image = store.read(digest).await;
    let mut bytes = image.map_err(|error| error.to_string())?.bytes;
    let mut head = Vec::new();
    while head.len() < HEAD
        && let Some(piece) = bytes.next().await
    {
        head.extend_from_slice(&piece.map_err(|error| error.to_string())?);
    }
    head.truncate(HEAD);
    Ok(head)
}
