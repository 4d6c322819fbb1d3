//! Lists that may end early, and how an inventory is made to fit.

use serde::{Deserialize, Serialize};

use super::{Group, Inventory, MAX_JSON};
use crate::Fact;

/// A list that says how many entries it leaves out at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed<T> {
    /// The entries.
    pub items: Vec<T>,
    /// How many more there are.
    pub omitted: u32,
}

impl<T> From<Vec<T>> for Listed<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items, omitted: 0 }
    }
}

/// A list of whatever kind.
trait Shrink {
    /// Its bytes as JSON; zero when nothing can be left out.
    fn weight(&self) -> usize;
    /// Leaves out the second half.
    fn halve(&mut self);
}

impl<T: Serialize> Shrink for Listed<T> {
    fn weight(&self) -> usize {
        if self.items.is_empty() {
            0
        } else {
            json_bytes(&self.items)
        }
    }

    fn halve(&mut self) {
        let kept = self.items.len() / 2;
        let left = u32::try_from(self.items.len() - kept).unwrap_or(u32::MAX);
        self.omitted = self.omitted.saturating_add(left);
        self.items.truncate(kept);
    }
}

impl<T: Serialize> Shrink for Fact<Listed<T>> {
    fn weight(&self) -> usize {
        match self {
            Fact::Known(list) => list.weight(),
            Fact::NotOffered | Fact::NotRead(_) => 0,
        }
    }

    fn halve(&mut self) {
        match self {
            Fact::Known(list) => list.halve(),
            Fact::NotOffered | Fact::NotRead(_) => {}
        }
    }
}

impl<T: Serialize> Shrink for Group<Listed<T>> {
    fn weight(&self) -> usize {
        self.fact.weight()
    }

    fn halve(&mut self) {
        self.fact.halve();
    }
}

impl Inventory {
    /// Halves whatever list is largest until the whole fits.
    pub(super) fn fit(&mut self) {
        while json_bytes(self) > MAX_JSON {
            let mut lists: Vec<&mut dyn Shrink> = vec![
                &mut self.processors,
                &mut self.slots,
                &mut self.onboard,
                &mut self.cards,
                &mut self.functions,
                &mut self.unread,
                &mut self.error_handling,
                &mut self.disks,
                &mut self.ports,
                &mut self.devices,
                &mut self.rshims,
                &mut self.conflicts,
            ];
            if let Fact::Known(memory) = &mut self.memory.fact {
                lists.push(&mut memory.nodes);
                lists.push(&mut memory.modules);
            }
            match lists.iter_mut().max_by_key(|list| list.weight()) {
                Some(largest) if largest.weight() > 0 => largest.halve(),
                Some(_) | None => return,
            }
        }
    }
}

/// Counts without keeping.
fn json_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        // None of our types can fail; what does is not to be kept.
        Err(_) => usize::MAX,
    }
}
