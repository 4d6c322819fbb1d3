//! The watches: they keep the [`World`](crate::world::World) up to date and wake whom a change concerns.
//!
//! A watch never ends: it backs off and starts again. An object that cannot be
//! read is noted as such and disturbs no other.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use lockstep_crds::{AGENT_LABEL, Dpu, DpuBootPolicy, DpuHost, DpuImage, DpuInventory, DpuReport};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use crate::context::Shared;
use crate::guards;
use crate::key::Key;
use crate::metrics::Metrics;
use crate::table::Entry;
use crate::watched::{GuardBinding, GuardPolicy, Watched};
use crate::world::{Wake, Watch};

/// Where the controllers are woken.
#[derive(Clone, Debug)]
pub struct Bells {
    /// Of the host controller.
    pub hosts: UnboundedSender<Key>,
    /// Of the orphan controller.
    pub cards: UnboundedSender<Key>,
    /// Of the image controller.
    pub images: UnboundedSender<Key>,
    /// Of the policy controller.
    pub policies: UnboundedSender<Key>,
    /// Of the inventory controller; the keys are those of Namespaces.
    pub sites: UnboundedSender<Key>,
    /// Of the controller of Node labels.
    pub nodes: UnboundedSender<Key>,
}

/// Passes wakes on to the controllers, if this replica runs any.
#[derive(Clone, Debug, Default)]
pub struct Waker {
    bells: Arc<Mutex<Option<Bells>>>,
    /// Told of every change, for those who wait for one.
    pub changed: Arc<Notify>,
}

impl Waker {
    /// From now on wakes go to these controllers. Before, they are dropped:
    /// a leader that takes over looks at everything anyway.
    pub fn connect(&self, bells: Bells) {
        *self.bells.lock().unwrap_or_else(PoisonError::into_inner) = Some(bells);
    }

    /// Wakes all of these.
    pub fn wake(&self, wake: Wake) {
        self.changed.notify_waiters();
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bells) = bells.as_ref() else {
            return;
        };
        let ring = |bell: &UnboundedSender<Key>, keys: BTreeSet<Key>| {
            for key in keys {
                if bell.send(key).is_err() {
                    // The controller has stopped, and with it this process stops.
                    return;
                }
            }
        };
        ring(&bells.hosts, wake.hosts);
        ring(&bells.cards, wake.cards);
        ring(&bells.images, wake.images);
        ring(&bells.policies, wake.policies);
        ring(&bells.sites, wake.sites);
        ring(&bells.nodes, wake.nodes);
    }
}

/// Which namespaces hold sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sites {
    /// Every namespace.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl FromStr for Sites {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let namespaces: BTreeSet<String> =
            text.split(',').map(|name| name.trim().to_owned()).collect();
        if namespaces.contains("") {
            return Err("give `all`, or namespaces separated by commas".to_owned());
        }
        Ok(Self::Only(namespaces))
    }
}

impl Sites {
    fn scopes(&self) -> Vec<Option<String>> {
        match self {
            Self::All => vec![None],
            Self::Only(namespaces) => namespaces.iter().cloned().map(Some).collect(),
        }
    }

    /// Every watch there will be.
    pub fn watches(&self) -> Vec<Watch> {
        let sited = [
            DpuHost::KIND,
            Dpu::KIND,
            DpuImage::KIND,
            DpuBootPolicy::KIND,
            DpuReport::KIND,
            DpuInventory::KIND,
            Lease::KIND,
        ];
        let cluster = [Node::KIND, GuardPolicy::KIND, GuardBinding::KIND];
        let scopes = self.scopes();
        let sited = sited
            .into_iter()
            .flat_map(|kind| scopes.iter().map(move |scope| (kind, scope.clone())));
        sited.chain(cluster.map(|kind| (kind, None))).collect()
    }
}

/// What every watch needs.
#[derive(Clone)]
pub struct Feed {
    /// The API server.
    pub client: Client,
    /// What is kept up to date.
    pub world: Shared,
    /// Who is told.
    pub waker: Waker,
    /// The figures.
    pub metrics: Metrics,
}

impl Feed {
    /// Starts every watch of [`Sites::watches`].
    pub fn start(&self, sites: &Sites, tasks: &mut JoinSet<&'static str>) {
        for scope in sites.scopes() {
            self.sited::<DpuHost>(scope.clone(), tasks, watcher::Config::default());
            self.sited::<Dpu>(scope.clone(), tasks, watcher::Config::default());
            self.sited::<DpuImage>(scope.clone(), tasks, watcher::Config::default());
            self.sited::<DpuBootPolicy>(scope.clone(), tasks, watcher::Config::default());
            self.sited::<DpuReport>(scope.clone(), tasks, watcher::Config::default());
            self.sited::<DpuInventory>(scope.clone(), tasks, watcher::Config::default());
            let agents = watcher::Config::default().labels(AGENT_LABEL);
            self.sited::<Lease>(scope, tasks, agents);
        }
        let nodes: Api<DeserializeGuard<Node>> = Api::all(self.client.clone());
        let nodes = watcher(nodes, watcher::Config::default());
        let feed = self.clone();
        tasks.spawn(async move {
            feed.run(None, nodes.map_ok(|event| each(event, guarded)))
                .await
        });
        self.guards(guards::POLICY, GuardPolicy, tasks);
        self.guards(guards::BINDING, GuardBinding, tasks);
    }

