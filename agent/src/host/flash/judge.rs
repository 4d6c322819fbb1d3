//! Whether firmware may be written to a card by devlink, and what its driver lists. Pure: no I/O, no
//! clock.

use std::fmt;

use lockstep_crds::directive::{DevlinkExpects, Directive, ImageFacts};
use lockstep_crds::{DpuHost, DpuReportSpec, MachineIdentity, version};
use lockstep_local::Fact;
use lockstep_local::netlink::{DeviceInfo, Handle, VersionKind};
use lockstep_local::pci::{Address, Card};

use crate::host::push::judge::{check_bmc, check_host, check_machine, is_card, known};
use crate::site::judge::Refusal;

/// What is seen just before.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) host: &'a DpuHost,
    /// The machine that this runs on.
    pub(super) machine: &'a MachineIdentity,
    /// The cards in it.
    pub(super) cards: &'a [Card],
    /// The PCI function that the device is, or lies below.
    pub(super) function: Option<Address>,
    /// What its driver tells.
    pub(super) info: &'a Fact<DeviceInfo>,
    /// What is reported of the card's BMC.
    pub(super) bmc: Option<&'a DpuReportSpec>,
}

/// The device that the directive names.
pub(super) fn handle(directive: &Directive) -> Result<Handle, Refusal> {
    let named = directive.expects.devlink.as_ref();
    let handle = named.map(|device| device.handle.parse::<Handle>());
    match handle {
        Some(Ok(handle)) => Ok(handle),
        Some(Err(error)) => Err(mismatch(&error.to_string())),
        None => Err(mismatch("the directive names no devlink device")),
    }
}

/// What is to be written, and the component that is to run it.
pub(super) fn wanted(directive: &Directive) -> Result<(&ImageFacts, &str), Refusal> {
    let action = &directive.action;
    let wanted = action.image.as_ref().zip(action.component.as_deref());
    wanted.ok_or_else(nameless)
}

pub(super) fn nameless() -> Refusal {
    Refusal::new(
        "ImageMissing",
        "the directive names no image, or no component for it; upgrade operator and agents to one release",
    )
}

/// Whether nothing speaks against it; what the component is found at.
pub(super) fn check(
    directive: &Directive,
    handle: &Handle,
    seen: Seen<'_>,
) -> Result<Found, Refusal> {
    let (_, component) = wanted(directive)?;
    check_host(seen.host)?;
    check_machine(seen.host.spec.identity.as_ref(), seen.machine)?;
    check_card(directive.expects.devlink.as_ref(), handle, seen)?;
    let found = find(handle, component, seen.info)?;
    check_bmc(directive, seen.bmc)?;
    Ok(found)
}

/// Whether the card behind the device is the one meant (S13).
fn check_card(
    wanted: Option<&DevlinkExpects>,
    handle: &Handle,
    seen: Seen<'_>,
) -> Result<(), Refusal> {
    let Some(wanted) = wanted else {
        return Err(mismatch("the directive names no devlink device"));
    };
    let Some(address) = seen.function else {
        return Err(mismatch(&format!(
            "{handle} is no PCI function of this host, and belongs to none"
        )));
    };
    let mut cards = seen.cards.iter();
    let Some(card) = cards.find(|card| card.functions.contains(&address)) else {
        return Err(mismatch(&format!(
            "no card is at {address}, where {handle} is"
        )));
    };
    if is_card(
        card,
        wanted.serial_number.as_deref(),
        wanted.device_serial.as_ref(),
    ) {
        return Ok(());
    }
    Err(mismatch(&format!(
        "behind {handle} is another card: serial number {}, device serial number {}",
        card.serial, card.device_serial
    )))
}

fn mismatch(what: &str) -> Refusal {
    Refusal::new(
        "IdentityMismatch",
        format!("{what}; the operator plans anew from what this host reports"),
    )
}

/// The component as its driver lists it.
fn find(handle: &Handle, component: &str, info: &Fact<DeviceInfo>) -> Result<Found, Refusal> {
    let device = match info {
        Fact::Known(device) => device,
        Fact::NotOffered => {
            return Err(Refusal::new(
                "DevlinkMissing",
                format!(
                    "the kernel of this host tells nothing of {handle}: the card's driver must be loaded there, and offer devlink; else write the firmware through the card's BMC"
                ),
            ));
        }
        Fact::NotRead(why) => {
            return Err(Refusal::new(
                "DevlinkUnusable",
                format!("{handle} was not read: {why}; it is tried again"),
            ));
        }
    };
    let listed = Listed::in_device(device, component);
    if !listed.running.is_empty() || !listed.stored.is_empty() {
        return Ok(Found {
            running: listed.running,
        });
    }
    let mut names: Vec<&str> = device
        .versions
        .iter()
        .filter(|version| version.kind != VersionKind::Fixed)
        .map(|version| version.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(16);
    Err(Refusal::new(
        "ComponentNotListed",
        format!(
            "the driver of {handle} lists no firmware {component}, only {}; correct the component of the image",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        ),
    ))
}

/// A component that a driver lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    running: Vec<String>,
}

impl Found {
    pub(super) fn runs(&self, version: &str) -> bool {
        has(&self.running, version)
    }
}

/// The versions of one component that a driver lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    component: String,
    running: Vec<String>,
    stored: Vec<String>,
    /// Why nothing is known of it.
    unread: Option<String>,
}

impl Listed {
    pub(super) fn of(info: &Fact<DeviceInfo>, component: &str) -> Self {
        match known(info) {
            Some(device) => Self::in_device(device, component),
            None => Self {
                component: component.to_owned(),
                unread: Some(match info {
                    Fact::NotRead(why) => why.clone(),
                    Fact::Known(_) | Fact::NotOffered => "the kernel has no such device".to_owned(),
                }),
                ..Self::default()
            },
        }
    }

    /// Some drivers list what is stored by its slots: `fw.mainfwa` and `fw.mainfwb` of `fw`.
    fn in_device(device: &DeviceInfo, component: &str) -> Self {
        let of = |kind: VersionKind, slots: bool| {
            let versions = device.versions.iter().filter(|version| {
                let slot = version.name.strip_prefix(component);
                let is_slot = slots && slot.is_some_and(|slot| slot.starts_with('.'));
                version.kind == kind && (version.name == component || is_slot)
            });
            versions.map(|version| version.value.clone()).collect()
        };
        Self {
            component: component.to_owned(),
            running: of(VersionKind::Running, false),
            stored: of(VersionKind::Stored, true),
            unread: None,
        }
    }

    /// Whether that version runs, or is stored to run later.
    pub(super) fn has(&self, version: &str) -> bool {
        has(&self.running, version) || has(&self.stored, version)
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.unread {
            return write!(f, "nothing of {}: {why}", self.component);
        }
        let told = |versions: &[String]| match versions {
            [] => "none".to_owned(),
            versions => versions.join(", "),
        };
        let (running, stored) = (told(&self.running), told(&self.stored));
        write!(
            f,
            "of {} running {running}, stored {stored}",
            self.component
        )
    }
}

fn has(versions: &[String], wanted: &str) -> bool {
    versions.iter().any(|listed| version::is(listed, wanted))
}

#[cfg(test)]
mod tests;
