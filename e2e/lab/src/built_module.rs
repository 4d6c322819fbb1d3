//! Drivers that Debian's kernel does not have, built from the source of that kernel (a package
//! of Debian's) against its headers, once for each kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::command::run;
use crate::image::Kernel;
use crate::requirements;

/// A driver and how it is built.
#[derive(Debug, Clone, Copy)]
pub struct BuiltModule {
    /// Its name: that of its file.
    pub name: &'static str,
    /// Its folder in the kernel's source.
    pub folder: &'static str,
    /// What its Makefile asks for, such as `CONFIG_NETDEVSIM=m`.
    pub option: &'static str,
    /// Modules of Debian's that it needs.
    pub needs: &'static [&'static str],
}

impl BuiltModule {
    /// Its file for this kernel. Blocking; the first time it takes a minute, and installs packages.
    pub(crate) fn file(&self, kernel: &Kernel) -> Result<PathBuf> {
        let version = &kernel.version;
        let source = source_package(version);
        let headers = format!("linux-headers-{version}");
        let mut recipe = Sha256::new();
        recipe.update(format!("{self:?}"));
        recipe.update(include_bytes!("built_module.rs"));
        let recipe = hex::encode(&recipe.finalize()[..6]);
        let name = format!("{}-{version}-{recipe}", self.name);
        let folder = cache::complete(&cache::folder()?.join("modules"), &name, |target| {
            requirements::ensure_these(&["make", "xz-utils", &headers, &source]).with_context(
                || {
                    format!(
                        "cannot build {} for the kernel {version}; where the archive has its \
                         headers no more, upgrade linux-image-amd64",
                        self.name
                    )
                },
            )?;
            self.build(version, &source, target)
        })?;
        Ok(folder.join(self.file_name()))
    }

    fn file_name(&self) -> String {
        format!("{}.ko", self.name)
    }

    /// Leaves nothing but the driver in `target`.
    fn build(&self, version: &str, source: &str, target: &Path) -> Result<()> {
        tracing::info!(driver = self.name, kernel = version, "building a driver");
        let work = target.join("work");
        fs::create_dir(&work).with_context(|| format!("cannot create {}", work.display()))?;
        let below = format!("{source}/{}", self.folder);
        let depth = below.split('/').count();
        run(Command::new("tar")
            .arg("-xf")
            .arg(format!("/usr/src/{source}.tar.xz"))
            .arg(format!("--strip-components={depth}"))
            .arg("-C")
            .arg(&work)
            .arg(&below))?;
        run(Command::new("make")
            .arg("-C")
            .arg(format!("/lib/modules/{version}/build"))
            .arg(format!("M={}", work.display()))
            .arg(self.option)
            .arg("modules"))?;
        let made = work.join(self.file_name());
        fs::rename(&made, target.join(self.file_name()))
            .with_context(|| format!("make did not build {}", made.display()))?;
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))
    }
}

/// Debian names the source after the series, and nothing but the headers after the build.
fn source_package(version: &str) -> String {
    let series: Vec<&str> = version.split('.').take(2).collect();
    format!("linux-source-{}", series.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_that_of_the_series() {
        assert_eq!(source_package("6.1.0-44-amd64"), "linux-source-6.1");
    }
}
