//! Networks, TLS, credentials and sessions.

use super::*;

#[tokio::test]
async fn a_refused_credential_is_tried_twice_and_then_never_again() {
    let bmc = ScriptedBmc::plain();
    bmc.set_password("rotated");
    let redfish = Redfish::new(loopback(), quick());
    let port = redfish.bmc(target(&bmc)).unwrap();
    for (tries, locked) in [(1, false), (2, true)] {
        let error = port.observe().await.unwrap_err();
        assert!(
            matches!(error, BmcError::CredentialsRefused { tries: t, locked: l, .. }
                if t == tries && l == locked),
            "{error:?}"
        );
    }
    let requests = bmc.seen().len();
    // Neither this port nor a new one with the same value sends anything.
    for port in [&port, &redfish.bmc(target(&bmc)).unwrap()] {
        let error = port.power(PowerAction::On).await.unwrap_err();
        assert!(matches!(
            error,
            BmcError::CredentialsRefused { locked: true, .. }
        ));
    }
    assert_eq!(bmc.seen().len(), requests);

    let mut rotated = target(&bmc);
    rotated.credentials = credentials("rotated");
    assert!(redfish.bmc(rotated).unwrap().observe().await.is_ok());
}

#[tokio::test]
async fn a_credential_that_is_refused_in_mid_call_is_tried_twice_too() {
    let bmc = ScriptedBmc::plain();
    bmc.fail(
        "POST",
        "ComputerSystem.Reset",
        1,
        Fault::Answer(204, String::new()),
    );
    let options = BmcOptions {
        confirm_window: Duration::from_millis(2500),
        ..quick()
    };
    let port = Redfish::new(loopback(), options).bmc(target(&bmc)).unwrap();
    let rotate = async {
        while bmc.count("POST") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bmc.set_password("rotated");
        bmc.seen().len()
    };
    let (effect, before) = tokio::join!(port.power(PowerAction::On), rotate);
    assert_eq!(effect.unwrap().confirmation, Confirmation::NotSeen);
    let tries = bmc.seen().len() - before;
    assert!(tries <= 2, "{tries} tries with a refused credential");
}

#[tokio::test]
async fn a_session_is_used_renewed_once_and_ended() {
    let bmc = ScriptedBmc::plain();
    bmc.offer_sessions();
    let port = port(&bmc);
    let facts = port.observe().await.unwrap();
    assert_eq!(facts.channel.authentication, Authentication::Session);
    assert_eq!(facts.capabilities.sessions.offer, Offer::Offered);
    assert!(
        bmc.seen()
            .iter()
            .all(|seen| !seen.headers.contains_key("authorization"))
    );

    bmc.forget_sessions();
    assert!(port.power(PowerAction::On).await.unwrap().sent);
    assert_eq!(bmc.count("POST"), 3, "two logins and the reset");
    assert_eq!(bmc.sessions(), 1);
    port.close().await;
    assert_eq!(bmc.sessions(), 0);
}

/// What was asked since, with how.
fn asked(bmc: &ScriptedBmc, since: usize) -> Vec<(String, &'static str)> {
    let seen = bmc.seen().into_iter().skip(since);
    seen.map(|seen| {
        let shown = if seen.headers.contains_key("x-auth-token") {
            "session"
        } else if seen.headers.contains_key("authorization") {
            "Basic"
        } else {
            "nothing"
        };
        (seen.method.clone(), shown)
    })
    .collect()
}

#[tokio::test]
async fn a_bmc_whose_sessions_are_gone_each_time_is_glanced_at_with_one_request() {
    let bmc = ScriptedBmc::plain();
    bmc.offer_sessions();
    let port = port(&bmc);
    let facts = port.observe().await.unwrap();
    let glance = async || {
        let before = bmc.seen().len();
        assert!(facts.show(&port.glance().await.unwrap()));
        asked(&bmc, before)
    };
    // Now and then a session is lost, as when a BMC restarts: nothing follows.
    for _ in 0..3 {
        bmc.forget_sessions();
        assert_eq!(glance().await.len(), 3);
        assert_eq!(glance().await, [("GET".to_owned(), "session")]);
    }
    for _ in 0..2 {
        bmc.forget_sessions();
        assert_eq!(glance().await.len(), 3);
    }
    let basic = ("GET".to_owned(), "Basic");
    bmc.forget_sessions();
    let first = [("GET".to_owned(), "session"), basic.clone()];
    assert_eq!(glance().await, first);
    for _ in 0..3 {
        assert_eq!(glance().await, std::slice::from_ref(&basic));
    }
    // Everything but a glance takes a session.
    let before = bmc.seen().len();
    let again = port.observe().await.unwrap();
    assert_eq!(again.channel.authentication, Authentication::Session);
    assert_eq!(
        asked(&bmc, before)
            .iter()
            .filter(|(method, shown)| *shown != "session"
                && (method.as_str(), *shown) != ("POST", "nothing"))
            .count(),
        0
    );
    // Its session is used while it is there, and sessions are trusted again then.
    assert_eq!(glance().await, [("GET".to_owned(), "session")]);
    bmc.forget_sessions();
    assert_eq!(glance().await.len(), 3);
    port.close().await;
    assert_eq!(bmc.sessions(), 0);
}

