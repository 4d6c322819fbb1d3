//! Filesystems on disks, and whether power that went at a bad moment has left them consistent.
//!
//! What the kernel itself has found counts: errors that an ext4 has noted, one that it has shut down (which
//! recent kernels show among its options), and journals that it had to replay. Nothing is checked here: that takes a filesystem that
//! nobody uses.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _};

use crate::{Fact, Root};

const MOUNTS: &str = "/proc/self/mountinfo";
const LOG: &str = "/dev/kmsg";
/// Records of the kernel's log that are looked at; a boot has some thousands.
const MOST_RECORDS: usize = 1 << 16;
/// The longest record that the kernel hands out.
const RECORD: usize = 8 << 10;

/// A filesystem on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Where it is mounted, the first of its places.
    pub mount_point: String,
    /// The kernel's name of its device, such as `vda2`.
    pub device: String,
    /// `ext4` and the like.
    pub kind: String,
    /// What the kernel has found wrong with it.
    pub fault: Option<String>,
}

/// The filesystems that are mounted from disks.
pub fn filesystems(root: &Root) -> Fact<Vec<Filesystem>> {
    root.text(MOUNTS).map(|text| {
        let mounts = parse_mounts(&text).into_iter();
        mounts.map(|mount| judged(root, mount)).collect()
    })
}

fn judged(root: &Root, mount: Mount) -> Filesystem {
    // A logical volume goes by another name in /dev than the kernel uses.
    let of_number = root.link_name(&format!("/sys/dev/block/{}", mount.number));
    let device = of_number.known().unwrap_or(mount.device);
    let errors: Fact<u64> = match mount.kind.as_str() {
        "ext2" | "ext3" | "ext4" => root.number(&format!("/sys/fs/ext4/{device}/errors_count")),
        _ => Fact::NotOffered,
    };
    let noted = match errors {
        Fact::Known(0) | Fact::NotOffered | Fact::NotRead(_) => None,
        // Not how many: on a disk that dies that is news all the time.
        Fact::Known(_) => Some("errors noted since its last check".to_owned()),
    };
    let fault = if mount.is_shut_down {
        Some("shut down by the kernel".to_owned())
    } else {
        noted
    };
    Filesystem {
        mount_point: mount.mount_point,
        device,
        kind: mount.kind,
        fault,
    }
}

/// A line of `mountinfo` about a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// `major:minor`.
    number: String,
    mount_point: String,
    device: String,
    kind: String,
    is_shut_down: bool,
}

/// The first mount of each disk's filesystem (proc_pid_mountinfo(5)).
fn parse_mounts(text: &str) -> Vec<Mount> {
    let mut seen = BTreeSet::new();
    let mounts = text.lines().filter_map(|line| {
        let (place, filesystem) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(2);
        let (number, mount_point) = (place.next()?, place.nth(1)?);
        let mut filesystem = filesystem.split(' ');
        let (kind, source) = (filesystem.next()?, filesystem.next()?);
        let options = filesystem.next().unwrap_or_default();
        let device = source.strip_prefix("/dev/")?;
        seen.insert(number.to_owned()).then(|| Mount {
            number: number.to_owned(),
            mount_point: unescaped(mount_point),
            device: device.rsplit('/').next().unwrap_or(device).to_owned(),
            kind: kind.to_owned(),
            is_shut_down: options
                .split(',')
                .any(|option| matches!(option, "shutdown" | "emergency_ro")),
        })
    });
    mounts.collect()
}

/// A space, tab, line's end or backslash is written as three octal digits.
fn unescaped(text: &str) -> String {
    let codes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    codes
        .iter()
        .fold(text.to_owned(), |text, (code, is)| text.replace(code, is))
}

/// Devices whose journal the kernel has replayed since it booted: they were in use when power went.
pub fn replayed(root: &Root) -> Fact<BTreeSet<String>> {
    match kernel_log(root) {
        Ok(log) => Fact::Known(parse_replays(&log)),
        Err(error) if error.kind() == ErrorKind::NotFound => Fact::NotOffered,
        Err(error) => Fact::NotRead(format!("{LOG}: {error}")),
    }
}

