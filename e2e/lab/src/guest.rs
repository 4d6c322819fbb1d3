//! A VM with hardware of the caller's choice, booted straight into Debian's full kernel: no BMC,
//! no firmware to speak of. Its serial port is the console, a virtio port is a shell.
//!
//! What runs in it are programs of this machine, with their libraries, so that what the guest's
//! own tools say can be held against what the product says.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lockstep_process::{Daemon, Lifetime, Program};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use crate::built_module::BuiltModule;
use crate::command::run;
use crate::console::Console;
use crate::image::{Archive, Kernel};
use crate::requirements;

/// Debian packages that a guest is made of.
const PACKAGES: [&str; 4] = [
    "busybox-static",
    "kmod",
    "linux-image-amd64",
    "qemu-system-x86",
];
/// Drivers that every guest needs.
const BUSES: [&str; 2] = ["virtio_pci", "virtio_console"];
/// The guest's system is up, and its shell listens.
const UP: &str = "LOCKSTEP-GUEST-UP";
/// To boot under emulation on a loaded machine.
const BOOT: Duration = Duration::from_secs(240);
/// Between looks whether it still runs.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// For one command in the guest.
const ANSWER: Duration = Duration::from_secs(120);

/// What a guest is made of.
#[derive(Debug, Default)]
pub struct GuestSpec {
    /// Executables of this machine by their place in the guest; libraries come along.
    pub programs: Vec<(String, PathBuf)>,
    /// Other files, with their content.
    pub files: Vec<(String, Vec<u8>)>,
    /// Drivers to load, in order; the rest is built in.
    pub modules: Vec<&'static str>,
    /// Drivers that Debian's kernel does not have, loaded last.
    pub built_modules: Vec<BuiltModule>,
    /// Arguments for QEMU: devices, disks, tables.
    pub hardware: Vec<String>,
}

/// A running guest. Dropping it ends it.
#[derive(Debug)]
pub struct Guest {
    daemon: Daemon,
    console: Console,
    shell: Channel,
    monitor: Channel,
    commands: u32,
}

impl Guest {
    /// Builds and boots it; its files go to `state`.
    ///
    /// # Errors
    /// When packages are missing, or it does not come up.
    pub async fn start(state: &Path, spec: &GuestSpec) -> Result<Self> {
        requirements::ensure_these(&PACKAGES)?;
        fs::create_dir_all(state).with_context(|| format!("cannot make {}", state.display()))?;
        let kernel = Kernel::full()?;
        let initramfs = state.join("initramfs");
        write_initramfs(&kernel, spec, &initramfs)?;
        let path = |name: &str| state.join(name).display().to_string();
        let mut args: Vec<String> = [
            "-machine",
            "q35,accel=tcg",
            "-cpu",
            "max",
            "-display",
            "none",
            "-no-reboot",
            "-kernel",
            &kernel.image.display().to_string(),
            "-initrd",
            &path("initramfs"),
            "-append",
            "console=ttyS0 quiet panic=-1",
            "-serial",
            &format!("file:{}", path("console")),
            "-chardev",
            &format!("socket,id=shell,path={}", path("shell")),
            "-device",
            "virtio-serial-pci,addr=1e.0",
            "-device",
            "virtserialport,chardev=shell",
            "-qmp",
            &format!("unix:{},server=on,wait=off", path("monitor")),
        ]
        .map(str::to_owned)
        .into();
        args.extend(spec.hardware.iter().cloned());
        // QEMU connects to it, so that the guest never sees nobody at the other end.
        let shell = UnixListener::bind(state.join("shell"))
            .with_context(|| format!("cannot listen at {}", path("shell")))?;
        let program = Program {
            name: "guest",
            binary: "/usr/bin/qemu-system-x86_64".into(),
            args: args.into_iter().map(OsString::from).collect(),
            env: Vec::new(),
            order: 400,
            grace: Duration::from_secs(10),
        };
        let mut daemon = Daemon::start(&program, state, Lifetime::ThisProcess)?;
        let console = Console::follow(&state.join("console"))?;
        let mut looks = tokio::time::interval(LOOK_AGAIN);
        let ended = async {
            loop {
                looks.tick().await;
                if let Err(ended) = daemon.check() {
                    break ended;
                }
            }
        };
        tokio::select! {
            up = console.wait_for(UP, BOOT) => drop(up?),
            ended = ended => return Err(ended),
        }
        let (shell, _) = tokio::time::timeout(ANSWER, shell.accept())
            .await
            .context("QEMU did not connect the guest's shell")?
            .context("the guest's shell")?;
        let mut guest = Self {
            shell: Channel::new(shell),
            monitor: Channel::open(&state.join("monitor")).await?,
            daemon,
            console,
            commands: 0,
        };
        // QEMU speaks first, and listens to nothing before it was asked for its capabilities.
        guest.monitor.line().await?;
        guest.monitor("qmp_capabilities", &Value::Null).await?;
        Ok(guest)
    }

