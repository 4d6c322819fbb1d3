//! An image server that counts what it is asked for and fails as told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, StatusCode, Uri, header};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

const PIECE: usize = 16 * 1024;

/// How one answer goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends after so many body bytes.
    CutAfter(usize),
    /// Nothing more comes after so many body bytes.
    StallAfter(usize),
    /// One byte at a time, with this pause.
    Trickle(Duration),
    /// No answer at all.
    Silence,
    /// A bare status.
    Status(u16),
    /// A redirect with this Location.
    Redirect(String),
    /// The whole image, whatever range was asked for.
    IgnoreRange,
    /// No Content-Length: the size shows only at the end.
    Chunked,
    /// A partial answer that begins one byte too late.
    ShiftedRange,
}

/// One request as the server saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
    /// Whether it was shown an account.
    pub(crate) authorized: bool,
    /// Body bytes handed to the network.
    pub(crate) sent: usize,
}

#[derive(Debug, Default)]
struct Script {
    image: Bytes,
    etag: Option<String>,
    next: VecDeque<Fault>,
    always: Option<Fault>,
    seen: Vec<Seen>,
}

pub(crate) struct Origin {
    pub(crate) port: u16,
    script: Arc<Mutex<Script>>,
    server: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Origin {
    pub(crate) async fn start(image: &[u8]) -> Self {
        let script = Arc::new(Mutex::new(Script {
            image: Bytes::copy_from_slice(image),
            etag: Some("\"v1\"".to_owned()),
            ..Script::default()
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Self::router(&script);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            port,
            script,
            server,
        }
    }

    fn router(script: &Arc<Mutex<Script>>) -> Router {
        Router::new()
            .fallback(answer)
            .with_state(Arc::clone(script))
    }

    pub(crate) fn url(&self) -> Url {
        self.at("/image.iso")
    }

    pub(crate) fn at(&self, path: &str) -> Url {
        Url::parse(&format!("http://127.0.0.1:{}{path}", self.port)).unwrap()
    }

    /// The next answers, in order; then `always`, else good ones.
    pub(crate) fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script.lock().unwrap().next.extend(faults);
    }

    pub(crate) fn always(&self, fault: impl Into<Option<Fault>>) {
        self.script.lock().unwrap().always = fault.into();
    }

    pub(crate) fn replace(&self, image: &[u8], etag: Option<&str>) {
        let mut script = self.script.lock().unwrap();
        script.image = Bytes::copy_from_slice(image);
        script.etag = etag.map(|etag| format!("\"{etag}\""));
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen().len()
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let text = |name| {
        let value = headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let (range, if_range) = (text(header::RANGE), text(header::IF_RANGE));
    let (image, etag, fault, index) = {
        let mut script = script.lock().unwrap();
        script.seen.push(Seen {
            path: uri.to_string(),
            range: range.clone(),
            if_range: if_range.clone(),
            authorized: headers.contains_key(header::AUTHORIZATION),
            sent: 0,
        });
        let fault = script.next.pop_front().or_else(|| script.always.clone());
        (
            script.image.clone(),
            script.etag.clone(),
            fault,
            script.seen.len() - 1,
        )
    };
    match &fault {
        Some(Fault::Status(code)) => {
            return StatusCode::from_u16(*code).unwrap().into_response();
        }
        Some(Fault::Redirect(location)) => {
            return (StatusCode::FOUND, [(header::LOCATION, location.clone())]).into_response();
        }
        Some(Fault::Silence) => {
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let mut from = range
        .filter(|_| fault != Some(Fault::IgnoreRange))
        .filter(|_| if_range.is_none() || if_range == etag)
        .map(|range| {
            let from = range.strip_prefix("bytes=").unwrap();
            from.strip_suffix('-').unwrap().parse::<usize>().unwrap()
        });
    if from.is_some_and(|from| from >= image.len()) {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    if fault == Some(Fault::ShiftedRange) {
        from = from.map(|from| from + 1);
    }
    let bytes = image.slice(from.unwrap_or(0)..);
    let mut response = Response::builder();
    if let Some(etag) = etag {
        response = response.header(header::ETAG, etag);
    }
    if fault != Some(Fault::Chunked) {
        response = response.header(header::CONTENT_LENGTH, bytes.len());
    }
    if let Some(from) = from {
        let range = format!("bytes {from}-{}/{}", image.len() - 1, image.len());
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, range);
    }
    response
        .body(body(&bytes, fault.as_ref(), script, index))
        .unwrap()
}

fn body(bytes: &Bytes, fault: Option<&Fault>, script: Arc<Mutex<Script>>, index: usize) -> Body {
    let (limit, piece) = match fault {
        Some(Fault::CutAfter(limit) | Fault::StallAfter(limit)) => {
            ((*limit).min(bytes.len()), PIECE)
        }
        Some(Fault::Trickle(_)) => (bytes.len(), 1),
        _ => (bytes.len(), PIECE),
    };
    let pieces: Vec<Bytes> = (0..limit)
        .step_by(piece)
        .map(|at| bytes.slice(at..(at + piece).min(limit)))
        .collect();
    let pause = match fault {
        Some(Fault::Trickle(pause)) => Some(*pause),
        _ => None,
    };
    let sending = stream::iter(pieces).then(move |piece| {
        let script = Arc::clone(&script);
        async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            script.lock().unwrap().seen[index].sent += piece.len();
            Ok::<_, std::io::Error>(piece)
        }
    });
    match fault {
        Some(Fault::CutAfter(_)) => {
            let cut = stream::once(async {
                // Lets what was sent before leave the server.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::other("cut"))
            });
            Body::from_stream(sending.chain(cut))
        }
        Some(Fault::StallAfter(_)) => Body::from_stream(sending.chain(stream::pending())),
        _ => Body::from_stream(sending),
    }
}
