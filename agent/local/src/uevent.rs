//! The kernel's messages about devices (uevents), as bytes: `add@/devices/…`, then `KEY=VALUE`,
//! each ended by NUL.
//!
//! [`parse`] never reads beyond its input and never loops. Messages of udev itself, which have
//! another form, are refused.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pci::{Address, Id};

/// The kernel makes none larger than 2 KiB and a path.
pub const MAX_BYTES: usize = 8 << 10;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `remove`, `change`, `bind`, `unbind` and the like.
    pub action: String,
    /// The device's folder below `/sys`.
    pub path: String,
    /// All keys, `ACTION` and `DEVPATH` among them.
    pub fields: BTreeMap<String, String>,
}

/// Why bytes are no message of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UeventError {
    /// Larger than the kernel makes them.
    TooLong,
    /// No `ACTION@PATH`, or not ended by NUL.
    Header,
    /// A line without `=`, a key that stands twice, or text that is not UTF-8.
    Field,
    /// The header and the keys do not name the same action and path.
    Contradiction,
}

impl fmt::Display for UeventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UeventError::TooLong => "too long",
            UeventError::Header => "no ACTION@PATH",
            UeventError::Field => "broken key",
            UeventError::Contradiction => "header and keys contradict each other",
        })
    }
}

impl std::error::Error for UeventError {}

/// Parses one message.
///
/// # Errors
/// When it is none of the kernel's.
pub fn parse(bytes: &[u8]) -> Result<Uevent, UeventError> {
    if bytes.len() > MAX_BYTES {
        return Err(UeventError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| UeventError::Field)?;
    let text = text.strip_suffix('\0').ok_or(UeventError::Header)?;
    let mut lines = text.split('\0');
    let (action, path) = lines
        .next()
        .and_then(|header| header.split_once('@'))
        .filter(|(action, path)| !action.is_empty() && path.starts_with('/'))
        .ok_or(UeventError::Header)?;
    let mut fields = BTreeMap::new();
    for line in lines {
        let (key, value) = line.split_once('=').ok_or(UeventError::Field)?;
        if key.is_empty() || fields.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(UeventError::Field);
        }
    }
    let agrees = |key: &str, header: &str| fields.get(key).is_none_or(|value| value == header);
    if !agrees("ACTION", action) || !agrees("DEVPATH", path) {
        return Err(UeventError::Contradiction);
    }
    Ok(Uevent {
        action: action.to_owned(),
        path: path.to_owned(),
        fields,
    })
}

/// What happened to a PCI function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PciChange {
    /// It appeared.
    Added,
    /// It is gone.
    Removed,
    /// A driver took it.
    Bound,
    /// Its driver let it go.
    Unbound,
    /// Something about it changed, as a reset of it by error recovery.
    Changed,
}

/// A change of one PCI function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PciEvent {
    /// What happened.
    pub change: PciChange,
    /// To which function.
    pub address: Address,
    /// Its vendor and device.
    pub id: Option<(Id, Id)>,
    /// Its driver.
    pub driver: Option<String>,
    /// The kernel's number of the message, which only grows.
    pub sequence: Option<u64>,
}

