//! What others do to the machines, behind everybody's back.

use lockstep_crds::DpuHostStatus;
use lockstep_crds::host::CardRecord;
use lockstep_planner::view::{CardView, View, Wanted};

use super::World;
use super::build::image;

/// What is wanted of a card, and how often that was put back.
#[derive(Clone, Debug)]
pub struct Repaired {
    digest: String,
    retry_token: Option<String>,
    begun: usize,
}

fn wish(card: &CardView) -> Option<(String, Option<String>)> {
    match &card.wanted {
        Wanted::Image(wanted) => {
            let token = card.dpu.spec.retry_token.clone();
            Some((wanted.digest.clone(), token))
        }
        Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => None,
    }
}

fn last_begun(kept: &CardRecord) -> Option<jiff::Timestamp> {
    let repairs = kept.repairs.as_ref()?;
    repairs.last_at.as_ref().map(|at| at.0)
}

impl World {
    /// Somebody installs that version by other means, and the card boots it.
    pub fn installs_by_hand(&mut self, index: usize, version: &str) {
        if self.is_installing(index) {
            return;
        }
        // What was counted before says nothing of what has to be done after that.
        self.boots.clear();
        self.written(index, image(version));
        self.tell(format!("card {index}: somebody installs {version}"));
        if self.cards[index].machine.is_on() {
            self.reboot_card(index);
        } else {
            self.power_on_card(index);
        }
    }

    /// A card is put back twice for one wish, as long as its host has a record of that.
    pub(super) fn counts_repairs(
        &mut self,
        view: &View,
        before: &DpuHostStatus,
        after: &DpuHostStatus,
    ) {
        for card in &view.cards {
            let physical = card.physical_id();
            let mut recorded = before.cards.iter();
            if !recorded.any(|was| was.physical_id == physical && was.repairs.is_some()) {
                self.repaired.remove(&physical);
            }
            if let Some((digest, retry_token)) = wish(card) {
                let same =
                    |known: &Repaired| known.digest == digest && known.retry_token == retry_token;
                if !self.repaired.get(&physical).is_some_and(same) {
                    let begun = 0;
                    let wish = Repaired {
                        digest,
                        retry_token,
                        begun,
                    };
                    self.repaired.insert(physical.clone(), wish);
                }
            }
            let uid = card.uid();
            let Some(begun) = after.record_of(&uid).and_then(last_begun) else {
                continue;
            };
            let mut known = before
                .cards
                .iter()
                .filter(|was| was.physical_id == physical);
            if known.any(|was| last_begun(was) == Some(begun)) {
                continue;
            }
            // What was tried before it does not count for it.
            self.wish += 1;
            let wish = self.repaired.get_mut(&physical);
            let times = wish.map_or(usize::MAX, |wish| {
                wish.begun += 1;
                wish.begun
            });
            assert!(
                times <= 2,
                "{physical} is put back {times} times\n{}",
                self.told()
            );
        }
    }
}
