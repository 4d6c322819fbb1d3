//! Which of the policy's ways an image takes onto a card, and by which one a card is armed.
//!
//! The policy's order counts, but a way that failed on this card and has not worked since comes
//! after those that have not, whatever the image: what worked last is tried first, and each failed
//! attempt goes on with the next. Whether a way is open the card's BMC must have said, or of the way
//! over rshim the agent of its host: what was not read is waited for, never guessed.

use jiff::Timestamp;
use lockstep_crds::DpuHostStatus;
use lockstep_crds::boot_policy::{AllowedMethod, DpuBootPolicySpec};
use lockstep_crds::directive::{ActionKind, ImageFacts, TargetKind};
use lockstep_crds::host::{ArmedEffect, CardRecord};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::observed::Offer;
use lockstep_crds::report::{BmcReport, MediaOwner, MediaReport};

use crate::admit::DIRECTIVE_TRIES;
use crate::card::{self, machine};
use crate::image_bytes;
use crate::intent::Intent;
use crate::ledger;
use crate::push;
use crate::pxe;
use crate::reach;
use crate::reason::Reason;
use crate::roll_back;
use crate::slots;
use crate::view::{CardView, View, Wanted};
use crate::wipe;

/// How a way stands at a card.
pub(crate) enum Way {
    Open,
    /// What is lacking.
    Closed(String),
    /// Who may not go it.
    Forbidden(String),
    /// What the image is not, or has not.
    Unfit(Reason, String),
    /// What has not been read.
    Unread(String),
}

/// The way to take now. `Err` is what is awaited, or what each way lacks.
pub(crate) fn choose(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    spec: &DpuBootPolicySpec,
    facts: &BmcReport,
    now: Timestamp,
) -> Result<AllowedMethod, Intent> {
    let failed = failed_methods(kept);
    let place = |method: &AllowedMethod| {
        let method = InstallMethod::from(*method);
        failed.iter().position(|one| *one == method)
    };
    let mut methods = spec.install.methods.clone();
    methods.sort_by_key(|method| place(method).map_or(0, |place| place + 1));
    let (mut open, mut lacking) = (Vec::new(), Vec::new());
    let (mut is_forbidden, mut unfit) = (false, None);
    for method in methods {
        let lack = match way(method, view, record, card, spec, facts, now) {
            Way::Open => {
                open.push(method);
                continue;
            }
            // A way that comes later would be a guess.
            Way::Unread(what) if open.is_empty() => {
                return Err(Intent::wait(
                    Reason::Inspecting,
                    format!("whether {what} has not been read"),
                    reach::SILENCE,
                ));
            }
            Way::Unread(_) => continue,
            Way::Closed(lack) => lack,
            Way::Forbidden(lack) => {
                is_forbidden = true;
                lack
            }
            Way::Unfit(reason, lack) => {
                unfit = unfit.or(Some(reason));
                lack
            }
        };
        lacking.push(format!("{}: {lack}", InstallMethod::from(method)));
    }
    let fresh = open.iter().find(|method| place(method).is_none());
    let given_up = open.iter().find(|method| is_given_up(kept, **method));
    let chosen = fresh.or(given_up).or(open.first()).copied();
    chosen.ok_or_else(|| {
        Intent::stall(
            if is_forbidden {
                Reason::Unsupported
            } else {
                unfit.unwrap_or(Reason::CapabilityMissing)
            },
            format!(
                "no way of the policy's install.methods leads to {}: {}",
                machine(card),
                lacking.join("; ")
            ),
        )
    })
}

/// What an agent of an earlier release says nothing of.
pub(crate) fn untold() -> Way {
    Way::Closed(
        "the site agent's release does not tell whether its BMC offers it; upgrade the site agent to the operator's release".to_owned(),
    )
}

