//! Every fault of behaviour that is not about a request's path.

use super::*;
use crate::machine::{Arrived, Task, TaskState};

fn faulty(fault: Fault) -> Domain {
    let mut domain = domain("generic-host", "generic-dpu", "standby");
    let rule = Rule {
        times: Some(1),
        ..Rule::always(fault)
    };
    domain.switch_on(CARD, rule);
    domain
}

/// Updates the card's UEFI, and lets the time of the update pass.
fn updated(fault: Fault) -> (Domain, Option<Task>) {
    let mut domain = faulty(fault);
    let uefi = position(&domain, "UEFI");
    let task = domain
        .write(CARD, uefi, "http://store/2.0.0.fwpkg")
        .unwrap();
    domain.pass(100);
    let tasks = &domain.machines[CARD].bmc.tasks;
    let found = tasks.iter().find(|one| one.id == task).cloned();
    (domain, found)
}

fn position(domain: &Domain, id: &str) -> usize {
    let firmware = &domain.machines[CARD].firmware;
    firmware.iter().position(|one| one.id == id).unwrap()
}

/// What would run after the next boot.
fn next_version(domain: &mut Domain) -> String {
    domain.ask(CARD, ResetType::ForceRestart);
    domain.pass(600);
    let uefi = position(domain, "UEFI");
    domain.machines[CARD].firmware[uefi].version.clone()
}

#[test]
fn tasks_end_as_their_fault_says() {
    for (fault, state, version) in [
        (Fault::TaskStuck, Some(TaskState::Running), "1.9.0"),
        (Fault::TaskWarning, Some(TaskState::Warned), "2.0.0"),
        (Fault::TaskLost, None, "2.0.0"),
        (Fault::TaskCritical, Some(TaskState::Critical), "1.9.0"),
        (Fault::TaskErrorText, Some(TaskState::Hidden), "1.9.0"),
        (Fault::PercentShort, Some(TaskState::Completed), "2.0.0"),
        (Fault::BmcRestartsInUpdate, None, "2.0.0"),
        (Fault::WrongVersion, Some(TaskState::Completed), "1.9.0"),
        (Fault::WrongCard, Some(TaskState::Exception), "1.9.0"),
        (Fault::ImageUnreachable, Some(TaskState::Exception), "1.9.0"),
    ] {
        let (mut domain, task) = updated(fault);
        assert_eq!(task.map(|task| task.state), state, "{fault}");
        assert_eq!(next_version(&mut domain), version, "{fault}");
        let struck = |what: &What| *what == What::FaultStruck { fault };
        assert_eq!(domain.count(CARD, struck), 1, "{fault}");
    }
}

#[test]
fn an_update_for_another_card_leaves_the_old_system_running() {
    let mut domain = domain("generic-host", "bluefield-2", "standby");
    domain.switch_on(CARD, Rule::always(Fault::WrongCard));
    let os = position(&domain, "DPU_OS");
    domain.write(CARD, os, "http://store/bf3.bfb").unwrap();
    domain.pass(3600);
    assert_eq!(domain.state(CARD), (Power::On, UP, 2));
    assert_eq!(domain.machines[CARD].disk, "factory");
}

#[test]
fn a_busy_update_service_is_busy_as_often_as_told() {
    let mut domain = faulty(Fault::UpdateBusy);
    assert_eq!(
        domain.write(CARD, 1, "x"),
        Err(Refused::UpdateBusy(503, None))
    );
    assert_eq!(domain.write(CARD, 1, "x"), Ok(0));
}

#[test]
fn a_busy_update_service_says_so_as_it_is_told_to() {
    let mut domain = domain("generic-host", "generic-dpu", "standby");
    let rule = Rule {
        status: Some(409),
        seconds: Some(30),
        ..Rule::always(Fault::UpdateBusy)
    };
    domain.switch_on(CARD, rule);
    assert_eq!(
        domain.write(CARD, 1, "x"),
        Err(Refused::UpdateBusy(409, Some(30)))
    );
    let mut domain = faulty(Fault::UpdateServiceLate);
    assert_eq!(
        domain.write(CARD, 1, "x"),
        Err(Refused::UpdateBusy(503, None))
    );
    domain.pass(180);
    assert_eq!(domain.write(CARD, 1, "x"), Ok(0));
}

