//! What each action needs, does, and looks like once done.

use std::fs::File;

use lockstep_crds::directive::{ActionKind, Directive, ImageFacts};
use lockstep_redfish::{
    BmcFacts, BootTarget, ImageUrl, PowerAction, PowerRestorePolicy, PowerState, Reading,
};
use lockstep_store::Digest;
use tokio::time::Instant;

use crate::site::context::Site;
use crate::site::execute::{End, Port, who_is_meant};
use crate::site::facts::{UrlOwner, inserted, override_in_force};
use crate::site::install::partly;
use crate::site::judge::Refusal;
use crate::site::machines::MachineKind;
use crate::site::order::{Access, Order, OrderState};
use crate::site::worker::Worker;

/// What a directive needs, by the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The wanted state is there already, or only our own books change.
    Nothing(String),
    /// Something has to be sent.
    Act,
}

/// What was made ready between acceptance and effect.
#[derive(Debug)]
pub(super) enum Prepared {
    /// Nothing is needed.
    Nothing,
    /// The order that was kept before this one, and the right to act on it.
    Order {
        before: Option<Box<Order>>,
        _lock: File,
    },
    /// The medium.
    Medium(ImageUrl),
}

impl Site {
    /// Whether the directive's wanted state shows in the facts.
    pub(super) fn is_in_effect(&self, directive: &Directive, facts: &BmcFacts) -> bool {
        let power = |state: PowerState| facts.power.value() == Some(&state);
        match directive.action.kind {
            ActionKind::PowerOn => power(PowerState::On),
            ActionKind::ShutdownGracefully | ActionKind::ForceOff => power(PowerState::Off),
            ActionKind::HoldHost => policy_to_change(facts).is_none(),
            ActionKind::ReleaseHost => {
                let is_up = directive.action.power_on != Some(true) || power(PowerState::On);
                is_up && self.is_restored(&directive.target.name, facts)
            }
            ActionKind::StageInstall => {
                let wanted = directive.action.image.as_ref();
                wanted.is_some_and(|image| self.is_inserted(facts, &image.digest))
                    && override_in_force(facts) == Some(&BootTarget::Cd)
            }
            ActionKind::ClearInstall => {
                self.our_media(facts).is_empty()
                    && override_in_force(facts) != Some(&BootTarget::Cd)
            }
            ActionKind::Unrecognized(_) => false,
        }
    }

    /// Whether nothing that the host's order stores is left to be put back.
    fn is_restored(&self, host: &str, facts: &BmcFacts) -> bool {
        match self.orders.get(host) {
            Ok(order) => order
                .and_then(|order| order.previous_policy())
                .is_none_or(|policy| facts.power_restore.value() == Some(&policy)),
            Err(error) => {
                tracing::error!("{error}");
                false
            }
        }
    }

    fn is_inserted(&self, facts: &BmcFacts, digest: &str) -> bool {
        inserted(facts, |url| self.owner_of(url))
            .iter()
            .any(|(_, owner)| *owner == UrlOwner::Ours(Some(digest.to_owned())))
    }

    /// The URLs of our media in the machine.
    pub(super) fn our_media(&self, facts: &BmcFacts) -> Vec<ImageUrl> {
        inserted(facts, |url| self.owner_of(url))
            .into_iter()
            .filter(|(_, owner)| *owner != UrlOwner::Foreign)
            .filter_map(|(slot, _)| slot.image.clone())
            .collect()
    }
}

/// The policy in force, if holding the host has to change it.
pub(super) fn policy_to_change(facts: &BmcFacts) -> Option<&PowerRestorePolicy> {
    let off = PowerRestorePolicy::AlwaysOff;
    if !facts.capabilities.power_restore.allows(off.as_str()) {
        return None;
    }
    facts.power_restore.value().filter(|policy| **policy != off)
}

/// The image of a `StageInstall`.
pub(super) fn staged_image(directive: &Directive) -> Result<(&ImageFacts, Digest), Refusal> {
    let image = directive.action.image.as_ref().ok_or_else(|| {
        Refusal::new(
            "ImageMissing",
            "the directive names no image; upgrade operator and site agent to one release",
        )
    })?;
    let digest = image
        .digest
        .parse::<Digest>()
        .map_err(|error| Refusal::new("DigestInvalid", error.to_string()))?;
    Ok((image, digest))
}

fn is_power(facts: &BmcFacts, state: &PowerState) -> bool {
    facts.power.value() == Some(state)
}

