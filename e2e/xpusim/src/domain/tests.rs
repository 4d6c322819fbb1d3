mod faults;

use super::*;
use crate::machine::{Enabled, Override};
use crate::spec::FleetSpec;
use crate::stage::Stage;

const HOST: Index = 0;
const CARD: Index = 1;

/// One host with one card, both on.
fn domain(host: &str, card: &str, slot: &str) -> Domain {
    let yaml = format!(
        "domains:\n- hosts: [{{name: h, personality: {host}}}]\n  cards: [{{name: c, personality: \
         {card}, slots: [{{host: h, slotPower: {slot}}}]}}]"
    );
    let planned = FleetSpec::parse(&yaml).unwrap().plan().unwrap().remove(0);
    Domain::new(planned, Timestamp::UNIX_EPOCH, Arc::new([]))
}

impl Domain {
    fn pass(&mut self, seconds: u64) {
        let now = self.now.plus(Duration::from_secs(seconds));
        self.settle(now);
    }

    /// Updates one component.
    fn write(&mut self, machine: Index, component: usize, url: &str) -> Result<u64, Refused> {
        self.update(machine, &[component], &Image::Pulled(url))
    }

    fn state(&self, machine: Index) -> (Power, Option<Stage>, u64) {
        let one = &self.machines[machine];
        (one.power, one.stage, one.boots)
    }

    fn count(&self, machine: Index, wanted: impl Fn(&What) -> bool) -> usize {
        let name = &self.machines[machine].name;
        let ours = self.effects(0).iter().filter(|one| one.machine == *name);
        ours.filter(|one| wanted(&one.what)).count()
    }

    fn once(&mut self, machine: Index, target: &str) {
        let wanted = Override {
            target: target.to_owned(),
            enabled: Enabled::Once,
            ..Override::default()
        };
        self.set_override(machine, wanted);
    }

    fn ask(&mut self, machine: Index, kind: ResetType) {
        self.reset(machine, kind).unwrap();
    }
}

const UP: Option<Stage> = Some(Stage::OsRunning);

#[test]
fn a_coupled_card_goes_down_and_boots_with_its_host() {
    let mut domain = domain("generic-host", "bluefield-3", "coupled");
    domain.ask(HOST, ResetType::ForceOff);
    assert_eq!(domain.state(CARD), (Power::Off, None, 1));
    domain.pass(120);
    domain.ask(HOST, ResetType::On);
    domain.pass(600);
    assert_eq!(domain.state(HOST), (Power::On, UP, 2));
    assert_eq!(domain.state(CARD), (Power::On, UP, 2));
    // A warm reset of the host keeps the slot's power.
    domain.ask(HOST, ResetType::ForceRestart);
    domain.pass(600);
    assert_eq!(domain.state(HOST).2, 3);
    assert_eq!(domain.state(CARD).2, 2);
}

#[test]
fn an_uncoupled_card_does_not_notice_its_host() {
    let mut domain = domain("generic-host", "generic-dpu", "standby");
    for kind in [ResetType::ForceOff, ResetType::On, ResetType::PowerCycle] {
        domain.ask(HOST, kind);
        domain.pass(600);
    }
    assert_eq!(domain.state(HOST).2, 3);
    assert_eq!(domain.state(CARD), (Power::On, UP, 1));
}

#[test]
fn only_the_resets_that_cut_the_slot_reach_the_card() {
    let mut domain = domain(
        "lenovo-host",
        "bluefield-3",
        "standby, cutBy: [ForceRestart]",
    );
    domain.ask(HOST, ResetType::ForceRestart);
    assert_eq!(domain.state(CARD).0, Power::Off);
    domain.pass(600);
    assert_eq!(domain.state(CARD), (Power::On, UP, 2));
    domain.ask(HOST, ResetType::GracefulRestart);
    domain.pass(600);
    domain.ask(HOST, ResetType::ForceOff);
    domain.pass(600);
    assert_eq!(domain.state(CARD), (Power::On, UP, 2));
}

#[test]
fn a_bluefield_cycles_only_when_no_host_is_on() {
    let mut domain = domain("generic-host", "bluefield-3", "standby");
    domain.ask(CARD, ResetType::PowerCycle);
    domain.pass(600);
    assert_eq!(domain.state(CARD).2, 1, "armed, not done");
    domain.ask(HOST, ResetType::ForceOff);
    domain.pass(600);
    assert_eq!(domain.state(CARD), (Power::On, UP, 2));
    let armed = domain.count(CARD, |what| matches!(what, What::Armed { .. }));
    assert_eq!(armed, 1);
}

