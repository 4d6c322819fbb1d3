//! Addresses and ids, written as `lspci -D` writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Domain, bus, device and function: `0000:3b:00.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Address {
    /// The domain (ACPI segment); some controllers make one of more than 16 bits.
    pub domain: u32,
    /// The bus.
    pub bus: u8,
    /// The device, below 32.
    pub device: u8,
    /// The function, below 8.
    pub function: u8,
}

/// A text that is no PCI address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no PCI address (0000:3b:00.1)", self.0)
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// The device without its function, as slots name it: `0000:3b:00`.
    pub fn device_name(&self) -> String {
        format!("{:04x}:{:02x}:{:02x}", self.domain, self.bus, self.device)
    }

    /// The same device's other function.
    pub(crate) fn with_function(self, function: u8) -> Self {
        Self { function, ..self }
    }

    /// The addresses on a path below `/sys/devices`, outermost bridge first.
    pub(crate) fn on_path(path: &str) -> Vec<Self> {
        path.split('/')
            .filter_map(|part| part.parse().ok())
            .collect()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:x}", self.device_name(), self.function)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parse = || {
            let (domain, rest) = text.split_once(':')?;
            let (bus, rest) = rest.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            let hex = |digits: &str, lengths: std::ops::RangeInclusive<usize>| {
                let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                (plain && lengths.contains(&digits.len()))
                    .then(|| u32::from_str_radix(digits, 16).ok())?
            };
            let byte =
                |number: u32, below: u32| u8::try_from(number).ok().filter(|_| number < below);
            Some(Self {
                domain: hex(domain, 4..=8)?,
                bus: byte(hex(bus, 2..=2)?, 0x100)?,
                device: byte(hex(device, 2..=2)?, 32)?,
                function: byte(hex(function, 1..=1)?, 8)?,
            })
        };
        parse().ok_or_else(|| AddressError(text.chars().take(40).collect()))
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

/// A vendor or device id: four hexadecimal digits, `15b3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Id(pub u16);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for Id {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u16::from_str_radix(&text, 16).map(Self)
    }
}
