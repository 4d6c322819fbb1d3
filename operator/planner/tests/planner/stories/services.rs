//! Services on a card: offered once vetted and once its system runs, replaced, refused, withdrawn.

use lockstep_crds::boot_policy::PolicyMode;
use lockstep_crds::condition::{self, SERVICES_RUNNING};
use lockstep_crds::report::Reachability;
use lockstep_crds::service::{ServiceReport, ServiceState, ServiceStatus, ServicesReport};
use lockstep_planner::requirement::Judgement;
use lockstep_planner::vetting::Vetting;

use crate::world::build::image;
use crate::world::{World, secs};

fn world(services: &[&str]) -> World {
    let mut world = World::new(&["card1"]);
    wants(&mut world, services);
    world
}

/// The same, with its card installed.
fn up(services: &[&str]) -> World {
    let mut world = world(services);
    world.until("Ready", secs(1200), World::is_ready);
    world.settle(secs(60));
    world
}

fn wants(world: &mut World, services: &[&str]) {
    world.cards[0].services = services.iter().map(|&name| name.to_owned()).collect();
}

/// The card's agent runs these, by the names of their images.
fn runs(world: &mut World, images: &[&str]) {
    let since = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now);
    let of = |name: &&str| ServiceReport {
        service: name.split_once('-').unwrap().0.to_owned(),
        state: ServiceState::Running,
        digest: Some(image(name).digest),
        version: Some((*name).to_owned()),
        since: since.clone(),
        restarts: 0,
        reason: None,
        message: None,
    };
    world.cards[0].runs_services = Some(ServicesReport {
        asked: Reachability {
            ok: true,
            since: since.clone(),
            reason: None,
            message: None,
        },
        services: images.iter().map(of).collect(),
    });
    world.settle(secs(60));
}

fn vet(world: &mut World, name: &str, trust: Judgement) {
    let vetting = Vetting {
        trust,
        ..Vetting::of_nothing()
    };
    world.vetted.insert(name.to_owned(), vetting);
    world.settle(secs(60));
}

fn offered(world: &World) -> Vec<&str> {
    let kept = world.status().cards.iter().flat_map(|kept| &kept.services);
    kept.map(|one| one.image.as_str()).collect()
}

fn shown(world: &World) -> Vec<ServiceStatus> {
    let status = world.cards[0].dpu.as_ref().unwrap().status.clone();
    status.unwrap().services.unwrap_or_default()
}

/// `True: AsWanted`, and the message.
fn says(world: &World) -> (String, String) {
    let status = world.cards[0]
        .dpu
        .as_ref()
        .unwrap()
        .status
        .as_ref()
        .unwrap();
    let found = condition::find(&status.conditions, SERVICES_RUNNING);
    found.map_or_else(Default::default, |found| {
        (
            format!("{}: {}", found.status, found.reason),
            found.message.clone(),
        )
    })
}

#[track_caller]
fn is_told(world: &World, wanted: &str, words: &[&str]) {
    let (what, message) = says(world);
    assert_eq!(what, wanted, "{message}\n{}", world.told());
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
}

#[test]
fn a_service_is_offered_once_the_cards_system_runs_and_is_ready_when_it_runs_itself() {
    let mut world = world(&["web-a"]);
    world.settle(secs(20));
    assert_eq!(offered(&world), Vec::<&str>::new());
    world.until("Ready", secs(1200), World::is_ready);
    world.settle(secs(60));
    assert_eq!(offered(&world), ["web-a"]);
    is_told(&world, "False: ServiceStarting", &["web"]);
    assert!(world.is_ready(), "the host goes on without it");
    runs(&mut world, &["web-a"]);
    is_told(&world, "True: AsWanted", &["web web-a"]);
    assert_eq!(shown(&world)[0].running_digest, Some(image("web-a").digest));
    let writes = world.writes.host_status;
    world.settle(secs(600));
    assert_eq!(world.writes.host_status, writes, "{}", world.told());
}

