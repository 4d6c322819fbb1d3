//! The role `host`: the agent on a server, one a node.
//!
//! It tells which machine its Node is, since when it runs, what it is made of and which cards are
//! in it. It reads and never writes there; its identity is the token that its Pod was given, and
//! admission takes from it only what is named after the node that stands in that token.

mod figures;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use kube::{Api, Client};
use lockstep_crds::report::Vantage;
use lockstep_crds::{DpuReportSpec, MachineIdentity, names};
use lockstep_local::{Fact, LocalFacts};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::health;
use crate::kube_client;
use crate::local_inventory::{InventoryKeeper, Kept, LocalMachine, Pace, Whose};
use crate::local_report::{LocalReporter, Place, Subject, os_report};
use figures::HostFigures;

/// A node whose Pods start has found its devices.
const PACE: Pace = Pace {
    first: Duration::ZERO,
    floor: Duration::from_secs(60 * 60),
};
/// The longest name of an object.
const LONGEST_NAME: usize = 253;

/// What the role is told.
#[derive(Args, Clone, Debug)]
pub struct HostArgs {
    /// Name of the Node that this runs on.
    #[arg(long, env = "NODE_NAME")]
    pub node: String,
    /// Folder at which the root of this very machine is mounted.
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// Port of `/healthz`, `/readyz` and `/metrics`, on every address.
    #[arg(long, default_value_t = 9810)]
    pub health_port: u16,
}

/// Runs until `ending`, or until its port fails.
pub async fn run(args: HostArgs, ending: CancellationToken) -> Result<()> {
    let name = names::host(&args.node);
    if names::inventory(&name).len() > LONGEST_NAME {
        bail!(
            "the name of node {} is too long for a report named after it: rename the node, or keep this agent off it",
            args.node
        );
    }
    let (client, config) = kube_client::inferred().await?;
    let machine = LocalMachine::mounted_at(&args.root);
    let listener = listen(args.health_port).await?;
    let forgotten = Arc::new(Notify::new());
    let namespace = config.default_namespace;
    let inventory = inventory(&client, &namespace, &args.node, machine.clone(), &forgotten);
    let figures = Arc::new(HostFigures::new(machine.root.clone()));
    let host = Host {
        node: args.node,
        figures: Arc::clone(&figures),
    };
    let report = reporter(&client, &namespace, host, machine, forgotten);
    let ending = ending.child_token();
    let served = async {
        let served = health::serve(listener, figures, ending.clone()).await;
        ending.cancel();
        served
    };
    let (served, (), ()) = tokio::join!(
        served,
        report.run(ending.clone()),
        inventory.run(ending.clone())
    );
    served.context("health and metrics are not served any more")
}

/// Both families where there are both.
async fn listen(port: u16) -> Result<TcpListener> {
    let all: [SocketAddr; 2] = [
        (Ipv6Addr::UNSPECIFIED, port).into(),
        (Ipv4Addr::UNSPECIFIED, port).into(),
    ];
    TcpListener::bind(&all[..]).await.with_context(|| {
        format!("port {port} of this host cannot be served: give another one with --health-port")
    })
}

/// One host.
struct Host {
    node: String,
    figures: Arc<HostFigures>,
}

fn reporter(
    client: &Client,
    namespace: &str,
    host: Host,
    machine: LocalMachine,
    forgotten: Arc<Notify>,
) -> LocalReporter<Host> {
    let place = Place {
        client,
        namespace,
        name: names::host(&host.node),
        role: "host",
        owner: None,
    };
    LocalReporter::new(host, machine.root, place, forgotten)
}

fn inventory(
    client: &Client,
    namespace: &str,
    node: &str,
    machine: LocalMachine,
    forgotten: &Arc<Notify>,
) -> InventoryKeeper {
    let kept = Kept {
        whose: Whose::Host,
        spec: spec(node),
        beside: names::host(node),
        owner: None,
    };
    let reports = Api::namespaced(client.clone(), namespace);
    InventoryKeeper::new(reports, machine, kept, PACE, Arc::clone(forgotten))
}

/// What report and inventory have in common.
fn spec(node: &str) -> DpuReportSpec {
    let version = env!("CARGO_PKG_VERSION");
    DpuReportSpec::new(Vantage::HostOs, node, version, clock::now())
}

impl Subject for Host {
    /// Addresses are left out: the Node has them, and those of Services come and go.
    fn compose(&self, facts: &LocalFacts) -> Result<DpuReportSpec> {
        Ok(DpuReportSpec {
            os: Some(os_report(facts)?),
            machine: machine(facts),
            ..spec(&self.node)
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
        serial_number: known(&facts.product_serial).map(|serial| serial.chars().take(64).collect()),
    };
    (machine != MachineIdentity::default()).then_some(machine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::FakeApi;
    use lockstep_local::Root;
    use std::fs;
    use std::path::Path;

    const BOOT: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const UUID: &str = "4c4c4544-0051-3510-8052-b4c04f4d3132";

    fn files(dir: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
    }

    fn agent(api: &FakeApi, dir: &Path) -> LocalReporter<Host> {
        let machine = LocalMachine::at(dir);
        let host = Host {
            node: "node1".to_owned(),
            figures: Arc::new(HostFigures::new(machine.root.clone())),
        };
        reporter(&api.client(), "site", host, machine, Arc::default())
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
        let mut agent = agent(&api, dir.path());
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
    async fn its_inventory_stands_beside_its_report() {
        let api = FakeApi::default();
        let dir = tempfile::tempdir().unwrap();
        files(dir.path(), &[("proc/meminfo", "MemTotal: 1024 kB")]);
        let machine = LocalMachine::at(dir.path());
        let keeper = inventory(&api.client(), "site", "node1", machine, &Arc::default());
        let ending = CancellationToken::new();
        let task = tokio::spawn(keeper.run(ending.clone()));
        let report = api.until("dpureports/inventory-host-node1", |_| true).await;
        ending.cancel();
        task.await.unwrap();
        assert_eq!(report["spec"]["subject"], "node1");
        assert!(report["spec"]["inventory"].is_object());
        assert!(report["spec"]["os"].is_null());
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

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let taken = listen(0).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = format!("{:#}", listen(port).await.unwrap_err());
        assert!(error.contains("--health-port"), "{error}");
    }
}
