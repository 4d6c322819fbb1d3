//! Bootable images for the VMs, built without privileges and kept in the cache by content.
//!
//! [`installer`] makes the artefact a `DpuImage` points to: an ISO, which is an EFI program too, whose installer writes an
//! operating system with the given agent to the first disk, hands the seed over and reboots into
//! it, or which boots that system itself, or one that wipes the machine. [`host_disk`] makes the disk of a VM that plays the host.
//!
//! What they say on the serial console: the constants of this module, those of cards followed by
//! a blank and the version. An installer that gives up says `LOCKSTEP-INSTALLER-FAILED <why>`.

mod cpio;
pub(crate) mod disk;
mod hybrid;
mod medium;
pub mod seed;
mod uki;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::command::run;
use crate::requirements;
use crate::variables::reference;
pub(crate) use cpio::Archive;
pub(crate) use uki::Kernel;

/// The firmware turns to an image, before any of its code runs.
pub const FIRMWARE: &str = "BdsDxe: starting";
/// The installer runs.
pub const INSTALLER_START: &str = "LOCKSTEP-INSTALLER-START";
/// The installer has done its work and reboots.
pub const INSTALLER_DONE: &str = "LOCKSTEP-INSTALLER-DONE";
/// An installer that never ends has begun to do nothing.
pub const INSTALLER_HANGS: &str = "LOCKSTEP-INSTALLER-HANGS";
/// The card's operating system is up; its agent starts next.
pub const OS_UP: &str = "LOCKSTEP-OS-UP";
/// The card's operating system is up, and starts neither network nor agent.
pub const OS_MUTE: &str = "LOCKSTEP-OS-MUTE";
/// The agent ended, with this status; it is started again.
pub const AGENT_EXIT: &str = "LOCKSTEP-AGENT-EXIT";
/// The host's operating system is up.
pub const HOST_UP: &str = "HOST-OS-UP";

/// Every agent and version makes an image of its own; those unused for this long go.
const KEPT: Duration = Duration::from_secs(3 * 86_400);

/// What an installer image is made of.
#[derive(Debug, Clone)]
pub struct InstallerSpec {
    /// Version the image says it has.
    pub version: String,
    /// Static executable (or busybox script) that the installed system runs as
    /// `/bin/lockstep-agent xpu --seed /run/lockstep/seed.json`, again whenever it ends.
    pub agent: PathBuf,
    /// Whether the installer does its work.
    pub behaviour: Behaviour,
    /// The slot of the disk that it installs into, leaving the other as it is; the whole disk if `None`.
    pub slot: Option<Slot>,
}

/// One of two slots of a card's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Name of the boot entry that its installer makes.
    pub fn boot_entry(self) -> &'static str {
        self.place().title
    }

    /// The number of that entry, as Redfish and UEFI name it.
    pub fn reference(self) -> String {
        reference(self.place().option)
    }

    pub(crate) fn place(self) -> &'static disk::Place {
        match self {
            Self::A => &disk::SLOT_A,
            Self::B => &disk::SLOT_B,
        }
    }
}

/// What an installer does once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Installs and starts the operating system.
    Installs,
    /// Starts and then does nothing for ever: a card that never boots.
    Hangs,
    /// Installs and starts an operating system of which nobody ever hears.
    InstallsMute,
    /// There is none: the medium boots the operating system, and no disk is touched.
    IsTheSystem,
    /// The same, of a system that wipes the machine if its seed orders that.
    Wipes,
}

/// A file of this machine with what is needed to name it in a `DpuImage`.
#[derive(Debug, Clone)]
pub struct Image {
    /// Where it lies.
    pub path: PathBuf,
    /// Version it was built as.
    pub version: String,
    /// SHA-256 of the file, lower-case hexadecimal, without prefix.
    pub sha256: String,
    /// Length in bytes.
    pub size: u64,
}

/// Builds an installer ISO, or returns the one built before from the same inputs. Blocking.
pub fn installer(spec: &InstallerSpec) -> Result<Image> {
    installer_in(&cache::folder()?.join("images"), spec)
}

