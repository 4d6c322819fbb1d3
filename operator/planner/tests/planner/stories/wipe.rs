//! Cards that are wiped, and retired.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::LocalRef;
use lockstep_crds::boot_policy::AllowedMethod::{Pxe, SimpleUpdate, UefiHttp, VirtualMedia};
use lockstep_crds::boot_policy::OnInstallFailure;
use lockstep_crds::directive::ActionKind;
use lockstep_crds::host::Disruption;
use lockstep_crds::observed::Offer;
use lockstep_crds::wipe::{WipeRecord, WipeResult, WipeSpec};
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;

use super::waits;
use crate::world::agent::Fault;
use crate::world::operator::Crash;
use crate::world::{World, secs};

const LONG: i64 = 3600;
const STAGE: &str = "StageInstall dpu/card1";
const ON: &str = "PowerOn dpu/card1";

fn wish(world: &World, token: &str) -> WipeSpec {
    WipeSpec {
        token: token.to_owned(),
        confirm: "SN-card1".to_owned(),
        not_after: Time(world.now + secs(6 * 3600)),
        image_ref: LocalRef {
            name: "wiper-9".to_owned(),
        },
    }
}

pub fn wipe(world: &mut World, token: &str) {
    let wish = wish(world, token);
    world.edit_card(0, |card| card.wipe = Some(wish));
}

/// A card that runs `os-1`, beside a host that may be disturbed.
fn running() -> World {
    let mut world = World::installed(&["card1"]);
    world.strict = true;
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.recorded.clear();
    world
}

/// The same with nothing wanted of the card, so that what becomes of it after its wipe shows.
fn unwanted() -> World {
    let mut world = running();
    world.edit_policy(|policy| policy.image_ref = None);
    world.settle(secs(60));
    world
}

fn record(world: &World) -> &WipeRecord {
    world.status().cards[0].wipe.as_ref().unwrap()
}

fn shown(world: &World) -> Option<WipeRecord> {
    let dpu = world.cards[0].dpu.as_ref()?;
    dpu.status.as_ref()?.wipe.clone()
}

fn boots(world: &World) -> usize {
    world.deeds().iter().filter(|deed| **deed == ON).count()
}

#[track_caller]
fn nothing_is_armed(world: &World) {
    let machine = &world.cards[0].machine;
    let left = machine.media.is_some() || machine.boot_override || machine.http_uri.is_some();
    assert!(!left, "{}", world.told());
}

fn is_failed(world: &World) -> bool {
    world.card_says(0) == "Stalled Stalled: WipeFailed"
}

#[test]
fn a_card_is_wiped_and_then_gets_what_is_wanted() {
    let mut world = running();
    wipe(&mut world, "a");
    world.until("wiped", secs(LONG), |w| !w.cards[0].wiped.is_empty());
    assert_eq!(world.cards[0].disk, None);
    assert_eq!(world.card_says(0), "Wiping Reconciling: Wiping");
    world.until("Ready", secs(LONG), World::is_ready);
    world.settle(secs(300));
    assert_eq!(world.cards[0].wiped, ["a"], "{}", world.told());
    assert!(world.host_machine.is_on(), "{}", world.told());
    let holds = world
        .deeds()
        .iter()
        .filter(|d| d.starts_with("HoldHost"))
        .count();
    assert_eq!((boots(&world), holds), (2, 1), "{}", world.told());
    let told = shown(&world).unwrap();
    assert!(told.is_done() && told.items[0].item == "Disk vda");
    nothing_is_armed(&world);
    world.settle(secs(2 * LONG));
    assert_eq!(boots(&world), 2, "a token is carried out once");
}

#[test]
fn a_card_of_which_nothing_is_wanted_is_wiped_and_its_host_let_go() {
    let mut world = unwanted();
    wipe(&mut world, "a");
    world.until("wiped", secs(LONG), |w| {
        shown(w).is_some_and(|told| told.is_done())
    });
    world.until("released", secs(LONG), |w| {
        w.status().hold.is_none() && w.host_machine.is_on()
    });
    world.settle(secs(300));
    nothing_is_armed(&world);
    assert_eq!(world.card_says(0), "Available Idle: NoImageWanted");
}

