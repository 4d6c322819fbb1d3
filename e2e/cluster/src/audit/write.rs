//! One accepted write, and counting them.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde_json::Value;

/// One write that the apiserver accepted.
#[derive(Debug, Clone)]
pub struct Write {
    /// Who wrote; the impersonated user where there is one.
    pub user: String,
    /// The client program, as it calls itself.
    pub user_agent: String,
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Resource, plural.
    pub resource: String,
    /// `status`, `scale` and the like.
    pub subresource: Option<String>,
    /// Namespace, unless the resource is cluster-wide.
    pub namespace: Option<String>,
    /// Name, where the request holds one.
    pub name: Option<String>,
    /// `fieldManager` of the request, where it names one.
    pub field_manager: Option<String>,
    /// HTTP status of the answer, 2xx.
    pub code: u16,
    /// When the request came in.
    pub at: Timestamp,
    /// What was sent; absent for confidential resources.
    pub body: Option<Value>,
}

impl Write {
    /// Heartbeats and leader election.
    pub fn is_lease(&self) -> bool {
        self.group == "coordination.k8s.io" && self.resource == "leases"
    }

    /// Kubernetes Events of either group.
    pub fn is_event(&self) -> bool {
        self.resource == "events" && matches!(self.group.as_str(), "" | "events.k8s.io")
    }

    /// Whether it was written by the control plane itself (apiserver, controllers, garbage collection).
    pub fn is_control_plane(&self) -> bool {
        matches!(
            self.user.as_str(),
            "system:apiserver" | "system:kube-controller-manager" | "system:kube-scheduler"
        ) || self.user.starts_with("system:serviceaccount:kube-system:")
    }

    /// `resource` or `resource/subresource`.
    pub fn kind_path(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.clone(),
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} {} {} {} ",
            self.at,
            self.user,
            self.verb,
            self.kind_path()
        )?;
        if let Some(namespace) = &self.namespace {
            write!(out, "{namespace}/")?;
        }
        write!(
            out,
            "{}",
            self.name.as_deref().unwrap_or("(named by the server)")
        )?;
        if let Some(manager) = &self.field_manager {
            write!(out, " as {manager}")?;
        }
        Ok(())
    }
}

/// What writes are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    /// Who wrote.
    pub user: String,
    /// How.
    pub verb: String,
    /// `resource` or `resource/subresource`.
    pub kind: String,
    /// On whose behalf within the client, where it says so.
    pub field_manager: Option<String>,
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.user, self.verb, self.kind)?;
        match &self.field_manager {
            Some(manager) => write!(out, " as {manager}"),
            None => Ok(()),
        }
    }
}

/// Counts writes by who wrote what and how.
pub fn tally<'a>(writes: impl IntoIterator<Item = &'a Write>) -> BTreeMap<Cause, usize> {
    let mut counts = BTreeMap::new();
    for write in writes {
        let cause = Cause {
            user: write.user.clone(),
            verb: write.verb.clone(),
            kind: write.kind_path(),
            field_manager: write.field_manager.clone(),
        };
        *counts.entry(cause).or_default() += 1;
    }
    counts
}
