//! What the running kernel says: boot, uptime, release, name, memory.

use std::time::Duration;

use crate::{Fact, Root};

/// The identifier that the kernel draws at every boot, in lower case.
pub fn boot_id(root: &Root) -> Fact<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    root.line(PATH).and_then(|text| {
        if is_uuid(&text) {
            Fact::Known(text.to_ascii_lowercase())
        } else {
            Fact::NotRead(format!("{PATH}: not a UUID"))
        }
    })
}

/// Time since boot, including suspend.
pub fn uptime(root: &Root) -> Fact<Duration> {
    const PATH: &str = "/proc/uptime";
    root.line(PATH).and_then(|text| {
        text.split_ascii_whitespace()
            .next()
            .and_then(|seconds| seconds.parse::<f64>().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .map_or_else(|| Fact::NotRead(format!("{PATH}: no seconds")), Fact::Known)
    })
}

/// The kernel release, as `uname -r` prints it.
pub fn kernel_release(root: &Root) -> Fact<String> {
    root.line("/proc/sys/kernel/osrelease")
}

/// The host name that the kernel holds.
pub fn hostname(root: &Root) -> Fact<String> {
    root.line("/proc/sys/kernel/hostname")
        .and_then(|name| match name.as_str() {
            // What the kernel says until somebody sets a name.
            "(none)" => Fact::NotRead("no host name is set".to_owned()),
            _ => Fact::Known(name),
        })
}

/// The instruction set this program was built for, which the kernel therefore
/// runs (`x86_64`, `aarch64`).
pub fn architecture() -> &'static str {
    std::env::consts::ARCH
}

/// The memory that the kernel manages, in bytes.
pub fn memory_bytes(root: &Root) -> Fact<u64> {
    const PATH: &str = "/proc/meminfo";
    root.text(PATH).and_then(|text| {
        text.lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|number| number.trim().parse::<u64>().ok())
            .and_then(|kib| kib.checked_mul(1024))
            .map_or_else(
                || Fact::NotRead(format!("{PATH}: no MemTotal in kB")),
                Fact::Known,
            )
    })
}

pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
