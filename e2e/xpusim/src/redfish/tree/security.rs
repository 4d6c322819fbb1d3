//! Sessions, accounts, secure boot and firmware settings.

use serde_json::{Value, json};

use super::{Delete, Node, Patch, Post, ROOT, View, collection, healthy, kind, link};

pub(super) fn sessions(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = format!("{ROOT}/SessionService");
    let all = &view.machine.accounts.sessions;
    match rest {
        [] => Some(
            Node::read(json!({
                "@odata.id": path,
                "@odata.type": kind("SessionService"),
                "Id": "SessionService",
                "Name": "Session Service",
                "ServiceEnabled": true,
                "SessionTimeout": view.personality.access.session_timeout,
                "Sessions": link(format!("{path}/Sessions")),
                "Status": healthy(),
            }))
            .patched_by(Patch::SessionService),
        ),
        ["Sessions"] => {
            let ids: Vec<String> = all.iter().map(|session| session.id.clone()).collect();
            let node = collection("Session", "Session", &format!("{path}/Sessions"), &ids);
            Some(node.posted_to(Post::Sessions))
        }
        ["Sessions", "Members"] => Some(Node::action(Post::Sessions)),
        ["Sessions", id] => {
            let session = all.iter().find(|session| session.id == *id)?;
            let body = self::session(view, &session.id, &session.user);
            Some(Node::read(body).deleted_by(Delete::Session(session.id.clone())))
        }
        _ => None,
    }
}

/// The document of a session.
pub(in super::super) fn session(view: &View<'_>, id: &str, user: &str) -> Value {
    json!({
        "@odata.id": format!("{ROOT}/SessionService/Sessions/{id}"),
        "@odata.type": kind("Session"),
        "Id": id,
        "Name": format!("Session {id} of {}", view.machine.name),
        "UserName": user,
        "SessionType": "Redfish",
    })
}

/// Roles and their privileges.
const ROLES: [(&str, &[&str]); 3] = [
    (
        "Administrator",
        &[
            "Login",
            "ConfigureManager",
            "ConfigureUsers",
            "ConfigureSelf",
            "ConfigureComponents",
        ],
    ),
    (
        "Operator",
        &["Login", "ConfigureSelf", "ConfigureComponents"],
    ),
    ("ReadOnly", &["Login", "ConfigureSelf"]),
];

/// The names of the roles.
pub(in super::super) fn is_role(name: &str) -> bool {
    ROLES.iter().any(|(role, _)| *role == name)
}

pub(super) fn accounts(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = format!("{ROOT}/AccountService");
    let access = &view.personality.access;
    let all = &view.machine.accounts.accounts;
    match rest {
        [] => {
            let mut body = json!({
                "@odata.id": path,
                "@odata.type": kind("AccountService"),
                "Id": "AccountService",
                "Name": "Account Service",
                "ServiceEnabled": true,
                "MinPasswordLength": access.password_length.0,
                "MaxPasswordLength": access.password_length.1,
                "Accounts": link(format!("{path}/Accounts")),
                "Roles": link(format!("{path}/Roles")),
                "Status": healthy(),
            });
            if let Some((tries, seconds)) = access.lockout {
                body["AccountLockoutThreshold"] = tries.into();
                body["AccountLockoutDuration"] = seconds.into();
                body["AccountLockoutCounterResetAfter"] = seconds.into();
            }
            Some(Node::read(body).patched_by(Patch::AccountService))
        }
        ["Accounts"] => {
            let ids: Vec<String> = all.iter().map(|account| account.id.clone()).collect();
            let path = format!("{path}/Accounts");
            let node = collection("ManagerAccount", "Account", &path, &ids);
            Some(node.posted_to(Post::Accounts))
        }
        ["Accounts", id] => Some(account(view, id)?),
        ["Roles"] => {
            let ids: Vec<String> = ROLES.iter().map(|(id, _)| (*id).to_owned()).collect();
            Some(collection("Role", "Role", &format!("{path}/Roles"), &ids))
        }
        ["Roles", id] => {
            let (id, privileges) = ROLES.iter().find(|(role, _)| role == id)?;
            let node = Node::read(json!({
                "@odata.id": format!("{path}/Roles/{id}"),
                "@odata.type": kind("Role"),
                "Id": id,
                "RoleId": id,
                "Name": format!("Role {id}"),
                "IsPredefined": true,
                "AssignedPrivileges": privileges,
                "OemPrivileges": [],
            }));
            Some(node.patched_by(Patch::Role))
        }
        _ => None,
    }
}

