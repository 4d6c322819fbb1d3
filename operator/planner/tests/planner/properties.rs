//! Whatever happens, in whatever order: every plan is safe, no effect is done twice,
//! and once the troubles stop everything ends.
//!
//! `PROPTEST_CASES=20000 cargo test -p lockstep-planner properties` looks further.

mod drifts;
mod events;
mod flashes;
mod versions;
mod wipes;

use std::collections::VecDeque;

use lockstep_crds::boot_policy::{
    AllowedMethod, BootOrder, DpuBootPolicySpec, HoldMechanism, OnInstallFailure, OnOrphan,
    OnTimeout, UnobservableStageAction, WaitUntil,
};
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::host::{CardRecord, Disruption, HostRole, SlotPower, TrustDomain};
use lockstep_crds::observed::{BootStage, Knowledge, Offer};
use lockstep_crds::{DpuHostStatus, LocalRef, Phase};
use lockstep_planner::Decision;
use lockstep_planner::view::{NodeSeen, Readiness};
use proptest::prelude::*;

use events::{
    events, failures, golden_image, happen, http_boots, http_offers, methods, on_drift, updates,
};

use crate::world::machine::{HttpBoot, Machine, Update};
use crate::world::operator::Crash;
use crate::world::{World, secs};

/// How the world is to begin with.
#[derive(Clone, Debug)]
struct Start {
    cards: usize,
    order: BootOrder,
    waits: bool,
    on_timeout: OnTimeout,
    on_orphan: OnOrphan,
    on_failure: OnInstallFailure,
    golden: bool,
    guess: bool,
    grace: i64,
    role: HostRole,
    slot: SlotPower,
    mechanisms: Vec<HoldMechanism>,
    coupled: bool,
    dark_bmcs: bool,
    disrupt: bool,
    node: bool,
    host_on: bool,
    cards_run: bool,
    repairs: bool,
    /// The first card boots with its BMC alone.
    restarted: bool,
    methods: Vec<AllowedMethod>,
    /// The host has an agent, and is trusted.
    pushes: (bool, bool),
    uefi_http: Option<Offer>,
    makes_of_http: HttpBoot,
    updates: Option<Offer>,
    makes_of_updates: Update,
}

fn starts() -> impl Strategy<Value = Start> {
    let policy = (
        prop_oneof![6 => Just(BootOrder::XpuFirst), 1 => Just(BootOrder::HostFirst), 1 => Just(BootOrder::Parallel)],
        prop::bool::weighted(0.8),
        prop_oneof![
            Just(OnTimeout::Continue),
            Just(OnTimeout::Hold),
            Just(OnTimeout::PowerOff)
        ],
        prop_oneof![Just(OnOrphan::KeepHeld), Just(OnOrphan::RestoreAndRelease)],
        (failures(), prop::bool::weighted(0.3)),
        any::<bool>(),
        prop_oneof![Just(0), Just(30)],
    );
    let host = (
        prop_oneof![8 => Just(HostRole::Server), 1 => Just(HostRole::ChassisOnly), 1 => Just(HostRole::Infrastructure)],
        prop_oneof![4 => Just(SlotPower::Yes), 1 => Just(SlotPower::No), 1 => Just(SlotPower::Unknown)],
        mechanisms(),
        prop_oneof![12 => Just((false, false)), 1 => Just((true, false)), 1 => Just((true, true))],
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.3),
        (
            prop::bool::weighted(0.3),
            prop::bool::weighted(0.15),
            any::<bool>(),
        ),
    );
    let pushes = (prop::bool::weighted(0.7), prop::bool::weighted(0.8));
    let ways = (
        methods(),
        http_offers(),
        http_boots(),
        http_offers(),
        updates(),
        pushes,
    );
    (1..=2_usize, policy, host, ways).prop_map(
        |(
            cards,
            (order, waits, on_timeout, on_orphan, (on_failure, golden), guess, grace),
            (
                role,
                slot,
                mechanisms,
                (coupled, dark_bmcs),
                disrupt,
                node,
                host_on,
                (cards_run, restarted, repairs),
            ),
            (methods, uefi_http, makes_of_http, updates, makes_of_updates, pushes),
        )| Start {
            cards,
            order,
            waits: waits && order == BootOrder::XpuFirst,
            on_timeout,
            on_orphan,
            on_failure,
            golden,
            guess,
            grace,
            role,
            slot,
            mechanisms,
            coupled,
            dark_bmcs,
            disrupt,
            node,
            host_on,
            cards_run,
            repairs,
            restarted,
            methods,
            pushes,
            uefi_http,
            makes_of_http,
            updates,
            makes_of_updates,
        },
    )
}