#[test]
fn a_bluefield_pauses_and_on_does_not_wake_it() {
    let mut domain = domain("generic-host", "bluefield-3", "standby");
    domain.ask(CARD, ResetType::GracefulShutdown);
    assert_eq!(domain.state(CARD).0, Power::PoweringOff);
    domain.pass(60);
    let halted = Some(Stage::OsHalted);
    assert_eq!(domain.state(CARD), (Power::Paused, halted, 1));
    domain.ask(CARD, ResetType::On);
    domain.pass(600);
    assert_eq!(domain.state(CARD), (Power::Paused, halted, 1));
    domain.ask(CARD, ResetType::ForceRestart);
    domain.pass(600);
    assert_eq!(domain.state(CARD), (Power::On, UP, 2));
}

#[test]
fn a_graceful_reset_needs_somebody_who_listens() {
    let mut domain = domain("generic-host", "generic-dpu", "standby");
    domain.ask(HOST, ResetType::ForceRestart);
    domain.pass(20);
    domain.ask(HOST, ResetType::GracefulShutdown);
    domain.pass(600);
    assert_eq!(domain.state(HOST), (Power::On, UP, 2));
    assert_eq!(
        domain.count(HOST, |what| matches!(what, What::Ignored { .. })),
        1
    );
}

#[test]
fn a_restart_of_what_is_off_is_as_the_vendor_has_it() {
    for (host, on) in [("dell-host", false), ("supermicro-host", true)] {
        let mut domain = domain(host, "generic-dpu", "standby");
        domain.ask(HOST, ResetType::ForceOff);
        let answer = domain.reset(HOST, ResetType::ForceRestart);
        assert_eq!(answer.is_ok(), on, "{host}");
        domain.pass(600);
        assert_eq!(domain.state(HOST).0 == Power::On, on, "{host}");
    }
}

#[test]
fn once_boots_the_medium_once_and_the_installer_restarts_into_the_disk() {
    let mut domain = domain("generic-host", "generic-dpu", "standby");
    let url = "http://store/a/os-7.iso?t=1".to_owned();
    assert_eq!(domain.insert(CARD, 0, url.clone(), true), Ok(None));
    assert_eq!(
        domain.insert(CARD, 0, url.clone(), true),
        Err(Refused::Occupied)
    );
    domain.once(CARD, "Cd");
    domain.ask(CARD, ResetType::ForceRestart);
    domain.pass(3600);
    assert_eq!(domain.machines[CARD].disk, "os-7");
    assert_eq!(domain.machines[CARD].booted_from, "disk");
    assert_eq!(
        domain.state(CARD),
        (Power::On, UP, 3),
        "the installer's boot and the disk's"
    );
    assert_eq!(domain.machines[CARD].boot.active.enabled, Enabled::Disabled);
    let consumed = |what: &What| matches!(what, What::OverrideConsumed { .. });
    assert_eq!(domain.count(CARD, consumed), 1);
    domain.eject(CARD, 0).unwrap();
    assert_eq!(domain.eject(CARD, 0), Err(Refused::Occupied));
}

#[test]
fn media_that_come_first_are_installed_again_and_again_until_they_are_ejected() {
    let mut domain = domain("generic-host", "bluefield-4", "standby");
    domain
        .insert(CARD, 0, "https://store/os.iso".to_owned(), true)
        .unwrap();
    domain.ask(CARD, ResetType::ForceRestart);
    domain.pass(4 * 3600);
    let installed = |what: &What| matches!(what, What::Installed { .. });
    assert!(domain.count(CARD, installed) > 2);
    domain.eject(CARD, 0).unwrap();
    domain.pass(3600);
    let before = domain.count(CARD, installed);
    domain.pass(3600);
    assert_eq!(domain.count(CARD, installed), before);
    assert_eq!(domain.machines[CARD].booted_from, "disk");
}

