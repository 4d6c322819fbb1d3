//! `discovery-local`: what the agents of a host and of a card say of the machine they run on is
//! what its own tools say, and they notice what is taken out and put in while it runs.
//!
//! A VM with slots, disks, memory modules and ports runs both agents, with their identities as
//! they would have them. Witnesses: `lspci`, `dmidecode`, `lscpu`, `lsblk`, `ip`,
//! `devlink` (of the kernel's simulated card), `ethtool` and the kernel in the same guest, and QEMU.

mod drivers;
mod hardware;
mod tools;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::{Api, ResourceExt as _};
use lockstep_cluster::{ControlPlane, Look, Options, eventually};
use lockstep_crds::inventory::Inventory;
use lockstep_crds::{Dpu, DpuReport, HOST_AGENT, names};
use lockstep_lab::requirements;
use lockstep_lab::{Guest, GuestSpec};
use serde_json::json;

use crate::artefacts::{Binaries, workspace};
use crate::objects::{self, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use tools::Comparison;

pub(crate) use drivers::NETDEVSIM;

const NODE: &str = "node1";
const CARD: &str = "card1";
const OF_HOST: &str = "host-node1";
const OF_CARD: &str = "xpu-card1";
/// The tools, by the packages that they come from.
const PACKAGES: [&str; 6] = [
    "binutils",
    "dmidecode",
    "ethtool",
    "iproute2",
    "pciutils",
    "util-linux",
];
const TOOLS: [&str; 7] = [
    "usr/bin/lspci",
    "usr/sbin/dmidecode",
    "usr/bin/lscpu",
    "usr/bin/lsblk",
    "sbin/ip",
    "sbin/devlink",
    "usr/sbin/ethtool",
];
/// Values that each tool has of this hardware, twice where both agents report them.
const COMPARED: [(&str, usize); 8] = [
    ("devlink", 4),
    ("dmidecode", 48),
    ("ethtool", 86),
    ("ip", 12),
    ("kernel", 4),
    ("lsblk", 16),
    ("lscpu", 10),
    ("lspci", 69),
];
/// Until the agents have said everything, on a slow machine.
const TOLD: Duration = Duration::from_secs(240);
/// From a change of hardware to the report.
const NOTICED: Duration = Duration::from_secs(120);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    tokio::task::spawn_blocking(|| requirements::ensure_these(&PACKAGES))
        .await
        .context("the task that installs packages ended early")??;
    let plane = ControlPlane::start(Options::new(context.folder.join("cluster"))).await?;
    install(&plane).await?;
    let folder = context.folder.join("guest");
    let began = Instant::now();
    let spec = guest_spec(&plane, &context.binaries, &folder).await?;
    let mut guest = Guest::start(&folder, &spec).await?;
    report.figure("seconds to boot the guest", began.elapsed().as_secs());

    let began = Instant::now();
    drivers::plug_simulated(&mut guest).await?;
    start_agents(&mut guest).await?;
    let card = told(&plane, &mut guest, OF_CARD).await?;
    let host = told(&plane, &mut guest, OF_HOST).await?;
    report.figure("seconds to both inventories", began.elapsed().as_secs());
    compare(&plane, &mut guest, &card, &host, &mut report).await?;
    unplug_and_replug(&plane, &mut guest, &mut report).await?;
    guest.stop().await?;
    plane.stop().await?;
    Ok(report)
}

/// CRDs, roles, guards, and the objects that the agents need.
async fn install(plane: &ControlPlane) -> Result<()> {
    let kubectl = plane.kubectl();
    let root = workspace();
    kubectl.apply_text(&surroundings()).await?;
    for part in ["crds", "config/rbac", "config/admission"] {
        kubectl
            .apply(&root.join(part))
            .await
            .with_context(|| format!("applying {part}"))?;
    }
    kubectl.wait_for_crds().await?;
    let bmc = objects::Bmc {
        address: "http://192.0.2.1".to_owned(),
        uuid: "4c4c4544-0051-3510-8052-b4c04f4d3132".to_owned(),
    };
    kubectl
        .apply_text(&objects::card(CARD, "host1", &bmc))
        .await?;
    Ok(())
}

fn surroundings() -> String {
    let hosts = names::hosts(NAMESPACE);
    let binding = |name: &str, account: &str, home: &str| {
        format!(
            "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {account}, namespace: {home}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {account}, namespace: {NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}
subjects: [{{kind: ServiceAccount, name: {account}, namespace: {home}}}]
---"
        )
    };
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: lockstep-system}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: {hosts}}}
---{}{}
apiVersion: v1
kind: Node
metadata: {{name: {NODE}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: agent, namespace: {hosts}}}
spec:
  nodeName: {NODE}
  serviceAccountName: {HOST_AGENT}
  containers: [{{name: agent, image: none.test/agent}}]
