//! HTTP to one BMC, as nv-redfish's [`HttpClient`].
//!
//! Adds what the port promises: bodies are capped, reads follow redirects on
//! the same origin only and changes follow none, and a failure tells whether
//! the request can have left this process.

mod failure;
mod members;
mod receipt;

use std::sync::Arc;

use http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use nv_redfish::bmc_http::{
    BmcCredentials, HttpClient, HttpPushUriUpdateRequest, MultipartUpdateRequest,
    decode_modification, decode_poll,
};
use nv_redfish::core::{
    BoxTryStream, ModificationResponse, ODataETag, Repair, SessionCreateResponse, UploadReader,
};
use reqwest::{Client, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

pub(crate) use failure::TransportError;
use failure::classify;
pub(crate) use members::CUT;
pub(crate) use receipt::Receipt;

use crate::room::{Held, Room, weigh};
use crate::tls::ObservedPeer;

/// Redirects followed by one read.
const MOST_REDIRECTS: usize = 3;

/// A body that is no longer than this is not counted while it comes in.
const UNCOUNTED: usize = 64 * 1024;

const AUTH_TOKEN: &str = "x-auth-token";

/// HTTP to one BMC. `client` must not follow redirects or retry by itself.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) client: Client,
    /// Told which address answers.
    pub(crate) observed: ObservedPeer,
    /// Longest body taken, in bytes.
    pub(crate) body_limit: usize,
    /// Most memory that one document takes.
    pub(crate) document_room: usize,
    /// What the documents that are read share, where that is counted.
    pub(crate) room: Option<Arc<Room>>,
}

/// A complete answer.
struct Answer {
    url: Url,
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    /// For as much of the body as counts.
    _held: Vec<Held>,
}

impl Answer {
    fn into_success(self) -> Result<Self, TransportError> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(TransportError::Status {
            status: self.status.as_u16(),
            body: String::from_utf8_lossy(&self.body).into_owned(),
        })
    }

    /// The same-origin URL that `Location` names.
    fn location(&self) -> Result<Url, TransportError> {
        let location = self
            .headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| TransportError::Unusable("no Location header".to_owned()))?;
        let target = self
            .url
            .join(location)
            .map_err(|error| TransportError::Unusable(format!("Location: {error}")))?;
        if target.origin() != self.url.origin() {
            return Err(TransportError::Rejected(format!(
                "it leads to another origin, {}",
                target.origin().ascii_serialization()
            )));
        }
        Ok(target)
    }

    fn is_redirect(&self) -> bool {
        matches!(self.status.as_u16(), 301 | 302 | 303 | 307 | 308)
    }
}

impl Transport {
    fn request(
        &self,
        method: Method,
        url: Url,
        credentials: &BmcCredentials,
        headers: &HeaderMap,
    ) -> RequestBuilder {
        let request = self.client.request(method, url).headers(headers.clone());
        match credentials {
            BmcCredentials::UsernamePassword { username, password } => {
                request.basic_auth(username, password.as_ref())
            }
            BmcCredentials::Token { token } => request.header(AUTH_TOKEN, token),
            BmcCredentials::Anonymous => request,
        }
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Answer, TransportError> {
        let mut response: Response = request.send().await.map_err(classify)?;
        if let Some(remote) = response.remote_addr() {
            self.observed.answered_from(remote);
        }
        let mut body = Vec::new();
        let mut held = Vec::new();
        let mut room_for = UNCOUNTED;
        while let Some(chunk) = response.chunk().await.map_err(classify)? {
            if body.len() + chunk.len() > self.body_limit {
                return Err(TransportError::TooLong {
                    limit: self.body_limit,
                });
            }
            body.extend_from_slice(&chunk);
            if let Some(room) = &self.room
                && body.capacity() > room_for
            {
                let more = body.capacity() - room_for;
                held.push(room.hold(more)?);
                room_for = body.capacity();
            }
        }
        let answer = Answer {
            url: response.url().clone(),
            status: response.status(),
            headers: response.headers().clone(),
            body,
            _held: held,
        };
        tracing::trace!(
            path = answer.url.path(),
            status = answer.status.as_u16(),
            bytes = answer.body.len(),
            "BMC answered"
        );
        Ok(answer)
    }

    async fn read(
        &self,
        url: Url,
        credentials: &BmcCredentials,
        etag: Option<&ODataETag>,
        headers: &HeaderMap,
    ) -> Result<Answer, TransportError> {
        let mut url = url;
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.request(Method::GET, url, credentials, headers);
            if let Some(etag) = etag {
                request = request.header(IF_NONE_MATCH, etag.to_string());
            }
            let answer = self.exchange(request).await?;
            if !answer.is_redirect() {
                return answer.into_success();
            }
            url = answer.location()?;
        }
        Err(TransportError::Unusable(format!(
            "more than {MOST_REDIRECTS} redirects"
        )))
    }

