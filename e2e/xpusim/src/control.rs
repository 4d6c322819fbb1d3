//! The control API: what a judge reads and a saboteur does. It has its own
//! loopback port, so that nothing under test can stumble over it.
//!
//! | request | what |
//! |---|---|
//! | `GET /xpusim/v1/machines` | every machine, its BMC's URL and its state |
//! | `GET /xpusim/v1/machines/NAME` | one machine |
//! | `GET /xpusim/v1/machines/NAME/requests` | what its BMC was asked |
//! | `GET /xpusim/v1/machines/NAME/effects?from=N` | its power domain's effect log |
//! | `POST /xpusim/v1/machines/NAME/strike` | something happens behind its BMC's back |
//! | `POST /xpusim/v1/machines/NAME/faults` | a fault on: a rule |
//! | `DELETE /xpusim/v1/machines/NAME/faults/FAULT` | a fault off |
//! | `GET /xpusim/v1/effects` | all effect logs, by time |
//! | `GET /xpusim/v1/faults` | the table of faults |
//! | `GET /xpusim/v1/clock`, `POST {"skipSeconds": N}` | simulated time |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::effect::Effect;
use crate::fault::{ABOUT, Fault, Rule};
use crate::fleet::{Fleet, MachineState, RequestCounts, Strike, Unknown};
use crate::front::{self, Server};

/// The running control API. It goes away with this value.
#[derive(Debug)]
pub struct Control {
    address: SocketAddr,
    task: AbortHandle,
}

impl Control {
    /// Serves the control API of a fleet on a loopback address. Needs a Tokio
    /// runtime.
    ///
    /// # Errors
    /// When the address is not loopback or cannot be listened on.
    pub async fn start(fleet: &Arc<Fleet>, server: &Server, address: SocketAddr) -> Result<Self> {
        let (listener, address) = front::bind(address).await?;
        let urls = Arc::new(server.urls().clone());
        let context = Context {
            fleet: Arc::clone(fleet),
            urls,
        };
        let router = router(context);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the control API has ended");
            }
        });
        Ok(Self {
            address,
            task: task.abort_handle(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Context {
    fleet: Arc<Fleet>,
    urls: Arc<std::collections::BTreeMap<String, String>>,
}

fn router(context: Context) -> Router {
    let machine = Router::new()
        .route("/", get(machine))
        .route("/requests", get(requests))
        .route("/effects", get(effects))
        .route("/strike", post(strike))
        .route("/faults", post(switch_on))
        .route("/faults/{fault}", delete(switch_off));
    Router::new()
        .route("/xpusim/v1/machines", get(machines))
        .nest("/xpusim/v1/machines/{name}", machine)
        .route("/xpusim/v1/effects", get(all_effects))
        .route("/xpusim/v1/faults", get(faults))
        .route("/xpusim/v1/clock", get(clock).post(skip))
        .with_state(context)
}

impl IntoResponse for Unknown {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": self.to_string()}));
        (StatusCode::NOT_FOUND, body).into_response()
    }
}

/// A machine and where its BMC is.
#[derive(serde::Serialize)]
struct Listed {
    url: String,
    #[serde(flatten)]
    state: MachineState,
}

fn listed(context: &Context, name: &str) -> Result<Listed, Unknown> {
    Ok(Listed {
        url: context.urls.get(name).cloned().unwrap_or_default(),
        state: context.fleet.state(name)?,
    })
}

async fn machines(State(context): State<Context>) -> Result<Json<Vec<Listed>>, Unknown> {
    let names = context.fleet.names().iter();
    names
        .map(|name| listed(&context, name))
        .collect::<Result<_, _>>()
        .map(Json)
}

async fn machine(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<Listed>, Unknown> {
    listed(&context, &name).map(Json)
}

async fn requests(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<RequestCounts>, Unknown> {
    context.fleet.requests(&name).map(Json)
}

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: u64,
}

async fn effects(
    State(context): State<Context>,
    Path(name): Path<String>,
    Query(from): Query<From>,
) -> Result<Json<Vec<Effect>>, Unknown> {
    context.fleet.effects(&name, from.from).map(Json)
}

async fn all_effects(State(context): State<Context>) -> Json<Vec<Effect>> {
    Json(context.fleet.all_effects())
}

async fn faults() -> Json<Value> {
    Json(json!(ABOUT))
}

async fn strike(
    State(context): State<Context>,
    Path(name): Path<String>,
    Json(strike): Json<Strike>,
) -> Result<StatusCode, Unknown> {
    context.fleet.strike(&name, strike)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn switch_on(
    State(context): State<Context>,
    Path(name): Path<String>,
    Json(rule): Json<Rule>,
) -> Result<StatusCode, Unknown> {
    context.fleet.switch_on(&name, rule)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn switch_off(
    State(context): State<Context>,
    Path((name, fault)): Path<(String, Fault)>,
) -> Result<StatusCode, Unknown> {
    context.fleet.switch_off(&name, fault)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clock(State(context): State<Context>) -> Json<Value> {
    let clock = context.fleet.clock();
    let now = clock.now();
    Json(json!({"now": now.date(clock.start()).to_string(), "millis": now.millis()}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Skip {
    skip_seconds: u64,
}

async fn skip(State(context): State<Context>, Json(skip): Json<Skip>) -> Json<Value> {
    context.fleet.skip(Duration::from_secs(skip.skip_seconds));
    clock(State(context)).await
}
