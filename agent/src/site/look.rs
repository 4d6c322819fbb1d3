//! Looking at a BMC: the way to it, and what is said when there is none.

use std::sync::Arc;
use std::time::Duration;

use lockstep_crds::condition;
use lockstep_crds::directive::Expects;
use lockstep_crds::observed::PowerState;
use lockstep_crds::report::Reachability;
use lockstep_redfish::{BmcError, BmcFacts, BmcTarget, Components, Reading, UpdateFacts};
use tokio::time::Instant;

use crate::clock;
use crate::durable::StateError;
use crate::site::activity::Activity;
use crate::site::at_rest::Rest;
use crate::site::attended::Attendance;
use crate::site::calls::BmcPort;
use crate::site::glances::Glance;
use crate::site::judge::{Refusal, check_expects};
use crate::site::machine::MachineKind;
use crate::site::target::{NOT_ANSWERED, TargetError, resolve};
use crate::site::update_watch::Updates;
use crate::site::worker::Worker;
use lockstep_redfish::bmc_report;

/// How old a target may be before Secret and CA are read again.
const TARGET_AGE: Duration = Duration::from_secs(300);

/// How long a look may be at the ComputerSystem alone while that shows nothing new. It is what
/// the first step of a plan may be decided by, which goes to another machine: to the host of a
/// card of which this was seen.
const WHOLE_AGE: Duration = Duration::from_secs(600);

/// The same for a machine of which no card was approved, so that nothing is planned.
pub(super) const WHOLE_AGE_PROPOSED: Duration = Duration::from_secs(6 * 3600);

/// A resolved target and its port.
pub(super) struct Reached {
    pub(super) target: BmcTarget,
    pub(super) bmc: Arc<dyn BmcPort>,
    version: String,
    resolved_at: Instant,
    /// The spec has changed since.
    pub(super) stale: bool,
}

/// Why there are no new facts.
enum Trouble {
    /// Nothing to report: the API server itself did not answer.
    Silent(String),
    /// To be reported.
    Told { refusal: Refusal, passing: Passing },
}

/// Whether a trouble may pass by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// Somebody has to act.
    No,
    /// It may.
    Maybe,
    /// The next look decides, whatever it finds.
    TriedAgain,
}

impl Worker {
    /// Reads everything from the BMC. Tells whether it did, and whoever asked for this machine.
    pub(super) async fn look(&mut self) -> bool {
        let eye = self.site.glances.of(&self.current().key);
        let is_due = self.rest.is_due(self.current().activity);
        let wants_updates = eye.is_asked_for_updates() || is_due;
        let at = Instant::now();
        // What is acted upon is read last: a stage may be seconds old by then, and no older (S1).
        let asked = self.reached.as_ref().filter(|reached| !reached.stale);
        let asked = asked.map(|reached| Arc::clone(&reached.bmc));
        let mut updates = None;
        if wants_updates && asked.is_some() {
            updates = self.read_updates().await;
        }
        let looked = self.look_and_say().await;
        // Another machine may have answered meanwhile, or another address.
        let reached = self.reached.as_ref().map(|reached| &reached.bmc);
        let is_same = asked.as_ref().zip(reached);
        let is_same = is_same.is_some_and(|(asked, now)| Arc::ptr_eq(asked, now));
        updates = updates.filter(|_| looked && is_same && self.is_proved());
        if wants_updates && looked && updates.is_none() {
            updates = self.read_updates().await;
        }
        let facts = self.facts.as_ref().filter(|_| updates.is_some());
        eye.tell(Glance {
            at,
            uid: self.current().uid.clone(),
            power: self.proved_power().filter(|_| looked),
            facts: facts.cloned().map(Arc::new),
            updates: updates.map(Arc::new),
        });
        looked
    }

