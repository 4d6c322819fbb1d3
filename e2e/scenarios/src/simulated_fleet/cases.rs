//! Scenarios in which each card of a simulated fleet is a case of its own: how they begin, and what the
//! record tells of a card.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use kube::Api;
use lockstep_crds::DpuHost;
use lockstep_crds::host::CardRecord;
use lockstep_lab::image::Image;
use lockstep_xpusim::Fleet;

use super::card_systems::CardSystems;
use crate::objects::NAMESPACE;
use crate::registry::Context;
use crate::world::{Simulated, World};

/// A world around the fleet, once these objects are applied.
pub(crate) struct Begun {
    pub(crate) world: World,
    pub(crate) systems: CardSystems,
    pub(crate) fleet: Arc<Fleet>,
}

/// Starts everything, with systems for these cards from that image, and applies the objects.
pub(crate) async fn begin(
    context: &Context,
    simulated: Simulated,
    cards: &[&'static str],
    system: &Image,
    objects: &str,
) -> Result<Begun> {
    let fleet = Arc::clone(&simulated.fleet);
    let mut world = World::start_simulated(&context.folder, simulated, &context.binaries).await?;
    world.start_operator().await?;
    world.start_agent().await?;
    let systems = CardSystems::start(&world, &fleet, cards, system)?;
    world.control_plane.kubectl().apply_text(objects).await?;
    Ok(Begun {
        world,
        systems,
        fleet,
    })
}

/// Each card has a host of its own.
pub(crate) fn host_of(card: &str) -> String {
    card.replace("card", "host")
}

/// What the host's record has of that card.
pub(crate) async fn record(world: &World, card: &str) -> Result<CardRecord> {
    let hosts: Api<DpuHost> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let host = hosts.get(&host_of(card)).await?;
    let kept = host
        .status
        .and_then(|status| status.cards.into_iter().next());
    kept.with_context(|| format!("nothing is recorded of {card}"))
}
