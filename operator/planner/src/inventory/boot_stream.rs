//! Whether a boot stream is one that a card boots from: for its generation, and whole.
//!
//! Its signature may be right all the same: whoever signed it may have signed it for other cards.

use lockstep_crds::ImageFits;
use lockstep_crds::report::BootStreamReport;

use super::JoinedCard;
use super::fits::fits;
use crate::requirement::Judgement;

/// Whether the card boots from it, by what the site's store has read in it.
pub fn boots(joined: Option<&JoinedCard>, stream: &BootStreamReport) -> Judgement {
    if let Some(fault) = &stream.fault {
        return Judgement::NotMet(format!(
            "it is a boot stream that no card boots from: {fault}"
        ));
    }
    let families = ImageFits {
        families: stream.families.clone(),
        ..ImageFits::default()
    };
    let of_it = |why| format!("its boot stream was read, and {why}");
    match fits(joined, &families) {
        Judgement::Met => Judgement::Met,
        Judgement::NotMet(why) => Judgement::NotMet(of_it(why)),
        Judgement::NotKnown(why) => Judgement::NotKnown(of_it(why)),
    }
}