#[test]
fn a_part_may_fail_and_a_second_update_may_clobber_the_first() {
    let mut domain = faulty(Fault::PartFailed);
    let (uefi, nic) = (position(&domain, "UEFI"), position(&domain, "NIC"));
    let both = Image::Pulled("http://store/9.0.fwpkg");
    let task = domain.update(CARD, &[uefi, nic], &both).unwrap();
    domain.pass(100);
    let pending = |domain: &Domain, one: usize| domain.machines[CARD].firmware[one].pending.clone();
    assert_eq!(pending(&domain, uefi).as_deref(), Some("9.0"));
    assert_eq!(pending(&domain, nic), None);
    let tasks = &domain.machines[CARD].bmc.tasks;
    let told = tasks.iter().find(|one| one.id == task).unwrap();
    assert_eq!(told.state, TaskState::Completed);
    assert!(told.message.contains("NIC failed"), "{}", told.message);

    let mut domain = faulty(Fault::UpdatesClobber);
    let first = domain.write(CARD, uefi, "http://store/1.fwpkg").unwrap();
    let second = domain.write(CARD, nic, "http://store/2.fwpkg").unwrap();
    domain.pass(100);
    let ended = domain.machines[CARD].bmc.tasks.iter();
    let ended: Vec<_> = ended.map(|task| (task.id, task.state)).collect();
    let well = TaskState::Completed;
    assert_eq!(ended, [(first, well), (second, well)]);
    assert_eq!(pending(&domain, uefi), None);
    assert_eq!(pending(&domain, nic).as_deref(), Some("2"));
}

#[test]
fn an_image_on_loopback_is_waited_for_and_a_restart_of_the_bmc_ends_the_wait() {
    let mut domain = domain("generic-host", "generic-dpu", "standby");
    let uefi = position(&domain, "UEFI");
    let url = "http://127.0.0.1:1/2.0.0.fwpkg";
    let state = |domain: &Domain, task: u64| {
        let mut tasks = domain.machines[CARD].bmc.tasks.iter();
        tasks.find(|one| one.id == task).map(|one| one.state)
    };
    let begin = |domain: &mut Domain| {
        let task = domain.write(CARD, uefi, url).unwrap();
        let pull = domain.machines[CARD].bmc.pulls.pop().unwrap();
        assert_eq!((pull.task, pull.url.as_str()), (task, url));
        (task, pull.life)
    };
    let arrived = || Arrived {
        part: Vec::new(),
        bytes: 3,
        sha256: "00".to_owned(),
    };
    let (task, life) = begin(&mut domain);
    domain.pass(1000);
    assert_eq!(state(&domain, task), Some(TaskState::Running));
    domain.arrived(CARD, life, task, Ok(arrived()));
    assert_eq!(state(&domain, task), Some(TaskState::Completed));
    let came = |what: &What| matches!(what, What::ImageArrived { bytes: 3, .. });
    assert_eq!(domain.count(CARD, came), 1);

    let (task, life) = begin(&mut domain);
    domain.arrived(CARD, life, task, Err("HTTP 404".to_owned()));
    assert_eq!(state(&domain, task), Some(TaskState::Exception));

    let (task, life) = begin(&mut domain);
    domain.restart_manager(CARD);
    domain.arrived(CARD, life, task, Ok(arrived()));
    domain.pass(1000);
    assert_eq!(state(&domain, task), None);
    assert_eq!(domain.count(CARD, came), 1);
}

#[test]
fn firmware_of_a_bmc_runs_after_its_restart_whoever_asks_for_that() {
    for waits in [false, true] {
        let mut domain = domain("generic-host", "bluefield-3", "standby");
        domain.machines[CARD].firmware_waits = waits;
        let own = position(&domain, "BMC_Firmware");
        let old = domain.machines[CARD].firmware[own].version.clone();
        domain.write(CARD, own, "http://store/BF-99.fwpkg").unwrap();
        domain.pass(3600);
        let shown = |domain: &Domain| {
            let one = &domain.machines[CARD].firmware[own];
            (one.version.clone(), one.pending.clone())
        };
        let down = |domain: &mut Domain| domain.count(CARD, |what: &What| *what == What::BmcDown);
        let new = ("BF-99".to_owned(), None);
        if waits {
            assert_eq!(shown(&domain), (old, Some("BF-99".to_owned())));
            assert_eq!(down(&mut domain), 0);
            domain.restart_manager(CARD);
            domain.pass(3600);
        }
        assert_eq!(shown(&domain), new);
        assert_eq!(down(&mut domain), 1);
        assert_eq!(domain.state(CARD), (Power::On, UP, 1));
    }
}

#[test]
fn firmware_of_a_card_runs_after_its_power_was_off_and_nothing_else_unless_it_never_does() {
    for stays in [false, true] {
        let mut domain = domain("generic-host", "bluefield-3", "standby");
        domain.machines[CARD].firmware_stays = stays;
        let nic = position(&domain, "DPU_NIC");
        let old = domain.machines[CARD].firmware[nic].version.clone();
        let shown = |domain: &Domain| {
            let one = &domain.machines[CARD].firmware[nic];
            (one.version.clone(), one.pending.clone())
        };
        let waits = (old, Some("99.1".to_owned()));
        domain.write(CARD, nic, "http://store/99.1.fwpkg").unwrap();
        domain.pass(3600);
        domain.restart_manager(CARD);
        domain.pass(3600);
        domain.ask(CARD, ResetType::ForceRestart);
        domain.pass(3600);
        assert_eq!(shown(&domain), waits);
        domain.ask(CARD, ResetType::ForceOff);
        domain.pass(60);
        assert_eq!(shown(&domain), waits, "not before it has power again");
        domain.ask(CARD, ResetType::On);
        domain.pass(3600);
        let runs = ("99.1".to_owned(), None);
        assert_eq!(shown(&domain), if stays { waits } else { runs });
    }
}

