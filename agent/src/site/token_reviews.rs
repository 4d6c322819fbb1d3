//! Whose token the store is shown, by the API server's word.

use axum::http::header::{AUTHORIZATION, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;

use crate::kube_client::{REQUEST_DEADLINE, said};

/// For whom a token must be made that the store takes.
pub const AUDIENCE: &str = "lockstep-image-store";
/// Tokens that the API server is asked about at one time.
const REVIEWS: usize = 4;

/// Asks the API server.
pub(super) struct TokenReviews {
    client: Client,
    at_once: Semaphore,
}

impl TokenReviews {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            at_once: Semaphore::new(REVIEWS),
        }
    }

    /// Who asks.
    pub(super) async fn user(&self, headers: &HeaderMap) -> Result<UserInfo, Response> {
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| StatusCode::UNAUTHORIZED.into_response())?;
        let unavailable =
            || (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")]).into_response();
        let _turn = self.at_once.acquire().await.map_err(|_| unavailable())?;
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
                    "the token of an agent was not looked at: {}; the site agent needs the ClusterRole lockstep-token-reviewer",
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
