//! A boot of one entry of the card's own disk, and the order of the entries.

use super::*;
use lockstep_crds::observed::Offer;
use lockstep_redfish::{BootOverrideState, BootTarget, OverrideEnabled};

const A: &str = "Card OS A";
const B: &str = "Card OS B";

/// A card whose BMC lists a disk of two slots, and boots one of them once.
fn with_slots() -> Bench {
    let bench = bench();
    bench.bmc.lists_entries(&[A, "Network", B]);
    bench.bmc.set(|facts| {
        let targets = ["Cd", "Hdd", "UefiBootNext"];
        facts.capabilities.boot_override.values =
            Some(targets.iter().map(|&one| one.to_owned()).collect());
    });
    bench
}

impl Bench {
    fn start_asked(&self) -> Running {
        self.start_with(MachineKind::Card, |input| input.boot_entries = true)
    }
}

fn of_slot(seq: i64, kind: &str, entry: &str) -> Directive {
    let mut directive = directive(seq, kind);
    let slot = json!({"name": "B", "bootEntry": entry});
    let image =
        json!({"digest": format!("sha256:{}", "b".repeat(64)), "version": "2", "slot": slot});
    directive.action.image = Some(serde_json::from_value(image).unwrap());
    directive
}

#[tokio::test]
async fn entries_are_told_to_whoever_asks_for_them() {
    let bench = with_slots();
    let running = bench.start_asked();
    let told = |report: &Value| !report["spec"]["bmc"]["bootEntries"].is_null();
    let report = bench.api.until(CARD, told).await;
    let bmc = &report["spec"]["bmc"];
    assert_eq!(bmc["capabilities"]["bootEntry"], "Offered");
    assert_eq!(
        bmc["bootEntries"],
        json!({
            "listed": "Offered",
            "entries": [
                {"reference": "Boot0001", "name": A},
                {"reference": "Boot0002", "name": "Network"},
                {"reference": "Boot0003", "name": B},
            ],
            "order": ["Boot0001", "Boot0002", "Boot0003"],
        })
    );
    running
        .input
        .send_modify(|input| input.boot_entries = false);
    let untold = |report: &Value| report["spec"]["bmc"]["bootEntries"].is_null();
    bench.api.until(CARD, untold).await;
    running.end().await;
}

