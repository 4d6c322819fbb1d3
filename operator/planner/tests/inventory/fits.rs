//! Whether a card is one that an image is made for, by the joined inventory.

use lockstep_crds::ImageFits;
use lockstep_crds::report::BootStreamReport;
use lockstep_planner::inventory::{JoinedCard, boots, fits, selects};
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

#[test]
fn a_selector_asks_what_the_card_is_and_takes_nobodys_silence_for_an_answer() {
    let judge = |card: Option<&JoinedCard>, asked: Value| {
        let asked = serde_json::from_value(asked).unwrap();
        selects(card, &asked)
    };
    let system = json!({"family": "BlueField-3", "partNumber": "P-1", "serialNumber": "MT1"});
    let site = Site::default().card("c", json!({}));
    let told = site.clone().card_bmc("c", json!({"system": system}));
    let card = told.joined("c");
    for asked in [
        json!({"families": ["BlueField-2", "bluefield3"]}),
        json!({"partNumbers": ["p1"], "serialNumbers": ["MT2", "mt1"]}),
    ] {
        assert_eq!(judge(Some(&card), asked.clone()), Judgement::Met, "{asked}");
    }
    let many: Vec<String> = (2..40).map(|n| format!("MT{n}")).collect();
    for (asked, words) in [
        (
            json!({"families": ["BlueField"]}),
            "the card's is BlueField-3",
        ),
        (
            json!({"families": ["BlueField-3"], "partNumbers": ["P-2"]}),
            "the card's is P-1",
        ),
        (
            json!({"serialNumbers": many}),
            "MT9 or one of 30 more, and the card's is MT1",
        ),
    ] {
        let Judgement::NotMet(why) = judge(Some(&card), asked.clone()) else {
            panic!("{asked} fits");
        };
        assert!(why.contains(words), "{why}");
    }
    let unread = site.clone().card_bmc("c", json!({})).joined("c");
    // Its own operating system could tell the number of any card.
    let word = site
        .clone()
        .own_agent("c", json!({"system": {"serialNumber": "MT1"}}));
    let word = word.joined("c");
    let other = told.own_agent("c", json!({"system": {"partNumber": "P-2"}}));
    let contradicted = other.joined("c");
    for (card, asked, words) in [
        (
            None,
            json!({"families": ["BlueField-3"]}),
            "nobody has told the card's (system.family",
        ),
        (
            Some(&unread),
            json!({"partNumbers": ["P-1"]}),
            "nobody has told the card's (system.partNumber",
        ),
        (
            Some(&word),
            json!({"serialNumbers": ["MT1"]}),
            "nobody but its own operating system has told",
        ),
        (
            Some(&contradicted),
            json!({"partNumbers": ["P-1"]}),
            "contradict each other",
        ),
    ] {
        let Judgement::NotKnown(why) = judge(card, asked.clone()) else {
            panic!("{asked} is known");
        };
        assert!(why.contains(words), "{why}");
    }
}
