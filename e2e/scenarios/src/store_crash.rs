//! `store-crash`: the image store killed after every durable step of an eviction, a fetch and a
//! grant, and its volume filled under it. Nothing unverified is served, nothing published is lost,
//! what was received is not asked for again, and the quota holds.

mod full;
mod source;
mod steps;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lockstep_cluster::{Look, eventually};
use lockstep_lab::requirements;
use lockstep_store::Digest;
use lockstep_store_process::{Answer, Order};

use crate::artefacts;
use crate::registry::Context;
use crate::report::Report;
use crate::store_process::StoreProcess;
use source::{Image, SIZE, Source};

/// Two images and a little: what is idle has to go for a third.
const QUOTA: u64 = 2 * SIZE as u64 + 1000;
/// Where the abandoned download stops.
const ABANDONED: usize = 700_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// More steps than there can be.
const STEPS: usize = 200;

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    requirements::ensure_these(&["strace", "util-linux"])?;
    let binary = artefacts::store_process().await?;
    let mut report = Report::default();
    let (source, images) = Source::start(["granted", "idle", "abandoned", "wanted"]).await?;
    let crash = Crash::prepare(&context.folder, &binary, source, images).await?;
    let mut places = BTreeSet::new();
    let mut resumed = 0;
    let mut killed = 0;
    for steps in 0..STEPS {
        let round = crash.round(steps).await;
        let round = round.with_context(|| format!("killed after {steps} durable steps"))?;
        killed += 1;
        places.insert(round.found);
        resumed += usize::from(round.resumed);
        if round.whole {
            break;
        }
        ensure!(steps + 1 < STEPS, "it goes on after {STEPS} durable steps");
    }
    report.figure("kills, one after each durable step", killed);
    report.figure(
        "different states of the folder that were found",
        places.len(),
    );
    report.figure("downloads that went on where they had stopped", resumed);
    for needed in [
        "abandoned blob-granted blob-idle partial",
        "abandoned blob-granted partial",
        "blob-granted partial",
        "blob-granted blob-wanted",
    ] {
        ensure!(
            places.contains(needed),
            "never killed at {needed}: {places:?}"
        );
    }
    ensure!(resumed > 1, "no kill left half a download");
    full::run(&context.folder, &binary, &mut report).await?;
    Ok(report)
}

/// What stays the same for all rounds.
struct Crash {
    folder: PathBuf,
    binary: PathBuf,
    source: Source,
    granted: Image,
    idle: Image,
    abandoned: Image,
    wanted: Image,
    /// The way to the granted image.
    path: String,
}

/// What one round showed.
struct Round {
    /// What the folder held after the kill.
    found: String,
    /// Whether the fetch went on in the middle.
    resumed: bool,
    /// Whether everything had been done before the kill.
    whole: bool,
}

impl Crash {
    /// A store with an image that a card reads, one that nobody reads, and half of another.
    async fn prepare(
        folder: &Path,
        binary: &Path,
        source: Source,
        [granted, idle, abandoned, wanted]: [Image; 4],
    ) -> Result<Self> {
        let mut crash = Self {
            folder: folder.to_owned(),
            binary: binary.to_owned(),
            source,
            granted,
            idle,
            abandoned,
            wanted,
            path: String::new(),
        };
        let dir = folder.join("before");
        let quota = 4 * SIZE as u64;
        let log = folder.join("store.log");
        let mut store = StoreProcess::start(&crash.command(&dir, quota), &log).await?;
        for image in [&crash.granted, &crash.idle] {
            stored(&mut store, &crash.source.order(image)).await?;
        }
        crash.path = grant(&mut store, crash.granted.digest, "card").await?;
        crash.source.hold_from(ABANDONED);
        store.tell(&crash.source.order(&crash.abandoned)).await?;
        let part = part(&dir, &crash.abandoned);
        eventually(
            PATIENCE,
            "half a download",
            async || match std::fs::metadata(&part).map_or(0, |part| part.len()) {
                0 => Look::not_yet("nothing yet"),
                _some => Look::Holds(()),
            },
        )
        .await?;
        store.kill().await?;
        crash.source.release();
        Ok(crash)
    }

    fn command(&self, dir: &Path, quota: u64) -> [OsString; 3] {
        let quota = quota.to_string().into();
        [self.binary.clone().into(), dir.to_owned().into(), quota]
    }

