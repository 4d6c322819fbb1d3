//! What one look at a BMC tells, and what it does not.
//!
//! Plain values for the caller to report. Nothing here is a conclusion, and
//! nothing here is serialised: an image URL is a capability and must not
//! reach a Kubernetes object or a log ([`ImageUrl`]).

use std::fmt;
use std::net::SocketAddr;

use url::Url;

use crate::effect::{BootTarget, OverrideEnabled};
use crate::stage::BootStage;
use crate::target::SpkiPin;

/// A fact, or which kind of not knowing it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// It was read.
    Read(T),
    /// The platform shows no such property.
    NotOffered,
    /// It could be read and was not: why.
    NotRead(String),
}

impl<T> Reading<T> {
    /// The fact, if it was read.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Read(value) => Some(value),
            Self::NotOffered | Self::NotRead(_) => None,
        }
    }

    fn is_gap(&self) -> bool {
        matches!(self, Self::NotRead(_))
    }
}

/// Everything that one pass over a BMC gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BmcFacts {
    /// Which machine this is.
    pub identity: SystemIdentity,
    /// What the service told of itself to everybody.
    pub service: Service,
    /// The manager (BMC) of that machine.
    pub manager: Reading<Manager>,
    /// Whether it is on.
    pub power: Reading<PowerState>,
    /// How far it has booted.
    pub boot_progress: Reading<BootProgress>,
    /// The boot override in force.
    pub boot_override: Reading<BootOverrideState>,
    /// The boot override accepted for the next reset, where the platform
    /// keeps such settings apart (`@Redfish.Settings`).
    pub pending_boot_override: Reading<BootOverrideState>,
    /// Virtual media slots.
    pub media: Reading<Vec<MediaSlot>>,
    /// What the machine does when mains power returns.
    pub power_restore: Reading<PowerRestorePolicy>,
    /// What the platform offers.
    pub capabilities: Capabilities,
    /// How the BMC was reached.
    pub channel: Channel,
}

impl BmcFacts {
    /// Whether a document beside the ComputerSystem was not read that may be another time.
    pub fn has_gaps(&self) -> bool {
        self.manager.is_gap() || self.pending_boot_override.is_gap() || self.media.is_gap()
    }

    /// Whether a glance shows what these facts say of the same document.
    pub fn show(&self, glance: &SystemGlance) -> bool {
        let SystemGlance {
            identity,
            power,
            boot_progress,
            boot_override,
            power_restore,
        } = glance;
        self.identity == *identity
            && self.power == *power
            && self.boot_progress == *boot_progress
            && self.boot_override == *boot_override
            && self.power_restore == *power_restore
    }
}

/// What a service root tells of its service, as far as it stays while nothing changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `UUID`, if it means anything.
    pub uuid: Option<String>,
    /// `RedfishVersion`.
    pub redfish_version: Option<String>,
}

/// What a ComputerSystem shows by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemGlance {
    /// Which machine this is; the service's UUID is the one that was read last.
    pub identity: SystemIdentity,
    /// Whether it is on.
    pub power: Reading<PowerState>,
    /// How far it has booted.
    pub boot_progress: Reading<BootProgress>,
    /// The boot override in force.
    pub boot_override: Reading<BootOverrideState>,
    /// What the machine does when mains power returns.
    pub power_restore: Reading<PowerRestorePolicy>,
}

/// What identifies a machine. Values are trimmed; empty ones are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemIdentity {
    /// `ServiceRoot.UUID`.
    pub service_uuid: Option<String>,
    /// Path of the ComputerSystem, as the document itself names it.
    pub system_path: String,
    /// `ComputerSystem.UUID`.
    pub system_uuid: Option<String>,
    /// `ComputerSystem.SerialNumber`.
    pub serial_number: Option<String>,
    /// `ComputerSystem.Manufacturer`.
    pub manufacturer: Option<String>,
    /// `ComputerSystem.Model`.
    pub model: Option<String>,
    /// `ComputerSystem.SKU`.
    pub sku: Option<String>,
    /// `ComputerSystem.PartNumber`.
    pub part_number: Option<String>,
    /// `ComputerSystem.BiosVersion`.
    pub bios_version: Option<String>,
    /// Key of the BMC's TLS certificate, seen in the latest handshake.
    pub tls_pin: Option<SpkiPin>,
}

