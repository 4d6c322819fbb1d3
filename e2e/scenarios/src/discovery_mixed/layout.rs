//! The simulated BMCs and where each is to be found.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::simulated::PASSWORD;

/// Listed endpoints where nothing listens: 5 % of them and all BMCs by network and list.
pub(super) const DEAD: usize = 21;
/// How the names of slow BMCs begin.
const SLOW: &str = "slow-";
/// How the names of those begin that take another password than ours.
pub(super) const REFUSING: &str = "refusing-";
/// Passwords of the same user in other ranges: whoever is shown the Secret of a range that is not
/// its own refuses it.
pub(super) const NETWORK_PASSWORD: &str = "xpusim-network-1";
pub(super) const LEASED_PASSWORD: &str = "xpusim-leased-1";
pub(super) const NETWORK_SECRET: &str = "bmc-network";
pub(super) const LEASED_SECRET: &str = "bmc-leased";
/// First address of the BMCs that are found by knocking.
pub(super) const FIRST: &str = "127.60.0.1:8443";
pub(super) const RANGE: &str = "127.60.0.0/24";
/// First address of the BMCs that only leases name.
pub(super) const FIRST_LEASED: &str = "127.61.0.50:8443";
/// What the section of the lease file has credentials for: half of what dnsmasq serves.
pub(super) const LEASED: &str = "127.61.0.0/25";
pub(super) const LEASED_PORT: u16 = 8443;
/// Where a trap has a lease: in the other half, on the port of that section.
pub(super) const STRAY: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 61, 0, 200)), LEASED_PORT);

/// Found by knocking at every address of a network; all take the same account.
pub(super) fn by_network() -> String {
    format!(
        "domains:
  - count: 50
    hosts: [{{name: \"v4-host-{{n}}\", personality: dell-host, password: {NETWORK_PASSWORD}}}]
    cards:
      - {{name: \"v4-bf3-{{n}}\", personality: bluefield-3, password: {NETWORK_PASSWORD}, slots: [{{host: \"v4-host-{{n}}\"}}]}}
      - {{name: \"v4-bf2-{{n}}\", personality: bluefield-2, password: {NETWORK_PASSWORD}, slots: [{{host: \"v4-host-{{n}}\", number: 2}}]}}
      - {{name: \"v4-ipu-{{n}}\", personality: intel-e2100, password: {NETWORK_PASSWORD}, slots: [{{host: \"v4-host-{{n}}\", number: 3}}]}}
"
    )
}

/// Listed, on [::1]. Of all BMCs by network and list 5 % are slow, and 5 % take another password
/// than ours.
pub(super) fn by_list() -> String {
    let mut yaml = "domains:\n".to_owned();
    for (host, card, slow, refusing) in [
        ("hpe-host", "bluefield-3", 3, 2),
        ("lenovo-host", "bluefield-4", 2, 3),
        ("supermicro-host", "generic-dpu", 3, 2),
        ("generic-host", "intel-e2100", 2, 3),
    ] {
        for (tag, count, password, latency) in [
            ("", 20, PASSWORD, 0),
            (SLOW, slow, PASSWORD, 700),
            (REFUSING, refusing, "somebody-elses-1", 0),
        ] {
            let name = |what: &str| format!("\"{tag}{what}-{{n}}\"");
            let rest = format!("password: {password}, latency: {{fixed: {latency}}}");
            yaml.push_str(&format!(
                "  - count: {count}
    hosts: [{{name: {host_name}, personality: {host}, {rest}}}]
    cards: [{{name: {card_name}, personality: {card}, {rest}, slots: [{{host: {host_name}}}]}}]
",
                host_name = name(host),
                card_name = name(&format!("{host}-{card}")),
            ));
        }
    }
    yaml
}

/// Named by leases only: no list has them, and no network that is scanned.
pub(super) fn by_lease() -> String {
    format!(
        "domains:
  - hosts: [{{name: leased-host, personality: dell-host, password: {LEASED_PASSWORD}}}]
    cards: [{{name: leased-card, personality: bluefield-3, password: {LEASED_PASSWORD}, slots: [{{host: leased-host}}]}}]
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_xpusim::Fleet;
    use lockstep_xpusim::spec::FleetSpec;

    #[test]
    fn one_in_twenty_is_slow_one_refuses_and_one_is_dead() {
        let names: Vec<String> = [by_network(), by_list()]
            .iter()
            .flat_map(|yaml| {
                let fleet = Fleet::stepped(&FleetSpec::parse(yaml).unwrap()).unwrap();
                fleet.names().to_vec()
            })
            .collect();
        let begin = |tag: &str| names.iter().filter(|name| name.starts_with(tag)).count();
        assert_eq!((names.len(), begin(SLOW), begin(REFUSING)), (400, 20, 20));
        assert_eq!((names.len() + DEAD) / DEAD, 20);
    }
}
