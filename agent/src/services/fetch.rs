//! Getting the bytes of a service from the site's store, going on where an earlier try was cut off.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex as Held, PoisonError, Weak};
use std::time::Duration;

use lockstep_store::Digest;
use reqwest::header::{AUTHORIZATION, RANGE};
use reqwest::{Certificate, Client, Response, StatusCode, redirect};
use tokio::sync::{Mutex, OwnedMutexGuard};
use url::Url;

use super::shelf::{MOST, Shelf, unusable};
use crate::seed::StoreSeed;
use crate::site::judge::Refusal;

const CONNECT: Duration = Duration::from_secs(10);
/// How long the store may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// The site's store, as this card reaches it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    http: Client,
    base: Url,
    token: String,
    /// uid of the card's object.
    card: String,
    turns: Turns,
}

/// Whose turn it is to write the bytes of a digest: services may share them.
#[derive(Clone, Debug, Default)]
struct Turns(Arc<Held<BTreeMap<Digest, Weak<Mutex<()>>>>>);

/// Held as long as anything is written under a digest.
type Turn = OwnedMutexGuard<()>;

impl Turns {
    async fn at(&self, digest: Digest) -> Turn {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let had = turns.get(&digest).and_then(Weak::upgrade);
            let turn = had.unwrap_or_default();
            turns.insert(digest, Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
}

impl Source {
    pub(super) fn new(store: &StoreSeed, card: &str) -> anyhow::Result<Self> {
        let roots = match &store.ca {
            None => Vec::new(),
            Some(pem) => Certificate::from_pem_bundle(pem.as_bytes())?,
        };
        let http = Client::builder()
            .user_agent(concat!("lockstep-agent/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // The seed names whom to trust, and nobody else counts.
            .tls_certs_only(roots)
            .build()?;
        Ok(Self {
            http,
            base: store.url.parse()?,
            token: store.token.clone(),
            card: card.to_owned(),
            turns: Turns::default(),
        })
    }

    /// Has the bytes on the shelf, verified. What came before it was cut off stays there. Whoever wants
    /// the same bytes meanwhile waits, and takes what is there then.
    pub(super) async fn fetch(&self, shelf: &Shelf, digest: Digest) -> Result<(), Refusal> {
        let turn = self.turns.at(digest).await;
        if shelf.has(&digest) {
            return Ok(());
        }
        let mut file = shelf.partial(&digest).map_err(|error| unusable(&error))?;
        let had = file.metadata().map_err(|error| unusable(&error))?.len();
        let mut response = self.ask(&digest, had).await?;
        let mut total = match response.status() {
            StatusCode::PARTIAL_CONTENT => had,
            // All of it is here already, or more than there is: its digest will tell.
            StatusCode::RANGE_NOT_SATISFIABLE if had > 0 => {
                return published(shelf, digest, turn).await;
            }
            _ => {
                file.set_len(0).map_err(|error| unusable(&error))?;
                0
            }
        };
        bounded(total + response.content_length().unwrap_or(0))?;
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| unreachable(&error))?
        {
            total += piece.len() as u64;
            // It need not say how long it is, or speak the truth.
            bounded(total)?;
            file.write_all(&piece).map_err(|error| unusable(&error))?;
        }
        drop(file);
        published(shelf, digest, turn).await
    }

    async fn ask(&self, digest: &Digest, had: u64) -> Result<Response, Refusal> {
        let base = self.base.as_str().trim_end_matches('/');
        let url = format!("{base}/s/{}/{}", self.card, digest.hex());
        let mut request = self.http.get(url);
        request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
        if had > 0 {
            request = request.header(RANGE, format!("bytes={had}-"));
        }
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let is_answer = status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE;
        if is_answer {
            return Ok(response);
        }
        Err(Refusal::new(
            "StoreRefused",
            format!(
                "the image store at {} answers {status}: 401 and 403 speak of the card's token, 404 of a service that is not offered to this card, 503 of a store that cannot tell or has it no more; see the site agent's log",
                self.base
            ),
        ))
    }
}

/// It goes on where its fetch is given up, and holds the turn until it has ended.
async fn published(shelf: &Shelf, digest: Digest, turn: Turn) -> Result<(), Refusal> {
    let shelf = shelf.clone();
    let publish = move || {
        let published = shelf.publish(&digest);
        drop(turn);
        published
    };
    let hashed = tokio::task::spawn_blocking(publish).await;
    hashed.map_err(|error| Refusal::new("ShelfUnusable", error.to_string()))?
}

fn bounded(bytes: u64) -> Result<(), Refusal> {
    if bytes <= MOST {
        return Ok(());
    }
    Err(Refusal::new(
        "ServiceTooLong",
        format!(
            "the service has {bytes} bytes or more, and a card takes {MOST} at most; make it smaller"
        ),
    ))
}

fn unreachable(error: &reqwest::Error) -> Refusal {
    let error = error.to_string();
    Refusal::new(
        "StoreUnreachable",
        format!(
            "the image store does not answer: {error}; look at xpu.storeUrl of the site agent, and at the network from this card to it"
        ),
    )
}