    /// Makes sure of the memory for an answer before it is parsed.
    fn weigh(&self, text: &[u8]) -> Result<usize, TransportError> {
        let weight = weigh(text);
        if weight > self.document_room {
            return Err(TransportError::NoRoom(format!(
                "the limit of {} KiB of memory for one document",
                self.document_room / 1024
            )));
        }
        Ok(weight)
    }

    async fn change<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<ModificationResponse<T>, TransportError> {
        let answer = self.exchange(request).await?.into_success()?;
        self.weigh(&answer.body)?;
        Ok(decode_modification(
            &answer.url,
            answer.status,
            &answer.headers,
            &answer.body,
        )?)
    }
}

fn with_json<B: Serialize>(
    request: RequestBuilder,
    body: &B,
) -> Result<RequestBuilder, TransportError> {
    let body = serde_json::to_vec(body)
        .map_err(|error| TransportError::Rejected(format!("the request body: {error}")))?;
    Ok(request.header(CONTENT_TYPE, "application/json").body(body))
}

fn decode<T: DeserializeOwned>(value: Value) -> Result<T, TransportError> {
    nv_redfish::core::repair::decode(value).map_err(TransportError::Undecodable)
}

impl HttpClient for Transport {
    type Error = TransportError;

    async fn get<T>(
        &self,
        url: Url,
        credentials: &BmcCredentials,
        etag: Option<ODataETag>,
        custom_headers: &HeaderMap,
        repair: &impl Repair,
    ) -> Result<T, Self::Error>
    where
        T: DeserializeOwned + Send + Sync,
    {
        let answer = self
            .read(url, credentials, etag.as_ref(), custom_headers)
            .await?;
        let text = members::cut(&answer.body);
        let weight = self.weigh(&text)?;
        if let Some(room) = &self.room {
            room.expect(weight)?;
        }
        let mut value: Value = serde_json::from_slice(&text)
            .map_err(|error| TransportError::Unusable(format!("no JSON: {error}")))?;
        drop(text);
        drop(answer.body);
        repair.repair(&mut value);
        // Platforms that need their own ETag back get it from the document.
        if let Some(etag) = answer.headers.get(ETAG).and_then(|etag| etag.to_str().ok())
            && let Some(document) = value.as_object_mut()
        {
            document
                .entry("@odata.etag")
                .or_insert_with(|| Value::String(etag.to_owned()));
        }
        decode(value)
    }

    async fn poll<T>(
        &self,
        url: Url,
        credentials: &BmcCredentials,
        custom_headers: &HeaderMap,
    ) -> Result<ModificationResponse<T>, Self::Error>
    where
        T: DeserializeOwned + Send + Sync,
    {
        let answer = self.read(url, credentials, None, custom_headers).await?;
        self.weigh(&answer.body)?;
        Ok(decode_poll(
            &answer.url,
            answer.status,
            &answer.headers,
            &answer.body,
        )?)
    }

    async fn post<B, T>(
        &self,
        url: Url,
        body: &B,
        credentials: &BmcCredentials,
        custom_headers: &HeaderMap,
    ) -> Result<ModificationResponse<T>, Self::Error>
    where
        B: Serialize + Send + Sync,
        T: DeserializeOwned + Send + Sync,
    {
        let request = self.request(Method::POST, url, credentials, custom_headers);
        self.change(with_json(request, body)?).await
    }

