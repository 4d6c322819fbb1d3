//! What an image's status says of sites and cards, whom news of them wake, and how often it is written.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kube::Resource;
use lockstep_crds::{Dpu, DpuImage, DpuReport};
use lockstep_operator::context::{Context, Shared};
use lockstep_operator::image_controller::reconcile_at;
use lockstep_operator::metrics::Metrics;
use lockstep_operator::queue::Ended;
use lockstep_operator::watched::Watched;
use lockstep_operator::world::Wake;
use lockstep_operator::writes::Writes;
use serde_json::{Value, json};
use support::apiserver::ApiServer;
use support::*;

const IMAGE: &str = "dpuimages/i";

/// An operator with one image, made for BlueField-3, that the policy names for every card.
struct Site {
    server: ApiServer,
    context: Context,
    now: Instant,
}

impl Site {
    async fn new(cards: &[Dpu]) -> Self {
        Self::of(json!({"families": ["BlueField-3"]}), cards).await
    }

    async fn of(fits: Value, cards: &[Dpu]) -> Self {
        let mut made_for = image("i", "1.0.0");
        made_for.spec.fits = serde_json::from_value(fits).unwrap();
        let object = serde_json::to_value(&made_for).unwrap();
        let server = ApiServer::start([(IMAGE, object)]).await;
        let mut world = world();
        put(&mut world, made_for);
        put(&mut world, policy(Some("i")));
        put(&mut world, host("h"));
        for card in cards {
            put(&mut world, card.clone());
        }
        let metrics = Metrics::default();
        let writes = Writes::new(server.client.clone(), "test".to_owned(), metrics.clone());
        Self {
            context: Context::new(Shared::new(world), writes, metrics),
            now: Instant::now(),
            server,
        }
    }

    fn see<K: Watched + Resource>(&self, object: K) -> Wake {
        put(&mut self.context.world.write(), object)
    }

    fn joins(&self, dpu: &Dpu, family: &str) -> Wake {
        join(&mut self.context.world.write(), dpu, family)
    }

    /// Reconciles so many seconds after the last time; tells whether it was written, and is not
    /// asked again otherwise.
    async fn writes_after(&mut self, seconds: u64) -> bool {
        self.now += Duration::from_secs(seconds);
        let outcome = reconcile_at(&self.context, &key("i"), self.now, at(0)).await;
        let written = !self.server.take_seen().is_empty();
        let is_paced = matches!(outcome.ended, Ended::Again(then) if then > self.now);
        let is_done = matches!(outcome.ended, Ended::Done);
        assert!(is_done || is_paced && !written, "{}", outcome.result);
        let object: DpuImage = serde_json::from_value(self.server.object(IMAGE)).unwrap();
        self.see(object);
        written
    }

    fn status(&self) -> Value {
        self.server.object(IMAGE)["status"].clone()
    }

