//! The token that a card gets in its seed, and whether it lives long enough to be of use.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use lockstep_crds::names;

use crate::clock;
use crate::kube_client::REQUEST_DEADLINE;
use crate::site::judge::Refusal;
use crate::site::worker::Worker;

/// As long as an image lives on a card; the API server may allow less.
const TOKEN_SECONDS: i64 = 10 * 365 * 24 * 3600;
/// A card whose token ends sooner goes silent before anybody would install it anew.
const SHORTEST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// For how long a card needs its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// As long as it runs the image.
    OfTheImage,
    /// Until it has told that it is wiped.
    OfTheWipe,
}

impl Worker {
    /// A token of the card's report-only identity; for the API server unless it is for somebody else.
    pub(super) async fn token(
        &self,
        audience: Option<&str>,
        lifetime: Lifetime,
    ) -> Result<String, Refusal> {
        let account = names::xpu(&self.current().key.name);
        let api: Api<ServiceAccount> =
            Api::namespaced(self.site.client.clone(), &self.site.config.namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                audiences: audience.into_iter().map(str::to_owned).collect(),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let params = PostParams {
            field_manager: Some("lockstep-agent/seed".to_owned()),
            ..PostParams::default()
        };
        let call = api.create_token_request(&account, &params, &request);
        let refused = |why: String| {
            Refusal::new(
                "TokenRefused",
                format!(
                    "no token for ServiceAccount {account}: {why}; check that the operator runs (it makes the account) and that this agent may create serviceaccounts/token"
                ),
            )
        };
        let answer = match tokio::time::timeout(REQUEST_DEADLINE, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => return Err(refused("the API server gave no answer".to_owned())),
        };
        let status = answer.status;
        let granted = status.ok_or_else(|| refused("the answer holds none".to_owned()))?;
        judge(
            granted.expiration_timestamp.0,
            clock::now().0,
            lifetime,
            &account,
        )?;
        Ok(granted.token)
    }
}

/// Whether a token that ends then will do.
fn judge(
    ends: Timestamp,
    now: Timestamp,
    lifetime: Lifetime,
    account: &str,
) -> Result<(), Refusal> {
    let granted = ends.duration_since(now);
    if lifetime == Lifetime::OfTheWipe || granted >= SHORTEST {
        return Ok(());
    }
    Err(Refusal::new(
        "TokenShort",
        format!(
            "nothing was staged: the API server grants ServiceAccount {account} a token that ends in {} hours, at {ends}, whatever is asked for, and there is no renewal: the card would go silent then. Raise --service-account-max-token-expiration of the API server to {} days at least, best to some years, and change retryToken",
            granted.as_hours(),
            SHORTEST.as_hours() / 24
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_ends_while_the_card_runs_is_refused_with_what_caps_it() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let judged = |hours: i64, lifetime| {
            let ends = now + SignedDuration::from_hours(hours);
            judge(ends, now, lifetime, "xpu-c1")
        };
        let refusal = judged(24, Lifetime::OfTheImage).unwrap_err();
        assert_eq!(refusal.reason, "TokenShort");
        for said in [
            "in 24 hours",
            "2026-01-02",
            "--service-account-max-token-expiration",
        ] {
            assert!(refusal.message.contains(said), "{}", refusal.message);
        }
        assert!(judged(30 * 24 - 1, Lifetime::OfTheImage).is_err());
        assert!(judged(30 * 24, Lifetime::OfTheImage).is_ok());
        assert!(judged(1, Lifetime::OfTheWipe).is_ok());
    }
}
