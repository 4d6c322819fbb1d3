//! Holds, their work orders and their ends.

use super::*;
use crate::site::custody::{Attempt, Carried, carry_out};
use crate::site::order::Trust;

fn hold(seq: i64, expires_in: i64, on_orphan: &str) -> Directive {
    let mut directive = directive(seq, "HoldHost");
    directive.target.kind = "Host".into();
    let expires = clock::now().0 + jiff::SignedDuration::from_secs(expires_in);
    directive.action.work_order =
        Some(serde_json::from_value(json!({"expiresAt": expires, "onOrphan": on_orphan})).unwrap());
    directive
}

/// A host whose BMC has a PowerRestorePolicy.
fn with_policy(bmc: &FakeBmc) {
    bmc.set(|facts| {
        facts.power_restore = Reading::Read(PowerRestorePolicy::LastState);
        facts.capabilities.power_restore = Capability {
            offer: Offer::Offered,
            source: String::new(),
            values: None,
        };
    });
}

#[tokio::test]
async fn a_hold_stores_what_it_changes_and_a_release_puts_it_back() {
    let bench = bench();
    with_policy(&bench.bmc);
    let running = bench.start(MachineKind::Host);
    running.want(&[hold(1, 3600, "KeepHeld")]);
    assert_eq!(bench.outcome(HOST, 1).await["result"], "Done");
    let report = bench.api.get(HOST).unwrap();
    assert_eq!(report["spec"]["custody"]["state"], "Kept");
    assert_eq!(
        report["spec"]["custody"]["previous"],
        json!(["PowerRestorePolicy=LastState"])
    );
    assert_eq!(report["spec"]["custody"]["inForce"], true);
    let mut release = directive(2, "ReleaseHost");
    release.action.power_on = Some(true);
    running.want(&[release]);
    assert_eq!(bench.outcome(HOST, 2).await["result"], "Done");
    let report = bench.api.get(HOST).unwrap();
    assert!(report["spec"]["custody"].is_null());
    assert_eq!(report["spec"]["bmc"]["power"], "On");
    assert_eq!(
        bench.bmc.effects(),
        ["restore AlwaysOff", "restore LastState", "power On"]
    );
    assert!(bench.site.orders.list().unwrap().orders.is_empty());
    running.end().await;
}

#[tokio::test]
async fn a_hold_is_not_said_to_be_in_force_before_the_bmc_shows_it() {
    let bench = bench();
    with_policy(&bench.bmc);
    bench.bmc.numb();
    let running = bench.start(MachineKind::Host);
    running.want(&[hold(1, 3600, "KeepHeld")]);
    assert_eq!(bench.outcome(HOST, 1).await["result"], "Unknown");
    let report = bench.api.get(HOST).unwrap();
    assert_eq!(report["spec"]["custody"]["state"], "Kept");
    assert_eq!(report["spec"]["custody"]["inForce"], false);
    // Nor while a stranger shows it.
    bench.bmc.set(|facts| {
        facts.power_restore = Reading::Read(PowerRestorePolicy::AlwaysOff);
        facts.identity.serial_number = Some("SN2".to_owned());
    });
    let report = bench
        .api
        .until(HOST, |report| {
            report["spec"]["bmc"]["identity"]["serialNumber"] == "SN2"
        })
        .await;
    assert_eq!(report["spec"]["custody"]["inForce"], false);
    bench
        .bmc
        .set(|facts| facts.identity.serial_number = Some("SN1".to_owned()));
    bench
        .api
        .until(HOST, |report| report["spec"]["custody"]["inForce"] == true)
        .await;
    running.end().await;
}

fn taking_down(seq: i64, kind: &str) -> Directive {
    let mut directive = hold(seq, 3600, "RestoreAndRelease");
    directive.action.kind = kind.into();
    directive
}

/// From the first request on somebody is there to bring the host up again; that it is held is
/// said only of a hold.
#[tokio::test]
async fn a_host_is_taken_down_with_a_work_order() {
    let bench = bench();
    with_policy(&bench.bmc);
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    let running = bench.start(MachineKind::Host);
    running.want(&[taking_down(1, "ShutdownGracefully")]);
    assert_eq!(bench.outcome(HOST, 1).await["result"], "Done");
    let custody = bench.api.get(HOST).unwrap()["spec"]["custody"].clone();
    assert_eq!(
        (&custody["seq"], &custody["state"]),
        (&json!(1), &json!("Kept"))
    );
    assert_eq!(custody["inForce"], false);
    assert!(
        custody["previous"].is_null(),
        "nothing was changed: {custody}"
    );
    running.want(&[hold(2, 3600, "KeepHeld")]);
    assert_eq!(bench.outcome(HOST, 2).await["result"], "Done");
    let custody = bench.api.get(HOST).unwrap()["spec"]["custody"].clone();
    assert_eq!(custody["inForce"], true);
    assert_eq!(custody["previous"], json!(["PowerRestorePolicy=LastState"]));
    running.end().await;
}

