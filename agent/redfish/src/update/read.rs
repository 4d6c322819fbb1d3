//! From documents of UpdateService and TaskService to facts. Pure, and lenient throughout.

use serde_json::Value;

use super::task::{TaskFacts, TaskMessage, TaskState};
use super::{SimpleUpdateOffer, UpdateService};
use crate::document::{
    action, allowable, decimal, line, number, path, short, strings, text, truth,
};
use crate::facts::Reading;
use crate::scrub::Scrub;

/// Messages of a task that are kept: the latest.
const MOST_MESSAGES: usize = 16;

/// Longest text of a state, an id or a date that is taken.
const LONGEST: usize = 128;

/// What an UpdateService document tells.
pub(crate) fn service(document: &Value, own: String) -> UpdateService {
    let offer = action(document, "UpdateService.SimpleUpdate");
    let simple_update = offer.and_then(|offer| {
        Some(SimpleUpdateOffer {
            target: path(offer, "target")?,
            protocols: allowable(offer, "TransferProtocol"),
            targets: allowable(offer, "Targets"),
        })
    });
    UpdateService {
        path: own,
        enabled: truth(document, "ServiceEnabled"),
        state: document
            .get("Status")
            .and_then(|status| short(status, "State", LONGEST)),
        simple_update,
        multipart_push: path(document, "MultipartHttpPushUri"),
        http_push: path(document, "HttpPushUri"),
        max_image_bytes: number(document, "MaxImageSizeBytes")
            .and_then(|bytes| u64::try_from(bytes).ok())
            .filter(|bytes| *bytes > 0),
    }
}

/// How far the background copy of a root of trust is.
pub(crate) fn background_copy(chassis: &Value) -> Reading<String> {
    let Some(told) = chassis.pointer("/Oem/Nvidia") else {
        return Reading::NotOffered;
    };
    let by_itself = truth(told, "AutomaticBackgroundCopyEnabled") != Some(false);
    short(told, "BackgroundCopyStatus", LONGEST)
        // One that waits for a person to begin it may wait for ever.
        .filter(|status| by_itself || status != "Pending")
        .map_or(Reading::NotOffered, Reading::Read)
}

/// `Manager.LastResetTime`, as it is written.
pub(crate) fn last_reset(manager: &Value) -> Reading<String> {
    match short(manager, "LastResetTime", LONGEST) {
        Some(time) => Reading::Read(time),
        None => Reading::NotOffered,
    }
}

/// Whether a document says of itself that it is a task.
pub(crate) fn is_task(document: &Value) -> bool {
    text(document, "@odata.type").is_some_and(|kind| kind.contains("#Task."))
        || document.get("TaskState").is_some()
}

/// What a task's document tells.
pub(crate) fn task_facts(document: &Value, own: String, scrub: &Scrub) -> TaskFacts {
    let told = document.get("Messages").and_then(Value::as_array);
    let messages = told.map_or(&[][..], Vec::as_slice);
    let from = messages.len().saturating_sub(MOST_MESSAGES);
    TaskFacts {
        path: own,
        name: text(document, "Name").map(|name| line(&name, scrub)),
        state: short(document, "TaskState", LONGEST).map(|state| TaskState::parse(&state)),
        status: short(document, "TaskStatus", LONGEST),
        percent: percent(document),
        started: short(document, "StartTime", LONGEST),
        messages: messages[from..]
            .iter()
            .map(|one| message(one, scrub))
            .collect(),
    }
}

fn percent(document: &Value) -> Option<u8> {
    let told = decimal(document, "PercentComplete")?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 100"
    )]
    let percent = told.clamp(0.0, 100.0) as u8;
    Some(percent)
}

fn message(told: &Value, scrub: &Scrub) -> TaskMessage {
    let args = told.get("MessageArgs").and_then(strings);
    TaskMessage {
        id: short(told, "MessageId", LONGEST),
        text: text(told, "Message").map(|text| line(&text, scrub)),
        severity: short(told, "MessageSeverity", LONGEST)
            .or_else(|| short(told, "Severity", LONGEST)),
        args: args
            .unwrap_or_default()
            .iter()
            .take(8)
            .map(|arg| line(arg, scrub))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_service_offers_is_read_however_it_is_written() {
        let document = json!({
            "ServiceEnabled": "true",
            "Status": {"State": "Enabled"},
            "MaxImageSizeBytes": 1_610_612_736_u64,
            "MultipartHttpPushUri": "/redfish/v1/UpdateService/update-multipart",
            "HttpPushUri": "",
            "Actions": {"#UpdateService.SimpleUpdate": {
                "target": "/simple",
                "TransferProtocol@Redfish.AllowableValues": [["SCP"], "HTTP"],
            }},
        });
        let service = service(&document, "/u".to_owned());
        assert_eq!(service.enabled, Some(true));
        assert_eq!(service.max_image_bytes, Some(1_610_612_736));
        assert!(service.multipart_push.is_some() && service.http_push.is_none());
        let offer = service.simple_update.unwrap();
        assert_eq!(offer.targets, None);
        assert_eq!(offer.protocols.unwrap(), ["SCP", "HTTP"]);
        let bare = super::service(&json!({"MaxImageSizeBytes": 0}), "/u".to_owned());
        assert_eq!((bare.simple_update, bare.max_image_bytes), (None, None));
    }

    #[test]
    fn a_task_is_read_whatever_it_says_and_shows_no_url() {
        let messages: Vec<Value> = (0..40)
            .map(|n| {
                json!({"MessageId": "Base.1.8.GeneralError", "Severity": "OK",
                "Message": format!("{n}:\n GET http://192.0.2.1/i/secret-token/x failed")})
            })
            .collect();
        let document = json!({"TaskState": "Levitating", "TaskStatus": null,
            "PercentComplete": "250", "Messages": messages});
        let facts = task_facts(&document, "/t".to_owned(), &Scrub::nothing());
        assert_eq!(facts.state, Some(TaskState::Other("Levitating".to_owned())));
        assert!(!facts.has_ended() && facts.status.is_none());
        assert_eq!(facts.percent, Some(100));
        assert_eq!(facts.messages.len(), MOST_MESSAGES);
        let last = facts.messages.last().unwrap();
        assert_eq!(last.text.as_deref(), Some("39: GET [URL] failed"));
        assert_eq!(
            (last.key(), last.severity.as_deref()),
            ("GeneralError", Some("OK"))
        );
        let odd = task_facts(
            &json!({"Messages": {}, "TaskState": 7}),
            "/t".to_owned(),
            &Scrub::nothing(),
        );
        assert!(odd.state.is_none() && odd.messages.is_empty());
    }
}
