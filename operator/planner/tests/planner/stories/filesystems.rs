//! What a card's own agent tells of the filesystems on its disks, as people read it.

use lockstep_crds::condition::{self, FILESYSTEMS_CONSISTENT};
use lockstep_crds::report::{FilesystemReport, FilesystemState};

use crate::world::{World, secs};

fn told(state: FilesystemState, message: Option<&str>) -> FilesystemReport {
    FilesystemReport {
        mount_point: "/".to_owned(),
        what: "ext4 on vda2".to_owned(),
        state,
        message: message.map(str::to_owned),
    }
}

fn says(world: &World) -> Option<(String, String)> {
    let status = world.cards[0].dpu.as_ref()?.status.as_ref()?;
    let shown = condition::find(&status.conditions, FILESYSTEMS_CONSISTENT)?;
    Some((
        format!("{}: {}", shown.status, shown.reason),
        shown.message.clone(),
    ))
}

fn comes_up_with(world: &mut World, filesystems: Vec<FilesystemReport>) -> (String, String) {
    world.cards[0].filesystems = Some(filesystems);
    world.settle(secs(60));
    says(world).unwrap()
}

#[test]
fn filesystems_are_told_apart_by_what_their_kernel_found() {
    let mut world = World::installed(&["card1"]);
    assert_eq!(says(&world), None, "an agent that does not tell");
    let (whole, _) = comes_up_with(&mut world, Vec::new());
    assert_eq!(whole, "True: AsWanted");
    let replayed = vec![told(FilesystemState::Replayed, None)];
    let (reason, message) = comes_up_with(&mut world, replayed);
    assert_eq!(reason, "True: JournalReplayed");
    assert!(message.contains("ext4 on vda2 at /"), "{message}");
    let damaged = vec![told(FilesystemState::Damaged, Some("3 errors"))];
    let (reason, message) = comes_up_with(&mut world, damaged);
    assert_eq!(reason, "False: FilesystemDamaged");
    assert!(message.contains("(3 errors)") && message.contains("docs/wipe.md"));
    assert!(world.is_ready(), "it runs, and is not reset for that");
    // A card that falls silent takes nothing of it back.
    world.cards[0].os = None;
    world.settle(secs(600));
    assert_eq!(says(&world).unwrap().0, "False: FilesystemDamaged");
}

#[test]
fn a_power_cut_of_ours_before_the_boot_is_named() {
    let mut world = World::installed(&["card1"]);
    world.edit_host(|host| host.disruption = lockstep_crds::host::Disruption::Allowed);
    world.edit_policy(|policy| policy.install.shutdown_grace_seconds = 0);
    world.edit_card(0, |card| {
        card.image_ref = Some(lockstep_crds::LocalRef {
            name: "os-2".to_owned(),
        });
    });
    world.cards[0].filesystems = Some(vec![told(FilesystemState::Replayed, None)]);
    world.until("begun", secs(3600), |w| !w.is_ready());
    world.until("Ready", secs(3600), World::is_ready);
    let (_, message) = says(&world).unwrap();
    assert!(message.contains("had cut the card's power at"), "{message}");
}
