//! The section `discovery`: where BMCs are looked for, and which credentials may be shown where.
//!
//! One rule decides which credentials an endpoint is shown: those of the list that names it, else
//! those of the narrowest network that it lies in. Whatever named the address (a list, the scan
//! of a range, a DHCP lease) has no part in it. Two entries that would have an equal say are
//! refused when the file is read.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use url::{Host, Url};

/// Most addresses of one network that is scanned.
const MOST_ADDRESSES: u64 = 65_536;

/// The same for all networks that are scanned, together.
const MOST_IN_ALL: u64 = 4 * MOST_ADDRESSES;

/// Most ports of one entry.
const MOST_PORTS: usize = 8;

/// Where BMCs are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiscoverySection {
    /// Networks that are scanned and endpoints that are listed.
    #[serde(default)]
    pub ranges: Vec<RangeSection>,
    /// Lease files of dnsmasq.
    #[serde(default)]
    pub leases: Vec<LeaseSection>,
    /// Seconds between two scans of an address that is silent.
    #[serde(default = "default_scan_interval")]
    pub scan_interval_seconds: u64,
    /// Seconds after which a BMC is read anew although nothing about it changed.
    #[serde(default = "default_refresh")]
    pub refresh_seconds: u64,
    /// Endpoints that are looked at, and addresses that are knocked at, at one time.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
}

/// Networks that are scanned and endpoints that are listed, with one way in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RangeSection {
    /// Networks whose every address is knocked at.
    #[serde(default, deserialize_with = "super::networks")]
    pub networks: Vec<IpNet>,
    /// Endpoints by name: `HOST`, `HOST:PORT` or a URL without a path.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Ports of the networks, and of the addresses that name none; 443, or 80 for `PlainHttp`.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// The Secret with the BMCs' account.
    pub credentials_ref: NameRef,
    /// How the BMCs prove themselves.
    pub tls: TlsSection,
}

/// A lease file of dnsmasq. It says where to look and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseSection {
    /// Its path.
    pub file: PathBuf,
    /// Networks that these credentials are for. Without them, and without credentials, only
    /// leases within networks of `ranges` are looked at, with the credentials of those.
    #[serde(default, deserialize_with = "super::networks")]
    pub networks: Vec<IpNet>,
    /// Ports of those networks; 443, or 80 for `PlainHttp`.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// The Secret with the BMCs' account.
    #[serde(default)]
    pub credentials_ref: Option<NameRef>,
    /// How the BMCs prove themselves.
    #[serde(default)]
    pub tls: Option<TlsSection>,
}

/// A name in the site's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameRef {
    /// Name of the object.
    pub name: String,
}

/// How BMCs prove themselves on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsSection {
    /// What the trust rests on.
    pub trust: FirstTrust,
    /// ConfigMap whose key `ca.crt` holds the PEM bundle, for `Ca`.
    #[serde(default)]
    pub ca_config_map_ref: Option<NameRef>,
}

/// The ways to trust the channel to a BMC that nobody has met yet, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum FirstTrust {
    /// The certificate chains to the given bundle and names the address.
    Ca,
    /// The key that is seen first is remembered, and no other is ever logged in to.
    PinFirstSeen,
    /// Encrypted, but nobody checks by whom.
    NoVerification,
    /// Not even encrypted.
    PlainHttp,
}

impl FirstTrust {
    /// Scheme of the addresses.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::PlainHttp => "http",
            Self::Ca | Self::PinFirstSeen | Self::NoVerification => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::PlainHttp => 80,
            Self::Ca | Self::PinFirstSeen | Self::NoVerification => 443,
        }
    }

    /// The given ports, else the usual one.
    pub fn ports(self, given: &[u16]) -> Vec<u16> {
        if given.is_empty() {
            return vec![self.port()];
        }
        given.to_vec()
    }
}

fn default_scan_interval() -> u64 {
    600
}

fn default_refresh() -> u64 {
    6 * 3600
}

fn default_concurrency() -> usize {
    64
}

impl DiscoverySection {
    /// Between two scans of silent addresses.
    pub fn scan_interval(&self) -> Duration {
        Duration::from_secs(self.scan_interval_seconds)
    }

    /// Between two readings of a BMC about which nothing changed.
    pub fn refresh(&self) -> Duration {
        Duration::from_secs(self.refresh_seconds)
    }