#[test]
fn power_lost_in_the_middle_of_an_update_breaks_the_card() {
    let mut domain = domain("generic-host", "bluefield-3", "coupled");
    let os = domain.machines[CARD]
        .firmware
        .iter()
        .position(|one| one.installs_os);
    let task = domain
        .write(CARD, os.unwrap(), "http://store/bf-bundle-3.0.bfb")
        .unwrap();
    assert_eq!(domain.state(CARD).1, Some(Stage::FirmwareUpdating));
    domain.ask(HOST, ResetType::ForceOff);
    assert_eq!(
        domain.count(CARD, |what| matches!(what, What::Damaged { .. })),
        1
    );
    domain.pass(60);
    domain.ask(HOST, ResetType::On);
    domain.pass(3600);
    assert_eq!(domain.state(CARD).1, Some(Stage::Uefi), "nothing to boot");
    let task = domain.machines[CARD]
        .bmc
        .tasks
        .iter()
        .find(|one| one.id == task);
    assert_eq!(task.unwrap().state, crate::machine::TaskState::Exception);
}

#[test]
fn an_update_of_the_os_goes_through_stage_seven_and_reaches_the_new_version() {
    let mut domain = domain("generic-host", "bluefield-3", "coupled");
    let os = domain.machines[CARD]
        .firmware
        .iter()
        .position(|one| one.installs_os)
        .unwrap();
    domain
        .write(CARD, os, "http://store/bf-bundle-3.0.bfb")
        .unwrap();
    assert_eq!(
        domain.write(CARD, 0, "http://store/x.fwpkg"),
        Err(Refused::Busy)
    );
    domain.pass(3600);
    assert_eq!(domain.state(CARD), (Power::On, UP, 2));
    assert_eq!(domain.machines[CARD].disk, "bf-bundle-3.0");
    assert_eq!(domain.machines[CARD].firmware[os].version, "bf-bundle-3.0");
}

#[test]
fn firmware_waits_for_its_activation() {
    let mut domain = domain("generic-host", "bluefield-3", "standby");
    let version = |domain: &Domain, id: &str| {
        let found = domain.machines[CARD]
            .firmware
            .iter()
            .find(|one| one.id == id);
        found.unwrap().version.clone()
    };
    let nic = domain.machines[CARD]
        .firmware
        .iter()
        .position(|one| one.id == "DPU_NIC");
    domain.write(CARD, nic.unwrap(), "x/32.44.fwpkg").unwrap();
    domain.pass(3600);
    domain.ask(CARD, ResetType::ForceRestart);
    domain.pass(600);
    assert_eq!(
        version(&domain, "DPU_NIC"),
        "32.43.1014",
        "the Arm's restart does not do"
    );
    domain.ask(HOST, ResetType::ForceOff);
    domain.ask(CARD, ResetType::PowerCycle);
    domain.pass(600);
    assert_eq!(version(&domain, "DPU_NIC"), "32.44");
}

#[test]
fn a_restart_of_the_bmc_loses_tasks_and_sessions_and_begins_task_ids_anew() {
    let mut domain = domain("generic-host", "generic-dpu", "standby");
    assert_eq!(domain.collect(CARD), 0);
    assert_eq!(domain.collect(CARD), 1);
    domain.restart_manager(CARD);
    assert!(!domain.machines[CARD].bmc.up);
    domain.pass(121);
    assert!(domain.machines[CARD].bmc.up);
    assert_eq!(domain.collect(CARD), 0);
    domain.pass(60);
    assert_eq!(
        domain.count(CARD, |what| matches!(what, What::TaskEnded { .. })),
        1
    );
    assert_eq!(domain.state(CARD).2, 1, "the card itself ran on");
}

#[test]
fn intels_manager_takes_the_card_along() {
    let mut domain = domain("generic-host", "intel-e2100", "standby");
    domain.restart_manager(CARD);
    domain.pass(600);
    assert_eq!(domain.state(CARD), (Power::On, UP, 2));
    let down = |what: &What| matches!(what, What::SurpriseLinkDown { .. });
    assert_eq!(domain.count(CARD, down), 1);
}

#[test]
fn a_surprise_loss_of_the_link_crashes_a_firmware_first_host() {
    let mut domain = domain("generic-host", "bluefield-3", "standby");
    domain.reset_chip(CARD);
    domain.pass(600);
    assert_eq!(domain.state(HOST).2, 1);
    domain.machines[HOST].firmware_first = true;
    domain.reset_chip(CARD);
    domain.pass(600);
    assert_eq!(domain.state(HOST).2, 2);
}

