//! The part of `audit.k8s.io/v1` Event that we read.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::write::Write;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    impersonated_user: Option<User>,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    request_object: Option<Value>,
    request_received_timestamp: Timestamp,
}

#[derive(Debug, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    #[serde(default)]
    api_group: String,
    subresource: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

/// Groups whose objects are questions: they are answered and never stored.
const QUESTIONS: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];

impl Event {
    /// The write that this event stands for, if it is one and was accepted.
    pub(super) fn into_write(self) -> Option<Write> {
        let object = self.object_ref?;
        let code = self.response_status?.code;
        let writes = matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        );
        let stored = !QUESTIONS.contains(&object.api_group.as_str())
            && object.subresource.as_deref() != Some("token")
            && query(&self.request_uri, "dryRun").is_none();
        if self.stage != "ResponseComplete" || !writes || !stored || !(200..300).contains(&code) {
            return None;
        }
        // With generateName the name is known to the server only, and may be absent here.
        let name = object.name.or_else(|| {
            let name = self.request_object.as_ref()?.pointer("/metadata/name")?;
            name.as_str().map(str::to_owned)
        });
        Some(Write {
            user: self.impersonated_user.unwrap_or(self.user).username,
            user_agent: self.user_agent,
            verb: self.verb,
            group: object.api_group,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name,
            field_manager: query(&self.request_uri, "fieldManager"),
            code,
            at: self.request_received_timestamp,
            body: self.request_object,
        })
    }
}

fn query(uri: &str, key: &str) -> Option<String> {
    let (_path, query) = uri.split_once('?')?;
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.into_owned())
}
