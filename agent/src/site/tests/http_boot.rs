//! Staging an install by UEFI HTTP boot and taking it back.

use lockstep_redfish::{BootOverrideState, BootTarget, OverrideEnabled};

use super::installs::publish;
use super::*;
use crate::site::fake::HttpBoot;

pub(super) fn stage(seq: i64, digest: &Digest) -> Directive {
    let mut stage = directive(seq, "StageHttpBoot");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    stage
}

pub(super) fn booting(
    target: BootTarget,
    enabled: OverrideEnabled,
    uri: Option<&str>,
) -> BootOverrideState {
    BootOverrideState {
        target: Some(target),
        enabled: Some(enabled),
        mode: None,
        http_uri: Reading::Read(uri.map(ImageUrl::new)),
    }
}

#[tokio::test]
async fn the_cards_own_url_is_set_once_and_all_is_taken_back() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let report = bench.api.get(CARD).unwrap();
    let bmc = &report["spec"]["bmc"];
    assert_eq!(bmc["httpBoot"]["owner"], "Lockstep");
    assert_eq!(bmc["httpBoot"]["digest"], digest.to_string());
    assert_eq!(bmc["bootOverride"], "UefiHttp");
    assert_eq!(bmc["capabilities"]["uefiHttp"], "Offered");
    assert_eq!(bmc["media"]["owner"], "Nobody");
    let grant = bench.site.store.granted(&digest, "uid-1").unwrap();
    let everything = format!("{:?}", bench.api.get(CARD)) + &format!("{:?}", bench.api.writes());
    assert!(!everything.contains(&grant.path));
    running.want(&[stage(2, &digest)]);
    let again = bench.outcome(CARD, 2).await;
    assert_eq!(again["message"], "the image was staged already");
    running.want(&[directive(3, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    running.want(&[directive(4, "ClearInstall")]);
    let again = bench.outcome(CARD, 4).await;
    assert_eq!(again["message"], "nothing was armed any more");
    assert_eq!(
        bench.bmc.effects(),
        [
            "override UefiHttp Once",
            "override Hdd Continuous",
            "forget uri"
        ]
    );
    assert!(bench.site.store.granted(&digest, "uid-1").is_none());
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["httpBoot"]["owner"], "Nobody");
    assert!(report["spec"]["bmc"]["bootOverride"].is_null());
    running.end().await;
}

#[tokio::test]
async fn a_bmc_that_fetches_the_image_itself_is_staged_and_all_of_it_taken_back() {
    for (makes_of_it, owner) in [
        (HttpBoot::Fetches, "Lockstep"),
        (HttpBoot::FetchesAndHides, "Nobody"),
    ] {
        fetched_by_the_bmc(makes_of_it, owner).await;
    }
}

async fn fetched_by_the_bmc(makes_of_it: HttpBoot, owner: &str) {
    let bench = bench();
    bench.bmc.makes_of_http_boot(makes_of_it);
    let digest = publish(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done", "{outcome}");
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["httpBoot"]["owner"], owner);
    assert_eq!(report["spec"]["bmc"]["media"]["owner"], "Lockstep");
    assert_eq!(report["spec"]["bmc"]["bootOverride"], "Cd");
    running.want(&[stage(2, &digest)]);
    let again = bench.outcome(CARD, 2).await;
    assert_eq!(again["message"], "the image was staged already");
    running.want(&[directive(3, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    // The override that was put back took the URL along.
    assert_eq!(
        bench.bmc.effects(),
        ["override UefiHttp Once", "override Hdd Continuous", "eject"]
    );
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["httpBoot"]["owner"], "Nobody");
    assert_eq!(report["spec"]["bmc"]["media"]["owner"], "Nobody");
    running.end().await;
}

#[tokio::test]
async fn a_target_without_its_url_is_a_failure_and_taken_back_at_once() {
    let bench = bench();
    bench.bmc.makes_of_http_boot(HttpBoot::DropsUrl);
    let digest = publish(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Failed", "{outcome}");
    assert_eq!(outcome["reason"], "HttpBootUriDropped");
    running.want(&[directive(2, "ClearInstall")]);
    let cleared = bench.outcome(CARD, 2).await;
    assert_eq!(cleared["message"], "nothing was armed any more");
    assert_eq!(
        bench.bmc.effects(),
        ["override UefiHttp Once", "override Hdd Continuous"]
    );
    running.end().await;
}

#[tokio::test]
async fn http_boot_of_somebody_else_is_left_alone() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let set = |uri: Option<&str>| {
        let state = booting(BootTarget::UefiHttp, OverrideEnabled::Continuous, uri);
        bench
            .bmc
            .set(|facts| facts.boot_override = Reading::Read(state));
    };
    set(Some("http://elsewhere/boot.efi"));
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest)]);
    assert_eq!(bench.outcome(CARD, 1).await["reason"], "ForeignHttpBoot");
    running.want(&[directive(2, "ClearInstall")]);
    let cleared = bench.outcome(CARD, 2).await;
    assert_eq!(cleared["message"], "nothing was armed any more");
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["httpBoot"]["owner"], "Foreign");
    assert!(bench.bmc.effects().is_empty());

    // A machine that boots so always, by DHCP, does so again afterwards.
    set(None);
    running.want(&[stage(3, &digest)]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    running.want(&[directive(4, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 4).await["result"], "Done");
    assert_eq!(
        bench.bmc.effects(),
        [
            "override UefiHttp Once",
            "override UefiHttp Continuous",
            "forget uri"
        ]
    );
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["bootOverride"], "UefiHttp");
    running.end().await;
}

