//! Puts the parts together and takes them down: watches first, then leadership,
//! then the controllers. Any part that ends by itself ends the process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::{Client, Config};
use lockstep_planner::inventory::join;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Outcome, Shared};
use crate::drive::drive;
use crate::guards::Guards;
use crate::inventory_controller::Inventories;
use crate::key::Key;
use crate::leader::Candidate;
use crate::metrics::Metrics;
use crate::server::{self, Pulses, Served};
use crate::stores::{Bells, Feed, Sites, Waker};
use crate::world::World;
use crate::writes::Writes;
use crate::{
    host_controller, image_controller, label_controller, manifests, orphan_controller,
    policy_controller,
};

/// How long a shutdown may take; a Pod gets 30 s by default.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(25);

/// What the operator is told on its command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the operator itself and of its Lease.
    pub namespace: String,
    /// Where health and metrics are served.
    pub listen: SocketAddr,
    /// Which namespaces hold sites.
    pub sites: Sites,
    /// This process, for the Lease and events.
    pub identity: String,
}

/// Runs until `stop`.
///
/// # Errors
/// If a part cannot be started or ends by itself.
pub async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let config = Config::infer()
        .await
        .context("no cluster to work for: neither a kubeconfig nor a Pod's service account")?;
    let client = Client::try_from(config).context("the API server cannot be addressed")?;
    let metrics = Metrics::default();
    let guards = Guards::parse(&manifests::guards_for(&options.namespace))?;
    let world = Shared::new(World::new(guards, options.sites.watches()));
    let waker = Waker::default();
    let pulses = Pulses::default();

    let mut serving = JoinSet::new();
    let served = Served {
        world: world.clone(),
        metrics: metrics.clone(),
        pulses: pulses.clone(),
    };
    let listener = server::bind(options.listen).await?;
    let closing = CancellationToken::new();
    serving.spawn(server::serve(listener, served, closing.clone()));

    let feed = Feed {
        client: client.clone(),
        world: world.clone(),
        waker: waker.clone(),
        metrics: metrics.clone(),
    };
    let mut watches = JoinSet::new();
    feed.start(&options.sites, &mut watches);
    watches.spawn(feed.watch_leases());

    let mut parts = JoinSet::new();
    parts.spawn(lead(
        options,
        client,
        world,
        waker,
        metrics,
        pulses,
        stop.clone(),
    ));
    let ended = tokio::select! {
        Some(ended) = parts.join_next() => ended.context("a controller ended abnormally")?,
        Some(ended) = watches.join_next() => {
            Err(anyhow::anyhow!("the watch of {} ended by itself", ended?))
        }
        Some(ended) = serving.join_next() => {
            ended.context("health and metrics are not served any more")?;
            Err(anyhow::anyhow!("the health server ended by itself"))
        }
    };
    closing.cancel();
    ended
}

/// Waits for the caches and for leadership, then runs the controllers until `stop`.
async fn lead(
    options: Options,
    client: Client,
    world: Shared,
    waker: Waker,
    metrics: Metrics,
    pulses: Pulses,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if !synced(&world, &waker, &stop).await {
        return Ok(());
    }
    let broken = world.read().guards().broken().join(", ");
    if !broken.is_empty() {
        tracing::error!(
            broken,
            "admission guards are not in place: nothing new is begun"
        );
    }
    let me = options.identity;
    let mut candidate = Candidate::new(
        client.clone(),
        &options.namespace,
        me.clone(),
        metrics.clone(),
    );
    if !candidate.acquire(&stop).await {
        return Ok(());
    }
    let writes = Writes::new(client, me, metrics.clone());
    let context = Arc::new(Context::new(world.clone(), writes, metrics));
    let (hosts, host_wakes) = unbounded_channel();
    let (cards, card_wakes) = unbounded_channel();
    let (images, image_wakes) = unbounded_channel();
    let (policies, policy_wakes) = unbounded_channel();
    let (sites, site_wakes) = unbounded_channel();
    let (nodes, node_wakes) = unbounded_channel();
    waker.connect(Bells {
        hosts,
        cards,
        images,
        policies,
        sites,
        nodes,
    });

    // The Lease is given up only after the last reconcile has ended.
    let leading = CancellationToken::new();
    let mut keeping = JoinSet::new();
    keeping.spawn(candidate.keep(leading.clone()));
    let mut controllers = JoinSet::new();
    let start = Start {
        context,
        pulses,
        stop: stop.clone(),
    };
    controllers.spawn(start.drive("host", host_wakes, |context, key| async move {
        host_controller::reconcile(&context, &key).await
    }));
    controllers.spawn(
        start.drive("orphan", card_wakes, |context, key| async move {
            orphan_controller::reconcile(&context, &key).await
        }),
    );
    controllers.spawn(
        start.drive("image", image_wakes, |context, key| async move {
            image_controller::reconcile(&context, &key).await
        }),
    );
    controllers.spawn(
        start.drive("policy", policy_wakes, |context, key| async move {
            policy_controller::reconcile(&context, &key).await
        }),
    );
    let inventories = Arc::new(Inventories::new(join, waker.clone()));
    controllers.spawn(start.drive("inventory", site_wakes, move |context, key| {
        let inventories = Arc::clone(&inventories);
        async move { inventories.reconcile(&context, &key).await }
    }));
    controllers.spawn(start.drive("label", node_wakes, |context, key| async move {
        label_controller::reconcile(&context, &key).await
    }));
    let everybody = world.read().everybody();
    waker.wake(everybody);

    tokio::select! {
        () = stop.cancelled() => {}
        Some(lost) = keeping.join_next() => {
            lost.context("the election ended abnormally")??;
            bail!("the election ended by itself");
        }
        Some(ended) = controllers.join_next() => {
            ended.context("a controller ended abnormally")??;
            if !stop.is_cancelled() {
                bail!("a controller ended by itself");
            }
        }
    }
    let finish = async {
        while let Some(ended) = controllers.join_next().await {
            ended.context("a controller ended abnormally")??;
        }
        leading.cancel();
        while let Some(ended) = keeping.join_next().await {
            ended.context("the election ended abnormally")??;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SHUTDOWN_DEADLINE, finish)
        .await
        .context(
            "reconciles did not end in time; what they wrote stands, the rest is planned anew",
        )?
}

/// Waits until every watch has delivered its first list. `false` if stopped before.
async fn synced(world: &Shared, waker: &Waker, stop: &CancellationToken) -> bool {
    loop {
        // Asked for before the look, so that no change falls in between.
        let changed = waker.changed.notified();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        if world.read().is_synced() {
            return true;
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = changed => {}
        }
    }
}

struct Start {
    context: Arc<Context>,
    pulses: Pulses,
    stop: CancellationToken,
}

impl Start {
    fn drive<F, R>(
        &self,
        name: &'static str,
        wakes: UnboundedReceiver<Key>,
        reconcile: F,
    ) -> impl Future<Output = Result<(), crate::drive::DriveError>> + Send + use<F, R>
    where
        F: Fn(Arc<Context>, Key) -> R + Send,
        R: Future<Output = Outcome> + Send + 'static,
    {
        drive(
            name,
            Arc::clone(&self.context),
            wakes,
            reconcile,
            self.pulses.of(name),
            self.stop.clone(),
        )
    }
}