#[tokio::test]
async fn an_entry_is_booted_once_and_taken_back_with_what_it_displaced() {
    let bench = with_slots();
    let running = bench.start_asked();
    running.want(&[of_slot(1, "StageBootEntry", B)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done", "{outcome}");
    let report = bench.api.get(CARD).unwrap();
    let bmc = &report["spec"]["bmc"];
    assert_eq!(bmc["bootOverride"], "UefiBootNext");
    assert_eq!(bmc["bootEntries"]["next"], "Boot0003");
    // Nobody is asked for a token, for nothing is served.
    assert!(!format!("{:?}", bench.api.writes()).contains("seed"));

    running.want(&[directive(2, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    let report = bench.api.get(CARD).unwrap();
    assert!(report["spec"]["bmc"]["bootOverride"].is_null());
    assert_eq!(
        bench.bmc.effects(),
        [
            "override UefiBootNext Once Boot0003",
            "override Hdd Continuous"
        ]
    );
    running.end().await;
}

#[tokio::test]
async fn a_boot_of_another_entry_is_not_ours_to_take_back() {
    let bench = with_slots();
    bench.bmc.set(|facts| {
        facts.boot_override = Reading::Read(BootOverrideState {
            target: Some(BootTarget::Other("UefiBootNext".to_owned())),
            enabled: Some(OverrideEnabled::Once),
            mode: None,
            http_uri: Reading::Read(None),
            next: Some("Boot0001".to_owned()),
        });
    });
    let running = bench.start_asked();
    running.want(&[directive(1, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    assert!(bench.bmc.effects().is_empty());
    running.end().await;
}

#[tokio::test]
async fn what_firmware_numbers_anew_is_found_by_name_and_what_is_gone_is_not_booted() {
    let bench = with_slots();
    let running = bench.start_asked();
    let told = |report: &Value| !report["spec"]["bmc"]["bootEntries"].is_null();
    bench.api.until(CARD, told).await;
    // What was told of it a moment ago is not what counts.
    bench.bmc.lists_entries(&[B, A]);
    running.want(&[of_slot(1, "StageBootEntry", B)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    assert_eq!(bench.bmc.effects(), ["override UefiBootNext Once Boot0001"]);

    for (seq, names) in [(2, [A, "Network"]), (3, [B, B])] {
        bench.bmc.lists_entries(&names);
        running.want(&[of_slot(seq, "StageBootEntry", B)]);
        let outcome = bench.outcome(CARD, seq).await;
        assert_eq!(outcome["result"], "Failed", "{outcome}");
        assert_eq!(outcome["reason"], "BootEntryNotListed");
    }
    running.want(&[directive(4, "SetBootOrder")]);
    assert_eq!(bench.outcome(CARD, 4).await["reason"], "BootEntryMissing");
    assert_eq!(bench.bmc.effects().len(), 1);
    running.end().await;
}

#[tokio::test]
async fn the_order_is_put_right_and_what_it_was_is_told() {
    let bench = with_slots();
    let running = bench.start_asked();
    running.want(&[of_slot(1, "SetBootOrder", B)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done", "{outcome}");
    assert_eq!(
        outcome["message"],
        "Boot0003 is first in the boot order now, which was Boot0001, Boot0002, Boot0003"
    );
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(
        report["spec"]["bmc"]["bootEntries"]["order"],
        json!(["Boot0003", "Boot0001", "Boot0002"])
    );
    assert_eq!(bench.bmc.effects(), ["first Boot0003"]);
    running.end().await;
}

#[tokio::test]
async fn an_order_that_somebody_else_changes_is_told_while_nothing_goes_on() {
    let bench = with_slots();
    let running = bench.start_with(MachineKind::Card, |input| {
        input.boot_entries = true;
        input.activity = Activity::Kept;
    });
    let told = |report: &Value| !report["spec"]["bmc"]["bootEntries"].is_null();
    bench.api.until(CARD, told).await;
    let order = ["Boot0003", "Boot0001", "Boot0002"];
    bench.bmc.orders_entries(&order);
    let other = |report: &Value| report["spec"]["bmc"]["bootEntries"]["order"] == json!(order);
    bench.api.until(CARD, other).await;
    running.end().await;
}

#[tokio::test]
async fn what_was_listed_while_something_went_on_is_not_taken_for_what_is_listed_after_it() {
    let bench = bench();
    let (mut worker, input, _ending) = bench.worker(MachineKind::Card);
    let listed = |worker: &Worker| {
        let told = worker.bmc.as_ref().and_then(|bmc| bmc.boot_entries.clone());
        told.expect("no word of boot entries").listed
    };
    input.send_modify(|input| input.boot_entries = true);
    worker.adopt_input();
    assert!(worker.look().await);
    assert_eq!(listed(&worker), Offer::NotOffered);
    // The card boots what was installed, and its firmware enters it.
    bench.bmc.lists_entries(&[A]);
    assert!(worker.look().await);
    assert_eq!(listed(&worker), Offer::NotOffered, "read in vain");
    input.send_modify(|input| input.activity = Activity::Kept);
    assert!(worker.adopt_input() && worker.look().await);
    assert_eq!(listed(&worker), Offer::Offered);
}

#[tokio::test]
async fn a_card_without_boot_options_says_so() {
    let bench = bench();
    let running = bench.start_asked();
    let told = |report: &Value| !report["spec"]["bmc"]["bootEntries"].is_null();
    let report = bench.api.until(CARD, told).await;
    let bmc = &report["spec"]["bmc"];
    assert_eq!(bmc["bootEntries"], json!({"listed": "NotOffered"}));
    assert_eq!(bmc["capabilities"]["bootEntry"], "NotOffered");
    running.want(&[of_slot(1, "StageBootEntry", B)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(
        (&outcome["result"], &outcome["reason"]),
        (&json!("Failed"), &json!("NotOffered"))
    );
    running.end().await;
}
