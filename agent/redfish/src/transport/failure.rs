//! Why an exchange failed, sorted by how far the request can have come.

use std::error::Error as StdError;

use nv_redfish::bmc_http::{
    CacheableError, ModificationDecodeError, RejectedUriReferenceError, RequestError,
};
use nv_redfish::core::{ActionError, BmcError as CoreError, BmcErrorClass, DecodeError};
use rustls::CertificateError;

use crate::room::Full;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// No connection came about, so the request did not leave.
    #[error("{0}")]
    NotConnected(String),
    /// The peer did not prove itself, so the request did not leave.
    #[error("{0}")]
    Untrusted(String),
    /// The connection failed while or after the request was sent.
    #[error("{0}")]
    Lost(String),
    /// An answer other than success.
    #[error("HTTP {status}")]
    Status { status: u16, body: String },
    /// An answer longer than allowed.
    #[error("the answer is longer than {limit} bytes")]
    TooLong { limit: usize },
    /// An answer that takes more memory than one of this BMC may: why.
    #[error("the answer is not taken: {0}")]
    NoRoom(String),
    /// No memory was left for an answer, whatever it is: why.
    #[error("{0}")]
    Crowded(String),
    /// An answer that cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// An answer that is JSON and not what was asked for.
    #[error("{0}")]
    Undecodable(DecodeError),
    /// The request was never sent because of what it asks for.
    #[error("{0}")]
    Rejected(String),
}

impl From<Full> for TransportError {
    fn from(full: Full) -> Self {
        match full {
            Full::Own(_) => Self::NoRoom(full.to_string()),
            Full::Shared(_) => Self::Crowded(full.to_string()),
        }
    }
}

impl CoreError for TransportError {
    fn error_class(&self) -> BmcErrorClass {
        match self {
            Self::NotConnected(_) | Self::Untrusted(_) | Self::Lost(_) => BmcErrorClass::Transport,
            Self::Status { status, .. } => BmcErrorClass::HttpResponse { status: *status },
            Self::TooLong { .. }
            | Self::NoRoom(_)
            | Self::Crowded(_)
            | Self::Unusable(_)
            | Self::Undecodable(_) => BmcErrorClass::ResponseParse,
            Self::Rejected(_) => BmcErrorClass::Other,
        }
    }

    fn response_body(&self) -> Option<&str> {
        match self {
            Self::Status { body, .. } => Some(body),
            Self::NotConnected(_)
            | Self::Untrusted(_)
            | Self::Lost(_)
            | Self::TooLong { .. }
            | Self::NoRoom(_)
            | Self::Crowded(_)
            | Self::Unusable(_)
            | Self::Undecodable(_)
            | Self::Rejected(_) => None,
        }
    }

    fn into_decode_error(self) -> Result<DecodeError, Self> {
        match self {
            Self::Undecodable(error) => Ok(error),
            other @ (Self::NotConnected(_)
            | Self::Untrusted(_)
            | Self::Lost(_)
            | Self::Status { .. }
            | Self::TooLong { .. }
            | Self::NoRoom(_)
            | Self::Crowded(_)
            | Self::Unusable(_)
            | Self::Rejected(_)) => Err(other),
        }
    }
}

impl CacheableError for TransportError {
    fn is_cached(&self) -> bool {
        matches!(self, Self::Status { status: 304, .. })
    }

    fn cache_miss() -> Self {
        Self::Unusable("304 Not Modified without a question about it".to_owned())
    }

    fn cache_error(reason: String) -> Self {
        Self::Unusable(reason)
    }
}

impl RequestError for TransportError {
    fn rejected_uri_reference(error: RejectedUriReferenceError) -> Self {
        Self::Rejected(error.reason)
    }
}

impl ActionError for TransportError {
    fn not_supported() -> Self {
        Self::Rejected("the BMC does not offer this action".to_owned())
    }
}

impl From<ModificationDecodeError> for TransportError {
    fn from(error: ModificationDecodeError) -> Self {
        match error {
            ModificationDecodeError::InvalidResponse { status, text, .. } => Self::Status {
                status: status.as_u16(),
                body: text,
            },
            ModificationDecodeError::Json(error) => Self::Unusable(error.to_string()),
            ModificationDecodeError::Decode(error) => Self::Undecodable(error),
            other => Self::Unusable(other.to_string()),
        }
    }
}

/// Sorts a client error by how far the request can have come.
pub(super) fn classify(error: reqwest::Error) -> TransportError {
    let connecting = error.is_connect();
    let malformed = error.is_builder();
    let error = error.without_url();
    let mut reason = String::new();
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(reason) = certificate_reason(current) {
            return TransportError::Untrusted(reason);
        }
        let text = current.to_string();
        if !reason.ends_with(&text) {
            if !reason.is_empty() {
                reason.push_str(": ");
            }
            reason.push_str(&text);
        }
        cause = current.source();
    }
    if malformed {
        TransportError::Rejected(reason)
    } else if connecting {
        TransportError::NotConnected(reason)
    } else {
        TransportError::Lost(reason)
    }
}

/// The reason for which rustls refused the peer's certificate, if that is what
/// an error is, or what I/O errors around it wrap.
fn certificate_reason(error: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(io) = error.downcast_ref::<std::io::Error>() {
        return certificate_reason(io.get_ref()?);
    }
    let error = error.downcast_ref::<rustls::Error>()?;
    if let rustls::Error::InvalidCertificate(CertificateError::Other(ours)) = error {
        return Some(ours.0.to_string());
    }
    matches!(error, rustls::Error::InvalidCertificate(_)).then(|| error.to_string())
}
