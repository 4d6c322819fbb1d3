//! What is said of a BMC that cannot be looked at.

use super::*;

#[tokio::test]
async fn a_missing_secret_is_told_and_its_creation_noticed() {
    let bench = bench();
    let secret = bench.api.get("secrets/c").unwrap();
    bench.api.remove("secrets/c");
    let running = bench.start(MachineKind::Card);
    let report = bench.api.until(CARD, |_| true).await;
    let reachable = &report["spec"]["reachable"];
    assert_eq!(reachable["reason"], "SecretMissing");
    assert!(reachable["message"].as_str().unwrap().contains("create it"));
    bench.api.put("secrets/c", secret);
    bench
        .api
        .until(CARD, |report| report["spec"]["reachable"]["ok"] == true)
        .await;
    assert_eq!(bench.bmc.targets(), 1);
    running.end().await;
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_is_told_where_it_never_was() {
    let bench = bench();
    bench.api.forbid("secrets/c", true);
    let running = bench.start(MachineKind::Card);
    let report = bench.api.until(CARD, |_| true).await;
    let reachable = &report["spec"]["reachable"];
    assert_eq!(reachable["reason"], "CredentialsForbidden");
    assert!(reachable["message"].as_str().unwrap().contains("Role"));
    bench.api.forbid("secrets/c", false);
    bench
        .api
        .until(CARD, |report| report["spec"]["reachable"]["ok"] == true)
        .await;
    running.end().await;
}

#[tokio::test]
async fn silence_keeps_the_facts_and_is_told_once() {
    let bench = bench();
    let running = bench.start(MachineKind::Card);
    bench.api.until(CARD, |_| true).await;
    bench.bmc.silence(true);
    let report = bench
        .api
        .until(CARD, |report| report["spec"]["reachable"]["ok"] == false)
        .await;
    assert_eq!(report["spec"]["reachable"]["reason"], "Unreachable");
    assert_eq!(report["spec"]["bmc"]["power"], "Off");
    bench.bmc.silence(false);
    bench
        .api
        .until(CARD, |report| report["spec"]["reachable"]["ok"] == true)
        .await;
    assert_eq!(bench.causes(CARD), ["report", "report", "report"]);
    running.end().await;
}
