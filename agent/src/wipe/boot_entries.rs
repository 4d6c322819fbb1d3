//! Boot entries of UEFI that lead to something on a disk, which is gone. Those of the firmware's own,
//! such as network boot, stay: a card without them may not come up again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lockstep_crds::wipe::WipeItem;
use lockstep_local::Root;

use crate::wipe::{failed, left, wiped};

const NAME: &str = "BootEntries";
const VARIABLES: &str = "sys/firmware/efi/efivars";
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Device path nodes: media, and of those a partition of a disk.
const MEDIA: u8 = 4;
const PARTITION: u8 = 1;
const END: u8 = 0x7f;

/// Removes them.
pub(super) fn wipe(root: &Root) -> WipeItem {
    let folder = root.path().join(VARIABLES);
    let entries = match entries(&folder) {
        Ok(entries) if entries.is_empty() && !is_mounted(&folder) => {
            return left(NAME, "the system sees no variables of UEFI");
        }
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return left(NAME, "the card did not boot by UEFI");
        }
        Err(error) => return failed(NAME, format!("they cannot be listed: {error}")),
    };
    let (mut removed, mut kept) = (0, 0);
    for path in entries {
        let removal = fs::read(&path).and_then(|variable| {
            let is_of_disk = leads_to_disk(&variable);
            if is_of_disk {
                fs::remove_file(&path)?;
            }
            Ok(is_of_disk)
        });
        match removal {
            Ok(true) => removed += 1,
            Ok(false) => kept += 1,
            Err(error) => {
                let entry = path.file_name().unwrap_or_default().to_string_lossy();
                return failed(NAME, format!("{entry}: {error}"));
            }
        }
    }
    wiped(
        NAME,
        format!("{removed} that led to a disk removed, {kept} of the firmware's own left"),
    )
}

/// Every machine with UEFI has variables; a folder without any is a mount point.
fn is_mounted(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut names| names.next().is_some())
}

/// The files of variables called `Boot` and four hexadecimal digits.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| {
            let (name, guid) = name.split_at_checked(8)?;
            let number = name.strip_prefix("Boot")?;
            (guid.strip_prefix('-') == Some(GLOBAL)).then_some(number.to_owned())
        });
        if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a load option's device path has a partition in it.
fn leads_to_disk(variable: &[u8]) -> bool {
    // The attributes of the variable, then those of the option.
    let Some(option) = variable.get(8..) else {
        return false;
    };
    let (Some(length), Some(rest)) = (option.first_chunk::<2>(), option.get(2..)) else {
        return false;
    };
    let length = usize::from(u16::from_le_bytes(*length));
    let mut name = rest.chunks_exact(2);
    let Some(end) = name.position(|letter| letter == [0, 0]) else {
        return false;
    };
    let path = rest.get((end + 1) * 2..).unwrap_or_default();
    let mut path = path.get(..length).unwrap_or(path);
    while let [kind, sub, low, high, ..] = path {
        if *kind == END {
            return false;
        }
        if (*kind, *sub) == (MEDIA, PARTITION) {
            return true;
        }
        let node = usize::from(u16::from_le_bytes([*low, *high]));
        let Some(next) = path.get(node.max(4)..) else {
            return false;
        };
        path = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_crds::wipe::WipeResult;

    fn option(nodes: &[&[u8]]) -> Vec<u8> {
        let path: Vec<u8> = nodes.concat();
        let mut variable = vec![7, 0, 0, 0, 1, 0, 0, 0];
        variable.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
        variable.extend("os\0".encode_utf16().flat_map(u16::to_le_bytes));
        variable.extend(path);
        variable
    }

    const PCI: &[u8] = &[1, 1, 6, 0, 0, 2];
    const DISK: &[u8] = &[4, 1, 6, 0, 9, 9];
    const FILE: &[u8] = &[4, 4, 6, 0, 0, 0];
    const THE_END: &[u8] = &[0x7f, 0xff, 4, 0];

    #[test]
    fn entries_of_disks_go_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(VARIABLES);
        fs::create_dir_all(&folder).unwrap();
        let variables = [
            ("Boot0000", option(&[PCI, THE_END])),
            ("Boot001A", option(&[DISK, FILE, THE_END])),
            ("BootNext", option(&[DISK, THE_END])),
            ("Boot0002", option(&[FILE, THE_END])),
        ];
        for (name, content) in &variables {
            fs::write(folder.join(format!("{name}-{GLOBAL}")), content).unwrap();
        }
        let told = wipe(&Root::new(dir.path()));
        assert_eq!(told.result, WipeResult::Wiped, "{told:?}");
        let mut left: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let names = ["Boot0000", "Boot0002", "BootNext"];
        assert_eq!(left, names.map(|name| format!("{name}-{GLOBAL}")));
    }

    #[test]
    fn what_is_cut_off_or_has_no_length_ends() {
        let whole = option(&[PCI, &[1, 1, 0, 0], THE_END]);
        for length in 0..=whole.len() {
            assert!(!leads_to_disk(&whole[..length]), "{length}");
        }
        assert!(leads_to_disk(&option(&[PCI, DISK, THE_END])));
        assert!(!leads_to_disk(&option(&[THE_END, DISK])));
    }

    #[test]
    fn a_card_without_uefi_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let told = wipe(&Root::new(dir.path()));
        assert_eq!(told.result, WipeResult::NotSupported, "{told:?}");
    }
}
