//! A card that nobody has approved takes part in nothing: no directive, no hold of its host, no
//! say in how its host fares. What was begun for it while it was approved is brought to an end
//! like that of a card of which nothing is wanted any more.

use lockstep_crds::Dpu;

use crate::decision::Explanation;
use crate::intent::Intent;
use crate::reason::Reason;
use crate::view::CardView;

/// Whether anything may be done to the card.
pub(crate) fn is_approved(card: &CardView) -> bool {
    card.dpu.spec.approved
}

/// What people read of a card that nobody has approved.
pub fn not_approved(dpu: &Dpu) -> Explanation {
    let meta = &dpu.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let namespace = match meta.namespace.as_deref() {
        Some(namespace) => format!(" -n {namespace}"),
        None => String::new(),
    };
    let what = "nothing is done to this card before it is approved";
    Explanation::new(
        Reason::NotApproved,
        format!(
            "{what}: kubectl patch dpu {name}{namespace} --type=merge -p '{{\"spec\":{{\"approved\":true}}}}'"
        ),
    )
}

/// The card's share of any answer about its host.
pub(crate) fn refused(card: &CardView) -> Intent {
    Intent::Hold(not_approved(&card.dpu))
}

/// Whether an intent only says that the card is not approved.
pub(crate) fn is_refusal(intent: &Intent) -> bool {
    matches!(intent, Intent::Hold(why) if why.reason == Reason::NotApproved)
}
