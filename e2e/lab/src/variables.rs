//! The boot entries in a store of UEFI variables, read from its bytes (EDK II,
//! `AuthenticatedVariableFormat.h`).

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// `gEfiSystemNvDataFvGuid`, as it lies in memory.
const VOLUME: [u8; 16] = [
    0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50,
];
/// `EFI_GLOBAL_VARIABLE`, the same way.
const GLOBAL: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];
const STORE_HEADER: usize = 28;
const VARIABLE_HEADER: usize = 60;
/// It is there.
const ADDED: u8 = 0x3f;
/// It is there until the one that replaces it is.
const BEING_REPLACED: u8 = 0x3e;

/// What a firmware boots, as its variables say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BootVariables {
    /// Names of the entries by their numbers.
    pub(crate) entries: BTreeMap<u16, String>,
    pub(crate) order: Vec<u16>,
    /// The entry of the next boot alone.
    pub(crate) next: Option<u16>,
}

impl BootVariables {
    pub(crate) fn read(store: &[u8]) -> Result<Self> {
        ensure!(
            store.get(16..32) == Some(&VOLUME),
            "this is no store of UEFI variables"
        );
        let header = usize::from(short(store, 48).context("a volume without its header")?);
        let size = word(store, header + 16).context("a volume without a store")?;
        let end = store.len().min(header + size);
        let mut at = header + STORE_HEADER;
        let mut found: BTreeMap<String, &[u8]> = BTreeMap::new();
        while let Some([0xaa, 0x55, state]) = store.get(at..at + 3).filter(|_| at < end) {
            let sizes = word(store, at + 36).zip(word(store, at + 40));
            let (name, data) = sizes.context("a variable without its sizes")?;
            let owner = store.get(at + 44..at + VARIABLE_HEADER);
            let name_at = at + VARIABLE_HEADER;
            let data_at = name_at + name;
            let is_ours = owner == Some(&GLOBAL);
            at = (data_at + data).next_multiple_of(4);
            let (name, data) = store
                .get(name_at..data_at)
                .zip(store.get(data_at..data_at + data))
                .context("a variable beyond the store")?;
            let name = text(name);
            if is_ours
                && (*state == ADDED || *state == BEING_REPLACED && !found.contains_key(&name))
            {
                found.insert(name, data);
            }
        }
        Ok(Self::of(&found))
    }

    fn of(found: &BTreeMap<String, &[u8]>) -> Self {
        let numbers = |name: &str| -> Vec<u16> {
            let data = found.get(name).copied().unwrap_or_default();
            let pairs = data.chunks_exact(2);
            pairs
                .map(|two| u16::from_le_bytes([two[0], two[1]]))
                .collect()
        };
        let entries = found.iter().filter_map(|(name, option)| {
            // Attributes and the length of the path come before the name.
            Some((number(name)?, text(option.get(6..)?)))
        });
        Self {
            entries: entries.collect(),
            order: numbers("BootOrder"),
            next: numbers("BootNext").first().copied(),
        }
    }
}

/// The number of an entry by the name of its variable, if it is that.
pub(crate) fn number(name: &str) -> Option<u16> {
    let digits = name
        .strip_prefix("Boot")
        .filter(|digits| digits.len() == 4)?;
    u16::from_str_radix(digits, 16).ok()
}

/// The name of an entry's variable.
pub(crate) fn reference(number: u16) -> String {
    format!("Boot{number:04X}")
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_le_bytes(two))
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(four)).ok()
}

fn text(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().chain([0]);
        units.flat_map(u16::to_le_bytes).collect()
    }

    fn variable(state: u8, owner: [u8; 16], name: &str, data: &[u8]) -> Vec<u8> {
        let name = utf16(name);
        let mut bytes = vec![0xaa, 0x55, state, 0];
        bytes.resize(36, 0);
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(owner);
        bytes.extend(name);
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0xff);
        bytes
    }

    fn store(variables: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes.extend(VOLUME);
        bytes.resize(48, 0);
        bytes.extend(72_u16.to_le_bytes());
        bytes.resize(72 + 16, 0);
        bytes.extend(4096_u32.to_le_bytes());
        bytes.resize(72 + STORE_HEADER, 0);
        bytes.extend(variables.concat());
        bytes.resize(8192, 0xff);
        bytes
    }

    #[test]
    fn entries_order_and_the_next_boot_are_read_and_what_is_replaced_is_not() {
        let option =
            |name: &str| [&[1, 0, 0, 0, 4, 0], &utf16(name)[..], &[0x7f, 0xff, 4, 0]].concat();
        let read = BootVariables::read(&store(&[
            variable(0x3c, GLOBAL, "BootOrder", &[9, 0]),
            variable(ADDED, GLOBAL, "Boot0A0A", &option("Card OS A")),
            variable(BEING_REPLACED, GLOBAL, "BootOrder", &[8, 0]),
            variable(ADDED, GLOBAL, "BootOrder", &[0x0b, 0x0b, 0x0a, 0x0a]),
            variable(ADDED, VOLUME, "BootNext", &[7, 0]),
            variable(BEING_REPLACED, GLOBAL, "BootNext", &[0x0a, 0x0a]),
            variable(ADDED, GLOBAL, "BootCurrent", &[1, 0]),
        ]));
        let wanted = BootVariables {
            entries: BTreeMap::from([(0x0a0a, "Card OS A".to_owned())]),
            order: vec![0x0b0b, 0x0a0a],
            next: Some(0x0a0a),
        };
        assert_eq!(read.unwrap(), wanted);
        assert_eq!(reference(0x0a0a), "Boot0A0A");
    }

    #[test]
    fn what_is_no_store_or_ends_early_is_an_error() {
        assert!(BootVariables::read(&[0; 8192]).is_err());
        let whole = store(&[variable(ADDED, GLOBAL, "BootOrder", &[9, 0])]);
        assert!(BootVariables::read(&whole[..150]).is_err());
    }
}