    /// Says what cannot work, with the place in the file.
    pub(super) fn check(&self, allowed: &[IpNet]) -> Result<(), String> {
        for (name, value, least, most) in [
            (
                "scanIntervalSeconds",
                self.scan_interval_seconds,
                10,
                86_400,
            ),
            ("refreshSeconds", self.refresh_seconds, 60, 604_800),
            ("concurrency", self.concurrency as u64, 1, 512),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!(
                    "discovery.{name} must be between {least} and {most}"
                ));
            }
        }
        if self.ranges.is_empty() && self.leases.is_empty() {
            return Err(
                "discovery has neither ranges nor leases, so there is nowhere to look: give one, or leave the section out"
                    .to_owned(),
            );
        }
        let mut in_all = 0_u64;
        for (at, range) in self.ranges.iter().enumerate() {
            let here = format!("discovery.ranges[{at}]");
            range.check(&here, allowed)?;
            for network in &range.networks {
                in_all = in_all.saturating_add(size(network));
            }
        }
        if in_all > MOST_IN_ALL {
            return Err(format!(
                "the networks of discovery.ranges have {in_all} addresses together, more than the {MOST_IN_ALL} that one agent scans: give smaller networks, or list the endpoints"
            ));
        }
        let any_network = self.ranges.iter().any(|range| !range.networks.is_empty());
        for (at, lease) in self.leases.iter().enumerate() {
            let here = format!("discovery.leases[{at}]");
            lease.check(&here, allowed, any_network)?;
        }
        self.check_ties()
    }

    /// Nothing has an equal say in which credentials are shown.
    fn check_ties(&self) -> Result<(), String> {
        let mut areas: Vec<(String, IpNet, Vec<u16>, &NameRef, &TlsSection)> = Vec::new();
        let mut listed: Vec<(String, String, &NameRef, &TlsSection)> = Vec::new();
        let ranges = self.ranges.iter().enumerate().map(|(at, range)| {
            let here = format!("discovery.ranges[{at}]");
            let way = (&range.credentials_ref, &range.tls);
            (here, &range.networks, &range.ports, Some(way))
        });
        let leases = self.leases.iter().enumerate().map(|(at, lease)| {
            let here = format!("discovery.leases[{at}]");
            let way = lease.credentials_ref.as_ref().zip(lease.tls.as_ref());
            (here, &lease.networks, &lease.ports, way)
        });
        for (here, networks, ports, way) in ranges.chain(leases) {
            let Some((credentials, tls)) = way else {
                continue;
            };
            let ports = tls.trust.ports(ports);
            for network in networks {
                let network = network.trunc();
                let rival = areas.iter().find(|(_, other, theirs, whose, how)| {
                    *other == network
                        && theirs.iter().any(|port| ports.contains(port))
                        && (*whose, *how) != (credentials, tls)
                });
                if let Some((there, ..)) = rival {
                    return Err(format!(
                        "{here} and {there} both name {network} with other credentials or tls: leave one out, or narrow one of them"
                    ));
                }
                areas.push((here.clone(), network, ports.clone(), credentials, tls));
            }
        }
        for (at, range) in self.ranges.iter().enumerate() {
            let here = format!("discovery.ranges[{at}]");
            for url in range.listed()? {
                let origin = url.origin().ascii_serialization();
                let rival = listed.iter().find(|(_, other, whose, how)| {
                    *other == origin && (*whose, *how) != (&range.credentials_ref, &range.tls)
                });
                if let Some((there, ..)) = rival {
                    return Err(format!(
                        "{here} and {there} both list {origin} with other credentials or tls: leave one out"
                    ));
                }
                listed.push((here.clone(), origin, &range.credentials_ref, &range.tls));
            }
        }
        Ok(())
    }
}

impl RangeSection {
    fn check(&self, here: &str, allowed: &[IpNet]) -> Result<(), String> {
        if self.networks.is_empty() && self.addresses.is_empty() {
            return Err(format!(
                "{here} has neither networks nor addresses: give one"
            ));
        }
        check_way(here, &self.credentials_ref, &self.tls, &self.ports)?;
        for network in &self.networks {
            check_inside(here, network, allowed)?;
            if size(network) > MOST_ADDRESSES {
                let longest = match network {
                    IpNet::V4(_) => 16,
                    IpNet::V6(_) => 112,
                };
                return Err(format!(
                    "{here}.networks: {network} has more than {MOST_ADDRESSES} addresses, too many to knock at: give /{longest} or longer, list the endpoints, or take them from leases"
                ));
            }
        }
        for url in self.listed().map_err(|error| format!("{here}.{error}"))? {
            let address = match url.host() {
                Some(Host::Ipv4(address)) => IpAddr::from(address),
                Some(Host::Ipv6(address)) => IpAddr::from(address),
                // Judged by what it resolves to, when it is dialled.
                Some(Host::Domain(_)) | None => continue,
            };
            let address = address.to_canonical();
            if !allowed.iter().any(|network| network.contains(&address)) {
                return Err(format!(
                    "{here}.addresses: {address} lies outside allowedNetworks: add its network there, or take it out here"
                ));
            }
        }
        Ok(())
    }

