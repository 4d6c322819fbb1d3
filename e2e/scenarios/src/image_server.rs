//! The place where a user keeps images: an HTTP server on loopback with Ranges and faults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How the server behaves.
#[derive(Clone, Debug, Default)]
pub enum Behaviour {
    /// As it should.
    #[default]
    Honest,
    /// Answers 404.
    NotFound,
    /// Sends only the first half and closes.
    Truncates,
    /// Sends more bytes than the image has.
    Oversize,
    /// Sends a few bytes a second, for ever.
    SlowLoris,
    /// Redirects to another host.
    RedirectsTo(String),
}

#[derive(Default)]
struct Shared {
    behaviour: Behaviour,
    requests: u64,
    file: PathBuf,
}

/// A running image server.
pub struct ImageServer {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

impl ImageServer {
    /// Serves `file` under any path.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn serve(file: PathBuf) -> Result<Self> {
        let shared = Arc::new(Mutex::new(Shared {
            file,
            ..Shared::default()
        }));
        let router = Router::new()
            .route("/{*path}", axum::routing::get(answer))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no port for the image server")?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the image server ended");
            }
        });
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL of the image.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// Changes what is served and how, from the next request on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.lock().behaviour = behaviour;
    }

    /// Serves another file from now on.
    pub fn replace(&self, file: PathBuf) {
        self.lock().file = file;
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.lock().requests
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ImageServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(shared): State<Arc<Mutex<Shared>>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response {
    let (behaviour, file) = {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.requests += 1;
        (shared.behaviour.clone(), shared.file.clone())
    };
    let Ok(bytes) = tokio::fs::read(&file).await else {
        return (StatusCode::NOT_FOUND, "no such image").into_response();
    };
    let bytes = Bytes::from(bytes);
    let length = bytes.len();
    match behaviour {
        Behaviour::Honest => ranged(&bytes, &headers),
        Behaviour::NotFound => (StatusCode::NOT_FOUND, "no such image").into_response(),
        Behaviour::RedirectsTo(host) => (
            StatusCode::FOUND,
            [(header::LOCATION, format!("{host}/{path}"))],
        )
            .into_response(),
        Behaviour::Truncates => {
            let half = bytes.slice(..length / 2);
            // The end comes after what was sent before it is on the wire.
            let cut = stream::once(async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Err(std::io::Error::other("the server closes in mid-transfer"))
            });
            let body = stream::once(async { Ok(half) }).chain(cut);
            (
                [(header::CONTENT_LENGTH, length.to_string())],
                Body::from_stream(body),
            )
                .into_response()
        }
        Behaviour::Oversize => {
            let chunks = vec![
                Ok::<_, std::io::Error>(bytes),
                Ok(Bytes::from(vec![0; 4096])),
            ];
            Body::from_stream(stream::iter(chunks)).into_response()
        }
        Behaviour::SlowLoris => {
            let drip = stream::unfold(0, move |at| {
                let byte = bytes.slice(at..at + 1);
                async move {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    Some((Ok::<_, std::io::Error>(byte), at + 1))
                }
            });
            (
                [(header::CONTENT_LENGTH, length.to_string())],
                Body::from_stream(drip),
            )
                .into_response()
        }
    }
}

fn ranged(bytes: &Bytes, headers: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", bytes.len());
    let from = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok())
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.strip_suffix('-'))
        .and_then(|start| start.parse::<usize>().ok())
        .filter(|start| *start < bytes.len());
    match from {
        Some(start) => (
            StatusCode::PARTIAL_CONTENT,
            [
                (header::ETAG, etag),
                (
                    header::CONTENT_RANGE,
                    format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
                ),
            ],
            bytes.slice(start..),
        )
            .into_response(),
        None => ([(header::ETAG, etag)], bytes.clone()).into_response(),
    }
}
