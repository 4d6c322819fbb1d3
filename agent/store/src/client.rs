//! The HTTP client: which addresses it dials, which redirects it follows,
//! and what its failures mean.

use std::error::Error;
use std::io;
use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, IF_RANGE, LOCATION, RANGE};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Response, redirect};
use tokio::time::timeout;
use url::{Host, Url};

use crate::inner::lock;
use crate::partial::Validator;
use crate::{FetchError, FetchLimits, OpenError, SourcePolicy};

const MAX_REDIRECTS: usize = 5;

/// What is asked of a server.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Question<'a> {
    /// The rest from a byte on, if it is still what the validator says.
    pub(crate) rest: Option<(u64, &'a Validator)>,
    /// Which media types will do.
    pub(crate) accept: Option<&'a str>,
    /// What is shown for it.
    pub(crate) authorization: Option<&'a HeaderValue>,
}

/// Fetches from image servers within a policy.
#[derive(Debug)]
pub(crate) struct Client {
    trusting: Mutex<Trusting>,
    policy: Arc<SourcePolicy>,
    limits: FetchLimits,
}

/// A client that trusts certain authorities.
#[derive(Debug, Clone)]
struct Trusting {
    http: reqwest::Client,
    /// Why no https source can be trusted, if so.
    no_trust: Option<String>,
}

impl Client {
    pub(crate) fn new(
        policy: SourcePolicy,
        limits: FetchLimits,
        ca_bundle: Option<&[u8]>,
    ) -> Result<Self, OpenError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(OpenError::NoCryptoProvider);
        }
        let policy = Arc::new(policy);
        Ok(Self {
            trusting: Mutex::new(Trusting::new(&policy, &limits, ca_bundle)?),
            policy,
            limits,
        })
    }

    /// Trusts these authorities alone, for whatever is asked from now on.
    pub(crate) fn trust(&self, ca_bundle: &[u8]) -> Result<(), OpenError> {
        let trusting = Trusting::new(&self.policy, &self.limits, Some(ca_bundle))?;
        *lock(&self.trusting) = trusting;
        Ok(())
    }

    /// Whether a URL may be asked at all.
    pub(crate) fn admit(&self, url: &Url) -> Result<(), FetchError> {
        let invalid = |reason| FetchError::SourceInvalid {
            url: shown(url),
            reason,
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("only http and https are supported"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("it carries credentials"));
        }
        let literal: IpAddr = match url.host() {
            None => return Err(invalid("it has no host")),
            // Names are judged by the resolver, address by address.
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
        };
        if self.policy.allows(literal) {
            Ok(())
        } else {
            Err(FetchError::SourceNotAllowed {
                url: shown(url),
                address: literal.to_string(),
            })
        }
    }

    /// Asks, and follows redirects within the same origin, so that what is shown to one server
    /// is shown to no other. Any other status is returned.
    pub(crate) async fn get(
        &self,
        source: &Url,
        question: Question<'_>,
    ) -> Result<Response, FetchError> {
        self.admit(source)?;
        let mut url = source.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.get_once(&url, question).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let next = response
                .headers()
                .get(LOCATION)
                .and_then(|location| location.to_str().ok())
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| FetchError::InvalidResponse {
                    url: shown(&url),
                    reason: format!("status {} without a usable Location", response.status()),
                })?;
            if next.origin() != source.origin() {
                return Err(FetchError::RedirectRefused {
                    from: shown(&url),
                    to: shown(&next),
                    reason: "only redirects within the same scheme, host and port are followed",
                });
            }
            url = next;
        }
        Err(FetchError::RedirectRefused {
            from: shown(source),
            to: shown(&url),
            reason: "more than five redirects",
        })
    }

    async fn get_once(&self, url: &Url, question: Question<'_>) -> Result<Response, FetchError> {
        let Trusting { http, no_trust } = lock(&self.trusting).clone();
        let mut request = http.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some((from, validator)) = question.rest {
            request = request.header(RANGE, format!("bytes={from}-"));
            if let Some(validator) = validator.if_range() {
                request = request.header(IF_RANGE, validator);
            }
        }
        if let Some(kinds) = question.accept {
            request = request.header(ACCEPT, kinds);
        }
        if let Some(authorization) = question.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        match timeout(self.limits.response, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.classify(url, &error, no_trust.as_deref())),
            Err(_) => Err(FetchError::TooSlow {
                url: shown(url),
                received: 0,
                seconds: self.limits.response.as_secs(),
            }),
        }
    }

    /// The whole body, if it is no longer than `limit` and comes in time.
    pub(crate) async fn read(
        &self,
        url: &Url,
        limit: usize,
        mut response: Response,
    ) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        let reading = async {
            while let Some(chunk) = response.chunk().await.map_err(|error| {
                let reason = deepest(&error);
                let url = shown(url);
                FetchError::InvalidResponse { url, reason }
            })? {
                if body.len() + chunk.len() > limit {
                    return Err(FetchError::InvalidResponse {
                        url: shown(url),
                        reason: format!("it is longer than the {limit} bytes allowed for it"),
                    });
                }
                body.extend_from_slice(&chunk);
            }
            Ok(())
        };
        match timeout(self.limits.response, reading).await {
            Ok(read) => read?,
            Err(_) => {
                return Err(FetchError::TooSlow {
                    url: shown(url),
                    received: body.len() as u64,
                    seconds: self.limits.response.as_secs(),
                });
            }
        }
        Ok(body)
    }

    fn classify(&self, url: &Url, error: &reqwest::Error, no_trust: Option<&str>) -> FetchError {
        let url = shown(url);
        if let Some(denied) = causes(error).find_map(|cause| cause.downcast_ref::<AddressDenied>())
        {
            return FetchError::SourceNotAllowed {
                url,
                address: denied.addresses.clone(),
            };
        }
        let tls = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
        match tls {
            Some(
                rustls::Error::InvalidCertificate(_)
                | rustls::Error::InvalidCertRevocationList(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::UnsupportedNameType,
            ) => {
                let why = deepest(error);
                FetchError::TlsUntrusted {
                    url,
                    reason: match no_trust {
                        Some(missing) => format!("{why} ({missing})"),
                        None => why,
                    },
                }
            }
            Some(_) | None if error.is_connect() && error.is_timeout() => FetchError::Unreachable {
                url,
                reason: format!("no connection within {} s", self.limits.connect.as_secs()),
            },
            Some(_) | None => FetchError::Unreachable {
                url,
                reason: deepest(error),
            },
        }
    }
}

