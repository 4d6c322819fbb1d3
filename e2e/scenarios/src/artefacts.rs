//! What a user would install: static release binaries, and images for cards.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lockstep_lab::image::{self, Behaviour, Image, InstallerSpec, Slot, seed};
use sha2::{Digest, Sha256};
use tokio::process::Command;

/// Target that the static binaries are built for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The static binaries of operator and agent.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `lockstep-operator`.
    pub operator: PathBuf,
    /// `lockstep-agent`.
    pub agent: PathBuf,
}

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Folder with `lockstep-operator` and `lockstep-agent` to take instead of building them:
/// for trying out a change. Cards run static programs only.
const BINARIES: &str = "LOCKSTEP_BINARIES";

/// Builds operator and agent statically, as the Dockerfile packs them. Cargo shows its progress.
///
/// # Errors
/// When the build fails.
pub async fn binaries() -> Result<Binaries> {
    if let Some(folder) = std::env::var_os(BINARIES) {
        eprintln!("taking operator and agent from {}", folder.display());
        let folder = PathBuf::from(folder);
        return Ok(Binaries {
            operator: folder.join("lockstep-operator"),
            agent: folder.join("lockstep-agent"),
        });
    }
    eprintln!("building static operator and agent (minutes on a clean machine)");
    let release = build(&["lockstep-operator", "lockstep-agent"]).await?;
    Ok(Binaries {
        operator: release.join("lockstep-operator"),
        agent: release.join("lockstep-agent"),
    })
}

/// The image store as a process of its own, built like the agent that it is part of.
///
/// # Errors
/// When the build fails.
pub async fn store_process() -> Result<PathBuf> {
    program("lockstep-store-process").await
}

/// An rshim as character devices, and a push to it, for a VM.
///
/// # Errors
/// When the build fails.
pub async fn rshim_device() -> Result<PathBuf> {
    program("lockstep-rshim-device").await
}

async fn program(name: &str) -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(BINARIES) {
        return Ok(PathBuf::from(folder).join(name));
    }
    Ok(build(&[name]).await?.join(name))
}

/// Builds static release binaries; returns their folder.
async fn build(packages: &[&str]) -> Result<PathBuf> {
    let workspace = workspace();
    let folder = workspace.join("target/static");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&workspace)
        .args([
            "build",
            "--release",
            "--locked",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(&folder)
        .args(packages.iter().flat_map(|package| ["-p", package]))
        // `--target` keeps the flag from build scripts and proc macros.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .stdin(Stdio::null())
        .status()
        .await
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "building the static binaries failed: {status}"
    );
    Ok(folder.join(TARGET).join("release"))
}

/// An installer image with our agent in it.
///
/// # Errors
/// When it cannot be built.
pub async fn installer(binaries: &Binaries, version: &str, behaviour: Behaviour) -> Result<Image> {
    installer_in(binaries, version, behaviour, None).await
}

/// The same, which installs itself into a slot and leaves the other as it is.
///
/// # Errors
/// When it cannot be built.
pub async fn slot_installer(binaries: &Binaries, version: &str, slot: Slot) -> Result<Image> {
    installer_in(binaries, version, Behaviour::Installs, Some(slot)).await
}

async fn installer_in(
    binaries: &Binaries,
    version: &str,
    behaviour: Behaviour,
    slot: Option<Slot>,
) -> Result<Image> {
    let spec = InstallerSpec {
        version: version.to_owned(),
        agent: binaries.agent.clone(),
        behaviour,
        slot,
    };
    tokio::task::spawn_blocking(move || image::installer(&spec))
        .await
        .context("the task that builds the image ended early")?
}

/// A small file with a seed slot that no machine could boot, for BMCs without machines.
/// Its bytes depend on the version.
///
/// # Errors
/// When it cannot be written.
pub fn medium(folder: &Path, version: &str) -> Result<Image> {
    let mut bytes = format!("medium {version}\n").into_bytes();
    // A slot starts at a sector.
    bytes.resize(2048, b'.');
    bytes.extend(seed::empty());
    bytes.extend([b'.'; 512]);
    let path = folder.join(format!("{version}.iso"));
    std::fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Image {
        path,
        version: version.to_owned(),
        sha256: hex::encode(Sha256::digest(&bytes)),
        size: bytes.len() as u64,
    })
}

/// A file of firmware, whose bytes nobody reads.
///
/// # Errors
/// When it cannot be written.
pub fn firmware(folder: &Path, version: &str) -> Result<Image> {
    let bytes = format!("firmware {version}\n").repeat(64).into_bytes();
    let path = folder.join(format!("{version}.fwpkg"));
    std::fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Image {
        path,
        version: version.to_owned(),
        sha256: hex::encode(Sha256::digest(&bytes)),
        size: bytes.len() as u64,
    })
}
