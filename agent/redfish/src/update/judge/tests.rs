//! Every lie of a BMC about an update, one row each.

use serde_json::{Value, json};

use super::*;
use crate::facts::Reading;
use crate::scrub::Scrub;
use crate::update::task_facts;

const PATH: &str = "/redfish/v1/TaskService/Tasks/7";
const THEN: &str = "2026-01-01T00:00:00Z";

fn ticket() -> UpdateTicket {
    UpdateTicket {
        task: Some(PATH.to_owned()),
        monitor: Some("/redfish/v1/TaskService/TaskMonitors/7".to_owned()),
        started: Some(THEN.to_owned()),
        manager: Some("/redfish/v1/Managers/1".to_owned()),
        last_reset: Some("boot 1".to_owned()),
    }
}

fn at(sighting: TaskSighting) -> TaskReading {
    TaskReading {
        sighting,
        last_reset: Reading::Read("boot 1".to_owned()),
    }
}

/// The same after a restart of the BMC.
fn restarted(sighting: TaskSighting) -> TaskReading {
    TaskReading {
        sighting,
        last_reset: Reading::Read("boot 2".to_owned()),
    }
}

fn task(state: &str, status: &str, percent: i64, messages: &Value) -> TaskSighting {
    let document = json!({"TaskState": state, "TaskStatus": status, "PercentComplete": percent,
        "StartTime": THEN, "Messages": messages});
    TaskSighting::Task(task_facts(&document, PATH.to_owned(), &Scrub::nothing()))
}

fn completed(messages: &Value) -> TaskSighting {
    task("Completed", "OK", 100, messages)
}

fn component(running: &str, pending: Option<&str>) -> FirmwareComponent {
    FirmwareComponent {
        name: "FW".to_owned(),
        running: Some(running.to_owned()),
        pending: pending.map(str::to_owned),
        updateable: Some(true),
    }
}

/// What a row comes to, in one word, and what its words must hold.
type Row<'a> = (&'a str, Option<TaskReading>, Seen<'a>, (&'a str, &'a str));

/// What is seen of the one component: what runs, what waits, whether its reset was seen.
#[derive(Clone, Copy)]
struct Seen<'a> {
    running: Option<&'a str>,
    pending: Option<&'a str>,
    activated: bool,
}

const OLD: Seen<'_> = Seen {
    running: Some("1.9.0"),
    pending: None,
    activated: false,
};
const STILL_OLD: Seen<'_> = Seen {
    activated: true,
    ..OLD
};
const NEW: Seen<'_> = Seen {
    running: Some("BF-2.0.0"),
    ..OLD
};
const WAITS: Seen<'_> = Seen {
    pending: Some("2.0.0"),
    ..OLD
};
const UNREAD: Seen<'_> = Seen {
    running: None,
    ..OLD
};

fn shown(progress: &Progress) -> (&'static str, String) {
    match progress {
        Progress::Running { percent } => ("Running", format!("{percent:?}")),
        Progress::AwaitsActivation { resets } => ("AwaitsActivation", format!("{resets:?}")),
        Progress::Done => ("Done", String::new()),
        Progress::Failed { why } => ("Failed", why.clone()),
        Progress::Lost { why } => ("Lost", why.clone()),
    }
}

fn judged(
    ticket: &UpdateTicket,
    reading: Option<&TaskReading>,
    seen: Seen<'_>,
    activation: Activation,
) -> Progress {
    let now = seen.running.map(|running| component(running, seen.pending));
    let wanted = WantedVersion {
        component: "FW",
        version: "2.0.0",
        before: Some("1.9.0"),
        now: now.as_ref(),
        activation,
        activated: seen.activated,
    };
    judge(ticket, reading, &[wanted])
}

fn check(ticket: &UpdateTicket, activation: &Activation, rows: Vec<Row<'_>>) {
    for (lie, reading, seen, (word, says)) in rows {
        let progress = judged(ticket, reading.as_ref(), seen, activation.clone());
        let (found, said) = shown(&progress);
        assert_eq!(found, word, "{lie}: {said}");
        assert!(said.contains(says), "{lie}: {said}");
    }
}

