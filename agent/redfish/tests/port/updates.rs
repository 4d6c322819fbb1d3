//! Updates: what is read, what is offered once, and what a BMC may answer to it.

use lockstep_redfish::{
    Components, Push, SimpleUpdate, TaskReading, TaskSighting, TaskState, UpdateTicket, Updater,
};
use serde_json::Value;

use super::*;

const SERVICE: &str = "/redfish/v1/UpdateService";
const INVENTORY: &str = "/redfish/v1/UpdateService/FirmwareInventory";
const SIMPLE: &str = "UpdateService.SimpleUpdate";
const PUSH: &str = "update-multipart";
const TASKS: &str = "/redfish/v1/TaskService/Tasks";
const TASK: &str = "/redfish/v1/TaskService/Tasks/7";
const MONITOR: &str = "/redfish/v1/TaskService/TaskMonitors/7";
const STARTED: &str = "2026-01-01T00:00:00Z";

fn task(state: &str) -> Value {
    json!({
        "@odata.id": TASK, "@odata.type": "#Task.v1_7_0.Task", "Name": "Update",
        "TaskState": state, "TaskStatus": "OK", "PercentComplete": 40, "StartTime": STARTED,
        "TaskMonitor": MONITOR, "Messages": [],
    })
}

fn manager() -> String {
    format!("/redfish/v1/Managers/{UUID}")
}

/// The scripted BMC with an UpdateService, three components and two tasks.
fn updatable() -> ScriptedBmc {
    let bmc = ScriptedBmc::plain();
    let link = |path: &str| json!({"@odata.id": path});
    bmc.change("/redfish/v1/", |root| {
        root["UpdateService"] = link(SERVICE);
        root["Tasks"] = link("/redfish/v1/TaskService");
    });
    bmc.change(&manager(), |manager| {
        manager["LastResetTime"] = json!("boot 1");
    });
    bmc.add(
        SERVICE,
        json!({
            "@odata.id": SERVICE, "ServiceEnabled": true, "Status": {"State": "Enabled"},
            "MaxImageSizeBytes": 4096,
            "MultipartHttpPushUri": format!("{SERVICE}/{PUSH}"),
            "FirmwareInventory": link(INVENTORY),
            "Actions": {"#UpdateService.SimpleUpdate": {
                "target": format!("{SERVICE}/Actions/{SIMPLE}"),
                "TransferProtocol@Redfish.AllowableValues": ["HTTP"],
            }},
        }),
    );
    let ids = ["BMC", "DPU_OS", "DPU_NIC"];
    let paths = ids.map(|id| format!("{INVENTORY}/{id}"));
    let members: Vec<Value> = paths.iter().map(|path| link(path)).collect();
    bmc.add(INVENTORY, json!({"Members": members}));
    for (id, path) in ids.iter().zip(&paths) {
        bmc.add(path, json!({"Id": id, "Version": "BF-24.10-10"}));
    }
    bmc.add("/redfish/v1/TaskService", json!({"Tasks": link(TASKS)}));
    let old = format!("{TASKS}/6");
    bmc.add(TASKS, json!({"Members": [link(&old), link(TASK)]}));
    bmc.add(&old, json!({"TaskState": "Completed"}));
    bmc.add(TASK, task("Running"));
    bmc
}

fn bfb() -> SimpleUpdate {
    SimpleUpdate {
        image: ImageUrl::new("http://192.0.2.1:8080/i/0123456789abcdef/os.bfb"),
        targets: vec![format!("{INVENTORY}/DPU_OS")],
    }
}

fn image(bytes: &'static [u8]) -> Push {
    Push::new("bmc-24.10.fwpkg", bytes.len() as u64, bytes).unwrap()
}

fn accepted(location: Option<&str>, body: &Value) -> Fault {
    let location = location.map(|location| ("Location", location.to_owned()));
    Fault::AnswerWith(202, location.into_iter().collect(), body.to_string())
}

