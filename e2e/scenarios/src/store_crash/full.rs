//! A volume that fills up: a small tmpfs in a mount namespace of its own.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lockstep_cluster::{Look, eventually};
use lockstep_store_process::{Answer, Order};

use super::source::{SIZE, Source};
use super::{PATIENCE, blob, get, grant, part, stored};
use crate::report::Report;
use crate::store_process::StoreProcess;

/// Room for two images and a half.
const VOLUME: &str = "10m";
/// Far more than the volume has.
const QUOTA: &str = "1000000000";
/// Where the source stops while the volume is filled.
const HELD: usize = 1 << 20;

/// The volume, for as long as this lives.
struct Volume {
    holder: Child,
    dir: PathBuf,
}

impl Volume {
    fn new(dir: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let script =
            format!("mount -t tmpfs -o size={VOLUME} tmpfs \"$1\" && echo mounted && exec cat");
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare of util-linux cannot be run")?;
        let mut line = String::new();
        if let Some(out) = &mut holder.stdout {
            BufReader::new(out).read_line(&mut line)?;
        }
        let volume = Self { holder, dir };
        ensure!(
            line == "mounted\n",
            "no volume of its own; this scenario needs root"
        );
        Ok(volume)
    }

    /// The folder as the rest of the machine sees it.
    fn seen(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        let inside = self.dir.strip_prefix("/").unwrap_or(&self.dir);
        Path::new(&root).join(inside)
    }

    /// A store on it.
    fn command(&self, binary: &Path) -> Vec<OsString> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        vec![
            "nsenter".into(),
            namespace.into(),
            binary.into(),
            self.dir.clone().into(),
            QUOTA.into(),
        ]
    }

    /// Takes all the room that is left.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.seen().join("filler");
        let mut file = std::fs::File::create(&path)?;
        while file.write_all(&[1; 4096]).is_ok() {}
        Ok(path)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Whoever holds the namespace ends when nobody can speak to it.
        drop(self.holder.stdin.take());
        if let Err(error) = self.holder.wait() {
            tracing::warn!(%error, "the volume was not given up");
        }
    }
}

pub(super) async fn run(folder: &Path, binary: &Path, report: &mut Report) -> Result<()> {
    let volume = Volume::new(folder.join("volume"))?;
    let (source, [granted, idle, other, wanted]) =
        Source::start(["kept", "in-the-way", "too-much", "cut-short"]).await?;
    let log = folder.join("full.log");
    let command = volume.command(binary);
    let seen = volume.seen();
    let mut store = StoreProcess::start(&command, &log).await?;
    stored(&mut store, &source.order(&granted)).await?;
    let path = grant(&mut store, granted.digest, "card").await?;
    stored(&mut store, &source.order(&idle)).await?;
    let way = grant(&mut store, idle.digest, "reader").await?;

    // Both are being read: nothing may go.
    refused(&mut store, &source.order(&other)).await?;
    ensure!(
        get(store.port(), &way).await? == idle.bytes,
        "what is read was touched"
    );
    let revoke = Order::Revoke {
        card: "reader".to_owned(),
    };
    ensure!(
        store.order(&revoke).await? == Answer::Revoked,
        "not revoked"
    );
    stored(&mut store, &source.order(&other)).await?;
    ensure!(
        !blob(&seen, idle.digest).exists(),
        "there is no room for three"
    );
    report.say("a volume smaller than the quota: what nobody reads made room, what is read stayed");

    // Somebody else fills the volume in the middle of a download.
    source.hold_from(HELD);
    store.tell(&source.order(&wanted)).await?;
    let part = part(&seen, &wanted);
    let length = || std::fs::metadata(&part).map_or(0, |part| part.len());
    eventually(PATIENCE, "a part of the download", async || {
        match length() {
            0 => Look::not_yet("nothing yet"),
            _some => Look::Holds(()),
        }
    })
    .await?;
    let filler = volume.fill()?;
    source.release();
    full(&store.answer().await?)?;
    ensure!(
        get(store.port(), &path).await? == granted.bytes,
        "the kept image is another"
    );
    store.kill().await?;

    let mut store = StoreProcess::start(&command, &log).await?;
    ensure!(
        get(store.port(), &path).await? == granted.bytes,
        "the kept image is another"
    );
    refused(&mut store, &source.order(&wanted)).await?;
    std::fs::remove_file(filler)?;
    let on_disk = length() as usize;
    ensure!((HELD..SIZE).contains(&on_disk), "{on_disk} bytes are left");
    source.take_asked(&wanted);
    stored(&mut store, &source.order(&wanted)).await?;
    let asked = source.take_asked(&wanted);
    ensure!(asked == [on_disk], "asked from {asked:?}, not {on_disk}");
    let way = grant(&mut store, wanted.digest, "card").await?;
    ensure!(
        get(store.port(), &way).await? == wanted.bytes,
        "the image is another"
    );
    store.end().await?;
    report.say(format!(
        "a volume filled in the middle of a download, and the store killed: it went on at byte {on_disk} once there was room"
    ));
    Ok(())
}

async fn refused(store: &mut StoreProcess, order: &Order) -> Result<()> {
    full(&store.order(order).await?)
}

fn full(answer: &Answer) -> Result<()> {
    let is_full = matches!(answer, Answer::Failed { category, .. } if category == "DiskFull");
    ensure!(is_full, "a full volume, and the store says {answer:?}");
    Ok(())
}
