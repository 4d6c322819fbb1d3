//! A connection to one BMC: opened after the address check, logged in, with
//! the platform's repairs; reads that retry, and changes that need a proof.

mod brief;
mod change;
mod login;
mod offer;
mod root;
mod system;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use nv_redfish::bmc_http::{BmcCredentials, CacheSettings, HttpBmc};
use nv_redfish::core::{Bmc as _, ODataId, Raw, RepairError};
use nv_redfish::quirks::{BmcQuirks, CompatBmc, RootEvidence};
use rand::random_range;
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Host;

use crate::document::error_message;
use crate::error::BmcError;
use crate::facts::{Authentication, Capability, Offer};
use crate::registry::Shared;
use crate::room::Room;
use crate::scrub::Scrub;
use crate::target::{BmcTarget, SpkiPin};
use crate::tls::{ObservedPeer, client_config};
use crate::transport::{Transport, TransportError};

pub(crate) const ROOT: &str = "/redfish/v1/";

/// Members of a collection that are looked at.
pub(crate) const MOST_MEMBERS: usize = 32;

pub(crate) use change::{Change, Proven};
pub(crate) use offer::{Offering, is_error};
pub(crate) use system::{SystemList, own_path};

type Failure = RepairError<TransportError>;

/// A connection to one BMC. Held by one call at a time.
pub(crate) struct Link {
    shared: Arc<Shared>,
    target: BmcTarget,
    origin: String,
    http: Arc<HttpBmc<Transport>>,
    /// The same HTTP, for answers that matter as a whole.
    transport: Transport,
    /// Who we are in the next request.
    credentials: BmcCredentials,
    repaired: CompatBmc<HttpBmc<Transport>>,
    observed: ObservedPeer,
    /// An address that passed the check, for when none has answered yet.
    checked: SocketAddr,
    root: Arc<Value>,
    /// What its documents share, where that is counted.
    room: Option<Arc<Room>>,
    sessions: Capability,
    login: Login,
    /// Sessions that were gone when they were needed, since one was there.
    lost_sessions: u32,
    /// Whether the session was there before this call.
    has_old_session: bool,
    /// Whether the BMC takes sessions only.
    refuses_basic: bool,
    /// What no word of the BMC may show.
    scrub: Scrub,
    /// Where this BMC has its service root.
    root_path: &'static str,
    system_path: Option<String>,
    unreachable: AtomicBool,
    /// Reads so far, failed ones included.
    asked: AtomicU32,
}