#[tokio::test]
async fn what_is_offered_what_runs_and_which_versions_there_are_is_read() {
    let bmc = updatable();
    let port = port(&bmc);
    let facts = port.observe_updates(&Components::All).await.unwrap();
    let service = facts.service.value().unwrap();
    assert_eq!(service.max_image_bytes, Some(4096));
    assert!(service.simple_update.is_some() && service.multipart_push.is_some());
    let running = facts.tasks.value().unwrap();
    assert_eq!(running.len(), 1, "what has ended is left out");
    assert_eq!(running[0].state, Some(TaskState::Running));
    assert_eq!(running[0].percent, Some(40));
    assert_eq!(facts.firmware.value().unwrap().len(), 3);
    assert_eq!(facts.last_reset, Reading::Read("boot 1".to_owned()));

    let before = bmc.seen().len();
    let one = Components::Named(vec!["DPU_NIC".to_owned(), "ABSENT".to_owned()]);
    let facts = port.observe_updates(&one).await.unwrap();
    let firmware = facts.firmware.value().unwrap();
    assert_eq!(firmware.len(), 1);
    assert_eq!(firmware[0].running.as_deref(), Some("BF-24.10-10"));
    let read = |id: &str| {
        let path = format!("{INVENTORY}/{id}");
        bmc.seen()[before..].iter().any(|seen| seen.path == path)
    };
    assert!(read("DPU_NIC") && !read("DPU_OS"), "only what is asked for");
    assert!(bmc.changes().is_empty());
}

#[tokio::test]
async fn of_a_list_that_keeps_what_has_ended_the_newest_are_read() {
    for (at, prefix) in [
        (200, ""),
        (250, ""),
        (299, ""),
        (0, "JID_"),
        (49, "JID_"),
        (299, "JID_"),
    ] {
        let bmc = updatable();
        let path = |n: usize| format!("{TASKS}/{prefix}{n}");
        let mut many: Vec<String> = (0..300).map(path).collect();
        if prefix.is_empty() {
            // As text.
            many.sort();
        }
        let many: Vec<Value> = many.iter().map(|path| json!({"@odata.id": path})).collect();
        bmc.add(TASKS, json!({"Members": many}));
        for n in 0..300 {
            let state = if n == at { "Running" } else { "Completed" };
            bmc.add(&path(n), json!({"TaskState": state}));
        }
        let before = bmc.seen().len();
        let facts = port(&bmc)
            .observe_updates(&Components::Named(Vec::new()))
            .await;
        assert_eq!(facts.unwrap().tasks.value().unwrap().len(), 1, "{at}");
        assert!(bmc.seen().len() - before < 120);
    }
}

#[tokio::test]
async fn a_background_copy_is_read_where_a_chassis_is_known_to_tell() {
    const EROT: &str = "/redfish/v1/Chassis/Bluefield_ERoT";
    let named = |id: &str| {
        let bmc = updatable();
        bmc.add(
            "/redfish/v1/Chassis",
            json!({"Members": [{"@odata.id": "/redfish/v1/Chassis/Card1"}, {"@odata.id": EROT}]}),
        );
        bmc.change("/redfish/v1/", |root| {
            root["Chassis"] = json!({"@odata.id": "/redfish/v1/Chassis"});
        });
        bmc.change(SYSTEM, |system| system["Id"] = json!(id));
        bmc.add(
            EROT,
            json!({"Oem": {"Nvidia": {"BackgroundCopyStatus": "InProgress"}}}),
        );
        bmc
    };
    let copying = async |bmc: &ScriptedBmc| {
        let facts = port(bmc).observe_updates(&Components::All).await.unwrap();
        facts.background_copy
    };
    let bmc = named("Bluefield");
    assert_eq!(copying(&bmc).await, Reading::Read("InProgress".to_owned()));
    let by_hand =
        json!({"BackgroundCopyStatus": "Pending", "AutomaticBackgroundCopyEnabled": false});
    bmc.add(EROT, json!({"Oem": {"Nvidia": by_hand}}));
    assert_eq!(copying(&bmc).await, Reading::NotOffered);
    bmc.add(EROT, json!({"Id": "Bluefield_ERoT"}));
    assert_eq!(copying(&bmc).await, Reading::NotOffered);
    bmc.fail("GET", EROT, 99, Fault::Answer(500, "{}".to_owned()));
    assert!(matches!(copying(&bmc).await, Reading::NotRead(_)));
    let other = named("Other");
    assert_eq!(copying(&other).await, Reading::NotOffered);
    assert!(other.seen().iter().all(|seen| seen.path != EROT));
}