#[test]
fn nothing_is_wiped_that_is_not_confirmed_in_time_and_asked_of_a_wiper() {
    type Spoil = fn(&mut WipeSpec, Timestamp);
    let table: [(&str, &[&str], Spoil); 4] = [
        ("WipeRefused", &["SN-other", "identity"], |wish, _| {
            wish.confirm = "SN-other".into();
        }),
        ("WipeRefused", &["was to begin before"], |wish, now| {
            wish.not_after = Time(now - secs(1));
        }),
        ("WipeRefused", &["more than 24 hours"], |wish, now| {
            wish.not_after = Time(now + secs(3 * 86_400));
        }),
        ("ImageNotFound", &["wiper-8"], |wish, _| {
            wish.image_ref.name = "wiper-8".into();
        }),
    ];
    for (reason, words, spoil) in table {
        let mut world = running();
        let mut wish = wish(&world, "a");
        spoil(&mut wish, world.now);
        world.edit_card(0, |card| card.wipe = Some(wish));
        waits(&mut world, reason, words);
    }
}

#[test]
fn no_firmware_is_written_before_a_wipe_whose_wiper_is_missing() {
    let mut world = running();
    let mut wish = wish(&world, "a");
    wish.image_ref.name = "wiper-8".into();
    world.edit_card(0, |card| card.wipe = Some(wish));
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    waits(&mut world, "ImageNotFound", &["wiper-8"]);
}

#[test]
fn a_wiper_is_trusted_like_any_image_and_its_security_version_is_its_own() {
    let vetting = |trust: Judgement| Vetting {
        trust,
        ..Vetting::of_nothing()
    };
    let mut world = running();
    let not = Judgement::NotMet("nobody has signed it".into());
    world.vetted.insert("wiper-9".into(), vetting(not));
    wipe(&mut world, "a");
    waits(
        &mut world,
        "ImageUntrusted",
        &["wiper-9", "nobody has signed it"],
    );

    let mut world = running();
    let high = Vetting {
        security_version: 7,
        ..Vetting::of_nothing()
    };
    world.vetted.insert("os-1".into(), high);
    world.settle(secs(60));
    wipe(&mut world, "a");
    world.until("wiped", secs(LONG), |w| !w.cards[0].wiped.is_empty());
}

#[test]
fn a_host_in_use_and_a_stranger_stand_against_it() {
    let mut world = World::installed(&["card1"]);
    world.recorded.clear();
    wipe(&mut world, "a");
    waits(&mut world, "HostInUse", &["disruption is Never"]);

    let mut world = running();
    world.cards[0].machine.stranger(true);
    wipe(&mut world, "a");
    waits(&mut world, "IdentityMismatch", &[]);
}

#[test]
fn a_way_that_writes_an_image_or_lets_others_answer_leads_to_no_wipe() {
    let mut world = running();
    world.edit_policy(|policy| policy.install.methods = vec![SimpleUpdate]);
    world.cards[0].machine.simple_update = Some(Offer::Offered);
    wipe(&mut world, "a");
    waits(
        &mut world,
        "CapabilityMissing",
        &["SimpleUpdate", "booted once"],
    );
    world.edit_policy(|policy| policy.install.methods = vec![Pxe]);
    world.edit_card(0, |card| card.boot_macs = vec!["02:00:00:00:00:01".into()]);
    world.cards[0].machine.pxe = Some(true);
    waits(
        &mut world,
        "CapabilityMissing",
        &["Pxe", "in its wiper's place"],
    );
    world.edit_policy(|policy| policy.install.methods = vec![SimpleUpdate, UefiHttp]);
    world.cards[0].machine.uefi_http = Some(Offer::Offered);
    world.until("wiped", secs(LONG), |w| !w.cards[0].wiped.is_empty());
}

#[test]
fn a_part_that_failed_keeps_the_card_from_everything_until_a_person_decides() {
    let mut world = running();
    world.cards[0].wipes = WipeResult::Failed;
    wipe(&mut world, "a");
    world.until("failed", secs(LONG), is_failed);
    world.settle(secs(2 * LONG));
    assert!(is_failed(&world), "{}", world.told());
    assert!(world.card_message(0).contains("not wiped: Disk vda"));
    assert_eq!(boots(&world), 1, "{}", world.told());
    nothing_is_armed(&world);

    world.edit_card(0, |card| card.retry_token = Some("again".into()));
    world.settle(secs(LONG));
    assert!(is_failed(&world), "another retryToken wipes nothing");
    assert_eq!(boots(&world), 1, "{}", world.told());

    world.cards[0].wipes = WipeResult::Wiped;
    wipe(&mut world, "b");
    world.until("Ready", secs(LONG), World::is_ready);
    assert_eq!(world.cards[0].wiped, ["a", "b"]);
    assert_eq!(record(&world).earlier, ["a"]);
    wipe(&mut world, "a");
    world.until("refused", secs(LONG), |w| {
        w.card_says(0) == "Stalled Stalled: WipeRefused"
    });
    assert!(world.card_message(0).contains("carried out before"));
    world.edit_card(0, |card| card.wipe = None);
    world.until("Ready", secs(LONG), World::is_ready);
    assert_eq!(world.cards[0].wiped, ["a", "b"], "{}", world.told());
}

