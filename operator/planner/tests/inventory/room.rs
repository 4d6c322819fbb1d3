//! Whether a card has the disk that an image needs, by who tells of its disks.

use lockstep_planner::inventory::room;
use lockstep_planner::requirement::Judgement;
use lockstep_planner::room::judge;
use serde_json::{Value, json};

use crate::site::Site;

/// A card whose own agent and BMC tell these disks, and how many they left out.
fn card(own: Option<(Value, i64)>, bmc: Option<(Value, i64)>) -> Site {
    let told =
        |(disks, omitted): (Value, i64)| json!({"disks": {"disks": disks, "omitted": omitted}});
    let mut site = Site::default().card("c", json!({}));
    if let Some(own) = own {
        site = site.own_agent("c", told(own));
    }
    match bmc {
        Some(bmc) => site.card_bmc("c", told(bmc)),
        None => site.card_bmc("c", json!({"system": {"vendor": "NVIDIA"}})),
    }
}

/// By those that are not silent.
fn needs(site: &Site, bytes: i64) -> Judgement {
    let joined = site.joined("c");
    judge(&room(Some(&joined), bytes, |_| None), |seen| {
        site.view().alive.contains(seen.report.as_str())
    })
}

fn words(judgement: Judgement) -> (bool, String) {
    match judgement {
        Judgement::Met => (true, String::new()),
        Judgement::NotMet(why) => (true, why),
        Judgement::NotKnown(why) => (false, why),
    }
}

fn emmc() -> Value {
    json!({"name": "mmcblk0", "kind": "Emmc", "sizeBytes": 64})
}

fn nvme() -> Value {
    json!({"name": "nvme0n1", "kind": "Nvme", "sizeBytes": 128})
}

#[test]
fn the_largest_disk_must_have_the_room_and_media_are_none() {
    let told = |disks: Value, omitted: i64| card(Some((disks, omitted)), None);
    let kinds = ["Optical", "Usb", "NvmeOverFabrics", "Iscsi", "FibreChannel"];
    let mut disks: Vec<Value> = kinds
        .iter()
        .map(|kind| json!({"name": format!("x-{kind}"), "kind": kind, "sizeBytes": 900}))
        .collect();
    disks.push(json!({"name": "pmem0", "kind": "Other", "sizeBytes": 900}));
    // What does not count need not have a size either.
    disks.push(json!({"name": "sr0", "kind": "Optical"}));
    disks.push(emmc());
    let media = json!(disks);
    let unsized_one = json!({"name": "sdb", "kind": "Ata"});
    for (site, bytes) in [
        (told(json!([emmc(), nvme()]), 0), 128),
        (told(media.clone(), 0), 64),
        (told(json!([nvme(), unsized_one]), 3), 100),
    ] {
        assert_eq!(needs(&site, bytes), Judgement::Met, "{bytes}");
    }
    for (site, is_known, say) in [
        (
            told(json!([emmc(), nvme()]), 0),
            true,
            "it needs a disk of 129 bytes, and the card's largest is nvme0n1 with 128, as report xpu-c (CardOs) told at 2026-05-01T00:00:00Z",
        ),
        (
            told(media, 0),
            true,
            "the card's largest is mmcblk0 with 64",
        ),
        (told(json!([]), 0), true, "the card has none"),
        (
            told(json!([emmc(), unsized_one]), 0),
            false,
            "lacks a disk or a size",
        ),
        (told(json!([emmc()]), 1), false, "lacks a disk or a size"),
        (told(json!([]), 1), false, "none has a size"),
        (
            card(None, None),
            false,
            "nobody tells of any (disks of its DpuInventory)",
        ),
    ] {
        let found = needs(&site, 129);
        assert_ne!(found, Judgement::Met, "{say}");
        let (was_known, why) = words(found);
        assert_eq!(was_known, is_known, "{why}");
        // Who reads it is told that nothing waits for it.
        let is_no_obstacle = why.starts_with("no obstacle by itself: an install stops only where")
            && why.contains("none has the 129 bytes");
        assert_eq!(is_no_obstacle, !is_known, "{why}");
        assert!(why.contains(say), "{say}: {why}");
    }
    let unjoined = judge(&room(None, 1, |_| None), |_| true);
    assert!(matches!(unjoined, Judgement::NotKnown(_)));
}

#[test]
fn who_is_silent_does_not_count_and_one_large_disk_is_enough_whoever_tells_of_it() {
    let both = |own: Value, bmc: Value| card(Some((own, 0)), Some((bmc, 0)));
    let larger = || both(json!([nvme()]), json!([emmc()]));
    assert_eq!(needs(&larger(), 100), Judgement::Met);
    // The disk was changed while its own system was silent.
    let silent = larger().silent("xpu-c");
    let (_, why) = words(needs(&silent, 100));
    let of_bmc = "largest is mmcblk0 with 64, as report bmc-card-c (CardBmc) told";
    assert!(why.contains(of_bmc), "{why}");
    let smaller = || both(json!([emmc()]), json!([nvme()]));
    assert_eq!(needs(&smaller(), 100), Judgement::Met);
    assert_eq!(needs(&smaller().silent("xpu-c"), 100), Judgement::Met);
    let lone = smaller().silent("bmc-card-c");
    assert!(matches!(needs(&lone, 100), Judgement::NotMet(_)));
    let (is_known, why) = words(needs(&silent.silent("bmc-card-c"), 100));
    assert!(!is_known && why.contains("nobody tells"), "{why}");
}

#[test]
fn beside_a_list_that_lacks_something_nobody_says_that_there_is_no_room() {
    let site = |bmc: Value| card(Some((json!([emmc()]), 1)), Some((bmc, 0)));
    assert_eq!(needs(&site(json!([nvme()])), 100), Judgement::Met);
    let (is_known, why) = words(needs(&site(json!([emmc()])), 100));
    assert!(!is_known && why.contains("report xpu-c"), "{why}");
    // A source that sees no disk hides none that another sees.
    let none = card(Some((json!([]), 0)), Some((json!([nvme()]), 0)));
    assert_eq!(needs(&none, 100), Judgement::Met);
}
