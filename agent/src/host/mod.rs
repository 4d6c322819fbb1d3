//! The role `host`: the agent on a server, one a node.
//!
//! It tells which machine its Node is, since when it runs, what it is made of and which cards are
//! in it. It reads and never writes there, unless it was given a store: then it also pushes images
//! to the cards of a host that is trusted with them, and flashes their firmware. Its identity is the token that its
//! Pod was given, and admission takes from it only what is named after the node that stands in that
//! token.

mod flash;
mod push;

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use kube::Client;
use lockstep_crds::report::Vantage;
use lockstep_crds::{DpuReportSpec, MachineIdentity, names};
use lockstep_local::{Fact, LocalFacts};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock;
use crate::health;
use crate::host::push::{Orders, Pusher};
use crate::kube_client;
use crate::local_inventory::{InventoryReader, Latest, LocalMachine, SERIAL, Whose, known_whole};
use crate::local_report::{LocalReporter, Place, Subject, os_report};
use crate::machine_figures::MachineFigures;

/// Between two readings of the machine if nothing was heard.
const FLOOR: Duration = Duration::from_secs(60 * 60);
/// The longest name of an object.
const LONGEST_NAME: usize = 253;

/// What the role is told.
#[derive(Args, Clone, Debug)]
pub struct HostArgs {
    /// Name of the Node that this runs on.
    #[arg(long, env = "NODE_NAME")]
    pub node: String,
    /// Namespace of the site that the host belongs to: there its report stands.
    #[arg(long)]
    pub namespace: String,
    /// Folder at which the files of this very machine are mounted; its /proc need not be.
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// Port of `/healthz`, `/readyz` and `/metrics`, on every address.
    #[arg(long, default_value_t = 9810)]
    pub health_port: u16,
    /// How cards of this host are installed over rshim.
    #[command(flatten)]
    pub install: InstallArgs,
}

/// What installs over rshim, and firmware by devlink, need.
#[derive(Args, Clone, Debug)]
pub struct InstallArgs {
    /// Base URL of the site's image store. With it, cards are installed over rshim.
    #[arg(long)]
    pub store: Option<Url>,
    /// PEM bundle by which an https store is trusted.
    #[arg(long, requires = "store")]
    pub store_ca: Option<PathBuf>,
    /// File with the token that is shown to the store.
    #[arg(long, default_value = "/var/run/secrets/lockstep/store-token")]
    pub store_token: PathBuf,
    /// Folder with room for one image, and for notes of what is under way.
    #[arg(long, default_value = "/var/lib/lockstep")]
    pub work_dir: PathBuf,
    /// The longest image that is kept there; a longer one is not installed.
    #[arg(long, default_value_t = 8 << 30)]
    pub max_image_bytes: u64,
    /// Folder in which the kernel of this host looks for firmware. With it, firmware of cards is
    /// flashed by devlink, out of the folder `lockstep` in it.
    #[arg(long, requires = "store")]
    pub firmware_dir: Option<PathBuf>,
}

/// Runs until `ending`, or until its port fails.
pub async fn run(args: HostArgs, ending: CancellationToken) -> Result<()> {
    let name = names::host(&args.node);
    if name.len() > LONGEST_NAME {
        bail!(
            "the name of node {} is too long for a report named after it: rename the node, or keep this agent off it",
            args.node
        );
    }
    let (client, _) = kube_client::inferred().await?;
    let machine = LocalMachine::mounted_at(&args.root);
    let listener = listen(args.health_port).await?;
    let (inventory, latest) = InventoryReader::new(machine.clone(), Whose::Host, FLOOR);
    let inventory = inventory.flashing(args.install.firmware_dir.is_some());
    let figures = Arc::new(MachineFigures::new(machine.root.clone()));
    let node = args.node.clone();
    let host = Host {
        node: args.node,
        figures: Arc::clone(&figures),
    };
    let root = machine.root.clone();
    let report = reporter(&client, &args.namespace, host, machine, latest);
    let ending = ending.child_token();
    let (tell, told) = mpsc::channel(1);
    let install = args.install;
    let pusher = match &install.store {
        Some(store) => {
            let orders = Orders::new(&client, &args.namespace, &node);
            let pusher = Pusher::new(orders, root, store, &install, tell)?;
            Some(pusher.prompting(inventory.prompt()))
        }
        None => None,
    };
    // A push that has begun is finished, and its report written, before the rest ends.
    let pushed = CancellationToken::new();
    let pushing = async {
        match pusher {
            Some(pusher) => pusher.run(ending.clone()).await,
            None => ending.cancelled().await,
        }
        pushed.cancel();
    };
    tokio::join!(
        health::serve(listener, figures, pushed.clone()),
        report.hearing(told).run(pushed.clone()),
        inventory.run(ending.clone()),
        pushing
    );
    Ok(())
}

