//! The device against an imitation of it: bytes come through as they are, and each refusal is
//! told for what it is.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use lockstep_rshim::{Ended, Follower, OpenError, Rshim, WriteError};
use lockstep_rshim_imitation::{Imitation, OnOpen};

fn mounted() -> (Imitation, Rshim) {
    let imitation = Imitation::mount().unwrap();
    let rshim = Rshim::new(imitation.root(), "rshim0").unwrap();
    (imitation, rshim)
}

/// Bytes that repeat nowhere soon.
fn stream(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

#[test]
fn every_byte_arrives_though_each_write_is_taken_in_part() {
    let (imitation, rshim) = mounted();
    let wanted = stream(3_000_001);
    let mut boot = rshim.open_boot().unwrap();
    for piece in wanted.chunks(1 << 20) {
        boot.write(piece).unwrap();
    }
    assert!(imitation.card().boot_open);
    drop(boot);
    until("the end", || !imitation.card().boot_open);
    let card = imitation.card();
    assert!(card.received == wanted, "other bytes arrived");
    assert_eq!(card.resets, 1);
}

/// Ends with the test.
struct Stranger(std::process::Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn who_has_it_open_is_named_and_nobody_else() {
    let (imitation, rshim) = mounted();
    let (_other, elsewhere) = mounted();
    assert_eq!(rshim.holders(), []);
    let open = std::fs::OpenOptions::new()
        .write(true)
        .open(imitation.file("boot"))
        .unwrap();
    assert_eq!(rshim.holders(), [], "this very process");
    let stranger = std::process::Command::new("sleep")
        .arg("1000")
        .stdout(open)
        .spawn()
        .unwrap();
    let stranger = Stranger(stranger);
    let pid = stranger.0.id();
    until("the stranger", || {
        rshim
            .holders()
            .iter()
            .any(|one| one.to_string() == format!("sleep (pid {pid})"))
    });
    assert_eq!(rshim.holders().len(), 1);
    assert!(matches!(rshim.open_boot(), Err(OpenError::Busy)));
    assert_eq!(elsewhere.holders(), []);
    drop(stranger);
    until("the end", || !imitation.card().boot_open);
    assert_eq!(rshim.holders(), []);
}

#[test]
fn a_refusal_changes_nothing_and_says_why() {
    let (imitation, rshim) = mounted();
    imitation.card().dropped = true;
    assert!(matches!(rshim.open_boot(), Err(OpenError::GivenAway)));
    imitation.card().dropped = false;
    imitation.card().locked = true;
    assert!(matches!(rshim.open_boot(), Err(OpenError::LockedOut)));
    imitation.card().locked = false;
    imitation.card().on_open = OnOpen::Gone;
    assert!(matches!(rshim.open_boot(), Err(OpenError::Gone)));
    imitation.card().on_open = OnOpen::Resets;
    let held = rshim.open_boot().unwrap();
    let busy = rshim.open_boot().unwrap_err();
    assert!(matches!(busy, OpenError::Busy) && busy.changed_nothing());
    assert_eq!(imitation.card().resets, 1);
    drop(held);
    until("the end", || !imitation.card().boot_open);
    imitation.card().on_open = OnOpen::Fails;
    let unclear = rshim.open_boot().unwrap_err();
    assert!(!unclear.changed_nothing(), "{unclear}");
}

#[test]
fn a_card_that_takes_nothing_more_is_told() {
    let (imitation, rshim) = mounted();
    imitation.card().takes = Some(100_000);
    let mut boot = rshim.open_boot().unwrap();
    let broken = boot.write(&stream(200_000)).unwrap_err();
    assert!(matches!(broken, WriteError::Stuck), "{broken}");
    assert_eq!(imitation.card().received.len(), 100_000);
}

#[test]
fn a_slow_card_is_waited_for() {
    let (imitation, rshim) = mounted();
    imitation.card().rate = Some(1_000_000);
    let begun = Instant::now();
    rshim.open_boot().unwrap().write(&stream(300_000)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(250));
}

#[test]
fn settings_and_log_are_read_whole_and_set_one_by_one() {
    let (imitation, rshim) = mounted();
    let settings = rshim.misc().unwrap();
    assert!(settings.contains("DEV_INFO        BlueField-3(Rev 1)\n"));
    // The last setting that it shows: nothing of the one answer is lost.
    assert!(
        settings.ends_with("(1: send Force command)\n"),
        "{settings}"
    );
    assert!(!rshim.misc().unwrap().contains("Log Messages"));
    rshim.set("DISPLAY_LEVEL", "2").unwrap();
    assert!(rshim.misc().unwrap().contains("DPU is ready"));
    assert!(rshim.set("NO_SUCH_KEY", "1").is_err());
    assert_eq!(imitation.card().settings, ["DISPLAY_LEVEL 2"]);
}

#[test]
fn an_install_is_followed_from_the_push_to_its_end() {
    let (imitation, rshim) = mounted();
    imitation.card().installs(Duration::from_millis(20));
    rshim.set("DISPLAY_LEVEL", "2").unwrap();
    let mut follower = Follower::after(&rshim.misc().unwrap());
    rshim.open_boot().unwrap().write(&stream(1000)).unwrap();
    until("the install", || {
        follower.read(&rshim.misc().unwrap());
        follower.ended().is_some()
    });
    assert_eq!(follower.ended(), Some(&Ended::Installed));
}

#[test]
fn no_file_is_made_where_a_device_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let rshim = Rshim::new(root, "rshim0").unwrap();
    assert!(matches!(rshim.open_boot(), Err(OpenError::Gone)));
    std::fs::create_dir_all(dir.path().join("dev/rshim0")).unwrap();
    assert!(matches!(rshim.open_boot(), Err(OpenError::Gone)));
    assert!(rshim.set("DISPLAY_LEVEL", "2").is_err() && rshim.misc().is_err());
    for name in ["rshim", "rshimx", "../rshim0", "rshim0/..", "tty0", ""] {
        assert!(Rshim::new(root, name).is_err(), "{name}");
    }
}
