//! What a BMC answers where the answer itself matters: to the offer of an update, and of a task's
//! monitor. nv-redfish's decoding drops what such an answer is made of.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method};
use nv_redfish::bmc_http::BmcCredentials;
use serde_json::Value;
use url::Url;

use super::{Answer, Transport, TransportError, with_json};
use crate::update::Upload;

/// Longest wait that a BMC may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// An answer, success or not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Receipt {
    pub(crate) status: u16,
    /// `Location` as it is written.
    pub(crate) location: Option<String>,
    /// `Retry-After`, where it is a number of seconds.
    pub(crate) retry_after: Option<Duration>,
    /// The body; null where there is none, or where it is no JSON.
    pub(crate) body: Value,
}

impl Receipt {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Transport {
    /// POSTs the offer of an update, once: parameters, or an image on its way out.
    pub(crate) async fn offer(
        &self,
        url: Url,
        credentials: &BmcCredentials,
        parameters: &Value,
        upload: Option<Upload>,
    ) -> Result<Receipt, TransportError> {
        let request = self.request(Method::POST, url, credentials, &HeaderMap::new());
        let request = match upload {
            Some(upload) => request
                .header(CONTENT_TYPE, upload.content_type)
                .header(CONTENT_LENGTH, upload.length)
                .body(upload.body),
            None => with_json(request, parameters)?,
        };
        let answer = self.exchange(request).await?;
        self.receipt(&answer)
    }

    /// GETs what answers with more than a document: a task's monitor.
    pub(crate) async fn look(
        &self,
        url: Url,
        credentials: &BmcCredentials,
    ) -> Result<Receipt, TransportError> {
        let request = self.request(Method::GET, url, credentials, &HeaderMap::new());
        let answer = self.exchange(request).await?;
        self.receipt(&answer)
    }

    fn receipt(&self, answer: &Answer) -> Result<Receipt, TransportError> {
        self.weigh(&answer.body)?;
        let header = |name| {
            let value = answer.headers.get(name)?;
            value.to_str().ok().map(str::trim)
        };
        let seconds = header(RETRY_AFTER).and_then(|text| text.parse().ok());
        Ok(Receipt {
            status: answer.status.as_u16(),
            location: header(LOCATION).map(str::to_owned),
            retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT)),
            body: serde_json::from_slice(&answer.body).unwrap_or_default(),
        })
    }
}
