//! From a request to its answer: recorded, struck by a rule or forwarded.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::boot_options::{self, Asked, BootOptions};
use super::record::Request;
use super::rule::Fault;
use super::{Firmware, Shared, scope, upstream};

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
    let mut told = None;
    let mut fails_as = None;
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
            Fault::Tells(members) => told = Some(members),
            Fault::Fails { after, status } => {
                tokio::time::sleep(after).await;
                fails_as = StatusCode::from_u16(status).ok();
            }
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
    let options = shared.firmware.boot_options();
    let own = options.and_then(|options| {
        let asked = boot_options::asked(&parts.method, &path, &system, &body)?;
        Some((options, asked))
    });
    if let Some(options) = options
        && let Err(error) = options.settle().await
    {
        tracing::error!(%error, "the boot order of a VM was not changed");
        return Err(Cut);
    }
    let answered = match own {
        Some((options, asked)) => by_firmware(options, asked, parts, &system, shared, entry).await,
        None => by_emulator(parts, body, &path, &system, shared, entry).await,
    };
    let mut answer = match answered? {
        Answered::Refused(answer) => {
            deliver(shared, entry, &answer);
            return Ok(answer);
        }
        Answered::Done(answer) => answer,
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
    if let Some(status) = fails_as
        && !answer.status().is_success()
    {
        *answer.status_mut() = status;
    }
    if let Some(members) = told {
        tell(&mut answer, members, &system).await;
    }
    if garble {
        *answer.body_mut() = Full::from("<html>\u{0} {\"half\": ");
        answer.headers_mut().remove(header::CONTENT_LENGTH);
    }
    deliver(shared, entry, &answer);
    Ok(answer)
}

/// What came of a request.
enum Answered {
    /// Nobody was asked; no fault strikes such an answer.
    Refused(Response<Full<Bytes>>),
    Done(Response<Full<Bytes>>),
}

/// The emulator is asked for the system, which shows whether the caller may ask at all.
async fn by_firmware(
    options: &BootOptions,
    asked: Asked,
    mut parts: http::request::Parts,
    system: &str,
    shared: &Shared,
    entry: usize,
) -> Result<Answered, Cut> {
    let Ok(emulator) = upstream::connect(shared.emulator).await else {
        return Err(Cut);
    };
    shared.log.update(entry, |entry| entry.forwarded = true);
    parts.method = Method::GET;
    let path = format!("/redfish/v1/Systems/{system}");
    let answer = forward(
        emulator,
        parts,
        Bytes::new(),
        &path,
        system,
        &shared.firmware,
    )
    .await;
    match answer {
        Ok(answer) if !answer.status().is_success() => return Ok(Answered::Done(answer)),
        Ok(_may_ask) => {}
        Err(error) => {
            tracing::debug!(%error, path, "the emulator gave no answer");
            return Err(Cut);
        }
    }
    match options.answer(asked, system).await {
        Ok((204, _)) => Ok(Answered::Done(json_answer(204, String::new()))),
        Ok((status, document)) => Ok(Answered::Done(json_answer(status, document.to_string()))),
        Err(error) => {
            tracing::error!(%error, "the boot entries of a VM were not read or changed");
            Err(Cut)
        }
    }
}

async fn by_emulator(
    parts: http::request::Parts,
    body: Bytes,
    path: &str,
    system: &str,
    shared: &Shared,
    entry: usize,
) -> Result<Answered, Cut> {
    let http_boot = shared.firmware.http_boot();
    let asked = http_boot.and_then(|boot| {
        let asked = boot.asked(&parts.method, path, system, &body)?;
        Some((boot, asked))
    });
    if asked
        .as_ref()
        .is_some_and(|(boot, asked)| !boot.is_possible(asked))
    {
        let message = "The next boot cannot be changed while the system is on";
        let error = json!({"error": {"code": "Base.1.0.GeneralError", "message": message}});
        return Ok(Answered::Refused(json_answer(409, error.to_string())));
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
    let mut answer = match forward(emulator, parts, body, path, system, &shared.firmware).await {
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
    Ok(Answered::Done(answer))
}

/// Puts members over those of the system, if that is the answer.
async fn tell(
    answer: &mut Response<Full<Bytes>>,
    members: serde_json::Map<String, Value>,
    system: &str,
) {
    let Ok(body) = std::mem::take(answer.body_mut()).collect().await;
    let mut body = body.to_bytes();
    if let Ok(Value::Object(mut document)) = serde_json::from_slice::<Value>(&body)
        && document.get("UUID").and_then(Value::as_str) == Some(system)
    {
        document.extend(members);
        body = Bytes::from(Value::Object(document).to_string());
        answer
            .headers_mut()
            .insert(header::CONTENT_LENGTH, body.len().into());
    }
    *answer.body_mut() = Full::from(body);
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
    firmware: &Firmware,
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
            match firmware {
                Firmware::Nothing => {}
                Firmware::HttpBoot(boot) => boot.show(&mut document, system),
                Firmware::BootOptions(options) => options.show(&mut document, system)?,
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
