//! When nothing is done, and what a person is told instead.

use lockstep_crds::MachineIdentity;
use lockstep_crds::boot_policy::PolicyMode;
use lockstep_crds::dpu::Pairing;
use lockstep_crds::host::{Disruption, HoldState, HostRole, SlotPower};
use lockstep_crds::observed::PowerState;
use lockstep_planner::plan;
use lockstep_planner::view::{NodeSeen, Readiness};

use crate::world::{World, secs};

/// Nothing reaches a machine, and both host and card say why.
#[track_caller]
fn refused(mut world: World, host: &str, card: &str) -> World {
    world.settle(secs(1200));
    assert!(world.effects.is_empty(), "{}", world.told());
    assert!(world.recorded.is_empty(), "{}", world.told());
    assert_eq!(world.host_says(), host, "{}", world.told());
    assert_eq!(world.card_says(0), card, "{}", world.told());
    assert!(!world.card_message(0).is_empty());
    world
}

#[track_caller]
fn goes_on(mut world: World) {
    world.settle(secs(30));
    world.until("Ready", secs(3600), World::is_ready);
    world.until("settled", secs(60), |w| w.host_says() == "Ready: AsWanted");
}

#[test]
fn a_host_that_is_on() {
    let mut world = World::new(&["card1"]);
    world.power_on_host();
    let mut world = refused(world, "Stalled: HostInUse", "Stalled Stalled: HostInUse");
    world.power_off_host();
    goes_on(world);
}

#[test]
fn what_a_stranger_shows_is_believed_of_nobody() {
    let mut world = World::new(&["card1"]);
    world.round();
    world.until("the hold", secs(300), |w| w.status().hold.is_some());
    let now = world.now;
    let mut view = world.view().unwrap();
    assert!(view.host_bmc(now).is_some());
    assert!(view.card_bmc(&view.cards[0], now).is_some());
    for report in [&mut view.host_report, &mut view.cards[0].report] {
        let stranger = report.as_mut().unwrap().bmc.as_mut().unwrap();
        stranger.identity = MachineIdentity {
            system_uuid: Some("5f2c6a0e-3d6c-4f5b-9d55-0a8c4e1c7b11".into()),
            serial_number: Some("other".into()),
        };
        stranger.power = Some(PowerState::On);
    }
    assert!(view.host_bmc(now).is_none());
    assert!(view.card_bmc(&view.cards[0], now).is_none());
    let plan = plan(&view, now);
    let hold = plan.host_status.hold.unwrap();
    assert_eq!(hold.state, HoldState::PoweredOff, "broken by a stranger");
    assert_eq!(plan.host_status.slot_power, world.status().slot_power);
}

#[test]
fn a_node_that_is_ready() {
    for disruption in [Disruption::Never, Disruption::Allowed] {
        let mut world = World::new(&["card1"]);
        world.edit_host(|host| {
            host.node_name = Some("node1".into());
            host.disruption = disruption;
        });
        world.node = Some(NodeSeen {
            ready: Readiness::Ready,
            boot_id: None,
        });
        world.power_on_host();
        let why = match disruption {
            Disruption::Never => "HostInUse",
            Disruption::Allowed => "DrainNotProved",
        };
        refused(
            world,
            &format!("Stalled: {why}"),
            &format!("Stalled Stalled: {why}"),
        );
    }
}

#[test]
fn hands_off() {
    let mut world = World::new(&["card1"]);
    world.edit_host(|host| host.hands_off = true);
    let mut world = refused(world, "Idle: HandsOff", "Available Idle: HandsOff");
    world.edit_host(|host| host.hands_off = false);
    goes_on(world);
}

#[test]
fn infrastructure() {
    let mut world = World::new(&["card1"]);
    world.edit_host(|host| host.role = HostRole::Infrastructure);
    refused(
        world,
        "Stalled: HostIsInfrastructure",
        "Stalled Stalled: HostIsInfrastructure",
    );
}

