//! What is proposed, followed and taken back.

use kube::ResourceExt;
use lockstep_crds::{Dpu, DpuHost};
use lockstep_planner::inventory::{
    Approval, Move, Proposal, SiteJoin, SiteView, Subject, Withdrawal,
};
use serde_json::json;

use crate::site::{Site, found, lines, proposed, resting};
use crate::support::*;

/// A join that has found a card and its host.
pub(crate) fn finds(_: &SiteView<'_>) -> SiteJoin {
    let (mut dpu, mut host) = (proposed(card("found", "box")), proposed(host("box")));
    dpu.metadata.namespace = None;
    host.metadata.namespace = None;
    SiteJoin {
        proposals: vec![
            Proposal::Card(Box::new(dpu)),
            Proposal::Host(Box::new(host)),
        ],
        ..SiteJoin::default()
    }
}

#[tokio::test]
async fn what_is_found_is_proposed_unapproved_and_never_twice() {
    let mut site = Site::new(finds, vec![]).await;
    let (outcome, seen) = site.pass(0).await;
    assert_eq!(outcome.result, "ok");
    assert_eq!(
        lines(&seen),
        ["POST dpuhosts", "POST dpus", "POST events", "POST events"]
    );
    let made = seen.iter().find(|one| one.path == "dpus").unwrap();
    assert_eq!(made.body["spec"]["approved"], false);
    assert_eq!(made.body["metadata"]["namespace"], SITE);
    assert!(made.query.contains("fieldManager=lockstep-discover"));
    // Before the watch has delivered them.
    let (outcome, seen) = site.pass(2).await;
    assert_eq!(lines(&seen), ["POST dpuhosts", "POST dpus"]);
    assert_eq!(outcome.result, "conflict");
}

/// A join that wants every object gone, moved and approved.
pub(crate) fn wants_everything(view: &SiteView<'_>) -> SiteJoin {
    let mut join = SiteJoin::default();
    let mut ask = |subject: Subject, name: String, uid: String| {
        join.moves.push(Move {
            subject,
            name: name.clone(),
            uid: uid.clone(),
            address: "http://10.0.0.9".to_owned(),
            mark: Some("its mark".to_owned()),
        });
        join.withdrawals.push(Withdrawal {
            subject,
            name: name.clone(),
            uid: uid.clone(),
            why: "of a user's".to_owned(),
        });
        if subject == Subject::Card {
            join.approvals.push(Approval {
                name,
                uid,
                why: "policy p".to_owned(),
                mark: "its mark".to_owned(),
            });
        }
    };
    for dpu in &view.cards {
        ask(Subject::Card, dpu.name_any(), dpu.uid().unwrap());
    }
    for host in &view.hosts {
        ask(Subject::Host, host.name_any(), host.uid().unwrap());
    }
    join
}

/// Requests for cards and hosts, of a site with one card and one host.
async fn asked(dpu: Dpu, host: DpuHost) -> Vec<String> {
    let objects = vec![
        ("dpus/c", serde_json::to_value(&dpu).unwrap()),
        ("dpuhosts/h", serde_json::to_value(&host).unwrap()),
    ];
    let mut site = Site::new(wants_everything, objects).await;
    site.see(dpu);
    site.see(host);
    let seen = site.pass(0).await.1;
    let lines = lines(&seen).into_iter();
    lines.filter(|line| !line.ends_with("events")).collect()
}

#[tokio::test]
async fn only_proposals_are_followed_and_taken_back() {
    let bmc = json!({"address": "http://10.0.0.7", "credentialsRef": {"name": "s"},
        "tls": {"trust": "PlainHttp"}});
    let dpu = || {
        let mut dpu = resting("c");
        dpu.spec.bmc = Some(serde_json::from_value(bmc.clone()).unwrap());
        dpu
    };
    let host = || {
        let mut host = host("h");
        host.spec.bmc = Some(serde_json::from_value(bmc.clone()).unwrap());
        host
    };
    assert!(asked(dpu(), host()).await.is_empty(), "they are a user's");
    let all = asked(proposed(dpu()), proposed(host())).await;
    for line in ["DELETE dpus/c", "DELETE dpuhosts/h"] {
        assert!(all.contains(&line.to_owned()), "{all:?}");
    }

    let mut approved = proposed(dpu());
    approved.spec.approved = true;
    let moves = ["PATCH dpuhosts/h", "PATCH dpus/c"];
    assert_eq!(asked(approved, proposed(host())).await, moves);

    let mut at_work = proposed(host());
    at_work.status = serde_json::from_value(json!({
        "cards": [{"name": "c", "uid": "uid-Dpu-c", "physicalId": "p"}],
    }))
    .unwrap();
    let seen = asked(proposed(dpu()), at_work).await;
    assert!(
        !seen.iter().any(|line| line.starts_with("DELETE")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_card_that_is_found_is_proposed_followed_and_gives_way() {
    let mut site = Site::new(lockstep_planner::inventory::join, vec![]).await;
    site.see(found("https://10.0.0.7", 20));
    let told = site.settle().await;
    let objects = site.server.objects();
    let mut dpus = objects.iter().filter(|(path, _)| path.starts_with("dpus/"));
    let (path, dpu) = dpus.next().unwrap();
    assert!(dpus.next().is_none(), "{objects:?}");
    let name = path.strip_prefix("dpus/").unwrap();
    assert_eq!(told.len(), 2, "a card, and a host that stands in: {told:?}");
    assert!(told.contains(&format!("Proposed Dpu {name}")), "{told:?}");
    assert_eq!(dpu["spec"]["approved"], false);
    assert!(objects.contains_key(&format!("dpuinventories/{name}")));

    site.see(found("https://10.0.0.8", 21));
    assert_eq!(site.settle().await, [format!("BmcMoved Dpu {name}")]);
    let dpu = site.server.object(path);
    assert_eq!(dpu["spec"]["bmc"]["address"], "https://10.0.0.8");

    // A person writes an object for the same card.
    let mut own = card("mine", "rack1");
    own.spec.identity = serde_json::from_value(json!({"serialNumber": "MT2312X00123"})).unwrap();
    site.server
        .write("dpus/mine", |object| *object = json!(own));
    site.sync();
    let told = site.settle().await;
    assert!(told.contains(&format!("Withdrawn Dpu {name}")), "{told:?}");
    let left = site.server.objects().into_keys();
    let left: Vec<String> = left.filter(|path| path.starts_with("dpus/")).collect();
    assert_eq!(left, ["dpus/mine"]);
}
