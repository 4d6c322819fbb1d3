//! Unified kernel images: Debian's cloud kernel, an initramfs and a command line on the boot stub.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cpio::Archive;
use super::hybrid::Header;
use crate::command::run;

const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const BUSYBOX: &str = "/bin/busybox";
const COMMAND_LINE: &str = "console=ttyS0 panic=30 quiet";
/// Drivers the images need; the rest is built into the kernel.
const MODULES: [&str; 9] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_utf8",
    "efivarfs",
    "evdev",
];

/// A kernel of Debian's on this machine.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) version: String,
    pub(crate) image: PathBuf,
}

impl Kernel {
    /// The newest installed one.
    pub(crate) fn installed() -> Result<Self> {
        Self::newest("linux-image-cloud-amd64", |version| {
            version.ends_with("-cloud-amd64")
        })
    }

    /// Debian's kernel with every driver.
    pub(crate) fn full() -> Result<Self> {
        Self::newest("linux-image-amd64", |version| {
            version.ends_with("-amd64") && !version.ends_with("-cloud-amd64")
        })
    }

    fn newest(package: &str, is_it: impl Fn(&str) -> bool) -> Result<Self> {
        let mut versions: Vec<String> = fs::read_dir("/lib/modules")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|version| is_it(version))
            .filter(|version| Path::new(&format!("/boot/vmlinuz-{version}")).exists())
            .collect();
        versions.sort_by_key(|version| numbers(version));
        let Some(version) = versions.pop() else {
            bail!("no such kernel under /boot and /lib/modules: install the package {package}");
        };
        Ok(Self {
            image: PathBuf::from(format!("/boot/vmlinuz-{version}")),
            version,
        })
    }

    /// Module files in load order.
    pub(crate) fn modules(&self) -> Result<Vec<PathBuf>> {
        self.modules_for(&MODULES)
    }

    /// The files of these modules and of those that they need, in load order.
    pub(crate) fn modules_for(&self, modules: &[&str]) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for module in modules {
            let shown = run(Command::new("modprobe").args([
                "-S",
                &self.version,
                "--show-depends",
                module,
            ]))?;
            for line in shown.lines() {
                if let Some(file) = line.strip_prefix("insmod ") {
                    let file = PathBuf::from(file.trim());
                    if !files.contains(&file) {
                        files.push(file);
                    }
                }
            }
        }
        Ok(files)
    }
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// An initramfs with busybox, the drivers, and what every init of ours needs.
pub(crate) fn base_initramfs(kernel: &Kernel, init: &str, version: &str) -> Result<Archive> {
    let mut archive = Archive::default();
    for folder in ["proc", "sys", "dev", "run", "tmp", "mnt", "bin", "etc"] {
        archive.directory(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file_from("bin/busybox", 0o755, Path::new(BUSYBOX))?;
    for applet in run(Command::new(BUSYBOX).arg("--list"))?.lines() {
        if applet != "busybox" {
            archive.symlink(&format!("bin/{applet}"), "busybox");
        }
    }
    let mut order = String::new();
    for module in kernel.modules()? {
        let name = module
            .file_name()
            .context("a module path without a file name")?
            .to_string_lossy()
            .into_owned();
        archive.file_from(&format!("lib/modules/{name}"), 0o644, &module)?;
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("etc/lockstep/modules", 0o644, order.as_bytes());
    archive.file(
        "etc/lockstep/version",
        0o644,
        format!("{version}\n").as_bytes(),
    );
    archive.file(
        "etc/lockstep/early.sh",
        0o644,
        include_bytes!("../../assets/early.sh"),
    );
    archive.file(
        "etc/lockstep/udhcpc.sh",
        0o755,
        include_bytes!("../../assets/udhcpc.sh"),
    );
    archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n");
    archive.file("etc/os-release", 0o644, os_release(version).as_bytes());
    archive.file("init", 0o755, init.as_bytes());
    Ok(archive)
}

fn os_release(version: &str) -> String {
    format!("NAME=\"Lockstep lab\"\nID=lockstep-lab\nVERSION_ID={version}\n")
}

/// Writes `uki` from the kernel and this initramfs; intermediate files go to `work`.
pub(crate) fn write(
    kernel: &Kernel,
    version: &str,
    initramfs: Archive,
    uki: &Path,
    work: &Path,
) -> Result<()> {
    let put = |name: &str, content: &[u8]| -> Result<PathBuf> {
        let path = work.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    let release = put("osrel", os_release(version).as_bytes())?;
    let command_line = put("cmdline", COMMAND_LINE.as_bytes())?;
    let uname = put("uname", kernel.version.as_bytes())?;
    let initrd = put("initrd", &initramfs.finish())?;
    run(Command::new("gzip").args(["-n", "-f", "-6"]).arg(&initrd))?;
    let initrd = initrd.with_extension("gz");

    // The stub ends below 0x20000; the kernel and the initramfs follow without overlapping.
    let linux_at = 0x10_0000;
    let linux_size = fs::metadata(&kernel.image)
        .with_context(|| format!("cannot read {}", kernel.image.display()))?
        .len();
    let initrd_at = (linux_at + linux_size).next_multiple_of(0x10_0000);
    let mut objcopy = Command::new("objcopy");
    for (section, file, at) in [
        (".osrel", &release, 0x2_0000),
        (".cmdline", &command_line, 0x3_0000),
        (".uname", &uname, 0x4_0000),
        (".linux", &kernel.image, linux_at),
        (".initrd", &initrd, initrd_at),
    ] {
        objcopy
            .arg("--add-section")
            .arg(format!("{section}={}", file.display()))
            .arg("--change-section-vma")
            .arg(format!("{section}={at:#x}"));
    }
    run(objcopy.arg(STUB).arg(uki))?;
    forget_build_time(uki)?;
    end_with_sections(uki)
}

/// The names of the stub's symbols follow the last section, and nobody asks for them.
fn end_with_sections(uki: &Path) -> Result<()> {
    let bytes = fs::read(uki).with_context(|| format!("cannot read {}", uki.display()))?;
    let header = Header::of(&bytes)?;
    let end = header.end_of_sections(&bytes)?;
    let symbols = header.coff as u64 + 8;
    let cut = || -> std::io::Result<()> {
        let file = File::options().write(true).open(uki)?;
        file.write_all_at(&[0; 8], symbols)?;
        file.set_len(end as u64)
    };
    cut().with_context(|| format!("cannot shorten {}", uki.display()))
}

/// objcopy stamps the current time into the PE header, and a checksum over it that no firmware
/// looks at: both become zero.
fn forget_build_time(uki: &Path) -> Result<()> {
    let patch = || -> std::io::Result<()> {
        let file = File::options().read(true).write(true).open(uki)?;
        let mut at = [0; 4];
        file.read_exact_at(&mut at, 0x3c)?;
        let header = u64::from(u32::from_le_bytes(at));
        for field in [header + 8, header + 24 + 64] {
            file.write_all_at(&[0; 4], field)?;
        }
        Ok(())
    };
    patch().with_context(|| format!("cannot patch the header of {}", uki.display()))
}
