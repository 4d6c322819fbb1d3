//! What the store sees of a BMC that is to read an image, as the card's report tells it.

use std::net::SocketAddr;

use lockstep_crds::report::BmcReport;
use lockstep_redfish::{BootTarget, OverrideEnabled, TaskSighting, TaskState};
use lockstep_serve::Bounds;
use reqwest::{Client, Method};

use super::http_boot::{booting, stage};
use super::installs::publish;
use super::updates::{firmware, offering, task};
use super::*;

/// The site's images on loopback, where the card's BMC is too.
async fn serve(bench: &Bench) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    bench
        .bmc
        .set(|facts| facts.channel.remote = "127.0.0.1:443".parse().unwrap());
    tokio::spawn(lockstep_serve::serve_to(
        listener,
        None,
        bench.site.store.router(),
        Bounds::IMAGES,
        bench.site.callers.clone(),
        CancellationToken::new(),
    ));
    address
}

async fn ask(address: SocketAddr, method: Method, path: &str) {
    let client = Client::builder().no_proxy().tls_certs_only([]).build();
    let request = client
        .unwrap()
        .request(method, format!("http://{address}{path}"));
    request.send().await.unwrap().bytes().await.unwrap();
}

fn told(report: &Value) -> Option<&str> {
    report["spec"]["bmc"]["fetches"][0]["state"].as_str()
}

#[tokio::test]
async fn a_bmc_that_asks_for_something_else_is_told_until_it_reads_the_image() {
    let bench = bench();
    let address = serve(&bench).await;
    let digest = publish(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    let mut stage = directive(1, "StageInstall");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    running.want(&[stage]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    assert_eq!(told(&bench.api.get(CARD).unwrap()), None);

    let path = bench.site.store.granted(&digest, "uid-1").unwrap().path;
    // A BMC that cuts what it was given: nothing tells which card it meant but its address.
    ask(address, Method::GET, "/i/short").await;
    let refused = |report: &Value| told(report) == Some("UrlRefused");
    let report = bench.api.until(CARD, refused).await;
    let fetch = &report["spec"]["bmc"]["fetches"][0];
    assert_eq!(fetch["digest"], digest.to_string());
    assert_eq!(fetch["detail"], "127.0.0.1: status 404");
    ask(address, Method::POST, &path).await;
    let by_method = |report: &Value| {
        let detail = report["spec"]["bmc"]["fetches"][0]["detail"].as_str();
        detail.is_some_and(|detail| detail.contains("405"))
    };
    let report = bench.api.until(CARD, by_method).await;
    assert!(!report.to_string().contains(&path));
    ask(address, Method::GET, &path).await;
    bench.api.until(CARD, |report| told(report).is_none()).await;
    running.end().await;
}

#[tokio::test]
async fn what_was_seen_of_firmware_that_failed_is_told_until_it_is_asked_for_again() {
    let bench = offering();
    let address = serve(&bench).await;
    let digest = publish(&bench.site.store).await;
    let running = bench.start_with(MachineKind::Card, |input| {
        input.components = vec!["BMC_Firmware".to_owned()];
        input.identity = Some(lockstep_crds::MachineIdentity {
            serial_number: Some("SN1".to_owned()),
            ..Default::default()
        });
    });
    running.want(&[firmware(1, "PullFirmware", &digest)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done", "{outcome}");
    let path = bench.site.store.granted(&digest, "uid-1").unwrap().path;
    ask(address, Method::POST, &path).await;
    let failed = task(TaskState::Exception, 0, Some("Transfer failed"));
    bench.shows(TaskSighting::Task(failed));
    let is_over = |report: &Value| report["spec"]["bmc"]["componentUpdate"]["state"] == "Failed";
    let report = bench.api.until(CARD, is_over).await;
    assert_eq!(told(&report), Some("UrlRefused"));
    assert!(bench.site.store.granted(&digest, "uid-1").is_none());
    // Another report says it still.
    running.want(&[firmware(2, "Unheard", &digest)]);
    assert_eq!(bench.outcome(CARD, 2).await["reason"], "ActionUnknown");
    assert_eq!(told(&bench.api.get(CARD).unwrap()), Some("UrlRefused"));

    bench.shows(TaskSighting::Task(task(TaskState::Running, 4, None)));
    running.want(&[firmware(3, "PullFirmware", &digest)]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    assert_eq!(told(&bench.api.get(CARD).unwrap()), None);
    running.end().await;
}

#[tokio::test]
async fn a_second_attempt_is_not_told_of_by_the_first() {
    let bench = bench();
    let address = serve(&bench).await;
    let digest = publish(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    running.want(&[stage(1, &digest)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let path = bench.site.store.granted(&digest, "uid-1").unwrap().path;
    // Who calls from the BMC's address is not the card's firmware, which fetches.
    ask(address, Method::GET, "/i/short").await;
    let caller = || bench.site.callers.of("127.0.0.1".parse().unwrap());
    while caller().and_then(|caller| caller.last).is_none() {
        tokio::task::yield_now().await;
    }
    let shown = bench.api.get(CARD).unwrap()["spec"]["bmc"].take();
    let shown: BmcReport = serde_json::from_value(shown).unwrap();
    assert_eq!(bench.site.fetches("uid-1", &shown), []);
    ask(address, Method::POST, &path).await;
    let refused = |report: &Value| told(report) == Some("UrlRefused");
    bench.api.until(CARD, refused).await;

    let nothing = booting(BootTarget::None, OverrideEnabled::Disabled, None);
    bench
        .bmc
        .set(|facts| facts.boot_override = Reading::Read(nothing));
    running.want(&[stage(2, &digest)]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    assert_eq!(bench.bmc.effects().len(), 2);
    assert_eq!(told(&bench.api.get(CARD).unwrap()), None);
    let again = bench.site.store.granted(&digest, "uid-1").unwrap().path;
    assert_eq!(again, path);
    running.end().await;
}
