//! Looks at a machine about which nothing goes on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::inspection::Inspected;

use super::*;
use crate::site::objects::Objects;
use crate::site::supervisor;

/// Until so many looks at the system alone.
async fn glances(bench: &Bench, most: usize) -> (usize, usize) {
    let waiting = async {
        while bench.bmc.looks().1 < most {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bench.bmc.looks()
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .expect("it is looked at")
}

#[tokio::test]
async fn a_machine_at_rest_is_looked_at_as_a_whole_only_when_its_system_shows_something_new() {
    let bench = bench();
    let running = bench.start_with(MachineKind::Host, |input| {
        input.activity = Activity::Proposed;
    });
    bench.api.until(HOST, |_| true).await;
    assert_eq!(glances(&bench, 2).await.0, 1);
    // What the system shows is told at once.
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    bench
        .api
        .until(HOST, |report| report["spec"]["bmc"]["power"] == "On")
        .await;
    assert_eq!(bench.bmc.looks().0, 2);
    // So is silence, and the end of it takes a whole look.
    bench.bmc.silence(true);
    bench
        .api
        .until(HOST, |report| report["spec"]["reachable"]["ok"] == false)
        .await;
    bench.bmc.silence(false);
    bench
        .api
        .until(HOST, |report| report["spec"]["reachable"]["ok"] == true)
        .await;
    assert_eq!(bench.bmc.looks().0, 3);
    running.end().await;
}

#[tokio::test]
async fn a_machine_with_which_something_goes_on_is_looked_at_as_a_whole_each_time() {
    type Change = fn(&mut MachineInput);
    let goes_on: [Change; 3] = [
        |input| input.activity = Activity::UnderWay,
        |input| input.held = true,
        |input| input.directives = vec![samples::directive(1, "PowerOn")],
    ];
    for change in goes_on {
        let bench = bench();
        let (mut worker, input, _ending) = bench.worker(MachineKind::Host);
        input.send_modify(|input| input.activity = Activity::Proposed);
        worker.adopt_input();
        assert!(worker.look_as_needed().await && worker.look_as_needed().await);
        assert_eq!(bench.bmc.looks(), (1, 1));
        input.send_modify(change);
        worker.adopt_input();
        assert!(worker.look_as_needed().await && worker.look_as_needed().await);
        assert_eq!(bench.bmc.looks(), (3, 1));
    }
}

#[tokio::test]
async fn a_medium_that_is_taken_out_is_seen_although_the_system_does_not_show_it() {
    let bench = bench();
    bench
        .bmc
        .set(|facts| facts.media = Reading::Read(vec![samples::slot(Some("http://192.0.2.9/a"))]));
    let (mut worker, input, _ending) = bench.worker(MachineKind::Card);
    input.send_modify(|input| input.activity = Activity::Kept);
    worker.adopt_input();
    assert!(worker.look_as_needed().await && worker.look_as_needed().await);
    assert_eq!(bench.bmc.looks(), (2, 0));
    bench
        .bmc
        .set(|facts| facts.media = Reading::Read(vec![samples::slot(None)]));
    assert!(worker.look_as_needed().await && worker.look_as_needed().await);
    assert_eq!(bench.bmc.looks(), (3, 1));
}

#[tokio::test]
async fn who_asks_for_a_host_at_rest_has_all_of_it_read() {
    let bench = bench();
    let running = bench.start_with(MachineKind::Host, |input| {
        input.activity = Activity::Proposed;
        input.identity = Some(lockstep_crds::MachineIdentity {
            serial_number: Some("SN1".to_owned()),
            ..Default::default()
        });
    });
    bench.api.until(HOST, |_| true).await;
    let expects = lockstep_crds::directive::HostExpects {
        name: "c1".to_owned(),
        uid: "uid-1".to_owned(),
        power: lockstep_crds::observed::PowerState::Off,
        without_update: false,
    };
    let before = bench.bmc.looks().0;
    let checked = bench
        .site
        .glances
        .check(&expects, Duration::from_secs(20))
        .await;
    assert!(checked.is_ok(), "{checked:?}");
    assert_eq!(bench.bmc.looks().0, before + 1);
    running.end().await;
}

#[tokio::test]
async fn who_sees_the_machine_that_is_meant_vouches_for_its_bmc() {
    let bench = bench();
    let (mut worker, input, _ending) = bench.worker(MachineKind::Host);
    let address = "http://192.0.2.1/";
    let mut vouches = async |change: &dyn Fn(&mut MachineInput)| {
        input.send_modify(change);
        worker.adopt_input();
        worker.look_as_needed().await;
        worker.vouch();
        bench.site.attended.of(address)
    };
    let key = |key: &str| Some(lockstep_redfish::SpkiPin::of(key.as_bytes()));
    bench.bmc.set(|facts| facts.identity.tls_pin = key("first"));
    let identity = |serial: &str| {
        let serial_number = Some(serial.to_owned());
        Some(lockstep_crds::MachineIdentity {
            serial_number,
            ..Default::default()
        })
    };
    // Nothing proves who answers there.
    assert_eq!(vouches(&|input| input.identity = None).await, None);
    let seen = vouches(&|input| input.identity = identity("SN1")).await;
    assert_eq!(seen.unwrap().pin, key("first"));
    bench
        .bmc
        .set(|facts| facts.identity.tls_pin = key("second"));
    assert_eq!(vouches(&|_| {}).await.unwrap().pin, key("second"));
    assert_eq!(
        vouches(&|input| input.identity = identity("SN2")).await,
        None
    );
    assert!(
        vouches(&|input| input.identity = identity("SN1"))
            .await
            .is_some()
    );
    // One look that fails is enough: the search looks for itself.
    bench.bmc.silence(true);
    assert_eq!(vouches(&|_| {}).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_the_service_root_showed_is_passed_on_with_the_time_at_which_it_was_read() {
    let bench = bench();
    let (mut worker, input, _ending) = bench.worker(MachineKind::Host);
    input.send_modify(|input| {
        input.activity = Activity::Kept;
        input.identity = Some(lockstep_crds::MachineIdentity {
            serial_number: Some("SN1".to_owned()),
            ..Default::default()
        });
    });
    worker.adopt_input();
    let mut seen = Vec::new();
    for version in ["1.18.0", "1.20.0", "1.22.0"] {
        let version = Some(version.to_owned());
        bench
            .bmc
            .set(|facts| facts.service.redfish_version = version);
        worker.look_as_needed().await;
        worker.vouch();
        let attendance = bench.site.attended.of("http://192.0.2.1/").unwrap();
        let (at, service) = attendance.service.unwrap();
        assert!(at <= attendance.at);
        seen.push((at, service.redfish_version.unwrap()));
        tokio::time::sleep(Duration::from_secs(400)).await;
    }
    // The second look was at the system alone.
    assert_eq!(bench.bmc.looks(), (2, 1));
    assert_eq!(seen[0], seen[1]);
    assert!(seen[2].0 > seen[1].0 && seen[2].1 == "1.22.0", "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_at_rest_is_read_whole_a_few_times_a_day_and_more_often_for_a_person() {
    const HOUR: Duration = Duration::from_secs(3600);
    for (activity, whole) in [(Activity::Proposed, 4..=5), (Activity::Kept, 120..=145)] {
        let bench = bench();
        let (mut worker, input, _ending) = bench.worker(MachineKind::Host);
        input.send_modify(|input| input.activity = activity);
        worker.adopt_input();
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < 24 * HOUR {
            worker.look_as_needed().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert!(
            whole.contains(&bench.bmc.looks().0),
            "{activity:?}: {:?}",
            bench.bmc.looks()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_read_is_read_again_soon() {
    let bench = bench();
    let unread = || "HTTP 503".to_owned();
    bench
        .bmc
        .set(|facts| facts.media = Reading::NotRead(unread()));
    let (mut worker, input, _ending) = bench.worker(MachineKind::Card);
    input.send_modify(|input| input.activity = Activity::Proposed);
    worker.adopt_input();
    assert!(worker.look_as_needed().await);
    bench
        .bmc
        .set(|facts| facts.media = Reading::Read(vec![samples::slot(None)]));
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(900) {
        worker.look_as_needed().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let facts = worker.facts.as_ref().unwrap();
    assert!(facts.media.value().is_some(), "{:?}", bench.bmc.looks());
}

#[tokio::test]
async fn a_fresh_reading_that_is_asked_for_is_made_at_once_and_answered() {
    let bench = bench();
    let running = bench.start_with(MachineKind::Card, |input| input.activity = Activity::Kept);
    bench.api.until(CARD, |_| true).await;
    assert_eq!(
        bench.api.get(CARD).unwrap()["spec"]["inspected"],
        Value::Null
    );
    // The system shows nothing of it.
    bench
        .bmc
        .set(|facts| facts.media = Reading::Read(vec![samples::slot(Some("http://192.0.2.9/a"))]));
    assert_eq!(glances(&bench, 1).await.0, 1);
    let asked = |second: i64| Inspected {
        host_uid: "uid-h".to_owned(),
        asked_at: Time(jiff::Timestamp::from_second(second).unwrap()),
    };
    running.input.send_modify(|input| {
        input.activity = Activity::UnderWay;
        input.inspection = Some(asked(1));
    });
    let told = bench
        .api
        .until(CARD, |report| {
            report["spec"]["inspected"]["askedAt"] == "1970-01-01T00:00:01Z"
        })
        .await;
    assert_eq!(told["spec"]["bmc"]["media"]["owner"], "Foreign");
    // At rest again, it says so until something else is asked.
    running.input.send_modify(|input| {
        input.activity = Activity::Kept;
        input.inspection = None;
    });
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    let told = bench
        .api
        .until(CARD, |report| report["spec"]["bmc"]["power"] == "On")
        .await;
    assert_eq!(told["spec"]["inspected"]["askedAt"], "1970-01-01T00:00:01Z");
    running.end().await;
}

/// No worker looks at a host whose object names no BMC, and the search may know it all the same.
#[tokio::test]
async fn the_search_is_told_what_inspections_want_although_nobody_names_the_bmc() {
    let bench = bench();
    let host = json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuHost",
        "metadata": {"name": "h1", "namespace": "site", "uid": "uid-h1"},
        "spec": {"site": "s", "policyRef": {"name": "p"}},
        "status": {"inspection": {
            "askedAt": "1970-01-01T00:00:01Z", "reports": ["bmc-found-1"],
        }},
    });
    bench.api.put("dpuhosts/h1", host);
    let ending = CancellationToken::new();
    let objects = Objects::watch(&bench.site.client, &bench.site.config, &ending);
    assert!(objects.are_read().await);
    let mut told = bench.site.inventories.follow();
    let (images, _watched) = watch::channel(None);
    let site = Arc::clone(&bench.site);
    let task = tokio::spawn(supervisor::run(site, objects, images, ending.clone()));
    let is_named = told.wait_for(|wanted| wanted.contains_key("bmc-found-1"));
    let named = tokio::time::timeout(Duration::from_secs(10), is_named);
    let asked = named.await.unwrap().unwrap()["bmc-found-1"].clone();
    assert_eq!(asked.host_uid, "uid-h1");
    ending.cancel();
    task.await.unwrap();
}
