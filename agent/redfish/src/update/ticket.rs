//! What an accepted update is known by.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::read::{is_task, task_facts};
use super::task::TaskFacts;
use crate::document::{link, path};
use crate::facts::Reading;
use crate::scrub::Scrub;
use crate::transport::Receipt;

/// What an accepted update is known by. It outlives the agent: unknown fields are left alone and
/// missing ones are absent, so that another release reads it.
///
/// A ticket without a task is one all the same: some BMCs answer 200 or 202 and name none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateTicket {
    /// Path of the Task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Path of the task's monitor (DSP0266 12.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
    /// `Task.StartTime` as it was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Path of the Manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// `Manager.LastResetTime` before the update was asked for, as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reset: Option<String>,
}

impl UpdateTicket {
    /// From the answer to the request, and what was read of the manager before it.
    pub(crate) fn of(
        receipt: &Receipt,
        manager: Option<String>,
        last_reset: &Reading<String>,
    ) -> Self {
        let body = &receipt.body;
        let mut ticket = Self {
            manager,
            last_reset: last_reset.value().cloned(),
            ..Self::default()
        };
        if is_task(body) {
            ticket.task = path(body, "@odata.id");
            ticket.monitor = path(body, "TaskMonitor").and_then(|told| own_path(&told));
            ticket.started = task_facts(body, String::new(), &Scrub::nothing()).started;
        }
        let told = ["TaskUri", "TaskURI", "Task"]
            .iter()
            .find_map(|key| path(body, key).or_else(|| link(body, key)));
        if let Some(told) = told.and_then(|told| own_path(&told)) {
            ticket.place(told);
        }
        if let Some(location) = receipt.location.as_deref().and_then(own_path) {
            ticket.place(location);
        }
        ticket.task = ticket
            .task
            .take()
            .or_else(|| ticket.monitor.as_deref().and_then(task_of));
        ticket
    }

    /// A place that the BMC named: of the task, or of its monitor.
    fn place(&mut self, named: String) {
        let slot = if is_monitor(&named) {
            &mut self.monitor
        } else {
            &mut self.task
        };
        slot.get_or_insert(named);
    }

    /// Whether the BMC named a task at all.
    pub fn names_a_task(&self) -> bool {
        self.task.is_some() || self.monitor.is_some()
    }

    /// Whether a task at the ticket's place is the ticket's. Where neither start nor restart is
    /// told it is taken for it.
    pub fn is_of(&self, task: &TaskFacts, last_reset: &Reading<String>) -> bool {
        match (&self.started, &task.started) {
            (Some(then), Some(now)) => then == now,
            (None, _) | (_, None) => !self.bmc_restarted(last_reset),
        }
    }

    /// Whether the BMC has certainly restarted since. `false` is no proof that it has not.
    pub fn bmc_restarted(&self, last_reset: &Reading<String>) -> bool {
        match (&self.last_reset, last_reset.value()) {
            (Some(then), Some(now)) => then != now,
            (None, _) | (_, None) => false,
        }
    }

    /// Learns from the first look at the task what tells it from later ones. It counts more than
    /// the answer to the request: later looks read what it reads.
    pub(crate) fn learn(&mut self, task: &Value) {
        if is_task(task) {
            self.started = task_facts(task, String::new(), &Scrub::nothing()).started;
        }
    }
}

/// The path of what a BMC names, be it a path or a URL. Some name themselves by an address that
/// is theirs alone: only the path counts, and it is asked for where the BMC was found.
fn own_path(named: &str) -> Option<String> {
    let path = match named.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => named,
    };
    path.starts_with("/redfish/")
        .then(|| path.trim_end_matches('/').to_owned())
}

/// `…/TaskMonitors/7`, and `…/Tasks/7/Monitor` of older OpenBMCs.
fn is_monitor(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.contains("/taskmonitor") || path.ends_with("/monitor")
}

