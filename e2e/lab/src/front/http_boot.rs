//! A BMC whose machine's own firmware fetches what it boots: `Boot.HttpBootUri`.
//!
//! The emulator would download the URL itself and insert a CD. Here the URL goes into the
//! firmware's variables, as a network boot option for the next boot. Whether the caller may ask
//! for that stays the emulator's decision: it is asked for a boot from disk instead.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::nvram::Nvram;

const FROM_DISK: &str = r#"{"Boot":{"BootSourceOverrideTarget":"Hdd"}}"#;

/// What a request asks of the next boot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To fetch this.
    Fetch(String),
    /// Anything else, or nothing.
    Other {
        /// The request names nothing that the emulator knows.
        only_uri: bool,
    },
}

impl Asked {
    /// What the emulator is asked in its place.
    pub(super) fn for_emulator(&self, body: Bytes) -> Bytes {
        match self {
            Self::Fetch(_) | Self::Other { only_uri: true } => {
                Bytes::from_static(FROM_DISK.as_bytes())
            }
            Self::Other { only_uri: false } => body,
        }
    }
}

/// The one-time boot of one machine.
pub(crate) struct HttpBoot {
    nvram: Nvram,
    is_on: Box<dyn Fn() -> bool + Send + Sync>,
    wanted: Mutex<Option<String>>,
}

impl HttpBoot {
    pub(crate) fn new(nvram: Nvram, is_on: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            nvram,
            is_on: Box::new(is_on),
            wanted: Mutex::default(),
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Option<String>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request to `system` asks of its next boot, if it is about that.
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
        let text = |key: &str| boot.get(key).and_then(Value::as_str);
        let uri = text("HttpBootUri").filter(|uri| !uri.is_empty());
        Some(match (text("BootSourceOverrideTarget"), uri) {
            (Some("UefiHttp"), Some(uri)) => Asked::Fetch(uri.to_owned()),
            (target, _) => Asked::Other {
                only_uri: target.is_none(),
            },
        })
    }

    /// Whether that can be done now: a running VM has its variables in memory.
    pub(super) fn is_possible(&self, asked: &Asked) -> bool {
        matches!(asked, Asked::Other { .. }) || !(self.is_on)()
    }

    /// Does what the emulator has agreed to.
    pub(super) async fn carry_out(&self, asked: Asked) -> Result<()> {
        let nvram = self.nvram.clone();
        let fetched = match asked {
            Asked::Fetch(uri) => Some(uri),
            Asked::Other { .. } => None,
        };
        let is_on = (self.is_on)();
        let stood = std::mem::replace(&mut *self.wanted(), fetched.clone());
        let change = move || match fetched {
            Some(uri) => nvram.boot_once_from(&uri),
            None if stood.is_some() && !is_on => nvram.boot_in_order(),
            None => Ok(()),
        };
        tokio::task::spawn_blocking(change)
            .await
            .context("the task that changes UEFI variables ended early")?
    }

    /// Shows the override that stands in a ComputerSystem. A boot consumes it.
    pub(super) fn show(&self, document: &mut Value, system: &str) {
        let is_system = document.get("UUID").and_then(Value::as_str) == Some(system);
        let Some(boot) = document.get_mut("Boot").filter(|_| is_system) else {
            return;
        };
        if (self.is_on)() {
            self.wanted().take();
        }
        let wanted = self.wanted();
        boot["HttpBootUri"] = json!(wanted.as_deref().unwrap_or_default());
        if wanted.is_some() {
            boot["BootSourceOverrideTarget"] = json!("UefiHttp");
            boot["BootSourceOverrideEnabled"] = json!("Once");
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
    use super::*;

    fn boot() -> HttpBoot {
        HttpBoot::new(Nvram::of("/nowhere".as_ref()), || false)
    }

    #[test]
    fn only_a_url_for_the_own_system_is_fetched() {
        let asked = |path: &str, body: &Value| {
            boot().asked(&Method::PATCH, path, "aa-1", body.to_string().as_bytes())
        };
        let own = "/redfish/v1/Systems/aa-1";
        let fetch =
            json!({"Boot": {"BootSourceOverrideTarget": "UefiHttp", "HttpBootUri": "http://x/y"}});
        assert_eq!(
            asked(own, &fetch),
            Some(Asked::Fetch("http://x/y".to_owned()))
        );
        assert_eq!(asked("/redfish/v1/Systems/bb-2", &fetch), None);
        for (body, only_uri) in [
            (json!({"BootSourceOverrideTarget": "UefiHttp"}), false),
            (
                json!({"BootSourceOverrideTarget": "Hdd", "HttpBootUri": "http://x/y"}),
                false,
            ),
            (json!({"HttpBootUri": ""}), true),
        ] {
            assert_eq!(
                asked(own, &json!({"Boot": body})),
                Some(Asked::Other { only_uri })
            );
        }
        assert_eq!(asked(own, &json!({"AssetTag": "x"})), None);
    }

    #[test]
    fn an_override_shows_until_the_machine_is_on() {
        let on = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = std::sync::Arc::clone(&on);
        let boot = HttpBoot::new(Nvram::of("/nowhere".as_ref()), move || {
            seen.load(std::sync::atomic::Ordering::Relaxed)
        });
        *boot.wanted() = Some("http://x/y".to_owned());
        let system = || json!({"UUID": "aa-1", "Boot": {"BootSourceOverrideTarget": "Hdd", "HttpBootUri": "None"}});
        let shown = || {
            let mut document = system();
            boot.show(&mut document, "aa-1");
            let boot = &document["Boot"];
            (
                boot["BootSourceOverrideTarget"].clone(),
                boot["HttpBootUri"].clone(),
            )
        };
        assert_eq!(shown(), (json!("UefiHttp"), json!("http://x/y")));
        on.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(shown(), (json!("Hdd"), json!("")));
        on.store(false, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(shown(), (json!("Hdd"), json!("")));
    }
}
