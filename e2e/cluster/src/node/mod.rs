//! A node on which pods really run: kubelet, containerd, runc, CNI, kube-proxy, and the
//! scheduler that gives them to it.
//!
//! It lives in namespaces of its own and leaves nothing on the machine. Pods reach the
//! apiserver by the `kubernetes` Service, and the machine at [`Node::host_address`]:
//! whatever listens there, or is brought there by [`Node::publish`]. There is no DNS and
//! no way out to other networks. Images are imported, never pulled.

mod cgroup;
mod containerd;
mod image;
mod kubernetes;
mod namespace;
mod network;
mod relay;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{core::v1::Node as NodeObject, discovery::v1::EndpointSlice};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::process::Command;

pub use image::{Image, build_image};

use self::{
    cgroup::Cgroups, kubernetes::Identity, namespace::Namespaces, network::Network, relay::Relay,
};
use lockstep_process::{Daemon, Lifetime, Program};

use crate::{
    ControlPlane, command,
    control_plane::SERVICE_ADDRESS,
    deadline::{Look, eventually},
    pki::Subject,
    ports,
    tools::{Group, Tool, Tools},
};

/// For a node to be ready on a loaded machine.
const READY_DEADLINE: Duration = Duration::from_secs(120);
/// For unpacking an image.
const IMPORT_DEADLINE: Duration = Duration::from_secs(120);

/// A running node. Dropping it ends it and every pod on it.
#[derive(Debug)]
pub struct Node {
    // Dropped in this order; with the namespaces everything inside is gone.
    scheduler: Option<Daemon>,
    kube_proxy: Option<Daemon>,
    kubelet: Option<Daemon>,
    containerd: Option<Daemon>,
    namespaces: Namespaces,
    cgroups: Cgroups,
    relays: Vec<Relay>,
    network: Network,
    name: String,
    folder: PathBuf,
    tools: Tools,
}

