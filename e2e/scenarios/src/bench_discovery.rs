//! `bench discovery`: how long a thousand BMCs take until all that they are is in the API, what
//! dead ones among them cost the others, and what is asked and written once nothing changes.
//! Ratios and counts, measured in one run, simulator and API server included.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kube::Api;
use kube::api::ListParams;
use lockstep_cluster::{Look, eventually};
use lockstep_crds::host::HostRole;
use lockstep_crds::inventory::Inventory;
use lockstep_crds::report::Vantage;
use lockstep_crds::{DpuHost, DpuInventory, DpuReport};
use lockstep_xpusim::Listen;
use tokio::net::TcpListener;

use crate::objects::NAMESPACE;
use crate::registry::Context;
use crate::report::Report;
use crate::simulated::{self, PASSWORD, range};
use crate::story;
use crate::world::{Kind, Simulated, World};

/// Endpoints, dead ones included.
const ENDPOINTS: usize = 1000;
/// Of those, in the second half of the run.
const DEAD: usize = 50;
/// Milliseconds that every request takes.
const LATENCY: u64 = 30;
/// Bar for the first full inventory.
const FULL: Duration = Duration::from_secs(60);
/// Bar for the ratio of the 99th percentiles, with dead ones to without.
const RATIO: f64 = 1.2;
/// Seconds between two looks at a BMC about which nothing changes.
const POLL: u64 = 60;
/// Until it is known of a BMC that its sessions are always gone: two have to be lost, one a poll.
const LEARNED: Duration = Duration::from_secs(4 * POLL);
/// Bar for requests per BMC and poll interval while nothing changes.
const REQUESTS: f64 = 1.0;
/// How long the steady state is watched.
const STEADY: Duration = Duration::from_secs(2 * POLL);
const PATIENCE: Duration = Duration::from_secs(300);
/// No write for so long, and everything has been said.
const CALM: Duration = Duration::from_secs(30);

/// Runs the benchmark.
///
/// # Errors
/// When it cannot be run, or misses a bar.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let without = first_inventory(&mut report, &context, "all alive", 0).await?;
    let with = first_inventory(&mut report, &context, "5 % dead", DEAD).await?;
    let ratio = with.p99.as_secs_f64() / without.p99.as_secs_f64();
    report.figure(
        "99th percentile of first byte to last, with dead ones to without",
        format!("{ratio:.2}"),
    );
    let mut missed = Vec::new();
    for one in [&without, &with] {
        if one.full > FULL {
            missed.push(format!("the first full inventory took {:?}", one.full));
        }
        missed.extend(one.missed.clone());
    }
    if ratio > RATIO {
        missed.push(format!("dead endpoints cost the others: {ratio:.2}"));
    }
    ensure!(missed.is_empty(), "{}\n{report}", missed.join("\n"));
    Ok(report)
}

struct Measured {
    full: Duration,
    p99: Duration,
    /// Bars of the steady state that were missed.
    missed: Vec<String>,
}

fn fleet(live: usize) -> String {
    let domains = live / 4;
    let machine = |name: &str, personality: &str| {
        format!(
            "name: \"{name}-{{n}}\", personality: {personality}, password: {PASSWORD}, latency: {{fixed: {LATENCY}}}"
        )
    };
    let slot = |number: u32| format!("slots: [{{host: \"host-{{n}}\", number: {number}}}]");
    let mut yaml = format!(
        "domains:
  - count: {domains}
    hosts: [{{{host}}}]
    cards:
      - {{{bf3}, {one}}}
      - {{{bf2}, {two}}}
      - {{{ipu}, {three}}}
",
        host = machine("host", "dell-host"),
        bf3 = machine("bf3", "bluefield-3"),
        bf2 = machine("bf2", "bluefield-2"),
        ipu = machine("ipu", "intel-e2100"),
        one = slot(1),
        two = slot(2),
        three = slot(3),
    );
    let rest = live % 4;
    if rest > 0 {
        yaml.push_str(&format!(
            "  - count: {rest}\n    cards: [{{{}}}]\n",
            machine("lone", "bluefield-3")
        ));
    }
    yaml
}

