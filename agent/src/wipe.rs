//! Wiping the card that this runs on, as the system of a `Wiper` image does once.
//!
//! Nothing is touched without an order in the seed, nor on another machine than the one that the
//! order names. It may be carried out again from the start: an agent that was killed in the
//! middle begins anew. What became of each part is told after all of them, in one report.

mod boot_entries;
mod disk;
mod spared;
mod tpm;

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use lockstep_crds::wipe::{WipeItem, WipeOrder, WipeReport, WipeResult};
use lockstep_local::{Fact, LocalFacts, Root};

use crate::seed::Seed;

/// Most items that a report holds.
const MOST_ITEMS: usize = 32;
/// Longest message of an item.
const MOST_WORDS: usize = 256;

/// How the name of the part begins that is one disk.
const DISK: &str = "Disk ";

/// The part that stands for all of a machine that is not touched.
const MACHINE: &str = "Machine";
/// What its refusal asks for: people read it far from the card's console.
const EQUAL: &str = "identity in the Dpu and the card's own SMBIOS must say the same";

/// Wipes everything that can be wiped, part by part, or tells why none of it was touched. `Err`:
/// there is no order, so nobody waits for an answer.
pub(crate) fn carry_out(seed: &Seed, root: &Root) -> Result<WipeReport> {
    let order = seed.wipe.as_ref().context(
        "the seed orders no wipe, so nothing is touched: set spec.wipe of the Dpu to have this image boot with an order",
    )?;
    let items = match prove_machine(order, &LocalFacts::read(root)) {
        Ok(()) => wipe_all(root),
        Err(why) => vec![failed(MACHINE, why.to_string())],
    };
    Ok(WipeReport {
        token: order.token.clone(),
        items: bounded(items),
    })
}

fn wipe_all(root: &Root) -> Vec<WipeItem> {
    let mut items = disk::wipe_all(root, Path::new("/dev"));
    items.push(tpm::wipe(root));
    items.push(boot_entries::wipe(root));
    items.push(left(
        "SecureBootKeys",
        "left as they are: they say what may boot on the card, and hold nothing of whoever used it",
    ));
    items.push(left(
        "Bmc",
        "the card's own system cannot reset its BMC: accounts, certificates and logs are there still; reset it by its own means",
    ));
    items
}

/// The order is for one machine, whatever this image was booted on.
fn prove_machine(order: &WipeOrder, facts: &LocalFacts) -> Result<()> {
    let named = [
        (
            "system UUID",
            &order.identity.system_uuid,
            &facts.product_uuid,
        ),
        (
            "serial number",
            &order.identity.serial_number,
            &facts.product_serial,
        ),
    ];
    let mut proved = false;
    for (what, wanted, found) in named {
        let Some(wanted) = wanted.as_ref().map(|text| text.trim()) else {
            continue;
        };
        match found {
            Fact::Known(found) if found.trim().eq_ignore_ascii_case(wanted) => proved = true,
            Fact::Known(found) => bail!(
                "nothing was touched: the order is for the machine of {what} {wanted}, and this one's is {found}; {EQUAL}"
            ),
            Fact::NotOffered | Fact::NotRead(_) => {}
        }
    }
    ensure!(
        proved,
        "nothing was touched: this machine tells neither the system UUID nor the serial number that the order names; {EQUAL}"
    );
    Ok(())
}

fn bounded(mut items: Vec<WipeItem>) -> Vec<WipeItem> {
    if items.len() > MOST_ITEMS {
        // What failed must not be what is left out. Of a storage network a machine may see any number.
        items.sort_by_key(|one| match one.result {
            WipeResult::Failed => 0,
            WipeResult::NotSupported if one.item.starts_with(DISK) => 2,
            WipeResult::Wiped | WipeResult::NotSupported | WipeResult::Unrecognized(_) => 1,
        });
        items.truncate(MOST_ITEMS);
    }
    for one in &mut items {
        let short = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        one.item = short(&one.item, 64);
        one.message = one.message.as_ref().map(|text| short(text, MOST_WORDS));
    }
    items
}

fn item(name: &str, result: WipeResult, message: impl Into<String>) -> WipeItem {
    WipeItem {
        item: name.to_owned(),
        result,
        message: Some(message.into()),
    }
}

fn wiped(name: &str, message: impl Into<String>) -> WipeItem {
    item(name, WipeResult::Wiped, message)
}

