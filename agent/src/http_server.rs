//! Serving HTTP on a port that anybody may reach.
//!
//! What callers may hold is bounded: how long a request may take to be told, how long a
//! connection may stand still, and how many there are. One that moves may last as long as it
//! likes, for BMCs read images slowly.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::map_response;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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

/// Serves until `ending`, and then what is being read.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
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
        let Some(place) = peers.place(peer, bounds.per_peer) else {
            tracing::debug!(%peer, "connection refused: this address has as many as it may");
            continue;
        };
        let (router, ending) = (router.clone(), ending.clone());
        connections.spawn(async move {
            if let Err(error) = converse(stream, router, bounds, ending).await {
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

async fn converse(
    stream: TcpStream,
    router: Router,
    bounds: Bounds,
    ending: CancellationToken,
) -> hyper::Result<()> {
    if let Err(error) = set_socket_send_buffer_size(&stream, SEND_BUFFER) {
        tracing::debug!("send buffer: {error}");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .keep_alive(bounds.keep_alive)
        .max_buf_size(HEAD)
        .serve_connection(
            TokioIo::new(Watched::new(stream, bounds.still)),
            TowerToHyperService::new(router),
        );
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
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio::time::timeout;

    use super::*;

    const LONG: usize = 8 * 1024 * 1024;
    /// Longer than anything here may take.
    const HANGS: Duration = Duration::from_secs(60);
    const BOUNDS: Bounds = Bounds {
        head: Duration::from_millis(500),
        still: Duration::from_millis(500),
        in_all: 8,
        per_peer: 8,
        keep_alive: true,
    };

    struct Served {
        address: SocketAddr,
        ending: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    impl Served {
        async fn new(bounds: Bounds) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new()
                .route("/short", get(|| async { "ok" }))
                .route("/long", get(|| async { vec![7_u8; LONG] }));
            let ending = CancellationToken::new();
            let task = tokio::spawn(serve(listener, router, bounds, ending.clone()));
            Self {
                address,
                ending,
                task,
            }
        }

        /// A connection from `127.0.0.n` that has told `text`.
        async fn tell(&self, n: u8, text: &str) -> TcpStream {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(32 * 1024).unwrap();
            socket
                .bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, n), 0)))
                .unwrap();
            let mut stream = socket.connect(self.address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
        }

        async fn end(self) {
            self.ending.cancel();
            timeout(HANGS, self.task).await.unwrap().unwrap();
        }
    }

    /// Everything until the other side closes, whichever way it does.
    async fn rest(mut stream: TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        let reading = stream.read_to_end(&mut bytes);
        // A reset ends it as well as a close.
        drop(timeout(HANGS, reading).await.expect("closed"));
        bytes
    }

    fn request(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
    }

    #[tokio::test]
    async fn a_request_that_is_never_told_whole_is_not_waited_for() {
        let served = Served::new(BOUNDS).await;
        let begun = Instant::now();
        for text in ["", "GET /short HTTP/1.1\r\nHo", &request("/short")] {
            let got = rest(served.tell(1, text).await).await;
            assert_eq!(got.ends_with(b"ok"), text.ends_with("\r\n\r\n"), "{text:?}");
        }
        assert!(begun.elapsed() >= BOUNDS.head);
        let refused = served.tell(1, &request("/none").repeat(2)).await;
        let refused = String::from_utf8(rest(refused).await).unwrap();
        assert_eq!(refused.matches("404").count(), 1, "{refused}");
        // A byte now and then does not make a request.
        let mut slow = served.tell(1, "GET /short HTTP/1.1\r\nA: ").await;
        let trickled = timeout(HANGS, async {
            while slow.write_all(b"a").await.is_ok() {
                sleep(BOUNDS.still / 10).await;
            }
        });
        trickled.await.unwrap();
        served.end().await;
    }

    #[tokio::test]
    async fn who_stops_to_read_is_dropped_and_who_reads_slowly_is_not() {
        let served = Served::new(BOUNDS).await;
        let stalled = served.tell(1, &request("/long")).await;
        let mut slow = served.tell(1, &request("/long")).await;
        let begun = Instant::now();
        let mut chunk = vec![0; 128 * 1024];
        let mut got = 0;
        while got < LONG {
            let read = timeout(HANGS, slow.read(&mut chunk)).await.unwrap();
            let read = read.unwrap();
            assert!(read > 0, "cut off after {got} bytes");
            got += read;
            sleep(BOUNDS.still / 50).await;
        }
        assert!(begun.elapsed() > BOUNDS.still * 2, "{:?}", begun.elapsed());
        let got = rest(stalled).await;
        assert!(got.len() < LONG, "{}", got.len());
        served.end().await;
    }

    #[tokio::test]
    async fn one_address_has_only_so_many_connections() {
        let served = Served::new(Bounds {
            head: HANGS,
            still: HANGS,
            per_peer: 2,
            ..BOUNDS
        })
        .await;
        let first = served.tell(1, "").await;
        let _second = served.tell(1, "").await;
        assert_eq!(rest(served.tell(1, "").await).await, b"");
        let mut other = served.tell(2, &request("/short")).await;
        let mut byte = [0];
        timeout(HANGS, other.read_exact(&mut byte))
            .await
            .unwrap()
            .unwrap();
        drop(first);
        // Its place is free as soon as the server has seen the end.
        let answered = timeout(HANGS, async {
            loop {
                let mut again = served.tell(1, &request("/short")).await;
                if again.read_exact(&mut byte).await.is_ok() {
                    return;
                }
            }
        });
        answered.await.unwrap();
        served.end().await;
    }

    #[tokio::test]
    async fn further_connections_wait_until_idle_ones_are_closed() {
        let served = Served::new(Bounds {
            in_all: 2,
            ..BOUNDS
        })
        .await;
        let begun = Instant::now();
        let _idle = (served.tell(1, "").await, served.tell(2, "").await);
        let got = rest(served.tell(3, &request("/short")).await).await;
        assert!(got.ends_with(b"ok"));
        assert!(begun.elapsed() >= BOUNDS.head);
        served.end().await;
    }

    #[tokio::test]
    async fn the_end_waits_for_what_is_being_read_and_for_nothing_else() {
        let served = Served::new(Bounds {
            head: HANGS,
            still: HANGS,
            ..BOUNDS
        })
        .await;
        let mut reading = served.tell(1, &request("/long")).await;
        let mut byte = [0];
        reading.read_exact(&mut byte).await.unwrap();
        let idle = served.tell(1, "").await;
        served.ending.cancel();
        assert_eq!(rest(idle).await, b"");
        assert!(rest(reading).await.len() >= LONG);
        served.end().await;
    }
}
