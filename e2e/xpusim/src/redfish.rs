//! Redfish as the simulated BMCs speak it: a request, the state, an answer.
//!
//! Pure: the front brings the bytes. Authentication comes first, then the
//! resource is looked up in the tree, then its method is carried out; faults
//! in documents and ETags are put on last, so that they never change what is
//! really done.

mod action;
mod change;
mod connection;
mod create;
mod distort;
mod etag;
mod gate;
mod message;
mod push;
mod tree;

use http::{HeaderMap, HeaderName, StatusCode, header};
use serde_json::Value;

use crate::domain::{Domain, Index};
use crate::fault::Fault;

pub(crate) use connection::{After, Before, after, before};
use message::Message;
pub(crate) use push::{Parts, Upload};
use tree::{Node, View};

/// A request, as far as it matters.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// What a multipart body came to: it is read as it comes, and not kept.
    pub(crate) upload: Option<&'a Upload>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Body,
}

/// What an answer carries.
#[derive(Debug, PartialEq)]
pub(crate) enum Body {
    Nothing,
    Json(Value),
    /// `$metadata`.
    Xml(String),
}

impl Reply {
    pub(crate) fn new(status: StatusCode, body: Body) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
        }
    }

    fn ok(document: Value) -> Self {
        Self::new(StatusCode::OK, Body::Json(document))
    }

    fn done() -> Self {
        Self::new(StatusCode::NO_CONTENT, Body::Nothing)
    }

    fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        let reply = Self::new(message.status(), Body::Json(message.error()));
        if let Message::UpdateBusy(_, Some(seconds)) = message {
            reply.with(header::RETRY_AFTER, seconds.to_string())
        } else if reply.status == StatusCode::UNAUTHORIZED {
            reply.with(header::WWW_AUTHENTICATE, "Basic realm=\"BMC\"")
        } else {
            reply
        }
    }
}

pub(crate) const ROOT: &str = "/redfish/v1";

/// Answers one request of a machine's BMC, at the domain's moment.
pub(crate) fn answer(domain: &mut Domain, machine: Index, request: &Request<'_>) -> Reply {
    let mut reply = match respond(domain, machine, request) {
        Ok(reply) => reply,
        Err(message) => Reply::from(message),
    };
    let had_session = request.headers.contains_key("x-auth-token");
    if reply.status == StatusCode::UNAUTHORIZED && !had_session {
        domain.machines[machine].requests.unauthorized += 1;
    }
    describe(request, &mut reply);
    distort::distort(domain, machine, request, &mut reply);
    etag::stamp(domain, machine, request, &mut reply);
    reply
        .headers
        .push((HeaderName::from_static("odata-version"), "4.0".to_owned()));
    if !reply
        .headers
        .iter()
        .any(|(name, _)| *name == header::CACHE_CONTROL)
    {
        reply
            .headers
            .push((header::CACHE_CONTROL, "no-cache".to_owned()));
    }
    if request.method == "HEAD" {
        reply.body = Body::Nothing;
    }
    reply
}

/// Says where a document's schema is (DSP0266, Link header).
fn describe(request: &Request<'_>, reply: &mut Reply) {
    let Body::Json(document) = &reply.body else {
        return;
    };
    let kind = document.get("@odata.type").and_then(Value::as_str);
    let schema = kind.and_then(|kind| kind.trim_start_matches('#').rsplit_once('.'));
    if let (true, Some((schema, _))) = (matches!(request.method, "GET" | "HEAD"), schema) {
        let link = format!("<http://redfish.dmtf.org/schemas/v1/{schema}.json>; rel=describedby");
        reply.headers.push((header::LINK, link));
    }
}

