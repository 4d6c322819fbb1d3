//! What a directive needs, by the facts, and whether its effect shows in them.

use lockstep_crds::directive::{ActionKind, Directive, ImageFacts, OrphanAction, WorkOrder};
use lockstep_redfish::{
    BmcFacts, BootStage, BootTarget, ImageUrl, PowerRestorePolicy, PowerState, Reading,
};
use lockstep_store::Digest;

use crate::site::context::Site;
use crate::site::http_boot::require_boot_read;
use crate::site::judge::Refusal;
use crate::site::machine::MachineKind;
use crate::site::offer::of_the_host;
use crate::site::worker::Worker;
use lockstep_redfish::{UrlOwner, inserted, override_in_force};

/// What a directive needs, by the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The wanted state is there already, or only our own books change.
    Nothing(String),
    /// Something has to be sent.
    Act,
}

impl Site {
    /// Whether the directive's wanted state shows in the facts.
    pub(super) fn is_in_effect(&self, directive: &Directive, facts: &BmcFacts) -> bool {
        let power = |state: PowerState| facts.power.value() == Some(&state);
        match directive.action.kind {
            ActionKind::PowerOn => power(PowerState::On),
            ActionKind::ShutdownGracefully if directive.action.component.is_some() => {
                is_down(facts)
            }
            ActionKind::ShutdownGracefully | ActionKind::ForceOff => power(PowerState::Off),
            ActionKind::HoldHost => policy_to_change(facts).is_none() && self.is_kept(directive),
            ActionKind::ReleaseHost => {
                let is_up = directive.action.power_on != Some(true) || power(PowerState::On);
                is_up && self.is_restored(&directive.target.name, facts)
            }
            ActionKind::StageInstall => {
                self.has_medium(directive, facts)
                    && override_in_force(facts) == Some(&BootTarget::Cd)
            }
            ActionKind::StageHttpBoot | ActionKind::SetNetworkBoot => {
                self.has_http_boot(directive, facts)
            }
            ActionKind::StagePxeBoot => self.has_pxe_boot(directive, facts),
            ActionKind::StageBootEntry => {
                self.is_our_entry(&directive.target.name, &directive.target.uid, facts)
            }
            // Their note tells, see `settle_update`.
            ActionKind::PullUpdate
            | ActionKind::PushUpdate
            | ActionKind::PullFirmware
            | ActionKind::PushFirmware => false,
            // The operator looks at the order itself.
            ActionKind::SetBootOrder => false,
            // What runs afterwards tells.
            ActionKind::ResetBmc | ActionKind::RestartCard => false,
            ActionKind::OfferImage => self.is_offered(directive),
            ActionKind::ClearInstall => {
                let target = &directive.target;
                self.our_media(facts).is_empty()
                    && self.our_http_uri(&target.uid, facts).is_none()
                    && !self.is_our_override(&target.name, &target.uid, facts)
            }
            ActionKind::PushImage | ActionKind::FlashFirmware | ActionKind::Unrecognized(_) => {
                false
            }
        }
    }

