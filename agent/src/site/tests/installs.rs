//! Staging an install and taking it back.

use futures::StreamExt as _;
use lockstep_redfish::{BootOverrideState, BootTarget, OverrideEnabled};

use super::*;
use crate::site::bundle::Bundle;
use crate::site::override_note::OverrideNote;

/// An image with a seed slot, in the store.
pub(super) async fn publish(store: &Store) -> Digest {
    let mut image = b"LOCKSTEP-SEED-SLOT-V1 4096\n".to_vec();
    image.resize(4096, b' ');
    image.extend([7; 1000]);
    keep(store, image).await
}

#[tokio::test]
async fn an_install_is_staged_with_a_seed_and_taken_back_to_what_was_found() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    let mut stage = directive(1, "StageInstall");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    running.want(&[stage]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["media"]["owner"], "Lockstep");
    assert_eq!(report["spec"]["bmc"]["media"]["digest"], digest.to_string());
    assert_eq!(report["spec"]["bmc"]["bootOverride"], "Cd");
    let grant = bench.site.store.granted(&digest, "uid-1").unwrap();
    let everything = format!("{:?}", bench.api.get(CARD)) + &format!("{:?}", bench.api.writes());
    assert!(!everything.contains(&grant.path) && !everything.contains("very-secret"));
    running.want(&[directive(2, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    running.want(&[directive(3, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    assert_eq!(
        bench.bmc.effects(),
        [
            "insert",
            "override Cd Once",
            "override Hdd Continuous",
            "eject"
        ]
    );
    assert!(bench.site.store.granted(&digest, "uid-1").is_none());
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["media"]["owner"], "Nobody");
    assert!(report["spec"]["bmc"]["bootOverride"].is_null());
    running.end().await;
}

#[tokio::test]
async fn a_lasting_override_of_somebody_else_is_put_back_and_then_nothing_of_ours_is_left() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    bench.bmc.set(|facts| {
        facts.boot_override = Reading::Read(BootOverrideState {
            target: Some(BootTarget::Pxe),
            enabled: Some(OverrideEnabled::Continuous),
            mode: None,
            http_uri: Reading::NotOffered,
            next: None,
        });
    });
    let running = bench.start(MachineKind::Card);
    let mut stage = directive(1, "StageInstall");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    running.want(&[stage.clone()]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["bootOverride"], "Cd");
    running.want(&[directive(2, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["bootOverride"], "Pxe");
    running.want(&[directive(3, "ClearInstall")]);
    let again = bench.outcome(CARD, 3).await;
    assert_eq!(again["message"], "nothing was armed any more");
    assert_eq!(
        bench.bmc.effects(),
        [
            "insert",
            "override Cd Once",
            "override Pxe Continuous",
            "eject"
        ]
    );
    // Our medium beside somebody else's override is not yet staged.
    bench.bmc.set(|facts| {
        facts.media = Reading::Read(vec![samples::slot(Some(
            "http://192.0.2.5:8080/i/lost/image.iso",
        ))]);
    });
    stage.seq = 4;
    running.want(&[stage]);
    assert_eq!(bench.outcome(CARD, 4).await["result"], "Done");
    assert_eq!(
        bench.bmc.effects()[4..],
        ["eject", "insert", "override Cd Once"]
    );
    running.end().await;
}

#[tokio::test]
async fn a_host_taken_over_while_a_medium_is_ejected_gets_no_other() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    bench.bmc.set(|facts| {
        facts.media = Reading::Read(vec![samples::slot(Some(
            "http://192.0.2.5:8080/i/lost/image.iso",
        ))]);
    });
    let running = bench.start(MachineKind::Card);
    bench.bmc.hands_off_at("eject", &running.input);
    let mut stage = directive(1, "StageInstall");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    running.want(&[stage]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(
        (&outcome["result"], &outcome["reason"]),
        (&json!("Partly"), &json!("HandsOff")),
        "{outcome}"
    );
    assert_eq!(bench.bmc.effects(), ["eject"]);
    running.end().await;
}

#[tokio::test]
async fn foreign_media_and_absent_images_are_refused_before_acceptance() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    bench.bmc.set(|facts| {
        facts.media = Reading::Read(vec![samples::slot(Some("http://elsewhere/a.iso"))]);
    });
    let running = bench.start(MachineKind::Card);
    let mut stage = directive(1, "StageInstall");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    running.want(&[stage.clone()]);
    assert_eq!(bench.outcome(CARD, 1).await["reason"], "ForeignMedia");
    stage.seq = 2;
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": Digest::of(b"x").to_string(), "version": "2"}))
            .unwrap(),
    );
    running.want(&[stage]);
    assert_eq!(bench.outcome(CARD, 2).await["reason"], "ImageNotStored");
    assert!(bench.bmc.effects().is_empty());
    running.end().await;
}

#[tokio::test]
async fn urls_are_ours_by_grant_or_by_where_they_are_served() {
    let bench = bench();
    for (url, owner) in [
        (
            "http://192.0.2.5:8080/i/lost/image.iso",
            UrlOwner::Ours(None),
        ),
        ("http://192.0.2.5:8080/other", UrlOwner::Foreign),
        ("http://192.0.2.5:9090/i/lost/image.iso", UrlOwner::Foreign),
        ("no url", UrlOwner::Foreign),
    ] {
        assert_eq!(bench.site.owner_of(&ImageUrl::new(url)), owner, "{url}");
    }
}

#[tokio::test]
async fn what_a_restart_cut_in_half_is_told_as_half() {
    for kind in ["StageInstall", "ClearInstall"] {
        cut_in_half(kind).await;
    }
}

/// The medium is inserted and the override is not set: between two requests, either way.
async fn cut_in_half(kind: &str) {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let grant = bench.site.store.grant(digest, "uid-1", None).await.unwrap();
    let url = bench.site.served_url(&grant.path);
    bench.bmc.set(|facts| {
        facts.media = Reading::Read(vec![samples::slot(Some(url.expose()))]);
    });
    let key = MachineKey {
        kind: MachineKind::Card,
        name: "c1".to_owned(),
    };
    let mut wanted = directive(1, kind);
    wanted.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    let mut journal = Journal::new(&bench.site.config.state_dir, &key);
    journal.load().unwrap();
    journal.accept(&wanted).unwrap();
    journal.act(&wanted).unwrap();
    let running = bench.start(MachineKind::Card);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Partly");
    assert!(bench.bmc.effects().is_empty());
    running.end().await;
}

#[tokio::test]
async fn where_services_are_on_a_seed_tells_the_card_of_the_store() {
    let mut bench = bench();
    let site = Arc::get_mut(&mut bench.site).unwrap();
    site.config.xpu.services = Some(crate::config::ServicesSection::default());
    site.store_ca = Some(Arc::new(Bundle::fixed("CA")));
    let digest = publish(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    let mut stage = directive(1, "StageInstall");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    running.want(&[stage]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let granted = bench.site.store.read_granted(&digest, "uid-1").await;
    let mut bytes = granted.unwrap().bytes;
    let first = bytes.next().await.unwrap().unwrap();
    let seed: crate::seed::Seed = serde_json::from_slice(first[..4096].trim_ascii()).unwrap();
    let store = seed.store.unwrap();
    assert_eq!(store.url, "http://198.51.100.5:8080/");
    assert_eq!(store.ca.as_deref(), Some("CA"));
    let asked = bench.api.writes();
    let asked = asked.iter().filter(|write| write.contains("/token "));
    assert_eq!(asked.count(), 2, "a token for each of whom it is shown to");
    running.end().await;
}

#[tokio::test]
async fn what_cannot_be_put_away_is_not_done_and_is_put_away_with_the_next_try() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    let mut stage = directive(1, "StageInstall");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    running.want(&[stage]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let grants = bench.site.config.store.dir.join("grants.json");
    let saved = || std::fs::read_to_string(&grants).unwrap();
    assert!(saved().contains("uid-1"));

    // Nobody can write the file that is to replace the grants.
    let blocked = bench.site.config.store.dir.join("grants.json.tmp");
    std::fs::create_dir(&blocked).unwrap();
    let note = OverrideNote::of("uid-1");
    note.write(&bench.site.config.state_dir, "c1").unwrap();
    running.want(&[directive(2, "ClearInstall")]);
    let outcome = bench.outcome(CARD, 2).await;
    assert_eq!(outcome["result"], "Partly", "{outcome}");
    assert_eq!(outcome["reason"], "StorageFailed");
    assert!(bench.site.store.granted(&digest, "uid-1").is_none());
    assert!(saved().contains("uid-1"), "a restart would bring it back");
    let left = OverrideNote::read(&bench.site.config.state_dir, "c1", "uid-1");
    assert!(left.unwrap().is_none(), "the rest is put away all the same");
    running.want(&[directive(3, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Failed");

    std::fs::remove_dir(&blocked).unwrap();
    running.want(&[directive(4, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 4).await["result"], "Done");
    assert!(!saved().contains("uid-1"));
    running.end().await;
}

#[tokio::test]
async fn a_revocation_that_could_not_be_kept_is_kept_later() {
    let bench = bench();
    let store = &bench.site.store;
    let digest = publish(store).await;
    store.grant(digest, "uid-gone", None).await.unwrap();
    let blocked = bench.site.config.store.dir.join("grants.json.tmp");
    std::fs::create_dir(&blocked).unwrap();
    store.revoke("uid-gone").await.unwrap_err();
    store.settle().await.unwrap_err();
    std::fs::remove_dir(&blocked).unwrap();
    store.settle().await.unwrap();
    let saved = std::fs::read_to_string(bench.site.config.store.dir.join("grants.json"));
    assert!(!saved.unwrap().contains("uid-gone"));
}
