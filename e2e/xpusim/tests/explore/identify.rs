//! Who is there, without a credential; and what becomes of one that is refused.

use std::net::TcpListener;
use std::time::Instant;

use lockstep_redfish::BmcError;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identifying_is_one_read_without_a_credential() {
    let fleet = everybody();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let server = serve(&fleet, address).await;
        for one in personality::ALL {
            let before = fleet.requests(one.name).unwrap().total;
            let mut endpoint = endpoint(&server, one.name);
            let verified = redfish().identify(&endpoint).await.unwrap();
            endpoint.tls = TlsTrust::NoVerification;
            let unverified = redfish().identify(&endpoint).await.unwrap();
            assert_eq!(verified, unverified, "{}", one.name);
            assert_eq!(verified.vendor.as_deref(), one.root.vendor, "{}", one.name);
            assert_eq!(
                verified.service.redfish_version.as_deref(),
                Some(one.root.version)
            );
            assert!(verified.tls_pin.is_some() && verified.service.uuid.is_some());
            assert_eq!(
                fleet.requests(one.name).unwrap().total - before,
                2,
                "{}",
                one.name
            );
            endpoint.tls = TlsTrust::PinnedKey(unverified.tls_pin.unwrap());
            assert!(redfish().identify(&endpoint).await.is_ok(), "{}", one.name);
            let logins = fleet.effects(one.name, 0).unwrap();
            assert!(
                logins
                    .iter()
                    .all(|one| !matches!(one.what, What::Login { .. }))
            );
        }
        let mut other = endpoint(&server, "hpe-host");
        other.tls = TlsTrust::CaBundle(server.certificate_pem("dell-host").unwrap());
        let refused = redfish().identify(&other).await.unwrap_err();
        assert_eq!(refused.category(), "CertificateRefused");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identifying_ends_where_nothing_is_ever_said_and_costs_the_neighbours_nothing() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let shared = redfish();
    for fault in [Fault::HangConnection, Fault::Hang] {
        fleet.switch_on("hpe-host", Rule::always(fault)).unwrap();
        let began = Instant::now();
        let hung = endpoint(&server, "hpe-host");
        let well = endpoint(&server, "dell-host");
        let (hung, well) = tokio::join!(shared.identify(&hung), async {
            let well = shared.identify(&well).await;
            (well, began.elapsed())
        });
        assert!(
            matches!(
                hung,
                Err(BmcError::NoAnswer { .. } | BmcError::Unreachable { .. })
            ),
            "{hung:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(8), "{fault}");
        assert!(
            well.0.is_ok() && well.1 < Duration::from_secs(2),
            "{well:?}"
        );
        fleet.switch_off("hpe-host", fault).unwrap();
    }
    // A socket that takes connections and is not even read from.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint {
        address: format!("http://{}", silent.local_addr().unwrap())
            .parse()
            .unwrap(),
        tls: TlsTrust::PlainHttp,
    };
    let began = Instant::now();
    let error = shared.identify(&endpoint).await.unwrap_err();
    assert_eq!(error.category(), "NoAnswer");
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_that_takes_no_slash_or_asks_for_a_credential_is_told_as_it_is() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let name = "supermicro-host";
    fleet
        .switch_on(name, Rule::always(Fault::SlashMissing))
        .unwrap();
    assert!(redfish().identify(&endpoint(&server, name)).await.is_ok());
    assert_eq!(explore(&fleet, &server, name).await.role.as_str(), "Host");
    fleet.switch_off(name, Fault::SlashMissing).unwrap();

    for (status, category) in [
        (401, "AccessDenied"),
        (404, "BadAnswer"),
        (503, "ReadFailed"),
    ] {
        let rule = Rule {
            status: Some(status),
            ..Rule::always(Fault::AnswerStatus)
        };
        fleet.switch_on(name, rule).unwrap();
        let before = fleet.requests(name).unwrap().total;
        let error = redfish()
            .identify(&endpoint(&server, name))
            .await
            .unwrap_err();
        assert_eq!(error.category(), category);
        assert!(
            fleet.requests(name).unwrap().total - before <= 2,
            "{status}"
        );
        fleet.switch_off(name, Fault::AnswerStatus).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_twice_and_then_never_again() {
    let fleet = everybody();
    let server = serve(&fleet, "127.0.0.1:0").await;
    let name = "bluefield-3";
    let wrong = Credentials {
        password: "not-the-password-1".to_owned(),
        ..credentials(&fleet, name)
    };
    let shared = redfish();
    for _ in 0..4 {
        let error = shared
            .explore(&endpoint(&server, name), &wrong)
            .await
            .unwrap_err();
        assert_eq!(error.category(), "CredentialsRefused");
    }
    assert_eq!(fleet.requests(name).unwrap().unauthorized, 2);
    let right = credentials(&fleet, name);
    assert!(
        shared
            .explore(&endpoint(&server, name), &right)
            .await
            .is_ok()
    );
}
