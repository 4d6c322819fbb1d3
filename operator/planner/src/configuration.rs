//! Whether the files of a card's own, which its wanted image asks for, can be made.
//!
//! Asked before anything is done to the card or its host, and again at each step. What is missing
//! in the specs is seen here; of Secrets, and of the slots of the image, the site agent tells, which
//! tries to make the files. Its word counts for just what it tried.

use jiff::Timestamp;
use lockstep_configuration::{Fault, Inputs};
use lockstep_crds::report::ConfigurationTried;

use crate::card::machine;
use crate::intent::Intent;
use crate::reach;
use crate::reason::Reason;
use crate::view::{CardView, View};

/// Whether the specs have all that the files need.
pub(crate) fn given(card: &CardView) -> Result<(), Intent> {
    let Some(inputs) = &card.configuration else {
        return Ok(());
    };
    inputs.check().map_err(|fault| {
        let reason = match fault {
            Fault::TemplateInvalid { .. } => Reason::TemplateInvalid,
            Fault::ValueMissing { .. } => Reason::ValueMissing,
            Fault::RenderFailed { .. } => Reason::ConfigurationRefused,
        };
        let remedy = match fault {
            Fault::RenderFailed { .. } => format!("; {}", fault.remedy()),
            Fault::TemplateInvalid { .. } | Fault::ValueMissing { .. } => String::new(),
        };
        Intent::stall(reason, format!("{}: {fault}{remedy}", machine(card)))
    })
}

/// Whether the site agent could make the files of just these inputs.
pub(crate) fn made(view: &View, card: &CardView, now: Timestamp) -> Result<(), Intent> {
    let Some(inputs) = &card.configuration else {
        return Ok(());
    };
    match tried(view, card, inputs, now) {
        Some(tried) if tried.ok => Ok(()),
        Some(tried) => Err(Intent::stall(
            Reason::ConfigurationRefused,
            format!(
                "the files of {} cannot be made ({}): {}",
                machine(card),
                tried.reason.as_deref().unwrap_or("unknown"),
                tried.message.as_deref().unwrap_or("no detail")
            ),
        )),
        None => Err(Intent::wait(
            Reason::MakingConfiguration,
            format!(
                "the site agent has not told yet whether the files of {} can be made",
                machine(card)
            ),
            reach::SILENCE,
        )),
    }
}

/// Whether a person has to do something before the files can be made.
pub(crate) fn is_refused(view: &View, card: &CardView, now: Timestamp) -> bool {
    card.configuration.as_ref().is_some_and(|inputs| {
        given(card).is_err() || tried(view, card, inputs, now).is_some_and(|tried| !tried.ok)
    })
}

fn tried<'a>(
    view: &View,
    card: &'a CardView,
    inputs: &Inputs,
    now: Timestamp,
) -> Option<&'a ConfigurationTried> {
    let report = card.report.as_ref()?;
    let counts = view.site_agent_fresh(now) && report.subject_uid == card.uid();
    let tried = report.configuration.as_ref().filter(|_| counts)?;
    (tried.inputs == inputs.digest()).then_some(tried)
}
