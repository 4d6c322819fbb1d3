//! Which endpoints are looked at, and which credentials each may be shown. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use url::{Host, Url};

use crate::config::{DiscoverySection, FirstTrust, NameRef, TlsSection};
use crate::site::discovery::leases::Known;

/// Sources of one endpoint that are told.
const MOST_SOURCES: usize = 4;

/// One way in: an account, and how the other side proves itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Access {
    /// Name of the Secret.
    pub(super) credentials: String,
    /// What the trust rests on.
    pub(super) trust: FirstTrust,
    /// Name of the ConfigMap with the bundle, for `Ca`.
    pub(super) ca: Option<String>,
}

impl Access {
    fn new(credentials: &NameRef, tls: &TlsSection) -> Arc<Self> {
        Arc::new(Self {
            credentials: credentials.name.clone(),
            trust: tls.trust,
            ca: tls.ca_config_map_ref.as_ref().map(|map| map.name.clone()),
        })
    }
}

/// An endpoint to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its origin, which names it everywhere.
    pub(super) key: String,
    /// The same, to be dialled.
    pub(super) url: Url,
    /// Where it listens, unless only a resolver can tell.
    pub(super) socket: Option<SocketAddr>,
    /// How it came to be looked at.
    pub(super) sources: Vec<String>,
    /// What it may be shown.
    pub(super) access: Arc<Access>,
    /// Whether a list or a lease names it, so that its silence is told.
    pub(super) named: bool,
}

impl Target {
    fn new(url: Url, source: String, access: Arc<Access>, named: bool) -> Self {
        let port = url.port_or_known_default().unwrap_or_default();
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::from(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::from(ip).to_canonical()),
            Some(Host::Domain(_)) | None => None,
        };
        Self {
            key: url.origin().ascii_serialization(),
            url,
            socket: ip.map(|ip| SocketAddr::new(ip, port)),
            sources: vec![source],
            access,
            named,
        }
    }
}

/// A network and the way in to its addresses.
#[derive(Debug)]
struct Area {
    network: IpNet,
    ports: Vec<u16>,
    access: Arc<Access>,
    scanned: bool,
}

/// Everything that the configuration says about where to look.
#[derive(Debug)]
pub(super) struct Territory {
    areas: Vec<Area>,
    listed: Vec<Target>,
}

/// What the lists and the leases name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// By key.
    pub(super) targets: BTreeMap<String, Target>,
    /// Leased addresses that no network has a way in to, by file.
    pub(super) outside: Vec<Vec<IpAddr>>,
}

impl Territory {
    /// # Errors
    /// A listed endpoint that cannot be used; the check of the configuration found it before.
    pub(super) fn new(section: &DiscoverySection) -> Result<Self, String> {
        let mut areas = Vec::new();
        let mut listed = Vec::new();
        for range in &section.ranges {
            let access = Access::new(&range.credentials_ref, &range.tls);
            areas.extend(range.networks.iter().map(|network| Area {
                network: network.trunc(),
                ports: range.tls.trust.ports(&range.ports),
                access: Arc::clone(&access),
                scanned: true,
            }));
            for url in range.listed()? {
                listed.push(Target::new(
                    url,
                    "list".to_owned(),
                    Arc::clone(&access),
                    true,
                ));
            }
        }
        for lease in &section.leases {
            let (Some(credentials), Some(tls)) = (&lease.credentials_ref, &lease.tls) else {
                continue;
            };
            let access = Access::new(credentials, tls);
            areas.extend(lease.networks.iter().map(|network| Area {
                network: network.trunc(),
                ports: tls.trust.ports(&lease.ports),
                access: Arc::clone(&access),
                scanned: false,
            }));
        }
        Ok(Self { areas, listed })
    }

    /// Every way in, once.
    pub(super) fn accesses(&self) -> Vec<Arc<Access>> {
        let areas = self.areas.iter().map(|area| &area.access);
        let listed = self.listed.iter().map(|target| &target.access);
        let mut all: Vec<Arc<Access>> = areas.chain(listed).map(Arc::clone).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The networks that are scanned, with their ports.
    pub(super) fn scanned(&self) -> Vec<(IpNet, Vec<u16>)> {
        let scanned = self.areas.iter().filter(|area| area.scanned);
        scanned
            .map(|area| (area.network, area.ports.clone()))
            .collect()
    }

    /// The narrowest networks that an address lies in: one, but for those that were given with
    /// other ports each.
    fn narrowest<'a>(
        &'a self,
        ip: IpAddr,
        fits: impl Fn(&Area) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Area> + 'a {
        let fits = move |area: &&Area| area.network.contains(&ip) && fits(area);
        let all = self.areas.iter();
        let longest = all.filter(&fits).map(|area| area.network.prefix_len());
        let longest = longest.max();
        let all = self.areas.iter();
        all.filter(move |area| fits(area) && Some(area.network.prefix_len()) == longest)
    }

