//! The host in a VM: its agent as the chart starts it, netdevsim in the place of a card's driver, and
//! what the kernel and tools of the guest say.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lockstep_cluster::{ControlPlane, Look, eventually};
use lockstep_crds::{HOST_AGENT, SITE_AGENT, names};
use lockstep_lab::{Guest, GuestSpec};

use crate::discovery_local::NETDEVSIM;
use crate::objects::{self, NAMESPACE};
use crate::world::World;

/// The devlink device of the simulated driver.
pub(super) const HANDLE: &str = "netdevsim/netdevsim1";
/// Serial number of the card, as the host reads it.
pub(super) const SERIAL: &str = "MT2333X00001";
/// Where the kernel looks for firmware.
pub(super) const FIRMWARE: &str = "/lib/firmware";
/// For whom a token for the site's store is made.
const AUDIENCE: &str = "lockstep-image-store";
/// This machine, as the guest reaches it.
const OUTSIDE: &str = "10.0.2.2";
/// The machine's files that the agent reads: a card of a maker that is known, and the driver's device
/// below it. No card that QEMU has takes firmware by devlink.
const ROOT: &str = "/host";
const FUNCTION: &str = "host/sys/bus/pci/devices/0000:03:00.0";
const SOON: Duration = Duration::from_secs(120);

pub(super) struct HostVm {
    guest: Guest,
    start: String,
}

/// Rights of the agents, and the Node with the Pod of its agent.
pub(super) fn rights(node: &str) -> String {
    let hosts = names::hosts(NAMESPACE);
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: lockstep-host-installer, namespace: {NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lockstep-host-installer}}
subjects: [{{kind: ServiceAccount, name: {HOST_AGENT}, namespace: {hosts}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: lockstep-token-reviewer-{NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lockstep-token-reviewer}}
subjects: [{{kind: ServiceAccount, name: {SITE_AGENT}, namespace: {NAMESPACE}}}]
---
{}apiVersion: v1
kind: Pod
metadata: {{name: agent-{node}, namespace: {hosts}}}
spec:
  nodeName: {node}
  serviceAccountName: {HOST_AGENT}
  containers: [{{name: agent, image: none.test/agent}}]
---
",
        objects::node(node)
    )
}

async fn token(plane: &ControlPlane, node: &str, more: &[&str]) -> Result<String> {
    let hosts = names::hosts(NAMESPACE);
    let pod = format!("agent-{node}");
    let bound = ["--bound-object-kind=Pod", "--bound-object-name", &pod];
    let of = ["-n", &hosts, "create", "token", HOST_AGENT];
    let token = plane
        .kubectl()
        .run(&[&of[..], &bound, more].concat())
        .await?;
    Ok(token.trim().to_owned())
}

impl HostVm {
    /// Boots it, as the machine with this UUID and serial number, and starts its agent.
    pub(super) async fn start(world: &World, node: &str, identity: (&str, &str)) -> Result<Self> {
        let plane = &world.control_plane;
        let to_api = token(plane, node, &[]).await?;
        let to_store = token(plane, node, &["--audience", AUDIENCE]).await?;
        let kubeconfig = plane.kubeconfig_for_token(&to_api, &plane.guest_url());
        let mut vpd = b"\x82\x05\x00Card1\x90\x0f\x00SN\x0c".to_vec();
        vpd.extend(SERIAL.as_bytes());
        vpd.push(0x78);
        let (uuid, serial) = identity;
        let text = |place: &str, text: &str| (place.to_owned(), format!("{text}\n").into_bytes());
        let function = |file: &str, value: &str| text(&format!("{FUNCTION}/{file}"), value);
        let spec = GuestSpec {
            programs: vec![
                (
                    "bin/lockstep-agent".to_owned(),
                    world.agent_binary().to_owned(),
                ),
                (
                    "sbin/devlink".to_owned(),
                    Path::new("/sbin/devlink").to_owned(),
                ),
            ],
            files: vec![
                text("etc/kubeconfig", &kubeconfig),
                text("etc/store-token", &to_store),
                text("host/sys/class/dmi/id/product_uuid", uuid),
                text("host/sys/class/dmi/id/product_serial", serial),
                function("vendor", "0x15b3"),
                function("device", "0xa2dc"),
                function("class", "0x020000"),
                (format!("{FUNCTION}/vpd"), vpd),
            ],
            modules: vec!["virtio_net"],
            built_modules: vec![NETDEVSIM],
            hardware: ["-m", "1024", "-nic", "user,model=virtio-net-pci"]
                .map(str::to_owned)
                .into(),
        };
        let mut guest = Guest::start(&world.folder().join("guest"), &spec).await?;
        let devices = format!("{ROOT}/sys/bus/netdevsim/devices");
        let plug = format!(
            "echo '1 1' >/sys/bus/netdevsim/new_device && mkdir -p {devices} /{FUNCTION}/netdevsim1 \
             {FIRMWARE} /run/elsewhere && ln -s /{FUNCTION}/netdevsim1 {devices}/netdevsim1"
        );
        guest.run(&plug).await?;
        let store = world.store_url().replace("127.0.0.1", OUTSIDE);
        let start = format!(
            "KUBECONFIG=/etc/kubeconfig setsid lockstep-agent host --node {node} \
             --namespace {NAMESPACE} --root {ROOT} --store {store} --store-token /etc/store-token \
             --work-dir /run/work"
        );
        let mut vm = Self { guest, start };
        vm.start_agent(FIRMWARE).await?;
        Ok(vm)
    }

