//! `aarch64-agent`: the agent of a real card's architecture reports to a real API server.
//!
//! It runs under QEMU's user emulation, with a seed as the installer leaves it: nothing else is
//! known to it. Witnesses: `readelf`, and the objects as the API server stored them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::{Dpu, DpuReport};
use lockstep_lab::MachineSpec;
use lockstep_process::{Daemon, Lifetime, Program};
use serde_json::json;

use crate::cross;
use crate::objects::{self, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::world::{Kind, World};

const CARD: &str = "card1";
/// ServiceAccount, DpuReport and Lease of that card's agent.
const IDENTITY: &str = "xpu-card1";
const VERSION: &str = "7.3";
const DIGEST: &str = "sha256:5e1f0000000000000000000000000000000000000000000000000000000000a7";
/// The emulated program starts in seconds, also on a loaded machine.
const APPEARS: Duration = Duration::from_secs(90);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let began = Instant::now();
    let binary = cross::aarch64_agent().await?;
    report.figure("seconds of building", began.elapsed().as_secs());
    cross::check_static_aarch64(&binary).await?;
    let size = std::fs::metadata(&binary)
        .with_context(|| format!("cannot look at {}", binary.display()))?
        .len();
    report.figure("bytes of the static aarch64 agent", size);

    let machines = vec![MachineSpec::card(CARD)];
    let world = World::start(&context.folder, Kind::Fake, machines, &context.binaries).await?;
    let kubectl = world.control_plane.kubectl();
    let yaml = objects::card(CARD, "host1", &world.bmc(CARD)?);
    kubectl.apply_text(&yaml).await?;
    kubectl
        .run(&["create", "serviceaccount", IDENTITY, "-n", NAMESPACE])
        .await?;
    let dpus: Api<Dpu> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let uid = dpus.get(CARD).await?.uid().context("a Dpu without uid")?;
    let seed = world.folder().join("seed.json");
    write_seed(&world, &uid, &seed).await?;

    let began = Instant::now();
    let program = Program {
        name: "xpu-agent",
        binary: cross::EMULATOR.into(),
        args: vec![binary.into(), "xpu".into(), "--seed".into(), seed.into()],
        env: Vec::new(),
        order: 300,
        grace: Duration::from_secs(5),
    };
    let mut agent = Daemon::start(&program, world.folder(), Lifetime::ThisProcess)?;
    let reported = appears::<DpuReport>(&world, &mut agent).await?;
    report.figure(
        "seconds from start to report",
        began.elapsed().as_secs_f32(),
    );
    let lease = appears::<Lease>(&world, &mut agent).await?;
    agent.kill().await?;

    let os = reported.spec.os.as_ref().context("a report without os")?;
    report.say(format!(
        "report: {} {}, kernel {}, boot epoch {}",
        os.architecture.as_deref().unwrap_or("?"),
        os.image_version.as_deref().unwrap_or("?"),
        os.kernel.as_deref().unwrap_or("?"),
        os.boot_epoch,
    ));
    ensure!(
        os.architecture.as_deref() == Some("aarch64"),
        "the report does not say aarch64"
    );
    ensure!(
        os.image_version.as_deref() == Some(VERSION) && os.image_digest.as_deref() == Some(DIGEST),
        "version and digest are not the seed's"
    );
    ensure!(!os.boot_epoch.is_empty(), "the boot epoch is empty");
    ensure!(
        reported.spec.subject == CARD && reported.spec.subject_uid == uid,
        "the report is about something else"
    );
    let owned = |owner: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference]| {
        owner.iter().any(|owner| owner.uid == uid)
    };
    ensure!(
        owned(reported.owner_references()) && owned(lease.owner_references()),
        "report and Lease do not go with their Dpu"
    );
    let lease = lease.spec.unwrap_or_default();
    ensure!(
        lease.holder_identity.is_some() && lease.lease_duration_seconds >= Some(60),
        "the Lease has no holder, or is shorter than 60 s"
    );
    world.stop().await?;
    Ok(report)
}

/// The seed as the installer leaves it on the card, for the identity of that card.
async fn write_seed(world: &World, uid: &str, path: &Path) -> Result<()> {
    let plane = &world.control_plane;
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.client(), NAMESPACE);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(3_600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request(IDENTITY, &PostParams::default(), &request)
        .await?
        .status
        .context("a token request without an answer")?
        .token;
    let seed = json!({
        "apiServer": plane.url(),
        "ca": plane.ca(),
        "namespace": NAMESPACE,
        "dpu": CARD,
        "dpuUid": uid,
        "token": token,
        "imageVersion": VERSION,
        "imageDigest": DIGEST,
    });
    std::fs::write(path, seed.to_string())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Waits for the agent's object of this kind.
async fn appears<K>(world: &World, agent: &mut Daemon) -> Result<K>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let what = format!("{} {IDENTITY}", K::kind(&()));
    let found = eventually(APPEARS, what, async || {
        if let Err(ended) = agent.check() {
            return Look::Never(ended);
        }
        match api.get_opt(IDENTITY).await {
            Ok(Some(object)) => Look::Holds(object),
            Ok(None) => Look::not_yet("there is none"),
            Err(error) => Look::not_yet(error),
        }
    })
    .await?;
    Ok(found)
}
