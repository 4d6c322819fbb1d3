//! What the joined inventory adds to statuses, what it costs, and the Node that it proves.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::boot_policy::HoldMechanism;
use lockstep_crds::condition;
use lockstep_crds::dpu::InventorySummary;
use lockstep_crds::host::{Disruption, SlotPower};
use lockstep_crds::inventory::{BootPlatform, CardSeen, Inventory};
use lockstep_crds::report::Vantage;
use lockstep_crds::{DpuReportSpec, names};
use lockstep_planner::inventory::{JoinedHost, SiteView, Verdict, join};
use lockstep_planner::view::{CardJoined, NodeSeen, Readiness};

use crate::world::operator::Writes;
use crate::world::{World, secs};

fn joined(cores: i64) -> CardJoined {
    CardJoined {
        has_evidence: true,
        summary: InventorySummary {
            cores: Some(cores),
            ..InventorySummary::default()
        },
        places: Vec::new(),
        inventoried: Verdict {
            status: "True",
            reason: "Complete",
            message: format!("{cores} cores"),
        },
    }
}

fn platform(version: &str) -> JoinedHost {
    JoinedHost {
        firmware: Some(BootPlatform {
            firmware_version: Some(version.to_owned()),
            ..BootPlatform::default()
        }),
        ..JoinedHost::default()
    }
}

fn cores(world: &World) -> Option<i64> {
    let status = world.cards[0].dpu.as_ref()?.status.as_ref()?;
    status.inventory.as_ref()?.cores
}

fn inventoried(world: &World) -> Option<String> {
    let status = world.cards[0].dpu.as_ref()?.status.as_ref()?;
    let condition = condition::find(&status.conditions, condition::INVENTORIED)?;
    Some(format!("{} {}", condition.status, condition.reason))
}

fn with_node(world: &mut World, node: &str, ready: Readiness) {
    world.node = Some(NodeSeen {
        ready,
        boot_id: None,
    });
    world.joined = Some(JoinedHost {
        node_name: Some(node.to_owned()),
        ..JoinedHost::default()
    });
}

#[test]
fn it_rides_along_while_a_card_is_on_its_way() {
    let mut plain = World::new(&["card1"]);
    plain.until("Ready", secs(900), World::is_ready);
    let mut world = World::new(&["card1"]);
    let mut round = 0;
    while !world.is_ready() {
        // Something new in every round.
        round += 1;
        world.cards[0].joined = Some(joined(round));
        world.joined = Some(platform(&round.to_string()));
        world.round();
    }
    assert_eq!(world.writes, plain.writes, "{}", world.told());
    world.settle(secs(60));
    assert_eq!(cores(&world), Some(round));
    assert_eq!(inventoried(&world).as_deref(), Some("True Complete"));
    let firmware = world.status().firmware.as_ref().unwrap();
    assert_eq!(firmware.firmware_version, Some(round.to_string()));
}

#[test]
fn a_change_at_rest_is_written_once() {
    let mut world = World::installed(&["card1"]);
    world.cards[0].joined = Some(joined(16));
    world.joined = Some(platform("1"));
    world.settle(secs(60));
    let once = Writes {
        host_status: 1,
        card_status: 1,
        ..Writes::default()
    };
    let of_operator = |world: &World| Writes {
        agents: 0,
        ..world.writes
    };
    assert_eq!(of_operator(&world), once, "{}", world.told());
    // An operator that has not joined anything yet takes nothing back.
    world.cards[0].joined = None;
    world.joined = None;
    world.settle(secs(60));
    assert_eq!(of_operator(&world), once, "{}", world.told());
    assert_eq!(cores(&world), Some(16));
}

#[test]
fn a_card_of_which_nobody_tells_gets_no_write_for_that() {
    let mut world = World::installed(&["card1"]);
    let nothing = CardJoined {
        has_evidence: false,
        inventoried: Verdict {
            status: "False",
            reason: "Partial",
            message: "nobody has told".to_owned(),
        },
        ..joined(0)
    };
    world.cards[0].joined = Some(nothing);
    world.settle(secs(60));
    assert_eq!(world.writes.card_status, 0, "{}", world.told());
    world.edit_card(0, |card| card.paused = true);
    world.settle(secs(60));
    assert_eq!(inventoried(&world).as_deref(), Some("False Partial"));
    assert_eq!(cores(&world), None);
}

