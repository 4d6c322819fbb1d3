//! A service on loopback that answers with what it is given, and counts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::bend::Served;

/// Longest request that is read.
const MOST_BYTES: usize = 64 * 1024;

/// What was asked since the documents were given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) requests: usize,
    pub(super) changes: usize,
}

struct State {
    served: Served,
    seen: Seen,
}

pub(super) struct Service {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Service {
    /// Listens; it answers while its runtime runs.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            served: Served::new(),
            seen: Seen::default(),
        }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _peer)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self { address, state })
    }

    pub(super) fn url<U: std::str::FromStr>(&self) -> U
    where
        U::Err: std::fmt::Debug,
    {
        #[expect(clippy::expect_used, reason = "an address of ours makes a URL")]
        format!("http://{}", self.address).parse().expect("a URL")
    }

    pub(super) fn serve(&self, served: Served) {
        *lock(&self.state) = State {
            served,
            seen: Seen::default(),
        };
    }

    pub(super) fn seen(&self) -> Seen {
        lock(&self.state).seen
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers requests until the peer goes, or says what is no request.
async fn connection(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut buffer = Vec::new();
    while let Some((head, length)) = request(&mut stream, &mut buffer).await {
        buffer.drain(..length);
        let mut words = head.split(' ');
        let method = words.next().unwrap_or_default();
        let path = words.next().unwrap_or_default();
        let (status, body) = {
            let mut state = lock(&state);
            state.seen.requests += 1;
            if method == "GET" {
                state.served.answer(path)
            } else {
                state.seen.changes += 1;
                (204, Vec::new())
            }
        };
        let head = format!(
            "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        // In one piece: the peer's kernel takes its time to acknowledge half an answer.
        let mut answer = head.into_bytes();
        if status != 204 {
            answer.extend(body);
        }
        let sent = stream.write_all(&answer).await.is_ok();
        if !sent {
            return;
        }
    }
}

/// The head of the next request, and its length with the body.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, usize)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let body = head
                .lines()
                .find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    let is_length = name.eq_ignore_ascii_case("content-length");
                    is_length.then(|| value.trim().parse().ok())?
                })
                .unwrap_or(0);
            let length = end + 4 + body;
            if buffer.len() >= length {
                return Some((head, length));
            }
        }
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok()?;
        if read == 0 || buffer.len() > MOST_BYTES {
            return None;
        }
        buffer.extend_from_slice(&chunk[..read]);
    }
}
