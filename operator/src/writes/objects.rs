//! Objects that discovery makes, changes and takes away, and the labels of Nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Cause, Ours, WriteError, Writes, in_time, metric_kind, patch_params};
use crate::key::Key;

impl Writes {
    /// Makes an object. A namesake that is there already counts as a conflict.
    ///
    /// # Errors
    /// If there is one, or the call fails.
    pub async fn create<K: Ours>(&self, object: &K, cause: Cause) -> Result<K, WriteError> {
        let (api, _) = self.api(object);
        let params = PostParams {
            field_manager: Some(cause.manager()),
            ..PostParams::default()
        };
        self.done(object, cause, api.create(&params, object)).await
    }

    /// Changes an object by a merge patch, if it is still the very one, and as it is in `object`.
    ///
    /// # Errors
    /// If it is not, or the call fails.
    pub async fn change<K: Ours>(
        &self,
        object: &K,
        change: &Value,
        cause: Cause,
    ) -> Result<K, WriteError> {
        let mut patch = change.clone();
        patch["metadata"]["resourceVersion"] = json!(object.resource_version());
        patch["metadata"]["uid"] = json!(object.uid());
        let (api, name) = self.api(object);
        let params = patch_params(cause);
        let patch = Patch::Merge(&patch);
        let call = api.patch(&name, &params, &patch);
        self.done(object, cause, call).await
    }

    /// Deletes an object, if it is still the very one, and as it is in `object`.
    ///
    /// # Errors
    /// If it is not, or the call fails. One that is gone already is no failure.
    pub async fn delete<K: Ours>(&self, object: &K, cause: Cause) -> Result<(), WriteError> {
        let (api, name) = self.api(object);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: object.uid(),
                resource_version: object.resource_version(),
            }),
            ..DeleteParams::default()
        };
        let kind = K::kind(&()).into_owned();
        let what = format!("{kind} {}", Key::of(object));
        match in_time(&what, api.delete(&name, &params)).await {
            Ok(_) => {
                self.metrics.wrote(metric_kind(&kind), cause.as_str());
                Ok(())
            }
            Err(WriteError::Gone(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets labels of a Node, or with `None` takes them away.
    ///
    /// # Errors
    /// If the call fails. A Node that is gone is no failure.
    pub async fn label_node(
        &self,
        node: &str,
        labels: &BTreeMap<String, Option<String>>,
    ) -> Result<(), WriteError> {
        let api: Api<Node> = Api::all(self.client.clone());
        let patch = json!({"metadata": {"labels": labels}});
        let params = patch_params(Cause::Label);
        let patch = Patch::Merge(&patch);
        let call = api.patch(node, &params, &patch);
        match in_time(&format!("Node {node}"), call).await {
            Ok(_) => {
                self.metrics.wrote("Node", Cause::Label.as_str());
                Ok(())
            }
            Err(WriteError::Gone(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
