//! Name and password of a pinned range, whatever happens around it.
//!
//! BMCs move, have a second address, fall silent and come back; strangers show what identity they
//! like, each with a key of its own; the agent restarts and reports are deleted. An address goes to
//! a key that was never shown the range's name and password only where nobody was before, where
//! whoever was there just got another address, or where a report was deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::fleet::{Bench, Call, Manner, bench, report_of, secret};

const MINUTE: Duration = Duration::from_secs(60);

/// Two addresses that are pinned, one without verification, one under a CA.
const PLACES: [&str; 4] = [
    "https://10.0.0.1",
    "https://10.0.0.2",
    "https://10.66.0.66",
    "https://10.77.0.77",
];
const PINNED: usize = 2;
const UNDER_CA: usize = 3;

const SECTION: &str = "  ranges:
    - {addresses: [10.0.0.1, 10.0.0.2], credentialsRef: {name: c}, tls: {trust: PinFirstSeen}}
    - {addresses: [10.66.0.66], credentialsRef: {name: guests}, tls: {trust: NoVerification}}
    - {addresses: [10.77.0.77], credentialsRef: {name: certified}, tls: {trust: Ca, caConfigMapRef: {name: ours}}}
  refreshSeconds: 3600";

const SERIALS: [&str; 3] = ["SN-1", "SN-2", "SN-9"];

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// The BMC of that serial number answers there, too.
    Answers(usize, usize),
    /// It answers there and nowhere else.
    Moves(usize, usize),
    /// Somebody else answers there, with that serial number and a key that nobody saw before.
    Stranger(usize, usize),
    Silent(usize),
    Restart,
    Deleted(usize),
}

fn events() -> impl Strategy<Value = Vec<(Event, Duration)>> {
    let place = 0..PLACES.len();
    let event = prop_oneof![
        3 => (0..2_usize, place.clone()).prop_map(|(who, at)| Event::Answers(who, at)),
        3 => (0..2_usize, place.clone()).prop_map(|(who, at)| Event::Moves(who, at)),
        // The authority certifies no stranger.
        4 => (0..UNDER_CA, 0..SERIALS.len()).prop_map(|(at, as_whom)| Event::Stranger(at, as_whom)),
        2 => place.prop_map(Event::Silent),
        2 => Just(Event::Restart),
        1 => (0..SERIALS.len()).prop_map(Event::Deleted),
    ];
    let while_ = prop_oneof![
        Just(Duration::from_secs(10)),
        Just(2 * MINUTE),
        Just(7 * MINUTE),
        Just(25 * MINUTE),
        Just(180 * MINUTE),
    ];
    prop::collection::vec((event, while_), 1..14)
}

/// Who was shown name and password at one address last.
#[derive(Clone, Debug, Default)]
struct Owner {
    key: Option<String>,
    /// The report of its BMC names this address beside its own.
    is_kept: bool,
    /// Its BMC was shown name and password at another one since.
    has_moved: bool,
}

/// What may be shown to whom.
#[derive(Debug, Default)]
struct Witness {
    owners: BTreeMap<String, Owner>,
    met: BTreeSet<String>,
    seen: usize,
}

impl Witness {
    /// Judges the logins since it looked last.
    fn look(&mut self, bench: &Bench) -> Result<(), TestCaseError> {
        let calls = bench.fleet.calls("explore");
        for call in calls.iter().skip(self.seen) {
            self.judge(call)?;
        }
        self.seen = calls.len();
        for (place, owner) in &mut self.owners {
            let has_key = |report: &serde_json::Value| {
                let endpoint = &report["found"]["endpoint"];
                let keys = ["pinnedKeySha256", "shownKeySha256"];
                let mut keys = keys.iter().filter_map(|field| endpoint[field].as_str());
                keys.any(|key| Some(key) == owner.key.as_deref())
            };
            let reports = SERIALS.iter().filter_map(|serial| bench.found(serial));
            for report in reports.filter(|report| names(report, place) && has_key(report)) {
                owner.is_kept = report["found"]["endpoint"]["address"] != *place;
            }
        }
        Ok(())
    }

    fn judge(&mut self, call: &Call) -> Result<(), TestCaseError> {
        let is_pinned = PLACES[..PINNED].contains(&call.to.as_str());
        let key = match &call.pinned {
            Some(key) if is_pinned => key.clone(),
            Some(_) | None => {
                prop_assert!(!is_pinned, "a login to whatever key answers: {call:?}");
                return Ok(());
            }
        };
        for (place, owner) in &mut self.owners {
            owner.has_moved |= *place != call.to && owner.key.as_ref() == Some(&key);
        }
        let owner = self.owners.entry(call.to.clone()).or_default();
        let is_free = owner.key.is_none() || owner.has_moved && !owner.is_kept;
        prop_assert!(
            is_free || self.met.contains(&key),
            "{call:?} where {owner:?} was"
        );
        if owner.key.as_ref() != Some(&key) {
            *owner = Owner::default();
        }
        owner.key = Some(key.clone());
        owner.has_moved = false;
        self.met.insert(key);
        Ok(())
    }

