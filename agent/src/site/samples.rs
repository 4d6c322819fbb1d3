//! Values for the tests of this role.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::directive::{Directive, OrphanAction};
use lockstep_redfish::{
    Authentication, BmcFacts, BootOverrideState, BootTarget, Capabilities, Capability, Channel,
    ImageUrl, MediaSlot, Offer, OverrideEnabled, PowerState, Reading, Service, SystemIdentity,
    TrustInForce,
};
use serde_json::json;

use crate::site::order::{Access, Order, OrderState, Trust};

/// A directive for the card `c1` with uid `uid-1` and serial `SN1`, good until 00:01.
pub(crate) fn directive(seq: i64, kind: &str) -> Directive {
    serde_json::from_value(json!({
        "seq": seq, "step": "BootCard", "executor": "s",
        "target": {"kind": "Card", "name": "c1", "uid": "uid-1"},
        "action": {"kind": kind},
        "expects": {"identity": {"serialNumber": "SN1"}},
        "issuedAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:01:00Z",
        "settleSeconds": 1,
    }))
    .unwrap()
}

fn offered(values: &[&str]) -> Capability {
    Capability {
        offer: Offer::Offered,
        source: "/redfish/v1/Systems/1".to_owned(),
        values: Some(values.iter().map(|&value| value.to_owned()).collect()),
    }
}

/// A machine that is off, with nothing inserted and nothing overridden.
pub(crate) fn facts() -> BmcFacts {
    BmcFacts {
        service: Service::default(),
        identity: SystemIdentity {
            system_path: "/redfish/v1/Systems/1".to_owned(),
            serial_number: Some("SN1".to_owned()),
            manufacturer: Some("ACME".to_owned()),
            model: Some("Card 9".to_owned()),
            ..SystemIdentity::default()
        },
        manager: Reading::NotOffered,
        power: Reading::Read(PowerState::Off),
        boot_progress: Reading::NotOffered,
        boot_override: Reading::Read(BootOverrideState {
            target: Some(BootTarget::Hdd),
            enabled: Some(OverrideEnabled::Continuous),
            mode: None,
            http_uri: Reading::Read(None),
            next: None,
        }),
        pending_boot_override: Reading::NotOffered,
        boot_order: Vec::new(),
        media: Reading::Read(vec![slot(None)]),
        power_restore: Reading::NotOffered,
        capabilities: Capabilities {
            reset: offered(&["On", "ForceOff"]),
            boot_override: offered(&["Cd", "Hdd", "UefiHttp"]),
            virtual_media: offered(&[]),
            uefi_http: offered(&["Once", "Continuous", "Disabled"]),
            boot_progress: Capability {
                offer: Offer::NotOffered,
                ..offered(&[])
            },
            power_restore: Capability {
                offer: Offer::NotOffered,
                ..offered(&[])
            },
            sessions: offered(&[]),
        },
        channel: Channel {
            remote: ([192, 0, 2, 1], 80).into(),
            trust: TrustInForce::PlainHttp,
            authentication: Authentication::Session,
        },
    }
}

/// A CD slot with that image in it.
pub(crate) fn slot(image: Option<&str>) -> MediaSlot {
    MediaSlot {
        id: "Cd".to_owned(),
        path: "/redfish/v1/Managers/1/VirtualMedia/Cd".to_owned(),
        name: None,
        inserted: image.is_some(),
        image: image.map(ImageUrl::new),
        media_types: vec!["CD".to_owned()],
        connected_via: None,
        write_protected: None,
        insert_target: Some("/insert".to_owned()),
        eject_target: Some("/eject".to_owned()),
    }
}

/// An expired order of the host `h1` that releases it.
pub(crate) fn order() -> Order {
    Order {
        host: "h1".to_owned(),
        host_uid: "uid-h1".to_owned(),
        seq: 3,
        expires_at: Time("2026-01-01T01:00:00Z".parse().unwrap()),
        on_orphan: OrphanAction::RestoreAndRelease,
        state: OrderState::Kept,
        leads_to: None,
        hands_off: false,
        expects: directive(3, "HoldHost").expects,
        beginning: false,
        previous_restore_policy: Some("LastState".to_owned()),
        access: Access {
            address: "http://192.0.2.1/".to_owned(),
            system_path: None,
            trust: Trust::PlainHttp,
            username: "admin".to_owned(),
            password: "hunter2".to_owned(),
            allowed_networks: vec!["192.0.2.0/24".to_owned()],
        },
    }
}
