//! A connection to one BMC: opened after the address check, logged in, with
//! the platform's repairs; reads that retry, and changes that need a proof.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nv_redfish::bmc_http::{BmcCredentials, CacheSettings, HttpBmc};
use nv_redfish::core::action::ActionTarget;
use nv_redfish::core::{
    Action, Bmc as _, ModificationResponse, ODataId, Raw, RepairError, SessionCreateResponse,
};
use nv_redfish::quirks::{BmcQuirks, CompatBmc, RootEvidence};
use rand::random_range;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Host;

use crate::document::{error_message, link, links, text};
use crate::error::BmcError;
use crate::facts::{Authentication, Capability, Offer, SystemIdentity};
use crate::identity::prove_identity;
use crate::reading;
use crate::registry::Shared;
use crate::target::BmcTarget;
use crate::tls::{ObservedPeer, client_config};
use crate::transport::{Transport, TransportError};

pub(crate) const ROOT: &str = "/redfish/v1/";

/// Members of a collection that are looked at.
pub(crate) const MOST_MEMBERS: usize = 32;

/// For the farewell to a BMC; the session expires by itself otherwise.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);

type Failure = RepairError<TransportError>;

/// A connection to one BMC. Held by one call at a time.
pub(crate) struct Link {
    shared: Arc<Shared>,
    target: BmcTarget,
    origin: String,
    http: Arc<HttpBmc<Transport>>,
    repaired: CompatBmc<HttpBmc<Transport>>,
    observed: ObservedPeer,
    /// An address that passed the check, for when none has answered yet.
    checked: SocketAddr,
    root: Value,
    sessions: Capability,
    session: Option<String>,
    system_path: Option<String>,
    unreachable: AtomicBool,
}

