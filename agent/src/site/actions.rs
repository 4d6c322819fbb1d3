//! What each action makes ready, does, and leaves in our own books.

use std::fs::File;

use lockstep_crds::directive::{ActionKind, Directive};
use lockstep_redfish::{BootOverride, ImageUrl, PowerAction, PowerRestorePolicy, PowerState};
use tokio::time::Instant;

use crate::site::execute::{End, Port, who_is_meant};
use crate::site::install::partly;
use crate::site::judge::Refusal;
use crate::site::offer::of_the_host;
use crate::site::order::{Access, Order, OrderState};
use crate::site::plan::{is_down, is_power, policy_to_change};
use crate::site::update::Given;
use crate::site::worker::Worker;

/// What was made ready between acceptance and effect.
#[derive(Debug)]
pub(super) enum Prepared {
    /// Nothing is needed.
    Nothing,
    /// The order that is kept for the host by now, and the right to act on it.
    Order {
        before: Option<Box<Order>>,
        _lock: File,
    },
    /// The medium, or the image that HTTP boot fetches: the card's own URL.
    Medium(ImageUrl),
    /// What the card's BMC is to write.
    Update(Box<Given>),
}

impl Worker {
    /// The order of this host, if one is kept.
    pub(super) fn own_order(&self) -> Result<Option<Order>, Refusal> {
        let input = self.current();
        self.site
            .orders
            .get(&input.key.name)
            .map(|order| order.filter(|order| order.host_uid == input.uid))
            .map_err(|error| Refusal::new("StateUnusable", error.to_string()))
    }

    /// What changes in our own books when nothing has to be sent.
    pub(super) async fn without_effect(&mut self, directive: &Directive) -> Result<(), Refusal> {
        match directive.action.kind {
            ActionKind::HoldHost => {
                let prepared = self.prepare_hold()?;
                self.keep_order(directive, &prepared)
            }
            ActionKind::ReleaseHost => self.drop_order(),
            ActionKind::ClearInstall => self.forget_install().await,
            // The seed and files behind the URL may have grown old.
            ActionKind::SetNetworkBoot => {
                self.prepare_medium(directive).await?;
                self.end_outdated_grants(directive).await
            }
            ActionKind::StageInstall
            | ActionKind::StageHttpBoot
            | ActionKind::StagePxeBoot
            | ActionKind::StageBootEntry
            | ActionKind::SetBootOrder
            | ActionKind::PullUpdate
            | ActionKind::PushUpdate
            | ActionKind::PullFirmware
            | ActionKind::PushFirmware
            | ActionKind::ResetBmc
            | ActionKind::RestartCard
            | ActionKind::OfferImage
            | ActionKind::PushImage
            | ActionKind::FlashFirmware
            | ActionKind::PowerOn
            | ActionKind::ShutdownGracefully
            | ActionKind::ForceOff
            | ActionKind::Unrecognized(_) => Ok(()),
        }
    }

