//! The folder of built programs, addressed by what they were built from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::module::{Module, Tool};

/// Where built programs lie.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$LOCKSTEP_CACHE`, else `$XDG_CACHE_HOME/lockstep`, else `$HOME/.cache/lockstep`.
    ///
    /// # Errors
    /// When none of the three variables is set.
    pub fn from_environment() -> Result<Self> {
        Self::from_variables(|name| std::env::var_os(name).map(PathBuf::from))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Self> {
        let set = |name| variable(name).filter(|path| !path.as_os_str().is_empty());
        let root = set("LOCKSTEP_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("lockstep")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/lockstep")))
            .context(
                "no place for built tools: none of LOCKSTEP_CACHE, XDG_CACHE_HOME and HOME is set; \
                 set LOCKSTEP_CACHE to a folder with 5 GB free",
            )?;
        // Builds run in folders of their own, so a relative path would move with them.
        let root = std::path::absolute(&root)
            .with_context(|| format!("{} is no usable path", root.display()))?;
        Ok(Self { root })
    }

    /// The cache folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of one module definition at one set of flags.
    pub(super) fn folder(&self, module: &Module) -> PathBuf {
        self.root.join("tools").join(address(module))
    }

    /// Where the program lies once it is built.
    pub(super) fn binary(&self, tool: Tool) -> PathBuf {
        self.folder(tool.module()).join("bin").join(tool.binary())
    }
}

/// SHA-256 over definition, checksums, flags and architecture, each with its length,
/// so that no two different inputs run together into one.
fn address(module: &Module) -> String {
    let mut hash = Sha256::new();
    let parts = [module.go_mod, module.go_sum, std::env::consts::ARCH];
    for part in parts.iter().chain(module.flags) {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Module = Module {
        shown: "x v1",
        go_mod: "module x",
        go_sum: "sum",
        flags: &["-a", "-b"],
    };

    #[test]
    fn the_address_changes_with_every_input_and_with_nothing_else() {
        let base = address(&BASE);
        assert_eq!(base.len(), 64);
        let shown = Module { shown: "y", ..BASE };
        assert_eq!(address(&shown), base, "a message is no build input");
        for other in [
            Module {
                go_mod: "module y",
                ..BASE
            },
            Module {
                go_sum: "other",
                ..BASE
            },
            Module {
                flags: &["-a"],
                ..BASE
            },
            Module {
                flags: &["-a-b"],
                ..BASE
            },
        ] {
            assert_ne!(address(&other), base, "{other:?}");
        }
    }

    #[test]
    fn the_cache_follows_the_variables_in_order() {
        let root = |set: &[(&str, &str)]| {
            Cache::from_variables(|name| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| PathBuf::from(value))
            })
            .map(|cache| cache.root)
        };
        let all = [
            ("LOCKSTEP_CACHE", "/a"),
            ("XDG_CACHE_HOME", "/b"),
            ("HOME", "/c"),
        ];
        assert_eq!(root(&all).unwrap(), Path::new("/a"));
        assert_eq!(root(&all[1..]).unwrap(), Path::new("/b/lockstep"));
        assert_eq!(root(&all[2..]).unwrap(), Path::new("/c/.cache/lockstep"));
        let empty = [("LOCKSTEP_CACHE", ""), ("HOME", "/c")];
        assert_eq!(root(&empty).unwrap(), Path::new("/c/.cache/lockstep"));
        assert!(
            root(&[])
                .unwrap_err()
                .to_string()
                .contains("LOCKSTEP_CACHE")
        );
    }
}
