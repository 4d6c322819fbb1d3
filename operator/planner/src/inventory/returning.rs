//! Proposals that would come back just as they are once they had given way: those stay.
//!
//! What several objects contest may fall to none of them once one is gone. Nothing would be won,
//! and the object would be deleted and made again for ever.

use std::collections::BTreeSet;

use super::proposed::{name, proposed_id};
use super::{Proposal, SiteView, Subject, Withdrawal, leaving};

/// Takes back withdrawals in vain. `proposals` tells what would be proposed in a namespace.
pub(super) fn keep(
    view: &SiteView<'_>,
    withdrawals: &mut Vec<Withdrawal>,
    proposals: impl Fn(&SiteView<'_>) -> Vec<Proposal>,
) {
    // What stays changes what would be proposed: a card is not proposed anew beside a host that
    // would be, and is beside one that stays.
    while !withdrawals.is_empty() {
        let again = proposals(&without(view, &leaving(withdrawals)));
        let back = just_as_they_are(view, &again);
        let before = withdrawals.len();
        withdrawals.retain(|gone| !back.contains(&(gone.subject, gone.name.as_str())));
        if withdrawals.len() == before {
            return;
        }
        // A card that stays keeps its hosts.
        let left = without(view, &leaving(withdrawals));
        let needed: BTreeSet<&str> = left
            .cards
            .iter()
            .flat_map(|card| &card.spec.host_refs)
            .map(|host| host.name.as_str())
            .collect();
        withdrawals
            .retain(|gone| gone.subject != Subject::Host || !needed.contains(gone.name.as_str()));
    }
}

/// The objects of which the very same would be proposed.
fn just_as_they_are<'a>(view: &SiteView<'a>, again: &[Proposal]) -> BTreeSet<(Subject, &'a str)> {
    let mut back = BTreeSet::new();
    for proposal in again {
        match proposal {
            Proposal::Card(made) => {
                let id = proposed_id(&made.metadata);
                let cards = view.cards.iter();
                let same = cards
                    .filter(|card| proposed_id(&card.metadata) == id && card.spec == made.spec);
                back.extend(same.map(|card| (Subject::Card, name(&card.metadata))));
            }
            Proposal::Host(made) => {
                let id = proposed_id(&made.metadata);
                let hosts = view.hosts.iter();
                let same = hosts
                    .filter(|host| proposed_id(&host.metadata) == id && host.spec == made.spec);
                back.extend(same.map(|host| (Subject::Host, name(&host.metadata))));
            }
        }
    }
    back
}

fn without<'a>(view: &SiteView<'a>, gone: &BTreeSet<(Subject, &str)>) -> SiteView<'a> {
    let mut left = view.clone();
    left.cards
        .retain(|card| !gone.contains(&(Subject::Card, name(&card.metadata))));
    left.hosts
        .retain(|host| !gone.contains(&(Subject::Host, name(&host.metadata))));
    left
}
