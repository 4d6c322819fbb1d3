//! What one look reads.

use lockstep_redfish::{Endpoint, Explorer};

use super::*;

#[tokio::test]
async fn one_pass_reads_everything_and_changes_nothing() {
    let bmc = ScriptedBmc::plain();
    let facts = port(&bmc).observe().await.unwrap();
    assert_eq!(facts.identity.system_uuid.as_deref(), Some(UUID));
    assert_eq!(facts.identity.serial_number.as_deref(), Some("MT2334XZ0A1"));
    assert_eq!(facts.identity.system_path, SYSTEM);
    assert_eq!(facts.power, Reading::Read(PowerState::Off));
    assert_eq!(facts.boot_progress, Reading::NotOffered);
    assert_eq!(facts.power_restore, Reading::NotOffered);
    assert_eq!(facts.pending_boot_override, Reading::NotOffered);
    let manager = facts.manager.value().unwrap();
    assert_eq!(manager.firmware_version.as_deref(), Some("1.00"));
    let boot = facts.boot_override.value().unwrap();
    assert_eq!(boot.target, Some(BootTarget::Hdd));
    assert_eq!(boot.enabled, Some(OverrideEnabled::Continuous));
    let media = facts.media.value().unwrap();
    assert_eq!(media.len(), 2);
    assert!(!media[0].inserted && media[0].image.is_none());
    assert!(facts.capabilities.reset.allows("ForceOff"));
    assert!(!facts.capabilities.reset.allows("PowerCycle"));
    assert_eq!(facts.capabilities.virtual_media.source, CD);
    assert_eq!(facts.capabilities.sessions.offer, Offer::NotOffered);
    assert_eq!(facts.capabilities.power_restore.offer, Offer::NotOffered);
    assert_eq!(facts.channel.authentication, Authentication::Basic);
    assert_eq!(facts.channel.trust, TrustInForce::PlainHttp);
    assert_eq!(facts.channel.remote, bmc.address);
    assert!(bmc.changes().is_empty());
}

#[tokio::test]
async fn each_pass_tells_of_the_service_what_everybody_is_told() {
    let bmc = ScriptedBmc::plain();
    let redfish = Redfish::new(loopback(), quick());
    let port = redfish.bmc(target(&bmc)).unwrap();
    let endpoint = Endpoint {
        address: format!("http://{}", bmc.address).parse().unwrap(),
        tls: TlsTrust::PlainHttp,
    };
    for (version, uuid) in [
        ("1.18.0", "0123456789ABCDEF0123456789ABCDEF"),
        ("1.20.0", ""),
    ] {
        bmc.change("/redfish/v1/", |root| {
            root["RedfishVersion"] = json!(version);
            root["UUID"] = json!(uuid);
        });
        let facts = port.observe().await.unwrap();
        let identified = redfish.identify(&endpoint).await.unwrap();
        assert_eq!(facts.service, identified.service);
        assert_eq!(facts.service.redfish_version.as_deref(), Some(version));
        assert_eq!(facts.service.uuid.is_some(), !uuid.is_empty());
    }
}

#[tokio::test]
async fn what_is_optional_and_broken_hides_nothing_else() {
    let bmc = ScriptedBmc::plain();
    bmc.fail(
        "GET",
        "/VirtualMedia",
        9,
        Fault::Answer(501, "{}".to_owned()),
    );
    bmc.fail(
        "GET",
        &format!("Managers/{UUID}"),
        9,
        Fault::Answer(500, "x".to_owned()),
    );
    let facts = port(&bmc).observe().await.unwrap();
    assert_eq!(facts.media, Reading::NotOffered);
    assert!(matches!(&facts.manager, Reading::NotRead(why) if why.contains("500")));
    assert_eq!(facts.power, Reading::Read(PowerState::Off));
}

#[tokio::test]
async fn an_absent_list_of_reset_types_is_unknown_and_not_empty() {
    let bmc = ScriptedBmc::plain();
    bmc.change(SYSTEM, |system| {
        system["PowerState"] = json!("On");
        system["Actions"]["#ComputerSystem.Reset"]
            .as_object_mut()
            .unwrap()
            .remove("ResetType@Redfish.AllowableValues");
    });
    let port = port(&bmc);
    let facts = port.observe().await.unwrap();
    assert_eq!(facts.capabilities.reset.values, None);
    assert!(port.power(PowerAction::PowerCycle).await.unwrap().sent);
}