    /// Whether an address is knocked at as part of this network, and not only of narrower ones.
    pub(super) fn is_scanned_in(&self, ip: IpAddr, network: &IpNet, ports: &[u16]) -> bool {
        ports.iter().any(|port| {
            let range = self.range(ip, *port);
            range.is_some_and(|area| area.network == *network)
        })
    }

    fn range(&self, ip: IpAddr, port: u16) -> Option<&Area> {
        let mut narrowest = self.narrowest(ip, |area| area.scanned);
        narrowest.find(|area| area.ports.contains(&port))
    }

    /// The endpoint behind an address of a network, unless a list names it: then the list alone
    /// says what it may be shown.
    fn endpoint(&self, ip: IpAddr, port: u16, source: String, named: bool) -> Option<Target> {
        // A port that the narrowest network does not have is looked at by nobody: no wider one
        // says what is shown there. Of equals the first: they name the same way in, or the file
        // would have been refused.
        let mut narrowest = self.narrowest(ip, |_| true);
        let area = narrowest.find(|area| area.ports.contains(&port))?;
        let scheme = area.access.trust.scheme();
        let url: Url = match ip {
            IpAddr::V4(ip) => format!("{scheme}://{ip}:{port}"),
            IpAddr::V6(ip) => format!("{scheme}://[{ip}]:{port}"),
        }
        .parse()
        .ok()?;
        let target = Target::new(url, source, Arc::clone(&area.access), named);
        let listed = self
            .listed
            .iter()
            .find(|listed| listed.socket.is_some() && listed.socket == target.socket);
        Some(match listed {
            Some(listed) => Target {
                sources: target.sources,
                ..listed.clone()
            },
            None => target,
        })
    }

    /// The endpoint that a scan found.
    pub(super) fn scanned_endpoint(&self, ip: IpAddr, port: u16) -> Option<Target> {
        let range = self.range(ip, port)?;
        self.endpoint(ip, port, source_of(range), false)
    }

    /// The endpoint at that URL, if a scan would look there.
    pub(super) fn scanned_at(&self, url: &str) -> Option<Target> {
        let url = Url::parse(url).ok()?;
        let ip = match url.host()? {
            url::Host::Ipv4(ip) => IpAddr::V4(ip),
            url::Host::Ipv6(ip) => IpAddr::V6(ip),
            url::Host::Domain(_) => return None,
        };
        self.scanned_endpoint(ip, url.port_or_known_default()?)
    }

    /// What the lists and the current leases name.
    pub(super) fn named(&self, files: &[Known], now: Timestamp) -> Named {
        let mut named = Named::default();
        for target in &self.listed {
            merge(&mut named.targets, target.clone());
        }
        for file in files {
            let mut outside = Vec::new();
            let current = file.leases.leases.iter();
            for lease in current.filter(|lease| lease.is_current(now)) {
                let ip = lease.address.to_canonical();
                let mut areas = self.narrowest(ip, |_| true).peekable();
                if areas.peek().is_none() {
                    outside.push(ip);
                    continue;
                }
                for &port in areas.flat_map(|area| &area.ports) {
                    if let Some(target) = self.endpoint(ip, port, lease.source(), true) {
                        merge(&mut named.targets, target);
                    }
                }
            }
            named.outside.push(outside);
        }
        // A scan passes over what is looked at already, so that whether it would have found it
        // is said here: else what is told depended on who came first.
        for target in named.targets.values_mut() {
            let range = target
                .socket
                .and_then(|socket| self.range(socket.ip(), socket.port()));
            if let Some(range) = range {
                add_sources(&mut target.sources, &[source_of(range)]);
            }
        }
        named
    }
}

fn source_of(range: &Area) -> String {
    format!("range {}", range.network)
}

fn merge(targets: &mut BTreeMap<String, Target>, target: Target) {
    match targets.get_mut(&target.key) {
        Some(known) => add_sources(&mut known.sources, &target.sources),
        None => {
            targets.insert(target.key.clone(), target);
        }
    }
}