async fn first_inventory(
    report: &mut Report,
    context: &Context,
    what: &str,
    dead: usize,
) -> Result<Measured> {
    let folder = context.folder.join(format!("{dead}-dead"));
    let mut world = World::start(&folder, Kind::Nothing, Vec::new(), &context.binaries).await?;
    let live = ENDPOINTS - dead;
    let simulated =
        Simulated::start(&fleet(live), Listen::Addresses("127.70.0.1:8443".parse()?)).await?;
    // Half of the dead refuse the connection; the others accept it and say nothing.
    let mut mute = Vec::new();
    let mut addresses = Vec::new();
    for number in 0..dead {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(format!("\"https://{}\"", listener.local_addr()?));
        if number % 2 == 0 {
            mute.push(listener);
        }
    }
    let mut section = format!(
        "discovery:\n  scanIntervalSeconds: 600\n  ranges:\n{}",
        simulated.listed()?
    );
    if dead > 0 {
        section.push_str(&range(
            &format!("addresses: [{}]", addresses.join(", ")),
            &simulated::secret_of("root"),
            "PinFirstSeen",
        ));
    }
    simulated::configure(world.agent_config(), &section)?;
    let text = std::fs::read_to_string(world.agent_config())?;
    let polled = text.replace("idleSeconds: 30", &format!("idleSeconds: {POLL}"));
    ensure!(
        polled != text,
        "the configuration says nothing of idleSeconds"
    );
    std::fs::write(world.agent_config(), polled)?;
    let kubectl = world.control_plane.kubectl();
    kubectl
        .apply_text(&simulated::secrets(&[&simulated])?)
        .await?;
    let reports: Api<DpuReport> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let began = Instant::now();
    world.start_agent().await?;
    eventually(
        PATIENCE,
        format!("{live} BMCs are inventoried"),
        async || match reports.list(&ListParams::default()).await {
            Ok(all) => {
                let whole = all.items.iter().filter(|report| {
                    report.spec.vantage == Vantage::FoundBmc
                        && report.spec.inventory.as_ref().is_some_and(is_full)
                });
                match whole.count() {
                    found if found >= live => Look::Holds(()),
                    found => Look::not_yet(format!("{found} of them")),
                }
            }
            Err(error) => Look::not_yet(error),
        },
    )
    .await?;
    let full = began.elapsed();
    let p99 = percentile(&simulated, 99)?;
    let requests = total(&simulated)?;
    report.figure(
        &format!("{what}: seconds from the agent's start until {live} inventories are in the API"),
        format!("{:.1}", full.as_secs_f64()),
    );
    report.figure(
        &format!("{what}: 99th percentile of a BMC's first byte to its last, in seconds"),
        format!("{:.2}", p99.as_secs_f64()),
    );
    report.figure(
        &format!("{what}: requests per BMC"),
        format!("{:.1}", requests as f64 / live as f64),
    );
    world.start_operator().await?;
    proposed(&world, live).await?;
    let missed = steady(report, &world, &simulated, what, live).await?;
    world.check()?;
    drop(mute);
    world.stop().await?;
    Ok(Measured { full, p99, missed })
}

/// Whether all that every simulated BMC of the fleet serves was read, and nothing was left unread.
fn is_full(inventory: &Inventory) -> bool {
    let system = inventory.system.as_ref();
    let firmware = inventory.firmware.as_ref();
    system.is_some_and(|system| system.serial_number.is_some() && system.model.is_some())
        && firmware.is_some_and(|list| !list.components.is_empty() && list.omitted == 0)
        && inventory.ports.is_some()
        && inventory.bmc.is_some()
        && inventory.capabilities.is_some()
        && inventory.unread.is_empty()
}

