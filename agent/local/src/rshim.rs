//! The rshim of a BlueField: the channel through which a host (or a BMC) installs a card.
//!
//! Only `misc` is read, which shows settings; `boot` and `console` have one reader and are left
//! alone. Behind these files may be a program (rshim-user-space) that hangs, so each is read on
//! a thread of its own and given up after a time. Such a thread ends when the program answers
//! or dies; until then the same file is not read again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fact::meaningful_fact;
use crate::pci::Address;
use crate::{Fact, Root};

const DEV: &str = "/dev";

/// Files whose reading was given up and has not ended.
static HANGING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// One rshim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rshim {
    /// Its folder in `/dev`.
    pub name: String,
    /// Whether `boot` is there, where an image goes.
    pub boot: bool,
    /// What `misc` says.
    pub settings: Fact<Settings>,
}

/// What `misc` says, by its own keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// `DEV_NAME`: the PCI function; an rshim over USB has none.
    pub pci: Fact<Address>,
    /// `DEV_INFO`: `BlueField-3(Rev 1)`.
    pub device: Fact<String>,
    /// `OPN_STR`: the part number.
    pub part_number: Fact<String>,
    /// `BF_MODE`: `DPU` or `NIC`.
    pub mode: Fact<String>,
    /// `BOOT_MODE`: 0 rshim, 1 eMMC, 2 eMMC with the boot partitions swapped.
    pub boot_mode: Fact<u8>,
    /// `DROP_MODE`: this side has given the rshim away.
    pub dropped: Fact<bool>,
    /// `SECURE_NIC_MODE`: the host is locked out.
    pub locked: Fact<bool>,
    /// `UP_TIME`: seconds since the card's reset (BlueField-3).
    pub uptime_seconds: Fact<u64>,
}

/// The rshims of this machine, each asked for no longer than `patience`.
pub fn rshims(root: &Root, patience: Duration) -> Fact<Vec<Rshim>> {
    root.names(DEV).map(|names| {
        let is_rshim = |name: &String| {
            name.strip_prefix("rshim")
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        };
        names
            .into_iter()
            .filter(is_rshim)
            .map(|name| Rshim {
                boot: matches!(root.exists(&format!("{DEV}/{name}/boot")), Ok(true)),
                settings: within(root, &format!("{DEV}/{name}/misc"), patience)
                    .map(|text| parse_misc(&text)),
                name,
            })
            .collect()
    })
}

fn within(root: &Root, path: &str, patience: Duration) -> Fact<String> {
    let whole = root.path().join(path.trim_start_matches('/'));
    let hanging = || HANGING.lock().unwrap_or_else(PoisonError::into_inner);
    if !hanging().insert(whole.clone()) {
        return Fact::NotRead(format!("{path}: an earlier reading has not ended"));
    }
    let (told, answer) = mpsc::sync_channel(1);
    let reading = {
        let (root, path, whole) = (root.clone(), path.to_owned(), whole.clone());
        move || {
            let fact = root.text(&path);
            hanging().remove(&whole);
            // Nobody may be waiting any more.
            told.send(fact).ok();
        }
    };
    match thread::Builder::new()
        .name("rshim".to_owned())
        .spawn(reading)
    {
        Ok(_) => answer
            .recv_timeout(patience)
            .unwrap_or_else(|_| Fact::NotRead(format!("{path}: no answer within {patience:?}"))),
        Err(error) => {
            hanging().remove(&whole);
            Fact::NotRead(format!("{path}: {error}"))
        }
    }
}

