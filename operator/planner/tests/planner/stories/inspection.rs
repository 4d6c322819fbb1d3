//! What was seen while nothing went on is read again before anything begins.

use lockstep_crds::ComponentRequirement;
use lockstep_crds::boot_policy::HoldMechanism;
use lockstep_crds::host::Disruption;
use lockstep_crds::report::Vantage;
use lockstep_planner::view::{ComponentSeen, LeaseSeen, NodeSeen, Readiness, Required};

use crate::world::{World, secs};

/// A card that runs its image, beside a host that is up and may be taken down; both were read
/// whole just now, and what the next image needs is in the store.
fn at_rest() -> World {
    let mut world = World::installed(&["card1"]);
    world.strict = true;
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.settle(secs(60));
    let mut stored = world.store[0].clone();
    stored.digest = world.catalogue["os-2"].digest.clone();
    world.store.push(stored);
    world.until("both are read", secs(1200), |w| {
        let at = w.cards[0].machine.whole_at;
        at.is_some_and(|at| w.now < at + secs(30))
    });
    assert!(world.status().is_at_rest() && world.host_machine.is_on());
    world.recorded.clear();
    world.effects.clear();
    world
}

fn wants_the_next(world: &mut World) {
    world.edit_policy(|policy| policy.image_ref.as_mut().unwrap().name = "os-2".into());
}

#[test]
fn no_host_is_taken_down_for_a_card_whose_medium_nobody_has_seen_yet() {
    let mut world = at_rest();
    world.cards[0].machine.foreign_media = true;
    wants_the_next(&mut world);
    world.settle(secs(3600));
    assert!(world.recorded.is_empty(), "{}", world.told());
    assert!(world.host_machine.is_on());
    assert_eq!(world.card_says(0), "Stalled Stalled: ForeignMedia");
    world.cards[0].machine.foreign_media = false;
    world.until("Ready", secs(7200), World::is_ready);
}

#[test]
fn no_node_is_tainted_for_it_either() {
    let mut world = at_rest();
    world.edit_host(|host| host.node_name = Some("node1".into()));
    world.node = Some(NodeSeen {
        ready: Readiness::NotReady,
        boot_id: None,
    });
    world.edit_policy(|policy| policy.hold.mechanisms = vec![HoldMechanism::NodeTainted]);
    world.settle(secs(60));
    world.cards[0].machine.foreign_media = true;
    wants_the_next(&mut world);
    world.settle(secs(3600));
    assert!(world.tainted.is_empty() && world.status().hold.is_none());
    assert_eq!(world.card_says(0), "Stalled Stalled: ForeignMedia");
}

/// The search reads a card once in hours, and somebody has brought an older version to it since.
#[test]
fn a_version_that_a_search_told_hours_ago_is_read_again() {
    for up in [false, true] {
        let mut world = at_rest();
        if !up {
            world.power_off_host();
            world.settle(secs(60));
        }
        let seen = ComponentSeen {
            name: "BMC_Firmware".into(),
            running: Some("BF-24.11".into()),
            pending: None,
            from: Vantage::FoundBmc,
            report: "bmc-found-1".into(),
            inspected: None,
            agent: Some(LeaseSeen {
                renewed: world.now,
                duration: secs(36_000),
            }),
        };
        world.cards[0].requirements = vec![Required {
            requirement: ComponentRequirement {
                component: "BMC_Firmware".into(),
                at_least: Some("BF-24.10".into()),
                below: None,
            },
            seen: vec![seen],
            contradicted: None,
        }];
        world.cards[0].runs = Some("BF-24.7".into());
        wants_the_next(&mut world);
        let named = |w: &World| w.status().inspection.clone().map(|asked| asked.reports);
        world.until("it is asked", secs(1200), |w| named(w).is_some());
        assert_eq!(named(&world).unwrap(), ["bmc-found-1"]);
        let asked_at = world.status().inspection.clone().unwrap().asked_at;
        // Another report tells it by now: that is read, and nothing else again.
        let seen = &mut world.cards[0].requirements[0].seen[0];
        (seen.report, seen.inspected) = ("bmc-found-2".into(), None);
        world.until("that is asked for", secs(1200), |w| {
            named(w).is_some_and(|reports| reports == ["bmc-found-2"])
        });
        assert_eq!(
            world.status().inspection.clone().unwrap().asked_at,
            asked_at
        );
        world.settle(secs(1200));
        assert!(world.recorded.is_empty(), "{}", world.told());
        assert_eq!(world.host_machine.is_on(), up);
        assert_eq!(world.card_says(0), "Stalled Stalled: RequirementNotMet");
        world.cards[0].runs = Some("BF-24.10".into());
        world.cards[0].requirements[0].seen[0].running = Some("BF-24.10".into());
        world.until("Ready", secs(7200), World::is_ready);
    }
}

/// Nobody would be left to release a host whose card has fallen silent.
#[test]
fn what_takes_back_waits_for_no_reading() {
    let mut world = at_rest();
    wants_the_next(&mut world);
    world.until("the host is held", secs(3600), |w| {
        w.status().hold.is_some() && w.deeds().iter().any(|deed| deed.starts_with("HoldHost"))
    });
    let asked = world.status().inspection.clone();
    assert!(asked.is_some());
    world.cards[0].machine.answers = false;
    world.edit_host(|host| host.hands_off = false);
    world.delete_host();
    world.until("released", secs(3600), |w| {
        w.deeds().contains(&"ReleaseHost dpuhost/host1")
    });
}