#[tokio::test]
async fn a_request_that_is_refused_leaves_the_order_that_was_there() {
    let bench = bench();
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    let running = bench.start(MachineKind::Host);
    bench.bmc.refuse(true);
    running.want(&[taking_down(1, "ShutdownGracefully")]);
    assert_eq!(bench.outcome(HOST, 1).await["result"], "Failed");
    assert!(bench.site.orders.get("c1").unwrap().is_none());
    bench.bmc.refuse(false);
    bench.bmc.numb();
    running.want(&[taking_down(2, "ShutdownGracefully")]);
    assert_eq!(bench.outcome(HOST, 2).await["result"], "Unknown");
    bench.bmc.refuse(true);
    running.want(&[taking_down(3, "ForceOff")]);
    assert_eq!(bench.outcome(HOST, 3).await["result"], "Failed");
    assert_eq!(bench.site.orders.get("c1").unwrap().unwrap().seq, 2);
    running.end().await;
}

/// The process dies before the BMC is told: the next one tells what the order is worth.
#[tokio::test]
async fn a_hold_that_was_cut_short_leaves_no_order_that_passes_for_one() {
    for (sending, result) in [(false, "Failed"), (true, "Unknown")] {
        let bench = bench();
        with_policy(&bench.bmc);
        let wanted = hold(1, 3600, "KeepHeld");
        let (mut worker, _input, _ending) = bench.worker(MachineKind::Host);
        assert!(worker.look().await);
        worker.journal.load().unwrap();
        worker.journal.accept(&wanted).unwrap();
        let prepared = worker.prepare(&wanted).await.unwrap();
        if sending {
            worker.journal.act(&wanted).unwrap();
            worker.keep_order(&wanted, &prepared).unwrap();
        }
        drop((worker, prepared));
        let running = bench.start(MachineKind::Host);
        assert_eq!(bench.outcome(HOST, 1).await["result"], result);
        let report = bench.api.get(HOST).unwrap();
        let custody = &report["spec"]["custody"];
        assert_eq!(custody.is_object(), sending, "{custody}");
        assert_ne!(custody["inForce"], true);
        assert!(bench.bmc.effects().is_empty());
        running.end().await;
    }
}

#[tokio::test]
async fn an_object_made_anew_still_gets_back_what_was_found_first() {
    for (serial, restored) in [("SN1", true), ("SN2", false)] {
        let bench = bench();
        with_policy(&bench.bmc);
        let running = bench.start(MachineKind::Host);
        running.want(&[hold(1, 3600, "KeepHeld")]);
        assert_eq!(bench.outcome(HOST, 1).await["result"], "Done");
        running.end().await;
        // The finalizer was taken off, and the object was made again, or for another machine.
        bench
            .bmc
            .set(|facts| facts.identity.serial_number = Some(serial.to_owned()));
        let (_, input, ending) = bench.worker(MachineKind::Host);
        let mut again = input.borrow().clone();
        again.uid = "uid-2".to_owned();
        let (input, receiver) = watch::channel(again);
        let worker = Worker::new(Arc::clone(&bench.site), receiver, ending.clone());
        let task = tokio::spawn(worker.run());
        let mut release = directive(3, "ReleaseHost");
        release.action.power_on = Some(true);
        for mut wanted in [hold(2, 3600, "KeepHeld"), release] {
            wanted.target.uid = "uid-2".to_owned();
            wanted.expects.identity.serial_number = Some(serial.to_owned());
            let seq = wanted.seq;
            input.send_modify(|input| input.directives = vec![wanted]);
            assert_eq!(bench.outcome(HOST, seq).await["result"], "Done");
        }
        ending.cancel();
        task.await.unwrap();
        let effects = bench.bmc.effects();
        let put_back = effects.contains(&"restore LastState".to_owned());
        assert_eq!(put_back, restored, "{effects:?}");
    }
}

