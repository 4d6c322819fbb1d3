//! What is asked of this host: the `DpuHost` that stands for it, and what was accepted before.

use anyhow::{Context, Result};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use lockstep_crds::directive::Directive;
use lockstep_crds::report::Execution;
use lockstep_crds::{DpuHost, DpuReport, DpuReportSpec, names};
use tokio::time::timeout;

use crate::kube_client::REQUEST_DEADLINE;

/// Reads the objects that concern one host. A host is looked for once and then read by its name.
pub(in crate::host) struct Orders {
    hosts: Api<DpuHost>,
    reports: Api<DpuReport>,
    node: String,
    known: Option<String>,
}

impl Orders {
    pub(in crate::host) fn new(client: &Client, namespace: &str, node: &str) -> Self {
        Self {
            hosts: Api::namespaced(client.clone(), namespace),
            reports: Api::namespaced(client.clone(), namespace),
            node: node.to_owned(),
            known: None,
        }
    }

    /// The name by which directives call this agent.
    pub(super) fn executor(&self) -> String {
        names::host(&self.node)
    }

    /// The host whose Node this is; `None` if there is none, or more than one.
    pub(in crate::host) async fn host(&mut self) -> Result<Option<DpuHost>> {
        if let Some(name) = &self.known {
            let found = timeout(REQUEST_DEADLINE, self.hosts.get_opt(name));
            let found = found.await.context("no answer")??;
            if let Some(host) = found.filter(|host| self.is_ours(host)) {
                return Ok(Some(host));
            }
            self.known = None;
        }
        let mut ours: Vec<DpuHost> = Vec::new();
        for field in ["spec.nodeName", "status.nodeName"] {
            let params = ListParams::default().fields(&format!("{field}={}", self.node));
            let listed = timeout(REQUEST_DEADLINE, self.hosts.list(&params));
            for host in listed.await.context("no answer")?? {
                let known = ours.iter().any(|other| other.name_any() == host.name_any());
                if !known && self.is_ours(&host) {
                    ours.push(host);
                }
            }
        }
        let (first, another) = (ours.pop(), ours.pop());
        if another.is_some() {
            tracing::warn!(
                node = self.node,
                "several DpuHosts name this Node: nothing is done"
            );
            return Ok(None);
        }
        self.known = first.as_ref().map(ResourceExt::name_any);
        Ok(first)
    }

    fn is_ours(&self, host: &DpuHost) -> bool {
        let recorded = host
            .status
            .as_ref()
            .and_then(|status| status.node_name.as_ref());
        host.spec.node_name.as_ref().or(recorded) == Some(&self.node)
    }

    /// What this agent accepted last, by its report.
    pub(super) async fn execution(&self) -> Result<Option<Execution>> {
        let name = self.executor();
        let report = timeout(REQUEST_DEADLINE, self.reports.get_opt(&name));
        let report = report.await.context("no answer")??;
        Ok(report.and_then(|report| report.spec.execution))
    }

    /// What is known of a card's BMC.
    pub(in crate::host) async fn card_bmc(&self, card: &str) -> Result<Option<DpuReportSpec>> {
        let name = names::card_bmc(card);
        let report = timeout(REQUEST_DEADLINE, self.reports.get_opt(&name));
        Ok(report
            .await
            .context("no answer")??
            .map(|report| report.spec))
    }

    /// The pushes, and what is to be flashed, that are asked of this agent.
    pub(in crate::host) fn pushes(&self, host: &DpuHost) -> Vec<Directive> {
        let executor = self.executor();
        let open = host.status.iter().flat_map(|status| &status.directives);
        open.filter(|directive| {
            directive.executor == executor && directive.action.kind.is_of_host_agent()
        })
        .cloned()
        .collect()
    }
}