/// Adds sources that are not told of yet, as far as there is room.
pub(super) fn add_sources(sources: &mut Vec<String>, more: &[String]) {
    for source in more {
        if sources.len() < MOST_SOURCES && !sources.contains(source) {
            sources.push(source.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::discovery::leases::parse;
    use proptest::prelude::*;

    fn territory(text: &str) -> Territory {
        Territory::new(&serde_yaml::from_str(text).unwrap()).unwrap()
    }

    fn leased(text: &str) -> Vec<Known> {
        let mut known = Known::new("/l".into());
        known.leases = parse(text);
        vec![known]
    }

    const SECTION: &str = "
ranges:
  - {networks: [10.0.0.0/16], credentialsRef: {name: wide}, tls: {trust: PinFirstSeen}}
  - {networks: [10.0.1.0/24], credentialsRef: {name: narrow}, tls: {trust: NoVerification}}
  - {addresses: [10.0.1.7], credentialsRef: {name: listed}, tls: {trust: PinFirstSeen}}
leases:
  - {file: /l, networks: ['fd00::/64'], ports: [8000], credentialsRef: {name: leased}, tls: {trust: PlainHttp}}
";

    fn shown(target: &Target) -> (&str, &str) {
        (&target.key, &target.access.credentials)
    }

    #[test]
    fn the_most_specific_entry_says_which_credentials_are_shown() {
        let territory = territory(SECTION);
        let scanned = |ip: &str| territory.scanned_endpoint(ip.parse().unwrap(), 443);
        for (ip, credentials, source) in [
            ("10.0.2.7", "wide", "range 10.0.0.0/16"),
            ("10.0.1.8", "narrow", "range 10.0.1.0/24"),
            ("10.0.1.7", "listed", "range 10.0.1.0/24"),
        ] {
            let target = scanned(ip).unwrap();
            assert_eq!(target.access.credentials, credentials);
            assert_eq!(target.sources, [source]);
        }
        assert_eq!(scanned("10.1.0.1"), None);
        assert_eq!(scanned("fd00::1"), None);
        assert_eq!(
            territory.scanned_endpoint("10.0.2.7".parse().unwrap(), 444),
            None
        );
    }

    #[test]
    fn a_lease_says_where_to_look_and_never_with_which_credentials() {
        let territory = territory(SECTION);
        let files = leased(
            "0 52:54:00:00:00:01 10.0.2.9 * *\n0 52:54:00:00:00:02 192.0.2.66 * *\n\
             0 52:54:00:00:00:03 10.0.1.7 * *\n5 52:54:00:00:00:04 10.0.2.10 * *\n\
             duid 00:01\n0 7 fd00::7 * 00:03:aa\n0 7 fd01::7 * 00:03:ab\n",
        );
        let named = territory.named(&files, Timestamp::from_second(100).unwrap());
        let targets: Vec<_> = named.targets.values().map(shown).collect();
        assert_eq!(
            targets,
            [
                ("http://[fd00::7]:8000", "leased"),
                ("https://10.0.1.7", "listed"),
                ("https://10.0.2.9", "wide"),
            ]
        );
        assert_eq!(
            named.targets["https://10.0.1.7"].sources,
            ["list", "lease 52:54:00:00:00:03", "range 10.0.1.0/24"]
        );
        assert_eq!(
            named.targets["http://[fd00::7]:8000"].sources,
            ["duid 00:03:aa"].map(|client| format!("lease {client}"))
        );
        let outside: Vec<IpAddr> = ["192.0.2.66", "fd01::7"]
            .iter()
            .map(|ip| ip.parse().unwrap())
            .collect();
        assert_eq!(named.outside, [outside]);
    }

    #[test]
    fn every_way_in_is_told_once() {
        let names: Vec<String> = territory(SECTION)
            .accesses()
            .iter()
            .map(|access| access.credentials.clone())
            .collect();
        assert_eq!(names, ["leased", "listed", "narrow", "wide"]);
    }

    proptest! {
        #[test]
        fn no_address_is_shown_credentials_of_a_network_that_it_is_not_in(ip: u32, port in 440_u16..446) {
            let territory = territory(
                "ranges:\n  - {networks: [10.0.0.0/8], ports: [443, 444], credentialsRef: {name: '8'}, tls: {trust: PinFirstSeen}}\n  \
                 - {networks: [10.0.0.0/16, 10.2.0.0/16], credentialsRef: {name: '16'}, tls: {trust: PinFirstSeen}}\n",
            );
            let ip = std::net::Ipv4Addr::from((ip & 0x0003_ffff) | 0x0a00_0000);
            let found = territory.scanned_endpoint(ip.into(), port);
            let second = ip.octets()[1];
            let wanted = match (port, second) {
                (443, 0 | 2) => Some("16"),
                // What the narrower one does not have is not for the wider one to show.
                (444, 0 | 2) => None,
                (443 | 444, _) => Some("8"),
                _ => None,
            };
            prop_assert_eq!(found.as_ref().map(|target| target.access.credentials.as_str()), wanted);
        }
    }
}