#[tokio::test]
async fn a_release_cut_short_keeps_its_order_until_the_settings_are_back() {
    let bench = bench();
    with_policy(&bench.bmc);
    let running = bench.start(MachineKind::Host);
    running.want(&[hold(1, 3600, "KeepHeld")]);
    assert_eq!(bench.outcome(HOST, 1).await["result"], "Done");
    running.end().await;
    let mut release = directive(2, "ReleaseHost");
    release.action.power_on = Some(false);
    let key = MachineKey {
        kind: MachineKind::Host,
        name: "c1".to_owned(),
    };
    release.target.name = "c1".to_owned();
    let mut journal = Journal::new(&bench.site.config.state_dir, &key);
    journal.load().unwrap();
    journal.accept(&release).unwrap();
    journal.act(&release).unwrap();
    let running = bench.start(MachineKind::Host);
    assert_eq!(bench.outcome(HOST, 2).await["result"], "Unknown");
    assert!(bench.site.orders.get("c1").unwrap().is_some());
    release.seq = 3;
    running.want(&[release]);
    assert_eq!(bench.outcome(HOST, 3).await["result"], "Done");
    assert_eq!(
        bench.bmc.effects(),
        ["restore AlwaysOff", "restore LastState"]
    );
    assert!(bench.site.orders.get("c1").unwrap().is_none());
    running.end().await;
}

#[tokio::test]
async fn a_hold_that_changes_nothing_is_one_write_and_a_running_host_is_never_held() {
    let bench = bench();
    let running = bench.start(MachineKind::Host);
    bench.api.until(HOST, |_| true).await;
    running.want(&[hold(1, 3600, "KeepHeld")]);
    assert_eq!(bench.outcome(HOST, 1).await["result"], "Done");
    assert_eq!(bench.causes(HOST), ["report", "outcome"]);
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    running.want(&[hold(2, 3600, "KeepHeld")]);
    assert_eq!(
        bench.outcome(HOST, 2).await["reason"],
        "PowerStateUnexpected"
    );
    assert!(bench.bmc.effects().is_empty());
    running.end().await;
}

#[tokio::test]
async fn a_hold_whose_end_is_not_understood_is_refused() {
    let bench = bench();
    let running = bench.start(MachineKind::Host);
    running.want(&[hold(1, 3600, "HandOver")]);
    let outcome = bench.outcome(HOST, 1).await;
    assert_eq!(outcome["reason"], "ActionUnknown");
    assert!(outcome["message"].as_str().unwrap().contains("HandOver"));
    assert!(bench.site.orders.get("c1").unwrap().is_none());
    running.end().await;
}

#[tokio::test]
async fn a_bmc_with_a_new_key_is_a_stranger_only_where_nothing_else_proves_it() {
    let bench = bench();
    let attempt = Attempt {
        released: OrderState::ReleasedOffline,
        again: true,
        up_within: Duration::ZERO,
    };
    bench.bmc.set(|facts| {
        facts.identity.tls_pin = Some("cd".repeat(32).parse().unwrap());
    });
    for (trust, pin, released) in [
        (Trust::CaBundle("PEM".to_owned()), Some("ab"), true),
        (Trust::NoVerification, Some("ab"), false),
        (Trust::NoVerification, Some("cd"), true),
        // As `--accept-new-key` leaves it.
        (Trust::NoVerification, None, true),
    ] {
        let mut order = samples::order();
        order.access.trust = trust;
        order.expects.bmc_key_pin = pin.map(|byte| byte.repeat(32));
        let carried = carry_out(&bench.site.orders, &mut order, &bench.bmc, attempt).await;
        let is_released = matches!(carried.unwrap(), Carried::Released(_));
        assert_eq!(is_released, released, "{pin:?}");
        bench.site.orders.remove("h1").unwrap();
    }
}

#[tokio::test]
async fn an_expired_order_releases_the_host_while_the_api_server_is_gone() {
    let bench = bench();
    with_policy(&bench.bmc);
    let running = bench.start(MachineKind::Host);
    running.want(&[hold(1, 1, "RestoreAndRelease")]);
    assert_eq!(bench.outcome(HOST, 1).await["result"], "Done");
    bench.api.vanish(true);
    // Not even the Lease is needed.
    bench.site.mandate.end();
    let ending = CancellationToken::new();
    let custodian = tokio::spawn(Custodian::new(Arc::clone(&bench.site)).run(ending.clone()));
    for _ in 0..3000 {
        let order = bench.site.orders.get("c1").unwrap().unwrap();
        if order.state == OrderState::ExpiredReleased {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        bench.bmc.effects(),
        ["restore AlwaysOff", "restore LastState", "power On"]
    );
    bench.api.vanish(false);
    // The hold is on record until the operator has read the custody.
    running.input.send_modify(|input| {
        input.held = true;
        input.directives.clear();
    });
    bench
        .api
        .until(HOST, |report| {
            report["spec"]["custody"]["state"] == "ExpiredReleased"
        })
        .await;
    running.input.send_modify(|input| input.held = false);
    bench
        .api
        .until(HOST, |report| report["spec"]["custody"].is_null())
        .await;
    ending.cancel();
    custodian.await.unwrap();
    running.end().await;
}
