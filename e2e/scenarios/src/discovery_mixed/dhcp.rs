//! A real dnsmasq, whose lease file the site agent reads.
//!
//! It and its clients live in a network namespace of their own. The addresses that it gives are
//! loopback addresses, at which simulated BMCs answer outside.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lockstep_cluster::{Look, eventually};
use lockstep_lab::requirements;
use lockstep_process::{Daemon, Lifetime, Program};

const PACKAGES: [&str; 3] = ["busybox-static", "dnsmasq-base", "iproute2"];
const SCRIPT: &str = include_str!("../../assets/dhcp.sh");
/// dnsmasq itself; it serves the /24 around it.
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 1);
/// For every client to have its lease.
const LEASED: Duration = Duration::from_secs(120);

/// Who asks for an address.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// The name that it gives.
    pub(super) name: String,
    /// The address that is kept for it.
    pub(super) address: Ipv4Addr,
}

impl Client {
    /// Its hardware address.
    pub(super) fn mac(&self) -> String {
        format!("52:54:00:61:00:{:02x}", self.address.octets()[3])
    }
}

/// The running server. Everything in its namespaces ends with this value.
#[derive(Debug)]
pub(super) struct Dhcp {
    daemon: Daemon,
    leases: PathBuf,
}

impl Dhcp {
    /// Starts dnsmasq and lets every client get its lease. Installs missing packages.
    pub(super) async fn start(folder: &Path, clients: &[Client]) -> Result<Self> {
        tokio::task::spawn_blocking(|| requirements::ensure_these(&PACKAGES))
            .await
            .context("the task that installs packages ended early")??;
        let folder = folder.join("dhcp");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = std::path::absolute(folder).context("the DHCP folder has no path")?;
        let script = folder.join("dhcp.sh");
        std::fs::write(&script, SCRIPT)
            .with_context(|| format!("cannot write {}", script.display()))?;
        let (leases, ready) = (folder.join("dnsmasq.leases"), folder.join("ready"));
        for old in [&leases, &ready] {
            if old.exists() {
                std::fs::remove_file(old)
                    .with_context(|| format!("cannot remove {}", old.display()))?;
            }
        }
        let mut args: Vec<OsString> = ["--net", "--pid", "--fork", "--kill-child=KILL"]
            .map(Into::into)
            .into();
        args.extend(["--mount-proc", "--", "sh"].map(Into::into));
        args.extend([&script, &leases, &ready].map(|path| path.clone().into_os_string()));
        args.push(SERVER.to_string().into());
        args.extend(clients.iter().map(|client| {
            OsString::from(format!(
                "{},{},{}",
                client.name,
                client.mac(),
                client.address
            ))
        }));
        let program = Program {
            name: "dhcp",
            binary: "unshare".into(),
            args,
            env: Vec::new(),
            order: 10,
            // `unshare` waits for the first process inside.
            grace: Duration::ZERO,
        };
        let mut daemon = Daemon::start(&program, &folder, Lifetime::ThisProcess)?;
        let what = "a lease for every client of dnsmasq (its namespaces need root)";
        eventually(LEASED, what, async || {
            if let Err(ended) = daemon.check() {
                return Look::Never(ended);
            }
            if ready.exists() {
                return Look::Holds(());
            }
            Look::not_yet(format!("not all, see {}", daemon.log().display()))
        })
        .await?;
        let this = Self { daemon, leases };
        let text = this.text()?;
        for client in clients {
            let line = format!(" {} {} {} ", client.mac(), client.address, client.name);
            ensure!(text.contains(&line), "dnsmasq wrote no lease{line}: {text}");
        }
        Ok(this)
    }

    /// The file that dnsmasq writes.
    pub(super) fn leases(&self) -> &Path {
        &self.leases
    }

    fn text(&self) -> Result<String> {
        std::fs::read_to_string(&self.leases)
            .with_context(|| format!("cannot read {}", self.leases.display()))
    }

    /// Ends it. Fails if it had ended before.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.daemon.check()?;
        self.daemon.kill().await
    }
}
