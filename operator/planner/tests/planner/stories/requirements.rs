//! An image that requires versions of a card's components goes nowhere before they run (R32).

use lockstep_crds::ComponentRequirement;
use lockstep_crds::boot_policy::{HostWait, WaitUntil};
use lockstep_crds::host::Disruption;
use lockstep_crds::report::Vantage;
use lockstep_planner::view::{ComponentSeen, LeaseSeen, Required};

use super::waits;
use crate::world::{World, secs};

/// The image wants `BMC_Firmware` from 24.10 up to 25, and this runs, by the card's BMC.
fn requires(world: &mut World, running: Option<&str>) {
    let renewed = world.now;
    world.cards[0].requirements = vec![Required {
        requirement: ComponentRequirement {
            component: "BMC_Firmware".into(),
            at_least: Some("BF-24.10".into()),
            below: Some("25".into()),
        },
        seen: vec![ComponentSeen {
            name: "BMC_Firmware".into(),
            running: running.map(str::to_owned),
            pending: Some("BF-24.12".into()),
            from: Vantage::FoundBmc,
            report: "bmc-found-1".into(),
            inspected: None,
            agent: Some(LeaseSeen {
                renewed,
                duration: secs(36_000),
            }),
        }],
        contradicted: None,
    }];
}

/// A host that is up and may be taken down.
fn host_is_up(world: &mut World) {
    world.power_on_host();
    world.edit_host(|host| host.disruption = Disruption::Allowed);
}

#[test]
fn a_version_that_does_not_fit_stops_everything_until_it_does() {
    for up in [false, true] {
        for running in ["BF-24.9-7", "BF-25.01"] {
            let mut world = World::new(&["card1"]);
            world.strict = true;
            if up {
                host_is_up(&mut world);
            }
            requires(&mut world, Some(running));
            let told = format!("runs {running}, as report bmc-found-1 (FoundBmc) tells");
            waits(
                &mut world,
                "RequirementNotMet",
                &[
                    "os-1 requires BMC_Firmware at least BF-24.10 and below 25 on dpu/card1",
                    &told,
                    "BF-24.12 is stored there and does not run yet",
                    "Bring that component to such a version",
                ],
            );
            requires(&mut world, Some("BF-24.10-2"));
            world.until("Ready", secs(3600), World::is_ready);
        }
    }
}

#[test]
fn a_version_that_nobody_can_tell_is_not_one_that_fits() {
    type Edit = fn(&mut Required);
    let table: [(Edit, &str); 5] = [
        (
            |required| required.seen.clear(),
            "no component of that name",
        ),
        (
            |required| required.seen[0].running = None,
            "tells no version of BMC_Firmware that runs",
        ),
        (
            |required| required.seen[0].agent = None,
            "ran BF-24.10-2 as report bmc-found-1 (FoundBmc) told, which nobody vouches for now",
        ),
        (
            |required| required.seen[0].running = Some("BF-24.10a".into()),
            "cannot be compared with BF-24.10",
        ),
        (
            |required| required.contradicted = Some("xpu-card1 says BF-24.7".into()),
            "contradict each other: xpu-card1 says BF-24.7",
        ),
    ];
    for (edit, words) in table {
        let mut world = World::new(&["card1"]);
        world.strict = true;
        host_is_up(&mut world);
        requires(&mut world, Some("BF-24.10-2"));
        edit(&mut world.cards[0].requirements[0]);
        world.settle(secs(60));
        assert_eq!(
            world.card_says(0),
            "Inspecting Reconciling: RequirementNotKnown"
        );
        waits(
            &mut world,
            "RequirementNotKnown",
            &[words, "Look at spec.firmware of the card's DpuInventory"],
        );
        requires(&mut world, Some("BF-24.10-2"));
        world.until("Ready", secs(3600), World::is_ready);
    }
}

#[test]
fn no_version_fits_a_range_that_is_none() {
    let mut world = World::new(&["card1"]);
    requires(&mut world, Some("BF-24.10-2"));
    world.cards[0].requirements[0].requirement.below = Some("24.9".into());
    waits(
        &mut world,
        "RequirementNotMet",
        &["no version is at least BF-24.10 and below 24.9"],
    );
}

#[test]
fn every_component_of_that_name_must_fit() {
    let mut world = World::new(&["card1"]);
    requires(&mut world, Some("BF-24.10-2"));
    let mut other = world.cards[0].requirements[0].seen[0].clone();
    (other.name, other.running) = ("bmc-firmware".into(), Some("BF-24.8".into()));
    world.cards[0].requirements[0].seen.push(other);
    waits(
        &mut world,
        "RequirementNotMet",
        &["bmc-firmware runs BF-24.8"],
    );
}

#[test]
fn what_runs_already_is_adopted_all_the_same() {
    let mut world = World::new(&["card1"]);
    requires(&mut world, Some("BF-23.1"));
    world.cards[0].disk = Some(crate::world::build::image("os-1"));
    world.power_on_card(0);
    world.until("Ready", secs(1800), World::is_ready);
    assert!(world.effects.is_empty(), "{}", world.told());
}

#[test]
fn a_host_is_not_held_for_another_card_either() {
    let mut world = World::new(&["card1", "card2"]);
    world.strict = true;
    requires(&mut world, Some("BF-23.1"));
    waits(&mut world, "RequirementNotMet", &[]);
    assert_eq!(world.card_says(1), "Stalled Stalled: HoldWouldNotEnd");
    assert!(
        world
            .card_message(1)
            .contains("requires versions of its components")
    );
    requires(&mut world, Some("BF-24.11"));
    world.until("Ready", secs(3600), World::is_ready);
}

#[test]
fn a_host_that_waits_for_nobody_lets_the_other_card_go_on() {
    let mut world = World::new(&["card1", "card2"]);
    world.edit_policy(|policy| {
        policy.host_wait = HostWait {
            until: WaitUntil::None,
            ..policy.host_wait.clone()
        };
    });
    requires(&mut world, Some("BF-23.1"));
    world.until("card2", secs(3600), |w| {
        w.card_says(1) == "Ready Ready: AsWanted"
    });
    assert_eq!(world.card_says(0), "Stalled Stalled: RequirementNotMet");
    assert!(world.recorded.iter().all(|d| d.target.name == "card2"));
}

/// The agent in the system that is taken down for the install falls silent by that.
#[test]
fn a_system_that_was_taken_down_for_the_install_is_believed_as_it_spoke_last() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.cards[0].disk = Some(crate::world::build::image("os-2"));
    world.power_on_card(0);
    world.settle(secs(60));
    requires(&mut world, Some("BF-24.11"));
    world.cards[0].requirements[0].seen[0].from = Vantage::CardOs;
    world.until("the card is off", secs(1800), |w| {
        w.deeds()
            .iter()
            .any(|deed| deed.ends_with("Gracefully dpu/card1") || *deed == "ForceOff dpu/card1")
    });
    world.cards[0].requirements[0].seen[0].agent = None;
    world.until("Ready", secs(3600), World::is_ready);
}

#[test]
fn a_requirement_that_fails_on_the_way_stops_what_has_not_begun() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    requires(&mut world, Some("BF-24.11"));
    world.until("hold and medium", secs(300), |w| w.recorded.len() == 2);
    requires(&mut world, Some("BF-24.7"));
    world.settle(secs(600));
    let deeds = world.deeds();
    assert_eq!(deeds.len(), 2, "{}", world.told());
    assert!(!deeds.contains(&"PowerOn dpu/card1"));
    assert_eq!(world.card_says(0), "Stalled Stalled: RequirementNotMet");
}
