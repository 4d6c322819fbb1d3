//! `lockstep-agent pxe`: a dnsmasq that boots the cards which a site's agent offers something, and
//! answers nobody else.
//!
//! It runs for as long as something is offered. Each change starts it anew: dnsmasq takes nothing
//! back that it has read while it runs.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::Folder;
use super::offer::MARK;
use crate::clock;

/// How often the folder is looked at: a card takes longer to get to its network.
const LOOK: Duration = Duration::from_millis(500);
/// The pause after a dnsmasq that ended by itself.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long one may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// What the service is told.
#[derive(Clone, Debug, clap::Args)]
pub struct PxeArgs {
    /// The folder that the site's agent keeps (`pxe.dir` of its configuration).
    #[arg(long)]
    pub dir: PathBuf,
    /// A folder of the service's own.
    #[arg(long)]
    pub state_dir: PathBuf,
    /// The interface to the network from which cards boot.
    #[arg(long)]
    pub interface: String,
    /// First of the addresses that cards get while they boot; they must be of that network, and no
    /// other server's.
    #[arg(long)]
    pub first: Ipv4Addr,
    /// The last.
    #[arg(long)]
    pub last: Ipv4Addr,
    /// That network's mask.
    #[arg(long)]
    pub netmask: Ipv4Addr,
    /// The dnsmasq.
    #[arg(long, default_value = "dnsmasq")]
    pub dnsmasq: PathBuf,
    /// Whom it becomes once it has its ports.
    #[arg(long, default_value = "nobody")]
    pub user: String,
}

impl PxeArgs {
    fn check(&self) -> Result<()> {
        ensure!(
            self.dir.is_dir(),
            "{} is no folder: give the one that the site's agent keeps, pxe.dir of its configuration",
            self.dir.display()
        );
        ensure!(
            self.first <= self.last,
            "--first {} comes after --last {}",
            self.first,
            self.last
        );
        let network = |address: Ipv4Addr| address & self.netmask;
        ensure!(
            network(self.first) == network(self.last),
            "{} and {} are of two networks by the mask {}",
            self.first,
            self.last,
            self.netmask
        );
        for (name, text) in [("--interface", &self.interface), ("--user", &self.user)] {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
            ensure!(
                !text.is_empty() && text.chars().all(known),
                "{name} {text:?} is no name"
            );
        }
        Ok(())
    }

    fn pid_file(&self) -> PathBuf {
        self.state_dir.join("dnsmasq.pid")
    }

    /// Everything that does not change with the cards.
    fn arguments(&self) -> Vec<OsString> {
        let folder = Folder::new(&self.dir);
        let file = |name: &str, path: &Path| {
            let mut argument = OsString::from(format!("--{name}="));
            argument.push(path);
            argument
        };
        let mut arguments: Vec<OsString> = [
            "--keep-in-foreground",
            "--log-facility=-",
            // No DNS.
            "--port=0",
            "--bind-interfaces",
            "--enable-tftp",
            // Neither a router nor a name server: a card gets here and no further.
            "--dhcp-option=3",
            "--dhcp-option=6",
        ]
        .map(OsString::from)
        .into();
        arguments.extend([
            file("conf-file", &folder.conf()),
            file("tftp-root", &folder.tftp()),
            file("dhcp-leasefile", &self.state_dir.join("dnsmasq.leases")),
            file("pid-file", &self.pid_file()),
        ]);
        let Self {
            interface,
            first,
            last,
            netmask,
            user,
            ..
        } = self;
        arguments.extend(
            [
                format!("--interface={interface}"),
                format!("--user={user}"),
                format!("--dhcp-range={first},{last},{netmask},5m"),
                format!("--dhcp-ignore=tag:!{MARK}"),
            ]
            .map(OsString::from),
        );
        arguments
    }

    /// What is to be answered; `None`: nothing is offered.
    fn offered(&self) -> Result<Option<String>> {
        let conf = Folder::new(&self.dir).conf();
        match fs::read_to_string(&conf) {
            Ok(lines) => Ok(Some(lines).filter(|lines| !lines.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| {
                format!(
                    "cannot read {}; run this as root or in the group of the site's agent",
                    conf.display()
                )
            }),
        }
    }

    fn start(&self) -> Result<Child> {
        Command::new(&self.dnsmasq)
            .args(self.arguments())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!(
                    "cannot start {}; install dnsmasq, or say with --dnsmasq where it is",
                    self.dnsmasq.display()
                )
            })
    }

    /// Ends the dnsmasq of a service that was killed: it would keep the ports, and answer with what
    /// was offered then.
    async fn end_predecessor(&self) -> Result<()> {
        let Ok(noted) = fs::read_to_string(self.pid_file()) else {
            return Ok(());
        };
        let Some(pid) = noted.trim().parse().ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
        let own = self.pid_file();
        let own = own.as_os_str().as_encoded_bytes();
        let is_ours = command.is_ok_and(|line| line.windows(own.len()).any(|part| part == own));
        if !is_ours {
            return Ok(());
        }
        tracing::warn!(
            pid = pid.as_raw_nonzero(),
            "ending the dnsmasq of a service that was killed"
        );
        for signal in [Signal::TERM, Signal::KILL] {
            if let Err(error) = kill_process(pid, signal) {
                tracing::debug!("it may be gone by now: {error}");
            }
            let gone = async {
                while test_kill_process(pid).is_ok() {
                    tokio::time::sleep(LOOK / 10).await;
                }
            };
            if tokio::time::timeout(GRACE, gone).await.is_ok() {
                return Ok(());
            }
        }
        bail!("the dnsmasq with process id {noted} does not end; end it by hand")
    }
}

