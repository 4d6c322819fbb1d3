//! Having a card's BMC write an image: it fetches it, or it is sent.
//!
//! Asked once, after the card is on and nothing else goes on at its BMC or its host's. A note is
//! written before the request: from then on it may have been sent, and what became of it is told by
//! what is seen, whichever process looks.

use std::sync::Arc;
use std::time::Duration;

use lockstep_crds::directive::{ActionKind, Directive, Expects, OutcomeKind};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::report::{Execution, Outcome};
use lockstep_redfish::{
    BmcError, BmcFacts, ComponentOffer, Components, EffectCertainty, ImageUrl, NotReady,
    PowerAction, PowerState, Push, Reading, SimpleUpdate, UpdateTicket, readiness,
};
use tokio::time::Instant;
use tokio_util::io::StreamReader;

use crate::clock;
use crate::report::Cause;
use crate::site::actions::Prepared;
use crate::site::execute::{End, Port, refusal_of};
use crate::site::glances::PATIENCE;
use crate::site::install::partly;
use crate::site::journal::restarted;
use crate::site::judge::{Refusal, check_expects};
use crate::site::machine::MachineKind;
use crate::site::plan::{Plan, is_power, staged_image};
use crate::site::update_note::{Subject, Told, UpdateNote};
use crate::site::worker::Worker;

/// How long whatever else goes on at the BMCs is waited for, in one directive.
const READY_WITHIN: Duration = Duration::from_secs(600);
/// Between looks at it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What is sent.
#[derive(Debug)]
pub(super) struct Given {
    /// The card's own URL.
    pub(super) url: ImageUrl,
    /// What the BMC offers for what is written.
    pub(super) offer: ComponentOffer,
    /// The version that the BMC shows of it before.
    pub(super) before: Option<String>,
}

impl Worker {
    pub(super) fn plan_update(
        &self,
        directive: &Directive,
        facts: &BmcFacts,
    ) -> Result<Plan, Refusal> {
        self.only(MachineKind::Card)?;
        let (image, digest) = staged_image(directive)?;
        self.require_stored(image, &digest)?;
        if directive.action.kind.is_firmware() {
            return self.plan_within(directive, &digest);
        }
        if let Some(note) = self.own_update(Subject::System)? {
            return Err(Refusal::new(
                "UpdateRemembered",
                format!(
                    "its BMC was asked at {} to write {}, and that is not taken back from the books; the operator does so before it asks again",
                    note.since.0, note.version
                ),
            ));
        }
        let power = facts.power.value();
        if power != Some(&PowerState::On) && power != Some(&PowerState::Off) {
            return Err(Refusal::new(
                "PowerStateUnexpected",
                "the card is neither on nor off; it is looked at again before the next try",
            ));
        }
        self.plan_within(directive, &digest)
    }

    /// Whether the BMC offers it, and takes as much.
    fn plan_within(
        &self,
        directive: &Directive,
        digest: &lockstep_store::Digest,
    ) -> Result<Plan, Refusal> {
        let offer = self.offered(directive)?;
        let size = self.site.store.info(digest).map_or(0, |info| info.size);
        match offer.service.max_image_bytes {
            Some(most) if size > most => Err(Refusal::new(
                "ImageTooLong",
                format!(
                    "the image has {size} bytes, and the card's BMC takes at most {most}; use another of install.methods"
                ),
            )),
            Some(_) | None => Ok(Plan::Act),
        }
    }

    /// What the BMC offers, if that is what the directive needs.
    fn offered(&self, directive: &Directive) -> Result<ComponentOffer, Refusal> {
        let read = match directive.action.component.as_ref() {
            Some(component) => self.updates.component_offers.get(component),
            None if directive.action.kind.is_firmware() => {
                return Err(Refusal::new(
                    "ImageMissing",
                    "the directive names no component; upgrade operator and site agent to one release",
                ));
            }
            None => self.updates.offer.as_ref(),
        };
        let offer = match read {
            Some((_, Reading::Read(offer))) => offer.clone(),
            Some((_, Reading::NotOffered)) => {
                return Err(Refusal::new(
                    "NotOffered",
                    "the card's BMC offers no update of that; use another of install.methods, or correct the component of the DpuImage",
                ));
            }
            Some((_, Reading::NotRead(why))) => {
                return Err(Refusal::new(
                    "UpdatesNotRead",
                    format!("what the card's BMC offers was not read ({why}); it is read again"),
                ));
            }
            None => {
                return Err(Refusal::new(
                    "UpdatesNotRead",
                    "what the card's BMC offers was not read yet; it is read again",
                ));
            }
        };
        let works = if pushes(directive) {
            offer.takes_pushes()
        } else {
            offer.fetches(&self.site.served_url("/"))
        };
        if works {
            return Ok(offer);
        }
        Err(Refusal::new(
            "NotOffered",
            "the card's BMC takes no update by this way, or not by the protocol of the store's advertiseUrl; use another of install.methods",
        ))
    }

