//! Swaps between check and use: whoever can write to the volume of the site's store puts another
//! image in the place of one that was verified. The store serves none of it, the card gets nothing,
//! and it goes on once the image can be fetched again.
//!
//! Witnesses outside our code: the emulator's own log, what it has on its disk, and this client,
//! which asks under the URL that the card's BMC was given.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use kube::Api;
use lockstep_cluster::{Look, eventually};
use lockstep_crds::condition::{self, FETCHED};
use lockstep_crds::{DpuHost, DpuImage};
use lockstep_lab::Lab;
use lockstep_lab::front::Fault;
use lockstep_lab::image::Image;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{refused, signed_with};
use crate::bad_input::act;
use crate::bad_input::case::{
    Act, Bound, Case, Expect, LOOKED_AT, ON_ITS_WAY, SOON, Setting, Then, USUAL,
    apply_up_to_first_effect,
};
use crate::bad_input::stage::{Objects, Stage};
use crate::image_server::Behaviour;
use crate::objects::NAMESPACE;

/// It is asked for again, in vain, until it is put right.
const ASKED_AGAIN: Bound = Bound {
    image: 12,
    ..LOOKED_AT
};

const UNAVAILABLE: &[Expect] = &refused("ImageUnavailable", "NotFound", "upload the image there");

pub(super) const CASES: &[Case] = &[
    Case {
        name: "swapped-before-use",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            signed_with(stage, objects, json!({})).await?;
            is_fetched(stage, objects).await?;
            swap(stage, put_in_place)?;
        }),
        expect: UNAVAILABLE,
        bound: ASKED_AGAIN,
        right: act!(|stage, _objects| {
            found_out(stage)?;
            is_recorded(stage, "was damaged on disk (it now has digest").await?;
            stage.server.behave(Behaviour::Honest);
        }),
    },
    in_mid_install(
        "swapped-in-mid-install",
        act!(|stage, objects| {
            at_insertion(stage, objects, put_in_place).await?;
        }),
    ),
    in_mid_install(
        "changed-in-mid-install",
        act!(|stage, objects| {
            at_insertion(stage, objects, write_over).await?;
        }),
    ),
];

/// The card's BMC asks for what is not the image any more.
const fn in_mid_install(name: &'static str, wrong: Act) -> Case {
    Case {
        name,
        setting: Setting {
            then: Then::PowerOnAfter(&["InsertMedia"]),
            ..USUAL
        },
        wrong,
        expect: UNAVAILABLE,
        bound: ASKED_AGAIN,
        right: act!(|stage, _objects| {
            got_nothing(stage).await?;
            stage.server.behave(Behaviour::Honest);
        }),
    }
}

/// The image is swapped while the card's BMC is about to fetch it.
async fn at_insertion(
    stage: &Stage<'_>,
    objects: &mut Objects,
    how: fn(&Path, &[u8]) -> Result<()>,
) -> Result<()> {
    signed_with(stage, objects, json!({})).await?;
    up_to_insertion(stage, objects).await?;
    swap(stage, how)
}

/// The card's BMC is asked to insert the image, and says 400 if it cannot have it. The emulator says
/// 502, after which nobody knows what it did, and a quarter of an hour is waited for it to show.
async fn up_to_insertion(stage: &Stage<'_>, objects: &Objects) -> Result<()> {
    let late = Fault::Fails {
        after: ON_ITS_WAY,
        status: 400,
    };
    apply_up_to_first_effect(stage, objects, late).await
}

/// The store has the image before anything may be done with it.
async fn is_fetched(stage: &Stage<'_>, objects: &mut Objects) -> Result<()> {
    objects.policy["spec"]["mode"] = "Plan".into();
    stage.apply(objects).await?;
    let images: Api<DpuImage> = Api::namespaced(stage.world.control_plane.client(), NAMESPACE);
    let what = format!("{} fetched", stage.name);
    eventually(SOON, what, async || match images.get(stage.name).await {
        Ok(image) => {
            let conditions = image.status.map(|status| status.conditions);
            match condition::find(conditions.as_deref().unwrap_or_default(), FETCHED) {
                Some(fetched) if fetched.status == "True" => Look::Holds(()),
                Some(fetched) => Look::not_yet(&fetched.message),
                None => Look::not_yet("no condition"),
            }
        }
        Err(error) => Look::not_yet(error),
    })
    .await?;
    objects.policy["spec"]["mode"] = "Enforce".into();
    Ok(())
}

/// Where the site's store has the image.
fn blob(stage: &Stage<'_>) -> PathBuf {
    let store = stage.world.folder().join("agent/store/sha256");
    store.join(&stage.image.sha256)
}