/// What the kernel has logged. Its device hands out one record at each read, and then would block.
fn kernel_log(root: &Root) -> std::io::Result<String> {
    use rustix::fs::{Mode, OFlags, open};
    let path = root.path().join(LOG.trim_start_matches('/'));
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(open(path, flags, Mode::empty())?);
    let (mut log, mut record) = (Vec::new(), [0; RECORD]);
    for _ in 0..MOST_RECORDS {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => log.extend_from_slice(&record[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // Records were overwritten while they were read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&log).into_owned())
}

/// What ext4 and XFS say of a journal that they have replayed.
fn parse_replays(log: &str) -> BTreeSet<String> {
    let between = |line: &str, before: &str, said: &str| -> Option<String> {
        let (_, rest) = line.split_once(before)?;
        let (device, words) = rest.split_once(')')?;
        words.contains(said).then(|| device.to_owned())
    };
    let of_line = |line: &str| {
        between(line, "EXT4-fs (", "recovery complete")
            .or_else(|| between(line, "XFS (", "Ending recovery"))
    };
    log.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:2 / / rw,relatime shared:1 - ext4 /dev/vda2 rw,errors=remount-ro
23 22 254:1 / /boot/efi rw,relatime - vfat /dev/vda1 rw
24 22 0:21 / /proc rw - proc proc rw
25 22 254:2 /srv /srv\\040data rw - ext4 /dev/vda2 rw
26 22 253:0 / /var rw - ext4 /dev/mapper/vg-var rw,shutdown
27 22 259:1 / /old rw - ext3 /dev/nvme0n1p1 rw
28 22 259:2 / /a\\040b rw - ext4 /dev/nvme0n1p2 rw
short
";

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = Root::new(folder.path());
        (folder, root)
    }

    #[test]
    fn what_the_kernel_has_found_wrong_with_a_disks_filesystem_is_told() {
        let (folder, root) = machine(&[
            ("proc/self/mountinfo", TABLE),
            ("sys/devices/virtual/block/dm-0/size", "1\n"),
            ("sys/fs/ext4/vda2/errors_count", "3\n"),
            ("sys/fs/ext4/nvme0n1p1/errors_count", "1\n"),
            ("sys/fs/ext4/nvme0n1p2/errors_count", "0\n"),
        ]);
        let numbers = folder.path().join("sys/dev/block");
        std::fs::create_dir_all(&numbers).unwrap();
        let device = "../../devices/virtual/block/dm-0";
        std::os::unix::fs::symlink(device, numbers.join("253:0")).unwrap();
        let found = filesystems(&root).known().unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|one| {
                let fault = one.fault.as_deref().unwrap_or("none");
                (one.device.as_str(), one.mount_point.as_str(), fault)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("vda2", "/", "errors noted since its last check"),
                ("vda1", "/boot/efi", "none"),
                ("dm-0", "/var", "shut down by the kernel"),
                ("nvme0n1p1", "/old", "errors noted since its last check"),
                ("nvme0n1p2", "/a b", "none"),
            ]
        );
        let (_folder, nothing) = machine(&[]);
        assert_eq!(filesystems(&nothing), Fact::NotOffered);
    }

    #[test]
    fn a_journal_that_was_replayed_is_found_in_the_kernels_log() {
        let log = "\
4,1,2,-;EXT4-fs (vda2): recovery complete
 SUBSYSTEM=block
6,2,3,-;EXT4-fs (vda2): mounted filesystem 5e r/w with ordered data mode
6,3,4,-;XFS (dm-0): Ending recovery (logdev: internal)
6,4,5,-;EXT4-fs (vda3): mounted filesystem
";
        let (_folder, root) = machine(&[("dev/kmsg", log)]);
        let devices = replayed(&root).known().unwrap();
        assert_eq!(devices.into_iter().collect::<Vec<_>>(), ["dm-0", "vda2"]);
        let (_folder, nothing) = machine(&[]);
        assert_eq!(replayed(&nothing), Fact::NotOffered);
    }
}
