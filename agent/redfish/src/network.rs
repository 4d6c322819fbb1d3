//! The networks that may be dialled, checked before anything is sent.
//!
//! A name is resolved here, once, and the addresses that passed are the ones
//! the client is given, so that a second answer of the name server cannot lead
//! elsewhere.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use tokio::net::lookup_host;
use url::{Host, Url};

use crate::error::BmcError;

/// The networks that this process may dial. Empty allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedNetworks(pub Vec<IpNet>);

impl AllowedNetworks {
    /// Whether an address lies in one of the networks. An IPv4 address in
    /// IPv6 clothes counts as the IPv4 address that it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The addresses of `url`'s host that may be dialled.
    pub(crate) async fn resolve(&self, url: &Url) -> Result<Vec<SocketAddr>, BmcError> {
        let port = url
            .port_or_known_default()
            .ok_or_else(|| BmcError::InvalidTarget {
                address: url.to_string(),
                reason: "it has no port".to_owned(),
            })?;
        let resolved: Vec<SocketAddr> = match url.host() {
            Some(Host::Ipv4(ip)) => vec![SocketAddr::new(ip.into(), port)],
            Some(Host::Ipv6(ip)) => vec![SocketAddr::new(ip.into(), port)],
            Some(Host::Domain(name)) => lookup_host((name, port))
                .await
                .map_err(|error| BmcError::NameNotResolved {
                    address: url.to_string(),
                    reason: error.to_string(),
                })?
                .collect(),
            None => {
                return Err(BmcError::InvalidTarget {
                    address: url.to_string(),
                    reason: "it has no host".to_owned(),
                });
            }
        };
        if resolved.is_empty() {
            return Err(BmcError::NameNotResolved {
                address: url.to_string(),
                reason: "the name has no address".to_owned(),
            });
        }
        let (allowed, refused): (Vec<_>, Vec<_>) = resolved
            .into_iter()
            .partition(|socket| self.contains(socket.ip()));
        if allowed.is_empty() {
            let refused: Vec<String> = refused
                .iter()
                .map(|socket| socket.ip().to_string())
                .collect();
            return Err(BmcError::AddressNotAllowed {
                address: url.to_string(),
                resolved: refused.join(", "),
            });
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> AllowedNetworks {
        AllowedNetworks(list.iter().map(|net| net.parse().unwrap()).collect())
    }

    #[tokio::test]
    async fn literals_are_checked_as_they_stand() {
        let allowed = networks(&["10.0.0.0/8", "fd00::/8"]);
        for (url, ok) in [
            ("https://10.1.2.3/", true),
            ("https://[fd00::1]:8443/", true),
            ("https://[::ffff:10.1.2.3]/", true),
            ("https://[::ffff:11.1.2.3]/", false),
            ("https://11.1.2.3/", false),
            ("https://169.254.169.254/", false),
        ] {
            let result = allowed.resolve(&url.parse().unwrap()).await;
            assert_eq!(result.is_ok(), ok, "{url}: {result:?}");
        }
        assert_eq!(
            allowed
                .resolve(&"https://10.1.2.3".parse().unwrap())
                .await
                .unwrap(),
            ["10.1.2.3:443".parse().unwrap()]
        );
    }

    #[tokio::test]
    async fn names_are_checked_by_what_they_resolve_to() {
        let url = "http://localhost:8000/".parse().unwrap();
        let error = networks(&["10.0.0.0/8"]).resolve(&url).await.unwrap_err();
        assert!(matches!(error, BmcError::AddressNotAllowed { .. }));
        let allowed = networks(&["127.0.0.0/8"]).resolve(&url).await.unwrap();
        assert!(allowed.iter().all(|socket| socket.ip().is_ipv4()));
    }

    #[tokio::test]
    async fn an_empty_list_allows_nothing() {
        let url = "https://127.0.0.1/".parse().unwrap();
        assert!(AllowedNetworks::default().resolve(&url).await.is_err());
    }
}
