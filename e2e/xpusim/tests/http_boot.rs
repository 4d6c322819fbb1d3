//! The product's own BMC port sets HTTP boot from a URL; what came of it is judged by the
//! simulator's effect log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dial;

use std::sync::Arc;
use std::time::Duration;

use lockstep_redfish::{
    Bmc, BootOverride, Confirmation, ImageUrl, Offer, PowerAction, http_boot_uri,
};
use lockstep_xpusim::effect::What;
use lockstep_xpusim::fault::{Fault, Rule};
use lockstep_xpusim::reset::ResetType;
use lockstep_xpusim::spec::FleetSpec;
use lockstep_xpusim::{Fleet, Listen, Server, personality};

use dial::port;

const IMAGE: &str = "https://192.0.2.1/i/0123456789abcdef/card.iso";

/// Every card's personality once, each alone. Time passes only where a test says so.
async fn cards() -> (Arc<Fleet>, Server) {
    let mut yaml = "images: [{urlContains: 0123456789abcdef, does: runs}]\ndomains:\n".to_owned();
    for one in personality::ALL {
        if one.role == personality::Role::Card {
            yaml += &format!(
                "- cards: [{{name: {0}, personality: {0}, password: a-good-password-1}}]\n",
                one.name
            );
        }
    }
    let fleet = Fleet::stepped(&FleetSpec::parse(&yaml).unwrap()).unwrap();
    fleet.skip(Duration::from_secs(3600));
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start(&fleet, Listen::Ports(address), true)
        .await
        .unwrap();
    (fleet, server)
}

fn log(fleet: &Fleet, name: &str) -> Vec<What> {
    let effects = fleet.effects(name, 0).unwrap();
    effects.into_iter().map(|effect| effect.what).collect()
}

fn count(fleet: &Fleet, name: &str, wanted: impl Fn(&What) -> bool) -> usize {
    log(fleet, name).iter().filter(|what| wanted(what)).count()
}

