//! What cannot be read, in the cluster or on disk, stops nothing else.

use super::*;
use crate::site::expiry::Seen;
use crate::site::inquiry::ask;
use crate::site::objects::Objects;
use crate::site::supervisor;

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "site", "uid": format!("uid-{name}")},
        "spec": spec,
    })
}

/// The report of a host that was reached when it was last looked at.
fn reached(host: &str) -> Value {
    let spec = json!({
        "vantage": "HostBmc", "subject": host, "subjectUid": format!("uid-{host}"),
        "agentVersion": "0", "observedAt": "2026-01-01T00:00:00Z",
        "reachable": {"ok": true, "since": "2026-01-01T00:00:00Z"},
        "execution": {"accepted": 7, "outcome": {"result": "Done"}},
    });
    object("DpuReport", &format!("bmc-host-{host}"), &spec)
}

#[tokio::test]
async fn an_unreadable_object_stops_neither_the_site_nor_looks_deleted() {
    let bench = bench();
    let bmc = json!({
        "address": "http://192.0.2.1", "credentialsRef": {"name": "c"},
        "tls": {"trust": "PlainHttp"},
    });
    let good = json!({"site": "s", "policyRef": {"name": "p"}});
    let newer = json!({"site": "s", "policyRef": {"name": "p"}, "role": "Spaceship", "bmc": bmc});
    let card = json!({"site": "s", "hostRefs": [{"name": "h1"}], "bmc": bmc});
    for (key, value) in [
        ("dpuhosts/h1", object("DpuHost", "h1", &good)),
        ("dpuhosts/h9", object("DpuHost", "h9", &newer)),
        ("dpuhosts/h8", object("DpuHost", "h8", &newer)),
        ("dpus/c1", object("Dpu", "c1", &card)),
        ("dpus/c9", object("Dpu", "c9", &json!({"site": 9}))),
        (
            "dpuimages/i9",
            object("DpuImage", "i9", &json!({"sizeBytes": 1e20})),
        ),
        ("dpureports/bmc-host-h1", reached("h1")),
        ("dpureports/bmc-host-h9", reached("h9")),
    ] {
        bench.api.put(key, value);
    }
    let ending = CancellationToken::new();
    let objects = Objects::watch(&bench.site.client, &bench.site.config, &ending);
    let listed = tokio::time::timeout(Duration::from_secs(10), objects.are_read());
    assert!(listed.await.unwrap());
    let mut names: Vec<String> = objects.hosts.known().unread().collect();
    names.extend(objects.cards.known().unread());
    names.extend(objects.images.known().unread());
    assert_eq!(names, ["DpuHost h8", "DpuHost h9", "Dpu c9", "DpuImage i9"]);
    let (images, _watched) = watch::channel(None);
    let task = tokio::spawn(supervisor::run(
        Arc::clone(&bench.site),
        objects,
        images,
        ending.clone(),
    ));
    let is_ok = |report: &Value| report["spec"]["reachable"]["ok"] == true;
    bench.api.until(CARD, is_ok).await;
    for (key, reason) in [
        ("dpureports/bmc-host-h9", "ObjectUnreadable"),
        // It was reached once, and now nobody says how.
        ("dpureports/bmc-host-h1", "BmcNotGiven"),
    ] {
        let report = bench
            .api
            .until(key, |report| report["spec"]["reachable"]["ok"] == false)
            .await;
        assert_eq!(report["spec"]["reachable"]["reason"], reason);
        assert_eq!(report["spec"]["execution"]["accepted"], 7);
    }
    assert!(bench.api.get("dpureports/bmc-host-h8").is_none());
    ending.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_garbled_journal_is_told_and_nothing_is_done_until_it_is_gone() {
    let bench = bench();
    let path = bench.site.config.state_dir.join("journal/card-c1.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "{").unwrap();
    let running = bench.start(MachineKind::Card);
    running.want(&[directive(1, "PowerOn")]);
    let report = bench.api.until(CARD, |_| true).await;
    let reachable = &report["spec"]["reachable"];
    assert_eq!(reachable["reason"], "StateUnusable");
    let message = reachable["message"].as_str().unwrap();
    assert!(message.contains("move the file away"), "{message}");
    assert!(bench.bmc.effects().is_empty());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    running.end().await;
}

#[tokio::test]
async fn a_garbled_order_is_told_and_leaves_the_others_to_their_keeper() {
    let bench = bench();
    let path = bench.site.config.state_dir.join("orders/c1.json");
    std::fs::write(&path, "{").unwrap();
    // Of another host, which is due.
    bench.site.orders.put(&samples::order()).unwrap();
    bench.api.vanish(true);
    let ending = CancellationToken::new();
    let custodian = tokio::spawn(Custodian::new(Arc::clone(&bench.site)).run(ending.clone()));
    until_order(&bench, |state| state == OrderState::ExpiredReleased).await;
    bench.api.vanish(false);
    let running = bench.start(MachineKind::Host);
    let report = bench.api.until(HOST, |_| true).await;
    assert_eq!(report["spec"]["reachable"]["reason"], "StateUnusable");
    std::fs::remove_file(&path).unwrap();
    let is_ok = |report: &Value| report["spec"]["reachable"]["ok"] == true;
    bench.api.until(HOST, is_ok).await;
    running.end().await;
    ending.cancel();
    custodian.await.unwrap();
}

#[tokio::test]
async fn an_order_needs_no_more_of_its_host_than_it_says_about_the_hold() {
    let bench = bench();
    bench.site.orders.put(&samples::order()).unwrap();
    let mut host = object("DpuHost", "h1", &json!({"site": "s", "role": "Spaceship"}));
    host["status"] = json!({"hold": {
        "mechanism": {"a": "newer release's"},
        "workOrder": {"expiresAt": "2026-01-01T01:00:00Z", "onOrphan": "RestoreAndRelease"},
    }});
    bench.api.put("dpuhosts/h1", host);
    let ending = CancellationToken::new();
    let custodian = tokio::spawn(Custodian::new(Arc::clone(&bench.site)).run(ending.clone()));
    until_order(&bench, |state| state == OrderState::ExpiredReleased).await;
    ending.cancel();
    custodian.await.unwrap();
}

#[tokio::test]
async fn an_order_waits_for_somebody_who_can_read_its_host() {
    let bench = bench();
    let order = samples::order();
    let mut host = object("DpuHost", "h1", &json!({"handsOff": "perhaps"}));
    bench.api.put("dpuhosts/h1", host.clone());
    assert_eq!(ask(&bench.site, &order).await, Seen::Unreadable);
    host["spec"] = json!({"handsOff": true});
    bench.api.put("dpuhosts/h1", host.clone());
    let seen = Seen::Present {
        work_order: None,
        hands_off: true,
    };
    assert_eq!(ask(&bench.site, &order).await, seen);
    host["metadata"]["uid"] = json!("uid-other");
    bench.api.put("dpuhosts/h1", host);
    assert_eq!(ask(&bench.site, &order).await, Seen::Gone);
}

#[tokio::test]
async fn an_order_that_was_carried_out_goes_with_its_host() {
    let bench = bench();
    let mut order = samples::order();
    order.state = OrderState::ReleasedOffline;
    bench.site.orders.put(&order).unwrap();
    let mut kept = samples::order();
    kept.host = "h2".to_owned();
    kept.state = OrderState::ExpiredKeptHeld;
    bench.site.orders.put(&kept).unwrap();
    let ending = CancellationToken::new();
    let custodian = tokio::spawn(Custodian::new(Arc::clone(&bench.site)).run(ending.clone()));
    for _ in 0..1000 {
        if bench.site.orders.get("h1").unwrap().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Of a host that is still held, the offline release needs it.
    assert_eq!(bench.site.orders.list().unwrap().orders, [kept]);
    ending.cancel();
    custodian.await.unwrap();
}

async fn until_order(bench: &Bench, wanted: impl Fn(OrderState) -> bool) {
    for _ in 0..3000 {
        if wanted(bench.site.orders.get("h1").unwrap().unwrap().state) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", bench.site.orders.get("h1"));
}
