//! The machine's own IP addresses, from `/proc/net` (no netlink, so that the
//! smallest agent can tell them).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Fact, Root};

/// One address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address; never loopback.
    pub ip: IpAddr,
    /// The interface that carries it. IPv4 addresses are matched to
    /// interfaces through the routing table, so one without a route has none.
    pub interface: Option<String>,
}

impl LocalAddress {
    /// Whether the address means something only nearby: link-local, or one of
    /// the site-local `fec0::/10` that RFC 3879 deprecates.
    pub fn is_link_local(&self) -> bool {
        match self.ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.segments()[0] & 0xffc0 == 0xfec0,
        }
    }
}

/// All addresses that are not loopback: IPv4 first, each family in order.
///
/// An IPv6 address still (or for ever) in duplicate detection is left out. A
/// kernel without one family is no failure.
pub fn addresses(root: &Root) -> Fact<Vec<LocalAddress>> {
    let v4 = root.text("/proc/net/fib_trie");
    let v6 = root.text("/proc/net/if_inet6");
    let routes = root.text("/proc/net/route").known().unwrap_or_default();
    match (v4, v6) {
        (Fact::NotOffered, Fact::NotOffered) => Fact::NotOffered,
        (Fact::NotRead(reason), _) | (_, Fact::NotRead(reason)) => Fact::NotRead(reason),
        (v4, v6) => {
            let mut found = parse_v4(&v4.known().unwrap_or_default(), &routes);
            found.extend(parse_v6(&v6.known().unwrap_or_default()));
            Fact::Known(found)
        }
    }
}

/// In the trie a leaf line `|-- ADDRESS` is followed by one line for each
/// prefix at that address; `/32 host LOCAL` marks an address of our own.
fn parse_v4(trie: &str, routes: &str) -> Vec<LocalAddress> {
    let mut leaf = None;
    let mut found = BTreeMap::new();
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("+--") {
            leaf = None;
        } else if line == "/32 host LOCAL"
            && let Some(ip) = leaf
            && !ip.is_loopback()
        {
            found.insert(ip, interface_of(ip, routes));
        }
    }
    found
        .into_iter()
        .map(|(ip, interface)| LocalAddress {
            ip: IpAddr::V4(ip),
            interface,
        })
        .collect()
}

/// The interface of the longest on-link prefix that covers the address.
/// Columns of `/proc/net/route`: name, destination, gateway, flags, …, mask
/// (8th); addresses are hexadecimal in the byte order of the machine.
fn interface_of(ip: Ipv4Addr, routes: &str) -> Option<String> {
    let own = u32::from_ne_bytes(ip.octets());
    routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let number = |at: usize| {
                columns
                    .get(at)
                    .and_then(|text| u32::from_str_radix(text, 16).ok())
            };
            let (destination, gateway, mask) = (number(1)?, number(2)?, number(7)?);
            let covers = gateway == 0 && mask != 0 && own & mask == destination;
            covers.then(|| (mask.count_ones(), columns[0].to_owned()))
        })
        .max_by_key(|(bits, _)| *bits)
        .map(|(_, name)| name)
}

/// Columns of `/proc/net/if_inet6`: address as 32 hexadecimal digits, index,
/// prefix length, scope, flags, name.
fn parse_v6(table: &str) -> Vec<LocalAddress> {
    const DUPLICATE_FOUND: u8 = 0x08;
    const STILL_TENTATIVE: u8 = 0x40;
    let mut found: Vec<LocalAddress> = table
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_ascii_whitespace();
            let digits = columns.next().filter(|digits| digits.len() == 32)?;
            let ip = Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?);
            let flags = u8::from_str_radix(columns.nth(3)?, 16).ok()?;
            let usable = !ip.is_loopback() && flags & (DUPLICATE_FOUND | STILL_TENTATIVE) == 0;
            usable.then(|| LocalAddress {
                ip: IpAddr::V6(ip),
                interface: columns.next().map(str::to_owned),
            })
        })
        .collect();
    found.sort_by(|a, b| (a.ip, &a.interface).cmp(&(b.ip, &b.interface)));
    found
}
