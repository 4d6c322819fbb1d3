//! Updates, tasks and logs.

use serde_json::{Value, json};

use super::{Delete, Node, Post, ROOT, View, collection, healthy, kind, link};
use crate::machine::{Task, TaskState, Work};
use crate::redfish::message::Message;
use crate::spec::FirmwareLists;

pub(super) fn update(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = format!("{ROOT}/UpdateService");
    let update = &view.personality.update;
    let firmware = &view.machine.firmware;
    match rest {
        [] => {
            let mut body = json!({
                "@odata.id": path,
                "@odata.type": kind("UpdateService"),
                "Id": "UpdateService",
                "Name": "Update Service",
                "ServiceEnabled": true,
                "Status": healthy(),
                "Actions": {"#UpdateService.SimpleUpdate": {
                    "target": format!("{path}/Actions/UpdateService.SimpleUpdate"),
                    "TransferProtocol@Redfish.AllowableValues": update.protocols,
                }},
            });
            if let Some(push) = update.multipart {
                body["MultipartHttpPushUri"] = push.into();
            }
            if let Some(bytes) = update.most_bytes {
                body["MaxImageSizeBytes"] = bytes.into();
            }
            if update.inventory {
                body["FirmwareInventory"] = link(format!("{path}/FirmwareInventory"));
            }
            Some(Node::read(body))
        }
        ["Actions", "UpdateService.SimpleUpdate"] => Some(Node::action(Post::SimpleUpdate)),
        ["update-multipart"] if update.multipart.is_some() => Some(Node::action(Post::Push)),
        ["FirmwareInventory"] if update.inventory => {
            let ids: Vec<String> = firmware.iter().map(|one| one.id.to_owned()).collect();
            let path = format!("{path}/FirmwareInventory");
            Some(collection(
                "SoftwareInventory",
                "Firmware Inventory",
                &path,
                &ids,
            ))
        }
        ["FirmwareInventory", id] if update.inventory => {
            let one = firmware.iter().find(|one| one.id == *id)?;
            let (runs, waits) = match (view.machine.firmware_lists, &one.pending) {
                (FirmwareLists::Written, Some(written)) => (written, None),
                (FirmwareLists::Both, waits) => (&one.version, waits.as_ref()),
                (FirmwareLists::Running | FirmwareLists::Written, _) => (&one.version, None),
            };
            let mut body = json!({
                "@odata.id": format!("{path}/FirmwareInventory/{id}"),
                "@odata.type": kind("SoftwareInventory"),
                "Id": id,
                "Name": format!("Firmware {id}"),
                "Version": runs,
                "Updateable": true,
                "Status": healthy(),
            });
            if let Some(waits) = waits {
                let maker = view.personality.root.vendor.unwrap_or("Contoso");
                body["Oem"] = json!({ maker: {"PendingVersion": waits} });
            }
            Some(Node::read(body))
        }
        _ => None,
    }
}

pub(super) fn tasks(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = format!("{ROOT}/TaskService");
    let all = &view.machine.bmc.tasks;
    let by_id = |id: &str| {
        let id: u64 = id.parse().ok()?;
        all.iter().find(|task| task.id == id)
    };
    match rest {
        [] => Some(Node::read(json!({
            "@odata.id": path,
            "@odata.type": kind("TaskService"),
            "Id": "TaskService",
            "Name": "Task Service",
            "ServiceEnabled": true,
            "CompletedTaskOverWritePolicy": "Oldest",
            "LifeCycleEventOnTaskStateChange": false,
            "DateTime": view.date(view.domain.now),
            "Tasks": link(format!("{path}/Tasks")),
            "Status": healthy(),
        }))),
        ["Tasks"] => {
            let ids: Vec<String> = all.iter().map(|task| task.id.to_string()).collect();
            Some(collection("Task", "Task", &format!("{path}/Tasks"), &ids))
        }
        ["Tasks", id] => {
            let task = by_id(id)?;
            Some(Node::read(self::task(view, task)).deleted_by(Delete::Task(task.id)))
        }
        ["TaskMonitors", id] => {
            let task = by_id(id)?;
            let mut node = Node::read(self::task(view, task));
            node.monitor_of = Some(task.id);
            Some(node)
        }
        _ => None,
    }
}

