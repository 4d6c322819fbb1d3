//! What the lab needs from the machine: Debian packages, and sushy-tools in an environment of its
//! own in the cache.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::command::run;

/// Debian packages that the lab's programs come from.
pub const PACKAGES: [&str; 20] = [
    "binutils",
    "busybox-static",
    "dosfstools",
    "gzip",
    "kmod",
    "libvirt-clients",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-system",
    "linux-image-cloud-amd64",
    "mtools",
    "ovmf",
    "python3-libvirt",
    "python3-venv",
    "qemu-system-x86",
    "qemu-utils",
    "swtpm",
    "swtpm-tools",
    "systemd-boot-efi",
    "util-linux",
    "xorriso",
];

/// Those of them that the fake BMCs need.
const PYTHON: [&str; 2] = ["python3-libvirt", "python3-venv"];

const SUSHY: &str = "sushy-tools-2.2.0";

/// Makes sure that every package is there: installs what is missing as root, otherwise fails with
/// the command to run. Blocking; the first time it takes minutes.
pub fn ensure() -> Result<()> {
    ensure_these(&PACKAGES)
}

/// The same for packages of the caller's choice. `NAME:ARCHITECTURE` is the package of a foreign
/// architecture, which dpkg is told about.
pub fn ensure_these(packages: &[&str]) -> Result<()> {
    let missing = missing_of(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let foreign: BTreeSet<&str> = missing
        .iter()
        .filter_map(|package| package.split_once(':'))
        .map(|(_, architecture)| architecture)
        .collect();
    let mut command = String::new();
    for architecture in &foreign {
        command += &format!("dpkg --add-architecture {architecture} && ");
    }
    command += &format!(
        "apt-get update && apt-get install -y --no-install-recommends {}",
        missing.join(" ")
    );
    if !rustix::process::geteuid().is_root() {
        bail!("the lab needs packages that are not installed; run as root: {command}");
    }
    tracing::info!(packages = missing.join(" "), "installing Debian packages");
    for architecture in foreign {
        run(Command::new("dpkg").args(["--add-architecture", architecture]))?;
    }
    // Standard output and error are inherited: this is the progress people see.
    for arguments in [
        vec!["update"],
        [
            vec!["install", "-y", "--no-install-recommends"],
            missing.clone(),
        ]
        .concat(),
    ] {
        let status = Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(&arguments)
            .status()
            .context("cannot start apt-get: the lab needs Debian 12")?;
        if !status.success() {
            bail!("apt-get ended with {status}; run it by hand to see why: {command}");
        }
    }
    Ok(())
}

/// Names of the packages that are not installed.
pub fn missing() -> Result<Vec<&'static str>> {
    missing_of(&PACKAGES)
}

fn missing_of<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    let listed = Command::new("dpkg-query")
        .args([
            "-W",
            "-f",
            "${Package} ${db:Status-Status}\n${Package}:${Architecture} ${db:Status-Status}\n",
        ])
        .output()
        .context("cannot start dpkg-query: the lab needs Debian 12")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let installed: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    let mut missing = packages.to_vec();
    missing.retain(|package| !installed.contains(package));
    Ok(missing)
}

/// The folder with the Python environment that holds sushy-tools; made on first use. Blocking.
pub(crate) fn sushy_environment() -> Result<PathBuf> {
    ensure_these(&PYTHON)?;
    cache::complete(&cache::folder()?, SUSHY, make_environment)
}

/// The folder of a Python environment that holds exactly these packages, one `NAME==VERSION` a
/// line; made on first use, and anew for other packages. Blocking.
pub fn python_environment(name: &str, pins: &str) -> Result<PathBuf> {
    ensure_these(&PYTHON)?;
    let digest = hex::encode(&Sha256::digest(pins)[..6]);
    let name = format!("{name}-{digest}");
    cache::complete(&cache::folder()?, &name, |folder| {
        tracing::info!(folder = %folder.display(), "making a Python environment");
        run(Command::new("/usr/bin/python3")
            .args(["-m", "venv"])
            .arg(folder))?;
        install(folder, pins)
    })
}

fn make_environment(folder: &Path) -> Result<()> {
    tracing::info!(folder = %folder.display(), "making the Python environment of sushy-tools");
    // Debian's interpreter and packages, because the libvirt bindings exist only there.
    run(Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--system-site-packages"])
        .arg(folder))?;
    install(folder, include_str!("../assets/requirements.txt"))
}

fn install(folder: &Path, pins: &str) -> Result<()> {
    let file = folder.join("requirements.txt");
    std::fs::write(&file, pins).with_context(|| format!("cannot write {}", file.display()))?;
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--no-deps", "-r"])
        .arg(&file))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_sorted_and_unique() {
        assert!(PACKAGES.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn every_python_package_is_pinned() {
        for line in include_str!("../assets/requirements.txt").lines() {
            assert!(line.contains("=="), "{line} has no exact version");
        }
    }
}