impl Worker {
    /// What the directive needs, given these facts.
    pub(super) fn plan(&self, directive: &Directive, facts: &BmcFacts) -> Result<Plan, Refusal> {
        let already = |what: &str| Ok(Plan::Nothing(format!("it was {what} already")));
        match &directive.action.kind {
            ActionKind::PowerOn if is_power(facts, &PowerState::On) => already("powered on"),
            ActionKind::ShutdownGracefully | ActionKind::ForceOff
                if is_power(facts, &PowerState::Off) =>
            {
                already("powered off")
            }
            ActionKind::PowerOn | ActionKind::ShutdownGracefully | ActionKind::ForceOff => {
                Ok(Plan::Act)
            }
            ActionKind::HoldHost => self.plan_hold(directive, facts),
            ActionKind::ReleaseHost => self.plan_release(directive, facts),
            ActionKind::StageInstall => self.plan_stage(directive, facts),
            ActionKind::ClearInstall => self.plan_clear(facts),
            ActionKind::Unrecognized(kind) => Err(Refusal::new(
                "ActionUnknown",
                format!("this site agent does not know the action {kind}"),
            )),
        }
    }

    fn plan_hold(&self, directive: &Directive, facts: &BmcFacts) -> Result<Plan, Refusal> {
        self.only(MachineKind::Host)?;
        if directive.action.work_order.is_none() {
            return Err(Refusal::new(
                "WorkOrderMissing",
                "a hold without an expiring work order is refused; upgrade operator and site agent to one release",
            ));
        }
        // S12: a host that is on is not ours to take down, whatever was expected.
        if !is_power(facts, &PowerState::Off) {
            return Err(Refusal::new(
                "PowerStateUnexpected",
                "the host is not powered off, so it is not held; power it off first",
            ));
        }
        Ok(match policy_to_change(facts) {
            Some(_) => Plan::Act,
            None => Plan::Nothing("nothing had to be changed at the BMC".to_owned()),
        })
    }

    fn plan_release(&self, directive: &Directive, facts: &BmcFacts) -> Result<Plan, Refusal> {
        self.only(MachineKind::Host)?;
        let order = self.own_order()?;
        let changed = order.is_some_and(|order| order.previous_restore_policy.is_some());
        let power_on = directive.action.power_on == Some(true) && !is_power(facts, &PowerState::On);
        Ok(if changed || power_on {
            Plan::Act
        } else {
            Plan::Nothing("nothing had to be changed at the BMC".to_owned())
        })
    }

    fn plan_stage(&self, directive: &Directive, facts: &BmcFacts) -> Result<Plan, Refusal> {
        self.only(MachineKind::Card)?;
        let (image, digest) = staged_image(directive)?;
        if self.site.store.info(&digest).is_none() {
            return Err(Refusal::new(
                "ImageNotStored",
                format!(
                    "image {} is not in the site's store; it is fetched by itself, see the site's report",
                    image.digest
                ),
            ));
        }
        if let Reading::NotRead(why) = &facts.media {
            return Err(Refusal::new(
                "MediaNotRead",
                format!(
                    "the virtual media could not be read ({why}); they are read again before the next try"
                ),
            ));
        }
        let foreign = inserted(facts, |url| self.site.owner_of(url))
            .iter()
            .any(|(_, owner)| *owner == UrlOwner::Foreign);
        if foreign {
            return Err(Refusal::new(
                "ForeignMedia",
                "the card's BMC holds media that Lockstep did not insert; eject them, if nobody needs them",
            ));
        }
        let granted = self
            .site
            .store
            .granted(&digest, &self.current().uid)
            .map(|grant| self.site.served_url(&grant.path));
        let is_inserted = granted.is_some_and(|wanted| {
            let media = self.site.our_media(facts);
            media.len() == 1 && media.iter().all(|url| url.same_as(&wanted))
        });
        if is_inserted && override_in_force(facts) == Some(&BootTarget::Cd) {
            return Ok(Plan::Nothing("the image was staged already".to_owned()));
        }
        Ok(Plan::Act)
    }

    fn plan_clear(&self, facts: &BmcFacts) -> Result<Plan, Refusal> {
        self.only(MachineKind::Card)?;
        if let Reading::NotRead(why) = &facts.media {
            return Err(Refusal::new(
                "MediaNotRead",
                format!(
                    "the virtual media could not be read ({why}); they are read again before the next try"
                ),
            ));
        }
        let overridden = override_in_force(facts) == Some(&BootTarget::Cd);
        Ok(if overridden || !self.site.our_media(facts).is_empty() {
            Plan::Act
        } else {
            Plan::Nothing("nothing was armed any more".to_owned())
        })
    }