#[test]
fn a_node_that_an_agent_proves_is_in_use_like_one_that_the_user_names() {
    for disruption in [Disruption::Never, Disruption::Allowed] {
        let mut world = World::new(&["card1"]);
        world.strict = true;
        world.edit_host(|host| host.disruption = disruption);
        with_node(&mut world, "node1", Readiness::Ready);
        world.power_on_host();
        world.settle(secs(120));
        let why = match disruption {
            Disruption::Never => "Stalled: HostInUse",
            Disruption::Allowed => "Stalled: DrainNotProved",
        };
        assert_eq!(world.host_says(), why, "{}", world.told());
        assert_eq!(world.status().node_name.as_deref(), Some("node1"));
        assert!(world.effects.is_empty());
        // Its agent falls silent, or a second one claims the machine: it is in use all the same.
        world.joined = Some(JoinedHost::default());
        world.settle(secs(120));
        assert_eq!(world.host_says(), why, "{}", world.told());
        assert!(world.effects.is_empty());
    }
}

#[test]
fn a_renamed_node_is_the_same_host() {
    let mut world = World::installed(&["card1"]);
    with_node(&mut world, "old-name", Readiness::Ready);
    world.settle(secs(60));
    assert_eq!(world.status().node_name.as_deref(), Some("old-name"));
    with_node(&mut world, "new-name", Readiness::Ready);
    world.settle(secs(60));
    assert_eq!(world.status().node_name.as_deref(), Some("old-name"));
    // The old Node is deleted.
    world.node = None;
    world.settle(secs(60));
    with_node(&mut world, "new-name", Readiness::Ready);
    world.settle(secs(60));
    assert_eq!(world.status().node_name.as_deref(), Some("new-name"));
    assert!(
        world.effects.is_empty() && world.is_ready(),
        "{}",
        world.told()
    );
    // What the user names stands in the spec alone.
    world.edit_host(|host| host.node_name = Some("named".into()));
    world.settle(secs(60));
    assert_eq!(world.status().node_name, None);
}

#[test]
fn a_proved_node_can_carry_the_hold() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.coupled = true;
    with_node(&mut world, "node1", Readiness::NotReady);
    world.edit_policy(|policy| policy.hold.mechanisms = vec![HoldMechanism::NodeTainted]);
    world.edit_host(|host| {
        host.disruption = Disruption::Allowed;
        host.slot_power_when_host_off = SlotPower::No;
    });
    world.until("the taint", secs(300), |w| w.tainted.contains_key("node1"));
    world.until("Ready", secs(3600), World::is_ready);
}

#[test]
fn a_host_of_which_two_nodes_are_told_is_not_free() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.power_on_host();
    world.joined = Some(JoinedHost {
        contradictions: vec!["n1 and n2 are both told to run there".to_owned()],
        ..JoinedHost::default()
    });
    world.settle(secs(120));
    assert_eq!(world.host_says(), "Stalled: DrainNotProved");
    assert!(world.effects.is_empty(), "{}", world.told());
    let conditions = &world.status().conditions;
    let told = condition::find(conditions, condition::CONTRADICTED).unwrap();
    assert_eq!(told.message, "n1 and n2 are both told to run there");
    world.joined = Some(JoinedHost::default());
    world.until("Ready", secs(3600), World::is_ready);
    let conditions = &world.status().conditions;
    assert!(condition::find(conditions, condition::CONTRADICTED).is_none());
}

/// What the join makes of a host whose BMC lists another card than the agent on its Node sees.
fn with_a_card_replaced(world: &World) -> JoinedHost {
    let report = |name: &str, vantage: Vantage, subject: &str, card: &str| {
        let at = Time(world.now);
        let cards = vec![CardSeen {
            serial_number: Some(card.to_owned()),
            ..CardSeen::default()
        }];
        let inventory = Inventory {
            cards,
            ..Inventory::default()
        };
        let spec = DpuReportSpec {
            inventory: Some(inventory),
            ..DpuReportSpec::new(vantage, subject, "0.1.0", at)
        };
        (name.to_owned(), spec)
    };
    let host = world.host.as_ref().unwrap();
    let name = host.metadata.name.clone().unwrap();
    let mut bmc = report(&names::host_bmc(&name), Vantage::HostBmc, &name, "MT2");
    bmc.1.subject_uid = host.metadata.uid.clone().unwrap();
    let reports = [bmc, report("host-node1", Vantage::HostOs, "node1", "MT1")];
    let reports: BTreeMap<&str, &DpuReportSpec> = reports
        .iter()
        .map(|(name, spec)| (name.as_str(), spec))
        .collect();
    let joined = join(&SiteView {
        hosts: vec![host],
        alive: reports.keys().copied().collect(),
        reports,
        now: world.now,
        ..SiteView::default()
    });
    joined.hosts[&name].clone()
}