fn mechanisms() -> impl Strategy<Value = Vec<HoldMechanism>> {
    let (off, tainted) = (HoldMechanism::PoweredOff, HoldMechanism::NodeTainted);
    prop_oneof![
        3 => Just(vec![off]),
        2 => Just(vec![off, tainted]),
        1 => Just(vec![tainted]),
    ]
}

fn begin(start: &Start) -> World {
    let names = &["card1", "card2"][..start.cards];
    let mut world = World::new(names);
    world.strict = true;
    world.coupled = start.coupled;
    world.dark_bmcs = start.dark_bmcs;
    world.edit_policy(|policy| begin_policy(policy, start));
    world.edit_host(|host| {
        host.role = start.role;
        host.slot_power_when_host_off = start.slot;
        host.disruption = disruption(start.disrupt && start.role == HostRole::Server);
        if start.role == HostRole::ChassisOnly {
            host.bmc = None;
            host.identity = None;
        } else if start.node {
            host.node_name = Some("node1".into());
        }
    });
    world.node = start.node.then_some(NodeSeen {
        ready: Readiness::NotReady,
        boot_id: None,
    });
    for card in &mut world.cards {
        card.machine.uefi_http.clone_from(&start.uefi_http);
        card.machine.makes_of_http = start.makes_of_http;
        card.machine.simple_update.clone_from(&start.updates);
        card.machine.multipart_push.clone_from(&start.updates);
        card.machine.makes_of_updates = start.makes_of_updates;
        card.machine.pxe = Some(true);
        card.machine.boot_entry = Some(Offer::Offered);
        if let Some(dpu) = card.dpu.as_mut() {
            dpu.spec.boot_macs = vec!["02:00:00:00:00:01".to_owned()];
        }
    }
    if start.node && start.pushes.0 {
        world.has_host_agent();
    }
    if start.pushes.1 {
        world.edit_host(|host| host.trust_domain = TrustDomain::Trusted);
    }
    if start.host_on {
        world.power_on_host();
    }
    if start.cards_run {
        for index in 0..start.cards {
            world.cards[index].disk = Some(crate::world::build::image("os-1"));
            world.power_on_card(index);
        }
    }
    if start.restarted {
        world.power_on_card(0);
        let machine = &mut world.cards[0].machine;
        machine.card_restart = Some(Offer::Offered);
        machine.reset_types = ["GracefulShutdown", "GracefulRestart"]
            .map(String::from)
            .into();
    }
    world
}

fn begin_policy(policy: &mut DpuBootPolicySpec, start: &Start) {
    policy.order = start.order;
    policy.install.methods.clone_from(&start.methods);
    policy.hold.mechanisms.clone_from(&start.mechanisms);
    policy.host_wait.until = if start.waits {
        WaitUntil::OsRunning
    } else {
        WaitUntil::None
    };
    policy.host_wait.timeout_seconds = 900;
    policy.host_wait.on_timeout = start.on_timeout;
    policy.hold.orphan_after_seconds = 1500;
    policy.hold.on_orphan = start.on_orphan;
    policy.install.os_timeout_seconds = 400;
    policy.install.firmware_timeout_seconds = 300;
    policy.install.on_failure = start.on_failure;
    policy.on_drift = on_drift(start.repairs);
    policy.install.golden_image_ref = golden_image(start.golden);
    policy.install.shutdown_grace_seconds = start.grace;
    if start.guess {
        policy.unobservable_stage.action = UnobservableStageAction::SafeAfter;
        policy.unobservable_stage.dump_grace_seconds = 120;
    }
}

fn disruption(allowed: bool) -> Disruption {
    if allowed {
        Disruption::Allowed
    } else {
        Disruption::Never
    }
}

/// The troubles stop; what people want stays as it is.
fn calm(world: &mut World) {
    world.agent_starts();
    world.agent.faults = VecDeque::new();
    if let Some(agent) = world.host_agent.as_mut() {
        agent.pushes = VecDeque::new();
        agent.flashes = VecDeque::new();
        agent.runs = world.host_machine.is_on();
    }
    world.host_machine.answers = true;
    world.host_machine.stranger(false);
    world.guards_intact = true;
    world.joined.get_or_insert_default();
    for card in &mut world.cards {
        card.machine.answers = !card.machine.restarts();
        card.machine.stranger(false);
        card.machine.refusal = None;
        card.machine.busy = None;
        card.machine.knowledge = Knowledge::Known;
        card.machine.tells_power(true, world.now);
        card.machine.stage = Some(BootStage::OsRunning);
    }
    world.host_machine.stage = Some(BootStage::OsRunning);
    world.host_machine.busy = None;
}

/// Rounds with half a minute between them: Leases stay fresh, and long waits cost little.
fn rest(world: &mut World, seconds: i64) -> Option<Decision> {
    let end = world.now + secs(seconds);
    let mut last = None;
    while world.now < end {
        world.agent_step();
        world.host_agent_step();
        last = world.operator_step_to(Crash::Never);
        world.pass(secs(30));
        if world.story.len() > 400 {
            world.story.drain(..200);
        }
    }
    last
}