impl Link {
    /// Connects and logs in.
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        target: &BmcTarget,
        origin: &str,
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
        let client = client(shared, target, &addresses, observed.clone()).map_err(|reason| {
            BmcError::Client {
                address: origin.to_owned(),
                reason,
            }
        })?;
        let http = Arc::new(HttpBmc::new(
            client,
            target.address.clone(),
            BmcCredentials::Anonymous,
            CacheSettings::with_capacity(0),
        ));
        let unknown = BmcQuirks::classify(&RootEvidence::from_root(&Value::Null));
        let mut link = Self {
            shared: Arc::clone(shared),
            target: target.clone(),
            origin: origin.to_owned(),
            repaired: CompatBmc::new(Arc::clone(&http), Arc::new(unknown)),
            http,
            observed,
            checked,
            root: Value::Null,
            sessions: Capability {
                offer: Offer::NotRead,
                source: ROOT.to_owned(),
                values: None,
            },
            session: None,
            system_path: None,
            unreachable: AtomicBool::new(false),
        };
        // The root is open to everybody by the standard, and shut on some.
        link.root = match link.get_once_or_more(ROOT, deadline).await {
            Err(Unread::Unauthorized) => {
                link.use_basic();
                link.get(ROOT, deadline).await?
            }
            other => other.map_err(|unread| link.unread(ROOT, unread))?,
        };
        let quirks = BmcQuirks::classify(&RootEvidence::from_root(&link.root));
        link.repaired = CompatBmc::new(Arc::clone(&link.http), Arc::new(quirks));
        link.log_in(deadline).await?;
        Ok(link)
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.observed.remote().unwrap_or(self.checked)
    }

    pub(crate) fn sessions(&self) -> &Capability {
        &self.sessions
    }

    pub(crate) fn authentication(&self) -> Authentication {
        match self.session {
            Some(_) => Authentication::Session,
            None => Authentication::Basic,
        }
    }

    pub(crate) fn root(&self) -> &Value {
        &self.root
    }

    /// Reads a resource. Transient failures are retried, a lost session is
    /// opened anew once, and a refused credential is counted.
    pub(crate) async fn get(&mut self, path: &str, deadline: Instant) -> Result<Value, BmcError> {
        match self.get_once_or_more(path, deadline).await {
            Ok(document) => {
                if path != ROOT && self.session.is_none() {
                    self.shared
                        .gate
                        .accepted(&self.origin, &self.target.credentials);
                }
                Ok(document)
            }
            Err(Unread::Unauthorized) if self.session.take().is_some() => {
                self.log_in(deadline).await?;
                self.get_once_or_more(path, deadline)
                    .await
                    .map_err(|unread| self.unread(path, unread))
            }
            Err(unread) => Err(self.unread(path, unread)),
        }
    }

    async fn get_once_or_more(&self, path: &str, deadline: Instant) -> Result<Value, Unread> {
        let options = &self.shared.options;
        let mut tries = 1;
        loop {
            let limit = deadline.min(Instant::now() + options.read_timeout);
            let id = ODataId::from(path.to_owned());
            let unread = match timeout_at(limit, self.repaired.get::<Raw>(&id)).await {
                Ok(Ok(raw)) if raw.value().is_object() => return Ok(raw.value().clone()),
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
            if tries >= options.read_tries || !unread.is_transient() || again >= deadline {
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
            Unread::Unauthorized if self.session.is_some() => BmcError::AccessDenied {
                address,
                path,
                detail: "HTTP 401 for a new session".to_owned(),
            },
            Unread::Unauthorized => self.refused(),
            Unread::Failed(Failure::Decode(error)) => BmcError::BadAnswer {
                address,
                path,
                reason: error.to_string(),
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
                    detail: error_message(&body),
                },
                TransportError::Status { status, body } => BmcError::ReadFailed {
                    address,
                    path,
                    status,
                    detail: error_message(&body),
                },
                error @ (TransportError::TooLong { .. }
                | TransportError::Unusable(_)
                | TransportError::Undecodable(_)
                | TransportError::Rejected(_)) => BmcError::BadAnswer {
                    address,
                    path,
                    reason: error.to_string(),
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

    fn use_basic(&mut self) {
        let credentials = &self.target.credentials;
        self.http.set_credentials(BmcCredentials::new(
            credentials.username.clone(),
            credentials.password.clone(),
        ));
    }

    /// Opens a session where the BMC offers them; Basic otherwise. A BMC that
    /// offers sessions and refuses one is not asked with Basic instead.
    async fn log_in(&mut self, deadline: Instant) -> Result<(), BmcError> {
        check_gate(&self.shared, &self.origin, &self.target)?;
        self.session = None;
        let Some(service) = link(&self.root, "SessionService") else {
            self.sessions.offer = Offer::NotOffered;
            self.use_basic();
            return Ok(());
        };
        let collection = self
            .root
            .get("Links")
            .and_then(|links| link(links, "Sessions"))
            .unwrap_or_else(|| format!("{}/Sessions", service.trim_end_matches('/')));
        let credentials = json!({
            "UserName": self.target.credentials.username,
            "Password": self.target.credentials.password,
        });
        let collection_id = ODataId::from(collection.clone());
        let limit = deadline.min(Instant::now() + self.shared.options.read_timeout);
        let answer: Result<SessionCreateResponse<Value>, TransportError> = timeout_at(
            limit,
            self.http.create_session(&collection_id, &credentials),
        )
        .await
        .unwrap_or_else(|_| Err(TransportError::Lost("no answer in time".to_owned())));
        match answer {
            Ok(session) => {
                self.http
                    .set_credentials(BmcCredentials::token(session.auth_token));
                self.session = Some(session.location.to_string());
                self.sessions.offer = Offer::Offered;
                self.sessions.source = collection;
                self.shared
                    .gate
                    .accepted(&self.origin, &self.target.credentials);
                Ok(())
            }
            Err(TransportError::Status {
                status: 401 | 403, ..
            }) => Err(self.refused()),
            // Linked, and not there after all.
            Err(TransportError::Status {
                status: 404 | 405 | 501,
                ..
            }) => {
                self.sessions.offer = Offer::NotOffered;
                self.sessions.source = collection;
                self.use_basic();
                Ok(())
            }
            Err(TransportError::Status { status, body }) => Err(BmcError::SessionRefused {
                address: self.origin.clone(),
                status,
                detail: error_message(&body),
            }),
            Err(error) => Err(self.unread(&collection, Unread::Failed(Failure::Transport(error)))),
        }
    }

    /// Ends the session. Best effort: it expires by itself.
    pub(crate) async fn log_out(self) {
        let Some(session) = self.session else {
            return;
        };
        let id = ODataId::from(session);
        let farewell = self.http.delete::<Raw>(&id);
        let limit = Instant::now() + LOGOUT_TIMEOUT;
        match timeout_at(limit, farewell).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::debug!(bmc = self.origin, %error, "session left to expire");
            }
            Err(_) => tracing::debug!(bmc = self.origin, "session left to expire"),
        }
    }

    /// Whether there is a session to end.
    pub(crate) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Whether the name of an unreachable BMC had better be resolved anew.
    pub(crate) fn needs_reopening(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
            && matches!(self.target.address.host(), Some(Host::Domain(_)))
    }

    /// Reads the service root anew.
    pub(crate) async fn reread_root(&mut self, deadline: Instant) -> Result<(), BmcError> {
        self.root = self.get(ROOT, deadline).await?;
        Ok(())
    }

    /// Reads the target's ComputerSystem.
    pub(crate) async fn system(&mut self, deadline: Instant) -> Result<Value, BmcError> {
        if let Some(path) = self
            .system_path
            .clone()
            .or_else(|| self.target.system_path.clone())
        {
            return match self.get(&path, deadline).await {
                Ok(system) => {
                    self.system_path = Some(text(&system, "@odata.id").unwrap_or(path));
                    Ok(system)
                }
                Err(BmcError::ReadFailed { status: 404, .. })
                    if self.target.system_path.is_none() =>
                {
                    self.system_path = None;
                    self.locate_system(deadline).await
                }
                Err(error) => Err(error),
            };
        }
        self.locate_system(deadline).await
    }

    /// The only system, else the one with the expected UUID.
    async fn locate_system(&mut self, deadline: Instant) -> Result<Value, BmcError> {
        let collection = link(&self.root, "Systems").unwrap_or_else(|| format!("{ROOT}Systems"));
        let mut members = links(&self.get(&collection, deadline).await?, "Members");
        if let Some(is_system) = self.repaired.quirks().filter_computer_system_odata_ids() {
            members.retain(|path| is_system(path));
        }
        let wanted = self.target.expected.system_uuid.clone();
        let found = match (members.as_slice(), &wanted) {
            ([only], _) => Some((only.clone(), self.get(only, deadline).await?)),
            ([], _) | (_, None) => None,
            (several, Some(uuid)) => {
                // Many services name systems by UUID: look there first.
                let mut order: Vec<&String> = several.iter().collect();
                order.sort_by_key(|path| !reading::ends_with_uuid(path, uuid));
                let mut found = None;
                for path in order.into_iter().take(MOST_MEMBERS) {
                    let system = self.get(path, deadline).await?;
                    if reading::has_uuid(&system, uuid) {
                        found = Some((path.clone(), system));
                        break;
                    }
                }
                found
            }
        };
        let Some((path, system)) = found else {
            members.truncate(MOST_MEMBERS);
            return Err(BmcError::SystemNotFound {
                address: self.origin.clone(),
                wanted: wanted.map_or_else(
                    || "that is the only one".to_owned(),
                    |uuid| format!("with the UUID {uuid}"),
                ),
                found: if members.is_empty() {
                    "none".to_owned()
                } else {
                    members.join(", ")
                },
            });
        };
        self.system_path = Some(text(&system, "@odata.id").unwrap_or(path));
        Ok(system)
    }

    /// What identifies the machine that a ComputerSystem document describes.
    pub(crate) fn identity(&self, system: &Value) -> SystemIdentity {
        let path = self.system_path.clone().unwrap_or_default();
        reading::identity(&self.root, system, path, self.observed.pin())
    }

    /// Reads the ComputerSystem and proves that it is the expected machine.
    pub(crate) async fn prove(&mut self, deadline: Instant) -> Result<Proven<'_>, BmcError> {
        let system = self.system(deadline).await?;
        let identity = self.identity(&system);
        prove_identity(&identity, &self.target.expected).map_err(|mismatch| {
            BmcError::Stranger {
                address: self.origin.clone(),
                mismatch,
            }
        })?;
        Ok(Proven {
            system_path: identity.system_path,
            link: self,
            system,
        })
    }

    /// What a failed change means for the caller. Whatever may have reached
    /// the BMC, and was not refused by it, is an unknown outcome.
    fn unchanged(&self, change: &Change<'_>, failure: Failure) -> BmcError {
        let address = self.origin.clone();
        let verb = change.verb;
        let unknown = |reason: String| BmcError::OutcomeUnknown {
            address: address.clone(),
            verb,
            reason: change.scrub(&reason),
        };
        match failure {
            Failure::Decode(error) => unknown(error.to_string()),
            Failure::Transport(error) => match error {
                TransportError::Status { status, body }
                    if (300..500).contains(&status) && status != 408 =>
                {
                    BmcError::Refused {
                        detail: change.scrub(&error_message(&body)),
                        address,
                        verb,
                        status,
                    }
                }
                TransportError::Status { status, body } => {
                    unknown(format!("HTTP {status}: {}", error_message(&body)))
                }
                TransportError::Lost(reason) | TransportError::Unusable(reason) => unknown(reason),
                error @ (TransportError::TooLong { .. } | TransportError::Undecodable(_)) => {
                    unknown(error.to_string())
                }
                TransportError::NotConnected(_)
                | TransportError::Untrusted(_)
                | TransportError::Rejected(_) => {
                    self.unread(change.path, Unread::Failed(Failure::Transport(error)))
                }
            },
        }
    }
}

/// Why a resource was not read.
enum Unread {
    TimedOut,
    Unauthorized,
    Failed(Failure),
}

impl Unread {
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
    })
}

