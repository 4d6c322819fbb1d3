//! `image-trust`: images that must not reach a card. Each case: the reason with its remedy, no
//! effect at the card's BMC, a bounded number of requests; and it goes on once put right.
//!
//! Signatures are made by openssl. The cases are played as those of `bad-input`; the second server
//! of each serves its signature.

mod fit;
pub(crate) mod signing;
mod swap;

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::bad_input::case::{Act, Bound, Case, Expect, LOOKED_AT, Of, SOON, Setting, USUAL};
use crate::bad_input::stage::{Objects, Stage};
use crate::bad_input::{act, play_all};
use crate::image_server::Behaviour;
use crate::registry::Context;
use crate::report::Report;
pub(crate) use signing::Signer;

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told, after the other cases were played too.
pub async fn run(context: Context) -> Result<Report> {
    let cases = [CASES, fit::CASES, swap::CASES].into_iter().flatten();
    play_all(&context, &cases.collect::<Vec<_>>()).await
}

const RELEASES: &str = "releases";

/// The card, and for what no card could make good the image, say why.
const fn refused(reason: &'static str, cause: &'static str, remedy: &'static str) -> [Expect; 1] {
    [Expect {
        of: &[Of::Card],
        reason,
        says: [cause, remedy],
    }]
}

const fn untrusted(cause: &'static str) -> [Expect; 1] {
    [Expect {
        of: &[Of::Card, Of::Image],
        reason: "ImageUntrusted",
        says: [cause, "sign"],
    }]
}

/// The policy wants images signed by whom it names, and nobody has signed the image yet.
async fn want_signed(stage: &Stage<'_>, objects: &mut Objects) -> Result<Signer> {
    let signer = signer(stage, RELEASES).await?;
    let signers = [signer.in_policy()?];
    objects.policy["spec"]["images"] = json!({"require": "Signed", "signers": signers});
    Ok(signer)
}

async fn signer(stage: &Stage<'_>, name: &'static str) -> Result<Signer> {
    let folder = stage.world.folder().join("signing").join(stage.name);
    Signer::of(&folder, name).await
}

/// What a signer says of the case's image.
fn predicate(stage: &Stage<'_>, more: &Value) -> Value {
    let mut predicate = json!({"version": stage.image.version, "securityVersion": 2});
    for (key, value) in more.as_object().into_iter().flatten() {
        predicate[key] = value.clone();
    }
    predicate
}

/// The image names the signature that is in this file, at a URL of its own.
fn name_signature(stage: &Stage<'_>, objects: &mut Objects, file: std::path::PathBuf, url: &str) {
    stage.elsewhere.replace(file);
    let sources = [stage.elsewhere.url(url)];
    objects.image["spec"]["signatures"] = json!([{"dsse": {"sources": sources}}]);
}

/// Signed by whom the policy names, with this in addition.
async fn signed_with(stage: &Stage<'_>, objects: &mut Objects, more: Value) -> Result<()> {
    let signer = want_signed(stage, objects).await?;
    let said = predicate(stage, &more);
    let file = signer.sign(&stage.image.sha256, &said).await?;
    name_signature(stage, objects, file, "image.dsse");
    Ok(())
}

/// A `DpuImage` is immutable: another one of that name, signed with this in addition.
async fn sign_anew(stage: &Stage<'_>, objects: &mut Objects, more: Value) -> Result<()> {
    let image = format!("dpuimage/{}", stage.name);
    stage.delete(&image, true).await?;
    let signer = signer(stage, RELEASES).await?;
    let said = predicate(stage, &more);
    let file = signer.sign(&stage.image.sha256, &said).await?;
    name_signature(stage, objects, file, "better.dsse");
    stage.apply_these([&objects.image]).await
}

const SIGN_WELL: Act = act!(|stage, objects| {
    sign_anew(stage, objects, json!({})).await?;
});

