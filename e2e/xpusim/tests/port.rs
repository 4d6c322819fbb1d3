//! The product's own BMC port against every personality, over TLS and both IP
//! versions. What it may do is judged by the simulator's effect log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lockstep_redfish::{
    AllowedNetworks, Authentication, Bmc, BmcError, BmcOptions, BmcTarget, BootOverride,
    BootTarget, Confirmation, Credentials, Effect, ExpectedIdentity, ImageUrl, MediaMatch, Offer,
    PowerAction, PowerState, Reading, Redfish, RedfishBmc, TlsTrust, TrustInForce,
};
use lockstep_xpusim::effect::{Cause, What};
use lockstep_xpusim::fault::{Fault, Layer, Rule};
use lockstep_xpusim::reset::{Power, ResetType};
use lockstep_xpusim::spec::FleetSpec;
use lockstep_xpusim::stage::Stage;
use lockstep_xpusim::{Fleet, Listen, Server, Strike, personality};

const IMAGE: &str = "https://192.0.2.1/i/0123456789abcdef/card.iso";

/// Every personality once, each alone, a thousand times as fast as life.
fn everybody() -> Arc<Fleet> {
    let mut yaml = "timeScale: 1000\ndomains:\n".to_owned();
    for one in personality::ALL {
        let kind = match one.role {
            personality::Role::Card => "cards",
            personality::Role::Host => "hosts",
        };
        yaml += &format!(
            "- {kind}: [{{name: {0}, personality: {0}, password: a-good-password-1}}]\n",
            one.name
        );
    }
    Fleet::new(&FleetSpec::parse(&yaml).unwrap()).unwrap()
}

async fn serve(fleet: &Arc<Fleet>, address: &str) -> Server {
    let address: SocketAddr = address.parse().unwrap();
    Server::start(fleet, Listen::Ports(address), true)
        .await
        .unwrap()
}

fn redfish() -> Redfish {
    let networks = ["127.0.0.0/8", "::1/128"].map(|one| one.parse().unwrap());
    let options = BmcOptions {
        confirm_window: Duration::from_secs(5),
        ..BmcOptions::default()
    };
    Redfish::new(AllowedNetworks(networks.to_vec()), options)
}

fn target(fleet: &Fleet, server: &Server, name: &str) -> BmcTarget {
    let state = fleet.state(name).unwrap();
    BmcTarget {
        address: server.url(name).unwrap().parse().unwrap(),
        system_path: None,
        credentials: Credentials {
            username: state.user,
            password: state.password,
        },
        tls: TlsTrust::CaBundle(server.certificate_pem(name).unwrap()),
        expected: ExpectedIdentity {
            system_uuid: Some(state.uuid),
            serial_number: Some(state.serial),
            tls_pin: None,
        },
    }
}

fn port(fleet: &Fleet, server: &Server, name: &str) -> RedfishBmc {
    redfish().bmc(target(fleet, server, name)).unwrap()
}