fn way(
    method: AllowedMethod,
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    spec: &DpuBootPolicySpec,
    facts: &BmcReport,
    now: Timestamp,
) -> Way {
    let offers = &facts.capabilities;
    let unread = |what: &str| Way::Unread(format!("the BMC of {} {what}", machine(card)));
    let stateless = match &card.wanted {
        Wanted::Image(image) => Some(image).filter(|image| image.stateless),
        Wanted::Missing(_) | Wanted::Unchosen(_) | Wanted::Nothing => None,
    };
    if let Some(image) = stateless.filter(|_| method != AllowedMethod::UefiHttp) {
        return Way::Closed(format!(
            "{} is stateless, and this way leads to no boot but the next",
            image.version
        ));
    }
    if let Some(lack) = wipe::closes(method, card) {
        return Way::Closed(lack);
    }
    if let Some((reason, lack)) = image_bytes::closes(method, view, card, Some(facts)) {
        return Way::Unfit(reason, lack);
    }
    match method {
        AllowedMethod::VirtualMedia => match offers.virtual_media {
            Offer::Offered => {
                let targets = &offers.boot_targets;
                if targets.is_empty() || targets.iter().any(|target| target == "Cd") {
                    Way::Open
                } else {
                    Way::Closed(format!(
                        "its BMC offers no boot target Cd, only {}",
                        targets.join(", ")
                    ))
                }
            }
            Offer::NotOffered => {
                Way::Closed("its BMC offers no virtual media that can hold an image".to_owned())
            }
            Offer::NotRead | Offer::Unrecognized(_) => unread("offers virtual media"),
        },
        AllowedMethod::UefiHttp => match (&offers.uefi_http, &facts.http_boot) {
            (None, _) | (_, None) => untold(),
            (Some(Offer::NotOffered), _) => Way::Closed(
                "its BMC offers no boot target UefiHttp with a URL of its own (HttpBootUri)"
                    .to_owned(),
            ),
            (Some(Offer::NotRead | Offer::Unrecognized(_)), _) => {
                unread("offers UEFI HTTP boot")
            }
            (Some(Offer::Offered), Some(_))
                if stateless.is_some() && offers.network_boot != Some(Offer::Offered) =>
            {
                match &offers.network_boot {
                    None => untold(),
                    Some(Offer::NotOffered) => Way::Closed(
                        "its BMC offers no boot override that lasts (Continuous)".to_owned(),
                    ),
                    Some(_) => unread("offers a boot override that lasts"),
                }
            }
            (Some(Offer::Offered), Some(held)) => match held.owner {
                MediaOwner::Nobody | MediaOwner::Lockstep => Way::Open,
                MediaOwner::Foreign => Way::Closed(
                    "its BMC holds an HttpBootUri that Lockstep did not set; empty it, if nobody needs it".to_owned(),
                ),
                MediaOwner::Unrecognized(_) => unread("holds an HttpBootUri"),
            },
        },
        AllowedMethod::SimpleUpdate => match &offers.simple_update {
            Some(Offer::NotOffered) => Way::Closed(
                "its BMC offers no SimpleUpdate of the card's operating system, or not by the protocol of the site's store".to_owned(),
            ),
            Some(Offer::Offered) => Way::Open,
            Some(Offer::NotRead | Offer::Unrecognized(_)) => unread("offers SimpleUpdate"),
            None => untold(),
        },
        AllowedMethod::MultipartPush => match &offers.multipart_push {
            Some(Offer::NotOffered) => Way::Closed(
                "its BMC takes no multipart push of the card's operating system".to_owned(),
            ),
            Some(Offer::Offered) => Way::Open,
            Some(Offer::NotRead | Offer::Unrecognized(_)) => unread("takes multipart pushes"),
            None => untold(),
        },
        AllowedMethod::Rshim if roll_back::is_golden(record, card) => Way::Closed(
            "a golden image goes onto a card by its BMC alone, not through its host".to_owned(),
        ),
        AllowedMethod::Rshim => push::way(view, record, card, spec, now),
        AllowedMethod::DevlinkFlash => Way::Closed("firmware alone is written so".to_owned()),
        AllowedMethod::Pxe => match &facts.pxe {
            Some(service) => pxe::way(card, facts, service),
            None => untold(),
        },
        AllowedMethod::LocalStorage => slots::way(card::record_of(record, card), card, facts),
    }
}