/// Parses the text of `misc`: a key, blanks, a value, then in brackets what it may be. The log
/// that may follow is not settings.
pub fn parse_misc(text: &str) -> Settings {
    let field = |key: &str| {
        let value = text
            .lines()
            .take_while(|line| !line.starts_with("---"))
            .find_map(|line| {
                let rest = line.strip_prefix(key)?;
                rest.starts_with([' ', '\t']).then_some(rest)
            })?;
        let value = value.split_once(" (").map_or(value, |(value, _)| value);
        Some(value.trim())
    };
    let text = |key: &str| field(key).map_or(Fact::NotOffered, meaningful_fact);
    let number = |key: &str| {
        field(key).map_or(Fact::NotOffered, |value| {
            // `UP_TIME 5321(s)`
            let digits = value.split_once('(').map_or(value, |(digits, _)| digits);
            digits.trim().parse::<u64>().map_or_else(
                |_| Fact::NotRead(format!("{key}: not a number")),
                Fact::Known,
            )
        })
    };
    let flag = |key: &str| number(key).map(|number| number != 0);
    Settings {
        // `pcie-0000:03:00.2`; a card in recovery has one more word before the address.
        pci: field("DEV_NAME")
            .filter(|name| name.starts_with("pcie"))
            .and_then(|name| name.rsplit_once('-'))
            .map_or(Fact::NotOffered, |(_, address)| {
                address.parse().map_or_else(
                    |error| Fact::NotRead(format!("DEV_NAME: {error}")),
                    Fact::Known,
                )
            }),
        device: text("DEV_INFO"),
        part_number: text("OPN_STR"),
        mode: text("BF_MODE"),
        boot_mode: number("BOOT_MODE").and_then(|mode| {
            u8::try_from(mode).map_or_else(
                |_| Fact::NotRead("BOOT_MODE: not a mode".to_owned()),
                Fact::Known,
            )
        }),
        dropped: flag("DROP_MODE"),
        locked: flag("SECURE_NIC_MODE"),
        uptime_seconds: number("UP_TIME"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    const MISC: &str = "\
DISPLAY_LEVEL   2 (0:basic, 1:advanced, 2:log)
BF_MODE         DPU mode
BOOT_MODE       1 (0:rshim, 1:emmc, 2:emmc-boot-swap)
BOOT_TIMEOUT    300 (seconds)
DROP_MODE       0 (0:normal, 1:drop)
SW_RESET        0 (1: reset)
DEV_NAME        pcie-0000:03:00.2
DEV_INFO        BlueField-3(Rev 1)
OPN_STR         N/A
UP_TIME         5321(s)
SECURE_NIC_MODE 0 (0:no, 1:yes)
---------------------------------------
             Log Messages
---------------------------------------
 INFO[BL2]: DROP_MODE 1
";

    #[test]
    fn settings() {
        let settings = parse_misc(MISC);
        assert_eq!(settings.pci, Fact::Known("0000:03:00.2".parse().unwrap()));
        assert_eq!(settings.device, Fact::Known("BlueField-3(Rev 1)".into()));
        assert_eq!(settings.part_number, Fact::NotOffered);
        assert_eq!(settings.mode, Fact::Known("DPU mode".into()));
        assert_eq!(settings.boot_mode, Fact::Known(1));
        assert_eq!(settings.dropped, Fact::Known(false));
        assert_eq!(settings.locked, Fact::Known(false));
        assert_eq!(settings.uptime_seconds, Fact::Known(5321));
        let usb = parse_misc("DEV_NAME        usb-1.1\nBOOT_MODE x\n");
        assert_eq!(usb.pci, Fact::NotOffered);
        assert!(matches!(usb.boot_mode, Fact::NotRead(_)));
    }

    #[test]
    fn rshims_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let patience = Duration::from_secs(10);
        assert_eq!(rshims(&root, patience), Fact::NotOffered);
        for name in ["rshim0", "rshim1", "rshim", "rshimx"] {
            fs::create_dir_all(dir.path().join("dev").join(name)).unwrap();
        }
        fs::write(dir.path().join("dev/rshim0/misc"), MISC).unwrap();
        fs::write(dir.path().join("dev/rshim0/boot"), "").unwrap();
        for _ in 0..2 {
            let all = rshims(&root, patience).known().unwrap();
            assert_eq!(all.len(), 2);
            assert!(all[0].boot && !all[1].boot);
            assert_eq!(all[0].settings, Fact::Known(parse_misc(MISC)));
            assert_eq!(all[1].settings, Fact::NotOffered);
        }
    }

    #[test]
    fn what_hangs_is_given_up_and_not_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        fs::create_dir_all(dir.path().join("dev/rshim0")).unwrap();
        let whole = dir.path().join("dev/rshim0/misc");
        HANGING.lock().unwrap().insert(whole.clone());
        let all = rshims(&root, Duration::from_secs(10)).known().unwrap();
        assert!(matches!(&all[0].settings, Fact::NotRead(why) if why.contains("not ended")));
        HANGING.lock().unwrap().remove(&whole);
        let none = within(&root, "/dev/rshim0/misc", Duration::ZERO);
        assert!(
            matches!(&none, Fact::NotRead(why) if why.contains("no answer"))
                || none == Fact::NotOffered
        );
    }

    proptest! {
        #[test]
        fn any_text_ends_in_an_answer(text in "((DEV_NAME|BOOT_MODE|UP_TIME|---)?[ -~]{0,30}\n){0,10}") {
            prop_assert_eq!(parse_misc(&text), parse_misc(&text));
        }
    }
}
