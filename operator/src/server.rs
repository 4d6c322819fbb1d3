//! `/livez`, `/readyz` and `/metrics`. What is not fine says so in words.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lockstep_serve::Bounds;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::context::Shared;
use crate::metrics::Metrics;

/// A controller that has not shown itself for so long is taken for dead.
const DEAD_AFTER: Duration = Duration::from_secs(60);

/// The address cannot be served.
#[derive(Debug, Error)]
#[error(
    "health and metrics cannot be served on {address}: {source}. Choose another address with --listen"
)]
pub struct ServerError {
    address: SocketAddr,
    source: std::io::Error,
}

/// When each controller has shown last that it is alive.
#[derive(Clone, Debug, Default)]
pub struct Pulses(Arc<Mutex<BTreeMap<&'static str, Instant>>>);

impl Pulses {
    /// The pulse of a controller, alive from now on.
    pub fn of(&self, controller: &'static str) -> Pulse {
        let pulse = Pulse {
            controller,
            pulses: self.clone(),
        };
        pulse.beat();
        pulse
    }

    /// Controllers that have fallen silent.
    fn dead(&self, now: Instant) -> Vec<&'static str> {
        let pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |at: &Instant| now.saturating_duration_since(*at) > DEAD_AFTER;
        pulses
            .iter()
            .filter(|(_, at)| silent(at))
            .map(|(name, _)| *name)
            .collect()
    }
}

/// One controller's pulse.
#[derive(Clone, Debug)]
pub struct Pulse {
    controller: &'static str,
    pulses: Pulses,
}

impl Pulse {
    /// Shows that the controller is alive.
    pub fn beat(&self) {
        let mut pulses = self.pulses.0.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.insert(self.controller, Instant::now());
    }
}

/// What is served from.
#[derive(Clone)]
pub struct Served {
    /// Everything seen.
    pub world: Shared,
    /// The figures.
    pub metrics: Metrics,
    /// The controllers' pulses.
    pub pulses: Pulses,
}

/// The routes.
pub fn routes(served: Served) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(served)
}

/// Binds the address.
///
/// # Errors
/// If it cannot be had.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
    lockstep_serve::bind(address)
        .await
        .map_err(|source| ServerError { address, source })
}

/// Serves until `stop`. The port may be reached by anybody, so what callers hold is bounded.
pub async fn serve(listener: TcpListener, served: Served, stop: CancellationToken) {
    lockstep_serve::serve(listener, routes(served), Bounds::HEALTH, stop).await;
}

async fn livez(State(served): State<Served>) -> Response {
    let dead = served.pulses.dead(Instant::now());
    if dead.is_empty() {
        "ok\n".into_response()
    } else {
        let body = format!("controllers that do not move: {}\n", dead.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    }
}

async fn readyz(State(served): State<Served>) -> Response {
    let awaited: Vec<String> = {
        let world = served.world.read();
        let name = |(kind, scope): &(&'static str, Option<String>)| match scope {
            Some(namespace) => format!("{kind} in {namespace}"),
            None => (*kind).to_owned(),
        };
        world.awaited().map(name).collect()
    };
    if awaited.is_empty() {
        "ok\n".into_response()
    } else {
        let body = format!(
            "not listed yet: {}. If this stays, see the log: CRDs or RBAC may be missing\n",
            awaited.join(", ")
        );
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    }
}

async fn metrics(State(served): State<Served>) -> Response {
    let encoded = served.metrics.encode(&served.world.read());
    match encoded {
        Ok(text) => {
            let type_ = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, type_)], text).into_response()
        }
        Err(error) => {
            let body = format!("metrics cannot be encoded: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
    }
}
