//! A BMC that speaks with its machine's own firmware about what it boots: `Boot.BootOptions`,
//! `Boot.BootOrder`, and boots of one entry or of the CD once.
//!
//! The emulator tells QEMU an order of devices, by which the firmware rewrites its own before every
//! boot. Here nobody tells QEMU anything: what a VM boots is what stands in its variables, and what
//! is asked of its BMC is written there. Whether the caller may ask stays the emulator's decision. A
//! running VM has its variables in memory: an order waits until the VM is off, and is shown already,
//! and an override is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};

use crate::nvram::{CD, Nvram};
use crate::variables::{BootVariables, number, reference};

/// What a request is about, as far as the firmware's variables are concerned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Collection,
    Member(u16),
    Change(Value),
}

/// What a change comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    /// Another override, or none.
    entry: Option<Option<u16>>,
    order: Option<Vec<u16>>,
}

#[derive(Debug, Default)]
struct Settings {
    /// The entry of the next boot alone. The firmware consumes it.
    armed: Option<u16>,
    /// An order that the firmware has not got yet.
    order: Option<Vec<u16>>,
}

/// The boot entries of one machine.
pub(crate) struct BootOptions {
    nvram: Nvram,
    is_on: Box<dyn Fn() -> bool + Send + Sync>,
    settings: Mutex<Settings>,
    /// One change after the other, and none while the VM is switched on.
    changing: tokio::sync::Mutex<()>,
}

impl BootOptions {
    pub(crate) fn new(nvram: Nvram, is_on: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            nvram,
            is_on: Box::new(is_on),
            settings: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the firmware of a VM that is off the order that waits.
    pub(super) async fn settle(&self) -> Result<()> {
        let _one = self.changing.lock().await;
        if (self.is_on)() {
            return Ok(());
        }
        let Some(order) = self.settings().order.clone() else {
            return Ok(());
        };
        self.write(move |nvram| nvram.set_order(&order)).await?;
        self.settings().order = None;
        Ok(())
    }

    async fn write(
        &self,
        change: impl FnOnce(&Nvram) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let nvram = self.nvram.clone();
        tokio::task::spawn_blocking(move || change(&nvram))
            .await
            .context("the task that changes UEFI variables ended early")?
    }

    /// The answer to a request, status and document.
    pub(super) async fn answer(&self, asked: Asked, system: &str) -> Result<(u16, Value)> {
        let variables = self.nvram.boot_variables()?;
        match asked {
            Asked::Collection => Ok((200, collection(system, &variables.entries))),
            Asked::Member(number) => Ok(match variables.entries.get(&number) {
                Some(name) => (200, member(system, number, name)),
                None => refused(404, &format!("There is no {}", reference(number))),
            }),
            Asked::Change(boot) => match change(&boot, &variables.entries) {
                Ok(change) => self.carry_out(change).await,
                Err(why) => Ok(refused(400, &why)),
            },
        }
    }

    async fn carry_out(&self, change: Change) -> Result<(u16, Value)> {
        let _one = self.changing.lock().await;
        let is_on = (self.is_on)();
        if is_on && matches!(change.entry, Some(Some(_))) {
            let why = "The next boot cannot be changed while the system is on";
            return Ok(refused(409, why));
        }
        if let Some(entry) = change.entry {
            let before = self.settings().armed;
            match (entry, before) {
                (Some(entry), _) => self.write(move |nvram| nvram.boot_once(entry)).await?,
                (None, Some(_)) if !is_on => self.write(Nvram::forget_next).await?,
                (None, _) => {}
            }
            self.settings().armed = entry;
        }
        if let Some(order) = change.order {
            if is_on {
                self.settings().order = Some(order);
            } else {
                self.write(move |nvram| nvram.set_order(&order)).await?;
                self.settings().order = None;
            }
        }
        Ok((204, Value::Null))
    }

    /// Shows in a ComputerSystem what the firmware would boot.
    pub(super) fn show(&self, document: &mut Value, system: &str) -> Result<()> {
        let is_system = document.get("UUID").and_then(Value::as_str) == Some(system);
        let Some(boot) = document.get_mut("Boot").filter(|_| is_system) else {
            return Ok(());
        };
        let variables = self.nvram.boot_variables()?;
        let mut settings = self.settings();
        settings.armed = settings.armed.filter(|_| settings.armed == variables.next);
        *boot = shown(&settings, &variables, system);
        Ok(())
    }
}

impl fmt::Debug for BootOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootOptions")
            .field("nvram", &self.nvram)
            .finish_non_exhaustive()
    }
}

