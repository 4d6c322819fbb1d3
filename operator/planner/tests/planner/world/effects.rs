//! What a directive does to a machine, and what may never be done.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::{ActionKind, Directive, ImageFacts, TargetKind};
use lockstep_crds::inventory::InstallMethod;
use lockstep_crds::report::{ComponentUpdate, Custody, CustodyState, UpdateReport, UpdateState};
use lockstep_planner::ledger;

use super::agent::Which;
use super::build::GOLDEN;
use super::machine::{Coming, is_wiper};
use super::{Effect, World, secs};

/// What an agent remembers of an update of firmware.
pub fn firmware_update(
    directive: &Directive,
    method: InstallMethod,
    state: UpdateState,
    now: Timestamp,
) -> ComponentUpdate {
    ComponentUpdate {
        seq: directive.seq,
        component: directive.action.component.clone().unwrap(),
        update: UpdateReport {
            digest: directive.action.image.clone().unwrap().digest,
            method,
            since: Time(now),
            state,
            percent: None,
            message: None,
        },
    }
}

/// Seconds after its grace in which a power cut may be tried again.
const LONGEST_TRY: i64 = 1800;

impl World {
    pub fn note(&mut self, directive: &Directive) {
        let what = ledger::what(directive);
        self.tell(format!("agent: does {} {what}", directive.seq));
        let again = self.effects.iter().any(|e| e.seq == directive.seq);
        assert!(!again, "{} was done twice\n{}", directive.seq, self.told());
        if directive.action.kind == ActionKind::ForceOff {
            self.was_asked_before(directive);
        }
        self.owed |=
            directive.target.kind == TargetKind::Host && directive.action.kind.is_destructive();
        self.effects.push(Effect {
            seq: directive.seq,
            what,
            at: self.now,
        });
    }

    /// No power is cut on the strength of a request that was made for something else, long ago.
    fn was_asked_before(&self, cut: &Directive) {
        let install = self.policy.as_ref().map(|policy| &policy.spec.install);
        let Some(install) = install.filter(|install| install.shutdown_grace_seconds > 0) else {
            return;
        };
        let longest = secs(install.shutdown_grace_seconds + LONGEST_TRY);
        let asked = self
            .recorded
            .iter()
            .rev()
            .filter(|told| told.target == cut.target && told.seq < cut.seq)
            .find(|told| told.action.kind != ActionKind::ForceOff)
            .filter(|told| told.action.kind == ActionKind::ShutdownGracefully);
        let in_time = asked.is_some_and(|asked| self.now <= asked.issued_at.0 + longest);
        assert!(
            in_time,
            "{} is cut off unasked\n{}",
            cut.target.name,
            self.told()
        );
    }

    /// Powers a card on for us.
    pub fn boot(&mut self, index: usize) {
        let before = self.cards[index].machine.is_on();
        self.power_on_card(index);
        if before || !self.cards[index].machine.is_on() {
            return;
        }
        let what = format!("PowerOn dpu/card{}", index + 1);
        let asked = self.effects.iter().rev().find(|effect| effect.what == what);
        let Some(seq) = asked.map(|effect| effect.seq) else {
            return;
        };
        let directive = self.recorded.iter().find(|one| one.seq == seq);
        let image = directive.and_then(|directive| directive.action.image.clone());
        // One that is only given back its power gets no image.
        if let Some(image) = image {
            self.count_install(index, seq, &image);
        }
    }

    /// Powers a card on, if need be, and has its BMC write the image.
    fn update(&mut self, index: usize, directive: &Directive) {
        self.power_on_card(index);
        if !self.cards[index].machine.is_on() {
            return;
        }
        let image = directive.action.image.clone().unwrap();
        self.count_install(index, directive.seq, &image);
        let method = if directive.action.kind == ActionKind::PullUpdate {
            InstallMethod::SimpleUpdate
        } else {
            InstallMethod::MultipartPush
        };
        self.begin_update(index, &image, method);
    }

