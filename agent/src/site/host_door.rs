//! Where the agent of a host gets the image that it is to push to a card.
//!
//! It shows the token of its Pod, made for this alone; the API server says whose it is and on
//! which node that Pod runs. An open directive to push is the permission: without one that names
//! that agent and that card, nobody gets anything. The image is given out as it is, to be hashed
//! there, and what is the card's own apart from it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::PostParams;
use kube::{Api, Client};
use lockstep_crds::directive::{ActionKind, Directive};
use lockstep_crds::{DpuHost, names};
use lockstep_store::{Digest, Store};
use tokio::sync::Semaphore;

use crate::kube_client::{REQUEST_DEADLINE, said};
use crate::site::objects::Table;

/// For whom the token of a host's agent must be made.
pub const AUDIENCE: &str = "lockstep-image-store";
/// The claim of a projected token that names the node of its Pod.
const NODE: &str = "authentication.kubernetes.io/node-name";
/// Tokens that the API server is asked about at one time.
const REVIEWS: usize = 4;

/// What the door needs to know.
pub(super) struct Door {
    store: Store,
    hosts: Table<DpuHost>,
    client: Client,
    /// Whom the agents of this site's hosts are.
    account: String,
    reviews: Semaphore,
}

impl Door {
    pub(super) fn new(
        store: Store,
        hosts: Table<DpuHost>,
        client: Client,
        namespace: &str,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            hosts,
            client,
            account: format!("system:serviceaccount:{namespace}-hosts:lockstep-host-agent"),
            reviews: Semaphore::new(REVIEWS),
        })
    }

    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/h/{card}/image", get(image))
            .route("/h/{card}/own", get(own))
            .with_state(self)
    }

    /// The image that whoever asks may have for that card now.
    async fn admit(&self, card: &str, headers: &HeaderMap) -> Result<Digest, Response> {
        // What nobody is to push costs no question.
        let pushes = self.pushes(card);
        if pushes.is_empty() {
            return Err(StatusCode::NOT_FOUND.into_response());
        }
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| StatusCode::UNAUTHORIZED.into_response())?;
        let user = self.user(token).await?;
        let node = user
            .extra
            .as_ref()
            .and_then(|extra| extra.get(NODE)?.first());
        let agent = node
            .filter(|_| user.username.as_deref() == Some(&self.account))
            .map(|node| names::host(node))
            .ok_or_else(|| StatusCode::FORBIDDEN.into_response())?;
        let push = pushes.iter().find(|push| push.executor == agent);
        let image = push.and_then(|push| push.action.image.as_ref());
        let digest = image.and_then(|image| image.digest.parse().ok());
        digest.ok_or_else(|| StatusCode::FORBIDDEN.into_response())
    }

    /// Open directives to push to a card.
    fn pushes(&self, card: &str) -> Vec<Directive> {
        let hosts = self.hosts.known().objects;
        let open = hosts
            .iter()
            .filter(|host| !host.spec.hands_off)
            .filter_map(|host| host.status.as_ref())
            .flat_map(|status| &status.directives);
        open.filter(|directive| {
            directive.action.kind == ActionKind::PushImage && directive.target.uid == card
        })
        .cloned()
        .collect()
    }

    /// Whose token it is, by the API server's word.
    async fn user(&self, token: &str) -> Result<UserInfo, Response> {
        let unavailable =
            || (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")]).into_response();
        let _turn = self.reviews.acquire().await.map_err(|_| unavailable())?;
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let params = PostParams::default();
        let asked = api.create(&params, &review);
        let answer = match tokio::time::timeout(REQUEST_DEADLINE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::warn!(
                    "the token of a host agent was not looked at: {}; the site agent needs the ClusterRole lockstep-token-reviewer",
                    said(&error)
                );
                return Err(unavailable());
            }
            Err(_) => return Err(unavailable()),
        };
        let status = answer.status.unwrap_or_default();
        let for_us = status
            .audiences
            .iter()
            .flatten()
            .any(|audience| audience == AUDIENCE);
        match status.user {
            Some(user) if status.authenticated == Some(true) && for_us => Ok(user),
            Some(_) | None => Err(StatusCode::UNAUTHORIZED.into_response()),
        }
    }
}

async fn image(
    State(door): State<Arc<Door>>,
    Path(card): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    match door.admit(&card, &headers).await {
        Ok(digest) => {
            door.store
                .serve_bare(&digest, &card, &method, &headers)
                .await
        }
        Err(refused) => refused,
    }
}

async fn own(
    State(door): State<Arc<Door>>,
    Path(card): Path<String>,
    headers: HeaderMap,
) -> Response {
    let digest = match door.admit(&card, &headers).await {
        Ok(digest) => digest,
        Err(refused) => return refused,
    };
    match door.store.own(&digest, &card) {
        Some(own) => ([(CACHE_CONTROL, "private, no-store")], Json(own)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