fn respond(domain: &mut Domain, machine: Index, request: &Request<'_>) -> Result<Reply, Message> {
    if let Some(version) = request.headers.get("odata-version")
        && version != "4.0"
    {
        return Err(Message::PreconditionFailed);
    }
    const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"];
    if !METHODS.contains(&request.method) {
        return Err(Message::OperationNotImplemented);
    }
    let reads = matches!(request.method, "GET" | "HEAD");
    let trimmed = request.path.trim_end_matches('/');
    if reads && trimmed == "/redfish" {
        return Ok(Reply::ok(serde_json::json!({"v1": "/redfish/v1/"})));
    }
    let Some(rest) = trimmed.strip_prefix(ROOT) else {
        return Err(Message::ResourceMissing(request.path.to_owned()));
    };
    let segments: Vec<&str> = rest.split('/').skip(1).collect();
    if reads && segments == ["$metadata"] {
        return Ok(Reply::new(StatusCode::OK, Body::Xml(tree::metadata())));
    }
    let open = (reads && matches!(segments.as_slice(), [] | ["odata"]))
        || (request.method == "POST" && gate::is_login(&segments));
    let who = if open {
        None
    } else {
        Some(gate::who(domain, machine, request)?)
    };
    if reads {
        unsupported_query(request.query)?;
    }
    let view = View::new(domain, machine);
    let Some(node) = tree::find(&view, &segments) else {
        return Err(Message::ResourceMissing(request.path.to_owned()));
    };
    if let Some(who) = &who {
        gate::may(domain, machine, who, request.method, &node)?;
    }
    carry_out(domain, machine, request, node)
}

fn carry_out(
    domain: &mut Domain,
    machine: Index,
    request: &Request<'_>,
    node: Node,
) -> Result<Reply, Message> {
    let allow = node.allow();
    let not_allowed = || {
        let message = Message::OperationNotAllowed;
        Ok(Reply::from(message).with(header::ALLOW, allow.clone()))
    };
    match request.method {
        "GET" | "HEAD" if node.is_readable() => {
            let reply = task_reply(domain, machine, &node);
            let reply = reply.unwrap_or_else(|| Reply::ok(node.body));
            Ok(reply.with(header::ALLOW, allow))
        }
        "PATCH" => match node.patch {
            Some(patch) => {
                etag::check(domain, machine, request, &node.body)?;
                change::patch(domain, machine, request, patch)
            }
            None => not_allowed(),
        },
        "POST" => match node.post {
            Some(post) => action::post(domain, machine, request, post),
            None => not_allowed(),
        },
        "DELETE" => match node.delete {
            Some(delete) => change::delete(domain, machine, delete),
            None => not_allowed(),
        },
        _ => not_allowed(),
    }
}

/// A task monitor answers 202 until its task has ended.
fn task_reply(domain: &mut Domain, machine: Index, node: &Node) -> Option<Reply> {
    let id = node.monitor_of?;
    let gone = domain.strikes(machine, Fault::TaskMonitorGone).is_some();
    let tasks = &mut domain.machines[machine].bmc.tasks;
    let task = tasks.iter_mut().find(|task| task.id == id)?;
    if task.state == crate::machine::TaskState::Running {
        let location = format!("{ROOT}/TaskService/TaskMonitors/{id}");
        return Some(
            Reply::new(StatusCode::ACCEPTED, Body::Json(node.body.clone()))
                .with(header::LOCATION, location)
                .with(header::RETRY_AFTER, "5"),
        );
    }
    if gone || task.fetched {
        return Some(Message::ResourceMissing(format!("task monitor {id}")).into());
    }
    task.fetched = true;
    Some(match task.state {
        crate::machine::TaskState::Exception => Reply::new(
            StatusCode::BAD_REQUEST,
            Body::Json(Message::Failed(task.message.clone()).error()),
        ),
        crate::machine::TaskState::Running
        | crate::machine::TaskState::Completed
        | crate::machine::TaskState::Warned
        | crate::machine::TaskState::Critical
        | crate::machine::TaskState::Hidden => Reply::done(),
    })
}

/// Query parameters of the protocol that are not supported are refused;
/// others are left alone (DSP0266 7.3).
fn unsupported_query(query: &str) -> Result<(), Message> {
    let parameters = query
        .split('&')
        .map(|one| one.split('=').next().unwrap_or(one));
    for name in parameters {
        if name.starts_with('$') || matches!(name, "only" | "excerpt") {
            return Err(Message::QueryNotSupported);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
