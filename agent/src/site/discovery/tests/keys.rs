//! Endpoints whose Secret or CA bundle cannot be had.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_redfish::{Credentials, Identified, Service, SpkiPin, TlsTrust};
use tokio::time::Instant;

use super::super::engine::{Done, Engine, Job, Moment};
use super::super::keyring::{Found, Keys};
use super::fleet::{bench, secret, until};
use crate::site::attended::Attended;
use crate::site::judge::Refusal;

const MINUTE: Duration = Duration::from_secs(60);

fn keys(engine: &Engine, tls: &Result<TlsTrust, Refusal>) -> Done {
    let account = || Credentials {
        username: "a".to_owned(),
        password: "b".to_owned(),
    };
    let accesses = engine.territory.accesses().into_iter();
    let found: Found = accesses
        .map(|access| {
            let keys = Keys {
                credentials: Ok((account(), "1".to_owned())),
                tls: tls.clone(),
                told: true,
            };
            (access, keys)
        })
        .collect();
    Done::Keys(found)
}

/// Whoever replaces a ConfigMap deletes it first.
#[test]
fn an_endpoint_that_was_identified_while_its_bundle_was_away_is_looked_at_again() {
    let section = serde_yaml::from_str(
        "ranges: [{addresses: [10.0.0.1], credentialsRef: {name: c}, tls: {trust: Ca, caConfigMapRef: {name: ours}}}]",
    )
    .unwrap();
    let begin = Instant::now();
    let mut engine = Engine::new("s", &section, MINUTE, Attended::default(), begin).unwrap();
    let at = Time(Timestamp::UNIX_EPOCH);
    let second = |number| Moment {
        now: begin + Duration::from_secs(number),
        at: &at,
    };
    let bundle = Ok(TlsTrust::CaBundle("PEM".to_owned()));
    let key = "https://10.0.0.1".to_owned();
    engine.jobs(second(0));
    engine.done(keys(&engine, &bundle), second(0));
    let knocks = engine.jobs(second(0));
    assert!(matches!(&knocks[..], [Job::Knock(..)]), "{knocks:?}");
    engine.done(Done::Knocked(key.clone(), Ok(())), second(0));
    let looks = engine.jobs(second(0));
    assert!(matches!(&looks[..], [Job::Identify(..)]), "{looks:?}");
    let away = Err(Refusal::new("CaMissing", "it is not there"));
    engine.done(keys(&engine, &away), second(1));
    let identified = Identified {
        remote: ([10, 0, 0, 1], 443).into(),
        tls_pin: Some(SpkiPin::of(b"key")),
        service: Service::default(),
        vendor: None,
        product: None,
    };
    engine.done(Done::Identified(key, Some(Ok(identified))), second(2));
    assert_eq!(engine.outcomes(), [("CaMissing", 1)].into());
    engine.done(keys(&engine, &bundle), second(61));
    let looks = engine.jobs(second(61));
    let is_look = |job: &Job| matches!(job, Job::Identify(..));
    assert!(looks.iter().any(is_look), "{looks:?}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_gives_no_answer_or_may_not_be_read_stops_nobody_else_and_is_told() {
    let bench = bench(
        "  ranges:
    - {addresses: [10.0.0.1], credentialsRef: {name: c}, tls: {trust: NoVerification}}
    - {addresses: [10.0.0.2], credentialsRef: {name: slow}, tls: {trust: NoVerification}}
    - {addresses: [10.0.0.3], credentialsRef: {name: others}, tls: {trust: NoVerification}}
    - {addresses: [10.0.0.4], credentialsRef: {name: c}, tls: {trust: Ca, caConfigMapRef: {name: ours}}}",
    );
    for number in 1..=4 {
        let (key, serial) = (format!("https://10.0.0.{number}"), format!("SN-{number}"));
        bench.fleet.put(&key, &serial);
    }
    secret(&bench.api, "slow", "a", "b");
    secret(&bench.api, "others", "a", "b");
    bench
        .api
        .read_slowly("secrets/slow", Duration::from_secs(1000));
    bench.api.forbid("secrets/others", true);
    bench.api.forbid("configmaps/ours", true);
    let search = bench.start();
    until(5 * MINUTE, "each outcome is told", || {
        bench.found("SN-1").is_some()
            && bench.failed("https://10.0.0.2").as_deref() == Some("CredentialsNotRead")
            && bench.failed("https://10.0.0.3").as_deref() == Some("CredentialsForbidden")
            && bench.failed("https://10.0.0.4").as_deref() == Some("CredentialsForbidden")
    })
    .await;
    let message = bench.message("https://10.0.0.2");
    assert!(message.contains("Secret slow"), "{message}");
    let message = bench.message("https://10.0.0.3");
    assert!(message.contains("Secret others"), "{message}");
    assert!(message.contains("Role"), "{message}");
    let message = bench.message("https://10.0.0.4");
    assert!(message.contains("ConfigMap ours"), "{message}");
    assert!(
        bench
            .fleet
            .calls("identify")
            .iter()
            .all(|call| call.to == "https://10.0.0.1")
    );
    bench.api.read_slowly("secrets/slow", Duration::ZERO);
    bench.api.forbid("secrets/others", false);
    until(5 * MINUTE, "they are found, too", || {
        bench.found("SN-2").is_some() && bench.found("SN-3").is_some()
    })
    .await;
    // What was read before counts.
    bench.api.forbid("secrets/others", true);
    bench
        .api
        .read_slowly("secrets/slow", Duration::from_secs(1000));
    tokio::time::sleep(30 * MINUTE).await;
    assert_eq!(bench.failed("https://10.0.0.2"), None);
    assert_eq!(bench.failed("https://10.0.0.3"), None);
    search.end().await;
}