    fn only(&self, kind: MachineKind) -> Result<(), Refusal> {
        if self.current().key.kind == kind {
            return Ok(());
        }
        Err(Refusal::new(
            "ActionUnsuitable",
            format!("{} is no machine for this action", self.current().key),
        ))
    }

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
            ActionKind::HoldHost => self.prepare_order(directive).map(|_| ()),
            ActionKind::ReleaseHost => self.drop_order(),
            ActionKind::ClearInstall => self.forget_install().await,
            ActionKind::StageInstall
            | ActionKind::PowerOn
            | ActionKind::ShutdownGracefully
            | ActionKind::ForceOff
            | ActionKind::Unrecognized(_) => Ok(()),
        }
    }

    /// Makes ready what the effect needs, without touching the BMC.
    pub(super) async fn prepare(&mut self, directive: &Directive) -> Result<Prepared, Refusal> {
        match directive.action.kind {
            ActionKind::HoldHost => self.prepare_order(directive),
            ActionKind::ReleaseHost => Ok(Prepared::Order {
                before: self.own_order()?.map(Box::new),
                _lock: self.lock_order()?,
            }),
            ActionKind::StageInstall => self.prepare_medium(directive).await.map(Prepared::Medium),
            ActionKind::ClearInstall
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

    /// Keeps the work order before anything is changed (S14).
    fn prepare_order(&self, directive: &Directive) -> Result<Prepared, Refusal> {
        let lock = self.lock_order()?;
        let before = self.own_order()?;
        let (Some(work_order), Some(reached), Some(facts)) =
            (&directive.action.work_order, &self.reached, &self.facts)
        else {
            return Err(Refusal::new(
                "FactsNotRead",
                "the host has not been looked at",
            ));
        };
        let current = policy_to_change(facts).map(|policy| policy.as_str().to_owned());
        // What an earlier hold has stored and not yet put back is still what was there first.
        let kept = before
            .as_ref()
            .filter(|order| order.state == OrderState::Kept)
            .and_then(|order| order.previous_restore_policy.clone());
        let input = self.current();
        let order = Order {
            host: input.key.name.clone(),
            host_uid: input.uid.clone(),
            seq: directive.seq,
            expires_at: work_order.expires_at.clone(),
            on_orphan: work_order.on_orphan,
            state: OrderState::Kept,
            leads_to: None,
            hands_off: input.hands_off,
            expects: who_is_meant(directive),
            previous_restore_policy: kept.or(current),
            access: Access::of(&reached.target, &self.site.config.allowed_networks),
        };
        self.site
            .orders
            .put(&order)
            .map_err(|error| Refusal::new("StateUnusable", error.to_string()))?;
        Ok(Prepared::Order {
            before: before.map(Box::new),
            _lock: lock,
        })
    }

    fn drop_order(&self) -> Result<(), Refusal> {
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
            ActionKind::StageInstall => return self.stage(prepared, bmc, settled).await,
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
            Prepared::Nothing | Prepared::Medium(_) => None,
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
                End::Failed(_) | End::Unknown(_) => return end,
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
            end @ (End::Failed(_) | End::Unknown(_)) => partly(end, sent),
        }
    }

    /// What follows from the end of an action in our own books.
    pub(super) async fn finish(&mut self, directive: &Directive, prepared: Prepared, end: &End) {
        let booked = match (&directive.action.kind, end) {
            (ActionKind::HoldHost, End::Failed(_)) => match prepared {
                Prepared::Order {
                    before: Some(before),
                    ..
                } => self
                    .site
                    .orders
                    .put(&before)
                    .map_err(|error| Refusal::new("StateUnusable", error.to_string())),
                Prepared::Order { before: None, .. } => self.drop_order(),
                Prepared::Nothing | Prepared::Medium(_) => Ok(()),
            },
            (ActionKind::ReleaseHost, End::Done(_)) => self.drop_order(),
            (ActionKind::ClearInstall, End::Done(_)) => self.forget_install().await,
            _ => Ok(()),
        };
        if let Err(refusal) = booked {
            tracing::error!(machine = %self.current().key, "{}", refusal.message);
        }
    }

    /// The same for a directive of the last process whose effect is seen.
    pub(super) async fn finish_interrupted(&mut self, directive: &Directive) {
        self.finish(directive, Prepared::Nothing, &End::Done(None))
            .await;
    }
}
