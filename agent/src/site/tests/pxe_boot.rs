//! Offering an image by PXE and taking it back.

use std::path::PathBuf;

use lockstep_redfish::{BootOverrideState, BootTarget, OverrideEnabled};

use super::installs::publish;
use super::*;
use crate::pxe::book::Book;

const MAC: &str = "02:00:00:00:00:01";

/// A site that supplies a PXE service, and its folder.
fn site_with_pxe() -> (Bench, PathBuf) {
    let mut bench = bench();
    let folder = bench.site.config.state_dir.with_file_name("pxe");
    bench.supply_pxe(&folder);
    (bench, folder)
}

impl Bench {
    /// As a new process of the agent does.
    fn supply_pxe(&mut self, folder: &std::path::Path) {
        let site = Site {
            pxe: Some(Book::open(folder, &self.site.config.state_dir).unwrap()),
            ..Site::clone(&self.site)
        };
        self.site = Arc::new(site);
        self.bmc.set(|facts| {
            let targets = ["Cd", "Hdd", "Pxe"];
            facts.capabilities.boot_override.values =
                Some(targets.iter().map(|&one| one.to_owned()).collect());
        });
    }
}

/// The least that is a program for firmware, with a seed slot.
async fn publish_program(site: &Site) -> Digest {
    let mut image = vec![0; 512];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x80;
    image[0x80..0x84].copy_from_slice(b"PE\0\0");
    let mut slot = b"LOCKSTEP-SEED-SLOT-V1 4096\n".to_vec();
    slot.resize(4096, b' ');
    image.extend(slot);
    keep(&site.store, image).await
}

fn stage(seq: i64, digest: &Digest, mac: &str) -> Directive {
    let mut stage = directive(seq, "StagePxeBoot");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    stage.action.boot_macs = vec![mac.to_owned()];
    stage
}

fn served(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("tftp")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn conf(folder: &std::path::Path) -> String {
    std::fs::read_to_string(folder.join("dnsmasq.d/lockstep.conf")).unwrap()
}

#[tokio::test]
async fn the_cards_own_boot_file_is_there_until_all_is_taken_back() {
    let (bench, folder) = site_with_pxe();
    let digest = publish_program(&bench.site).await;
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest, MAC)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done", "{outcome}");
    let report = bench.api.get(CARD).unwrap();
    let bmc = &report["spec"]["bmc"];
    assert_eq!(
        bmc["pxe"],
        json!({"supplied": true, "digest": digest.to_string(), "macs": [MAC]})
    );
    assert_eq!(bmc["bootOverride"], "Pxe");
    let files = served(&folder);
    let [file] = files.as_slice() else {
        panic!("{files:?}");
    };
    let content = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
    assert!(content.starts_with("MZ") && content.contains("very-secret"));
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(conf(&folder).contains(MAC) && conf(&folder).contains(name));
    let everything = format!("{:?}", bench.api.get(CARD)) + &format!("{:?}", bench.api.writes());
    assert!(!everything.contains(name));

    running.want(&[stage(2, &digest, MAC)]);
    let again = bench.outcome(CARD, 2).await;
    assert_eq!(again["message"], "the image was staged already");
    assert_eq!(served(&folder), files);
    // Other addresses are another offer, and the BMC has nothing to do for it.
    running.want(&[stage(3, &digest, "02:00:00:00:00:02")]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    assert_eq!(served(&folder).len(), 1);
    assert!(served(&folder) != files && !conf(&folder).contains(MAC));

    running.want(&[directive(4, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 4).await["result"], "Done");
    assert!(served(&folder).is_empty() && conf(&folder).is_empty());
    assert!(bench.site.store.granted(&digest, "uid-1").is_none());
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["pxe"], json!({"supplied": true}));
    assert!(report["spec"]["bmc"]["bootOverride"].is_null());
    let effects = bench.bmc.effects();
    assert_eq!(effects.first().unwrap(), "override Pxe Once");
    assert_eq!(effects.last().unwrap(), "override Hdd Continuous");
    running.end().await;
}

#[tokio::test]
async fn what_firmware_cannot_load_is_never_offered() {
    let (bench, folder) = site_with_pxe();
    let digest = publish(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest, MAC)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(
        (&outcome["result"], &outcome["reason"]),
        (&json!("Failed"), &json!("NotABootFile"))
    );
    assert!(served(&folder).is_empty() && bench.bmc.effects().is_empty());
    running.want(&[stage(2, &digest, "ff:ff:ff:ff:ff:ff")]);
    assert_eq!(bench.outcome(CARD, 2).await["reason"], "BootMacInvalid");
    running.end().await;
}

#[tokio::test]
async fn an_address_belongs_to_one_card() {
    let (bench, _folder) = site_with_pxe();
    let digest = publish_program(&bench.site).await;
    offer_to_another(bench.site.pxe.as_ref().unwrap(), &digest);
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest, MAC)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["reason"], "BootMacTaken");
    assert!(outcome["message"].as_str().unwrap().contains("card c9"));
    running.end().await;
}

