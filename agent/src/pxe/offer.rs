//! What a card is offered, and the words in which dnsmasq is told. Pure.

use std::collections::BTreeSet;
use std::fmt;

use lockstep_crds::identity::meaningful_mac;
use serde::{Deserialize, Serialize};

/// What every address is marked with that is offered something; a dnsmasq that serves nobody else
/// ignores those without.
pub const MARK: &str = "lockstep";

/// One boot file for one card. The name of the file is a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Name of the card.
    pub card: String,
    /// uid of its object.
    pub uid: String,
    /// Digest of the image.
    pub digest: String,
    /// The addresses, as [`addresses`] gives them.
    pub macs: Vec<String>,
    /// Name of the boot file.
    pub file: String,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("card", &self.card)
            .field("digest", &self.digest)
            .field("macs", &self.macs)
            .finish_non_exhaustive()
    }
}

/// The addresses in one form and order.
///
/// # Errors
/// The first that is no address of one card.
pub fn addresses(macs: &[String]) -> Result<Vec<String>, String> {
    let canonical = macs.iter().map(|mac| {
        let canonical = meaningful_mac(mac);
        canonical.ok_or_else(|| format!("{mac:?} is no MAC address of a card"))
    });
    let canonical: BTreeSet<String> = canonical.collect::<Result<_, _>>()?;
    Ok(canonical.into_iter().collect())
}

/// The lines of dnsmasq's configuration that answer with these offers.
pub fn lines<'a>(offers: impl IntoIterator<Item = &'a Offer>) -> String {
    let mut lines = String::new();
    for (number, offer) in offers.into_iter().enumerate() {
        let own = format!("{MARK}-{number}");
        for (tag, mac) in offer
            .macs
            .iter()
            .flat_map(|mac| [(MARK, mac), (own.as_str(), mac)])
        {
            lines.push_str(&format!("dhcp-mac=set:{tag},{mac}\n"));
        }
        lines.push_str(&format!("dhcp-boot=tag:{own},{}\n", offer.file));
    }
    lines
}

/// Where the header of such a program lies at the latest.
pub const HEAD: usize = 1 << 16;

/// Whether these are the first bytes of a program that UEFI loads, which is all that firmware
/// takes by PXE.
pub fn is_efi_program(head: &[u8]) -> bool {
    let header = || {
        let at = head.get(0x3c..0x40)?.try_into().ok()?;
        let at = usize::try_from(u32::from_le_bytes(at)).ok()?;
        head.get(at..at.checked_add(4)?)
    };
    head.starts_with(b"MZ") && header() == Some(b"PE\0\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(card: &str, macs: &[&str], file: &str) -> Offer {
        Offer {
            card: card.to_owned(),
            uid: format!("uid-{card}"),
            digest: "sha256:00".to_owned(),
            macs: macs.iter().map(|&mac| mac.to_owned()).collect(),
            file: file.to_owned(),
        }
    }

    #[test]
    fn each_card_is_answered_with_its_own_file_and_nobody_else_is_marked() {
        let offers = [
            offer("a", &["02:00:00:00:00:01", "02:00:00:00:00:02"], "f1.efi"),
            offer("b", &["02:00:00:00:00:03"], "f2.efi"),
        ];
        assert_eq!(
            lines(&offers),
            "dhcp-mac=set:lockstep,02:00:00:00:00:01\n\
             dhcp-mac=set:lockstep-0,02:00:00:00:00:01\n\
             dhcp-mac=set:lockstep,02:00:00:00:00:02\n\
             dhcp-mac=set:lockstep-0,02:00:00:00:00:02\n\
             dhcp-boot=tag:lockstep-0,f1.efi\n\
             dhcp-mac=set:lockstep,02:00:00:00:00:03\n\
             dhcp-mac=set:lockstep-1,02:00:00:00:00:03\n\
             dhcp-boot=tag:lockstep-1,f2.efi\n"
        );
        assert_eq!(lines(&[]), "");
    }

    #[test]
    fn nothing_but_an_address_gets_into_the_configuration() {
        let of = |macs: &[&str]| {
            let macs: Vec<String> = macs.iter().map(|&mac| mac.to_owned()).collect();
            addresses(&macs)
        };
        assert_eq!(
            of(&[
                "02:00:00:00:00:0B",
                "02-00-00-00-00-0a",
                "02:00:00:00:00:0b"
            ]),
            Ok(vec![
                "02:00:00:00:00:0a".to_owned(),
                "02:00:00:00:00:0b".to_owned()
            ])
        );
        for bad in [
            "",
            "*:*:*:*:*:*",
            "02:00:00:00:00:01\ndhcp-script=/x",
            "00:00:00:00:00:00",
        ] {
            assert!(of(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_iso_is_no_program() {
        let mut program = vec![0; 0x100];
        program[..2].copy_from_slice(b"MZ");
        program[0x3c] = 0x80;
        program[0x80..0x84].copy_from_slice(b"PE\0\0");
        assert!(is_efi_program(&program));
        assert!(!is_efi_program(&program[..0x82]));
        program[0x3f] = 0xff;
        assert!(!is_efi_program(&program));
        assert!(!is_efi_program(&[0; 0x9000]));
        assert!(!is_efi_program(b"MZ"));
    }

    #[test]
    fn the_name_of_a_boot_file_is_not_written_down_by_debugging() {
        let shown = format!("{:?}", offer("a", &[], "secret.efi"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