impl Trusting {
    fn new(
        policy: &Arc<SourcePolicy>,
        limits: &FetchLimits,
        ca_bundle: Option<&[u8]>,
    ) -> Result<Self, OpenError> {
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("lockstep-store/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                // Through a proxy the policy would bind the proxy's address
                // instead of the source's.
                .no_proxy()
                .referer(false)
                // A connection that died idle would cost an attempt.
                .pool_max_idle_per_host(0)
                .connect_timeout(limits.connect)
                .dns_resolver(PolicyResolver {
                    policy: Arc::clone(policy),
                })
        };
        let failed = |error: reqwest::Error| OpenError::Client {
            reason: deepest(&error),
        };
        let (http, no_trust) = match ca_bundle {
            Some(pem) => {
                let unusable = |reason| OpenError::CaBundle { reason };
                let roots =
                    Certificate::from_pem_bundle(pem).map_err(|error| unusable(deepest(&error)))?;
                if roots.is_empty() {
                    return Err(unusable("it has no certificate".to_owned()));
                }
                let http = builder().tls_certs_only(roots).build();
                (http.map_err(|error| unusable(deepest(&error)))?, None)
            }
            // A container without a trust store must still fetch over http.
            None => match builder().build() {
                Ok(http) => (http, None),
                Err(error) => {
                    let http = builder().tls_certs_only([]).build().map_err(failed)?;
                    (http, Some(deepest(&error)))
                }
            },
        };
        Ok(Self { http, no_trust })
    }
}

/// A URL as it may stand in logs and conditions: without query, fragment and
/// credentials, which may be secrets.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that cannot have credentials.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return format!("{}:", url.scheme());
    }
    url.into()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |cause: &&'a (dyn Error + 'static)| {
        let cause: &'a (dyn Error + 'static) = *cause;
        // The source of an io::Error is the source of what it wraps; what it
        // wraps would be skipped.
        match cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => cause.source(),
        }
    })
}

/// The last cause, which is the one that says what happened.
pub(crate) fn deepest(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

#[derive(Debug, thiserror::Error)]
#[error("{addresses} not allowed")]
struct AddressDenied {
    addresses: String,
}

/// Resolves names to allowed addresses only, so that what was checked is what
/// is dialled.
#[derive(Debug)]
struct PolicyResolver {
    policy: Arc<SourcePolicy>,
}

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            let all: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (allowed, denied): (Vec<_>, Vec<_>) = all
                .into_iter()
                .partition(|address| policy.allows(address.ip()));
            if allowed.is_empty() && !denied.is_empty() {
                let addresses: Vec<_> = denied.iter().map(|each| each.ip().to_string()).collect();
                return Err(AddressDenied {
                    addresses: addresses.join(", "),
                }
                .into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_urls_are_not_shown() {
        let url = Url::parse("https://user:word@host:8443/a/b.iso?token=secret#part").unwrap();
        assert_eq!(shown(&url), "https://host:8443/a/b.iso");
        assert_eq!(shown(&Url::parse("data:secret").unwrap()), "data:");
    }
}