#[tokio::test]
async fn the_url_of_another_card_is_nobodys_here() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let other = bench.site.store.grant(digest, "uid-2", None).await.unwrap();
    let uri = bench.site.url_for_card(&other.path);
    assert_eq!(bench.site.uri_owner(&uri, "uid-1"), None);
    assert_eq!(
        bench.site.uri_owner(&uri, "uid-2"),
        Some(UrlOwner::Ours(Some(digest.to_string())))
    );
    let lost = ImageUrl::new("http://198.51.100.5:8080/i/lost/image.iso");
    assert_eq!(
        bench.site.uri_owner(&lost, "uid-1"),
        Some(UrlOwner::Ours(None))
    );
    bench.bmc.set(|facts| {
        let state = booting(
            BootTarget::Hdd,
            OverrideEnabled::Continuous,
            Some(uri.expose()),
        );
        facts.boot_override = Reading::Read(state);
    });
    let running = bench.start(MachineKind::Card);
    running.want(&[directive(1, "ClearInstall")]);
    let cleared = bench.outcome(CARD, 1).await;
    assert_eq!(cleared["message"], "nothing was armed any more");
    assert!(bench.bmc.effects().is_empty());
    running.want(&[stage(2, &digest)]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    running.end().await;
}

#[tokio::test]
async fn a_lost_reply_is_looked_for_and_a_restart_finds_what_was_set() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    bench.bmc.lose_replies(true);
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done", "{outcome}");
    assert_eq!(bench.bmc.effects(), ["override UefiHttp Once"]);
    running.end().await;

    let key = MachineKey {
        kind: MachineKind::Card,
        name: "c1".to_owned(),
    };
    let wanted = stage(2, &digest);
    let mut journal = Journal::new(&bench.site.config.state_dir, &key);
    journal.load().unwrap();
    journal.accept(&wanted).unwrap();
    journal.act(&wanted).unwrap();
    let running = bench.start(MachineKind::Card);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    assert_eq!(bench.bmc.effects().len(), 1);
    running.end().await;
}

pub(super) async fn publish_other(store: &Store) -> Digest {
    let mut image = b"LOCKSTEP-SEED-SLOT-V1 4096\n".to_vec();
    image.resize(4096, b' ');
    image.extend([8; 1000]);
    keep(store, image).await
}

pub(super) fn set_for_good(seq: i64, digest: &Digest) -> Directive {
    let mut set = directive(seq, "SetNetworkBoot");
    set.action.image = stage(seq, digest).action.image;
    set
}

#[tokio::test]
async fn what_a_card_boots_from_for_good_is_kept_and_its_last_image_is_served_no_more() {
    let bench = bench();
    let first = publish(&bench.site.store).await;
    let second = publish_other(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    running.want(&[set_for_good(1, &first)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let report = bench.api.get(CARD).unwrap();
    let bmc = &report["spec"]["bmc"];
    assert_eq!(bmc["httpBoot"]["digest"], first.to_string());
    assert_eq!(bmc["capabilities"]["networkBoot"], "Offered");
    let tokens = |bench: &Bench| {
        let writes = format!("{:?}", bench.api.writes());
        writes.matches("serviceaccounts/xpu-c1/token").count()
    };
    let before = tokens(&bench);
    running.want(&[set_for_good(2, &first)]);
    let again = bench.outcome(CARD, 2).await;
    assert_eq!(again["message"], "the image was staged already");
    assert_eq!(tokens(&bench), before + 1, "a new seed lies behind the URL");

    running.want(&[set_for_good(3, &second)]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    let granted = |digest| bench.site.store.granted(digest, "uid-1");
    assert!(granted(&first).is_none(), "nobody boots it any more");
    let grant = granted(&second).unwrap();

    // What lasts for one boot only is not what is wanted, whether the card is on or not.
    let uri = bench.site.url_for_card(&grant.path);
    bench.bmc.set(|facts| {
        facts.power = Reading::Read(lockstep_redfish::PowerState::On);
        let once = booting(
            BootTarget::UefiHttp,
            OverrideEnabled::Once,
            Some(uri.expose()),
        );
        facts.boot_override = Reading::Read(once);
    });
    running.want(&[set_for_good(4, &second)]);
    assert_eq!(bench.outcome(CARD, 4).await["result"], "Done");
    assert_eq!(granted(&second).unwrap().path, grant.path, "the URL stays");
    running.want(&[directive(5, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 5).await["result"], "Done");
    assert!(granted(&second).is_none());
    let for_good = "override UefiHttp Continuous";
    assert_eq!(
        bench.bmc.effects(),
        [
            for_good,
            for_good,
            for_good,
            "override Hdd Continuous",
            "forget uri"
        ]
    );
    running.end().await;
}

#[tokio::test]
async fn without_its_note_what_we_set_for_good_does_not_pass_for_what_was_found() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    running.want(&[set_for_good(1, &digest)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    std::fs::remove_file(bench.site.config.state_dir.join("overrides/c1.json")).unwrap();
    let grant = bench.site.store.granted(&digest, "uid-1").unwrap();
    let uri = bench.site.url_for_card(&grant.path);
    let image = publish_other(&bench.site.store).await;
    running.want(&[set_for_good(2, &image)]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    assert!(bench.site.store.owner_of_url(uri.expose()).is_none());
    running.want(&[directive(3, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    let effects = bench.bmc.effects();
    assert_eq!(effects[2..], ["override None Disabled", "forget uri"]);
    running.end().await;
}
