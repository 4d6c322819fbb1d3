//! Every write of the operator to its own kinds, and what it knows of them.
//!
//! Each carries the resourceVersion of the object it was planned from, so that
//! neither a stale cache nor a second leader can overwrite anything. What was
//! written is remembered until the cache has caught up: planning from a cache
//! older than that would only earn a conflict.

mod objects;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Node, ObjectReference, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource, ResourceExt};
use lockstep_crds::{Dpu, DpuHost, condition, names};
use lockstep_planner::decision::{NodeTaint, Transition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;

use crate::key::Key;
use crate::metrics::Metrics;
use crate::node_taint;

/// How long one API call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// A namespaced kind of ours.
pub trait Ours:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
{
}

impl<K> Ours for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}

/// Why something is written. Names the field manager, so that an audit log tells causes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A directive is recorded.
    Record,
    /// What has become of things is told.
    Conclude,
    /// An object is protected from vanishing, or let go.
    Finalizer,
    /// A card's agent gets its identity.
    Account,
    /// A Node is tainted for a hold, or no longer.
    Taint,
    /// People are told of a transition.
    Event,
    /// Discovery proposes an object, follows it, or takes it back.
    Discover,
    /// A policy approves a card.
    Approve,
    /// A card's inventory is told.
    Inventory,
    /// A Node tells which cards sit in it.
    Label,
}

impl Cause {
    /// Name for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Conclude => "conclude",
            Self::Finalizer => "finalizer",
            Self::Account => "account",
            Self::Taint => "taint",
            Self::Event => "event",
            Self::Discover => "discover",
            Self::Approve => "approve",
            Self::Inventory => "inventory",
            Self::Label => "label",
        }
    }

    fn manager(self) -> String {
        format!("lockstep-{}", self.as_str())
    }
}

/// A write that did not go through, as far as is known.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Somebody else wrote first; to be planned again from what they wrote.
    #[error("{0} was changed meanwhile")]
    Conflict(String),
    /// The object does not exist any more.
    #[error("{0} is gone")]
    Gone(String),
    /// No answer in time. Whether it went through will be seen.
    #[error("writing {what} was not answered within {} s", CALL_DEADLINE.as_secs())]
    NoAnswer {
        /// The object.
        what: String,
    },
    /// A ServiceAccount of an earlier Dpu of that name is still there.
    #[error(
        "ServiceAccount {0} belongs to an earlier Dpu of that name and awaits garbage collection. \
         If it stays, delete it"
    )]
    ForeignAccount(String),
    /// The API server refused, or could not be reached.
    #[error("writing {what} failed: {source}")]
    Refused {
        /// The object.
        what: String,
        /// What the client says.
        source: Box<kube::Error>,
    },
}

impl WriteError {
    /// Whether the API server has refused it for what it says: the same again would be refused again.
    pub(crate) fn is_for_what_it_says(&self) -> bool {
        let Self::Refused { source, .. } = self else {
            return false;
        };
        let kube::Error::Api(status) = source.as_ref() else {
            return false;
        };
        matches!(status.code, 400 | 403 | 422)
    }
}

#[derive(Debug)]
struct Written {
    uid: String,
    version: u128,
}

/// The writing end.
pub struct Writes {
    client: Client,
    recorder: Recorder,
    metrics: Metrics,
    written: Mutex<BTreeMap<(String, Key), Written>>,
}