/// As [`installer`], kept in this folder.
pub fn installer_in(images: &Path, spec: &InstallerSpec) -> Result<Image> {
    ensure!(
        !spec.version.is_empty()
            && spec
                .version
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-_+".contains(c)),
        "image version {:?} must be letters, digits and `.-_+`",
        spec.version
    );
    requirements::ensure()?;
    check_agent(&spec.agent)?;
    let kernel = Kernel::installed()?;
    let key = key(
        &kernel,
        &[
            "installer",
            &spec.version,
            &format!("{:?} {:?}", spec.behaviour, spec.slot),
            &file_digest(&spec.agent)?,
        ],
    )?;
    let folder = cache::complete(images, &key, |folder| {
        tracing::info!(version = spec.version, "building an installer image");
        cache::prune(images, KEPT)?;
        build_installer(spec, &kernel, folder)
    })?;
    described(&folder.join("installer.iso"), &spec.version)
}

/// Builds the raw disk of a host VM: it prints `HOST-OS-UP` on the console and idles. Blocking.
pub fn host_disk() -> Result<Image> {
    requirements::ensure()?;
    let kernel = Kernel::installed()?;
    let key = key(&kernel, &["host"])?;
    let folder = cache::complete(&cache::folder()?.join("images"), &key, |folder| {
        tracing::info!("building the host's disk");
        build_host(&kernel, folder)
    })?;
    described(&folder.join("host.raw"), "host")
}

/// The card's system has no libraries: a dynamic executable would only say "not found" there.
fn check_agent(agent: &Path) -> Result<()> {
    let content =
        fs::read(agent).with_context(|| format!("cannot read the agent {}", agent.display()))?;
    if content.starts_with(b"#!") {
        return Ok(());
    }
    let headers = run(Command::new("readelf").arg("-lW").arg(agent))?;
    ensure!(
        !headers.contains("INTERP"),
        "the agent {} is linked dynamically: build it with `-C target-feature=+crt-static` and \
         an explicit `--target`",
        agent.display()
    );
    Ok(())
}

fn build_installer(spec: &InstallerSpec, kernel: &Kernel, folder: &Path) -> Result<()> {
    let work = work_folder(folder)?;

    let os = work.join("os.efi");
    let init = include_str!("../../assets/os.sh");
    let mut initramfs = uki::base_initramfs(kernel, init, &spec.version)?;
    initramfs.file_from("bin/lockstep-agent", 0o755, &spec.agent)?;
    if spec.behaviour == Behaviour::InstallsMute {
        initramfs.file("etc/lockstep/never-reports", 0o644, b"");
    }
    if spec.behaviour == Behaviour::Wipes {
        initramfs.file("etc/lockstep/wipes", 0o644, b"");
    }
    uki::write(kernel, &spec.version, initramfs, &os, &work)?;

    let installer = work.join("installer.efi");
    let init = include_str!("../../assets/installer.sh");
    let mut initramfs = uki::base_initramfs(kernel, init, &spec.version)?;
    match spec.behaviour {
        Behaviour::Installs
        | Behaviour::InstallsMute
        | Behaviour::IsTheSystem
        | Behaviour::Wipes => {}
        Behaviour::Hangs => initramfs.file("etc/lockstep/never-finishes", 0o644, b""),
    }
    let payload = "usr/share/lockstep";
    let place = spec.slot.map_or(&disk::WHOLE, Slot::place);
    let table = disk::table(place);
    initramfs.file_from(&format!("{payload}/os.efi"), 0o644, &os)?;
    initramfs.file(&format!("{payload}/table.head"), 0o644, &table.head);
    initramfs.file(&format!("{payload}/table.tail"), 0o644, &table.tail);
    initramfs.file(
        &format!("{payload}/table.sectors"),
        0o644,
        format!("{}\n", place.table_sectors()).as_bytes(),
    );
    for (name, line) in [
        ("partition", place.number().to_string()),
        ("boot-file", place.file()),
        ("boot-entry", reference(place.option)),
    ] {
        initramfs.file(
            &format!("{payload}/{name}"),
            0o644,
            format!("{line}\n").as_bytes(),
        );
    }
    initramfs.file(
        &format!("{payload}/boot-option"),
        0o644,
        &disk::boot_option(place),
    );
    let next = disk::boot_next(place);
    initramfs.file(&format!("{payload}/boot-next"), 0o644, &next);
    if spec.slot.is_some() {
        initramfs.file("etc/lockstep/has-slots", 0o644, b"");
    }
    uki::write(kernel, &spec.version, initramfs, &installer, &work)?;

    let (before, after) = hybrid::around_slot()?;
    let put = |name: &str, content: &[u8]| -> Result<PathBuf> {
        let path = work.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    let (before, after) = (put("SEED.HD", &before)?, put("SEED.TL", &after)?);
    let slot = put("lockstep.cred", &seed::empty())?;
    let esp = work.join("esp.img");
    let boots = match spec.behaviour {
        Behaviour::IsTheSystem | Behaviour::Wipes => &os,
        Behaviour::Installs | Behaviour::InstallsMute | Behaviour::Hangs => &installer,
    };
    medium::write_esp(
        &esp,
        &[
            ("BOOTX64.EFI", boots),
            ("SEED.HD", &before),
            ("BOOTX64.EFI.extra.d/lockstep.cred", &slot),
            ("SEED.TL", &after),
        ],
    )?;
    let iso = folder.join("installer.iso");
    medium::write_iso(&iso, &esp, &work)?;
    hybrid::make_program(&iso, boots)?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))
}