fn left(name: &str, message: impl Into<String>) -> WipeItem {
    item(name, WipeResult::NotSupported, message)
}

fn failed(name: &str, message: impl Into<String>) -> WipeItem {
    item(name, WipeResult::Failed, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_crds::MachineIdentity;
    use std::fs;

    fn machine(uuid: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let dmi = dir.path().join("sys/class/dmi/id");
        fs::create_dir_all(&dmi).unwrap();
        if let Some(uuid) = uuid {
            fs::write(dmi.join("product_uuid"), uuid).unwrap();
        }
        dir
    }

    fn order(uuid: &str, serial: Option<&str>) -> WipeOrder {
        WipeOrder {
            token: "t".to_owned(),
            identity: MachineIdentity {
                system_uuid: Some(uuid.to_owned()),
                serial_number: serial.map(str::to_owned),
            },
        }
    }

    const ONE: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const OTHER: &str = "11234567-89ab-cdef-0123-456789abcdef";

    fn proves(dir: &tempfile::TempDir, order: &WipeOrder) -> Result<()> {
        prove_machine(order, &LocalFacts::read(&Root::new(dir.path())))
    }

    #[test]
    fn only_the_machine_that_the_order_names_is_touched() {
        let here = machine(Some(ONE));
        assert!(proves(&here, &order(&ONE.to_uppercase(), None)).is_ok());
        assert!(proves(&here, &order(ONE, Some("not told here"))).is_ok());
        let other = proves(&here, &order(OTHER, None)).unwrap_err().to_string();
        assert!(other.contains("nothing was touched"), "{other}");
        let mute = proves(&machine(None), &order(ONE, None));
        assert!(mute.unwrap_err().to_string().contains("tells neither"));
    }

    fn seed(wipe: Option<WipeOrder>) -> Seed {
        Seed {
            api_server: String::new(),
            ca: String::new(),
            namespace: String::new(),
            dpu: "c1".to_owned(),
            dpu_uid: None,
            token: String::new(),
            image_version: String::new(),
            image_digest: String::new(),
            store: None,
            wipe,
        }
    }

    #[test]
    fn without_an_order_nothing_is_touched() {
        let here = machine(Some(ONE));
        let why = carry_out(&seed(None), &Root::new(here.path())).unwrap_err();
        assert!(why.to_string().contains("orders no wipe"), "{why}");
    }

    #[test]
    fn who_ordered_it_is_told_why_nothing_was_touched() {
        let here = machine(Some(ONE));
        let disk = here.path().join("sys/block/vda");
        fs::create_dir_all(disk.join("device")).unwrap();
        let longest = "s".repeat(64);
        let told = carry_out(
            &seed(Some(order(OTHER, Some(&longest)))),
            &Root::new(here.path()),
        );
        let told = told.unwrap();
        assert_eq!(told.token, "t");
        let [refused] = &told.items[..] else {
            panic!("{told:?}");
        };
        assert_eq!(
            (refused.item.as_str(), &refused.result),
            (MACHINE, &WipeResult::Failed)
        );
        let words = refused.message.as_deref().unwrap();
        for word in [OTHER, ONE, EQUAL] {
            assert!(words.contains(word), "{words}");
        }
    }

    #[test]
    fn of_too_many_items_the_disks_of_others_are_left_out_first() {
        let mut items: Vec<WipeItem> = (0..40)
            .map(|one| left(&format!("{DISK}sd{one}"), "of another machine"))
            .collect();
        items.insert(0, left(lockstep_crds::wipe::NO_DISK, ""));
        items.push(wiped(&format!("{DISK}vda"), ""));
        items.push(left("Tpm", ""));
        let told = bounded(items);
        let first: Vec<&str> = told.iter().take(4).map(|one| one.item.as_str()).collect();
        assert_eq!(first, ["Disks", "Disk vda", "Tpm", "Disk sd0"]);
        assert_eq!(told.len(), MOST_ITEMS);
    }

    #[test]
    fn of_too_many_items_those_that_failed_are_told() {
        let mut items: Vec<WipeItem> = (0..40)
            .map(|one| wiped(&format!("Disk {one}"), ""))
            .collect();
        items.push(failed("Tpm", "x".repeat(400)));
        let told = bounded(items);
        assert_eq!(told.len(), MOST_ITEMS);
        assert_eq!(told[0].item, "Tpm");
        assert_eq!(told[0].message.as_ref().unwrap().len(), MOST_WORDS);
    }
}