/// The document of a task.
pub(in super::super) fn task(view: &View<'_>, task: &Task) -> Value {
    let path = format!("{ROOT}/TaskService/Tasks/{}", task.id);
    let whole = task.ends.since(task.started).as_secs_f64().max(0.001);
    let gone = view.domain.now.since(task.started).as_secs_f64();
    let percent = match task.state {
        // The last percent belong to the end, which may never come.
        #[expect(clippy::cast_possible_truncation, reason = "between 0 and 97")]
        TaskState::Running => (gone / whole * 100.0).clamp(0.0, 97.0) as i64,
        TaskState::Completed
        | TaskState::Warned
        | TaskState::Critical
        | TaskState::Hidden
        | TaskState::Exception => task.percent_at_end.into(),
    };
    let failed = || Message::Failed(task.message.clone()).value();
    let messages: Vec<Value> = match task.state {
        TaskState::Running => Vec::new(),
        TaskState::Completed | TaskState::Warned => ended_well(view, task),
        TaskState::Critical | TaskState::Hidden | TaskState::Exception => vec![failed()],
    };
    let mut body = json!({
        "@odata.id": path,
        "@odata.type": kind("Task"),
        "Id": task.id.to_string(),
        "Name": task.name,
        "TaskState": task.state.as_str(),
        "TaskStatus": task.state.status(),
        "PercentComplete": percent,
        "StartTime": view.date(task.started),
        "TaskMonitor": format!("{ROOT}/TaskService/TaskMonitors/{}", task.id),
        "Messages": messages,
    });
    if task.state != TaskState::Running {
        body["EndTime"] = view.date(task.ends).into();
    }
    body
}

/// What a task says that has ended well: of an update also which reset it needs, where the
/// vendor's do.
fn ended_well(view: &View<'_>, task: &Task) -> Vec<Value> {
    let mut messages = vec![Message::Success.value()];
    if !task.message.is_empty() {
        messages.push(Message::Said(task.message.clone()).value());
    }
    if let (Work::Firmware { .. }, Some(reset)) = (&task.work, view.personality.update.names_reset)
    {
        messages.push(Message::ResetRequired(reset).value());
    }
    messages
}

pub(super) fn logs(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = format!("{}/LogServices", view.system());
    let sel = format!("{path}/SEL");
    let entries = &view.machine.logs;
    match rest {
        [] => Some(collection(
            "LogService",
            "Log Service",
            &path,
            &["SEL".to_owned()],
        )),
        ["SEL"] => Some(Node::read(json!({
            "@odata.id": sel,
            "@odata.type": kind("LogService"),
            "Id": "SEL",
            "Name": "System Event Log",
            "LogEntryType": "Event",
            "OverWritePolicy": "WrapsWhenFull",
            "MaxNumberOfRecords": 200,
            "ServiceEnabled": true,
            "DateTime": view.date(view.domain.now),
            "DateTimeLocalOffset": "+00:00",
            "Entries": link(format!("{sel}/Entries")),
            "Status": healthy(),
            "Actions": {
                "#LogService.ClearLog": {"target": format!("{sel}/Actions/LogService.ClearLog")},
                "#LogService.CollectDiagnosticData": {
                    "target": format!("{sel}/Actions/LogService.CollectDiagnosticData"),
                    "DiagnosticDataType@Redfish.AllowableValues": ["Manager", "OS"],
                },
            },
        }))),
        ["SEL", "Actions", "LogService.ClearLog"] => Some(Node::action(Post::ClearLog)),
        ["SEL", "Actions", "LogService.CollectDiagnosticData"] => Some(Node::action(Post::Collect)),
        ["SEL", "Entries"] => {
            let ids: Vec<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
            Some(collection(
                "LogEntry",
                "Log Entry",
                &format!("{sel}/Entries"),
                &ids,
            ))
        }
        ["SEL", "Entries", id] => {
            let entry = entries.iter().find(|entry| entry.id.to_string() == *id)?;
            Some(Node::read(json!({
                "@odata.id": format!("{sel}/Entries/{id}"),
                "@odata.type": kind("LogEntry"),
                "Id": id,
                "Name": format!("Log entry {id}"),
                "EntryType": "Event",
                "Severity": "OK",
                "Created": view.date(entry.at),
                "Message": entry.message,
            })))
        }
        _ => None,
    }
}