/// The task that a monitor is of, where its path tells.
fn task_of(monitor: &str) -> Option<String> {
    if let Some(task) = monitor.strip_suffix("/Monitor") {
        return Some(task.to_owned());
    }
    let (service, id) = monitor.split_once("/TaskMonitors/")?;
    Some(format!("{service}/Tasks/{id}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TASK: &str = "/redfish/v1/TaskService/Tasks/7";
    const MONITOR: &str = "/redfish/v1/TaskService/TaskMonitors/7";

    fn ticket(location: Option<&str>, body: Value) -> UpdateTicket {
        let receipt = Receipt {
            status: 202,
            location: location.map(str::to_owned),
            retry_after: None,
            body,
        };
        UpdateTicket::of(&receipt, None, &Reading::NotOffered)
    }

    #[test]
    fn a_task_is_found_wherever_it_is_named() {
        let task = json!({"@odata.id": TASK, "@odata.type": "#Task.v1_7_0.Task",
            "StartTime": "2026-01-01T00:00:00Z", "TaskMonitor": MONITOR});
        for (location, body, found, monitor) in [
            (Some(TASK), Value::Null, Some(TASK), None),
            (Some(MONITOR), Value::Null, Some(TASK), Some(MONITOR)),
            (
                Some("/redfish/v1/TaskService/Tasks/7/Monitor"),
                Value::Null,
                Some(TASK),
                Some("/redfish/v1/TaskService/Tasks/7/Monitor"),
            ),
            (
                Some("https://bmc.internal/redfish/v1/TaskService/TaskMonitors/7"),
                Value::Null,
                Some(TASK),
                Some(MONITOR),
            ),
            (None, task.clone(), Some(TASK), Some(MONITOR)),
            (Some(MONITOR), task, Some(TASK), Some(MONITOR)),
            (None, json!({"TaskUri": TASK}), Some(TASK), None),
            (None, json!({"Task": {"@odata.id": TASK}}), Some(TASK), None),
            (None, json!({"error": {}}), None, None),
            (Some("https://bmc.internal"), Value::Null, None, None),
            (Some("/elsewhere/7"), Value::Null, None, None),
        ] {
            let ticket = ticket(location, body);
            assert_eq!(ticket.task.as_deref(), found, "{location:?}");
            assert_eq!(ticket.monitor.as_deref(), monitor, "{location:?}");
            assert_eq!(ticket.names_a_task(), found.is_some());
        }
    }

    #[test]
    fn a_ticket_survives_its_text_form_and_another_release() {
        let ticket = UpdateTicket {
            task: Some(TASK.to_owned()),
            started: Some("1970-01-01T00:00:07Z".to_owned()),
            last_reset: Some("1970-01-01T00:00:00Z".to_owned()),
            ..UpdateTicket::default()
        };
        let text = serde_json::to_string(&ticket).unwrap();
        let frozen = r#"{"task":"/redfish/v1/TaskService/Tasks/7","started":"1970-01-01T00:00:07Z","lastReset":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(text, frozen);
        assert_eq!(serde_json::from_str::<UpdateTicket>(&text).unwrap(), ticket);
        let newer = r#"{"task":"/t","invented":1}"#;
        let read: UpdateTicket = serde_json::from_str(newer).unwrap();
        assert_eq!(read.task.as_deref(), Some("/t"));
    }

    #[test]
    fn another_task_at_the_same_place_is_not_taken_for_it() {
        let told = |started: Option<&str>| TaskFacts {
            started: started.map(str::to_owned),
            ..task_facts(&json!({}), TASK.to_owned(), &Scrub::nothing())
        };
        let reset = |text: &str| Reading::Read(text.to_owned());
        let ticket = UpdateTicket {
            started: Some("1".to_owned()),
            last_reset: Some("a".to_owned()),
            ..UpdateTicket::default()
        };
        // A BMC that keeps its tasks shows the same one after its restart.
        assert!(ticket.is_of(&told(Some("1")), &reset("b")));
        assert!(!ticket.is_of(&told(Some("2")), &reset("a")));
        assert!(!ticket.is_of(&told(None), &reset("b")));
        assert!(ticket.is_of(&told(None), &reset("a")));
        assert!(ticket.is_of(&told(None), &Reading::NotOffered));
    }
}
