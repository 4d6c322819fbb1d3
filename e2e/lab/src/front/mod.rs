//! The address of one BMC: an HTTP(S) port that forwards to the emulator.
//!
//! The emulator serves all systems on one port. A front shows one of them, records every request
//! (see [`Request`]) and carries out fault rules (see [`Rule`]). What it forwards, the emulator
//! decides: authentication and all Redfish behaviour are the emulator's.

mod record;
mod rule;
mod scope;
mod tls;
pub(crate) mod upstream;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub use record::Request;
pub use rule::{Fault, Rule, RuleId};
pub use tls::TlsIdentity;

use record::Log;
use rule::Rules;

/// What a front leads to.
#[derive(Debug, Clone)]
struct Target {
    system: String,
    tls: Option<TlsIdentity>,
}

#[derive(Debug)]
struct Shared {
    /// Port of the emulator.
    emulator: u16,
    target: Mutex<Target>,
    rules: Rules,
    log: Log,
}

impl Shared {
    fn target(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One BMC's address. It goes away with this value.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    listening: watch::Sender<bool>,
    server: AbortHandle,
}

impl Front {
    /// Opens a port on this address (0 chooses one) for the BMC of `system`.
    pub(crate) async fn open(
        address: SocketAddr,
        emulator: u16,
        system: &str,
        tls: Option<TlsIdentity>,
    ) -> Result<Self> {
        if let Some(tls) = &tls {
            tls.acceptor()?;
        }
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot open a BMC port on {address}"))?;
        let address = listener.local_addr().context("a socket without address")?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            emulator,
            target: Mutex::new(Target {
                system: system.to_owned(),
                tls,
            }),
            rules: Rules::default(),
            log: Log::new(),
        });
        let (listening, wanted) = watch::channel(true);
        let server = tokio::spawn(serve(listener, address, Arc::clone(&shared), wanted));
        Ok(Self {
            address,
            scheme,
            shared,
            listening,
            server: server.abort_handle(),
        })
    }

    /// Base address, without a path.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Address and port it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// UUID of the system it stands for now.
    pub fn system(&self) -> String {
        self.shared.target().system.clone()
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.all()
    }

    /// The requests that asked for a change: all but reads and sessions.
    pub fn changes(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(Request::is_change);
        requests
    }

    /// Waits for the first request that is as wanted, looking again whenever one arrives or gets
    /// its outcome.
    pub async fn wait_for(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl FnMut(&Request) -> bool,
    ) -> Result<Request> {
        self.shared.log.wait_for(what, deadline, wanted).await
    }

    /// Adds a fault rule after the others. The first that matches strikes.
    pub fn add_rule(&self, rule: Rule) -> RuleId {
        self.shared.rules.add(rule)
    }

    /// Removes a rule; requests that it holds are dropped.
    pub fn remove_rule(&self, rule: RuleId) {
        self.shared.rules.remove(|one| one == rule);
    }

    /// Removes all rules; requests that they hold are dropped.
    pub fn clear_rules(&self) {
        self.shared.rules.remove(|_all| true);
    }

    /// Closes the port: connections are refused and open ones cut, as if the BMC had no power.
    /// `false` opens it again.
    pub fn refuse_connections(&self, refuse: bool) {
        self.listening.send_replace(!refuse);
    }

    /// Makes this address lead to another system; certificate and request log stay.
    pub fn retarget(&self, system: &str) {
        system.clone_into(&mut self.shared.target().system);
    }

    /// Replaces the certificate shown to new connections. Only for a front that began with one.
    pub fn set_tls(&self, tls: TlsIdentity) -> Result<()> {
        tls.acceptor()?;
        self.shared.target().tls = Some(tls);
        Ok(())
    }

    /// Makes two BMCs trade addresses: systems and certificates, not logs and rules. Open
    /// connections stay, as they would with a changed DHCP lease, and see the other system.
    pub fn swap(&self, other: &Self) {
        if Arc::ptr_eq(&self.shared, &other.shared) {
            return;
        }
        // One after the other: no two locks at once.
        let mine = self.shared.target().clone();
        let theirs = std::mem::replace(&mut *other.shared.target(), mine);
        *self.shared.target() = theirs;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    first: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    mut wanted: watch::Receiver<bool>,
) {
    let mut listener = Some(first);
    loop {
        // Dropped at the end of each round: that cuts the connections.
        let mut connections = JoinSet::new();
        if let Some(listener) = listener.take() {
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _peer)) => {
                            connections.spawn(connection(stream, Arc::clone(&shared)));
                        }
                        Err(error) => tracing::warn!(%error, "a BMC port cannot accept"),
                    },
                    Some(_ended) = connections.join_next() => {}
                    changed = wanted.wait_for(|listen| !listen) => match changed {
                        Ok(_) => break,
                        Err(_front_is_gone) => return,
                    },
                }
            }
        }
        drop(connections);
        if wanted.wait_for(|listen| *listen).await.is_err() {
            return;
        }
        match TcpListener::bind(address).await {
            Ok(again) => listener = Some(again),
            Err(error) => {
                tracing::error!(%error, %address, "a BMC port cannot be opened again");
                return;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let tls = shared.target().tls.clone();
    let ended = match tls.map(|tls| tls.acceptor()) {
        None => exchange(stream, shared).await,
        Some(Ok(acceptor)) => match acceptor.accept(stream).await {
            Ok(stream) => exchange(stream, shared).await,
            Err(error) => Err(error.into()),
        },
        Some(Err(error)) => Err(error),
    };
    if let Err(error) = ended {
        // Also the way on which faults cut connections.
        tracing::debug!(%error, "a BMC connection ended");
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: Arc<Shared>,
) -> anyhow::Result<()> {
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { answer(request, &shared).await }
    });
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

/// Makes hyper close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
struct Cut;

async fn answer(
    request: http::Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_error| Cut)?.to_bytes();
    let path = parts
        .uri
        .path_and_query()
        .map_or_else(|| "/".to_owned(), ToString::to_string);
    let text = String::from_utf8_lossy(&body).into_owned();
    let system = shared.target().system.clone();
    let strike = shared.rules.strike(&parts.method, &path, &text);
    let entry = shared.log.arrived(Request {
        at: Timestamp::now(),
        instant: Instant::now(),
        system: system.clone(),
        method: parts.method.clone(),
        path: path.clone(),
        body: text,
        forwarded: false,
        status: None,
        delivered: false,
    });

    let mut garble = false;
    let mut after = None;
    if let Some(strike) = strike {
        match strike.fault {
            Fault::Drop => return Err(Cut),
            Fault::Hang => {
                strike.until_ended().await;
                return Err(Cut);
            }
            Fault::Answer { status, body } => {
                let answer = json_answer(status, body);
                deliver(shared, entry, &answer);
                return Ok(answer);
            }
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Garbage => garble = true,
            Fault::DropReply | Fault::HangReply => after = Some(strike),
        }
    }
    if !scope::allows(&path, &system) {
        let answer = json_answer(
            404,
            format!(
                "{{\"error\":{{\"code\":\"Base.1.0.GeneralError\",\"message\":\"This BMC does not manage {path}\"}}}}"
            ),
        );
        deliver(shared, entry, &answer);
        return Ok(answer);
    }
    // The emulator is down or dies in mid-answer: so does the BMC.
    let Ok(emulator) = upstream::connect(shared.emulator).await else {
        return Err(Cut);
    };
    shared.log.update(entry, |entry| entry.forwarded = true);
    let mut answer = match forward(emulator, parts, body, &path, &system).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(%error, path, "the emulator gave no answer");
            return Err(Cut);
        }
    };
    shared
        .log
        .update(entry, |entry| entry.status = Some(answer.status().as_u16()));
    if let Some(strike) = after {
        if matches!(strike.fault, Fault::HangReply) {
            strike.until_ended().await;
        }
        return Err(Cut);
    }
    if garble {
        *answer.body_mut() = Full::from("<html>\u{0} {\"half\": ");
        answer.headers_mut().remove(header::CONTENT_LENGTH);
    }
    deliver(shared, entry, &answer);
    Ok(answer)
}

