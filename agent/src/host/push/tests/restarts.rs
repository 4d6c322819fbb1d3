//! Processes that end, are killed, or lose what they reported.

use super::*;
use crate::site::journal::Stage;

/// A process that died with this directive accepted, which had come so far.
async fn after_a_crash(bench: &mut Bench, stage: Option<Stage>) -> (String, String, String) {
    let directive = bench.directive(7);
    bench.want(&directive, "Trusted");
    let mut report = bench
        .api
        .until(REPORT, |report| report["spec"].is_object())
        .await;
    report["spec"]["execution"] = json!({"accepted": 7});
    for task in bench.tasks.drain(1..) {
        task.abort();
    }
    bench.api.put(REPORT, report);
    let directive: Directive = serde_json::from_value(directive).unwrap();
    let mut journal = bench.pusher.journal(&directive);
    journal.load().unwrap();
    match stage {
        Some(Stage::Accepted) => journal.accept(&directive).unwrap(),
        Some(Stage::Acting) => journal.act(&directive).unwrap(),
        Some(Stage::Sent) => journal.sent(&directive).unwrap(),
        Some(Stage::Ended) | None => {}
    }
    let root = bench.imitation.root().to_owned();
    let (pusher, task) = agent(&bench.api, &root, &bench.store, bench.work.path());
    bench.pusher = pusher;
    bench.tasks.push(task);
    bench.outcome(7).await
}

#[tokio::test]
async fn after_a_crash_nothing_is_pushed_again_and_the_card_tells_what_became_of_it() {
    for (stage, up, wanted) in [
        (Some(Stage::Accepted), 0, "Failed"),
        // It has run for a day: nobody has reset it.
        (Some(Stage::Acting), 86_400, "Failed"),
        (None, 86_400, "Failed"),
        // It was reset, and is installing still.
        (Some(Stage::Acting), 0, "Done"),
        (None, 0, "Done"),
    ] {
        let mut bench = bench().await;
        {
            let mut card = bench.imitation.card();
            card.installs(Duration::from_millis(300));
            card.has_been_up(Duration::from_secs(up));
        }
        if up == 0 && stage != Some(Stage::Accepted) {
            drop(
                fs::OpenOptions::new()
                    .write(true)
                    .open(bench.imitation.file("boot"))
                    .unwrap(),
            );
        }
        let resets = bench.imitation.card().resets;
        let (result, _, message) = after_a_crash(&mut bench, stage).await;
        assert_eq!(result, wanted, "{stage:?} {up}: {message}");
        bench.pusher.turn().await.unwrap();
        assert_eq!(bench.imitation.card().resets, resets);
    }
}

/// The card was reset, and whoever pushed died: before the end of the image, or after.
#[tokio::test]
async fn a_push_that_was_cut_off_by_a_crash_is_told_once_the_card_has_said_nothing() {
    let started = "INFO[BL2]: start";
    let installing = "INFO[MISC]: Ubuntu installation started";
    let broken = ("Partly", "PushBroken");
    let silent = ("Unknown", "InstallerSilent");
    for (stage, before, later, wanted) in [
        (Some(Stage::Acting), started, None, broken),
        // It says of an install that it goes on, then or by now: it got what it needs.
        (Some(Stage::Acting), installing, None, silent),
        (Some(Stage::Acting), started, Some(installing), silent),
        // Everything was handed over, so it may take its time.
        (Some(Stage::Sent), started, None, silent),
        (None, started, None, silent),
    ] {
        let mut bench = bench().await;
        let boot = fs::OpenOptions::new()
            .write(true)
            .open(bench.imitation.file("boot"))
            .unwrap();
        {
            let mut card = bench.imitation.card();
            card.says(Duration::ZERO, &[before]);
            let later = later.map(|line| (Duration::from_millis(400), line.to_owned()));
            card.script.extend(later);
        }
        drop(boot);
        while bench.imitation.card().boot_open {
            tokio::task::yield_now().await;
        }
        // Its time is over in three seconds.
        bench.accept_within = -17;
        let (result, reason, message) = after_a_crash(&mut bench, stage).await;
        assert_eq!(
            (&*result, &*reason),
            wanted,
            "{stage:?} {later:?}: {message}"
        );
        bench.pusher.turn().await.unwrap();
        assert_eq!(bench.imitation.card().resets, 1);
    }
}

#[tokio::test]
async fn that_somebody_takes_directives_stands_in_the_report_before_there_is_any() {
    let mut bench = bench().await;
    bench.pusher.turn().await.unwrap();
    let execution = &bench.api.get(REPORT).unwrap()["spec"]["execution"];
    assert_eq!(*execution, json!({"accepted": 0}));
    // A process that finds that was not in the middle of anything.
    let root = bench.imitation.root().to_owned();
    for task in bench.tasks.drain(1..) {
        task.abort();
    }
    let (pusher, task) = agent(&bench.api, &root, &bench.store, bench.work.path());
    bench.pusher = pusher;
    bench.tasks.push(task);
    bench.imitation.card().installs(Duration::from_millis(5));
    let directive = bench.directive(1);
    bench.want(&directive, "Trusted");
    let (result, _, message) = bench.outcome(1).await;
    assert_eq!(result, "Done", "{message}");
}