async fn listen(port: u16) -> Result<TcpListener> {
    let address = (Ipv6Addr::UNSPECIFIED, port).into();
    lockstep_serve::bind(address).await.with_context(|| {
        format!("port {port} of this host cannot be served: give another one with --health-port")
    })
}

/// One host.
struct Host {
    node: String,
    figures: Arc<MachineFigures>,
}

fn reporter(
    client: &Client,
    namespace: &str,
    host: Host,
    machine: LocalMachine,
    latest: Latest,
) -> LocalReporter<Host> {
    let place = Place {
        client,
        namespace,
        name: names::host(&host.node),
        role: "host",
        owner: None,
    };
    LocalReporter::new(host, machine.root, place, latest)
}

impl Subject for Host {
    /// Addresses are left out: the Node has them, and those of Services come and go.
    fn compose(&self, facts: &LocalFacts) -> Result<DpuReportSpec> {
        let version = env!("CARGO_PKG_VERSION");
        Ok(DpuReportSpec {
            os: Some(os_report(facts)?),
            machine: machine(facts),
            ..DpuReportSpec::new(Vantage::HostOs, &self.node, version, clock::now())
        })
    }

    fn accepted(&self, spec: &DpuReportSpec) {
        self.figures.set_ready();
        let machine = spec.machine.as_ref();
        tracing::info!(
            node = self.node,
            system_uuid = machine.and_then(|machine| machine.system_uuid.as_deref()),
            "report accepted"
        );
    }
}

