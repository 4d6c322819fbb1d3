//! Whose token the store is shown, by the API server's word.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

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
    queues: Queues,
}

/// One question at a time for each address: whoever asks much waits behind themselves.
#[derive(Default)]
struct Queues(Mutex<HashMap<IpAddr, Weak<tokio::sync::Mutex<()>>>>);

impl Queues {
    fn of(&self, peer: IpAddr) -> Arc<tokio::sync::Mutex<()>> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|_, queue| queue.strong_count() > 0);
        if let Some(queue) = queues.get(&peer).and_then(Weak::upgrade) {
            return queue;
        }
        let queue = Arc::default();
        queues.insert(peer, Arc::downgrade(&queue));
        queue
    }
}

impl TokenReviews {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            at_once: Semaphore::new(REVIEWS),
            queues: Queues::default(),
        }
    }

    /// Who asks, from that address.
    pub(super) async fn user(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
    ) -> Result<UserInfo, Response> {
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| StatusCode::UNAUTHORIZED.into_response())?;
        let unavailable =
            || (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")]).into_response();
        let queue = self.queues.of(peer);
        let _ahead_of_the_same = queue.lock().await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use axum::extract::State;
    use axum::{Json, Router};
    use kube::Config;
    use serde_json::{Value, json};
    use tokio::sync::Notify;

    /// An API server that never answers about the token `slow`.
    async fn api(asked: Arc<Notify>) -> Client {
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        let answer = |State(asked): State<Arc<Notify>>, Json(mut review): Json<Value>| async move {
            if review["spec"]["token"] == "slow" {
                asked.notify_one();
                std::future::pending::<()>().await;
            }
            review["status"] = json!({
                "authenticated": true, "audiences": [AUDIENCE], "user": {"username": "somebody"},
            });
            Json(review)
        };
        let router = Router::new().fallback(answer).with_state(asked);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Client::try_from(Config::new(url.parse().unwrap())).unwrap()
    }

    fn shows(token: &str) -> HeaderMap {
        let shown = format!("Bearer {token}").parse().unwrap();
        HeaderMap::from_iter([(AUTHORIZATION, shown)])
    }

    #[tokio::test]
    async fn whoever_asks_much_keeps_nobody_else_waiting() {
        let asked = Arc::new(Notify::new());
        let reviews = Arc::new(TokenReviews::new(api(Arc::clone(&asked)).await));
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..2 * REVIEWS {
            let reviews = Arc::clone(&reviews);
            tokio::spawn(async move { reviews.user(&shows("slow"), one).await.map(drop) });
        }
        asked.notified().await;
        let good = shows("good");
        let answered = tokio::time::timeout(Duration::from_secs(10), reviews.user(&good, other));
        let user = answered.await.expect("it waits for another").unwrap();
        assert_eq!(user.username.as_deref(), Some("somebody"));
        drop(reviews.queues.of(one));
        let kept = reviews.queues.0.lock().unwrap().len();
        assert_eq!(kept, 1, "those that nobody waits in are gone");
    }
}
