//! What keeps a card from the image that somebody is to fetch for it, as the site's store saw it.
//!
//! A BMC that cannot reach the store, or does not trust it, says no more than that its task failed,
//! if it says so much; the store has seen why. There is nothing in Redfish by which a BMC could be
//! asked to try that beforehand without an effect, so it is told where a fetch fails or hangs.

use jiff::Timestamp;
use lockstep_crds::directive::Directive;
use lockstep_crds::host::{CardRecord, ComponentRecord};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::report::{BmcReport, FetchReport, FetchState};

use crate::road;
use crate::view::{CardView, View};

/// Why nothing, or not all, was fetched.
pub(crate) struct Fault {
    pub(crate) reason: &'static str,
    /// What the store saw, and what helps.
    pub(crate) message: String,
}

impl Fault {
    /// The failure of a fetch that is told otherwise so far.
    pub(crate) fn behind(self, reason: &str, message: &str) -> (&'static str, String) {
        (
            self.reason,
            format!("{}; {reason}: {message}", self.message),
        )
    }
}

/// Of the install that the record is about.
pub(crate) fn of_install(
    view: &View,
    card: &CardView,
    kept: &CardRecord,
    now: Timestamp,
) -> Option<Fault> {
    let facts = view.card_bmc(card, now)?;
    // Earlier releases knew one way, and did not say so.
    let method = kept.method.clone().unwrap_or(InstallMethod::VirtualMedia);
    fault(facts, &kept.image.as_ref()?.digest, &method)
}

/// Of the update of a component.
pub(crate) fn of_component(facts: &BmcReport, one: &ComponentRecord) -> Option<Fault> {
    fault(facts, &one.image.digest, one.method.as_ref()?)
}

/// Puts before what an executor says of a directive that failed what the store saw of it.
pub(crate) fn beside(
    view: &View,
    directive: &Directive,
    message: Option<String>,
    now: Timestamp,
) -> Option<String> {
    let mut cards = view.cards.iter();
    let fault = cards
        .find(|card| card.uid() == directive.target.uid)
        .and_then(|card| view.card_bmc(card, now))
        .and_then(|facts| {
            let image = directive.action.image.as_ref()?;
            let method = road::method_of(&directive.action.kind)?;
            fault(facts, &image.digest, &method.into())
        });
    match (fault, message) {
        // The first is what a record that is too long keeps.
        (Some(fault), Some(message)) => Some(format!("{}: {message}", fault.message)),
        (Some(fault), None) => Some(fault.message),
        (None, message) => message,
    }
}

fn fault(facts: &BmcReport, digest: &str, method: &InstallMethod) -> Option<Fault> {
    let (who, url) = match method {
        InstallMethod::UefiHttp => ("the card's firmware", "xpu.storeUrl"),
        InstallMethod::VirtualMedia | InstallMethod::SimpleUpdate => {
            ("the card's BMC", "store.advertiseUrl")
        }
        // Nobody is given a URL then.
        InstallMethod::MultipartPush
        | InstallMethod::Pxe
        | InstallMethod::Rshim
        | InstallMethod::DevlinkFlash
        | InstallMethod::Unrecognized(_) => return None,
    };
    let mut fetches = facts.fetches.iter();
    let seen = fetches.find(|seen| seen.digest == digest)?;
    // A drive that is read here and there may be left in the middle of it.
    if seen.state == FetchState::CutShort && *method == InstallMethod::VirtualMedia {
        return None;
    }
    if seen.state == FetchState::NotReached && *method == InstallMethod::UefiHttp {
        return Some(card_did_not_ask(url));
    }
    told(seen, who, url)
}

/// What calls from the card itself is told from others by the URL alone.
fn card_did_not_ask(url: &str) -> Fault {
    Fault {
        reason: "StoreNotReached",
        message: format!(
            "nobody asked the site's store for the image: the card's firmware did not connect, or broke TLS off, which is not told apart because its address is not known here; see routes, names and firewalls between it and {url}, and for https that it has the authority of store.tls"
        ),
    }
}

fn told(seen: &FetchReport, who: &str, url: &str) -> Option<Fault> {
    let detail = seen.detail.as_deref();
    let detail = detail.map_or_else(String::new, |detail| format!(" ({detail})"));
    let (reason, message) = match &seen.state {
        FetchState::NotReached => (
            "StoreNotReached",
            format!(
                "nobody asked the site's store for the image, nor connected from the card's BMC{detail}; see routes, names and firewalls between it and {url}"
            ),
        ),
        FetchState::TooManyConnections => (
            "StoreCrowded",
            format!(
                "the site's store takes no more connections from one address{detail}; see what else calls from there"
            ),
        ),
        FetchState::NotAsked => (
            "StoreNotAsked",
            format!(
                "the card's BMC connected to the site's store{detail} and asked for nothing; see proxies and firewalls between them, and the scheme of {url}"
            ),
        ),
        FetchState::NotTrusted => (
            "StoreNotTrusted",
            format!(
                "the card's BMC refused the certificate of the site's store{detail}; give it the authority of store.tls, see that the certificate has the name in {url}, and that its clock is not behind"
            ),
        ),
        FetchState::NotInDate => (
            "ClockDiffers",
            format!(
                "the certificate of the site's store is out of date for the card's BMC{detail}; set its clock, or renew store.tls"
            ),
        ),
        FetchState::ProtocolDiffers => (
            "StoreProtocolDiffers",
            format!(
                "the card's BMC does not speak what the site's store does{detail}; see the scheme of {url}, or update that BMC"
            ),
        ),
        FetchState::UrlRefused => (
            "StoreUrlRefused",
            format!(
                "{who} asked the site's store for something else than the image's URL{detail}; see whether it changes long URLs, or use another of install.methods"
            ),
        ),
        FetchState::LengthOnly => (
            "ImageNotRead",
            format!(
                "{who} asked the site's store for the image's length{detail} and no more; see whether that is too long for it, or use another of install.methods"
            ),
        ),
        FetchState::RangeRefused => (
            "ImageRangeRefused",
            format!(
                "{who} asked for bytes that the image does not have{detail}; see whether it remembers another image, and restart the card's BMC"
            ),
        ),
        FetchState::CutShort => (
            "ImageCutShort",
            format!(
                "{who} broke off reading the image{detail}; see whether it has room for it, and what is between it and the site's store"
            ),
        ),
        FetchState::StoreFailed => (
            "StoreFailed",
            "the site's store could not read the image; see the log of the site's agent and its disk"
                .to_owned(),
        ),
        FetchState::Unrecognized(_) => return None,
    };
    Some(Fault { reason, message })
}