#[test]
fn pairing_that_nobody_vouches_for() {
    let mut world = World::new(&["card1"]);
    world.edit_card(0, |card| card.host_refs[0].pairing = Pairing::Observed);
    let mut world = refused(
        world,
        "Stalled: PairingNotProved",
        "Stalled Stalled: PairingNotProved",
    );
    world.edit_card(0, |card| card.host_refs[0].pairing = Pairing::Asserted);
    goes_on(world);
}

#[test]
fn slots_that_may_be_dark() {
    for slot in [SlotPower::Unknown, SlotPower::No] {
        let mut world = World::new(&["card1"]);
        world.edit_host(|host| host.slot_power_when_host_off = slot);
        let mut world = refused(
            world,
            "Stalled: HoldNeedsSlotPower",
            "Stalled Stalled: HoldNeedsSlotPower",
        );
        world.edit_host(|host| host.slot_power_when_host_off = SlotPower::Yes);
        goes_on(world);
    }
}

#[test]
fn dark_slots_stop_a_host_from_being_shut_down_at_all() {
    let mut world = World::new(&["card1"]);
    world.power_on_host();
    world.edit_host(|host| {
        host.disruption = Disruption::Allowed;
        host.slot_power_when_host_off = SlotPower::Unknown;
    });
    refused(
        world,
        "Stalled: HoldNeedsSlotPower",
        "Stalled Stalled: HoldNeedsSlotPower",
    );
}

#[test]
fn modes_that_only_look() {
    let mut world = World::new(&["card1"]);
    world.edit_policy(|policy| policy.mode = PolicyMode::Observe);
    let mut world = refused(world, "Idle: ObserveOnly", "Available Idle: ObserveOnly");
    world.edit_policy(|policy| policy.mode = PolicyMode::Plan);
    let mut world = refused(world, "Idle: PlanOnly", "Available Idle: PlanOnly");
    let told = world.status().message.clone().unwrap();
    assert!(told.contains("holding the host powered off"), "{told}");
    assert!(told.contains("inserting os-1"), "{told}");
    world.edit_policy(|policy| policy.mode = PolicyMode::Enforce);
    goes_on(world);
}

#[test]
fn a_policy_that_does_not_exist_yet() {
    let mut world = World::new(&["card1"]);
    let policy = world.policy.take();
    world.edit_card(0, |card| {
        card.image_ref = Some(lockstep_crds::LocalRef {
            name: "os-1".into(),
        });
    });
    let mut world = refused(
        world,
        "Stalled: PolicyNotFound",
        "Stalled Stalled: PolicyNotFound",
    );
    world.policy = policy;
    goes_on(world);
}

#[test]
fn an_image_that_does_not_exist_yet() {
    let mut world = World::new(&["card1"]);
    let image = world.catalogue.remove("os-1").unwrap();
    let mut world = refused(
        world,
        "Stalled: ImageNotFound",
        "Stalled Stalled: ImageNotFound",
    );
    world.catalogue.insert("os-1".into(), image);
    goes_on(world);
}

#[test]
fn an_image_that_cannot_be_had() {
    let mut world = World::new(&["card1"]);
    world.source_ok = false;
    let mut world = refused(
        world,
        "Stalled: ImageUnavailable",
        "Stalled Stalled: ImageUnavailable",
    );
    world.source_ok = true;
    goes_on(world);
}

#[test]
fn two_objects_for_one_machine() {
    let mut world = World::new(&["card1"]);
    world.card_conflicts.insert(
        "card1".into(),
        vec!["Dpu a and Dpu b both claim BMC x".into()],
    );
    let mut world = refused(
        world,
        "Stalled: IdentityConflict",
        "Stalled Stalled: IdentityConflict",
    );
    world.card_conflicts.clear();
    world.conflicts = vec!["DpuHost a and DpuHost b both claim BMC x".into()];
    let mut world = refused(
        world,
        "Stalled: IdentityConflict",
        "Stalled Stalled: IdentityConflict",
    );
    world.conflicts.clear();
    goes_on(world);
}

