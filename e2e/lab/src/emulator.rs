//! sushy-tools' Redfish emulator as a process: libvirt behind it, or its own fake systems.
//!
//! One emulator serves every system of a lab. Its state survives kill and restart.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use lockstep_process::{Daemon, Lifetime, Program};
use serde_json::json;

use crate::deadline::eventually;
use crate::domain::{FIRMWARE, MachineSpec};
use crate::front::upstream;
use crate::hypervisor::{GRACE, Hypervisor};
use crate::requirements;

const START: Duration = Duration::from_secs(60);

/// Name and password that every BMC of a lab takes.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            username: "admin".to_owned(),
            password: "lockstep-lab".to_owned(),
        }
    }
}

/// What the emulator emulates with.
pub(crate) enum Driver<'a> {
    Libvirt(&'a Hypervisor),
    Fake(&'a [MachineSpec]),
}

/// The emulator, running or killed.
#[derive(Debug)]
pub(crate) struct Emulator {
    state: PathBuf,
    port: u16,
    /// Kept so that a restart is the same.
    program: Program,
    running: Option<Daemon>,
}

impl Emulator {
    /// Writes the configuration below `<state>/sushy` and starts the emulator on a free port.
    pub(crate) async fn start(
        state: &Path,
        driver: Driver<'_>,
        credentials: &Credentials,
    ) -> Result<Self> {
        let environment = tokio::task::spawn_blocking(requirements::sushy_environment)
            .await
            .context("the task that prepares sushy-tools ended early")??;
        let folder = state.join("sushy");
        let kept = folder.join("state");
        let temporary = folder.join("tmp");
        for folder in [&kept, &temporary] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let users = folder.join("htpasswd");
        let line = htpasswd(&environment, credentials)?;
        fs::write(&users, line).with_context(|| format!("cannot write {}", users.display()))?;

        let port = free_port()?;
        let mut settings = format!(
            "import json\n\
             SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\n\
             SUSHY_EMULATOR_LISTEN_PORT = {port}\n\
             SUSHY_EMULATOR_AUTH_FILE = {}\n\
             SUSHY_EMULATOR_STATE_DIR = {}\n\
             SUSHY_EMULATOR_BOOT_LOADER_MAP = \
             {{'UEFI': {{'x86_64': '{FIRMWARE}'}}, 'Legacy': {{'x86_64': None}}}}\n",
            python(&users)?,
            python(&kept)?,
        );
        let sushy = environment.join("bin/sushy-emulator");
        let command = match driver {
            Driver::Libvirt(hypervisor) => {
                settings.push_str("SUSHY_EMULATOR_LIBVIRT_URI = 'qemu:///system'\n");
                hypervisor.inside(&sushy)
            }
            Driver::Fake(machines) => {
                settings.push_str(&fake_systems(machines)?);
                let mut command = Command::new(&sushy);
                command.arg("--fake");
                command
            }
        };
        let config = folder.join("emulator.conf");
        fs::write(&config, settings)
            .with_context(|| format!("cannot write {}", config.display()))?;

        let mut emulator = Self {
            state: state.to_owned(),
            port,
            program: Program {
                name: "sushy",
                binary: command.get_program().into(),
                args: command
                    .get_args()
                    .map(ToOwned::to_owned)
                    .chain(["--config".into(), config.into_os_string()])
                    .collect(),
                // It downloads media there; and it must fetch them from here, not through a proxy.
                env: vec![
                    ("TMPDIR", temporary.into_os_string()),
                    ("no_proxy", "*".into()),
                ],
                order: 1,
                grace: GRACE,
            },
            running: None,
        };
        emulator.run().await?;
        Ok(emulator)
    }

    /// Takes another account from now on; it is looked up at every request.
    pub(crate) async fn add_account(&self, credentials: &Credentials) -> Result<()> {
        let environment = tokio::task::spawn_blocking(requirements::sushy_environment)
            .await
            .context("the task that prepares sushy-tools ended early")??;
        let line = htpasswd(&environment, credentials)?;
        let users = self.state.join("sushy/htpasswd");
        let append = || {
            fs::OpenOptions::new()
                .append(true)
                .open(&users)?
                .write_all(line.as_bytes())
        };
        append().with_context(|| format!("cannot write {}", users.display()))
    }

    /// Port it listens on, on loopback.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a crash would. A killed one stays killed.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        match self.running.take() {
            Some(running) => running.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again with the state it had, whether it runs or was killed.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.run().await
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        match self.running.take() {
            Some(mut running) => running.stop_blocking(),
            None => Ok(()),
        }
    }

    async fn run(&mut self) -> Result<()> {
        let mut running = Daemon::start(&self.program, &self.state, Lifetime::ThisProcess)?;
        let port = self.port;
        eventually(
            "the Redfish emulator answers",
            START,
            Duration::from_millis(50),
            async || {
                running.check()?;
                let Ok(stream) = upstream::connect(port).await else {
                    return Ok(None);
                };
                let request = Request::builder()
                    .method(Method::GET)
                    .uri("/redfish/v1/")
                    .header("host", format!("127.0.0.1:{port}"))
                    .body(Full::<Bytes>::default())?;
                let answer = upstream::send(stream, request).await;
                Ok(answer
                    .is_ok_and(|answer| answer.status() == StatusCode::OK)
                    .then_some(()))
            },
        )
        .await?;
        self.running = Some(running);
        Ok(())
    }
}

/// bcrypt at the lowest cost: it is checked on every request.
fn htpasswd(environment: &Path, credentials: &Credentials) -> Result<String> {
    ensure!(
        !credentials.username.contains([':', '\n']) && !credentials.password.contains('\n'),
        "BMC credentials must not contain line ends, the user name no colon"
    );
    let script = "import bcrypt, sys\n\
                  print(bcrypt.hashpw(sys.stdin.buffer.read(), bcrypt.gensalt(4)).decode())";
    let mut python = Command::new(environment.join("bin/python"))
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the Python of sushy-tools; remove its cache folder")?;
    python
        .stdin
        .take()
        .context("a child without standard input")?
        .write_all(credentials.password.as_bytes())
        .context("cannot hand over the BMC password")?;
    let output = python
        .wait_with_output()
        .context("cannot read the hash of the BMC password")?;
    ensure!(
        output.status.success(),
        "hashing the BMC password failed: {}; remove the cache folder of sushy-tools",
        output.status
    );
    let hash = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(format!("{}:{hash}", credentials.username))
}

fn fake_systems(machines: &[MachineSpec]) -> Result<String> {
    let systems: Vec<_> = machines
        .iter()
        .map(|machine| {
            json!({
                "uuid": machine.uuid,
                "name": machine.name,
                "power_state": "Off",
                "external_notifier": false,
                "nics": [{"mac": machine.mac, "ip": "192.0.2.1"}],
            })
        })
        .collect();
    let text = serde_json::to_string(&systems).context("cannot encode the fake systems")?;
    Ok(format!(
        "SUSHY_EMULATOR_FAKE_SYSTEMS = json.loads({})\n",
        python_text(&text)?
    ))
}

fn python(path: &Path) -> Result<String> {
    python_text(path.to_str().context("the state folder is not UTF-8")?)
}

/// A JSON string is a Python string too.
fn python_text(text: &str) -> Result<String> {
    serde_json::to_string(text).context("cannot quote a setting")
}

fn free_port() -> Result<u16> {
    let socket = TcpListener::bind("127.0.0.1:0").context("no free port on loopback")?;
    Ok(socket
        .local_addr()
        .context("a socket without address")?
        .port())
}