    async fn post_session<B, T>(
        &self,
        url: Url,
        body: &B,
        custom_headers: &HeaderMap,
    ) -> Result<SessionCreateResponse<T>, Self::Error>
    where
        B: Serialize + Send + Sync,
        T: DeserializeOwned + Send + Sync,
    {
        let anonymous = BmcCredentials::Anonymous;
        let request = self.request(Method::POST, url, &anonymous, custom_headers);
        let answer = self
            .exchange(with_json(request, body)?)
            .await?
            .into_success()?;
        self.weigh(&answer.body)?;
        let auth_token = answer
            .headers
            .get(AUTH_TOKEN)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| TransportError::Unusable("no X-Auth-Token header".to_owned()))?
            .to_owned();
        let location = answer.location()?.path().to_owned().into();
        let value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(SessionCreateResponse {
            entity: decode(value)?,
            auth_token,
            location,
        })
    }

    async fn post_multipart_update<U, V, T>(
        &self,
        _url: Url,
        _request: MultipartUpdateRequest<'_, U, V>,
        _credentials: &BmcCredentials,
        _custom_headers: &HeaderMap,
    ) -> Result<ModificationResponse<T>, Self::Error>
    where
        U: UploadReader,
        T: DeserializeOwned + Send + Sync,
        V: Serialize + Send + Sync,
    {
        Err(outside_the_port("an upload"))
    }

    async fn post_http_push_uri_update<U, T>(
        &self,
        _url: Url,
        _request: HttpPushUriUpdateRequest<U>,
        _credentials: &BmcCredentials,
        _custom_headers: &HeaderMap,
    ) -> Result<ModificationResponse<T>, Self::Error>
    where
        U: UploadReader,
        T: DeserializeOwned + Send + Sync,
    {
        Err(outside_the_port("an upload"))
    }

    async fn patch<B, T>(
        &self,
        url: Url,
        etag: ODataETag,
        body: &B,
        credentials: &BmcCredentials,
        custom_headers: &HeaderMap,
    ) -> Result<ModificationResponse<T>, Self::Error>
    where
        B: Serialize + Send + Sync,
        T: DeserializeOwned + Send + Sync,
    {
        let request = || {
            let request = self.request(Method::PATCH, url.clone(), credentials, custom_headers);
            with_json(request, body)
        };
        let conditional = request()?.header(IF_MATCH, etag.to_string());
        match self.change(conditional).await {
            // Some BMCs refuse the condition itself. What is refused was not done, so that it may
            // be asked for once more.
            Err(TransportError::Status { status, body }) if condition_refused(status, &body) => {
                self.change(request()?).await
            }
            answer => answer,
        }
    }

    async fn delete<T>(
        &self,
        url: Url,
        credentials: &BmcCredentials,
        custom_headers: &HeaderMap,
    ) -> Result<ModificationResponse<T>, Self::Error>
    where
        T: DeserializeOwned + Send + Sync,
    {
        let request = self.request(Method::DELETE, url, credentials, custom_headers);
        self.change(request).await
    }

    async fn sse<T: Sized + for<'de> Deserialize<'de> + Send>(
        &self,
        _url: Url,
        _credentials: &BmcCredentials,
        _custom_headers: &HeaderMap,
    ) -> Result<BoxTryStream<T, Self::Error>, Self::Error> {
        Err(outside_the_port("an event stream"))
    }
}

/// Whether an answer refuses `If-Match`, and not what was asked.
fn condition_refused(status: u16, body: &str) -> bool {
    match status {
        412 => true,
        400 => {
            let body = body.to_ascii_lowercase();
            body.contains("if-match") || body.contains("etag")
        }
        _ => false,
    }
}

/// What nv-redfish's trait has and the port does not use: uploads are sent by [`Transport::offer`],
/// which keeps what a BMC answers.
fn outside_the_port(what: &str) -> TransportError {
    TransportError::Rejected(format!("{what} is no part of the BMC port"))
}