    /// What goes on at this BMC, if it is that of the machine which is meant.
    async fn read_updates(&mut self) -> Option<UpdateFacts> {
        let bmc = self.reached.as_ref().filter(|_| self.is_proved());
        let bmc = Arc::clone(&bmc?.bmc);
        match bmc.observe_updates(&Components::Named(Vec::new())).await {
            Ok(facts) => {
                if let Err(what) = self.note_rest(&facts) {
                    tracing::info!(machine = %self.current().key, "it keeps its power: {what}");
                }
                Some(facts)
            }
            Err(error) => {
                self.rest.not_read(&error.to_string());
                tracing::warn!(machine = %self.current().key, "its tasks were not read: {error}");
                None
            }
        }
    }

    /// The look that is due from time to time. Where nothing goes on it is one small request, as
    /// long as that shows what was seen before.
    pub(super) async fn look_as_needed(&mut self) -> bool {
        if !self.may_glance() {
            return self.look().await;
        }
        match self.glance().await {
            Ok(true) => self.say(Ok(())),
            Ok(false) => {
                // Among what is new may be the order of the boot entries.
                self.entries = None;
                self.look().await
            }
            Err(trouble) => self.say(Err(trouble)),
        }
    }

    /// Whether nothing is done to the machine or awaited of it, and everything was seen not long
    /// ago.
    fn may_glance(&self) -> bool {
        let input = self.current();
        let has_order = match input.key.kind {
            MachineKind::Card => false,
            MachineKind::Host => !matches!(self.site.orders.get(&input.key.name), Ok(None)),
        };
        let is_at_work =
            input.held || !input.directives.is_empty() || self.rest.is_due(input.activity);
        if is_at_work || has_order || !self.is_well() {
            return false;
        }
        let slots = self.facts.as_ref().and_then(|facts| facts.media.value());
        let has_media = slots.is_some_and(|slots| slots.iter().any(|slot| slot.inserted));
        let pending = self
            .facts
            .as_ref()
            .and_then(|facts| facts.pending_boot_override.value());
        let has_uri = pending.is_some_and(|state| matches!(state.http_uri, Reading::Read(Some(_))));
        let has_gaps = self.facts.as_ref().is_some_and(BmcFacts::has_gaps);
        let is_younger = |age| self.whole_at.is_some_and(|at| at.elapsed() < age);
        match input.activity {
            Activity::UnderWay => false,
            // A person may be asked to take a medium out, or a URL, and the system does not show
            // that.
            Activity::Kept => !has_media && !has_uri && is_younger(WHOLE_AGE),
            // What could not be read is no fact that is good for long.
            Activity::Proposed if has_gaps => is_younger(WHOLE_AGE),
            Activity::Proposed => is_younger(self.proposed_age),
        }
    }

    fn is_well(&self) -> bool {
        self.failures == 0 && self.reachable.as_ref().is_some_and(|told| told.ok)
    }

    /// Tells discovery whether this worker sees the machine that is meant.
    pub(super) fn vouch(&self) {
        let attended = &self.site.attended;
        let address = &self.current().endpoint.address;
        if !self.is_well() || !self.is_proved() {
            attended.lost(address);
            return;
        }
        // Facts are read anew where a glance shows another key.
        let facts = self.facts.as_ref();
        let pin = facts.and_then(|facts| facts.identity.tls_pin.clone());
        attended.saw(
            address,
            Attendance {
                at: Instant::now(),
                pin,
                machine: facts.map(|facts| facts.identity.clone()),
                service: self.whole_at.zip(facts.map(|facts| facts.service.clone())),
            },
        );
    }

    /// Whether the facts are those of the machine which is meant.
    pub(super) fn is_proved(&self) -> bool {
        let meant = Expects {
            identity: self.current().identity.clone().unwrap_or_default(),
            ..Expects::default()
        };
        let facts = self.facts.as_ref();
        facts.is_some_and(|facts| check_expects(&meant, facts).is_ok())
    }

