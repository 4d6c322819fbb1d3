//! `install-service`: a card VM is installed, then gets a signed service, then another version of it.
//! An unsigned third one is refused while the second goes on; then nobody wants it any more.
//!
//! Witnesses outside our code: the card's serial console, on which each service itself speaks for as
//! long as it runs, and signatures made by openssl.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_crds::condition::{self, SERVICES_RUNNING};
use lockstep_crds::{Dpu, SITE_AGENT};
use lockstep_lab::image::{Behaviour, OS_UP};
use lockstep_lab::{MachineSpec, payload};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::image_trust::Signer;
use crate::objects::{self, Choices, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

/// An install under TCG on a busy machine.
const INSTALL: Duration = Duration::from_secs(900);
/// What is offered is read every half minute, and told within another.
const SOON: Duration = Duration::from_secs(240);
/// A service speaks every two seconds.
const SILENT: Duration = Duration::from_secs(12);

/// A version of the service: what it is, and what it says.
struct Version {
    name: &'static str,
    says: String,
    digest: String,
    server: ImageServer,
    signature: Option<ImageServer>,
}

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let image = artefacts::installer(&context.binaries, "1.0", Behaviour::Installs).await?;
    let system = ImageServer::serve(image.path.clone()).await?;
    let folder = context.folder.join("services");
    let releases = Signer::of(&folder, "releases").await?;
    let signed_image = json!({"version": "1.0", "securityVersion": 0});
    let system_signature = signature(&releases, &image.sha256, &signed_image).await?;
    let one = Version::make(&folder, "responder-1", Some(&releases)).await?;
    let two = Version::make(&folder, "responder-2", Some(&releases)).await?;
    let three = Version::make(&folder, "responder-3", None).await?;

    let machines = vec![MachineSpec::card("card1"), MachineSpec::host("host1")];
    let mut world = World::start(&context.folder, Kind::Vms, machines, &context.binaries).await?;
    turn_on(&world)?;
    world.start_operator().await?;
    world.start_agent().await?;
    let choices = Choices::default();
    let signed = json!({"require": "Signed", "signers": [releases.in_policy()?]});
    let wanting = |services: &[&str]| policy(&choices, &signed, services);
    let (os, signature) = (system.url("os.iso"), system_signature.url("os.dsse"));
    let yaml = [
        rights(),
        objects::signed_image("os-1", &image, &os, &signature),
        one.object(),
        two.object(),
        three.object(),
        wanting(&["responder-1"]),
        objects::host("host1", &world.bmc("host1")?, &choices),
        objects::card("card1", "host1", &world.bmc("card1")?),
    ]
    .concat();
    apply(&world, &yaml).await?;

    let console = world.machines.lab()?.machine("card1")?.console();
    let up = console.wait_for(&format!("{OS_UP} 1.0"), INSTALL).await?;
    let first = console
        .wait_for_after(Some(up.instant), &one.says, SOON)
        .await?;
    report.figure(
        "seconds from the card's system to its service",
        first.instant.duration_since(up.instant).as_secs(),
    );
    runs(&world, &one).await?;
    story::await_card(&world.control_plane, "card1", "Ready", INSTALL, |card| {
        story::reason(card) == "AsWanted"
    })
    .await?;
    report.say(format!("the console says: {}", first.text));

    let began = Instant::now();
    apply(&world, &wanting(&["responder-2"])).await?;
    let second = console.wait_for_after(Some(began), &two.says, SOON).await?;
    runs(&world, &two).await?;
    has_ended(&world, &one, second.instant)?;
    report.figure(
        "seconds from v2 named to v2",
        second.instant.duration_since(began).as_secs(),
    );

    apply(&world, &wanting(&["responder-3"])).await?;
    let refused = told(&world, "refused", |is, reason, _| {
        (is, reason) == ("False", "ImageUntrusted")
    });
    let message = refused.await?;
    for words in ["names no signature", "signers"] {
        ensure!(message.contains(words), "{words} is not in: {message}");
    }
    let now = Instant::now();
    console.wait_for_after(Some(now), &two.says, SOON).await?;
    ensure!(
        console.matching(&three.says).is_empty(),
        "an unsigned service ran on the card"
    );
    report.say(format!("unsigned: {message}; v2 goes on"));

    apply(&world, &wanting(&[])).await?;
    let what = "the service is gone";
    story::await_card(&world.control_plane, "card1", what, SOON, |card| {
        let status = card.status.as_ref();
        let services = status.and_then(|status| status.services.as_ref());
        services.is_some_and(Vec::is_empty)
    })
    .await?;
    let gone = Instant::now();
    story::stays_so(SILENT, "the service says no more", async || {
        let late = console.matching(&two.says).into_iter();
        let mut late = late.filter(|line| line.instant > gone + Duration::from_secs(3));
        Ok(late.next().is_none())
    })
    .await?;
    report.say("not wanted any more: it ended, and said nothing again");
    ensure!(
        console.matching(OS_UP).len() == 1,
        "the card was booted for a service"
    );
    world.check()?;
    world.stop().await?;
    Ok(report)
}

