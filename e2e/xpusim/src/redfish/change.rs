//! PATCH and DELETE. Everything is checked before anything is changed.

use serde_json::{Map, Value};

use super::message::Message;
use super::tree::{self, Delete, Patch};
use super::{Reply, Request, action};
use crate::access::Account;
use crate::domain::{Domain, Index};
use crate::effect::What;
use crate::fault::Fault;
use crate::machine::{Enabled, Override};
use crate::personality::{Access, Role};
use crate::reset::RestorePolicy;

pub(super) fn patch(
    domain: &mut Domain,
    machine: Index,
    request: &Request<'_>,
    patch: Patch,
) -> Result<Reply, Message> {
    let mut body = action::object(request.body)?;
    body.retain(|name, _| !name.starts_with("@odata."));
    if body.is_empty() {
        return Err(Message::NoOperation);
    }
    match patch {
        Patch::System => system(domain, machine, &body)?,
        Patch::SystemSettings => {
            let boot = only(&body, "Boot")?;
            let wanted = boot_override(domain, machine, boot)?;
            domain.set_override(machine, wanted);
        }
        Patch::BiosSettings => bios(domain, machine, &body)?,
        Patch::SecureBoot => {
            let enable = boolean("SecureBootEnable", only(&body, "SecureBootEnable")?)?;
            domain.machines[machine].secure_boot.next = enable;
            note(domain, machine, "SecureBootEnable", &enable);
        }
        Patch::NetworkProtocol => {
            let name = text("HostName", only(&body, "HostName")?)?.to_owned();
            domain.machines[machine]
                .bmc
                .network_host_name
                .clone_from(&name);
            note(domain, machine, "HostName", &name);
        }
        Patch::Account(id) => account(domain, machine, &id, &body)?,
        // They can be asked for, and nothing in them can be changed.
        Patch::Manager | Patch::Role | Patch::AccountService | Patch::SessionService => {
            let name = body.keys().next().cloned().unwrap_or_default();
            let view = tree::View::new(domain, machine);
            let path = request.path.trim_start_matches(super::ROOT);
            let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
            let there =
                tree::find(&view, &segments).is_some_and(|node| node.body.get(&name).is_some());
            return Err(if there {
                Message::PropertyNotWritable(name)
            } else {
                Message::PropertyUnknown(name)
            });
        }
    }
    Ok(Reply::done())
}

fn note(domain: &mut Domain, machine: Index, name: &str, value: &dyn std::fmt::Display) {
    let what = What::Setting {
        name: name.to_owned(),
        value: value.to_string(),
    };
    domain.note(machine, what);
}

/// The value of the only property that may be there.
fn only<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a Value, Message> {
    match body.iter().find(|(other, _)| *other != name) {
        Some((other, _)) => Err(Message::PropertyUnknown(other.clone())),
        None => body.get(name).ok_or(Message::NoOperation),
    }
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Message> {
    let wrong = || Message::PropertyValueType(name.to_owned());
    value.as_str().ok_or_else(wrong)
}

fn text_or_null<'a>(name: &str, value: &'a Value) -> Result<&'a str, Message> {
    if value.is_null() {
        Ok("")
    } else {
        text(name, value)
    }
}

fn boolean(name: &str, value: &Value) -> Result<bool, Message> {
    let wrong = || Message::PropertyValueType(name.to_owned());
    value.as_bool().ok_or_else(wrong)
}

pub(super) fn not_in_list(name: &str, value: &Value) -> Message {
    Message::PropertyValueNotInList(name.to_owned(), value.to_string())
}