const CASES: &[Case] = &[
    Case {
        name: "unsigned",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            want_signed(stage, objects).await?;
        }),
        expect: &untrusted("names no signature"),
        bound: LOOKED_AT,
        right: SIGN_WELL,
    },
    Case {
        name: "flipped-byte",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            let signer = want_signed(stage, objects).await?;
            let said = predicate(stage, &json!({}));
            let file = signer.sign(&stage.image.sha256, &said).await?;
            let mut envelope: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
            let payload = envelope["payload"].as_str().context("no payload")?;
            // In the middle, and still base64.
            let (before, after) = payload.split_at(payload.len() / 2);
            let other = if after.starts_with('A') { "B" } else { "A" };
            envelope["payload"] = format!("{before}{other}{}", &after[1..]).into();
            fs::write(&file, envelope.to_string())?;
            name_signature(stage, objects, file, "image.dsse");
        }),
        expect: &untrusted("not by that key over these bytes"),
        bound: LOOKED_AT,
        right: SIGN_WELL,
    },
    Case {
        name: "strangers-key",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            want_signed(stage, objects).await?;
            let stranger = signer(stage, "stranger").await?;
            let said = predicate(stage, &json!({}));
            let file = stranger.sign(&stage.image.sha256, &said).await?;
            name_signature(stage, objects, file, "image.dsse");
        }),
        expect: &untrusted("not signed by any of the policy's signers (releases)"),
        bound: LOOKED_AT,
        right: SIGN_WELL,
    },
    Case {
        name: "another-images",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            let signer = want_signed(stage, objects).await?;
            let said = predicate(stage, &json!({}));
            let file = signer.sign(&stage.other_image.sha256, &said).await?;
            name_signature(stage, objects, file, "image.dsse");
        }),
        expect: &untrusted("signature of another image"),
        bound: LOOKED_AT,
        right: SIGN_WELL,
    },
    Case {
        name: "relabelled",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            let older = json!({"version": "0.9-with-the-hole"});
            signed_with(stage, objects, older).await?;
        }),
        expect: &untrusted("\"0.9-with-the-hole\" was signed"),
        bound: LOOKED_AT,
        right: SIGN_WELL,
    },
    Case {
        name: "strangers-script",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            signed_with(stage, objects, json!({})).await?;
            let script = json!({"slot": "bf.cfg", "template": "#!/bin/sh\n"});
            objects.image["spec"]["files"] = json!([script]);
        }),
        expect: &untrusted("for files.bf.cfg none was signed"),
        bound: LOOKED_AT,
        right: act!(|stage, objects| {
            objects.image["spec"]["files"] = json!([]);
            sign_anew(stage, objects, json!({})).await?;
        }),
    },
    Case {
        name: "withheld",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            signed_with(stage, objects, json!({})).await?;
            stage.elsewhere.behave(Behaviour::NotFound);
        }),
        expect: &refused(
            "ImageTrustNotKnown",
            "answers 404",
            "upload the signature there",
        ),
        bound: LOOKED_AT,
        right: act!(|stage, _objects| {
            stage.elsewhere.behave(Behaviour::Honest);
        }),
    },
    Case {
        name: "too-old",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            signed_with(stage, objects, json!({})).await?;
            objects.policy["spec"]["images"]["minimumSecurityVersion"] = 3.into();
        }),
        expect: &refused(
            "SecurityVersionTooLow",
            "is 2, and the policy asks for 3",
            "image",
        ),
        bound: LOOKED_AT,
        right: act!(|stage, objects| {
            objects.policy["spec"]["images"]["minimumSecurityVersion"] = 2.into();
            stage.apply_these([&objects.policy]).await?;
        }),
    },
    Case {
        name: "mirror-lies",
        setting: Setting {
            within: SOON,
            ..USUAL
        },
        wrong: act!(|stage, objects| {
            signed_with(stage, objects, json!({})).await?;
            stage.server.replace(stage.other_image.path.clone());
        }),
        expect: &refused("ImageUnavailable", "DigestMismatch", "upload the image"),
        bound: Bound {
            image: 12,
            ..LOOKED_AT
        },
        right: act!(|stage, _objects| {
            stage.server.replace(stage.image.path.clone());
        }),
    },
];