#[test]
fn every_lie_about_a_task_is_seen_through() {
    use TaskSighting::{EndedBadly, EndedWell, GoesOn, Gone};
    let none = json!([]);
    let error = json!([{"MessageId": "Base.1.8.GeneralError", "Message": "Flash is full.",
        "MessageSeverity": "OK"}]);
    let part = json!([{"Message": "Installing DPU OS passed"},
        {"Message": "BFB-Installer: Installing NIC firmware failed, total 80% complete"}]);
    let calm = json!([{"Message": "Installation finished, 0 failed"}]);
    let needed = json!([{"MessageId": "Base.1.18.ResetRequired", "Severity": "Warning",
        "MessageArgs": ["/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", "PowerCycle"]}]);
    let another = {
        let document = json!({"TaskState": "Running", "StartTime": "2026-01-01T00:09:00Z"});
        TaskSighting::Task(task_facts(&document, PATH.to_owned(), &Scrub::nothing()))
    };
    let badly = EndedBadly {
        status: 400,
        detail: "Invalid FW Package".to_owned(),
    };
    let rows = vec![
        // 6.13: the monitor.
        (
            "goes on without a task",
            Some(at(GoesOn { retry_after: None })),
            OLD,
            ("Running", "None"),
        ),
        (
            "monitor ended",
            Some(at(EndedWell)),
            OLD,
            ("AwaitsActivation", "System"),
        ),
        (
            "monitor ended, it runs",
            Some(at(EndedWell)),
            NEW,
            ("Done", ""),
        ),
        (
            "monitor ended badly",
            Some(at(badly)),
            OLD,
            ("Failed", "Invalid FW Package"),
        ),
        (
            "monitor gone after the end",
            Some(at(Gone)),
            NEW,
            ("Done", ""),
        ),
        (
            "monitor gone, nothing seen",
            Some(at(Gone)),
            OLD,
            ("Lost", "the task is gone"),
        ),
        // 6.14: vanished with its BMC.
        (
            "vanished, it runs",
            Some(restarted(Gone)),
            NEW,
            ("Done", ""),
        ),
        (
            "vanished, old",
            Some(restarted(Gone)),
            OLD,
            ("Lost", "restart of the BMC"),
        ),
        (
            "vanished, it waits",
            Some(restarted(Gone)),
            WAITS,
            ("AwaitsActivation", "System"),
        ),
        (
            "vanished, old after all",
            Some(restarted(Gone)),
            STILL_OLD,
            ("Failed", "runs 1.9.0"),
        ),
        (
            "ids began anew",
            Some(restarted(another.clone())),
            OLD,
            ("Lost", "another one"),
        ),
        (
            "ids began anew, it runs",
            Some(restarted(another)),
            NEW,
            ("Done", ""),
        ),
        (
            "kept over the restart",
            Some(restarted(completed(&none))),
            STILL_OLD,
            ("Failed", "says that it went well"),
        ),
        // 6.15: what it says at the end.
        (
            "goes on",
            Some(at(task("Running", "OK", 40, &none))),
            NEW,
            ("Running", "Some(40)"),
        ),
        (
            "stopped for good",
            Some(at(task("Running", "OK", 97, &none))),
            OLD,
            ("Running", "Some(97)"),
        ),
        ("stopped, given up, it runs", None, NEW, ("Done", "")),
        ("stopped, given up", None, OLD, ("Lost", "not waited for")),
        (
            "never 100 %",
            Some(at(task("Completed", "OK", 99, &none))),
            NEW,
            ("Done", ""),
        ),
        (
            "completed, old so far",
            Some(at(completed(&none))),
            OLD,
            ("AwaitsActivation", "System"),
        ),
        (
            "completed, the old version",
            Some(at(completed(&none))),
            STILL_OLD,
            ("Failed", "runs 1.9.0"),
        ),
        (
            "completed, not read",
            Some(at(completed(&none))),
            UNREAD,
            ("Lost", "not read"),
        ),
        (
            "warning",
            Some(at(task("Completed", "Warning", 100, &none))),
            OLD,
            ("Failed", "TaskStatus Warning"),
        ),
        (
            "warning, it runs",
            Some(at(task("Completed", "Warning", 100, &none))),
            NEW,
            ("Done", ""),
        ),
        (
            "warning, it waits",
            Some(at(task("Completed", "Warning", 100, &none))),
            WAITS,
            ("AwaitsActivation", "System"),
        ),
        (
            "a warning that asks for a reset",
            Some(at(task("Completed", "Warning", 100, &needed))),
            OLD,
            ("AwaitsActivation", "SystemPowerCycle"),
        ),
        (
            "critical",
            Some(at(task("Completed", "Critical", 100, &none))),
            OLD,
            ("Failed", "TaskStatus Critical"),
        ),
        (
            "health OK with an error",
            Some(at(completed(&error))),
            OLD,
            ("Failed", "Flash is full."),
        ),
        (
            "exit 0 with a failed part",
            Some(at(completed(&part))),
            NEW,
            ("Failed", "NIC firmware failed"),
        ),
        (
            "nothing failed",
            Some(at(completed(&calm))),
            NEW,
            ("Done", ""),
        ),
        (
            "exception",
            Some(at(task("Exception", "Critical", 30, &none))),
            OLD,
            ("Failed", "ended Exception"),
        ),
        (
            "cancelled",
            Some(at(task("Cancelled", "OK", 30, &none))),
            OLD,
            ("Failed", "ended Cancelled"),
        ),
        (
            "an unknown state",
            Some(at(task("Invaild", "OK", 30, &none))),
            OLD,
            ("Running", "Some(30)"),
        ),
    ];
    let activation = Activation::After(ActivationReset::System);
    check(&ticket(), &activation, rows);
}

