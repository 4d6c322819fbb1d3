//! The host agent in the scenario `helm`: what its Pod can reach on the node, what it tells of it,
//! and what the operator makes of that. Witnesses: kubelet's own account of its node, and the
//! kernel's of the Pod's process.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node as NodeObject, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::report::Vantage;
use lockstep_crds::{AGENT_LABEL, DpuReport, DpuReportSpec, HOST_AGENT, names};

use crate::helm_world::HelmWorld;
use crate::objects::{NAMESPACE, SITE};
use crate::report::Report;
use crate::story;

/// Object of the machine that the node is.
const SERVER: &str = "server";
/// From a Ready Pod to its report, and from an object to what the operator shows on it.
const SOON: Duration = Duration::from_secs(60);
/// Labels that the operator puts on Nodes.
const CARD_LABELS: &str = "xpu.node-restriction.kubernetes.io/";

/// The Pod is as closed as it can be, and tells which machine the node is.
pub(crate) async fn tells(world: &HelmWorld, report: &mut Report) -> Result<()> {
    strictness(world).await?;
    let pod = the_pod(world).await?;
    mounts(&pod, report)?;
    process(world, report).await?;
    let node = the_node(world).await?;
    let told = told(world).await?;
    let compared = compare(&told, &node, &world.node.system_uuid())?;
    report.say(format!(
        "host agent: Node {} is machine {}",
        world.node.name(),
        world.node.system_uuid()
    ));
    report.figure("values of the node equal to kubelet's", compared);
    let inventory = told.inventory.context("a report without inventory")?;
    ensure!(
        inventory.cards.is_empty(),
        "cards where there are none: {:?}",
        inventory.cards
    );
    let unread: Vec<String> = inventory
        .unread
        .iter()
        .map(|unread| format!("{}: {}", unread.group, unread.why))
        .collect();
    report.say(format!("host agent, not read: {}", unread.join("; ")));
    lease(world).await
}

/// The level that each namespace enforces.
async fn strictness(world: &HelmWorld) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(world.control_plane.client());
    for (name, wanted) in [
        (NAMESPACE.to_owned(), "restricted"),
        (names::hosts(NAMESPACE), "privileged"),
    ] {
        let namespace = namespaces.get(&name).await?;
        let level = namespace
            .labels()
            .get("pod-security.kubernetes.io/enforce")
            .map_or("nothing", String::as_str);
        ensure!(level == wanted, "{name} enforces {level}, not {wanted}");
    }
    Ok(())
}

async fn the_pod(world: &HelmWorld) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(world.control_plane.client(), &names::hosts(NAMESPACE));
    let mut pods = pods.list(&ListParams::default()).await?.items;
    let pod = pods.pop().context("no Pod of the host agent")?;
    ensure!(pods.is_empty(), "more Pods than nodes: {pods:?}");
    let ready = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ensure!(ready, "the host agent is not Ready: {:?}", pod.status);
    Ok(pod)
}

/// Every folder of the host is read-only with all that is mounted below it, by kubelet's account.
fn mounts(pod: &Pod, report: &mut Report) -> Result<()> {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let of_host: Vec<_> = statuses
        .flat_map(|status| status.volume_mounts.iter().flatten())
        .filter(|mount| mount.mount_path.starts_with("/host/"))
        .collect();
    ensure!(!of_host.is_empty(), "kubelet tells of no mounts");
    for mount in &of_host {
        let rest = mount.recursive_read_only.as_deref();
        ensure!(
            mount.read_only == Some(true) && rest == Some("Enabled"),
            "{}: what is mounted below it can be written ({rest:?})",
            mount.mount_path
        );
    }
    report.figure("mounts of the host, read-only to the ground", of_host.len());
    Ok(())
}

/// The process of the host agent, seen from its node.
const PROCESS: &str = "/proc/$(pgrep -f '^[^ ]*lockstep-agent host ')";

/// The kernel's account of the agent: no capability, no way to one, nothing of the host that can be
/// written, and neither its processes nor its control groups nor its devices.
async fn process(world: &HelmWorld, report: &mut Report) -> Result<()> {
    let status = world.in_node(&format!("cat {PROCESS}/status")).await?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).unwrap_or_default()
    };
    for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        let caps = field(set);
        ensure!(
            !caps.is_empty() && caps.bytes().all(|digit| digit == b'0'),
            "the agent has capabilities: {set} {caps}"
        );
    }
    ensure!(field("NoNewPrivs:") == "1", "the agent may gain privileges");
    ensure!(field("Seccomp:") == "2", "the agent has no seccomp filter");
    let mounts = world.in_node(&format!("cat {PROCESS}/mountinfo")).await?;
    let mut seen = 0_u32;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(4);
        let (point, options) = (
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        let root_or_host = point == "/" || point.starts_with("/host");
        if root_or_host {
            seen += 1;
            ensure!(
                options.split(',').any(|option| option == "ro"),
                "{point} can be written: {options}"
            );
        }
        ensure!(
            ![
                "/host/proc",
                "/host/dev",
                "/host/sys/fs",
                "/host/sys/kernel"
            ]
            .iter()
            .any(|closed| point.starts_with(closed)),
            "the agent sees {point}"
        );
    }
    ensure!(seen > 1, "the agent sees nothing of the host:\n{mounts}");
    report.say("host agent: no capability, no new privileges, nothing of the host is writable");
    Ok(())
}

async fn the_node(world: &HelmWorld) -> Result<NodeObject> {
    let nodes: Api<NodeObject> = Api::all(world.control_plane.client());
    Ok(nodes.get(world.node.name()).await?)
}

