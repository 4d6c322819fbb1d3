//! A BMC in memory, for tests: it does what it is asked and writes it down.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lockstep_crds::inventory::FirmwareComponent;
use lockstep_redfish::{
    Bmc, BmcError, BmcFacts, BmcTarget, BootEntries, BootEntry, BootOverride, BootOverrideState,
    BootTarget, ComponentOffer, Components, Confirmation, Effect, ImageUrl, MediaMatch,
    OverrideEnabled, PowerAction, PowerRestorePolicy, PowerState, Push, Reading, SimpleUpdate,
    SimpleUpdateOffer, SystemGlance, TaskFacts, TaskReading, TaskSighting, UpdateFacts,
    UpdateService, UpdateTicket, Updater,
};

use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use crate::site::calls::{BmcPort, Dial};
use crate::site::machine::MachineInput;
use crate::site::samples;

#[derive(Clone, Debug)]
pub(crate) struct FakeBmc {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    facts: BmcFacts,
    effects: Vec<String>,
    targets: usize,
    observed: usize,
    glanced: usize,
    loses_replies: bool,
    silent: bool,
    inert: bool,
    refuses: bool,
    swaps: bool,
    http: HttpBoot,
    updates: FakeUpdates,
    entries: Option<BootEntries>,
    hands_off_at: Option<(String, watch::Sender<MachineInput>)>,
}

impl State {
    fn shown(&self) -> BmcFacts {
        let order = self.entries.as_ref().map(|found| found.order.clone());
        BmcFacts {
            boot_order: order.unwrap_or_default(),
            ..self.facts.clone()
        }
    }
}

/// How it takes updates of the card's system.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeUpdates {
    /// It offers them; `None`: it has no UpdateService.
    pub(crate) offer: Option<UpdateService>,
    /// What it shows of the system's version.
    pub(crate) version: Option<String>,
    /// What it shows of its own firmware: what runs, and what waits.
    pub(crate) firmware: (Option<String>, Option<String>),
    /// What goes on there.
    pub(crate) tasks: Vec<TaskFacts>,
    /// How far its background copy is; `None`: it has none.
    pub(crate) copying: Option<String>,
    /// What begins there once the machine is powered on.
    pub(crate) pending: Option<TaskFacts>,
    /// When it says that it was restarted last.
    pub(crate) last_reset: Option<String>,
    /// What the task of an accepted update shows.
    pub(crate) sighting: Option<TaskSighting>,
    /// Bytes that came with a push.
    pub(crate) pushed: Vec<u8>,
}

/// An UpdateService that takes everything.
pub(crate) fn update_service() -> UpdateService {
    UpdateService {
        path: "/redfish/v1/UpdateService".to_owned(),
        enabled: Some(true),
        state: Some("Enabled".to_owned()),
        simple_update: Some(SimpleUpdateOffer {
            target: "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate".to_owned(),
            protocols: Some(vec!["HTTP".to_owned()]),
            targets: None,
        }),
        multipart_push: Some("/redfish/v1/UpdateService/update-multipart".to_owned()),
        http_push: None,
        max_image_bytes: None,
    }
}

/// What becomes of HTTP boot from a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HttpBoot {
    /// Target and URL are set.
    #[default]
    Set,
    /// It fetches the image itself and shows a medium, as sushy-tools does.
    Fetches,
    /// It does, and does not show the URL.
    FetchesAndHides,
    /// The target is set and the URL is not.
    DropsUrl,
}

impl Default for FakeBmc {
    fn default() -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                facts: samples::facts(),
                effects: Vec::new(),
                targets: 0,
                observed: 0,
                glanced: 0,
                loses_replies: false,
                silent: false,
                inert: false,
                refuses: false,
                swaps: false,
                http: HttpBoot::Set,
                updates: FakeUpdates::default(),
                entries: None,
                hands_off_at: None,
            })),
        }
    }
}

impl FakeBmc {
    /// What was sent to it.
    pub(crate) fn effects(&self) -> Vec<String> {
        self.state.lock().unwrap().effects.clone()
    }

    /// How often a port was made for it.
    pub(crate) fn targets(&self) -> usize {
        self.state.lock().unwrap().targets
    }

