//! Serving granted images to BMCs.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_RANGE, RANGE, RETRY_AFTER,
};
use http::{HeaderMap, Method, StatusCode, Uri};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::disk::{At, DiskError, blocking};
use crate::error::GrantError;
use crate::grants::{Entry, Laid};
use crate::inner::{Inner, Unusable, lock};
use crate::range::{Requested, requested};
use crate::sight::{Answered, Sight};
use crate::slots::{Layer, Slots};
use crate::{BlobInfo, Digest};

/// What one response holds in memory at a time.
const CHUNK: u64 = 256 * 1024;
/// How often an image is hashed for one request whose file goes on changing.
const OPENED_AT_MOST: usize = 3;

pub(crate) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route(
            "/i/{capability}/image.iso",
            get(serve).fallback(refuse_method),
        )
        .with_state(inner)
}

async fn serve(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let entry = granted_by(&inner, &uri);
    let Some(entry) = entry else {
        tracing::debug!("image request without a valid capability");
        return StatusCode::NOT_FOUND.into_response();
    };
    respond(&inner, entry, &method, &headers).await
}

async fn refuse_method(State(inner): State<Arc<Inner>>, uri: Uri) -> Response {
    if let Some(entry) = granted_by(&inner, &uri) {
        lock(&entry.sight).answered(Answered::NoSuchMethod);
    }
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET,HEAD")]).into_response()
}

fn granted_by(inner: &Inner, uri: &Uri) -> Option<Arc<Entry>> {
    let state = lock(&inner.state);
    let entry = state.grants.serve(uri.path()).cloned();
    if entry.is_none() {
        state.grants.note_ended(uri.path());
    }
    entry
}

/// Answers a request for what was granted.
pub(crate) async fn respond(
    inner: &Arc<Inner>,
    entry: Arc<Entry>,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let (info, slots, file) = match open(inner, &entry.digest).await {
        Ok(opened) => opened,
        Err(error) => {
            lock(&entry.stats).failures += 1;
            lock(&entry.sight).answered(Answered::Failed);
            tracing::error!(card_key = entry.card_key, digest = %entry.digest, ?error,
                "granted image cannot be served");
            return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "30")]).into_response();
        }
    };
    let etag = etag(&entry);
    // Only GET has ranges.
    let range = headers
        .get(RANGE)
        .filter(|_| *method == Method::GET)
        .and_then(|range| range.to_str().ok());
    let same = headers
        .get(IF_RANGE)
        .is_none_or(|known| known.as_bytes() == etag.as_bytes());
    let requested = match range {
        Some(range) if same => requested(range, info.size),
        Some(_) | None => Requested::Whole,
    };
    log(&entry, method, &requested);
    let fixed = [
        (ACCEPT_RANGES, "bytes".to_owned()),
        (ETAG, etag),
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        // The URL is a secret and the bytes may hold one.
        (CACHE_CONTROL, "private, no-store".to_owned()),
    ];
    let (status, bytes) = match requested {
        Requested::Whole => (StatusCode::OK, 0..info.size),
        Requested::Part(bytes) => (StatusCode::PARTIAL_CONTENT, bytes),
        Requested::Unsatisfiable => {
            lock(&entry.sight).answered(Answered::NoSuchRange);
            let whole = [(CONTENT_RANGE, format!("bytes */{}", info.size))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, fixed, whole).into_response();
        }
    };
    let length = [(CONTENT_LENGTH, (bytes.end - bytes.start).to_string())];
    let place = (status == StatusCode::PARTIAL_CONTENT).then(|| {
        let (first, last) = (bytes.start, bytes.end - 1);
        [(CONTENT_RANGE, format!("bytes {first}-{last}/{}", info.size))]
    });
    let body = if *method == Method::HEAD {
        let mut sight = lock(&entry.sight);
        sight.length = info.size;
        sight.answered(Answered::Headers);
        Body::empty()
    } else {
        lock(&entry.sight).sends(info.size);
        let sight = Arc::clone(&entry.sight);
        Body::from_stream(pieces(entry, file, &slots, bytes, Some(sight)))
    };
    match place {
        Some(place) => (status, fixed, length, place, body).into_response(),
        None => (status, fixed, length, body).into_response(),
    }
}

/// Names the bytes as this card sees them, so that a changed seed or file is
/// another version; it tells nothing about them.
fn etag(entry: &Entry) -> String {
    let mut named = entry.digest.hex().into_bytes();
    if let Some(seed) = &entry.laid.seed {
        named.extend_from_slice(Digest::of(seed).hex().as_bytes());
    }
    for (slot, content) in &entry.laid.files {
        named.extend_from_slice(slot.as_bytes());
        named.extend_from_slice(Digest::of(content).hex().as_bytes());
    }
    format!("\"{}\"", &Digest::of(&named).hex()[..32])
}

/// The image's file, which is the very one that was hashed: another one may have got its name
/// after that.
async fn open(inner: &Arc<Inner>, digest: &Digest) -> Result<(BlobInfo, Slots, File), Unusable> {
    let path = inner.layout.blob(digest);
    for _ in 0..OPENED_AT_MOST {
        let (info, slots) = inner.verified(digest).await?;
        let wanted = path.clone();
        let opened: Result<File, DiskError> =
            blocking(&path, move || File::open(&wanted).at(&wanted))
                .await
                .map_err(Unusable::Disk)?;
        let file = opened.map_err(Unusable::Disk)?;
        if inner.is_as_verified(digest, &file) {
            return Ok((info, slots, file));
        }
    }
    Err(Unusable::Disk(DiskError {
        path,
        error: io::Error::other("the file changes each time it is hashed"),
    }))
}

