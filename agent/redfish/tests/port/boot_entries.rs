//! Boot entries: which there are, a boot of one of them once, and their order.

use super::*;

/// A BMC with a disk of two slots, of which the first is first in the order.
fn with_slots() -> ScriptedBmc {
    let bmc = ScriptedBmc::plain();
    let options = format!("{SYSTEM}/BootOptions");
    bmc.change(SYSTEM, |system| {
        system["Boot"]["BootOptions"] = json!({"@odata.id": options});
        system["Boot"]["BootOrder"] = json!(["Boot0001", "Boot0002", "Boot0003"]);
        system["Boot"]["BootNext"] = json!(null);
        system["Boot"]["BootSourceOverrideTarget@Redfish.AllowableValues"] =
            json!(["Cd", "Hdd", "UefiBootNext"]);
    });
    let named = [
        ("1", "Card OS A"),
        ("2", "NET-OOB-IPV4-HTTP"),
        ("3", "Card OS B"),
    ];
    let mut members = Vec::new();
    for (id, name) in named {
        let path = format!("{options}/{id}");
        members.push(json!({"@odata.id": path}));
        let reference = format!("Boot000{id}");
        bmc.add(
            &path,
            json!({"@odata.id": path, "Id": id, "Name": "Boot option",
                "BootOptionReference": reference, "DisplayName": name}),
        );
    }
    members.push(json!({"@odata.id": format!("{options}/gone")}));
    bmc.add(&options, json!({"@odata.id": options, "Members": members}));
    bmc
}

#[tokio::test]
async fn entries_are_told_by_reference_and_name_and_missing_ones_passed_over() {
    let bmc = with_slots();
    let read = port(&bmc).boot_entries().await.unwrap();
    let Reading::Read(found) = read else {
        panic!("{read:?}");
    };
    assert_eq!(found.order, ["Boot0001", "Boot0002", "Boot0003"]);
    let told: Vec<_> = found
        .entries
        .iter()
        .map(|one| (one.reference.as_str(), one.name.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("Boot0001", "Card OS A"),
            ("Boot0002", "NET-OOB-IPV4-HTTP"),
            ("Boot0003", "Card OS B"),
        ]
    );
    let none = ScriptedBmc::plain();
    let read = port(&none).boot_entries().await.unwrap();
    assert_eq!(read, Reading::NotOffered);
}

#[tokio::test]
async fn a_part_of_the_entries_is_not_taken_for_all() {
    let bmc = with_slots();
    let options = format!("{SYSTEM}/BootOptions");
    let none: Vec<_> = (0..64)
        .map(|id| json!({"@odata.id": format!("{options}/gone{id}")}))
        .collect();
    bmc.change(&options, |collection| {
        let members = collection["Members"].as_array_mut().unwrap();
        members.extend(none);
    });
    let read = port(&bmc).boot_entries().await.unwrap();
    assert_eq!(read, Reading::NotOffered);
}

#[tokio::test]
async fn an_entry_is_booted_once_by_one_request_and_the_order_stays() {
    let bmc = with_slots();
    bmc.reads_once();
    let port = port(&bmc);
    let once = BootOverride::OnceEntry("Boot0003".to_owned());
    let effect = port.set_boot_override(&once).await.unwrap();
    assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
    assert!(!port.set_boot_override(&once).await.unwrap().sent);
    // Another entry is another boot.
    let other = BootOverride::OnceEntry("Boot0001".to_owned());
    assert!(port.set_boot_override(&other).await.unwrap().sent);
    let bodies: Vec<_> = bmc.changes().into_iter().map(|seen| seen.body).collect();
    let body = |entry: &str| {
        json!({"Boot": {
            "BootSourceOverrideTarget": "UefiBootNext", "BootSourceOverrideEnabled": "Once",
            "BootNext": entry,
        }})
    };
    assert_eq!(bodies, [body("Boot0003"), body("Boot0001")]);
}

#[tokio::test]
async fn a_target_that_is_not_listed_is_not_asked_for() {
    let bmc = with_slots();
    bmc.change(SYSTEM, |system| {
        system["Boot"]["BootSourceOverrideTarget@Redfish.AllowableValues"] = json!(["Cd", "Hdd"]);
    });
    let once = BootOverride::OnceEntry("Boot0003".to_owned());
    let error = port(&bmc).set_boot_override(&once).await.unwrap_err();
    assert_eq!(error.category(), "NotOffered");
    assert!(error.to_string().contains("UefiBootNext"), "{error}");
    assert!(bmc.changes().is_empty());
}

#[tokio::test]
async fn an_entry_becomes_the_first_and_the_others_keep_their_order() {
    let bmc = with_slots();
    let port = port(&bmc);
    let effect = port.boot_first("Boot0003").await.unwrap();
    assert!(effect.sent && effect.confirmation == Confirmation::Confirmed);
    assert!(!port.boot_first("Boot0003").await.unwrap().sent);
    let bodies: Vec<_> = bmc.changes().into_iter().map(|seen| seen.body).collect();
    assert_eq!(
        bodies,
        [json!({"Boot": {"BootOrder": ["Boot0003", "Boot0001", "Boot0002"]}})]
    );
}

#[tokio::test]
async fn an_order_that_does_not_change_is_not_seen_and_not_sent_twice() {
    let bmc = with_slots();
    bmc.makes_of_boot(|boot| boot["BootOrder"] = json!(["Boot0001", "Boot0002", "Boot0003"]));
    let effect = port(&bmc).boot_first("Boot0003").await.unwrap();
    assert!(effect.sent && effect.confirmation == Confirmation::NotSeen);
    assert_eq!(bmc.changes().len(), 1);
}

#[tokio::test]
async fn the_order_goes_where_settings_for_the_next_reset_hold_one() {
    let bmc = with_slots();
    let settings = format!("{SYSTEM}/Settings");
    bmc.change(SYSTEM, |system| {
        system["@Redfish.Settings"] = json!({"SettingsObject": {"@odata.id": settings}});
    });
    bmc.add(
        &settings,
        json!({"@odata.id": settings, "Boot": {"BootNext": null}}),
    );
    // These hold none.
    let port = port(&bmc);
    assert!(port.boot_first("Boot0003").await.unwrap().sent);
    let order = json!(["Boot0001", "Boot0002", "Boot0003"]);
    bmc.change(&settings, |settings| settings["Boot"]["BootOrder"] = order);
    assert!(port.boot_first("Boot0003").await.unwrap().sent);
    let paths: Vec<_> = bmc.changes().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, [SYSTEM.to_owned(), settings]);
    let Reading::Read(found) = port.boot_entries().await.unwrap() else {
        panic!("not read");
    };
    assert_eq!(found.order.first().unwrap(), "Boot0003");
}

#[tokio::test]
async fn a_bmc_without_an_order_and_one_of_another_machine_get_nothing() {
    let bmc = ScriptedBmc::plain();
    let error = port(&bmc).boot_first("Boot0003").await.unwrap_err();
    assert_eq!(error.category(), "NotOffered");
    let stranger = with_slots();
    stranger.change(SYSTEM, |system| system["UUID"] = json!(STRANGER));
    let port = port(&stranger);
    assert!(port.boot_first("Boot0003").await.is_err());
    let once = BootOverride::OnceEntry("Boot0003".to_owned());
    assert!(port.set_boot_override(&once).await.is_err());
    assert!(bmc.changes().is_empty() && stranger.changes().is_empty());
}
