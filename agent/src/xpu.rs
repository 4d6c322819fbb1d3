//! The role `xpu`: a card's own agent, inside its operating system.
//!
//! It needs no trust store, no resolver and no writable disk.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Client, Resource};
use lockstep_crds::report::{OsReport, Vantage};
use lockstep_crds::wipe::WipeReport;
use lockstep_crds::{Dpu, DpuReportSpec, names};
use lockstep_local::filesystems::replayed;
use lockstep_local::{Fact, LocalFacts};
use tokio_util::sync::CancellationToken;

use crate::card_filesystems;
use crate::clock;
use crate::health;
use crate::kube_client;
use crate::local_inventory::{InventoryReader, Latest, LocalMachine, Whose};
use crate::local_report::{LocalReporter, Place, Subject, os_report};
use crate::machine_figures::MachineFigures;
use crate::seed::Seed;
use crate::services::{Services, Told};
use crate::wipe;

/// Most addresses that a report holds.
const MOST_ADDRESSES: usize = 16;
/// Between two readings of the card if nothing was heard.
const FLOOR: Duration = Duration::from_secs(4 * 60 * 60);

/// Its command line.
#[derive(Args, Clone, Debug)]
pub struct XpuArgs {
    /// The seed that came with the image.
    #[arg(long)]
    pub seed: PathBuf,
    /// Folder that stands for the machine's root.
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// Folder for the services that are offered to this card; used if its seed names a store.
    #[arg(long, default_value = "/var/lib/lockstep/services")]
    pub services_dir: PathBuf,
    /// Where `/healthz`, `/readyz` and `/metrics` are served, such as 127.0.0.1:9810; nowhere
    /// unless given, so that the card has no door that nobody asked for.
    #[arg(long)]
    pub health: Option<SocketAddr>,
    /// Wipe the card as the seed orders, and then report what became of it, also where the order is
    /// for another machine and nothing is touched. For the system of a `Wiper` image alone:
    /// without an order nothing is touched, and nothing is reported.
    #[arg(long)]
    pub wipe: bool,
}

/// Runs until `ending`.
pub async fn run(args: XpuArgs, ending: CancellationToken) -> Result<()> {
    let seed = Seed::load(&args.seed)?;
    let client = kube_client::from_seed(&seed)?;
    let machine = LocalMachine::at(&args.root);
    let wiped = if args.wipe {
        Some(wipe(&seed, &machine).await?)
    } else {
        None
    };
    let listener = match args.health {
        Some(address) => Some(lockstep_serve::bind(address).await.with_context(|| {
            format!("{address} cannot be served: give another one with --health, or none")
        })?),
        None => None,
    };
    let (inventory, latest) = InventoryReader::new(machine.clone(), Whose::Card, FLOOR);
    let figures = Arc::new(MachineFigures::new(machine.root.clone()));
    // What wipes a card runs nothing that was for its system.
    let services = Services::of(&seed, &client, args.services_dir).filter(|_| !args.wipe);
    let (services, told) = services.unzip();
    let card = Card {
        seed,
        figures: Arc::clone(&figures),
        services: told,
        wiped,
        replayed: replayed(&machine.root),
    };
    let report = reporter(&client, card, machine, latest);
    let ending = ending.child_token();
    let health = async {
        if let Some(listener) = listener {
            health::serve(listener, figures, ending.clone()).await;
        }
    };
    let services = async {
        if let Some(services) = services {
            services.run(ending.clone()).await;
        }
    };
    tokio::join!(
        health,
        services,
        report.run(ending.clone()),
        inventory.run(ending.clone())
    );
    Ok(())
}

/// One card.
struct Card {
    seed: Seed,
    figures: Arc<MachineFigures>,
    services: Option<Told>,
    /// What was wiped before anything was reported.
    wiped: Option<WipeReport>,
    /// Devices whose journal was replayed in this boot.
    replayed: Fact<BTreeSet<String>>,
}

/// Nothing is reported before it is through, or refused: who reads of this system knows that it has wiped.
async fn wipe(seed: &Seed, machine: &LocalMachine) -> Result<WipeReport> {
    let (seed, root) = (seed.clone(), machine.root.clone());
    let wiped = tokio::task::spawn_blocking(move || wipe::carry_out(&seed, &root)).await??;
    for one in &wiped.items {
        let words = one.message.as_deref().unwrap_or_default();
        tracing::info!("{}: {}: {words}", one.item, one.result);
    }
    Ok(wiped)
}

fn owner(seed: &Seed) -> Option<OwnerReference> {
    seed.dpu_uid.as_ref().map(|uid| OwnerReference {
        api_version: Dpu::api_version(&()).into_owned(),
        kind: Dpu::kind(&()).into_owned(),
        name: seed.dpu.clone(),
        uid: uid.clone(),
        ..OwnerReference::default()
    })
}