/// BMCs may read an image in thousands of small ranges: only the first
/// request of a card is worth a line in every log.
fn log(entry: &Entry, method: &Method, requested: &Requested) {
    let now = SystemTime::now();
    let first = {
        let mut stats = lock(&entry.stats);
        stats.requests += 1;
        stats.last_request = Some(now);
        let first = stats.first_request.is_none();
        stats.first_request.get_or_insert(now);
        first
    };
    let (card_key, digest, capability) = (&entry.card_key, entry.digest, entry.log_name());
    if first {
        tracing::info!(card_key, %digest, capability, %method, ?requested, "card begins to read its image");
    } else {
        tracing::debug!(card_key, %digest, capability, %method, ?requested, "image request");
    }
}

/// Counts a response as active as long as it lives.
struct Sending {
    entry: Arc<Entry>,
    file: Arc<File>,
    layers: Vec<Layer>,
    asked: Range<u64>,
    rest: Range<u64>,
    /// What was handed out last: its memory is used again once it has been sent.
    sent: Bytes,
    /// Where it is told that it ends, if anybody asked for it by its URL.
    sight: Option<Arc<Mutex<Sight>>>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        lock(&self.entry.stats).active -= 1;
        if let Some(sight) = &self.sight {
            lock(sight).sent(&self.asked, &self.rest);
        }
    }
}

fn pieces(
    entry: Arc<Entry>,
    file: File,
    slots: &Slots,
    bytes: Range<u64>,
    sight: Option<Arc<Mutex<Sight>>>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    lock(&entry.stats).active += 1;
    let sending = Sending {
        layers: layers(&entry, slots),
        entry,
        file: Arc::new(file),
        asked: bytes.clone(),
        rest: bytes,
        sent: Bytes::new(),
        sight,
    };
    stream::try_unfold(sending, |mut sending| async move {
        let chunk = sending.next().await?;
        Ok::<_, io::Error>(chunk.map(|chunk| (chunk, sending)))
    })
}

/// An image as one card is served it, to be sent to the card's BMC instead.
pub struct GrantedImage {
    /// Its length in bytes.
    pub length: u64,
    /// Its bytes, a piece at a time. They end with an error once the grant is revoked.
    pub bytes: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
}

impl fmt::Debug for GrantedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantedImage")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Opens what the grant leads to; the digest is the one of the image below what lies over it.
pub(crate) async fn granted(
    inner: &Arc<Inner>,
    entry: Arc<Entry>,
) -> Result<GrantedImage, GrantError> {
    let (info, slots, file) = open(inner, &entry.digest)
        .await
        .map_err(|error| error.of(&entry.digest))?;
    Ok(GrantedImage {
        length: info.size,
        bytes: Box::pin(pieces(entry, file, &slots, 0..info.size, None)),
    })
}

/// What lies over the image for this card. A grant is given only where every slot is there once.
fn layers(entry: &Entry, slots: &Slots) -> Vec<Layer> {
    over(&entry.laid, slots)
}

/// What lies over the slots of an image.
pub(crate) fn over(laid: &Laid, slots: &Slots) -> Vec<Layer> {
    let seed = slots.seed.slot().zip(laid.seed.clone());
    let files = slots.files.iter().filter_map(|slot| {
        let content = laid.files.get(&slot.name)?;
        Some(Layer::file(slot, content.clone()))
    });
    seed.map(|(slot, content)| Layer::seed(slot, content))
        .into_iter()
        .chain(files)
        .collect()
}

impl Sending {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if self.entry.is_revoked() {
            return Err(io::Error::other("the grant was revoked"));
        }
        let at = self.rest.start;
        let len = (self.rest.end - at).min(CHUNK);
        let mut buffer = std::mem::take(&mut self.sent)
            .try_into_mut()
            .unwrap_or_default();
        // At most CHUNK, so it fits.
        buffer.resize(len as usize, 0);
        let mut buffer = match read(&self.file, buffer, at).await {
            Ok(buffer) => buffer,
            Err(error) => {
                lock(&self.entry.stats).failures += 1;
                if let Some(sight) = self.sight.take() {
                    lock(&sight).failed();
                }
                tracing::error!(card_key = self.entry.card_key, digest = %self.entry.digest, %error,
                    "granted image cannot be read");
                return Err(error);
            }
        };
        for layer in &self.layers {
            layer.lay(&mut buffer, at);
        }
        self.rest.start += len;
        lock(&self.entry.stats).bytes_served += len;
        self.sent = buffer.freeze();
        Ok(Some(self.sent.clone()))
    }
}

/// Fills the buffer: at once with what the system has in memory, and off the async threads with
/// what it has to read first.
async fn read(file: &Arc<File>, mut buffer: BytesMut, at: u64) -> io::Result<BytesMut> {
    let mut filled = 0;
    while filled < buffer.len() {
        let mut rest = [IoSliceMut::new(&mut buffer[filled..])];
        match preadv2(file, &mut rest, at + filled as u64, ReadWriteFlags::NOWAIT) {
            Ok(read) if read > 0 => filled += read,
            // Not in memory, not known to this file system, or the end: a plain read says which.
            Ok(_) | Err(_) => break,
        }
    }
    if filled == buffer.len() {
        return Ok(buffer);
    }
    let file = Arc::clone(file);
    tokio::task::spawn_blocking(move || {
        file.read_exact_at(&mut buffer[filled..], at + filled as u64)?;
        Ok(buffer)
    })
    .await
    .map_err(io::Error::other)
    .flatten()
}