    /// Installs are begun no more often for one wish and image than the policy has attempts, and of
    /// no other image than the wanted one, but that the card goes back to one that it has run, once,
    /// and from either to the golden image, and stays with that.
    pub(super) fn count_install(&mut self, index: usize, seq: i64, image: &ImageFacts) {
        let wanted = self.asked_of[&seq].as_ref() == Some(&image.digest);
        let ran = self.cards[index].ran.contains(&image.digest);
        let golden = image.version == GOLDEN;
        assert!(
            wanted || ran || golden,
            "{} was never seen to run on card {index}\n{}",
            image.version,
            self.told()
        );
        // What wipes a card is none of the images that take turns on it.
        let of = if is_wiper(image) { 200 + index } else { index };
        let begun = self.boots.entry((of, self.wish_of[&seq])).or_default();
        begun.push(image.digest.clone());
        let same = begun.iter().filter(|one| **one == image.digest).count();
        let turns = begun.windows(2).filter(|two| two[0] != two[1]).count();
        let policy = self.policy.as_ref();
        let most = policy.map_or(usize::MAX, |policy| {
            usize::try_from(policy.spec.install.max_attempts).unwrap()
        });
        assert!(
            same <= most,
            "{same} installs of {} on card {index}\n{}",
            image.version,
            self.told()
        );
        let most = if golden { 2 } else { 1 };
        assert!(
            turns <= most,
            "images take turns on card {index}\n{}",
            self.told()
        );
    }

    /// Has the BMC write firmware. As often for one wish and version as the policy has attempts.
    fn write_firmware(&mut self, index: usize, directive: &Directive) {
        self.count_update(index, directive);
        let image = directive.action.image.clone().unwrap();
        let method = if directive.action.kind == ActionKind::PullFirmware {
            InstallMethod::SimpleUpdate
        } else {
            InstallMethod::MultipartPush
        };
        let update = firmware_update(directive, method, UpdateState::Running, self.now);
        self.begin_firmware(index, update, &image.version);
    }

    /// Updates are begun no more often for one wish and version than the policy has attempts.
    pub(super) fn count_update(&mut self, index: usize, directive: &Directive) {
        let image = directive.action.image.clone().unwrap();
        let wish = self.wish_of[&directive.seq];
        let begun = self.boots.entry((100 + index, wish)).or_default();
        begun.push(image.digest.clone());
        let same = begun.iter().filter(|one| **one == image.digest).count();
        let policy = self.policy.as_ref();
        let most = policy.map_or(usize::MAX, |policy| {
            usize::try_from(policy.spec.install.max_attempts).unwrap()
        });
        assert!(
            same <= most,
            "{same} updates to {} on card {index}\n{}",
            image.version,
            self.told()
        );
    }

    pub fn affect(&mut self, which: Which, directive: &Directive) {
        self.note(directive);
        self.writes_nothing(which, directive);
        match directive.action.kind {
            ActionKind::HoldHost => {
                let order = directive.action.work_order.clone().unwrap();
                self.agent.on_orphan = order.on_orphan.clone();
                self.machine(which).custody = Some(Custody {
                    seq: directive.seq,
                    state: CustodyState::Kept,
                    expires_at: order.expires_at,
                    in_force: Some(true),
                    previous: Vec::new(),
                });
            }
            ActionKind::ShutdownGracefully | ActionKind::ForceOff => {
                self.keep_order(which, directive);
                self.take_down(which, &directive.action.kind);
            }
            ActionKind::ReleaseHost => {
                self.machine(which).custody = None;
                self.owed &= directive.action.power_on == Some(true);
                if directive.action.power_on == Some(true) {
                    self.power_on_host();
                }
            }
            ActionKind::StageInstall => {
                let image = directive.action.image.clone();
                let machine = self.machine(which);
                machine.order.clone_from(&directive.action.wipe);
                machine.media = image;
                machine.lose_override();
                machine.boot_override = true;
            }
            ActionKind::StageHttpBoot | ActionKind::SetNetworkBoot => {
                let image = directive.action.image.clone();
                let always = directive.action.kind == ActionKind::SetNetworkBoot;
                let machine = self.machine(which);
                machine.order.clone_from(&directive.action.wipe);
                machine.set_http_boot(image, always);
            }
            ActionKind::StagePxeBoot => {
                let image = directive.action.image.clone().unwrap();
                let macs = directive.action.boot_macs.clone();
                let machine = self.machine(which);
                machine.order.clone_from(&directive.action.wipe);
                machine.set_pxe_boot(image, macs);
            }
            ActionKind::StageBootEntry => {
                let image = directive.action.image.clone().unwrap();
                if let Which::Card(index) = which {
                    let ran = &self.cards[index].ran;
                    assert!(
                        ran.contains(&image.digest),
                        "booted from where it never ran"
                    );
                }
                let machine = self.machine(which);
                machine.lose_override();
                machine.next_entry = machine.entry(&image.slot.unwrap().boot_entry);
            }
            ActionKind::SetBootOrder => {
                let image = directive.action.image.clone().unwrap();
                self.machine(which)
                    .put_first(&image.slot.unwrap().boot_entry);
                if let Which::Card(index) = which {
                    let ran = &self.cards[index].ran;
                    assert!(ran.contains(&image.digest), "first though it never ran");
                    self.settle_disk(index);
                }
            }
            ActionKind::PullUpdate | ActionKind::PushUpdate => {
                if let Which::Card(index) = which {
                    self.update(index, directive);
                }
            }
            ActionKind::PullFirmware | ActionKind::PushFirmware => {
                if let Which::Card(index) = which {
                    self.write_firmware(index, directive);
                }
            }
            ActionKind::ResetBmc => {
                let now = self.now;
                self.machine(which).restart_bmc(now);
            }
            ActionKind::RestartCard => {
                if let Which::Card(index) = which {
                    self.restart_card(index);
                }
            }
            ActionKind::OfferImage => {
                let image = directive.action.image.clone();
                self.machine(which).granted = image;
            }
            ActionKind::PushImage | ActionKind::FlashFirmware => {
                panic!("the site's agent pushes and flashes nothing")
            }
            ActionKind::ClearInstall => {
                let machine = self.machine(which);
                machine.update = None;
                machine.media = None;
                machine.http_uri = None;
                machine.lose_override();
                machine.granted = None;
                machine.pxe_offer = None;
            }
            ActionKind::PowerOn => match which {
                Which::Host => self.power_on_host(),
                Which::Card(index) => self.boot(index),
            },
            ActionKind::Unrecognized(_) => panic!("an unknown action was accepted"),
        }
    }

