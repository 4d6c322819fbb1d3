//! Configuration space: what a function says when asked now, not what the kernel remembers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Id;

const HEADER: usize = 64;
const CONVENTIONAL: usize = 256;
/// Four kilobytes, and the header of a capability takes four bytes of its own.
const MOST_CAPABILITIES: usize = 1024;

/// What we read of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSpace {
    /// The vendor.
    pub vendor: Id,
    /// The device.
    pub device: Id,
    /// The device serial number as `lspci` prints it, `b8-3f-d2-ff-ff-00-11-22`; junk left out.
    pub serial: Option<String>,
    /// Whether it carries vital product data.
    pub vpd: bool,
    /// Whether it reports errors (AER).
    pub error_reporting: bool,
    /// Whether the extended space could be read, where serial number and AER are.
    pub extended: bool,
}

/// Why it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError {
    /// It answers with ones only: the link is down or the device is dead.
    Gone,
    /// Only this many bytes: what is told to those without CAP_SYS_ADMIN.
    HeaderOnly(usize),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Gone => f.write_str("answers with ones only: link down or device dead"),
            ConfigError::HeaderOnly(bytes) => {
                write!(f, "only {bytes} bytes are shown: CAP_SYS_ADMIN is needed")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Parses the bytes of a `config` file. Both lists of capabilities are followed no further than
/// the bytes there could hold, whatever they point at.
///
/// # Errors
/// When the device does not answer or too little is shown.
pub fn parse(bytes: &[u8]) -> Result<ConfigSpace, ConfigError> {
    let word = |at: usize| {
        bytes
            .get(at..at + 2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    };
    let dword = |at: usize| Some(u32::from(word(at)?) | u32::from(word(at + 2)?) << 16);
    let (Some(vendor), Some(device)) = (word(0), word(2)) else {
        return Err(ConfigError::HeaderOnly(bytes.len()));
    };
    if (vendor, device) == (0xffff, 0xffff) {
        return Err(ConfigError::Gone);
    }
    if bytes.len() <= HEADER {
        return Err(ConfigError::HeaderOnly(bytes.len()));
    }
    const VPD: u8 = 0x03;
    const AER: u16 = 0x0001;
    const SERIAL: u16 = 0x0003;
    let mut config = ConfigSpace {
        vendor: Id(vendor),
        device: Id(device),
        serial: None,
        vpd: false,
        error_reporting: false,
        extended: bytes.len() > CONVENTIONAL,
    };
    const HAS_LIST: u16 = 1 << 4;
    if word(0x06).is_some_and(|status| status & HAS_LIST != 0) {
        let mut at = usize::from(bytes[0x34] & !3);
        for _ in 0..MOST_CAPABILITIES {
            let Some(&[id, next]) = bytes.get(at..at + 2).filter(|_| at >= HEADER) else {
                break;
            };
            config.vpd |= id == VPD;
            at = usize::from(next & !3);
        }
    }
    let mut at = CONVENTIONAL;
    for _ in 0..MOST_CAPABILITIES {
        let Some(header) = dword(at).filter(|header| !matches!(*header, 0 | u32::MAX)) else {
            break;
        };
        match (header & 0xffff) as u16 {
            AER => config.error_reporting = true,
            SERIAL if config.serial.is_none() => {
                config.serial = dword(at + 4)
                    .zip(dword(at + 8))
                    .and_then(|(low, high)| serial(low, high));
            }
            _ => {}
        }
        at = usize::try_from(header >> 20).unwrap_or(0) & !3;
        if at < CONVENTIONAL {
            break;
        }
    }
    Ok(config)
}

fn serial(low: u32, high: u32) -> Option<String> {
    let number = u64::from(high) << 32 | u64::from(low);
    let bytes = number.to_be_bytes();
    // Zeros and ones mean nothing, nor does a company without a device behind it.
    let device = number & 0xff_ffff;
    if matches!(number, 0 | u64::MAX) || matches!(device, 0 | 0xff_ffff) {
        return None;
    }
    let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(parts.join("-"))
}
