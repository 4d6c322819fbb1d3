//! The port's implementation: one target, its lane, its link; the verbs stand
//! in the modules below.

mod boot;
mod confirm;
mod entries;
mod manager;
mod media;
mod observe;
mod power;
mod update;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

pub(crate) use observe::{channel, facts};

use crate::effect::{BootOverride, Effect, MediaMatch, PowerAction};
use crate::error::BmcError;
use crate::facts::{BmcFacts, BootEntries, ImageUrl, PowerRestorePolicy, Reading, SystemGlance};
use crate::link::{Link, check_gate};
use crate::port::{Bmc, Updater};
use crate::registry::Shared;
use crate::room::Room;
use crate::target::BmcTarget;
use crate::update::{
    ComponentOffer, Components, Push, SimpleUpdate, TaskReading, UpdateFacts, UpdateTicket,
};

/// One BMC over Redfish. Made by [`crate::Redfish::bmc`].
pub struct RedfishBmc {
    shared: Arc<Shared>,
    target: BmcTarget,
    origin: String,
    lane: Arc<Mutex<()>>,
    link: Mutex<Option<Link>>,
}

/// What a call holds while it runs.
struct Turn<'a> {
    /// Released early by what other calls need not wait for.
    lane: Option<MutexGuard<'a, ()>>,
    link: MappedMutexGuard<'a, Link>,
    deadline: Instant,
    /// Until when an accepted change is looked for, once it is accepted.
    confirm_window: Duration,
    /// Whether the link was opened in this turn, so that its root is fresh.
    opened: bool,
}

impl Drop for Turn<'_> {
    /// A link at rest holds no room.
    fn drop(&mut self) {
        drop(self.link.room().and_then(|room| room.take_last()));
    }
}

impl RedfishBmc {
    pub(crate) fn new(
        shared: Arc<Shared>,
        target: BmcTarget,
        origin: String,
        lane: Arc<Mutex<()>>,
    ) -> Self {
        Self {
            shared,
            target,
            origin,
            lane,
            link: Mutex::default(),
        }
    }

    /// Waits for earlier calls to the same BMC, and sees to an open link that is logged in.
    async fn turn(&self, within: Duration) -> Result<Turn<'_>, BmcError> {
        let mut turn = self.connected(within).await?;
        turn.link.ensure_login(turn.deadline).await?;
        Ok(turn)
    }

    /// The same over a link whose login may be gone.
    async fn connected(&self, within: Duration) -> Result<Turn<'_>, BmcError> {
        let deadline = Instant::now() + within;
        let busy = |_| BmcError::Busy {
            address: self.origin.clone(),
        };
        let lane = timeout_at(deadline, self.lane.lock()).await.map_err(busy)?;
        let mut slot = timeout_at(deadline, self.link.lock()).await.map_err(busy)?;
        check_gate(&self.shared, &self.origin, &self.target)?;
        let opened = slot.as_ref().is_none_or(Link::needs_reopening);
        if opened {
            let room = Room::new(&self.shared.calls, self.shared.options.exploration_room);
            let link = Link::open(
                &self.shared,
                &self.target,
                &self.origin,
                Some(room),
                deadline,
            )
            .await?;
            *slot = Some(link);
        }
        #[expect(clippy::expect_used, reason = "opened just above where it was absent")]
        let mut link = MutexGuard::map(slot, |slot| slot.as_mut().expect("an open link"));
        link.begin_call();
        Ok(Turn {
            lane: Some(lane),
            link,
            deadline,
            confirm_window: self.shared.options.confirm_window,
            opened,
        })
    }

    async fn short_turn(&self) -> Result<Turn<'_>, BmcError> {
        self.turn(self.shared.options.call_deadline).await
    }
}

#[async_trait]
impl Bmc for RedfishBmc {
    async fn observe(&self) -> Result<BmcFacts, BmcError> {
        let mut turn = self.short_turn().await?;
        observe::observe(&mut turn, &self.target.tls).await
    }

    async fn glance(&self) -> Result<SystemGlance, BmcError> {
        let mut turn = self.connected(self.shared.options.call_deadline).await?;
        observe::glance(&mut turn).await
    }

