//! Where the images come from: it keeps a log of what is asked for, and can hold back the rest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use lockstep_store::Digest;
use lockstep_store_process::Order;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes of every image.
pub(super) const SIZE: usize = 4 << 20;
/// Sent at a time.
const CHUNK: usize = 128 << 10;

/// One image.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) name: &'static str,
    pub(super) bytes: Bytes,
    pub(super) digest: Digest,
}

impl Image {
    fn new(name: &'static str) -> Self {
        let mut state = name.bytes().fold(0x9E37_79B9_7F4A_7C15_u64, |sum, byte| {
            sum.rotate_left(8) ^ u64::from(byte)
        });
        let mut bytes = Vec::with_capacity(SIZE);
        while bytes.len() < SIZE {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        Self {
            name,
            digest: Digest::of(&bytes),
            bytes: bytes.into(),
        }
    }
}

struct Shared {
    images: BTreeMap<String, Bytes>,
    /// The first byte of each request, by image.
    asked: Mutex<Vec<(String, usize)>>,
    /// Nothing from here on is sent.
    until: watch::Sender<usize>,
}

/// A running source of images.
pub(super) struct Source {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Source {
    pub(super) async fn start<const N: usize>(
        names: [&'static str; N],
    ) -> Result<(Self, [Image; N])> {
        let images = names.map(Image::new);
        let by_name = images
            .iter()
            .map(|image| (image.name.to_owned(), image.bytes.clone()));
        let shared = Arc::new(Shared {
            images: by_name.collect(),
            asked: Mutex::default(),
            until: watch::Sender::new(SIZE),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        let port = listener.local_addr()?.port();
        let router = Router::new()
            .route("/{name}", axum::routing::get(answer))
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the source of images ended");
            }
        });
        Ok((Self { port, shared, task }, images))
    }

    /// What tells a store to fetch an image from here.
    pub(super) fn order(&self, image: &Image) -> Order {
        Order::Fetch {
            digest: image.digest,
            size: Some(SIZE as u64),
            sources: vec![format!("http://127.0.0.1:{}/{}", self.port, image.name)],
            accounts: None,
        }
    }

    /// Sends nothing of any image from this byte on, until that is taken back.
    pub(super) fn hold_from(&self, byte: usize) {
        self.shared.until.send_replace(byte);
    }

    /// Sends everything.
    pub(super) fn release(&self) {
        self.shared.until.send_replace(SIZE);
    }

    /// The first bytes of all requests for an image since this was asked last, about any.
    pub(super) fn take_asked(&self, image: &Image) -> Vec<usize> {
        let mut asked = self
            .shared
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *asked).into_iter();
        taken
            .filter(|(name, _)| name == image.name)
            .map(|(_, from)| from)
            .collect()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(bytes) = shared.images.get(&name).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let range = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    let from = range
        .and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        })
        .filter(|from| *from < SIZE);
    let asked = (name.clone(), from.unwrap_or(0));
    shared
        .asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(asked);
    let until = shared.until.subscribe();
    let start = from.unwrap_or(0);
    let body = stream::unfold((start, until), move |(at, mut until)| {
        let bytes = bytes.clone();
        async move {
            if at == SIZE {
                return None;
            }
            let allowed = *until.wait_for(|until| *until > at).await.ok()?;
            let end = (at + CHUNK).min(allowed);
            Some((Ok::<_, std::io::Error>(bytes.slice(at..end)), (end, until)))
        }
    });
    let fixed = [
        (header::ETAG, format!("\"{name}\"")),
        (header::CONTENT_LENGTH, (SIZE - start).to_string()),
    ];
    match from {
        None => (fixed, Body::from_stream(body)).into_response(),
        Some(start) => {
            let place = format!("bytes {start}-{}/{SIZE}", SIZE - 1);
            let place = [(header::CONTENT_RANGE, place)];
            (
                StatusCode::PARTIAL_CONTENT,
                fixed,
                place,
                Body::from_stream(body),
            )
                .into_response()
        }
    }
}
