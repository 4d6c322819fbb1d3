//! Who asks, and what they may do.

use base64::Engine as _;
use http::header;

use super::Request;
use super::message::Message;
use super::tree::{Delete, Node, Patch, Post};
use crate::access::LoginRefused;
use crate::domain::{Domain, Index};
use crate::effect::What;
use crate::fault::Fault;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Who {
    user: String,
    role: String,
    /// The id of their account.
    account: String,
    must_change_password: bool,
}

/// Whether a path takes logins.
pub(super) fn is_login(segments: &[&str]) -> bool {
    matches!(
        segments,
        ["SessionService", "Sessions"] | ["SessionService", "Sessions", "Members"]
    )
}

/// The account behind a request: its session's, else that of HTTP Basic.
pub(super) fn who(
    domain: &mut Domain,
    machine: Index,
    request: &Request<'_>,
) -> Result<Who, Message> {
    let access = &domain.machines[machine].personality.access;
    let now = domain.now;
    if let Some(token) = request.headers.get("x-auth-token") {
        if domain.strikes(machine, Fault::SessionsForgotten).is_some() {
            domain.machines[machine].accounts.sessions.clear();
        }
        let token = token.to_str().unwrap_or_default();
        let accounts = &mut domain.machines[machine].accounts;
        let position = accounts
            .of_token(access, token, now)
            .ok_or(Message::NoValidSession)?;
        return Ok(of_account(domain, machine, position));
    }
    let Some((user, password)) = basic(request) else {
        return Err(Message::NoValidSession);
    };
    let position = check(domain, machine, &user, &password)?;
    let accounts = &mut domain.machines[machine].accounts;
    if accounts.basic_users.insert(user.clone()) {
        domain.note(
            machine,
            What::Login {
                user,
                accepted: true,
            },
        );
    }
    Ok(of_account(domain, machine, position))
}

/// Checks credentials for a session, and notes the try.
pub(super) fn login(
    domain: &mut Domain,
    machine: Index,
    user: &str,
    password: &str,
) -> Result<usize, Message> {
    let position = check(domain, machine, user, password)?;
    let user = user.to_owned();
    domain.note(
        machine,
        What::Login {
            user,
            accepted: true,
        },
    );
    Ok(position)
}

/// Checks credentials, and notes the try if it fails.
fn check(
    domain: &mut Domain,
    machine: Index,
    user: &str,
    password: &str,
) -> Result<usize, Message> {
    let access = &domain.machines[machine].personality.access;
    let now = domain.now;
    let accounts = &mut domain.machines[machine].accounts;
    let checked = accounts.check(access, user, password, now);
    checked.map_err(|refused| {
        let user = user.to_owned();
        domain.note(
            machine,
            What::Login {
                user,
                accepted: false,
            },
        );
        match refused {
            LoginRefused::Wrong => Message::LoginRefused,
            LoginRefused::Locked => Message::AccountLocked,
        }
    })
}

fn of_account(domain: &mut Domain, machine: Index, position: usize) -> Who {
    let forced = domain
        .strikes(machine, Fault::PasswordChangeRequired)
        .is_some();
    let account = &domain.machines[machine].accounts.accounts[position];
    Who {
        user: account.user.clone(),
        role: account.role.clone(),
        account: account.id.clone(),
        must_change_password: account.must_change_password || forced,
    }
}

fn basic(request: &Request<'_>) -> Option<(String, String)> {
    let value = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim());
    let text = String::from_utf8(bytes.ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Whether they may use that method on that resource.
pub(super) fn may(
    domain: &Domain,
    machine: Index,
    who: &Who,
    method: &str,
    node: &Node,
) -> Result<(), Message> {
    let own_account = match (method, &node.patch) {
        ("PATCH", Some(Patch::Account(id))) => *id == who.account,
        _ => false,
    };
    if who.must_change_password && !own_account {
        let path = format!("{}/AccountService/Accounts/{}", super::ROOT, who.account);
        let reads_it = node.body["@odata.id"] == path.as_str();
        if !reads_it {
            return Err(Message::PasswordChangeRequired(path));
        }
    }
    if matches!(method, "GET" | "HEAD") || own_account {
        return Ok(());
    }
    let own_session = match (method, &node.delete) {
        ("DELETE", Some(Delete::Session(id))) => {
            let sessions = &domain.machines[machine].accounts.sessions;
            sessions
                .iter()
                .any(|one| one.id == *id && one.user == who.user)
        }
        _ => false,
    };
    let about_accounts = matches!(
        node.patch,
        Some(Patch::Account(_) | Patch::Role | Patch::AccountService)
    ) || matches!(node.post, Some(Post::Accounts));
    let allowed = match who.role.as_str() {
        "Administrator" => true,
        "Operator" => !about_accounts,
        _ => false,
    };
    if allowed || own_session {
        Ok(())
    } else {
        Err(Message::InsufficientPrivilege)
    }
}