impl Uevent {
    /// The change of a PCI function that the message tells; `None` when it tells of another kind
    /// of device, or of an action that concerns nobody here.
    pub fn pci(&self) -> Option<PciEvent> {
        let field = |key: &str| self.fields.get(key).map(String::as_str);
        if field("SUBSYSTEM") != Some("pci") {
            return None;
        }
        let change = match self.action.as_str() {
            "add" => PciChange::Added,
            "remove" => PciChange::Removed,
            "bind" => PciChange::Bound,
            "unbind" => PciChange::Unbound,
            "change" => PciChange::Changed,
            _ => return None,
        };
        // Slots and hot-plug controllers are of the same subsystem and have no address.
        let address = field("PCI_SLOT_NAME").or_else(|| self.path.rsplit('/').next())?;
        let id = |text: &str| {
            let (vendor, device) = text.split_once(':')?;
            let id = |digits: &str| Id::try_from(digits.to_owned()).ok();
            Some((id(vendor)?, id(device)?))
        };
        Some(PciEvent {
            change,
            address: address.parse().ok()?,
            id: field("PCI_ID").and_then(id),
            driver: field("DRIVER").map(str::to_owned),
            sequence: field("SEQNUM").and_then(|number| number.parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADDED: &[u8] = b"add@/devices/pci0000:00/0000:00:01.0/0000:03:00.0\0ACTION=add\0\
DEVPATH=/devices/pci0000:00/0000:00:01.0/0000:03:00.0\0SUBSYSTEM=pci\0PCI_CLASS=20000\0\
PCI_ID=15B3:A2DC\0PCI_SUBSYS_ID=15B3:0009\0PCI_SLOT_NAME=0000:03:00.0\0\
MODALIAS=pci:v000015B3d0000A2DCsv000015B3sd00000009bc02sc00i00\0SEQNUM=4711\0";

    fn pci(text: &str) -> Option<PciEvent> {
        parse(text.as_bytes()).unwrap().pci()
    }

    #[test]
    fn a_card_that_appears() {
        assert_eq!(
            parse(ADDED).unwrap().pci(),
            Some(PciEvent {
                change: PciChange::Added,
                address: "0000:03:00.0".parse().unwrap(),
                id: Some((Id(0x15b3), Id(0xa2dc))),
                driver: None,
                sequence: Some(4711),
            })
        );
    }

    #[test]
    fn a_card_that_goes_and_what_is_none() {
        let gone = pci("remove@/devices/pci0000:00/0000:03:00.0\0SUBSYSTEM=pci\0").unwrap();
        assert_eq!(gone.change, PciChange::Removed);
        assert_eq!(gone.address.to_string(), "0000:03:00.0");
        assert_eq!(gone.id, None);
        let bound = pci("bind@/d/0000:03:00.0\0SUBSYSTEM=pci\0DRIVER=mlx5_core\0").unwrap();
        assert_eq!(bound.change, PciChange::Bound);
        assert_eq!(bound.driver.as_deref(), Some("mlx5_core"));
        assert_eq!(pci("add@/d/0000:03:00.0\0SUBSYSTEM=pci_bus\0"), None);
        assert_eq!(pci("add@/d/0000:03:00.0\0"), None);
        assert_eq!(pci("add@/d/slots\0SUBSYSTEM=pci\0"), None);
        assert_eq!(pci("online@/d/0000:03:00.0\0SUBSYSTEM=pci\0"), None);
    }

    #[test]
    fn what_is_not_of_the_kernel_is_refused() {
        for (bytes, error) in [
            (&b""[..], UeventError::Header),
            (b"add@/x", UeventError::Header),
            (b"add\0", UeventError::Header),
            (b"@/x\0", UeventError::Header),
            (b"add@x\0", UeventError::Header),
            (b"libudev\0\xfe\xed\xca\xfe\0", UeventError::Field),
            (b"add@/x\0nothing\0", UeventError::Field),
            (b"add@/x\0=1\0", UeventError::Field),
            (b"add@/x\0A=1\0A=2\0", UeventError::Field),
            (b"add@/x\0ACTION=remove\0", UeventError::Contradiction),
            (b"add@/x\0DEVPATH=/y\0", UeventError::Contradiction),
            (&[b'a'; MAX_BYTES + 1], UeventError::TooLong),
        ] {
            assert_eq!(parse(bytes), Err(error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(parse(&bytes), parse(&bytes));
        }

        #[test]
        fn a_damaged_message_ends_in_an_answer(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = ADDED.to_vec();
            for (index, byte) in damage {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(event) = parse(&bytes) {
                let pci = event.pci();
                prop_assert!(pci.is_none_or(|pci| pci.address.device < 32));
            }
        }

        #[test]
        fn what_is_written_is_read(
            action in "[a-z]{1,8}",
            path in "/[a-z0-9:./]{0,40}",
            fields in prop::collection::btree_map("[B-Z]{1,8}", "[ -~]{0,20}", 0..10),
        ) {
            let mut text = format!("{action}@{path}\0");
            for (key, value) in fields.iter().filter(|(key, _)| *key != "DEVPATH") {
                text.push_str(&format!("{key}={value}\0"));
            }
            let event = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(event.action, action);
            prop_assert_eq!(event.path, path);
            prop_assert!(event.fields.iter().all(|(key, value)| fields.get(key) == Some(value)));
        }
    }
}
