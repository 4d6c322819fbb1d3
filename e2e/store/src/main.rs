//! `lockstep-store-process DIR QUOTA [CA-FILE]`: the store of the site agent, served as
//! the site agent serves it, and nothing else of the site agent.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use lockstep_serve::Bounds;
use lockstep_store::{Accounts, ImageRequest, ImageSource, Store, StoreConfig};
use lockstep_store_process::{Answer, Order};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another TLS provider is installed already"))?;
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), Some(quota)) = (arguments.next(), arguments.next()) else {
        return Err(anyhow!(
            "usage: lockstep-store-process DIR QUOTA-BYTES [CA-FILE]"
        ));
    };
    let quota = quota.to_string_lossy().parse().context("QUOTA-BYTES")?;
    let mut config = StoreConfig::new(PathBuf::from(folder), quota);
    if let Some(bundle) = arguments.next() {
        config.ca_bundle = Some(std::fs::read(bundle).context("CA-FILE")?);
    }
    let store = Store::open(config)?;
    // Nothing is pinned: what no card reads goes for what is fetched.
    store.want(BTreeMap::new());
    let listener = lockstep_serve::bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let port = listener.local_addr()?.port();
    let ending = CancellationToken::new();
    let serving = tokio::spawn(lockstep_serve::serve(
        listener,
        store.router(),
        Bounds::IMAGES,
        ending.clone(),
    ));
    tell(&Answer::Serves { port })?;
    let (heard, mut orders) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if heard.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = orders.recv().await {
        let line = line?;
        tell(&carry_out(&store, serde_json::from_str(&line)?).await)?;
    }
    ending.cancel();
    serving.await?;
    Ok(())
}

fn tell(answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}

async fn carry_out(store: &Store, order: Order) -> Answer {
    let failed = |category: &str, message: String| Answer::Failed {
        category: category.to_owned(),
        message,
    };
    match order {
        Order::Fetch {
            digest,
            size,
            sources,
            accounts,
        } => {
            let sources = match read_sources(&sources, accounts) {
                Ok(sources) => sources,
                Err(error) => return failed("OrderInvalid", format!("{error:#}")),
            };
            let wanted = ImageRequest {
                digest,
                size,
                sources,
            };
            match store.fetch(&wanted).await {
                Ok(info) => Answer::Stored { size: info.size },
                Err(error) => failed(error.category(), error.to_string()),
            }
        }
        Order::Cosigned {
            digest,
            source,
            accounts,
        } => {
            let source = match read_sources(&[source], accounts) {
                Ok(mut sources) => sources.swap_remove(0),
                Err(error) => return failed("OrderInvalid", format!("{error:#}")),
            };
            match store.cosigned(digest, &source).await {
                Ok(found) => {
                    let signatures = found.signatures.into_iter();
                    Answer::Beside {
                        manifests: found.manifests,
                        signatures: signatures
                            .map(|one| (one.document, one.signature))
                            .collect(),
                    }
                }
                Err(error) => failed(error.category(), error.to_string()),
            }
        }
        Order::Grant { digest, card } => match store.grant(digest, &card, None).await {
            Ok(grant) => Answer::Granted { path: grant.path },
            Err(error) => failed(error.category(), error.to_string()),
        },
        Order::Revoke { card } => match store.revoke(&card).await {
            Ok(()) => Answer::Revoked,
            Err(error) => failed(error.category(), error.to_string()),
        },
        Order::Status => {
            let status = store.status();
            Answer::Holds {
                images: status.blob_bytes,
                partials: status.partial_bytes,
            }
        }
    }
}

fn read_sources(sources: &[String], accounts: Option<Value>) -> Result<Vec<ImageSource>> {
    let accounts = match accounts {
        Some(config) => Accounts::from_docker_config(&serde_json::to_vec(&config)?)?,
        None => Accounts::default(),
    };
    let read = |text: &String| -> Result<ImageSource> {
        Ok(ImageSource {
            place: text.parse()?,
            accounts: accounts.clone(),
        })
    };
    sources.iter().map(read).collect()
}
