//! Exploring takes no turn from others for long, and shows no credential before it is asked to.

use lockstep_redfish::{Endpoint, Explorer, MOST_REQUESTS};
use serde_json::Value;

use super::*;

pub(super) fn endpoint(bmc: &ScriptedBmc) -> Endpoint {
    Endpoint {
        address: format!("http://{}", bmc.address).parse().unwrap(),
        tls: TlsTrust::PlainHttp,
    }
}

#[tokio::test]
async fn nothing_that_could_be_a_credential_is_sent_to_identify() {
    let bmc = ScriptedBmc::plain();
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish.identify(&endpoint(&bmc)).await.unwrap();
    assert_eq!(found.product.as_deref(), Some("Redvirt Service"));
    bmc.fail(
        "GET",
        "/redfish/v1/",
        1,
        Fault::Answer(401, "{}".to_owned()),
    );
    let error = redfish.identify(&endpoint(&bmc)).await.unwrap_err();
    assert_eq!(error.category(), "AccessDenied");
    let seen = bmc.seen();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("GET", "/redfish/v1/")
        );
        assert!(!request.headers.contains_key("authorization"));
        assert!(!request.headers.contains_key("x-auth-token"));
    }
    // Nor is anything counted against credentials that were not shown.
    assert!(
        redfish
            .explore(&endpoint(&bmc), &credentials(PASSWORD))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn what_answers_and_is_no_redfish_is_told_so() {
    let bmc = ScriptedBmc::plain();
    let redfish = Redfish::new(loopback(), quick());
    for body in ["<html>", "[]", "{\"name\": \"a web service\"}"] {
        bmc.fail(
            "GET",
            "/redfish/v1/",
            1,
            Fault::Answer(200, body.to_owned()),
        );
        let error = redfish.identify(&endpoint(&bmc)).await.unwrap_err();
        assert_eq!(error.category(), "BadAnswer", "{body}");
    }
    let outside = Redfish::new(AllowedNetworks::default(), quick());
    let error = outside.identify(&endpoint(&bmc)).await.unwrap_err();
    assert_eq!(error.category(), "AddressNotAllowed");
}

#[tokio::test]
async fn a_redirect_to_another_place_is_not_followed() {
    let bmc = ScriptedBmc::plain();
    let elsewhere = ScriptedBmc::plain();
    let place = format!("http://{}/redfish/v1/", elsewhere.address);
    bmc.fail("GET", "/redfish/v1/", 1, Fault::Redirect(place));
    let redfish = Redfish::new(loopback(), quick());
    assert!(redfish.identify(&endpoint(&bmc)).await.is_err());
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn an_error_in_an_answer_of_200_is_no_document() {
    let bmc = ScriptedBmc::plain();
    bmc.change("/redfish/v1/", |root| {
        root["ComponentIntegrity"] = json!({"@odata.id": "/redfish/v1/ComponentIntegrity"});
    });
    let body = json!({"error": {"message": "not ready yet"}}).to_string();
    bmc.fail("GET", "/ComponentIntegrity", 9, Fault::Answer(200, body));
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap()
        .systems;
    let record = found[0].inventory.capabilities.as_ref().unwrap();
    assert_eq!(record.spdm.offer.as_str(), "NotRead");
    let unread = &found[0].inventory.unread;
    assert!(unread[0].why.contains("not ready yet"), "{unread:?}");
    // The rest of a BMC with HTTP Basic and next to nothing in it.
    assert_eq!(record.sessions.offer.as_str(), "NotOffered");
    assert_eq!(
        found[0].identity.serial_number.as_deref(),
        Some("MT2334XZ0A1")
    );
    assert!(found[0].inventory.cpu.is_none() && found[0].inventory.disks.is_none());
}

#[tokio::test]
async fn many_machines_share_the_reads_and_all_of_them_are_known() {
    let bmc = ScriptedBmc::plain();
    let paths: Vec<String> = (0..12)
        .map(|one| format!("/redfish/v1/Systems/{one}"))
        .collect();
    for (number, path) in paths.iter().enumerate() {
        let memory = format!("{path}/Memory");
        let modules: Vec<String> = (0..30).map(|module| format!("{memory}/{module}")).collect();
        bmc.add(
            path,
            json!({
                "@odata.id": path, "SystemType": "DPU", "SerialNumber": format!("SN{number}"),
                "Memory": {"@odata.id": memory},
            }),
        );
        let members: Vec<_> = modules
            .iter()
            .map(|one| json!({"@odata.id": one}))
            .collect();
        bmc.add(&memory, json!({"@odata.id": memory, "Members": members}));
        for module in &modules {
            bmc.add(module, json!({"@odata.id": module, "CapacityMiB": 1024}));
        }
    }
    let members: Vec<_> = paths.iter().map(|one| json!({"@odata.id": one})).collect();
    bmc.change("/redfish/v1/Systems", |systems| {
        systems["Members"] = json!(members);
    });
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap()
        .systems;
    assert_eq!(found.len(), 12);
    for (number, one) in found.iter().enumerate() {
        assert_eq!(one.identity.serial_number, Some(format!("SN{number}")));
        let memory = one.inventory.memory.as_ref().unwrap();
        // Each has some, nobody has all, and what is missing is counted and named.
        assert!(
            !memory.modules.is_empty() && memory.modules.len() < 30,
            "{number}"
        );
        let omitted = usize::try_from(memory.omitted).unwrap();
        assert_eq!(memory.modules.len() + omitted, 30, "{number}");
        assert_eq!(
            memory.total_bytes, None,
            "{number}: a sum of some is no sum"
        );
        let unread = &one.inventory.unread;
        assert!(
            unread
                .iter()
                .any(|one| one.group == "memory" && one.why.contains("limit"))
        );
    }
    let asked = bmc.count("GET");
    assert!(asked <= MOST_REQUESTS as usize, "{asked}");
}

#[tokio::test]
async fn a_system_that_is_listed_and_cannot_be_read_is_told_beside_those_that_were() {
    let path = |one: usize| format!("/redfish/v1/Systems/{one}");
    let several = || {
        let bmc = ScriptedBmc::plain();
        for one in 0..3 {
            let system = json!({"@odata.id": path(one), "SerialNumber": format!("SN{one}")});
            bmc.add(&path(one), system);
        }
        let members: Vec<_> = (0..4).map(|one| json!({"@odata.id": path(one)})).collect();
        bmc.change("/redfish/v1/Systems", |systems| {
            systems["Members"] = json!(members);
        });
        bmc
    };
    let redfish = Redfish::new(loopback(), quick());
    for (status, body, told) in [(500, "{}", "ReadFailed"), (200, "<html>", "BadAnswer")] {
        let bmc = several();
        bmc.fail(
            "GET",
            "/Systems/1",
            9,
            Fault::Answer(status, body.to_owned()),
        );
        let explored = redfish
            .explore(&endpoint(&bmc), &credentials(PASSWORD))
            .await
            .unwrap();
        let systems = explored.systems.iter();
        let serials: Vec<_> = systems
            .filter_map(|one| one.identity.serial_number.as_deref())
            .collect();
        assert_eq!(serials, ["SN0", "SN2"]);
        // The fourth is not there at all, which is known.
        let unread = explored.unread.iter();
        let unread: Vec<_> = unread
            .map(|one| (one.path.clone(), one.why.category()))
            .collect();
        assert_eq!(unread, [(path(1), told)]);
    }
    // Where none can be read there is nothing to tell.
    let bmc = several();
    for end in ["/Systems/0", "/Systems/1", "/Systems/2"] {
        bmc.fail("GET", end, 9, Fault::Answer(500, "{}".to_owned()));
    }
    let error = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap_err();
    assert_eq!(error.category(), "ReadFailed");
}

#[tokio::test]
async fn a_bmc_without_a_system_is_told_apart_from_one_that_does_not_say() {
    let redfish = Redfish::new(loopback(), quick());
    for (members, count, is_told) in [
        (json!([]), json!(0), true),
        (json!([]), json!(null), true),
        (
            json!([{"@odata.id": "/redfish/v1/Systems/gone"}]),
            json!(1),
            true,
        ),
        (json!([]), json!(2), false),
        (json!([7, null]), json!(0), false),
        (json!(null), json!(0), false),
    ] {
        let bmc = ScriptedBmc::plain();
        bmc.change("/redfish/v1/Systems", |systems| {
            systems["Members"] = members.clone();
            systems["Members@odata.count"] = count.clone();
        });
        let explored = redfish
            .explore(&endpoint(&bmc), &credentials(PASSWORD))
            .await;
        match explored {
            Ok(explored) => {
                assert!(is_told, "{members}, {count}");
                assert!(explored.systems.is_empty() && explored.unread.is_empty());
            }
            Err(error) => {
                assert!(!is_told, "{members}, {count}: {error}");
                assert_eq!(error.category(), "SystemNotFound");
            }
        }
    }
}

#[tokio::test]
async fn a_collection_of_very_many_members_is_read_as_far_as_it_is_told_and_the_rest_is_counted() {
    const MEMBERS: usize = 5000;
    let bmc = ScriptedBmc::plain();
    let memory = format!("{SYSTEM}/Memory");
    bmc.change(SYSTEM, |system| {
        system["Memory"] = json!({"@odata.id": memory});
    });
    let paths: Vec<String> = (0..MEMBERS)
        .map(|module| format!("{memory}/Of-A-Rather-Long-Name-{module}"))
        .collect();
    let members: Vec<_> = paths.iter().map(|one| json!({"@odata.id": one})).collect();
    bmc.add(&memory, json!({"@odata.id": memory, "Members": members}));
    for path in paths.iter().take(32) {
        bmc.add(path, json!({"@odata.id": path, "CapacityMiB": 1024}));
    }
    let redfish = Redfish::new(loopback(), quick());
    let found = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap()
        .systems;
    let memory = found[0].inventory.memory.as_ref().unwrap();
    assert_eq!(memory.modules.len(), 32);
    assert_eq!(usize::try_from(memory.omitted).unwrap(), MEMBERS - 32);
    let unread = &found[0].inventory.unread;
    assert!(unread.iter().all(|one| one.group != "memory"), "{unread:?}");
}

#[tokio::test]
async fn a_call_that_cannot_wait_has_its_turn_in_the_middle_of_an_exploration() {
    let bmc = ScriptedBmc::plain();
    let redfish = Redfish::new(loopback(), quick());
    // Its first document below the system takes as long as it may.
    bmc.fail("GET", "/VirtualMedia", 1, Fault::Never);
    let explored = {
        let (redfish, endpoint) = (redfish.clone(), endpoint(&bmc));
        tokio::spawn(async move { redfish.explore(&endpoint, &credentials(PASSWORD)).await })
    };
    let asked = |part: &str| bmc.seen().iter().any(|seen| seen.path.ends_with(part));
    while !asked("/VirtualMedia") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let port = redfish.bmc(target(&bmc)).unwrap();
    let facts = port.observe().await.unwrap();
    assert_eq!(facts.power, Reading::Read(PowerState::Off));
    assert!(!explored.is_finished(), "the call came in between");
    assert!(explored.await.unwrap().is_ok());
}

fn reference(path: &str) -> Value {
    json!({"@odata.id": path})
}

#[tokio::test]
async fn the_systems_on_every_page_are_read() {
    let path = |one: usize| format!("/redfish/v1/Systems/{one}");
    let page = "/redfish/v1/Systems?$skip=2";
    let bmc = ScriptedBmc::plain();
    for one in 0..4 {
        let serial = format!("SN{one}");
        bmc.add(
            &path(one),
            json!({"@odata.id": path(one), "SerialNumber": serial}),
        );
    }
    bmc.change("/redfish/v1/Systems", |systems| {
        systems["Members"] = json!([reference(&path(0)), reference(&path(1))]);
        systems["Members@odata.count"] = json!(4);
        systems["Members@odata.nextLink"] = json!(page);
    });
    let rest = [reference(&path(2)), reference(&path(3))];
    bmc.add(page, json!({"Members": rest, "Members@odata.count": 4}));
    let redfish = Redfish::new(loopback(), quick());
    let explored = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap();
    assert_eq!((explored.systems.len(), explored.unread.len()), (4, 0));

    // A page that is not there, and one that only others have.
    for next in [
        "/redfish/v1/gone".to_owned(),
        "http://192.0.2.1/redfish/v1/Systems".to_owned(),
    ] {
        bmc.change("/redfish/v1/Systems", |systems| {
            systems["Members@odata.nextLink"] = json!(next);
        });
        let explored = redfish
            .explore(&endpoint(&bmc), &credentials(PASSWORD))
            .await
            .unwrap();
        let unread: Vec<&str> = explored.unread.iter().map(|one| &*one.path).collect();
        assert_eq!(explored.systems.len(), 2, "{next}");
        assert_eq!(unread, ["/redfish/v1/Systems"], "{next}");
    }
}

#[tokio::test]
async fn the_only_system_of_a_list_that_breaks_off_is_not_taken_for_the_one_meant() {
    let bmc = ScriptedBmc::plain();
    bmc.change("/redfish/v1/Systems", |systems| {
        systems["Members@odata.count"] = json!(2);
    });
    let redfish = Redfish::new(loopback(), quick());
    let explored = redfish
        .explore(&endpoint(&bmc), &credentials(PASSWORD))
        .await
        .unwrap();
    assert_eq!((explored.systems.len(), explored.unread.len()), (1, 1));
    assert!(explored.systems[0].system_path.is_some());
}

#[tokio::test]
async fn the_memory_on_every_page_is_summed_and_what_is_missing_is_told() {
    let bmc = ScriptedBmc::plain();
    let memory = format!("{SYSTEM}/Memory");
    let (one, two) = (format!("{memory}/1"), format!("{memory}/2"));
    let next = format!("{memory}?$skip=1");
    bmc.change(SYSTEM, |system| {
        system["Memory"] = reference(&memory);
        system.as_object_mut().unwrap().remove("MemorySummary");
    });
    for path in [&one, &two] {
        bmc.add(path, json!({"@odata.id": path, "CapacityMiB": 1024}));
    }
    bmc.add(
        &memory,
        json!({"Members": [reference(&one)], "Members@odata.count": 8, "Members@odata.nextLink": next}),
    );
    let redfish = Redfish::new(loopback(), quick());
    let read = async || {
        let explored = redfish
            .explore(&endpoint(&bmc), &credentials(PASSWORD))
            .await;
        let memory = explored
            .unwrap()
            .systems
            .remove(0)
            .inventory
            .memory
            .unwrap();
        (memory.total_bytes, memory.omitted)
    };
    assert_eq!(read().await, (None, 7));
    bmc.add(&next, json!({"Members": [reference(&two)]}));
    assert_eq!(read().await, (None, 6));
    bmc.change(&memory, |memory| memory["Members@odata.count"] = json!(2));
    assert_eq!(read().await, (Some(2 << 30), 0));
}
