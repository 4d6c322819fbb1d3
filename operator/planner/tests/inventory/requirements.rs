//! What an image requires, and who tells it, by the joined inventory.

use lockstep_crds::ComponentRequirement;
use lockstep_crds::report::Vantage;
use lockstep_planner::inventory::{JoinedCard, required};
use lockstep_planner::view::Required;
use serde_json::{Value, json};

use crate::site::Site;

/// Nobody is asked who is alive.
fn of(card: &JoinedCard, component: &str) -> Required {
    let requirement = ComponentRequirement {
        component: component.to_owned(),
        at_least: Some("1".to_owned()),
        below: None,
    };
    required(card, &requirement, |_| None)
}

fn running(card: &JoinedCard, component: &str) -> Vec<(Option<String>, Vantage, String)> {
    let seen = of(card, component).seen.into_iter();
    seen.map(|one| (one.running, one.from, one.report))
        .collect()
}

fn firmware(components: Value) -> Value {
    json!({"firmware": {"components": components}})
}

#[test]
fn each_version_has_the_report_that_tells_it() {
    let card = Site::default()
        .card("c", json!({}))
        .card_bmc(
            "c",
            firmware(json!([{"name": "BMC_Firmware", "running": "24.10"}, {"name": "DPU_NIC", "pending": "2"}])),
        )
        .own_agent(
            "c",
            firmware(json!([{"name": "fw.mgmt", "running": "32.43"}, {"name": "dpu-nic", "running": "1"}])),
        )
        .joined("c");
    let by_bmc = || (Vantage::CardBmc, "bmc-card-c".to_owned());
    let by_agent = || (Vantage::CardOs, "xpu-c".to_owned());
    for (component, version, (from, report)) in [
        ("bmc_firmware", "24.10", by_bmc()),
        ("FW.MGMT", "32.43", by_agent()),
        // Who lists it tells not what runs, and the other one does.
        ("DPU_NIC", "1", by_agent()),
    ] {
        let told = running(&card, component);
        assert_eq!(
            told,
            [(Some(version.to_owned()), from, report)],
            "{component}"
        );
    }
    assert_eq!(of(&card, "DPU_NIC").seen[0].pending.as_deref(), Some("2"));
    assert!(of(&card, "DPU").seen.is_empty(), "a part of a name is none");
}

#[test]
fn the_bmc_of_any_card_can_be_required() {
    let site = Site::default().card("c", json!({})).card_bmc(
        "c",
        json!({"bmc": {"firmwareVersion": "7.10"}, "firmware": {"components": [{"name": "x"}]}}),
    );
    let told = running(&site.clone().joined("c"), "Bmc");
    let by_bmc = (Vantage::CardBmc, "bmc-card-c".to_owned());
    assert_eq!(told, [(Some("7.10".to_owned()), by_bmc.0, by_bmc.1)]);
    let both = site.own_agent("c", json!({"bmc": {"firmwareVersion": "7.00"}}));
    let who = of(&both.joined("c"), "Bmc").contradicted.unwrap();
    assert!(who.contains("xpu-c says 7.00"), "{who}");
}

#[test]
fn who_contradicts_whom_is_told_with_the_component() {
    let card = Site::default()
        .card("c", json!({}))
        .card_bmc(
            "c",
            firmware(json!([{"name": "fw.mgmt", "running": "2"}, {"name": "a", "running": "1"}])),
        )
        .own_agent("c", firmware(json!([{"name": "fw_mgmt", "running": "1"}])))
        .joined("c");
    let who = of(&card, "fw.mgmt").contradicted.unwrap();
    assert!(
        who.contains("bmc-card-c says 2") && who.contains("xpu-c says 1"),
        "{who}"
    );
    assert_eq!(of(&card, "a").contradicted, None);
}
