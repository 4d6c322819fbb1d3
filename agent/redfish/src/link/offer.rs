//! The offer of an update: a change whose answer matters, and which a BMC may be too busy for.

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{Change, Failure, Link, Proven, Unread};
use crate::document::{error_message, line, short};
use crate::error::BmcError;
use crate::scrub::Scrub;
use crate::transport::{Receipt, TransportError};
use crate::update::Upload;

/// One offer of an update.
pub(crate) struct Offering<'a> {
    /// Where it goes, what it says, and of which image.
    pub(crate) change: Change<'a>,
    /// The image itself, where it is sent along instead.
    pub(crate) upload: Option<Upload>,
}

impl Proven<'_> {
    /// Offers an update, once: what the BMC answered, if it took it.
    pub(crate) async fn offer(
        self,
        offering: Offering<'_>,
        deadline: Instant,
    ) -> Result<Receipt, BmcError> {
        let Offering { change, upload } = offering;
        let link = self.link;
        let url = link.url(change.path)?;
        let sent = link
            .transport
            .offer(url, &link.credentials, &change.body, upload);
        let failed = |error| link.unchanged(&change, Failure::Transport(error));
        let receipt = match timeout_at(deadline, sent).await {
            Ok(answer) => answer.map_err(failed)?,
            Err(_) => {
                let reason = "no answer before the deadline".to_owned();
                return Err(failed(TransportError::Lost(reason)));
            }
        };
        if receipt.is_success() && !is_error(&receipt.body) {
            return Ok(receipt);
        }
        let text = receipt.body.to_string();
        if receipt.is_success() {
            // HTTP 200 around an error object.
            return Err(BmcError::OutcomeUnknown {
                address: link.origin.clone(),
                verb: change.verb,
                reason: error_message(&text, &change.scrub(link)),
            });
        }
        if is_busy(&receipt) {
            return Err(BmcError::UpdateBusy {
                address: link.origin.clone(),
                verb: change.verb,
                detail: error_message(&text, &change.scrub(link)),
                retry_after: receipt.retry_after,
            });
        }
        let body = if receipt.body.is_null() {
            String::new()
        } else {
            text
        };
        let status = receipt.status;
        Err(failed(TransportError::Status { status, body }))
    }
}

impl Link {
    /// Asks a task's monitor, once.
    pub(crate) async fn monitor(&self, path: &str, deadline: Instant) -> Result<Receipt, BmcError> {
        let limit = deadline.min(Instant::now() + self.shared.options.read_timeout);
        let asked = self.transport.look(self.url(path)?, &self.credentials);
        match timeout_at(limit, asked).await {
            Ok(Ok(receipt)) if receipt.status == 401 => {
                Err(self.unread(path, Unread::Unauthorized))
            }
            Ok(answer) => {
                answer.map_err(|error| self.unread(path, Unread::Failed(Failure::Transport(error))))
            }
            Err(_) => Err(self.unread(path, Unread::TimedOut)),
        }
    }

    /// What the BMC says in an error, for people.
    pub(crate) fn said(&self, body: &Value) -> String {
        error_message(&body.to_string(), &self.scrub)
    }

    /// What no word of the BMC may show.
    pub(crate) fn scrub(&self) -> &Scrub {
        &self.scrub
    }

    /// A place at this BMC: credentials go nowhere else.
    fn url(&self, path: &str) -> Result<url::Url, BmcError> {
        let elsewhere = |why: String| {
            let rejected = TransportError::Rejected(why);
            self.unread(path, Unread::Failed(Failure::Transport(rejected)))
        };
        let base = &self.target.address;
        let url = base
            .join(path)
            .map_err(|error| elsewhere(format!("it is no place: {error}")))?;
        if url.origin() == base.origin() {
            return Ok(url);
        }
        let origin = url.origin().ascii_serialization();
        Err(elsewhere(format!("it leads to another origin, {origin}")))
    }
}

/// Keys of messages by which a service says that something else goes on (DSP0268, Base and Update
/// registries).
const BUSY: [&str; 4] = [
    "ResourceInUse",
    "ServiceTemporarilyUnavailable",
    "UpdateInProgress",
    "ServiceInUnknownState",
];

