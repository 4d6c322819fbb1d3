//! The BMC port of the site agent: a few verbs over Redfish.
//!
//! [`Redfish`] holds what one process must share about its BMCs: the networks
//! it may dial, the tries with refused credentials, and one lane per BMC so
//! that calls never overlap. [`Redfish::bmc`] gives a [`Bmc`] for one target.
//!
//! Contract: a verb that changes something re-reads the machine's identity in
//! the same session just before the change and refuses a stranger; it sends at
//! most one request per effect and never repeats it (only where a BMC refuses
//! the header `If-Match` it asks once more without); what it cannot tell is
//! [`BmcError::OutcomeUnknown`]. A state that is already as wanted sends
//! nothing. Reads are retried within the call's deadline.
//!
//! Updates are asked for through [`Updater`]: what a BMC tells of them are facts, and [`judge`]
//! says what the facts mean.
//!
//! nv-redfish supplies the protocol and the platforms' repairs; documents are
//! read leniently, so that one odd property never hides the others.

mod credential_gate;
mod document;
mod documents;
mod effect;
mod error;
mod explore;
mod facts;
mod identity;
mod link;
mod network;
mod pages;
mod port;
mod reading;
mod redfish;
mod registry;
mod report;
mod room;
mod scrub;
mod stage;
mod target;
mod tls;
mod transport;
mod update;
mod vendor;

pub use credential_gate::Refusals;
pub use effect::{
    BootOverride, BootTarget, Confirmation, Effect, MediaMatch, OverrideEnabled, PowerAction,
};
pub use error::{BmcError, EffectCertainty};
pub use explore::{
    Endpoint, Explored, ExploredSystem, Explorer, Identified, MOST_REQUESTS, UnreadSystem,
};
pub use facts::{
    Authentication, BmcFacts, BootEntries, BootEntry, BootOverrideState, BootProgress,
    Capabilities, Capability, Channel, ImageUrl, Manager, MediaSlot, Offer, PowerRestorePolicy,
    PowerState, Reading, Service, SystemGlance, SystemIdentity, TrustInForce,
};
pub use identity::{ExpectedIdentity, IdentityField, IdentityMismatch, prove_identity};
pub use network::AllowedNetworks;
pub use port::{Bmc, Updater};
pub use redfish::RedfishBmc;
pub use registry::{BmcOptions, Redfish};
pub use report::{
    UrlOwner, bmc_report, http_boot_uri, inserted, override_in_force, override_setting,
};
pub use stage::{BootStage, stage_of};
pub use target::{BmcTarget, Credentials, SpkiPin, SpkiPinError, TlsTrust};
pub use update::{
    Activation, ActivationReset, ComponentOffer, Components, NotReady, Progress, Push, PushError,
    SimpleUpdate, SimpleUpdateOffer, TaskFacts, TaskMessage, TaskReading, TaskSighting, TaskState,
    UpdateFacts, UpdateService, UpdateTicket, WantedVersion, at_rest, judge, quiet, readiness,
    same_version,
};
pub use vendor::declared_capabilities;