#[test]
fn a_recorded_node_that_is_spoken_against_is_not_taken_down_without_a_drain() {
    for ready in [Readiness::Ready, Readiness::Unknown, Readiness::NotReady] {
        let mut world = World::new(&["card1"]);
        world.edit_host(|host| host.disruption = Disruption::Never);
        with_node(&mut world, "node1", ready);
        world.power_on_host();
        world.settle(secs(60));
        assert_eq!(world.status().node_name.as_deref(), Some("node1"));
        with_node(&mut world, "node1", ready);
        world.joined = Some(with_a_card_replaced(&world));
        world.edit_host(|host| host.disruption = Disruption::Allowed);
        world.settle(secs(300));
        assert_eq!(world.host_says(), "Stalled: DrainNotProved", "{ready:?}");
        assert_eq!(world.status().node_name.as_deref(), Some("node1"));
        assert!(world.effects.is_empty(), "{}", world.told());
        let conditions = &world.status().conditions;
        let told = condition::find(conditions, condition::CONTRADICTED).unwrap();
        assert!(told.message.contains("Node node1"), "{}", told.message);
        // A person settles it: then the Node alone tells.
        world.edit_host(|host| host.node_name = Some("node1".into()));
        world.joined = Some(with_a_card_replaced(&world));
        if ready == Readiness::NotReady {
            world.until("Ready", secs(3600), World::is_ready);
        } else {
            world.settle(secs(300));
            assert_eq!(world.host_says(), "Stalled: DrainNotProved", "{ready:?}");
            assert!(world.effects.is_empty(), "{}", world.told());
        }
    }
}

#[test]
fn a_node_that_is_spoken_against_is_not_tainted() {
    let mut world = World::new(&["card1"]);
    world.coupled = true;
    world.edit_policy(|policy| policy.hold.mechanisms = vec![HoldMechanism::NodeTainted]);
    world.edit_host(|host| host.slot_power_when_host_off = SlotPower::No);
    with_node(&mut world, "node1", Readiness::NotReady);
    world.settle(secs(60));
    assert_eq!(world.status().node_name.as_deref(), Some("node1"));
    world.joined = Some(with_a_card_replaced(&world));
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.settle(secs(300));
    assert_eq!(
        world.host_says(),
        "Stalled: HoldNeedsNode",
        "{}",
        world.told()
    );
    assert!(world.tainted.is_empty(), "{}", world.told());
}

#[test]
fn a_stranger_that_shows_a_hosts_identity_is_told_and_holds_nothing_up() {
    let mut world = World::new(&["card1"]);
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.power_on_host();
    world.joined = Some(JoinedHost {
        strangers: vec!["bmc-found-f9 shows its UUID".to_owned()],
        ..JoinedHost::default()
    });
    world.until("Ready", secs(3600), World::is_ready);
    let conditions = &world.status().conditions;
    let told = condition::find(conditions, condition::CONTRADICTED).unwrap();
    assert_eq!(told.message, "bmc-found-f9 shows its UUID");
}

