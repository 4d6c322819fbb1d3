//! What tells one machine from another, in one spelling whoever told it.

use std::collections::BTreeSet;

use lockstep_crds::bmc::place;
use lockstep_crds::identity::{
    meaningful_device_serial, meaningful_mac, meaningful_serial, meaningful_uuid,
};
use lockstep_crds::inventory::{CardSeen, Inventory, SystemFacts};
use lockstep_crds::report::{BmcReport, Vantage};
use lockstep_crds::{DpuReportSpec, MachineIdentity};

/// One key, the strongest kind first. Two machines that share one are the same machine, unless
/// something contradicts it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// Serial number, in upper case.
    Serial(String),
    /// System UUID; of the two byte orders in which firmware writes one, the lesser.
    Uuid(String),
    /// PCI device serial number.
    DeviceSerial(String),
    /// MAC address of a port.
    Mac(String),
    /// A host: serial number of a card that is seen in it.
    CardInside(String),
    /// A host: the Node that runs there.
    Node(String),
    /// The id of a BMC that was found, and of what was proposed for it.
    Found(String),
    /// Where a BMC answers, and the path of the system behind it.
    Endpoint(String, String),
}

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Serial,
    Uuid,
    DeviceSerial,
    Mac,
    CardInside,
    Node,
    Found,
    Endpoint,
}

impl Kind {
    /// As `joinedBy` and conflicts name it.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Serial => "serialNumber",
            Self::Uuid => "systemUuid",
            Self::DeviceSerial => "deviceSerial",
            Self::Mac => "mac",
            Self::CardInside => "cardInside",
            Self::Node => "nodeName",
            Self::Found => "found",
            Self::Endpoint => "bmcAddress",
        }
    }

    /// In a sentence.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Serial => "serial number",
            Self::Uuid => "system UUID",
            Self::DeviceSerial => "PCI device serial number",
            Self::Mac => "MAC address",
            Self::CardInside => "card with serial number",
            Self::Node => "Node",
            Self::Found => "id of a BMC that was found",
            Self::Endpoint => "BMC address",
        }
    }
}

impl Key {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Serial(_) => Kind::Serial,
            Self::Uuid(_) => Kind::Uuid,
            Self::DeviceSerial(_) => Kind::DeviceSerial,
            Self::Mac(_) => Kind::Mac,
            Self::CardInside(_) => Kind::CardInside,
            Self::Node(_) => Kind::Node,
            Self::Found(_) => Kind::Found,
            Self::Endpoint(..) => Kind::Endpoint,
        }
    }

    pub(super) fn value(&self) -> &str {
        match self {
            Self::Serial(value)
            | Self::Uuid(value)
            | Self::DeviceSerial(value)
            | Self::Mac(value)
            | Self::CardInside(value)
            | Self::Node(value)
            | Self::Found(value)
            | Self::Endpoint(value, _) => value,
        }
    }

    pub(super) fn serial(text: &str) -> Option<Self> {
        meaningful_serial(text).map(|text| Self::Serial(text.to_ascii_uppercase()))
    }

    pub(super) fn card_inside(text: &str) -> Option<Self> {
        meaningful_serial(text).map(|text| Self::CardInside(text.to_ascii_uppercase()))
    }

    pub(super) fn uuid(text: &str) -> Option<Self> {
        canonical_uuid(text).map(Self::Uuid)
    }

    pub(super) fn device_serial(text: &str) -> Option<Self> {
        meaningful_device_serial(text).map(Self::DeviceSerial)
    }

    pub(super) fn mac(text: &str) -> Option<Self> {
        meaningful_mac(text).map(Self::Mac)
    }

    pub(super) fn endpoint(address: &str, system_path: &str) -> Option<Self> {
        let address = place(address);
        (!address.is_empty())
            .then(|| Self::Endpoint(address, system_path.trim_end_matches('/').to_owned()))
    }
}

/// SMBIOS writes the first three fields of a UUID in little endian, and firmware disagrees on
/// whether whoever shows it turns them round. Both are the same machine.
pub(super) fn canonical_uuid(text: &str) -> Option<String> {
    let uuid = meaningful_uuid(text)?;
    let turned = |from: usize, to: usize| {
        let mut bytes: Vec<&str> = (from..to)
            .step_by(2)
            .filter_map(|place| uuid.get(place..place + 2))
            .collect();
        bytes.reverse();
        bytes.concat()
    };
    let other = format!(
        "{}-{}-{}{}",
        turned(0, 8),
        turned(9, 13),
        turned(14, 18),
        uuid.get(18..)?
    );
    // A filler of firmware is one in either order.
    Some(uuid.min(meaningful_uuid(&other)?))
}

