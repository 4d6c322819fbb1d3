//! Messages of the Base registry, as answers carry them. The words are ours.

use http::StatusCode;
use serde_json::{Value, json};

/// What went wrong, or right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Success,
    NoValidSession,
    InsufficientPrivilege,
    LoginRefused,
    PasswordChangeRequired(String),
    AccountLocked,
    SessionLimitExceeded,
    ResourceMissing(String),
    OperationNotAllowed,
    OperationNotImplemented,
    QueryNotSupported,
    PreconditionFailed,
    PreconditionRequired,
    HeaderInvalid(&'static str),
    MalformedJson,
    PropertyUnknown(String),
    PropertyNotWritable(String),
    PropertyValueNotInList(String, String),
    PropertyValueType(String),
    PropertyMissing(&'static str),
    PropertyValueConflict(String, String),
    ActionParameterMissing(&'static str, &'static str),
    ActionParameterUnknown(&'static str, String),
    ActionParameterValueNotInList(&'static str, String, String),
    ResourceAlreadyExists(String),
    ResourceInUse,
    /// With this HTTP status; to be asked again after so many seconds.
    UpdateBusy(u16, Option<u64>),
    /// What an installer says at its end.
    Said(String),
    /// Which reset lets what was written run.
    ResetRequired(&'static str),
    ResourceCannotBeDeleted,
    NoOperation,
    WrongState(&'static str),
    Failed(String),
    InternalError,
}

impl Message {
    /// HTTP status, key in the registry, severity, what to say, what to do.
    fn parts(&self) -> (u16, &'static str, &'static str, String, &'static str) {
        let text = |text: &str| text.to_owned();
        match self {
            Self::Success => (200, "Success", "OK", text("Done."), "None."),
            Self::NoValidSession => (
                401,
                "NoValidSession",
                "Critical",
                text("There is no valid session, and no valid credentials were given."),
                "Log in and repeat the request.",
            ),
            Self::InsufficientPrivilege => (
                403,
                "InsufficientPrivilege",
                "Critical",
                text("The account's role does not allow this."),
                "Use an account with a role that does.",
            ),
            Self::LoginRefused => (
                401,
                "ResourceAtUriUnauthorized",
                "Critical",
                text("User name or password is wrong."),
                "Log in with valid credentials.",
            ),
            Self::PasswordChangeRequired(path) => (
                403,
                "PasswordChangeRequired",
                "Critical",
                format!(
                    "The password of this account must be changed first: PATCH Password of {path}."
                ),
                "Change the password.",
            ),
            Self::AccountLocked => (
                401,
                "ResourceAtUriUnauthorized",
                "Critical",
                text("The account is locked after too many failed tries."),
                "Wait until the lockout has ended.",
            ),
            Self::SessionLimitExceeded => (
                503,
                "SessionLimitExceeded",
                "Critical",
                text("As many sessions are open as there can be (RAC0218)."),
                "End a session and repeat the request.",
            ),
            Self::ResourceMissing(path) => (
                404,
                "ResourceMissingAtURI",
                "Critical",
                format!("There is no resource at {path}."),
                "Use a link of another resource.",
            ),
            Self::OperationNotAllowed => (
                405,
                "OperationNotAllowed",
                "Critical",
                text("The resource does not support this method."),
                "Use one of the methods in the Allow header.",
            ),
            Self::OperationNotImplemented => (
                501,
                "ActionNotSupported",
                "Critical",
                text("The service does not implement this method."),
                "Use GET, HEAD, POST, PATCH or DELETE.",
            ),
            Self::QueryNotSupported => (
                501,
                "QueryNotSupported",
                "Warning",
                text("The service does not support this query parameter."),
                "Repeat the request without it.",
            ),
            Self::PreconditionFailed => (
                412,
                "PreconditionFailed",
                "Critical",
                text(
                    "The precondition of the request does not hold: the ETag or the version differs.",
                ),
                "Read the resource and repeat the request with its present ETag.",
            ),
            Self::PreconditionRequired => (
                428,
                "PreconditionRequired",
                "Critical",
                text("The request needs an If-Match header."),
                "Read the resource and repeat the request with its ETag.",
            ),
            Self::HeaderInvalid(name) => (
                400,
                "HeaderInvalid",
                "Critical",
                format!("The header {name} cannot be used here."),
                "Repeat the request without it.",
            ),
            Self::MalformedJson => (
                400,
                "MalformedJSON",
                "Critical",
                text("The body is no JSON object."),
                "Send a JSON object.",
            ),
            Self::PropertyUnknown(name) => (
                400,
                "PropertyUnknown",
                "Warning",
                format!("The resource has no property {name}."),
                "Leave the property out.",
            ),
            Self::PropertyNotWritable(name) => (
                400,
                "PropertyNotWritable",
                "Warning",
                format!("The property {name} cannot be written."),
                "Leave the property out.",
            ),
            Self::PropertyValueNotInList(name, value) => (
                400,
                "PropertyValueNotInList",
                "Warning",
                format!("{value} is no value for the property {name}."),
                "Choose one of the allowable values.",
            ),
            Self::PropertyValueType(name) => (
                400,
                "PropertyValueTypeError",
                "Warning",
                format!("The value of the property {name} has the wrong type or format."),
                "Correct the value.",
            ),
            Self::PropertyMissing(name) => (
                400,
                "CreateFailedMissingReqProperties",
                "Critical",
                format!("The property {name} is missing."),
                "Add the property.",
            ),
            Self::PropertyValueConflict(name, other) => (
                400,
                "PropertyValueConflict",
                "Warning",
                format!("The value of {name} does not go with that of {other}."),
                "Change one of them.",
            ),
            Self::ActionParameterMissing(action, name) => (
                400,
                "ActionParameterMissing",
                "Critical",
                format!("The action {action} needs the parameter {name}."),
                "Add the parameter.",
            ),
            Self::ActionParameterUnknown(action, name) => (
                400,
                "ActionParameterUnknown",
                "Warning",
                format!("The action {action} has no parameter {name}."),
                "Leave the parameter out.",
            ),
            Self::ActionParameterValueNotInList(action, name, value) => (
                400,
                "ActionParameterValueNotInList",
                "Warning",
                format!("{value} is no value for the parameter {name} of the action {action}."),
                "Choose one of the allowable values.",
            ),
            Self::ResourceAlreadyExists(name) => (
                400,
                "ResourceAlreadyExists",
                "Critical",
                format!("There is already one called {name}."),
                "Use another name.",
            ),
            Self::ResourceInUse => (
                503,
                "ResourceInUse",
                "Warning",
                text("Something else is going on with this resource."),
                "Repeat the request later.",
            ),
            Self::UpdateBusy(status, _) => (
                *status,
                "ResourceInUse",
                "Warning",
                text("An update is in progress."),
                "Repeat the request later.",
            ),
            Self::Said(said) => (200, "Success", "OK", said.clone(), "None."),
            Self::ResetRequired(reset) => (
                200,
                "ResetRequired",
                "Warning",
                format!("What was written runs after the reset {reset}."),
                "Reset it so.",
            ),
            Self::ResourceCannotBeDeleted => (
                405,
                "ResourceCannotBeDeleted",
                "Critical",
                text("The resource belongs to the service and cannot be deleted."),
                "None.",
            ),
            Self::NoOperation => (
                400,
                "NoOperation",
                "Warning",
                text("The request changes nothing."),
                "Send at least one property.",
            ),
            Self::WrongState(state) => (
                409,
                "ResourceInUse",
                "Warning",
                format!("This cannot be done while the state is {state}."),
                "Bring the resource into another state first.",
            ),
            Self::Failed(reason) => (
                400,
                "GeneralError",
                "Critical",
                if reason.is_empty() {
                    text("It failed.")
                } else {
                    reason.clone()
                },
                "See the message.",
            ),
            Self::InternalError => (
                500,
                "InternalError",
                "Critical",
                text("The service failed at this."),
                "Repeat the request; restart the BMC if that does not help.",
            ),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.parts().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The message object.
    pub(crate) fn value(&self) -> Value {
        let (_, key, severity, text, resolution) = self.parts();
        json!({
            "@odata.type": "#Message.v1_1_2.Message",
            "MessageId": format!("Base.1.18.{key}"),
            "Message": text,
            "MessageArgs": [],
            "MessageSeverity": severity,
            "Resolution": resolution,
        })
    }

    /// The error object.
    pub(crate) fn error(&self) -> Value {
        let value = self.value();
        json!({"error": {
            "code": value["MessageId"],
            "message": value["Message"],
            "@Message.ExtendedInfo": [value],
        }})
    }
}
