//! Sensors and PCIe error counters as metrics. They change with every look, so they stand in no
//! report; they are read when somebody asks.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use lockstep_local::pci::{self, Counters};
use lockstep_local::sensors::{self, Chip, Quantity, Sensor};
use lockstep_local::{Fact, Root};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::health::Figures;

/// More than any machine has; what is beyond is left out.
const MOST_SENSORS: usize = 2048;

/// The figures of an agent that runs on its machine: on a host or on a card.
#[derive(Debug)]
pub(crate) struct MachineFigures {
    registry: Registry,
    ready: AtomicBool,
}

impl MachineFigures {
    /// Of the machine under `root`.
    pub(crate) fn new(root: Root) -> Self {
        let mut registry = Registry::with_prefix("lockstep_agent");
        registry.register_collector(Box::new(Machine { root }));
        Self {
            registry,
            ready: AtomicBool::new(false),
        }
    }

    /// The API server has taken the first report.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

impl Figures for MachineFigures {
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn ready(&self) -> Result<(), &'static str> {
        if self.ready.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err("the API server has not taken the first report yet")
        }
    }
}

#[derive(Debug)]
struct Machine {
    root: Root,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct SensorLabels {
    chip: String,
    /// The PCI function that the chip belongs to; empty for one of the machine itself.
    device: String,
    sensor: String,
    label: String,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct ErrorLabels {
    address: String,
    severity: &'static str,
}

impl Collector for Machine {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let chips = sensors::chips(&self.root).known().unwrap_or_default();
        for quantity in [
            Quantity::Temperature,
            Quantity::Voltage,
            Quantity::Current,
            Quantity::Power,
            Quantity::Fan,
        ] {
            encode_quantity(&mut encoder, quantity, &chips)?;
        }
        let functions = pci::functions(&self.root).known().unwrap_or_default().found;
        let mut family = encoder.encode_descriptor(
            "pcie_errors",
            "Errors that a PCIe function has seen since the kernel found it (AER)",
            None,
            MetricType::Counter,
        )?;
        for function in &functions {
            let errors = &function.errors;
            for (severity, counters) in [
                ("correctable", &errors.correctable),
                ("nonfatal", &errors.nonfatal),
                ("fatal", &errors.fatal),
            ] {
                if let Fact::Known(Counters { total, .. }) = counters {
                    let labels = ErrorLabels {
                        address: function.address.to_string(),
                        severity,
                    };
                    ConstCounter::new(*total).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

/// What a quantity is called, and by how much the kernel's numbers are to be divided.
fn described(quantity: Quantity) -> (&'static str, &'static str, Unit, f64) {
    let other = |unit: &str| Unit::Other(unit.to_owned());
    match quantity {
        Quantity::Temperature => ("sensor", "Temperature", Unit::Celsius, 1e3),
        Quantity::Voltage => ("sensor", "Voltage", Unit::Volts, 1e3),
        Quantity::Current => ("sensor", "Current", Unit::Amperes, 1e3),
        Quantity::Power => ("sensor", "Power", other("watts"), 1e6),
        Quantity::Fan => ("sensor_fan", "Speed of a fan", other("rpm"), 1.0),
    }
}

fn encode_quantity(
    encoder: &mut DescriptorEncoder<'_>,
    quantity: Quantity,
    chips: &[Chip],
) -> Result<(), fmt::Error> {
    let (name, help, unit, divisor) = described(quantity);
    let help = format!("{help}, from the kernel's hwmon");
    let sensors = chips
        .iter()
        .flat_map(|chip| chip.sensors.iter().map(move |sensor| (chip, sensor)))
        .take(MOST_SENSORS)
        .filter(|(_, sensor)| sensor.quantity == quantity);
    let mut family = encoder.encode_descriptor(name, &help, Some(&unit), MetricType::Gauge)?;
    for (chip, sensor) in sensors {
        let Fact::Known(value) = sensor.value else {
            continue;
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "no sensor measures more than 2^52 of its units"
        )]
        let value = value as f64 / divisor;
        let labels = labels(chip, sensor);
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn labels(chip: &Chip, sensor: &Sensor) -> SensorLabels {
    let text = |fact: &Fact<String>| fact.clone().known().unwrap_or_default();
    SensorLabels {
        chip: text(&chip.name),
        device: chip.pci.map(|pci| pci.to_string()).unwrap_or_default(),
        sensor: sensor.name.clone(),
        label: text(&sensor.label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn sensors_and_errors_are_measured_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        };
        let device = "sys/devices/pci0000:00/0000:03:00.0";
        let chip = format!("{device}/hwmon/hwmon3");
        for (file, text) in [
            ("name", "nvme"),
            ("temp1_input", "41850"),
            ("temp1_label", "Composite"),
            ("in0_input", "12100"),
            ("fan1_input", "4200"),
            ("power1_input", "7500000"),
            ("curr1_input", "broken"),
        ] {
            write(&format!("{chip}/{file}"), text);
        }
        for (file, text) in [
            ("vendor", "0x15b3"),
            ("device", "0xa2dc"),
            ("class", "0x020000"),
            ("aer_dev_fatal", "Undefined 0\nDLP 2\nTOTAL_ERR_FATAL 2"),
        ] {
            write(&format!("{device}/{file}"), text);
        }
        for (class, name, target) in [
            ("sys/class/hwmon", "hwmon3", chip.as_str()),
            ("sys/bus/pci/devices", "0000:03:00.0", device),
        ] {
            fs::create_dir_all(dir.path().join(class)).unwrap();
            let up = "../".repeat(class.split('/').count());
            let link = dir.path().join(class).join(name);
            symlink(format!("{up}{target}"), link).unwrap();
        }
        let figures = MachineFigures::new(Root::new(dir.path()));
        let text = figures.text().unwrap();
        let of = r#"chip="nvme",device="0000:03:00.0""#;
        for line in [
            format!(r#"sensor_celsius{{{of},sensor="temp1",label="Composite"}} 41.85"#),
            format!(r#"sensor_volts{{{of},sensor="in0",label=""}} 12.1"#),
            format!(r#"sensor_watts{{{of},sensor="power1",label=""}} 7.5"#),
            format!(r#"sensor_fan_rpm{{{of},sensor="fan1",label=""}} 4200.0"#),
            r#"pcie_errors_total{address="0000:03:00.0",severity="fatal"} 2"#.to_owned(),
        ] {
            let line = format!("lockstep_agent_{line}");
            assert!(text.contains(&line), "no {line} in {text}");
        }
        assert!(!text.contains("curr1"), "{text}");
        assert!(figures.ready().is_err());
        figures.set_ready();
        assert_eq!(figures.ready(), Ok(()));
    }
}
