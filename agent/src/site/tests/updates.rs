//! Having a card's BMC write an image, what is told of it, and forgetting it.

use lockstep_crds::directive::HostExpects;
use lockstep_redfish::{
    BootProgress, BootStage, TaskFacts, TaskMessage, TaskSighting, TaskState, UpdateFacts,
};

use super::http_boot::{publish_other, set_for_good};
use super::installs::publish;
use super::*;
use crate::site::fake::update_service;
use crate::site::glances::Glance;
use crate::site::update_note::{Subject, UpdateNote};

fn update(seq: i64, kind: &str, digest: &Digest) -> Directive {
    let mut update = directive(seq, kind);
    update.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    update
}

pub(super) fn task(state: TaskState, percent: u8, text: Option<&str>) -> TaskFacts {
    TaskFacts {
        path: "/redfish/v1/TaskService/Tasks/0".to_owned(),
        name: Some("Update DPU_OS".to_owned()),
        state: Some(state),
        status: Some("OK".to_owned()),
        percent: Some(percent),
        started: None,
        messages: text
            .map(|text| TaskMessage {
                text: Some(text.to_owned()),
                ..TaskMessage::default()
            })
            .into_iter()
            .collect(),
    }
}

pub(super) fn offering() -> Bench {
    let bench = bench();
    bench.bmc.updates(|updates| {
        updates.offer = Some(update_service());
        updates.version = Some("1.1".to_owned());
        updates.sighting = Some(TaskSighting::Task(task(TaskState::Running, 30, None)));
    });
    bench
}

impl Bench {
    /// A worker of a card whose object says which one it is.
    pub(super) fn start_named(&self) -> Running {
        self.start_with(MachineKind::Card, |input| {
            input.identity = Some(lockstep_crds::MachineIdentity {
                serial_number: Some("SN1".to_owned()),
                ..Default::default()
            });
        })
    }

    pub(super) fn shows(&self, sighting: TaskSighting) {
        self.bmc
            .updates(|updates| updates.sighting = Some(sighting));
    }

    async fn update_is(&self, state: &str) -> Value {
        let report = self
            .api
            .until(CARD, |report| {
                report["spec"]["bmc"]["update"]["state"] == state
            })
            .await;
        report["spec"]["bmc"]["update"].clone()
    }

    fn note(&self) -> Option<UpdateNote> {
        UpdateNote::read(&self.site.config.state_dir, Subject::System, "c1", "uid-1").unwrap()
    }
}

