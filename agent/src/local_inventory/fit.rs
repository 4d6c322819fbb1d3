//! The size of an inventory as a whole. The bounds of its parts are those of a text each; all of
//! them at once, in letters of four bytes, would be more than one object should be.

use lockstep_crds::inventory::Inventory;
use serde::Serialize;

/// The most bytes that an inventory takes as JSON, so that its report stays within 256 KiB.
pub const MOST_BYTES: usize = 252 << 10;

/// Halves whatever list is largest until the whole fits, and counts what is left out.
pub(super) fn to_most_bytes(inventory: &mut Inventory) {
    while bytes(inventory) > MOST_BYTES {
        let lists = lists(inventory);
        let Some(largest) = lists.into_iter().max_by_key(|list| list.bytes) else {
            return;
        };
        if largest.bytes == 0 {
            return;
        }
        (largest.halve)(inventory);
    }
}

struct Halvable {
    bytes: usize,
    halve: fn(&mut Inventory),
}

/// The lists that count what they leave out. The others are small: at their bounds, and in
/// letters of four bytes, they still fit.
fn lists(inventory: &Inventory) -> Vec<Halvable> {
    macro_rules! halvable {
        ($group:ident, $list:ident) => {
            Halvable {
                bytes: weight(inventory.$group.as_ref().map(|group| &group.$list[..])),
                halve: |inventory| {
                    if let Some(group) = &mut inventory.$group {
                        halve(&mut group.$list, &mut group.omitted);
                    }
                },
            }
        };
    }
    let named = inventory
        .cards
        .iter()
        .filter_map(|card| card.named.as_ref());
    let names = named.map(|named| weight(Some(&named.functions))).sum();
    vec![
        halvable!(firmware, components),
        halvable!(memory, modules),
        halvable!(disks, disks),
        halvable!(ports, ports),
        halvable!(functions, functions),
        halvable!(slots, slots),
        halvable!(offloads, offloads),
        Halvable {
            bytes: names,
            halve: |inventory| {
                for named in inventory
                    .cards
                    .iter_mut()
                    .filter_map(|card| card.named.as_mut())
                {
                    halve(&mut named.functions, &mut named.omitted);
                }
            },
        },
        Halvable {
            // A card does not go because its functions have many names.
            bytes: weight(Some(&inventory.cards)).saturating_sub(names),
            halve: |inventory| {
                let kept = inventory.cards.len() / 2;
                let left = inventory.cards.len() - kept;
                inventory.cards.truncate(kept);
                super::pci::note_cards_left_out(inventory, left);
            },
        },
    ]
}

fn weight<T: Serialize>(list: Option<&[T]>) -> usize {
    list.filter(|list| !list.is_empty()).map_or(0, bytes)
}

fn halve<T>(list: &mut Vec<T>, omitted: &mut i64) {
    let kept = list.len() / 2;
    let left = i64::try_from(list.len() - kept).unwrap_or(i64::MAX);
    *omitted = omitted.saturating_add(left);
    list.truncate(kept);
}

fn bytes<T: Serialize + ?Sized>(value: &T) -> usize {
    // None of our types can fail; what does is not to be kept.
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}
