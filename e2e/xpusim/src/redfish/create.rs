//! POST to a collection: sessions, accounts, volumes.

use http::{HeaderName, StatusCode, header};
use serde_json::{Map, Value};

use super::message::Message;
use super::tree::{self, View};
use super::{Body, ROOT, Reply, change, gate};
use crate::access::Account;
use crate::domain::{Domain, Index};
use crate::effect::What;
use crate::fault::Fault;
use crate::machine::Volume;

pub(super) fn open_session(
    domain: &mut Domain,
    machine: Index,
    body: &Map<String, Value>,
) -> Result<Reply, Message> {
    let text = |name: &'static str| match body.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(Message::PropertyValueType(name.to_owned())),
        None => Err(Message::PropertyMissing(name)),
    };
    let (user, password) = (text("UserName")?, text("Password")?);
    let account = gate::login(domain, machine, user, password)?;
    let account = domain.machines[machine].accounts.accounts[account].clone();
    if domain.strikes(machine, Fault::SessionsFull).is_some() {
        return Err(Message::SessionLimitExceeded);
    }
    let now = domain.now;
    let one = &mut domain.machines[machine];
    let access = &one.personality.access;
    let session = one
        .accounts
        .open(access, user, now)
        .ok_or(Message::SessionLimitExceeded)?;
    let view = View::new(domain, machine);
    let mut document = tree::session(&view, &session.id, &session.user);
    if account.must_change_password {
        let path = format!("{ROOT}/AccountService/Accounts/{}", account.id);
        let message = Message::PasswordChangeRequired(path);
        document["@Message.ExtendedInfo"] = Value::Array(vec![message.value()]);
    }
    let location = format!("{ROOT}/SessionService/Sessions/{}", session.id);
    let mut reply = Reply::new(StatusCode::CREATED, Body::Json(document));
    reply.headers = vec![
        (header::LOCATION, location),
        (HeaderName::from_static("x-auth-token"), session.token),
    ];
    Ok(reply)
}

pub(super) fn create_account(
    domain: &mut Domain,
    machine: Index,
    body: &Map<String, Value>,
) -> Result<Reply, Message> {
    for name in ["UserName", "Password", "RoleId"] {
        if !body.contains_key(name) {
            return Err(Message::PropertyMissing(name));
        }
    }
    let access = &domain.machines[machine].personality.access;
    let mut account = Account {
        id: String::new(),
        user: String::new(),
        password: String::new(),
        role: String::new(),
        enabled: true,
        must_change_password: false,
        fixed: false,
    };
    change::account_properties(access, &mut account, body)?;
    let accounts = &mut domain.machines[machine].accounts;
    if accounts.accounts.iter().any(|one| one.user == account.user) {
        return Err(Message::ResourceAlreadyExists(account.user));
    }
    account.id = accounts.new_id(access, &account.user);
    let (id, user) = (account.id.clone(), account.user.clone());
    accounts.accounts.push(account);
    domain.note(machine, What::AccountChanged { user });
    let view = View::new(domain, machine);
    let node = tree::find(&view, &["AccountService", "Accounts", &id]);
    let document = node.ok_or(Message::InternalError)?.body;
    let location = format!("{ROOT}/AccountService/Accounts/{id}");
    Ok(Reply::new(StatusCode::CREATED, Body::Json(document)).with(header::LOCATION, location))
}

/// A volume over all drives. What the disk held is gone.
pub(super) fn create_volume(
    domain: &mut Domain,
    machine: Index,
    body: &Map<String, Value>,
) -> Result<Reply, Message> {
    let Some(raid) = body.get("RAIDType") else {
        return Err(Message::PropertyMissing("RAIDType"));
    };
    let raid = match raid.as_str().filter(|raid| tree::RAID_TYPES.contains(raid)) {
        Some(raid) => raid.to_owned(),
        None => return Err(change::not_in_list("RAIDType", raid)),
    };
    let one = &mut domain.machines[machine];
    if !one.volumes.is_empty() {
        return Err(Message::ResourceInUse);
    }
    let disks = one.personality.hardware.disks.iter();
    let bytes = disks.map(|(.., bytes)| bytes).sum();
    let name = body.get("Name").and_then(Value::as_str).unwrap_or("Volume");
    one.volumes.push(Volume {
        id: 1,
        name: name.to_owned(),
        raid: raid.clone(),
        bytes,
    });
    one.disk.clear();
    let what = What::Setting {
        name: "volume".to_owned(),
        value: raid,
    };
    domain.note(machine, what);
    let location = format!(
        "{ROOT}/Systems/{}/Storage/Disks/Volumes/1",
        domain.machines[machine].personality.ids.system
    );
    Ok(Reply::new(StatusCode::CREATED, Body::Nothing).with(header::LOCATION, location))
}
