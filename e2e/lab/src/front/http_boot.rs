//! A BMC whose machine's own firmware fetches what it boots: `Boot.HttpBootUri`.
//!
//! The emulator would download the URL itself and insert a CD. Here the URL goes into the
//! firmware's variables, as a network boot option for the next boot, or for every boot that finds
//! nothing on the disk. Whether the caller may ask for that stays the emulator's decision: it is
//! asked for a boot from disk instead. A running VM has its variables in memory: a lasting
//! override that is taken back meanwhile holds until its BMC powers it on the next time.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::nvram::Nvram;

const FROM_DISK: &str = r#"{"Boot":{"BootSourceOverrideTarget":"Hdd"}}"#;

/// What a request says of the next boot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    target: Option<String>,
    uri: Option<String>,
    /// It is to stay when it was used.
    lasts: bool,
}

impl Asked {
    /// What the emulator is asked in its place.
    pub(super) fn for_emulator(&self, body: Bytes) -> Bytes {
        if self.fetches() || self.target.is_none() {
            Bytes::from_static(FROM_DISK.as_bytes())
        } else {
            body
        }
    }

    /// Whether the firmware is to fetch the URL.
    fn fetches(&self) -> bool {
        let has_uri = self.uri.as_ref().is_some_and(|uri| !uri.is_empty());
        has_uri && self.target.as_deref() == Some("UefiHttp")
    }
}

/// What stands in a machine's settings.
#[derive(Debug, Default)]
struct Settings {
    /// The URL; it stays until it is replaced or emptied.
    uri: String,
    /// Whether the next boot is from there. A boot consumes it, unless it lasts.
    armed: bool,
    lasts: bool,
    /// It was taken back while the VM was running.
    outdated: bool,
}

/// The one-time boot of one machine.
pub(crate) struct HttpBoot {
    nvram: Nvram,
    is_on: Box<dyn Fn() -> bool + Send + Sync>,
    settings: Mutex<Settings>,
}

impl HttpBoot {
    pub(crate) fn new(nvram: Nvram, is_on: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            nvram,
            is_on: Box::new(is_on),
            settings: Mutex::default(),
        }
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request to `system` says of its next boot, if it is about that.
    pub(super) fn asked(
        &self,
        method: &Method,
        path: &str,
        system: &str,
        body: &[u8],
    ) -> Option<Asked> {
        let own = format!("/redfish/v1/Systems/{system}");
        if method != Method::PATCH || path.trim_end_matches('/') != own {
            return None;
        }
        let document: Value = serde_json::from_slice(body).ok()?;
        let boot = document.get("Boot")?.as_object()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let asked = Asked {
            target: boot.get("BootSourceOverrideTarget").and_then(text),
            // `null` empties it, as an empty text does.
            uri: boot
                .get("HttpBootUri")
                .map(|uri| text(uri).unwrap_or_default()),
            lasts: boot.get("BootSourceOverrideEnabled") == Some(&json!("Continuous")),
        };
        (asked.target.is_some() || asked.uri.is_some()).then_some(asked)
    }

    /// Whether that can be done now: a running VM has its variables in memory.
    pub(super) fn is_possible(&self, asked: &Asked) -> bool {
        !asked.fetches() || !(self.is_on)()
    }

    /// Does what the emulator has agreed to.
    pub(super) async fn carry_out(&self, asked: Asked) -> Result<()> {
        let nvram = self.nvram.clone();
        let fetches = asked.fetches();
        let lasts = fetches && asked.lasts;
        // Who speaks of the URL alone says nothing of the override.
        let of_target = asked.target.is_some();
        let (uri, was_armed) = {
            let is_on = (self.is_on)();
            let mut settings = self.settings();
            let lasted = settings.lasts;
            let was_armed = settings.armed && of_target;
            if of_target {
                settings.armed = fetches;
                settings.lasts = lasts;
                settings.outdated = is_on && was_armed && lasted;
            }
            if let Some(uri) = asked.uri {
                settings.uri = uri;
            }
            (settings.uri.clone(), was_armed && !is_on)
        };
        let change = move || match (fetches, was_armed) {
            (true, _) if lasts => nvram.boot_always_from(&uri),
            (true, _) => nvram.boot_once_from(&uri),
            (false, true) => nvram.boot_in_order(),
            (false, false) => Ok(()),
        };
        tokio::task::spawn_blocking(change)
            .await
            .context("the task that changes UEFI variables ended early")?
    }

