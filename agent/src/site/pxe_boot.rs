//! PXE: the firmware asks the network what to boot, and is answered from the site's folder.
//!
//! The offer comes first and the boot override after it, so a card that is led to the network finds
//! its image there; they are taken back the other way round.

use std::os::unix::fs::FileExt as _;

use lockstep_crds::directive::Directive;
use lockstep_crds::report::PxeReport;
use lockstep_redfish::{BmcFacts, BootOverride, BootTarget, override_in_force};
use lockstep_store::Digest;
use tokio::fs::File;
use tokio::time::Instant;
use tokio_util::io::StreamReader;

use crate::durable::StateError;
use crate::pxe::book::{Book, OfferError, Partial};
use crate::pxe::offer::{HEAD, Offer, addresses, is_efi_program};
use crate::site::context::Site;
use crate::site::execute::{End, Port};
use crate::site::http_boot::require_boot_read;
use crate::site::judge::Refusal;
use crate::site::machine::MachineKind;
use crate::site::override_note::OverrideNote;
use crate::site::plan::{Plan, staged_image};
use crate::site::worker::Worker;

impl Site {
    /// What is offered to the card of the object with that uid.
    pub(super) fn pxe_report(&self, uid: &str) -> PxeReport {
        let offer = self.pxe.as_ref().and_then(|book| book.offer_to(uid));
        let (digest, macs) = offer.map(|offer| (offer.digest, offer.macs)).unzip();
        PxeReport {
            supplied: self.pxe.is_some(),
            digest,
            macs: macs.unwrap_or_default(),
        }
    }

    /// Whether the machine is armed as a `StagePxeBoot` wants it.
    pub(super) fn has_pxe_boot(&self, directive: &Directive, facts: &BmcFacts) -> bool {
        let Ok((_, digest)) = staged_image(directive) else {
            return false;
        };
        let uid = &directive.target.uid;
        let offer = self.pxe.as_ref().and_then(|book| book.offer_to(uid));
        let wanted = addresses(&directive.action.boot_macs);
        let is_offered = offer.is_some_and(|offer| {
            offer.digest == digest.to_string() && wanted.as_ref() == Ok(&offer.macs)
        });
        let is_granted = self.store.granted(&digest, uid).is_some();
        is_offered && is_granted && override_in_force(facts) == Some(&BootTarget::Pxe)
    }

    /// Whether we set PXE on this machine, where it was not set before.
    pub(super) fn noted_pxe_boot(&self, name: &str, uid: &str) -> bool {
        match OverrideNote::read(&self.config.state_dir, name, uid) {
            Ok(note) => note.is_some_and(|note| note.pxe && note.target() != Some(BootTarget::Pxe)),
            Err(error) => {
                tracing::error!("{error}");
                false
            }
        }
    }

    /// Offers end with the grants that they were made of.
    pub(super) fn end_outdated_pxe_offers(&self) -> Result<(), StateError> {
        let Some(book) = &self.pxe else { return Ok(()) };
        book.keep(|offer| {
            let digest = offer.digest.parse::<Digest>();
            digest.is_ok_and(|digest| self.store.granted(&digest, &offer.uid).is_some())
        })
    }
}

impl Worker {
    pub(super) fn plan_pxe_boot(
        &self,
        directive: &Directive,
        facts: &BmcFacts,
    ) -> Result<Plan, Refusal> {
        self.only(MachineKind::Card)?;
        let (image, digest) = staged_image(directive)?;
        self.require_stored(image, &digest)?;
        require_boot_read(facts)?;
        let book = self.pxe_book()?;
        let macs = boot_addresses(directive)?;
        if let Some(other) = book.other_at(&macs, &self.current().uid) {
            return Err(not_offered(&OfferError::Taken(Box::new(other))));
        }
        Ok(if self.site.has_pxe_boot(directive, facts) {
            Plan::Nothing("the image was staged already".to_owned())
        } else {
            Plan::Act
        })
    }

    fn pxe_book(&self) -> Result<&Book, Refusal> {
        self.site.pxe.as_ref().ok_or_else(|| {
            Refusal::new(
                "PxeNotSupplied",
                "this site agent supplies no PXE service; name its folder in pxe.dir of its configuration",
            )
        })
    }

