//! Where a card's own agent gets the bytes of a service that is offered to the card.
//!
//! It shows a token of the card's ServiceAccount that was made for the store alone; the API server says
//! whose it is. The token opens nothing: what the operator has recorded as offered to that very card
//! does, for as long as it stands there.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lockstep_crds::{DpuHost, names};
use lockstep_store::Digest;

use crate::site::context::Site;
use crate::site::objects::Table;
use crate::site::token_reviews::TokenReviews;

/// What the door needs to know.
pub(super) struct ServiceDoor {
    site: Arc<Site>,
    hosts: Table<DpuHost>,
    reviews: TokenReviews,
}

impl ServiceDoor {
    pub(super) fn new(site: Arc<Site>, hosts: Table<DpuHost>) -> Arc<Self> {
        Arc::new(Self {
            reviews: TokenReviews::new(site.client.clone()),
            site,
            hosts,
        })
    }

    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/s/{card}/{digest}", get(bytes))
            .with_state(self)
    }

    /// Name of the card to which this is offered.
    fn offered_to(&self, uid: &str, digest: &Digest) -> Option<String> {
        let hosts = self.hosts.known().objects;
        hosts.iter().find_map(|host| {
            let kept = host.status.as_ref()?.record_of(uid)?;
            let mut offered = kept.services.iter();
            let is_it = |one: &str| one.parse::<Digest>().is_ok_and(|one| one == *digest);
            offered
                .any(|one| is_it(&one.digest))
                .then(|| kept.name.clone())
        })
    }

    async fn admit(
        &self,
        card: &str,
        digest: &Digest,
        headers: &HeaderMap,
        peer: IpAddr,
    ) -> Result<(), Response> {
        // What is not offered costs no question.
        let Some(name) = self.offered_to(card, digest) else {
            return Err(StatusCode::NOT_FOUND.into_response());
        };
        let user = self.reviews.user(headers, peer).await?;
        let (namespace, account) = (&self.site.config.namespace, names::xpu(&name));
        let account = format!("system:serviceaccount:{namespace}:{account}");
        if user.username.as_ref() == Some(&account) {
            return Ok(());
        }
        Err(StatusCode::FORBIDDEN.into_response())
    }
}

async fn bytes(
    State(door): State<Arc<ServiceDoor>>,
    ConnectInfo(peer): ConnectInfo<IpAddr>,
    Path((card, digest)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Ok(digest) = digest.parse::<Digest>() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match door.admit(&card, &digest, &headers, peer).await {
        Ok(()) => {
            let store = &door.site.store;
            store.serve_known(&digest, &card, &method, &headers).await
        }
        Err(refused) => refused,
    }
}