    async fn round(&self, steps: usize) -> Result<Round> {
        let dir = self.folder.join("store");
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        let copied = Command::new("cp")
            .arg("-a")
            .args([&self.folder.join("before"), &dir])
            .status()?;
        ensure!(copied.success(), "the folder was not copied");
        let command = self.command(&dir, QUOTA);
        let reads = |card: &str| Order::Grant {
            digest: self.wanted.digest,
            card: card.to_owned(),
        };
        let orders = [
            self.source.order(&self.wanted),
            reads("another"),
            reads("a third"),
        ];
        let ended = steps::kill_after(steps, &command, &self.folder, &orders).await?;
        self.source.take_asked(&self.wanted);
        let published = blob(&dir, self.wanted.digest).exists();
        let part = part(&dir, &self.wanted);
        let on_disk = std::fs::metadata(&part).map_or(0, |part| part.len()) as usize;
        let noted = part.with_extension("json").exists();
        let found = self.found(&dir);
        // Room was made before the first byte came.
        if published || on_disk > 0 {
            self.within_quota(&dir)?;
        }

        let log = self.folder.join("store.log");
        let mut store = StoreProcess::start(&command, &log).await?;
        self.only_whole_things(&dir)?;
        // The card that had its way before has it still, and gets what was verified.
        let bytes = get(store.port(), &self.path).await?;
        ensure!(bytes == self.granted.bytes, "the granted image is another");
        for answer in &ended.answers {
            if let Answer::Granted { path } = answer {
                let bytes = get(store.port(), path).await;
                let bytes = bytes.context("a way that was told is lost")?;
                ensure!(bytes == self.wanted.bytes, "the way leads elsewhere");
            }
        }
        self.whatever_is_there_is_right(&mut store).await?;
        stored(&mut store, &self.source.order(&self.wanted)).await?;
        self.within_quota(&dir)?;
        let asked = self.source.take_asked(&self.wanted);
        let expected: &[usize] = match (published, noted, on_disk) {
            (true, _, _) | (false, true, SIZE) => &[],
            (false, true, from) => &[from],
            (false, false, _) => &[0],
        };
        ensure!(
            asked == expected,
            "with {on_disk} bytes on disk (published: {published}, noted: {noted}) it asked from {asked:?}"
        );
        let path = grant(&mut store, self.wanted.digest, "last").await?;
        let bytes = get(store.port(), &path).await?;
        ensure!(bytes == self.wanted.bytes, "the wanted image is another");
        ensure!(
            !self.exists(&dir, &self.idle) && !part_exists(&dir, &self.abandoned),
            "what is idle is still there"
        );
        store.end().await?;
        Ok(Round {
            found,
            resumed: asked.iter().any(|from| *from > 0),
            whole: ended.after.is_none() && steps > 0,
        })
    }

    fn exists(&self, dir: &Path, image: &Image) -> bool {
        blob(dir, image.digest).exists()
    }

    /// What the folder holds, in words.
    fn found(&self, dir: &Path) -> String {
        let mut words = Vec::new();
        if part_exists(dir, &self.abandoned) {
            words.push("abandoned".to_owned());
        }
        for image in [&self.granted, &self.idle, &self.wanted] {
            if self.exists(dir, image) {
                words.push(format!("blob-{}", image.name));
            }
        }
        if part_exists(dir, &self.wanted) {
            words.push("partial".to_owned());
        }
        words.join(" ")
    }

    /// Images and downloads together take no more than they may, at any moment.
    fn within_quota(&self, dir: &Path) -> Result<()> {
        let mut all = 0;
        for folder in ["sha256", "partial"] {
            for entry in std::fs::read_dir(dir.join(folder))? {
                let entry = entry?;
                if !entry.file_name().to_string_lossy().contains(".json") {
                    all += entry.metadata()?.len();
                }
            }
        }
        ensure!(all <= QUOTA, "{all} bytes on disk, {QUOTA} allowed");
        Ok(())
    }

    /// What a crash leaves half done is gone once the store is open.
    fn only_whole_things(&self, dir: &Path) -> Result<()> {
        for (folder, other) in [("sha256", ""), ("partial", "part")] {
            for entry in std::fs::read_dir(dir.join(folder))? {
                let path = entry?.path();
                let whole = match path.extension() {
                    None => folder == "sha256",
                    Some(extension) if extension == "json" => path.with_extension(other).exists(),
                    Some(extension) => extension == "part" && path.with_extension("json").exists(),
                };
                ensure!(whole, "left over: {}", path.display());
            }
        }
        Ok(())
    }

    /// Each image that the store lets a card read is the one that was asked for.
    async fn whatever_is_there_is_right(&self, store: &mut StoreProcess) -> Result<()> {
        for image in [&self.granted, &self.idle, &self.abandoned, &self.wanted] {
            let order = Order::Grant {
                digest: image.digest,
                card: "looks".to_owned(),
            };
            let answer = store.order(&order).await?;
            if let Answer::Granted { path } = &answer {
                let bytes = get(store.port(), path).await?;
                ensure!(bytes == image.bytes, "{} is another image", image.name);
                continue;
            }
            let is_absent =
                matches!(&answer, Answer::Failed { category, .. } if category == "ImageNotStored");
            ensure!(is_absent, "{}: {answer:?}", image.name);
        }
        let revoke = Order::Revoke {
            card: "looks".to_owned(),
        };
        ensure!(
            store.order(&revoke).await? == Answer::Revoked,
            "not revoked"
        );
        Ok(())
    }
}

fn blob(dir: &Path, digest: Digest) -> PathBuf {
    dir.join("sha256").join(digest.hex())
}

fn part(dir: &Path, image: &Image) -> PathBuf {
    let name = format!("{}.part", image.digest.hex());
    dir.join("partial").join(name)
}

fn part_exists(dir: &Path, image: &Image) -> bool {
    part(dir, image).exists()
}

async fn stored(store: &mut StoreProcess, order: &Order) -> Result<()> {
    let answer = store.order(order).await?;
    let is_stored = matches!(answer, Answer::Stored { .. });
    ensure!(is_stored, "not fetched: {answer:?}");
    Ok(())
}

async fn grant(store: &mut StoreProcess, digest: Digest, card: &str) -> Result<String> {
    let order = Order::Grant {
        digest,
        card: card.to_owned(),
    };
    let answer = store.order(&order).await?;
    let Answer::Granted { path } = answer else {
        bail!("not granted: {answer:?}");
    };
    Ok(path)
}

/// What a card gets.
async fn get(port: u16, path: &str) -> Result<bytes::Bytes> {
    let url = format!("http://127.0.0.1:{port}{path}");
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()?;
    let response = client.get(url).send().await?.error_for_status()?;
    Ok(response.bytes().await?)
}