    /// Puts the card's own medium where its firmware finds it.
    pub(super) async fn offer_by_pxe(&self, directive: &Directive) -> Result<(), Refusal> {
        let book = self.pxe_book()?;
        let (_, digest) = staged_image(directive)?;
        let input = self.current();
        let partial = book.partial();
        self.write_boot_file(&digest, &partial).await?;
        let offered = Offer {
            card: input.key.name.clone(),
            uid: input.uid.clone(),
            digest: digest.to_string(),
            macs: boot_addresses(directive)?,
            file: String::new(),
        };
        book.offer(&partial, offered).map_err(|error| {
            if matches!(error, OfferError::State(_)) {
                self.withdraw_failed_pxe();
            }
            not_offered(&error)
        })
    }

    async fn write_boot_file(&self, digest: &Digest, partial: &Partial) -> Result<(), Refusal> {
        let image = self.site.store.read_granted(digest, &self.current().uid);
        let image = image.await.map_err(|error| {
            Refusal::new(error.category(), format!("{error}; {}", error.remedy()))
        })?;
        let written = async {
            let mut file = File::create_new(&partial.path).await?;
            let mut bytes = StreamReader::new(image.bytes);
            tokio::io::copy(&mut bytes, &mut file).await?;
            file.sync_all().await?;
            let file = std::fs::File::open(&partial.path)?;
            let mut head = vec![0; HEAD];
            let read = file.read_at(&mut head, 0)?;
            head.truncate(read);
            Ok::<_, std::io::Error>(head)
        };
        let head = written.await.map_err(|error| {
            Refusal::new(
                "PxeFolderUnusable",
                format!(
                    "the boot file was not written ({error}); see that pxe.dir has room for the image and can be written"
                ),
            )
        })?;
        if is_efi_program(&head) {
            return Ok(());
        }
        Err(Refusal::new(
            "NotABootFile",
            "the image is no EFI program, and firmware loads nothing else by PXE; make the image a unified kernel image, or let the policy name another way",
        ))
    }

    /// Leads the next boot to the network.
    pub(super) async fn set_pxe_boot(&mut self, bmc: Port, settled: Instant) -> End {
        let noted = self
            .facts
            .as_ref()
            .map(|facts| self.note_override(facts, &BootTarget::Pxe));
        match noted {
            Some(Ok(())) => {}
            Some(Err(error)) => return End::Failed(unusable(&error)),
            None => {
                return End::Failed(Refusal::new(
                    "FactsNotRead",
                    "the card has not been looked at",
                ));
            }
        }
        let wanted = BootOverride::Once(BootTarget::Pxe);
        self.step(bmc.set_boot_override(&wanted), settled, |facts| {
            override_in_force(facts) == Some(&BootTarget::Pxe)
        })
        .await
    }

    pub(super) fn withdraw_pxe(&self) -> Result<(), Refusal> {
        let book = self.site.pxe.as_ref();
        book.map_or(Ok(()), |book| book.withdraw(&self.current().uid))
            .map_err(|error| unusable(&error))
    }

    /// After a directive that offered something and led nobody to it.
    pub(super) fn withdraw_failed_pxe(&self) {
        if let Err(refusal) = self.withdraw_pxe() {
            tracing::error!(machine = %self.current().key, "what was offered by PXE is not withdrawn: {}", refusal.message);
        }
    }
}

fn not_offered(error: &OfferError) -> Refusal {
    match error {
        OfferError::Taken(_) => Refusal::new("BootMacTaken", error.to_string()),
        OfferError::State(error) => unusable(error),
    }
}

fn boot_addresses(directive: &Directive) -> Result<Vec<String>, Refusal> {
    let macs = addresses(&directive.action.boot_macs)
        .map_err(|why| Refusal::new("BootMacInvalid", format!("{why}; correct bootMacs")))?;
    if macs.is_empty() {
        return Err(Refusal::new(
            "BootMacMissing",
            "the directive names no address from which the card boots; upgrade operator and site agent to one release",
        ));
    }
    Ok(macs)
}

fn unusable(error: &StateError) -> Refusal {
    Refusal::new("StateUnusable", error.to_string())
}