fn ends(world: &mut World) {
    calm(world);
    // Four pushes to each of two cards, whose outcome nobody knows, take an hour each.
    let latest = world.now + secs(36_000);
    rest(world, 14_400);
    loop {
        let recorded = world.recorded.len();
        rest(world, 3_700);
        if world.recorded.len() == recorded || world.now >= latest {
            break;
        }
    }
    // What is said of a wish changes once more when its time is up, or comes.
    let wishes = world.cards.iter().filter_map(|card| {
        let dpu = card.dpu.as_ref()?;
        Some(dpu.spec.wipe.as_ref()?.not_after.0)
    });
    let day = secs(24 * 3600);
    let soon = |at: jiff::Timestamp| world.now - secs(60) < at && at < world.now + secs(1300);
    if wishes.flat_map(|until| [until, until - day]).any(soon) {
        rest(world, 1400);
    }
    let recorded = world.recorded.len();
    let writes = world.writes.host_status + world.writes.card_status;
    let decision = rest(world, 1200);
    let Some(decision) = decision else { return };
    let told = || format!("{decision:#?}\n{}", world.told());
    assert_eq!(
        world.recorded.len(),
        recorded,
        "it goes on and on: {}",
        told()
    );
    assert_eq!(
        world.writes.host_status + world.writes.card_status,
        writes,
        "it writes on and on: {}",
        told()
    );
    match &decision {
        Decision::Settled => {
            let status = world.status();
            assert!(
                status.hold.is_none() && status.directives.is_empty(),
                "{}",
                told()
            );
            assert!(
                status.cards.iter().all(CardRecord::is_as_it_stays),
                "{}",
                told()
            );
            let there = world.cards.iter().filter(|card| card.dpu.is_some());
            for machine in there.map(|card| &card.machine) {
                if boots_from_network(status, machine) {
                    continue;
                }
                assert!(
                    !machine.is_armed(),
                    "S15: something stays armed: {}",
                    told()
                );
            }
            for card in world.cards.iter() {
                let uid = card.dpu.as_ref().and_then(|dpu| dpu.metadata.uid.as_ref());
                let approved = card.dpu.as_ref().is_some_and(|dpu| dpu.spec.approved);
                let kept = uid.and_then(|uid| status.record_of(uid));
                let stateless = kept
                    .filter(|kept| approved && kept.observed_at.is_some())
                    .and_then(|kept| kept.image.as_ref())
                    .is_some_and(|image| image.stateless);
                assert!(
                    !stateless || boots_from_network(status, &card.machine),
                    "its next boot leads elsewhere: {}",
                    told()
                );
            }
            let kept = world.host_machine.custody.as_ref();
            assert!(
                kept.is_none_or(|custody| custody.state.as_str() != "Kept"),
                "{}",
                told()
            );
            assert!(world.tainted.is_empty(), "{}", told());
            let going = world
                .host
                .as_ref()
                .unwrap()
                .metadata
                .deletion_timestamp
                .is_some();
            assert!(!going, "{}", told());
        }
        Decision::Hold(why) | Decision::Stalled(why) => {
            assert!(!why.message.is_empty());
            for (index, card) in world.cards.iter().enumerate() {
                let Some(dpu) = &card.dpu else { continue };
                let uid = dpu.metadata.uid.as_deref().unwrap_or_default();
                let kept = world.status().record_of(uid);
                let image = kept.and_then(|kept| kept.image.as_ref());
                let has_failed = kept.is_some_and(|kept| kept.attempts > 0)
                    && world.card_says(index).ends_with("Stalled: InstallFailed")
                    && image.is_some_and(|image| !image.stateless);
                let is_used = world.card_message(index).contains("once the card is off");
                assert!(
                    is_used || !(has_failed && card.machine.is_armed()),
                    "what failed for good comes with the next boot: {}",
                    told()
                );
            }
        }
        Decision::Await(..) | Decision::Start(_) => panic!("no end: {}", told()),
    }
}

/// Whether the card's next boot is wanted to lead to a stateless image, and does.
fn boots_from_network(status: &DpuHostStatus, machine: &Machine) -> bool {
    let held = machine.http_uri.as_ref().or(machine.media.as_ref());
    let digest = held.map(|image| &image.digest);
    let is_wanted = status.cards.iter().any(|kept| {
        let image = kept.image.as_ref().filter(|image| image.stateless);
        image.map(|image| &image.digest) == digest && kept.observed_at.is_some()
    });
    let is_set = machine.boot_override || machine.http_override;
    digest.is_some() && is_wanted && is_set
}

