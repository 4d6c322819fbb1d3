//! The way from this role to BMCs, with every call counted.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use lockstep_redfish::{
    Bmc, BmcError, BmcFacts, BmcTarget, BootEntries, BootOverride, ComponentOffer, Components,
    Effect, ImageUrl, MediaMatch, PowerAction, PowerRestorePolicy, Push, Reading, Redfish,
    RedfishBmc, SimpleUpdate, SystemGlance, TaskReading, UpdateFacts, UpdateTicket, Updater,
};

use crate::health::Metrics;

/// All that is asked of one BMC.
pub trait BmcPort: Bmc + Updater {}

impl<T: Bmc + Updater> BmcPort for T {}

/// Makes ports to BMCs.
pub trait Dial: fmt::Debug + Send + Sync {
    /// A port for one target; nothing is sent yet.
    fn bmc(&self, target: BmcTarget) -> Result<Arc<dyn BmcPort>, BmcError>;

    /// Notes in which version of its Secret the target's credentials are written.
    fn credentials_written(&self, target: &BmcTarget, version: &str);
}

/// Real BMCs, counted.
#[derive(Debug)]
pub struct RedfishDial {
    redfish: Redfish,
    metrics: Arc<Metrics>,
}

impl RedfishDial {
    /// Dials through `redfish`.
    pub fn new(redfish: Redfish, metrics: Arc<Metrics>) -> Self {
        Self { redfish, metrics }
    }
}

impl Dial for RedfishDial {
    fn bmc(&self, target: BmcTarget) -> Result<Arc<dyn BmcPort>, BmcError> {
        Ok(Arc::new(Counted {
            bmc: self.redfish.bmc(target)?,
            metrics: Arc::clone(&self.metrics),
        }))
    }

    fn credentials_written(&self, target: &BmcTarget, version: &str) {
        self.redfish.credentials_written(target, version);
    }
}

#[derive(Debug)]
struct Counted {
    bmc: RedfishBmc,
    metrics: Arc<Metrics>,
}

impl Counted {
    fn count<T>(&self, verb: &'static str, result: Result<T, BmcError>) -> Result<T, BmcError> {
        let class = result.as_ref().map_or_else(BmcError::category, |_| "ok");
        self.metrics.call(verb, class);
        result
    }
}

#[async_trait]
impl Bmc for Counted {
    async fn observe(&self) -> Result<BmcFacts, BmcError> {
        self.count("observe", self.bmc.observe().await)
    }

    async fn glance(&self) -> Result<SystemGlance, BmcError> {
        self.count("glance", self.bmc.glance().await)
    }

    async fn insert_media(&self, image: &ImageUrl) -> Result<Effect, BmcError> {
        self.count("insert_media", self.bmc.insert_media(image).await)
    }

    async fn eject_media(&self, which: &MediaMatch) -> Result<Effect, BmcError> {
        self.count("eject_media", self.bmc.eject_media(which).await)
    }

    async fn set_boot_override(&self, wanted: &BootOverride) -> Result<Effect, BmcError> {
        self.count(
            "set_boot_override",
            self.bmc.set_boot_override(wanted).await,
        )
    }

    async fn boot_entries(&self) -> Result<Reading<BootEntries>, BmcError> {
        self.count("boot_entries", self.bmc.boot_entries().await)
    }

    async fn boot_first(&self, reference: &str) -> Result<Effect, BmcError> {
        self.count("boot_first", self.bmc.boot_first(reference).await)
    }

    async fn forget_http_uri(&self, uri: &ImageUrl) -> Result<Effect, BmcError> {
        self.count("forget_http_uri", self.bmc.forget_http_uri(uri).await)
    }

    async fn power(&self, action: PowerAction) -> Result<Effect, BmcError> {
        self.count("power", self.bmc.power(action).await)
    }

    async fn set_power_restore_policy(
        &self,
        policy: &PowerRestorePolicy,
    ) -> Result<Effect, BmcError> {
        self.count(
            "set_power_restore_policy",
            self.bmc.set_power_restore_policy(policy).await,
        )
    }

    async fn close(&self) {
        self.bmc.close().await;
    }
}

#[async_trait]
impl Updater for Counted {
    async fn observe_updates(&self, components: &Components) -> Result<UpdateFacts, BmcError> {
        let read = self.bmc.observe_updates(components).await;
        self.count("observe_updates", read)
    }

    async fn os_update(&self) -> Result<Reading<ComponentOffer>, BmcError> {
        self.count("os_update", self.bmc.os_update().await)
    }

    async fn component_update(&self, id: &str) -> Result<Reading<ComponentOffer>, BmcError> {
        self.count("component_update", self.bmc.component_update(id).await)
    }

    async fn reset_bmc(&self) -> Result<Effect, BmcError> {
        self.count("reset_bmc", self.bmc.reset_bmc().await)
    }

    async fn simple_update(&self, update: &SimpleUpdate) -> Result<UpdateTicket, BmcError> {
        self.count("simple_update", self.bmc.simple_update(update).await)
    }

    async fn push(&self, push: Push) -> Result<UpdateTicket, BmcError> {
        self.count("push", self.bmc.push(push).await)
    }

    async fn task(&self, ticket: &UpdateTicket) -> Result<TaskReading, BmcError> {
        self.count("task", self.bmc.task(ticket).await)
    }
}
