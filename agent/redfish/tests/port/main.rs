//! The port against a scripted BMC: what it reads, what it sends, and above
//! all what it does not send.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod boot_entries;
mod bounds;
mod changes;
mod explore;
mod failures;
mod http_boot;
mod identity;
mod observe;
mod scripted;
mod trust;
mod updates;

use std::time::{Duration, Instant};

use lockstep_redfish::{
    AllowedNetworks, Authentication, Bmc, BmcError, BmcOptions, BmcTarget, BootOverride,
    BootTarget, Confirmation, Credentials, EffectCertainty, ExpectedIdentity, ImageUrl, MediaMatch,
    Offer, OverrideEnabled, PowerAction, PowerRestorePolicy, PowerState, Reading, Redfish,
    RedfishBmc, SpkiPin, TlsTrust, TrustInForce,
};
use scripted::{CD, Fault, PASSWORD, SYSTEM, ScriptedBmc, UUID, slot};
use serde_json::json;

const STRANGER: &str = "1b671a64-40d5-491e-99b0-da01ff1f3341";
const IMAGE: &str = "http://192.0.2.1:8080/i/0123456789abcdef/card.iso";

fn quick() -> BmcOptions {
    BmcOptions {
        call_deadline: Duration::from_secs(5),
        media_deadline: Duration::from_secs(5),
        update_deadline: Duration::from_secs(5),
        push_deadline: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(1),
        read_timeout: Duration::from_secs(2),
        confirm_window: Duration::from_millis(300),
        ..BmcOptions::default()
    }
}

fn loopback() -> AllowedNetworks {
    AllowedNetworks(vec!["127.0.0.0/8".parse().unwrap()])
}

fn target(bmc: &ScriptedBmc) -> BmcTarget {
    BmcTarget {
        address: format!("http://{}", bmc.address).parse().unwrap(),
        system_path: None,
        credentials: credentials(PASSWORD),
        tls: TlsTrust::PlainHttp,
        expected: ExpectedIdentity {
            system_uuid: Some(UUID.to_owned()),
            ..ExpectedIdentity::default()
        },
    }
}

fn tls_target(bmc: &ScriptedBmc, tls: TlsTrust) -> BmcTarget {
    BmcTarget {
        address: format!("https://{}", bmc.address).parse().unwrap(),
        tls,
        ..target(bmc)
    }
}

fn credentials(password: &str) -> Credentials {
    Credentials {
        username: "admin".to_owned(),
        password: password.to_owned(),
    }
}

fn port(bmc: &ScriptedBmc) -> RedfishBmc {
    Redfish::new(loopback(), quick()).bmc(target(bmc)).unwrap()
}

async fn every_change(port: &dyn Bmc) -> Vec<Result<bool, BmcError>> {
    let sent =
        |effect: Result<lockstep_redfish::Effect, BmcError>| effect.map(|effect| effect.sent);
    vec![
        sent(port.insert_media(&ImageUrl::new(IMAGE)).await),
        sent(
            port.set_boot_override(&BootOverride::Once(BootTarget::Cd))
                .await,
        ),
        sent(port.power(PowerAction::On).await),
        sent(
            port.set_power_restore_policy(&PowerRestorePolicy::AlwaysOff)
                .await,
        ),
        sent(port.eject_media(&MediaMatch::Any).await),
    ]
}
