//! Whether a card is one that an image is made for, by the joined inventory.

use lockstep_crds::ImageFits;
use lockstep_crds::report::BootStreamReport;
use lockstep_planner::inventory::{JoinedCard, boots, fits};
use lockstep_planner::requirement::Judgement;
use serde_json::{Value, json};

use crate::site::Site;

fn judge(card: &JoinedCard, wanted: Value) -> Judgement {
    let wanted: ImageFits = serde_json::from_value(wanted).unwrap();
    fits(Some(card), &wanted)
}

fn bluefield() -> Value {
    json!({
        "system": {
            "vendor": "Mellanox Technologies", "family": "BlueField-3",
            "model": "BlueField-3 DPU", "partNumber": "900-9D3B6-00CV-AA0",
        },
        "cpu": {"architecture": "ARM64"},
    })
}

#[test]
fn all_that_is_given_must_hold_however_it_is_spelt() {
    let card = Site::default()
        .card("c", json!({}))
        .card_bmc("c", bluefield())
        .joined("c");
    let fitting = [
        json!({}),
        json!({"vendors": ["Intel", "NVIDIA"]}),
        json!({"families": ["bluefield3"]}),
        json!({"models": ["BlueField-3 DPU"]}),
        json!({"partNumbers": ["900-9D3B6-00CV-AA0"]}),
        json!({"architectures": ["aarch64"]}),
        json!({"vendors": ["NVIDIA"], "families": ["BlueField-3"], "architectures": ["arm64"]}),
    ];
    for wanted in fitting {
        assert_eq!(judge(&card, wanted.clone()), Judgement::Met, "{wanted}");
    }
    let others = [
        (
            json!({"vendors": ["Intel"]}),
            "it is for maker Intel, and the card's is Mellanox Technologies",
        ),
        (
            json!({"families": ["BlueField-2", "BlueField-4"]}),
            "for family BlueField-2, BlueField-4, and the card's is BlueField-3",
        ),
        // A part of a name is another name.
        (json!({"families": ["BlueField"]}), "family"),
        (json!({"models": ["BlueField-3"]}), "model"),
        (json!({"partNumbers": ["900-9D3B6-00CV"]}), "part number"),
        (
            json!({"architectures": ["x86_64"]}),
            "architecture x86_64, and the card's is ARM64 (cpu.architecture of its DpuInventory)",
        ),
        (
            json!({"vendors": ["NVIDIA"], "architectures": ["x86_64"]}),
            "architecture",
        ),
    ];
    for (wanted, words) in others {
        let Judgement::NotMet(why) = judge(&card, wanted.clone()) else {
            panic!("{wanted} fits");
        };
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn what_nobody_has_told_is_not_known_and_what_is_told_decides_first() {
    let card = Site::default()
        .card("c", json!({}))
        .card_bmc("c", json!({"system": {"vendor": "NVIDIA", "family": " "}}))
        .joined("c");
    for wanted in [
        json!({"families": ["BlueField-3"]}),
        json!({"vendors": ["NVIDIA"], "architectures": ["aarch64"]}),
    ] {
        let Judgement::NotKnown(why) = judge(&card, wanted.clone()) else {
            panic!("{wanted} is known");
        };
        assert!(why.contains("nobody has told the card's"), "{why}");
    }
    let wanted = json!({"families": ["BlueField-3"], "vendors": ["Intel"]});
    assert!(matches!(judge(&card, wanted), Judgement::NotMet(_)));
    let wanted: ImageFits = serde_json::from_value(json!({"vendors": ["NVIDIA"]})).unwrap();
    assert!(matches!(fits(None, &wanted), Judgement::NotKnown(_)));
    assert_eq!(fits(None, &ImageFits::default()), Judgement::Met);
}

#[test]
fn what_vantage_points_contradict_each_other_in_is_not_known() {
    let card = Site::default()
        .card("c", json!({}))
        .card_bmc("c", bluefield())
        .own_agent("c", json!({"system": {"family": "BlueField-2"}}))
        .joined("c");
    let Judgement::NotKnown(why) = judge(&card, json!({"families": ["BlueField-3"]})) else {
        panic!("it is known");
    };
    assert!(why.contains("xpu-c says BlueField-2"), "{why}");
    assert_eq!(judge(&card, json!({"vendors": ["NVIDIA"]})), Judgement::Met);
}

#[test]
fn a_boot_stream_goes_to_its_generations_alone_and_only_whole() {
    let stream = |families: &[&str], fault: Option<&str>| BootStreamReport {
        families: families.iter().map(|&family| family.to_owned()).collect(),
        fault: fault.map(str::to_owned),
    };
    let card = Site::default()
        .card("c", json!({}))
        .card_bmc("c", bluefield())
        .joined("c");
    let both = stream(&["BlueField-2", "BlueField-3"], None);
    assert_eq!(boots(Some(&card), &both), Judgement::Met);
    let other = boots(Some(&card), &stream(&["BlueField-2"], None));
    let Judgement::NotMet(why) = other else {
        panic!("{other:?}");
    };
    assert!(
        why.contains("its boot stream was read") && why.contains("the card's is BlueField-3"),
        "{why}"
    );
    let torn = boots(
        Some(&card),
        &stream(&["BlueField-3"], Some("it ends at byte 7")),
    );
    assert!(matches!(torn, Judgement::NotMet(why) if why.contains("it ends at byte 7")));
    assert!(matches!(boots(None, &both), Judgement::NotKnown(_)));
}