/// The keys of one machine as one view tells them.
pub(super) type Keys = BTreeSet<Key>;

pub(super) fn of_identity(identity: &MachineIdentity) -> Keys {
    [
        identity.serial_number.as_deref().and_then(Key::serial),
        identity.system_uuid.as_deref().and_then(Key::uuid),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn of_system(system: &SystemFacts) -> Keys {
    [
        system.serial_number.as_deref().and_then(Key::serial),
        system.system_uuid.as_deref().and_then(Key::uuid),
        system.device_serial.as_deref().and_then(Key::device_serial),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a BMC tells of itself; nobody else speaks for one.
pub(super) fn told_by_bmc(spec: &DpuReportSpec) -> Option<&BmcReport> {
    match &spec.vantage {
        Vantage::CardBmc | Vantage::HostBmc | Vantage::FoundBmc => spec.bmc.as_ref(),
        Vantage::CardOs
        | Vantage::HostOs
        | Vantage::Site
        | Vantage::Scan
        | Vantage::Spec
        | Vantage::Unrecognized(_) => None,
    }
}

/// Puts newer keys in the place of others of their kinds; returns those that they replace.
pub(super) fn replace(keys: &mut Keys, newer: Keys) -> Keys {
    let outdated = |key: &Key| {
        let mut of_kind = newer.iter().filter(|new| new.kind() == key.kind());
        !newer.contains(key) && of_kind.next().is_some()
    };
    let replaced: Keys = keys.iter().filter(|key| outdated(key)).cloned().collect();
    keys.retain(|key| !replaced.contains(key));
    keys.extend(newer);
    replaced
}

/// Of a card that tells of itself, or whose BMC does.
pub(super) fn of_card(inventory: &Inventory) -> Keys {
    let mut keys = inventory.system.as_ref().map(of_system).unwrap_or_default();
    let ports = inventory.ports.iter().flat_map(|list| &list.ports);
    keys.extend(ports.filter_map(|port| port.mac.as_deref().and_then(Key::mac)));
    keys
}

/// Of a card that a host sees.
pub(super) fn of_seen(card: &CardSeen) -> Keys {
    let mut keys: Keys = [
        card.serial_number.as_deref().and_then(Key::serial),
        card.device_serial.as_deref().and_then(Key::device_serial),
    ]
    .into_iter()
    .flatten()
    .collect();
    keys.extend(card.macs.iter().filter_map(|mac| Key::mac(mac)));
    keys
}

/// The kinds of which both hold some and share none.
pub(super) fn contradictions(one: &Keys, other: &Keys, kinds: &[Kind]) -> Vec<Kind> {
    let of = |keys: &Keys, kind: Kind| -> BTreeSet<String> {
        keys.iter()
            .filter(|key| key.kind() == kind)
            .map(|key| key.value().to_owned())
            .collect()
    };
    kinds
        .iter()
        .copied()
        .filter(|kind| {
            let (one, other) = (of(one, *kind), of(other, *kind));
            !one.is_empty() && !other.is_empty() && one.is_disjoint(&other)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_the_same_in_either_byte_order() {
        let turned = "44454c4c-4200-1035-8052-b4c04f4d3732";
        let plain = "4c4c4544-0042-3510-8052-b4c04f4d3732";
        assert_eq!(Key::uuid(plain), Key::uuid(&turned.to_uppercase()));
        assert_ne!(
            Key::uuid(plain),
            Key::uuid("4c4c4544-0042-3510-8052-b4c04f4d3733")
        );
        for filler in [
            "12345678-1234-5678-90ab-cddeefaabbcc",
            "78563412-3412-7856-90ab-cddeefaabbcc",
        ] {
            assert_eq!(Key::uuid(filler), None);
        }
    }

    #[test]
    fn what_differs_in_form_only_is_the_same_key() {
        assert_eq!(Key::serial(" mt2251xz0123\0"), Key::serial("MT2251XZ0123"));
        assert_eq!(
            Key::endpoint("https://BMC-1.example/", "/redfish/v1/Systems/1/"),
            Key::endpoint("https://bmc-1.example.:443", "/redfish/v1/Systems/1")
        );
    }

    #[test]
    fn only_what_both_tell_can_contradict() {
        let one = Keys::from([Key::Serial("A".into()), Key::Uuid("u".into())]);
        let other = Keys::from([Key::Serial("B".into()), Key::DeviceSerial("d".into())]);
        let kinds = [Kind::Serial, Kind::Uuid, Kind::DeviceSerial];
        assert_eq!(contradictions(&one, &other, &kinds), [Kind::Serial]);
        assert!(contradictions(&one, &Keys::new(), &kinds).is_empty());
    }
}
