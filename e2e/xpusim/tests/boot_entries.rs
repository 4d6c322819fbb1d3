//! The product's own BMC port boots one boot entry once and changes the boot order; what came of it is
//! judged by the simulator's effect log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dial;

use std::sync::Arc;
use std::time::Duration;

use lockstep_redfish::{Bmc, BootOverride, Confirmation, PowerAction, Reading};
use lockstep_xpusim::effect::What;
use lockstep_xpusim::spec::FleetSpec;
use lockstep_xpusim::{Fleet, Listen, Server, personality};

use dial::port;

/// Every card's personality once, each alone. Time passes only where a test says so.
async fn cards() -> (Arc<Fleet>, Server) {
    let mut yaml = "domains:\n".to_owned();
    for one in every_card() {
        yaml += &format!(
            "- cards: [{{name: {0}, personality: {0}, password: a-good-password-1}}]\n",
            one.name
        );
    }
    let fleet = Fleet::stepped(&FleetSpec::parse(&yaml).unwrap()).unwrap();
    fleet.skip(Duration::from_secs(3600));
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start(&fleet, Listen::Ports(address), true)
        .await
        .unwrap();
    (fleet, server)
}

fn every_card() -> impl Iterator<Item = &'static personality::Personality> {
    let all = personality::ALL.iter().copied();
    all.filter(|one| one.role == personality::Role::Card)
}

fn count(fleet: &Fleet, name: &str, wanted: impl Fn(&What) -> bool) -> usize {
    let effects = fleet.effects(name, 0).unwrap();
    effects.iter().filter(|effect| wanted(&effect.what)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cards_that_offer_it_boot_an_entry_once_and_others_are_not_asked() {
    let (fleet, server) = cards().await;
    let mut offering = Vec::new();
    for one in every_card() {
        let name = one.name;
        let bmc = port(&fleet, &server, name);
        let once = BootOverride::OnceEntry("Boot0003".to_owned());
        if !one.boot.targets.contains(&"UefiBootNext") {
            let error = bmc.set_boot_override(&once).await.unwrap_err();
            assert_eq!(error.category(), "NotOffered", "{name}");
            let set = |what: &What| matches!(what, What::OverrideSet { .. });
            assert_eq!(count(&fleet, name, set), 0, "{name}");
            continue;
        }
        let effect = bmc.set_boot_override(&once).await.unwrap();
        assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
        assert!(!bmc.set_boot_override(&once).await.unwrap().sent, "{name}");
        let used = |what: &What| {
            *what
                == What::OverrideConsumed {
                    target: "UefiBootNext".into(),
                }
        };
        for _ in 0..2 {
            assert!(bmc.power(PowerAction::ForceRestart).await.unwrap().sent);
            fleet.skip(Duration::from_secs(3600));
            assert_eq!(count(&fleet, name, used), 1, "{name}");
        }
        offering.push(name);
    }
    assert!(offering.contains(&"bluefield-3"), "{offering:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_becomes_the_first_by_one_request_on_every_card() {
    let (fleet, server) = cards().await;
    for one in every_card() {
        let name = one.name;
        let bmc = port(&fleet, &server, name);
        let Reading::Read(before) = bmc.boot_entries().await.unwrap() else {
            panic!("{name}: not read");
        };
        let network = before.entries.iter().find(|entry| entry.name == "Network");
        let reference = &network.unwrap().reference;
        assert_ne!(before.order.first(), Some(reference), "{name}");
        let effect = bmc.boot_first(reference).await.unwrap();
        assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
        assert!(!bmc.boot_first(reference).await.unwrap().sent, "{name}");
        let set = |what: &What| matches!(what, What::Setting { name, .. } if name == "BootOrder");
        assert_eq!(count(&fleet, name, set), 1, "{name}");
        let Reading::Read(after) = bmc.boot_entries().await.unwrap() else {
            panic!("{name}: not read");
        };
        let mut wanted = before.order.clone();
        wanted.retain(|one| one != reference);
        wanted.insert(0, reference.clone());
        assert_eq!(after.order, wanted, "{name}");
        assert_eq!(after.entries.len(), before.entries.len(), "{name}");
    }
}
