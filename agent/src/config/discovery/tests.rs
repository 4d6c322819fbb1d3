use super::*;

fn check(text: &str) -> Result<DiscoverySection, String> {
    let section: DiscoverySection =
        serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    let allowed: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8", "192.0.2.0/24"]
        .iter()
        .map(|network| network.parse().unwrap())
        .collect();
    section.check(&allowed)?;
    Ok(section)
}

const WAY: &str = "credentialsRef: {name: c}, tls: {trust: PinFirstSeen}";

fn range(rest: &str) -> String {
    format!("{{{rest}, {WAY}}}")
}

fn ranges(all: &[String]) -> String {
    format!("ranges: [{}]", all.join(", "))
}

#[test]
fn a_small_section_gets_the_documented_defaults() {
    let section = check(&ranges(&[range("networks: [10.0.1.0/24]")])).unwrap();
    assert_eq!(section.scan_interval(), Duration::from_secs(600));
    assert_eq!(section.refresh(), Duration::from_secs(21_600));
    assert_eq!(section.concurrency, 64);
}

#[test]
fn listed_endpoints_become_base_urls() {
    let listed = |addresses: &str, ports: &str, trust: &str| -> Vec<String> {
        let text = format!(
            "ranges: [{{addresses: [{addresses}], ports: [{ports}], credentialsRef: {{name: c}}, tls: {{trust: {trust}}}}}]"
        );
        let section = check(&text).unwrap();
        let urls = section.ranges[0].listed().unwrap();
        urls.iter()
            .map(|url| url.origin().ascii_serialization())
            .collect()
    };
    assert_eq!(
        listed(
            "10.0.0.7, 'fd00::7', '[fd00::8]:8443', bmc.example, 'bmc.example:444', 'https://10.0.0.8'",
            "",
            "NoVerification"
        ),
        [
            "https://10.0.0.7",
            "https://[fd00::7]",
            "https://[fd00::8]:8443",
            "https://bmc.example",
            "https://bmc.example:444",
            "https://10.0.0.8",
        ]
    );
    assert_eq!(
        listed("10.0.0.7, '10.0.0.8:8000'", "80, 8080", "PlainHttp"),
        [
            "http://10.0.0.7",
            "http://10.0.0.7:8080",
            "http://10.0.0.8:8000"
        ]
    );
}

#[test]
fn what_cannot_work_is_refused_with_its_place() {
    let one = |rest: &str| ranges(&[range(rest)]);
    let lease = |rest: &str| format!("leases: [{{file: /l, {rest}}}]");
    for (text, says) in [
        ("ranges: []".to_owned(), "nowhere to look"),
        (one("networks: []"), "neither networks nor addresses"),
        (
            one("networks: [172.16.0.0/24]"),
            "172.16.0.0/24 does not lie",
        ),
        (one("networks: [10.0.0.0/15]"), "/16 or longer"),
        (one("networks: ['fd00::/111']"), "/112 or longer"),
        (one("addresses: [172.16.0.1]"), "outside allowedNetworks"),
        (one("addresses: ['http://10.0.0.1']"), "does not fit"),
        (one("addresses: ['https://10.0.0.1/x']"), "more than a host"),
        (
            one("addresses: ['https://a:b@10.0.0.1']"),
            "more than a host",
        ),
        (one("addresses: [10.0.0.1], ports: [0]"), "ports"),
        (one("addresses: [10.0.0.1], surprise: 1"), "surprise"),
        (
            "ranges: [{addresses: [10.0.0.1], credentialsRef: {name: c}, tls: {trust: Ca}}]"
                .to_owned(),
            "caConfigMapRef",
        ),
        (
            format!("{}\nconcurrency: 0", one("addresses: [10.0.0.1]")),
            "concurrency",
        ),
        (lease("networks: []"), "no lease could be looked at"),
        (lease(WAY), "credentials and no networks"),
        (lease("networks: [10.0.0.0/8]"), "go together"),
        (
            "leases: [{file: l, networks: [10.0.0.0/8]}]".to_owned(),
            "absolute",
        ),
        (
            ranges(&[
                range("networks: [10.0.0.0/16]"),
                range("networks: [10.1.0.0/16]"),
                range("networks: [10.2.0.0/16]"),
                range("networks: [10.3.0.0/16]"),
                range("networks: [10.4.0.0/24]"),
            ]),
            "together",
        ),
    ] {
        let error = check(&text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn an_equal_say_is_refused_and_a_narrower_one_is_not() {
    let other = |rest: &str| {
        format!("{{{rest}, credentialsRef: {{name: other}}, tls: {{trust: PinFirstSeen}}}}")
    };
    for (first, second, tie) in [
        ("networks: [10.0.1.0/24]", "networks: [10.0.1.0/24]", true),
        ("networks: [10.0.1.0/24]", "networks: [10.0.1.0/25]", false),
        (
            "networks: [10.0.1.0/24]",
            "networks: [10.0.1.0/24], ports: [8443]",
            false,
        ),
        ("networks: [10.0.1.0/24]", "addresses: [10.0.1.7]", false),
        // However an address is written.
        (
            "networks: [10.0.1.0/24]",
            "networks: ['::ffff:10.0.1.0/120']",
            true,
        ),
        (
            "addresses: [10.0.1.7]",
            "addresses: ['::ffff:10.0.1.7']",
            true,
        ),
        (
            "addresses: [10.0.1.7]",
            "addresses: ['https://[::ffff:a00:107]:443']",
            true,
        ),
        (
            "addresses: [10.0.1.7]",
            "addresses: ['https://10.0.1.7:443']",
            true,
        ),
    ] {
        let result = check(&ranges(&[range(first), other(second)]));
        assert_eq!(result.is_err(), tie, "{first} and {second}: {result:?}");
        assert!(check(&ranges(&[range(first), range(second)])).is_ok());
    }
    let lease = "leases: [{file: /l, networks: [10.0.1.0/24], credentialsRef: {name: other}, tls: {trust: PinFirstSeen}}]";
    let text = format!("{}\n{lease}", ranges(&[range("networks: [10.0.1.0/24]")]));
    assert!(check(&text).unwrap_err().contains("leases[0]"));
}