impl Link {
    /// Connects and logs in.
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        target: &BmcTarget,
        origin: &str,
        room: Option<Arc<Room>>,
        deadline: Instant,
    ) -> Result<Self, BmcError> {
        let mut link = Self::prepare(shared, target, origin, room, deadline).await?;
        // The root is open to everybody by the standard, and shut on some.
        let root = match link.find_root(deadline, shared.options.read_tries).await {
            Err(Unread::Unauthorized) => {
                link.use_basic();
                link.get(link.root_path, deadline).await?
            }
            other => other.map_err(|unread| link.unread(ROOT, unread))?,
        };
        link.take_root(root);
        link.log_in(deadline).await?;
        Ok(link)
    }

    /// A link over which nothing was sent yet, and that is nobody to the BMC.
    pub(crate) async fn prepare(
        shared: &Arc<Shared>,
        target: &BmcTarget,
        origin: &str,
        room: Option<Arc<Room>>,
        deadline: Instant,
    ) -> Result<Self, BmcError> {
        let addresses = timeout_at(deadline, shared.networks.resolve(&target.address))
            .await
            .map_err(|_| BmcError::NameNotResolved {
                address: origin.to_owned(),
                reason: "no answer before the deadline".to_owned(),
            })??;
        let checked = addresses[0];
        let observed = ObservedPeer::default();
        let client = client(shared, target, &addresses, observed.clone(), room.clone()).map_err(
            |reason| BmcError::Client {
                address: origin.to_owned(),
                reason,
            },
        )?;
        let http = Arc::new(HttpBmc::new(
            client.clone(),
            target.address.clone(),
            BmcCredentials::Anonymous,
            CacheSettings::with_capacity(0),
        ));
        let unknown = BmcQuirks::classify(&RootEvidence::from_root(&Value::Null));
        Ok(Self {
            shared: Arc::clone(shared),
            target: target.clone(),
            origin: origin.to_owned(),
            repaired: CompatBmc::new(Arc::clone(&http), Arc::new(unknown)),
            http,
            transport: client,
            credentials: BmcCredentials::Anonymous,
            observed,
            checked,
            root: Arc::default(),
            room,
            sessions: Capability {
                offer: Offer::NotRead,
                source: ROOT.to_owned(),
                values: None,
            },
            login: Login::Nobody,
            lost_sessions: 0,
            has_old_session: false,
            refuses_basic: false,
            scrub: Scrub::of(&target.credentials),
            root_path: ROOT,
            system_path: None,
            unreachable: AtomicBool::new(false),
            asked: AtomicU32::new(0),
        })
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.observed.remote().unwrap_or(self.checked)
    }

    /// The key that was seen in the latest handshake.
    pub(crate) fn pin(&self) -> Option<SpkiPin> {
        self.observed.pin()
    }

    /// How many reads were made so far.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn sessions(&self) -> &Capability {
        &self.sessions
    }

    pub(crate) fn authentication(&self) -> Authentication {
        match self.login {
            Login::Session(_) => Authentication::Session,
            Login::Basic | Login::Brief | Login::Nobody => Authentication::Basic,
        }
    }

    pub(crate) fn root(&self) -> &Value {
        &self.root
    }

    /// The service root, to be kept beside the link.
    pub(crate) fn shared_root(&self) -> Arc<Value> {
        Arc::clone(&self.root)
    }

    /// What its documents share, where that is counted.
    pub(crate) fn room(&self) -> Option<&Arc<Room>> {
        self.room.as_ref()
    }

    /// Reads a resource. Transient failures are retried, a lost session is
    /// opened anew once, and a refused credential is counted.
    pub(crate) async fn get(&mut self, path: &str, deadline: Instant) -> Result<Value, BmcError> {
        // A credential may be refused for the last time in the middle of a call.
        if self.login == Login::Basic {
            check_gate(&self.shared, &self.origin, &self.target)?;
        }
        match self.get_once_or_more(path, deadline).await {
            Ok(document) => {
                if path != self.root_path && self.login == Login::Basic {
                    self.shared
                        .gate
                        .accepted(&self.origin, &self.target.credentials);
                }
                self.session_served();
                Ok(document)
            }
            Err(Unread::Unauthorized) if matches!(self.login, Login::Session(_)) => {
                self.session_was_gone();
                self.log_in(deadline).await?;
                self.get_once_or_more(path, deadline)
                    .await
                    .map_err(|unread| self.unread(path, unread))
            }
            Err(unread) => Err(self.unread(path, unread)),
        }
    }

    async fn get_once_or_more(&self, path: &str, deadline: Instant) -> Result<Value, Unread> {
        self.get_within(path, deadline, self.shared.options.read_tries)
            .await
    }

    async fn get_within(
        &self,
        path: &str,
        deadline: Instant,
        most_tries: u32,
    ) -> Result<Value, Unread> {
        let options = &self.shared.options;
        let mut tries = 1;
        loop {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let limit = deadline.min(Instant::now() + options.read_timeout);
            let id = ODataId::from(path.to_owned());
            let unread = match timeout_at(limit, self.repaired.get::<Raw>(&id)).await {
                // A transport that does not cache hands over the only reference.
                Ok(Ok(raw)) if raw.value().is_object() => {
                    return Ok(Arc::try_unwrap(raw)
                        .map_or_else(|raw| raw.value().clone(), Raw::into_value));
                }
                Ok(Ok(_)) => Unread::Failed(Failure::Transport(TransportError::Unusable(
                    "no JSON object".to_owned(),
                ))),
                Ok(Err(Failure::Transport(TransportError::Status { status: 401, .. }))) => {
                    return Err(Unread::Unauthorized);
                }
                Ok(Err(failure)) => Unread::Failed(failure),
                Err(_) => Unread::TimedOut,
            };
            let again = Instant::now() + pause(tries);
            if tries >= most_tries || !unread.is_transient() || again >= deadline {
                return Err(unread);
            }
            tries += 1;
            sleep_until(again).await;
        }
    }

    /// What a failed read means for the caller.
    fn unread(&self, path: &str, unread: Unread) -> BmcError {
        let address = self.origin.clone();
        let path = path.to_owned();
        match unread {
            Unread::TimedOut => BmcError::NoAnswer {
                address,
                path,
                reason: "none in time".to_owned(),
            },
            Unread::Unauthorized if matches!(self.login, Login::Session(_)) => {
                BmcError::AccessDenied {
                    address,
                    path,
                    detail: "HTTP 401 for a new session".to_owned(),
                }
            }
            Unread::Unauthorized => self.refused(),
            Unread::Failed(Failure::Decode(error)) => BmcError::BadAnswer {
                address,
                path,
                reason: self.scrub.clean(&error.to_string()),
            },
            Unread::Failed(Failure::Transport(error)) => match error {
                TransportError::NotConnected(reason) => {
                    self.unreachable.store(true, Ordering::Relaxed);
                    BmcError::Unreachable { address, reason }
                }
                TransportError::Untrusted(reason) => BmcError::CertificateRefused {
                    address,
                    reason,
                    observed: self.observed.pin(),
                },
                TransportError::Lost(reason) => BmcError::NoAnswer {
                    address,
                    path,
                    reason,
                },
                TransportError::Status { status: 403, body } => BmcError::AccessDenied {
                    address,
                    path,
                    detail: error_message(&body, &self.scrub),
                },
                TransportError::Status { status, body } => BmcError::ReadFailed {
                    address,
                    path,
                    status,
                    detail: error_message(&body, &self.scrub),
                },
                error @ TransportError::Crowded(_) => BmcError::Crowded {
                    address,
                    path,
                    reason: error.to_string(),
                },
                error @ (TransportError::TooLong { .. }
                | TransportError::NoRoom(_)
                | TransportError::Unusable(_)
                | TransportError::Undecodable(_)
                | TransportError::Rejected(_)) => BmcError::BadAnswer {
                    address,
                    path,
                    reason: self.scrub.clean(&error.to_string()),
                },
            },
        }
    }

    fn refused(&self) -> BmcError {
        let tries = self
            .shared
            .gate
            .refused(&self.origin, &self.target.credentials);
        let locked = self
            .shared
            .gate
            .check(&self.origin, &self.target.credentials)
            .is_err();
        BmcError::CredentialsRefused {
            address: self.origin.clone(),
            tries,
            locked,
        }
    }

    /// Whether there is a session to end.
    pub(crate) fn has_session(&self) -> bool {
        matches!(self.login, Login::Session(_))
    }

    /// Whether the name of an unreachable BMC had better be resolved anew.
    pub(crate) fn needs_reopening(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
            && matches!(self.target.address.host(), Some(Host::Domain(_)))
    }
}

