//! Processors, as the kernel runs them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::fact::meaningful_fact;
use crate::{Fact, Root, architecture};

const FOLDER: &str = "/sys/devices/system/cpu";
/// Twice what the largest kernel configuration allows; a list that names more is damaged.
const MOST_CPUS: usize = 16_384;

/// The processors that are online.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// The instruction set: `x86_64`, `aarch64`.
    pub architecture: String,
    /// Who designed the first of them: a name on x86, the implementer's code on Arm.
    pub vendor: Fact<String>,
    /// What it is called: `model name` on x86; on Arm the core's name, else its part code.
    pub model: Fact<String>,
    /// Packages.
    pub sockets: Fact<u32>,
    /// Cores in all packages.
    pub cores: Fact<u32>,
    /// Hardware threads, which the kernel calls CPUs.
    pub threads: Fact<u32>,
}

/// Reads the processors.
pub fn cpu(root: &Root) -> Cpu {
    let info = root.text("/proc/cpuinfo");
    let line = |names: &[&str]| {
        info.as_ref()
            .and_then(|text| field(text, names).map_or(Fact::NotOffered, meaningful_fact))
    };
    let online = online(root);
    // Each group of threads that share a core has one list of members, and so for packages.
    let groups = |names: &[&str]| {
        online.as_ref().and_then(|online| {
            let mut groups = BTreeSet::new();
            for cpu in online {
                let file = |name: &&str| root.line(&format!("{FOLDER}/cpu{cpu}/topology/{name}"));
                match names
                    .iter()
                    .map(file)
                    .find(|fact| *fact != Fact::NotOffered)
                {
                    // What firmware did not tell the kernel stands as -1.
                    Some(Fact::Known(group)) if group != "-1" => groups.insert(group),
                    Some(Fact::NotRead(why)) => return Fact::NotRead(why),
                    Some(Fact::Known(_) | Fact::NotOffered) | None => return Fact::NotOffered,
                };
            }
            Fact::Known(count(groups.len()))
        })
    };
    Cpu {
        architecture: architecture().to_owned(),
        vendor: line(&["vendor_id", "CPU implementer"]),
        model: line(&["model name"]).substitute(|| {
            line(&["CPU implementer"]).and_then(|implementer| {
                line(&["CPU part"]).map(|part| arm_core(&implementer, &part))
            })
        }),
        sockets: groups(&["physical_package_id"]),
        cores: groups(&["core_cpus_list", "thread_siblings_list"]),
        threads: online.map(|online| count(online.len())),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn online(root: &Root) -> Fact<BTreeSet<u32>> {
    let path = format!("{FOLDER}/online");
    root.line(&path).and_then(|text| {
        parse_list(&text).map_or_else(
            || Fact::NotRead(format!("{path}: not a list of CPUs")),
            Fact::Known,
        )
    })
}

/// Parses the kernel's lists: `0-3,8,10-11`.
pub fn parse_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut all = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if first > last || usize::try_from(last).ok()? >= MOST_CPUS {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

fn field<'a>(text: &'a str, names: &[&str]) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        names.contains(&name.trim()).then_some(value)
    })
}

/// The cores of the cards we know (Linux `arch/arm64/include/asm/cputype.h`).
fn arm_core(implementer: &str, part: &str) -> String {
    let name = match (implementer, part) {
        ("0x41", "0xd03") => "Cortex-A53",
        ("0x41", "0xd08") => "Cortex-A72",
        ("0x41", "0xd0c") => "Neoverse-N1",
        ("0x41", "0xd41") => "Cortex-A78",
        ("0x41", "0xd42") => "Cortex-A78AE",
        ("0x41", "0xd49") => "Neoverse-N2",
        ("0x41", "0xd4f") => "Neoverse-V2",
        _ => return format!("implementer {implementer} part {part}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn lists() {
        let list = |text| parse_list(text).map(|all| all.into_iter().collect::<Vec<_>>());
        assert_eq!(list("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(list("0"), Some(vec![0]));
        for wrong in ["", "3-1", "0-", "a", "0-4294967295", "99999"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
    }

    fn machine(info: &str, topology: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/cpuinfo", info);
        if !topology.is_empty() {
            let online = format!("0-{}\n", topology.len() - 1);
            write("sys/devices/system/cpu/online", &online);
        }
        for (cpu, (package, siblings)) in topology.iter().enumerate() {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}/topology");
            write(&format!("{folder}/physical_package_id"), package);
            write(&format!("{folder}/thread_siblings_list"), siblings);
        }
        dir
    }

    #[test]
    fn two_sockets_of_two_cores_of_two_threads() {
        let topology = [
            ("0", "0,4"),
            ("0", "1,5"),
            ("1", "2,6"),
            ("1", "3,7"),
            ("0", "0,4"),
            ("0", "1,5"),
            ("1", "2,6"),
            ("1", "3,7"),
        ];
        let dir = machine(
            "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\n",
            &topology,
        );
        let cpu = cpu(&Root::new(dir.path()));
        assert_eq!(cpu.vendor, Fact::Known("GenuineIntel".into()));
        assert_eq!(cpu.model, Fact::Known("Xeon".into()));
        assert_eq!(
            (cpu.sockets, cpu.cores, cpu.threads),
            (Fact::Known(2), Fact::Known(4), Fact::Known(8))
        );
    }

    #[test]
    fn an_arm_core_without_packages() {
        let text = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n";
        let dir = machine(text, &[("-1", "0"), ("-1", "1")]);
        let cpu = cpu(&Root::new(dir.path()));
        assert_eq!(cpu.model, Fact::Known("Cortex-A78AE".into()));
        assert_eq!(cpu.vendor, Fact::Known("0x41".into()));
        assert_eq!(cpu.sockets, Fact::NotOffered);
        assert_eq!(cpu.cores, Fact::Known(2));
    }

    #[test]
    fn nothing_is_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let cpu = cpu(&Root::new(dir.path()));
        assert_eq!(cpu.threads, Fact::NotOffered);
        assert_eq!(cpu.cores, Fact::NotOffered);
        assert_eq!(cpu.model, Fact::NotOffered);
    }
}
