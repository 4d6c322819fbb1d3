//! What a VM holds on its disk and in its TPM, written and read from outside while it is off: by
//! QEMU's own tools, by swtpm on its state, and in the bytes of the files themselves.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::command::run;
use crate::image::Slot;
use crate::image::disk::SECTOR;

const START: Duration = Duration::from_secs(10);
/// As much of a slot as has its tables of files.
const ERASED: u64 = 8 << 20;
const SESSIONS: u16 = 0x8002;
const OWNER: u32 = 0x4000_0001;
const PASSWORD: u32 = 0x4000_0009;
const NV_DEFINE_SPACE: u32 = 0x12a;
const NV_WRITE: u32 = 0x137;
const NV_READ: u32 = 0x14e;
const SHA256: u16 = 0x000b;
/// The owner reads and writes it.
const OF_OWNER: u32 = 1 << 1 | 1 << 17 | 1 << 25;

/// Disk and TPM of a VM that is off. Everything here blocks.
#[derive(Debug)]
pub struct Held {
    disk: PathBuf,
    tpm: PathBuf,
}

impl Held {
    pub(crate) fn new(disk: PathBuf, tpm: PathBuf) -> Self {
        Self { disk, tpm }
    }

    /// Lays this text over the whole disk, again and again.
    pub fn cover_disk(&self, text: &str) -> Result<()> {
        let pattern = self.disk.with_extension("pattern");
        let line: Vec<u8> = text.bytes().cycle().take(4096).collect();
        fs::write(&pattern, line).with_context(|| format!("cannot write {}", pattern.display()))?;
        let bytes = self.disk_bytes()?;
        let write = format!("write -q -s {} 0 {bytes}", pattern.display());
        run(Command::new("qemu-io")
            .args(["-f", "qcow2", "-c", &write])
            .arg(&self.disk))?;
        fs::remove_file(&pattern).with_context(|| format!("cannot remove {}", pattern.display()))
    }

    /// Whether the file that stands for the disk has this text in it anywhere.
    pub fn is_on_disk(&self, text: &str) -> Result<bool> {
        has(&self.disk, text)
    }