",
        binding("lockstep-host-agent", HOST_AGENT, &hosts),
        binding("lockstep-xpu-agent", OF_CARD, NAMESPACE),
    )
}

async fn guest_spec(plane: &ControlPlane, binaries: &Binaries, folder: &Path) -> Result<GuestSpec> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let kubectl = plane.kubectl();
    let hosts = names::hosts(NAMESPACE);
    let of_pod = ["--bound-object-kind=Pod", "--bound-object-name=agent"];
    let of_host = ["-n", &hosts, "create", "token", HOST_AGENT];
    let of_host = kubectl.run(&[&of_host[..], &of_pod].concat()).await?;
    let of_card = ["-n", NAMESPACE, "create", "token", OF_CARD];
    let of_card = kubectl.run(&of_card).await?;
    let kubeconfig = plane.kubeconfig_for_token(of_host.trim(), &plane.guest_url());
    let dpus: Api<Dpu> = Api::namespaced(plane.client(), NAMESPACE);
    let uid = dpus.get(CARD).await?.uid().context("a Dpu without uid")?;
    let seed = json!({
        "apiServer": plane.guest_url(),
        "ca": plane.ca(),
        "namespace": NAMESPACE,
        "dpu": CARD,
        "dpuUid": uid,
        "token": of_card.trim(),
        "imageVersion": "1",
        "imageDigest": "sha256:00",
    });
    let mut tables = Vec::new();
    for (number, table) in hardware::tables().iter().enumerate() {
        let path = folder.join(format!("table{number}"));
        std::fs::write(&path, table).with_context(|| format!("cannot write {}", path.display()))?;
        tables.push(path.display().to_string());
    }
    let mut programs: Vec<(String, PathBuf)> = TOOLS
        .iter()
        .map(|place| ((*place).to_owned(), Path::new("/").join(place)))
        .collect();
    programs.push(("bin/lockstep-agent".to_owned(), binaries.agent.clone()));
    Ok(GuestSpec {
        programs,
        files: vec![
            ("etc/kubeconfig".to_owned(), kubeconfig.into_bytes()),
            ("etc/seed.json".to_owned(), seed.to_string().into_bytes()),
            (
                "etc/os-release".to_owned(),
                b"PRETTY_NAME=\"Lab guest\"\n".to_vec(),
            ),
        ],
        // The first of them makes eth0, which has a network behind it.
        modules: vec!["virtio_net", "virtio_blk", "nvme", "e1000e"],
        built_modules: vec![drivers::NETDEVSIM],
        hardware: hardware::arguments(&tables),
    })
}

/// Both agents, as the machine's init would start them.
async fn start_agents(guest: &mut Guest) -> Result<()> {
    for (name, arguments) in [
        (
            "host",
            format!("host --node {NODE} --namespace {NAMESPACE}"),
        ),
        ("xpu", "xpu --seed /etc/seed.json".to_owned()),
    ] {
        let start = format!(
            "KUBECONFIG=/etc/kubeconfig setsid lockstep-agent {arguments} \
             </dev/null >/run/{name}.log 2>&1 & echo started"
        );
        guest.run(&start).await?;
    }
    Ok(())
}

/// Waits for the inventory in the object of this name.
async fn told(plane: &ControlPlane, guest: &mut Guest, name: &str) -> Result<Inventory> {
    let waited = eventually(TOLD, name, async || look(plane, name, |_| true).await).await;
    match waited {
        Ok(inventory) => Ok(inventory),
        Err(error) => {
            let log = guest.run("tail -n 5 /run/host.log /run/xpu.log").await?;
            Err(error).with_context(|| format!("the agents say: {log}"))
        }
    }
}

async fn look(
    plane: &ControlPlane,
    name: &str,
    wanted: impl Fn(&Inventory) -> bool,
) -> Look<Inventory> {
    let reports: Api<DpuReport> = Api::namespaced(plane.client(), NAMESPACE);
    match reports.get_opt(name).await {
        Ok(Some(report)) => match report.spec.inventory {
            Some(inventory) if wanted(&inventory) => Look::Holds(inventory),
            Some(_) => Look::not_yet("an older inventory"),
            None => Look::not_yet("no inventory in it"),
        },
        Ok(None) => Look::not_yet("there is none"),
        Err(error) => Look::not_yet(error),
    }
}

