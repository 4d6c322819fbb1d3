//! Stories: what a person sees, and what reaches the machines.

mod adopt;
mod approval;
mod bundle;
mod busy;
mod capabilities;
mod card_firmware;
mod configuration;
mod deletion;
mod devlink;
mod doubts;
mod drift;
mod drift_doubts;
mod drift_repair;
mod edits;
mod faults;
mod fetch;
mod filesystems;
mod firmware;
mod first_light;
mod golden;
mod host_wait;
mod image_bytes;
mod image_choice;
mod image_trust;
mod inspection;
mod inventory;
mod network_boot;
mod pairing;
mod pxe;
mod refusals;
mod requirements;
mod restore;
mod roads;
mod roll_back;
mod room;
mod rshim;
mod services;
mod shutdown;
mod slots;
mod taint;
mod taken_down;
mod updates;
mod whole_card;
mod wipe;

use crate::world::{World, secs};

/// The first card is stalled for that reason and with these words, and nothing was begun.
#[track_caller]
fn waits(world: &mut World, says: &str, words: &[&str]) {
    world.settle(secs(1200));
    assert!(world.recorded.is_empty(), "{}", world.told());
    assert!(world.effects.is_empty() && world.tainted.is_empty());
    assert!(world.status().hold.is_none(), "{}", world.told());
    assert_eq!(world.card_says(0), format!("Stalled Stalled: {says}"));
    let message = world.card_message(0);
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
}
