//! Addresses at which one machine answers now, and another then.

use std::time::Duration;

use tokio::time::Instant;

use super::fleet::{Bench, bench, range, until, unverified};

const MINUTE: Duration = Duration::from_secs(60);
const KEY: &str = "https://10.0.0.1";

/// For so long, one machine and the other answer in turn, for `turn` each. Tells how often the
/// address was read whole, and how many writes that led to.
async fn alternate(
    bench: &Bench,
    turn: Duration,
    within: Duration,
    change: impl Fn(&Bench, &str),
) -> (usize, usize) {
    let before = (bench.fleet.calls("explore").len(), bench.writes());
    let begun = Instant::now();
    for serial in ["SN-2", "SN-1"].into_iter().cycle() {
        if begun.elapsed() >= within {
            break;
        }
        change(bench, serial);
        tokio::time::sleep(turn).await;
    }
    let reads = bench.fleet.calls("explore").len() - before.0;
    (reads, bench.writes() - before.1)
}

#[tokio::test(start_paused = true)]
async fn an_address_at_which_two_machines_take_turns_is_read_ever_less_often_and_told() {
    for turn in [MINUTE, 2 * MINUTE, Duration::from_secs(95)] {
        let bench = bench(&unverified("[10.0.0.1]"));
        bench.fleet.put(KEY, "SN-1");
        let search = bench.start();
        bench.all_told().await;
        let replace = |bench: &Bench, serial: &str| bench.fleet.replace(KEY, serial);
        alternate(&bench, turn, 12 * MINUTE, replace).await;
        assert_eq!(bench.failed(KEY).as_deref(), Some("MachinesAlternate"));
        let (reads, writes) = alternate(&bench, turn, 180 * MINUTE, replace).await;
        // Ten minutes apart, of which a half may be spread; not a hundred and more.
        assert!((10..=40).contains(&reads), "{reads} with {turn:?}");
        // Neither machine goes and comes back in turn.
        assert!(writes <= 4, "{writes} with {turn:?}");
        assert_eq!(bench.failed(KEY).as_deref(), Some("MachinesAlternate"));
        // One of them goes.
        bench.fleet.replace(KEY, "SN-1");
        until(25 * MINUTE, "that is over", || bench.failed(KEY).is_none()).await;
        let spec = bench.found("SN-1").unwrap();
        assert_eq!(spec["reachable"]["ok"], true, "{spec}");
        until(20 * MINUTE, "the other is missing", || {
            bench.is_missing("SN-2")
        })
        .await;
        tokio::time::sleep(2 * MINUTE).await;
        let reads = bench.fleet.calls("explore").len();
        tokio::time::sleep(60 * MINUTE).await;
        assert!(bench.fleet.calls("explore").len() <= reads + 2);
        assert!(!bench.is_missing("SN-1"));
        search.end().await;
    }
}

/// The key stays, so that only reading tells which of them it is.
#[tokio::test(start_paused = true)]
async fn a_bmc_that_shows_now_one_machine_and_now_another_is_read_ever_less_often_and_told() {
    let bench = bench(&format!(
        "{}\n  refreshSeconds: 600",
        range("addresses: [10.0.0.1]")
    ));
    bench.fleet.put(KEY, "SN-1");
    let search = bench.start();
    bench.all_told().await;
    let change = |bench: &Bench, serial: &str| {
        bench
            .fleet
            .change(KEY, |bmc| bmc.serial = serial.to_owned());
    };
    alternate(&bench, Duration::from_secs(66), 30 * MINUTE, change).await;
    assert_eq!(bench.failed(KEY).as_deref(), Some("MachinesAlternate"));
    let (reads, _) = alternate(&bench, Duration::from_secs(66), 240 * MINUTE, change).await;
    // It is read every ten minutes in any case.
    assert!((20..=80).contains(&reads), "{reads}");
    search.end().await;
}
