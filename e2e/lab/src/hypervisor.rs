//! A libvirtd of our own, in a mount namespace of its own, and the VMs it runs.
//!
//! Everything libvirt keeps lies under `<state>/libvirt`. QEMU emulates (no KVM), guests reach the
//! loopback services of this machine at 10.0.2.2. Power states are read from the processes, not
//! asked from libvirt, so they are a witness of their own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lockstep_process::{Daemon, Identity, Lifetime, Program};

use crate::cache;
use crate::command::run_async;
use crate::deadline::eventually;

const START: Duration = Duration::from_secs(30);
/// Between SIGTERM and SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
const CONNECTION: &str = "qemu:///system";

const LIBVIRTD_CONF: &str = "auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n";
/// No privilege to drop, no cgroups, no namespaces per VM, no virtlogd: this is one disposable
/// machine.
const QEMU_CONF: &str = "\
user = \"root\"
group = \"root\"
swtpm_user = \"root\"
swtpm_group = \"root\"
security_driver = \"none\"
remember_owner = 0
cgroup_controllers = []
namespaces = []
stdio_handler = \"file\"
";

/// A running libvirtd.
#[derive(Debug)]
pub(crate) struct Hypervisor {
    state: PathBuf,
    pid: u32,
    daemon: Mutex<Daemon>,
}

impl Hypervisor {
    /// Starts libvirtd with an empty configuration and a storage pool `default`.
    pub(crate) async fn start(state: &Path) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "VMs need root (mount namespaces, libvirtd): run as root, or use the fake BMCs"
        );
        let own = own_folder(state);
        let etc = own.join("etc/libvirt");
        fs::create_dir_all(&etc).with_context(|| format!("cannot create {}", etc.display()))?;
        for (name, content) in [
            ("libvirtd.conf", LIBVIRTD_CONF),
            ("qemu.conf", QEMU_CONF),
            ("libvirt.conf", ""),
        ] {
            let path = etc.join(name);
            fs::write(&path, content)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let script = state.join("namespace.sh");
        fs::write(&script, include_str!("../assets/namespace.sh"))
            .with_context(|| format!("cannot write {}", script.display()))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", script.display()))?;

        // Not killed, so that the script can end the VMs.
        let mut args: Vec<OsString> = ["--pdeathsig", "TERM", "unshare"].map(Into::into).into();
        args.extend(["--mount", "--", "/bin/sh"].map(Into::into));
        args.extend([script, own, cache::folder()?.join("libvirt")].map(PathBuf::into_os_string));
        args.extend(["libvirtd", "-f", "/etc/libvirt/libvirtd.conf"].map(Into::into));
        args.extend(["-p", "/run/libvirt/libvirtd.pid"].map(Into::into));
        let program = Program {
            name: "libvirtd",
            binary: "setpriv".into(),
            args,
            env: Vec::new(),
            order: 0,
            grace: GRACE,
        };
        let daemon = Daemon::start(&program, state, Lifetime::ThisProcess)?;
        let hypervisor = Self {
            state: state.to_owned(),
            pid: daemon.identity().pid,
            daemon: Mutex::new(daemon),
        };
        hypervisor.ready().await?;
        let pool = "/var/lib/libvirt/images";
        hypervisor
            .virsh(&[
                "pool-create-as",
                "default",
                "dir",
                "--target",
                pool,
                "--build",
            ])
            .await?;
        Ok(hypervisor)
    }

    async fn ready(&self) -> Result<()> {
        let socket = own_folder(&self.state).join("run/libvirt/libvirt-sock");
        eventually(
            "libvirtd answers",
            START,
            Duration::from_millis(50),
            async || {
                self.daemon().check()?;
                if !socket.exists() {
                    return Ok(None);
                }
                Ok(self.virsh(&["version"]).await.ok())
            },
        )
        .await?;
        Ok(())
    }

    /// A command that runs inside the namespace. Its working directory becomes `/`.
    pub(crate) fn inside(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.pid.to_string())
            .args(["--mount", "--"])
            .arg(program);
        command
    }

    fn daemon(&self) -> MutexGuard<'_, Daemon> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn virsh(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.inside("virsh");
        command.args(["--quiet", "--connect", CONNECTION]);
        command.args(arguments);
        run_async(&mut command.into()).await
    }

    /// Defines a VM, powered off.
    pub(crate) async fn define(&self, domain: &str, file: &Path) -> Result<()> {
        fs::write(file, domain).with_context(|| format!("cannot write {}", file.display()))?;
        let file = file.to_str().context("the state folder is not UTF-8")?;
        self.virsh(&["define", file]).await?;
        Ok(())
    }

    /// Starts a VM behind the BMC's back, as somebody at the power button would.
    pub(crate) async fn power_on(&self, name: &str) -> Result<()> {
        self.virsh(&["start", name]).await?;
        Ok(())
    }

    /// Whether the VM executes: not while it is being started.
    pub(crate) async fn runs(&self, name: &str) -> Result<bool> {
        Ok(self.virsh(&["domstate", name]).await?.trim() == "running")
    }

    /// Resets a VM behind the BMC's back.
    pub(crate) async fn reset(&self, name: &str) -> Result<()> {
        self.virsh(&["reset", name]).await?;
        Ok(())
    }

    /// Cuts a VM's power. One that is off already is fine.
    pub(crate) async fn cut_power(&self, name: &str) -> Result<()> {
        match self.virsh(&["destroy", name]).await {
            Err(error) if is_on(&self.state, name) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Stops every VM and libvirtd.
    pub(crate) fn stop(&self) -> Result<()> {
        let vms = stop_vms(&self.state);
        self.daemon().stop_blocking()?;
        vms.map(|_names| ())
    }
}

impl Drop for Hypervisor {
    fn drop(&mut self) {
        // libvirtd itself ends with its `Daemon`.
        if let Err(error) = stop_vms(&self.state) {
            tracing::error!(%error, "VMs are left over; stop them with the lab's `down`");
        }
    }
}

/// Where libvirt keeps the state of a VM's TPM.
pub(crate) fn tpm_folder(state: &Path, uuid: &str) -> PathBuf {
    own_folder(state)
        .join("var/lib/libvirt/swtpm")
        .join(uuid)
        .join("tpm2")
}

fn own_folder(state: &Path) -> PathBuf {
    state.join("libvirt")
}

/// Where libvirt keeps the QEMU pid files, seen from outside the namespace.
fn pid_file(state: &Path, name: &str) -> PathBuf {
    own_folder(state).join(format!("run/libvirt/qemu/{name}.pid"))
}

/// Whether the VM's QEMU runs. A paused one counts.
pub(crate) fn is_on(state: &Path, name: &str) -> bool {
    qemu(&pid_file(state, name), state).is_some()
}

/// The QEMU that a pid file names, if it is one of this lab: its disks lie in our folder.
fn qemu(pid_file: &Path, state: &Path) -> Option<Identity> {
    let pid = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let identity = Identity::of(pid).ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = String::from_utf8_lossy(&arguments).into_owned();
    arguments
        .contains(&*state.to_string_lossy())
        .then_some(identity)
}

/// Kills every VM of this lab, with or without a libvirtd; returns their names.
pub(crate) fn stop_vms(state: &Path) -> Result<Vec<String>> {
    let folder = own_folder(state).join("run/libvirt/qemu");
    let mut stopped = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "pid") {
            continue;
        }
        if let Some(identity) = qemu(&path, state) {
            identity.kill()?;
            stopped.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    Ok(stopped)
}