    fn sited<K>(
        &self,
        scope: Option<String>,
        tasks: &mut JoinSet<&'static str>,
        config: watcher::Config,
    ) where
        K: Watched + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let client = self.client.clone();
        let api: Api<DeserializeGuard<K>> = match &scope {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let events = watcher(api, config).map_ok(|event| each(event, guarded));
        let feed = self.clone();
        tasks.spawn(async move { feed.run(scope, events).await });
    }

    fn guards<K: Watched>(
        &self,
        kind: &str,
        wrap: fn(DynamicObject) -> K,
        tasks: &mut JoinSet<&'static str>,
    ) {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind));
        let events = watcher(api, watcher::Config::default()).map_ok(move |event| {
            each(event, |object: DynamicObject| {
                let key = Key::new("", object.metadata.name.clone().unwrap_or_default());
                (key, Entry::Readable(Arc::new(wrap(object))))
            })
        });
        let feed = self.clone();
        tasks.spawn(async move { feed.run(None, events).await });
    }

    /// Applies events until the stream ends, which it does not by itself.
    async fn run<K: Watched>(
        self,
        scope: Option<String>,
        events: impl Stream<Item = watcher::Result<Event<(Key, Entry<K>)>>> + Send,
    ) -> &'static str {
        let mut events = std::pin::pin!(events.default_backoff());
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.metrics.watch_failed(K::KIND);
                    tracing::warn!(kind = K::KIND, %error, "a watch failed and will be tried again");
                    continue;
                }
            };
            match event {
                Event::Init => listed.clear(),
                Event::InitApply((key, entry)) => {
                    self.note(&key, &entry);
                    listed.push((key, entry));
                }
                Event::InitDone => {
                    let listed = std::mem::take(&mut listed);
                    tracing::debug!(kind = K::KIND, ?scope, objects = listed.len(), "listed");
                    self.change(|world, now| world.replace(scope.as_deref(), listed, now));
                }
                Event::Apply((key, entry)) => {
                    self.note(&key, &entry);
                    self.change(|world, now| world.put(&key, Some(entry), now));
                }
                Event::Delete((key, _)) => {
                    self.change(|world, now| world.put::<K>(&key, None, now));
                }
            }
        }
        K::KIND
    }

    fn note<K: Watched>(&self, key: &Key, entry: &Entry<K>) {
        if let Entry::Unreadable(error) = entry {
            self.metrics.unreadable(K::KIND);
            tracing::error!(kind = K::KIND, %key, %error, "this release cannot read this object");
        }
    }

    fn change(&self, change: impl FnOnce(&mut crate::world::World, Timestamp) -> Wake) {
        let (wake, guards) = {
            let mut world = self.world.write();
            let before = world.guards().intact();
            let wake = change(&mut world, Timestamp::now());
            let after = world.guards().intact();
            (wake, (before != after).then(|| world.guards().broken()))
        };
        if let Some(broken) = guards {
            if broken.is_empty() {
                tracing::info!("all admission guards are in place");
            } else {
                let broken = broken.join(", ");
                tracing::error!(
                    broken,
                    "admission guards are not in place: nothing new is begun"
                );
            }
        }
        self.waker.wake(wake);
    }

    /// Wakes those whose agent has fallen silent, each at the moment its Lease runs out.
    pub async fn watch_leases(self) -> &'static str {
        /// Leases seen meanwhile run out no sooner than this.
        const LONGEST: std::time::Duration = std::time::Duration::from_secs(5);
        loop {
            let now = Timestamp::now();
            let next = self.world.read().next_lease_expiry();
            let until = next.map_or(LONGEST, |at| {
                std::time::Duration::try_from(at.duration_since(now)).unwrap_or_default()
            });
            // A Lease is good up to and including its last instant.
            let past = std::time::Duration::from_millis(1);
            tokio::time::sleep(until.min(LONGEST) + past).await;
            let wake = self.world.write().expire_leases(Timestamp::now());
            if !wake.is_empty() {
                tracing::warn!(hosts = wake.hosts.len(), "agents have fallen silent");
                self.waker.wake(wake);
            }
        }
    }
}

/// Applies a function to each object of an event.
fn each<A, B>(event: Event<A>, f: impl Fn(A) -> B) -> Event<B> {
    match event {
        Event::Apply(object) => Event::Apply(f(object)),
        Event::Delete(object) => Event::Delete(f(object)),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(f(object)),
        Event::InitDone => Event::InitDone,
    }
}

/// An object without what nobody here reads.
fn guarded<K: Resource + Debug>(guard: DeserializeGuard<K>) -> (Key, Entry<K>) {
    let key = Key::of(&guard);
    let entry = match guard.0 {
        Ok(mut object) => {
            object.meta_mut().managed_fields = None;
            Entry::Readable(Arc::new(object))
        }
        Err(invalid) => Entry::Unreadable(invalid.error.into()),
    };
    (key, entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_all_or_named() {
        assert_eq!("all".parse(), Ok(Sites::All));
        let named = Sites::Only(BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!("a, b,a".parse(), Ok(named.clone()));
        assert!("a,,b".parse::<Sites>().is_err());
        assert_eq!(Sites::All.watches().len(), 10);
        assert_eq!(
            named.watches().len(),
            17,
            "seven kinds in each, three of the cluster"
        );
    }
}