fn from_image() -> BootOverride {
    BootOverride::OnceFrom(ImageUrl::new(IMAGE))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cards_that_offer_it_boot_from_the_url_once_and_others_are_not_asked() {
    let (fleet, server) = cards().await;
    let mut offering = Vec::new();
    for one in personality::ALL
        .iter()
        .filter(|one| one.role == personality::Role::Card)
    {
        let name = one.name;
        let bmc = port(&fleet, &server, name);
        let offered = one.boot.targets.contains(&"UefiHttp");
        let offer = bmc.observe().await.unwrap().capabilities.uefi_http.offer;
        if !offered {
            assert_eq!(offer, Offer::NotOffered, "{name}");
            let error = bmc.set_boot_override(&from_image()).await.unwrap_err();
            assert_eq!(error.category(), "NotOffered", "{name}");
            let set = |what: &What| matches!(what, What::OverrideSet { .. });
            assert_eq!(count(&fleet, name, set), 0, "{name}");
            continue;
        }
        assert_eq!(offer, Offer::Offered, "{name}");
        let effect = bmc.set_boot_override(&from_image()).await.unwrap();
        assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
        let facts = bmc.observe().await.unwrap();
        assert_eq!(http_boot_uri(&facts), Some(&ImageUrl::new(IMAGE)), "{name}");
        let held = |what: &What| *what == What::HttpBootUriSet { uri: IMAGE.into() };
        assert_eq!(count(&fleet, name, held), 1, "{name}");
        if one.reset.types.contains(&ResetType::ForceRestart) {
            assert!(bmc.power(PowerAction::ForceRestart).await.unwrap().sent);
            fleet.skip(Duration::from_secs(3600));
            let booted = |what: &What| {
                *what
                    == What::BootedFrom {
                        source: IMAGE.into(),
                    }
            };
            assert_eq!(count(&fleet, name, booted), 1, "{name}");
            offering.push(name);
        }
    }
    assert!(
        offering.contains(&"bluefield-3") && offering.contains(&"generic-dpu"),
        "{offering:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_is_set_for_good_leads_there_at_every_boot_until_it_is_taken_back() {
    let (fleet, server) = cards().await;
    for name in ["bluefield-3", "generic-dpu"] {
        let bmc = port(&fleet, &server, name);
        let image = ImageUrl::new(IMAGE);
        let always = BootOverride::AlwaysFrom(image.clone());
        let effect = bmc.set_boot_override(&always).await.unwrap();
        assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
        let booted = |what: &What| {
            *what
                == What::BootedFrom {
                    source: IMAGE.into(),
                }
        };
        for boots in 1..=3 {
            assert!(bmc.power(PowerAction::ForceRestart).await.unwrap().sent);
            fleet.skip(Duration::from_secs(3600));
            assert_eq!(count(&fleet, name, booted), boots, "{name}");
            assert!(
                !bmc.set_boot_override(&always).await.unwrap().sent,
                "{name}"
            );
        }
        let before = count(&fleet, name, booted);
        assert!(
            bmc.set_boot_override(&BootOverride::Disabled)
                .await
                .unwrap()
                .sent
        );
        assert!(bmc.forget_http_uri(&image).await.unwrap().sent);
        assert!(bmc.power(PowerAction::ForceRestart).await.unwrap().sent);
        fleet.skip(Duration::from_secs(3600));
        assert_eq!(count(&fleet, name, booted), before, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_url_is_emptied_where_it_is_still_the_one_that_is_meant() {
    let (fleet, server) = cards().await;
    for name in ["bluefield-3", "generic-dpu"] {
        let bmc = port(&fleet, &server, name);
        assert!(bmc.set_boot_override(&from_image()).await.unwrap().sent);
        let off = BootOverride::Disabled;
        assert!(bmc.set_boot_override(&off).await.unwrap().sent, "{name}");
        let other = ImageUrl::new("https://192.0.2.1/i/other/card.iso");
        assert!(!bmc.forget_http_uri(&other).await.unwrap().sent, "{name}");
        let effect = bmc.forget_http_uri(&ImageUrl::new(IMAGE)).await.unwrap();
        assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
        assert_eq!(http_boot_uri(&bmc.observe().await.unwrap()), None);
        let emptied = |what: &What| *what == What::HttpBootUriSet { uri: String::new() };
        assert_eq!(count(&fleet, name, emptied), 1, "{name}");
        let set = |what: &What| matches!(what, What::OverrideSet { .. });
        assert_eq!(count(&fleet, name, set), 2, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_on_reading_back_are_told_apart() {
    let (fleet, server) = cards().await;
    let name = "generic-dpu";
    for (fault, target) in [
        (Fault::HttpImageFetched, "Cd"),
        (Fault::HttpUriDropped, "UefiHttp"),
    ] {
        fleet.switch_on(name, Rule::always(fault)).unwrap();
        let bmc = port(&fleet, &server, name);
        let effect = bmc.set_boot_override(&from_image()).await.unwrap();
        assert!(effect.sent, "{fault}");
        let facts = bmc.observe().await.unwrap();
        let inserted = |what: &What| matches!(what, What::MediaInserted { .. });
        if fault == Fault::HttpImageFetched {
            assert!(matches!(effect.confirmation, Confirmation::Differs(_)));
            assert_eq!(http_boot_uri(&facts), Some(&ImageUrl::new(IMAGE)));
        } else {
            assert_eq!(effect.confirmation, Confirmation::NotSeen);
            assert_eq!(http_boot_uri(&facts), None);
        }
        assert_eq!(count(&fleet, name, inserted), 1, "{fault}");
        let shown = facts.boot_override.value().unwrap().target.clone();
        assert_eq!(shown.unwrap().as_str(), target, "{fault}");
        fleet.switch_off(name, fault).unwrap();
        let off = BootOverride::Disabled;
        assert!(bmc.set_boot_override(&off).await.unwrap().sent);
        drop(bmc.forget_http_uri(&ImageUrl::new(IMAGE)).await.unwrap());
    }
}
