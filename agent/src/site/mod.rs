//! The role `site`: reaches the BMCs of one site, keeps its image store,
//! carries out directives and keeps the work orders of held hosts.
//!
//! One process has the state folder, and one holder of the site's Lease acts.
//! Work orders are watched from the start, with or without an API server;
//! everything else waits for the Lease.

mod actions;
pub mod activity;
mod at_rest;
pub mod attended;
mod boot_entry;
mod boot_stream;
pub mod bundle;
pub mod calls;
pub mod clearance;
mod configuration;
pub mod context;
pub mod custody;
mod demand;
pub mod discovery;
pub(crate) mod execute;
pub mod expiry;
#[cfg(test)]
mod fake;
mod fetches;
pub mod glances;
pub mod host_door;
mod http_boot;
mod image_keeper;
mod image_look;
pub mod images;
mod inquiry;
mod install;
pub mod inventories;
pub mod journal;
pub mod judge;
mod keyring;
mod look;
pub mod machine;
pub mod machines;
pub mod objects;
mod offer;
pub mod order;
pub mod orders;
mod override_note;
mod plan;
mod pull_secret;
mod pxe_boot;
mod recall;
mod refused;
#[cfg(test)]
pub(crate) mod samples;
mod service_door;
mod signature_source;
mod signatures;
pub mod supervisor;
pub mod target;
#[cfg(test)]
mod tests;
pub mod token_reviews;
mod untended;
mod update;
mod update_components;
mod update_note;
mod update_told;
mod update_watch;
pub mod wanted;
pub mod worker;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use lockstep_crds::names;
use lockstep_redfish::{AllowedNetworks, BmcOptions, Redfish};
use lockstep_store::{SourcePolicy, Store, StoreConfig};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::SiteConfig;
use crate::durable;
use crate::health::{self, Metrics};
use crate::kube_client;
use crate::lease::{self, Candidate, Hold, LeaseKeeper, Mandate};
use crate::pxe::book::Book;
use crate::site::attended::Attended;
use crate::site::bundle::Bundle;
use crate::site::calls::RedfishDial;
use crate::site::context::Site;
use crate::site::custody::Custodian;
use crate::site::discovery::{Means, NetworkDoors};
use crate::site::glances::Glances;
use crate::site::host_door::Door;
use crate::site::inventories::Inventories;
use crate::site::objects::Objects;
use crate::site::orders::OrderBook;
use crate::site::refused::RefusedCredentials;
use crate::site::service_door::ServiceDoor;
use crate::site::wanted::Wanted;
use lockstep_serve::{Bounds, Callers, Certificate};