/// Few enough cases for every run; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: if asked { usual.cases } else { 128 },
        max_shrink_iters: 4000,
        failure_persistence: None,
        ..usual
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_plan_is_safe_and_everything_ends(
        start in starts(),
        events in prop::collection::vec(events(), 1..60),
    ) {
        let mut world = begin(&start);
        let mut spare = None;
        for event in &events {
            world.tell(format!("-- {event:?}"));
            happen(&mut world, event, &mut spare);
        }
        world.tell("-- calm");
        ends(&mut world);
    }

}

/// Names that an image may go by, and what it may be.
fn claims() -> impl Strategy<Value = (&'static str, char)> {
    (
        prop_oneof![Just("os-1"), Just("os-2"), Just("factory")],
        prop_oneof![Just('1'), Just('2'), Just('f')],
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases / 4, ..config() })]

    /// What a card calls its image counts for nothing: with the wanted digest it is adopted and
    /// left alone, and with another it is not shown to be as wanted before it was installed.
    #[test]
    fn a_card_is_believed_by_its_digest_alone(
        start in starts(),
        (version, letter) in claims(),
        events in prop::collection::vec(events(), 0..20),
    ) {
        let mut world = begin(&Start {
            cards_run: false,
            coupled: false,
            dark_bmcs: false,
            ..start
        });
        let runs = ImageFacts {
            digest: format!("sha256:{}", letter.to_string().repeat(64)),
            version: version.to_owned(),
            stateless: false,
            slot: None,
        };
        for index in 0..world.cards.len() {
            world.cards[index].disk = Some(runs.clone());
            world.power_on_card(index);
        }
        world.pass(secs(60));
        rest(&mut world, 600);
        believed_rightly(&world);
        let is_wanted = runs.digest == crate::world::build::image("os-1").digest;
        let written = world.deeds().into_iter().any(|deed| deed.contains(" dpu/"));
        prop_assert!(!is_wanted || !written, "{}", world.told());
        let mut spare = None;
        for event in &events {
            world.tell(format!("-- {event:?}"));
            happen(&mut world, event, &mut spare);
        }
        world.tell("-- calm");
        ends(&mut world);
        believed_rightly(&world);
    }
}

fn believed_rightly(world: &World) {
    // Without its host nobody writes what becomes of a card.
    if world.host.is_none() {
        return;
    }
    for card in &world.cards {
        let status = card.dpu.as_ref().and_then(|dpu| dpu.status.as_ref());
        let Some(status) = status.filter(|status| status.phase == Some(Phase::Ready)) else {
            continue;
        };
        let runs = card.os.as_ref().map(|os| &os.image.digest);
        let wanted = status.wanted_image.as_ref().map(|image| &image.digest);
        assert_eq!(runs, wanted, "{}", world.told());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases / 4, ..config() })]

    #[test]
    fn a_stateless_card_is_led_to_its_image_for_good_whatever_happens(
        start in starts(),
        keeps in any::<bool>(),
        seconds in 0..2400_i64,
        events in prop::collection::vec(events(), 1..40),
    ) {
        let mut world = begin(&Start {
            slot: SlotPower::Yes,
            coupled: false,
            node: false,
            guess: true,
            methods: vec![AllowedMethod::UefiHttp],
            uefi_http: Some(Offer::Offered),
            ..start
        });
        for card in &mut world.cards {
            card.machine.keeps_override = keeps;
        }
        world.edit_policy(|policy| policy.image_ref = Some(LocalRef { name: "net-3".into() }));
        rest(&mut world, seconds);
        let mut spare = None;
        for event in &events {
            world.tell(format!("-- {event:?}"));
            happen(&mut world, event, &mut spare);
        }
        world.tell("-- calm");
        ends(&mut world);
    }

    #[test]
    fn a_card_whose_update_fails_goes_back_once_whatever_happens(
        start in starts(),
        by_update in any::<bool>(),
        seconds in 0..2400_i64,
        events in prop::collection::vec(events(), 1..40),
    ) {
        let (method, updates) = if by_update {
            (AllowedMethod::SimpleUpdate, Some(Offer::Offered))
        } else {
            (AllowedMethod::VirtualMedia, start.updates.clone())
        };
        let mut world = begin(&Start {
            on_failure: OnInstallFailure::RollBack,
            cards_run: true,
            role: HostRole::Server,
            slot: SlotPower::Yes,
            disrupt: true,
            coupled: false,
            node: false,
            guess: true,
            methods: vec![method],
            updates,
            ..start
        });
        rest(&mut world, 120);
        world.broken.insert("os-2".into());
        world.edit_policy(|policy| policy.image_ref = Some(LocalRef { name: "os-2".into() }));
        rest(&mut world, seconds);
        let mut spare = None;
        for event in &events {
            world.tell(format!("-- {event:?}"));
            happen(&mut world, event, &mut spare);
        }
        world.tell("-- calm");
        ends(&mut world);
    }
}