/// Who we are to the BMC in this connection.
#[derive(Debug, PartialEq, Eq)]
enum Login {
    /// Not logged in, or no longer.
    Nobody,
    /// HTTP Basic.
    Basic,
    /// HTTP Basic for one read, where the BMC offers sessions.
    Brief,
    /// The session at this path.
    Session(String),
}

/// Why a resource was not read.
enum Unread {
    TimedOut,
    Unauthorized,
    Failed(Failure),
}

impl Unread {
    /// Whether the BMC says that there is no such resource.
    fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::Failed(Failure::Transport(TransportError::Status {
                status: 404,
                ..
            }))
        )
    }

    /// Whether asking again may help.
    fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Unauthorized | Self::Failed(Failure::Decode(_)) => false,
            Self::Failed(Failure::Transport(error)) => match error {
                TransportError::NotConnected(_) | TransportError::Lost(_) => true,
                TransportError::Status { status, .. } => {
                    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
                }
                TransportError::Untrusted(_)
                | TransportError::TooLong { .. }
                | TransportError::NoRoom(_)
                | TransportError::Crowded(_)
                | TransportError::Unusable(_)
                | TransportError::Undecodable(_)
                | TransportError::Rejected(_) => false,
            },
        }
    }
}

/// Jittered and growing: between half and all of 250 ms, 500 ms, 1 s …
fn pause(tries: u32) -> Duration {
    let most = 250_u64 << tries.saturating_sub(1).min(5);
    Duration::from_millis(random_range(most / 2..=most))
}

/// Fails without a request if the target's credentials are locked out.
pub(crate) fn check_gate(
    shared: &Shared,
    origin: &str,
    target: &BmcTarget,
) -> Result<(), BmcError> {
    shared
        .gate
        .check(origin, &target.credentials)
        .map_err(|tries| BmcError::CredentialsRefused {
            address: origin.to_owned(),
            tries,
            locked: true,
        })
}

fn client(
    shared: &Shared,
    target: &BmcTarget,
    addresses: &[SocketAddr],
    observed: ObservedPeer,
    room: Option<Arc<Room>>,
) -> Result<Transport, String> {
    let tls = client_config(
        &target.tls,
        target.expected.tls_pin.as_ref(),
        observed.clone(),
    )?;
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .no_proxy()
        .referer(false)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(shared.options.connect_timeout)
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(Duration::from_secs(10))
        .user_agent(concat!("lockstep/", env!("CARGO_PKG_VERSION")));
    if let Some(Host::Domain(name)) = target.address.host() {
        builder = builder.resolve_to_addrs(name, addresses);
    }
    let client = builder.build().map_err(|error| error.to_string())?;
    Ok(Transport {
        client,
        observed,
        body_limit: shared.options.body_limit,
        document_room: shared.options.document_room,
        room,
    })
}
