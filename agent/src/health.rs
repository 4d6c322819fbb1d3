//! `/healthz`, `/readyz` and `/metrics`, on an address of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use lockstep_store::Store;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use lockstep_serve::Bounds;

/// What an agent serves of itself.
pub trait Figures: Send + Sync + 'static {
    /// Everything that is measured, in OpenMetrics. May block.
    fn text(&self) -> Result<String, fmt::Error>;

    /// Whether the agent has begun, and if not, what it waits for.
    fn ready(&self) -> Result<(), &'static str>;
}

/// Calls to BMCs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    verb: &'static str,
    result: &'static str,
}

/// Writes to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    cause: &'static str,
}

/// Endpoints where BMCs were looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    outcome: &'static str,
}

/// Machines that were found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MachineLabels {
    state: &'static str,
}

/// The figures of one site agent.
pub struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    store_bytes: Gauge,
    store_quota: Gauge,
    store_images: Gauge,
    orders: Gauge,
    endpoints: Family<EndpointLabels, Gauge>,
    machines: Family<MachineLabels, Gauge>,
    store: Option<Store>,
    ready: AtomicBool,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Figures that also tell of the store, if there is one.
    pub fn new(store: Option<Store>) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("lockstep_agent"),
            calls: Family::default(),
            writes: Family::default(),
            store_bytes: Gauge::default(),
            store_quota: Gauge::default(),
            store_images: Gauge::default(),
            orders: Gauge::default(),
            endpoints: Family::default(),
            machines: Family::default(),
            store,
            ready: AtomicBool::new(false),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "bmc_calls",
            "Calls to BMCs by verb and result",
            metrics.calls.clone(),
        );
        registry.register(
            "report_writes",
            "Reports written, by cause",
            metrics.writes.clone(),
        );
        registry.register(
            "store_bytes",
            "Bytes of images and partial downloads in the store",
            metrics.store_bytes.clone(),
        );
        registry.register(
            "store_quota_bytes",
            "Bytes that the store may take",
            metrics.store_quota.clone(),
        );
        registry.register(
            "store_images",
            "Published images in the store",
            metrics.store_images.clone(),
        );
        registry.register(
            "work_orders",
            "Work orders of held hosts in this agent's keeping",
            metrics.orders.clone(),
        );
        registry.register(
            "discovery_endpoints",
            "Endpoints where BMCs are looked for, by what became of them",
            metrics.endpoints.clone(),
        );
        registry.register(
            "discovery_machines",
            "Machines with a report of discovery, found and missing",
            metrics.machines.clone(),
        );
        metrics
    }

    /// Counts a call to a BMC.
    pub fn call(&self, verb: &'static str, result: &'static str) {
        self.calls.get_or_create(&CallLabels { verb, result }).inc();
    }

    /// Counts a write of a report.
    pub fn wrote(&self, cause: &'static str) {
        self.writes.get_or_create(&WriteLabels { cause }).inc();
    }

    /// Notes how many work orders are kept.
    pub fn keeps_orders(&self, count: usize) {
        self.orders.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Notes what became of endpoints, and how many machines are found and missing.
    pub fn discovers(
        &self,
        endpoints: &BTreeMap<&'static str, usize>,
        (found, missing): (usize, usize),
    ) {
        let figure = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.endpoints.clear();
        for (&outcome, &count) in endpoints {
            let labels = EndpointLabels { outcome };
            self.endpoints.get_or_create(&labels).set(figure(count));
        }
        for (state, count) in [("found", found), ("missing", missing)] {
            let labels = MachineLabels { state };
            self.machines.get_or_create(&labels).set(figure(count));
        }
    }

    /// The agent has read what it needs to begin.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

impl Figures for Metrics {
    fn ready(&self) -> Result<(), &'static str> {
        if self.ready.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err("the site's objects have not been read yet")
        }
    }

    fn text(&self) -> Result<String, fmt::Error> {
        if let Some(store) = &self.store {
            let status = store.status();
            let bytes = status.blob_bytes.saturating_add(status.partial_bytes);
            self.store_bytes
                .set(i64::try_from(bytes).unwrap_or(i64::MAX));
            self.store_quota
                .set(i64::try_from(status.quota_bytes).unwrap_or(i64::MAX));
            self.store_images
                .set(i64::try_from(status.blobs).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Serves until `ending`.
pub async fn serve(listener: TcpListener, figures: Arc<dyn Figures>, ending: CancellationToken) {
    lockstep_serve::serve(listener, router(figures), Bounds::HEALTH, ending).await;
}

fn router(figures: Arc<dyn Figures>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(figures)
}

async fn readyz(State(figures): State<Arc<dyn Figures>>) -> (StatusCode, &'static str) {
    match figures.ready() {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(waits_for) => (StatusCode::SERVICE_UNAVAILABLE, waits_for),
    }
}

async fn metrics(State(figures): State<Arc<dyn Figures>>) -> impl IntoResponse {
    let kind = [(
        header::CONTENT_TYPE,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )];
    match tokio::task::spawn_blocking(move || figures.text()).await {
        Ok(Ok(text)) => (StatusCode::OK, kind, text),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, kind, error.to_string()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, kind, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_named_for_what_they_count() {
        let metrics = Metrics::new(None);
        metrics.call("observe", "ok");
        metrics.call("observe", "ok");
        metrics.wrote("lockstep-agent/report");
        metrics.keeps_orders(3);
        metrics.discovers(
            &BTreeMap::from([("Identified", 7), ("NoAnswer", 1)]),
            (7, 2),
        );
        metrics.discovers(&BTreeMap::from([("Identified", 8)]), (8, 1));
        let text = metrics.text().unwrap();
        for line in [
            r#"lockstep_agent_bmc_calls_total{verb="observe",result="ok"} 2"#,
            r#"lockstep_agent_report_writes_total{cause="lockstep-agent/report"} 1"#,
            "lockstep_agent_work_orders 3",
            r#"lockstep_agent_discovery_endpoints{outcome="Identified"} 8"#,
            r#"lockstep_agent_discovery_machines{state="missing"} 1"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("NoAnswer"), "{text}");
    }
}
