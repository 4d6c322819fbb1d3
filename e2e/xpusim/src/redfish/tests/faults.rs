//! Faults of documents and connections.

use super::*;

#[test]
fn every_document_fault_shows_and_changes_nothing_in_truth() {
    let documents = |one: &&Fault| one.about().layer == Layer::Document;
    // The one that is about the status has a test of its own.
    let faults = Fault::ALL.iter().filter(documents);
    for fault in faults.filter(|one| **one != Fault::BiosError) {
        let (mut domain, machine) = of("bluefield-3");
        domain.machines[machine].stage = Some(crate::stage::Stage::Uefi);
        domain.machines[machine].firmware[0].pending = Some("next".to_owned());
        domain.settle(domain.now.plus(Duration::from_secs(100)));
        let paths: Vec<String> = tree_of(&mut domain, machine)
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        let before: Vec<Value> = paths
            .iter()
            .map(|path| read(&mut domain, machine, path))
            .collect();
        domain.switch_on(machine, Rule::always(*fault));
        let differ = paths.iter().zip(&before).filter(|(path, old)| {
            let new = read(&mut domain, machine, path);
            new != **old
        });
        assert!(differ.count() > 0, "{fault}");
        domain.switch_off(machine, *fault);
        let after: Vec<Value> = paths
            .iter()
            .map(|path| read(&mut domain, machine, path))
            .collect();
        assert_eq!(after, before, "{fault}");
    }
}

#[test]
fn connection_faults_are_judged_by_path_and_method() {
    let (mut domain, machine) = of("generic-dpu");
    domain.switch_on(
        machine,
        Rule {
            path: Some("/Systems".to_owned()),
            times: Some(1),
            status: Some(503),
            ..Rule::always(Fault::AnswerStatus)
        },
    );
    let headers = HeaderMap::new();
    let request = |path| Request {
        method: "GET",
        path,
        query: "",
        headers: &headers,
        body: b"",
        upload: None,
    };
    let mut judge = |path| match before(&mut domain, machine, &request(path)) {
        Before::Answer(reply) => reply.status.as_u16(),
        Before::Serve => 0,
        Before::Hang | Before::Drop => 1,
    };
    assert_eq!(judge("/redfish/v1/Chassis"), 0);
    assert_eq!(
        (judge("/redfish/v1/Systems"), judge("/redfish/v1/Systems")),
        (503, 0)
    );
    for (fault, path, wanted) in [
        (Fault::Hang, "/redfish/v1/", 1),
        (Fault::SlashMissing, "/redfish/v1/Systems/", 404),
        (Fault::RedirectToHttp, "/redfish/v1/", 307),
    ] {
        domain.switch_on(machine, Rule::always(fault));
        let judged = match before(&mut domain, machine, &request(path)) {
            Before::Answer(reply) => reply.status.as_u16(),
            Before::Serve => 0,
            Before::Hang | Before::Drop => 1,
        };
        assert_eq!(judged, wanted, "{fault}");
        domain.switch_off(machine, fault);
    }
    domain.switch_on(machine, Rule::always(Fault::LoseReply));
    assert!(after(&mut domain, machine, &request("/redfish/v1/")).lose);
}

#[test]
fn faults_of_requests_and_their_locations_strike_where_they_belong() {
    let (mut domain, machine) = of("bluefield-3");
    let settings = "/redfish/v1/Systems/Bluefield/Bios/Settings";
    let body = json!({
        "Attributes": {"HostPrivilegeLevel": "Restricted"},
        "@Redfish.SettingsApplyTime": {"ApplyTime": "OnReset"},
    });
    domain.switch_on(machine, Rule::always(Fault::ApplyTimeRefused));
    assert_eq!(
        ask(&mut domain, machine, "PATCH", settings, &body).status,
        400
    );
    assert!(domain.machines[machine].bios_pending.is_empty());
    domain.switch_off(machine, Fault::ApplyTimeRefused);
    assert_eq!(
        ask(&mut domain, machine, "PATCH", settings, &body).status,
        204
    );

    let reset = "/redfish/v1/Systems/Bluefield/Bios/Actions/Bios.ResetBios";
    domain.switch_on(machine, Rule::always(Fault::BodyDemanded));
    assert_eq!(
        ask(&mut domain, machine, "POST", reset, &Value::Null).status,
        400
    );
    assert_eq!(
        ask(&mut domain, machine, "POST", reset, &json!({})).status,
        204
    );

    let collect =
        "/redfish/v1/Systems/Bluefield/LogServices/SEL/Actions/LogService.CollectDiagnosticData";
    let body = json!({"DiagnosticDataType": "Manager"});
    for (fault, wanted) in [
        (Fault::LocationMissing, None),
        (
            Fault::LocationAbsolute,
            Some("https://localhost/redfish/v1/TaskService/TaskMonitors/1"),
        ),
    ] {
        domain.switch_on(machine, Rule::always(fault));
        let reply = ask(&mut domain, machine, "POST", collect, &body);
        assert_eq!(
            (reply.status.as_u16(), header_of(&reply, "location")),
            (202, wanted)
        );
        domain.switch_off(machine, fault);
    }
}

#[test]
fn the_bios_may_fail_with_a_body_that_is_right() {
    let (mut domain, machine) = of("bluefield-2");
    domain.switch_on(machine, Rule::always(Fault::BiosError));
    let path = "/redfish/v1/Systems/Bluefield/Bios";
    let reply = ask(&mut domain, machine, "GET", path, &Value::Null);
    assert_eq!(reply.status, 500);
    assert_eq!(document(reply)["Attributes"]["NicMode"], "DpuMode");
}

#[test]
fn a_broken_card_shows_its_recovery_id_to_its_host() {
    let (mut domain, machine) = of("bluefield-3");
    let path = "/redfish/v1/Chassis/Chassis/PCIeDevices/Slot1/PCIeFunctions/0";
    assert_eq!(read(&mut domain, 0, path)["DeviceId"], "0xA2DC");
    domain.set_livefish(machine, true);
    assert_eq!(read(&mut domain, 0, path)["DeviceId"], "0x021C");
}

#[test]
fn a_fault_is_met_where_it_shows_or_where_its_demand_is_fulfilled() {
    let (mut domain, machine) = of("generic-dpu");
    let met = |domain: &Domain, fault: Fault| {
        let met = &domain.machines[machine].requests.met;
        met.get(&fault).copied().unwrap_or_default()
    };
    let system = "/redfish/v1/Systems/DPU";
    let rule = Rule {
        times: Some(1),
        ..Rule::always(Fault::NullMembers)
    };
    domain.switch_on(machine, rule);
    read(&mut domain, machine, system);
    assert_eq!(met(&domain, Fault::NullMembers), 0, "it has no members");
    let systems = read(&mut domain, machine, "/redfish/v1/Systems");
    assert_eq!(systems["Members"], Value::Null);
    assert_eq!(met(&domain, Fault::NullMembers), 1);

    domain.switch_on(machine, Rule::always(Fault::BodyDemanded));
    let reset = format!("{system}/Actions/ComputerSystem.Reset");
    for (body, wanted) in [(Value::Null, 400), (json!({"ResetType": "ForceOff"}), 204)] {
        let before = met(&domain, Fault::BodyDemanded);
        let reply = ask(&mut domain, machine, "POST", &reset, &body);
        assert_eq!(reply.status, wanted);
        assert_eq!(met(&domain, Fault::BodyDemanded), before + 1, "{body}");
    }
    assert!(domain.machines[machine].requests.met.len() == 2);
}