fn path_of(system: &str) -> String {
    format!("/redfish/v1/Systems/{system}")
}

/// What a request to `system` is about, if it is about that.
pub(super) fn asked(method: &Method, path: &str, system: &str, body: &[u8]) -> Option<Asked> {
    let rest = path.trim_end_matches('/').strip_prefix(&path_of(system))?;
    if method == Method::PATCH && rest.is_empty() {
        let document: Value = serde_json::from_slice(body).ok()?;
        return document.get("Boot").cloned().map(Asked::Change);
    }
    let rest = rest.strip_prefix("/BootOptions")?;
    if method != Method::GET {
        return None;
    }
    if rest.is_empty() {
        return Some(Asked::Collection);
    }
    number(rest.strip_prefix('/')?).map(Asked::Member)
}

fn change(boot: &Value, entries: &BTreeMap<u16, String>) -> Result<Change, String> {
    let known = |value: &Value| -> Result<u16, String> {
        let one = value.as_str().and_then(number);
        one.filter(|one| entries.contains_key(one))
            .ok_or_else(|| format!("{value} is no boot option"))
    };
    let fields = boot.as_object().ok_or("Boot is no object")?;
    let mut change = Change::default();
    for (name, value) in fields {
        match (name.as_str(), value.as_str()) {
            ("BootOrder", _) => {
                let order = value.as_array().ok_or("BootOrder is no list")?;
                change.order = Some(order.iter().map(known).collect::<Result<_, _>>()?);
            }
            ("BootSourceOverrideTarget", Some("None"))
            | ("BootSourceOverrideEnabled", Some("Disabled")) => change.entry = Some(None),
            ("BootSourceOverrideTarget", Some("Cd")) => change.entry = Some(Some(CD)),
            ("BootSourceOverrideTarget", Some("UefiBootNext")) => {
                let next = boot.get("BootNext").ok_or("BootNext is missing")?;
                change.entry = Some(Some(known(next)?));
            }
            ("BootSourceOverrideEnabled", Some("Once")) | ("BootNext", _) => {}
            _ => return Err(format!("{name} cannot be {value}")),
        }
    }
    Ok(change)
}

fn shown(settings: &Settings, variables: &BootVariables, system: &str) -> Value {
    let order = settings.order.as_ref().unwrap_or(&variables.order);
    let order: Vec<String> = order.iter().copied().map(reference).collect();
    let (target, enabled) = match settings.armed {
        None => ("None", "Disabled"),
        Some(CD) => ("Cd", "Once"),
        Some(_) => ("UefiBootNext", "Once"),
    };
    json!({
        "BootOptions": {"@odata.id": format!("{}/BootOptions", path_of(system))},
        "BootOrder": order,
        "BootNext": variables.next.map(reference),
        "BootSourceOverrideTarget": target,
        "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Cd", "UefiBootNext"],
        "BootSourceOverrideEnabled": enabled,
        "BootSourceOverrideEnabled@Redfish.AllowableValues": ["Disabled", "Once"],
        "BootSourceOverrideMode": "UEFI",
    })
}

fn collection(system: &str, entries: &BTreeMap<u16, String>) -> Value {
    let path = format!("{}/BootOptions", path_of(system));
    let members = entries
        .keys()
        .map(|one| json!({"@odata.id": format!("{path}/{}", reference(*one))}));
    json!({
        "@odata.type": "#BootOptionCollection.BootOptionCollection",
        "@odata.id": path,
        "Name": "Boot options",
        "Members@odata.count": entries.len(),
        "Members": members.collect::<Vec<_>>(),
    })
}

fn member(system: &str, number: u16, name: &str) -> Value {
    let reference = reference(number);
    json!({
        "@odata.type": "#BootOption.v1_0_4.BootOption",
        "@odata.id": format!("{}/BootOptions/{reference}", path_of(system)),
        "Id": reference,
        "Name": "Boot option",
        "BootOptionReference": reference,
        "DisplayName": name,
    })
}

