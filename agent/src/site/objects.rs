//! The site's objects, watched: only this site's hosts and cards, and the
//! policies and images of its namespace.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::SiteConfig;

/// Caches of everything the site agent acts on.
#[derive(Clone)]
pub struct Objects {
    /// Hosts of the site.
    pub hosts: Store<DpuHost>,
    /// Cards of the site.
    pub cards: Store<Dpu>,
    /// Policies of the namespace.
    pub policies: Store<DpuBootPolicy>,
    /// Images of the namespace.
    pub images: Store<DpuImage>,
    resync: Arc<AtomicU64>,
    changed: watch::Receiver<u64>,
}

impl Objects {
    /// Watches until `ending`.
    pub fn watch(client: &Client, config: &SiteConfig, ending: &CancellationToken) -> Self {
        let watcher = Watcher {
            client: client.clone(),
            namespace: config.namespace.clone(),
            resync: Arc::default(),
            changed: watch::Sender::new(0),
            ending: ending.clone(),
        };
        let ours = format!("spec.site={}", config.site);
        Self {
            hosts: watcher.start(Some(&ours)),
            cards: watcher.start(Some(&ours)),
            policies: watcher.start(None),
            images: watcher.start(None),
            resync: Arc::clone(&watcher.resync),
            changed: watcher.changed.subscribe(),
        }
    }

    /// Waits until everything was read once; false if the watches ended before.
    pub async fn are_read(&self) -> bool {
        self.hosts.wait_until_ready().await.is_ok()
            && self.cards.wait_until_ready().await.is_ok()
            && self.policies.wait_until_ready().await.is_ok()
            && self.images.wait_until_ready().await.is_ok()
    }

    /// Waits for the next change; false if the watches have ended.
    pub async fn change(&mut self) -> bool {
        self.changed.changed().await.is_ok()
    }

    /// Grows whenever something was listed anew.
    pub fn resync(&self) -> u64 {
        self.resync.load(Ordering::Relaxed)
    }
}

struct Watcher {
    client: Client,
    namespace: String,
    resync: Arc<AtomicU64>,
    changed: watch::Sender<u64>,
    ending: CancellationToken,
}

impl Watcher {
    fn start<K>(&self, fields: Option<&str>) -> Store<K>
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default + Eq + std::hash::Hash + Clone + Unpin + Debug + Send + Sync,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut config = watcher::Config::default();
        if let Some(fields) = fields {
            config = config.fields(fields);
        }
        let (store, writer) = reflector::store();
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let resync = Arc::clone(&self.resync);
        let changed = self.changed.clone();
        let stream = reflector::reflector(writer, watcher(api, config).default_backoff())
            .inspect_err(move |error| tracing::warn!(kind, "watch: {error}"))
            .for_each(move |event| {
                if let Ok(event) = event {
                    if matches!(event, watcher::Event::InitDone) {
                        resync.fetch_add(1, Ordering::Relaxed);
                    }
                    changed.send_modify(|count| *count += 1);
                }
                std::future::ready(())
            });
        let ending = self.ending.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ending.cancelled() => {}
                () = stream => {}
            }
        });
        store
    }
}