    /// Starts the agent, which lays firmware into this folder.
    pub(super) async fn start_agent(&mut self, folder: &str) -> Result<()> {
        let start = format!(
            "{} --firmware-dir {folder} </dev/null >>/run/agent.log 2>&1 & echo $! >/run/agent.pid; echo started",
            self.start
        );
        self.guest.run(&start).await?;
        Ok(())
    }

    pub(super) async fn kill_agent(&mut self) -> Result<()> {
        self.guest
            .run("kill -9 $(pidof lockstep-agent) && echo killed")
            .await?;
        // In the middle of a flash it is gone only when the driver has ended.
        self.until("pidof lockstep-agent || echo gone", "gone")
            .await?;
        Ok(())
    }

    /// Listens to what devlink tells from now on.
    pub(super) async fn listen(&mut self) -> Result<()> {
        let listen = "setsid /sbin/devlink monitor </dev/null >/run/heard 2>&1 & echo listening";
        self.guest.run(listen).await?;
        Ok(())
    }

    pub(super) async fn heard(&mut self) -> Result<String> {
        self.guest.run("cat /run/heard").await
    }

    /// The sum of what lies there by now under that digest.
    pub(super) async fn lying(&mut self, digest: &str) -> Result<String> {
        let sum = format!("sha256sum {FIRMWARE}/lockstep/{digest}");
        let told = self.guest.run(&sum).await?;
        let sum = told.split_whitespace().next();
        sum.map(str::to_owned).context("no sum")
    }

    /// What lies there.
    pub(super) async fn left(&mut self) -> Result<String> {
        let list = format!("ls {FIRMWARE}/lockstep /run/elsewhere/lockstep 2>/dev/null || true");
        let told = self.guest.run(&list).await?;
        let files = told.lines().filter(|line| !line.ends_with(':'));
        Ok(files.collect::<String>())
    }

    /// What of ours the kernel says that it has loaded.
    pub(super) async fn loaded(&mut self) -> Result<Vec<String>> {
        let told = self
            .guest
            .run("dmesg | grep -F 'direct-loading firmware lockstep/' || true")
            .await?;
        let lines = told.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok(lines.map(str::to_owned).collect())
    }

    /// Waits until it has loaded so often.
    pub(super) async fn loads(&mut self, times: usize) -> Result<()> {
        let count = "dmesg | grep -cF 'direct-loading firmware lockstep/' || true";
        self.until(count, &times.to_string()).await?;
        Ok(())
    }

    pub(super) async fn log(&mut self) -> Result<String> {
        self.guest.run("tail -n 60 /run/agent.log").await
    }

    async fn until(&mut self, command: &str, words: &str) -> Result<String> {
        let guest = &mut self.guest;
        let told = eventually(
            SOON,
            format!("`{command}` says {words}"),
            async || match guest.run(command).await {
                Ok(told) if told.contains(words) => Look::Holds(told),
                Ok(told) => Look::not_yet(told),
                Err(error) => Look::not_yet(error),
            },
        )
        .await?;
        Ok(told)
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.guest.stop().await
    }
}