/// Runs until `ending`.
///
/// # Errors
/// What no later try could mend: no folder, no dnsmasq, arguments that make no sense.
pub async fn run(args: &PxeArgs, ending: CancellationToken) -> Result<()> {
    args.check()?;
    fs::create_dir_all(&args.state_dir)
        .with_context(|| format!("cannot make {}", args.state_dir.display()))?;
    args.end_predecessor().await?;
    let mut failures = 0_u32;
    let mut said: Option<String> = None;
    let mut complaint: Option<String> = None;
    let mut child: Option<Child> = None;
    loop {
        match args.offered() {
            Ok(now) if now == said => {}
            Ok(now) => {
                end(child.take()).await;
                tracing::info!(offers = now.is_some(), "what is offered has changed");
                said = now;
                failures = 0;
            }
            // What was read before may not be offered any more.
            Err(error) => {
                end(child.take()).await;
                said = None;
                let why = format!("{error:#}");
                if complaint.as_ref() != Some(&why) {
                    tracing::error!("{why}");
                    complaint = Some(why);
                }
            }
        }
        if said.is_some() && child.is_none() {
            child = Some(args.start()?);
        }
        let pause = tokio::select! {
            () = ending.cancelled() => break,
            status = ended(child.as_mut()) => {
                child = None;
                failures = failures.saturating_add(1);
                tracing::error!("dnsmasq ended by itself ({status}): it says why in its log; look for another DHCP or TFTP server on this machine");
                clock::backoff(failures, PAUSE.0, PAUSE.1)
            }
            () = tokio::time::sleep(LOOK) => continue,
        };
        tokio::select! {
            () = ending.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    end(child.take()).await;
    Ok(())
}

/// Waits for the end of a child; for ever without one.
async fn ended(child: Option<&mut Child>) -> String {
    match child {
        Some(child) => told(&child.wait().await),
        None => std::future::pending().await,
    }
}

fn told(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

async fn end(child: Option<Child>) {
    let Some(mut child) = child else { return };
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // Ended by itself just now.
        if let Err(error) = kill_process(pid, Signal::TERM) {
            tracing::debug!("it may be gone by now: {error}");
        }
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err()
        && let Err(error) = child.kill().await
    {
        tracing::error!("dnsmasq was not ended: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> PxeArgs {
        PxeArgs {
            dir: "/".into(),
            state_dir: "/nowhere".into(),
            interface: "eth1".to_owned(),
            first: Ipv4Addr::new(192, 0, 2, 10),
            last: Ipv4Addr::new(192, 0, 2, 20),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            dnsmasq: "dnsmasq".into(),
            user: "nobody".to_owned(),
        }
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused_by_name() {
        assert!(args().check().is_ok());
        let refused = |change: &dyn Fn(&mut PxeArgs), words: &str| {
            let mut args = args();
            change(&mut args);
            let error = args.check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(&|args| args.dir = "/nowhere".into(), "is no folder");
        refused(
            &|args| args.last = Ipv4Addr::new(192, 0, 2, 9),
            "comes after",
        );
        refused(
            &|args| args.last = Ipv4Addr::new(192, 0, 3, 9),
            "two networks",
        );
        refused(&|args| args.interface = "a,b".to_owned(), "--interface");
    }

    #[test]
    fn nobody_is_served_who_is_not_marked_and_no_name_is_resolved() {
        let arguments = args().arguments();
        for wanted in [
            "--port=0",
            "--dhcp-ignore=tag:!lockstep",
            "--interface=eth1",
            "--bind-interfaces",
            "--dhcp-range=192.0.2.10,192.0.2.20,255.255.255.0,5m",
            "--tftp-root=/tftp",
            "--conf-file=/dnsmasq.d/lockstep.conf",
        ] {
            assert!(arguments.iter().any(|one| one == wanted), "no {wanted}");
        }
    }
}