#[tokio::test]
async fn what_is_not_there_is_told_apart_from_what_is_not_read() {
    let bmc = ScriptedBmc::plain();
    let facts = port(&bmc).observe_updates(&Components::All).await.unwrap();
    assert_eq!(facts.service, Reading::NotOffered);
    assert_eq!(facts.tasks, Reading::NotOffered);
    // What the manager tells of itself.
    assert_eq!(facts.firmware.value().unwrap().len(), 1);

    let bmc = updatable();
    bmc.fail("GET", SERVICE, 99, Fault::Answer(500, "{}".to_owned()));
    bmc.fail("GET", TASKS, 99, Fault::Answer(500, "{}".to_owned()));
    let facts = port(&bmc).observe_updates(&Components::All).await.unwrap();
    assert!(matches!(facts.service, Reading::NotRead(_)));
    assert!(matches!(facts.tasks, Reading::NotRead(_)));
    assert!(matches!(facts.firmware, Reading::NotRead(_)));
}

#[tokio::test]
async fn a_simple_update_is_offered_once_and_its_task_is_known_wherever_it_is_named() {
    let absolute = format!("https://bmc.internal{MONITOR}");
    for (answer, task_path, monitor) in [
        (
            accepted(Some(MONITOR), &task("Running")),
            Some(TASK),
            Some(MONITOR),
        ),
        (
            accepted(Some(MONITOR), &Value::Null),
            Some(TASK),
            Some(MONITOR),
        ),
        (accepted(Some(TASK), &Value::Null), Some(TASK), None),
        (
            accepted(Some(&absolute), &Value::Null),
            Some(TASK),
            Some(MONITOR),
        ),
        (accepted(None, &task("Running")), Some(TASK), Some(MONITOR)),
        (accepted(None, &json!({"TaskUri": TASK})), Some(TASK), None),
        (accepted(None, &Value::Null), None, None),
        (Fault::Answer(200, String::new()), None, None),
        (Fault::Answer(204, String::new()), None, None),
    ] {
        let bmc = updatable();
        bmc.fail("POST", SIMPLE, 1, answer.clone());
        let ticket = port(&bmc).simple_update(&bfb()).await.unwrap();
        assert_eq!(ticket.task.as_deref(), task_path, "{answer:?}");
        assert_eq!(ticket.monitor.as_deref(), monitor, "{answer:?}");
        let started = task_path.map(|_| STARTED);
        assert_eq!(ticket.started.as_deref(), started, "{answer:?}");
        assert_eq!(ticket.last_reset.as_deref(), Some("boot 1"));
        let changes = bmc.changes();
        assert_eq!(changes.len(), 1);
        assert_eq!(
            changes[0].body,
            json!({
                "ImageURI": bfb().image.expose(), "TransferProtocol": "HTTP",
                "Targets": bfb().targets,
            })
        );
    }
}