#[test]
fn what_is_not_trusted_is_not_offered_and_what_runs_goes_on() {
    let mut world = up(&["web-a"]);
    runs(&mut world, &["web-a"]);
    let why = Judgement::NotMet("it names no signature".to_owned());
    world.vetted.insert(
        "web-b".to_owned(),
        Vetting {
            trust: why,
            ..Vetting::of_nothing()
        },
    );
    wants(&mut world, &["web-b"]);
    world.settle(secs(120));
    assert_eq!(offered(&world), ["web-a"]);
    is_told(
        &world,
        "False: ImageUntrusted",
        &["names no signature", "signers"],
    );
    assert_eq!(shown(&world)[0].wanted_image.as_deref(), Some("web-b"));
    vet(&mut world, "web-b", Judgement::Met);
    assert_eq!(offered(&world), ["web-b"]);
    runs(&mut world, &["web-b"]);
    is_told(&world, "True: AsWanted", &["web-b"]);

    // What was found once stands until something else is; what is not known now changes nothing.
    vet(
        &mut world,
        "web-b",
        Judgement::NotKnown("it is read again".to_owned()),
    );
    assert_eq!(offered(&world), ["web-b"]);
    vet(
        &mut world,
        "web-b",
        Judgement::NotMet("its key is gone".to_owned()),
    );
    assert_eq!(offered(&world), Vec::<&str>::new());
    assert_eq!(shown(&world)[0].wanted_image.as_deref(), Some("web-b"));
}

#[test]
fn an_image_that_is_not_there_yet_ends_nothing_that_it_may_replace() {
    let mut world = up(&["web-a"]);
    runs(&mut world, &["web-a"]);
    wants(&mut world, &["web-missing"]);
    world.settle(secs(120));
    assert_eq!(offered(&world), ["web-a"], "{}", world.told());
    let shown = shown(&world);
    let goes_on = shown.iter().find(|one| one.service == "web").unwrap();
    assert_eq!(goes_on.wanted_image.as_deref(), Some("web-a"), "it stays");
    is_told(&world, "False: ImageNotFound", &["web-missing"]);
    wants(&mut world, &["web-b"]);
    world.settle(secs(120));
    assert_eq!(offered(&world), ["web-b"], "{}", world.told());
}

#[test]
fn what_is_not_wanted_any_more_is_withdrawn_and_told_until_it_is_gone() {
    let mut world = up(&["web-a"]);
    runs(&mut world, &["web-a"]);
    wants(&mut world, &[]);
    world.settle(secs(60));
    assert_eq!(offered(&world), Vec::<&str>::new());
    assert_eq!(shown(&world)[0].wanted_image, None);
    is_told(&world, "False: ServiceStopping", &["web"]);
    runs(&mut world, &[]);
    let status = world.cards[0].dpu.as_ref().unwrap().status.as_ref();
    // The card's agent is to read that there is none, not that nothing was said.
    assert_eq!(status.unwrap().services, Some(Vec::new()));
    assert_eq!(says(&world).0, "");
}

#[test]
fn a_service_waits_for_an_agent_that_runs_some_and_changes_nothing_beside_enforce() {
    let mut world = world(&["web-a", "web-b", "dns-missing"]);
    world.cards[0].runs_services = None;
    world.until("Ready", secs(1200), World::is_ready);
    world.settle(secs(60));
    is_told(&world, "False: ServicesUnsupported", &["xpu.services"]);
    runs(&mut world, &[]);
    assert_eq!(offered(&world), ["web-a"], "one image of each service");
    runs(&mut world, &["web-a"]);
    is_told(&world, "False: ServiceNamedTwice", &["web-a and web-b"]);
    wants(&mut world, &["web-a", "dns-missing"]);
    world.settle(secs(60));
    is_told(&world, "False: ImageNotFound", &["dns-missing"]);
    world.edit_policy(|policy| policy.mode = PolicyMode::Plan);
    wants(&mut world, &[]);
    world.settle(secs(60));
    assert_eq!(offered(&world), ["web-a"], "a plan withdraws nothing");
    assert!(shown(&world)[0].wanted_image.is_some());
}