#[test]
fn a_machine_that_is_not_the_one_named() {
    let mut world = World::new(&["card1"]);
    world.cards[0].machine.identity.serial_number = Some("SN-other".into());
    let mut world = refused(
        world,
        "Stalled: IdentityMismatch",
        "Stalled Stalled: IdentityMismatch",
    );
    world.cards[0].machine.identity.serial_number = Some("SN-card1".into());
    goes_on(world);

    let mut world = World::new(&["card1"]);
    world.host_machine.identity.serial_number = None;
    refused(
        world,
        "Stalled: IdentityMismatch",
        "Stalled Stalled: IdentityMismatch",
    );
}

#[test]
fn a_padded_serial_number_is_the_same() {
    let mut world = World::new(&["card1"]);
    world.cards[0].machine.identity.serial_number = Some("SN-card1 ".into());
    world.until("Ready", secs(1800), World::is_ready);
}

#[test]
fn a_directive_names_no_more_cards_than_it_can() {
    let names: Vec<String> = (0..40).map(|number| format!("card{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names);
    world.until("recorded", secs(60), |w| !w.recorded.is_empty());
    let hold = world
        .recorded
        .iter()
        .find(|d| d.target.name == "host1")
        .unwrap();
    assert_eq!(hold.blast_radius.len(), 32);
    assert_eq!(hold.blast_radius[31], "10 more cards of dpuhost/host1");
    assert!(hold.blast_radius.contains(&"dpu/card15".to_owned()));
}

#[test]
fn a_machine_that_nobody_has_named() {
    let mut world = World::new(&["card1"]);
    world.edit_card(0, |card| card.identity = None);
    let world = refused(
        world,
        "Stalled: IdentityNotGiven",
        "Stalled Stalled: IdentityNotGiven",
    );
    assert!(
        world.card_message(0).contains("SN-card1"),
        "{}",
        world.card_message(0)
    );
}

#[test]
fn guards_that_are_missing() {
    let mut world = World::new(&["card1"]);
    world.guards_intact = false;
    let mut world = refused(
        world,
        "Stalled: AdmissionGuardMissing",
        "Stalled Stalled: AdmissionGuardMissing",
    );
    world.guards_intact = true;
    goes_on(world);
}

#[test]
fn media_of_somebody_else() {
    let mut world = World::new(&["card1"]);
    world.cards[0].machine.foreign_media = true;
    let mut world = refused(
        world,
        "Stalled: ForeignMedia",
        "Stalled Stalled: ForeignMedia",
    );
    world.cards[0].machine.foreign_media = false;
    goes_on(world);
}

#[test]
fn a_bmc_that_refuses_us_needs_a_person_at_once() {
    let mut world = World::new(&["card1"]);
    world.cards[0].machine.refusal = Some("CredentialsRefused");
    world.agent_step();
    world.operator_step();
    assert_eq!(
        world.card_says(0),
        "Stalled Stalled: BmcRefused",
        "{}",
        world.told()
    );
    world.cards[0].machine.refusal = None;
    goes_on(world);
}

#[test]
fn a_paused_card_stops_at_every_step_and_goes_on_after() {
    for step in 0..5 {
        let mut world = World::new(&["card1"]);
        world.until("the step", secs(900), |w| w.effects.len() >= step);
        world.edit_card(0, |card| card.paused = true);
        // What is recorded already ends; then nothing happens to the card.
        world.settle(secs(15));
        let of_card = |w: &World| {
            w.deeds()
                .iter()
                .filter(|d| d.ends_with("dpu/card1"))
                .count()
        };
        let before = of_card(&world);
        world.settle(secs(1800));
        assert_eq!(of_card(&world), before, "step {step}\n{}", world.told());
        world.edit_card(0, |card| card.paused = false);
        world.settle(secs(10));
        world.until("Ready", secs(1800), World::is_ready);
        let on = world
            .deeds()
            .iter()
            .filter(|d| **d == "PowerOn dpu/card1")
            .count();
        assert_eq!(on, 1, "step {step}\n{}", world.told());
    }
}