/// What changed, as the log has it.
fn changes(fleet: &Fleet, name: &str) -> Vec<What> {
    let effects = fleet.effects(name, 0).unwrap();
    let all = effects.into_iter().map(|effect| effect.what);
    all.filter(|what| !matches!(what, What::Login { .. }))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_reads_every_personality_and_changes_nothing() {
    let fleet = everybody();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let server = serve(&fleet, address).await;
        for one in personality::ALL {
            let facts = port(&fleet, &server, one.name).observe().await.unwrap();
            let state = fleet.state(one.name).unwrap();
            assert_eq!(facts.identity.system_uuid, Some(state.uuid), "{}", one.name);
            assert_eq!(facts.identity.serial_number, Some(state.serial));
            assert_eq!(facts.identity.system_path, state.system);
            assert_eq!(facts.power, Reading::Read(PowerState::On));
            assert_eq!(facts.channel.trust, TrustInForce::CaBundle);
            assert_eq!(facts.channel.authentication, Authentication::Session);
            let mut listed = facts.capabilities.reset.values.unwrap();
            let mut types: Vec<_> = one.reset.types.iter().map(|one| one.as_str()).collect();
            listed.sort();
            types.sort_unstable();
            assert_eq!(listed, types, "{}", one.name);
            let media = if one.media.is_some() {
                Offer::Offered
            } else {
                Offer::NotOffered
            };
            assert_eq!(
                facts.capabilities.virtual_media.offer, media,
                "{}",
                one.name
            );
            let hidden = one.boot.progress == personality::Progress::Hidden;
            match facts.boot_progress {
                Reading::Read(progress) => {
                    assert_eq!(
                        progress.stage.map(|one| one.to_string()),
                        Some("OsRunning".to_owned())
                    );
                }
                Reading::NotOffered => assert!(hidden, "{}", one.name),
                Reading::NotRead(why) => panic!("{}: {why}", one.name),
            }
            assert!(changes(&fleet, one.name).is_empty(), "{}", one.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_port_does_is_done_once_on_every_personality() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let sent_and_seen = Effect {
        sent: true,
        confirmation: Confirmation::Confirmed,
    };
    for one in personality::ALL {
        let bmc = port(&fleet, &server, one.name);
        let image = ImageUrl::new(IMAGE);
        if one.media.is_some() {
            assert_eq!(
                bmc.insert_media(&image).await.unwrap(),
                sent_and_seen,
                "{}",
                one.name
            );
            let again = bmc.insert_media(&image).await.unwrap();
            assert!(!again.sent, "{}: it is there", one.name);
        }
        let boot = if one.boot.targets.contains(&"Cd") {
            BootTarget::Cd
        } else {
            BootTarget::UefiHttp
        };
        let once = BootOverride::Once(boot);
        assert_eq!(
            bmc.set_boot_override(&once).await.unwrap(),
            sent_and_seen,
            "{}",
            one.name
        );
        if one.media.is_some() {
            let ejected = bmc.eject_media(&MediaMatch::Image(image)).await.unwrap();
            assert_eq!(ejected, sent_and_seen, "{}", one.name);
        }
        let wanted = [
            what(&fleet, one.name, |what| {
                matches!(what, What::MediaInserted { .. })
            }),
            what(&fleet, one.name, |what| {
                matches!(what, What::MediaEjected { .. })
            }),
            what(&fleet, one.name, |what| {
                matches!(what, What::OverrideSet { .. })
            }),
        ];
        let media = usize::from(one.media.is_some());
        assert_eq!(wanted, [media, media, 1], "{}", one.name);

        let off = bmc.power(PowerAction::ForceOff).await;
        if !one.reset.types.contains(&ResetType::ForceOff) {
            assert!(
                matches!(off, Err(BmcError::NotOffered { .. })),
                "{}: {off:?}",
                one.name
            );
            continue;
        }
        assert_eq!(off.unwrap(), sent_and_seen, "{}", one.name);
        assert!(
            bmc.power(PowerAction::On).await.unwrap().sent,
            "{}",
            one.name
        );
        let off = |what: &What| {
            let wanted = Cause::Request(ResetType::ForceOff);
            matches!(what, What::PoweredOff { cause, .. } if *cause == wanted)
        };
        assert_eq!(self::what(&fleet, one.name, off), 1, "{}", one.name);
        let on = |what: &What| matches!(what, What::PoweredOn { .. });
        assert_eq!(self::what(&fleet, one.name, on), 1, "{}", one.name);
    }
}

fn what(fleet: &Fleet, name: &str, wanted: impl Fn(&What) -> bool) -> usize {
    changes(fleet, name)
        .iter()
        .filter(|what| wanted(what))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_and_a_renewed_certificate_are_left_alone() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let name = "generic-dpu";
    let mut other = target(&fleet, &server, name);
    other.expected.serial_number = Some("ANOTHER7".to_owned());
    let bmc = redfish().bmc(other).unwrap();
    bmc.power(PowerAction::ForceOff).await.unwrap_err();
    assert_eq!(fleet.state(name).unwrap().power, Power::On);
    assert!(changes(&fleet, name).is_empty());

    let before = target(&fleet, &server, name);
    fleet.strike(name, Strike::RenewCertificate).unwrap();
    let error = redfish().bmc(before).unwrap().observe().await.unwrap_err();
    assert_eq!(error.category(), "CertificateRefused");
    let facts = port(&fleet, &server, name).observe().await;
    assert!(facts.is_ok(), "{facts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_is_an_unknown_outcome_and_one_effect() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let name = "generic-host";
    let rule = Rule {
        method: Some("POST".to_owned()),
        path: Some("ComputerSystem.Reset".to_owned()),
        ..Rule::always(Fault::LoseReply)
    };
    fleet.switch_on(name, rule).unwrap();
    let error = port(&fleet, &server, name)
        .power(PowerAction::ForceOff)
        .await
        .unwrap_err();
    assert!(
        matches!(error, BmcError::OutcomeUnknown { .. }),
        "{error:?}"
    );
    let state = fleet.state(name).unwrap();
    assert_eq!(
        (state.power, state.stage, state.boots),
        (Power::Off, None, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bmc_that_resets_reused_connections_is_read_all_the_same() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let name = "hpe-host";
    fleet
        .switch_on(name, Rule::always(Fault::CloseSilently))
        .unwrap();
    let facts = port(&fleet, &server, name).observe().await;
    assert!(facts.is_ok(), "{facts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_document_fault_makes_the_port_change_anything_or_ask_without_end() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let mut unread = BTreeSet::new();
    for fault in Fault::ALL
        .iter()
        .filter(|one| one.about().layer == Layer::Document)
    {
        for name in ["bluefield-3", "dell-host", "generic-dpu"] {
            let before = fleet.requests(name).unwrap().total;
            fleet.switch_on(name, Rule::always(*fault)).unwrap();
            if port(&fleet, &server, name).observe().await.is_err() {
                unread.insert(fault.about().name);
            }
            fleet.switch_off(name, *fault).unwrap();
            let asked = fleet.requests(name).unwrap().total - before;
            assert!(asked < 120, "{fault} on {name}: {asked} requests");
            let changed = what(&fleet, name, |what| {
                !matches!(what, What::FaultSwitched { .. } | What::FaultStruck { .. })
            });
            assert_eq!(changed, 0, "{fault} on {name}");
        }
    }
    // Only where the system itself is not to be found are there no facts.
    let lost = ["huge-collection", "null-members", "wrong-types"];
    assert_eq!(unread, BTreeSet::from(lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bmc_that_takes_a_connection_and_says_nothing_costs_a_deadline_and_no_more() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    for fault in [Fault::HangConnection, Fault::Hang] {
        let name = "hpe-host";
        fleet.switch_on(name, Rule::always(fault)).unwrap();
        let options = BmcOptions {
            call_deadline: Duration::from_secs(1),
            ..BmcOptions::default()
        };
        let networks = AllowedNetworks(vec!["127.0.0.0/8".parse().unwrap()]);
        let bmc = Redfish::new(networks, options).bmc(target(&fleet, &server, name));
        let began = std::time::Instant::now();
        bmc.unwrap().observe().await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(10), "{fault}");
        let other = port(&fleet, &server, "dell-host").observe().await;
        assert!(other.is_ok(), "{other:?}");
        fleet.switch_off(name, fault).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_port_serves_many_by_name_and_many_addresses_serve_one_each() {
    let yaml = "domains: [{count: 300, hosts: [{name: 'h-{n}', personality: generic-host}], \
                cards: [{name: 'c-{n}', personality: bluefield-3, slots: [{host: 'h-{n}'}]}]}]";
    let fleet = Fleet::stepped(&FleetSpec::parse(yaml).unwrap()).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let named = Server::start(&fleet, Listen::Named(address), false)
        .await
        .unwrap();
    // Whoever comes second finds it installed.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = named
        .url("h-0001")
        .unwrap()
        .replace("h-0001.localhost", "127.0.0.1");
    for name in ["h-0001", "c-0150", "h-0300"] {
        let root = http
            .get(format!("{base}/redfish/v1/"))
            .header("host", format!("{name}.lab:1"));
        let root: serde_json::Value = root.send().await.unwrap().json().await.unwrap();
        let vendor = if name.starts_with('c') {
            "Nvidia"
        } else {
            "Example"
        };
        assert_eq!(root["Vendor"], vendor, "{name}");
        assert_eq!(fleet.requests(name).unwrap().total, 1);
    }
    let nobody = http
        .get(format!("{base}/redfish/v1/"))
        .send()
        .await
        .unwrap();
    assert_eq!(nobody.status(), 421);

    // With TLS the name chooses the certificate, too.
    let secure = Server::start(&fleet, Listen::Named(address), true)
        .await
        .unwrap();
    let url: reqwest::Url = secure.url("c-0150").unwrap().parse().unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], url.port().unwrap()));
    for (owner, ok) in [("c-0150", true), ("c-0151", false)] {
        let pem = secure.certificate_pem(owner).unwrap();
        let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        let http = reqwest::Client::builder().no_proxy();
        let http = http
            .tls_certs_only([trusted])
            .resolve("c-0150.localhost", at);
        let root = http
            .build()
            .unwrap()
            .get(format!("{url}redfish/v1/"))
            .send()
            .await;
        assert_eq!(root.is_ok(), ok, "{owner}: {root:?}");
    }

    // A BMC without power takes no connections; its neighbour does.
    let first = "127.77.0.1:18077".parse().unwrap();
    let each = Server::start(&fleet, Listen::Addresses(first), false)
        .await
        .unwrap();
    fleet.strike("h-0002", Strike::Mains { on: false }).unwrap();
    let get = |name: &str| {
        http.get(format!("{}/redfish/v1/", each.url(name).unwrap()))
            .send()
    };
    assert!(get("h-0002").await.is_err() && get("c-0002").await.is_err());
    assert_eq!(get("c-0003").await.unwrap().status(), 200);
    fleet.strike("h-0002", Strike::Mains { on: true }).unwrap();
    fleet.skip(Duration::from_secs(600));
    assert_eq!(get("h-0002").await.unwrap().status(), 200);
    let card = fleet.state("c-0002").unwrap();
    assert_eq!((card.stage, card.boots), (Some(Stage::OsRunning), 2));
}
