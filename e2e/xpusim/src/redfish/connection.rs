//! Faults of the connection: what the front must do with a request and with
//! its answer.

use http::{StatusCode, header};

use super::{Body, Reply, Request};
use crate::domain::{Domain, Index};
use crate::effect::What;
use crate::fault::{Fault, Rule};

/// What becomes of a request before it has any effect.
#[derive(Debug)]
pub(crate) enum Before {
    /// It is served.
    Serve,
    /// It is never answered.
    Hang,
    /// The connection closes.
    Drop,
    /// This is answered instead.
    Answer(Reply),
}

/// What becomes of its answer.
#[derive(Debug, Default)]
pub(crate) struct After {
    /// The connection closes instead.
    pub(crate) lose: bool,
    /// It comes so many seconds late.
    pub(crate) late: u64,
    /// It is no JSON.
    pub(crate) garbage: bool,
    /// The connection closes at its next request.
    pub(crate) close: bool,
}

fn strikes(
    domain: &mut Domain,
    machine: Index,
    request: &Request<'_>,
    fault: Fault,
) -> Option<Rule> {
    let rule = domain.strikes_request(machine, fault, request.method, request.path)?;
    domain.note(machine, What::FaultStruck { fault });
    Some(rule)
}

/// Judges a request.
pub(crate) fn before(domain: &mut Domain, machine: Index, request: &Request<'_>) -> Before {
    if strikes(domain, machine, request, Fault::Hang).is_some() {
        return Before::Hang;
    }
    if strikes(domain, machine, request, Fault::DropRequest).is_some() {
        return Before::Drop;
    }
    if let Some(rule) = strikes(domain, machine, request, Fault::AnswerStatus) {
        let status = rule
            .status
            .and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = super::Message::InternalError.error();
        return Before::Answer(Reply::new(status, Body::Json(error)));
    }
    if request.method == "HEAD" && strikes(domain, machine, request, Fault::NoHead).is_some() {
        let reply = Reply::new(StatusCode::METHOD_NOT_ALLOWED, Body::Nothing);
        return Before::Answer(reply.with(header::ALLOW, "GET"));
    }
    let slash = request.path.len() > "/redfish/v1/".len() && request.path.ends_with('/');
    if slash && strikes(domain, machine, request, Fault::SlashMissing).is_some() {
        return Before::Answer(super::Message::ResourceMissing(request.path.to_owned()).into());
    }
    if strikes(domain, machine, request, Fault::RedirectToHttp).is_some() {
        let host = request.headers.get(header::HOST);
        let host = host
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        let reply = Reply::new(StatusCode::TEMPORARY_REDIRECT, Body::Nothing);
        let location = format!("http://{host}{}", request.path);
        return Before::Answer(reply.with(header::LOCATION, location));
    }
    Before::Serve
}

/// Judges an answer.
pub(crate) fn after(domain: &mut Domain, machine: Index, request: &Request<'_>) -> After {
    let late = strikes(domain, machine, request, Fault::SlowReply);
    After {
        lose: strikes(domain, machine, request, Fault::LoseReply).is_some(),
        late: late.map_or(0, |rule| rule.seconds.unwrap_or(5)),
        garbage: strikes(domain, machine, request, Fault::Garbage).is_some(),
        close: strikes(domain, machine, request, Fault::CloseSilently).is_some(),
    }
}
