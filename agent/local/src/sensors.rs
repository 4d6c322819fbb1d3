//! Temperatures, voltages, power and fans, from the kernel's hwmon. For metrics: these change
//! with every look and are no part of an inventory.

use serde::{Deserialize, Serialize};

use crate::fact::meaningful_fact;
use crate::pci::Address;
use crate::{Fact, Root};

const HWMON: &str = "/sys/class/hwmon";
/// More than any chip has; what is beyond is left out.
const MOST_SENSORS: usize = 256;

/// What a sensor measures, and in which unit its numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quantity {
    /// Thousandths of a degree Celsius.
    Temperature,
    /// Thousandths of a volt.
    Voltage,
    /// Thousandths of an ampere.
    Current,
    /// Millionths of a watt.
    Power,
    /// Turns a minute.
    Fan,
}

/// One sensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sensor {
    /// The kernel's name, `temp1`.
    pub name: String,
    /// What the driver calls it.
    pub label: Fact<String>,
    /// What it measures.
    pub quantity: Quantity,
    /// What it reads now.
    pub value: Fact<i64>,
    /// Below this it warns.
    pub low: Fact<i64>,
    /// Above this it warns.
    pub high: Fact<i64>,
    /// Above this the device is in danger or turns itself off.
    pub critical: Fact<i64>,
}

/// The sensors of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chip {
    /// The driver's name for it: `nvme`, `mlx5`, `coretemp`.
    pub name: Fact<String>,
    /// The PCI function that it belongs to.
    pub pci: Option<Address>,
    /// Its sensors by name.
    pub sensors: Vec<Sensor>,
}

/// Reads all sensors; a machine without any offers none.
pub fn chips(root: &Root) -> Fact<Vec<Chip>> {
    root.names(HWMON)
        .map(|names| names.iter().map(|name| chip(root, name)).collect())
}

fn chip(root: &Root, name: &str) -> Chip {
    let folder = format!("{HWMON}/{name}");
    let place = root.followed(&folder).known().unwrap_or_default();
    let files = root.names(&folder).known().unwrap_or_default();
    Chip {
        name: root
            .line(&format!("{folder}/name"))
            .and_then(|text| meaningful_fact(&text)),
        pci: Address::on_path(&place).pop(),
        sensors: files
            .iter()
            .filter_map(|file| {
                let name = file.strip_suffix("_input")?;
                Some((name, quantity(name)?))
            })
            .take(MOST_SENSORS)
            .map(|(name, quantity)| {
                let number = |what: &str| root.number(&format!("{folder}/{name}_{what}"));
                Sensor {
                    label: root
                        .line(&format!("{folder}/{name}_label"))
                        .and_then(|text| meaningful_fact(&text)),
                    quantity,
                    value: number("input"),
                    low: number("min"),
                    high: number("max"),
                    critical: number("crit"),
                    name: name.to_owned(),
                }
            })
            .collect(),
    }
}

/// `temp1` is a temperature; humidity, energy and the like are not asked for.
fn quantity(name: &str) -> Option<Quantity> {
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
    match kind {
        "temp" => Some(Quantity::Temperature),
        "in" => Some(Quantity::Voltage),
        "curr" => Some(Quantity::Current),
        "power" => Some(Quantity::Power),
        "fan" => Some(Quantity::Fan),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_sensors_of_a_disk() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(chips(&root), Fact::NotOffered);
        let device = "sys/devices/pci0000:00/0000:03:00.0/nvme/nvme0/hwmon3";
        let folder = dir.path().join(device);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in [
            ("name", "nvme"),
            ("temp1_input", "-5850"),
            ("temp1_label", "Composite"),
            ("temp1_max", "81850"),
            ("temp1_min", "-273150"),
            ("temp1_crit", "84850"),
            ("in0_input", "broken"),
            ("humidity1_input", "1"),
            ("temp2_max", "1"),
        ] {
            fs::write(folder.join(file), format!("{text}\n")).unwrap();
        }
        let class = dir.path().join("sys/class/hwmon");
        fs::create_dir_all(&class).unwrap();
        symlink(format!("../../../{device}"), class.join("hwmon3")).unwrap();
        let chips = chips(&root).known().unwrap();
        let [chip] = &chips[..] else {
            panic!("{chips:?}")
        };
        assert_eq!(chip.name, Fact::Known("nvme".into()));
        assert_eq!(chip.pci, Some("0000:03:00.0".parse().unwrap()));
        let [voltage, temperature] = &chip.sensors[..] else {
            panic!("{chip:?}")
        };
        assert_eq!(voltage.quantity, Quantity::Voltage);
        assert!(matches!(&voltage.value, Fact::NotRead(why) if why.contains("in0_input")));
        assert_eq!(temperature.value, Fact::Known(-5850));
        assert_eq!(temperature.label, Fact::Known("Composite".into()));
        assert_eq!(temperature.critical, Fact::Known(84_850));
        assert_eq!(voltage.high, Fact::NotOffered);
    }
}
