//! `discovery-mixed`: a site agent is given ranges, lists and a dnsmasq's leases, and finds what is there:
//! sushy-tools' BMCs, simulated ones of every vendor over IPv4 and IPv6, dead ones, slow ones,
//! ones that refuse it, one that accepts and says nothing for ever, and traps for credentials.

mod dhcp;
mod fleet;
mod trap;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::dpu_inventory::KnownPairing;
use lockstep_crds::report::{MachineRole, Vantage};
use lockstep_crds::{DpuInventory, DpuReport, names};
use tokio::net::TcpStream;

use self::dhcp::Dhcp;
use self::fleet::{DEAD, Fleets, STRAY};
use self::trap::Trap;
use crate::objects::{NAMESPACE, SITE};
use crate::registry::Context;
use crate::report::Report;
use crate::world::{Kind, World};
use crate::{simulated, story};

/// For everything that is alive.
const FOUND: Duration = Duration::from_secs(300);
/// For the operator to join it.
const JOINED: Duration = Duration::from_secs(180);
/// Longer than the operator takes to follow what it wrote itself.
const AT_REST: Duration = Duration::from_secs(10);
/// Several scans.
const QUIET: Duration = Duration::from_secs(30);

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    // First, so that none of their many ports is one that was free for the agent before.
    let fleets = Fleets::start(&context.folder).await?;
    let any = "127.0.0.1:0".parse().context("a loopback address")?;
    let no_secret = Trap::listening(any).await?;
    let mute = Trap::mute(any).await?;
    let stray = Trap::listening(STRAY).await?;
    let dhcp = Dhcp::start(&context.folder, &fleets.clients(&stray)?).await?;
    let mut world = World::start(
        &context.folder,
        Kind::Nothing,
        Vec::new(),
        &context.binaries,
    )
    .await?;
    let section = fleets.section(&no_secret, &mute, dhcp.leases())?;
    simulated::configure(world.agent_config(), &section)?;
    world
        .control_plane
        .kubectl()
        .apply_text(&fleets.secrets()?)
        .await?;
    world.start_operator().await?;
    world.start_agent().await?;

    let began = Instant::now();
    let reports: Api<DpuReport> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let truth = fleets.truth()?;
    report.figure("BMCs alive and reachable", truth.len());
    let finding = eventually(FOUND, "every live BMC is found", async || {
        match found(&reports).await {
            Ok(found) => {
                let missing: Vec<&String> = truth
                    .keys()
                    .filter(|uuid| !found.contains_key(*uuid))
                    .collect();
                if missing.is_empty() {
                    return Look::Holds(found);
                }
                let first = missing.first().and_then(|uuid| truth.get(*uuid));
                Look::not_yet(format!("{} missing, such as {first:?}", missing.len()))
            }
            Err(error) => Look::not_yet(error),
        }
    });
    let found = tokio::select! {
        found = finding => found?,
        ended = world.watch_over() => return Err(ended),
    };
    report.figure("seconds until all were found", began.elapsed().as_secs());
    for (uuid, one) in &truth {
        one.compare(&found[uuid])
            .with_context(|| format!("{} was told wrongly", one.name))?;
    }
    ensure!(
        found.len() == truth.len(),
        "{} machines were made up",
        found.len() - truth.len()
    );
    report.say(
        "how each was found, role, family, serial number, cores and memory are as they should be",
    );

    outcomes(
        &mut report,
        &reports,
        expected(&fleets, &mute, &no_secret, &dhcp)?,
    )
    .await?;
    linked(&mut report, &world, &fleets).await?;

    // What stood in for a host that was found after its card gives way first.
    story::comes_to_rest(&world.control_plane, AT_REST, JOINED).await?;
    let mark = world.mark()?;
    let quiet = async || Ok(story::writes(&world.control_plane, mark)?.is_empty());
    story::stays_so(QUIET, "repeated scans write nothing", quiet).await?;
    report.say(format!(
        "writes in {} s of repeated scans: 0",
        QUIET.as_secs()
    ));
    for trap in [&no_secret, &mute] {
        ensure!(
            trap.credentials_seen() == 0,
            "credentials were shown to {}",
            trap.address()
        );
    }
    nobody_called(&stray).await?;
    report.say(format!(
        "calls to {}, which only a lease outside of its file's networks names: 0",
        stray.address()
    ));
    fleets.nobody_was_shown_a_strange_credential()?;
    report.say("credentials were shown only where they were allowed, by every server's own count");
    ensure!(
        mute.open() > 0 || mute.accepted() > 0,
        "nobody called the one that says nothing"
    );
    let changes = fleets.changes()?;
    ensure!(changes.is_empty(), "something was changed: {changes:?}");
    report.say("changing requests besides sessions: 0");
    world.check()?;
    dhcp.stop().await?;
    fleets.stop()?;
    world.stop().await?;
    Ok(report)
}

