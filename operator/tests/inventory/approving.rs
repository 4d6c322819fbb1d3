//! Cards that a policy approves.

use std::time::Duration;

use lockstep_crds::{Dpu, PROPOSED_SPEC};
use lockstep_operator::key::Key;
use lockstep_planner::inventory::{SiteJoin, SiteView};
use serde_json::{Value, json};

use crate::proposing::wants_everything;
use crate::site::{Site, found, lines, proposed, resting};
use crate::support::*;
use crate::telling::lists;

#[tokio::test]
async fn an_approval_by_policy_and_a_withdrawal_say_why() {
    fn approves(view: &SiteView<'_>) -> SiteJoin {
        let mut join = wants_everything(view);
        join.withdrawals.clear();
        join.moves.clear();
        join
    }
    let dpu = proposed(resting("c"));
    let objects = vec![("dpus/c", serde_json::to_value(&dpu).unwrap())];
    let mut site = Site::new(approves, objects).await;
    site.see(dpu);
    let seen = site.pass(0).await.1;
    assert_eq!(lines(&seen), ["PATCH dpus/c", "POST events"]);
    assert_eq!(seen[0].body["spec"], json!({"approved": true}));
    assert_eq!(seen[0].body["metadata"]["uid"], "uid-Dpu-c");
    let annotations = &seen[0].body["metadata"]["annotations"];
    assert_eq!(*annotations, json!({PROPOSED_SPEC: "its mark"}));
    assert_eq!(seen[1].body["reason"], "Approved");
    assert_eq!(seen[1].body["note"], "policy p");
    site.catch_up::<Dpu>("dpus/c");
    assert!(site.pass(2).await.1.is_empty(), "it is approved");
}

#[tokio::test]
async fn a_policy_approves_what_fits_once() {
    let mut site = Site::new(lockstep_planner::inventory::join, vec![]).await;
    let mut allows = policy(None);
    let families = json!({"approve": [{"families": ["BlueField-3"]}]});
    allows.spec.discovered = serde_json::from_value(families).unwrap();
    site.see(allows);
    site.see(found("https://10.0.0.7", 20));
    let told = site.settle().await;
    let approved = told.iter().filter(|line| line.starts_with("Approved Dpu"));
    assert_eq!(approved.count(), 1, "{told:?}");
    assert!(site.settle().await.is_empty());
}

#[tokio::test]
async fn a_pairing_is_approved_on_the_word_of_an_agent_that_is_alive() {
    let mut site = Site::new(lockstep_planner::inventory::join, vec![]).await;
    let mut allows = policy(None);
    let observed = json!({"approve": [{"pairingObserved": true}]});
    allows.spec.discovered = serde_json::from_value(observed).unwrap();
    site.see(allows);
    // What it told stands, and it has been silent since.
    site.renew("host-n");
    site.now += Duration::from_secs(120);
    site.context.world.write().expire_leases(at(120));
    site.see(lists(&json!([{"serialNumber": "MT1"}]), 20));
    let told = site.settle().await;
    assert!(
        told.contains(&"Proposed Dpu dpu-mt1".to_owned()),
        "{told:?}"
    );
    let approved = |told: &[String]| told.iter().any(|line| line.starts_with("Approved"));
    assert!(!approved(&told), "{told:?}");

    let wake = site.renew("host-n");
    assert!(wake.sites.contains(&Key::new("", SITE)), "{wake:?}");
    assert_eq!(site.settle().await, ["Approved Dpu dpu-mt1"]);
}

/// Whoever changed a proposal decides about it from then on, wherever its BMC goes.
#[tokio::test]
async fn an_approval_that_was_taken_back_is_not_given_again_when_the_bmc_moves() {
    let mut site = Site::new(lockstep_planner::inventory::join, vec![]).await;
    let mut allows = policy(None);
    let families = json!({"approve": [{"families": ["BlueField-3"]}]});
    allows.spec.discovered = serde_json::from_value(families).unwrap();
    site.see(allows);
    site.see(found("https://10.0.0.7", 20));
    site.settle().await;
    let objects = site.server.objects();
    let mut paths = objects.keys().filter(|path| path.starts_with("dpus/"));
    let path = paths.next().unwrap();
    let name = path.strip_prefix("dpus/").unwrap();
    assert_eq!(objects[path]["spec"]["approved"], true);
    let mark = |dpu: &Value| dpu["metadata"]["annotations"][PROPOSED_SPEC].clone();

    // Nobody else has written it, and it counts as that where its BMC is now, too.
    site.see(found("https://10.0.0.8", 21));
    assert_eq!(site.settle().await, [format!("BmcMoved Dpu {name}")]);
    let dpu = site.server.object(path);
    let marked = mark(&dpu).as_str().unwrap().to_owned();
    let generation = dpu["metadata"]["generation"].to_string();
    assert_eq!(marked.split_once(':').unwrap().0, generation);

    site.server
        .write(path, |dpu| dpu["spec"]["approved"] = json!(false));
    site.sync();
    assert!(site.settle().await.is_empty());
    assert_eq!(
        mark(&site.server.object(path)),
        Value::Null,
        "it is a person's for good"
    );
    site.see(found("https://10.0.0.9", 22));
    site.settle().await;
    let taken_back = site.server.object(path);
    assert_eq!(taken_back["spec"]["bmc"]["address"], "https://10.0.0.9");
    assert_eq!(taken_back["spec"]["approved"], false);
    assert_eq!(mark(&taken_back), Value::Null);
}
