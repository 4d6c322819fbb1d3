//! Whether an update may begin. Pure: no I/O, no clock.

use super::{TaskFacts, TaskState, UpdateFacts};
use crate::facts::Reading;

/// What a root of trust tells once its copy is done.
const COPIED: &str = "Completed";

/// Why no update may begin now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// Something goes on, or is not known: for what, and what ends it.
    Wait(String),
    /// There is no way, until somebody changes something.
    Refused(String),
}

/// Whether an update may begin at a BMC, by what was read of it and of the other BMCs that it may
/// disturb or be disturbed by, each with its name for people (S1).
///
/// # Errors
/// When a task runs anywhere, or something of it is not known: what was not read allows nothing.
pub fn readiness(own: &UpdateFacts, others: &[(&str, &UpdateFacts)]) -> Result<(), NotReady> {
    match &own.service {
        Reading::Read(service) if service.enabled == Some(false) => {
            let why =
                "ServiceEnabled of the UpdateService is false; enable it at the BMC".to_owned();
            return Err(NotReady::Refused(why));
        }
        Reading::NotOffered => {
            let why = "this BMC has no UpdateService; use another way in".to_owned();
            return Err(NotReady::Refused(why));
        }
        Reading::Read(_) | Reading::NotRead(_) => {}
    }
    quiet(own, others).map_err(NotReady::Wait)
}

/// Whether nothing goes on at a BMC and at the others that may disturb its machine or be disturbed
/// by it, so that the machine may be reset by another way (S1). One without an UpdateService, or
/// with one that is not enabled, updates nothing by it.
///
/// # Errors
/// What goes on, or is not known, and what ends it.
pub fn quiet(own: &UpdateFacts, others: &[(&str, &UpdateFacts)]) -> Result<(), String> {
    match &own.service {
        Reading::NotRead(why) => {
            return Err(format!(
                "the UpdateService was not read ({why}); it is read again"
            ));
        }
        Reading::Read(service) if service.enabled != Some(false) => {
            let state = service.state.as_deref();
            if let Some(state) = state.filter(|state| *state != "Enabled") {
                return Err(format!(
                    "the state of the UpdateService is {state}; it is Enabled a few minutes after a start of the BMC"
                ));
            }
        }
        Reading::Read(_) | Reading::NotOffered => {}
    }
    is_copied("this BMC", &own.background_copy)?;
    idle("this BMC", &own.tasks)?;
    for (name, facts) in others {
        is_copied(name, &facts.background_copy)?;
        idle(name, &facts.tasks)?;
    }
    Ok(())
}

/// Whether nothing is written at the BMC of that name, as far as it tells, so that the power of its machine may be cut
/// or the machine be reset (S1). A task that has not begun may wait for just that.
///
/// # Errors
/// What is written, or is not known, and what ends it.
pub fn at_rest(name: &str, own: &UpdateFacts) -> Result<(), String> {
    if let Reading::Read(service) = &own.service
        && service.state.as_deref() == Some("Updating")
    {
        return Err(format!("the UpdateService of {name} is Updating"));
    }
    is_copied(name, &own.background_copy)?;
    let begun = match &own.tasks {
        Reading::Read(tasks) => {
            let mut begun = tasks.clone();
            begun.retain(|task| !waits(task));
            Reading::Read(begun)
        }
        Reading::NotRead(_) | Reading::NotOffered => own.tasks.clone(),
    };
    idle(name, &begun)
}

fn waits(task: &TaskFacts) -> bool {
    matches!(task.state, Some(TaskState::New | TaskState::Pending))
}

/// A root of trust that copies new firmware to its second slot must keep its power meanwhile.
fn is_copied(name: &str, copy: &Reading<String>) -> Result<(), String> {
    match copy {
        Reading::NotOffered => Ok(()),
        Reading::NotRead(why) => Err(format!(
            "how far the background copy of {name} is was not read ({why}); it is read again"
        )),
        Reading::Read(status) if status == COPIED => Ok(()),
        Reading::Read(status) => Err(format!(
            "the background copy of {name} is {status}; it takes up to 20 minutes after an update, and is {COPIED} then"
        )),
    }
}