    /// How often everything was read, and how often the system alone.
    pub(crate) fn looks(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.observed, state.glanced)
    }

    /// Changes what it shows.
    pub(crate) fn set(&self, change: impl FnOnce(&mut BmcFacts)) {
        change(&mut self.state.lock().unwrap().facts);
    }

    /// Effects happen, and their replies are lost.
    pub(crate) fn lose_replies(&self, loses: bool) {
        self.state.lock().unwrap().loses_replies = loses;
    }

    /// It does not answer at all.
    pub(crate) fn silence(&self, silent: bool) {
        self.state.lock().unwrap().silent = silent;
    }

    /// It accepts everything and does nothing.
    pub(crate) fn numb(&self) {
        self.state.lock().unwrap().inert = true;
    }

    /// It refuses every change.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.state.lock().unwrap().refuses = refuses;
    }

    /// What it makes of HTTP boot from a URL.
    pub(crate) fn makes_of_http_boot(&self, http: HttpBoot) {
        self.state.lock().unwrap().http = http;
    }

    /// The boot entries that it lists: these names, by `Boot0001` and so on, and in this order.
    pub(crate) fn lists_entries(&self, names: &[&str]) {
        let reference = |index: usize| format!("Boot{:04}", index + 1);
        let entries = names.iter().enumerate().map(|(index, name)| BootEntry {
            reference: reference(index),
            name: (*name).to_owned(),
        });
        self.state.lock().unwrap().entries = Some(BootEntries {
            entries: entries.collect(),
            order: (0..names.len()).map(reference).collect(),
        });
    }

    /// Somebody else gives its boot entries this order.
    pub(crate) fn orders_entries(&self, order: &[&str]) {
        if let Some(found) = &mut self.state.lock().unwrap().entries {
            found.order = order.iter().map(|&one| one.to_owned()).collect();
        }
    }

    /// Somebody takes the machine over while it does this.
    pub(crate) fn hands_off_at(&self, what: &str, input: &watch::Sender<MachineInput>) {
        self.state.lock().unwrap().hands_off_at = Some((what.to_owned(), input.clone()));
    }

    /// How it takes updates, to be changed or looked at.
    pub(crate) fn updates<T>(&self, change: impl FnOnce(&mut FakeUpdates) -> T) -> T {
        change(&mut self.state.lock().unwrap().updates)
    }

    fn accepts(&self, what: &str) -> Result<UpdateTicket, BmcError> {
        let accepted = self.effect(what.to_owned(), "update", |_| {});
        let (names_it, last_reset) = self.updates(|updates| {
            let names_it = updates.sighting != Some(TaskSighting::NeverNamed);
            (names_it, updates.last_reset.clone())
        });
        accepted.map(|_| UpdateTicket {
            task: names_it.then(|| "/redfish/v1/TaskService/Tasks/0".to_owned()),
            last_reset,
            ..UpdateTicket::default()
        })
    }

    /// Once it is powered on, another machine answers in its place.
    pub(crate) fn becomes_a_stranger_when_powered_on(&self) {
        self.state.lock().unwrap().swaps = true;
    }

    fn effect(
        &self,
        what: String,
        verb: &'static str,
        change: impl FnOnce(&mut BmcFacts),
    ) -> Result<Effect, BmcError> {
        let mut state = self.state.lock().unwrap();
        if state.silent {
            return Err(unreachable());
        }
        if state.refuses {
            return Err(BmcError::NotOffered {
                address: "fake".to_owned(),
                what,
                path: "/redfish/v1/Systems/1".to_owned(),
                offered: "nothing".to_owned(),
            });
        }
        if let Some((at, input)) = &state.hands_off_at
            && *at == what
        {
            input.send_modify(|input| input.hands_off = true);
        }
        state.effects.push(what);
        if state.inert {
            return Ok(Effect {
                sent: true,
                confirmation: Confirmation::NotSeen,
            });
        }
        change(&mut state.facts);
        if state.swaps && verb == "power" {
            state.facts.identity.serial_number = Some("SN2".to_owned());
        }
        if state.loses_replies {
            return Err(BmcError::OutcomeUnknown {
                address: "fake".to_owned(),
                verb,
                reason: "the reply was lost".to_owned(),
            });
        }
        Ok(Effect {
            sent: true,
            confirmation: Confirmation::Confirmed,
        })
    }
}

impl FakeBmc {
    fn boot_from(&self, uri: &ImageUrl, lasts: OverrideEnabled) -> Result<Effect, BmcError> {
        let http = self.state.lock().unwrap().http;
        let what = format!("override UefiHttp {}", lasts.as_str());
        let sent = self.effect(what, "override", |facts| {
            let (target, enabled) = match http {
                HttpBoot::Set | HttpBoot::DropsUrl => (BootTarget::UefiHttp, lasts),
                HttpBoot::Fetches | HttpBoot::FetchesAndHides => {
                    (BootTarget::Cd, OverrideEnabled::Continuous)
                }
            };
            facts.boot_override = Reading::Read(BootOverrideState {
                target: Some(target),
                enabled: Some(enabled),
                mode: None,
                http_uri: Reading::Read(
                    matches!(http, HttpBoot::Set | HttpBoot::Fetches).then(|| uri.clone()),
                ),
                next: None,
            });
            if matches!(http, HttpBoot::Fetches | HttpBoot::FetchesAndHides) {
                facts.media = Reading::Read(vec![samples::slot(Some(uri.expose()))]);
            }
        });
        sent.map(|effect| Effect {
            confirmation: match http {
                HttpBoot::Set => effect.confirmation,
                HttpBoot::Fetches => Confirmation::Differs("reads Cd".to_owned()),
                HttpBoot::FetchesAndHides | HttpBoot::DropsUrl => Confirmation::NotSeen,
            },
            ..effect
        })
    }
}