fn reporter(
    client: &Client,
    card: Card,
    machine: LocalMachine,
    latest: Latest,
) -> LocalReporter<Card> {
    let seed = &card.seed;
    let namespace = seed.namespace.clone();
    let place = Place {
        client,
        namespace: &namespace,
        name: names::xpu(&seed.dpu),
        role: "xpu",
        owner: owner(seed),
    };
    LocalReporter::new(card, machine.root, place, latest)
}

impl Subject for Card {
    fn compose(&self, facts: &LocalFacts) -> Result<DpuReportSpec> {
        let (version, seed) = (env!("CARGO_PKG_VERSION"), &self.seed);
        Ok(DpuReportSpec {
            subject_uid: seed.dpu_uid.clone().unwrap_or_default(),
            os: Some(OsReport {
                wipe: self.wiped.clone(),
                filesystems: card_filesystems::told(&facts.filesystems, &self.replayed),
                ..card_os(seed, facts)?
            }),
            services: self
                .services
                .as_ref()
                .and_then(|told| told.borrow().clone()),
            ..DpuReportSpec::new(Vantage::CardOs, &seed.dpu, version, clock::now())
        })
    }

    fn accepted(&self, spec: &DpuReportSpec) {
        let epoch = spec.os.as_ref().map_or("", |os| os.boot_epoch.as_str());
        self.figures.set_ready();
        announce(&self.seed, epoch);
    }
}

/// One line for the console, in one write.
fn announce(seed: &Seed, epoch: &str) {
    let line = format!(
        "lockstep-agent: report accepted dpu={} image={} epoch={epoch}\n",
        seed.dpu, seed.image_version
    );
    let mut console = std::io::stdout().lock();
    if let Err(error) = console
        .write_all(line.as_bytes())
        .and_then(|()| console.flush())
    {
        tracing::debug!(%error, "console not writable");
    }
}

