//! Serving HTTP on a port that anybody may reach.
//!
//! What callers may hold is bounded: how long a request may take to be told, how long a
//! connection may stand still, and how many there are. One that moves may last as long as it
//! likes, for BMCs read images slowly. A port speaks HTTP, or HTTPS under a [`Certificate`].
//! Handlers find the address of whoever asks as `ConnectInfo<IpAddr>`.

mod callers;
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::map_response;
use axum::response::Response;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use callers::{Call, Caller, Callers, TlsFault};
pub use tls::{Certificate, CertificateError};

/// What the kernel holds for a slow reader. It tells of room only once a third of it is free, so
/// a large one would make whoever reads steadily look as if they stood still.
const SEND_BUFFER: usize = 128 * 1024;
/// What is held of a request's head.
const HEAD: usize = 64 * 1024;
/// The pause after a connection could not be taken, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What callers may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// For the head of a request, from when it could begin.
    pub head: Duration,
    /// How long a connection lasts without a byte moving.
    pub still: Duration,
    /// Connections in all. Further ones wait until one ends.
    pub in_all: usize,
    /// Connections from one address. Further ones are closed at once.
    pub per_peer: usize,
    /// Whether a connection may serve for more than one request.
    pub keep_alive: bool,
}

impl Bounds {
    /// For images: few BMCs that read long.
    pub const IMAGES: Self = Self {
        head: Duration::from_secs(30),
        still: Duration::from_secs(60),
        in_all: 256,
        // BMCs may come through one gateway.
        per_peer: 64,
        keep_alive: true,
    };

    /// For health and metrics: short answers.
    pub const HEALTH: Self = Self {
        head: Duration::from_secs(5),
        still: Duration::from_secs(10),
        in_all: 64,
        per_peer: 16,
        keep_alive: false,
    };
}

/// Binds the address. `[::]` stands for both families; where there is no IPv6 it is IPv4 alone.
///
/// # Errors
/// If it cannot be had.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let mut all = vec![address];
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        all.push((Ipv4Addr::UNSPECIFIED, address.port()).into());
    }
    TcpListener::bind(&all[..]).await
}

/// Serves HTTP until `ending`, and then what is being read.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    ending: CancellationToken,
) {
    let nobodys = Callers::default();
    serve_to(listener, None, router, bounds, nobodys, ending).await;
}

/// As [`serve`], with a book of who called; under a certificate HTTPS alone. A handshake may take as
/// long as the head of a request.
pub async fn serve_to(
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
    router: Router,
    bounds: Bounds,
    callers: Callers,
    ending: CancellationToken,
) {
    let router = router.layer(map_response(close_after_refusal));
    let room = Arc::new(Semaphore::new(bounds.in_all));
    let peers = Peers::default();
    let connections = TaskTracker::new();
    while let Some((taken, stream, peer)) = ending
        .run_until_cancelled(next(&listener, &room))
        .await
        .flatten()
    {
        callers.connected(peer);
        let Some(place) = peers.place(peer, bounds.per_peer) else {
            callers.ended(peer, Call::TooMany);
            tracing::debug!(%peer, "connection refused: this address has as many as it may");
            continue;
        };
        let (told, ending) = (callers.clone(), ending.clone());
        let router = router
            .clone()
            .layer(map_response(move |response: Response| {
                told.ended(peer, Call::of_status(response.status()));
                std::future::ready(response)
            }))
            // Whoever answers may have to know who asks.
            .layer(Extension(ConnectInfo(peer)));
        let (certificate, callers) = (certificate.clone(), callers.clone());
        connections.spawn(async move {
            let conversed = converse(stream, certificate, router, bounds, ending).await;
            if let Err(Broken { call, error }) = conversed {
                if let Some(call) = call {
                    callers.ended(peer, call);
                }
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop((taken, place));
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Whoever asks for what they may not have keeps no connection by asking on.
async fn close_after_refusal(mut response: Response) -> Response {
    if response.status().is_client_error() {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The next connection, once there is room for it; `None` never comes, as the room is never closed.
async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(tokio::sync::OwnedSemaphorePermit, TcpStream, IpAddr)> {
    let taken = Arc::clone(room).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((taken, stream, peer.ip().to_canonical())),
            Err(error) => {
                tracing::warn!("no connection taken: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Why a connection ended before its time.
struct Broken {
    /// What that says of the call, if it does.
    call: Option<Call>,
    error: io::Error,
}

async fn converse(
    stream: TcpStream,
    certificate: Option<Arc<Certificate>>,
    router: Router,
    bounds: Bounds,
    ending: CancellationToken,
) -> Result<(), Broken> {
    if let Err(error) = set_socket_send_buffer_size(&stream, SEND_BUFFER) {
        tracing::debug!("send buffer: {error}");
    }
    let stream = Watched::new(stream, bounds.still);
    let spoken = match certificate {
        None => speak(stream, router, bounds, ending).await,
        Some(certificate) => {
            let shaken = TlsAcceptor::from(certificate.current()).accept(stream);
            let shaken = timeout(bounds.head, shaken);
            match ending.run_until_cancelled(shaken).await {
                None => Ok(()),
                Some(shaken) => {
                    let stream = shaken.map_err(io::Error::from).flatten();
                    let stream = stream.map_err(|error| Broken {
                        call: Some(Call::of_handshake(&error)),
                        error,
                    })?;
                    speak(stream, router, bounds, ending).await
                }
            }
        }
    };
    spoken.map_err(|error| Broken {
        call: error.is_parse().then_some(Call::NoHttp),
        error: io::Error::other(error),
    })
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    router: Router,
    bounds: Bounds,
    ending: CancellationToken,
) -> hyper::Result<()> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .keep_alive(bounds.keep_alive)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = ending.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// How many connections each address has.
#[derive(Clone, Debug, Default)]
struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of an address, for as long as it lives.
struct Place {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    fn place(&self, peer: IpAddr, most: usize) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place {
            peers: self.clone(),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// A connection that fails once no byte has moved for too long.
struct Watched {
    stream: TcpStream,
    still: Duration,
    over: Pin<Box<Sleep>>,
}

impl Watched {
    fn new(stream: TcpStream, still: Duration) -> Self {
        Self {
            stream,
            still,
            over: Box::pin(sleep(still)),
        }
    }

    /// Starts to count anew when something moved; fails when nothing did for too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.over.as_mut().reset(Instant::now() + self.still);
            return polled;
        }
        ready!(self.over.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "no byte moved for too long",
        )))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.watch(cx, polled)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // Neither moves a byte, so neither counts.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