/// Whether the BMC, or the image, has said of every way of the policy that it leads nowhere.
pub(crate) fn is_closed(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    spec: &DpuBootPolicySpec,
    facts: &BmcReport,
    now: Timestamp,
) -> bool {
    let mut methods = spec.install.methods.iter();
    methods.all(|method| {
        let way = way(*method, view, record, card, spec, facts, now);
        matches!(way, Way::Closed(_) | Way::Forbidden(_) | Way::Unfit(..))
    })
}

/// Whether a directive of the card failed too often for a person not to be asked. Arming it by one
/// way may have, as long as another is left.
pub(crate) fn is_stuck(
    view: &View,
    record: &DpuHostStatus,
    card: &CardView,
    kept: &CardRecord,
    spec: &DpuBootPolicySpec,
    facts: Option<&BmcReport>,
    now: Timestamp,
) -> bool {
    let too_often = kept
        .failed
        .as_ref()
        .is_some_and(|failed| failed.times >= DIRECTIVE_TRIES);
    let next = facts.and_then(|facts| choose(view, record, card, kept, spec, facts, now).ok());
    let methods = AllowedMethod::ALL.into_iter();
    let mut methods = methods.filter(|method| method.installs());
    let arming = methods.find(|method| is_given_up(kept, *method));
    too_often && (arming.is_none() || next.is_none_or(|next| arming == Some(next)))
}

/// Whether arming the card so failed as often as it is tried, or beginning its update so, or pushing
/// the image to it.
fn is_given_up(kept: &CardRecord, method: AllowedMethod) -> bool {
    let other = match method {
        AllowedMethod::UefiHttp => Some(ActionKind::SetNetworkBoot),
        AllowedMethod::Rshim => Some(ActionKind::PushImage),
        AllowedMethod::VirtualMedia
        | AllowedMethod::SimpleUpdate
        | AllowedMethod::MultipartPush
        | AllowedMethod::Pxe
        | AllowedMethod::LocalStorage
        | AllowedMethod::DevlinkFlash => None,
    };
    let mut actions = std::iter::once(arming(method)).chain(other);
    kept.failed.as_ref().is_some_and(|failed| {
        let is_of = |action| failed.what == ledger::named(&action, &TargetKind::Card, &kept.name);
        failed.times >= DIRECTIVE_TRIES && actions.any(is_of)
    })
}

/// The action that arms a card for this way, or begins its update by it.
pub(crate) fn arming(method: AllowedMethod) -> ActionKind {
    match method {
        AllowedMethod::VirtualMedia => ActionKind::StageInstall,
        AllowedMethod::UefiHttp => ActionKind::StageHttpBoot,
        AllowedMethod::SimpleUpdate => ActionKind::PullUpdate,
        AllowedMethod::MultipartPush => ActionKind::PushUpdate,
        AllowedMethod::Rshim => ActionKind::OfferImage,
        AllowedMethod::Pxe => ActionKind::StagePxeBoot,
        AllowedMethod::LocalStorage => ActionKind::StageBootEntry,
        AllowedMethod::DevlinkFlash => ActionKind::FlashFirmware,
    }
}

/// The same for that image.
pub(crate) fn arming_with(method: AllowedMethod, wanted: &ImageFacts) -> ActionKind {
    match method {
        AllowedMethod::UefiHttp if wanted.stateless => ActionKind::SetNetworkBoot,
        AllowedMethod::UefiHttp
        | AllowedMethod::VirtualMedia
        | AllowedMethod::SimpleUpdate
        | AllowedMethod::MultipartPush
        | AllowedMethod::Rshim
        | AllowedMethod::Pxe
        | AllowedMethod::LocalStorage
        | AllowedMethod::DevlinkFlash => arming(method),
    }
}