#[test]
fn a_restart_may_bring_another_certificate() {
    let mut domain = faulty(Fault::CertificateChangesWithBmc);
    domain.restart_manager(CARD);
    assert_eq!(domain.machines[CARD].bmc.certificate, 1);
    domain.pass(1000);
    domain.restart_manager(CARD);
    assert_eq!(domain.machines[CARD].bmc.certificate, 1);
}

#[test]
fn media_come_late_or_not_at_all() {
    let mut domain = faulty(Fault::MediaLate);
    domain
        .insert(CARD, 0, "http://store/a.iso".to_owned(), true)
        .unwrap();
    let mounted = |domain: &Domain| domain.machines[CARD].mounted(0, domain.now);
    assert!(!mounted(&domain));
    domain.pass(31);
    assert!(mounted(&domain));
    domain.switch_on(CARD, Rule::always(Fault::EjectRefused));
    assert_eq!(domain.eject(CARD, 0), Err(Refused::Failed));

    let mut domain = faulty(Fault::MediaRefused);
    let refused = domain.insert(CARD, 0, "http://store/a.iso".to_owned(), true);
    assert_eq!(refused, Err(Refused::Failed));
    assert!(domain.machines[CARD].media[0].image.is_none());
}

#[test]
fn a_one_time_override_is_lost_ignored_or_kept() {
    let image = "http://store/a.iso";
    for (fault, installs, after) in [
        (Fault::OnceLost, 0, Enabled::Disabled),
        (Fault::OnceIgnored, 0, Enabled::Disabled),
        (Fault::OnceStays, 1, Enabled::Continuous),
    ] {
        let mut domain = faulty(fault);
        domain.insert(CARD, 0, image.to_owned(), true).unwrap();
        domain.once(CARD, "Cd");
        domain.ask(CARD, ResetType::ForceRestart);
        domain.pass(320);
        let installed = |what: &What| matches!(what, What::Installed { .. });
        assert_eq!(domain.count(CARD, installed), installs, "{fault}");
        assert_eq!(domain.machines[CARD].boot.active.enabled, after, "{fault}");
    }
}

#[test]
fn a_restart_of_the_bmc_may_forget_the_override() {
    let mut domain = faulty(Fault::OverrideLostWithBmc);
    domain.once(CARD, "Cd");
    domain.restart_manager(CARD);
    assert_eq!(domain.machines[CARD].boot.active, Override::default());
    let lost = |what: &What| matches!(what, What::OverrideLost { .. });
    assert_eq!(domain.count(CARD, lost), 1);
}

#[test]
fn a_reset_is_ignored_or_refused_once() {
    let mut domain = faulty(Fault::ResetIgnored);
    domain.ask(CARD, ResetType::ForceOff);
    assert_eq!(domain.state(CARD), (Power::On, UP, 1));
    domain.ask(CARD, ResetType::ForceOff);
    assert_eq!(domain.state(CARD).0, Power::Off);

    let mut domain = faulty(Fault::ResetRefused);
    let refused = domain.reset(CARD, ResetType::ForceOff);
    assert_eq!(refused, Err(Refused::WrongState(Power::On)));
    assert_eq!(domain.state(CARD).0, Power::On);
}

#[test]
fn a_crash_comes_at_its_stage_and_takes_the_link_if_it_is_the_firmwares() {
    for (stage, ends, links) in [
        (Stage::Uefi, Stage::FirmwareCrashDumped, 1),
        (Stage::OsRunning, Stage::OsCrashDumped, 0),
    ] {
        let mut domain = domain("generic-host", "bluefield-3", "standby");
        let rule = Rule {
            stage: Some(stage),
            times: Some(1),
            ..Rule::always(Fault::CrashAt)
        };
        domain.switch_on(CARD, rule);
        domain.ask(CARD, ResetType::ForceRestart);
        domain.pass(600);
        assert_eq!(domain.state(CARD).1, Some(ends));
        let down = |what: &What| matches!(what, What::SurpriseLinkDown { .. });
        assert_eq!(domain.count(CARD, down), links);
    }
}

#[test]
fn a_broken_flash_leaves_the_boot_rom_alone_until_it_is_mended() {
    let mut domain = domain("generic-host", "bluefield-3", "standby");
    domain.set_livefish(CARD, true);
    domain.ask(CARD, ResetType::ForceRestart);
    domain.pass(3600);
    assert_eq!(domain.state(CARD).1, Some(Stage::ResetBootRom));
    domain.set_livefish(CARD, false);
    domain.ask(CARD, ResetType::ForceRestart);
    domain.pass(3600);
    assert_eq!(domain.state(CARD).1, UP);
}
