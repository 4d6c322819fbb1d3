//! Small files that belong to an image, such as its signatures: read whole, and not kept.

use http::StatusCode;
use tokio::time::timeout;
use url::Url;

use crate::access::Access;
use crate::client::{Client, shown};
use crate::source::{ImageSource, Place};
use crate::{FetchError, FetchLimits};

/// The whole file, which has at most `most` bytes, within the time that a source has for its
/// headers. Addresses, redirects and who is shown an account are judged as an image's.
pub(crate) async fn read(
    client: &Client,
    limits: &FetchLimits,
    source: &ImageSource,
    most: usize,
) -> Result<Vec<u8>, FetchError> {
    let Place::File(file) = &source.place else {
        return Err(FetchError::SourceInvalid {
            url: source.place.to_string(),
            reason: "it is no file behind a URL",
        });
    };
    let mut access = Access::to(source);
    let reading = timeout(limits.response, whole(client, &mut access, file, most));
    reading.await.unwrap_or_else(|_| {
        Err(FetchError::TooSlow {
            url: shown(file),
            received: 0,
            seconds: limits.response.as_secs(),
        })
    })
}

async fn whole(
    client: &Client,
    access: &mut Access,
    file: &Url,
    most: usize,
) -> Result<Vec<u8>, FetchError> {
    let url = || shown(file);
    let mut response = access.get(client, file, None, None).await?;
    if response.status() != StatusCode::OK {
        return Err(access.judge(url(), response.status()));
    }
    let too_large = || FetchError::DocumentTooLarge { url: url(), most };
    let announced = response.content_length();
    if announced.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > most => return Err(too_large()),
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(_) => {
                return Err(FetchError::Truncated {
                    url: url(),
                    received: bytes.len() as u64,
                    expected: announced,
                });
            }
        }
    }
}
