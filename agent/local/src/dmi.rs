//! What the firmware says about the product, through the kernel's DMI folder.
//!
//! The serial and the UUID can be read by root only. Placeholders that
//! vendors leave in these fields identify nothing and count as not offered.

use crate::kernel::is_uuid;
use crate::{Fact, Root};

const FOLDER: &str = "/sys/class/dmi/id";

const PLACEHOLDERS: &[&str] = &[
    "none",
    "n/a",
    "na",
    "null",
    "unknown",
    "default",
    "default string",
    "not specified",
    "not available",
    "not applicable",
    "to be filled by o.e.m.",
    "system serial number",
    "system product name",
    "system manufacturer",
    "serial number",
    "empty",
    "unspecified",
    "0123456789",
    "123456789",
    "1234567890",
];

/// The SMBIOS system UUID, in lower case.
pub fn product_uuid(root: &Root) -> Fact<String> {
    field(root, "product_uuid").and_then(|text| {
        let uuid = text.to_ascii_lowercase();
        let digits = || uuid.bytes().filter(|byte| *byte != b'-');
        if !is_uuid(&uuid) {
            Fact::NotRead(format!("{FOLDER}/product_uuid: not a UUID"))
        } else if digits().all(|digit| digit == b'0') || digits().all(|digit| digit == b'f') {
            // SMBIOS: all zeros is "not present", all ones is "not set".
            Fact::NotOffered
        } else {
            Fact::Known(uuid)
        }
    })
}

/// The SMBIOS system serial number.
pub fn product_serial(root: &Root) -> Fact<String> {
    field(root, "product_serial")
}

/// The SMBIOS product name.
pub fn product_name(root: &Root) -> Fact<String> {
    field(root, "product_name")
}

/// The SMBIOS system manufacturer.
pub fn system_vendor(root: &Root) -> Fact<String> {
    field(root, "sys_vendor")
}

fn field(root: &Root, name: &str) -> Fact<String> {
    root.text(&format!("{FOLDER}/{name}")).and_then(|text| {
        let text = text.trim();
        let plain = text.to_ascii_lowercase();
        let only_filler = text
            .bytes()
            .all(|byte| matches!(byte, b'0' | b'.' | b' ' | b'-'));
        if only_filler || PLACEHOLDERS.contains(&plain.as_str()) {
            Fact::NotOffered
        } else {
            Fact::Known(text.to_owned())
        }
    })
}