fn build_host(kernel: &Kernel, folder: &Path) -> Result<()> {
    let work = work_folder(folder)?;
    let host = work.join("host.efi");
    let init = include_str!("../../assets/host.sh");
    let initramfs = uki::base_initramfs(kernel, init, "host")?;
    uki::write(kernel, "host", initramfs, &host, &work)?;
    let esp = work.join("esp.img");
    medium::write_esp(&esp, &[("BOOTX64.EFI", &host)])?;
    disk::write_disk(&folder.join("host.raw"), &esp)?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))
}

fn work_folder(folder: &Path) -> Result<PathBuf> {
    let work = folder.join("work");
    fs::create_dir(&work).with_context(|| format!("cannot create {}", work.display()))?;
    Ok(work)
}

/// Name under which an image is cached: everything that its bytes depend on.
fn key(kernel: &Kernel, parts: &[&str]) -> Result<String> {
    let mut hash = Sha256::new();
    let sources = [
        include_str!("../../assets/early.sh"),
        include_str!("../../assets/installer.sh"),
        include_str!("../../assets/os.sh"),
        include_str!("../../assets/host.sh"),
        include_str!("../../assets/udhcpc.sh"),
        include_str!("cpio.rs"),
        include_str!("disk.rs"),
        include_str!("hybrid.rs"),
        include_str!("medium.rs"),
        include_str!("mod.rs"),
        include_str!("seed.rs"),
        include_str!("uki.rs"),
    ];
    let kernel_digest = file_digest(&kernel.image)?;
    for part in parts
        .iter()
        .chain(&sources)
        .chain([&kernel_digest.as_str()])
    {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    Ok(hex::encode(&hash.finalize()[..12]))
}

fn described(path: &Path, version: &str) -> Result<Image> {
    let size = fs::metadata(path)
        .with_context(|| format!("cannot read {}; remove its cache folder", path.display()))?
        .len();
    Ok(Image {
        sha256: file_digest(path)?,
        path: path.to_owned(),
        version: version.to_owned(),
        size,
    })
}

/// By the system's tool: hashing 40 MB in an unoptimised build takes seconds.
fn file_digest(path: &Path) -> Result<String> {
    let printed = run(Command::new("sha256sum").arg("--").arg(path))?;
    let digest = printed.split_whitespace().next().unwrap_or_default();
    ensure!(
        digest.len() == 64,
        "sha256sum printed {printed:?} for {}",
        path.display()
    );
    Ok(digest.to_owned())
}