#[tokio::test]
async fn a_card_is_powered_on_its_bmc_asked_once_and_the_task_told_until_it_is_forgotten() {
    let bench = offering();
    let digest = publish(&bench.site.store).await;
    let running = bench.start_named();
    running.want(&[update(1, "PullUpdate", &digest)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done", "{outcome}");
    assert_eq!(bench.bmc.effects(), ["power On", "pull"]);
    let told = bench.update_is("Running").await;
    assert_eq!(told["digest"], digest.to_string());
    assert_eq!(told["method"], "SimpleUpdate");
    assert_eq!(told["percent"], 25);
    let report = bench.api.get(CARD).unwrap();
    let offers = &report["spec"]["bmc"]["capabilities"];
    assert_eq!(offers["simpleUpdate"], "Offered");
    assert_eq!(offers["multipartPush"], "Offered");
    let grant = bench.site.store.granted(&digest, "uid-1").unwrap();
    let everything = format!("{report:?}{:?}", bench.api.writes());
    assert!(!everything.contains(&grant.path));

    // It is not asked again before it is forgotten.
    running.want(&[update(2, "PullUpdate", &digest)]);
    assert_eq!(bench.outcome(CARD, 2).await["reason"], "UpdateRemembered");
    bench.shows(TaskSighting::Task(task(TaskState::Completed, 97, None)));
    let told = bench.update_is("Ended").await;
    assert!(
        told["message"]
            .as_str()
            .unwrap()
            .contains("DPU_OS shows 1.1")
    );
    running.want(&[directive(3, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    let report = bench.api.get(CARD).unwrap();
    assert!(report["spec"]["bmc"]["update"].is_null());
    assert!(bench.note().is_none());
    assert!(bench.site.store.granted(&digest, "uid-1").is_none());
    assert_eq!(bench.bmc.effects().len(), 2);
    running.end().await;
}

#[tokio::test]
async fn a_push_sends_what_the_card_would_be_served() {
    let bench = offering();
    let digest = publish(&bench.site.store).await;
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    let running = bench.start_named();
    running.want(&[update(1, "PushUpdate", &digest)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done", "{outcome}");
    assert_eq!(bench.bmc.effects(), ["push"]);
    let pushed = bench.bmc.updates(|updates| updates.pushed.clone());
    let size = bench.site.store.info(&digest).unwrap().size;
    assert_eq!(pushed.len() as u64, size);
    // The card's seed lies in it.
    let text = String::from_utf8_lossy(&pushed);
    assert!(text.contains("\"dpuUid\":\"uid-1\""), "{text}");
    running.end().await;
}

#[tokio::test]
async fn each_lie_of_a_task_is_told_for_what_it_is() {
    let error = task(
        TaskState::Completed,
        100,
        Some("The flash is full: write failed"),
    );
    for (sighting, state, words) in [
        (TaskSighting::Task(error), "Failed", "The flash is full"),
        (
            TaskSighting::Task(task(TaskState::Exception, 97, Some("Invalid FW Package"))),
            "Failed",
            "Invalid FW Package",
        ),
        (TaskSighting::Gone, "Lost", "DPU_OS runs 1.1 and not 1.2"),
        (TaskSighting::EndedWell, "Ended", "DPU_OS shows 1.1"),
    ] {
        let bench = offering();
        let digest = publish(&bench.site.store).await;
        let running = bench.start_named();
        running.want(&[update(1, "PullUpdate", &digest)]);
        assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
        bench.update_is("Running").await;
        bench.shows(sighting);
        let told = bench.update_is(state).await;
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        running.end().await;
    }
}

/// A card that was powered on for it may come up with its old system while its BMC writes.
#[tokio::test]
async fn an_update_without_a_task_is_not_over_before_its_time_unless_the_bmc_restarted() {
    let bench = offering();
    let digest = publish(&bench.site.store).await;
    bench.bmc.updates(|updates| {
        updates.sighting = Some(TaskSighting::NeverNamed);
        updates.last_reset = Some("boot 1".to_owned());
    });
    let running = bench.start_named();
    running.want(&[update(1, "PullUpdate", &digest)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let named = |report: &Value| report["spec"]["bmc"]["update"]["message"].is_string();
    let report = bench.api.until(CARD, named).await;
    let told = &report["spec"]["bmc"]["update"];
    assert_eq!(told["state"], "Asked", "{told}");
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("named no task"), "{message}");
    bench
        .bmc
        .updates(|updates| updates.last_reset = Some("boot 2".to_owned()));
    bench.update_is("Lost").await;
    running.end().await;
}

#[tokio::test]
async fn what_certainly_was_not_asked_for_is_not_remembered_and_what_may_have_been_is() {
    let bench = offering();
    let digest = publish(&bench.site.store).await;
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    bench.bmc.refuse(true);
    let running = bench.start_named();
    running.want(&[update(1, "PullUpdate", &digest)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Failed");
    assert!(bench.note().is_none() && bench.bmc.effects().is_empty());
    bench.bmc.refuse(false);
    bench.bmc.lose_replies(true);
    running.want(&[update(2, "PullUpdate", &digest)]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Unknown");
    assert!(bench.note().unwrap().ticket.is_none());
    // Without its task the BMC's other tasks tell, and if none runs there nobody does.
    let told = bench.update_is("Asked").await;
    assert_eq!(told["digest"], digest.to_string());
    running.end().await;
}

#[tokio::test]
async fn nothing_begins_while_a_task_runs_and_the_wait_ends_with_it() {
    let bench = offering();
    let digest = publish(&bench.site.store).await;
    bench
        .bmc
        .updates(|updates| updates.tasks = vec![task(TaskState::Running, 4, None)]);
    let running = bench.start_named();
    running.want(&[update(1, "PullUpdate", &digest)]);
    bench
        .api
        .until(CARD, |report| report["spec"]["execution"]["accepted"] == 1)
        .await;
    assert!(bench.bmc.effects().is_empty());
    bench.bmc.updates(|updates| updates.tasks.clear());
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    assert_eq!(bench.bmc.effects(), ["power On", "pull"]);
    running.end().await;
}

#[tokio::test]
async fn what_begins_with_the_power_on_is_seen_before_the_update_is_asked_for() {
    let bench = offering();
    let digest = publish(&bench.site.store).await;
    let pending = task(TaskState::Running, 1, None);
    bench.bmc.updates(|updates| updates.pending = Some(pending));
    let running = bench.start_named();
    running.want(&[update(1, "PullUpdate", &digest)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(
        (&outcome["result"], &outcome["reason"]),
        (&json!("Partly"), &json!("UpdatesBusy")),
        "{outcome}"
    );
    assert_eq!(bench.bmc.effects(), ["power On"]);
    assert!(bench.note().is_none());
    running.end().await;
}

/// Has the tasks of the host's BMC told to whoever asks; `meanwhile` happens while they are read just
/// before the request, which is the second time.
fn host_at_rest(bench: &Bench, meanwhile: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let eye = bench.site.glances.of(&MachineKey {
        kind: MachineKind::Host,
        name: "h".to_owned(),
    });
    tokio::spawn(async move {
        let (mut reads, mut meanwhile) = (0, Some(meanwhile));
        loop {
            eye.asked().await;
            let at = Instant::now();
            let is_for_updates = eye.is_asked_for_updates();
            reads += usize::from(is_for_updates);
            if reads == 2
                && let Some(meanwhile) = meanwhile.take()
            {
                meanwhile();
            }
            let updates = is_for_updates.then(|| {
                Arc::new(UpdateFacts {
                    service: Reading::NotOffered,
                    tasks: Reading::Read(Vec::new()),
                    firmware: Reading::NotOffered,
                    last_reset: Reading::NotOffered,
                    background_copy: Reading::NotOffered,
                })
            });
            eye.tell(Glance {
                at,
                uid: "uid-h".to_owned(),
                power: Some("On".into()),
                facts: None,
                updates,
            });
        }
    })
}

/// How an update ends during whose last wait for the host something happens, and what was sent.
async fn updated_while(
    meanwhile: impl FnOnce(&Bench, &watch::Sender<MachineInput>) + Send + 'static,
) -> (Value, Vec<String>) {
    let bench = Arc::new(offering());
    let digest = publish(&bench.site.store).await;
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    let running = bench.start_named();
    let (seen, input) = (Arc::clone(&bench), running.input.clone());
    let host = host_at_rest(&bench, move || meanwhile(&seen, &input));
    let mut wanted = update(1, "PullUpdate", &digest);
    wanted.expects.host = Some(HostExpects {
        name: "h".to_owned(),
        uid: "uid-h".to_owned(),
        power: "On".into(),
        without_update: true,
    });
    running.want(&[wanted]);
    let outcome = bench.outcome(CARD, 1).await;
    running.end().await;
    host.abort();
    (outcome["reason"].clone(), bench.bmc.effects())
}

#[tokio::test]
async fn what_happens_while_the_host_is_waited_for_is_seen_before_the_update_is_asked_for() {
    assert_eq!(
        updated_while(|_, _| {}).await,
        (Value::Null, vec!["pull".to_owned()])
    );
    let refused = |reason: &str| (json!(reason), Vec::new());
    let crashing = |bench: &Bench, _: &watch::Sender<MachineInput>| {
        bench.bmc.set(|facts| {
            facts.boot_progress = Reading::Read(BootProgress {
                stage: Some(BootStage::OsCrashDumping),
                last_state: None,
                oem_last_state: None,
                last_state_time: None,
            });
        });
    };
    assert_eq!(updated_while(crashing).await, refused("StageForbids"));
    let busy = |bench: &Bench, _: &watch::Sender<MachineInput>| {
        let another = task(TaskState::Running, 4, None);
        bench.bmc.updates(|updates| updates.tasks = vec![another]);
    };
    assert_eq!(updated_while(busy).await, refused("UpdatesBusy"));
    let off = |bench: &Bench, _: &watch::Sender<MachineInput>| {
        let off = Reading::Read(PowerState::Off);
        bench.bmc.set(|facts| facts.power = off);
    };
    assert_eq!(updated_while(off).await, refused("PowerStateUnexpected"));
    let stranger = |bench: &Bench, _: &watch::Sender<MachineInput>| {
        let other = Some("SN2".to_owned());
        bench.bmc.set(|facts| facts.identity.serial_number = other);
    };
    assert_eq!(updated_while(stranger).await, refused("IdentityMismatch"));
    let taken_over = |_: &Bench, input: &watch::Sender<MachineInput>| {
        input.send_modify(|input| input.hands_off = true);
    };
    assert_eq!(updated_while(taken_over).await, refused("HandsOff"));
    let moved = |_: &Bench, input: &watch::Sender<MachineInput>| {
        let elsewhere = "http://192.0.2.2".to_owned();
        input.send_modify(|input| input.endpoint.address = elsewhere);
    };
    assert_eq!(updated_while(moved).await, refused("FactsNotRead"));
    let lost = |bench: &Bench, _: &watch::Sender<MachineInput>| bench.site.mandate.end();
    assert_eq!(updated_while(lost).await, refused("LeaseLost"));
}

#[tokio::test]
async fn a_restart_tells_by_its_note_how_far_it_had_come() {
    let key = MachineKey {
        kind: MachineKind::Card,
        name: "c1".to_owned(),
    };
    for (noted, ticket, result) in [
        (false, false, "Partly"),
        (true, false, "Unknown"),
        (true, true, "Done"),
    ] {
        let bench = offering();
        let digest = publish(&bench.site.store).await;
        let wanted = update(2, "PullUpdate", &digest);
        let mut journal = Journal::new(&bench.site.config.state_dir, &key);
        journal.load().unwrap();
        journal.accept(&wanted).unwrap();
        journal.act(&wanted).unwrap();
        if noted {
            let mut note = json!({
                "uid": "uid-1", "seq": 2, "digest": digest.to_string(), "version": "1.2",
                "method": "SimpleUpdate", "since": "2026-01-01T00:00:00Z",
                "component": "DPU_OS", "told": {"state": "Asked"},
            });
            if ticket {
                note["ticket"] = json!({"task": "/redfish/v1/TaskService/Tasks/0"});
            }
            let note: UpdateNote = serde_json::from_value(note).unwrap();
            note.write(&bench.site.config.state_dir, Subject::System, "c1")
                .unwrap();
        }
        let running = bench.start_named();
        let outcome = bench.outcome(CARD, 2).await;
        assert_eq!(outcome["result"], result, "{outcome}");
        let report = bench.api.get(CARD).unwrap();
        assert_eq!(report["spec"]["bmc"]["update"].is_object(), noted);
        assert!(bench.bmc.effects().is_empty());
        running.end().await;
    }
}

#[tokio::test]
async fn how_long_an_image_the_bmc_takes_is_told_and_a_longer_one_is_not_sent() {
    let bench = bench();
    bench.bmc.updates(|updates| {
        updates.offer = Some(lockstep_redfish::UpdateService {
            max_image_bytes: Some(100),
            ..update_service()
        });
    });
    let digest = publish(&bench.site.store).await;
    let running = bench.start_named();
    for (seq, kind) in [(1, "PushUpdate"), (2, "PullUpdate")] {
        running.want(&[update(seq, kind, &digest)]);
        let outcome = bench.outcome(CARD, seq).await;
        assert_eq!(outcome["reason"], "ImageTooLong", "{outcome}");
    }
    let report = bench.api.get(CARD).unwrap();
    let offers = &report["spec"]["bmc"]["capabilities"];
    assert_eq!(offers["maxImageBytes"], 100);
    assert!(bench.bmc.effects().is_empty());
    running.end().await;

    let bench = offering();
    let running = bench.start_named();
    let report = bench
        .api
        .until(CARD, |report| {
            report["spec"]["bmc"]["capabilities"]["simpleUpdate"] == "Offered"
        })
        .await;
    let offers = &report["spec"]["bmc"]["capabilities"];
    assert!(offers["maxImageBytes"].is_null(), "{offers}");
    running.end().await;
}

#[tokio::test]
async fn a_bmc_without_updates_is_told_as_such_and_refused() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let running = bench.start_named();
    running.want(&[update(1, "PushUpdate", &digest)]);
    assert_eq!(bench.outcome(CARD, 1).await["reason"], "NotOffered");
    let report = bench.api.get(CARD).unwrap();
    let offers = &report["spec"]["bmc"]["capabilities"];
    assert_eq!(offers["simpleUpdate"], "NotOffered");
    running.end().await;
}

pub(super) fn firmware(seq: i64, kind: &str, digest: &Digest) -> Directive {
    let mut directive = update(seq, kind, digest);
    directive.action.component = Some("BMC_Firmware".to_owned());
    directive
}

#[tokio::test]
async fn firmware_is_asked_for_once_told_and_its_bmc_restarted() {
    let bench = offering();
    bench
        .bmc
        .updates(|updates| updates.firmware = (Some("1.1".to_owned()), None));
    let digest = publish(&bench.site.store).await;
    let running = bench.start_with(MachineKind::Card, |input| {
        input.components = vec!["BMC_Firmware".to_owned(), "Other".to_owned()];
        input.identity = Some(lockstep_crds::MachineIdentity {
            serial_number: Some("SN1".to_owned()),
            ..Default::default()
        });
    });
    let report = bench
        .api
        .until(CARD, |report| {
            report["spec"]["bmc"]["components"].is_array()
        })
        .await;
    assert_eq!(
        report["spec"]["bmc"]["components"],
        json!([
            {"name": "BMC_Firmware", "running": "1.1", "simpleUpdate": "Offered", "multipartPush": "Offered"},
            {"name": "Other", "simpleUpdate": "NotOffered", "multipartPush": "NotOffered"},
        ])
    );
    running.want(&[firmware(1, "PushFirmware", &digest)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done", "{outcome}");
    // The card stays off, and what is sent is the image as it is.
    assert_eq!(bench.bmc.effects(), ["push BMC_Firmware"]);
    let pushed = bench.bmc.updates(|updates| updates.pushed.clone());
    assert!(!String::from_utf8_lossy(&pushed).contains("dpuUid"));
    let state = |state: &'static str| {
        let api = &bench.api;
        async move {
            let found = api.until(CARD, |report| {
                report["spec"]["bmc"]["componentUpdate"]["state"] == state
            });
            found.await["spec"]["bmc"].clone()
        }
    };
    let told = state("Running").await;
    assert_eq!(told["componentUpdate"]["seq"], 1);
    assert_eq!(told["componentUpdate"]["component"], "BMC_Firmware");
    assert!(told["update"].is_null());

    // It waits for a restart, which is not begun while a task runs.
    bench.shows(TaskSighting::EndedWell);
    bench.bmc.updates(|updates| {
        updates.firmware = (Some("1.1".to_owned()), Some("1.2".to_owned()));
        updates.tasks = vec![task(TaskState::Running, 4, None)];
    });
    let told = state("Ended").await;
    assert_eq!(told["components"][0]["pending"], "1.2");
    assert!(bench.site.store.granted(&digest, "uid-1").is_none());
    running.want(&[firmware(2, "ResetBmc", &digest)]);
    let outcome = bench.outcome(CARD, 2).await;
    assert_eq!(outcome["reason"], "UpdatesBusy", "{outcome}");
    bench.bmc.updates(|updates| updates.tasks.clear());
    running.want(&[firmware(3, "ResetBmc", &digest)]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    assert_eq!(bench.bmc.effects(), ["push BMC_Firmware", "reset bmc"]);
    running.end().await;
}

#[tokio::test]
async fn the_end_of_firmware_leaves_what_the_card_boots_from() {
    let bench = offering();
    let system = publish(&bench.site.store).await;
    let written = publish_other(&bench.site.store).await;
    let running = bench.start_with(MachineKind::Card, |input| {
        input.components = vec!["BMC_Firmware".to_owned()];
        input.identity = Some(lockstep_crds::MachineIdentity {
            serial_number: Some("SN1".to_owned()),
            ..Default::default()
        });
    });
    running.want(&[set_for_good(1, &system)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    running.want(&[firmware(2, "PullFirmware", &written)]);
    let outcome = bench.outcome(CARD, 2).await;
    assert_eq!(outcome["result"], "Done", "{outcome}");
    let granted = |digest| bench.site.store.granted(digest, "uid-1");
    let boots = granted(&system).unwrap();
    assert!(granted(&written).is_some());

    bench.shows(TaskSighting::EndedWell);
    bench
        .api
        .until(CARD, |report| {
            report["spec"]["bmc"]["componentUpdate"]["state"] == "Ended"
        })
        .await;
    assert!(granted(&written).is_none());
    assert_eq!(granted(&system), Some(boots));
    running.end().await;
}

#[tokio::test]
async fn a_machine_whose_bmc_writes_keeps_its_power_and_that_is_told_until_it_ends() {
    let bench = offering();
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    bench.bmc.updates(|updates| {
        updates.copying = Some("InProgress".to_owned());
    });
    let running = bench.start_named();
    running.want(&[directive(1, "ForceOff")]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["reason"], "UpdatesBusy", "{outcome}");
    assert!(bench.bmc.effects().is_empty());
    let is_told =
        |told: bool| move |report: &Value| report["spec"]["bmc"]["busy"].is_object() == told;
    let report = bench.api.until(CARD, is_told(true)).await;
    let what = report["spec"]["bmc"]["busy"]["what"].as_str().unwrap();
    assert!(
        what.contains("background copy of its BMC is InProgress"),
        "{what}"
    );
    bench.bmc.updates(|updates| {
        updates.copying = Some("Completed".to_owned());
    });
    bench.api.until(CARD, is_told(false)).await;
    running.want(&[directive(2, "ForceOff")]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    assert_eq!(bench.bmc.effects(), ["power ForceOff"]);
    running.end().await;
}

#[tokio::test]
async fn a_card_is_powered_for_its_firmware_only_while_nothing_is_written() {
    let bench = offering();
    let digest = publish(&bench.site.store).await;
    let running = bench.start_named();
    bench.bmc.updates(|updates| {
        updates.tasks = vec![task(TaskState::Running, 4, None)];
    });
    let power_on = |seq: i64| {
        let mut directive = firmware(seq, "PowerOn", &digest);
        directive.action.image = None;
        directive
    };
    running.want(&[power_on(1)]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["reason"], "UpdatesBusy", "{outcome}");
    assert!(bench.bmc.effects().is_empty());
    bench.bmc.updates(|updates| updates.tasks.clear());
    running.want(&[power_on(2)]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    assert_eq!(bench.bmc.effects(), ["power On"]);
    running.end().await;
}

#[tokio::test]
async fn another_update_of_the_same_bytes_has_its_image_ready() {
    let bench = offering();
    let digest = publish(&bench.site.store).await;
    let running = bench.start_with(MachineKind::Card, |input| {
        input.components = vec!["BMC_Firmware".to_owned()];
        input.identity = Some(lockstep_crds::MachineIdentity {
            serial_number: Some("SN1".to_owned()),
            ..Default::default()
        });
    });
    bench
        .api
        .until(CARD, |report| {
            report["spec"]["bmc"]["components"].is_array()
        })
        .await;
    running.want(&[firmware(1, "PushFirmware", &digest)]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let failed = task(TaskState::Exception, 97, Some("Invalid FW Package"));
    bench.shows(TaskSighting::Task(failed));
    bench
        .api
        .until(CARD, |report| {
            report["spec"]["bmc"]["componentUpdate"]["state"] == "Failed"
        })
        .await;
    bench.shows(TaskSighting::Task(task(TaskState::Running, 4, None)));
    running.want(&[firmware(2, "PullFirmware", &digest)]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    assert!(bench.site.store.granted(&digest, "uid-1").is_some());
    running.end().await;
}

#[tokio::test]
async fn firmware_without_a_component_or_for_one_that_is_not_listed_is_refused() {
    let bench = offering();
    let digest = publish(&bench.site.store).await;
    let running = bench.start_named();
    running.want(&[update(1, "PullFirmware", &digest)]);
    assert_eq!(bench.outcome(CARD, 1).await["reason"], "ImageMissing");
    running.want(&[firmware(2, "PullFirmware", &digest)]);
    assert_eq!(bench.outcome(CARD, 2).await["reason"], "UpdatesNotRead");
    assert!(bench.bmc.effects().is_empty());
    running.end().await;
}