#[tokio::test]
async fn sessions_that_are_lost_now_and_then_are_used_and_none_is_left_behind() {
    let bmc = ScriptedBmc::plain();
    bmc.offer_sessions();
    let port = port(&bmc);
    port.observe().await.unwrap();
    for _ in 0..2 {
        bmc.forget_sessions();
        for _ in 0..5 {
            port.observe().await.unwrap();
        }
    }
    assert_eq!(bmc.sessions(), 1);
    let before = bmc.seen().len();
    for _ in 0..6 {
        port.glance().await.unwrap();
        port.observe().await.unwrap();
    }
    assert!(
        asked(&bmc, before)
            .iter()
            .all(|(_, shown)| *shown == "session")
    );
    assert_eq!(bmc.sessions(), 1);
    port.close().await;
    assert_eq!(bmc.sessions(), 0);
}

#[tokio::test]
async fn a_refused_password_is_tried_twice_where_sessions_are_always_gone_too() {
    let bmc = ScriptedBmc::plain();
    bmc.offer_sessions();
    let port = port(&bmc);
    port.observe().await.unwrap();
    for _ in 0..3 {
        bmc.forget_sessions();
        port.glance().await.unwrap();
    }
    bmc.set_password("rotated");
    bmc.forget_sessions();
    let before = bmc.seen().len();
    for _ in 0..4 {
        port.glance().await.unwrap_err();
    }
    let asked = asked(&bmc, before);
    let tried = asked
        .iter()
        .filter(|(method, shown)| method == "POST" || *shown == "Basic");
    assert_eq!(tried.count(), 2, "{asked:?}");
}

#[tokio::test]
async fn a_bmc_that_forbids_basic_is_read_with_a_session() {
    let bmc = ScriptedBmc::plain();
    bmc.offer_sessions();
    let port = port(&bmc);
    port.observe().await.unwrap();
    for _ in 0..3 {
        bmc.forget_sessions();
        port.glance().await.unwrap();
    }
    bmc.fail("GET", SYSTEM, 1, Fault::Answer(403, "{}".to_owned()));
    for _ in 0..3 {
        let before = bmc.seen().len();
        port.glance().await.unwrap();
        let last = asked(&bmc, before).pop();
        assert_eq!(last, Some(("GET".to_owned(), "session")));
    }
}

#[tokio::test]
async fn a_bmc_that_takes_sessions_only_is_shown_a_password_in_vain_once_and_not_locked_out() {
    let bmc = ScriptedBmc::plain();
    bmc.offer_sessions();
    bmc.take_sessions_only();
    let port = port(&bmc);
    let facts = port.observe().await.unwrap();
    let mut basic = 0;
    for _ in 0..6 {
        bmc.forget_sessions();
        let before = bmc.seen().len();
        assert!(facts.show(&port.glance().await.unwrap()));
        let asked = asked(&bmc, before);
        basic += asked.iter().filter(|(_, shown)| *shown == "Basic").count();
    }
    assert_eq!(basic, 1);
}

