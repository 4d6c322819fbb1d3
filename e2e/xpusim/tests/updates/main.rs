//! Updates through the product's own port, against every lie about them. What was really fetched,
//! pushed, written and activated is judged by the simulator's effect log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lies;
mod store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_redfish::{
    Activation, ActivationReset, AllowedNetworks, Bmc, BmcError, BmcOptions, BmcTarget, Components,
    Credentials, ExpectedIdentity, ImageUrl, NotReady, PowerAction, Progress, Push, Reading,
    Redfish, RedfishBmc, SimpleUpdate, TlsTrust, UpdateTicket, Updater, WantedVersion, judge,
    readiness,
};
use lockstep_xpusim::effect::What;
use lockstep_xpusim::fault::{Fault, Rule};
use lockstep_xpusim::spec::FleetSpec;
use lockstep_xpusim::{Fleet, Listen, Server, Strike, personality};
use sha2::{Digest, Sha256};

use store::Store;

const PATIENCE: Duration = Duration::from_secs(20);
const NEW: &str = "2.0.0";

/// A fleet on the network, and a store that its BMCs fetch from.
struct World {
    fleet: Arc<Fleet>,
    server: Server,
    store: Store,
}

impl World {
    /// Machines with these names, of these personalities.
    async fn with(machines: &[(&str, &str)], images: &str) -> Self {
        let mut yaml = format!("timeScale: 1000\n{images}domains:\n");
        for (name, personality) in machines {
            let role = personality::find(personality).unwrap().role;
            let kind = match role {
                personality::Role::Card => "cards",
                personality::Role::Host => "hosts",
            };
            yaml += &format!(
                "- {kind}: [{{name: {name}, personality: {personality}, password: a-good-password-1}}]\n"
            );
        }
        let fleet = Fleet::new(&FleetSpec::parse(&yaml).unwrap()).unwrap();
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let server = Server::start(&fleet, Listen::Ports(address), true)
            .await
            .unwrap();
        let store = Store::start().await;
        Self {
            fleet,
            server,
            store,
        }
    }

    fn target(&self, name: &str) -> BmcTarget {
        let state = self.fleet.state(name).unwrap();
        BmcTarget {
            address: self.server.url(name).unwrap().parse().unwrap(),
            system_path: None,
            credentials: Credentials {
                username: state.user,
                password: state.password,
            },
            tls: TlsTrust::CaBundle(self.server.certificate_pem(name).unwrap()),
            expected: ExpectedIdentity {
                system_uuid: Some(state.uuid),
                serial_number: Some(state.serial),
                tls_pin: None,
            },
        }
    }

    fn port(&self, name: &str) -> RedfishBmc {
        let networks = AllowedNetworks(vec!["127.0.0.0/8".parse().unwrap()]);
        let options = BmcOptions {
            update_deadline: Duration::from_secs(10),
            confirm_window: Duration::from_millis(500),
            ..BmcOptions::default()
        };
        let redfish = Redfish::new(networks, options);
        redfish.bmc(self.target(name)).unwrap()
    }

    fn update(&self, components: &[&str]) -> SimpleUpdate {
        let inventory = "/redfish/v1/UpdateService/FirmwareInventory";
        let targets = components.iter().map(|id| format!("{inventory}/{id}"));
        SimpleUpdate {
            image: ImageUrl::new(self.store.url(&format!("{NEW}.fwpkg"))),
            targets: targets.collect(),
        }
    }

    fn count(&self, name: &str, wanted: impl Fn(&What) -> bool) -> usize {
        let effects = self.fleet.effects(name, 0).unwrap();
        effects.iter().filter(|effect| wanted(&effect.what)).count()
    }

    /// Until the log has it.
    async fn logged(&self, name: &str, wanted: impl Fn(&What) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while self.count(name, &wanted) == 0 {
            assert!(Instant::now() < deadline, "{name}: it is not in the log");
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.fleet.state(name).unwrap();
        }
    }

    fn tasks_started(&self, name: &str) -> usize {
        self.count(name, |what| matches!(what, What::TaskStarted { .. }))
    }
}

/// What a component must come to.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    component: &'a str,
    before: &'a str,
    after: Option<&'a ActivationReset>,
    activated: bool,
}

