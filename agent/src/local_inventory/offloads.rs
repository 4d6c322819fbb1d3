//! What ports take off the kernel's hands.

use std::collections::BTreeMap;

use lockstep_crds::inventory::{Implementation, Offload, OffloadList};
use lockstep_local::inventory::{Implementation as Local, MachinePort};

use super::bounds::{self, Unreads};

const MOST: usize = 96;
const NAME: usize = 64;

/// Of the ports that are listed, by the name of the offload; ports that do it alike together.
pub(super) fn of(ports: &[&MachinePort], unread: &mut Unreads) -> Option<OffloadList> {
    let mut all: BTreeMap<(String, Implementation), (Vec<String>, bool)> = BTreeMap::new();
    let mut any = false;
    for port in ports {
        let Some(told) = unread.known("offloads", port.offloads.as_ref()) else {
            continue;
        };
        any = true;
        for group in told {
            let implementation = implementation(group.implementation);
            let on = group.on.iter().map(|name| (name, true));
            let off = group.off.iter().map(|name| (name, false));
            for (name, on) in on.chain(off) {
                let (Some(name), Some(port)) = (
                    bounds::text(name, NAME),
                    bounds::text(&port.port.name, NAME),
                ) else {
                    continue;
                };
                let (ports, all_on) = all
                    .entry((name, implementation.clone()))
                    .or_insert((Vec::new(), true));
                ports.push(port);
                *all_on &= on;
            }
        }
    }
    let mut offloads: Vec<Offload> = all
        .into_iter()
        .map(|((name, implementation), (ports, on))| Offload {
            name,
            implementation,
            ports,
            on,
        })
        .collect();
    let omitted = bounds::end(&mut offloads, MOST, 0);
    any.then_some(OffloadList { offloads, omitted })
}

fn implementation(local: Local) -> Implementation {
    match local {
        Local::Hardware => Implementation::Hardware,
        Local::Software => Implementation::Software,
        Local::Unknown => Implementation::Unknown,
    }
}
