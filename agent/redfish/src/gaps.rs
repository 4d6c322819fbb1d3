//! How long a machine is left alone between two power commands. A second one that comes too soon is
//! lost, though its BMC answers with success, or leaves the machine off for good.

use crate::facts::SystemIdentity;
use crate::vendor::{self, Kind, Vendor, Words};

/// The shortest times, in seconds; 0 where no public source names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerGaps {
    /// From a cut of its power until it may be powered on.
    pub after_cut: i64,
    /// Between any two power commands.
    pub between: i64,
    /// From when its BMC answers again after a restart.
    pub after_bmc_restart: i64,
}

impl PowerGaps {
    /// Nothing is known.
    pub(crate) const NONE: Self = Self {
        after_cut: 0,
        between: 0,
        after_bmc_restart: 0,
    };
}

/// The gaps of a host, by the table of its maker. Words that fit the table of a card make it none.
pub fn host_gaps(machine: &SystemIdentity) -> PowerGaps {
    gaps(machine, Kind::Host)
}

/// The gaps of a card, by the table of its family.
pub fn card_gaps(machine: &SystemIdentity) -> PowerGaps {
    gaps(machine, Kind::Card)
}

/// Whether the machine is one that takes a restart, and no `On`, while it is paused.
pub(crate) fn paused_needs_restart(machine: &SystemIdentity) -> bool {
    recognised(machine).is_some_and(|vendor| vendor.paused_needs_restart)
}

fn gaps(machine: &SystemIdentity, kind: Kind) -> PowerGaps {
    recognised(machine)
        .filter(|vendor| vendor.kind == kind)
        .unwrap_or_else(|| vendor::generic(kind))
        .power_gaps
}

fn recognised(machine: &SystemIdentity) -> Option<&'static Vendor> {
    let id = machine.system_path.rsplit('/').next();
    let words = Words {
        maker: machine.manufacturer.clone(),
        model: machine.model.clone(),
        part_number: machine.part_number.clone(),
        system_id: id.map(str::to_owned),
        ..Words::default()
    };
    vendor::recognise(&words).map(|(vendor, _)| vendor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, maker: &str, model: &str, kind: Kind) -> (i64, i64, i64) {
        let machine = SystemIdentity {
            system_path: path.to_owned(),
            manufacturer: Some(maker.to_owned()),
            model: Some(model.to_owned()),
            ..SystemIdentity::default()
        };
        let gaps = gaps(&machine, kind);
        (gaps.after_cut, gaps.between, gaps.after_bmc_restart)
    }

    #[test]
    fn hosts_rest_after_a_cut_and_bluefields_between_any_two_commands() {
        let (host, card) = (Kind::Host, Kind::Card);
        let (plain, bluefield) = ("/redfish/v1/Systems/1", "/redfish/v1/Systems/Bluefield");
        for (found, wanted) in [
            (told(plain, "ACME", "Server 9", host), (120, 0, 0)),
            (
                told(plain, "Dell Inc.", "PowerEdge R750", host),
                (120, 0, 0),
            ),
            (told(plain, "Lenovo", "SR650", host), (120, 0, 0)),
            (
                told(bluefield, "Nvidia", "BlueField-2 DPU", card),
                (20, 20, 30),
            ),
            (
                told(bluefield, "Nvidia", "BlueField-3 DPU", card),
                (5, 5, 0),
            ),
            // One that does not say which: the longest of its line.
            (told(bluefield, "Nvidia", "", card), (20, 20, 30)),
            (told(plain, "ACME", "Card 9", card), (0, 0, 0)),
            (told(plain, "Intel", "IPU Adapter E2100", card), (0, 0, 0)),
            // Sold by a host's maker, and a card.
            (told(plain, "Dell Inc.", "", card), (0, 0, 0)),
            (
                told(bluefield, "Nvidia", "BlueField-3 DPU", host),
                (120, 0, 0),
            ),
        ] {
            assert_eq!(found, wanted);
        }
    }
}
