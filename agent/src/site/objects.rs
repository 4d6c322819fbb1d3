//! The site's objects, watched: only this site's hosts and cards, and the
//! policies and images of its namespace.
//!
//! An object that this release cannot read disturbs no other, and does not
//! look as if it were gone: it is known by name, with the reason.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::SiteConfig;

/// Caches of everything the site agent acts on.
#[derive(Clone)]
pub struct Objects {
    /// Hosts of the site.
    pub hosts: Table<DpuHost>,
    /// Cards of the site.
    pub cards: Table<Dpu>,
    /// Policies of the namespace.
    pub policies: Table<DpuBootPolicy>,
    /// Images of the namespace.
    pub images: Table<DpuImage>,
    resync: Arc<AtomicU64>,
    changed: watch::Receiver<u64>,
}

/// What is known of one kind.
#[derive(Clone, Debug)]
pub struct Known<K> {
    /// The objects that could be read.
    pub objects: Vec<Arc<K>>,
    /// The others, by name.
    pub unreadable: BTreeMap<String, Unreadable>,
}

impl<K: Resource<DynamicType = ()>> Known<K> {
    /// The objects that could not be read, as `KIND NAME`.
    pub fn unread(&self) -> impl Iterator<Item = String> {
        let names = self.unreadable.keys();
        names.map(|name| format!("{} {name}", K::kind(&())))
    }
}

/// An object that this release cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its uid.
    pub uid: String,
    /// Why not.
    pub why: String,
}

/// Everything seen of one kind.
pub struct Table<K> {
    entries: Arc<Mutex<BTreeMap<String, Entry<K>>>>,
    listed: watch::Receiver<bool>,
}

enum Entry<K> {
    Readable(Arc<K>),
    Unreadable(Unreadable),
}

impl<K> Clone for Table<K> {
    fn clone(&self) -> Self {
        Self {
            entries: Arc::clone(&self.entries),
            listed: self.listed.clone(),
        }
    }
}

impl<K> Table<K> {
    /// What is known now.
    pub fn known(&self) -> Known<K> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = Known {
            objects: Vec::with_capacity(entries.len()),
            unreadable: BTreeMap::new(),
        };
        for (name, entry) in entries.iter() {
            match entry {
                Entry::Readable(object) => known.objects.push(Arc::clone(object)),
                Entry::Unreadable(unreadable) => {
                    known.unreadable.insert(name.clone(), unreadable.clone());
                }
            }
        }
        known
    }

    /// Waits until everything was read once; false if the watch ended before.
    async fn is_listed(&self) -> bool {
        let mut listed = self.listed.clone();
        listed.wait_for(|listed| *listed).await.is_ok()
    }
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
        self.hosts.is_listed().await
            && self.cards.is_listed().await
            && self.policies.is_listed().await
            && self.images.is_listed().await
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
    fn start<K>(&self, fields: Option<&str>) -> Table<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let api: Api<DeserializeGuard<K>> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut config = watcher::Config::default();
        if let Some(fields) = fields {
            config = config.fields(fields);
        }
        let (is_listed, listed) = watch::channel(false);
        let table = Table {
            entries: Arc::default(),
            listed,
        };
        let entries = Arc::clone(&table.entries);
        let kind = K::kind(&()).into_owned();
        let resync = Arc::clone(&self.resync);
        let changed = self.changed.clone();
        let mut fresh = BTreeMap::new();
        let stream = watcher(api, config)
            .default_backoff()
            .for_each(move |event| {
                match event {
                    Err(error) => tracing::warn!(kind, "watch: {error}"),
                    Ok(Event::Init) => fresh.clear(),
                    Ok(Event::InitApply(object)) => {
                        fresh.insert(object.name_any(), entry(&kind, object));
                    }
                    Ok(Event::InitDone) => {
                        *entries.lock().unwrap_or_else(PoisonError::into_inner) =
                            std::mem::take(&mut fresh);
                        resync.fetch_add(1, Ordering::Relaxed);
                        is_listed.send_replace(true);
                        changed.send_modify(|count| *count += 1);
                    }
                    Ok(Event::Apply(object)) => {
                        let (name, entry) = (object.name_any(), entry(&kind, object));
                        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
                        entries.insert(name, entry);
                        changed.send_modify(|count| *count += 1);
                    }
                    Ok(Event::Delete(object)) => {
                        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
                        entries.remove(&object.name_any());
                        changed.send_modify(|count| *count += 1);
                    }
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
        table
    }
}

fn entry<K: Resource<DynamicType = ()>>(kind: &str, guard: DeserializeGuard<K>) -> Entry<K> {
    match guard.0 {
        Ok(object) => Entry::Readable(Arc::new(object)),
        Err(invalid) => {
            let name = invalid.metadata.name.unwrap_or_default();
            let why = invalid.error;
            tracing::error!(
                kind,
                name,
                "this release cannot read this object and does nothing for it: {why}; upgrade the site agent, or correct the object"
            );
            Entry::Unreadable(Unreadable {
                uid: invalid.metadata.uid.unwrap_or_default(),
                why,
            })
        }
    }
}
