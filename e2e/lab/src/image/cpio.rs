//! Writer for the `newc` cpio format the kernel unpacks as initramfs.
//!
//! Owner, times and inode numbers are fixed, so equal content gives equal bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// An initramfs under construction.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
    directories: BTreeSet<String>,
}

struct Entry<'a> {
    name: &'a str,
    mode: u32,
    device: (u32, u32),
    content: &'a [u8],
}

impl Archive {
    /// Adds a directory and its missing parents.
    pub(crate) fn directory(&mut self, name: &str) {
        let mut path = String::new();
        for part in name.split('/') {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(part);
            if self.directories.insert(path.clone()) {
                self.entry(&Entry {
                    name: &path,
                    mode: 0o040_755,
                    device: (0, 0),
                    content: &[],
                });
            }
        }
    }

    /// Adds a regular file with these permission bits.
    pub(crate) fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.parent_of(name);
        self.entry(&Entry {
            name,
            mode: 0o100_000 | mode,
            device: (0, 0),
            content,
        });
    }

    /// Adds a file read from disk.
    pub(crate) fn file_from(&mut self, name: &str, mode: u32, source: &Path) -> Result<()> {
        let content = fs::read(source).with_context(|| {
            format!(
                "cannot read {} for the initramfs entry {name}",
                source.display()
            )
        })?;
        self.file(name, mode, &content);
        Ok(())
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, name: &str, target: &str) {
        self.parent_of(name);
        self.entry(&Entry {
            name,
            mode: 0o120_777,
            device: (0, 0),
            content: target.as_bytes(),
        });
    }

    /// Adds a character device node.
    pub(crate) fn character_device(&mut self, name: &str, major: u32, minor: u32) {
        self.parent_of(name);
        self.entry(&Entry {
            name,
            mode: 0o020_600,
            device: (major, minor),
            content: &[],
        });
    }

    /// Ends the archive and returns its bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(&Entry {
            name: "TRAILER!!!",
            mode: 0,
            device: (0, 0),
            content: &[],
        });
        self.bytes
    }

    fn parent_of(&mut self, name: &str) {
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        self.inode += 1;
        let fields = [
            self.inode,
            entry.mode,
            0, // uid
            0, // gid
            1, // links
            0, // time
            entry.content.len() as u32,
            0, // device the file lies on
            0,
            entry.device.0,
            entry.device.1,
            entry.name.len() as u32 + 1,
            0, // checksum, unused in this variant
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(entry.name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(entry.content);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_once_and_before_their_files() {
        let mut archive = Archive::default();
        archive.file("etc/lockstep/version", 0o644, b"1\n");
        archive.file("etc/hosts", 0o644, b"");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let order: Vec<_> = ["etc\0", "etc/lockstep\0", "etc/lockstep/version\0"]
            .iter()
            .map(|name| text.find(name).unwrap())
            .collect();
        assert!(order.is_sorted());
        assert_eq!(text.matches("070701").count(), 5);
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn equal_content_gives_equal_bytes() {
        let build = || {
            let mut archive = Archive::default();
            archive.symlink("bin/sh", "busybox");
            archive.character_device("dev/console", 5, 1);
            archive.finish()
        };
        assert_eq!(build(), build());
    }
}