#[test]
fn mains_power_returns_by_policy_and_slots_follow() {
    let mut domain = domain("generic-host", "generic-dpu", "coupled");
    domain.machines[HOST].restore = crate::reset::RestorePolicy::AlwaysOff;
    domain.set_mains(false);
    assert!(!domain.machines[HOST].bmc.up && !domain.machines[CARD].bmc.up);
    domain.pass(60);
    domain.set_mains(true);
    domain.pass(600);
    assert!(domain.machines[HOST].bmc.up && domain.machines[CARD].bmc.up);
    assert_eq!(domain.state(HOST).0, Power::Off);
    assert_eq!(domain.state(CARD).0, Power::Off);
    domain.ask(HOST, ResetType::On);
    domain.pass(600);
    assert_eq!(domain.state(CARD), (Power::On, UP, 2));
}

#[test]
fn a_card_of_two_hosts_keeps_power_while_one_of_them_is_on() {
    let yaml = "domains:\n- hosts: [{name: a, personality: generic-host}, {name: b, personality: \
                generic-host}]\n  cards: [{name: c, personality: generic-dpu, slots: [{host: a}, \
                {host: b}]}]";
    let planned = FleetSpec::parse(yaml).unwrap().plan().unwrap().remove(0);
    let mut domain = Domain::new(planned, Timestamp::UNIX_EPOCH, Arc::new([]));
    domain.ask(0, ResetType::ForceOff);
    assert_eq!(domain.state(2).0, Power::On);
    domain.ask(1, ResetType::ForceOff);
    assert_eq!(domain.state(2).0, Power::Off);
}

#[test]
fn two_commands_too_close_lose_the_second() {
    let mut domain = domain("generic-host", "generic-dpu", "standby");
    domain.switch_on(HOST, Rule::always(Fault::TooCloseLost));
    domain.ask(HOST, ResetType::ForceOff);
    domain.pass(10);
    domain.ask(HOST, ResetType::On);
    domain.pass(600);
    assert_eq!(domain.state(HOST).0, Power::Off);
    domain.ask(HOST, ResetType::On);
    domain.pass(600);
    assert_eq!(domain.state(HOST).0, Power::On);
}

#[test]
fn a_crash_dumps_and_a_stuck_stage_stays() {
    let mut domain = domain("generic-host", "bluefield-3", "standby");
    domain.ask(CARD, ResetType::Nmi);
    assert_eq!(domain.state(CARD).1, Some(Stage::OsCrashDumping));
    domain.pass(61);
    assert_eq!(domain.state(CARD).1, Some(Stage::OsCrashDumped));
    domain.switch_on(
        CARD,
        Rule {
            stage: Some(Stage::Uefi),
            times: Some(1),
            ..Rule::always(Fault::StageStuck)
        },
    );
    domain.ask(CARD, ResetType::ForceRestart);
    domain.pass(3600);
    assert_eq!(domain.state(CARD).1, Some(Stage::Uefi));
    domain.ask(CARD, ResetType::ForceRestart);
    domain.pass(3600);
    assert_eq!(domain.state(CARD).1, UP);
}

#[test]
fn a_settings_object_lands_at_the_next_boot() {
    let mut domain = domain("generic-host", "bluefield-3", "standby");
    domain.once(CARD, "UefiShell");
    assert_eq!(domain.machines[CARD].boot.active.enabled, Enabled::Disabled);
    domain.ask(CARD, ResetType::ForceRestart);
    domain.pass(600);
    assert_eq!(domain.state(CARD).1, Some(Stage::Uefi), "in the shell");
    domain.ask(CARD, ResetType::ForceRestart);
    domain.pass(600);
    assert_eq!(domain.state(CARD).1, UP);
}

#[test]
fn the_same_steps_give_the_same_log_without_gaps() {
    let run = || {
        let mut domain = domain("lenovo-host", "bluefield-3", "coupled");
        for kind in ResetType::ALL {
            domain.reset(HOST, kind).unwrap_or_default();
            domain.pass(37);
            domain.reset(CARD, kind).unwrap_or_default();
            domain.pass(411);
        }
        domain.effects(0).to_vec()
    };
    let log = run();
    assert_eq!(log, run());
    for (position, effect) in log.iter().enumerate() {
        assert_eq!(effect.seq, position as u64);
    }
    assert!(log.is_sorted_by_key(|effect| effect.at));
}
