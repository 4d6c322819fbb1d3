//! Who handles PCIe errors: the kernel or the firmware. It decides whether a host survives when
//! a card's link drops.
//!
//! The kernel attaches its AER service to a root port only when the firmware granted it control
//! (`_OSC`), so an attached service is proof. Its absence alone is none: the port may have no
//! AER, the kernel may be told not to use it. The kernel log, where the grant is also written,
//! is not asked: it is a ring that forgets.

use serde::{Deserialize, Serialize};

use super::{Address, DEVICES, hest};
use crate::{Fact, Root};

const SERVICES: &str = "/sys/bus/pci_express";
const HEST: &str = "/sys/firmware/acpi/tables/HEST";

/// Who is first to see an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorHandler {
    /// The kernel.
    Native,
    /// The firmware: a link that drops may take the host with it.
    FirmwareFirst,
    /// Nobody: the kernel was told on its command line to leave it.
    Nobody,
}

/// Error handling on the way from the root to a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorHandling {
    /// The root port; none for a function on the root bus.
    pub root_port: Option<Address>,
    /// Who handles errors there.
    pub handler: Fact<ErrorHandler>,
    /// Whether the kernel contains errors (DPC) at a port above the function.
    pub containment: Fact<bool>,
    /// Whether the kernel handles hot-plug (pciehp) at a port above the function.
    pub hot_plug: Fact<bool>,
    /// What this was concluded from.
    pub source: String,
}

/// Looks at the ports above a function, outermost first.
pub fn error_handling(root: &Root, above: &[Address]) -> ErrorHandling {
    let attached = |driver: &str, ports: &[Address]| match root.exists(SERVICES) {
        Ok(true) => match root.names(&format!("{SERVICES}/drivers/{driver}")) {
            Fact::Known(names) => Fact::Known(ports.iter().any(|port| {
                let prefix = format!("{port}:pcie");
                names.iter().any(|name| name.starts_with(&prefix))
            })),
            // What this kernel has no driver for, it does not do.
            Fact::NotOffered => Fact::Known(false),
            Fact::NotRead(why) => Fact::NotRead(why),
        },
        Ok(false) => Fact::NotRead(format!("{SERVICES}: this kernel has no port services")),
        Err(error) => Fact::NotRead(format!("{SERVICES}: {error}")),
    };
    let Some(port) = above.first() else {
        return ErrorHandling {
            root_port: None,
            handler: Fact::NotOffered,
            containment: Fact::Known(false),
            hot_plug: Fact::Known(false),
            source: "on the root bus, below no port".to_owned(),
        };
    };
    let (handler, source) = match attached("aer", &[*port]) {
        Fact::Known(true) => (
            Fact::Known(ErrorHandler::Native),
            format!("{SERVICES}/drivers/aer has {port}"),
        ),
        Fact::Known(false) => not_native(root, *port),
        Fact::NotOffered => (Fact::NotOffered, SERVICES.to_owned()),
        Fact::NotRead(why) => (Fact::NotRead(why), SERVICES.to_owned()),
    };
    ErrorHandling {
        root_port: Some(*port),
        handler,
        containment: attached("dpc", above),
        hot_plug: attached("pciehp", above),
        source,
    }
}

fn not_native(root: &Root, port: Address) -> (Fact<ErrorHandler>, String) {
    let drivers = format!("{SERVICES}/drivers/aer");
    // A kernel with AER shows these for every root port with AER, whoever handles it, even when
    // it was told not to use it and has no such driver.
    let counters = format!("{DEVICES}/{port}/aer_rootport_total_err_fatal");
    match (root.exists(&counters), root.exists(&drivers)) {
        (Ok(true), _) => {}
        (Ok(false), Ok(true)) => return (Fact::NotOffered, format!("{counters} is not there")),
        (Ok(false), Ok(false)) => {
            let why = format!("{drivers}: this kernel has no AER");
            return (Fact::NotRead(why), drivers);
        }
        (Err(error), _) => return (Fact::NotRead(format!("{counters}: {error}")), counters),
        (_, Err(error)) => return (Fact::NotRead(format!("{drivers}: {error}")), drivers),
    }
    const COMMAND_LINE: &str = "/proc/cmdline";
    let command_line = root.line(COMMAND_LINE);
    if let Fact::Known(line) = &command_line
        && line.split_ascii_whitespace().any(turns_off)
    {
        return (
            Fact::Known(ErrorHandler::Nobody),
            format!("{COMMAND_LINE} turns it off"),
        );
    }
    match root.bytes(HEST).map(|bytes| hest::parse(&bytes)) {
        Fact::Known(Ok(hest)) if hest.firmware_first > 0 || hest.generic_sources > 0 => (
            Fact::Known(ErrorHandler::FirmwareFirst),
            format!("{drivers} has no {port}, {HEST} announces firmware first"),
        ),
        Fact::Known(Err(error)) => (Fact::NotRead(format!("{HEST}: {error}")), HEST.to_owned()),
        Fact::NotRead(why) => (Fact::NotRead(why), HEST.to_owned()),
        Fact::Known(Ok(_)) | Fact::NotOffered => {
            let why = format!("the kernel does not handle errors at {port}; nothing says who does");
            (Fact::NotRead(why), format!("{drivers}, {HEST}"))
        }
    }
}

/// `pci=noaer` among other options of `pci=`, or port services turned off as a whole.
fn turns_off(word: &str) -> bool {
    match word.split_once('=') {
        Some(("pci", options)) => options.split(',').any(|option| option == "noaer"),
        Some(("pcie_ports", mode)) => mode == "compat",
        Some(_) | None => false,
    }
}
