//! From what a BMC showed to what is reported. Pure.
//!
//! An image URL goes in and never comes out: what is reported is whose medium
//! it is. Everything is cut to what the API takes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::MachineIdentity;
use lockstep_crds::identity::plain_uuid;
use lockstep_crds::observed::{BootStage, Knowledge, Offer, PowerState};
use lockstep_crds::report::{BmcCapabilities, BmcReport, MediaOwner, MediaReport};

use crate::document::bounded;
use crate::effect::{BootTarget, OverrideEnabled};
use crate::facts::{BmcFacts, BootOverrideState, Capability, ImageUrl, MediaSlot, Reading};
use crate::vendor::{self, Words};

/// Whose medium a URL stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlOwner {
    /// Ours, with the digest if it is still known.
    Ours(Option<String>),
    /// Somebody else's.
    Foreign,
}

/// What is reported of these facts.
///
/// `owner` tells whose a medium is, `uri_owner` whose a URL for HTTP boot: `None` where it is meant
/// for another machine, for some BMCs of several machines keep one for all of them.
/// `previous` is the last report: a power state that did not change keeps the
/// time since when it is known, unless that lies ahead. Of updates nothing is said here: what
/// became of one takes more than a look.
pub fn bmc_report(
    facts: &BmcFacts,
    owner: impl Fn(&ImageUrl) -> UrlOwner,
    uri_owner: impl Fn(&ImageUrl) -> Option<UrlOwner>,
    previous: Option<&BmcReport>,
    now: &Time,
) -> BmcReport {
    let power = facts
        .power
        .value()
        .map(|power| PowerState::from(bounded(power.as_str(), 64).as_str()));
    let power_since = match (&power, previous) {
        (None, _) => None,
        (Some(_), Some(previous)) if previous.power == power => {
            let since = previous.power_since.as_ref();
            Some(
                since
                    .filter(|since| since.0 <= now.0)
                    .unwrap_or(now)
                    .clone(),
            )
        }
        (Some(_), Some(_) | None) => Some(now.clone()),
    };
    let (stage, stage_knowledge) = match &facts.boot_progress {
        Reading::NotOffered => (None, Knowledge::NotOffered),
        Reading::NotRead(_) => (None, Knowledge::NotRead),
        Reading::Read(progress) => match progress.stage {
            Some(stage) => (Some(BootStage::from(stage.as_str())), Knowledge::Known),
            None => (None, Knowledge::NotRead),
        },
    };
    let maker = facts.identity.manufacturer.as_deref();
    let model = [maker, facts.identity.model.as_deref()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ");
    BmcReport {
        identity: identity(facts),
        key_pin: facts.identity.tls_pin.as_ref().map(ToString::to_string),
        answers_at: Some(bounded(&facts.channel.remote.to_string(), 64)),
        model: (!model.is_empty()).then(|| bounded(&model, 128)),
        firmware_version: facts
            .identity
            .bios_version
            .as_deref()
            .map(|version| bounded(version, 128)),
        power,
        power_since,
        stage,
        stage_knowledge,
        boot_override: override_in_force(facts).map(|target| bounded(target.as_str(), 64)),
        granted: None,
        http_boot: Some(http_boot_report(facts, uri_owner, previous)),
        media: media_report(facts, owner, previous),
        update: None,
        components: None,
        component_update: None,
        fetches: Vec::new(),
        busy: None,
        pxe: None,
        boot_entries: None,
        capabilities: BmcCapabilities {
            boot_entry: Some(boot_entry(&facts.capabilities.boot_override)),
            simple_update: None,
            multipart_push: None,
            max_image_bytes: None,
            reset_types: values(&facts.capabilities.reset),
            boot_targets: values(&facts.capabilities.boot_override),
            virtual_media: offer(&facts.capabilities.virtual_media),
            uefi_http: Some(offer(&facts.capabilities.uefi_http)),
            network_boot: Some(network_boot(&facts.capabilities.uefi_http)),
            card_restart: Some(card_restart(facts)),
            sessions: offer(&facts.capabilities.sessions),
            boot_progress: offer(&facts.capabilities.boot_progress),
            power_restore_policy: offer(&facts.capabilities.power_restore),
        },
    }
}

/// The override that diverts the machine's next boot: ours is `Cd` or `UefiHttp`. A permanent "boot from disk" is where it boots anyway, and
/// some BMCs can show nothing else.
pub fn override_in_force(facts: &BmcFacts) -> Option<&BootTarget> {
    override_setting(facts).and_then(diverts)
}

/// The setting that decides the next boot. Where settings for the next reset
/// are kept apart, what the machine runs with decides nothing any more.
pub fn override_setting(facts: &BmcFacts) -> Option<&BootOverrideState> {
    let says = |state: &&BootOverrideState| state.target.is_some() || state.enabled.is_some();
    let pending = facts.pending_boot_override.value().filter(says);
    pending.or_else(|| facts.boot_override.value())
}

/// The URL that HTTP boot would use, where there is one.
pub fn http_boot_uri(facts: &BmcFacts) -> Option<&ImageUrl> {
    let shown = |state: &Reading<BootOverrideState>| match state {
        Reading::Read(state) if state.http_uri != Reading::NotOffered => true,
        Reading::Read(_) | Reading::NotOffered | Reading::NotRead(_) => false,
    };
    let settings = Some(&facts.pending_boot_override).filter(|state| shown(state));
    let state = settings.unwrap_or(&facts.boot_override).value()?;
    state.http_uri.value()?.as_ref()
}

fn diverts(state: &BootOverrideState) -> Option<&BootTarget> {
    match state.enabled {
        Some(OverrideEnabled::Disabled) => None,
        Some(OverrideEnabled::Once | OverrideEnabled::Continuous) | None => match &state.target {
            None | Some(BootTarget::None | BootTarget::Hdd) => None,
            Some(
                target @ (BootTarget::Pxe
                | BootTarget::Cd
                | BootTarget::Usb
                | BootTarget::UefiHttp
                | BootTarget::BiosSetup
                | BootTarget::Other(_)),
            ) => Some(target),
        },
    }
}

/// The slots that hold something, with whose it is.
pub fn inserted(
    facts: &BmcFacts,
    owner: impl Fn(&ImageUrl) -> UrlOwner,
) -> Vec<(&MediaSlot, UrlOwner)> {
    facts
        .media
        .value()
        .into_iter()
        .flatten()
        .filter(|slot| slot.inserted && slot.takes_iso())
        .map(|slot| {
            let whose = slot.image.as_ref().map_or(UrlOwner::Foreign, &owner);
            (slot, whose)
        })
        .collect()
}

fn media_report(
    facts: &BmcFacts,
    owner: impl Fn(&ImageUrl) -> UrlOwner,
    previous: Option<&BmcReport>,
) -> MediaReport {
    if matches!(facts.media, Reading::NotRead(_)) {
        // Unread is not empty.
        return previous.map_or_else(
            || MediaReport {
                owner: MediaOwner::from("NotRead"),
                digest: None,
            },
            |previous| previous.media.clone(),
        );
    }
    let inserted = inserted(facts, owner);
    // Ours before a stranger's: what is armed must show.
    let ours = inserted.iter().find_map(|(_, whose)| match whose {
        UrlOwner::Ours(digest) => Some(digest.clone()),
        UrlOwner::Foreign => None,
    });
    match (ours, inserted.is_empty()) {
        (Some(digest), _) => MediaReport {
            owner: MediaOwner::Lockstep,
            digest,
        },
        (None, true) => MediaReport {
            owner: MediaOwner::Nobody,
            digest: None,
        },
        (None, false) => MediaReport {
            owner: MediaOwner::Foreign,
            digest: None,
        },
    }
}

fn http_boot_report(
    facts: &BmcFacts,
    owner: impl Fn(&ImageUrl) -> Option<UrlOwner>,
    previous: Option<&BmcReport>,
) -> MediaReport {
    let before = previous.and_then(|previous| previous.http_boot.as_ref());
    let (owner, digest) = match http_boot_uri(facts).and_then(owner) {
        Some(UrlOwner::Ours(digest)) => (MediaOwner::Lockstep, digest),
        Some(UrlOwner::Foreign) => (MediaOwner::Foreign, None),
        // Unread is not empty.
        None if matches!(facts.pending_boot_override, Reading::NotRead(_)) => match before {
            Some(before) => return before.clone(),
            None => (MediaOwner::from("NotRead"), None),
        },
        None => (MediaOwner::Nobody, None),
    };
    MediaReport { owner, digest }
}

fn identity(facts: &BmcFacts) -> MachineIdentity {
    MachineIdentity {
        system_uuid: facts.identity.system_uuid.as_deref().and_then(plain_uuid),
        serial_number: facts
            .identity
            .serial_number
            .as_deref()
            .map(|serial| bounded(serial, 64)),
    }
}

pub(crate) fn offer(capability: &Capability) -> Offer {
    match capability.offer {
        crate::facts::Offer::Offered => Offer::Offered,
        crate::facts::Offer::NotOffered => Offer::NotOffered,
        crate::facts::Offer::NotRead => Offer::NotRead,
    }
}

/// A boot of one entry, once: offered by a BMC that says so. One that does not list its boot targets
/// is no proof of it.
fn boot_entry(targets: &Capability) -> Offer {
    let lists = targets.values.iter().flatten();
    let listed = lists.into_iter().any(|one| one == BootTarget::BOOT_NEXT);
    let offer = offer(targets);
    if offer == Offer::Offered && !listed {
        return Offer::NotOffered;
    }
    offer
}

/// A restart of the whole card by its BMC, where that is how it is made to boot.
fn card_restart(facts: &BmcFacts) -> Offer {
    let words = Words {
        maker: facts.identity.manufacturer.clone(),
        model: facts.identity.model.clone(),
        ..Words::default()
    };
    match vendor::recognise(&words) {
        Some((vendor, _)) if vendor.restarts_with_bmc => match &facts.manager {
            Reading::Read(manager) => offer(&manager.reset),
            Reading::NotOffered => Offer::NotOffered,
            Reading::NotRead(_) => Offer::NotRead,
        },
        Some(_) | None => Offer::NotOffered,
    }
}

/// HTTP boot from a URL of its own, by an override that lasts.
fn network_boot(http: &Capability) -> Offer {
    let lasts = http.allows(OverrideEnabled::Continuous.as_str());
    let offer = offer(http);
    if offer == Offer::Offered && !lasts {
        return Offer::NotOffered;
    }
    offer
}

fn values(capability: &Capability) -> Vec<String> {
    capability
        .values
        .iter()
        .flatten()
        .take(32)
        .map(|value| bounded(value, 64))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{
        Authentication, Capabilities, Channel, Offer as Offered, PowerState as Power,
        SystemIdentity, TrustInForce,
    };

    fn now() -> Time {
        serde_json::from_str("\"2026-06-01T00:00:00Z\"").unwrap()
    }

    fn capability(offer: Offered) -> Capability {
        Capability {
            offer,
            source: "/redfish/v1/Systems/1".to_owned(),
            values: None,
        }
    }

    /// A machine that is off, with nothing inserted and nothing overridden.
    fn facts() -> BmcFacts {
        BmcFacts {
            service: crate::facts::Service::default(),
            identity: SystemIdentity {
                system_path: "/redfish/v1/Systems/1".to_owned(),
                serial_number: Some("SN1".to_owned()),
                ..SystemIdentity::default()
            },
            manager: Reading::NotOffered,
            power: Reading::Read(Power::Off),
            boot_progress: Reading::NotOffered,
            boot_override: Reading::NotOffered,
            pending_boot_override: Reading::NotOffered,
            boot_order: Vec::new(),
            media: Reading::Read(vec![slot(None)]),
            power_restore: Reading::NotOffered,
            capabilities: Capabilities {
                reset: capability(Offered::Offered),
                boot_override: capability(Offered::Offered),
                virtual_media: capability(Offered::Offered),
                uefi_http: capability(Offered::NotOffered),
                boot_progress: capability(Offered::NotOffered),
                power_restore: capability(Offered::NotOffered),
                sessions: capability(Offered::Offered),
            },
            channel: Channel {
                remote: ([192, 0, 2, 1], 80).into(),
                trust: TrustInForce::PlainHttp,
                authentication: Authentication::Session,
            },
        }
    }

    fn slot(image: Option<&str>) -> MediaSlot {
        MediaSlot {
            id: "Cd".to_owned(),
            path: "/redfish/v1/Managers/1/VirtualMedia/Cd".to_owned(),
            name: None,
            inserted: image.is_some(),
            image: image.map(ImageUrl::new),
            media_types: vec!["CD".to_owned()],
            connected_via: None,
            write_protected: None,
            insert_target: Some("/insert".to_owned()),
            eject_target: Some("/eject".to_owned()),
        }
    }

    fn ours(url: &ImageUrl) -> UrlOwner {
        if url.expose().starts_with("http://store/") {
            UrlOwner::Ours(Some("sha256:aa".to_owned()))
        } else {
            UrlOwner::Foreign
        }
    }

    fn our_uri(url: &ImageUrl) -> Option<UrlOwner> {
        Some(ours(url))
    }

    #[test]
    fn a_restart_of_the_whole_card_is_offered_where_its_maker_installs_it_so() {
        let restarts = |offer| {
            Reading::Read(crate::facts::Manager {
                path: "/redfish/v1/Managers/1".to_owned(),
                uuid: None,
                model: None,
                firmware_version: None,
                reset: capability(offer),
            })
        };
        let (ipu, other) = ("IPU Adapter E2100-CCQDA2", "BlueField-3 DPU");
        for (model, manager, offer) in [
            (ipu, restarts(Offered::Offered), Offer::Offered),
            (ipu, restarts(Offered::NotOffered), Offer::NotOffered),
            (ipu, Reading::NotRead("503".to_owned()), Offer::NotRead),
            (other, restarts(Offered::Offered), Offer::NotOffered),
        ] {
            let mut seen = facts();
            seen.identity.model = Some(model.to_owned());
            seen.manager = manager;
            let report = bmc_report(&seen, ours, our_uri, None, &now());
            assert_eq!(report.capabilities.card_restart, Some(offer), "{model}");
        }
    }

    #[test]
    fn the_owner_is_reported_and_the_url_never() {
        let now = now();
        for (image, owner) in [
            (None, MediaOwner::Nobody),
            (
                Some("http://store/i/secret/image.iso"),
                MediaOwner::Lockstep,
            ),
            (Some("http://elsewhere/secret.iso"), MediaOwner::Foreign),
        ] {
            let mut seen = facts();
            seen.media = Reading::Read(vec![slot(image)]);
            let report = bmc_report(&seen, ours, our_uri, None, &now);
            assert_eq!(report.media.owner, owner);
            assert!(!serde_json::to_string(&report).unwrap().contains("secret"));
        }
    }

    #[test]
    fn the_owner_of_an_http_boot_url_is_reported_and_the_url_never() {
        let here =
            |url: &ImageUrl| (url.expose() != "http://store/secret/other").then(|| ours(url));
        let state = |uri: Option<&str>| {
            Reading::Read(BootOverrideState {
                target: Some(BootTarget::UefiHttp),
                enabled: Some(OverrideEnabled::Once),
                mode: None,
                http_uri: Reading::Read(uri.map(ImageUrl::new)),
                next: None,
            })
        };
        for (current, pending, owner) in [
            (None, None, MediaOwner::Nobody),
            (Some("http://store/secret/a"), None, MediaOwner::Lockstep),
            (Some("http://store/secret/other"), None, MediaOwner::Nobody),
            (Some("http://x/secret"), None, MediaOwner::Foreign),
            // What the machine runs with is over where settings are kept apart.
            (Some("http://x/secret"), Some(None), MediaOwner::Nobody),
            (
                None,
                Some(Some("http://store/secret/a")),
                MediaOwner::Lockstep,
            ),
        ] {
            let mut seen = facts();
            seen.boot_override = state(current);
            seen.pending_boot_override = pending.map_or(Reading::NotOffered, state);
            let report = bmc_report(&seen, ours, here, None, &now());
            let digest = (owner == MediaOwner::Lockstep).then(|| "sha256:aa".to_owned());
            assert_eq!(report.http_boot, Some(MediaReport { owner, digest }));
            assert!(!serde_json::to_string(&report).unwrap().contains("secret"));
        }
    }

    #[test]
    fn it_is_told_where_the_bmc_was_read() {
        let report = bmc_report(&facts(), ours, our_uri, None, &now());
        assert_eq!(report.answers_at.as_deref(), Some("192.0.2.1:80"));
    }

    #[test]
    fn our_medium_shows_before_a_strangers() {
        let mut seen = facts();
        seen.media = Reading::Read(vec![slot(Some("http://x/")), slot(Some("http://store/i/"))]);
        let report = bmc_report(&seen, ours, our_uri, None, &now());
        assert_eq!(report.media.owner, MediaOwner::Lockstep);
    }

    #[test]
    fn the_time_of_a_power_state_is_kept_until_it_changes() {
        let then: Time = serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap();
        let now = now();
        let first = bmc_report(&facts(), ours, our_uri, None, &then);
        let same = bmc_report(&facts(), ours, our_uri, Some(&first), &now);
        assert_eq!(first, same);
        let mut on = facts();
        on.power = Reading::Read(Power::On);
        let changed = bmc_report(&on, ours, our_uri, Some(&first), &now);
        assert_eq!(changed.power_since, Some(now.clone()));
        let mut ahead = first;
        ahead.power_since = serde_json::from_str("\"9999-12-30T21:59:00Z\"").unwrap();
        let clamped = bmc_report(&facts(), ours, our_uri, Some(&ahead), &now);
        assert_eq!(clamped.power_since, Some(now));
    }

    #[test]
    fn only_an_override_that_diverts_the_boot_is_one() {
        let state = |target, enabled| {
            Reading::Read(BootOverrideState {
                target: Some(target),
                enabled,
                mode: None,
                http_uri: Reading::NotOffered,
                next: None,
            })
        };
        for (current, pending, wanted) in [
            (
                state(BootTarget::Hdd, Some(OverrideEnabled::Continuous)),
                Reading::NotOffered,
                None,
            ),
            (
                state(BootTarget::Cd, Some(OverrideEnabled::Disabled)),
                Reading::NotOffered,
                None,
            ),
            (
                state(BootTarget::Cd, Some(OverrideEnabled::Once)),
                Reading::NotOffered,
                Some("Cd"),
            ),
            (state(BootTarget::Cd, None), Reading::NotOffered, Some("Cd")),
            (
                state(BootTarget::None, Some(OverrideEnabled::Disabled)),
                state(BootTarget::Cd, Some(OverrideEnabled::Once)),
                Some("Cd"),
            ),
            // Taken back for the next boot, and still shown of this one.
            (
                state(BootTarget::Cd, Some(OverrideEnabled::Once)),
                state(BootTarget::None, Some(OverrideEnabled::Disabled)),
                None,
            ),
            (
                state(BootTarget::Cd, Some(OverrideEnabled::Once)),
                Reading::Read(BootOverrideState {
                    target: None,
                    enabled: None,
                    mode: None,
                    http_uri: Reading::NotOffered,
                    next: None,
                }),
                Some("Cd"),
            ),
        ] {
            let mut seen = facts();
            seen.boot_override = current;
            seen.pending_boot_override = pending;
            assert_eq!(override_in_force(&seen).map(BootTarget::as_str), wanted);
        }
    }

    #[test]
    fn odd_identities_fit_the_api_or_are_left_out() {
        let mut seen = facts();
        seen.identity.system_uuid = Some("0123456789abcdef0123456789ABCDEF".to_owned());
        let report = bmc_report(&seen, ours, our_uri, None, &now());
        assert_eq!(
            report.identity.system_uuid.as_deref(),
            Some("01234567-89ab-cdef-0123-456789abcdef")
        );
        seen.identity.system_uuid = Some("none".to_owned());
        seen.identity.serial_number = None;
        let report = bmc_report(&seen, ours, our_uri, None, &now());
        assert_eq!(report.identity, MachineIdentity::default());
    }

    #[test]
    fn media_that_could_not_be_read_stay_as_they_were_reported() {
        let mut seen = facts();
        seen.media = Reading::Read(vec![slot(Some("http://store/i/"))]);
        let first = bmc_report(&seen, ours, our_uri, None, &now());
        seen.media = Reading::NotRead("timeout".to_owned());
        let second = bmc_report(&seen, ours, our_uri, Some(&first), &now());
        assert_eq!(second.media, first.media);
    }
}