    /// Makes ready what the effect needs, without touching the BMC.
    pub(super) async fn prepare(&mut self, directive: &Directive) -> Result<Prepared, Refusal> {
        if directive.action.kind.takes_power() {
            self.require_rest(directive).await?;
        }
        match directive.action.kind {
            ActionKind::HoldHost => self.prepare_hold(),
            ActionKind::ShutdownGracefully | ActionKind::ForceOff
                if directive.action.work_order.is_some() =>
            {
                self.prepare_hold()
            }
            ActionKind::ReleaseHost => Ok(Prepared::Order {
                before: self.own_order()?.map(Box::new),
                _lock: self.lock_order()?,
            }),
            ActionKind::StageInstall | ActionKind::StageHttpBoot | ActionKind::SetNetworkBoot => {
                self.prepare_medium(directive).await.map(Prepared::Medium)
            }
            ActionKind::StagePxeBoot => {
                self.prepare_medium(directive).await?;
                self.offer_by_pxe(directive).await?;
                Ok(Prepared::Nothing)
            }
            ActionKind::ResetBmc | ActionKind::RestartCard => {
                self.require_idle_bmc().await?;
                Ok(Prepared::Nothing)
            }
            // What lets firmware run must not come while some of it is written.
            ActionKind::PowerOn | ActionKind::ShutdownGracefully | ActionKind::ForceOff
                if directive.action.component.is_some() =>
            {
                self.require_idle_bmc().await?;
                Ok(Prepared::Nothing)
            }
            ActionKind::PullUpdate
            | ActionKind::PushUpdate
            | ActionKind::PullFirmware
            | ActionKind::PushFirmware => {
                let given = self.prepare_update(directive).await?;
                Ok(Prepared::Update(Box::new(given)))
            }
            ActionKind::OfferImage => {
                self.end_other_grants(directive).await?;
                self.prepare_medium(directive).await.map(Prepared::Medium)
            }
            ActionKind::ClearInstall
            | ActionKind::StageBootEntry
            | ActionKind::SetBootOrder
            | ActionKind::PushImage
            | ActionKind::FlashFirmware
            | ActionKind::PowerOn
            | ActionKind::ShutdownGracefully
            | ActionKind::ForceOff
            | ActionKind::Unrecognized(_) => Ok(Prepared::Nothing),
        }
    }

    fn lock_order(&self) -> Result<File, Refusal> {
        self.site
            .orders
            .try_lock(&self.current().key.name)
            .map_err(|error| Refusal::new("StateUnusable", error.to_string()))?
            .ok_or_else(|| {
                Refusal::new(
                    "OrderBusy",
                    "the host's work order is being carried out or released offline just now",
                )
            })
    }

    /// The order of the host whoever it was kept for: one of an earlier object of this name may
    /// know what was found first at this machine.
    fn prepare_hold(&self) -> Result<Prepared, Refusal> {
        let lock = self.lock_order()?;
        let before = self
            .site
            .orders
            .get(&self.current().key.name)
            .map_err(|error| Refusal::new("StateUnusable", error.to_string()))?;
        Ok(Prepared::Order {
            before: before.map(Box::new),
            _lock: lock,
        })
    }

    /// Keeps the work order of a hold, or of the taking down for one, before anything is changed
    /// (S14), and once the journal says that something may be: an order of a hold that was never
    /// sent would pass for one.
    pub(super) fn keep_order(
        &self,
        directive: &Directive,
        prepared: &Prepared,
    ) -> Result<(), Refusal> {
        let (Some(work_order), Prepared::Order { before, .. }) =
            (&directive.action.work_order, prepared)
        else {
            return Ok(());
        };
        let (Some(reached), Some(facts)) = (&self.reached, &self.facts) else {
            return Err(Refusal::new(
                "FactsNotRead",
                "the host has not been looked at",
            ));
        };
        let input = self.current();
        let first = before
            .as_deref()
            .filter(|order| order.host_uid == input.uid || order.is_of(facts))
            .map(Order::found_first)
            .unwrap_or_default();
        let beginning = directive.action.kind != ActionKind::HoldHost;
        let changed = policy_to_change(facts)
            .filter(|_| !beginning)
            .map(|policy| policy.as_str().to_owned());
        let order = Order {
            host: input.key.name.clone(),
            host_uid: input.uid.clone(),
            seq: directive.seq,
            expires_at: work_order.expires_at.clone(),
            on_orphan: work_order.on_orphan.clone(),
            state: OrderState::Kept,
            leads_to: None,
            hands_off: input.hands_off,
            expects: who_is_meant(directive),
            beginning,
            previous_restore_policy: first.or(changed),
            access: Access::of(&reached.target, &self.site.config.allowed_networks),
        };
        self.site
            .orders
            .put(&order)
            .map_err(|error| Refusal::new("StateUnusable", error.to_string()))
    }