/// The right to change one thing once: the machine's identity was proved by
/// the read just before. Every change uses it up.
pub(crate) struct Proven<'a> {
    link: &'a mut Link,
    /// The ComputerSystem that the proof was read from.
    pub(crate) system: Value,
    /// Its path.
    pub(crate) system_path: String,
}

/// One changing request.
pub(crate) struct Change<'a> {
    /// For errors.
    pub(crate) verb: &'static str,
    /// Where it goes.
    pub(crate) path: &'a str,
    /// What it says.
    pub(crate) body: Value,
    /// What must not show in errors.
    pub(crate) secret: Option<&'a str>,
}

impl Change<'_> {
    /// Takes the secret, and every longer part of it, out of a message.
    fn scrub(&self, message: &str) -> String {
        let Some(secret) = self.secret else {
            return message.to_owned();
        };
        let mut parts: Vec<&str> = secret
            .split(['/', '?', '&', '='])
            .filter(|part| part.len() >= 8)
            .collect();
        parts.insert(0, secret);
        parts.iter().fold(message.to_owned(), |message, part| {
            message.replace(part, "[image]")
        })
    }
}

impl Proven<'_> {
    /// Gives the right up, to read on.
    pub(crate) fn waive(self) {}

    /// POSTs to an action target, once.
    pub(crate) async fn post(self, change: Change<'_>, deadline: Instant) -> Result<(), BmcError> {
        let target = ActionTarget::new(change.path.to_owned());
        let action = Action::<Value, Value>::new(target);
        let reply = timeout_at(deadline, self.link.repaired.action(&action, &change.body)).await;
        self.conclude(&change, reply)
    }

    /// PATCHes a resource, once.
    pub(crate) async fn patch(self, change: Change<'_>, deadline: Instant) -> Result<(), BmcError> {
        let id = ODataId::from(change.path.to_owned());
        let reply = timeout_at(
            deadline,
            self.link
                .repaired
                .update::<Value, Value>(&id, None, &change.body),
        )
        .await;
        self.conclude(&change, reply)
    }

    fn conclude<E>(
        self,
        change: &Change<'_>,
        reply: Result<Result<ModificationResponse<Value>, Failure>, E>,
    ) -> Result<(), BmcError> {
        let link = self.link;
        let Ok(reply) = reply else {
            let lost = TransportError::Lost("no answer before the deadline".to_owned());
            return Err(link.unchanged(change, Failure::Transport(lost)));
        };
        match reply {
            // HTTP 200 around an error object.
            Ok(ModificationResponse::Entity(body)) if body.get("error").is_some() => {
                Err(BmcError::OutcomeUnknown {
                    address: link.origin.clone(),
                    verb: change.verb,
                    reason: change.scrub(&error_message(&body.to_string())),
                })
            }
            Ok(_) => Ok(()),
            // A success that nv-redfish finds odd is a success all the same.
            Err(Failure::Transport(TransportError::Status { status, .. }))
                if (200..300).contains(&status) =>
            {
                Ok(())
            }
            Err(failure) => Err(link.unchanged(change, failure)),
        }
    }
}
