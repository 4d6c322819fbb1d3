//! Where the agent of a host gets the image that it is to push to a card, or to flash there.
//!
//! It shows the token of its Pod, made for this alone; the API server says whose it is and on
//! which node that Pod runs. An open directive to push or to flash is the permission: without one that names
//! that agent and that card, for a host that is trusted with it, nobody gets anything. The image is given out as it is, to be hashed
//! there, and what is the card's own apart from it, once a look at card and host speaks for it. Firmware
//! has nothing of a card's own, so nothing of it is offered before.
//!
//! Just before it resets the card, or has its firmware written, that agent asks whether it may (`go`). It cannot see a BMC, and what is
//! reported of one may be as old as the download was long.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use kube::ResourceExt;
use lockstep_crds::directive::{ActionKind, Directive};
use lockstep_crds::host::TrustDomain;
use lockstep_crds::{DpuHost, names};
use lockstep_store::Digest;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::site::clearance::{self, Seen};
use crate::site::context::Site;
use crate::site::judge::Refusal;
use crate::site::machine::{MachineKey, MachineKind};
use crate::site::objects::Table;
use crate::site::token_reviews::TokenReviews;

/// The claim of a projected token that names the node of its Pod.
const NODE: &str = "authentication.kubernetes.io/node-name";
/// How long card and host may take to be looked at: whoever asks waits for it, and connections on
/// which nothing comes for longer are closed.
const LOOKS: Duration = Duration::from_secs(50);

/// The answer to a question whether a card may be reset now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clearance {
    /// The directive to push that it is for.
    pub(crate) seq: i64,
}

/// An open push, and where else something may go on that forbids it.
struct Asked {
    push: Directive,
    /// Where its host runs, by the word of whoever made the host's object: what a Node says of
    /// itself is no ground to give it a card's secrets.
    node: String,
    image: Digest,
    /// The host and uid of its object, if it has a BMC.
    host: Option<(MachineKey, String)>,
}

impl Asked {
    /// `None` if that host may have none: it is not trusted with its cards, it goes, nothing may be
    /// done to it, or nobody says which Node it is.
    fn of(host: &DpuHost, push: &Directive) -> Option<Self> {
        let spec = &host.spec;
        let goes = host.metadata.deletion_timestamp.is_some();
        if spec.trust_domain != TrustDomain::Trusted || goes || spec.hands_off {
            return None;
        }
        let image = push.action.image.as_ref()?.digest.parse().ok()?;
        let key = MachineKey {
            kind: MachineKind::Host,
            name: host.name_any(),
        };
        let has_bmc = spec.bmc.is_some();
        Some(Self {
            push: push.clone(),
            node: spec.node_name.clone()?,
            image,
            host: has_bmc.then(|| (key, host.uid().unwrap_or_default())),
        })
    }
}

/// What the door needs to know.
pub(super) struct Door {
    site: Arc<Site>,
    hosts: Table<DpuHost>,
    /// Whom the agents of this site's hosts are.
    account: String,
    reviews: TokenReviews,
}