/// The manager (BMC) of a system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// Path of the Manager.
    pub path: String,
    /// `Manager.UUID`.
    pub uuid: Option<String>,
    /// `Manager.Model`.
    pub model: Option<String>,
    /// `Manager.FirmwareVersion`.
    pub firmware_version: Option<String>,
    /// `Manager.Reset`.
    pub reset: Capability,
}

/// `Resource.PowerState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// On.
    On,
    /// Off; standby power may remain.
    Off,
    /// On its way to on.
    PoweringOn,
    /// On its way to off.
    PoweringOff,
    /// Held by the platform.
    Paused,
    /// Something newer than this program.
    Other(String),
}

impl PowerState {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "On" => Self::On,
            "Off" => Self::Off,
            "PoweringOn" => Self::PoweringOn,
            "PoweringOff" => Self::PoweringOff,
            "Paused" => Self::Paused,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The value as Redfish spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::On => "On",
            Self::Off => "Off",
            Self::PoweringOn => "PoweringOn",
            Self::PoweringOff => "PoweringOff",
            Self::Paused => "Paused",
            Self::Other(other) => other,
        }
    }
}

/// `ComputerSystem.BootProgress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootProgress {
    /// The OPI stage, if the values name one.
    pub stage: Option<BootStage>,
    /// `LastState` as read.
    pub last_state: Option<String>,
    /// `OemLastState` as read.
    pub oem_last_state: Option<String>,
    /// `LastStateTime` as read. BMC clocks lie: never order events by it.
    pub last_state_time: Option<String>,
}

/// `ComputerSystem.Boot`, as far as the override goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOverrideState {
    /// `BootSourceOverrideTarget`.
    pub target: Option<BootTarget>,
    /// `BootSourceOverrideEnabled`.
    pub enabled: Option<OverrideEnabled>,
    /// `BootSourceOverrideMode`: `UEFI` or `Legacy`.
    pub mode: Option<String>,
    /// `HttpBootUri`, from which the target `UefiHttp` boots; `None` within: it holds no URL.
    pub http_uri: Reading<Option<ImageUrl>>,
}

/// `ComputerSystem.PowerRestorePolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerRestorePolicy {
    /// Power on when mains power returns.
    AlwaysOn,
    /// Stay off.
    AlwaysOff,
    /// Return to what it was.
    LastState,
    /// Something newer than this program.
    Other(String),
}

impl PowerRestorePolicy {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "AlwaysOn" => Self::AlwaysOn,
            "AlwaysOff" => Self::AlwaysOff,
            "LastState" => Self::LastState,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The value as Redfish spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::AlwaysOn => "AlwaysOn",
            Self::AlwaysOff => "AlwaysOff",
            Self::LastState => "LastState",
            Self::Other(other) => other,
        }
    }
}

/// One virtual media slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSlot {
    /// `VirtualMedia.Id`.
    pub id: String,
    /// Path of the VirtualMedia.
    pub path: String,
    /// `VirtualMedia.Name`.
    pub name: Option<String>,
    /// `Inserted`, or whether an image is named where that is not shown.
    pub inserted: bool,
    /// `Image`.
    pub image: Option<ImageUrl>,
    /// `MediaTypes`.
    pub media_types: Vec<String>,
    /// `ConnectedVia`.
    pub connected_via: Option<String>,
    /// `WriteProtected`.
    pub write_protected: Option<bool>,
    /// Where `InsertMedia` is invoked, if offered.
    pub insert_target: Option<String>,
    /// Where `EjectMedia` is invoked, if offered. Some offer it only while
    /// something is inserted.
    pub eject_target: Option<String>,
}

impl MediaSlot {
    /// Whether the slot takes optical images. Slots that name no media type
    /// are judged by their own name.
    pub fn takes_iso(&self) -> bool {
        if self.media_types.is_empty() {
            let name = self.name.as_deref().unwrap_or_default();
            return [self.id.as_str(), name].iter().any(|text| {
                let text = text.to_ascii_lowercase();
                text.contains("cd") || text.contains("dvd")
            });
        }
        self.media_types
            .iter()
            .any(|kind| kind.eq_ignore_ascii_case("CD") || kind.eq_ignore_ascii_case("DVD"))
    }
}

