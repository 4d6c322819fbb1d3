//! What the store sees of a BMC that is to read an image, as the card's report tells it.

use std::net::SocketAddr;

use lockstep_serve::Bounds;
use reqwest::{Client, Method};

use super::installs::publish;
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