#[test]
fn a_wiper_that_tells_nothing_is_not_booted_again_nor_is_anything_else() {
    for on_failure in [OnInstallFailure::RollBack, OnInstallFailure::Stall] {
        let mut world = running();
        world.edit_policy(|policy| policy.install.on_failure = on_failure);
        world.broken.insert("wiper-9".into());
        wipe(&mut world, "a");
        world.until("failed", secs(3 * LONG), is_failed);
        world.settle(secs(2 * LONG));
        assert!(is_failed(&world), "{}", world.told());
        assert!(world.card_message(0).contains("may be there still"));
        assert_eq!(boots(&world), 1, "{}", world.told());
        nothing_is_armed(&world);
        // Given up: what is wanted goes onto the card.
        world.edit_card(0, |card| card.wipe = None);
        world.until("Ready", secs(2 * LONG), World::is_ready);
    }
}

#[test]
fn a_crash_anywhere_boots_the_wiper_once() {
    for moment in (0..40).step_by(4) {
        for crash in [Crash::BeforeRecord, Crash::AfterRecord] {
            let mut world = running();
            world.strict = false;
            wipe(&mut world, "a");
            world.settle(secs(moment * 5));
            world.operator_step_to(crash);
            world.agent_dies();
            world.settle(secs(60));
            world.agent_starts();
            world.until("Ready", secs(3 * LONG), World::is_ready);
            assert_eq!(world.cards[0].wiped, ["a"], "{moment} {}", world.told());
        }
    }
}

#[test]
fn a_wiper_that_may_have_run_is_not_booted_again_and_one_that_was_refused_is() {
    for (fault, boots) in [(Fault::LostCall, 1), (Fault::Refused, 2)] {
        let mut world = unwanted();
        wipe(&mut world, "a");
        world.until("staged", secs(LONG), |w| w.cards[0].machine.order.is_some());
        world.agent.faults = [fault].into();
        world.until("recorded", secs(LONG), |w| {
            w.recorded
                .iter()
                .any(|one| one.action.kind == ActionKind::PowerOn)
        });
        world.edit_card(0, |card| card.retry_token = Some("again".into()));
        world.settle(secs(LONG));
        let recorded = world.recorded.iter();
        let on = recorded.filter(|one| one.action.kind == ActionKind::PowerOn);
        assert_eq!(on.count(), boots, "{fault:?} {}", world.told());
        nothing_is_armed(&world);
        let reason = if boots == 1 {
            "WipeFailed"
        } else {
            "NoImageWanted"
        };
        assert!(world.card_says(0).ends_with(reason), "{}", world.told());
    }
}

#[test]
fn a_wish_that_is_withdrawn_leaves_nothing_behind_and_another_gets_its_own_order() {
    for moment in (0..30).step_by(3) {
        let mut world = running();
        wipe(&mut world, "a");
        world.settle(secs(moment * 5));
        wipe(&mut world, "b");
        world.until("wiped by b, and Ready", secs(3 * LONG), |w| {
            w.is_ready() && w.cards[0].wiped.last().is_some_and(|last| last == "b")
        });

        let mut world = running();
        wipe(&mut world, "a");
        world.settle(secs(moment * 5));
        world.edit_card(0, |card| card.wipe = None);
        world.until("Ready", secs(3 * LONG), World::is_ready);
        world.settle(secs(300));
        nothing_is_armed(&world);
        let before = world.cards[0].wiped.len();
        world.settle(secs(LONG));
        assert_eq!(world.cards[0].wiped.len(), before);
    }
}

