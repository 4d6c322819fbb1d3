//! The BMC itself.

use lockstep_crds::inventory::BmcFacts;

use super::System;
use super::ports::mac;
use super::walk::Walk;
use crate::document::short;
use crate::reading;

const GROUP: &str = "bmc";

/// Addresses that are told.
const MOST_MACS: usize = 8;

pub(super) async fn read(walk: &mut Walk<'_>, system: &System) -> BmcFacts {
    let root = walk.link().shared_root();
    let mut facts = BmcFacts {
        service_uuid: reading::service(&root).uuid,
        redfish_version: short(&root, "RedfishVersion", 32),
        ..BmcFacts::default()
    };
    let Some((_, manager)) = &system.manager else {
        return facts;
    };
    facts.model = short(manager, "Model", 128);
    facts.firmware_version = short(manager, "FirmwareVersion", 128);
    let listed = walk
        .members(GROUP, manager, "EthernetInterfaces", MOST_MACS)
        .await;
    let interfaces = listed.unwrap_or_default().documents;
    facts.macs = interfaces.iter().filter_map(|(_, one)| mac(one)).collect();
    facts.macs.sort();
    facts.macs.dedup();
    facts
}
