//! What is known of vendors and cannot be asked: one small file for each, mostly data.
//!
//! A newcomer adds a file and its tables to [`ALL`]. Everything here is from public sources,
//! which each file names; nothing of it was verified on hardware. Knowledge of a vendor only
//! ever adds to what was probed: a table never says that a BMC offers what it does not show.
//! `CONTRIBUTING.md` has the steps.

mod bluefield;
mod dell;
mod generic;
mod hpe;
mod intel;
mod lenovo;
mod octeon;
mod pensando;
mod supermicro;

use lockstep_crds::inventory::{CapabilityRecord, InstallMethod, Probed};
use lockstep_crds::observed::{BootStage, Offer};
use lockstep_crds::report::MachineRole;

/// Every table, the first that fits counts; those that fit more come later.
const ALL: &[&Vendor] = &[
    &bluefield::BLUEFIELD_2,
    &bluefield::BLUEFIELD_3,
    &bluefield::BLUEFIELD_4,
    &bluefield::BLUEFIELD,
    &intel::E2100,
    &pensando::DSC,
    &octeon::OCTEON_10,
    &dell::HOST,
    &hpe::HOST,
    &lenovo::HOST,
    &supermicro::HOST,
];

/// Ids in a FirmwareInventory that stand for the operating system of a card: an update with such a
/// target installs one.
pub(crate) const OS_COMPONENTS: [&str; 1] = [bluefield::OS_COMPONENT];

/// Ids of systems, each with that of a chassis that tells how far its background copy is, in
/// `Oem/Nvidia/BackgroundCopyStatus`.
pub(crate) const BACKGROUND_COPIES: [(&str, &str); 1] = [bluefield::BACKGROUND_COPY];

/// What is known of one family of cards, or of one maker's hosts.
#[derive(Debug)]
pub(crate) struct Vendor {
    /// Name of the table, as capability records show it.
    pub(crate) table: &'static str,
    /// Family of cards; absent for hosts, and where the table stands for several.
    pub(crate) family: Option<&'static str>,
    /// Card or host.
    pub(crate) kind: Kind,
    /// Whether it has a Redfish service of its own at all.
    pub(crate) redfish: bool,
    /// Whether it boots what it is armed with by a restart of its BMC, which takes all of it along.
    pub(crate) restarts_with_bmc: bool,
    /// What tells it, in the order of what is looked at.
    pub(crate) clues: &'static [Clue],
    /// PCI vendor and device ids by which a host's BMC shows it.
    pub(crate) pci: &'static [(u16, u16)],
    /// The same while its firmware is broken or held back.
    pub(crate) pci_recovery: &'static [(u16, u16)],
    /// Chassis, by id, in which the part number of the card stands; the first that has one.
    pub(crate) part_number_in: &'static [&'static str],
    /// Where its mode is told; empty: it has one mode only. `None`: no document tells.
    pub(crate) mode: Option<&'static [ModeTold]>,
    /// Further documents below the ComputerSystem that tell of what its host may do.
    pub(crate) host_access_in: Option<&'static str>,
    /// Ways to install that need no BMC.
    pub(crate) in_band: &'static [InstallMethod],
    /// Firmware settings that say whether option ROMs run: how their names begin and end.
    pub(crate) option_roms: Option<(&'static str, &'static str)>,
    /// The longest that it can be held in its firmware, in seconds, and what says so.
    pub(crate) hold_ceiling: Option<(i64, &'static str)>,
}

/// Card or host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Card,
    Host,
}

impl Kind {
    pub(crate) fn role(self) -> MachineRole {
        match self {
            Self::Card => MachineRole::Card,
            Self::Host => MachineRole::Host,
        }
    }
}

