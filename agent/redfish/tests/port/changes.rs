//! What is sent, how often, and what is left alone.

use super::*;

#[tokio::test]
async fn each_change_is_sent_once_and_read_back() {
    let bmc = ScriptedBmc::plain();
    bmc.change(SYSTEM, |system| {
        system["PowerRestorePolicy"] = json!("LastState");
    });
    let port = port(&bmc);

    let effect = port.insert_media(&ImageUrl::new(IMAGE)).await.unwrap();
    assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
    let effect = port
        .set_boot_override(&BootOverride::Once(BootTarget::Cd))
        .await
        .unwrap();
    assert!(effect.sent);
    assert_eq!(
        effect.confirmation,
        Confirmation::Differs("BootSourceOverrideEnabled reads Continuous".to_owned())
    );
    let effect = port.power(PowerAction::On).await.unwrap();
    assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
    let effect = port.power(PowerAction::ForceRestart).await.unwrap();
    assert!(effect.sent && effect.confirmation == Confirmation::NotObservable);
    let effect = port
        .set_power_restore_policy(&PowerRestorePolicy::AlwaysOff)
        .await
        .unwrap();
    assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);

    let changes = bmc.changes();
    let bodies: Vec<_> = changes.iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(
        bodies,
        [
            json!({"Image": IMAGE, "Inserted": true, "WriteProtected": true}),
            json!({"Boot": {
                "BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once",
            }}),
            json!({"ResetType": "On"}),
            json!({"ResetType": "ForceRestart"}),
            json!({"PowerRestorePolicy": "AlwaysOff"}),
        ]
    );
    // Everything is as wanted now: nothing more is sent.
    let again = every_change(&port).await;
    assert!(again[..4].iter().all(|sent| matches!(sent, Ok(false))));
    assert!(matches!(again[4], Ok(true)), "the eject finds our image");
    assert!(!port.eject_media(&MediaMatch::Any).await.unwrap().sent);
    assert_eq!(bmc.changes().len(), changes.len() + 1);
}

#[tokio::test]
async fn a_found_override_can_be_given_back() {
    let bmc = ScriptedBmc::plain();
    let port = port(&bmc);
    for (wanted, target) in [
        (BootOverride::Once(BootTarget::Cd), "Cd"),
        (BootOverride::Continuous(BootTarget::Hdd), "Hdd"),
    ] {
        assert!(port.set_boot_override(&wanted).await.unwrap().sent);
        let boot = bmc.document(SYSTEM)["Boot"].clone();
        assert_eq!(boot["BootSourceOverrideTarget"], target);
    }
    assert_eq!(bmc.changes().len(), 2);
}

#[tokio::test]
async fn settings_for_the_next_reset_go_where_the_platform_keeps_them() {
    let bmc = ScriptedBmc::plain();
    let settings = format!("{SYSTEM}/Settings");
    bmc.change(SYSTEM, |system| {
        system["@Redfish.Settings"] = json!({"SettingsObject": {"@odata.id": settings}});
    });
    bmc.add(
        &settings,
        json!({"@odata.id": settings, "Boot": {
            "BootSourceOverrideTarget": "None", "BootSourceOverrideEnabled": "Disabled",
        }}),
    );
    let port = port(&bmc);
    let wanted = BootOverride::Once(BootTarget::Cd);
    assert!(port.set_boot_override(&wanted).await.unwrap().sent);
    assert!(!port.set_boot_override(&wanted).await.unwrap().sent);
    assert_eq!(bmc.changes()[0].path, settings);
    let facts = port.observe().await.unwrap();
    let pending = facts.pending_boot_override.value().unwrap();
    assert_eq!(pending.target, Some(BootTarget::Cd));
    assert_eq!(
        facts.boot_override.value().unwrap().target,
        Some(BootTarget::Hdd)
    );
}

#[tokio::test]
async fn media_are_found_under_the_manager_too() {
    let bmc = ScriptedBmc::plain();
    let media = format!("/redfish/v1/Managers/{UUID}/VirtualMedia");
    let cd = format!("{media}/CD1");
    bmc.change(SYSTEM, |system| {
        system.as_object_mut().unwrap().remove("VirtualMedia");
    });
    bmc.change(&format!("/redfish/v1/Managers/{UUID}"), |manager| {
        manager["VirtualMedia"] = json!({"@odata.id": media});
    });
    bmc.add(&media, json!({"Members": [{"@odata.id": cd}]}));
    bmc.add(&cd, slot(&cd, &[]));
    assert!(
        port(&bmc)
            .insert_media(&ImageUrl::new(IMAGE))
            .await
            .unwrap()
            .sent
    );
    assert_eq!(bmc.document(&cd)["Image"], IMAGE);
}

