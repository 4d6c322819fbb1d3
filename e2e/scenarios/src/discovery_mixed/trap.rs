//! Servers that look like BMCs and note who shows them credentials; one says nothing at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

const ROOT: &str = r##"{"@odata.id":"/redfish/v1/","@odata.type":"#ServiceRoot.v1_15_0.ServiceRoot","Id":"RootService","Name":"Trap","RedfishVersion":"1.15.0","UUID":"5f1c2b7e-83a4-4a57-9b1e-6f2d7c8a9b10","Systems":{"@odata.id":"/redfish/v1/Systems"},"SessionService":{"@odata.id":"/redfish/v1/SessionService"},"Links":{"Sessions":{"@odata.id":"/redfish/v1/SessionService/Sessions"}}}"##;

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    credentials: AtomicUsize,
}

/// A trap on loopback. It goes away with this value.
#[derive(Debug)]
pub(super) struct Trap {
    address: SocketAddr,
    counts: Arc<Counts>,
    server: AbortHandle,
}

impl Trap {
    /// One that shows a service root over plain HTTP and refuses everything else.
    pub(super) async fn listening(address: SocketAddr) -> Result<Self> {
        Self::start(address, true).await
    }

    /// One that accepts connections and never says a word.
    pub(super) async fn mute(address: SocketAddr) -> Result<Self> {
        Self::start(address, false).await
    }

    async fn start(address: SocketAddr, speaks: bool) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counts = Arc::clone(&shared);
                counts.accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, speaks, &counts).await {
                        tracing::debug!("a caller of a trap left: {error}");
                    }
                });
            }
        });
        Ok(Self {
            address,
            counts,
            server: task.abort_handle(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections so far.
    pub(super) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Requests that carried credentials.
    pub(super) fn credentials_seen(&self) -> usize {
        self.counts.credentials.load(Ordering::Relaxed)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut stream: TcpStream, speaks: bool, counts: &Counts) -> Result<()> {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        let Some(end) = text.find("\r\n\r\n") else {
            continue;
        };
        let carries = text.contains("\r\nauthorization:")
            || text.contains("\r\nx-auth-token:")
            || text.contains("\"password\"");
        if carries || text.starts_with("post ") {
            counts.credentials.fetch_add(1, Ordering::Relaxed);
        }
        let is_root = ["get /redfish/v1 ", "get /redfish/v1/ "]
            .iter()
            .any(|begin| text.starts_with(begin));
        read.drain(..end + 4);
        if !speaks {
            continue;
        }
        let (status, body) = if is_root {
            ("200 OK", ROOT)
        } else {
            ("401 Unauthorized", "{}")
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}
