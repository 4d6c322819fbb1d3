//! Machines that are gone: what nobody took up goes too, when enough time has passed.

use std::time::Duration;

use lockstep_crds::{Dpu, DpuReport};
use lockstep_operator::queue::Ended;
use lockstep_planner::inventory::join;

use crate::site::{Site, found};
use crate::support::*;

const HOUR: i64 = 3600;

fn missing(since: i64, version: u64) -> DpuReport {
    let mut report = found("https://10.0.0.7", version);
    let found = report.spec.found.as_mut().unwrap();
    found.missing_since = Some(serde_json::from_value(at(since).to_string().into()).unwrap());
    report
}

/// Lets hours pass, in which nothing comes.
fn wait(site: &mut Site, hours: u64) {
    site.now += Duration::from_secs(hours * 3600);
}

fn left(site: &Site) -> Vec<String> {
    let objects = site.server.objects().into_keys();
    let those = objects.filter(|path| path.starts_with("dpus/") || path.starts_with("dpuhosts/"));
    those.collect()
}

#[tokio::test]
async fn a_proposal_whose_machine_is_gone_for_a_day_is_withdrawn_though_nothing_comes() {
    let nothing: [&str; 0] = [];
    let mut site = Site::new(join, vec![]).await;
    site.see(found("https://10.0.0.7", 20));
    assert_eq!(
        site.settle().await.len(),
        2,
        "a card, and a host that stands in"
    );
    site.see(missing(HOUR, 21));
    wait(&mut site, 24);
    assert_eq!(site.settle().await, nothing);
    assert_eq!(left(&site).len(), 2);
    // Nobody has to wake it for that.
    let (outcome, _) = site.pass(5).await;
    let Ended::Again(at) = outcome.ended else {
        panic!("{outcome:?}");
    };
    assert!(at <= site.now + Duration::from_secs(600), "{outcome:?}");

    wait(&mut site, 1);
    let (_, seen) = site.pass(5).await;
    let event = seen.iter().find(|one| one.path == "events").unwrap();
    assert_eq!(event.body["reason"], "Withdrawn");
    let note = event.body["note"].as_str().unwrap();
    assert!(
        note.contains("proposed again when the machine is back"),
        "{note}"
    );
    site.sync();
    assert_eq!(
        site.settle().await,
        nothing,
        "it does not come back by itself"
    );
    assert_eq!(left(&site), nothing);

    site.see(found("https://10.0.0.7", 22));
    assert_eq!(site.settle().await.len(), 2, "it is back");
    assert_eq!(left(&site).len(), 2);
}

#[tokio::test]
async fn what_a_person_took_up_stays_however_long_it_is_gone() {
    let nothing: [&str; 0] = [];
    let mut site = Site::new(join, vec![]).await;
    site.see(found("https://10.0.0.7", 20));
    site.settle().await;
    let card = left(&site)
        .into_iter()
        .find(|path| path.starts_with("dpus/"))
        .unwrap();
    site.server.write(&card, |object| {
        object["spec"]["approved"] = true.into();
        object["metadata"]["generation"] = 2.into();
    });
    site.catch_up::<Dpu>(&card);
    site.see(missing(0, 21));
    wait(&mut site, 1000);
    assert_eq!(site.settle().await, nothing);
    assert_eq!(left(&site).len(), 2);
}