/// What the card's operating system tells, and what the seed says was installed.
fn card_os(seed: &Seed, facts: &LocalFacts) -> Result<OsReport> {
    let mut addresses: Vec<String> = facts
        .addresses
        .as_ref()
        .known()
        .into_iter()
        .flatten()
        .filter(|address| !address.is_link_local())
        .map(|address| address.ip.to_string())
        .collect();
    addresses.dedup();
    addresses.truncate(MOST_ADDRESSES);
    Ok(OsReport {
        image_version: Some(seed.image_version.clone()),
        image_digest: Some(seed.image_digest.clone()),
        addresses,
        ..os_report(facts)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;
    use std::fs;
    use std::path::Path;

    const REPORT: &str = "dpureports/xpu-c1";

    fn seed() -> Seed {
        Seed {
            api_server: "https://192.0.2.1:6443".to_owned(),
            ca: String::new(),
            namespace: "site".to_owned(),
            dpu: "c1".to_owned(),
            dpu_uid: Some("uid-1".to_owned()),
            token: "very-secret".to_owned(),
            image_version: "1.2".to_owned(),
            image_digest: "sha256:aa".to_owned(),
            store: None,
            wipe: None,
        }
    }

    fn machine(boot_id: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/sys/kernel/random/boot_id", boot_id),
            ("proc/sys/kernel/osrelease", "6.1.0-cloud"),
            ("proc/uptime", "12.50 3.00"),
            ("etc/os-release", "PRETTY_NAME=\"Lab OS 1.2\""),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        dir
    }

    fn agent_of(api: &FakeApi, dir: &Path) -> LocalReporter<Card> {
        // An inventory that never comes is not waited for for ever.
        let (_, latest) = tokio::sync::watch::channel(None);
        reporter(&api.client(), card(dir), LocalMachine::at(dir), latest)
    }

    fn card(dir: &Path) -> Card {
        Card {
            seed: seed(),
            figures: Arc::new(MachineFigures::new(LocalMachine::at(dir).root)),
            services: None,
            wiped: None,
            replayed: Fact::NotOffered,
        }
    }

    const FIRST: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const SECOND: &str = "11234567-89ab-cdef-0123-456789abcdef";

    #[tokio::test]
    async fn time_alone_is_not_written_and_a_new_boot_is() {
        let api = FakeApi::default();
        let dir = machine(FIRST);
        let mut agent = agent_of(&api, dir.path());
        agent.tell().await.unwrap();
        fs::write(dir.path().join("proc/uptime"), "99.00 3.00\n").unwrap();
        agent.tell().await.unwrap();
        assert_eq!(api.writes().len(), 1);
        let report = api.get(REPORT).unwrap();
        assert_eq!(report["spec"]["os"]["bootEpoch"], FIRST);
        assert_eq!(report["spec"]["os"]["imageVersion"], "1.2");
        assert_eq!(report["spec"]["os"]["os"], "Lab OS 1.2");
        assert_eq!(report["spec"]["subjectUid"], "uid-1");
        assert!(!report.to_string().contains("very-secret"));

        let dir = machine(SECOND);
        let mut agent = agent_of(&api, dir.path());
        agent.tell().await.unwrap();
        assert_eq!(api.get(REPORT).unwrap()["spec"]["os"]["bootEpoch"], SECOND);
        assert_eq!(
            api.writes(),
            [
                format!("{REPORT} lockstep-agent/report"),
                format!("{REPORT} lockstep-agent/report")
            ]
        );
    }

    #[tokio::test]
    async fn a_wiper_on_another_machine_than_it_was_ordered_for_says_so() {
        let api = FakeApi::default();
        let dir = machine(FIRST);
        let dmi = dir.path().join("sys/class/dmi/id");
        fs::create_dir_all(&dmi).unwrap();
        fs::write(dmi.join("product_serial"), "MT-8\n").unwrap();
        let identity = lockstep_crds::MachineIdentity {
            serial_number: Some("MT-7".to_owned()),
            system_uuid: None,
        };
        let ordered = Seed {
            wipe: Some(lockstep_crds::wipe::WipeOrder {
                token: "left".to_owned(),
                identity,
            }),
            ..seed()
        };
        let here = LocalMachine::at(dir.path());
        let card = Card {
            wiped: Some(wipe(&ordered, &here).await.unwrap()),
            ..card(dir.path())
        };
        let (_, latest) = tokio::sync::watch::channel(None);
        let mut agent = reporter(&api.client(), card, here, latest);
        agent.tell().await.unwrap();
        let told = &api.get(REPORT).unwrap()["spec"]["os"]["wipe"];
        assert_eq!(told["token"], "left");
        assert_eq!(told["items"][0]["result"], "Failed");
        let words = told["items"][0]["message"].as_str().unwrap();
        assert!(words.contains("MT-7") && words.contains("MT-8"), "{words}");
    }

    #[tokio::test]
    async fn what_the_card_serves_is_ready_once_its_report_was_taken() {
        let api = FakeApi::default();
        let dir = machine(FIRST);
        let card = card(dir.path());
        let figures = Arc::clone(&card.figures);
        let (_, latest) = tokio::sync::watch::channel(None);
        let mut agent = reporter(&api.client(), card, LocalMachine::at(dir.path()), latest);
        assert!(health::Figures::ready(&*figures).is_err());
        agent.tell().await.unwrap();
        assert_eq!(health::Figures::ready(&*figures), Ok(()));
    }

    #[tokio::test]
    async fn an_api_server_that_forgot_the_report_is_told_again() {
        let api = FakeApi::default();
        let dir = machine(FIRST);
        let mut agent = agent_of(&api, dir.path());
        agent.turn(true).await.unwrap();
        let report = api.get(REPORT).unwrap();
        api.remove(REPORT);
        agent.turn(false).await.unwrap();
        assert!(api.get(REPORT).is_none(), "a look costs no request");
        agent.turn(true).await.unwrap();
        assert_eq!(api.get(REPORT).unwrap()["spec"]["os"], report["spec"]["os"]);
    }

    #[tokio::test]
    async fn nothing_is_reported_without_a_boot_epoch() {
        let api = FakeApi::default();
        let dir = tempfile::tempdir().unwrap();
        let mut agent = agent_of(&api, dir.path());
        let error = agent.tell().await.unwrap_err().to_string();
        assert!(error.contains("/proc"), "{error}");
        assert!(api.writes().is_empty());
    }

    #[tokio::test]
    async fn an_outage_is_waited_for() {
        let api = FakeApi::default();
        api.vanish(true);
        let dir = machine(FIRST);
        let agent = agent_of(&api, dir.path());
        let ending = CancellationToken::new();
        let task = tokio::spawn(agent.run(ending.clone()));
        tokio::time::sleep(Duration::from_millis(300)).await;
        api.vanish(false);
        api.until("leases/xpu-c1", |lease| {
            lease["spec"]["renewTime"].is_string()
        })
        .await;
        ending.cancel();
        task.await.unwrap();
        assert!(api.get(REPORT).is_some());
    }

    #[tokio::test]
    async fn one_write_tells_the_boot_and_the_inventory() {
        let api = FakeApi::default();
        let dir = machine(FIRST);
        let here = LocalMachine::at(dir.path());
        let (reader, latest) = InventoryReader::new(here.clone(), Whose::Card, FLOOR);
        let agent = reporter(&api.client(), card(dir.path()), here, latest);
        let ending = CancellationToken::new();
        let tasks = [
            tokio::spawn(agent.run(ending.clone())),
            tokio::spawn(reader.run(ending.clone())),
        ];
        let renewed = |lease: &serde_json::Value| lease["spec"]["renewTime"].is_string();
        api.until("leases/xpu-c1", renewed).await;
        ending.cancel();
        for task in tasks {
            task.await.unwrap();
        }
        let report = api.get(REPORT).unwrap();
        assert_eq!(report["spec"]["inventory"]["os"]["name"], "Lab OS 1.2");
        assert_eq!(report["spec"]["os"]["bootEpoch"], FIRST);
        assert_eq!(report["metadata"]["ownerReferences"][0]["uid"], "uid-1");
        let writes = api.writes();
        let reports = writes
            .iter()
            .filter(|write| write.starts_with("dpureports"));
        assert_eq!(reports.count(), 1, "{writes:?}");
    }
}