#[test]
fn what_is_applied_again_wipes_nothing() {
    let mut world = unwanted();
    wipe(&mut world, "a");
    world.until("wiped", secs(LONG), |w| {
        shown(w).is_some_and(|told| told.is_done())
    });
    world.settle(secs(600));
    let mut again = world.cards[0].dpu.clone().unwrap();
    world.delete_card(0);
    world.until("gone", secs(LONG), |w| w.cards[0].dpu.is_none());
    world.settle(secs(60));
    again.metadata.uid = Some("uid-again".into());
    again.metadata.finalizers = None;
    again.status = None;
    world.cards[0].dpu = Some(again);
    world.settle(secs(LONG));
    assert_eq!(world.cards[0].wiped, ["a"], "{}", world.told());
    assert_eq!(boots(&world), 1, "{}", world.told());
}

fn is_retired(world: &World) -> bool {
    world.card_says(0) == "Retired Idle: Retired"
}

#[test]
fn a_card_is_wiped_before_it_is_retired_and_stays_off() {
    let mut world = running();
    let wish = wish(&world, "a");
    world.edit_card(0, |card| {
        card.wipe = Some(wish);
        card.retired = true;
    });
    world.until("retired", secs(LONG), is_retired);
    world.settle(secs(600));
    assert_eq!(world.cards[0].wiped, ["a"], "{}", world.told());
    assert!(!world.cards[0].machine.is_on(), "{}", world.told());
    assert!(world.host_machine.is_on(), "{}", world.told());
    assert!(world.status().hold.is_none(), "{}", world.told());
    nothing_is_armed(&world);
    assert_eq!(world.writes.withdrawn, 1, "{}", world.told());
    world.delete_card(0);
    world.until("gone", secs(60), |w| w.cards[0].dpu.is_none());
    world.settle(secs(600));
    assert!(!world.cards[0].machine.is_on(), "{}", world.told());
}

#[test]
fn a_card_whose_wipe_failed_is_not_retired() {
    let mut world = running();
    world.cards[0].wipes = WipeResult::Failed;
    let wish = wish(&world, "a");
    world.edit_card(0, |card| {
        card.wipe = Some(wish);
        card.retired = true;
    });
    world.until("failed", secs(LONG), is_failed);
    world.settle(secs(LONG));
    assert!(is_failed(&world) && world.writes.withdrawn == 0);
    // A person gives the wipe up.
    world.edit_card(0, |card| card.wipe = None);
    world.until("retired", secs(LONG), is_retired);
    world.until("released", secs(LONG), |w| w.status().hold.is_none());
}

#[test]
fn a_card_that_is_retired_gets_no_firmware_and_keeps_no_service() {
    let mut world = running();
    world.cards[0].services = vec!["web-5".to_owned()];
    world.until("offered", secs(300), |w| {
        !w.status().cards[0].services.is_empty()
    });
    world.edit_card(0, |card| card.retired = true);
    world.cards[0].firmware = vec!["bmc-b".to_owned()];
    world.until("retired", secs(LONG), is_retired);
    world.settle(secs(600));
    assert!(is_retired(&world), "{}", world.told());
    assert_eq!(world.cards[0].machine.firmware.0, "bmc-a");
    assert!(world.status().cards[0].services.is_empty());
    let status = world.cards[0].dpu.as_ref().unwrap().status.clone();
    assert_eq!(status.unwrap().services, Some(Vec::new()));
}

#[test]
fn a_host_in_use_stands_against_retiring_and_a_card_comes_back_into_use() {
    let mut world = World::installed(&["card1"]);
    world.recorded.clear();
    world.edit_card(0, |card| card.retired = true);
    waits(&mut world, "HostInUse", &["disruption is Never"]);
    assert!(world.cards[0].machine.is_on());

    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.until("retired", secs(LONG), is_retired);
    world.until("released", secs(LONG), |w| {
        w.status().hold.is_none() && w.host_machine.is_on()
    });
    world.edit_card(0, |card| card.retired = false);
    world.until("Ready", secs(LONG), World::is_ready);
}

#[test]
fn a_wish_by_virtual_media_goes_as_an_install_does() {
    let mut world = unwanted();
    world.edit_policy(|policy| policy.install.methods = vec![VirtualMedia]);
    wipe(&mut world, "a");
    world.until("wiped", secs(LONG), |w| {
        shown(w).is_some_and(|told| told.is_done())
    });
    world.until("disarmed", secs(LONG), |w| {
        w.status().cards[0].armed.is_empty()
    });
    let of_card: Vec<&str> = world
        .deeds()
        .into_iter()
        .filter(|deed| deed.ends_with("card1"))
        .collect();
    let deeds = [
        "ShutdownGracefully dpu/card1",
        STAGE,
        ON,
        "ClearInstall dpu/card1",
    ];
    assert_eq!(of_card, deeds, "{}", world.told());
}
