//! The way by PXE: the card's firmware asks the network what to boot, and the site's PXE service
//! answers those addresses alone that the card's object names.
//!
//! Whoever is on that network can claim such an address and read what is offered to it while it is,
//! so no secret goes that way.

use lockstep_crds::report::{BmcReport, PxeReport};

use crate::road::Way;
use crate::view::CardView;

const TARGET: &str = "Pxe";

/// Whether the way is open, as far as the site's service and the card's objects say.
pub(crate) fn way(card: &CardView, facts: &BmcReport, service: &PxeReport) -> Way {
    let targets = &facts.capabilities.boot_targets;
    if !targets.is_empty() && !targets.iter().any(|target| target == TARGET) {
        return Way::Closed(format!(
            "its BMC offers no boot target Pxe, only {}",
            targets.join(", ")
        ));
    }
    if !service.supplied {
        return Way::Closed(
            "the site's agent supplies no PXE service; name its folder in pxe.dir of the site agent's configuration"
                .to_owned(),
        );
    }
    if card.dpu.spec.boot_macs.is_empty() {
        return Way::Closed(
            "bootMacs of the Dpu names no address from which its firmware boots".to_owned(),
        );
    }
    let mut secrets = card
        .configuration
        .iter()
        .flat_map(lockstep_configuration::Inputs::secrets);
    if let Some((name, _)) = secrets.next() {
        return Way::Forbidden(format!(
            "its files are made of secrets (value {name}), and whoever claims its address on the boot network could read them; use another way, or values that are not secret"
        ));
    }
    Way::Open
}

/// Digest of the image that the firmware of some card is offered.
pub(crate) fn offered(facts: &BmcReport) -> Option<&String> {
    facts.pxe.as_ref()?.digest.as_ref()
}

/// Whether the card's next boot asks the network, and is answered with that image.
pub(crate) fn boots(facts: &BmcReport, digest: &str) -> bool {
    is_next(facts) && offered(facts).is_some_and(|offered| offered == digest)
}

/// Whether the boot override in force is to PXE, whoever set it.
pub(crate) fn is_next(facts: &BmcReport) -> bool {
    facts.boot_override.as_deref() == Some(TARGET)
}

/// Whether the offer is to the addresses that the card's object names by now.
pub(crate) fn is_at_its_addresses(card: &CardView, facts: &BmcReport) -> bool {
    let mut named = card.dpu.spec.boot_macs.clone();
    named.sort();
    facts.pxe.as_ref().is_some_and(|pxe| pxe.macs == named)
}
