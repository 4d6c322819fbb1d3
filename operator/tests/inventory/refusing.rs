//! What is not written, or later.

use lockstep_crds::Dpu;
use lockstep_operator::queue::Ended;
use lockstep_operator::table::Entry;
use lockstep_planner::inventory::{Proposal, SiteJoin, SiteView};
use serde_json::json;

use crate::proposing::finds;
use crate::site::{SECOND, Site, lines, proposed, resting};
use crate::support::apiserver::Seen;
use crate::support::*;
use crate::telling::{systems, told};

#[tokio::test]
async fn passes_keep_their_distance_and_a_lost_race_is_looked_at_again() {
    let mut site = Site::new(systems, vec![("dpuinventories/c", json!({}))]).await;
    site.see(resting("c"));
    site.see(told("S1", 1, 20));
    let begun = site.now;
    site.pass(0).await;
    let (outcome, _) = site.pass(1).await;
    assert_eq!(
        (outcome.result, outcome.ended),
        ("paced", Ended::Again(begun + 2 * SECOND))
    );
    // Somebody made it, and the watch has not said so yet.
    let (outcome, seen) = site.pass(10).await;
    assert_eq!(lines(&seen), ["POST dpuinventories"]);
    assert_eq!(outcome.result, "conflict");
    site.server.breaks(true);
    let (outcome, _) = site.pass(10).await;
    assert_eq!(outcome.ended, Ended::Failed);
}

#[tokio::test]
async fn nothing_is_made_on_the_word_of_agents_that_no_guard_vouches_for() {
    let mut site = Site::new(finds, vec![]).await;
    site.guard(2);
    assert!(site.pass(0).await.1.is_empty());
    site.guard(1);
    // What cannot be read may stand for that very card.
    let unreadable = Some(Entry::Unreadable("unknown variant".into()));
    site.context
        .world
        .write()
        .put::<Dpu>(&key("x"), unreadable, at(0));
    assert!(site.pass(2).await.1.is_empty());
    site.context
        .world
        .write()
        .put::<Dpu>(&key("x"), None, at(0));
    assert_eq!(site.pass(2).await.1.len(), 4);
}

#[tokio::test]
async fn what_the_api_server_refuses_keeps_nothing_else_waiting() {
    fn proposes(_: &SiteView<'_>) -> SiteJoin {
        let made = |name: &str| {
            let mut dpu = proposed(resting(name));
            dpu.metadata.uid = None;
            Proposal::Card(Box::new(dpu))
        };
        let mut join = SiteJoin::default();
        join.proposals.extend(["bad", "good"].map(made));
        join
    }
    let mut site = Site::new(proposes, vec![]).await;
    site.server.refuses(Some("bad"));
    let (outcome, seen) = site.pass(0).await;
    assert_ne!(outcome.ended, Ended::Failed);
    let made: Vec<String> = site.server.objects().into_keys().collect();
    assert!(made.contains(&"dpus/good".to_owned()), "{made:?}");
    let asks = |seen: &[Seen]| {
        let bad = |one: &&Seen| one.body["metadata"]["name"] == "bad";
        seen.iter().filter(bad).count()
    };
    assert_eq!(asks(&seen), 1);
    for _ in 0..10 {
        let (outcome, seen) = site.pass(30).await;
        assert_eq!(asks(&seen), 0, "it would be refused again");
        assert!(matches!(outcome.ended, Ended::Again(_)), "{outcome:?}");
    }
    site.server.refuses(None);
    let (_, seen) = site.pass(600).await;
    assert_eq!(asks(&seen), 1);
}