async fn compare(
    plane: &ControlPlane,
    guest: &mut Guest,
    card: &Inventory,
    host: &Inventory,
    report: &mut Report,
) -> Result<()> {
    let mut result = Comparison::default();
    // A host's report tells the functions of cards only, and here is none.
    tools::functions(guest, card, &mut result).await?;
    for (inventory, serial) in [
        (card, "baseboard-serial-number"),
        (host, "system-serial-number"),
    ] {
        tools::firmware(guest, inventory, serial, &mut result).await?;
        tools::processors(guest, inventory, &mut result).await?;
        tools::disks(guest, inventory, &mut result).await?;
        tools::ports(guest, inventory, &mut result).await?;
        tools::system(guest, inventory, &mut result).await?;
        drivers::devlink(guest, inventory, &mut result).await?;
        drivers::names(guest, inventory, &mut result).await?;
    }
    // A host's report tells no offloads.
    drivers::offloads(guest, card, &mut result).await?;
    report.figure(
        "values equal to those of the guest's own tools",
        result.end(&COMPARED)?,
    );
    let offloads = card.offloads.as_ref().context("no offloads")?;
    report.figure("offloads told", offloads.offloads.len());
    let reports: Api<DpuReport> = Api::namespaced(plane.client(), NAMESPACE);
    let hot = reports.get(OF_HOST).await?.spec;
    let machine = hot.machine.context("the host says no machine")?;
    let uuid = guest.run("/usr/sbin/dmidecode -s system-uuid").await?;
    ensure!(
        machine.system_uuid.as_deref() == Some(uuid.trim()),
        "host {machine:?} is not machine {uuid}"
    );
    let boot = guest.run("cat /proc/sys/kernel/random/boot_id").await?;
    let epoch = hot.os.map(|os| os.boot_epoch).unwrap_or_default();
    ensure!(epoch == boot.trim(), "boot epoch {epoch} is not {boot}");
    let unread: Vec<String> = card
        .unread
        .iter()
        .map(|unread| format!("{}: {}", unread.group, unread.why))
        .collect();
    report.say(format!("not read: {}", unread.join("; ")));
    Ok(())
}

/// A disk is taken out of its slot and put back; both agents say so, that of the card of its PCI
/// function too, and it has what `lspci` has then.
async fn unplug_and_replug(
    plane: &ControlPlane,
    guest: &mut Guest,
    report: &mut Report,
) -> Result<()> {
    let has_disk = |inventory: &Inventory| {
        inventory.disks.as_ref().is_some_and(|list| {
            list.disks
                .iter()
                .any(|disk| disk.serial_number.as_deref() == Some("NVME-2"))
        })
    };
    let has_function = |inventory: &Inventory| {
        inventory.functions.as_ref().is_some_and(|list| {
            list.functions
                .iter()
                .any(|function| function.address == hardware::FUNCTION)
        })
    };
    for there in [false, true] {
        let began = Instant::now();
        let what = if there {
            let device = json!({
                "driver": "nvme", "id": hardware::DISK, "bus": "rp3",
                "serial": "NVME-2", "drive": "blocks2",
            });
            guest.monitor("device_add", &device).await?;
            "replug"
        } else {
            let device = json!({"id": hardware::DISK});
            guest.monitor("device_del", &device).await?;
            "unplug"
        };
        let of_card = |inventory: &Inventory| {
            has_disk(inventory) == there && has_function(inventory) == there
        };
        let of_host = |inventory: &Inventory| has_disk(inventory) == there;
        let card = noticed(plane, what, OF_CARD, of_card).await?;
        noticed(plane, what, OF_HOST, of_host).await?;
        report.figure(
            &format!("seconds from {what} to both reports"),
            began.elapsed().as_secs_f32(),
        );
        let least = if there { 69 } else { 62 };
        let mut result = Comparison::default();
        tools::functions(guest, &card, &mut result).await?;
        let equal = result
            .end(&[("lspci", least)])
            .with_context(|| format!("after the {what}"))?;
        report.figure(&format!("values equal after the {what}"), equal);
    }
    Ok(())
}

/// Waits for the inventory in the object of this name to be the wanted one.
async fn noticed(
    plane: &ControlPlane,
    what: &str,
    name: &str,
    wanted: impl Fn(&Inventory) -> bool,
) -> Result<Inventory> {
    let waited = format!("the {what} of a disk in {name}");
    let told = eventually(NOTICED, waited, async || look(plane, name, &wanted).await).await?;
    Ok(told)
}
