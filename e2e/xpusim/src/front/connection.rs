//! One connection: TLS, requests, and how they fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::pull;
use crate::fault::Fault;
use crate::fleet::{Fleet, Place};
use crate::redfish::{self, After, Before, Body, Parts, Reply, Request, Upload};

/// Longest body that is read.
const MOST_BYTES: usize = 64 << 20;

/// What the connections of one port share.
pub(super) struct Shared {
    pub(super) fleet: Arc<Fleet>,
    /// The only machine here; without it the client names one.
    pub(super) only: Option<String>,
    pub(super) tls: Option<TlsAcceptor>,
}

/// Makes hyper close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
struct Cut;

/// Serves one connection until it ends.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    if let Some(name) = &shared.only {
        match greeting(&shared.fleet, name) {
            Greeting::Serve => {}
            Greeting::Close => return,
            // The stream lives as long as the peer and this task do.
            Greeting::Silence => return std::future::pending().await,
        }
    }
    let ended = match &shared.tls {
        None => exchange(stream, &shared).await,
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => exchange(stream, &shared).await,
            Err(error) => {
                tracing::debug!(%error, "no TLS handshake");
                return;
            }
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// What a new connection meets.
enum Greeting {
    Serve,
    Close,
    Silence,
}

fn greeting(fleet: &Fleet, name: &str) -> Greeting {
    let Ok(place) = fleet.place(name) else {
        return Greeting::Close;
    };
    let mut domain = fleet.domain(place);
    let machine = place.machine;
    let up = domain.machines[machine].bmc.up;
    if !up || domain.strikes(machine, Fault::ResetConnection).is_some() {
        Greeting::Close
    } else if domain.strikes(machine, Fault::HangConnection).is_some() {
        Greeting::Silence
    } else {
        Greeting::Serve
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: &Arc<Shared>,
) -> Result<(), hyper::Error> {
    let spent = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| answer(request, Arc::clone(shared), Arc::clone(&spent)));
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(
    request: http::Request<Incoming>,
    shared: Arc<Shared>,
    spent: Arc<AtomicBool>,
) -> Result<Response<Full<Bytes>>, Cut> {
    if spent.load(Ordering::Relaxed) {
        return Err(Cut);
    }
    let (parts, body) = request.into_parts();
    let keeps = shared.fleet.kept_range();
    let (body, upload) = match Parts::of(&parts.headers, &keeps) {
        Some(parts) => (Bytes::new(), Some(uploaded(body, parts).await?)),
        None => match Limited::new(body, MOST_BYTES).collect().await {
            Ok(body) => (body.to_bytes(), None),
            Err(_) => return Err(Cut),
        },
    };
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let name = shared.only.as_deref().or(host.map(first_label));
    let Some(place) = name.and_then(|name| shared.fleet.place(name).ok()) else {
        return Ok(plain(
            StatusCode::MISDIRECTED_REQUEST,
            "No machine has the name in the Host header.\n",
        ));
    };
    let request = Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body: &body,
        upload: upload.as_ref(),
    };
    think(&shared.fleet, place, &request).await;
    // The lock is held for the judgement alone, never across an await.
    let judged = judge(&shared.fleet, place, &request);
    pull::begin(&shared.fleet, place);
    let (reply, after) = match judged {
        Judged::Down | Judged::Dropped => return Err(Cut),
        Judged::Hangs => return std::future::pending().await,
        Judged::Answered(reply, after) => (reply, after),
    };
    if after.late > 0 {
        tokio::time::sleep(Duration::from_secs(after.late)).await;
    }
    if after.lose {
        return Err(Cut);
    }
    let mut response = response(reply);
    if after.garbage {
        *response.body_mut() = Full::from("{\"@odata.id\": \"/redfish/v1/");
    }
    // The connection looks alive, and closes at its next request.
    spent.store(after.close, Ordering::Relaxed);
    Ok(response)
}

/// Reads a body of parts: its image is as long as it is.
async fn uploaded(mut body: Incoming, mut parts: Parts) -> Result<Upload, Cut> {
    while let Some(frame) = body.frame().await {
        if let Some(piece) = frame.map_err(|_| Cut)?.data_ref() {
            parts.feed(piece);
        }
    }
    Ok(parts.finish())
}

enum Judged {
    Down,
    Dropped,
    Hangs,
    Answered(Reply, After),
}

fn judge(fleet: &Fleet, place: Place, request: &Request<'_>) -> Judged {
    let mut domain = fleet.domain(place);
    let machine = place.machine;
    if !domain.machines[machine].bmc.up {
        return Judged::Down;
    }
    let reply = match redfish::before(&mut domain, machine, request) {
        Before::Hang => return Judged::Hangs,
        Before::Drop => return Judged::Dropped,
        Before::Answer(reply) => reply,
        Before::Serve => redfish::answer(&mut domain, machine, request),
    };
    let after = redfish::after(&mut domain, machine, request);
    Judged::Answered(reply, after)
}

/// Counts the request, and waits as long as the BMC thinks.
async fn think(fleet: &Fleet, place: Place, request: &Request<'_>) {
    let millis = {
        let mut domain = fleet.domain(place);
        let one = &mut domain.machines[place.machine];
        one.requests.count(request.method, request.path);
        one.latency.of(one.requests.total)
    };
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let (kind, body) = match reply.body {
        Body::Nothing => (None, Bytes::new()),
        Body::Json(value) => (
            Some("application/json; charset=utf-8"),
            Bytes::from(value.to_string()),
        ),
        Body::Xml(text) => (Some("application/xml; charset=utf-8"), Bytes::from(text)),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    for (name, value) in reply.headers {
        // What is no header value is left out, as a BMC would rather not crash.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.append(name, value);
        }
    }
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

/// The first label of a host name, without its port.
pub(super) fn first_label(host: &str) -> &str {
    host.split(['.', ':']).next().unwrap_or(host)
}