    /// Reads the ComputerSystem alone; tells whether it shows what was seen before.
    async fn glance(&mut self) -> Result<bool, Trouble> {
        let bmc = self.port().await?;
        if self.whole_at.is_none() {
            return Ok(false);
        }
        let seen = bmc.glance().await.map_err(|error| self.trouble(&error))?;
        let facts = self.facts.as_ref();
        Ok(facts.is_some_and(|facts| facts.show(&seen)))
    }

    /// The power state, if it is that of the machine which is meant.
    fn proved_power(&self) -> Option<PowerState> {
        let power = self.bmc.as_ref()?.power.clone();
        power.filter(|_| self.is_proved())
    }

    async fn look_and_say(&mut self) -> bool {
        let observed = self.observe().await;
        self.say(observed)
    }

    fn say(&mut self, looked: Result<(), Trouble>) -> bool {
        match looked {
            Ok(()) => {
                self.failures = 0;
                // Whoever cannot read the order of a held host had better not say that all is well.
                match self.own_order_is_readable() {
                    Ok(()) => {
                        self.reach(true, None, None);
                        true
                    }
                    Err(error) => {
                        self.unusable(&error);
                        false
                    }
                }
            }
            Err(Trouble::Silent(why)) => {
                tracing::warn!(machine = %self.current().key, "credentials not read: {why}");
                self.failures = self.failures.saturating_add(1);
                false
            }
            Err(Trouble::Told { refusal, passing }) => {
                self.failures = self.failures.saturating_add(1);
                // One lost answer is no news, and neither is a refusal that is tried once more.
                let was_ok = self.reachable.as_ref().is_some_and(|before| before.ok);
                let wait = match passing {
                    Passing::TriedAgain => true,
                    Passing::Maybe => was_ok && self.failures < 2,
                    Passing::No => false,
                };
                if !wait {
                    let message = condition::truncated(&refusal.message);
                    self.reach(false, Some(refusal.reason), Some(message));
                }
                false
            }
        }
    }

    fn own_order_is_readable(&self) -> Result<(), StateError> {
        let key = &self.current().key;
        match key.kind {
            MachineKind::Card => Ok(()),
            MachineKind::Host => self.site.orders.get(&key.name).map(|_| ()),
        }
    }

    /// Says that our own books keep us from doing anything for the machine.
    pub(super) fn unusable(&mut self, error: &StateError) {
        let message = condition::truncated(&error.to_string());
        self.reach(false, Some("StateUnusable".to_owned()), Some(message));
    }

    async fn observe(&mut self) -> Result<(), Trouble> {
        // What is asked for later is not answered by what is read now.
        let asked = self.current().inspection.clone();
        let bmc = self.port().await?;
        // What is acted upon is read last.
        self.read_boot_entries(&bmc).await;
        let facts = bmc.observe().await.map_err(|error| self.trouble(&error))?;
        let site = Arc::clone(&self.site);
        let uid = self.current().uid.clone();
        let mut report = bmc_report(
            &facts,
            |url| site.owner_of(url),
            |uri| site.uri_owner(uri, &uid),
            self.bmc.as_ref(),
            &clock::now(),
        );
        if asked.is_some() {
            self.inspected = asked;
        }
        self.facts = Some(facts);
        self.report_updates(&mut report, &bmc).await;
        self.report_boot_entries(&mut report);
        self.bmc = Some(report);
        self.whole_at = Some(Instant::now());
        Ok(())
    }

