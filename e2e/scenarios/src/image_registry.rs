//! `image-registry`: a private registry of the distribution project, over TLS and with accounts,
//! from which the store pulls images that were pushed there. No wrong or right password is written
//! anywhere, a registry that is down costs no more than its source, and a tag is resolved once.
//! What is put there as cosign does it, signed by openssl, is found and judged as a site would.

mod cosigned;
mod service;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use lockstep_store::Digest;
use lockstep_store_process::{Answer, Order};
use serde_json::{Value, json};

use crate::artefacts;
use crate::image_server::ImageServer;
use crate::registry::Context;
use crate::report::Report;
use crate::store_process::StoreProcess;
use service::{PASSWORD, Service, USER};

const SIZE: usize = 8 << 20;
/// Too little for any image here.
const NARROW: usize = SIZE / 2;
const WRONG: &str = "not-the-password";

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let binary = artefacts::store_process().await?;
    let mut report = Report::default();
    let mut service = Service::start(&context.folder).await?;
    let first = image(1);
    let pushed = service.push("v1", &first).await?;
    let trial = Trial {
        folder: context.folder.clone(),
        binary,
        ca: service.ca(),
    };
    let tag = service.source(":v1");
    signed_in(&trial, &service, &first).await?;
    report.say("an image was pulled with the right password, and with no other");
    by_digest(&trial, &service, &first, &pushed).await?;
    service.stop().await?;
    down(&trial, &service, &tag, &first).await?;
    service.start_again().await?;
    report.say("a registry that was down was passed over, then told with its reason");
    moved(&trial, &service, &tag, &first).await?;
    report.say("a tag that moved after it was resolved changed nothing");
    cosigned::run(&trial, &service).await?;
    report
        .say("signatures by cosign were found beside an artefact, and only the right ones counted");
    trial.no_password_is_written()?;
    report.figure("requests that the registry saw", service.requests()?);
    Ok(report)
}

struct Trial {
    folder: PathBuf,
    binary: PathBuf,
    ca: PathBuf,
}

impl Trial {
    async fn store(&self, name: &str, quota: usize) -> Result<StoreProcess> {
        let command: [OsString; 4] = [
            self.binary.clone().into(),
            self.folder.join(name).into(),
            quota.to_string().into(),
            self.ca.clone().into(),
        ];
        StoreProcess::start(&command, &self.folder.join("store.log")).await
    }

