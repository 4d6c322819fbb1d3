//! Callers that hold on to what they have.

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

#[tokio::test]
async fn the_address_for_both_families_takes_ipv4_too() {
    let listener = bind("[::]:0".parse().unwrap()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (called, taken) = tokio::join!(
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)),
        listener.accept()
    );
    let called = called.unwrap().local_addr().unwrap();
    assert_eq!(called.port(), taken.unwrap().1.port());
}