#[tokio::test]
async fn a_dropped_port_ends_its_session() {
    let bmc = ScriptedBmc::plain();
    bmc.offer_sessions();
    let port = port(&bmc);
    port.observe().await.unwrap();
    drop(port);
    let until = Instant::now() + Duration::from_secs(5);
    while bmc.sessions() > 0 {
        assert!(Instant::now() < until, "the session is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn sessions_that_are_full_or_refused_are_not_replaced_by_basic() {
    let bmc = ScriptedBmc::plain();
    bmc.offer_sessions();
    let full = json!({"error": {"message": "RAC0218: too many sessions"}}).to_string();
    bmc.fail("POST", "/Sessions", 1, Fault::Answer(503, full));
    let redfish = Redfish::new(loopback(), quick());
    let port = redfish.bmc(target(&bmc)).unwrap();
    let error = port.observe().await.unwrap_err();
    assert!(
        matches!(&error, BmcError::SessionRefused { detail, .. } if detail.contains("RAC0218"))
    );

    let mut wrong = target(&bmc);
    wrong.credentials = credentials("wrong");
    let port = redfish.bmc(wrong).unwrap();
    for _ in 0..4 {
        assert_eq!(
            port.observe().await.unwrap_err().category(),
            "CredentialsRefused"
        );
    }
    assert_eq!(
        bmc.count("POST"),
        3,
        "one refused for 503, two for the password"
    );
    assert!(
        bmc.seen()
            .iter()
            .all(|seen| !seen.headers.contains_key("authorization"))
    );

    // Linked and not there: sushy-tools style. Basic, and the facts say so.
    bmc.fail("POST", "/Sessions", 1, Fault::Answer(404, "{}".to_owned()));
    let facts = redfish.bmc(target(&bmc)).unwrap().observe().await.unwrap();
    assert_eq!(facts.channel.authentication, Authentication::Basic);
}

#[tokio::test]
async fn an_address_outside_the_networks_is_never_dialled() {
    let bmc = ScriptedBmc::plain();
    let elsewhere = AllowedNetworks(vec!["10.0.0.0/8".parse().unwrap()]);
    let redfish = Redfish::new(elsewhere, quick());
    let mut named = target(&bmc);
    named.address = format!("http://localhost:{}", bmc.address.port())
        .parse()
        .unwrap();
    for target in [target(&bmc), named] {
        let error = redfish.bmc(target).unwrap().observe().await.unwrap_err();
        assert_eq!(error.category(), "AddressNotAllowed");
    }
    assert_eq!(bmc.connections(), 0);
}

#[tokio::test]
async fn a_name_is_dialled_at_the_address_that_was_checked() {
    let bmc = ScriptedBmc::plain();
    let mut named = target(&bmc);
    named.address = format!("http://localhost:{}", bmc.address.port())
        .parse()
        .unwrap();
    let port = Redfish::new(loopback(), quick()).bmc(named).unwrap();
    assert_eq!(port.observe().await.unwrap().channel.remote, bmc.address);
}

#[tokio::test]
async fn tls_is_verified_pinned_or_openly_neither() {
    let bmc = ScriptedBmc::tls();
    let redfish = Redfish::new(loopback(), quick());
    let observe = async |target: BmcTarget| redfish.bmc(target).unwrap().observe().await;

    let facts = observe(tls_target(&bmc, TlsTrust::NoVerification))
        .await
        .unwrap();
    let pin = facts
        .identity
        .tls_pin
        .expect("the key is seen even unverified");
    assert_eq!(facts.channel.trust, TrustInForce::NoVerification);

    let facts = observe(tls_target(&bmc, TlsTrust::PinnedKey(pin.clone())))
        .await
        .unwrap();
    assert_eq!(facts.identity.tls_pin, Some(pin.clone()));

    let bundle = bmc.certificate_pem.clone().unwrap();
    let facts = observe(tls_target(&bmc, TlsTrust::CaBundle(bundle)))
        .await
        .unwrap();
    assert_eq!(facts.channel.trust, TrustInForce::CaBundle);

    let requests = bmc.seen().len();
    let other = ScriptedBmc::tls().certificate_pem.clone().unwrap();
    for trust in [
        TlsTrust::PinnedKey(SpkiPin::of(b"another key")),
        TlsTrust::CaBundle(other),
    ] {
        let error = observe(tls_target(&bmc, trust)).await.unwrap_err();
        let BmcError::CertificateRefused { observed, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(observed, Some(pin.clone()), "the report tells what to pin");
    }
    let mut expected = tls_target(&bmc, TlsTrust::NoVerification);
    expected.expected.tls_pin = Some(SpkiPin::of(b"another key"));
    assert_eq!(
        observe(expected).await.unwrap_err().category(),
        "CertificateRefused"
    );
    assert_eq!(
        bmc.seen().len(),
        requests,
        "no request reached an untrusted peer"
    );

    let mut expected = tls_target(&bmc, TlsTrust::NoVerification);
    expected.expected.tls_pin = Some(pin);
    let port = redfish.bmc(expected).unwrap();
    assert!(port.power(PowerAction::On).await.unwrap().sent);
}

#[tokio::test]
async fn a_lost_session_that_cannot_be_renewed_is_no_wrong_password() {
    let bmc = ScriptedBmc::plain();
    bmc.offer_sessions();
    let port = port(&bmc);
    port.observe().await.unwrap();
    bmc.forget_sessions();
    bmc.fail("POST", "/Sessions", 3, Fault::Answer(503, "{}".to_owned()));
    for _ in 0..3 {
        let error = port.observe().await.unwrap_err();
        assert_eq!(error.category(), "SessionRefused");
    }
    assert!(port.observe().await.is_ok());
}

#[tokio::test]
async fn a_root_that_is_shut_to_strangers_is_read_with_basic() {
    let bmc = ScriptedBmc::plain();
    bmc.fail(
        "GET",
        "/redfish/v1/",
        1,
        Fault::Answer(401, "{}".to_owned()),
    );
    assert!(port(&bmc).observe().await.is_ok());
}