impl Node {
    /// Builds the tools if need be, starts a node for `plane`, and returns when it is Ready and its
    /// pods can reach the apiserver. It ends with this process at the latest. One node per control plane.
    ///
    /// # Errors
    /// When `plane` has no controller manager, when the machine lacks something (root, runc, CNI
    /// plugins, nftables, buildah, a static busybox), and when the node is not ready in time.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        ensure!(
            plane.has_controller_manager(),
            "a node needs kube-controller-manager; start the control plane with it"
        );
        containerd::check_machine()?;
        let tools = Tools::ensure(&[Group::ControlPlane, Group::Node]).await?;
        let network = Network::claim().await?;
        match Self::start_on(plane, tools, network).await {
            Ok(node) => Ok(node),
            Err(error) => {
                network.release().await.with_context(|| {
                    format!("the node did not start ({error:#}) and left an interface")
                })?;
                Err(error)
            }
        }
    }

    async fn start_on(plane: &ControlPlane, tools: Tools, network: Network) -> Result<Self> {
        let name = network.unique_name();
        let folder = plane.state().join("node");
        for part in ["cni", "containerd", "kubelet", "images"].map(|part| folder.join(part)) {
            std::fs::create_dir_all(&part)
                .with_context(|| format!("cannot make {}", part.display()))?;
        }
        let pods = network.pods();
        let identity = Identity {
            name: &name,
            address: network.node(),
            host: network.host(),
            pods: &pods,
            cgroup: &name,
        };
        kubernetes::prepare(plane, &folder, &identity)?;
        std::fs::write(folder.join("containerd.toml"), containerd::config())
            .context("cannot write containerd's configuration")?;
        std::fs::write(folder.join("cni/pods.conflist"), network.cni().to_string())
            .context("cannot write the pods' network configuration")?;
        let pause = folder.join("images/pause.tar");
        image::build_pause(&folder.join("images"), &pause).await?;

        let cgroups = Cgroups::make(&name)?;
        let uuid = network.system_uuid();
        let namespaces =
            Namespaces::start(plane.state(), &folder, &name, network.node(), &uuid).await?;
        let mut node = Self {
            scheduler: None,
            kube_proxy: None,
            kubelet: None,
            containerd: None,
            namespaces,
            cgroups,
            relays: Vec::new(),
            network,
            name: name.clone(),
            folder,
            tools,
        };
        network.connect(&node.namespaces).await?;
        node.publish(plane.port(), (Ipv4Addr::LOCALHOST, plane.port()).into())
            .await?;
        node.start_programs(plane, &identity, &pause).await?;
        node.ready(plane).await?;
        node.service_leads_to_apiserver().await?;
        Ok(node)
    }

    /// Ends the node, its pods and its programs, and waits until they are gone.
    /// The node's objects in the apiserver stay, as when a machine loses power.
    ///
    /// # Errors
    /// When something cannot be stopped or removed.
    pub async fn stop(self) -> Result<()> {
        let programs = [
            self.scheduler,
            self.kube_proxy,
            self.kubelet,
            self.containerd,
        ];
        for program in programs.into_iter().flatten() {
            program.stop().await?;
        }
        self.namespaces.stop().await?;
        // The kernel removes it too, but in its own time.
        self.network.release().await?;
        self.cgroups.remove().await
    }

    /// Name of the Node object.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// System UUID of the machine that the node passes for, as its SMBIOS tells it.
    pub fn system_uuid(&self) -> String {
        self.network.system_uuid()
    }

    /// The machine as pods see it.
    pub fn host_address(&self) -> Ipv4Addr {
        self.network.host()
    }

    /// The node as the machine sees it.
    pub fn address(&self) -> Ipv4Addr {
        self.network.node()
    }

    /// Lets pods reach `target`, which may listen on loopback, at [`Self::host_address`] and `port`,
    /// as long as this node lives.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn publish(&mut self, port: u16, target: SocketAddr) -> Result<SocketAddr> {
        let relay = Relay::start(self.host_address(), port, target).await?;
        self.relays.push(relay);
        Ok((self.host_address(), port).into())
    }

    /// Imports an OCI or docker archive, as [`build_image`] writes it; pods then use its
    /// name with `imagePullPolicy: Never` or `IfNotPresent`. One import at a time.
    ///
    /// # Errors
    /// When it is no image archive.
    pub async fn import_image(&self, archive: &Path) -> Result<()> {
        // By way of the node's own folder: the only one that both sides surely see alike.
        let name = "images/import.tar";
        let copy = self.folder.join(name);
        std::fs::copy(archive, &copy)
            .with_context(|| format!("cannot copy {}", archive.display()))?;
        let mut ctr = self.namespaces.command(self.tools.path(Tool::Ctr));
        ctr.args(["--address", containerd::SOCKET, "--namespace", "k8s.io"])
            .args(["images", "import"])
            .arg(Path::new(namespace::INSIDE).join(name));
        command::run(ctr, None, IMPORT_DEADLINE)
            .await
            .with_context(|| format!("cannot import {}", archive.display()))?;
        std::fs::remove_file(&copy).with_context(|| format!("cannot remove {}", copy.display()))
    }

    /// `program` in the node's namespaces, to look at what the node sees.
    pub fn command(&self, program: &str) -> Command {
        self.namespaces.command(program)
    }

    async fn start_programs(
        &mut self,
        plane: &ControlPlane,
        identity: &Identity<'_>,
        pause: &Path,
    ) -> Result<()> {
        let state = plane.state();
        let launch = |program: &Program| Daemon::start(program, state, Lifetime::ThisProcess);

        let mut containerd = self.namespaces.program(
            "containerd",
            11,
            self.tools.path(Tool::Containerd),
            vec![format!("--config={}/containerd.toml", namespace::INSIDE)],
        );
        // containerd looks its shim up in PATH.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let shim = self.tools.folder(Tool::ContainerdShim);
        let path = std::env::join_paths(std::iter::once(shim).chain(std::env::split_paths(&path)))
            .context("the tool cache lies in a folder that PATH cannot hold")?;
        containerd.env.push(("PATH", path));
        self.containerd = Some(launch(&containerd)?);
        self.containerd_answers().await?;
        self.import_image(pause).await?;

        self.kubelet = Some(launch(&self.namespaces.program(
            "kubelet",
            12,
            self.tools.path(Tool::Kubelet),
            kubernetes::kubelet_args(identity),
        ))?);
        self.kube_proxy = Some(launch(&self.namespaces.program(
            "kube-proxy",
            13,
            self.tools.path(Tool::KubeProxy),
            kubernetes::proxy_args(),
        ))?);
        let [port] = ports::free()?;
        let kubeconfig = self.folder.join("scheduler.kubeconfig");
        let user = Subject::user("system:kube-scheduler");
        plane.write_kubeconfig(&kubeconfig, &user, &plane.url())?;
        self.scheduler = Some(launch(&Program {
            name: "kube-scheduler",
            binary: self.tools.path(Tool::KubeScheduler),
            args: kubernetes::scheduler_args(&kubeconfig, port)
                .into_iter()
                .map(Into::into)
                .collect(),
            env: Vec::new(),
            order: 14,
            grace: Duration::from_secs(3),
        })?);
        publish_apiserver(plane, self.host_address()).await
    }

    async fn containerd_answers(&mut self) -> Result<()> {
        let Self {
            containerd,
            namespaces,
            tools,
            ..
        } = self;
        eventually(READY_DEADLINE, "containerd answering", async || {
            if let Some(Err(ended)) = containerd.as_mut().map(Daemon::check) {
                return Look::Never(ended);
            }
            let mut ctr = namespaces.command(tools.path(Tool::Ctr));
            ctr.args(["--address", containerd::SOCKET, "version"]);
            match command::run(ctr, None, Duration::from_secs(10)).await {
                Ok(_version) => Look::Holds(()),
                Err(error) => Look::not_yet(format!("{error:#}")),
            }
        })
        .await?;
        Ok(())
    }

    async fn ready(&mut self, plane: &ControlPlane) -> Result<()> {
        let nodes: Api<NodeObject> = Api::all(plane.client());
        let what = format!("the node {} being Ready", self.name);
        eventually(READY_DEADLINE, what, async || {
            if let Err(ended) = self.check() {
                return Look::Never(ended);
            }
            let node = match nodes.get_opt(&self.name).await {
                Ok(Some(node)) => node,
                Ok(None) => return Look::not_yet("kubelet has not registered it"),
                Err(error) => return Look::not_yet(error),
            };
            let conditions = node.status.and_then(|status| status.conditions);
            let ready = conditions
                .into_iter()
                .flatten()
                .find(|condition| condition.type_ == "Ready");
            match ready {
                Some(ready) if ready.status == "True" => Look::Holds(()),
                Some(ready) => Look::not_yet(ready.message.unwrap_or_default()),
                None => Look::not_yet("no Ready condition"),
            }
        })
        .await?;
        Ok(())
    }

    /// Node conditions say nothing of kube-proxy: until it has the endpoint, the Service refuses
    /// every connection.
    async fn service_leads_to_apiserver(&mut self) -> Result<()> {
        let what = "the `kubernetes` Service leading to the apiserver";
        eventually(READY_DEADLINE, what, async || {
            if let Err(ended) = self.check() {
                return Look::Never(ended);
            }
            let mut nc = self.namespaces.command("/bin/busybox");
            nc.args(["nc", "-w", "5", SERVICE_ADDRESS, "443"]);
            match command::run(nc, None, Duration::from_secs(10)).await {
                Ok(_closed) => Look::Holds(()),
                Err(error) => Look::not_yet(format!("{error:#}")),
            }
        })
        .await?;
        Ok(())
    }

    /// Fails with the end of its log if a program of the node has ended.
    ///
    /// # Errors
    /// When one has ended.
    pub fn check(&mut self) -> Result<()> {
        self.namespaces.check()?;
        [
            &mut self.containerd,
            &mut self.kubelet,
            &mut self.kube_proxy,
            &mut self.scheduler,
        ]
        .into_iter()
        .flatten()
        .try_for_each(Daemon::check)
    }
}

/// Gives the `kubernetes` Service its one endpoint. The apiserver does not do it itself: it
/// listens on loopback, and that is no endpoint.
async fn publish_apiserver(plane: &ControlPlane, host: Ipv4Addr) -> Result<()> {
    let slices: Api<EndpointSlice> = Api::namespaced(plane.client(), "default");
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "labels": { "kubernetes.io/service-name": "kubernetes" },
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [host], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "protocol": "TCP", "port": plane.port() }],
    });
    let params = PatchParams::apply("lockstep-lab").force();
    slices
        .patch("kubernetes", &params, &Patch::Apply(slice))
        .await
        .context("cannot publish the apiserver to pods")?;
    Ok(())
}
