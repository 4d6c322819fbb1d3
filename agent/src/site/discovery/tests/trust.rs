//! Who is shown credentials, and to which key.

use std::time::Duration;

use lockstep_redfish::SpkiPin;
use tokio::time::Instant;

use crate::site::attended::Attendance;

use super::fleet::{bench, range, report_of, secret, until};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn no_credentials_are_shown_outside_the_entry_that_they_are_for() {
    let leases = tempfile::tempdir().unwrap();
    let file = leases.path().join("dnsmasq.leases");
    std::fs::write(
        &file,
        "0 52:54:00:00:00:01 10.3.0.1 * *\n0 52:54:00:00:00:02 10.66.0.6 * *\n\
         0 52:54:00:00:00:03 10.1.0.9 * *\nduid 00:01\n0 7 fd00::7 * 00:03:aa\n",
    )
    .unwrap();
    let bench = bench(&format!(
        "  ranges:
    - {{networks: [10.1.0.0/28], credentialsRef: {{name: wide}}, tls: {{trust: NoVerification}}}}
    - {{networks: [10.1.0.8/29], credentialsRef: {{name: narrow}}, tls: {{trust: PinFirstSeen}}}}
    - {{addresses: [10.1.0.10, bmc.example], credentialsRef: {{name: listed}}, tls: {{trust: PinFirstSeen}}}}
  leases:
    - {{file: {}, networks: [10.3.0.0/16, 'fd00::/64'], credentialsRef: {{name: leased}}, tls: {{trust: NoVerification}}}}",
        file.display()
    ));
    let wanted = [
        ("https://10.1.0.1", "wide"),
        ("https://10.1.0.9", "narrow"),
        ("https://10.1.0.10", "listed"),
        ("https://bmc.example", "listed"),
        ("https://10.3.0.1", "leased"),
        ("https://[fd00::7]", "leased"),
    ];
    for (at, (key, _)) in wanted.iter().enumerate() {
        bench.fleet.put(key, &format!("SN-{at}"));
    }
    for name in ["wide", "narrow", "listed", "leased"] {
        secret(&bench.api, name, name, "b");
    }
    // A rogue lease leads here, and nobody may.
    bench.fleet.put("https://10.66.0.6", "ROGUE-1");
    let search = bench.start();
    until(5 * MINUTE, "all are found", || {
        (0..wanted.len()).all(|at| bench.found(&format!("SN-{at}")).is_some())
            && bench.api.get("dpureports/scan-s").is_some()
    })
    .await;
    for call in bench.fleet.calls("explore") {
        let (_, name) = wanted.iter().find(|(key, _)| **key == call.to).unwrap();
        assert_eq!(call.shown.as_deref(), Some(format!("{name}:b").as_str()));
    }
    assert!(
        bench
            .fleet
            .calls("identify")
            .iter()
            .all(|call| call.shown.is_none())
    );
    let anywhere = ["knock", "identify", "explore"].map(|verb| bench.fleet.calls(verb));
    assert!(
        anywhere
            .iter()
            .flatten()
            .all(|call| !call.to.contains("10.66"))
    );
    let told = format!("file://{}", file.display());
    assert_eq!(bench.failed(&told).as_deref(), Some("LeaseOutsideNetworks"));
    let spec = bench.found("SN-1").unwrap();
    assert_eq!(spec["found"]["endpoint"]["credentials"], "narrow");
    assert_eq!(
        spec["found"]["sources"],
        serde_json::json!(["lease 52:54:00:00:00:03", "range 10.1.0.8/29"])
    );
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_changed_is_never_logged_in_to_until_its_report_is_deleted() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    let pin = |key: &str| SpkiPin::of(key.as_bytes()).to_string();
    let spec = bench.found("SN-1").unwrap();
    let endpoint = &spec["found"]["endpoint"];
    assert_eq!(endpoint["pinnedKeySha256"], pin("key of SN-1"));
    assert_eq!(endpoint["trust"], "PinnedKey");
    let first = bench.fleet.calls("explore").remove(0);
    assert_eq!(first.pinned, Some(pin("key of SN-1")));
    // The first key outlives the process.
    search.end().await;
    bench
        .fleet
        .change(key, |bmc| bmc.key = Some("other".to_owned()));
    let search = bench.start();
    until(5 * MINUTE, "it is told", || {
        bench.failed(key).as_deref() == Some("CertificateChanged")
    })
    .await;
    until(20 * MINUTE, "the machine is missing", || {
        bench.is_missing("SN-1")
    })
    .await;
    assert_eq!(bench.fleet.calls("explore").len(), 1);
    // Somebody compared the keys.
    bench.api.remove(&report_of("SN-1"));
    until(5 * MINUTE, "it is found with the new key", || {
        bench.found("SN-1").is_some()
    })
    .await;
    let spec = bench.found("SN-1").unwrap();
    assert_eq!(spec["found"]["endpoint"]["pinnedKeySha256"], pin("other"));
    until(5 * MINUTE, "the failure is gone", || {
        bench.failed(key).is_none()
    })
    .await;
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_a_list_names_as_an_ipv6_one_is_shown_that_lists_credentials() {
    for listed in ["'::ffff:10.0.0.3'", "'https://[::ffff:a00:3]:443'"] {
        let bench = bench(&format!(
            "  ranges:
    - {{networks: [10.0.0.0/29], credentialsRef: {{name: wide}}, tls: {{trust: NoVerification}}}}
    - {{addresses: [{listed}], credentialsRef: {{name: listed}}, tls: {{trust: NoVerification}}}}"
        ));
        for name in ["wide", "listed"] {
            secret(&bench.api, name, name, "b");
        }
        bench.fleet.put("https://10.0.0.3", "SN-3");
        let search = bench.start();
        until(10 * MINUTE, "it is found", || bench.found("SN-3").is_some()).await;
        tokio::time::sleep(20 * MINUTE).await;
        search.end().await;
        for call in bench.fleet.calls("explore") {
            assert_eq!(call.to, "https://10.0.0.3");
            assert_eq!(call.shown.as_deref(), Some("listed:b"), "{listed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_that_the_narrowest_network_does_not_have_is_not_looked_at() {
    let bench = bench(
        "  ranges:
    - {networks: [10.0.0.0/28], ports: [443, 9443], credentialsRef: {name: wide}, tls: {trust: NoVerification}}
    - {networks: [10.0.0.0/29], ports: [8443], credentialsRef: {name: narrow}, tls: {trust: NoVerification}}
    - {networks: [10.0.0.0/29], ports: [9443], credentialsRef: {name: other}, tls: {trust: NoVerification}}",
    );
    for name in ["wide", "narrow", "other"] {
        secret(&bench.api, name, name, "b");
    }
    let places = [
        ("https://10.0.0.3", None),
        ("https://10.0.0.3:8443", Some("narrow:b")),
        ("https://10.0.0.3:9443", Some("other:b")),
        ("https://10.0.0.9", Some("wide:b")),
    ];
    for (at, (key, _)) in places.iter().enumerate() {
        bench.fleet.put(key, &format!("SN-{at}"));
    }
    let search = bench.start();
    tokio::time::sleep(10 * MINUTE).await;
    search.end().await;
    let explored = bench.fleet.calls("explore");
    for (key, shown) in places {
        let call = explored.iter().find(|call| call.to == key);
        let was = call.and_then(|call| call.shown.as_deref());
        assert_eq!(was, shown, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_not_shown_again_until_they_change() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    bench
        .fleet
        .change(key, |bmc| bmc.password = "other".to_owned());
    let search = bench.start();
    until(5 * MINUTE, "it is told", || {
        bench.failed(key).as_deref() == Some("CredentialsRefused")
    })
    .await;
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!(bench.fleet.calls("explore").len(), 1);
    assert_eq!(bench.failed(key).as_deref(), Some("CredentialsRefused"));
    secret(&bench.api, "c", "a", "other");
    until(3 * MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    assert_eq!(bench.fleet.calls("explore").len(), 2);
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_is_an_outcome_of_its_endpoints_and_of_no_others() {
    let bench = bench(
        "  ranges:
    - {addresses: [10.0.0.1], credentialsRef: {name: c}, tls: {trust: PinFirstSeen}}
    - {addresses: [10.0.0.2], credentialsRef: {name: later}, tls: {trust: PinFirstSeen}}
    - {addresses: [10.0.0.3], credentialsRef: {name: c}, tls: {trust: Ca, caConfigMapRef: {name: bundle}}}",
    );
    for number in 1..=3 {
        bench
            .fleet
            .put(&format!("https://10.0.0.{number}"), &format!("SN-{number}"));
    }
    let search = bench.start();
    until(5 * MINUTE, "each outcome is told", || {
        bench.found("SN-1").is_some()
            && bench.failed("https://10.0.0.2").as_deref() == Some("SecretMissing")
            && bench.failed("https://10.0.0.3").as_deref() == Some("CaMissing")
    })
    .await;
    secret(&bench.api, "later", "a", "b");
    bench.api.put(
        "configmaps/bundle",
        serde_json::json!({"metadata": {"name": "bundle"}, "data": {"ca.crt": "PEM"}}),
    );
    until(15 * MINUTE, "they are found, too", || {
        bench.found("SN-2").is_some() && bench.found("SN-3").is_some()
    })
    .await;
    let spec = bench.found("SN-3").unwrap();
    assert_eq!(spec["found"]["endpoint"]["caConfigMap"], "bundle");
    search.end().await;
}

/// For a worker that trusts an authority a new certificate of the same authority is as good.
#[tokio::test(start_paused = true)]
async fn a_key_that_changed_is_told_although_a_worker_that_trusts_another_one_vouches() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    bench
        .fleet
        .change(key, |bmc| bmc.key = Some("another key".to_owned()));
    for _ in 0..5 {
        let attendance = Attendance {
            at: Instant::now(),
            pin: Some(SpkiPin::of(b"another key")),
            machine: None,
            service: None,
        };
        bench.means.site.attended.saw(key, attendance);
        tokio::time::sleep(MINUTE).await;
    }
    assert_eq!(bench.failed(key).as_deref(), Some("CertificateChanged"));
    search.end().await;
}