    /// Whether the disk reads as zeros from end to end.
    pub fn is_disk_blank(&self) -> Result<bool> {
        let raw = self.disk.with_extension("raw");
        run(Command::new("qemu-img")
            .args(["convert", "-f", "qcow2", "-O", "raw"])
            .arg(&self.disk)
            .arg(&raw))?;
        let compared = Command::new("cmp")
            .args(["--quiet", "--bytes", &self.disk_bytes()?.to_string()])
            .arg(&raw)
            .arg("/dev/zero")
            .status()
            .context("cannot start cmp")?;
        fs::remove_file(&raw).with_context(|| format!("cannot remove {}", raw.display()))?;
        match compared.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            Some(_) | None => bail!("cmp ended with {compared}"),
        }
    }

    /// Lays zeros over the beginning of a slot, and with it over its file system.
    pub fn erase_slot(&self, slot: Slot) -> Result<()> {
        let at = slot.place().start() * SECTOR;
        let write = format!("write -q -z {at} {ERASED}");
        run(Command::new("qemu-io")
            .args(["-f", "qcow2", "-c", &write])
            .arg(&self.disk))?;
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64> {
        let told = run(Command::new("qemu-img")
            .args(["info", "--output", "json"])
            .arg(&self.disk))?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        told["virtual-size"]
            .as_u64()
            .context("qemu-img tells no virtual size")
    }

    /// Whether the TPM's stored state has this text in it anywhere.
    pub fn is_in_tpm(&self, text: &str) -> Result<bool> {
        let entries = fs::read_dir(&self.tpm)
            .with_context(|| format!("no TPM state in {}", self.tpm.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_file() && has(&path, text)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes an NV index of the owner that holds this text.
    pub fn keep_in_tpm(&self, index: u32, text: &str) -> Result<()> {
        let size = u16::try_from(text.len())?;
        let mut tpm = Tpm::start(&self.tpm)?;
        let mut public = index.to_be_bytes().to_vec();
        public.extend(SHA256.to_be_bytes());
        public.extend(OF_OWNER.to_be_bytes());
        public.extend([0, 0]);
        public.extend(size.to_be_bytes());
        let mut parameters = vec![0, 0];
        parameters.extend(u16::try_from(public.len())?.to_be_bytes());
        parameters.extend(public);
        tpm.ask(NV_DEFINE_SPACE, &[OWNER], &parameters)??;
        let mut parameters = size.to_be_bytes().to_vec();
        parameters.extend(text.as_bytes());
        parameters.extend([0, 0]);
        tpm.ask(NV_WRITE, &[OWNER, index], &parameters)??;
        tpm.stop()
    }

    /// What an NV index of the owner holds; `None` if there is none.
    pub fn kept_in_tpm(&self, index: u32, size: u16) -> Result<Option<Vec<u8>>> {
        let mut tpm = Tpm::start(&self.tpm)?;
        let mut parameters = size.to_be_bytes().to_vec();
        parameters.extend([0, 0]);
        let told = tpm.ask(NV_READ, &[OWNER, index], &parameters)?;
        tpm.stop()?;
        match told {
            // Sizes of the parameters and of the buffer come first.
            Ok(told) => Ok(Some(
                told.get(6..6 + usize::from(size))
                    .context("cut off")?
                    .to_vec(),
            )),
            Err(Refused(code)) if code & 0xbf == 0x8b => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }
}

/// Whether a file has this text in it.
fn has(path: &Path, text: &str) -> Result<bool> {
    let status = Command::new("grep")
        .args(["--quiet", "--text", "--fixed-strings", "--", text])
        .arg(path)
        .status()
        .context("cannot start grep")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        Some(_) | None => bail!("grep in {} ended with {status}", path.display()),
    }
}

/// The TPM refused a command.
#[derive(Debug)]
struct Refused(u32);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the TPM refused with {:#x}", self.0)
    }
}

impl std::error::Error for Refused {}

/// A swtpm on the state of a VM that is off.
struct Tpm {
    process: Child,
    commands: UnixStream,
}

impl Tpm {
    fn start(state: &Path) -> Result<Self> {
        ensure!(state.is_dir(), "no TPM state in {}", state.display());
        // Paths of sockets are short.
        let socket = std::env::temp_dir().join(format!("swtpm-{}", std::process::id()));
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--terminate"])
            .args(["--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start swtpm")?;
        let started = Self::connect(process, &socket)?;
        started.commands.set_read_timeout(Some(START))?;
        Ok(started)
    }

    fn connect(mut process: Child, socket: &Path) -> Result<Self> {
        let began = Instant::now();
        let refused = loop {
            if let Some(status) = process.try_wait()? {
                bail!("swtpm ended with {status}");
            }
            match UnixStream::connect(socket) {
                Ok(commands) => {
                    fs::remove_file(socket).ok();
                    return Ok(Self { process, commands });
                }
                Err(_) if began.elapsed() < START => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => break error,
            }
        };
        process.kill()?;
        process.wait()?;
        Err(refused).context("swtpm does not answer")
    }

    /// A command with the empty password for its first handle.
    fn ask(
        &mut self,
        code: u32,
        handles: &[u32],
        parameters: &[u8],
    ) -> Result<Result<Vec<u8>, Refused>> {
        let mut body: Vec<u8> = handles.iter().flat_map(|one| one.to_be_bytes()).collect();
        body.extend(9_u32.to_be_bytes());
        body.extend(PASSWORD.to_be_bytes());
        body.extend([0; 5]);
        body.extend(parameters);
        let mut command = SESSIONS.to_be_bytes().to_vec();
        command.extend(u32::try_from(10 + body.len())?.to_be_bytes());
        command.extend(code.to_be_bytes());
        command.extend(body);
        self.commands.write_all(&command)?;
        let mut head = [0; 10];
        self.commands.read_exact(&mut head)?;
        let number =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = usize::try_from(number(2))?;
        let mut told = vec![0; length.checked_sub(10).context("a short answer")?];
        self.commands.read_exact(&mut told)?;
        Ok(match number(6) {
            0 => Ok(told),
            code => Err(Refused(code)),
        })
    }

    /// It writes its state, and ends with its connection.
    fn stop(self) -> Result<()> {
        let Self {
            mut process,
            commands,
        } = self;
        drop(commands);
        let status = process.wait()?;
        ensure!(status.success(), "swtpm ended with {status}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_owner_keeps_in_a_tpm_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let held = Held::new(dir.path().join("disk"), dir.path().to_owned());
        assert_eq!(held.kept_in_tpm(0x0150_0001, 6).unwrap(), None);
        held.keep_in_tpm(0x0150_0001, "secret").unwrap();
        let kept = held.kept_in_tpm(0x0150_0001, 6).unwrap();
        assert_eq!(kept.as_deref(), Some(b"secret".as_slice()));
        assert!(held.is_in_tpm("secret").unwrap());
        assert!(!held.is_in_tpm("another").unwrap());
    }
}
