//! The way to one server: which account is shown there, and what is asked for it instead.

use http::{HeaderValue, StatusCode};
use reqwest::Response;
use serde::Deserialize;
use url::Url;

use crate::FetchError;
use crate::accounts::Accounts;
use crate::challenge::Challenge;
use crate::client::{Client, Question, shown};
use crate::partial::Validator;
use crate::source::{ImageSource, Place, host_and_port};

/// The longest answer of a token server.
const MOST_TOKEN: usize = 256 << 10;

/// What is shown to the server of one source, over all attempts of a fetch.
pub(crate) struct Access {
    accounts: Accounts,
    /// The repository of a registry; a plain server has none and gives no tokens.
    repository: Option<String>,
    authorization: Option<HeaderValue>,
    /// Whether an account was shown, here or for a token.
    account_shown: bool,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Access {
    pub(crate) fn to(source: &ImageSource) -> Self {
        let (repository, authorization) = match &source.place {
            // Such servers do not always ask.
            Place::File(url) => {
                let path = url.path().trim_start_matches('/');
                (None, source.accounts.header(url, path))
            }
            Place::Artefact(artefact) => (Some(artefact.repository().to_owned()), None),
        };
        Self {
            accounts: source.accounts.clone(),
            repository,
            account_shown: authorization.is_some(),
            authorization,
        }
    }

    /// Asks, and asks once more with what a registry wants to see for it. A token may have ended
    /// since the last time, and then another is asked for.
    pub(crate) async fn get(
        &mut self,
        client: &Client,
        url: &Url,
        accept: Option<&str>,
        rest: Option<(u64, &Validator)>,
    ) -> Result<Response, FetchError> {
        let question = Question {
            rest,
            accept,
            authorization: None,
        };
        let known = Question {
            authorization: self.authorization.as_ref(),
            ..question
        };
        let response = client.get(url, known).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(authorization) = self.answer(client, url, &response).await? else {
            return Ok(response);
        };
        drop(response);
        let anew = Question {
            authorization: Some(&authorization),
            ..question
        };
        let response = client.get(url, anew).await?;
        self.authorization = Some(authorization);
        Ok(response)
    }

    /// What a registry's challenges ask for, if we have it.
    async fn answer(
        &mut self,
        client: &Client,
        url: &Url,
        response: &Response,
    ) -> Result<Option<HeaderValue>, FetchError> {
        let Some(repository) = self.repository.clone() else {
            return Ok(None);
        };
        let challenges = Challenge::all(response.headers());
        if let Some(bearer) = challenges.iter().find(|each| each.is("Bearer")) {
            return self.token(client, url, &repository, bearer).await.map(Some);
        }
        let account = self.accounts.header(url, &repository);
        if !challenges.iter().any(|each| each.is("Basic")) {
            return Ok(None);
        }
        self.account_shown |= account.is_some();
        Ok(account)
    }

    /// A token to read the repository and nothing else, whatever the challenge would have.
    async fn token(
        &mut self,
        client: &Client,
        url: &Url,
        repository: &str,
        bearer: &Challenge,
    ) -> Result<HeaderValue, FetchError> {
        let realm = bearer
            .parameter("realm")
            .and_then(|realm| Url::parse(realm).ok())
            .ok_or_else(|| FetchError::InvalidResponse {
                url: shown(url),
                reason: "it wants a token and names no server for it".to_owned(),
            })?;
        if realm.scheme() != "https" {
            return Err(FetchError::TokenServerRefused {
                url: shown(url),
                realm: shown(&realm),
                reason: "it is no https URL, so that others could read the token".to_owned(),
            });
        }
        let account = self.accounts.header(&realm, repository);
        let elsewhere = realm.origin() != url.origin();
        if account.is_none() && elsewhere && self.accounts.header(url, repository).is_some() {
            return Err(FetchError::TokenServerRefused {
                url: shown(url),
                realm: shown(&realm),
                reason: format!(
                    "the Secret has an account for {} and none for {}, and an account is shown to its own host alone",
                    host_and_port(url),
                    host_and_port(&realm)
                ),
            });
        }
        self.account_shown |= account.is_some();
        let mut asked = realm.clone();
        asked.set_fragment(None);
        {
            let mut query = asked.query_pairs_mut();
            if let Some(service) = bearer.parameter("service") {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &format!("repository:{repository}:pull"));
        }
        let question = Question {
            authorization: account.as_ref(),
            ..Question::default()
        };
        let response = client.get(&asked, question).await?;
        if response.status() != StatusCode::OK {
            return Err(self.judge(shown(&realm), response.status()));
        }
        let body = client.read(&realm, MOST_TOKEN, response).await?;
        let answer: Option<TokenAnswer> = serde_json::from_slice(&body).ok();
        let value = answer
            .and_then(|answer| answer.token.or(answer.access_token))
            .and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let Some(mut value) = value else {
            return Err(FetchError::InvalidResponse {
                url: shown(&realm),
                reason: "it gives no token".to_owned(),
            });
        };
        value.set_sensitive(true);
        Ok(value)
    }

    /// What an answer means that brings nothing.
    pub(crate) fn judge(&self, url: String, status: StatusCode) -> FetchError {
        refused(url, status, self.account_shown)
    }
}

/// What a status means that brings nothing.
fn refused(url: String, status: StatusCode, account_shown: bool) -> FetchError {
    let code = status.as_u16();
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => FetchError::NotFound { url, status: code },
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            if account_shown {
                FetchError::CredentialsRefused { url, status: code }
            } else {
                FetchError::Unauthorized { url, status: code }
            }
        }
        _ if status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT =>
        {
            FetchError::ServerError { url, status: code }
        }
        _ => FetchError::InvalidResponse {
            url,
            reason: format!("status {code}"),
        },
    }
}