#[test]
fn a_silent_card_keeps_what_is_offered() {
    let mut world = up(&["web-a"]);
    runs(&mut world, &["web-a"]);
    world.cards[0].os = None;
    world.settle(secs(600));
    assert_eq!(offered(&world), ["web-a"]);
    is_told(&world, "Unknown: CardAgentSilent", &["web"]);
}

#[test]
fn what_is_not_trusted_any_more_is_not_left_on_offer_to_a_card_to_which_nothing_is_done() {
    let frozen: [fn(&mut World); 5] = [
        |world| world.edit_card(0, |card| card.paused = true),
        |world| world.edit_card(0, |card| card.approved = false),
        |world| world.edit_policy(|policy| policy.mode = PolicyMode::Plan),
        |world| world.edit_policy(|policy| policy.mode = PolicyMode::Observe),
        |world| world.edit_host(|host| host.hands_off = true),
    ];
    for freeze in frozen {
        let mut world = up(&["web-a"]);
        runs(&mut world, &["web-a"]);
        freeze(&mut world);
        world.settle(secs(60));
        assert_eq!(offered(&world), ["web-a"], "{}", world.told());
        is_told(&world, "True: AsWanted", &["web-a"]);
        let vetting = Vetting {
            fit: Judgement::NotMet("it is for maker Intel".to_owned()),
            ..Vetting::of_nothing()
        };
        world.vetted.insert("web-a".to_owned(), vetting);
        world.settle(secs(60));
        assert_eq!(offered(&world), ["web-a"], "nothing is done");
        is_told(&world, "False: ImageDoesNotFit", &["maker Intel"]);
        let gone = Judgement::NotMet("its key is gone".to_owned());
        vet(&mut world, "web-a", gone);
        assert_eq!(offered(&world), Vec::<&str>::new(), "{}", world.told());
        is_told(&world, "False: ImageUntrusted", &["its key is gone"]);
    }
    // What is told may be anybody's word.
    let mut world = up(&["web-a"]);
    runs(&mut world, &["web-a"]);
    world.guards_intact = false;
    let gone = Judgement::NotMet("its key is gone".to_owned());
    vet(&mut world, "web-a", gone);
    assert_eq!(offered(&world), ["web-a"]);
    is_told(&world, "False: ImageUntrusted", &["its key is gone"]);
}

#[test]
fn what_a_card_keeps_that_is_not_wanted_and_stays_is_told() {
    let mut world = up(&["web-a"]);
    runs(&mut world, &["web-a"]);
    world.edit_card(0, |card| card.paused = true);
    wants(&mut world, &[]);
    world.settle(secs(60));
    assert_eq!(offered(&world), ["web-a"]);
    is_told(&world, "False: Paused", &["stay as they are"]);
}

#[test]
fn an_agent_that_tells_of_no_services_any_more_is_told() {
    let mut world = up(&["web-a"]);
    assert_eq!(offered(&world), ["web-a"]);
    is_told(&world, "False: ServiceStarting", &["web"]);
    world.cards[0].runs_services = None;
    world.settle(secs(120));
    assert_eq!(offered(&world), ["web-a"]);
    is_told(&world, "False: ServicesUnsupported", &["xpu.services"]);
}

#[test]
fn bytes_that_are_signed_anew_with_a_higher_security_version_are_the_least_from_then_on() {
    let mut world = up(&["web-a"]);
    let of = |security_version| Vetting {
        security_version,
        ..Vetting::of_nothing()
    };
    for (name, security_version) in [("web-a", 3), ("web-b", 2)] {
        world.vetted.insert(name.to_owned(), of(security_version));
    }
    world.settle(secs(60));
    let floor = |world: &World| world.status().cards[0].services[0].security_version;
    assert_eq!(floor(&world), Some(3));
    wants(&mut world, &["web-b"]);
    world.settle(secs(60));
    assert_eq!(offered(&world), ["web-a"], "{}", world.told());
    is_told(&world, "False: SecurityVersionTooLow", &["has run 3"]);
    // The same bytes are no way back, whatever is signed of them later.
    wants(&mut world, &["web-a"]);
    world.vetted.insert("web-a".to_owned(), of(1));
    world.settle(secs(60));
    assert_eq!((offered(&world), floor(&world)), (vec!["web-a"], Some(3)));
}