/// Every machine has its object and every card its inventory, and nothing more is written: the
/// site agent looks after all of them by then.
async fn proposed(world: &World, live: usize) -> Result<()> {
    let client = world.control_plane.client();
    let hosts: Api<DpuHost> = Api::namespaced(client.clone(), NAMESPACE);
    let inventories: Api<DpuInventory> = Api::namespaced(client, NAMESPACE);
    let all = ListParams::default();
    eventually(
        PATIENCE,
        format!("{live} machines are proposed"),
        async || match (hosts.list(&all).await, inventories.list(&all).await) {
            (Ok(hosts), Ok(inventories)) => {
                let servers = hosts.items.iter();
                let servers = servers.filter(|host| host.spec.role == HostRole::Server);
                let (cards, servers) = (inventories.items.len(), servers.count());
                if cards + servers >= live {
                    Look::Holds(())
                } else {
                    Look::not_yet(format!("{cards} cards and {servers} hosts"))
                }
            }
            (Err(error), _) | (_, Err(error)) => Look::not_yet(error),
        },
    )
    .await?;
    let mut mark = world.mark()?;
    let end = Instant::now() + PATIENCE;
    loop {
        tokio::time::sleep(CALM).await;
        let writes = story::writes(&world.control_plane, mark)?;
        if writes.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "{} writes in {CALM:?}, such as {:?}",
            writes.len(),
            writes.first()
        );
        mark = world.mark()?;
    }
}

/// What is asked and written once nothing changes; returns the bars that were missed.
async fn steady(
    report: &mut Report,
    world: &World,
    simulated: &Simulated,
    what: &str,
    live: usize,
) -> Result<Vec<String>> {
    tokio::time::sleep(LEARNED).await;
    let mark = world.mark()?;
    let before = asked_for(simulated)?;
    tokio::time::sleep(STEADY).await;
    let mut asked_for = asked_for(simulated)?;
    for (what, before) in before {
        *asked_for.entry(what).or_default() -= before;
    }
    let asked: u64 = asked_for.values().sum();
    let mut most_asked: Vec<(String, u64)> = asked_for.into_iter().collect();
    most_asked.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    for (path, times) in most_asked.iter().filter(|(_, times)| *times > 0).take(8) {
        report.figure(
            &format!("{what}: {path}"),
            format!("{:.2}", *times as f64 / live as f64),
        );
    }
    let intervals = STEADY.as_secs() / POLL;
    let each = asked as f64 / live as f64 / intervals as f64;
    report.figure(
        &format!("{what}: requests per BMC and poll interval while nothing changes"),
        format!("{each:.2}"),
    );
    let writes = story::writes(&world.control_plane, mark)?.len();
    report.figure(
        &format!("{what}: writes besides Leases in {} s", STEADY.as_secs()),
        writes,
    );
    let mut missed = Vec::new();
    if each > REQUESTS {
        missed.push(format!(
            "{what}: each BMC was asked {each:.2} times an interval"
        ));
    }
    if writes > 0 {
        missed.push(format!("{what}: {writes} writes while nothing changed"));
    }
    Ok(missed)
}

/// How often the whole fleet was asked for each path.
fn asked_for(simulated: &Simulated) -> Result<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for name in simulated.fleet.names() {
        for (path, times) in simulated.fleet.requests(name)?.by_path {
            *all.entry(path).or_default() += times;
        }
    }
    Ok(all)
}

fn total(simulated: &Simulated) -> Result<u64> {
    let names = simulated.fleet.names().iter();
    let each = names.map(|name| Ok(simulated.fleet.requests(name)?.total));
    each.sum()
}

fn percentile(simulated: &Simulated, percent: usize) -> Result<Duration> {
    let names = simulated.fleet.names().iter();
    let mut spans = names
        .map(|name| Ok(simulated.fleet.requests(name)?.span_ms))
        .collect::<Result<Vec<u64>>>()?;
    spans.sort_unstable();
    let at = (spans.len() * percent).div_ceil(100).saturating_sub(1);
    let span = spans.get(at).copied().unwrap_or(0);
    Ok(Duration::from_millis(span))
}