#[tokio::test]
async fn a_push_brings_parameters_and_image_in_one_body_of_a_known_length() {
    let bmc = updatable();
    bmc.fail("POST", PUSH, 1, accepted(Some(MONITOR), &task("Running")));
    let mut push = image(b"\x00\r\n--x\xff");
    push.targets = vec![format!("{INVENTORY}/BMC")];
    push.force = true;
    let ticket = port(&bmc).push(push).await.unwrap();
    assert_eq!(ticket.task.as_deref(), Some(TASK));
    let sent = &bmc.changes()[0];
    assert!(!sent.headers.contains_key("transfer-encoding"));
    let kind = &sent.headers["content-type"];
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let mut wanted = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"UpdateParameters\"\r\n\
         Content-Type: application/json\r\n\r\n\
         {{\"ForceUpdate\":true,\"Targets\":[\"{INVENTORY}/BMC\"]}}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"UpdateFile\"; \
         filename=\"bmc-24.10.fwpkg\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    wanted.extend(b"\x00\r\n--x\xff");
    wanted.extend(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert_eq!(
        String::from_utf8_lossy(&sent.bytes),
        String::from_utf8_lossy(&wanted)
    );
}

#[tokio::test]
async fn both_prove_the_machine_just_before_and_offer_a_stranger_nothing() {
    let bmc = updatable();
    let steps = |bmc: &ScriptedBmc| -> Vec<String> {
        let seen = bmc.seen();
        let last = seen.iter().rposition(|one| one.method == "POST").unwrap();
        seen[last - 1..=last]
            .iter()
            .map(|one| one.path.clone())
            .collect()
    };
    bmc.fail("POST", SIMPLE, 1, accepted(None, &Value::Null));
    port(&bmc).simple_update(&bfb()).await.unwrap();
    assert_eq!(steps(&bmc)[0], SYSTEM);
    bmc.fail("POST", PUSH, 1, accepted(None, &Value::Null));
    port(&bmc).push(image(b"x")).await.unwrap();
    assert_eq!(steps(&bmc)[0], SYSTEM);

    for push in [false, true] {
        let bmc = updatable();
        // The machine is another one from the time on at which the manager is read.
        bmc.fail("GET", SERVICE, 1, Fault::SwapMachine(STRANGER));
        let port = port(&bmc);
        let error = if push {
            port.push(image(b"x")).await.unwrap_err()
        } else {
            port.simple_update(&bfb()).await.unwrap_err()
        };
        assert_eq!(error.category(), "IdentityMismatch");
        assert!(bmc.changes().is_empty());
    }
}

#[tokio::test]
async fn busy_is_no_failure_and_keeps_what_the_bmc_asked_for() {
    let body = |id: &str, text: &str| {
        json!({"error": {"@Message.ExtendedInfo": [{"MessageId": id, "Message": text}]}})
            .to_string()
    };
    let in_use = || body("Base.1.18.ResourceInUse", "Something else goes on.");
    let wait = vec![("Retry-After", "30".to_owned())];
    for (answer, category, retry_after) in [
        (
            Fault::AnswerWith(503, wait, in_use()),
            "UpdateBusy",
            Some(30),
        ),
        (Fault::Answer(409, in_use()), "UpdateBusy", None),
        (Fault::Answer(400, in_use()), "UpdateBusy", None),
        (
            Fault::Answer(400, body("X.1.0.Y", "An update is already in progress")),
            "UpdateBusy",
            None,
        ),
        (
            Fault::Answer(400, body("Base.1.18.PropertyUnknown", "No.")),
            "Refused",
            None,
        ),
        (Fault::Answer(503, "{}".to_owned()), "OutcomeUnknown", None),
        (Fault::Answer(500, in_use()), "OutcomeUnknown", None),
    ] {
        for push in [false, true] {
            let bmc = updatable();
            bmc.fail("POST", "", 1, answer.clone());
            let port = port(&bmc);
            let error = if push {
                port.push(image(b"x")).await.unwrap_err()
            } else {
                port.simple_update(&bfb()).await.unwrap_err()
            };
            assert_eq!(error.category(), category, "{answer:?}: {error}");
            if let BmcError::UpdateBusy {
                retry_after: told, ..
            } = error
            {
                assert_eq!(told.map(|told| told.as_secs()), retry_after);
            }
            assert_eq!(bmc.changes().len(), 1, "{answer:?}");
        }
    }
    let bmc = updatable();
    bmc.change(SERVICE, |service| {
        service["Status"]["State"] = json!("Starting");
    });
    let error = port(&bmc).simple_update(&bfb()).await.unwrap_err();
    assert_eq!(error.category(), "UpdateBusy");
    assert_eq!(error.effect(), EffectCertainty::None);
    assert!(bmc.changes().is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_an_unknown_outcome_and_nothing_is_offered_again() {
    let error_in_200 = json!({"error": {"message": "General error"}}).to_string();
    for fault in [
        Fault::DropAfterEffect,
        Fault::Never,
        Fault::Answer(504, String::new()),
        Fault::Answer(200, error_in_200),
    ] {
        for push in [false, true] {
            let bmc = updatable();
            bmc.fail("POST", "", 9, fault.clone());
            let options = BmcOptions {
                update_deadline: Duration::from_millis(1500),
                push_deadline: Duration::from_millis(700),
                ..quick()
            };
            let port = Redfish::new(loopback(), options).bmc(target(&bmc)).unwrap();
            let error = if push {
                port.push(image(b"x")).await.unwrap_err()
            } else {
                port.simple_update(&bfb()).await.unwrap_err()
            };
            assert_eq!(error.category(), "OutcomeUnknown", "{fault:?}: {error}");
            assert!(!error.to_string().contains("0123456789abcdef"));
            assert_eq!(bmc.changes().len(), 1, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn what_is_not_offered_is_not_sent() {
    let refused = async |change: fn(&mut Value), update: SimpleUpdate| {
        let bmc = updatable();
        bmc.change(SERVICE, change);
        let error = port(&bmc).simple_update(&update).await.unwrap_err();
        assert!(bmc.changes().is_empty());
        assert_eq!(error.category(), "NotOffered");
        error.to_string()
    };
    let https = SimpleUpdate {
        image: ImageUrl::new("https://192.0.2.1/os.bfb"),
        ..bfb()
    };
    assert!(refused(|_| (), https).await.contains("HTTPS"));
    let no_scheme = SimpleUpdate {
        image: ImageUrl::new("192.0.2.1/os.bfb"),
        ..bfb()
    };
    assert!(refused(|_| (), no_scheme).await.contains("scheme"));
    let other_target = |service: &mut Value| {
        service["Actions"]["#UpdateService.SimpleUpdate"]["Targets@Redfish.AllowableValues"] =
            json!(["/elsewhere"]);
    };
    assert!(refused(other_target, bfb()).await.contains("/elsewhere"));
    let no_action = |service: &mut Value| service["Actions"] = json!({});
    assert!(
        refused(no_action, bfb())
            .await
            .contains("MultipartHttpPushUri")
    );
    let disabled = |service: &mut Value| service["ServiceEnabled"] = json!(false);
    assert!(refused(disabled, bfb()).await.contains("ServiceEnabled"));

    let bmc = updatable();
    let long = Push::new("a.bin", 4097, tokio::io::repeat(1)).unwrap();
    let error = port(&bmc).push(long).await.unwrap_err();
    assert!(error.to_string().contains("at most 4096"), "{error}");
    bmc.change(SERVICE, |service| {
        service["MultipartHttpPushUri"] = json!("https://198.51.100.1/upload");
    });
    let error = port(&bmc).push(image(b"x")).await.unwrap_err();
    assert!(error.to_string().contains("another origin"), "{error}");
    bmc.change(SERVICE, |service| {
        service["MultipartHttpPushUri"] = json!(null);
    });
    let error = port(&bmc).push(image(b"x")).await.unwrap_err();
    assert_eq!(error.category(), "NotOffered");
    assert!(bmc.changes().is_empty());
    let bare = ScriptedBmc::plain();
    let error = port(&bare).push(image(b"x")).await.unwrap_err();
    assert!(error.to_string().contains("an UpdateService"), "{error}");
}

#[tokio::test]
async fn an_image_that_ends_early_is_never_a_whole_one() {
    let bmc = updatable();
    bmc.fail("POST", PUSH, 1, accepted(None, &Value::Null));
    let short = Push::new("a.bin", 4000, &b"too short"[..]).unwrap();
    let error = port(&bmc).push(short).await.unwrap_err();
    assert_eq!(error.category(), "OutcomeUnknown");
    assert!(bmc.changes().is_empty(), "no whole request came");
}

#[tokio::test]
async fn other_calls_go_on_beside_a_push() {
    let bmc = updatable();
    bmc.fail("POST", PUSH, 1, Fault::Never);
    let port = port(&bmc);
    let push = port.push(image(b"x"));
    let beside = async {
        while bmc.changes().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        port.observe().await
    };
    tokio::select! {
        ended = push => panic!("{ended:?}"),
        facts = beside => assert!(facts.is_ok(), "{facts:?}"),
    }
}

#[tokio::test]
async fn the_session_of_a_push_ends_with_it() {
    let bmc = updatable();
    bmc.offer_sessions();
    bmc.fail("POST", PUSH, 1, accepted(Some(MONITOR), &task("Running")));
    let port = port(&bmc);
    port.push(image(b"x")).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while bmc.sessions() > 0 {
        assert!(Instant::now() < deadline, "a session is left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_task_is_looked_at_and_its_monitor_only_where_it_is_not_there() {
    let ticket = UpdateTicket {
        task: Some(TASK.to_owned()),
        monitor: Some(MONITOR.to_owned()),
        manager: Some(manager()),
        ..UpdateTicket::default()
    };
    let bmc = updatable();
    let read = port(&bmc).task(&ticket).await.unwrap();
    assert_eq!(read.last_reset, Reading::Read("boot 1".to_owned()));
    assert!(matches!(read.sighting, TaskSighting::Task(task) if task.percent == Some(40)));
    assert!(bmc.seen().iter().all(|seen| seen.path != MONITOR));

    let failed = json!({"error": {"message": "Invalid FW Package"}}).to_string();
    let wait = vec![("Retry-After", "7".to_owned())];
    for (answer, wanted) in [
        (
            Fault::AnswerWith(202, wait, "{}".to_owned()),
            TaskSighting::GoesOn {
                retry_after: Some(Duration::from_secs(7)),
            },
        ),
        (Fault::Answer(204, String::new()), TaskSighting::EndedWell),
        (Fault::Answer(200, "{}".to_owned()), TaskSighting::EndedWell),
        (Fault::Answer(404, "{}".to_owned()), TaskSighting::Gone),
        (Fault::Answer(410, String::new()), TaskSighting::Gone),
        (
            Fault::Answer(400, failed.clone()),
            TaskSighting::EndedBadly {
                status: 400,
                detail: "Invalid FW Package".to_owned(),
            },
        ),
        (
            Fault::Answer(200, failed),
            TaskSighting::EndedBadly {
                status: 200,
                detail: "Invalid FW Package".to_owned(),
            },
        ),
    ] {
        let bmc = updatable();
        bmc.fail("GET", TASK, 1, Fault::Answer(404, "{}".to_owned()));
        bmc.fail("GET", MONITOR, 1, answer.clone());
        let read = port(&bmc).task(&ticket).await.unwrap();
        assert_eq!(read.sighting, wanted, "{answer:?}");
    }
    let bmc = updatable();
    bmc.fail("GET", TASK, 1, Fault::Answer(404, "{}".to_owned()));
    bmc.fail(
        "GET",
        MONITOR,
        1,
        Fault::Answer(202, task("Running").to_string()),
    );
    let read = port(&bmc).task(&ticket).await.unwrap();
    assert!(matches!(read.sighting, TaskSighting::Task(_)));

    let bmc = updatable();
    bmc.fail("GET", TASK, 99, Fault::Answer(500, "{}".to_owned()));
    let error = port(&bmc).task(&ticket).await.unwrap_err();
    assert_eq!(error.category(), "ReadFailed", "no news is no sighting");
    let unnamed = port(&bmc).task(&UpdateTicket::default()).await.unwrap();
    let nothing = TaskReading {
        sighting: TaskSighting::NeverNamed,
        last_reset: Reading::NotOffered,
    };
    assert_eq!(unnamed, nothing);
}

#[tokio::test]
async fn what_is_offered_for_one_component_is_read_by_its_id() {
    let bmc = updatable();
    let port = port(&bmc);
    let offer = port.component_update("BMC").await.unwrap();
    let offer = offer.value().unwrap();
    assert_eq!(offer.component, format!("{INVENTORY}/BMC"));
    assert!(offer.takes_pushes());
    assert_eq!(offer.file_name("a"), "a.fwpkg");
    let os = port.os_update().await.unwrap();
    assert_eq!(os.value().unwrap().file_name("a"), "a.bfb");
    let none = port.component_update("bmc").await.unwrap();
    assert_eq!(none, Reading::NotOffered);
    assert!(bmc.changes().is_empty());
}

#[tokio::test]
async fn a_bmc_is_restarted_once_by_what_it_lists_and_only_if_it_is_the_one_that_is_meant() {
    let reset = "/redfish/v1/Managers/Actions/Manager.Reset";
    let offering = |types: Value| {
        let bmc = updatable();
        bmc.change(&manager(), |manager| {
            manager["Actions"] = json!({"#Manager.Reset": {
                "target": reset, "ResetType@Redfish.AllowableValues": types,
            }});
        });
        bmc.fail("POST", reset, 9, Fault::Answer(204, String::new()));
        bmc
    };
    for (types, sent) in [
        (
            json!(["ForceRestart", "GracefulRestart"]),
            "GracefulRestart",
        ),
        (json!(["ForceRestart"]), "ForceRestart"),
        (Value::Null, "GracefulRestart"),
    ] {
        let bmc = offering(types);
        let effect = port(&bmc).reset_bmc().await.unwrap();
        assert_eq!(effect.confirmation, Confirmation::NotObservable);
        let asked = bmc.changes();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].body["ResetType"], sent);
    }
    let none = offering(json!(["Nmi"]));
    let error = port(&none).reset_bmc().await.unwrap_err();
    assert!(matches!(error, BmcError::NotOffered { .. }), "{error}");
    let stranger = offering(Value::Null);
    let mut other = target(&stranger);
    other.expected.system_uuid = Some(STRANGER.to_owned());
    let port = Redfish::new(loopback(), quick()).bmc(other).unwrap();
    let error = port.reset_bmc().await.unwrap_err();
    assert!(matches!(error, BmcError::Stranger { .. }), "{error}");
    assert!(none.changes().is_empty() && stranger.changes().is_empty());
}
