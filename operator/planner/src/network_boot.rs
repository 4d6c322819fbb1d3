//! A stateless card boots its image from the network every time: that its BMC leads it there is the
//! wanted state, not a means to an install, and is kept.
//!
//! Setting it changes nothing at a card that runs but where its next boot goes, so it waits for no
//! hold and no leave of the host. What may not go onto the card any more must not come with its
//! next boot either: then it is taken back, and what runs goes on.

use jiff::{SignedDuration, Timestamp};
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{AllowedMethod, DpuBootPolicySpec};
use lockstep_crds::directive::{ActionKind, ImageFacts, OutcomeKind, TargetKind};
use lockstep_crds::host::{ArmedEffect, CardRecord, HostRole};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::report::MediaOwner;

use crate::card::{self, machine};
use crate::configuration;
use crate::install::{image_ready, staging};
use crate::intent::Intent;
use crate::ledger;
use crate::reason::Reason;
use crate::road;
use crate::vetting;
use crate::view::{CardView, View};

/// How long a BMC that does not hold what it took is left alone.
const PAUSE: SignedDuration = SignedDuration::from_mins(10);

/// What a card that was seen to run its stateless image needs for its next boot; `None` if that
/// leads to the image, or nobody can tell now.
pub(crate) fn keep(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    kept: &CardRecord,
    card: &CardView,
    wanted: &ImageFacts,
    now: Timestamp,
) -> Option<Intent> {
    // One that has no BMC boots so by itself, or by means of others.
    card.dpu.spec.bmc.as_ref()?;
    view.card_answer(card, now)?;
    needed(view, record, spec, kept, card, wanted, now).unwrap_or_else(Some)
}

fn needed(
    view: &View,
    record: &DpuHostStatus,
    spec: &DpuBootPolicySpec,
    kept: &CardRecord,
    card: &CardView,
    wanted: &ImageFacts,
    now: Timestamp,
) -> Result<Option<Intent>, Intent> {
    let facts = card::proved(view, card, now)?;
    let vetted = vetting::passed(spec, card, kept, wanted);
    if let Err(why @ Intent::Stall(_)) = vetted {
        return Err(if kept.armed.is_empty() {
            why
        } else {
            card::clear(view, kept, card, now)
        });
    }
    // A BMC that fetches the image itself shows a medium beside the URL.
    let is_set = road::armed_by(facts, kept, wanted) == Some(AllowedMethod::UefiHttp);
    if is_set && is_of_this_wish(kept) {
        return Ok(None);
    }
    if road::is_in_the_way(AllowedMethod::UefiHttp, facts, kept) {
        return Err(card::clear(view, kept, card, now));
    }
    vetted?;
    if view.host.spec.role == HostRole::Infrastructure {
        return Err(Intent::stall(
            Reason::HostIsInfrastructure,
            format!(
                "nothing of {} leads to {} at its next boot, and cards of an Infrastructure host are not changed",
                machine(card),
                wanted.version
            ),
        ));
    }
    let road = road::choose(view, record, card, kept, spec, facts, now)?;
    configuration::given(card)?;
    image_ready(view, wanted)?;
    configuration::made(view, card, now)?;
    let in_vain = set_in_vain(record, kept);
    if facts.media.owner == MediaOwner::Foreign
        && let Some(set) = in_vain
    {
        return Err(Intent::stall(
            Reason::ForeignMedia,
            format!(
                "the BMC of {} took at {set} that it boots {} from the network, and shows a medium that Lockstep did not insert in its place",
                machine(card),
                wanted.version
            ),
        ));
    }
    if let Some(set) = in_vain.filter(|set| now < *set + PAUSE) {
        let again = set + PAUSE;
        return Err(Intent::wait_until(
            Reason::NetworkBootLost,
            format!(
                "the BMC of {} took at {set} that it boots {} from the network, and does not show that any more; it is set again at {again}",
                machine(card),
                wanted.version
            ),
            again,
        ));
    }
    Ok(Some(Intent::act(staging(card, wanted, road, None))))
}

/// Whether what the card is led to was set since somebody last wanted something of it: the seed and
/// files behind an earlier one may have grown old.
pub(crate) fn is_of_this_wish(kept: &CardRecord) -> bool {
    kept.method == Some(InstallMethod::UefiHttp)
}

/// When it was last set since the card came up with its image, which it should have kept until the
/// next boot at least.
fn set_in_vain(record: &DpuHostStatus, kept: &CardRecord) -> Option<Timestamp> {
    let named = |action| ledger::named(&action, &TargetKind::Card, &kept.name);
    let (set, taken_back) = (
        named(ActionKind::SetNetworkBoot),
        named(ActionKind::ClearInstall),
    );
    let up_since = kept.observed_at.as_ref()?;
    let history = record.history.iter().rev();
    let mut history = history.take_while(|entry| entry.what != taken_back);
    let last = history.find(|entry| entry.what == set && entry.outcome == OutcomeKind::Done)?;
    (last.at.0 > up_since.0).then_some(last.at.0)
}

/// What people read of a card that came up with something else.
pub(crate) fn went_elsewhere(kept: &CardRecord, wanted: &ImageFacts, runs: Option<&str>) -> Intent {
    let next = if kept.armed.contains(&ArmedEffect::HttpBootUri) {
        "its next boot leads to the network again: reboot it, or change retryToken to have it rebooted"
    } else {
        "nothing that Lockstep set leads its next boot there: boot it by the means that did so before"
    };
    Intent::stall(
        Reason::InstallFailed,
        format!(
            "the card was booted with {} from the network and now reports image {}; {next}",
            wanted.version,
            runs.unwrap_or("(unknown)")
        ),
    )
}

/// Whether the host may be as it is for what the directive sets.
pub(crate) fn needs_no_leave(kept: Option<&CardRecord>, image: Option<&ImageFacts>) -> bool {
    let digest = image.map(|image| &image.digest);
    kept.is_some_and(|kept| {
        kept.observed_at.is_some() && kept.image.as_ref().map(|image| &image.digest) == digest
    })
}