/// The process dies after it has reset the card, and the report is deleted before the next one
/// runs; the directive is still open.
#[tokio::test]
async fn a_card_is_not_reset_again_because_a_report_is_lost() {
    let mut bench = bench().await;
    bench.imitation.card().installs(Duration::from_millis(300));
    drop(
        fs::OpenOptions::new()
            .write(true)
            .open(bench.imitation.file("boot"))
            .unwrap(),
    );
    assert_eq!(bench.imitation.card().resets, 1);
    let directive = bench.directive(7);
    bench.want(&directive, "Trusted");
    let directive: Directive = serde_json::from_value(directive).unwrap();
    let mut journal = bench.pusher.journal(&directive);
    journal.load().unwrap();
    journal.act(&directive).unwrap();
    let (result, _, message) = bench.outcome(7).await;
    assert_eq!(result, "Done", "{message}");
    bench.pusher.turn().await.unwrap();
    assert_eq!(bench.imitation.card().resets, 1);
}

/// The card says that its install is finished, then the process dies, then the card is ready.
#[tokio::test]
async fn an_install_that_ended_between_two_processes_is_found_to_have_been_one() {
    for (told_of, wanted) in [
        (Some("INFO[MISC]: Installation finished"), "Done"),
        // Nothing there speaks of an install; the card's own agent will tell.
        (None, "Unknown"),
    ] {
        let mut bench = bench().await;
        {
            let mut card = bench.imitation.card();
            card.says(Duration::ZERO, &["INFO[BL2]: start"]);
            card.script
                .extend(told_of.map(|line| (Duration::ZERO, line.to_owned())));
            let ready = "INFO[MISC]: DPU is ready".to_owned();
            card.script.push((Duration::from_millis(500), ready));
        }
        drop(
            fs::OpenOptions::new()
                .write(true)
                .open(bench.imitation.file("boot"))
                .unwrap(),
        );
        let mut directive = bench.directive(7);
        let issued = clock::now().0 - SignedDuration::from_secs(600);
        directive["issuedAt"] = json!(issued.to_string());
        bench.want(&directive, "Trusted");
        let directive: Directive = serde_json::from_value(directive).unwrap();
        let mut journal = bench.pusher.journal(&directive);
        journal.load().unwrap();
        journal.act(&directive).unwrap();
        let (result, reason, message) = bench.outcome(7).await;
        assert_eq!(result, wanted, "{reason}: {message}");
    }
}

/// A turn that goes on while the process is asked to end.
async fn ends_during(mut bench: Bench, begun: impl Fn(&Bench) -> bool) -> Bench {
    let ending = bench.pusher.ending.clone();
    let root = bench.imitation.root().to_owned();
    let (idle, task) = agent(&bench.api, &root, &bench.store, bench.work.path());
    task.abort();
    let mut pusher = std::mem::replace(&mut bench.pusher, idle);
    let turn = tokio::spawn(async move { pusher.turn().await });
    while !begun(&bench) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ending.cancel();
    turn.await.unwrap().unwrap();
    bench
}

#[tokio::test]
async fn a_process_that_is_asked_to_end_finishes_a_push_and_leaves_the_log_to_the_next() {
    let mut bench = bench().await;
    bench.lengthen(1 << 20);
    bench.imitation.card().rate = Some(2 << 20);
    bench.imitation.card().installs(Duration::from_millis(100));
    let directive = bench.directive(1);
    bench.want(&directive, "Trusted");
    bench = ends_during(bench, |bench| bench.imitation.card().boot_open).await;
    assert!(bench.imitation.card().received == bench.laid());
    let report = bench.api.get(REPORT).unwrap();
    assert_eq!(report["spec"]["execution"], json!({"accepted": 1}));
    // The Pod goes, and its successor follows the log.
    for task in bench.tasks.drain(1..) {
        task.abort();
    }
    let root = bench.imitation.root().to_owned();
    let (pusher, task) = agent(&bench.api, &root, &bench.store, bench.work.path());
    bench.pusher = pusher;
    bench.tasks.push(task);
    let (result, _, message) = bench.outcome(1).await;
    assert_eq!(result, "Done", "{message}");
    assert_eq!(bench.imitation.card().resets, 1);
}

#[tokio::test]
async fn a_process_that_is_asked_to_end_begins_no_push() {
    let mut bench = bench().await;
    bench.site.lock().unwrap().hangs = true;
    let directive = bench.directive(1);
    bench.want(&directive, "Trusted");
    bench = ends_during(bench, |bench| {
        let asked = &bench.site.lock().unwrap().asked;
        asked.contains(&"own")
    })
    .await;
    let report = bench.api.get(REPORT).unwrap();
    let outcome = &report["spec"]["execution"]["outcome"];
    assert_eq!(outcome["result"], "Failed", "{outcome}");
    assert_eq!(outcome["reason"], "ExecutorEnding", "{outcome}");
    assert_eq!(bench.imitation.card().resets, 0);
}