/// The store's file, right so far, is the other image from now on, with the length and the time of
/// the right one; which is not to be had for the time being.
fn swap(stage: &Stage<'_>, how: fn(&Path, &[u8]) -> Result<()>) -> Result<()> {
    let blob = blob(stage);
    let before = fs::read(&blob).context("the store has no such image")?;
    ensure!(
        hex::encode(Sha256::digest(&before)) == stage.image.sha256,
        "the store's file was wrong before"
    );
    let other = fs::read(&stage.other_image.path)?;
    ensure!(other.len() == before.len(), "the images differ in length");
    let modified = fs::metadata(&blob)?.modified()?;
    stage.server.behave(Behaviour::NotFound);
    how(&blob, &other)?;
    File::open(&blob)?.set_modified(modified)?;
    Ok(())
}

/// Another file gets the name.
fn put_in_place(blob: &Path, other: &[u8]) -> Result<()> {
    let new = blob.with_extension("new");
    fs::write(&new, other)?;
    Ok(fs::rename(&new, blob)?)
}

/// The same file gets other bytes.
fn write_over(blob: &Path, other: &[u8]) -> Result<()> {
    fs::set_permissions(blob, Permissions::from_mode(0o600))?;
    let file = OpenOptions::new().write(true).open(blob)?;
    Ok(file.write_all_at(other, 0)?)
}

/// The store has thrown the other image away, and says so.
fn found_out(stage: &Stage<'_>) -> Result<()> {
    ensure!(!blob(stage).exists(), "the store keeps the other image");
    let lines = log_of_store(stage)?;
    let damaged = |line: &&String| line.contains("image was damaged on disk: removed");
    ensure!(
        lines
            .iter()
            .filter(damaged)
            .any(|line| line.contains(&stage.other_image.sha256)),
        "the agent's log does not say that the image was another: {lines:?}"
    );
    Ok(())
}

/// What the site's store says of the image.
fn log_of_store(stage: &Stage<'_>) -> Result<Vec<String>> {
    let log = fs::read(stage.world.folder().join("logs/agent.log"))?;
    let log = String::from_utf8_lossy(&log);
    let lines = log
        .lines()
        .filter(|line| line.contains(&stage.image.sha256));
    Ok(lines.map(str::to_owned).collect())
}

/// The card's BMC was refused the image, has nothing of the other, and whoever asks as it did gets
/// nothing; the record says what the store saw.
async fn got_nothing(stage: &Stage<'_>) -> Result<()> {
    found_out(stage)?;
    let url = handed_out(stage)?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let answer = http.get(&url).send().await?;
    let status = answer.status();
    let got = answer.bytes().await?;
    ensure!(
        !status.is_success() && got.is_empty(),
        "under the BMC's URL there is {status} with {} bytes",
        got.len()
    );
    let lab = stage.world.folder().join("lab");
    let emulator = fs::read(Lab::emulator_log(&lab))?;
    let emulator = String::from_utf8_lossy(&emulator);
    let refused = |line: &str| line.contains(&url) && line.contains("got HTTP error 503");
    ensure!(
        emulator.lines().any(refused),
        "the emulator's log does not tell that it was refused the image"
    );
    nowhere(&lab.join("sushy"), &stage.other_image)?;
    let begun = |line: &&String| line.contains("card begins to read its image");
    ensure!(
        log_of_store(stage)?.iter().filter(begun).count() == 0,
        "somebody began to read the image"
    );
    is_recorded(stage, "could not read the image").await
}

/// The URL that the card's BMC was given.
fn handed_out(stage: &Stage<'_>) -> Result<String> {
    let changes = stage.bmc.changes();
    let mut inserted = changes.iter();
    let inserted = inserted.find(|one| one.path.ends_with("InsertMedia"));
    let inserted = inserted.context("no medium was inserted")?;
    let body: Value = serde_json::from_str(&inserted.body)?;
    let url = body["Image"].as_str();
    Ok(url.context("a medium without a URL")?.to_owned())
}

/// No file in this folder begins as the image does.
fn nowhere(folder: &Path, image: &Image) -> Result<()> {
    let begins = format!("medium {}\n", image.version);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            nowhere(&path, image)?;
        } else if fs::read(&path).is_ok_and(|bytes| bytes.starts_with(begins.as_bytes())) {
            bail!("{} is the other image", path.display());
        }
    }
    Ok(())
}

/// The host's record says in these words why the medium was not inserted.
async fn is_recorded(stage: &Stage<'_>, words: &str) -> Result<()> {
    let hosts: Api<DpuHost> = Api::namespaced(stage.world.control_plane.client(), NAMESPACE);
    let host = hosts.get(stage.name).await?;
    let history = host.status.map(|status| status.history);
    let messages: Vec<String> = history
        .into_iter()
        .flatten()
        .filter_map(|one| one.message)
        .collect();
    ensure!(
        messages.iter().any(|message| message.contains(words)),
        "the record does not say {words:?}: {messages:?}"
    );
    Ok(())
}