#[tokio::test]
async fn the_right_one_of_several_systems_is_taken() {
    let bmc = ScriptedBmc::plain();
    let other = "/redfish/v1/Systems/other";
    bmc.add(
        other,
        json!({"@odata.id": other, "UUID": STRANGER, "PowerState": "On"}),
    );
    bmc.change("/redfish/v1/Systems", |systems| {
        systems["Members"] = json!([{"@odata.id": other}, {"@odata.id": SYSTEM}]);
    });
    let redfish = Redfish::new(loopback(), quick());
    let facts = redfish.bmc(target(&bmc)).unwrap().observe().await.unwrap();
    assert_eq!(facts.identity.system_path, SYSTEM);

    let with = |path: Option<&str>, uuid: Option<&str>| {
        let mut target = target(&bmc);
        target.system_path = path.map(str::to_owned);
        target.expected.system_uuid = uuid.map(str::to_owned);
        redfish.bmc(target).unwrap()
    };
    let facts = with(Some(other), None).observe().await.unwrap();
    assert_eq!(facts.identity.system_uuid.as_deref(), Some(STRANGER));
    for uuid in [None, Some("00000000-1111-2222-3333-444444444444")] {
        let error = with(None, uuid).observe().await.unwrap_err();
        assert_eq!(error.category(), "SystemNotFound");
    }
}

#[tokio::test]
async fn a_name_redirects_to_its_system_and_never_to_another_origin() {
    let (bmc, elsewhere) = (ScriptedBmc::plain(), ScriptedBmc::plain());
    let mut named = target(&bmc);
    named.system_path = Some("/redfish/v1/Systems/fake".to_owned());
    let port = Redfish::new(loopback(), quick()).bmc(named).unwrap();
    bmc.fail("GET", "Systems/fake", 1, Fault::Redirect(SYSTEM.to_owned()));
    assert_eq!(port.observe().await.unwrap().identity.system_path, SYSTEM);

    let away = format!("http://{}{SYSTEM}", elsewhere.address);
    bmc.fail("GET", SYSTEM, 1, Fault::Redirect(away));
    assert_eq!(port.observe().await.unwrap_err().category(), "BadAnswer");
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_glance_is_one_small_request_and_shows_what_the_system_shows() {
    let bmc = ScriptedBmc::plain();
    let port = port(&bmc);
    let facts = port.observe().await.unwrap();
    let before = bmc.seen().len();
    assert!(facts.show(&port.glance().await.unwrap()));
    let paths: Vec<String> = bmc.seen()[before..]
        .iter()
        .map(|seen| seen.path.clone())
        .collect();
    assert_eq!(paths, [SYSTEM]);
    let mut with_order = json!(null);
    bmc.change(SYSTEM, |system| with_order = system["Boot"].clone());
    with_order["BootOrder"] = json!(["Boot0001"]);
    for (key, value) in [
        ("PowerState", json!("On")),
        ("UUID", json!(STRANGER)),
        ("SerialNumber", json!("ANOTHER")),
        ("BootProgress", json!({"LastState": "OSRunning"})),
        ("PowerRestorePolicy", json!("AlwaysOff")),
        ("Boot", json!({"BootSourceOverrideEnabled": "Once"})),
        ("Boot", with_order),
    ] {
        let mut before = json!(null);
        bmc.change(SYSTEM, |system| {
            before = system.clone();
            system[key] = value;
        });
        assert!(!facts.show(&port.glance().await.unwrap()), "{key}");
        bmc.change(SYSTEM, |system| *system = before);
    }
    assert!(facts.show(&port.glance().await.unwrap()));
    assert!(bmc.changes().is_empty());
}

/// Asked too often for a moment, it is not taken for one that takes sessions only.
#[tokio::test]
async fn a_bmc_that_is_busy_for_a_moment_is_read_with_one_request_afterwards() {
    for busy in [429, 408, 503] {
        let bmc = ScriptedBmc::plain();
        bmc.offer_sessions();
        let port = port(&bmc);
        port.observe().await.unwrap();
        for _ in 0..3 {
            bmc.forget_sessions();
            port.glance().await.unwrap();
        }
        // Every try of one read.
        bmc.fail("GET", SYSTEM, 3, Fault::Answer(busy, "{}".to_owned()));
        let error = port.glance().await.unwrap_err();
        assert_eq!(error.category(), "ReadFailed", "{error}");
        for _ in 0..4 {
            bmc.forget_sessions();
            let before = bmc.seen().len();
            port.glance().await.unwrap();
            assert_eq!(bmc.seen().len() - before, 1, "after HTTP {busy}");
        }
    }
}