impl Writes {
    /// A writing end; `instance` is this process, for events.
    pub fn new(client: Client, instance: String, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: "lockstep-operator".to_owned(),
            instance: Some(instance),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            metrics,
            written: Mutex::default(),
        }
    }

    /// Whether the cached `object` is at least as new as our last write of it.
    pub fn caught_up<K: Ours>(&self, object: &K) -> bool {
        let id = (K::kind(&()).into_owned(), Key::of(object));
        let mut written = lock(&self.written);
        let behind = written.get(&id).is_some_and(|written| {
            object.meta().uid.as_deref() == Some(written.uid.as_str())
                && version(object).is_some_and(|seen| seen < written.version)
        });
        if !behind {
            written.remove(&id);
        }
        !behind
    }

    /// Changes an object's status by a merge patch, if its `resourceVersion` is
    /// still the one in `object`.
    ///
    /// # Errors
    /// If it is not, or the call fails.
    pub async fn patch_status<K: Ours>(
        &self,
        object: &K,
        status: &Value,
        cause: Cause,
    ) -> Result<K, WriteError> {
        let patch = json!({
            "metadata": {"resourceVersion": object.resource_version()},
            "status": status,
        });
        let (api, name) = self.api(object);
        let params = patch_params(cause);
        let patch = Patch::Merge(&patch);
        let call = api.patch_status(&name, &params, &patch);
        self.done(object, cause, call).await
    }

    /// Sets an object's finalizers, if its `resourceVersion` is still the one in `object`.
    ///
    /// # Errors
    /// If it is not, or the call fails.
    pub async fn finalizers<K: Ours>(
        &self,
        object: &K,
        finalizers: &[String],
    ) -> Result<K, WriteError> {
        let patch = json!({"metadata": {
            "resourceVersion": object.resource_version(),
            "finalizers": finalizers,
        }});
        let (api, name) = self.api(object);
        let params = patch_params(Cause::Finalizer);
        let patch = Patch::Merge(&patch);
        let call = api.patch(&name, &params, &patch);
        self.done(object, Cause::Finalizer, call).await
    }

    /// Makes sure that the agent in a card's operating system has its identity.
    ///
    /// # Errors
    /// If a namesake belongs to somebody else, or the call fails.
    pub async fn account(&self, dpu: &Dpu) -> Result<(), WriteError> {
        let uid = dpu.uid().unwrap_or_default();
        let key = Key::of(dpu);
        let name = names::xpu(&key.name);
        let what = format!("ServiceAccount {}", key.sibling(&name));
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(key.namespace.clone()),
                owner_references: dpu.owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        };
        let params = PostParams {
            field_manager: Some(Cause::Account.manager()),
            ..PostParams::default()
        };
        match in_time(&what, api.create(&params, &account)).await {
            Ok(_) => self
                .metrics
                .wrote("ServiceAccount", Cause::Account.as_str()),
            // "Already exists" has the same code as a conflict.
            Err(WriteError::Conflict(_)) => {
                let existing = in_time(&what, api.get(&name)).await?;
                let owners = existing.owner_references();
                let ours = owners.iter().any(|owner| owner.uid == uid);
                if !ours && !owners.is_empty() {
                    return Err(WriteError::ForeignAccount(key.sibling(name).to_string()));
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Ends the identity of the agent in a card's operating system: every token of it is void. It is the
    /// one that was there before `host` was found to be the stored record: another leader's record may
    /// come with a new one.
    ///
    /// # Errors
    /// If a call fails, or `host` is not the stored one. An account that is not there is no failure, nor
    /// is a namesake's.
    pub async fn withdraw_account(&self, dpu: &Dpu, host: &DpuHost) -> Result<(), WriteError> {
        let uid = dpu.uid().unwrap_or_default();
        let key = Key::of(dpu);
        let name = names::xpu(&key.name);
        let what = format!("ServiceAccount {}", key.sibling(&name));
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
        let existing = match in_time(&what, api.get(&name)).await {
            Ok(existing) => existing,
            Err(WriteError::Gone(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let owners = existing.owner_references();
        if !owners.is_empty() && owners.iter().all(|owner| owner.uid != uid) {
            return Ok(());
        }
        self.still(host).await?;
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: existing.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match in_time(&what, api.delete(&name, &params)).await {
            Ok(_) => self
                .metrics
                .wrote("ServiceAccount", Cause::Account.as_str()),
            Err(WriteError::Gone(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether `object` is still the one that is stored. For what follows from a record that
    /// need not be written: a second leader may have written another meanwhile.
    ///
    /// # Errors
    /// If it is not, or the call fails.
    pub async fn still<K: Ours>(&self, object: &K) -> Result<(), WriteError> {
        let what = format!("{} {}", K::kind(&()), Key::of(object));
        let (api, name) = self.api(object);
        let stored = in_time(&what, api.get_metadata(&name)).await?;
        if stored.metadata.resource_version == object.meta().resource_version {
            Ok(())
        } else {
            Err(WriteError::Conflict(what))
        }
    }

    /// Makes a Node carry the one taint that is wanted for the host of that uid, or none.
    /// It is read first, for its heartbeats change it all the time.
    ///
    /// # Errors
    /// If somebody else changes it in between, or a call fails. A Node that is gone has
    /// no taint to be taken away.
    pub async fn taint(&self, host_uid: &str, change: &NodeTaint) -> Result<(), WriteError> {
        let api: Api<Node> = Api::all(self.client.clone());
        let what = format!("Node {}", change.node);
        let node = match in_time(&what, api.get(&change.node)).await {
            Err(WriteError::Gone(_)) if change.effect.is_none() => return Ok(()),
            read => read?,
        };
        let Some(taints) = node_taint::changed(&node, host_uid, change.effect) else {
            return Ok(());
        };
        let patch = json!({
            "metadata": {"resourceVersion": node.resource_version()},
            "spec": {"taints": taints},
        });
        let params = patch_params(Cause::Taint);
        in_time(
            &what,
            api.patch(&change.node, &params, &Patch::Merge(&patch)),
        )
        .await?;
        self.metrics.wrote("Node", Cause::Taint.as_str());
        tracing::info!(node = %change.node, effect = ?change.effect, "taint of a Node changed");
        Ok(())
    }

    /// Tells people of a transition. A failure is logged, never a reason to repeat work.
    pub async fn event(&self, about: &ObjectReference, transition: &Transition) {
        let event = Event {
            type_: if transition.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: transition.reason.clone(),
            note: Some(condition::truncated(&transition.message)),
            action: "Provision".to_owned(),
            secondary: None,
        };
        let what = format!("event {} about {:?}", transition.reason, about.name);
        match in_time(&what, self.recorder.publish(&event, about)).await {
            Ok(()) => self.metrics.wrote("Event", Cause::Event.as_str()),
            Err(error) => tracing::warn!(%error, "an event is lost"),
        }
    }

    fn api<K: Ours>(&self, object: &K) -> (Api<K>, String) {
        let key = Key::of(object);
        (
            Api::namespaced(self.client.clone(), &key.namespace),
            key.name,
        )
    }

    async fn done<K: Ours>(
        &self,
        object: &K,
        cause: Cause,
        call: impl Future<Output = kube::Result<K>>,
    ) -> Result<K, WriteError> {
        let kind = K::kind(&()).into_owned();
        let key = Key::of(object);
        let after = in_time(&format!("{kind} {key}"), call).await?;
        self.metrics.wrote(metric_kind(&kind), cause.as_str());
        let written = version(&after).zip(after.uid());
        if let Some((version, uid)) = written {
            lock(&self.written).insert((kind, key), Written { uid, version });
        }
        Ok(after)
    }
}

/// The kinds we write, as static names for metrics.
fn metric_kind(kind: &str) -> &'static str {
    let known = [
        "DpuHost",
        "Dpu",
        "DpuImage",
        "DpuBootPolicy",
        "DpuInventory",
    ];
    let mut known = known.into_iter();
    known.find(|known| *known == kind).unwrap_or("other")
}

fn patch_params(cause: Cause) -> PatchParams {
    PatchParams {
        field_manager: Some(cause.manager()),
        ..PatchParams::default()
    }
}

/// resourceVersions of one kind are numbers that grow.
fn version<K: Resource>(object: &K) -> Option<u128> {
    object.meta().resource_version.as_ref()?.parse().ok()
}

async fn in_time<T>(
    what: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, WriteError> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
            Err(WriteError::Conflict(what.to_owned()))
        }
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {
            Err(WriteError::Gone(what.to_owned()))
        }
        Ok(Err(source)) => Err(WriteError::Refused {
            what: what.to_owned(),
            source: Box::new(source),
        }),
        Err(_) => Err(WriteError::NoAnswer {
            what: what.to_owned(),
        }),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps are only economies: a panic elsewhere cannot leave them wrong.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