    /// Its console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Runs a command in it and returns what it prints on standard output.
    ///
    /// # Errors
    /// When it fails or gives no answer.
    pub async fn run(&mut self, command: &str) -> Result<String> {
        self.commands += 1;
        let end = format!("@@{}@@", self.commands);
        // In two words, or an echo of the command would be taken for its end.
        let line = format!("{command}; printf '%s%s\\n' \"$?\" '{end}'\n");
        self.shell.send(&line).await?;
        let mut said = String::new();
        loop {
            let line = tokio::time::timeout(ANSWER, self.shell.line())
                .await
                .with_context(|| format!("`{command}` in the guest gave no answer"))??;
            if let Some(at) = line.find(&end) {
                let before = &line[..at];
                let code = before.trim_start_matches(|c: char| !c.is_ascii_digit());
                said.push_str(&before[..before.len() - code.len()]);
                ensure!(
                    code == "0",
                    "`{command}` in the guest ended with {code}: {said}"
                );
                return Ok(said);
            }
            said.push_str(&line);
            said.push('\n');
        }
    }

    /// Asks QEMU.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn monitor(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let mut request = serde_json::json!({"execute": command});
        if !arguments.is_null() {
            request["arguments"] = arguments.clone();
        }
        self.monitor.send(&format!("{request}\n")).await?;
        loop {
            let line = tokio::time::timeout(ANSWER, self.monitor.line())
                .await
                .with_context(|| format!("QEMU did not answer {command}"))??;
            let answer: Value =
                serde_json::from_str(&line).with_context(|| format!("QEMU answered {line:?}"))?;
            if answer["error"].is_object() {
                bail!("QEMU refuses {command}: {}", answer["error"]["desc"]);
            }
            // Events come in between.
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.daemon.check()
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub async fn stop(self) -> Result<()> {
        self.daemon.stop().await
    }
}

/// Lines to and from a socket of QEMU's.
#[derive(Debug)]
struct Channel {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Channel {
    async fn open(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .await
            .with_context(|| format!("cannot reach QEMU at {}", path.display()))?;
        Ok(Self::new(stream))
    }

    fn new(stream: UnixStream) -> Self {
        let (read, write) = stream.into_split();
        Self {
            read: BufReader::new(read),
            write,
        }
    }

    async fn send(&mut self, text: &str) -> Result<()> {
        self.write
            .write_all(text.as_bytes())
            .await
            .context("cannot write to QEMU")
    }

    async fn line(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let count = self
            .read
            .read_until(b'\n', &mut bytes)
            .await
            .context("cannot read from QEMU")?;
        ensure!(count > 0, "QEMU closed the connection");
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn write_initramfs(kernel: &Kernel, spec: &GuestSpec, path: &Path) -> Result<()> {
    let mut archive = Archive::default();
    for folder in ["proc", "sys", "dev", "run", "tmp", "bin", "etc"] {
        archive.directory(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file_from("bin/busybox", 0o755, Path::new("/bin/busybox"))?;
    for applet in run(Command::new("/bin/busybox").arg("--list"))?.lines() {
        let shadowed = spec
            .programs
            .iter()
            .any(|(place, _)| place.rsplit('/').next() == Some(applet));
        if applet != "busybox" && !shadowed {
            archive.symlink(&format!("bin/{applet}"), "busybox");
        }
    }
    let mut libraries = BTreeSet::new();
    for (place, source) in &spec.programs {
        archive.file_from(place, 0o755, source)?;
        libraries.extend(libraries_of(source)?);
    }
    for library in libraries {
        let place = library.display().to_string();
        archive.file_from(place.trim_start_matches('/'), 0o755, &library)?;
    }
    let mut order = String::new();
    let needs = spec.built_modules.iter().flat_map(|built| built.needs);
    let modules: Vec<&str> = BUSES
        .iter()
        .chain(&spec.modules)
        .chain(needs)
        .copied()
        .collect();
    let mut files = kernel.modules_for(&modules)?;
    for built in &spec.built_modules {
        files.push(built.file(kernel)?);
    }
    for module in files {
        let name = module
            .file_name()
            .context("a module path without a file name")?
            .to_string_lossy()
            .into_owned();
        archive.file_from(&format!("lib/modules/{name}"), 0o644, &module)?;
        order += &format!("{name}\n");
    }
    archive.file("etc/modules", 0o644, order.as_bytes());
    for (place, content) in &spec.files {
        archive.file(place, 0o644, content);
    }
    archive.file("init", 0o755, include_bytes!("../assets/guest.sh"));
    fs::write(path, archive.finish()).with_context(|| format!("cannot write {}", path.display()))
}

/// The files that the dynamic linker would load; none for a static program.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let headers = run(Command::new("readelf").arg("-lW").arg(program))?;
    if !headers.contains("INTERP") {
        return Ok(Vec::new());
    }
    let listed = run(Command::new("ldd").arg(program))?;
    Ok(listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}