/// The BMC of the host shows the UUID of a board that ran Node `spare` once; that agent has been
/// silent since, and its Node is NotReady. `node1` runs on the host, and is Ready.
#[test]
fn a_silent_agent_does_not_make_a_host_look_free_of_its_recorded_node() {
    let mut world = World::new(&["card1"]);
    world.edit_host(|host| host.disruption = Disruption::Never);
    with_node(&mut world, "node1", Readiness::Ready);
    world.power_on_host();
    world.settle(secs(60));
    assert_eq!(world.status().node_name.as_deref(), Some("node1"));
    let at = Time(world.now);
    let told = |name: String, vantage: Vantage, subject: &str, uuid: &str| {
        let machine = lockstep_crds::MachineIdentity {
            system_uuid: Some(uuid.to_owned()),
            serial_number: None,
        };
        let spec = DpuReportSpec {
            machine: Some(machine),
            ..DpuReportSpec::new(vantage, subject, "0.1.0", at.clone())
        };
        (name, spec)
    };
    let (old, new) = (
        "7e5c0a3e-3f1c-4a55-9d0e-0a1b2c3d4e5f",
        "0a7d8c55-11aa-4b6f-8f6e-99aabbccdd01",
    );
    let mut host = world.host.clone().unwrap();
    host.spec.identity = None;
    let name = host.metadata.name.clone().unwrap();
    let mut bmc = told(names::host_bmc(&name), Vantage::HostBmc, &name, new);
    bmc.1.subject_uid = host.metadata.uid.clone().unwrap();
    let reports = [
        bmc,
        told(names::host("node1"), Vantage::HostOs, "node1", old),
        told(names::host("spare"), Vantage::HostOs, "spare", new),
    ];
    let site = SiteView {
        hosts: vec![&host],
        reports: reports
            .iter()
            .map(|(name, spec)| (name.as_str(), spec))
            .collect(),
        alive: [reports[0].0.as_str(), reports[1].0.as_str()].into(),
        now: world.now,
        ..SiteView::default()
    };
    let joined = join(&site).hosts[&name].clone();
    world.joined = Some(joined);
    // What the operator reads of Node `spare`.
    world.node = Some(NodeSeen {
        ready: Readiness::NotReady,
        boot_id: None,
    });
    world.edit_host(|host| host.disruption = Disruption::Allowed);
    world.settle(secs(600));
    assert!(
        world.effects.is_empty(),
        "taken down: {} Node {:?}",
        world.host_says(),
        world.status().node_name
    );
}

/// A person edits its identity, as the message asks; the next join tells of it in a moment.
#[test]
fn a_host_is_not_free_before_it_was_joined_as_it_is_now() {
    for recorded in [None, Some("node1")] {
        let mut world = World::new(&["card1"]);
        world.strict = true;
        world.edit_host(|host| host.disruption = Disruption::Never);
        if let Some(node) = recorded {
            with_node(&mut world, node, Readiness::NotReady);
        }
        world.power_on_host();
        world.settle(secs(60));
        world.node = recorded.and(Some(NodeSeen {
            ready: Readiness::NotReady,
            boot_id: None,
        }));
        world.joined = Some(JoinedHost {
            contradictions: vec!["n1 and n2 are both told to run there".to_owned()],
            ..JoinedHost::default()
        });
        world.edit_host(|host| host.disruption = Disruption::Allowed);
        world.settle(secs(120));
        assert_eq!(world.host_says(), "Stalled: DrainNotProved");
        let contradicted = world.joined.take();
        world.settle(secs(60));
        assert_eq!(world.host_says(), "Reconciling: Joining");
        let message = world.status().message.clone().unwrap();
        assert!(
            message.contains("its identity is being joined anew"),
            "{message}"
        );
        world.settle(secs(1200));
        assert_eq!(world.host_says(), "Stalled: Joining");
        world.joined = contradicted;
        world.settle(secs(120));
        assert_eq!(world.host_says(), "Stalled: DrainNotProved");
        assert!(world.effects.is_empty(), "{}", world.told());
        world.joined = Some(JoinedHost::default());
        world.until("Ready", secs(3600), World::is_ready);
    }
}

#[test]
fn no_node_is_tainted_before_its_host_was_joined_as_it_is_now() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.coupled = true;
    world.edit_policy(|policy| policy.hold.mechanisms = vec![HoldMechanism::NodeTainted]);
    with_node(&mut world, "node1", Readiness::NotReady);
    world.settle(secs(60));
    assert_eq!(world.status().node_name.as_deref(), Some("node1"));
    let joined = world.joined.take();
    world.edit_host(|host| {
        host.disruption = Disruption::Allowed;
        host.slot_power_when_host_off = SlotPower::No;
    });
    world.settle(secs(300));
    assert_eq!(world.host_says(), "Reconciling: Joining");
    assert!(world.tainted.is_empty(), "{}", world.told());
    world.joined = joined;
    world.until("the taint", secs(300), |w| w.tainted.contains_key("node1"));
}

#[test]
fn what_was_begun_is_taken_back_before_its_host_is_joined_again() {
    let mut world = World::new(&["card1"]);
    world.strict = true;
    world.until("booting", secs(300), |w| w.is_installing(0));
    assert!(!world.host_machine.is_on());
    world.joined = None;
    world.delete_card(0);
    world.until("released", secs(7200), |w| w.host_machine.is_on());
    world.until("let go", secs(600), |w| w.cards[0].dpu.is_none());
    assert!(world.status().hold.is_none(), "{}", world.told());
}