/// Something that tells a vendor. Texts are compared trimmed and without regard to case.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clue {
    /// The model of the system, or the product of the service, contains it.
    Model(&'static str),
    /// The same, and a better clue may tell which of them: a line of products.
    Line(&'static str),
    /// The maker of the system contains it.
    Maker(&'static str),
    /// The part number begins with it.
    PartNumber(&'static str),
    /// The name of the service contains it.
    Service(&'static str),
    /// The ComputerSystem has this id.
    SystemId(&'static str),
}

/// Where the mode of a card is told, and what stands there in NIC mode.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ModeTold {
    /// An attribute of the firmware settings.
    Attribute(&'static str),
    /// A property of the document that `host_access_in` names.
    Property(&'static str),
}

/// The value of a mode in which no operating system boots, so that a boot ends in UEFI.
pub(crate) const NIC_MODE: &str = "NicMode";

/// Words by which a machine is recognised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    pub(crate) service: Option<String>,
    pub(crate) product: Option<String>,
    pub(crate) maker: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) part_number: Option<String>,
    pub(crate) system_id: Option<String>,
}

impl Clue {
    /// What was found, for people, if it fits.
    fn fits(self, words: &Words) -> Option<String> {
        let lower = |text: &Option<String>| text.as_ref().map(|text| text.to_ascii_lowercase());
        let contains = |name: &str, text: &Option<String>, part: &str| {
            let found = lower(text)?.contains(&part.to_ascii_lowercase());
            let shown = text.as_deref().unwrap_or_default();
            found.then(|| format!("{name} {shown}"))
        };
        match self {
            Self::Model(part) | Self::Line(part) => contains("Model", &words.model, part)
                .or_else(|| contains("Product", &words.product, part)),
            Self::Maker(part) => contains("Manufacturer", &words.maker, part),
            Self::Service(part) => contains("service", &words.service, part),
            Self::PartNumber(start) => {
                let number = words.part_number.as_deref()?;
                let fits = lower(&words.part_number)?.starts_with(&start.to_ascii_lowercase());
                fits.then(|| format!("PartNumber {number}"))
            }
            Self::SystemId(id) => {
                let found = words.system_id.as_deref()?;
                found
                    .eq_ignore_ascii_case(id)
                    .then(|| format!("Id {found}"))
            }
        }
    }
}

/// The table that fits, and what told so. Models tell more than makers: a clue of any table is
/// looked at before the next kind of clue.
pub(crate) fn recognise(words: &Words) -> Option<(&'static Vendor, String)> {
    let strongest = |told: fn(&Clue) -> bool| {
        ALL.iter().find_map(|vendor| {
            let mut clues = vendor.clues.iter().filter(|clue| told(clue));
            clues.find_map(|clue| Some((*vendor, clue.fits(words)?)))
        })
    };
    strongest(|clue| matches!(clue, Clue::Model(_) | Clue::Service(_)))
        .or_else(|| strongest(|clue| matches!(clue, Clue::PartNumber(_))))
        .or_else(|| strongest(|clue| matches!(clue, Clue::Line(_) | Clue::SystemId(_))))
        .or_else(|| strongest(|clue| matches!(clue, Clue::Maker(_))))
}

/// Words in the model of a card that no table knows.
const CARD_WORDS: [&str; 3] = ["dpu", "ipu", "smartnic"];

/// The card that a host's BMC shows with these words, if it is one.
pub(crate) fn recognise_card(words: &Words) -> Option<&'static Vendor> {
    let known = recognise(words).map(|(vendor, _)| vendor);
    if let Some(vendor) = known.filter(|vendor| vendor.kind == Kind::Card) {
        return Some(vendor);
    }
    let model = words.model.as_deref()?.to_ascii_lowercase();
    let mut parts = model.split(|c: char| !c.is_ascii_alphanumeric());
    parts
        .any(|part| CARD_WORDS.contains(&part))
        .then_some(&generic::CARD)
}

/// The card that shows this PCI vendor and device id to its host, and whether that is the id of
/// one whose firmware is broken.
pub(crate) fn recognise_pci(id: (u16, u16)) -> Option<(&'static Vendor, bool)> {
    ALL.iter().find_map(|vendor| {
        let recovery = vendor.pci_recovery.contains(&id);
        (recovery || vendor.pci.contains(&id)).then_some((*vendor, recovery))
    })
}

/// Makers whose devices may be cards though their words do not say so: their PCI ids tell.
const CARD_MAKERS: [&str; 8] = [
    "nvidia", "mellanox", "mlnx", "intel", "pensando", "amd", "marvell", "cavium",
];

/// Whether a device may be a card for all that its maker says.
pub(crate) fn may_be_card(maker: Option<&str>) -> bool {
    maker.is_none_or(|maker| {
        let maker = maker.to_ascii_lowercase();
        CARD_MAKERS.iter().any(|known| maker.contains(known))
    })
}

/// The table of a machine that no vendor's table fits.
pub(crate) fn generic(kind: Kind) -> &'static Vendor {
    match kind {
        Kind::Card => &generic::CARD,
        Kind::Host => &generic::HOST,
    }
}

/// The capabilities of a family of cards that has no Redfish service to probe: nothing of Redfish,
/// and the ways in band that its table names. `None` for families that can be probed, and for
/// unknown ones.
pub fn declared_capabilities(family: &str) -> Option<CapabilityRecord> {
    let vendor = ALL
        .iter()
        .find(|vendor| vendor.family == Some(family) && !vendor.redfish)?;
    let none = Probed {
        offer: Offer::NotOffered,
        values: None,
        source: format!("table {}", vendor.table),
    };
    Some(CapabilityRecord {
        probed_at: None,
        vendor_table: vendor.table.to_owned(),
        reset: none.clone(),
        bmc_reset: none.clone(),
        boot_override: none.clone(),
        virtual_media: none.clone(),
        simple_update: none.clone(),
        multipart_push: none.clone(),
        boot_progress: none.clone(),
        final_stage: Some(BootStage::OsRunning),
        secure_boot: none.clone(),
        spdm: none.clone(),
        sessions: none.clone(),
        events: none,
        install_methods: vendor.in_band.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(maker: &str, model: &str, part_number: &str) -> Words {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Words {
            maker: some(maker),
            model: some(model),
            part_number: some(part_number),
            ..Words::default()
        }
    }

    #[test]
    fn tables_are_told_by_the_strongest_clue() {
        for (words, table, by) in [
            (
                words("Nvidia", "BlueField-3 SmartNIC Main Card", ""),
                "bluefield-3",
                "Model BlueField-3 SmartNIC Main Card",
            ),
            (
                words("", "Bluefield-2 DPU", ""),
                "bluefield-2",
                "Model Bluefield-2 DPU",
            ),
            (
                words("MLNX", "", "MBF2M516A-EEEOT"),
                "bluefield-2",
                "PartNumber MBF2M516A-EEEOT",
            ),
            // A card that its host's maker sells.
            (
                words("Dell Inc.", "", "0WJ9T5A01"),
                "bluefield-3",
                "PartNumber 0WJ9T5A01",
            ),
            (
                words("Dell Inc.", "PowerEdge R750", ""),
                "dell",
                "Manufacturer Dell Inc.",
            ),
            (
                words("Intel", "IPU Adapter E2100-CCQDA2", ""),
                "intel-e2100",
                "Model IPU Adapter E2100-CCQDA2",
            ),
        ] {
            let (vendor, told) = recognise(&words).unwrap();
            assert_eq!((vendor.table, told.as_str()), (table, by));
        }
        assert!(recognise(&words("ACME", "Server 9", "")).is_none());
        assert!(recognise(&Words::default()).is_none());
        assert!(recognise_card(&words("Dell Inc.", "PowerEdge R750", "")).is_none());
    }

    #[test]
    fn a_service_that_says_what_it_is_needs_no_model() {
        let words = Words {
            service: Some("Intel IPU Redfish Service".to_owned()),
            ..Words::default()
        };
        assert_eq!(recognise(&words).unwrap().0.table, "intel-e2100");
        let words = Words {
            system_id: Some("Bluefield".to_owned()),
            ..Words::default()
        };
        assert_eq!(recognise(&words).unwrap().0.table, "bluefield");
    }

    #[test]
    fn a_host_tells_cards_by_words_and_by_pci_ids() {
        let unknown = words("Example", "Example DPU 200G", "EX-1");
        assert_eq!(recognise_card(&unknown).unwrap().table, "generic");
        let padded = words("MLNX", "D3B6           ", "900-9D3B6-00CV-AA0");
        assert_eq!(recognise_card(&padded).unwrap().table, "bluefield-3");
        assert!(recognise_card(&words("Example", "Adapter DPUX", "")).is_none());
        let pci = |id| recognise_pci(id).map(|(vendor, recovery)| (vendor.table, recovery));
        assert_eq!(pci((0x15b3, 0xa2dc)), Some(("bluefield-3", false)));
        assert_eq!(pci((0x15b3, 0x021c)), Some(("bluefield-3", true)));
        assert_eq!(pci((0x1dd8, 0x1002)), Some(("pensando-dsc", false)));
        assert_eq!(pci((0x8086, 0x1593)), None);
        assert!(may_be_card(None) && may_be_card(Some("Mellanox Technologies")));
        assert!(!may_be_card(Some("Broadcom")));
    }

    #[test]
    fn what_has_no_redfish_is_declared_and_nothing_of_it_is_offered() {
        for (family, ways) in [("DSC", 1), ("Octeon 10", 0)] {
            let record = declared_capabilities(family).unwrap();
            assert_eq!(record.reset.offer, Offer::NotOffered);
            assert!(record.reset.source.starts_with("table "));
            assert_eq!(record.install_methods.len(), ways);
        }
        assert!(declared_capabilities("BlueField-3").is_none());
        assert!(declared_capabilities("unheard of").is_none());
    }

    #[test]
    fn every_table_has_a_name_of_its_own_and_a_way_to_be_told() {
        for (index, vendor) in ALL.iter().enumerate() {
            assert!(!vendor.clues.is_empty(), "{}", vendor.table);
            assert!(ALL[..index].iter().all(|other| other.table != vendor.table));
            assert!(vendor.family.is_none() || vendor.kind == Kind::Card);
        }
    }
}