/// What that action does, for people.
pub(crate) fn deed(method: AllowedMethod, wanted: &ImageFacts, machine: &str) -> String {
    let version = &wanted.version;
    match method {
        AllowedMethod::UefiHttp if wanted.stateless => {
            format!("setting every boot of {machine} to UEFI HTTP, from the URL of {version}")
        }
        AllowedMethod::VirtualMedia => format!(
            "inserting {version} as virtual media of {machine} and setting its next boot to it"
        ),
        AllowedMethod::UefiHttp => {
            format!("setting the next boot of {machine} to UEFI HTTP, from the URL of {version}")
        }
        AllowedMethod::SimpleUpdate => {
            format!("having the BMC of {machine} fetch {version} and write it")
        }
        AllowedMethod::MultipartPush => {
            format!("sending {version} to the BMC of {machine}, which writes it")
        }
        AllowedMethod::Rshim => {
            format!("offering {version} to the agent of the host of {machine}")
        }
        AllowedMethod::Pxe => format!(
            "offering {version} to the firmware of {machine} by PXE and setting its next boot to it"
        ),
        AllowedMethod::LocalStorage => {
            let slot = wanted.slot.as_ref();
            let entry = slot.map_or("(none)", |slot| slot.boot_entry.as_str());
            format!("setting the next boot of {machine} to {entry} of its own disk, for {version}")
        }
        AllowedMethod::DevlinkFlash => {
            format!("having {version} written to {machine} by its host")
        }
    }
}

/// Whether the card's BMC writes the image, so that nothing is armed before.
pub(crate) fn is_update(method: AllowedMethod) -> bool {
    arming(method).is_update()
}

/// Whether the card must be powered off and on for it by its BMC.
pub(crate) fn needs_cycle(method: AllowedMethod) -> bool {
    match method {
        AllowedMethod::VirtualMedia
        | AllowedMethod::UefiHttp
        | AllowedMethod::Pxe
        | AllowedMethod::LocalStorage => true,
        AllowedMethod::SimpleUpdate
        | AllowedMethod::MultipartPush
        | AllowedMethod::Rshim
        | AllowedMethod::DevlinkFlash => false,
    }
}

/// Whether the last install of the record's image was given to the card's BMC to write.
pub(crate) fn is_by_update(kept: &CardRecord) -> bool {
    matches!(
        kept.method,
        Some(InstallMethod::SimpleUpdate | InstallMethod::MultipartPush)
    )
}

/// The way that an action arms a card for, or goes.
pub(crate) fn method_of(kind: &ActionKind) -> Option<AllowedMethod> {
    if *kind == ActionKind::PushImage {
        return Some(AllowedMethod::Rshim);
    }
    if *kind == ActionKind::SetNetworkBoot {
        return Some(AllowedMethod::UefiHttp);
    }
    let mut methods = AllowedMethod::ALL.into_iter();
    methods.find(|method| arming(*method) == *kind)
}

/// What an action that arms a card may leave there.
pub(crate) fn arms(method: AllowedMethod) -> Vec<ArmedEffect> {
    match method {
        AllowedMethod::VirtualMedia => vec![ArmedEffect::VirtualMedia, ArmedEffect::BootOverride],
        AllowedMethod::UefiHttp => vec![ArmedEffect::HttpBootUri, ArmedEffect::BootOverride],
        AllowedMethod::SimpleUpdate | AllowedMethod::MultipartPush => vec![ArmedEffect::Update],
        AllowedMethod::Rshim => vec![ArmedEffect::HostOffer],
        AllowedMethod::Pxe => vec![ArmedEffect::PxeOffer, ArmedEffect::BootOverride],
        AllowedMethod::LocalStorage => vec![ArmedEffect::BootEntry],
        AllowedMethod::DevlinkFlash => Vec::new(),
    }
}

/// By which way the card is armed with that image. A BMC that was given a URL may have fetched the
/// image itself and show it as a medium; what it was asked for then counts.
pub(crate) fn armed_by(
    facts: &BmcReport,
    kept: &CardRecord,
    wanted: &ImageFacts,
) -> Option<AllowedMethod> {
    if kept.armed.contains(&ArmedEffect::HostOffer)
        && facts.granted.as_ref() == Some(&wanted.digest)
    {
        Some(AllowedMethod::Rshim)
    } else if holds(facts.http_boot.as_ref(), &wanted.digest) && boots_over_http(facts) {
        Some(AllowedMethod::UefiHttp)
    } else if holds(Some(&facts.media), &wanted.digest) && reach::boots_from_media(facts) {
        Some(way_of(&kept.armed))
    } else if pxe::boots(facts, &wanted.digest) {
        Some(AllowedMethod::Pxe)
    } else if kept.armed.contains(&ArmedEffect::BootEntry) && slots::boots(facts, wanted) {
        Some(AllowedMethod::LocalStorage)
    } else {
        None
    }
}