impl Version {
    async fn make(
        folder: &std::path::Path,
        name: &'static str,
        signer: Option<&Signer>,
    ) -> Result<Self> {
        let says = format!("LOCKSTEP-SERVICE {name}");
        let bytes = payload::saying(&says);
        let path = folder.join(name);
        std::fs::write(&path, &bytes)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let digest = hex::encode(Sha256::digest(&bytes));
        let predicate = json!({
            "version": name, "securityVersion": 0, "kind": "App", "service": "responder",
        });
        let signature = match signer {
            Some(signer) => Some(signature(signer, &digest, &predicate).await?),
            None => None,
        };
        Ok(Self {
            name,
            says,
            server: ImageServer::serve(path).await?,
            signature,
            digest,
        })
    }

    fn object(&self) -> String {
        let (name, digest) = (self.name, &self.digest);
        let signature = self.signature.as_ref().map_or_else(String::new, |server| {
            let url = server.url(&format!("{name}.dsse"));
            format!("  signatures: [{{dsse: {{sources: [\"{url}\"]}}}}]\n")
        });
        format!(
            "apiVersion: provisioning.opiproject.org/v1alpha1
kind: DpuImage
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  kind: App
  service: responder
  version: {name}
  digest: sha256:{digest}
  sources: [\"{url}\"]
{signature}---
",
            url = self.server.url(name),
        )
    }
}

async fn signature(signer: &Signer, digest: &str, predicate: &Value) -> Result<ImageServer> {
    let made: PathBuf = signer.sign(digest, predicate).await?;
    // The signer writes to one file.
    let own = made.with_extension(format!("{}.dsse", &digest[..12]));
    std::fs::copy(&made, &own).context("cannot keep a signature")?;
    ImageServer::serve(own).await
}

/// The policy, which wants signed images alone and these services.
fn policy(choices: &Choices, images: &Value, services: &[&str]) -> String {
    let services: Vec<String> = services
        .iter()
        .map(|name| format!("{{name: {name}}}"))
        .collect();
    let more = format!("  serviceRefs: [{}]\n  imageRef:", services.join(", "));
    let policy = objects::policy("os-1", choices).replace("  imageRef:", &more);
    objects::requiring(&policy, images)
}

/// What an administrator binds where cards run services.
fn rights() -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: lockstep-xpu-services, namespace: {NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lockstep-xpu-services}}
subjects: [{{kind: Group, apiGroup: rbac.authorization.k8s.io, name: 'system:serviceaccounts:{NAMESPACE}'}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: lockstep-token-reviewer-cards-{NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lockstep-token-reviewer}}
subjects: [{{kind: ServiceAccount, name: {SITE_AGENT}, namespace: {NAMESPACE}}}]
---
"
    )
}

/// The site agent tells cards of its store.
fn turn_on(world: &World) -> Result<()> {
    let path = world.agent_config();
    let config = std::fs::read_to_string(path).context("no configuration of the site agent")?;
    let changed = config.replace("\nxpu:\n", "\nxpu:\n  services: {}\n");
    ensure!(
        changed != config,
        "the site agent's configuration has no xpu"
    );
    std::fs::write(path, changed).context("cannot write the site agent's configuration")
}

async fn apply(world: &World, yaml: &str) -> Result<()> {
    world.control_plane.kubectl().apply_text(yaml).await?;
    Ok(())
}

/// The card's object says that the version runs, by the digest that its agent hashed.
async fn runs(world: &World, version: &Version) -> Result<()> {
    let digest = format!("sha256:{}", version.digest);
    story::await_card(&world.control_plane, "card1", version.name, SOON, |card| {
        let status = card.status.as_ref();
        let mut services = status
            .iter()
            .flat_map(|status| status.services.iter().flatten());
        let runs = services.any(|one| one.running_digest.as_ref() == Some(&digest));
        runs && says(card, |is, _, _| is == "True").is_some()
    })
    .await?;
    Ok(())
}

/// Waits until the condition of the card's services is as wanted; returns its message.
async fn told(
    world: &World,
    what: &str,
    wanted: impl Fn(&str, &str, &str) -> bool,
) -> Result<String> {
    let card = story::await_card(&world.control_plane, "card1", what, SOON, |card| {
        says(card, &wanted).is_some()
    })
    .await?;
    says(&card, &wanted).context("the condition changed")
}

fn says(card: &Dpu, wanted: impl Fn(&str, &str, &str) -> bool) -> Option<String> {
    let status = card.status.as_ref()?;
    let found = condition::find(&status.conditions, SERVICES_RUNNING)?;
    wanted(&found.status, &found.reason, &found.message).then(|| found.message.clone())
}

/// A version said nothing since the one that took its place spoke.
fn has_ended(world: &World, version: &Version, since: Instant) -> Result<()> {
    let console = world.machines.lab()?.machine("card1")?.console();
    let late = console.matching(&version.says).into_iter();
    let late = late.filter(|line| line.instant > since).count();
    ensure!(late == 0, "{} went on beside its successor", version.name);
    Ok(())
}