impl Door {
    pub(super) fn new(site: Arc<Site>, hosts: Table<DpuHost>) -> Arc<Self> {
        let namespace = &site.config.namespace;
        Arc::new(Self {
            account: format!("system:serviceaccount:{namespace}-hosts:lockstep-host-agent"),
            reviews: TokenReviews::new(site.client.clone()),
            site,
            hosts,
        })
    }

    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/h/{card}/image", get(image))
            .route("/h/{card}/own", get(own))
            .route("/h/{card}/go", get(go))
            .with_state(self)
    }

    /// What whoever asks is to push to that card now.
    async fn admit(
        &self,
        card: &str,
        headers: &HeaderMap,
        peer: IpAddr,
    ) -> Result<Asked, Response> {
        // What nobody is to push costs no question.
        let pushes = self.pushes(card);
        if pushes.is_empty() {
            return Err(StatusCode::NOT_FOUND.into_response());
        }
        let user = self.reviews.user(headers, peer).await?;
        let node = user
            .extra
            .as_ref()
            .and_then(|extra| extra.get(NODE)?.first());
        let node = node
            .filter(|_| user.username.as_deref() == Some(&self.account))
            .ok_or_else(|| StatusCode::FORBIDDEN.into_response())?;
        let mut asked = pushes.into_iter();
        let asked =
            asked.find(|asked| asked.node == *node && asked.push.executor == names::host(node));
        asked.ok_or_else(|| StatusCode::FORBIDDEN.into_response())
    }

    /// Open directives to push to a card, or to flash it.
    fn pushes(&self, card: &str) -> Vec<Asked> {
        let hosts = self.hosts.known().objects;
        let of_host = |host: &Arc<DpuHost>| -> Vec<Asked> {
            let open = host.status.iter().flat_map(|status| &status.directives);
            let pushes = open.filter(|directive| {
                directive.action.kind.is_of_host_agent() && directive.target.uid == card
            });
            pushes.filter_map(|push| Asked::of(host, push)).collect()
        };
        hosts.iter().flat_map(of_host).collect()
    }

    /// Whether the card may be reset, by a look at it and at its host that is made now. The card
    /// comes last: it is the one that is reset.
    async fn clear(&self, asked: &Asked) -> Result<(), Response> {
        let card = &asked.push.target.name;
        let cleared = self.look(asked).await.and_then(|()| {
            // Another agent may look after these machines by now.
            if self.site.mandate.holds() {
                Ok(())
            } else {
                Err(Refusal::new(
                    "LeaseLost",
                    "this site agent does not hold the site's Lease, so it cannot tell what goes on; it is asked again with the next try",
                ))
            }
        });
        let seq = asked.push.seq;
        cleared.map_err(|refusal| {
            tracing::info!(
                card,
                seq,
                reason = refusal.reason,
                why = refusal.message,
                "the card may not be reset by its host now"
            );
            (StatusCode::CONFLICT, Json(refusal)).into_response()
        })
    }

    async fn look(&self, asked: &Asked) -> Result<(), Refusal> {
        let glances = &self.site.glances;
        let until = Instant::now() + LOOKS;
        let left = || until.saturating_duration_since(Instant::now());
        let host = match &asked.host {
            Some((key, uid)) => Some((
                format!("host {}", key.name),
                glances.updates_of(key, uid, left()).await?,
            )),
            None => None,
        };
        let target = &asked.push.target;
        let (card, updates) = glances.card(&target.name, &target.uid, left()).await?;
        let host = host.as_ref();
        let seen = Seen {
            card: &card,
            updates: &updates,
            host: host.map(|(name, updates)| (name.as_str(), updates.as_ref())),
        };
        clearance::check(&asked.push, seen)
    }
}

async fn image(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<IpAddr>,
    Path(card): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    match door.admit(&card, &headers, peer).await {
        Ok(asked) => {
            let (store, image) = (&door.site.store, &asked.image);
            if asked.push.action.kind == ActionKind::FlashFirmware {
                store.serve_known(image, &card, &method, &headers).await
            } else {
                store.serve_bare(image, &card, &method, &headers).await
            }
        }
        Err(refused) => refused,
    }
}

async fn own(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<IpAddr>,
    Path(card): Path<String>,
    headers: HeaderMap,
) -> Response {
    let asked = match door.admit(&card, &headers, peer).await {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    // What is not offered costs no look.
    let given = || door.site.store.own(&asked.image, &card);
    if given().is_none() {
        return StatusCode::NOT_FOUND.into_response();
    }
    if let Err(refused) = door.clear(&asked).await {
        return refused;
    }
    match given() {
        Some(own) => ([(CACHE_CONTROL, "private, no-store")], Json(own)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn go(
    State(door): State<Arc<Door>>,
    ConnectInfo(peer): ConnectInfo<IpAddr>,
    Path(card): Path<String>,
    headers: HeaderMap,
) -> Response {
    let asked = match door.admit(&card, &headers, peer).await {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    match door.clear(&asked).await {
        Ok(()) => {
            let seq = asked.push.seq;
            ([(CACHE_CONTROL, "no-store")], Json(Clearance { seq })).into_response()
        }
        Err(refused) => refused,
    }
}
