mod faults;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::*;
use crate::fault::{Layer, Rule};
use crate::personality::{self, Role};
use crate::reset::Power;
use crate::spec::{FirmwareLists, FleetSpec};

const PASSWORD: &str = "password-of-the-lab";

/// A host with a card in it; the machine of that personality, and the domain.
fn of(personality: &str) -> (Domain, Index) {
    let card = personality::find(personality).unwrap().role == Role::Card;
    let (host, card_of) = if card {
        ("generic-host", personality)
    } else {
        (personality, "generic-dpu")
    };
    let yaml = format!(
        "domains: [{{hosts: [{{name: h, personality: {host}, password: {PASSWORD}}}], cards: \
         [{{name: c, personality: {card_of}, password: {PASSWORD}, slots: [{{host: h, slotPower: \
         standby}}]}}]}}]"
    );
    let planned = FleetSpec::parse(&yaml).unwrap().plan().unwrap().remove(0);
    let domain = Domain::new(
        planned,
        "2026-06-01T00:00:00Z".parse().unwrap(),
        Arc::new([]),
    );
    (domain, usize::from(card))
}

fn credentials(domain: &Domain, machine: Index) -> HeaderMap {
    let user = &domain.machines[machine].accounts.accounts[0].user;
    basic(user, PASSWORD)
}

fn basic(user: &str, password: &str) -> HeaderMap {
    let text = format!("{user}:{password}");
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    let value = HeaderValue::from_str(&format!("Basic {text}")).unwrap();
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

fn send(
    domain: &mut Domain,
    machine: Index,
    headers: &HeaderMap,
    method: &str,
    path: &str,
    body: &Value,
) -> Reply {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = Request {
        method,
        path,
        query: "",
        headers,
        body: body.as_bytes(),
        upload: None,
    };
    answer(domain, machine, &request)
}

fn ask(domain: &mut Domain, machine: Index, method: &str, path: &str, body: &Value) -> Reply {
    let headers = credentials(domain, machine);
    send(domain, machine, &headers, method, path, body)
}

fn read(domain: &mut Domain, machine: Index, path: &str) -> Value {
    let reply = ask(domain, machine, "GET", path, &Value::Null);
    assert_eq!(reply.status, 200, "{path}");
    document(reply)
}

fn document(reply: Reply) -> Value {
    match reply.body {
        Body::Json(document) => document,
        other @ (Body::Nothing | Body::Xml(_)) => panic!("no document: {other:?}"),
    }
}

fn header_of<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let found = reply.headers.iter().find(|(one, _)| one.as_str() == name);
    found.map(|(_, value)| value.as_str())
}