fn unreachable() -> BmcError {
    BmcError::Unreachable {
        address: "fake".to_owned(),
        reason: "silent".to_owned(),
    }
}

#[async_trait]
impl Bmc for FakeBmc {
    async fn observe(&self) -> Result<BmcFacts, BmcError> {
        let mut state = self.state.lock().unwrap();
        if state.silent {
            return Err(unreachable());
        }
        state.observed += 1;
        Ok(state.shown())
    }

    async fn glance(&self) -> Result<SystemGlance, BmcError> {
        let mut state = self.state.lock().unwrap();
        if state.silent {
            return Err(unreachable());
        }
        state.glanced += 1;
        let facts = state.shown();
        Ok(SystemGlance {
            identity: facts.identity,
            power: facts.power,
            boot_progress: facts.boot_progress,
            boot_override: facts.boot_override,
            boot_order: facts.boot_order,
            power_restore: facts.power_restore,
        })
    }

    async fn insert_media(&self, image: &ImageUrl) -> Result<Effect, BmcError> {
        self.effect("insert".to_owned(), "insert", |facts| {
            facts.media = Reading::Read(vec![samples::slot(Some(image.expose()))]);
        })
    }

    async fn eject_media(&self, _: &MediaMatch) -> Result<Effect, BmcError> {
        self.effect("eject".to_owned(), "eject", |facts| {
            facts.media = Reading::Read(vec![samples::slot(None)]);
        })
    }

    async fn set_boot_override(&self, wanted: &BootOverride) -> Result<Effect, BmcError> {
        let (target, enabled) = match wanted {
            BootOverride::OnceFrom(uri) => return self.boot_from(uri, OverrideEnabled::Once),
            BootOverride::AlwaysFrom(uri) => {
                return self.boot_from(uri, OverrideEnabled::Continuous);
            }
            BootOverride::Once(target) => (target.clone(), OverrideEnabled::Once),
            BootOverride::OnceEntry(_) => (
                BootTarget::Other(BootTarget::BOOT_NEXT.to_owned()),
                OverrideEnabled::Once,
            ),
            BootOverride::Continuous(target) => (target.clone(), OverrideEnabled::Continuous),
            BootOverride::Disabled => (BootTarget::None, OverrideEnabled::Disabled),
        };
        let next = match wanted {
            BootOverride::OnceEntry(entry) => Some(entry.clone()),
            BootOverride::Once(_)
            | BootOverride::OnceFrom(_)
            | BootOverride::AlwaysFrom(_)
            | BootOverride::Continuous(_)
            | BootOverride::Disabled => None,
        };
        let to = next.iter().map(|entry| format!(" {entry}"));
        let to: String = to.collect();
        let what = format!("override {} {}{to}", target.as_str(), enabled.as_str());
        let cleans_up = self.state.lock().unwrap().http == HttpBoot::Fetches;
        self.effect(what, "override", |facts| {
            let held = facts
                .boot_override
                .value()
                .map(|state| state.http_uri.clone());
            facts.boot_override = Reading::Read(BootOverrideState {
                target: Some(target),
                enabled: Some(enabled),
                mode: None,
                http_uri: match held {
                    Some(held) if !cleans_up => held,
                    Some(_) | None => Reading::Read(None),
                },
                next,
            });
        })
    }

    async fn boot_entries(&self) -> Result<Reading<BootEntries>, BmcError> {
        let state = self.state.lock().unwrap();
        if state.silent {
            return Err(unreachable());
        }
        Ok(state
            .entries
            .clone()
            .map_or(Reading::NotOffered, Reading::Read))
    }

    async fn boot_first(&self, reference: &str) -> Result<Effect, BmcError> {
        let sent = self.effect(format!("first {reference}"), "order", |_| {})?;
        let mut state = self.state.lock().unwrap();
        if let Some(entries) = state
            .entries
            .as_mut()
            .filter(|_| sent.confirmation == Confirmation::Confirmed)
        {
            entries.order.retain(|one| one != reference);
            entries.order.insert(0, reference.to_owned());
        }
        Ok(sent)
    }

    async fn forget_http_uri(&self, _: &ImageUrl) -> Result<Effect, BmcError> {
        self.effect("forget uri".to_owned(), "override", |facts| {
            if let Reading::Read(state) = &mut facts.boot_override {
                state.http_uri = Reading::Read(None);
            }
        })
    }

