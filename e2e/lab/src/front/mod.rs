//! The address of one BMC: an HTTP(S) port that forwards to the emulator.
//!
//! The emulator serves all systems on one port. A front shows one of them, records every request
//! (see [`Request`]) and carries out fault rules (see [`Rule`]). What it forwards, the emulator
//! decides: authentication and all Redfish behaviour are the emulator's, but for a boot by HTTP
//! that the machine's own firmware carries out, and for the boot entries of that firmware.

mod boot_options;
mod exchange;
mod http_boot;
mod record;
mod rule;
mod scope;
mod tls;
pub(crate) mod upstream;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub(crate) use boot_options::BootOptions;
pub(crate) use http_boot::HttpBoot;
pub use record::Request;
pub use rule::{Fault, Rule, RuleId};
pub use tls::TlsIdentity;

use record::Log;
use rule::Rules;

/// What a front leads to.
#[derive(Debug, Clone)]
struct Target {
    system: String,
    tls: Option<TlsIdentity>,
}

#[derive(Debug)]
struct Shared {
    /// Port of the emulator.
    emulator: u16,
    target: Mutex<Target>,
    rules: Rules,
    log: Log,
    firmware: Firmware,
}

/// What a BMC settles with its machine's own firmware, and not with the emulator.
#[derive(Debug)]
pub(crate) enum Firmware {
    Nothing,
    HttpBoot(HttpBoot),
    BootOptions(BootOptions),
}

impl Firmware {
    fn http_boot(&self) -> Option<&HttpBoot> {
        match self {
            Self::HttpBoot(boot) => Some(boot),
            Self::Nothing | Self::BootOptions(_) => None,
        }
    }

    fn boot_options(&self) -> Option<&BootOptions> {
        match self {
            Self::BootOptions(options) => Some(options),
            Self::Nothing | Self::HttpBoot(_) => None,
        }
    }
}

impl Shared {
    fn target(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One BMC's address. It goes away with this value.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    listening: watch::Sender<bool>,
    server: AbortHandle,
}

impl Front {
    /// Opens a port on this address (0 chooses one) for the BMC of `system`.
    pub(crate) async fn open(
        address: SocketAddr,
        emulator: u16,
        system: &str,
        tls: Option<TlsIdentity>,
        firmware: Firmware,
    ) -> Result<Self> {
        if let Some(tls) = &tls {
            tls.acceptor()?;
        }
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot open a BMC port on {address}"))?;
        let address = listener.local_addr().context("a socket without address")?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            emulator,
            target: Mutex::new(Target {
                system: system.to_owned(),
                tls,
            }),
            rules: Rules::default(),
            log: Log::new(),
            firmware,
        });
        let (listening, wanted) = watch::channel(true);
        let server = tokio::spawn(serve(listener, address, Arc::clone(&shared), wanted));
        Ok(Self {
            address,
            scheme,
            shared,
            listening,
            server: server.abort_handle(),
        })
    }

    /// Base address, without a path.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Address and port it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// UUID of the system it stands for now.
    pub fn system(&self) -> String {
        self.shared.target().system.clone()
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.all()
    }

    /// The requests that asked for a change: all but reads and sessions.
    pub fn changes(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(Request::is_change);
        requests
    }

    /// Waits for the first request that is as wanted, looking again whenever one arrives or gets
    /// its outcome.
    pub async fn wait_for(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl FnMut(&Request) -> bool,
    ) -> Result<Request> {
        self.shared.log.wait_for(what, deadline, wanted).await
    }

    /// Adds a fault rule after the others. The first that matches strikes.
    pub fn add_rule(&self, rule: Rule) -> RuleId {
        self.shared.rules.add(rule)
    }

    /// Removes a rule; requests that it holds are dropped.
    pub fn remove_rule(&self, rule: RuleId) {
        self.shared.rules.remove(|one| one == rule);
    }

    /// Removes all rules; requests that they hold are dropped.
    pub fn clear_rules(&self) {
        self.shared.rules.remove(|_all| true);
    }

    /// Closes the port: connections are refused and open ones cut, as if the BMC had no power.
    /// `false` opens it again.
    pub fn refuse_connections(&self, refuse: bool) {
        self.listening.send_replace(!refuse);
    }

    /// Makes this address lead to another system; certificate and request log stay.
    pub fn retarget(&self, system: &str) {
        system.clone_into(&mut self.shared.target().system);
    }

    /// Replaces the certificate shown to new connections. Only for a front that began with one.
    pub fn set_tls(&self, tls: TlsIdentity) -> Result<()> {
        tls.acceptor()?;
        self.shared.target().tls = Some(tls);
        Ok(())
    }

    /// Makes two BMCs trade addresses: systems and certificates, not logs and rules. Open
    /// connections stay, as they would with a changed DHCP lease, and see the other system.
    pub fn swap(&self, other: &Self) {
        if Arc::ptr_eq(&self.shared, &other.shared) {
            return;
        }
        // One after the other: no two locks at once.
        let mine = self.shared.target().clone();
        let theirs = std::mem::replace(&mut *other.shared.target(), mine);
        *self.shared.target() = theirs;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    first: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    mut wanted: watch::Receiver<bool>,
) {
    let mut listener = Some(first);
    loop {
        // Dropped at the end of each round: that cuts the connections.
        let mut connections = JoinSet::new();
        if let Some(listener) = listener.take() {
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _peer)) => {
                            connections.spawn(connection(stream, Arc::clone(&shared)));
                        }
                        Err(error) => tracing::warn!(%error, "a BMC port cannot accept"),
                    },
                    Some(_ended) = connections.join_next() => {}
                    changed = wanted.wait_for(|listen| !listen) => match changed {
                        Ok(_) => break,
                        Err(_front_is_gone) => return,
                    },
                }
            }
        }
        drop(connections);
        if wanted.wait_for(|listen| *listen).await.is_err() {
            return;
        }
        match TcpListener::bind(address).await {
            Ok(again) => listener = Some(again),
            Err(error) => {
                tracing::error!(%error, %address, "a BMC port cannot be opened again");
                return;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let tls = shared.target().tls.clone();
    let ended = match tls.map(|tls| tls.acceptor()) {
        None => exchange::serve(stream, shared).await,
        Some(Ok(acceptor)) => match acceptor.accept(stream).await {
            Ok(stream) => exchange::serve(stream, shared).await,
            Err(error) => Err(error.into()),
        },
        Some(Err(error)) => Err(error),
    };
    if let Err(error) = ended {
        // Also the way on which faults cut connections.
        tracing::debug!(%error, "a BMC connection ended");
    }
}