/// URL of an image. Whoever knows it can fetch the image, so neither `Debug`
/// nor errors show more than its origin.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageUrl(String);

impl ImageUrl {
    /// Takes a URL in.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether two URLs are the same once normalised.
    pub fn same_as(&self, other: &Self) -> bool {
        match (Url::parse(&self.0), Url::parse(&other.0)) {
            (Ok(left), Ok(right)) => left == right,
            (Ok(_) | Err(_), Ok(_) | Err(_)) => self.0 == other.0,
        }
    }
}

impl fmt::Debug for ImageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Url::parse(&self.0) {
            Ok(url) => write!(f, "ImageUrl({}/…)", url.origin().ascii_serialization()),
            Err(_) => f.write_str("ImageUrl(…)"),
        }
    }
}

/// Whether a platform offers something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It does.
    Offered,
    /// It does not.
    NotOffered,
    /// It could not be found out.
    NotRead,
}

/// An offer, where it was seen, and the values it is limited to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Whether it is offered.
    pub offer: Offer,
    /// Path of the document that told.
    pub source: String,
    /// Allowable values. `None`: the platform does not say, which is not none.
    pub values: Option<Vec<String>>,
}

impl Capability {
    /// Whether `value` may be sent: the list names it, or there is no list.
    pub fn allows(&self, value: &str) -> bool {
        match self.offer {
            Offer::Offered => self
                .values
                .as_ref()
                .is_none_or(|values| values.iter().any(|other| other == value)),
            Offer::NotOffered | Offer::NotRead => false,
        }
    }
}

/// What the platform offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `ComputerSystem.Reset`, with its reset types.
    pub reset: Capability,
    /// Boot override, with its targets.
    pub boot_override: Capability,
    /// A virtual media slot that takes an ISO by URL.
    pub virtual_media: Capability,
    /// The boot target `UefiHttp` with a URL of its own, `HttpBootUri`; with how long an override
    /// may last.
    pub uefi_http: Capability,
    /// `BootProgress`.
    pub boot_progress: Capability,
    /// `PowerRestorePolicy`, with its values.
    pub power_restore: Capability,
    /// `SessionService`.
    pub sessions: Capability,
}

/// How a BMC was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The address that was checked and dialled.
    pub remote: SocketAddr,
    /// What the trust in the channel rests on.
    pub trust: TrustInForce,
    /// How we identified ourselves.
    pub authentication: Authentication,
}

/// What the trust in a channel rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustInForce {
    /// The certificate chains to the given bundle.
    CaBundle,
    /// The key is the pinned one.
    PinnedKey,
    /// Encrypted, unverified.
    NoVerification,
    /// Not encrypted.
    PlainHttp,
}

/// How we identified ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// A Redfish session.
    Session,
    /// HTTP Basic, because the BMC offers no sessions.
    Basic,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_output_shows_an_image_url() {
        let image = ImageUrl::new("http://192.0.2.1:8080/i/6f1d0a/card.iso?t=1");
        assert_eq!(format!("{image:?}"), "ImageUrl(http://192.0.2.1:8080/…)");
        assert!(!format!("{:?}", ImageUrl::new("secret")).contains("secret"));
    }

    #[test]
    fn urls_are_compared_normalised() {
        let left = ImageUrl::new("HTTP://Store.Example:80/a.iso");
        assert!(left.same_as(&ImageUrl::new("http://store.example/a.iso")));
        assert!(!left.same_as(&ImageUrl::new("http://store.example/b.iso")));
    }

    #[test]
    fn an_absent_list_of_values_allows_everything() {
        let mut capability = Capability {
            offer: Offer::Offered,
            source: String::new(),
            values: None,
        };
        assert!(capability.allows("PowerCycle"));
        capability.values = Some(vec!["On".to_owned()]);
        assert!(capability.allows("On") && !capability.allows("PowerCycle"));
        capability.offer = Offer::NotOffered;
        assert!(!capability.allows("On"));
    }
}