/// The schema of accounts before they had types.
const OLD_ACCOUNT: &str = "#ManagerAccount.v1_3_0.ManagerAccount";

fn account(view: &View<'_>, id: &str) -> Option<Node> {
    let accounts = &view.machine.accounts.accounts;
    let one = accounts.iter().find(|account| account.id == id)?;
    let mut body = json!({
        "@odata.id": format!("{ROOT}/AccountService/Accounts/{id}"),
        "@odata.type": kind("ManagerAccount"),
        "Id": id,
        "Name": format!("Account {id}"),
        "UserName": one.user,
        "Password": null,
        "PasswordChangeRequired": one.must_change_password,
        "RoleId": one.role,
        "Enabled": one.enabled,
        "Locked": false,
        "Links": {"Role": link(format!("{ROOT}/AccountService/Roles/{}", one.role))},
    });
    if view.personality.access.account_types {
        body["AccountTypes"] = json!(["Redfish"]);
    } else {
        // An older service: the property was not there yet, nor mandatory.
        body["@odata.type"] = OLD_ACCOUNT.into();
    }
    let node = Node::read(body).patched_by(Patch::Account(id.to_owned()));
    Some(node.deleted_by(Delete::Account(id.to_owned())))
}

pub(super) fn secure_boot(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = format!("{}/SecureBoot", view.system());
    let state = view.machine.secure_boot;
    match rest {
        [] => Some(
            Node::read(json!({
                "@odata.id": path,
                "@odata.type": kind("SecureBoot"),
                "Id": "SecureBoot",
                "Name": "UEFI Secure Boot",
                "SecureBootEnable": state.next,
                "SecureBootCurrentBoot": if state.now { "Enabled" } else { "Disabled" },
                "SecureBootMode": "UserMode",
                "Actions": {"#SecureBoot.ResetKeys": {
                    "target": format!("{path}/Actions/SecureBoot.ResetKeys"),
                    "ResetKeysType@Redfish.AllowableValues":
                        ["ResetAllKeysToDefault", "DeleteAllKeys", "DeletePK"],
                }},
            }))
            .patched_by(Patch::SecureBoot),
        ),
        ["Actions", "SecureBoot.ResetKeys"] => Some(Node::action(Post::ResetKeys)),
        _ => None,
    }
}

pub(super) fn bios(view: &View<'_>, rest: &[&str]) -> Option<Node> {
    let path = format!("{}/Bios", view.system());
    let name = view.personality.ids.bios_settings;
    match rest {
        [] => Some(Node::read(json!({
            "@odata.id": path,
            "@odata.type": kind("Bios"),
            "Id": "Bios",
            "Name": "Firmware settings",
            "AttributeRegistry": "BiosAttributeRegistry.v1_0_0",
            "Attributes": view.machine.bios,
            "@Redfish.Settings": {
                "@odata.type": "#Settings.v1_3_5.Settings",
                "SettingsObject": link(format!("{path}/{name}")),
                "SupportedApplyTimes": ["OnReset"],
            },
            "Actions": {"#Bios.ResetBios": {"target": format!("{path}/Actions/Bios.ResetBios")}},
        }))),
        ["Actions", "Bios.ResetBios"] => Some(Node::action(Post::ResetBios)),
        [one] if *one == name => {
            let mut attributes = view.machine.bios.clone();
            attributes.extend(view.machine.bios_pending.clone());
            Some(
                Node::read(json!({
                    "@odata.id": format!("{path}/{name}"),
                    "@odata.type": kind("Bios"),
                    "Id": name,
                    "Name": "Firmware settings for the next boot",
                    "AttributeRegistry": "BiosAttributeRegistry.v1_0_0",
                    "Attributes": attributes,
                }))
                .patched_by(Patch::BiosSettings),
            )
        }
        _ => None,
    }
}