    /// Somebody deletes a report.
    fn deleted(&mut self, report: &serde_json::Value) {
        let key = report["found"]["endpoint"]["shownKeySha256"].as_str();
        for (place, owner) in &mut self.owners {
            if names(report, place) || key.is_some() && key == owner.key.as_deref() {
                *owner = Owner::default();
            }
        }
    }

    /// What no report tells outlives neither the agent nor what stood in its way.
    fn forgotten(&mut self, bench: &Bench) {
        let reports = SERIALS.iter().filter_map(|serial| bench.found(serial));
        let reports: Vec<serde_json::Value> = reports.collect();
        for (place, owner) in &mut self.owners {
            if !reports.iter().any(|report| names(report, place)) {
                *owner = Owner::default();
            }
        }
    }
}

/// Whether a report is about the BMC at that address.
fn names(report: &serde_json::Value, place: &str) -> bool {
    let also = report["found"]["alsoAt"].as_array();
    report["found"]["endpoint"]["address"] == place
        || also.is_some_and(|also| also.contains(&json!(place)))
}

async fn happen(events: Vec<(Event, Duration)>) -> Result<(), TestCaseError> {
    let bench = bench(SECTION);
    secret(&bench.api, "guests", "g", "b");
    secret(&bench.api, "certified", "e", "b");
    bench.api.put(
        "configmaps/ours",
        json!({"metadata": {"name": "ours"}, "data": {"ca.crt": "x"}}),
    );
    for place in PLACES {
        bench.fleet.put(place, "SN-0");
        bench.fleet.change(place, |bmc| bmc.manner = Manner::Dead);
    }
    let answers = |place: &str, serial: &str, key: String| {
        bench.fleet.change(place, |bmc| {
            bmc.manner = Manner::Answers;
            bmc.serial = serial.to_owned();
            bmc.key = Some(key);
        });
    };
    let own = |who: usize| format!("key of {}", SERIALS[who]);
    let silence = |who: usize| {
        for place in PLACES {
            bench.fleet.change(place, |bmc| {
                if bmc.key == Some(own(who)) {
                    bmc.manner = Manner::Dead;
                }
            });
        }
    };
    let mut witness = Witness::default();
    let mut search = bench.start();
    for (number, (event, pause)) in events.into_iter().enumerate() {
        match event {
            Event::Answers(who, at) => answers(PLACES[at], SERIALS[who], own(who)),
            Event::Moves(who, at) => {
                silence(who);
                answers(PLACES[at], SERIALS[who], own(who));
            }
            Event::Stranger(at, as_whom) => {
                answers(PLACES[at], SERIALS[as_whom], format!("stranger {number}"));
            }
            Event::Silent(at) => {
                bench
                    .fleet
                    .change(PLACES[at], |bmc| bmc.manner = Manner::Dead);
            }
            Event::Restart => {
                search.end().await;
                witness.look(&bench)?;
                witness.forgotten(&bench);
                search = bench.start();
            }
            Event::Deleted(whose) => {
                witness.look(&bench)?;
                if let Some(report) = bench.found(SERIALS[whose]) {
                    bench.api.remove(&report_of(SERIALS[whose]));
                    witness.deleted(&report);
                    witness.forgotten(&bench);
                }
            }
        }
        tokio::time::sleep(pause).await;
        witness.look(&bench)?;
    }
    // Whoever deletes every report and restarts the agent gets out of any of that.
    for place in PLACES {
        bench.fleet.change(place, |bmc| bmc.manner = Manner::Dead);
    }
    tokio::time::sleep(25 * MINUTE).await;
    search.end().await;
    for serial in SERIALS {
        bench.api.remove(&report_of(serial));
    }
    let search = bench.start();
    for who in 0..PINNED {
        answers(PLACES[who], SERIALS[who], own(who));
    }
    tokio::time::sleep(90 * MINUTE).await;
    for who in 0..PINNED {
        let found = bench.address(SERIALS[who]);
        prop_assert_eq!(
            found.as_deref(),
            Some(PLACES[who]),
            "{:?}",
            bench.failed(PLACES[who])
        );
    }
    search.end().await;
    Ok(())
}

/// A few for every run, each of some simulated hours; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let is_asked = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig {
        cases: if is_asked { usual.cases } else { 24 },
        failure_persistence: None,
        ..usual
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_pinned_range_shows_its_password_to_no_key_but_the_first(events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(happen(events))?;
    }
}