/// Words by which services say so that have no key for it.
const BUSY_WORDS: [&str; 3] = ["in progress", "busy", "already running"];

/// Whether an answer says that the BMC is too busy, and so has done nothing. A bare 503 does not:
/// a proxy may have given up what goes on behind it.
fn is_busy(receipt: &Receipt) -> bool {
    let told = messages(&receipt.body);
    let says = || {
        told.iter().any(|(id, text)| {
            let key = id.rsplit('.').next().unwrap_or(id);
            let text = text.to_ascii_lowercase();
            BUSY.contains(&key) || BUSY_WORDS.iter().any(|word| text.contains(word))
        })
    };
    match receipt.status {
        429 => true,
        503 => receipt.retry_after.is_some() || says(),
        400 | 409 | 423 => says(),
        _ => false,
    }
}

/// Whether a body is an error, and not a success told in the form of one.
pub(crate) fn is_error(body: &Value) -> bool {
    if body.get("error").is_none() {
        return false;
    }
    let told = messages(body);
    let well = |id: &str| {
        matches!(
            id.rsplit('.').next(),
            Some("Success" | "Created" | "Accepted")
        )
    };
    told.is_empty() || !told.iter().all(|(id, _)| well(id))
}

/// The ids and texts of an error's messages.
fn messages(body: &Value) -> Vec<(String, String)> {
    let Some(error) = body.get("error") else {
        return Vec::new();
    };
    let of = |message: &Value, id: &str, text: &str| {
        let nothing = Scrub::nothing();
        let id = short(message, id, 128).unwrap_or_default();
        let text = short(message, text, 300).unwrap_or_default();
        (id, line(&text, &nothing))
    };
    let extended = match error.get("@Message.ExtendedInfo") {
        Some(Value::Array(messages)) => messages.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let mut told: Vec<_> = extended
        .iter()
        .take(8)
        .map(|message| of(message, "MessageId", "Message"))
        .collect();
    if told.is_empty() {
        told.push(of(error, "code", "message"));
    }
    told
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn receipt(status: u16, id: &str, text: &str, retry_after: Option<u64>) -> Receipt {
        let body = json!({"error": {
            "code": "Base.1.18.GeneralError",
            "@Message.ExtendedInfo": [{"MessageId": id, "Message": text}],
        }});
        Receipt {
            status,
            location: None,
            retry_after: retry_after.map(Duration::from_secs),
            body,
        }
    }

    #[test]
    fn busy_is_told_in_many_ways_and_nothing_else_is_taken_for_it() {
        let in_use = "Base.1.18.ResourceInUse";
        for (answer, busy) in [
            (receipt(400, in_use, "", None), true),
            (receipt(409, in_use, "", None), true),
            (receipt(503, in_use, "", None), true),
            (receipt(503, "", "", Some(30)), true),
            (receipt(429, "", "", None), true),
            (
                receipt(400, "Vendor.1.0.X", "An update is in progress.", None),
                true,
            ),
            (
                receipt(503, "Base.1.18.GeneralError", "It failed.", None),
                false,
            ),
            (
                receipt(400, "Base.1.18.PropertyUnknown", "No such.", None),
                false,
            ),
            (
                receipt(409, "Base.1.18.GeneralError", "It is Off.", None),
                false,
            ),
            (receipt(500, in_use, "", None), false),
            (receipt(504, in_use, "", Some(5)), false),
        ] {
            assert_eq!(is_busy(&answer), busy, "{answer:?}");
        }
        let plain = json!({"error": {"code": "Base.1.8.ResourceInUse", "message": "no"}});
        let plain = Receipt {
            body: plain,
            ..receipt(400, "", "", None)
        };
        assert!(is_busy(&plain));
    }

    #[test]
    fn a_success_may_come_in_the_form_of_an_error() {
        assert!(!is_error(&receipt(200, "Base.1.8.Success", "", None).body));
        assert!(is_error(
            &receipt(200, "Base.1.8.GeneralError", "", None).body
        ));
        assert!(is_error(&json!({"error": {}})) && !is_error(&json!({"Id": "7"})));
    }
}
