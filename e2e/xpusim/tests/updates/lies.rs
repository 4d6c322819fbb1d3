//! One row for each lie: what the update comes to before its activation, and after it.

use super::*;

/// What an update comes to.
#[derive(Clone, Copy)]
enum Comes {
    /// It waits for the restart of the card's system, then runs.
    Well,
    /// Nothing tells what became of it; after the restart it runs.
    LostThenDone(&'static str),
    /// It waits for the restart, and after it the old version runs.
    WaitsThenFails,
    /// It has failed, for this reason.
    Fails(&'static str),
    /// It stays at so many percent.
    Stuck(u8),
    /// It is not begun: the BMC is busy, and asks for so many seconds.
    Busy(Option<u64>),
}

/// A fault of the card, with its HTTP status and seconds.
type Row = (Fault, Option<u16>, Option<u64>, Comes);

const ROWS: &[Row] = &[
    (Fault::LocationMissing, None, None, Comes::Well),
    (Fault::LocationAbsolute, None, None, Comes::Well),
    (Fault::OemVersion, None, None, Comes::Well),
    (Fault::PercentShort, None, None, Comes::Well),
    (Fault::TaskMonitorGone, None, None, Comes::Well),
    (Fault::ClockAtEpoch, None, None, Comes::Well),
    (
        Fault::TaskUnnamed,
        None,
        None,
        Comes::LostThenDone("named no task"),
    ),
    (
        Fault::UpdateWithoutTask,
        None,
        None,
        Comes::LostThenDone("named no task"),
    ),
    (
        Fault::TaskLost,
        None,
        None,
        Comes::LostThenDone("the task is gone"),
    ),
    (
        Fault::BmcRestartsInUpdate,
        None,
        None,
        Comes::LostThenDone("restart of the BMC"),
    ),
    (Fault::WrongVersion, None, None, Comes::WaitsThenFails),
    (
        Fault::TaskWarning,
        None,
        None,
        Comes::Fails("TaskStatus Warning"),
    ),
    (
        Fault::TaskCritical,
        None,
        None,
        Comes::Fails("TaskStatus Critical"),
    ),
    (
        Fault::TaskErrorText,
        None,
        None,
        Comes::Fails("The flash is full"),
    ),
    (
        Fault::WrongCard,
        None,
        None,
        Comes::Fails("Invalid FW Package"),
    ),
    (
        Fault::ImageUnreachable,
        None,
        None,
        Comes::Fails("cannot be reached"),
    ),
    (Fault::TaskStuck, None, None, Comes::Stuck(97)),
    (
        Fault::UpdateBusy,
        Some(503),
        Some(30),
        Comes::Busy(Some(30)),
    ),
    (Fault::UpdateBusy, Some(409), None, Comes::Busy(None)),
    (Fault::UpdateBusy, Some(400), None, Comes::Busy(None)),
    (
        Fault::UpdateServiceLate,
        None,
        Some(10_000_000),
        Comes::Busy(None),
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_comes_to_what_it_is() {
    let names: Vec<String> = (0..ROWS.len()).map(|row| format!("card-{row}")).collect();
    let machines: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "generic-dpu"))
        .collect();
    let world = World::with(&machines, "").await;
    for (name, row) in names.iter().zip(ROWS) {
        try_row(&world, name, *row).await;
    }
}

async fn try_row(world: &World, name: &str, (fault, status, seconds, comes): Row) {
    let rule = Rule {
        status,
        seconds,
        ..Rule::always(fault)
    };
    world.fleet.switch_on(name, rule).unwrap();
    let bmc = world.port(name);
    let began = bmc.simple_update(&world.update(&["UEFI"])).await;
    if let Comes::Busy(seconds) = comes {
        let error = began.unwrap_err();
        let wait = seconds.map(Duration::from_secs);
        assert!(
            matches!(error, BmcError::UpdateBusy { retry_after, .. } if retry_after == wait),
            "{fault}: {error}"
        );
        assert_eq!(world.tasks_started(name), 0, "{fault}");
        return;
    }
    let ticket = began.unwrap();
    let restart = async || {
        // The BMC may be on its way up.
        let deadline = Instant::now() + PATIENCE;
        while bmc.power(PowerAction::ForceRestart).await.is_err() {
            assert!(Instant::now() < deadline, "{fault}: no restart");
        }
    };
    let after = Wanted {
        activated: true,
        ..UEFI
    };
    match comes {
        Comes::Well => {
            let waits = comes_to(&bmc, &ticket, UEFI, has_ended).await;
            assert!(
                shown(&waits).starts_with("AwaitsActivation"),
                "{fault}: {waits:?}"
            );
            restart().await;
            comes_to(&bmc, &ticket, UEFI, |one| *one == Progress::Done).await;
        }
        Comes::LostThenDone(why) => {
            let says =
                |one: &Progress| matches!(one, Progress::Lost { why: said } if said.contains(why));
            comes_to(&bmc, &ticket, UEFI, says).await;
            let over = |what: &What| matches!(what, What::TaskEnded { .. } | What::BmcDown);
            world.logged(name, over).await;
            restart().await;
            comes_to(&bmc, &ticket, UEFI, |one| *one == Progress::Done).await;
        }
        Comes::WaitsThenFails => {
            let waits = comes_to(&bmc, &ticket, UEFI, has_ended).await;
            assert!(
                shown(&waits).starts_with("AwaitsActivation"),
                "{fault}: {waits:?}"
            );
            restart().await;
            let failed = comes_to(&bmc, &ticket, after, has_ended).await;
            assert!(shown(&failed).contains("runs 1.9.0"), "{fault}: {failed:?}");
        }
        Comes::Fails(why) => {
            let failed = comes_to(&bmc, &ticket, UEFI, has_ended).await;
            assert!(shown(&failed).starts_with("Failed"), "{fault}: {failed:?}");
            assert!(shown(&failed).contains(why), "{fault}: {failed:?}");
        }
        Comes::Stuck(percent) => {
            let percent = Some(percent);
            let stays = Progress::Running { percent };
            comes_to(&bmc, &ticket, UEFI, |one| *one == stays).await;
        }
        Comes::Busy(_) => {}
    }
    assert_eq!(world.tasks_started(name), 1, "{fault}: begun once");
    let met = world.fleet.requests(name).unwrap().met;
    let unasked = fault == Fault::TaskMonitorGone;
    assert!(
        unasked || met.contains_key(&fault),
        "{fault} has never struck"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_one_update_whose_outcome_is_not_known() {
    let world = World::with(&[("pull", "generic-dpu"), ("push", "generic-dpu")], "").await;
    for name in ["pull", "push"] {
        let rule = Rule {
            method: Some("POST".to_owned()),
            path: Some("UpdateService".to_owned()),
            ..Rule::always(Fault::LoseReply)
        };
        world.fleet.switch_on(name, rule).unwrap();
    }
    let image = Push::new("UEFI.bin", 5, &b"image"[..]).unwrap();
    let pull = world.port("pull");
    let errors = [
        pull.simple_update(&world.update(&["UEFI"])).await,
        world.port("push").push(image).await,
    ];
    for (error, name) in errors.into_iter().zip(["pull", "push"]) {
        assert_eq!(error.unwrap_err().category(), "OutcomeUnknown");
        assert_eq!(world.tasks_started(name), 1);
    }
    // What became of it is observed: the task is there, though nobody was told of it.
    let facts = pull.observe_updates(&Components::All).await.unwrap();
    assert!(facts.tasks.value().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_that_are_not_there_or_are_others_are_told_apart() {
    let images = "images: [{urlContains: signed, does: installs, sha256: '00'}]\n";
    let world = World::with(&[("gone", "generic-dpu"), ("other", "generic-dpu")], images).await;
    for (name, file, why) in [
        ("gone", "gone.fwpkg", "HTTP 404"),
        ("other", "signed.fwpkg", "checksum"),
    ] {
        let bmc = world.port(name);
        let update = SimpleUpdate {
            image: ImageUrl::new(world.store.url(file)),
            ..world.update(&["UEFI"])
        };
        let ticket = bmc.simple_update(&update).await.unwrap();
        let failed = comes_to(&bmc, &ticket, UEFI, has_ended).await;
        assert!(shown(&failed).contains(why), "{failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_part_and_a_clobbered_update_are_found() {
    let world = World::with(&[("part", "generic-dpu"), ("two", "generic-dpu")], "").await;
    let bmc = world.port("part");
    let fault = Rule::always(Fault::PartFailed);
    world.fleet.switch_on("part", fault).unwrap();
    let both = world.update(&["UEFI", "NIC"]);
    let ticket = bmc.simple_update(&both).await.unwrap();
    let failed = comes_to(&bmc, &ticket, UEFI, has_ended).await;
    assert!(shown(&failed).contains("NIC failed"), "{failed:?}");

    let bmc = world.port("two");
    let fault = Rule::always(Fault::UpdatesClobber);
    world.fleet.switch_on("two", fault).unwrap();
    let ticket = bmc.simple_update(&world.update(&["UEFI"])).await.unwrap();
    bmc.simple_update(&world.update(&["NIC"])).await.unwrap();
    comes_to(&bmc, &ticket, UEFI, has_ended).await;
    assert!(bmc.power(PowerAction::ForceRestart).await.unwrap().sent);
    let after = Wanted {
        activated: true,
        ..UEFI
    };
    let failed = comes_to(&bmc, &ticket, after, has_ended).await;
    assert!(shown(&failed).contains("runs 1.9.0"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_bmc_in_mid_update_loses_task_and_image() {
    let world = World::with(&[("card", "generic-dpu")], "").await;
    let bmc = world.port("card");
    // Nothing ends before the BMC is gone.
    world
        .fleet
        .switch_on("card", Rule::always(Fault::TaskStuck))
        .unwrap();
    let ticket = bmc.simple_update(&world.update(&["UEFI"])).await.unwrap();
    world.fleet.strike("card", Strike::RestartBmc).unwrap();
    world.logged("card", |what| *what == What::BmcUp).await;
    let after = Wanted {
        activated: true,
        ..UEFI
    };
    let failed = comes_to(&bmc, &ticket, after, has_ended).await;
    assert!(shown(&failed).contains("restart of the BMC"), "{failed:?}");
    let last = bmc.observe_updates(&Components::All).await.unwrap();
    assert_ne!(last.last_reset.value(), ticket.last_reset.as_ref());
    assert!(matches!(last.tasks, Reading::Read(tasks) if tasks.is_empty()));
}
