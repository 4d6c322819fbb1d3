//! FAT file systems and the installer ISO around them.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::run;

/// Fixed so that equal content gives equal bytes; both name the same second.
const EPOCH: &str = "1700000000";
const EPOCH_DATE: &str = "2023111422132000";
const BOOT_FOLDER: &str = "::/EFI/BOOT";

/// Files for a boot partition: name in `EFI/BOOT` (with folders) and source. They are written in
/// this order into an empty file system, after all folders: each lies in one piece, and right after
/// the one before.
pub(crate) fn write_esp(esp: &Path, files: &[(&str, &Path)]) -> Result<()> {
    let mut bytes = 0;
    for (_, source) in files {
        bytes += fs::metadata(source)
            .with_context(|| format!("cannot read {}", source.display()))?
            .len();
    }
    // Room for the file allocation tables and directories; FAT32 needs some 33 MiB at least.
    let size = (bytes + bytes / 50 + (1 << 20)).max(34 << 20);
    File::create(esp)
        .and_then(|file| file.set_len(size.next_multiple_of(1 << 20)))
        .with_context(|| format!("cannot create {}", esp.display()))?;
    run(tool("mkfs.fat")
        .args(["--invariant", "-F", "32", "-s", "1", "-n", "LOCKSTEP"])
        .arg(esp))?;
    run(tool("mmd").arg("-i").arg(esp).args(["::/EFI", BOOT_FOLDER]))?;
    for (name, _) in files {
        if let Some((folder, _)) = name.rsplit_once('/') {
            run(tool("mmd")
                .arg("-i")
                .arg(esp)
                .arg(format!("{BOOT_FOLDER}/{folder}")))?;
        }
    }
    for (name, source) in files {
        run(tool("mcopy")
            .arg("-i")
            .arg(esp)
            .arg(source)
            .arg(format!("{BOOT_FOLDER}/{name}")))?;
    }
    Ok(())
}

/// Writes an ISO that UEFI boots from `esp` through El Torito.
pub(crate) fn write_iso(iso: &Path, esp: &Path, work: &Path) -> Result<()> {
    let tree = work.join("iso");
    fs::create_dir_all(&tree).with_context(|| format!("cannot create {}", tree.display()))?;
    let placed = tree.join("esp.img");
    fs::rename(esp, &placed).with_context(|| format!("cannot move {}", esp.display()))?;
    run(tool("xorriso")
        .args(["-report_about", "WARNING"])
        .args(["-as", "mkisofs", "-V", "LOCKSTEP"])
        .args(["--set_all_file_dates", EPOCH_DATE])
        .args(["-e", "esp.img", "-no-emul-boot", "-o"])
        .arg(iso)
        .arg(&tree))?;
    Ok(())
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .env("TZ", "UTC")
        .env("MTOOLS_SKIP_CHECK", "1");
    command
}