/// How long connections that read images may hold up the end.
const LAST_BYTES: Duration = Duration::from_secs(5);
/// The pause after a failed renewal of the Lease.
const LEASE_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Runs until `ending`, or until what the agent cannot do without fails.
pub async fn run(config: SiteConfig, ending: CancellationToken) -> Result<()> {
    durable::make_private_dir(&config.state_dir)?;
    let Some(_state) = durable::try_lock(&config.state_dir.join("lock"))? else {
        bail!(
            "state folder {} is used by another process: stop it, or give each site agent a folder of its own",
            config.state_dir.display()
        );
    };
    let identity = identity(&config.state_dir)?;
    let (client, kube_config) = kube_client::inferred().await?;
    let seed_ca = match &config.xpu.ca_file {
        Some(path) => Bundle::of_file(path.clone())?,
        None => Bundle::of_kubeconfig(&kube_config)?,
    };
    let store_ca = store_ca_of_cards(&config)?;
    let certificate = certificate(&config)?;
    let sources_ca = match &config.store.ca_file {
        Some(path) => Some(Bundle::of_file(path.clone()).context("store.caFile")?),
        None => None,
    };
    let store = Store::open(store_config(&config, sources_ca.as_ref()))?;
    let metrics = Arc::new(Metrics::new(Some(store.clone())));
    let networks = AllowedNetworks(config.allowed_networks.clone());
    let doors = NetworkDoors(networks.clone());
    let refused = RefusedCredentials::open(&config.state_dir);
    let redfish = Redfish::with_refusals(networks, BmcOptions::default(), refused.read());
    let refusals = redfish.refusals();
    let explorer = redfish.clone();
    let site = Arc::new(Site {
        client,
        dial: Arc::new(RedfishDial::new(redfish, Arc::clone(&metrics))),
        pxe: config
            .pxe
            .as_ref()
            .map(|pxe| Book::open(&pxe.dir, &config.state_dir).context("pxe.dir"))
            .transpose()?,
        orders: OrderBook::open(&config.state_dir)?,
        glances: Glances::default(),
        attended: Attended::default(),
        inventories: Inventories::default(),
        mandate: Mandate::default(),
        metrics: Arc::clone(&metrics),
        store,
        seed_ca: Arc::new(seed_ca),
        store_ca: store_ca.map(Arc::new),
        callers: Callers::default(),
        config,
    });
    // Before anything else: a card that was given up while no agent ran must not find its file.
    // Whatever keeps it there does so without this agent too, and holds are to end.
    if let Err(error) = site.end_outdated_pxe_offers() {
        tracing::error!("offers by PXE that are over: {error}; they are withdrawn again later");
    }
    let means = Means {
        site: Arc::clone(&site),
        explorer: Arc::new(explorer),
        doors: Arc::new(doors),
    };
    // Whatever fails for good ends the rest in order.
    let ending = ending.child_token();
    let images = listen("store.listen", site.config.store.listen).await?;
    let health = listen("health", site.config.health).await?;
    // A BMC may have to read an image for as long as an effect is under way.
    let worked = CancellationToken::new();
    let objects = Objects::watch(&site.client, &site.config, &ending);
    let door = Door::new(Arc::clone(&site), objects.hosts.clone());
    let services = ServiceDoor::new(Arc::clone(&site), objects.hosts.clone());
    let serving = tokio::spawn(lockstep_serve::serve_to(
        images,
        certificate,
        site.store
            .router()
            .merge(door.router())
            .merge(services.router()),
        Bounds::IMAGES,
        site.callers.clone(),
        worked.clone(),
    ));
    let health = tokio::spawn(health::serve(health, metrics, ending.clone()));
    tokio::spawn(refused.keep(refusals, ending.clone()));
    if let Some(bundle) = sources_ca {
        let keeping = bundle::keep_trusted(bundle, site.store.clone(), ending.clone());
        tokio::spawn(keeping);
    }
    let custodian = tokio::spawn(Custodian::new(Arc::clone(&site)).run(ending.clone()));
    tracing::info!(
        site = site.config.site,
        namespace = site.config.namespace,
        identity,
        version = env!("CARGO_PKG_VERSION"),
        "site agent runs"
    );
    let result = work(&means, &identity, &objects, &ending).await;
    ending.cancel();
    worked.cancel();
    custodian.await.context("work orders")?;
    for (what, server) in [("image server", serving), ("health server", health)] {
        if let Ok(served) = tokio::time::timeout(LAST_BYTES, server).await {
            served.context(what)?;
        }
    }
    result
}