    /// The listed endpoints as base URLs.
    ///
    /// # Errors
    /// The first that cannot be used, and why.
    pub fn listed(&self) -> Result<Vec<Url>, String> {
        let mut urls = Vec::new();
        for text in &self.addresses {
            urls.extend(endpoints(text, self.tls.trust, &self.ports)?);
        }
        Ok(urls)
    }
}

impl LeaseSection {
    fn check(&self, here: &str, allowed: &[IpNet], any_network: bool) -> Result<(), String> {
        if !self.file.is_absolute() {
            return Err(format!("{here}.file must be an absolute path"));
        }
        match (&self.credentials_ref, &self.tls) {
            (Some(credentials), Some(tls)) => check_way(here, credentials, tls, &self.ports)?,
            (None, None) if self.networks.is_empty() && self.ports.is_empty() => {
                if any_network {
                    return Ok(());
                }
                return Err(format!(
                    "{here} has no networks and no range has any, so no lease could be looked at: give networks, credentialsRef and tls"
                ));
            }
            (Some(_), None) | (None, Some(_)) | (None, None) => {
                return Err(format!(
                    "{here}: credentialsRef and tls go together with networks: give all three, or none to take those of ranges"
                ));
            }
        }
        if self.networks.is_empty() {
            return Err(format!(
                "{here} has credentials and no networks: a lease decides where to look and never who is shown credentials, so name the networks that they are for"
            ));
        }
        for network in &self.networks {
            check_inside(here, network, allowed)?;
        }
        Ok(())
    }
}

fn check_way(
    here: &str,
    credentials: &NameRef,
    tls: &TlsSection,
    ports: &[u16],
) -> Result<(), String> {
    if credentials.name.is_empty() {
        return Err(format!("{here}.credentialsRef.name must not be empty"));
    }
    let named = tls
        .ca_config_map_ref
        .as_ref()
        .is_some_and(|map| !map.name.is_empty());
    if named != (tls.trust == FirstTrust::Ca) {
        return Err(format!(
            "{here}.tls: caConfigMapRef is required with trust Ca and forbidden otherwise"
        ));
    }
    if ports.len() > MOST_PORTS || ports.contains(&0) {
        return Err(format!(
            "{here}.ports must be at most {MOST_PORTS} ports between 1 and 65535"
        ));
    }
    Ok(())
}

fn check_inside(here: &str, network: &IpNet, allowed: &[IpNet]) -> Result<(), String> {
    if allowed.iter().any(|whole| whole.contains(network)) {
        return Ok(());
    }
    Err(format!(
        "{here}.networks: {network} does not lie within one of allowedNetworks: add it there, or take it out here"
    ))
}

fn size(network: &IpNet) -> u64 {
    let bits = network.max_prefix_len() - network.prefix_len();
    1_u64.checked_shl(u32::from(bits)).unwrap_or(u64::MAX)
}

/// The same endpoint, with an IPv4 address that is written as an IPv6 one (`::ffff:10.0.0.1`) as
/// what it is: where it lies decides what it is shown.
fn canonical(url: Url) -> Url {
    if let Some(Host::Ipv6(address)) = url.host() {
        let mut plain = url.clone();
        if plain
            .set_ip_host(IpAddr::from(address).to_canonical())
            .is_ok()
        {
            return plain;
        }
    }
    url
}

/// The base URLs of one listed endpoint: one for each port if it names none itself.
fn endpoints(text: &str, trust: FirstTrust, ports: &[u16]) -> Result<Vec<Url>, String> {
    let refused = |why: &str| {
        format!(
            "addresses: {text:?} {why}: write HOST, HOST:PORT or {}://HOST:PORT",
            trust.scheme()
        )
    };
    let (with_scheme, own_port) = match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => (format!("{}://[{address}]", trust.scheme()), false),
        Ok(IpAddr::V4(_)) => (format!("{}://{text}", trust.scheme()), false),
        Err(_) if text.contains("://") => (text.to_owned(), true),
        Err(_) => {
            let after = text.rsplit_once(']').map_or(text, |(_, after)| after);
            (format!("{}://{text}", trust.scheme()), after.contains(':'))
        }
    };
    let url: Url = with_scheme
        .parse()
        .map_err(|error| refused(&format!("is no address ({error})")))?;
    if url.scheme() != trust.scheme() {
        return Err(refused(&format!("does not fit the trust {trust:?}")));
    }
    let bare = url.username().is_empty()
        && url.password().is_none()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none();
    if !bare || url.host().is_none() {
        return Err(refused("has more than a host and a port, or less"));
    }
    let url = canonical(url);
    if own_port {
        return Ok(vec![url]);
    }
    trust
        .ports(ports)
        .into_iter()
        .map(|port| {
            let mut url = url.clone();
            url.set_port(Some(port))
                .map_err(|()| refused("takes no port"))?;
            Ok(url)
        })
        .collect()
}