const UEFI: Wanted<'_> = Wanted {
    component: "UEFI",
    before: "1.9.0",
    after: Some(&ActivationReset::System),
    activated: false,
};

/// One look: the task, the version, and what they mean. `None`: the BMC does not answer now.
async fn look(bmc: &RedfishBmc, ticket: &UpdateTicket, wanted: Wanted<'_>) -> Option<Progress> {
    let reading = bmc.task(ticket).await.ok()?;
    let components = Components::Named(vec![wanted.component.to_owned()]);
    let facts = bmc.observe_updates(&components).await.ok()?;
    let firmware = facts.firmware.value()?;
    let now = firmware.iter().find(|one| one.name == wanted.component);
    let wanted = WantedVersion {
        component: wanted.component,
        version: NEW,
        before: Some(wanted.before),
        now,
        activation: wanted
            .after
            .map_or(Activation::AtOnce, |reset| Activation::After(reset.clone())),
        activated: wanted.activated,
    };
    Some(judge(ticket, Some(&reading), &[wanted]))
}

/// Looks until it comes to what is wanted.
async fn comes_to(
    bmc: &RedfishBmc,
    ticket: &UpdateTicket,
    wanted: Wanted<'_>,
    holds: impl Fn(&Progress) -> bool,
) -> Progress {
    let deadline = Instant::now() + PATIENCE;
    let mut last = None;
    loop {
        if let Some(progress) = look(bmc, ticket, wanted).await {
            if holds(&progress) {
                return progress;
            }
            last = Some(progress);
        }
        assert!(Instant::now() < deadline, "it has come to {last:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn has_ended(progress: &Progress) -> bool {
    !matches!(progress, Progress::Running { .. })
}

fn shown(progress: &Progress) -> String {
    format!("{progress:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_each_vendor_offers_is_read_as_it_is() {
    let all: Vec<_> = personality::ALL
        .iter()
        .map(|one| (one.name, one.name))
        .collect();
    let world = World::with(&all, "").await;
    for one in personality::ALL {
        let bmc = world.port(one.name);
        let facts = bmc.observe_updates(&Components::All).await.unwrap();
        let service = facts.service.value().unwrap();
        let simple = service.simple_update.as_ref().unwrap();
        assert_eq!(simple.protocols.as_deref().unwrap(), one.update.protocols);
        assert_eq!(service.multipart_push.as_deref(), one.update.multipart);
        assert_eq!(service.max_image_bytes, one.update.most_bytes);
        let firmware = facts.firmware.value().unwrap();
        let told = firmware.iter().any(|told| {
            let first = &one.update.firmware[0];
            let name = if one.update.inventory {
                first.id
            } else {
                "BMC"
            };
            told.name == name && told.running.as_deref() == Some(first.version)
        });
        assert!(told, "{}: {firmware:?}", one.name);
        assert!(facts.last_reset.value().is_some());
        assert_eq!(readiness(&facts, &[]), Ok(()), "{}", one.name);
        assert_eq!(
            world.count(one.name, |what| !matches!(what, What::Login { .. })),
            0
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_fetched_written_activated_and_only_then_done() {
    let world = World::with(&[("card", "generic-dpu")], "").await;
    let bmc = world.port("card");
    let ticket = bmc.simple_update(&world.update(&["UEFI"])).await.unwrap();
    let waits = comes_to(&bmc, &ticket, UEFI, has_ended).await;
    let resets = vec![ActivationReset::System];
    assert_eq!(waits, Progress::AwaitsActivation { resets });
    let digest = hex::encode(Sha256::digest(store::IMAGE));
    let arrived = |what: &What| {
        matches!(what, What::ImageArrived { bytes, sha256, .. }
            if *bytes == store::IMAGE.len() as u64 && *sha256 == digest)
    };
    assert_eq!(world.count("card", arrived), 1);
    let activated = |what: &What| matches!(what, What::FirmwareActivated { .. });
    assert_eq!(world.count("card", activated), 0);

    // The ticket outlives the agent.
    let kept = serde_json::to_string(&ticket).unwrap();
    let ticket: UpdateTicket = serde_json::from_str(&kept).unwrap();
    let bmc = world.port("card");
    assert!(bmc.power(PowerAction::ForceRestart).await.unwrap().sent);
    comes_to(&bmc, &ticket, UEFI, |one| *one == Progress::Done).await;
    assert_eq!(world.count("card", activated), 1);
    assert_eq!(world.tasks_started("card"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_arrives_byte_for_byte() {
    let world = World::with(&[("card", "bluefield-3")], "").await;
    let bmc = world.port("card");
    let image: Vec<u8> = (0..8_000_001_u32).map(|n| (n % 251) as u8).collect();
    let digest = hex::encode(Sha256::digest(&image));
    let length = image.len() as u64;
    let push = Push::new(&format!("{NEW}.fwpkg"), length, std::io::Cursor::new(image));
    let mut push = push.unwrap();
    push.targets = world.update(&["DPU_UEFI"]).targets;
    let ticket = bmc.push(push).await.unwrap();
    let wanted = Wanted {
        component: "DPU_UEFI",
        before: "4.9.0-25",
        ..UEFI
    };
    let waits = comes_to(&bmc, &ticket, wanted, has_ended).await;
    assert!(
        matches!(waits, Progress::AwaitsActivation { .. }),
        "{waits:?}"
    );
    let arrived = |what: &What| {
        matches!(what, What::ImageArrived { bytes, sha256, .. }
            if *bytes == length && *sha256 == digest)
    };
    assert_eq!(world.count("card", arrived), 1);
    assert_eq!(world.tasks_started("card"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bmc_updates_itself_and_goes_away_for_it() {
    let world = World::with(&[("card", "generic-dpu")], "").await;
    let change = Rule::always(Fault::CertificateChangesWithBmc);
    world.fleet.switch_on("card", change).unwrap();
    let bmc = world.port("card");
    let ticket = bmc.simple_update(&world.update(&["BMC"])).await.unwrap();
    world.logged("card", |what| *what == What::BmcUp).await;
    // Trust in the old certificate is no trust in the new one.
    let error = world.until_refused(&bmc).await;
    assert_eq!(error.category(), "CertificateRefused");
    let bmc = world.port("card");
    let wanted = Wanted {
        component: "BMC",
        before: "2.4.1",
        after: Some(&ActivationReset::Bmc),
        activated: false,
    };
    comes_to(&bmc, &ticket, wanted, |one| *one == Progress::Done).await;
    assert_eq!(world.tasks_started("card"), 1);
}

impl World {
    /// Until a port that trusts an old certificate is refused by the new one.
    async fn until_refused(&self, bmc: &RedfishBmc) -> BmcError {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match bmc.observe().await {
                Err(error @ BmcError::CertificateRefused { .. }) => return error,
                other => assert!(Instant::now() < deadline, "{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_begins_beside_another_task_and_who_begins_all_the_same_is_refused() {
    let world = World::with(&[("card", "generic-dpu"), ("host", "generic-host")], "").await;
    world
        .fleet
        .switch_on("host", Rule::always(Fault::TaskStuck))
        .unwrap();
    let (card, host) = (world.port("card"), world.port("host"));
    host.simple_update(&world.update(&["BIOS"])).await.unwrap();
    let none = Components::Named(Vec::new());
    let own = card.observe_updates(&none).await.unwrap();
    let other = host.observe_updates(&none).await.unwrap();
    assert_eq!(readiness(&own, &[]), Ok(()));
    let wait = readiness(&own, &[("the host's BMC", &other)]);
    assert!(
        matches!(&wait, Err(NotReady::Wait(why)) if why.contains("host's BMC")),
        "{wait:?}"
    );
    let error = host.simple_update(&world.update(&["BIOS"])).await;
    assert_eq!(error.unwrap_err().category(), "UpdateBusy");
    assert_eq!(world.tasks_started("host"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reset_that_intels_task_names_is_told() {
    let world = World::with(&[("card", "intel-e2100")], "").await;
    let bmc = world.port("card");
    let mut update = world.update(&[]);
    update.targets.clear();
    let ticket = bmc.simple_update(&update).await.unwrap();
    let wanted = Wanted {
        component: "BMC",
        before: "MEV-2.0.0.11126",
        ..UEFI
    };
    let waits = comes_to(&bmc, &ticket, wanted, has_ended).await;
    let resets = vec![ActivationReset::HostPowerCycle];
    assert_eq!(waits, Progress::AwaitsActivation { resets });
}
