//! ETags: a digest of the document, and what BMCs make of If-Match.

use http::header;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::message::Message;
use super::{Body, Reply, Request};
use crate::domain::{Domain, Index};
use crate::fault::Fault;

/// The ETag of a document.
fn of(document: &Value, weak: bool) -> String {
    let digest = hex::encode(&Sha256::digest(document.to_string())[..8]);
    if weak {
        format!("W/\"{digest}\"")
    } else {
        format!("\"{digest}\"")
    }
}

fn weak(domain: &Domain, machine: Index) -> bool {
    let rules = domain.machines[machine].faults.rules();
    rules.iter().any(|rule| rule.fault == Fault::EtagWeak)
}

/// Puts the ETag on a document, and answers 304 to who has it already.
pub(super) fn stamp(domain: &Domain, machine: Index, request: &Request<'_>, reply: &mut Reply) {
    let reads = matches!(request.method, "GET" | "HEAD");
    if !reads || reply.status != http::StatusCode::OK {
        return;
    }
    if !domain.machines[machine].personality.offers.etags {
        return;
    }
    let Body::Json(document) = &mut reply.body else {
        return;
    };
    if document.get("@odata.id").is_none() {
        return;
    }
    let tag = of(document, weak(domain, machine));
    document["@odata.etag"] = tag.clone().into();
    let known = request.headers.get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known == tag.as_str()) {
        reply.status = http::StatusCode::NOT_MODIFIED;
        reply.body = Body::Nothing;
    }
    reply.headers.push((header::ETAG, tag));
}

/// Checks If-Match before a change.
pub(super) fn check(
    domain: &mut Domain,
    machine: Index,
    request: &Request<'_>,
    document: &Value,
) -> Result<(), Message> {
    let has_etags = domain.machines[machine].personality.offers.etags;
    let (method, path) = (request.method, request.path);
    let Some(wanted) = request.headers.get(header::IF_MATCH) else {
        let demanded = domain.strikes_request(machine, Fault::EtagDemanded, method, path);
        return match demanded {
            Some(_) => Err(Message::PreconditionRequired),
            None => Ok(()),
        };
    };
    domain.fulfils(machine, Fault::EtagDemanded, method, path);
    let mut strikes = |fault| {
        domain
            .strikes_request(machine, fault, method, path)
            .is_some()
    };
    if strikes(Fault::EtagRefused) {
        return Err(Message::HeaderInvalid("If-Match"));
    }
    if !has_etags {
        return Ok(());
    }
    if wanted == "*" {
        // Any tag will do, also one that nobody could give.
        domain.fulfils(machine, Fault::EtagWeak, method, path);
        domain.fulfils(machine, Fault::EtagNeverMatches, method, path);
        return Ok(());
    }
    if strikes(Fault::EtagNeverMatches) {
        return Err(Message::PreconditionFailed);
    }
    // Where nothing is compared, weak tags do no harm.
    let weak = domain
        .strikes_request(machine, Fault::EtagWeak, method, path)
        .is_some();
    let tag = of(document, weak);
    if wanted == tag.as_str() {
        Ok(())
    } else {
        Err(Message::PreconditionFailed)
    }
}