    /// The card's own URL, once nothing else goes on.
    pub(super) async fn prepare_update(&mut self, directive: &Directive) -> Result<Given, Refusal> {
        let url = match Subject::of(&directive.action.kind) {
            Subject::System => self.prepare_medium(directive).await?,
            Subject::Component => self.grant_bare(directive).await?,
        };
        let offer = self.offered(directive)?;
        let until = Instant::now() + READY_WITHIN;
        loop {
            let why = match self.idle(directive, &offer).await {
                Ok(before) => return Ok(Given { url, offer, before }),
                Err(NotReady::Refused(why)) => return Err(Refusal::new("NotOffered", why)),
                Err(NotReady::Wait(why)) => why,
            };
            if Instant::now() >= until {
                return Err(Refusal::new(
                    "UpdatesBusy",
                    format!("nothing was sent: {why}"),
                ));
            }
            tracing::info!(machine = %self.current().key, seq = directive.seq, "update waits: {why}");
            self.may_go_on()?;
            let ending = self.ending.clone();
            tokio::select! {
                () = ending.cancelled() => return Err(Refusal::new(
                    "ExecutorEnding",
                    format!("nothing was sent, because the site agent ends while it waits: {why}"),
                )),
                () = tokio::time::sleep(LOOK_AGAIN) => self.look_and_tell().await,
            }
        }
    }

    /// Keeps the report true while something takes long.
    async fn look_and_tell(&mut self) {
        self.look().await;
        if let Err(error) = self.tell(Cause::Facts).await {
            tracing::warn!(machine = %self.current().key, "{error}");
        }
    }

    /// Whether nothing goes on at this BMC and at that of the host (S1); what is shown of what is
    /// written.
    async fn idle(
        &mut self,
        directive: &Directive,
        offer: &ComponentOffer,
    ) -> Result<Option<String>, NotReady> {
        let component = offer.component_id().to_owned();
        let bmc = self
            .may_go_on()
            .map_err(|refusal| NotReady::Wait(refusal.message))?;
        let named = Components::Named(vec![component.clone()]);
        let host = match &directive.expects.host {
            Some(host) if host.without_update => {
                let seen = self.site.glances.updates(host, PATIENCE).await;
                Some((
                    format!("the BMC of {}", host.name),
                    seen.map_err(|refusal| NotReady::Wait(refusal.message))?,
                ))
            }
            Some(_) | None => None,
        };
        // Last, for the host may be waited for.
        let own = bmc
            .observe_updates(&named)
            .await
            .map_err(|error| NotReady::Wait(error.to_string()))?;
        let others: Vec<_> = host
            .iter()
            .map(|(name, facts)| (name.as_str(), facts.as_ref()))
            .collect();
        readiness(&own, &others)?;
        let firmware = own.firmware.value().into_iter().flatten();
        let mut shown = firmware.filter(|one| one.name == component);
        Ok(shown.next().and_then(|one| one.running.clone()))
    }

    /// Powers the card on if it is off, and asks for the update.
    pub(super) async fn update(
        &mut self,
        directive: &Directive,
        prepared: &Prepared,
        bmc: Port,
        settled: Instant,
    ) -> End {
        let (Prepared::Update(given), Some(facts)) = (prepared, self.facts.clone()) else {
            return End::Failed(Refusal::new("ImageMissing", "no image was prepared"));
        };
        // Firmware is written whether the card is on or off.
        let system = Subject::of(&directive.action.kind) == Subject::System;
        let off = system && is_power(&facts, &PowerState::Off);
        if off {
            let on = self
                .step(bmc.power(PowerAction::On), settled, |facts| {
                    is_power(facts, &PowerState::On)
                })
                .await;
            if !matches!(on, End::Done(_)) {
                // Whether it is on or not, no update was asked for.
                return match on {
                    End::Unknown(refusal) => End::Partly(refusal),
                    end @ (End::Done(_) | End::Failed(_) | End::Partly(_)) => end,
                };
            }
            if let Err(refusal) = self.may_go_on() {
                return partly(End::Failed(refusal), true);
            }
        }
        partly(self.ask(directive, given).await, off)
    }

