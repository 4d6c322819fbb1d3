//! From a directive to its outcome.

use lockstep_crds::directive::HostExpects;
use lockstep_crds::observed::PowerState as PowerStateSeen;

use super::*;

#[tokio::test]
async fn an_effect_is_accepted_first_sent_once_and_told_with_its_facts() {
    let bench = bench();
    let running = bench.start(MachineKind::Card);
    running.want(&[directive(1, "PowerOn")]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done");
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["power"], "On");
    assert_eq!(report["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    // The directive stays on record for a while; nothing more happens.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(bench.bmc.effects(), ["power On"]);
    assert_eq!(bench.causes(CARD), ["report", "accept", "outcome"]);
    running.end().await;
}

#[tokio::test]
async fn what_needs_no_effect_or_is_refused_is_one_write() {
    let bench = bench();
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    let running = bench.start(MachineKind::Card);
    bench.api.until(CARD, |_| true).await;
    running.want(&[directive(1, "PowerOn")]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let mut stranger = directive(2, "ForceOff");
    stranger.expects.identity.serial_number = Some("other".to_owned());
    let mut late = samples::directive(3, "ForceOff");
    late.target.uid = "uid-1".to_owned();
    running.want(&[stranger]);
    assert_eq!(bench.outcome(CARD, 2).await["reason"], "IdentityMismatch");
    running.want(&[late]);
    assert_eq!(bench.outcome(CARD, 3).await["reason"], "DirectiveExpired");
    assert!(bench.bmc.effects().is_empty());
    assert_eq!(
        bench.causes(CARD),
        ["report", "outcome", "outcome", "outcome"]
    );
    running.end().await;
}

#[tokio::test]
async fn a_card_that_is_armed_no_more_is_not_restarted() {
    let bench = bench();
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    let running = bench.start(MachineKind::Card);
    bench.api.until(CARD, |_| true).await;
    running.want(&[directive(1, "RestartCard")]);
    assert_eq!(bench.outcome(CARD, 1).await["reason"], "NotArmed");
    assert!(bench.bmc.effects().is_empty());
    running.end().await;
}

#[tokio::test]
async fn hands_off_and_a_lost_lease_stop_every_effect() {
    let bench = bench();
    let running = bench.start(MachineKind::Card);
    bench.api.until(CARD, |_| true).await;
    running.input.send_modify(|input| {
        input.hands_off = true;
        input.directives = vec![directive(1, "PowerOn")];
    });
    assert_eq!(bench.outcome(CARD, 1).await["reason"], "HandsOff");
    bench.site.mandate.end();
    running.input.send_modify(|input| {
        input.hands_off = false;
        input.directives = vec![directive(2, "PowerOn")];
    });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        bench.api.get(CARD).unwrap()["spec"]["execution"]["accepted"],
        1
    );
    bench.site.mandate.extend_from(Instant::now());
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    running.end().await;
}

#[tokio::test]
async fn an_acceptance_that_cannot_be_recorded_is_no_acceptance() {
    let bench = bench();
    let running = bench.start(MachineKind::Card);
    bench.api.until(CARD, |_| true).await;
    bench.api.refuse(Some("lockstep-agent/accept"));
    running.want(&[directive(1, "PowerOn")]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Failed");
    assert_eq!(outcome["reason"], "AcceptanceNotRecorded");
    assert!(bench.bmc.effects().is_empty());
    running.end().await;
}

#[tokio::test]
async fn a_lost_reply_is_looked_for_and_never_sent_again() {
    let bench = bench();
    bench.bmc.lose_replies(true);
    let running = bench.start(MachineKind::Card);
    running.want(&[directive(1, "PowerOn")]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done");
    assert!(
        outcome["message"]
            .as_str()
            .unwrap()
            .contains("reply was lost")
    );
    bench.bmc.numb();
    running.want(&[directive(2, "ForceOff")]);
    let outcome = bench.outcome(CARD, 2).await;
    assert_eq!(outcome["result"], "Unknown");
    assert_eq!(outcome["reason"], "EffectNotSeen");
    assert_eq!(bench.bmc.effects(), ["power On", "power ForceOff"]);
    running.end().await;
}

#[tokio::test]
async fn what_a_stranger_shows_is_no_effect_and_is_told_meanwhile() {
    let bench = bench();
    bench.bmc.numb();
    let running = bench.start(MachineKind::Card);
    let mut wanted = directive(1, "PowerOn");
    wanted.settle_seconds = 5;
    running.want(&[wanted]);
    bench
        .api
        .until(CARD, |report| report["spec"]["execution"]["accepted"] == 1)
        .await;
    bench.bmc.set(|facts| {
        facts.identity.serial_number = Some("stranger".to_owned());
        facts.power = Reading::Read(PowerState::On);
    });
    let report = bench
        .api
        .until(CARD, |report| report["spec"]["bmc"]["power"] == "On")
        .await;
    assert!(report["spec"]["execution"]["outcome"].is_null());
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Unknown");
    running.end().await;
}

#[tokio::test]
async fn an_effect_that_is_looked_for_at_the_end_is_looked_for_by_the_next_process() {
    let bench = bench();
    bench.bmc.numb();
    let running = bench.start(MachineKind::Card);
    let mut wanted = directive(1, "PowerOn");
    wanted.settle_seconds = 60;
    running.want(std::slice::from_ref(&wanted));
    for _ in 0..1000 {
        if !bench.bmc.effects().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.end().await;
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["execution"], json!({"accepted": 1}));
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    let running = bench.start(MachineKind::Card);
    running.want(&[wanted]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    assert_eq!(bench.bmc.effects(), ["power On"]);
    running.end().await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_begins_nothing() {
    let bench = bench();
    let (mut worker, _input, ending) = bench.worker(MachineKind::Card);
    ending.cancel();
    let progress = worker.carry_out(&directive(1, "PowerOn")).await.unwrap();
    assert_eq!(progress, Progress::Later);
    assert!(bench.bmc.effects().is_empty());
    assert!(bench.api.writes().is_empty());
}

#[tokio::test]
async fn a_restart_tells_what_became_and_repeats_nothing() {
    for (acting, on, result) in [
        (false, false, "Failed"),
        (true, false, "Unknown"),
        (true, true, "Done"),
    ] {
        let bench = bench();
        let key = MachineKey {
            kind: MachineKind::Card,
            name: "c1".to_owned(),
        };
        let wanted = directive(4, "PowerOn");
        let mut journal = Journal::new(&bench.site.config.state_dir, &key);
        journal.load().unwrap();
        journal.accept(&wanted).unwrap();
        if acting {
            journal.act(&wanted).unwrap();
        }
        if on {
            bench
                .bmc
                .set(|facts| facts.power = Reading::Read(PowerState::On));
        }
        let running = bench.start(MachineKind::Card);
        running.want(&[wanted]);
        let outcome = bench.outcome(CARD, 4).await;
        assert_eq!(outcome["result"], result);
        assert_eq!(outcome["reason"], "ExecutorRestarted");
        assert!(bench.bmc.effects().is_empty());
        running.end().await;
    }
}

#[tokio::test]
async fn an_api_server_that_was_set_back_learns_what_was_accepted() {
    let bench = bench();
    let running = bench.start(MachineKind::Card);
    bench.api.until(CARD, |_| true).await;
    let snapshot = bench.api.get(CARD).unwrap();
    running.want(&[directive(1, "PowerOn")]);
    bench.outcome(CARD, 1).await;
    bench.api.put(CARD, snapshot);
    running.input.send_modify(|input| input.resync += 1);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    assert_eq!(bench.bmc.effects(), ["power On"]);
    running.end().await;
}

#[tokio::test]
async fn the_host_is_looked_at_just_before_its_cards_power_is_changed() {
    let bench = bench();
    let host = bench.start(MachineKind::Host);
    let card = bench.start(MachineKind::Card);
    let who = directive(1, "PowerOn").expects.identity;
    host.input.send_modify(|input| input.identity = Some(who));
    bench.api.until(HOST, |_| true).await;
    bench.api.until(CARD, |_| true).await;
    let beside = |seq, power| {
        let mut directive = directive(seq, "PowerOn");
        directive.expects.host = Some(HostExpects {
            name: "c1".to_owned(),
            uid: "uid-1".to_owned(),
            power,
            without_update: false,
        });
        directive
    };
    card.want(&[beside(1, PowerStateSeen::On)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(
        (&outcome["result"], &outcome["reason"]),
        (&json!("Failed"), &json!("HostPowerUnexpected"))
    );
    assert!(bench.bmc.effects().is_empty());
    card.want(&[beside(2, PowerStateSeen::Off)]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    assert_eq!(bench.bmc.effects(), ["power On"]);
    card.end().await;
    host.end().await;
}
