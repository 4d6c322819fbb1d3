//! The port itself.

use std::fmt;

use async_trait::async_trait;

use crate::effect::{BootOverride, Effect, MediaMatch, PowerAction};
use crate::error::BmcError;
use crate::facts::{BmcFacts, BootEntries, ImageUrl, PowerRestorePolicy, Reading, SystemGlance};
use crate::update::{
    ComponentOffer, Components, Push, SimpleUpdate, TaskReading, UpdateFacts, UpdateTicket,
};

/// What the site agent asks of one BMC.
///
/// Calls to one BMC queue up. Every verb but `observe`, `glance` and `close` proves the
/// machine's identity in the same session just before it sends its one
/// request. A future that is dropped while it runs leaves the outcome unknown.
#[async_trait]
pub trait Bmc: Send + Sync + fmt::Debug {
    /// Reads everything in one pass. What is optional and cannot be read says
    /// so in the facts; without the ComputerSystem there are none.
    async fn observe(&self) -> Result<BmcFacts, BmcError>;

    /// Reads the ComputerSystem and nothing else: one small request where nothing has to be opened
    /// first. It tells whether a look at everything is worth while, and proves nothing about
    /// what it does not show: media, the manager, settings for the next reset.
    async fn glance(&self) -> Result<SystemGlance, BmcError>;

    /// Inserts an ISO image into a slot that takes one. Slots that hold
    /// somebody else's media are left alone.
    async fn insert_media(&self, image: &ImageUrl) -> Result<Effect, BmcError>;

    /// Ejects the media that `which` covers.
    async fn eject_media(&self, which: &MediaMatch) -> Result<Effect, BmcError>;

    /// Sets the boot override. The boot mode is never sent: it is not ours,
    /// and some BMCs turn Secure Boot off with it.
    async fn set_boot_override(&self, wanted: &BootOverride) -> Result<Effect, BmcError>;

    /// Reads what the firmware can boot, and in which order.
    async fn boot_entries(&self) -> Result<Reading<BootEntries>, BmcError>;

    /// Puts the entry with this reference first in the boot order; the others keep theirs.
    async fn boot_first(&self, reference: &str) -> Result<Effect, BmcError>;

    /// Empties `HttpBootUri` if it is this one. Another one is somebody else's, and stays.
    async fn forget_http_uri(&self, uri: &ImageUrl) -> Result<Effect, BmcError>;

    /// Changes the power state.
    async fn power(&self, action: PowerAction) -> Result<Effect, BmcError>;

    /// Sets what the machine does when mains power returns.
    async fn set_power_restore_policy(
        &self,
        policy: &PowerRestorePolicy,
    ) -> Result<Effect, BmcError>;

    /// Ends the session, if there is one. Best effort; the next call opens a new one.
    async fn close(&self);
}

/// What is asked of one BMC about updates. Beside [`Bmc`], with its contract: the effects prove
/// the machine's identity in the same session just before their one request, which is sent once.
///
/// Both updates re-read the UpdateService and refuse what it does not offer, and what comes while
/// it is not enabled. Neither looks at tasks: [`crate::readiness`] does, from facts that the caller
/// reads just before, of this BMC and of every other that the update can disturb.
#[async_trait]
pub trait Updater: Send + Sync + fmt::Debug {
    /// Reads what the UpdateService offers, what runs, and which versions there are. What cannot be
    /// read says so in the facts.
    async fn observe_updates(&self, components: &Components) -> Result<UpdateFacts, BmcError>;

    /// Reads what the UpdateService offers for the operating system of a card; not offered where no
    /// component is known to stand for it.
    async fn os_update(&self) -> Result<Reading<ComponentOffer>, BmcError>;

    /// Reads what the UpdateService offers for the component with this id in the FirmwareInventory;
    /// not offered where it lists none.
    async fn component_update(&self, id: &str) -> Result<Reading<ComponentOffer>, BmcError>;

    /// Restarts the BMC. What it does then is seen by nobody, and its sessions and tasks are lost.
    async fn reset_bmc(&self) -> Result<Effect, BmcError>;

    /// Asks the BMC to fetch an image and write it. Accepted is not done.
    async fn simple_update(&self, update: &SimpleUpdate) -> Result<UpdateTicket, BmcError>;

    /// Sends an image to the BMC. It goes over a session of its own beside other calls, which it
    /// would else keep waiting for as long as it takes: they must not be such as a write in
    /// progress forbids.
    async fn push(&self, push: Push) -> Result<UpdateTicket, BmcError>;

    /// Looks at the task of an accepted update.
    async fn task(&self, ticket: &UpdateTicket) -> Result<TaskReading, BmcError>;
}