/// Every path that a document links to.
fn links(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, inner) in object {
                match inner.as_str() {
                    Some(path) if path.starts_with(ROOT) && !name.contains("target") => {
                        // What stands behind `#` is in the document itself.
                        let document = path.split('#').next().unwrap_or(path);
                        found.push(document.to_owned());
                    }
                    _ => links(inner, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|inner| links(inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn tree_of(domain: &mut Domain, machine: Index) -> Vec<(String, Value)> {
    let mut seen = BTreeSet::new();
    let mut open = vec!["/redfish/v1/".to_owned()];
    let mut documents = Vec::new();
    while let Some(path) = open.pop() {
        if path.ends_with("update-multipart")
            || path.contains("TaskMonitors")
            || path.ends_with("$metadata")
        {
            continue;
        }
        if seen.insert(path.clone()) {
            let document = read(domain, machine, &path);
            links(&document, &mut open);
            documents.push((path, document));
        }
    }
    documents
}

#[test]
fn every_link_leads_to_a_document_that_names_itself() {
    for personality in personality::ALL {
        let (mut domain, machine) = of(personality.name);
        domain.collect(machine);
        domain.machines[machine].log_line(crate::clock::Moment::START, "A line.");
        let documents = tree_of(&mut domain, machine);
        assert!(documents.len() > 25, "{}", personality.name);
        for (path, document) in documents {
            let own = document["@odata.id"].as_str().unwrap();
            assert_eq!(own, path, "{}", personality.name);
        }
    }
}

#[test]
fn nothing_but_the_root_is_shown_to_strangers() {
    let (mut domain, machine) = of("bluefield-3");
    let nobody = HeaderMap::new();
    let wrong = basic("root", "wrong");
    for path in [
        "/redfish",
        "/redfish/v1",
        "/redfish/v1/",
        "/redfish/v1/odata",
        "/redfish/v1/$metadata",
    ] {
        let reply = send(&mut domain, machine, &nobody, "GET", path, &Value::Null);
        assert_eq!(reply.status, 200, "{path}");
    }
    for headers in [&nobody, &wrong] {
        let reply = send(
            &mut domain,
            machine,
            headers,
            "GET",
            "/redfish/v1/Systems",
            &Value::Null,
        );
        assert_eq!(reply.status, 401);
        assert!(header_of(&reply, "www-authenticate").is_some());
    }
    assert_eq!(domain.machines[machine].requests.unauthorized, 2);
    let tries = domain.effects(0).iter().filter(|effect| {
        matches!(
            &effect.what,
            crate::effect::What::Login {
                accepted: false,
                ..
            }
        )
    });
    assert_eq!(tries.count(), 1);
}

#[test]
fn a_reset_type_that_is_not_offered_is_refused_and_does_nothing() {
    let (mut domain, machine) = of("intel-e2100");
    let path = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    for body in [
        json!({"ResetType": "ForceOff"}),
        json!({}),
        json!({"ResetType": "On", "X": 1}),
    ] {
        let reply = ask(&mut domain, machine, "POST", path, &body);
        assert_eq!(reply.status, 400, "{body}");
    }
    assert_eq!(domain.machines[machine].power, Power::On);
    let reply = ask(
        &mut domain,
        machine,
        "POST",
        path,
        &json!({"ResetType": "GracefulShutdown"}),
    );
    assert_eq!(reply.status, 204);
    let reply = ask(&mut domain, machine, "GET", path, &Value::Null);
    assert_eq!(
        (reply.status.as_u16(), header_of(&reply, "allow")),
        (405, Some("POST"))
    );
}

#[test]
fn media_by_task_go_through_the_monitor_and_eject_appears_with_them() {
    let (mut domain, machine) = of("intel-e2100");
    let slot = "/redfish/v1/Systems/1/VirtualMedia/1";
    let insert = format!("{slot}/Actions/VirtualMedia.InsertMedia");
    let eject = format!("{slot}/Actions/VirtualMedia.EjectMedia");
    assert!(
        read(&mut domain, machine, slot)["Actions"]
            .get("#VirtualMedia.EjectMedia")
            .is_none()
    );
    assert_eq!(
        ask(&mut domain, machine, "POST", &eject, &json!({})).status,
        404
    );
    let body = json!({"Image": "http://store/os.iso", "TransferMethod": "Upload"});
    let reply = ask(&mut domain, machine, "POST", &insert, &body);
    assert_eq!(reply.status, 202);
    let monitor = header_of(&reply, "location").unwrap().to_owned();
    let watch = |domain: &mut Domain| {
        ask(domain, machine, "GET", &monitor, &Value::Null)
            .status
            .as_u16()
    };
    assert_eq!(watch(&mut domain), 202);
    assert_eq!(read(&mut domain, machine, slot)["Inserted"], false);
    domain.settle(domain.now.plus(Duration::from_secs(61)));
    assert_eq!((watch(&mut domain), watch(&mut domain)), (204, 404));
    let document = read(&mut domain, machine, slot);
    assert_eq!(
        (&document["Inserted"], &document["ImageName"]),
        (&json!(true), &json!("os.iso"))
    );
    let again = ask(&mut domain, machine, "POST", &insert, &body);
    assert_eq!(again.status, 503, "occupied");
    assert_eq!(
        ask(&mut domain, machine, "POST", &eject, &json!({})).status,
        204
    );
}

#[test]
fn the_override_is_where_the_vendor_has_it() {
    let once = |target: &str| json!({"Boot": {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target}});
    let (mut domain, machine) = of("bluefield-3");
    let system = "/redfish/v1/Systems/Bluefield";
    assert_eq!(
        ask(&mut domain, machine, "PATCH", system, &once("UefiHttp")).status,
        400
    );
    let settings = format!("{system}/Settings");
    assert_eq!(
        ask(&mut domain, machine, "PATCH", &settings, &once("UefiHttp")).status,
        204
    );
    let pending = read(&mut domain, machine, &settings);
    assert_eq!(pending["Boot"]["BootSourceOverrideTarget"], "UefiHttp");
    let active = read(&mut domain, machine, system);
    assert_eq!(active["Boot"]["BootSourceOverrideEnabled"], "Disabled");

    let (mut domain, machine) = of("intel-e2100");
    let system = "/redfish/v1/Systems/1";
    assert_eq!(
        ask(&mut domain, machine, "PATCH", system, &once("UefiShell")).status,
        400
    );
    assert_eq!(
        ask(&mut domain, machine, "PATCH", system, &once("Cd")).status,
        204
    );
    for body in [
        json!({}),
        json!({"Boot": 7}),
        json!({"UUID": "x"}),
        json!({"Nonsense": 1}),
    ] {
        assert_eq!(
            ask(&mut domain, machine, "PATCH", system, &body).status,
            400,
            "{body}"
        );
    }
}

#[test]
fn etags_save_reads_and_guard_changes() {
    let (mut domain, machine) = of("generic-host");
    let path = "/redfish/v1/Systems/System";
    let reply = ask(&mut domain, machine, "GET", path, &Value::Null);
    let tag = header_of(&reply, "etag").unwrap().to_owned();
    let mut headers = credentials(&domain, machine);
    headers.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
    let reply = send(&mut domain, machine, &headers, "GET", path, &Value::Null);
    assert_eq!((reply.status.as_u16(), reply.body), (304, Body::Nothing));
    let body = json!({"AssetTag": "rack 7"});
    let mut headers = credentials(&domain, machine);
    headers.insert(header::IF_MATCH, tag.parse().unwrap());
    assert_eq!(
        send(&mut domain, machine, &headers, "PATCH", path, &body).status,
        204
    );
    assert_eq!(
        send(&mut domain, machine, &headers, "PATCH", path, &body).status,
        412
    );
    domain.switch_on(machine, Rule::always(Fault::EtagDemanded));
    assert_eq!(ask(&mut domain, machine, "PATCH", path, &body).status, 428);
}

#[test]
fn a_role_allows_what_it_names_and_a_factory_password_allows_nothing() {
    let (mut domain, machine) = of("generic-dpu");
    let accounts = "/redfish/v1/AccountService/Accounts";
    let reader = json!({"UserName": "reader", "Password": "readers-word", "RoleId": "ReadOnly"});
    assert_eq!(
        ask(&mut domain, machine, "POST", accounts, &reader).status,
        201
    );
    assert_eq!(
        ask(&mut domain, machine, "POST", accounts, &reader).status,
        400,
        "twice"
    );
    let headers = basic("reader", "readers-word");
    let reset = "/redfish/v1/Systems/DPU/Actions/ComputerSystem.Reset";
    let body = json!({"ResetType": "ForceOff"});
    let reply = send(&mut domain, machine, &headers, "POST", reset, &body);
    assert_eq!(
        (reply.status.as_u16(), domain.machines[machine].power),
        (403, Power::On)
    );
    let own = format!("{accounts}/reader");
    let body = json!({"Password": "another-word"});
    assert_eq!(
        send(&mut domain, machine, &headers, "PATCH", &own, &body).status,
        204
    );
    let admin = format!("{accounts}/admin");
    let headers = basic("reader", "another-word");
    assert_eq!(
        send(&mut domain, machine, &headers, "PATCH", &admin, &body).status,
        403
    );

    domain.machines[machine].accounts.accounts[0].must_change_password = true;
    let reply = ask(
        &mut domain,
        machine,
        "GET",
        "/redfish/v1/Systems",
        &Value::Null,
    );
    assert_eq!(reply.status, 403);
    assert!(
        document(reply)
            .to_string()
            .contains("PasswordChangeRequired")
    );
    assert_eq!(
        ask(
            &mut domain,
            machine,
            "PATCH",
            &admin,
            &json!({"Password": "short"})
        )
        .status,
        400
    );
    assert_eq!(
        ask(
            &mut domain,
            machine,
            "PATCH",
            &admin,
            &json!({"Password": PASSWORD})
        )
        .status,
        204
    );
    read(&mut domain, machine, "/redfish/v1/Systems");
}

#[test]
fn a_push_finds_its_component_and_an_update_is_not_done_twice_at_once() {
    let (mut domain, machine) = of("bluefield-4");
    let body = "--b\r\nContent-Disposition: form-data; name=\"UpdateParameters\"\r\n\r\n\
                {\"Targets\": [\"/redfish/v1/UpdateService/FirmwareInventory/FW_NIC_0\"]}\r\n\
                --b\r\nContent-Disposition: form-data; name=\"UpdateFile\"; filename=\"82.48.fwpkg\"\r\n\
                \r\nbytes\r\n--b--\r\n";
    let mut headers = credentials(&domain, machine);
    headers.insert(
        header::CONTENT_TYPE,
        "multipart/form-data; boundary=b".parse().unwrap(),
    );
    let mut parts = Parts::of(&headers, &(0..0)).unwrap();
    parts.feed(body.as_bytes());
    let upload = parts.finish();
    let request = Request {
        method: "POST",
        path: "/redfish/v1/UpdateService/update-multipart",
        query: "",
        headers: &headers,
        body: b"",
        upload: Some(&upload),
    };
    assert_eq!(answer(&mut domain, machine, &request).status, 202);
    assert_eq!(answer(&mut domain, machine, &request).status, 503);
    domain.settle(domain.now.plus(Duration::from_secs(1000)));
    let nic = domain.machines[machine]
        .firmware
        .iter()
        .find(|one| one.id == "FW_NIC_0");
    assert_eq!(nic.unwrap().pending.as_deref(), Some("82.48"));
    for (lists, version, pending) in [
        (FirmwareLists::Running, "82.47.1026", None),
        (FirmwareLists::Both, "82.47.1026", Some("82.48")),
        (FirmwareLists::Written, "82.48", None),
    ] {
        domain.machines[machine].firmware_lists = lists;
        let path = "/redfish/v1/UpdateService/FirmwareInventory/FW_NIC_0";
        let item = read(&mut domain, machine, path);
        assert_eq!(item["Version"], version, "{lists:?}");
        let listed = item["Oem"]["Nvidia"]["PendingVersion"].as_str();
        assert_eq!(listed, pending, "{lists:?}");
    }
}
