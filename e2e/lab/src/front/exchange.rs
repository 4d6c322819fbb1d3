//! From a request to its answer: recorded, struck by a rule or forwarded.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::http_boot::HttpBoot;
use super::record::Request;
use super::rule::Fault;
use super::{Shared, scope, upstream};

/// Answers the requests of one connection until it ends.
pub(super) async fn serve(
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
        authorized: [header::AUTHORIZATION, SESSION_TOKEN]
            .iter()
            .any(|name| parts.headers.contains_key(name)),
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
        let message = format!("This BMC does not manage {path}");
        let error = json!({"error": {"code": "Base.1.0.GeneralError", "message": message}});
        let answer = json_answer(404, error.to_string());
        deliver(shared, entry, &answer);
        return Ok(answer);
    }
    let http_boot = shared.http_boot.as_ref();
    let asked = http_boot.and_then(|boot| {
        let asked = boot.asked(&parts.method, &path, &system, &body)?;
        Some((boot, asked))
    });
    if asked
        .as_ref()
        .is_some_and(|(boot, asked)| !boot.is_possible(asked))
    {
        let message = "The next boot cannot be changed while the system is on";
        let error = json!({"error": {"code": "Base.1.0.GeneralError", "message": message}});
        let answer = json_answer(409, error.to_string());
        deliver(shared, entry, &answer);
        return Ok(answer);
    }
    if let Some(boot) = http_boot.filter(|_| path.contains("ComputerSystem.Reset"))
        && let Err(error) = boot.before_power_on().await
    {
        tracing::error!(%error, "the boot settings of a VM were not changed");
        return Err(Cut);
    }
    let body = match &asked {
        Some((_, asked)) => asked.for_emulator(body),
        None => body,
    };
    // The emulator is down or dies in mid-answer: so does the BMC.
    let Ok(emulator) = upstream::connect(shared.emulator).await else {
        return Err(Cut);
    };
    shared.log.update(entry, |entry| entry.forwarded = true);
    let mut answer = match forward(emulator, parts, body, &path, &system, http_boot).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(%error, path, "the emulator gave no answer");
            return Err(Cut);
        }
    };
    if let Some((boot, asked)) = asked.filter(|_| answer.status().is_success())
        && let Err(error) = boot.carry_out(asked).await
    {
        tracing::error!(%error, "the next boot was not changed");
        answer = json_answer(
            500,
            json!({"error": {"message": error.to_string()}}).to_string(),
        );
    }
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
    http_boot: Option<&HttpBoot>,
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
            if let Some(boot) = http_boot {
                boot.show(&mut document, system);
            }
            Bytes::from(serde_json::to_vec(&document)?)
        }
        Err(_not_json) => body,
    };
    parts
        .headers
        .insert(header::CONTENT_LENGTH, body.len().into());
    Ok(Response::from_parts(parts, Full::new(body)))
}

const SESSION_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// Headers that belong to one connection, and the length, which is set anew.
const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::UPGRADE,
    header::TE,
];
