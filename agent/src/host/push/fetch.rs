//! Getting an image from the site's store onto this machine, whole, before a card sees any of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use lockstep_rshim::{BootStream, StreamError, StreamReader};
use lockstep_store::{Digest, Medium, Own};
use reqwest::header::AUTHORIZATION;
use reqwest::{Certificate, Client, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;
use url::Url;

use crate::host::InstallArgs;
use crate::site::host_door::Clearance;
use crate::site::judge::Refusal;

/// How long the store may be silent.
const SILENCE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(10);
/// How often a download that broke is begun again.
const TRIES: usize = 3;
/// More than a card's own seed and files have.
const SAID: usize = 16 << 20;
/// What is read at one go.
pub(in crate::host) const PIECE: usize = 1 << 20;

/// The site's store, as the agent of a host reaches it.
pub(in crate::host) struct Source {
    http: Client,
    base: Url,
    token: PathBuf,
    spool: PathBuf,
    most: u64,
}

impl Source {
    pub(super) fn new(store: &Url, args: &InstallArgs) -> Result<Self> {
        let mut builder = Client::builder()
            .user_agent(concat!("lockstep-agent/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE);
        let roots = match &args.store_ca {
            None => Vec::new(),
            Some(path) => {
                let pem =
                    fs::read(path).with_context(|| format!("--store-ca {}", path.display()))?;
                Certificate::from_pem_bundle(&pem)
                    .with_context(|| format!("--store-ca {}", path.display()))?
            }
        };
        // The image of this agent has no trust store.
        builder = builder.tls_certs_only(roots);
        Ok(Self {
            http: builder.build().context("a client for the image store")?,
            base: store.clone(),
            token: args.store_token.clone(),
            spool: args.work_dir.join("spool"),
            most: args.max_image_bytes,
        })
    }

    /// What lies over the image for that card. The site's agent gives it out after a look at card
    /// and host, so it refuses it where it would not let the card be reset.
    pub(super) async fn own(&self, card: &str) -> Result<Own, Refusal> {
        said(self.ask(card, "own").await?).await
    }

    /// Whether the card may be reset for that directive, by a look at it that the site's agent makes
    /// now (S1).
    pub(in crate::host) async fn may_reset(&self, card: &str, seq: i64) -> Result<(), Refusal> {
        let cleared: Clearance = said(self.ask(card, "go").await?).await?;
        if cleared.seq == seq {
            return Ok(());
        }
        Err(Refusal::new(
            "Withdrawn",
            format!(
                "the site's agent speaks of directive {}, and this is {seq}; nothing was done to the card, and the operator plans anew",
                cleared.seq
            ),
        ))
    }

    /// Firmware, which has nothing of a card's own, checked whole: its bytes are those of the image that
    /// the directive names.
    pub(in crate::host) async fn whole(
        &self,
        card: &str,
        wanted: Digest,
    ) -> Result<Medium, Refusal> {
        let file = self.fetch(card).await?;
        let checked = tokio::task::spawn_blocking(move || {
            Medium::lay(file, wanted, &Own::default()).map_err(|error| {
                Refusal::new(
                    "ImageNotVerified",
                    format!(
                        "{error}; nothing was written, and it is fetched anew with the next try"
                    ),
                )
            })
        });
        checked
            .await
            .unwrap_or_else(|error| Err(Refusal::new("ImageNotVerified", error.to_string())))
    }

    /// The medium of a card, checked whole: its bytes are those of the image that the directive
    /// names, its images are sound, and it fits the card.
    pub(super) async fn medium(
        &self,
        card: &str,
        wanted: Digest,
        own: Own,
        generation: u8,
    ) -> Result<(Medium, BootStream), Refusal> {
        let file = self.fetch(card).await?;
        let checked = tokio::task::spawn_blocking(move || {
            let medium = Medium::lay(file, wanted, &own).map_err(|error| {
                Refusal::new(
                    "ImageNotVerified",
                    format!(
                        "{error}; nothing was pushed, and it is fetched anew with the next try"
                    ),
                )
            })?;
            let stream = whole(&medium)?;
            Ok((medium, stream))
        });
        let (medium, stream): (Medium, BootStream) = checked
            .await
            .map_err(|error| Refusal::new("ImageNotVerified", error.to_string()))??;
        stream.fits(generation).map_err(|unfit| {
            Refusal::new(
                "ImageDoesNotFit",
                format!("{unfit}; name an image that is made for this card"),
            )
        })?;
        Ok((medium, stream))
    }

    async fn fetch(&self, card: &str) -> Result<File, Refusal> {
        let mut last = Refusal::new("StoreUnreachable", "it was not tried");
        for _ in 0..TRIES {
            let mut response = self.ask(card, "image").await?;
            self.require_room(response.content_length().unwrap_or(0))?;
            let mut file = self.spool().map_err(|error| spool(&error))?;
            let mut had = 0;
            loop {
                match response.chunk().await {
                    Ok(Some(bytes)) => {
                        had += bytes.len() as u64;
                        // It need not say how long it is, or speak the truth.
                        self.require_room(had)?;
                        file.write_all(&bytes).map_err(|error| spool(&error))?;
                    }
                    Ok(None) => return Ok(file),
                    Err(error) => {
                        last = unreachable(&error);
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    fn require_room(&self, bytes: u64) -> Result<(), Refusal> {
        if bytes <= self.most {
            return Ok(());
        }
        Err(Refusal::new(
            "ImageTooLong",
            format!(
                "the image has {bytes} bytes or more, and this agent keeps {} at most; raise --max-image-bytes (maxImageBytes of the chart's hostAgent) where this host has room for it",
                self.most
            ),
        ))
    }

    /// A file without a name: it goes with this process, and nobody can put another in its place.
    fn spool(&self) -> io::Result<File> {
        match fs::remove_file(&self.spool) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.spool)?;
        fs::remove_file(&self.spool)?;
        Ok(file)
    }

    async fn ask(&self, card: &str, what: &str) -> Result<Response, Refusal> {
        let token = fs::read_to_string(&self.token).map_err(|error| {
            Refusal::new(
                "TokenMissing",
                format!(
                    "{}: {error}; the Pod needs a projected token for the image store",
                    self.token.display()
                ),
            )
        })?;
        let base = self.base.as_str().trim_end_matches('/');
        let asked = self
            .http
            .get(format!("{base}/h/{card}/{what}"))
            .header(AUTHORIZATION, format!("Bearer {}", token.trim()))
            .send();
        let response = asked.await.map_err(|error| unreachable(&error))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::CONFLICT => Err(said(response).await?),
            status => Err(Refusal::new(
                "StoreRefused",
                format!(
                    "the image store at {} answers {status}: 401 and 403 speak of the token or of an agent that is not to push this, 404 of an image that is not offered, 503 of a store that cannot tell; see the site agent's log",
                    self.base
                ),
            )),
        }
    }
}

/// What the store says in JSON, which is no image.
async fn said<T: DeserializeOwned>(mut response: Response) -> Result<T, Refusal> {
    let unclear = |why: String| {
        Refusal::new(
            "StoreUnclear",
            format!(
                "what the image store says is not understood: {why}; upgrade the agents of site and host to one release"
            ),
        )
    };
    let mut bytes = Vec::new();
    while let Some(more) = response
        .chunk()
        .await
        .map_err(|error| unreachable(&error))?
    {
        if bytes.len() + more.len() > SAID {
            return Err(unclear(format!("it has more than {SAID} bytes")));
        }
        bytes.extend_from_slice(&more);
    }
    serde_json::from_slice(&bytes).map_err(|error| unclear(error.to_string()))
}

fn unreachable(error: &reqwest::Error) -> Refusal {
    Refusal::new(
        "StoreUnreachable",
        format!(
            "the image store does not answer: {error}; look at --store, and at the network from this host to it"
        ),
    )
}

fn spool(error: &io::Error) -> Refusal {
    Refusal::new(
        "SpoolUnusable",
        format!("the image cannot be kept on this host: {error}; --work-dir needs room for it"),
    )
}

/// Reads the medium as the card will see it.
fn whole(medium: &Medium) -> Result<BootStream, Refusal> {
    let unsound = |error: StreamError| {
        Refusal::new(
            "ImageNotSound",
            format!(
                "{error}; what goes over rshim is a boot stream (BFB), slots only behind its last image"
            ),
        )
    };
    let mut reader = StreamReader::default();
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        let read = medium
            .read_at(&mut buffer, at)
            .map_err(|error| spool(&error))?;
        if read == 0 {
            return reader.finish().map_err(unsound);
        }
        reader.feed(&buffer[..read]).map_err(unsound)?;
        at += read as u64;
    }
}