fn deliver(shared: &Shared, entry: usize, answer: &Response<Full<Bytes>>) {
    shared.log.update(entry, |entry| {
        entry.status = Some(answer.status().as_u16());
        entry.delivered = true;
    });
}

fn json_answer(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if status == 401 {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"BMC\""),
        );
    }
    answer
}

async fn forward(
    emulator: TcpStream,
    parts: http::request::Parts,
    body: Bytes,
    path: &str,
    system: &str,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let mut request = http::Request::builder().method(parts.method).uri(path);
    if let Some(headers) = request.headers_mut() {
        *headers = parts.headers;
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    let request = request.body(Full::new(body))?;
    let (mut parts, body) = upstream::send(emulator, request).await?.into_parts();
    for name in HOP_BY_HOP {
        parts.headers.remove(name);
    }
    let body = match serde_json::from_slice::<Value>(&body) {
        Ok(mut document) => {
            scope::narrow(&mut document, system);
            Bytes::from(serde_json::to_vec(&document)?)
        }
        Err(_not_json) => body,
    };
    parts
        .headers
        .insert(header::CONTENT_LENGTH, body.len().into());
    Ok(Response::from_parts(parts, Full::new(body)))
}

/// Headers that belong to one connection, and the length, which is set anew.
const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::UPGRADE,
    header::TE,
];