    /// Nothing is powered or reset while a BMC writes firmware, or restarts with it.
    fn writes_nothing(&self, which: Which, directive: &Directive) {
        let of_power = [
            ActionKind::PowerOn,
            ActionKind::ForceOff,
            ActionKind::ShutdownGracefully,
            ActionKind::ResetBmc,
            ActionKind::RestartCard,
        ];
        let hit = |index: &usize| which == Which::Host || which == Which::Card(*index);
        let mut cards = (0..self.cards.len()).filter(hit);
        assert!(
            !(of_power.contains(&directive.action.kind)
                && cards.any(|index| self.writes_firmware(index))),
            "S1: {} while firmware is written\n{}",
            ledger::what(directive),
            self.told()
        );
        let releases = directive.action.power_on == Some(true);
        let starts = directive.action.kind == ActionKind::PowerOn || releases;
        let is_idle = which == Which::Host && starts && self.host_machine.is_on();
        // A host that starts resets the slots of its cards, whatever feeds them.
        if (of_power.contains(&directive.action.kind) || releases) && !is_idle {
            for index in (0..self.cards.len()).filter(hit) {
                self.is_whole(index, directive);
            }
        }
    }

    /// Nothing takes the power of a card of whose firmware a part alone is there, as long as it is ours.
    pub(super) fn is_whole(&self, index: usize, directive: &Directive) {
        let card = &self.cards[index];
        let dpu = card.dpu.as_ref();
        let is_ours = dpu.is_some_and(|dpu| dpu.metadata.deletion_timestamp.is_none());
        assert!(
            !(is_ours && card.machine.half_flashed),
            "S1: {} while a part of its firmware is written\n{}",
            ledger::what(directive),
            self.told()
        );
    }

    /// A host that is taken down for a hold comes with the order that ends it.
    fn keep_order(&mut self, which: Which, directive: &Directive) {
        let order = directive.action.work_order.clone();
        assert_eq!(
            which == Which::Host,
            order.is_some(),
            "S14: a host is taken down without a work order\n{}",
            self.told()
        );
        let Some(order) = order else { return };
        self.agent.on_orphan = order.on_orphan.clone();
        self.machine(which).custody = Some(Custody {
            seq: directive.seq,
            state: CustodyState::Kept,
            expires_at: order.expires_at,
            in_force: Some(false),
            previous: Vec::new(),
        });
    }

    fn take_down(&mut self, which: Which, how: &ActionKind) {
        let now = self.now;
        if *how == ActionKind::ShutdownGracefully {
            let machine = self.machine(which);
            if !machine.deaf {
                machine.coming.push((now + secs(15), Coming::PowerOff));
            }
            return;
        }
        let stage = self.machine(which).facts().stage;
        let forbids = stage.is_some_and(|stage| stage.forbids_power_cut());
        assert!(!forbids, "power cut in a forbidden stage\n{}", self.told());
        match which {
            Which::Host => self.power_off_host(),
            Which::Card(index) => self.power_off_card(index),
        }
    }
}
