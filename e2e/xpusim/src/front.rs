//! The BMCs on the network: loopback only, plain or with TLS, thousands on one
//! port or on one each.

mod certificate;
mod connection;
mod pull;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::fleet::{Fleet, Unknown};

use certificate::Certificates;

/// How machines get addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// All on this one. The first label of the Host header (and of the TLS
    /// server name) is the machine's name.
    Named(SocketAddr),
    /// Each on an IPv4 address of its own, counting up from this one, all on
    /// the same port.
    Addresses(SocketAddr),
    /// Each on a port of its own, counting up from this one; from port 0, each
    /// on any port that is free.
    Ports(SocketAddr),
}

/// The running BMCs. They go away with this value.
#[derive(Debug)]
pub struct Server {
    urls: BTreeMap<String, String>,
    certificates: Arc<Certificates>,
    acceptors: Vec<AbortHandle>,
}

impl Server {
    /// Puts every machine of the fleet on the network, in the order of the
    /// fleet file. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When an address is not loopback or cannot be listened on.
    pub async fn start(fleet: &Arc<Fleet>, listen: Listen, tls: bool) -> Result<Self> {
        let certificates = Arc::new(Certificates::new(Arc::clone(fleet)));
        let mut server = Self {
            urls: BTreeMap::new(),
            certificates: Arc::clone(&certificates),
            acceptors: Vec::new(),
        };
        let scheme = if tls { "https" } else { "http" };
        let shared = |only: Option<String>| -> Result<connection::Shared> {
            let config = tls.then(|| certificates.server(only.clone())).transpose()?;
            Ok(connection::Shared {
                fleet: Arc::clone(fleet),
                only,
                tls: config.map(|config| TlsAcceptor::from(Arc::new(config))),
            })
        };
        match listen {
            Listen::Named(address) => {
                let (listener, address) = bind(address).await?;
                for name in fleet.names() {
                    let url = format!("{scheme}://{name}.localhost:{}", address.port());
                    server.urls.insert(name.clone(), url);
                }
                server.accept(listener, shared(None)?);
            }
            Listen::Addresses(first) => {
                for (position, name) in fleet.names().iter().enumerate() {
                    let (listener, address) = bind(nth_address(first, position)?).await?;
                    server
                        .urls
                        .insert(name.clone(), format!("{scheme}://{address}"));
                    server.accept(listener, shared(Some(name.clone()))?);
                }
            }
            Listen::Ports(first) => {
                for (position, name) in fleet.names().iter().enumerate() {
                    let (listener, address) = bind(nth_port(first, position)?).await?;
                    server
                        .urls
                        .insert(name.clone(), format!("{scheme}://{address}"));
                    server.accept(listener, shared(Some(name.clone()))?);
                }
            }
        }
        Ok(server)
    }

    /// The base URL of a machine's BMC.
    ///
    /// # Errors
    /// When there is no machine of that name.
    pub fn url(&self, name: &str) -> Result<&str, Unknown> {
        let url = self.urls.get(name).map(String::as_str);
        url.ok_or_else(|| Unknown(name.to_owned()))
    }

    /// The base URLs of all BMCs, by machine.
    pub fn urls(&self) -> &BTreeMap<String, String> {
        &self.urls
    }

    /// The certificate that a machine's BMC shows now, in PEM.
    ///
    /// # Errors
    /// When there is no machine of that name, or no key can be made.
    pub fn certificate_pem(&self, name: &str) -> Result<String> {
        Ok(self.certificates.of(name)?.pem.clone())
    }

    fn accept(&mut self, listener: TcpListener, shared: connection::Shared) {
        let task = tokio::spawn(accept(listener, Arc::new(shared)));
        self.acceptors.push(task.abort_handle());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for acceptor in &self.acceptors {
            acceptor.abort();
        }
    }
}

/// Fails unless the address is one that nobody else can reach.
pub(crate) fn check_loopback(address: SocketAddr) -> Result<()> {
    ensure!(
        address.ip().is_loopback(),
        "{address} is not a loopback address: a simulator must not be reachable from elsewhere; use 127.0.0.0/8 or [::1]"
    );
    Ok(())
}

pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    check_loopback(address)?;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: is the port in use, or the limit of open files (ulimit -n) too low?"))?;
    let address = listener.local_addr().context("a socket without address")?;
    Ok((listener, address))
}

fn nth_address(first: SocketAddr, position: usize) -> Result<SocketAddr> {
    let IpAddr::V4(ip) = first.ip() else {
        anyhow::bail!("IPv6 has one loopback address only: give each machine a port instead");
    };
    let ip = u32::try_from(position)
        .ok()
        .and_then(|position| ip.to_bits().checked_add(position))
        .map(Ipv4Addr::from_bits);
    let ip = ip.with_context(|| format!("there are not enough addresses after {first}"))?;
    Ok(SocketAddr::new(ip.into(), first.port()))
}

fn nth_port(first: SocketAddr, position: usize) -> Result<SocketAddr> {
    if first.port() == 0 {
        return Ok(first);
    }
    let port = u16::try_from(position)
        .ok()
        .and_then(|position| first.port().checked_add(position));
    let port = port.with_context(|| format!("there are not enough ports after {first}"))?;
    Ok(SocketAddr::new(first.ip(), port))
}

async fn accept(listener: TcpListener, shared: Arc<connection::Shared>) {
    // Dropped with this future: that cuts the connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(connection::serve(stream, Arc::clone(&shared)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of files: others must end first.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ports_count_up_and_end() {
        let first: SocketAddr = "127.0.0.255:443".parse().unwrap();
        let third: SocketAddr = "127.0.1.1:443".parse().unwrap();
        assert_eq!(nth_address(first, 2).unwrap(), third);
        assert!(nth_address("[::1]:443".parse().unwrap(), 1).is_err());
        let first: SocketAddr = "[::1]:65534".parse().unwrap();
        assert_eq!(nth_port(first, 1).unwrap().port(), 65535);
        assert!(nth_port(first, 2).is_err());
    }

    #[test]
    fn nothing_but_loopback_is_listened_on() {
        for (address, ok) in [
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", false),
            ("192.0.2.1:1", false),
        ] {
            assert_eq!(
                check_loopback(address.parse().unwrap()).is_ok(),
                ok,
                "{address}"
            );
        }
    }
}