    /// After a request that changed nothing: the order is what it was before.
    fn undo_order(&self, prepared: Prepared) -> Result<(), Refusal> {
        match prepared {
            Prepared::Order {
                before: Some(before),
                ..
            } => self
                .site
                .orders
                .put(&before)
                .map_err(|error| Refusal::new("StateUnusable", error.to_string())),
            Prepared::Order { before: None, .. } => self.drop_order(),
            Prepared::Nothing | Prepared::Medium(_) | Prepared::Update(_) => Ok(()),
        }
    }

    /// Drops the order of this host. One of an earlier object of its name is not ours to drop: it
    /// ends by itself.
    fn drop_order(&self) -> Result<(), Refusal> {
        if self.own_order()?.is_none() {
            return Ok(());
        }
        self.site
            .orders
            .remove(&self.current().key.name)
            .map_err(|error| Refusal::new("StateUnusable", error.to_string()))
    }

    /// Sends what has to be sent.
    pub(super) async fn act(
        &mut self,
        directive: &Directive,
        prepared: &Prepared,
        bmc: Port,
        settled: Instant,
    ) -> End {
        let power = match &directive.action.kind {
            ActionKind::PowerOn => PowerAction::On,
            // It is powered off and on afterwards.
            ActionKind::ShutdownGracefully if directive.action.component.is_some() => {
                let call = bmc.power(PowerAction::GracefulShutdown);
                return self.step(call, settled, is_down).await;
            }
            ActionKind::ShutdownGracefully => PowerAction::GracefulShutdown,
            ActionKind::ForceOff => PowerAction::ForceOff,
            ActionKind::HoldHost => {
                let policy = PowerRestorePolicy::AlwaysOff;
                let call = bmc.set_power_restore_policy(&policy);
                return self
                    .step(call, settled, |facts| policy_to_change(facts).is_none())
                    .await;
            }
            ActionKind::ReleaseHost => {
                return self.release(directive, prepared, bmc, settled).await;
            }
            ActionKind::StageInstall => {
                self.hand_out(directive);
                return self.stage(prepared, bmc, settled).await;
            }
            ActionKind::StageHttpBoot => {
                self.hand_out(directive);
                let once = BootOverride::OnceFrom;
                return self.set_http_boot(prepared, once, bmc, settled).await;
            }
            ActionKind::SetNetworkBoot => {
                self.hand_out(directive);
                let always = BootOverride::AlwaysFrom;
                return self.set_http_boot(prepared, always, bmc, settled).await;
            }
            ActionKind::StagePxeBoot => return self.set_pxe_boot(bmc, settled).await,
            ActionKind::StageBootEntry => {
                return self.boot_entry_once(directive, bmc, settled).await;
            }
            ActionKind::SetBootOrder => {
                return self.set_boot_order(directive, bmc, settled).await;
            }
            ActionKind::ResetBmc | ActionKind::RestartCard => {
                return self.reset_bmc(bmc, settled).await;
            }
            ActionKind::PullUpdate
            | ActionKind::PushUpdate
            | ActionKind::PullFirmware
            | ActionKind::PushFirmware => {
                return self.update(directive, prepared, bmc, settled).await;
            }
            // What was prepared is what is offered.
            ActionKind::OfferImage => return End::Done(None),
            ActionKind::PushImage | ActionKind::FlashFirmware => {
                return End::Failed(of_the_host());
            }
            ActionKind::ClearInstall => return self.clear(bmc, settled).await,
            ActionKind::Unrecognized(kind) => {
                return End::Failed(Refusal::new("ActionUnknown", kind.clone()));
            }
        };
        self.power(power, bmc, settled).await
    }

    async fn power(&mut self, action: PowerAction, bmc: Port, settled: Instant) -> End {
        let wanted = match action {
            PowerAction::On | PowerAction::ForceRestart | PowerAction::PowerCycle => PowerState::On,
            PowerAction::GracefulShutdown | PowerAction::ForceOff => PowerState::Off,
        };
        self.step(bmc.power(action), settled, |facts| is_power(facts, &wanted))
            .await
    }