    /// Makes up for what could not be changed while the VM was running, before it is powered on.
    pub(super) async fn before_power_on(&self) -> Result<()> {
        let is_due = !(self.is_on)() && std::mem::take(&mut self.settings().outdated);
        if !is_due {
            return Ok(());
        }
        let nvram = self.nvram.clone();
        tokio::task::spawn_blocking(move || nvram.boot_in_order())
            .await
            .context("the task that changes UEFI variables ended early")?
    }

    /// Shows the settings in a ComputerSystem.
    pub(super) fn show(&self, document: &mut Value, system: &str) {
        let is_system = document.get("UUID").and_then(Value::as_str) == Some(system);
        let Some(boot) = document.get_mut("Boot").filter(|_| is_system) else {
            return;
        };
        let is_on = (self.is_on)();
        let mut settings = self.settings();
        settings.armed &= !is_on || settings.lasts;
        boot["HttpBootUri"] = json!(settings.uri);
        if settings.armed {
            boot["BootSourceOverrideTarget"] = json!("UefiHttp");
            let enabled = if settings.lasts { "Continuous" } else { "Once" };
            boot["BootSourceOverrideEnabled"] = json!(enabled);
        }
    }
}

impl fmt::Debug for HttpBoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpBoot")
            .field("nvram", &self.nvram)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn boot_of_nothing() -> HttpBoot {
        HttpBoot::new(Nvram::of("/nowhere".as_ref()), || false)
    }

    #[test]
    fn only_a_url_for_the_own_system_is_fetched() {
        let fetches = |path: &str, boot: Value| {
            let body = json!({"Boot": boot}).to_string();
            let asked = boot_of_nothing().asked(&Method::PATCH, path, "aa-1", body.as_bytes());
            asked.map(|asked| asked.fetches())
        };
        let own = "/redfish/v1/Systems/aa-1";
        let fetch = json!({"BootSourceOverrideTarget": "UefiHttp", "HttpBootUri": "http://x/y"});
        assert_eq!(fetches(own, fetch.clone()), Some(true));
        assert_eq!(fetches("/redfish/v1/Systems/bb-2", fetch), None);
        for other in [
            json!({"BootSourceOverrideTarget": "UefiHttp"}),
            json!({"BootSourceOverrideTarget": "Hdd", "HttpBootUri": "http://x/y"}),
            json!({"HttpBootUri": ""}),
            json!({"HttpBootUri": null}),
        ] {
            assert_eq!(fetches(own, other), Some(false));
        }
        assert_eq!(fetches(own, json!({"BootOrder": []})), None);
    }

    #[test]
    fn a_boot_consumes_the_override_and_leaves_the_url() {
        let on = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&on);
        let boot = HttpBoot::new(Nvram::of("/nowhere".as_ref()), move || {
            seen.load(Ordering::Relaxed)
        });
        *boot.settings() = Settings {
            uri: "http://x/y".to_owned(),
            armed: true,
            ..Settings::default()
        };
        let shown = || {
            let from_disk = json!({"BootSourceOverrideTarget": "Hdd", "HttpBootUri": "None"});
            let mut document = json!({"UUID": "aa-1", "Boot": from_disk});
            boot.show(&mut document, "aa-1");
            let boot = &document["Boot"];
            (
                boot["BootSourceOverrideTarget"].clone(),
                boot["HttpBootUri"].clone(),
            )
        };
        assert_eq!(shown(), (json!("UefiHttp"), json!("http://x/y")));
        on.store(true, Ordering::Relaxed);
        assert_eq!(shown(), (json!("Hdd"), json!("http://x/y")));
        on.store(false, Ordering::Relaxed);
        assert_eq!(shown(), (json!("Hdd"), json!("http://x/y")));
        *boot.settings() = Settings {
            armed: true,
            lasts: true,
            ..Settings::default()
        };
        on.store(true, Ordering::Relaxed);
        assert_eq!(shown().0, json!("UefiHttp"), "one that lasts stays");
    }
}
