//! Writes what became of a `DpuImage`, and its numbers no more often than people need them.

use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::report::StoredImage;
use lockstep_planner::arriving;

use crate::author::Author;
use crate::context::{Context, Outcome};
use crate::image_demand::demand;
use crate::image_status::{is_news, status};
use crate::key::Key;
use crate::queue::Ended;
use crate::record::{RecordError, write_status};
use crate::untold_images::untold;
use crate::world::World;
use crate::writes::WriteError;

/// Tells what has become of an image.
pub async fn reconcile(context: &Context, key: &Key) -> Outcome {
    reconcile_at(context, key, Instant::now(), Timestamp::now()).await
}

/// The same at a given time, by the clock that waits and by the one that others go by, too.
pub async fn reconcile_at(
    context: &Context,
    key: &Key,
    instant: Instant,
    now: Timestamp,
) -> Outcome {
    let (image, stored, demand) = {
        let world = context.world.read();
        let Some(image) = world.images.get(key).cloned() else {
            context.image_pace().forget(key);
            return Outcome::done("gone");
        };
        let mut stored = stored(&world, key, &image.spec.digest);
        let demand = demand(&world, key, &image);
        stored.extend(untold(&world, key, &image.spec.digest, &demand.sites));
        (image, stored, demand)
    };
    if !context.writes.caught_up(&image) {
        return Outcome::soon("behind");
    }
    if stored.is_empty()
        && let Some(at) = arriving(&image.metadata, now)
    {
        return Outcome::again("arriving", at, now);
    }
    let status = status(&image, &stored, &demand, &Time(now));
    let pauses = context.image_pace().pauses(key, instant);
    if let Some(until) = pauses.filter(|_| !is_news(image.status.as_ref(), &status)) {
        return Outcome {
            result: "paced",
            ended: Ended::Again(until),
        };
    }
    match write_status(&context.writes, &image, &status).await {
        Ok(written) => {
            if written.is_some() {
                context.image_pace().written(key, instant);
            }
            Outcome::done("ok")
        }
        Err(RecordError::Write(WriteError::Conflict(_) | WriteError::Gone(_))) => {
            Outcome::soon("conflict")
        }
        Err(error) => {
            tracing::warn!(image = %key, %error, "status not written");
            Outcome::failed()
        }
    }
}

/// What each site's store says about these bytes, with the site's name.
fn stored(world: &World, image: &Key, digest: &str) -> Vec<(String, StoredImage)> {
    let mut found = Vec::new();
    for (key, entry) in world.reports.within(&image.namespace) {
        let (Some(Author::Site(site)), Some(report)) = (Author::of(&key.name), entry.readable())
        else {
            continue;
        };
        let same = report
            .spec
            .images
            .iter()
            .filter(|stored| stored.digest == digest);
        found.extend(same.map(|stored| (site.to_owned(), stored.clone())));
    }
    found
}