fn offer_to_another(book: &Book, digest: &Digest) {
    let partial = book.partial();
    std::fs::write(&partial.path, "boot").unwrap();
    let other = crate::pxe::offer::Offer {
        card: "c9".to_owned(),
        uid: "uid-9".to_owned(),
        digest: digest.to_string(),
        macs: vec![MAC.to_owned()],
        file: String::new(),
    };
    book.offer(&partial, other).unwrap();
}

#[tokio::test]
async fn of_two_cards_that_are_staged_at_once_the_second_is_refused() {
    let (bench, folder) = site_with_pxe();
    let digest = publish_program(&bench.site).await;
    let wanted = stage(1, &digest, MAC);
    let (mut worker, _input, _ending) = bench.worker(MachineKind::Card);
    assert!(worker.look().await);
    let facts = worker.facts.clone().unwrap();
    worker.plan(&wanted, &facts).unwrap();
    // The other's directive gets there first.
    offer_to_another(bench.site.pxe.as_ref().unwrap(), &digest);
    let (files, told) = (served(&folder), conf(&folder));
    let refused = worker.prepare(&wanted).await.unwrap_err();
    assert_eq!(refused.reason, "BootMacTaken");
    assert_eq!((served(&folder), conf(&folder)), (files, told));
}

#[tokio::test]
async fn what_nobody_was_led_to_is_withdrawn() {
    let (bench, folder) = site_with_pxe();
    let digest = publish_program(&bench.site).await;
    let running = bench.start(MachineKind::Card);
    bench.bmc.refuse(true);
    running.want(&[stage(1, &digest, MAC)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Failed");
    assert!(served(&folder).is_empty() && conf(&folder).is_empty());
    running.end().await;
}

/// The process dies after the offer and before the BMC is told.
#[tokio::test]
async fn what_was_offered_and_cut_short_is_withdrawn_by_the_next_process() {
    let (mut bench, folder) = site_with_pxe();
    let digest = publish_program(&bench.site).await;
    let wanted = stage(1, &digest, MAC);
    let (mut worker, _input, _ending) = bench.worker(MachineKind::Card);
    assert!(worker.look().await);
    worker.journal.load().unwrap();
    worker.journal.accept(&wanted).unwrap();
    worker.prepare(&wanted).await.unwrap();
    drop(worker);
    bench.supply_pxe(&folder);
    assert_eq!(served(&folder).len(), 1);
    let running = bench.start(MachineKind::Card);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Failed");
    assert!(served(&folder).is_empty() && conf(&folder).is_empty());
    running.end().await;
}

#[tokio::test]
async fn a_site_without_the_service_refuses_and_says_so() {
    let bench = bench();
    let digest = publish_program(&bench.site).await;
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest, MAC)]);
    assert_eq!(bench.outcome(CARD, 1).await["reason"], "PxeNotSupplied");
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["pxe"], json!({"supplied": false}));
    running.end().await;
}

#[tokio::test]
async fn a_lasting_boot_by_pxe_that_was_found_stays() {
    let (bench, folder) = site_with_pxe();
    bench.bmc.set(|facts| {
        facts.boot_override = Reading::Read(BootOverrideState {
            target: Some(BootTarget::Pxe),
            enabled: Some(OverrideEnabled::Continuous),
            mode: None,
            http_uri: Reading::Read(None),
        });
    });
    let digest = publish_program(&bench.site).await;
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest, MAC)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    assert_eq!(served(&folder).len(), 1);
    running.want(&[directive(2, "ClearInstall")]);
    let cleared = bench.outcome(CARD, 2).await;
    assert_eq!(cleared["message"], "nothing was armed any more");
    assert!(served(&folder).is_empty());
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["bootOverride"], "Pxe");
    assert!(!bench.bmc.effects().iter().any(|one| one.contains("Hdd")));
    running.end().await;
}

#[tokio::test]
async fn an_offer_outlives_its_process_and_not_its_grant() {
    let (mut bench, folder) = site_with_pxe();
    let digest = publish_program(&bench.site).await;
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest, MAC)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    running.end().await;
    let files = served(&folder);
    bench.supply_pxe(&folder);
    bench.site.end_outdated_pxe_offers().unwrap();
    assert_eq!(served(&folder), files);
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(2, &digest, MAC)]);
    let again = bench.outcome(CARD, 2).await;
    assert_eq!(again["message"], "the image was staged already");
    running.end().await;
    // The card's object went, and with it the grant, before the offer was withdrawn.
    bench.site.store.revoke("uid-1").await.unwrap();
    bench.supply_pxe(&folder);
    bench.site.end_outdated_pxe_offers().unwrap();
    assert!(served(&folder).is_empty() && conf(&folder).is_empty());
}
