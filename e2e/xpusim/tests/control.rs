//! The control API, over its own port.

use lockstep_xpusim::spec::{EXAMPLE, FleetSpec};
use lockstep_xpusim::{Control, Fleet, Listen, Server};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judge_reads_and_a_saboteur_breaks_what_the_fleet_file_names() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let fleet = Fleet::stepped(&FleetSpec::parse(EXAMPLE).unwrap()).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start(&fleet, Listen::Ports(address), false)
        .await
        .unwrap();
    let control = Control::start(&fleet, &server, address).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let at = |path: &str| format!("http://{}/xpusim/v1{path}", control.address());
    let get = async |path: &str| -> Value {
        let answer = http.get(at(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    };
    let post = async |path: &str, body: Value| {
        let answer = http.post(at(path)).json(&body).send().await.unwrap();
        answer.status().as_u16()
    };

    let machines = get("/machines").await;
    assert_eq!(machines.as_array().unwrap().len(), fleet.names().len());
    let shared = get("/machines/shared-card").await;
    assert_eq!(shared["hosts"], json!(["left-host", "right-host"]));
    assert_eq!(shared["url"], server.url("shared-card").unwrap());
    assert!(get("/faults").await.as_array().unwrap().len() > 40);

    let press = json!({"action": "press", "reset": "ForceOff"});
    assert_eq!(post("/machines/pair-host/strike", press.clone()).await, 204);
    assert_eq!(post("/machines/nobody/strike", press).await, 404);
    assert_eq!(
        post("/machines/pair-host/strike", json!({"action": "x"})).await,
        422
    );
    let effects = get("/machines/pair-card-1/effects").await;
    let off: Vec<&str> = effects
        .as_array()
        .unwrap()
        .iter()
        .filter(|effect| effect["effect"] == "PoweredOff")
        .map(|effect| effect["machine"].as_str().unwrap())
        .collect();
    assert_eq!(off, ["pair-host", "pair-card-1", "pair-card-2"]);
    let rest = get("/machines/pair-card-1/effects?from=1").await;
    assert_eq!(
        rest.as_array().unwrap().len() + 1,
        effects.as_array().unwrap().len()
    );

    let rule = json!({"fault": "answer-status", "status": 503, "times": 1});
    assert_eq!(post("/machines/left-host/faults", rule).await, 204);
    let root = format!("{}/redfish/v1/", server.url("left-host").unwrap());
    assert_eq!(http.get(&root).send().await.unwrap().status(), 503);
    assert_eq!(http.get(&root).send().await.unwrap().status(), 200);
    assert_eq!(get("/machines/left-host/requests").await["total"], 2);
    let off = http
        .delete(at("/machines/left-host/faults/answer-status"))
        .send()
        .await;
    assert_eq!(off.unwrap().status(), 204);
    assert_eq!(get("/machines/left-host").await["faults"], json!([]));

    let clock = http
        .post(at("/clock"))
        .json(&json!({"skipSeconds": 90}))
        .send()
        .await;
    let clock: Value = clock.unwrap().json().await.unwrap();
    assert_eq!(clock["millis"], 90_000);
    assert!(!get("/effects").await.as_array().unwrap().is_empty());
}