fn refused(status: u16, why: &str) -> (u16, Value) {
    let error = json!({"error": {"code": "Base.1.0.GeneralError", "message": why}});
    (status, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> BTreeMap<u16, String> {
        let all = [(0x0a0a, "Card OS A"), (0x0b0b, "Card OS B")];
        all.map(|(number, name)| (number, name.to_owned())).into()
    }

    #[test]
    fn what_is_asked_of_the_own_system_is_told_from_the_rest() {
        let of =
            |method: Method, path: &str, body: &str| asked(&method, path, "aa-1", body.as_bytes());
        let own = "/redfish/v1/Systems/aa-1";
        let boot = json!({"BootNext": "Boot0A0A"});
        let body = json!({"Boot": boot}).to_string();
        assert_eq!(of(Method::PATCH, own, &body), Some(Asked::Change(boot)));
        assert_eq!(of(Method::PATCH, own, r#"{"IndicatorLED": "Off"}"#), None);
        assert_eq!(of(Method::PATCH, "/redfish/v1/Systems/bb-2", &body), None);
        assert_eq!(of(Method::GET, own, ""), None);
        let options = format!("{own}/BootOptions");
        assert_eq!(of(Method::GET, &options, ""), Some(Asked::Collection));
        assert_eq!(
            of(Method::GET, &format!("{options}/Boot0A0A"), ""),
            Some(Asked::Member(0x0a0a))
        );
        assert_eq!(of(Method::GET, &format!("{options}/0A0A"), ""), None);
        assert_eq!(of(Method::DELETE, &options, ""), None);
    }

    #[test]
    fn a_change_names_entries_that_are_there() {
        let of = |boot: Value| change(&boot, &entries());
        let next = json!({
            "BootSourceOverrideTarget": "UefiBootNext",
            "BootSourceOverrideEnabled": "Once",
            "BootNext": "Boot0B0B",
        });
        let armed = |entry| Change {
            entry: Some(entry),
            order: None,
        };
        assert_eq!(of(next), Ok(armed(Some(0x0b0b))));
        let cd = json!({"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once"});
        assert_eq!(of(cd), Ok(armed(Some(CD))));
        for off in [
            json!({"BootSourceOverrideEnabled": "Disabled"}),
            json!({"BootSourceOverrideTarget": "None"}),
        ] {
            assert_eq!(of(off), Ok(armed(None)));
        }
        let order = Change {
            entry: None,
            order: Some(vec![0x0b0b, 0x0a0a]),
        };
        assert_eq!(
            of(json!({"BootOrder": ["Boot0B0B", "Boot0A0A"]})),
            Ok(order)
        );
        for wrong in [
            json!({"BootOrder": ["Boot0B0B", "Boot0C0C"]}),
            json!({"BootOrder": "Boot0B0B"}),
            json!({"BootSourceOverrideTarget": "UefiBootNext"}),
            json!({"BootSourceOverrideTarget": "UefiBootNext", "BootNext": "Boot0C0C"}),
            json!({"BootSourceOverrideTarget": "Pxe"}),
            json!({"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Continuous"}),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_order_that_waits_is_shown_and_an_override_as_long_as_it_is_armed() {
        let variables = BootVariables {
            entries: entries(),
            order: vec![0x0a0a, 0x0b0b],
            next: Some(0x0b0b),
        };
        let mut settings = Settings {
            armed: Some(0x0b0b),
            order: Some(vec![0x0b0b, 0x0a0a]),
        };
        let boot = shown(&settings, &variables, "aa-1");
        assert_eq!(boot["BootOrder"], json!(["Boot0B0B", "Boot0A0A"]));
        assert_eq!(boot["BootSourceOverrideTarget"], "UefiBootNext");
        assert_eq!(boot["BootNext"], "Boot0B0B");
        settings = Settings::default();
        let boot = shown(&settings, &variables, "aa-1");
        assert_eq!(boot["BootOrder"], json!(["Boot0A0A", "Boot0B0B"]));
        assert_eq!(boot["BootSourceOverrideEnabled"], "Disabled");
    }
}