    async fn release(
        &mut self,
        directive: &Directive,
        prepared: &Prepared,
        bmc: Port,
        settled: Instant,
    ) -> End {
        let previous = match prepared {
            Prepared::Order { before, .. } => before.as_deref().and_then(Order::previous_policy),
            Prepared::Nothing | Prepared::Medium(_) | Prepared::Update(_) => None,
        };
        let mut note = None;
        let mut sent = false;
        if let Some(policy) = previous {
            let call = bmc.set_power_restore_policy(&policy);
            let end = self
                .step(call, settled, |facts| {
                    facts.power_restore.value() == Some(&policy)
                })
                .await;
            match end {
                End::Done(how) => {
                    sent = true;
                    note = how;
                }
                // A setting that the BMC will not take back must not keep a host off.
                End::Failed(refusal)
                    if matches!(refusal.reason.as_str(), "Refused" | "NotOffered") =>
                {
                    note = Some(format!(
                        "PowerRestorePolicy was not put back to {}: {}",
                        policy.as_str(),
                        refusal.message
                    ));
                }
                End::Failed(_) | End::Partly(_) | End::Unknown(_) => return end,
            }
        }
        if directive.action.power_on != Some(true) {
            return End::Done(note);
        }
        let bmc = match self.may_go_on() {
            Ok(bmc) => bmc,
            Err(refusal) => return partly(End::Failed(refusal), sent),
        };
        match self.power(PowerAction::On, bmc, settled).await {
            End::Done(how) => End::Done(how.or(note)),
            end @ (End::Failed(_) | End::Partly(_) | End::Unknown(_)) => partly(end, sent),
        }
    }

    /// What follows from the end of an action in our own books; and the end, which is none as long
    /// as something of an install is left there: so it is tried again.
    pub(super) async fn finish(
        &mut self,
        directive: &Directive,
        prepared: Prepared,
        end: End,
    ) -> End {
        let is_done = matches!(end, End::Done(_));
        let booked = match &directive.action.kind {
            ActionKind::HoldHost | ActionKind::ShutdownGracefully | ActionKind::ForceOff
                if matches!(end, End::Failed(_)) =>
            {
                self.undo_order(prepared)
            }
            ActionKind::StagePxeBoot if matches!(end, End::Failed(_)) => self.withdraw_pxe(),
            ActionKind::ReleaseHost if is_done => self.drop_order(),
            ActionKind::ClearInstall if is_done => self.forget_install().await,
            ActionKind::SetNetworkBoot if is_done => self.end_outdated_grants(directive).await,
            ActionKind::HoldHost
            | ActionKind::ReleaseHost
            | ActionKind::ClearInstall
            | ActionKind::StageInstall
            | ActionKind::StageHttpBoot
            | ActionKind::SetNetworkBoot
            | ActionKind::StagePxeBoot
            | ActionKind::StageBootEntry
            | ActionKind::SetBootOrder
            | ActionKind::PullUpdate
            | ActionKind::PushUpdate
            | ActionKind::PullFirmware
            | ActionKind::PushFirmware
            | ActionKind::ResetBmc
            | ActionKind::RestartCard
            | ActionKind::OfferImage
            | ActionKind::PushImage
            | ActionKind::FlashFirmware
            | ActionKind::PowerOn
            | ActionKind::ShutdownGracefully
            | ActionKind::ForceOff
            | ActionKind::Unrecognized(_) => Ok(()),
        };
        let Err(refusal) = booked else { return end };
        tracing::error!(machine = %self.current().key, "{}", refusal.message);
        if directive.action.kind == ActionKind::ClearInstall {
            return End::Partly(refusal);
        }
        end
    }

    /// The same for a directive of the last process whose effect is seen.
    pub(super) async fn finish_interrupted(&mut self, directive: &Directive, end: End) -> End {
        self.finish(directive, Prepared::Nothing, end).await
    }
}
