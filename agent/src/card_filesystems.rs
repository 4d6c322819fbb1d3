//! What a card's agent tells of the filesystems on its disks. Pure.

use std::collections::BTreeSet;

use lockstep_crds::report::{FilesystemReport, FilesystemState};
use lockstep_local::Fact;
use lockstep_local::filesystems::Filesystem;

/// Filesystems that a report holds: what is damaged first.
const MOST: usize = 16;
/// Longest text, in characters.
const LONGEST: usize = 128;

/// Those of which there is something to tell; `None` if the mounts cannot be read.
pub(crate) fn told(
    mounted: &Fact<Vec<Filesystem>>,
    replayed: &Fact<BTreeSet<String>>,
) -> Option<Vec<FilesystemReport>> {
    let mounted = mounted.as_ref().known()?;
    let was_replayed = |one: &Filesystem| {
        let devices = replayed.as_ref().known();
        devices.is_some_and(|devices| devices.contains(&one.device))
    };
    let damaged = mounted.iter().filter(|one| one.fault.is_some());
    let whole = mounted.iter().filter(|one| one.fault.is_none());
    let told = damaged
        .map(|one| report(one, FilesystemState::Damaged))
        .chain(
            whole
                .filter(|one| was_replayed(one))
                .map(|one| report(one, FilesystemState::Replayed)),
        );
    Some(told.take(MOST).collect())
}

fn report(one: &Filesystem, state: FilesystemState) -> FilesystemReport {
    let short = |text: &str| text.chars().take(LONGEST).collect::<String>();
    FilesystemReport {
        mount_point: short(&one.mount_point),
        what: short(&format!("{} on {}", one.kind, one.device)),
        state,
        message: one.fault.as_deref().map(short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filesystem(device: &str, fault: Option<&str>) -> Filesystem {
        Filesystem {
            mount_point: format!("/{device}"),
            device: device.to_owned(),
            kind: "ext4".to_owned(),
            fault: fault.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_damaged_comes_first_and_what_is_whole_is_not_told() {
        let mounted = Fact::Known(vec![
            filesystem("a", None),
            filesystem("b", None),
            filesystem("c", Some("3 errors")),
        ]);
        let replayed = Fact::Known(BTreeSet::from(["b".to_owned(), "c".to_owned()]));
        let found = told(&mounted, &replayed).unwrap();
        let states: Vec<_> = found
            .iter()
            .map(|one| (one.what.as_str(), &one.state))
            .collect();
        assert_eq!(
            states,
            [
                ("ext4 on c", &FilesystemState::Damaged),
                ("ext4 on b", &FilesystemState::Replayed),
            ]
        );
        assert_eq!(found[0].message.as_deref(), Some("3 errors"));
        let unread = Fact::NotRead("not permitted".to_owned());
        assert_eq!(told(&mounted, &unread).unwrap().len(), 1);
        assert_eq!(told(&Fact::NotOffered, &replayed), None);
    }
}