fn system(domain: &mut Domain, machine: Index, body: &Map<String, Value>) -> Result<(), Message> {
    let traits = &domain.machines[machine].personality.boot;
    let (mut boot, mut order, mut policy) = (None, None, None);
    let (mut indicator, mut tag) = (None, None);
    for (name, value) in body {
        match name.as_str() {
            "Boot" => {
                let mut rest = value.clone();
                if let Some(list) = rest
                    .as_object_mut()
                    .and_then(|rest| rest.remove("BootOrder"))
                {
                    order = Some(boot_order(domain, machine, &list)?);
                }
                let asks = rest.as_object().is_none_or(|rest| !rest.is_empty());
                if asks && traits.settings_object {
                    return Err(Message::PropertyNotWritable("Boot".to_owned()));
                }
                if asks {
                    boot = Some(boot_override(domain, machine, &rest)?);
                }
            }
            "PowerRestorePolicy" if traits.restore_policy => {
                let found = RestorePolicy::parse(text(name, value)?);
                policy = Some(found.ok_or_else(|| not_in_list(name, value))?);
            }
            "LocationIndicatorActive" => indicator = Some(boolean(name, value)?),
            "AssetTag" => tag = Some(text(name, value)?.to_owned()),
            _ => {
                let view = tree::View::new(domain, machine);
                let id = view.personality.ids.system;
                let node = tree::find(&view, &["Systems", id]);
                return Err(if node.is_some_and(|node| node.body.get(name).is_some()) {
                    Message::PropertyNotWritable(name.clone())
                } else {
                    Message::PropertyUnknown(name.clone())
                });
            }
        }
    }
    if let Some(wanted) = boot {
        domain.set_override(machine, wanted);
    }
    if let Some(order) = order {
        note(domain, machine, "BootOrder", &order.join(","));
        domain.machines[machine].boot.order = order;
    }
    if let Some(policy) = policy {
        domain.machines[machine].restore = policy;
        domain.note(machine, What::RestorePolicySet { policy });
    }
    if let Some(lit) = indicator {
        domain.machines[machine].indicator = lit;
        note(domain, machine, "LocationIndicatorActive", &lit);
    }
    if let Some(tag) = tag {
        note(domain, machine, "AssetTag", &tag);
        domain.machines[machine].asset_tag = tag;
    }
    Ok(())
}

/// The override that results from these properties: what is not named stays.
fn boot_override(domain: &Domain, machine: Index, boot: &Value) -> Result<Override, Message> {
    let one = &domain.machines[machine];
    let traits = &one.personality.boot;
    let pending = one.boot.pending.as_ref().filter(|_| traits.settings_object);
    let mut wanted = pending.unwrap_or(&one.boot.active).clone();
    let wrong = || Message::PropertyValueType("Boot".to_owned());
    for (name, value) in boot.as_object().ok_or_else(wrong)? {
        match name.as_str() {
            "BootSourceOverrideEnabled" => {
                let found = Enabled::parse(text(name, value)?);
                wanted.enabled = found.ok_or_else(|| not_in_list(name, value))?;
            }
            "BootSourceOverrideTarget" => {
                let target = text(name, value)?;
                if !traits.targets.contains(&target) {
                    return Err(not_in_list(name, value));
                }
                target.clone_into(&mut wanted.target);
            }
            "BootSourceOverrideMode" => {
                let mode = text(name, value)?;
                if !modes(one.personality.role).contains(&mode) {
                    return Err(not_in_list(name, value));
                }
                mode.clone_into(&mut wanted.mode);
            }
            "HttpBootUri" if traits.targets.contains(&"UefiHttp") => {
                wanted.uri = text_or_null(name, value)?.to_owned();
            }
            "UefiTargetBootSourceOverride" if traits.targets.contains(&"UefiTarget") => {
                wanted.device = text_or_null(name, value)?.to_owned();
            }
            "BootNext" if traits.targets.contains(&"UefiBootNext") => {
                let entry = text_or_null(name, value)?.to_owned();
                if !entry.is_empty() && !one.boot.order.contains(&entry) {
                    return Err(not_in_list(name, value));
                }
                wanted.next = entry;
            }
            _ => return Err(Message::PropertyUnknown(name.clone())),
        }
    }
    // Intel: Once goes with Cd alone (hardware.md 1.2).
    let limited = traits
        .once_only
        .is_some_and(|only| !only.contains(&wanted.target.as_str()));
    if wanted.enabled == Enabled::Once && limited {
        return Err(Message::PropertyValueConflict(
            "BootSourceOverrideEnabled".to_owned(),
            "BootSourceOverrideTarget".to_owned(),
        ));
    }
    Ok(wanted)
}

/// The boot modes: a card knows no BIOS.
pub(super) fn modes(role: Role) -> &'static [&'static str] {
    match role {
        Role::Card => &["UEFI"],
        Role::Host => &["UEFI", "Legacy"],
    }
}

fn boot_order(domain: &Domain, machine: Index, list: &Value) -> Result<Vec<String>, Message> {
    let wrong = || Message::PropertyValueType("BootOrder".to_owned());
    let entries = list.as_array().ok_or_else(wrong)?;
    let known = &domain.machines[machine].boot.order;
    let mut order = Vec::new();
    for entry in entries {
        let entry = entry.as_str().ok_or_else(wrong)?.to_owned();
        if !known.contains(&entry) || order.contains(&entry) {
            return Err(not_in_list("BootOrder", &entry.into()));
        }
        order.push(entry);
    }
    Ok(order)
}

