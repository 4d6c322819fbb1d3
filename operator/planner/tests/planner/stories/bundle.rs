//! An image that brings firmware along with its system: the card is Ready once all of it runs.

use lockstep_crds::ComponentRequirement;
use lockstep_crds::report::Vantage;
use lockstep_planner::view::{ComponentSeen, LeaseSeen, Required};

use crate::world::{World, secs};

/// The wanted image brings `DPU_NIC` 32.43; the card's BMC tells that this runs, and that this is stored.
fn brings(world: &mut World, running: Option<&str>, pending: Option<&str>) {
    let renewed = world.now;
    world.cards[0].brought = vec![Required {
        requirement: ComponentRequirement {
            component: "DPU_NIC".into(),
            at_least: Some("32.43.1014".into()),
            below: None,
        },
        seen: vec![ComponentSeen {
            name: "DPU_NIC".into(),
            running: running.map(str::to_owned),
            pending: pending.map(str::to_owned),
            from: Vantage::CardBmc,
            report: "bmc-dpu-card1".into(),
            inspected: None,
            agent: Some(LeaseSeen {
                renewed,
                duration: secs(360_000),
            }),
        }],
        contradicted: None,
    }];
}

fn runs_its_system(world: &World) -> bool {
    let record = world.host.as_ref().and_then(|host| host.status.as_ref());
    let mut cards = record.into_iter().flat_map(|record| &record.cards);
    cards.any(|kept| kept.observed_at.is_some())
}

#[test]
fn a_part_that_failed_though_the_installer_ended_well_is_told_and_the_host_goes_on() {
    let mut world = World::new(&["card1"]);
    brings(&mut world, Some("32.41"), None);
    world.until("its system", secs(3600), runs_its_system);
    world.settle(secs(300));
    assert!(world.status().hold.is_none(), "{}", world.told());
    assert_eq!(
        world.card_says(0),
        "Maintenance Reconciling: BundleIncomplete"
    );
    world.recorded.clear();
    world.settle(secs(2 * 3600));
    assert_eq!(world.card_says(0), "Degraded Stalled: BundleIncomplete");
    let said = world.card_message(0);
    for word in [
        "os-1",
        "DPU_NIC runs 32.41",
        "bmc-dpu-card1",
        "firmwareRefs",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(
        world.recorded.is_empty(),
        "nothing is installed again for it"
    );
    brings(&mut world, Some("32.43.1014"), None);
    world.until("Ready", secs(120), World::is_ready);
}

#[test]
fn what_is_shown_late_is_waited_for_and_what_waits_for_power_is_named() {
    let mut world = World::new(&["card1"]);
    brings(&mut world, None, None);
    world.until("its system", secs(3600), runs_its_system);
    world.settle(secs(300));
    let said = world.card_message(0);
    assert!(said.contains("what DPU_NIC runs is not known"), "{said}");
    brings(&mut world, Some("32.41"), Some("32.43.1014"));
    world.settle(secs(60));
    let said = world.card_message(0);
    assert!(
        said.contains("32.43.1014 is stored there and does not run yet"),
        "{said}"
    );
    brings(&mut world, Some("32.44"), None);
    world.until("Ready", secs(120), World::is_ready);
    // Whoever told it is silent now, which takes nothing back; what is seen to run does.
    world.cards[0].brought[0].seen[0].agent = None;
    world.settle(secs(3600));
    assert!(world.is_ready(), "{}", world.told());
    brings(&mut world, Some("32.41"), None);
    world.settle(secs(60));
    assert_eq!(world.card_says(0), "Degraded Stalled: BundleIncomplete");
}
