//! Looks at a machine about which nothing goes on.

use super::*;

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
    let (worker, input, ending) = bench.worker(MachineKind::Host);
    input.send_modify(|input| input.busy = false);
    let task = tokio::spawn(worker.run());
    let running = Running {
        input,
        ending,
        task,
    };
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
        |input| input.busy = true,
        |input| input.held = true,
        |input| input.directives = vec![samples::directive(1, "PowerOn")],
    ];
    for change in goes_on {
        let bench = bench();
        let (mut worker, input, _ending) = bench.worker(MachineKind::Host);
        input.send_modify(|input| input.busy = false);
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
    input.send_modify(|input| input.busy = false);
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
    let (worker, input, ending) = bench.worker(MachineKind::Host);
    input.send_modify(|input| {
        input.busy = false;
        input.identity = Some(lockstep_crds::MachineIdentity {
            serial_number: Some("SN1".to_owned()),
            ..Default::default()
        });
    });
    let task = tokio::spawn(worker.run());
    let running = Running {
        input,
        ending,
        task,
    };
    bench.api.until(HOST, |_| true).await;
    let expects = lockstep_crds::directive::HostExpects {
        name: "c1".to_owned(),
        uid: "uid-1".to_owned(),
        power: lockstep_crds::observed::PowerState::Off,
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
