//! The agent for aarch64, which real cards are: built on x86_64 with Debian's cross toolchain.
//!
//! The pinned toolchain has no aarch64 standard library; Debian's `rustc-web` has one and is
//! recent enough for our `rust-version`, which cargo checks. So this build proves code and
//! linking, with another compiler than the one that releases are made with.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use lockstep_lab::requirements;
use tokio::process::Command;

use crate::artefacts::workspace;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const RUSTC: &str = "/usr/bin/rustc";

/// Debian packages for building and running aarch64 programs.
const PACKAGES: [&str; 7] = [
    "binutils",
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    "libstd-rust-web-dev",
    "libstd-rust-web-dev:arm64",
    "qemu-user-static",
    "rustc-web",
];

/// Runs aarch64 programs on this machine.
pub const EMULATOR: &str = "qemu-aarch64-static";

/// Builds the static agent; installs Debian packages if need be. Cargo shows its progress.
///
/// # Errors
/// When packages are missing and cannot be installed, or the build fails.
pub async fn aarch64_agent() -> Result<PathBuf> {
    tokio::task::spawn_blocking(|| requirements::ensure_these(&PACKAGES))
        .await
        .context("the task that installs packages ended early")??;
    let workspace = workspace();
    let folder = workspace.join("target/aarch64");
    eprintln!("building the static agent for aarch64 (minutes on a clean machine)");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&workspace)
        .args(["build", "--release", "--locked", "--target", TARGET])
        .args(["-p", "lockstep-agent", "--target-dir"])
        .arg(&folder)
        .env("RUSTC", RUSTC)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env("CC_aarch64_unknown_linux_gnu", LINKER)
        .stdin(Stdio::null())
        .status()
        .await
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "building the agent for aarch64 failed: {status}"
    );
    Ok(folder.join(TARGET).join("release/lockstep-agent"))
}

/// Fails unless `binary` is a static aarch64 program: no card need have our loader or libraries.
///
/// # Errors
/// When it is anything else, as `readelf` sees it.
pub async fn check_static_aarch64(binary: &Path) -> Result<()> {
    let seen = Command::new("readelf")
        .args(["--wide", "--file-header", "--program-headers", "--dynamic"])
        .arg(binary)
        .env("LC_ALL", "C")
        .output()
        .await
        .context("cannot run readelf (package binutils)")?;
    let seen = String::from_utf8_lossy(&seen.stdout);
    let shown = binary.display();
    ensure!(
        seen.lines()
            .any(|line| line.trim_start().starts_with("Machine:") && line.contains("AArch64")),
        "{shown} is no aarch64 program"
    );
    for needs in ["INTERP", "(NEEDED)"] {
        if let Some(line) = seen.lines().find(|line| line.contains(needs)) {
            bail!("{shown} is not static: {}", line.trim());
        }
    }
    Ok(())
}
