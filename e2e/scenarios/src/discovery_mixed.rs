//! `discovery-mixed`: a site agent is given ranges, lists and a dnsmasq's leases, and finds what is there:
//! sushy-tools' BMCs, simulated ones of every vendor over IPv4 and IPv6, dead ones, slow ones,
//! ones that refuse it, one that accepts and says nothing for ever, and traps for credentials.

mod dhcp;
mod fleet;
mod layout;
mod neighbours;
mod trap;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kube::Api;
use kube::api::ListParams;
use lockstep_cluster::{Look, eventually};
use lockstep_crds::dpu_inventory::KnownPairing;
use lockstep_crds::report::{MachineRole, Vantage};
use lockstep_crds::{DpuInventory, DpuReport, names};
use tokio::net::TcpStream;

use self::dhcp::Dhcp;
use self::fleet::Fleets;
use self::layout::{DEAD, STRAY};
use self::neighbours::Seen;
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
    let mute = neighbours::mute().await?;
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
    let began = Instant::now();
    world.start_agent().await?;

    let mut seen = Seen::default();
    let reports: Api<DpuReport> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let truth = fleets.truth()?;
    report.figure("BMCs alive and reachable", truth.len());
    let finding = eventually(FOUND, "every live BMC is found", async || {
        match found(&reports).await {
            Ok(found) => {
                seen.look(began.elapsed(), found.keys(), &mute);
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
    seen.compare(&fleets.fronts()?, &mut report)?;
    for (uuid, one) in &truth {
        one.compare(&found[uuid])
            .with_context(|| format!("{} was told wrongly", one.name))?;
    }
    ensure!(
        found.len() == truth.len(),
        "{} machines were made up",
        found.len() - truth.len()
    );
    report.say("how each was found, role, model, family, serial number, cores and memory are as they should be");

    outcomes(
        &mut report,
        &reports,
        expected(&fleets, &mute, &no_secret, &dhcp)?,
    )
    .await?;
    let pairs = fleets.pairs()?;
    linked(&mut report, &world, &pairs).await?;

    // What stood in for a host that was found after its card gives way first.
    story::comes_to_rest(&world.control_plane, AT_REST, JOINED).await?;
    let mark = world.mark()?;
    let quiet = async || Ok(story::writes(&world.control_plane, mark)?.is_empty());
    story::stays_so(QUIET, "repeated scans write nothing", quiet).await?;
    report.say(format!(
        "writes in {} s of repeated scans: 0",
        QUIET.as_secs()
    ));
    if let Some(difference) = Links::read(&world).await?.difference(&pairs) {
        bail!("cards do not stay linked with their hosts: {difference}");
    }
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
    fleets.show_a_strange_credential().await?;
    ensure!(
        fleets.nobody_was_shown_a_strange_credential().is_err(),
        "the Secret of another range would not be noticed"
    );
    report.say("credentials were shown only where they were allowed, by every server's own count");
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

/// Which cards are shown in which hosts, by system UUID.
#[derive(Debug, Default)]
struct Links {
    cards: usize,
    /// Those that were observed.
    observed: BTreeSet<(String, String)>,
    /// All.
    shown: BTreeSet<(String, String)>,
}

impl Links {
    async fn read(world: &World) -> Result<Self> {
        let api: Api<DpuInventory> = Api::namespaced(world.control_plane.client(), NAMESPACE);
        let mut links = Self::default();
        for inventory in api.list(&ListParams::default()).await? {
            links.cards += 1;
            let system = inventory.spec.system.as_ref();
            let card = system.and_then(|system| system.facts.system_uuid.as_deref());
            let card = card.unwrap_or("a card without UUID").to_lowercase();
            for host in &inventory.spec.hosts {
                let uuid = host.system_uuid.as_deref();
                let uuid = uuid.unwrap_or("a host without UUID").to_lowercase();
                if host.pairing == KnownPairing::Observed {
                    links.observed.insert((card.clone(), uuid.clone()));
                }
                links.shown.insert((card.clone(), uuid));
            }
        }
        Ok(links)
    }

    /// How they differ from what the simulator put together.
    fn difference(&self, pairs: &BTreeSet<(String, String)>) -> Option<String> {
        let missing: Vec<_> = pairs.difference(&self.observed).collect();
        let wrong: Vec<_> = self.shown.difference(pairs).collect();
        (!missing.is_empty() || !wrong.is_empty() || self.cards != pairs.len()).then(|| {
            format!(
                "of {} pairs {} are missing ({:?}), {} are wrong ({:?}); {} cards",
                pairs.len(),
                missing.len(),
                missing.first(),
                wrong.len(),
                wrong.first(),
                self.cards
            )
        })
    }
}

/// Every card that the simulator put into a host is shown in that host, and in no other.
async fn linked(
    report: &mut Report,
    world: &World,
    pairs: &BTreeSet<(String, String)>,
) -> Result<()> {
    let what = "every card is linked with its host, and with no other";
    let links = eventually(JOINED, what, async || match Links::read(world).await {
        Ok(links) => match links.difference(pairs) {
            None => Look::Holds(links),
            Some(difference) => Look::not_yet(difference),
        },
        Err(error) => Look::not_yet(error),
    })
    .await?;
    report.say(format!(
        "joined: {} cards, each linked with the host it sits in and with no other",
        links.cards
    ));
    Ok(())
}