/// Which machine the Node is, whatever the Node is called.
fn machine(facts: &LocalFacts) -> Option<MachineIdentity> {
    let known = |fact: &Fact<String>| fact.clone().known();
    let machine = MachineIdentity {
        system_uuid: known(&facts.product_uuid),
        serial_number: known_whole(&facts.product_serial, SERIAL),
    };
    (machine != MachineIdentity::default()).then_some(machine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;
    use lockstep_crds::inventory::{Inventory, OsFacts};
    use lockstep_local::Root;
    use std::fs;
    use std::path::Path;
    use tokio::sync::watch;

    const BOOT: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const UUID: &str = "4c4c4544-0051-3510-8052-b4c04f4d3132";

    fn files(dir: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
    }

    fn agent(api: &FakeApi, dir: &Path, latest: Latest) -> LocalReporter<Host> {
        let machine = LocalMachine::at(dir);
        let host = Host {
            node: "node1".to_owned(),
            figures: Arc::new(MachineFigures::new(machine.root.clone())),
        };
        reporter(&api.client(), "site", host, machine, latest)
    }

    #[tokio::test]
    async fn a_host_is_told_apart_by_its_machine_and_its_boot() {
        let api = FakeApi::default();
        let dir = tempfile::tempdir().unwrap();
        files(
            dir.path(),
            &[
                ("proc/sys/kernel/random/boot_id", BOOT),
                ("proc/uptime", "12.50 3.00"),
                ("sys/class/dmi/id/product_uuid", UUID),
                ("sys/class/dmi/id/product_serial", "SN-1"),
            ],
        );
        let (_told, latest) = watch::channel(None);
        let mut agent = agent(&api, dir.path(), latest);
        agent.turn(true).await.unwrap();
        let report = api.get("dpureports/host-node1").unwrap();
        assert_eq!(report["spec"]["vantage"], "HostOs");
        assert_eq!(report["spec"]["subject"], "node1");
        assert_eq!(report["spec"]["machine"]["systemUuid"], UUID);
        assert_eq!(report["spec"]["machine"]["serialNumber"], "SN-1");
        assert_eq!(report["spec"]["os"]["bootEpoch"], BOOT);
        let lease = api.get("leases/host-node1").unwrap();
        assert!(lease["spec"]["leaseDurationSeconds"].as_i64().unwrap() >= 60);
        files(dir.path(), &[("proc/uptime", "99.00 3.00")]);
        agent.turn(false).await.unwrap();
        assert_eq!(api.writes().len(), 2, "{:?}", api.writes());
    }

    #[tokio::test]
    async fn its_first_report_holds_its_inventory_and_a_change_of_it_is_told() {
        let api = FakeApi::default();
        let dir = tempfile::tempdir().unwrap();
        files(
            dir.path(),
            &[
                ("proc/sys/kernel/random/boot_id", BOOT),
                ("proc/meminfo", "MemTotal: 1024 kB"),
            ],
        );
        let machine = LocalMachine::at(dir.path());
        let (reader, latest) = InventoryReader::new(machine, Whose::Host, FLOOR);
        let ending = CancellationToken::new();
        let tasks = [
            tokio::spawn(agent(&api, dir.path(), latest).run(ending.clone())),
            tokio::spawn(reader.run(ending.clone())),
        ];
        let lease = |lease: &serde_json::Value| lease["spec"]["renewTime"].is_string();
        api.until("leases/host-node1", lease).await;
        ending.cancel();
        for task in tasks {
            task.await.unwrap();
        }
        let report = api.get("dpureports/host-node1").unwrap();
        let memory = &report["spec"]["inventory"]["memory"];
        assert_eq!(memory["usableBytes"], 1_048_576);
        assert_eq!(report["spec"]["os"]["bootEpoch"], BOOT);
        let writes = api.writes();
        let reports = writes
            .iter()
            .filter(|write| write.starts_with("dpureports"));
        assert_eq!(reports.count(), 1, "{writes:?}");
    }

    #[tokio::test]
    async fn until_the_machine_is_read_what_was_told_of_it_stands() {
        let api = FakeApi::default();
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &[("proc/sys/kernel/random/boot_id", BOOT)]);
        let (_told, latest) = watch::channel(Some(Inventory::default()));
        agent(&api, dir.path(), latest).tell().await.unwrap();
        let (told, latest) = watch::channel(None);
        let mut restarted = agent(&api, dir.path(), latest);
        restarted.tell().await.unwrap();
        assert_eq!(api.writes().len(), 1);
        told.send_replace(Some(Inventory {
            os: Some(OsFacts::default()),
            ..Inventory::default()
        }));
        restarted.tell().await.unwrap();
        assert_eq!(api.writes().len(), 2);
        let report = api.get("dpureports/host-node1").unwrap();
        assert!(report["spec"]["inventory"]["os"].is_object(), "{report}");
    }

    /// A replaced server under the same Node name is not told with its predecessor's cards, and
    /// neither is the same one with those that were in it before it was off.
    #[tokio::test]
    async fn what_was_told_of_another_machine_or_of_another_boot_does_not_stand() {
        const OTHER_BOOT: &str = "11111111-89ab-cdef-0123-456789abcdef";
        const OTHER: &str = "5d5d5555-0051-3510-8052-b4c04f4d3132";
        let boot_id = "proc/sys/kernel/random/boot_id";
        let uuid = "sys/class/dmi/id/product_uuid";
        for (boot, machine, stands) in [
            (BOOT, UUID, true),
            (OTHER_BOOT, UUID, false),
            (BOOT, OTHER, false),
            (OTHER_BOOT, OTHER, false),
        ] {
            let api = FakeApi::default();
            let dir = tempfile::tempdir().unwrap();
            files(dir.path(), &[(boot_id, BOOT), (uuid, UUID)]);
            let card = lockstep_crds::inventory::CardSeen {
                serial_number: Some("MT-OF-BEFORE".to_owned()),
                ..Default::default()
            };
            let (_told, latest) = watch::channel(Some(Inventory {
                cards: vec![card],
                ..Inventory::default()
            }));
            agent(&api, dir.path(), latest).tell().await.unwrap();
            // The next process has not read its machine yet.
            files(dir.path(), &[(boot_id, boot), (uuid, machine)]);
            let (_told, latest) = watch::channel(None);
            agent(&api, dir.path(), latest).tell().await.unwrap();
            let report = api.get("dpureports/host-node1").unwrap();
            let spec = &report["spec"];
            assert_eq!(spec["machine"]["systemUuid"], machine);
            assert_eq!(spec.to_string().contains("MT-OF-BEFORE"), stands, "{spec}");
        }
    }

    #[test]
    fn a_machine_of_placeholders_has_no_identity() {
        let dir = tempfile::tempdir().unwrap();
        files(
            dir.path(),
            &[
                (
                    "sys/class/dmi/id/product_uuid",
                    "00000000-0000-0000-0000-000000000000",
                ),
                ("sys/class/dmi/id/product_serial", "To Be Filled By O.E.M."),
            ],
        );
        let facts = LocalFacts::read(&Root::new(dir.path()));
        assert_eq!(machine(&facts), None);
    }

    /// Two that are cut to the same text would be one machine.
    #[test]
    fn a_serial_number_is_told_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let told = |serial: &str| {
            files(dir.path(), &[("sys/class/dmi/id/product_serial", serial)]);
            machine(&LocalFacts::read(&Root::new(dir.path())))
        };
        let whole = "SN".repeat(32);
        let machine = told(&whole).unwrap();
        assert_eq!(machine.serial_number.as_ref(), Some(&whole));
        assert_eq!(told(&format!("{whole}1")), None);
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let taken = listen(0).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = format!("{:#}", listen(port).await.unwrap_err());
        assert!(error.contains("--health-port"), "{error}");
    }
}
