//! What the scenario `helm` needs: a node that pulls nothing, machines that its pods reach, values.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lockstep_cluster::{ControlPlane, Helm, Node, Options};
use lockstep_lab::image::{Behaviour, Image};
use lockstep_lab::{Lab, LabSpec, MachineSpec};

use crate::artefacts::{self, workspace};
use crate::image_server::ImageServer;
use crate::images::Images;
use crate::objects::{self, NAMESPACE, SITE};
use crate::registry::Context;
use crate::world::OPERATOR_NAMESPACE;

/// The release, and the chart of that name.
pub(crate) const RELEASE: &str = "lockstep";
/// Chart of operator and agents.
pub(crate) const CHART: &str = "lockstep";
/// Chart and release of the CRDs.
pub(crate) const CRDS_CHART: &str = "lockstep-crds";

/// Registry of the images. There is none at that name: nothing is ever pulled.
pub(crate) const REPOSITORY: &str = "lockstep.test";
/// Where BMCs fetch images from.
const NODE_PORT: u16 = 30808;
/// Where the node keeps the site agent's volumes; its own folder, seen from inside.
const VOLUMES: &str = "/srv/node/volumes";
/// Kinds that the charts hold, as `kubectl get` takes them.
const RELEASE_KINDS: &str = "namespaces,persistentvolumeclaims,serviceaccounts,configmaps,services,deployments,daemonsets,\
     clusterroles,clusterrolebindings,roles,rolebindings,\
     validatingadmissionpolicies,validatingadmissionpolicybindings";

/// Values that the scenario changes.
pub(crate) struct Settings {
    /// `poll.idleSeconds` of the site.
    pub(crate) idle_seconds: u32,
    /// `RUST_LOG` of the agent.
    pub(crate) log_level: &'static str,
}

/// A cluster with a node, two VMs, and the charts' dependencies.
pub(crate) struct HelmWorld {
    pub(crate) control_plane: ControlPlane,
    pub(crate) lab: Lab,
    pub(crate) image: Image,
    pub(crate) node: Node,
    helm: Helm,
    images: ImageServer,
    values: PathBuf,
}

impl HelmWorld {
    /// Starts everything up to the point where a user installs the chart `lockstep`.
    pub(crate) async fn start(context: &Context, packed: &Images) -> Result<Self> {
        let image = artefacts::installer(&context.binaries, "1.0", Behaviour::Installs).await?;
        let images = ImageServer::serve(image.path.clone()).await?;
        let machines = [MachineSpec::card("card1"), MachineSpec::host("host1")];
        let lab = Lab::up(&context.folder.join("lab"), LabSpec::new(machines)).await?;
        let control_plane =
            ControlPlane::start(Options::new(context.folder.join("cluster"))).await?;
        let mut node = Node::start(&control_plane).await?;
        for packed in [&packed.operator, &packed.agent] {
            node.import_image(&packed.archive).await?;
        }
        let targets = [
            lab.bmc("card1")?.address(),
            lab.bmc("host1")?.address(),
            images.address(),
        ];
        for target in targets {
            node.publish(target.port(), target).await?;
        }
        let world = Self {
            helm: Helm::new(&control_plane).await?,
            values: context.folder.join("values.yaml"),
            control_plane,
            lab,
            image,
            node,
            images,
        };
        world.prepare().await?;
        Ok(world)
    }