#[test]
fn an_update_without_a_task_is_judged_by_its_version() {
    let ticket = UpdateTicket::default();
    let reading = || {
        Some(TaskReading {
            sighting: TaskSighting::NeverNamed,
            last_reset: Reading::NotOffered,
        })
    };
    let rows = vec![
        (
            "200 without a task",
            reading(),
            OLD,
            ("Lost", "named no task"),
        ),
        ("it runs", reading(), NEW, ("Done", "")),
        (
            "old after all",
            reading(),
            STILL_OLD,
            ("Failed", "named no task"),
        ),
    ];
    check(&ticket, &Activation::After(ActivationReset::System), rows);
}

#[test]
fn a_restart_of_the_bmc_is_the_activation_of_its_own_firmware() {
    let rows = vec![
        (
            "it runs",
            Some(restarted(TaskSighting::Gone)),
            NEW,
            ("Done", ""),
        ),
        (
            "old",
            Some(restarted(TaskSighting::Gone)),
            OLD,
            ("Failed", "runs 1.9.0"),
        ),
        (
            "not yet",
            Some(at(completed(&json!([])))),
            OLD,
            ("AwaitsActivation", "Bmc"),
        ),
    ];
    check(&ticket(), &Activation::After(ActivationReset::Bmc), rows);
}

#[test]
fn what_runs_at_once_and_does_not_has_failed() {
    let rows = vec![
        (
            "completed",
            Some(at(completed(&json!([])))),
            OLD,
            ("Failed", "runs 1.9.0"),
        ),
        ("gone", Some(at(TaskSighting::Gone)), OLD, ("Lost", "gone")),
    ];
    check(&ticket(), &Activation::AtOnce, rows);
}

#[test]
fn every_part_must_run_and_the_worst_one_is_told() {
    let (new, old) = (component("2.0.0", None), component("1.9.0", None));
    let wanted = |component, now, activated| WantedVersion {
        component,
        version: "2.0.0",
        before: Some("1.9.0"),
        now: Some(now),
        activation: Activation::After(ActivationReset::System),
        activated,
    };
    let reading = at(completed(&json!([])));
    let of = |parts: &[WantedVersion<'_>]| judge(&ticket(), Some(&reading), parts);
    let both = [wanted("OS", &new, true), wanted("NIC", &new, true)];
    assert_eq!(of(&both), Progress::Done);
    let failed = of(&[wanted("OS", &new, true), wanted("NIC", &old, true)]);
    assert!(shown(&failed).1.contains("NIC runs 1.9.0"), "{failed:?}");
    let mut cold = wanted("NIC", &old, false);
    cold.activation = Activation::After(ActivationReset::HostPowerCycle);
    let waits = of(&[wanted("OS", &old, false), cold, wanted("UEFI", &old, false)]);
    let resets = vec![ActivationReset::System, ActivationReset::HostPowerCycle];
    assert_eq!(waits, Progress::AwaitsActivation { resets });
    assert_eq!(shown(&of(&[])).0, "Lost");
}

#[test]
fn the_same_version_again_is_proved_by_its_task_or_not_at_all() {
    let now = component("2.0.0", None);
    let wanted = [WantedVersion {
        component: "FW",
        version: "2.0.0",
        before: Some("FW-2.0.0"),
        now: Some(&now),
        activation: Activation::AtOnce,
        activated: false,
    }];
    let of = |reading: TaskReading| shown(&judge(&ticket(), Some(&reading), &wanted)).0;
    assert_eq!(of(at(completed(&json!([])))), "Done");
    assert_eq!(of(at(TaskSighting::Gone)), "Lost");
    assert_eq!(of(at(task("Running", "OK", 1, &json!([])))), "Running");
}

#[test]
fn the_reset_that_a_message_names_is_known() {
    for (said, reset) in [
        ("IMCR", ActivationReset::Bmc),
        ("An ACCR is needed", ActivationReset::Bmc),
        ("PERST", ActivationReset::Host),
        ("POR", ActivationReset::HostPowerCycle),
        (
            "/Systems/1/Actions/ComputerSystem.Reset",
            ActivationReset::System,
        ),
        ("a dance", ActivationReset::Other("a dance".to_owned())),
    ] {
        let message = TaskMessage {
            id: Some("Base.1.8.ResetRequired".to_owned()),
            text: Some(said.to_owned()),
            ..TaskMessage::default()
        };
        assert_eq!(named_reset(&message), Some(reset), "{said}");
    }
    assert_eq!(named_reset(&TaskMessage::default()), None);
}