/// The report, once the inventory is in it.
async fn told(world: &HelmWorld) -> Result<DpuReportSpec> {
    let reports: Api<DpuReport> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let name = names::host(world.node.name());
    let told = eventually(SOON, format!("the report {name}"), async || {
        match reports.get_opt(&name).await {
            Ok(Some(report)) if report.spec.inventory.is_some() => Look::Holds(report.spec),
            Ok(Some(_)) => Look::not_yet("no inventory in it"),
            Ok(None) => Look::not_yet("there is none"),
            Err(error) => Look::not_yet(error),
        }
    })
    .await?;
    Ok(told)
}

/// What agent and kubelet both say of the node; returns how much that is.
fn compare(told: &DpuReportSpec, node: &NodeObject, uuid: &str) -> Result<usize> {
    let status = node.status.as_ref().context("a Node without status")?;
    let system = status.node_info.as_ref().context("a Node without system")?;
    let capacity = |what: &str| {
        let capacity = status.capacity.as_ref().and_then(|all| all.get(what));
        capacity
            .map(|quantity| quantity.0.clone())
            .unwrap_or_default()
    };
    ensure!(told.vantage == Vantage::HostOs, "{:?}", told.vantage);
    let machine = told.machine.as_ref().context("no machine in the report")?;
    let os = told.os.as_ref().context("no system in the report")?;
    let inventory = told.inventory.as_ref().context("no inventory")?;
    let threads = inventory.cpu.as_ref().and_then(|cpu| cpu.threads);
    let memory = inventory
        .memory
        .as_ref()
        .and_then(|memory| memory.usable_bytes);
    let both = [
        (
            "system UUID",
            machine.system_uuid.clone(),
            system.system_uuid.clone(),
        ),
        ("boot", Some(os.boot_epoch.clone()), system.boot_id.clone()),
        ("kernel", os.kernel.clone(), system.kernel_version.clone()),
        ("system", os.os.clone(), system.os_image.clone()),
        (
            "threads",
            threads.map(|threads| threads.to_string()),
            capacity("cpu"),
        ),
        (
            "memory",
            memory.map(|bytes| format!("{}Ki", bytes / 1024)),
            capacity("memory"),
        ),
    ];
    for (what, agent, kubelet) in &both {
        ensure!(
            agent.as_ref() == Some(kubelet),
            "{what}: {agent:?} by the agent, {kubelet} by kubelet"
        );
    }
    ensure!(
        system.system_uuid == uuid,
        "kubelet is on machine {}, not {uuid}",
        system.system_uuid
    );
    ensure!(
        machine.serial_number.is_some(),
        "a machine without serial number"
    );
    Ok(both.len())
}

async fn lease(world: &HelmWorld) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let name = names::host(world.node.name());
    let lease = eventually(SOON, format!("the Lease {name}"), async || {
        match leases.get_opt(&name).await {
            Ok(Some(lease)) => Look::Holds(lease),
            Ok(None) => Look::not_yet("there is none"),
            Err(error) => Look::not_yet(error),
        }
    })
    .await?;
    let spec = lease.spec.clone().context("an empty Lease")?;
    ensure!(
        lease
            .labels()
            .get(AGENT_LABEL)
            .is_some_and(|role| role == "host")
            && spec.holder_identity.as_ref() == Some(&name)
            && spec.renew_time.is_some(),
        "not the Lease of a host agent: {lease:?}"
    );
    Ok(())
}

/// The operator finds the Node of a host by its machine; without cards there is nothing to tell on
/// the Node.
pub(crate) async fn is_joined(world: &HelmWorld, report: &mut Report) -> Result<()> {
    let plane = &world.control_plane;
    plane.kubectl().apply_text(&server(world)).await?;
    let node = world.node.name();
    story::await_host(plane, SERVER, "the Node of the server", SOON, |host| {
        host.status
            .as_ref()
            .is_some_and(|status| status.node_name.as_deref() == Some(node))
    })
    .await?;
    let labels = the_node(world).await?.labels().clone();
    ensure!(
        labels.keys().all(|label| !label.starts_with(CARD_LABELS)),
        "labels that tell of cards on a node without any: {labels:?}"
    );
    report.say(format!(
        "operator: DpuHost {SERVER} is Node {node}, by its machine alone; no label tells of cards"
    ));
    Ok(())
}

/// What a user writes who knows the machine and not the Node.
fn server(world: &HelmWorld) -> String {
    let uuid = world.node.system_uuid();
    format!(
        "apiVersion: provisioning.opiproject.org/v1alpha1
kind: DpuHost
metadata: {{name: {SERVER}, namespace: {NAMESPACE}}}
spec:
  site: {SITE}
  role: Infrastructure
  identity: {{systemUuid: {uuid}}}
  policyRef: {{name: policy}}
"
    )
}

/// Nothing of the host agents is left but what they told.
pub(crate) async fn is_gone(world: &HelmWorld) -> Result<()> {
    let client = world.control_plane.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let hosts = names::hosts(NAMESPACE);
    eventually(
        SOON,
        format!("the end of namespace {hosts}"),
        async || match namespaces.get_opt(&hosts).await {
            Ok(None) => Look::Holds(()),
            Ok(Some(found)) => Look::not_yet(format!("{:?}", found.status)),
            Err(error) => Look::not_yet(error),
        },
    )
    .await?;
    let bindings = world
        .control_plane
        .kubectl()
        .run(&["get", "rolebindings", "-n", NAMESPACE, "-o", "name"])
        .await?;
    ensure!(
        !bindings.contains(HOST_AGENT),
        "rights of the host agents are left: {bindings}"
    );
    let reports: Api<DpuReport> = Api::namespaced(client, NAMESPACE);
    reports.get(&names::host(world.node.name())).await?;
    Ok(())
}