    /// What a cluster's administrator does before: CRDs, namespaces, volumes, BMC credentials.
    async fn prepare(&self) -> Result<()> {
        self.write_values(&Settings {
            idle_seconds: 30,
            log_level: "info",
        })?;
        let mut command = self.node.command("mkdir");
        let made = command
            .args(["--parents"])
            .args(["store", "state"].map(|name| format!("{VOLUMES}/{name}")))
            .status()
            .await
            .context("cannot run mkdir")?;
        anyhow::ensure!(made.success(), "the node has no room for volumes: {made}");
        let kubectl = self.control_plane.kubectl();
        let restricted = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {OPERATOR_NAMESPACE}\n  \
             labels: {{pod-security.kubernetes.io/enforce: restricted}}\n---\n"
        );
        kubectl.apply_text(&restricted).await?;
        kubectl
            .apply_text(&[self.volume("store", "4Gi"), self.volume("state", "1Gi")].concat())
            .await?;
        self.helm(
            &["install", CRDS_CHART, CRDS_CHART],
            Duration::from_secs(60),
        )
        .await?;
        Ok(())
    }

    fn volume(&self, name: &str, size: &str) -> String {
        format!(
            "apiVersion: v1
kind: PersistentVolume
metadata: {{name: lockstep-{name}}}
spec:
  capacity: {{storage: {size}}}
  accessModes: [ReadWriteOnce]
  storageClassName: lab
  claimRef: {{namespace: {NAMESPACE}, name: lockstep-{name}}}
  local: {{path: {VOLUMES}/{name}}}
  nodeAffinity:
    required:
      nodeSelectorTerms:
        - matchExpressions:
            - {{key: kubernetes.io/hostname, operator: In, values: [{node}]}}
---
",
            node = self.node.name()
        )
    }

    /// Writes the values file as a user would.
    pub(crate) fn write_values(&self, settings: &Settings) -> Result<()> {
        let values = format!(
            "operator:
  image: {{repository: {REPOSITORY}/operator, pullPolicy: Never}}
agent:
  image: {{repository: {REPOSITORY}/agent, pullPolicy: Never}}
  logLevel: {log_level}
sites:
  - name: {SITE}
    namespace: {NAMESPACE}
    allowedNetworks: [{host}/32]
    store:
      advertiseUrl: http://{node}:{NODE_PORT}
      quotaBytes: 4000000000
      maxImageBytes: 1000000000
      service: {{type: NodePort, nodePort: {NODE_PORT}}}
      volume: {{storageClassName: lab, size: 4Gi}}
    state:
      volume: {{storageClassName: lab, size: 1Gi}}
    xpu: {{apiServer: \"{api}\"}}
    poll: {{intervalSeconds: 2, idleSeconds: {idle}}}
    hostAgent: {{enabled: true}}
",
            log_level = settings.log_level,
            host = self.host(),
            node = self.node.address(),
            api = self.control_plane.guest_url(),
            idle = settings.idle_seconds,
        );
        std::fs::write(&self.values, values)
            .with_context(|| format!("cannot write {}", self.values.display()))
    }

    /// What a shell prints that looks around in the node.
    pub(crate) async fn in_node(&self, script: &str) -> Result<String> {
        let mut command = self.node.command("sh");
        let output = command
            .args(["-c", script])
            .output()
            .await
            .context("cannot run a shell in the node")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        anyhow::ensure!(
            output.status.success(),
            "`{script}` in the node: {}{said}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(said)
    }

    /// The machine as pods see it.
    fn host(&self) -> Ipv4Addr {
        self.node.host_address()
    }

    /// A machine's BMC as pods reach it.
    pub(crate) fn bmc(&self, name: &str) -> Result<objects::Bmc> {
        let port = self.lab.bmc(name)?.address().port();
        Ok(objects::Bmc {
            address: format!("http://{}:{port}", self.host()),
            uuid: self.lab.machine(name)?.spec().uuid.clone(),
        })
    }

    /// The image as the site agent reaches it.
    pub(crate) fn image_url(&self) -> String {
        let port = self.images.address().port();
        format!("http://{}:{port}/v1.iso", self.host())
    }

    /// `helm COMMAND RELEASE [CHART]` in the operator's namespace; waits until all is done.
    pub(crate) async fn helm(&self, args: &[&str], deadline: Duration) -> Result<String> {
        let (verb, rest) = args.split_first().context("no helm command")?;
        let chart = rest
            .get(1)
            .map(|chart| workspace().join("charts").join(chart));
        let chart = chart.map(|path| path.display().to_string());
        let values = self.values.display().to_string();
        let timeout = format!("{}s", deadline.as_secs());
        let mut all = vec![*verb, *rest.first().context("no release")?];
        if let Some(chart) = &chart {
            all.push(chart);
            if chart.ends_with(CHART) {
                all.extend(["--values", &values]);
            }
        }
        all.extend(["--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout"]);
        all.push(&timeout);
        // helm's own deadline ends it first, with its reason.
        self.helm
            .run(&all, deadline + Duration::from_secs(15))
            .await
    }

    /// Goes back to a revision of the release.
    pub(crate) async fn rollback(&self, revision: &str) -> Result<String> {
        let args = ["rollback", RELEASE, revision, "-n", OPERATOR_NAMESPACE];
        self.helm.run(&args, Duration::from_secs(60)).await
    }

    /// Status of the release, as helm tells it.
    pub(crate) async fn release_status(&self) -> Result<String> {
        let args = ["status", RELEASE, "-n", OPERATOR_NAMESPACE, "-o", "json"];
        let text = self.helm.run(&args, Duration::from_secs(30)).await?;
        let status: serde_json::Value =
            serde_json::from_str(&text).context("helm status is not JSON")?;
        let status = status.pointer("/info/status").and_then(|one| one.as_str());
        Ok(status.context("helm status without a status")?.to_owned())
    }

    /// Objects that bear the release's name, with their uids.
    pub(crate) async fn release_objects(&self) -> Result<Vec<String>> {
        let template = "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid} \
                        {.metadata.annotations.meta\\.helm\\.sh/release-name}{\"\\n\"}{end}";
        let listed = self
            .control_plane
            .kubectl()
            .run(&["get", RELEASE_KINDS, "--all-namespaces", "-o", template])
            .await?;
        let suffix = format!(" {RELEASE}");
        Ok(listed
            .lines()
            .filter_map(|line| line.strip_suffix(&suffix))
            .map(str::to_lowercase)
            .collect())
    }

    /// Names and uids of everything that users and operator wrote.
    pub(crate) async fn objects(&self) -> Result<String> {
        let template =
            "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
        self.control_plane
            .kubectl()
            .run(&[
                "get",
                "dpus,dpuhosts,dpuimages,dpubootpolicies,secrets",
                "-n",
                NAMESPACE,
                "-o",
                template,
            ])
            .await
    }

    /// How many changes each BMC was asked for so far.
    pub(crate) fn changes(&self) -> Result<[usize; 2]> {
        Ok([
            self.lab.bmc("card1")?.changes().len(),
            self.lab.bmc("host1")?.changes().len(),
        ])
    }

    /// The Secret with the BMCs' credentials.
    pub(crate) fn secret(&self) -> String {
        let credentials = self.lab.credentials();
        objects::secret("bmc", &credentials.username, &credentials.password)
    }

    /// Stops everything.
    pub(crate) async fn stop(self) -> Result<()> {
        self.node.stop().await?;
        self.control_plane.stop().await?;
        self.lab.down()
    }
}
