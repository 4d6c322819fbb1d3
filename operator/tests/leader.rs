//! The election, against the compare-and-swap of an API server.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::time::Duration;

use lockstep_operator::leader::{Candidate, LEASE, Pace};
use lockstep_operator::metrics::Metrics;
use serde_json::json;
use support::SITE;
use support::apiserver::ApiServer;
use tokio_util::sync::CancellationToken;

const PATH: &str = "leases/lockstep-operator";
const SOON: Duration = Duration::from_secs(10);

fn candidate(server: &ApiServer, me: &str) -> Candidate {
    let pace = Pace {
        renew_every: Duration::from_millis(20),
        look_every: Duration::from_millis(5),
        give_up: Duration::from_millis(200),
    };
    let metrics = Metrics::default();
    Candidate::new(server.client.clone(), SITE, me.to_owned(), metrics).at(pace)
}

fn holder(server: &ApiServer) -> String {
    server.object(PATH)["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Runs something that must end soon.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.unwrap()
}

#[tokio::test]
async fn the_next_one_leads_as_soon_as_the_first_gives_up() {
    let server = ApiServer::start([]).await;
    let never = CancellationToken::new();
    let mut first = candidate(&server, "first");
    assert!(soon(first.acquire(&never)).await);
    assert!(PATH.ends_with(LEASE) && holder(&server) == "first");

    let mut second = candidate(&server, "second");
    let impatient = CancellationToken::new();
    let stopped = impatient.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stopped.cancel();
    });
    assert!(
        !soon(second.acquire(&impatient)).await,
        "somebody else leads"
    );

    let done = CancellationToken::new();
    let keeping = tokio::spawn(first.keep(done.clone()));
    done.cancel();
    soon(keeping).await.unwrap().unwrap();
    assert_eq!(holder(&server), "");
    assert!(soon(second.acquire(&never)).await);
    let lease = server.object(PATH);
    assert_eq!(
        (holder(&server).as_str(), &lease["spec"]["leaseTransitions"]),
        ("second", &json!(1))
    );
}

#[tokio::test]
async fn a_leader_renews_with_one_write_and_no_read() {
    let server = ApiServer::start([]).await;
    let mut leader = candidate(&server, "me");
    assert!(soon(leader.acquire(&CancellationToken::new())).await);
    server.take_seen();
    let done = CancellationToken::new();
    let keeping = tokio::spawn(leader.keep(done.clone()));
    let mut seen = Vec::new();
    soon(async {
        while seen.len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            seen.extend(server.take_seen());
        }
    })
    .await;
    done.cancel();
    soon(keeping).await.unwrap().unwrap();
    assert!(seen.iter().all(|seen| seen.method == "PUT"), "{seen:?}");
}

#[tokio::test]
async fn a_leader_ends_when_somebody_else_holds_the_lease() {
    let server = ApiServer::start([]).await;
    let mut leader = candidate(&server, "me");
    assert!(soon(leader.acquire(&CancellationToken::new())).await);
    server.write(PATH, |lease| {
        lease["spec"]["holderIdentity"] = json!("other");
    });
    let error = soon(leader.keep(CancellationToken::new()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("somebody else"), "{error}");
    assert_eq!(holder(&server), "other", "it is not given up for others");
}

#[tokio::test]
async fn a_leader_survives_a_hiccup_and_ends_when_it_cannot_renew() {
    let server = ApiServer::start([]).await;
    let mut leader = candidate(&server, "me");
    assert!(soon(leader.acquire(&CancellationToken::new())).await);
    let keeping = tokio::spawn(leader.keep(CancellationToken::new()));
    server.breaks(true);
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.breaks(false);
    server.take_seen();
    soon(async {
        while !server.take_seen().iter().any(|seen| seen.method == "PUT") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!keeping.is_finished());
    server.breaks(true);
    let error = soon(keeping).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("leadership was lost"), "{error}");
}