/// The way that these armed effects belong to.
pub(crate) fn way_of(armed: &[ArmedEffect]) -> AllowedMethod {
    if armed.contains(&ArmedEffect::HttpBootUri) {
        AllowedMethod::UefiHttp
    } else if armed.contains(&ArmedEffect::HostOffer) && !armed.contains(&ArmedEffect::VirtualMedia)
    {
        AllowedMethod::Rshim
    } else if armed.contains(&ArmedEffect::PxeOffer) && !armed.contains(&ArmedEffect::VirtualMedia)
    {
        AllowedMethod::Pxe
    } else if armed.contains(&ArmedEffect::BootEntry) && !armed.contains(&ArmedEffect::VirtualMedia)
    {
        AllowedMethod::LocalStorage
    } else {
        AllowedMethod::VirtualMedia
    }
}

/// Whether something of ours is armed that this way does not use and would leave behind.
pub(crate) fn is_in_the_way(method: AllowedMethod, facts: &BmcReport, kept: &CardRecord) -> bool {
    let is_armed = |effect: ArmedEffect| kept.armed.contains(&effect);
    let http = is_ours(facts.http_boot.as_ref()) || is_armed(ArmedEffect::HttpBootUri);
    let media = is_ours(Some(&facts.media));
    let (updates, offer) = (
        is_armed(ArmedEffect::Update),
        is_armed(ArmedEffect::HostOffer),
    );
    let pxe = pxe::offered(facts).is_some() || is_armed(ArmedEffect::PxeOffer);
    let entry = is_armed(ArmedEffect::BootEntry);
    match method {
        AllowedMethod::VirtualMedia => http || updates || offer || pxe || entry,
        AllowedMethod::UefiHttp => media || updates || offer || pxe || entry,
        AllowedMethod::SimpleUpdate
        | AllowedMethod::MultipartPush
        | AllowedMethod::DevlinkFlash => !kept.armed.is_empty(),
        AllowedMethod::Rshim => {
            http || media || updates || pxe || entry || is_armed(ArmedEffect::BootOverride)
        }
        AllowedMethod::Pxe => http || media || updates || offer || entry,
        AllowedMethod::LocalStorage => http || media || updates || offer || pxe,
    }
}

pub(crate) fn is_ours(held: Option<&MediaReport>) -> bool {
    held.is_some_and(|held| held.owner == MediaOwner::Lockstep)
}

fn holds(held: Option<&MediaReport>, digest: &str) -> bool {
    is_ours(held) && held.and_then(|held| held.digest.as_deref()) == Some(digest)
}

/// Whether the boot override in force is what setting HTTP boot leads to.
pub(crate) fn boots_over_http(facts: &BmcReport) -> bool {
    matches!(facts.boot_override.as_deref(), Some("UefiHttp" | "Cd"))
}

/// The ways that failed, that of an attempt which is over included. Not to be asked while an
/// install may be under way.
pub(crate) fn failed_methods(kept: &CardRecord) -> Vec<InstallMethod> {
    let mut failed = kept.failed_methods.clone();
    if kept.booted_at.is_some() && kept.observed_at.is_none() {
        // Earlier releases knew one way, and did not say so.
        add(
            &mut failed,
            kept.method.clone().unwrap_or(InstallMethod::VirtualMedia),
        );
    }
    failed
}

/// Books that a way failed, as the latest.
pub(crate) fn add(failed: &mut Vec<InstallMethod>, method: InstallMethod) {
    failed.retain(|one| *one != method);
    failed.push(method);
}