    /// What was found before, found once more at the last moment: powering the card on may have begun
    /// what lay armed there, and an image takes minutes to be read. The host is waited for before the
    /// card is looked at, so what is acted upon is read last (S1). The port is the one by which the
    /// request may go out.
    async fn is_ready_still(
        &mut self,
        directive: &Directive,
        offer: &ComponentOffer,
    ) -> Result<Port, Refusal> {
        // Address and credentials may have changed while the image was read.
        self.look_now().await?;
        let asked = self.may_go_on()?;
        match self.idle(directive, offer).await {
            Ok(_) => {}
            Err(NotReady::Refused(why)) => return Err(Refusal::new("NotOffered", why)),
            Err(NotReady::Wait(why)) => {
                return Err(Refusal::new(
                    "UpdatesBusy",
                    format!("nothing was sent: {why}"),
                ));
            }
        }
        let facts = self.look_now().await?;
        check_expects(&expected_now(directive), &facts)?;
        let bmc = self.may_go_on()?;
        if Arc::ptr_eq(&asked, &bmc) {
            return Ok(bmc);
        }
        Err(Refusal::new(
            "FactsNotRead",
            "nothing was sent, because the way to the card's BMC changed just before; it is looked at again before the next try",
        ))
    }

    /// What the card shows now, at the address where it is to be found now.
    async fn look_now(&mut self) -> Result<BmcFacts, Refusal> {
        self.adopt_input();
        let looked = self.look().await;
        self.facts.clone().filter(|_| looked).ok_or_else(|| {
            Refusal::new(
                "BmcUnreachable",
                "nothing was sent: the card's BMC does not answer any more; it is tried again once it does",
            )
        })
    }

    async fn ask(&mut self, directive: &Directive, given: &Given) -> End {
        let (image, digest) = match staged_image(directive) {
            Ok(staged) => staged,
            Err(refusal) => return End::Failed(refusal),
        };
        let subject = Subject::of(&directive.action.kind);
        let pushes = pushes(directive);
        let push = if pushes {
            match self.opened(&digest, given).await {
                Ok(push) => Some(push),
                Err(refusal) => return End::Failed(refusal),
            }
        } else {
            None
        };
        let bmc = match self.is_ready_still(directive, &given.offer).await {
            Ok(bmc) => bmc,
            Err(refusal) => return End::Failed(refusal),
        };
        let mut note = UpdateNote {
            uid: self.current().uid.clone(),
            seq: directive.seq,
            digest: image.digest.clone(),
            version: image.version.clone(),
            method: if pushes {
                InstallMethod::MultipartPush
            } else {
                InstallMethod::SimpleUpdate
            },
            since: clock::now(),
            component: given.offer.component_id().to_owned(),
            before: given.before.clone(),
            activation: directive.action.activation.clone(),
            ticket: None,
            told: Told::nothing(),
        };
        if let Err(refusal) = self.keep_update(subject, &note) {
            return End::Failed(refusal);
        }
        let targets = vec![given.offer.component.clone()];
        let asked = match push {
            Some(mut push) => {
                push.targets = targets;
                self.send(push, bmc).await
            }
            None => {
                self.hand_out(directive);
                let image = given.url.clone();
                bmc.simple_update(&SimpleUpdate { image, targets }).await
            }
        };
        let ticket = match asked {
            Ok(ticket) => ticket,
            Err(error) => return self.not_accepted(subject, &error),
        };
        let task = told_of(&ticket);
        note.ticket = Some(ticket);
        match self.keep_update(subject, &note) {
            Ok(()) => End::Done(Some(format!("the BMC accepted the update; {task}"))),
            // What is known of it without its task still tells.
            Err(refusal) => End::Done(Some(format!(
                "the BMC accepted the update, and its task is not remembered: {}",
                refusal.message
            ))),
        }
    }