/// What was found, by system UUID.
async fn found(reports: &Api<DpuReport>) -> Result<BTreeMap<String, DpuReport>> {
    let all = reports.list(&ListParams::default()).await?;
    Ok(all
        .items
        .into_iter()
        .filter(|report| report.spec.vantage == Vantage::FoundBmc)
        .filter_map(|report| {
            let uuid = report.spec.machine.as_ref()?.system_uuid.clone()?;
            Some((uuid.to_lowercase(), report))
        })
        .collect())
}

/// What is to become of those that cannot be identified, and of the lease file.
fn expected(
    fleets: &Fleets,
    mute: &Trap,
    no_secret: &Trap,
    dhcp: &Dhcp,
) -> Result<BTreeMap<String, &'static str>> {
    let mut expected = BTreeMap::new();
    for url in fleets.refusing()? {
        expected.insert(url, "CredentialsRefused");
    }
    for url in fleets.dead() {
        expected.insert(url, "Unreachable");
    }
    expected.insert(mute.url(), "NoAnswer");
    expected.insert(no_secret.url(), "SecretMissing");
    let leases = format!("file://{}", dhcp.leases().display());
    expected.insert(leases, "LeaseOutsideNetworks");
    Ok(expected)
}

/// Fails if anybody called a trap, or if it would not have noticed.
async fn nobody_called(trap: &Trap) -> Result<()> {
    let calls = trap.accepted();
    ensure!(calls == 0, "{} was called {calls} times", trap.address());
    let _call = TcpStream::connect(trap.address())
        .await
        .with_context(|| format!("{} cannot be called", trap.address()))?;
    let heard = async || match trap.accepted() {
        0 => Look::not_yet("not noticed"),
        _ => Look::Holds(()),
    };
    Ok(eventually(AT_REST, "the trap notices who calls it", heard).await?)
}

/// Waits until the scan says all of it.
async fn outcomes(
    report: &mut Report,
    reports: &Api<DpuReport>,
    expected: BTreeMap<String, &'static str>,
) -> Result<()> {
    let told = eventually(FOUND, "every endpoint has its outcome", async || {
        let scan = match reports.get(&names::scan(SITE)).await {
            Ok(scan) => scan,
            Err(error) => return Look::not_yet(error),
        };
        let failed: BTreeMap<String, String> = scan
            .spec
            .scan
            .iter()
            .flat_map(|scan| &scan.failed)
            .map(|one| {
                (
                    one.address.trim_end_matches('/').to_owned(),
                    one.reason.clone(),
                )
            })
            .collect();
        let wrong: Vec<String> = expected
            .iter()
            .filter(|(url, reason)| failed.get(*url).map(String::as_str) != Some(**reason))
            .map(|(url, reason)| format!("{url} is {:?}, not {reason}", failed.get(url)))
            .collect();
        if wrong.is_empty() {
            Look::Holds(failed)
        } else {
            Look::not_yet(format!("{} of them: {}", wrong.len(), wrong[0]))
        }
    })
    .await?;
    let mut by_reason: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in told.values() {
        *by_reason.entry(reason).or_default() += 1;
    }
    report.say(format!(
        "outcomes of the others: {by_reason:?}; {DEAD} were dead"
    ));
    Ok(())
}

/// Every card that the simulator put into a host is shown in that host.
async fn linked(report: &mut Report, world: &World, fleets: &Fleets) -> Result<()> {
    let inventories: Api<DpuInventory> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let pairs = fleets.pairs()?;
    let linked = eventually(JOINED, "every card is linked with its host", async || {
        let all = match inventories.list(&ListParams::default()).await {
            Ok(all) => all,
            Err(error) => return Look::not_yet(error),
        };
        let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
        for inventory in &all.items {
            let uuid = inventory
                .spec
                .system
                .as_ref()
                .and_then(|system| system.facts.system_uuid.clone());
            for host in &inventory.spec.hosts {
                if let (Some(card), Some(host), KnownPairing::Observed) =
                    (&uuid, &host.system_uuid, &host.pairing)
                {
                    seen.insert((card.to_lowercase(), host.to_lowercase()));
                }
            }
        }
        let missing: Vec<_> = pairs.iter().filter(|pair| !seen.contains(*pair)).collect();
        if missing.is_empty() {
            return Look::Holds((all.items.len(), seen.len()));
        }
        Look::not_yet(format!(
            "{} of {} pairs missing, such as {:?}; {} cards joined",
            missing.len(),
            pairs.len(),
            missing[0],
            all.items.iter().map(ResourceExt::name_any).count()
        ))
    })
    .await?;
    report.say(format!(
        "joined: {} cards, {} of them linked with the host they sit in",
        linked.0, linked.1
    ));
    Ok(())
}
