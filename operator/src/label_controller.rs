//! Nodes carry labels that tell which cards are proved to sit in them.

use crate::context::{Context, Outcome};
use crate::key::Key;
use crate::node_labels::change;

/// Makes the labels of one Node say what the reports come to.
pub async fn reconcile(context: &Context, key: &Key) -> Outcome {
    let change = {
        let world = context.world.read();
        change(&world, &key.name)
    };
    let Ok(change) = change else {
        return Outcome::soon("behind");
    };
    if change.is_empty() {
        return Outcome::done("ok");
    }
    match context.writes.label_node(&key.name, &change).await {
        Ok(()) => {
            tracing::info!(node = %key, ?change, "labels of a Node changed");
            Outcome::done("ok")
        }
        Err(error) => {
            tracing::warn!(node = %key, %error, "labels of a Node not written");
            Outcome::failed()
        }
    }
}