fn bios(domain: &mut Domain, machine: Index, body: &Map<String, Value>) -> Result<(), Message> {
    let wrong = || Message::PropertyValueType("Attributes".to_owned());
    let mut body = body.clone();
    let apply_time = "@Redfish.SettingsApplyTime";
    if body.remove(apply_time).is_some()
        && domain.strikes(machine, Fault::ApplyTimeRefused).is_some()
    {
        return Err(Message::PropertyUnknown(apply_time.to_owned()));
    }
    let attributes = only(&body, "Attributes")?.as_object().ok_or_else(wrong)?;
    for (name, value) in attributes {
        if !domain.machines[machine].bios.contains_key(name) {
            return Err(Message::PropertyUnknown(name.clone()));
        }
        text(name, value)?;
    }
    for (name, value) in attributes {
        let value = value.as_str().unwrap_or_default().to_owned();
        note(domain, machine, name, &value);
        let one = &mut domain.machines[machine];
        if name == "NicMode" {
            one.nic_mode.next = value == "NicMode";
        }
        one.bios_pending.insert(name.clone(), value);
    }
    Ok(())
}

fn account(
    domain: &mut Domain,
    machine: Index,
    id: &str,
    body: &Map<String, Value>,
) -> Result<(), Message> {
    let access = &domain.machines[machine].personality.access;
    let accounts = &mut domain.machines[machine].accounts;
    let found = accounts.accounts.iter_mut().find(|one| one.id == id);
    let one = found.ok_or(Message::InternalError)?;
    let mut wanted = one.clone();
    account_properties(access, &mut wanted, body)?;
    let user = wanted.user.clone();
    *one = wanted;
    domain.note(machine, What::AccountChanged { user });
    Ok(())
}

/// Puts properties into an account.
pub(super) fn account_properties(
    access: &Access,
    account: &mut Account,
    body: &Map<String, Value>,
) -> Result<(), Message> {
    for (name, value) in body {
        match name.as_str() {
            "Password" => {
                let password = text(name, value)?;
                let (least, most) = access.password_length;
                let length = u32::try_from(password.chars().count()).unwrap_or(u32::MAX);
                if !(least..=most).contains(&length) || password == account.user {
                    return Err(Message::PropertyValueType(name.clone()));
                }
                password.clone_into(&mut account.password);
                account.must_change_password = false;
            }
            "UserName" => {
                let user = text(name, value)?;
                if user.is_empty() || user.len() > 64 || user.contains([':', '/', ' ']) {
                    return Err(Message::PropertyValueType(name.clone()));
                }
                user.clone_into(&mut account.user);
            }
            "RoleId" => {
                let role = text(name, value)?;
                if !tree::is_role(role) {
                    return Err(not_in_list(name, value));
                }
                role.clone_into(&mut account.role);
            }
            "Enabled" => account.enabled = boolean(name, value)?,
            "PasswordChangeRequired" => account.must_change_password = boolean(name, value)?,
            "Locked" => {
                if boolean(name, value)? {
                    return Err(not_in_list(name, value));
                }
            }
            "AccountTypes" if access.account_types => {}
            "Id" | "Name" | "Links" => return Err(Message::PropertyNotWritable(name.clone())),
            _ => return Err(Message::PropertyUnknown(name.clone())),
        }
    }
    Ok(())
}

pub(super) fn delete(
    domain: &mut Domain,
    machine: Index,
    delete: Delete,
) -> Result<Reply, Message> {
    match delete {
        Delete::Session(id) => {
            domain.machines[machine].accounts.close(&id);
        }
        Delete::Task(id) => domain.machines[machine]
            .bmc
            .tasks
            .retain(|task| task.id != id),
        Delete::Volume(id) => {
            let one = &mut domain.machines[machine];
            one.volumes.retain(|volume| volume.id != id);
            one.disk.clear();
            note(domain, machine, "volume", &"none");
        }
        Delete::Account(id) => {
            let accounts = &mut domain.machines[machine].accounts;
            let found = accounts.accounts.iter().find(|one| one.id == id).cloned();
            let account = found.ok_or(Message::InternalError)?;
            if account.fixed {
                return Err(Message::ResourceCannotBeDeleted);
            }
            accounts.accounts.retain(|one| one.id != id);
            accounts
                .sessions
                .retain(|session| session.user != account.user);
            let user = account.user;
            domain.note(machine, What::AccountChanged { user });
        }
    }
    Ok(Reply::done())
}
