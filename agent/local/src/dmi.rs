//! What the firmware says about the product, through the kernel's DMI folder.
//!
//! The serial and the UUID can be read by root only. What identifies nothing
//! (see [`lockstep_crds::identity`]) counts as not offered.

use lockstep_crds::identity::meaningful_uuid;

use crate::fact::{meaningful_fact, serial_fact};
use crate::kernel::is_uuid;
use crate::{Fact, Root};

const FOLDER: &str = "/sys/class/dmi/id";

/// The SMBIOS system UUID, in lower case.
pub fn product_uuid(root: &Root) -> Fact<String> {
    field(root, "product_uuid").and_then(|text| {
        if is_uuid(&text) {
            meaningful_uuid(&text).map_or(Fact::NotOffered, Fact::Known)
        } else {
            Fact::NotRead(format!("{FOLDER}/product_uuid: not a UUID"))
        }
    })
}

/// The SMBIOS system serial number.
pub fn product_serial(root: &Root) -> Fact<String> {
    field(root, "product_serial").and_then(|text| serial_fact(&text))
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
    root.text(&format!("{FOLDER}/{name}"))
        .and_then(|text| meaningful_fact(&text))
}