    async fn power(&self, action: PowerAction) -> Result<Effect, BmcError> {
        let what = format!("power {}", action.reset_type());
        let state = match action {
            PowerAction::On | PowerAction::ForceRestart | PowerAction::PowerCycle => PowerState::On,
            PowerAction::GracefulShutdown | PowerAction::ForceOff => PowerState::Off,
        };
        if state == PowerState::On {
            self.updates(|updates| updates.tasks.extend(updates.pending.take()));
        }
        self.effect(what, "power", |facts| facts.power = Reading::Read(state))
    }

    async fn set_power_restore_policy(
        &self,
        policy: &PowerRestorePolicy,
    ) -> Result<Effect, BmcError> {
        let what = format!("restore {}", policy.as_str());
        let policy = policy.clone();
        self.effect(what, "restore", |facts| {
            facts.power_restore = Reading::Read(policy);
        })
    }

    async fn close(&self) {}
}

#[async_trait]
impl Updater for FakeBmc {
    async fn observe_updates(&self, _: &Components) -> Result<UpdateFacts, BmcError> {
        let state = self.state.lock().unwrap();
        if state.silent {
            return Err(unreachable());
        }
        let updates = state.updates.clone();
        let component = FirmwareComponent {
            name: "DPU_OS".to_owned(),
            running: updates.version,
            pending: None,
            updateable: None,
        };
        let (running, pending) = updates.firmware;
        let own = FirmwareComponent {
            name: "BMC_Firmware".to_owned(),
            running,
            pending,
            updateable: None,
        };
        Ok(UpdateFacts {
            service: updates.offer.map_or(Reading::NotOffered, Reading::Read),
            tasks: Reading::Read(updates.tasks),
            firmware: Reading::Read(vec![component, own]),
            last_reset: Reading::NotOffered,
            background_copy: updates.copying.map_or(Reading::NotOffered, Reading::Read),
        })
    }

    async fn os_update(&self) -> Result<Reading<ComponentOffer>, BmcError> {
        let offer = self.updates(|updates| updates.offer.clone());
        Ok(offer.map_or(Reading::NotOffered, |service| {
            Reading::Read(ComponentOffer {
                service,
                component: "/redfish/v1/UpdateService/FirmwareInventory/DPU_OS".to_owned(),
            })
        }))
    }

    async fn component_update(&self, id: &str) -> Result<Reading<ComponentOffer>, BmcError> {
        let offer = self.updates(|updates| updates.offer.clone());
        let offer = offer.filter(|_| id == "BMC_Firmware");
        Ok(offer.map_or(Reading::NotOffered, |service| {
            Reading::Read(ComponentOffer {
                service,
                component: format!("/redfish/v1/UpdateService/FirmwareInventory/{id}"),
            })
        }))
    }

    async fn reset_bmc(&self) -> Result<Effect, BmcError> {
        let sent = self.effect("reset bmc".to_owned(), "reset", |_| {});
        sent.map(|effect| Effect {
            confirmation: Confirmation::NotObservable,
            ..effect
        })
    }

    async fn simple_update(&self, update: &SimpleUpdate) -> Result<UpdateTicket, BmcError> {
        match update.targets[0].rsplit('/').next() {
            Some("DPU_OS") => self.accepts("pull"),
            other => self.accepts(&format!("pull {}", other.unwrap())),
        }
    }

    async fn push(&self, push: Push) -> Result<UpdateTicket, BmcError> {
        let component = push.targets[0].rsplit('/').next().unwrap().to_owned();
        let mut bytes = Vec::new();
        let mut image = Box::pin(push.into_image());
        image.read_to_end(&mut bytes).await.unwrap();
        self.updates(|updates| updates.pushed = bytes);
        match component.as_str() {
            "DPU_OS" => self.accepts("push"),
            other => self.accepts(&format!("push {other}")),
        }
    }

    async fn task(&self, _: &UpdateTicket) -> Result<TaskReading, BmcError> {
        Ok(self.updates(|updates| TaskReading {
            sighting: updates.sighting.clone().unwrap_or(TaskSighting::Gone),
            last_reset: match &updates.last_reset {
                Some(at) => Reading::Read(at.clone()),
                None => Reading::NotOffered,
            },
        }))
    }
}

impl Dial for FakeBmc {
    fn bmc(&self, _: BmcTarget) -> Result<Arc<dyn BmcPort>, BmcError> {
        self.state.lock().unwrap().targets += 1;
        Ok(Arc::new(self.clone()))
    }

    // It refuses nobody.
    fn credentials_written(&self, _: &BmcTarget, _: &str) {}
}
