//! What a push may take: of its time, and of the host.

use lockstep_rshim::Rshim;

use super::*;

/// No time is needed beside that for the bytes, and almost none for those.
const AT_ONCE: Pace = Pace {
    bytes_per_second: u64::MAX,
    beside: Duration::ZERO,
};

#[tokio::test]
async fn no_push_begins_that_could_not_be_over_when_the_operator_stops_waiting() {
    let mut bench = bench().await;
    // The directive is over in 80 s.
    bench.pusher.pace.beside = Duration::from_secs(100);
    let directive = bench.directive(1);
    bench.want(&directive, "Trusted");
    bench.refused(1, "TooLate").await;
    // It is only once the image is there that nothing is left.
    bench.pusher.pace = Pace {
        bytes_per_second: 1,
        beside: Duration::ZERO,
    };
    let directive = bench.directive(2);
    bench.want(&directive, "Trusted");
    let message = bench.refused(2, "TooLate").await;
    assert!(message.contains("bytes"), "{message}");
    // A store that hangs is given up in time.
    bench.pusher.pace.beside = Duration::from_secs(79);
    bench.site.lock().unwrap().hangs = true;
    let directive = bench.directive(3);
    bench.want(&directive, "Trusted");
    bench.refused(3, "TooLate").await;
}

impl Bench {
    /// A directive that is over in two seconds.
    fn brief(&self, seq: i64) -> Value {
        let mut directive = self.directive(seq);
        let deadline = clock::now().0 + SignedDuration::from_secs(1);
        directive["deadline"] = json!(deadline.to_string());
        directive["settleSeconds"] = json!(1);
        directive
    }
}

#[tokio::test]
async fn a_push_ends_with_its_directive_however_slow_the_card_is() {
    let mut bench = bench().await;
    bench.pusher.pace = AT_ONCE;
    bench.lengthen(4 << 20);
    bench.imitation.card().rate = Some(1 << 20);
    let directive = bench.brief(1);
    bench.want(&directive, "Trusted");
    let (result, reason, message) = bench.outcome(1).await;
    assert_eq!((&*result, &*reason), ("Partly", "PushBroken"), "{message}");
    assert!(message.contains("its time is over"), "{message}");
}

#[tokio::test]
async fn a_write_that_hangs_does_not_hold_the_agent_up() {
    let mut bench = bench().await;
    (bench.pusher.pace, bench.pusher.grace) = (AT_ONCE, Duration::ZERO);
    bench.imitation.card().rate = Some(20);
    let directive = bench.brief(1);
    bench.want(&directive, "Trusted");
    let (result, reason, message) = bench.outcome(1).await;
    assert_eq!((&*result, &*reason), ("Unknown", "PushHangs"), "{message}");
    // Its thread has the device still, and nobody pushes beside it.
    let directive = bench.directive(2);
    bench.want(&directive, "Trusted");
    let (result, reason, message) = bench.outcome(2).await;
    assert_eq!((&*result, &*reason), ("Failed", "RshimBusy"));
    assert!(
        message.contains("of this agent hangs") && message.contains("Restart the rshim driver"),
        "{message}"
    );
}

#[tokio::test]
async fn a_store_fills_no_disk_of_a_host() {
    let mut bench = bench().await;
    let most = usize::try_from(MOST).unwrap();
    bench.image.lock().unwrap().resize(most + 1, 0);
    for (seq, says_length) in [(1, true), (2, false)] {
        bench.site.lock().unwrap().hides_length = !says_length;
        let directive = bench.directive(seq);
        bench.want(&directive, "Trusted");
        let message = bench.refused(seq, "ImageTooLong").await;
        assert!(message.contains("--max-image-bytes"), "{message}");
    }
}

/// What a look has shown a while ago says nothing of now.
#[tokio::test]
async fn leave_that_is_old_opens_nothing() {
    let bench = bench().await;
    let digest = Digest::of(&bench.image.lock().unwrap());
    let source = &bench.pusher.source;
    let own = source.own("uid-c1").await.unwrap();
    let medium = source.medium("uid-c1", digest, own, 3).await;
    let (medium, _) = medium.unwrap();
    let rshim = Rshim::new(bench.imitation.root(), "rshim0").unwrap();
    let ready = ready(rshim, MACHINE_PATIENCE).await.unwrap();
    let directive: Directive = serde_json::from_value(bench.directive(1)).unwrap();
    let watch = bench.pusher.watch(&directive);
    let allowed = Instant::now() - Duration::from_secs(6);
    let end = push(ready, medium, allowed, watch, || {}).await;
    assert!(
        matches!(&end, Some(End::Failed(why)) if why.reason == "FactsTooOld"),
        "{end:?}"
    );
    assert_eq!(bench.imitation.card().resets, 0);
}