/// Holds the Lease, and works for as long as it does.
async fn work(
    means: &Means,
    identity: &str,
    objects: &Objects,
    ending: &CancellationToken,
) -> Result<()> {
    let site = &means.site;
    let leases: Api<Lease> = Api::namespaced(site.client.clone(), &site.config.namespace);
    let candidate = Candidate {
        lease: names::site(&site.config.site),
        identity: identity.to_owned(),
        role: "site",
        patience: lease::DURATION + lease::LONGEST_CALL,
        owner: None,
    };
    let mut keeper = LeaseKeeper::new(leases, candidate);
    let (wanted, watched) = watch::channel(None);
    let mut at_work = None;
    let mut wanted = Some(wanted);
    let mut watched = Some(watched);
    let mut failures = 0_u32;
    let result = loop {
        let begun = Instant::now();
        let pause = match keeper.hold().await {
            Ok(Hold::Held) => {
                failures = 0;
                site.mandate.extend_from(begun);
                if let (Some(wanted), Some(watched)) = (wanted.take(), watched.take()) {
                    tracing::info!("the site's Lease is held");
                    at_work = Some(tokio::spawn(look_after(
                        means.clone(),
                        objects.clone(),
                        wanted,
                        watched,
                        ending.clone(),
                    )));
                }
                lease::renewal()
            }
            Ok(Hold::HeldBy(other)) if at_work.is_some() => {
                site.mandate.end();
                break Err(anyhow::anyhow!(
                    "the site's Lease was taken by {other}: run one site agent per site"
                ));
            }
            Ok(Hold::HeldBy(other)) => {
                tracing::info!(
                    other,
                    "the site's Lease is another agent's; it is taken once that agent can no longer act"
                );
                clock::jittered(LEASE_PAUSE.1, 10)
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!("{error}");
                clock::backoff(failures, LEASE_PAUSE.0, LEASE_PAUSE.1)
            }
        };
        tokio::select! {
            () = ending.cancelled() => break Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    };
    ending.cancel();
    if let Some(task) = at_work {
        task.await.context("workers")?;
    }
    // Nothing is in flight any more, so the next agent need not wait.
    site.mandate.end();
    if let Err(error) = keeper.give_up().await {
        tracing::info!("{error}");
    }
    result
}

async fn look_after(
    means: Means,
    objects: Objects,
    wanted: watch::Sender<Option<Wanted>>,
    watched: watch::Receiver<Option<Wanted>>,
    ending: CancellationToken,
) {
    let read = tokio::select! {
        () = ending.cancelled() => false,
        read = objects.are_read() => read,
    };
    if !read {
        return;
    }
    let site = Arc::clone(&means.site);
    site.metrics.set_ready();
    let section = site.config.discovery.clone();
    let discovery =
        section.map(|section| tokio::spawn(discovery::run(means, section, ending.clone())));
    let images = tokio::spawn(images::run(Arc::clone(&site), watched, ending.clone()));
    supervisor::run(site, objects, wanted, ending).await;
    if let Err(error) = images.await {
        tracing::error!("images: {error}");
    }
    if let Some(discovery) = discovery
        && let Err(error) = discovery.await
    {
        tracing::error!("discovery: {error}");
    }
}

async fn listen(what: &str, address: SocketAddr) -> Result<TcpListener> {
    lockstep_serve::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address for `{what}`"))
}

/// The bundle by which cards trust the store.
fn store_ca_of_cards(config: &SiteConfig) -> Result<Option<Bundle>> {
    let services = config.xpu.services.as_ref();
    let Some(path) = services.and_then(|services| services.store_ca_file.as_ref()) else {
        return Ok(None);
    };
    let bundle = Bundle::of_file(path.clone()).context("xpu.services.storeCaFile")?;
    Ok(Some(bundle))
}

/// Under which images are served, if over HTTPS.
fn certificate(config: &SiteConfig) -> Result<Option<Arc<Certificate>>> {
    let Some(tls) = &config.store.tls else {
        return Ok(None);
    };
    let opened = Certificate::open(tls.cert_file.clone(), tls.key_file.clone());
    Ok(Some(Arc::new(opened.context("store.tls")?)))
}

fn store_config(config: &SiteConfig, sources_ca: Option<&Bundle>) -> StoreConfig {
    let section = &config.store;
    let mut store = StoreConfig::new(&section.dir, section.quota_bytes);
    if let Some(most) = section.max_image_bytes {
        store.max_image_bytes = most;
    }
    store.sources = SourcePolicy::Networks(config.allowed_networks.clone());
    store.ca_bundle = sources_ca.map(|bundle| bundle.current().into_bytes());
    store
}

#[derive(Serialize, Deserialize)]
struct Instance {
    identity: String,
}

/// Who this agent is: the same across restarts with the same state folder,
/// which one process has at a time. So a restarted agent need not wait for
/// its own Lease.
fn identity(state_dir: &Path) -> Result<String> {
    let path = state_dir.join("instance.json");
    if let Some(instance) = durable::read::<Instance>(&path)? {
        return Ok(instance.identity);
    }
    let identity = format!("site-agent-{:016x}", rand::random::<u64>());
    durable::write(
        &path,
        &Instance {
            identity: identity.clone(),
        },
    )?;
    Ok(identity)
}