fn idle(name: &str, tasks: &Reading<Vec<TaskFacts>>) -> Result<(), String> {
    match tasks {
        Reading::NotOffered => Ok(()),
        Reading::NotRead(why) => Err(format!(
            "the tasks of {name} were not read ({why}); they are read again"
        )),
        Reading::Read(tasks) => match tasks.first() {
            None => Ok(()),
            Some(task) => Err(format!(
                "the task {} runs on {name}{}; it is begun when that has ended",
                task.name.as_deref().unwrap_or(&task.path),
                task.percent
                    .map_or_else(String::new, |percent| format!(", at {percent} %"))
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scrub::Scrub;
    use crate::update::{UpdateService, task_facts};

    #[test]
    fn nothing_begins_while_something_goes_on_anywhere_or_is_not_known() {
        let service = |state: &str| UpdateService {
            path: "/u".to_owned(),
            enabled: Some(true),
            state: Some(state.to_owned()),
            simple_update: None,
            multipart_push: None,
            http_push: None,
            max_image_bytes: None,
        };
        let facts = |service, tasks| UpdateFacts {
            service,
            tasks,
            firmware: Reading::NotOffered,
            last_reset: Reading::NotOffered,
            background_copy: Reading::NotOffered,
        };
        let idle = facts(Reading::Read(service("Enabled")), Reading::Read(Vec::new()));
        let running = json!({"Name": "Collect", "TaskState": "Running", "PercentComplete": 4});
        let running = task_facts(&running, "/t".to_owned(), &Scrub::nothing());
        let busy = facts(Reading::NotOffered, Reading::Read(vec![running]));
        let blind = facts(
            Reading::Read(service("Enabled")),
            Reading::NotRead("HTTP 500".to_owned()),
        );
        let late = facts(
            Reading::Read(service("Starting")),
            Reading::Read(Vec::new()),
        );
        let none = facts(Reading::NotOffered, Reading::NotOffered);
        assert_eq!(readiness(&idle, &[("the host", &none)]), Ok(()));
        for (own, others, says) in [
            (
                &idle,
                vec![("the host's BMC", &busy)],
                "Collect runs on the host's BMC, at 4 %",
            ),
            (&blind, vec![], "HTTP 500"),
            (
                &idle,
                vec![("the host's BMC", &blind)],
                "tasks of the host's BMC were not read",
            ),
            (&late, vec![], "Starting"),
        ] {
            match readiness(own, &others) {
                Err(NotReady::Wait(why)) => assert!(why.contains(says), "{why}"),
                other => panic!("{says}: {other:?}"),
            }
        }
        assert!(matches!(readiness(&none, &[]), Err(NotReady::Refused(_))));
        // Another way needs no UpdateService, and the same rest.
        for (own, others, is_quiet) in [
            (&none, vec![("the host's BMC", &idle)], true),
            (&idle, vec![("the host's BMC", &busy)], false),
            (&busy, vec![], false),
            (&blind, vec![], false),
            (&late, vec![], false),
            (&none, vec![("the host's BMC", &blind)], false),
        ] {
            assert_eq!(quiet(own, &others).is_ok(), is_quiet, "{own:?} {others:?}");
        }
        let mut disabled = idle.clone();
        if let Reading::Read(service) = &mut disabled.service {
            service.enabled = Some(false);
        }
        assert!(matches!(
            readiness(&disabled, &[]),
            Err(NotReady::Refused(_))
        ));
        assert_eq!(quiet(&disabled, &[]), Ok(()));
    }

    #[test]
    fn a_machine_is_at_rest_once_nothing_is_written_there() {
        let told = |status: &str| Reading::Read(status.to_owned());
        let rest = UpdateFacts {
            service: Reading::NotOffered,
            tasks: Reading::Read(Vec::new()),
            firmware: Reading::NotOffered,
            last_reset: Reading::NotOffered,
            background_copy: told("Completed"),
        };
        let task = |state: &str| {
            let task = json!({"Name": "Bios", "TaskState": state});
            Reading::Read(vec![task_facts(&task, "/t".to_owned(), &Scrub::nothing())])
        };
        assert_eq!(at_rest("the BMC", &rest), Ok(()));
        // A job of the firmware's settings waits for the very reset.
        for state in ["New", "Pending"] {
            let waits = UpdateFacts {
                tasks: task(state),
                ..rest.clone()
            };
            assert_eq!(at_rest("the BMC", &waits), Ok(()), "{state}");
            assert!(quiet(&waits, &[]).is_err());
        }
        let copies = UpdateFacts {
            background_copy: told("InProgress"),
            ..rest.clone()
        };
        let unread = UpdateFacts {
            background_copy: Reading::NotRead("no answer".to_owned()),
            ..rest.clone()
        };
        let writes = UpdateFacts {
            tasks: task("Running"),
            ..rest.clone()
        };
        for (busy, says) in [
            (&copies, "is InProgress"),
            (&unread, "no answer"),
            (&writes, "Bios runs"),
        ] {
            assert!(at_rest("the BMC", busy).unwrap_err().contains(says));
            assert!(quiet(busy, &[]).unwrap_err().contains(says));
            assert!(quiet(&rest, &[("the host's BMC", busy)]).is_err());
        }
    }
}
