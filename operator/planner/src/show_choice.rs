//! What people read of the image that was chosen for a card, and the record of it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lockstep_crds::DpuStatus;
use lockstep_crds::condition::{self, IMAGE_CHOSEN};
use lockstep_crds::host::CardRecord;

use crate::choice::{Choice, Standing, in_words};
use crate::decision::Explanation;
use crate::reason::Reason;
use crate::view::{CardView, View};

/// The choice fits.
const CHOSEN: &str = "Chosen";

/// The choice was made, and nobody can tell now whether it fits.
const KEPT: &str = "Kept";

/// Records what was chosen. Without the policy nobody can tell whether there is anything to choose.
pub(crate) fn remember(view: &View, card: &CardView, kept: &mut CardRecord) {
    match &card.choice {
        Choice::Chosen(chosen, _) => kept.chosen = Some(chosen.clone()),
        Choice::Nothing | Choice::Own(_) | Choice::Policy(_) if view.policy.is_some() => {
            kept.chosen = None;
        }
        Choice::Nothing | Choice::Own(_) | Choice::Policy(_) | Choice::NotKnown(_) => {}
    }
}

/// Writes the condition of a card whose policy has choices for it.
pub(crate) fn show_choice(view: &View, card: &CardView, status: &mut DpuStatus, now: Timestamp) {
    let policy = view.host.spec.policy_ref.name.as_str();
    let (holds, reason, message) = match &card.choice {
        Choice::Nothing | Choice::Own(_) | Choice::Policy(_) => {
            condition::remove(&mut status.conditions, IMAGE_CHOSEN);
            return;
        }
        Choice::NotKnown(why) => {
            let why = Explanation::new(Reason::ImageNotChosen, why);
            (false, why.reason.as_str(), why.message)
        }
        Choice::Chosen(chosen, standing) => {
            let what = format!(
                "DpuImage {}, by {} of DpuBootPolicy {policy}",
                chosen.image,
                in_words(chosen)
            );
            match standing {
                Standing::Fits(by) => (true, CHOSEN, format!("{what}: {by}")),
                Standing::Kept(why) => {
                    let message = format!("{what}, as it was chosen before. Now {why}");
                    (true, KEPT, message)
                }
                Standing::Differs(other) => {
                    let message =
                        format!("{what}. By what is told of the card now it would be {other}");
                    let why = Explanation::new(Reason::ImageChoiceDiffers, message);
                    (false, why.reason.as_str(), why.message)
                }
            }
        }
    };
    let wanted = Condition {
        type_: IMAGE_CHOSEN.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: condition::truncated(&message),
        observed_generation: card.dpu.metadata.generation,
        last_transition_time: Time(now),
    };
    condition::set_to(&mut status.conditions, wanted);
}