    /// Sends an image, which takes minutes, and looks meanwhile. It is never cut short.
    async fn send(&mut self, push: Push, bmc: Port) -> Result<UpdateTicket, BmcError> {
        let mut sending = tokio::spawn(async move { bmc.push(push).await });
        self.updates.sending = true;
        let sent = loop {
            tokio::select! {
                sent = &mut sending => break sent,
                () = tokio::time::sleep(LOOK_AGAIN) => self.look_and_tell().await,
            }
        };
        self.updates.sending = false;
        sent.unwrap_or_else(|error| {
            Err(BmcError::OutcomeUnknown {
                address: self.current().endpoint.address.clone(),
                verb: "a push of an image",
                reason: error.to_string(),
            })
        })
    }

    /// The image as the card would be served it, to be sent.
    async fn opened(
        &self,
        digest: &lockstep_store::Digest,
        given: &Given,
    ) -> Result<Push, Refusal> {
        let uid = &self.current().uid;
        let image = self.site.store.read_granted(digest, uid).await;
        let image = image.map_err(|error| {
            Refusal::new(error.category(), format!("{error}; {}", error.remedy()))
        })?;
        let name = given.offer.file_name(&digest.hex()[..16]);
        let bytes = StreamReader::new(image.bytes);
        Push::new(&name, image.length, bytes)
            .map_err(|error| Refusal::new("ImageMissing", error.to_string()))
    }

    fn not_accepted(&mut self, subject: Subject, error: &BmcError) -> End {
        match error.effect() {
            EffectCertainty::None => match self.forget_update(subject) {
                Ok(()) => End::Failed(refusal_of(error)),
                // It is looked for in vain, and then tried again.
                Err(refusal) => End::Unknown(refusal),
            },
            EffectCertainty::Unknown => {
                tracing::warn!(machine = %self.current().key, "{error}");
                End::Unknown(refusal_of(error))
            }
        }
    }

    /// An update that the last process may have asked for: the note says whether it did.
    pub(super) fn settle_update(&mut self, directive: &Directive) {
        let subject = Subject::of(&directive.action.kind);
        let outcome = match self.own_update(subject) {
            Ok(Some(note)) if note.seq == directive.seq && note.ticket.is_some() => restarted(
                OutcomeKind::Done,
                "the site agent restarted meanwhile; the BMC had accepted the update",
            ),
            Ok(Some(note)) if note.seq == directive.seq => restarted(
                OutcomeKind::Unknown,
                "the site agent restarted while it asked for the update; what is seen of it tells",
            ),
            Ok(Some(_) | None) if subject == Subject::Component => restarted(
                OutcomeKind::Failed,
                "the site agent restarted before it asked for the update",
            ),
            Ok(Some(_) | None) => restarted(
                OutcomeKind::Partly,
                "the site agent restarted before it asked for the update; the card may have been powered on",
            ),
            Err(refusal) => Outcome {
                result: OutcomeKind::Unknown,
                reason: Some(refusal.reason),
                message: Some(refusal.message),
            },
        };
        if let Err(error) = self.journal.end(directive, &outcome) {
            tracing::error!("{error}");
        }
        self.execution = Some(Execution {
            accepted: directive.seq,
            outcome: Some(outcome),
        });
        self.cause = Cause::Outcome;
    }
}

/// What the card must be just before the request: the one that is meant, in a stage that allows it,
/// and on if its system is written, whatever it was when that was planned.
fn expected_now(directive: &Directive) -> Expects {
    let power = match Subject::of(&directive.action.kind) {
        Subject::System => Some(PowerState::On.as_str().into()),
        Subject::Component => directive.expects.power.clone(),
    };
    Expects {
        power,
        safe_stage: true,
        ..directive.expects.clone()
    }
}

fn pushes(directive: &Directive) -> bool {
    matches!(
        directive.action.kind,
        ActionKind::PushUpdate | ActionKind::PushFirmware
    )
}

/// The task of an accepted update, for people.
fn told_of(ticket: &UpdateTicket) -> String {
    match &ticket.task {
        Some(task) => format!("its task is {task}"),
        None => "it named no task".to_owned(),
    }
}
