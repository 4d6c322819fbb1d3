//! Where the kernel of this host looks for firmware: the file is laid there under its digest, judged
//! where it lies, and taken away.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lockstep_local::netlink::Handle;
use lockstep_local::pci::Address;
use lockstep_store::{Digest, Medium, Own};

use crate::host::push::fetch::PIECE;
use crate::site::execute::End;
use crate::site::judge::Refusal;

/// The folder of ours among the kernel's firmware.
const OURS: &str = "lockstep";

/// A folder in which the kernel looks for firmware, such as `/lib/firmware`.
#[derive(Clone, Debug)]
pub(in crate::host) struct Folder(PathBuf);

impl Folder {
    /// Takes away what an earlier process has left there: the kernel has read it, or never will.
    pub(in crate::host) fn new(path: PathBuf) -> Self {
        let folder = Self(path);
        if let Err(error) = folder.sweep() {
            tracing::warn!("firmware of an earlier process stays in {folder}: {error}");
        }
        folder
    }

    fn sweep(&self) -> io::Result<()> {
        let files = match fs::read_dir(self.0.join(OURS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            files => files?,
        };
        for file in files {
            let file = file?;
            let name = file.file_name();
            let digits = name.to_str().unwrap_or_default();
            if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    /// Lays the firmware there. Its name tells its bytes apart from all others: whatever else of that
    /// name the kernel remembers is the same. Blocks.
    pub(super) fn place(&self, medium: &Medium, digest: Digest) -> Result<Placed, Refusal> {
        self.lay(medium, digest).map_err(|error| unusable(&error))
    }

    fn lay(&self, medium: &Medium, digest: Digest) -> io::Result<Placed> {
        let folder = self.0.join(OURS);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.sweep()?;
        let path = folder.join(digest.hex());
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&path)?;
        let placed = Placed {
            name: format!("{OURS}/{}", digest.hex()),
            path,
        };
        let mut buffer = vec![0; PIECE];
        let mut at = 0;
        loop {
            let read = medium.read_at(&mut buffer, at)?;
            if read == 0 {
                file.sync_all()?;
                return Ok(placed);
            }
            file.write_all(&buffer[..read])?;
            at += read as u64;
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.join(OURS).display().fmt(f)
    }
}

/// Firmware that lies where the kernel looks. Dropping it takes it away.
#[derive(Debug)]
pub(super) struct Placed {
    path: PathBuf,
    name: String,
}

impl Placed {
    /// The name by which the kernel finds it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether what lies there is that image. Blocks.
    pub(super) fn verify(&self, wanted: Digest) -> Result<(), End> {
        let seen = File::open(&self.path)
            .map_err(|error| error.to_string())
            .and_then(|file| {
                Medium::lay(file, wanted, &Own::default()).map_err(|error| error.to_string())
            });
        seen.map(drop).map_err(|why| {
            End::Failed(Refusal::new(
                "ImageNotVerified",
                format!(
                    "what lies at {} is not what was laid there: {why}; nothing was written. Find out who changed it",
                    self.path.display()
                ),
            ))
        })
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("{} stays: {error}", self.path.display());
        }
    }
}

/// The PCI function that a devlink device is, or lies below, by the kernel's tree of devices.
pub(super) fn function_of(root: &Path, handle: &Handle) -> Option<Address> {
    let (bus, device) = (handle.bus(), handle.device());
    let device = root.join(format!("sys/bus/{bus}/devices/{device}"));
    let place = fs::canonicalize(device).ok()?;
    let parts = place.components().rev();
    let mut functions = parts.filter_map(|part| part.as_os_str().to_str()?.parse().ok());
    functions.next()
}

pub(super) fn unusable(why: &dyn fmt::Display) -> Refusal {
    Refusal::new(
        "FirmwareFolderUnusable",
        format!(
            "nothing was written, because the firmware cannot be laid where the kernel looks for it: {why}; --firmware-dir (firmwareDir of the chart's hostAgent) must be a folder of this host that the kernel searches and that can be written"
        ),
    )
}

pub(super) fn not_given() -> Refusal {
    Refusal::new(
        "Unsupported",
        "this agent was not told where the kernel of this host looks for firmware, so it flashes none; give it --firmware-dir (firmwareDir of the chart's hostAgent)",
    )
}