    /// Whether the work order that the directive brought is kept.
    fn is_kept(&self, directive: &Directive) -> bool {
        match self.orders.get(&directive.target.name) {
            Ok(order) => order.is_some_and(|order| {
                order.seq == directive.seq && order.host_uid == directive.target.uid
            }),
            Err(error) => {
                tracing::error!("{error}");
                false
            }
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

    /// Whether the first of two requests shows its effect. Of a `StageInstall` that is the half
    /// that takes long.
    pub(super) fn is_half_done(&self, directive: &Directive, facts: &BmcFacts) -> bool {
        match directive.action.kind {
            ActionKind::StageInstall => self.has_medium(directive, facts),
            ActionKind::ClearInstall => {
                let target = &directive.target;
                !self.is_our_override(&target.name, &target.uid, facts)
            }
            ActionKind::StageHttpBoot
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
            | ActionKind::HoldHost
            | ActionKind::ReleaseHost
            | ActionKind::PowerOn
            | ActionKind::ShutdownGracefully
            | ActionKind::ForceOff
            | ActionKind::Unrecognized(_) => false,
        }
    }

    pub(super) fn has_medium(&self, directive: &Directive, facts: &BmcFacts) -> bool {
        let Some(image) = &directive.action.image else {
            return false;
        };
        let wanted = UrlOwner::Ours(Some(image.digest.clone()));
        inserted(facts, |url| self.owner_of(url))
            .iter()
            .any(|(_, owner)| *owner == wanted)
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

/// The image that a card is to be armed with.
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

/// What becomes of a host by an order that nobody understands, nobody can say.
fn require_understood(order: &WorkOrder) -> Result<(), Refusal> {
    match &order.on_orphan {
        OrphanAction::KeepHeld | OrphanAction::RestoreAndRelease => Ok(()),
        OrphanAction::Unrecognized(action) => Err(Refusal::new(
            "ActionUnknown",
            format!(
                "this site agent does not know the work order's onOrphan {action}, so it takes no hold; upgrade it to the operator's release"
            ),
        )),
    }
}

/// Whether a card is off, or its system has halted and it is powered still.
pub(super) fn is_down(facts: &BmcFacts) -> bool {
    let stage = facts.boot_progress.value().and_then(|one| one.stage);
    is_power(facts, &PowerState::Off)
        || is_power(facts, &PowerState::Paused) && stage == Some(BootStage::OsHalted)
}

pub(super) fn is_power(facts: &BmcFacts, state: &PowerState) -> bool {
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
            ActionKind::ShutdownGracefully | ActionKind::ForceOff => {
                self.plan_taking_down(directive)
            }
            ActionKind::PowerOn => Ok(Plan::Act),
            ActionKind::HoldHost => self.plan_hold(directive, facts),
            ActionKind::ReleaseHost => self.plan_release(directive, facts),
            ActionKind::StageInstall => self.plan_stage(directive, facts),
            ActionKind::StageHttpBoot | ActionKind::SetNetworkBoot => {
                self.plan_http_boot(directive, facts)
            }
            ActionKind::StagePxeBoot => self.plan_pxe_boot(directive, facts),
            ActionKind::StageBootEntry | ActionKind::SetBootOrder => {
                self.plan_boot_entry(directive, facts)
            }
            ActionKind::PullUpdate
            | ActionKind::PushUpdate
            | ActionKind::PullFirmware
            | ActionKind::PushFirmware => self.plan_update(directive, facts),
            ActionKind::ResetBmc => self.only(MachineKind::Card).map(|()| Plan::Act),
            ActionKind::RestartCard => self.plan_restart(directive, facts),
            ActionKind::OfferImage => self.plan_offer(directive),
            ActionKind::PushImage | ActionKind::FlashFirmware => Err(of_the_host()),
            ActionKind::ClearInstall => self.plan_clear(facts),
            ActionKind::Unrecognized(kind) => Err(Refusal::new(
                "ActionUnknown",
                format!("this site agent does not know the action {kind}"),
            )),
        }
    }

    /// A card that is not armed any more has booted what it was armed with, and may be installing.
    fn plan_restart(&self, directive: &Directive, facts: &BmcFacts) -> Result<Plan, Refusal> {
        self.only(MachineKind::Card)?;
        let from_medium = self.site.has_medium(directive, facts)
            && override_in_force(facts) == Some(&BootTarget::Cd);
        if from_medium
            || self.site.has_http_boot(directive, facts)
            || self.site.has_pxe_boot(directive, facts)
        {
            return Ok(Plan::Act);
        }
        Err(Refusal::new(
            "NotArmed",
            "nothing was sent: the next boot of the card leads to its image no more",
        ))
    }

    /// A host that is taken down for a hold comes with the order that ends it (S14).
    fn plan_taking_down(&self, directive: &Directive) -> Result<Plan, Refusal> {
        if let Some(work_order) = &directive.action.work_order {
            self.only(MachineKind::Host)?;
            require_understood(work_order)?;
        }
        Ok(Plan::Act)
    }

    fn plan_hold(&self, directive: &Directive, facts: &BmcFacts) -> Result<Plan, Refusal> {
        self.only(MachineKind::Host)?;
        let Some(work_order) = &directive.action.work_order else {
            return Err(Refusal::new(
                "WorkOrderMissing",
                "a hold without an expiring work order is refused; upgrade operator and site agent to one release",
            ));
        };
        require_understood(work_order)?;
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
        self.require_stored(image, &digest)?;
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
        require_boot_read(facts)?;
        let (name, uid) = (&self.current().key.name, &self.current().uid);
        let armed = self.site.is_our_override(name, uid, facts)
            || self.site.our_http_uri(uid, facts).is_some()
            || !self.site.our_media(facts).is_empty();
        Ok(if armed {
            Plan::Act
        } else {
            Plan::Nothing("nothing was armed any more".to_owned())
        })
    }

    /// The image must be in the store to be served from it.
    pub(super) fn require_stored(
        &self,
        image: &ImageFacts,
        digest: &Digest,
    ) -> Result<(), Refusal> {
        if self.site.store.info(digest).is_some() {
            return Ok(());
        }
        Err(Refusal::new(
            "ImageNotStored",
            format!(
                "image {} is not in the site's store; it is fetched by itself, see the site's report",
                image.digest
            ),
        ))
    }

    pub(super) fn only(&self, kind: MachineKind) -> Result<(), Refusal> {
        if self.current().key.kind == kind {
            return Ok(());
        }
        Err(Refusal::new(
            "ActionUnsuitable",
            format!("{} is no machine for this action", self.current().key),
        ))
    }
}