    /// The port, resolved anew after a failure and from time to time.
    async fn port(&mut self) -> Result<Arc<dyn BmcPort>, Trouble> {
        if let Some(reached) = &self.reached
            && self.failures == 0
            && !reached.stale
            && reached.resolved_at.elapsed() < TARGET_AGE
        {
            return Ok(Arc::clone(&reached.bmc));
        }
        let resolved = resolve(
            &self.site.client,
            &self.site.config.namespace,
            &self.current().endpoint,
            self.current().identity.as_ref(),
        )
        .await;
        match resolved {
            Ok(resolved) => {
                if let Some(reached) = self
                    .reached
                    .as_mut()
                    .filter(|reached| reached.version == resolved.version && !reached.stale)
                {
                    reached.resolved_at = Instant::now();
                    return Ok(Arc::clone(&reached.bmc));
                }
                if let Some(old) = self.reached.take() {
                    old.bmc.close().await;
                }
                self.site
                    .dial
                    .credentials_written(&resolved.target, &resolved.secret_version);
                let dialled = self.site.dial.bmc(resolved.target.clone());
                let bmc = dialled.map_err(|error| self.trouble(&error))?;
                self.whole_at = None;
                self.updates = Updates::default();
                self.rest = Rest::default();
                self.reached = Some(Reached {
                    target: resolved.target,
                    bmc: Arc::clone(&bmc),
                    version: resolved.version,
                    resolved_at: Instant::now(),
                    stale: false,
                });
                Ok(bmc)
            }
            Err(TargetError::Unusable(refusal)) => {
                self.reached = None;
                Err(Trouble::Told {
                    refusal,
                    passing: Passing::No,
                })
            }
            Err(TargetError::NotTold(refusal)) => match &self.reached {
                Some(reached) if !reached.stale => Ok(Arc::clone(&reached.bmc)),
                Some(_) | None if refusal.reason == NOT_ANSWERED => {
                    Err(Trouble::Silent(refusal.message))
                }
                Some(_) | None => Err(Trouble::Told {
                    refusal,
                    passing: Passing::Maybe,
                }),
            },
        }
    }

    fn trouble(&self, error: &BmcError) -> Trouble {
        let (reason, passing) = reason_of(error);
        let what = if let BmcError::CredentialsRefused { address, .. } = error {
            format!(
                "{address} refused the credentials of Secret {}",
                self.current().endpoint.credentials_ref.name
            )
        } else {
            error.to_string()
        };
        Trouble::Told {
            refusal: Refusal::new(reason, format!("{what}. {}", error.remedy())),
            passing,
        }
    }

    fn reach(&mut self, ok: bool, reason: Option<String>, message: Option<String>) {
        let same = self
            .reachable
            .as_ref()
            .is_some_and(|before| before.ok == ok && before.reason == reason);
        if !same {
            self.reachable = Some(Reachability {
                ok,
                since: clock::now(),
                reason,
                message,
            });
        }
    }
}

/// A condition reason for a failed call, and whether it may pass by itself.
fn reason_of(error: &BmcError) -> (&'static str, Passing) {
    match error {
        BmcError::InvalidTarget { .. } => ("AddressInvalid", Passing::No),
        BmcError::CertificateRefused { .. } => ("CertificateUntrusted", Passing::No),
        BmcError::CredentialsRefused { locked: false, .. } => {
            (error.category(), Passing::TriedAgain)
        }
        BmcError::AddressNotAllowed { .. }
        | BmcError::CredentialsRefused { .. }
        | BmcError::AccessDenied { .. }
        | BmcError::SystemNotFound { .. }
        | BmcError::TooManySystems { .. }
        | BmcError::Stranger { .. }
        | BmcError::NotOffered { .. }
        | BmcError::Client { .. } => (error.category(), Passing::No),
        BmcError::NameNotResolved { .. }
        | BmcError::Unreachable { .. }
        | BmcError::SessionRefused { .. }
        | BmcError::Busy { .. }
        | BmcError::Crowded { .. }
        | BmcError::NoAnswer { .. }
        | BmcError::ReadFailed { .. }
        | BmcError::BadAnswer { .. }
        | BmcError::WrongPowerState { .. }
        | BmcError::StageForbids { .. }
        | BmcError::SlotOccupied { .. }
        | BmcError::Refused { .. }
        | BmcError::UpdateBusy { .. }
        | BmcError::OutcomeUnknown { .. } => (error.category(), Passing::Maybe),
    }
}
