//! Many endpoints, some of them dead, slow or silent; and what it costs when nothing changes.

use std::time::Duration;

use lockstep_redfish::{Service, SpkiPin};
use tokio::time::Instant;

use crate::site::attended::Attendance;

use super::fleet::{Bench, Manner, bench, range, until};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// 200 endpoints, listed or in a network; every `every`th of them behaves in that manner.
fn fleet(bench: &Bench, manners: &[(usize, Manner)]) -> Vec<String> {
    let mut live = Vec::new();
    for number in 1..=200 {
        let (key, serial) = (format!("https://10.0.0.{number}"), format!("SN-{number}"));
        bench.fleet.put(&key, &serial);
        let odd = manners.iter().find(|(at, _)| number % 20 == *at);
        match odd {
            Some((_, manner)) => bench.fleet.change(&key, |bmc| bmc.manner = *manner),
            None => live.push(serial),
        }
    }
    live
}

async fn all_found(bench: &Bench, live: &[String]) {
    until(20 * MINUTE, "every live endpoint is found", || {
        live.iter().all(|serial| bench.found(serial).is_some())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dead_and_hanging_endpoints_cost_their_neighbours_nothing() {
    for place in ["networks: [10.0.0.0/24]", &listed()] {
        let mut took = Vec::new();
        let mut slowest = Vec::new();
        for manners in [
            &[][..],
            &[
                (3, Manner::Dead),
                (7, Manner::Refuses),
                (11, Manner::Hangs),
                (13, Manner::Slow),
            ],
        ] {
            let bench = bench(&format!("{}\n  concurrency: 40", range(place)));
            let mut live = fleet(&bench, manners);
            let begun = Instant::now();
            let search = bench.start();
            all_found(&bench, &live).await;
            took.push(Instant::now() - begun);
            live.sort();
            let durations = bench.fleet.durations();
            let of_live = live.iter().map(|serial| {
                let key = format!("https://10.0.0.{}", serial.trim_start_matches("SN-"));
                durations[&key]
            });
            slowest.push(of_live.max().unwrap());
            if !manners.is_empty() {
                until(20 * MINUTE, "slow ones are found, too", || {
                    bench.found("SN-13").is_some()
                })
                .await;
                let silent = place.contains("networks");
                until(20 * MINUTE, "every outcome is told", || {
                    bench.failed("https://10.0.0.7").as_deref() == Some("ReadFailed")
                        && bench.failed("https://10.0.0.11").as_deref() == Some("NoAnswer")
                        && (silent
                            || bench.failed("https://10.0.0.3").as_deref() == Some("Unreachable"))
                })
                .await;
            }
            search.end().await;
        }
        assert_eq!(slowest[0], slowest[1], "{place}");
        // One hanging endpoint in twenty holds each its slot for its patience, once.
        assert!(
            took[1] <= took[0] + Duration::from_secs(5),
            "{place}: {took:?}"
        );
    }
}

/// BMCs that tell who they are and then nothing more, as some do under load.
#[tokio::test(start_paused = true)]
async fn endpoints_that_stall_while_they_are_read_cost_their_neighbours_next_to_nothing() {
    let mut took = Vec::new();
    for stalls in [false, true] {
        let bench = bench(&range("networks: [10.0.0.0/22]"));
        let mut live = Vec::new();
        for number in 0..1000 {
            let key = format!("https://10.0.{}.{}", number / 250, 1 + number % 250);
            let serial = format!("SN-{number}");
            bench.fleet.put(&key, &serial);
            if number % 20 == 7 {
                if stalls {
                    bench.fleet.change(&key, |bmc| bmc.manner = Manner::Stalls);
                }
            } else {
                live.push(serial);
            }
        }
        let begun = Instant::now();
        let search = bench.start();
        all_found(&bench, &live).await;
        took.push(Instant::now() - begun);
        search.end().await;
    }
    assert!(took[1] <= took[0] + Duration::from_secs(5), "{took:?}");
}

fn listed() -> String {
    let addresses: Vec<String> = (1..=200).map(|number| format!("10.0.0.{number}")).collect();
    format!("addresses: [{}]", addresses.join(", "))
}

#[tokio::test(start_paused = true)]
async fn when_nothing_changes_nothing_is_written_and_a_bmc_gets_one_small_request_a_poll() {
    let bench = bench(&format!(
        "{}\n  scanIntervalSeconds: 600",
        range("networks: [10.0.0.0/28, 'fd00::10/126']")
    ));
    for number in 1..=5 {
        bench
            .fleet
            .put(&format!("https://10.0.0.{number}"), &format!("SN-{number}"));
    }
    bench.fleet.put("https://[fd00::11]", "SN-6");
    let search = bench.start();
    bench.all_told().await;
    let scan = bench.api.get("dpureports/scan-s").unwrap();
    assert_eq!(scan["spec"]["scan"]["identified"], 6);
    // Fourteen addresses and four, less those that answer.
    assert_eq!(scan["spec"]["scan"]["silent"], 12);
    assert_eq!(bench.writes(), 7);

    let (begun, before) = (Instant::now(), bench.fleet.calls("identify").len());
    let knocks = bench.fleet.calls("knock").len();
    tokio::time::sleep(2 * HOUR).await;
    let polls = usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
    let asked = bench.fleet.calls("identify").len() - before;
    assert!(
        asked <= 6 * polls && asked > 3 * polls,
        "{asked} in {polls}"
    );
    assert_eq!(bench.fleet.calls("explore").len(), 6);
    let knocked = bench.fleet.calls("knock").len() - knocks;
    assert!(knocked <= 12 * 12, "{knocked}");

    // A reading of everything that shows nothing new is no news either.
    tokio::time::sleep(6 * HOUR).await;
    assert!(bench.fleet.calls("explore").len() >= 12);
    assert_eq!(bench.writes(), 7);
    search.end().await;

    // Nor is a new process.
    let again = bench.start();
    tokio::time::sleep(HOUR).await;
    assert!(bench.fleet.calls("explore").len() >= 18);
    assert_eq!(bench.writes(), 7);
    again.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_bmc_that_a_worker_looks_at_is_not_asked_by_the_search_too() {
    for (key, asks) in [("key of SN-1", false), ("another key", true)] {
        let bench = bench(&range("addresses: [10.0.0.1]"));
        bench.fleet.put("https://10.0.0.1", "SN-1");
        let search = bench.start();
        until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
        let begun = Instant::now();
        let before = bench.fleet.calls("identify").len();
        // As a worker does, at its slowest.
        while begun.elapsed() < HOUR {
            let attendance = Attendance {
                at: Instant::now(),
                pin: Some(SpkiPin::of(key.as_bytes())),
                machine: None,
                service: None,
            };
            bench
                .means
                .site
                .attended
                .saw("https://10.0.0.1:443/", attendance);
            tokio::time::sleep(MINUTE.mul_f64(1.2)).await;
        }
        let asked = bench.fleet.calls("identify").len() - before;
        assert_eq!(asked > 40, asks, "{asked}");
        assert!(asks || asked == 0, "{asked}");
        // No longer seen there, it is looked for.
        bench.means.site.attended.lost("https://10.0.0.1");
        bench
            .fleet
            .change("https://10.0.0.1", |bmc| bmc.manner = Manner::Dead);
        until(20 * MINUTE, "it is missing", || bench.is_missing("SN-1")).await;
        search.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_its_worker_sees_to_be_another_is_read_at_once_and_asked_for_no_more() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    let key = "https://10.0.0.1";
    bench.fleet.put(key, "SN-1");
    let search = bench.start();
    until(MINUTE, "it is found", || bench.found("SN-1").is_some()).await;
    let updated = |version: &str| Service {
        uuid: None,
        redfish_version: Some(version.to_owned()),
    };
    // The worker reads it whole every ten minutes, and looks at its system in between.
    let work = async |service: &dyn Fn(usize) -> Service, minutes: usize| {
        let mut whole_at = Instant::now();
        for minute in 0..minutes {
            if minute % 10 == 5 {
                whole_at = Instant::now();
            }
            let attendance = Attendance {
                at: Instant::now(),
                pin: Some(SpkiPin::of(b"key of SN-1")),
                machine: None,
                service: Some((whole_at, service(minute))),
            };
            bench.means.site.attended.saw(key, attendance);
            tokio::time::sleep(MINUTE).await;
        }
    };
    let count = |verb: &str| bench.fleet.calls(verb).len();
    work(&|_| updated("1.18.0"), 30).await;
    assert_eq!((count("explore"), count("identify")), (1, 1));
    bench
        .fleet
        .change(key, |bmc| bmc.service = updated("1.20.0"));
    // Until it has read the root again it passes on what it knew.
    let seen = |minute| updated(if minute < 5 { "1.18.0" } else { "1.20.0" });
    work(&seen, 9).await;
    assert_eq!((count("explore"), count("identify")), (2, 2));
    work(&|_| updated("1.20.0"), 60).await;
    assert_eq!((count("explore"), count("identify")), (2, 2));
    // Where the two never see the same, that costs one look for each time that it is news.
    work(&|_| updated("1.6.0"), 60).await;
    assert_eq!(count("explore"), 2);
    assert!(count("identify") <= 2 + 7, "{}", count("identify"));
    search.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_begun_is_finished_before_the_end() {
    let bench = bench(&range("addresses: [10.0.0.1]"));
    bench.fleet.put("https://10.0.0.1", "SN-1");
    let search = bench.start();
    until(MINUTE, "it is read", || {
        !bench.fleet.calls("explore").is_empty()
    })
    .await;
    search.end().await;
    assert_eq!(bench.fleet.durations().len(), 1);
}