    async fn insert_media(&self, image: &ImageUrl) -> Result<Effect, BmcError> {
        let mut turn = self.turn(self.shared.options.media_deadline).await?;
        media::insert(&mut turn, image).await
    }

    async fn eject_media(&self, which: &MediaMatch) -> Result<Effect, BmcError> {
        let mut turn = self.short_turn().await?;
        media::eject(&mut turn, which).await
    }

    async fn set_boot_override(&self, wanted: &BootOverride) -> Result<Effect, BmcError> {
        let options = &self.shared.options;
        // Some BMCs fetch the image themselves before they answer.
        let within = match wanted {
            BootOverride::OnceFrom(_) | BootOverride::AlwaysFrom(_) => options.media_deadline,
            BootOverride::Once(_)
            | BootOverride::OnceEntry(_)
            | BootOverride::Continuous(_)
            | BootOverride::Disabled => options.call_deadline,
        };
        let mut turn = self.turn(within).await?;
        boot::set_override(&mut turn, wanted).await
    }

    async fn boot_entries(&self) -> Result<Reading<BootEntries>, BmcError> {
        let mut turn = self.turn(self.shared.options.update_deadline).await?;
        entries::read(&mut turn).await
    }

    async fn boot_first(&self, reference: &str) -> Result<Effect, BmcError> {
        let mut turn = self.short_turn().await?;
        entries::put_first(&mut turn, reference).await
    }

    async fn forget_http_uri(&self, uri: &ImageUrl) -> Result<Effect, BmcError> {
        let mut turn = self.short_turn().await?;
        boot::forget_http_uri(&mut turn, uri).await
    }

    async fn power(&self, action: PowerAction) -> Result<Effect, BmcError> {
        let mut turn = self.short_turn().await?;
        power::act(&mut turn, action).await
    }

    async fn set_power_restore_policy(
        &self,
        policy: &PowerRestorePolicy,
    ) -> Result<Effect, BmcError> {
        let mut turn = self.short_turn().await?;
        power::set_restore_policy(&mut turn, policy).await
    }

    async fn close(&self) {
        let link = self.link.lock().await.take();
        if let Some(link) = link {
            link.log_out().await;
        }
    }
}

#[async_trait]
impl Updater for RedfishBmc {
    async fn observe_updates(&self, components: &Components) -> Result<UpdateFacts, BmcError> {
        let mut turn = self.turn(self.shared.options.update_deadline).await?;
        update::observe(&mut turn, components).await
    }

    async fn os_update(&self) -> Result<Reading<ComponentOffer>, BmcError> {
        let mut turn = self.short_turn().await?;
        update::os_update(&mut turn).await
    }

    async fn component_update(&self, id: &str) -> Result<Reading<ComponentOffer>, BmcError> {
        let mut turn = self.short_turn().await?;
        update::component_update(&mut turn, id).await
    }

    async fn reset_bmc(&self) -> Result<Effect, BmcError> {
        let mut turn = self.short_turn().await?;
        manager::reset(&mut turn).await
    }

    async fn simple_update(&self, update: &SimpleUpdate) -> Result<UpdateTicket, BmcError> {
        let mut turn = self.turn(self.shared.options.update_deadline).await?;
        update::simple(&mut turn, update).await
    }

    async fn push(&self, push: Push) -> Result<UpdateTicket, BmcError> {
        // A link of its own, which logs out when this is dropped.
        let aside = Self::new(
            Arc::clone(&self.shared),
            self.target.clone(),
            self.origin.clone(),
            Arc::clone(&self.lane),
        );
        let mut turn = aside.turn(self.shared.options.update_deadline).await?;
        update::push(&mut turn, push, self.shared.options.push_deadline).await
    }

    async fn task(&self, ticket: &UpdateTicket) -> Result<TaskReading, BmcError> {
        let mut turn = self.short_turn().await?;
        update::task(&mut turn, ticket).await
    }
}

impl Drop for RedfishBmc {
    /// Ends the session in the background, where there is a runtime to do it.
    fn drop(&mut self) {
        if let Some(link) = self.link.get_mut().take()
            && link.has_session()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(link.log_out());
        }
    }
}

impl fmt::Debug for RedfishBmc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedfishBmc")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
