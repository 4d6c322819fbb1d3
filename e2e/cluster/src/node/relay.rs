//! A listener where pods can reach, for a service that listens on loopback.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Passes bytes on until it is dropped. It sees TLS from outside only.
#[derive(Debug)]
pub(super) struct Relay(JoinHandle<()>);

impl Relay {
    /// Listens on `address:port` and connects each client to `target`.
    pub(super) async fn start(address: Ipv4Addr, port: u16, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((address, port))
            .await
            .with_context(|| format!("cannot listen on {address}:{port}"))?;
        Ok(Self(tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((client, _from)) => {
                        tokio::spawn(pass(client, target));
                    }
                    Err(error) => tracing::warn!(%target, %error, "a client was not let in"),
                }
            }
        })))
    }
}

/// An end of either side ends both; to the client a target that is away looks like a reset.
async fn pass(mut client: TcpStream, target: SocketAddr) {
    let passed = async {
        let mut server = TcpStream::connect(target).await?;
        copy_bidirectional(&mut client, &mut server).await
    };
    if let Err(error) = passed.await {
        tracing::debug!(%target, %error, "a connection broke");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn bytes_pass_both_ways_until_it_is_dropped() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = echo.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut peer, _) = echo.accept().await.unwrap();
            let mut word = [0; 4];
            peer.read_exact(&mut word).await.unwrap();
            word.reverse();
            peer.write_all(&word).await.unwrap();
        });
        let [port] = crate::ports::free().unwrap();
        let relay = Relay::start(Ipv4Addr::LOCALHOST, port, target)
            .await
            .unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        client.write_all(b"abcd").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "dcba");
        drop(relay);
        tokio::task::yield_now().await;
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    }
}