    /// Neither in what the stores keep nor in what they log.
    fn no_password_is_written(&self) -> Result<()> {
        let mut files = vec![self.folder.join("store.log")];
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let is_store = path.join("sha256").is_dir();
            for folder in ["", "partial"].iter().filter(|_| is_store) {
                for entry in std::fs::read_dir(path.join(folder))? {
                    files.push(entry?.path());
                }
            }
        }
        files.retain(|path| path.is_file());
        ensure!(files.len() > 4, "looked at nothing: {files:?}");
        for path in files {
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            silent(&text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

fn silent(text: &str) -> Result<()> {
    ensure!(
        !text.contains(PASSWORD) && !text.contains(WRONG),
        "a password is told"
    );
    Ok(())
}

/// Nobody, a wrong password, then the right one.
async fn signed_in(trial: &Trial, service: &Service, image: &[u8]) -> Result<()> {
    let mut store = trial.store("signed-in", 2 * SIZE).await?;
    let source = service.source(":v1");
    for (accounts, expected) in [
        (None, "Unauthorized"),
        (Some(service.accounts(WRONG)), "CredentialsRefused"),
        (Some(elsewhere()), "Unauthorized"),
    ] {
        let order = fetch(image, &[&source], accounts);
        refused(&mut store, &order, expected).await?;
    }
    let right = fetch(image, &[&source], Some(service.accounts(PASSWORD)));
    stored(&mut store, &right).await?;
    served(&mut store, image).await?;
    store.end().await
}

/// The right account, for another host.
fn elsewhere() -> Value {
    json!({"auths": {"registry.invalid": {"username": USER, "password": PASSWORD}}})
}

async fn by_digest(
    trial: &Trial,
    service: &Service,
    image: &[u8],
    manifest: &Digest,
) -> Result<()> {
    let mut store = trial.store("by-digest", 2 * SIZE).await?;
    let accounts = Some(service.accounts(PASSWORD));
    let absent = service.source(&format!("@{}", Digest::of(b"no manifest")));
    let order = fetch(image, &[&absent], accounts.clone());
    refused(&mut store, &order, "NotFound").await?;
    let source = service.source(&format!("@{manifest}"));
    stored(&mut store, &fetch(image, &[&source], accounts)).await?;
    store.end().await
}

async fn down(trial: &Trial, service: &Service, tag: &str, image: &[u8]) -> Result<()> {
    let mut store = trial.store("down", 2 * SIZE).await?;
    let accounts = Some(service.accounts(PASSWORD));
    let order = fetch(image, &[tag], accounts.clone());
    refused(&mut store, &order, "Unreachable").await?;
    let file = trial.folder.join("mirrored.iso");
    std::fs::write(&file, image)?;
    let mirror = ImageServer::serve(file).await?;
    let order = fetch(image, &[tag, &mirror.url("mirrored.iso")], accounts);
    stored(&mut store, &order).await?;
    ensure!(mirror.requests() == 1, "the mirror was not asked once");
    store.end().await
}

async fn moved(trial: &Trial, service: &Service, tag: &str, image: &[u8]) -> Result<()> {
    let accounts = Some(service.accounts(PASSWORD));
    // It resolves the tag, and has no room for what it finds.
    let mut store = trial.store("moved", NARROW).await?;
    let mut order = fetch(image, &[tag], accounts.clone());
    if let Order::Fetch { size, .. } = &mut order {
        *size = None;
    }
    refused(&mut store, &order, "TooLarge").await?;
    store.end().await?;
    service.push("v1", &self::image(2)).await?;
    let before = service.requests_for("manifests/v1")?;
    let mut store = trial.store("moved", 2 * SIZE).await?;
    stored(&mut store, &order).await?;
    served(&mut store, image).await?;
    store.end().await?;
    ensure!(
        service.requests_for("manifests/v1")? == before,
        "the tag was resolved again"
    );
    let mut store = trial.store("late", 2 * SIZE).await?;
    refused(&mut store, &order, "NotInArtefact").await?;
    store.end().await
}

fn fetch(image: &[u8], sources: &[&str], accounts: Option<Value>) -> Order {
    Order::Fetch {
        digest: Digest::of(image),
        size: Some(image.len() as u64),
        sources: sources.iter().map(|source| (*source).to_owned()).collect(),
        accounts,
    }
}

async fn stored(store: &mut StoreProcess, order: &Order) -> Result<()> {
    let answer = store.order(order).await?;
    ensure!(
        matches!(answer, Answer::Stored { .. }),
        "not stored: {answer:?}"
    );
    Ok(())
}

async fn refused(store: &mut StoreProcess, order: &Order, expected: &str) -> Result<()> {
    let answer = store.order(order).await?;
    if let Answer::Failed { category, message } = &answer
        && category == expected
    {
        return silent(message);
    }
    bail!("expected {expected}, got {answer:?}")
}

/// What a card would read is the image.
async fn served(store: &mut StoreProcess, image: &[u8]) -> Result<()> {
    let order = Order::Grant {
        digest: Digest::of(image),
        card: "card".to_owned(),
    };
    let Answer::Granted { path } = store.order(&order).await? else {
        bail!("not granted");
    };
    let url = format!("http://127.0.0.1:{}{path}", store.port());
    let bytes = reqwest::get(url).await?.error_for_status()?.bytes().await?;
    ensure!(bytes == image, "a card would read another image");
    Ok(())
}

/// Bytes that differ everywhere and from seed to seed.
fn image(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(SIZE);
    while bytes.len() < SIZE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}
