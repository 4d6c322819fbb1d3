//! devlink: what a device's driver says of its firmware and serial numbers.

use std::fmt;
use std::str::FromStr;

use lockstep_crds::identity::meaningful_serial;
use serde::{Deserialize, Serialize};

use super::message::{MessageError, Request, attributes};
use super::socket::{REQUEST, ask_family, dump};
use crate::Fact;

pub(super) const BUS: u16 = 1;
pub(super) const DEVICE: u16 = 2;
const INFO_GET: u8 = 51;

/// One device, by its bus and its name there: `pci/0000:03:00.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    bus: String,
    device: String,
}

/// A text that names no device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandleError(String);

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no devlink device (pci/0000:03:00.0)", self.0)
    }
}

impl std::error::Error for HandleError {}

impl Handle {
    /// The bus.
    pub fn bus(&self) -> &str {
        &self.bus
    }

    /// The device's name there.
    pub fn device(&self) -> &str {
        &self.device
    }

    pub(super) fn name(&self, request: Request) -> Request {
        let text = |text: &str| [text.as_bytes(), &[0]].concat();
        request
            .attribute(BUS, &text(&self.bus))
            .attribute(DEVICE, &text(&self.device))
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bus, self.device)
    }
}

impl FromStr for Handle {
    type Err = HandleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |part: &str| {
            let printed = part.bytes().all(|byte| byte.is_ascii_graphic());
            printed && !part.is_empty() && !part.starts_with('.') && !part.contains('/')
        };
        text.split_once('/')
            .filter(|(bus, device)| plain(bus) && plain(device))
            .map(|(bus, device)| Self {
                bus: bus.to_owned(),
                device: device.to_owned(),
            })
            .ok_or_else(|| HandleError(text.to_owned()))
    }
}

/// Which copy a version is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VersionKind {
    /// Of what cannot change: a board or a chip.
    Fixed,
    /// Of what runs now.
    Running,
    /// Of what lies in flash and runs after the next reset that loads it.
    Stored,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Which copy.
    pub kind: VersionKind,
    /// Of what, by the driver's name: `fw.psid`, `fw.version`, `asic.id`.
    pub name: String,
    /// The version.
    pub value: String,
}

/// What a driver says of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceInfo {
    /// The bus: `pci`.
    pub bus: String,
    /// The device on it: a PCI address.
    pub device: String,
    /// The driver.
    pub driver: Option<String>,
    /// The device's serial number.
    pub serial: Option<String>,
    /// Its board's serial number.
    pub board_serial: Option<String>,
    /// Versions, in the driver's order.
    pub versions: Vec<Version>,
}

/// Every device whose driver tells; a kernel without devlink does not offer it.
pub fn devices() -> Fact<Vec<DeviceInfo>> {
    dump("devlink", INFO_GET, 1, None).and_then(|answers| {
        let parsed: Result<Vec<_>, MessageError> =
            answers.iter().map(|answer| parse(answer)).collect();
        match parsed {
            Ok(devices) => Fact::Known(devices.into_iter().flatten().collect()),
            Err(error) => Fact::NotRead(format!("devlink: {error}")),
        }
    })
}

/// What the driver of one device tells; a kernel without that device does not offer it. Waits for as
/// long as that device is being flashed.
pub fn device(handle: &Handle) -> Fact<DeviceInfo> {
    let answers = ask_family("devlink", |number| {
        handle.name(Request::new(number, REQUEST, &[INFO_GET, 1, 0, 0]))
    });
    answers.and_then(|answers| {
        let parsed = answers.first().map(|answer| parse(answer));
        match parsed {
            Some(Ok(Some(told))) => Fact::Known(told),
            Some(Err(error)) => Fact::NotRead(format!("devlink: {error}")),
            Some(Ok(None)) | None => Fact::NotOffered,
        }
    })
}

/// Parses the attributes of one answer; `None` when it names no device.
///
/// # Errors
/// When they are cut off.
pub fn parse(payload: &[u8]) -> Result<Option<DeviceInfo>, MessageError> {
    const DRIVER: u16 = 98;
    const SERIAL: u16 = 99;
    const BOARD_SERIAL: u16 = 146;
    let (mut bus, mut device) = (None, None);
    let (mut driver, mut serial, mut board_serial) = (None, None, None);
    let mut versions = Vec::new();
    for attribute in attributes(payload) {
        let attribute = attribute?;
        let identity = || meaningful_serial(&attribute.text()).map(str::to_owned);
        match attribute.kind {
            BUS => bus = Some(attribute.text()),
            DEVICE => device = Some(attribute.text()),
            DRIVER => driver = Some(attribute.text()),
            SERIAL => serial = identity(),
            BOARD_SERIAL => board_serial = identity(),
            100 => versions.extend(version(VersionKind::Fixed, attribute.payload)?),
            101 => versions.extend(version(VersionKind::Running, attribute.payload)?),
            102 => versions.extend(version(VersionKind::Stored, attribute.payload)?),
            _ => {}
        }
    }
    Ok(bus.zip(device).map(|(bus, device)| DeviceInfo {
        bus,
        device,
        driver,
        serial,
        board_serial,
        versions,
    }))
}

fn version(kind: VersionKind, payload: &[u8]) -> Result<Option<Version>, MessageError> {
    const NAME: u16 = 103;
    const VALUE: u16 = 104;
    let (mut name, mut value) = (None, None);
    for attribute in attributes(payload) {
        let attribute = attribute?;
        match attribute.kind {
            NAME => name = Some(attribute.text()),
            VALUE => value = Some(attribute.text()),
            _ => {}
        }
    }
    Ok(name
        .zip(value)
        .map(|(name, value)| Version { kind, name, value }))
}