    fn says(&self, type_: &str) -> (String, String, String) {
        let status = self.status();
        let conditions = status["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|one| one["type"] == type_);
        let found = found.cloned().unwrap_or_default();
        let word = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        (word("status"), word("reason"), word("message"))
    }
}

fn stored(version: u64, state: &str) -> DpuReport {
    let digest = format!("sha256:{}", "0".repeat(64));
    let images = json!([{"digest": digest, "state": state, "message": "the volume is full"}]);
    let name = format!("site-{SITE}");
    let mut report = report(&name, "Site", SITE, &json!({"images": images}));
    report.metadata.resource_version = Some(version.to_string());
    report
}

/// The card, which runs the image by now.
fn running(mut dpu: Dpu) -> Dpu {
    dpu.metadata.resource_version = Some("50".to_owned());
    let image = json!({"digest": format!("sha256:{}", "0".repeat(64)), "version": "1.0.0"});
    dpu.status = serde_json::from_value(json!({"image": image})).unwrap();
    dpu
}

#[tokio::test]
async fn numbers_wait_for_each_other_and_news_do_not_wait() {
    let dpu = card("c", "h");
    let mut site = Site::new(std::slice::from_ref(&dpu)).await;
    assert!(site.writes_after(0).await);
    assert_eq!(site.says("Fetched").1, "FetchingImage");
    assert_eq!(
        site.says("Fits").0,
        "",
        "nothing was joined: nobody knows yet"
    );
    assert_eq!(site.status()["sites"]["wanted"], 1);

    let images = BTreeSet::from([key("i")]);
    assert_eq!(site.joins(&dpu, "BlueField-2").images, images);
    assert!(!site.writes_after(1).await, "numbers alone, and so soon");
    assert_eq!(site.joins(&dpu, "BlueField-3").images, images);
    assert!(!site.writes_after(1).await);

    site.see(stored(30, "Verified"));
    assert!(
        site.writes_after(1).await,
        "the bytes are there: that is news"
    );
    assert_eq!(site.says("Fetched").0, "True");
    let (holds, reason, message) = site.says("Fits");
    assert_eq!(
        (holds.as_str(), reason.as_str()),
        ("True", "Fits"),
        "{message}"
    );
    let cards = json!({"wanted": 1, "fits": 1, "doesNotFit": 0, "notKnown": 0, "running": 0});
    assert_eq!(site.status()["cards"], cards);

    assert_eq!(site.see(running(dpu.clone())).images, images);
    assert!(!site.writes_after(14).await);
    assert!(site.writes_after(1).await);
    assert_eq!(site.status()["cards"]["running"], 1);
    assert!(!site.writes_after(60).await, "nothing has changed");
    site.see(stored(31, "Failed"));
    assert!(site.writes_after(0).await);
    assert_eq!(site.status()["sites"]["failed"], 1);
    assert!(site.says("Ready").2.contains("the volume is full"));
}

#[tokio::test]
async fn a_card_that_it_is_not_made_for_is_named_with_why() {
    let dpu = card("c", "h");
    let mut site = Site::new(std::slice::from_ref(&dpu)).await;
    site.joins(&dpu, "BlueField-2");
    assert!(site.writes_after(0).await);
    let (holds, reason, message) = site.says("Fits");
    assert_eq!(
        (holds.as_str(), reason.as_str()),
        ("False", "ImageDoesNotFit")
    );
    let told = "made for 0 of 1 cards that want it; not for c (";
    assert!(
        message.starts_with(told) && message.contains("BlueField-2"),
        "{message}"
    );

    // Out of use, it wants nothing.
    let mut retired = dpu.clone();
    retired.metadata.resource_version = Some("60".to_owned());
    retired.spec.retired = true;
    assert_eq!(site.see(retired).images, BTreeSet::from([key("i")]));
    assert!(site.writes_after(15).await);
    assert_eq!(site.says("Fits").1, "NotWanted");
    assert_eq!(site.status()["cards"]["wanted"], 0);
}

#[tokio::test]
async fn a_disk_of_which_nobody_tells_is_told_as_no_obstacle_and_whole() {
    let dpu = card("c", "h");
    let fits = json!({"families": ["BlueField-3"], "minimumDiskBytes": 64_000_000_000_i64});
    let mut site = Site::of(fits, std::slice::from_ref(&dpu)).await;
    site.joins(&dpu, "BlueField-3");
    assert!(site.writes_after(0).await);
    let (holds, reason, message) = site.says("Fits");
    assert_eq!(
        (holds.as_str(), reason.as_str()),
        ("Unknown", "ImageFitNotKnown")
    );
    let told = "made for 0 of 1 cards that want it; not known of c (no obstacle by itself: an install stops only where";
    let ends = "none has the 64000000000 bytes that it needs; nobody tells of any (disks of its DpuInventory))";
    assert!(
        message.starts_with(told) && message.ends_with(ends),
        "{message}"
    );
}

#[tokio::test]
async fn who_was_made_or_edited_a_moment_ago_is_no_card_of_which_nothing_is_known() {
    let dpu = card("c", "h");
    let mut site = Site::new(std::slice::from_ref(&dpu)).await;
    site.joins(&dpu, "BlueField-3");
    assert!(site.writes_after(0).await);
    let said = site.status();
    site.see(card("d", "h"));
    assert!(!site.writes_after(30).await);
    assert_eq!(site.status(), said);
}