#[tokio::test]
async fn somebody_elses_media_stay() {
    let bmc = ScriptedBmc::plain();
    bmc.change(CD, |slot| {
        slot["Image"] = json!("http://198.51.100.1/rescue.iso");
        slot["Inserted"] = json!(true);
    });
    let port = port(&bmc);
    let error = port.insert_media(&ImageUrl::new(IMAGE)).await.unwrap_err();
    assert_eq!(error.category(), "SlotOccupied");
    for which in [
        MediaMatch::Image(ImageUrl::new(IMAGE)),
        MediaMatch::Prefix(ImageUrl::new("http://192.0.2.1:8080/i/")),
    ] {
        assert!(!port.eject_media(&which).await.unwrap().sent);
    }
    assert!(bmc.changes().is_empty());
    assert!(port.eject_media(&MediaMatch::Any).await.unwrap().sent);
}

#[tokio::test]
async fn an_action_that_is_not_listed_or_makes_no_sense_is_not_sent() {
    let bmc = ScriptedBmc::plain();
    let port = port(&bmc);
    let error = port.power(PowerAction::ForceRestart).await.unwrap_err();
    assert_eq!(error.category(), "WrongPowerState");
    bmc.change(SYSTEM, |system| system["PowerState"] = json!("On"));
    let error = port.power(PowerAction::PowerCycle).await.unwrap_err();
    assert!(matches!(&error, BmcError::NotOffered { offered, .. } if offered.contains("ForceOff")));
    let usb = BootOverride::Once(BootTarget::Usb);
    assert_eq!(
        port.set_boot_override(&usb).await.unwrap_err().category(),
        "NotOffered"
    );
    let policy = port.set_power_restore_policy(&PowerRestorePolicy::AlwaysOff);
    assert_eq!(policy.await.unwrap_err().category(), "NotOffered");
    assert!(bmc.changes().is_empty());
}

#[tokio::test]
async fn the_stage_that_is_shown_last_decides_whether_a_machine_is_taken_down() {
    use PowerAction::{ForceOff, ForceRestart, GracefulShutdown};
    for (progress, taken_down) in [
        (json!({"LastState": "OSRunning"}), true),
        (
            json!({"LastState": "OEM", "OemLastState": "FirmwareUpdateInProgress"}),
            false,
        ),
        (
            json!({"LastState": "OEM", "OemLastState": "OsCrashDumpInProgress"}),
            false,
        ),
        (
            json!({"LastState": "OEM", "OemLastState": "FWFaultCrashDumpInProgress"}),
            false,
        ),
        (json!({"LastState": "None"}), false),
        (json!({}), false),
    ] {
        for action in [ForceOff, ForceRestart, GracefulShutdown] {
            let bmc = ScriptedBmc::plain();
            bmc.change(SYSTEM, |system| {
                system["PowerState"] = json!("On");
                system["BootProgress"] = json!({"LastState": "OSRunning"});
                let reset = &mut system["Actions"]["#ComputerSystem.Reset"];
                reset["ResetType@Redfish.AllowableValues"] =
                    json!(["On", "ForceOff", "ForceRestart", "GracefulShutdown"]);
            });
            let port = port(&bmc);
            let facts = port.observe().await.unwrap();
            assert!(facts.boot_progress.value().is_some());
            // What was seen a moment ago says nothing about now.
            bmc.change(SYSTEM, |system| system["BootProgress"] = progress.clone());
            let done = port.power(action).await;
            if taken_down {
                assert!(done.unwrap().sent, "{action:?} {progress}");
            } else {
                assert_eq!(done.unwrap_err().category(), "StageForbids");
            }
            assert_eq!(bmc.changes().len(), usize::from(taken_down));
        }
    }
}

#[tokio::test]
async fn an_accepted_change_that_does_not_show_is_not_seen() {
    let bmc = ScriptedBmc::plain();
    bmc.fail(
        "POST",
        "ComputerSystem.Reset",
        1,
        Fault::Answer(204, String::new()),
    );
    let effect = port(&bmc).power(PowerAction::On).await.unwrap();
    assert!(effect.sent);
    assert_eq!(effect.confirmation, Confirmation::NotSeen);
}

#[tokio::test]
async fn calls_to_one_bmc_never_overlap() {
    let bmc = ScriptedBmc::plain();
    let redfish = Redfish::new(loopback(), quick());
    let (one, two) = (
        redfish.bmc(target(&bmc)).unwrap(),
        redfish.bmc(target(&bmc)).unwrap(),
    );
    let (a, b, c) = tokio::join!(one.observe(), two.observe(), one.power(PowerAction::On));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(bmc.most_at_once(), 1);
}

#[tokio::test]
async fn waiting_for_an_earlier_call_ends_at_the_deadline() {
    let bmc = ScriptedBmc::plain();
    bmc.fail("GET", SYSTEM, 99, Fault::Never);
    let options = BmcOptions {
        call_deadline: Duration::from_millis(400),
        ..quick()
    };
    let shared = Redfish::new(loopback(), options);
    let (slow, fast) = (
        shared.bmc(target(&bmc)).unwrap(),
        shared.bmc(target(&bmc)).unwrap(),
    );
    let image = ImageUrl::new(IMAGE);
    let start = Instant::now();
    let waited = tokio::select! {
        biased;
        ended = slow.insert_media(&image) => panic!("{ended:?}"),
        waited = fast.observe() => waited,
    };
    assert_eq!(waited.unwrap_err().category(), "Busy");
    assert!(start.elapsed() < Duration::from_millis(1500));
}
