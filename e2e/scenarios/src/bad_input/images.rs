//! Images that are not what they should be, or are not to be had.

use lockstep_lab::image::Image;

use crate::artefacts;
use crate::bad_input::act;
use crate::bad_input::case::{Bound, Case, Expect, LOOKED_AT, Moment, Of, SLOWLY, Setting, USUAL};
use crate::bad_input::repairs::{APPLY_KEPT_BACK, SERVE_HONESTLY};
use crate::bad_input::stage::Objects;
use crate::image_server::Behaviour;

/// Fetches that a person has to put right, an hour. A new image anywhere in the site
/// hurries one of them.
const AN_HOUR: Bound = Bound {
    image: 12,
    ..LOOKED_AT
};

/// The image's status says why it cannot be had, and its card's repeats it.
const fn not_to_be_had(
    reason: &'static str,
    cause: &'static str,
    remedy: &'static str,
) -> [Expect; 2] {
    let image = Expect {
        of: &[Of::Image],
        reason,
        says: [cause, remedy],
    };
    let card = Expect {
        of: &[Of::Card],
        reason: "ImageUnavailable",
        says: [reason, remedy],
    };
    [image, card]
}

/// The image object names that file's bytes.
fn is_of(objects: &mut Objects, image: &Image) {
    let spec = &mut objects.image["spec"];
    spec["digest"] = format!("sha256:{}", image.sha256).into();
    spec["sizeBytes"] = image.size.into();
}

/// The cases.
pub const CASES: &[Case] = &[
    Case {
        name: "slow-loris",
        setting: Setting {
            within: SLOWLY,
            ..USUAL
        },
        wrong: act!(|stage, _objects| {
            stage.server.behave(Behaviour::SlowLoris);
        }),
        expect: &not_to_be_had("TooSlow", "sent only", "image server's load"),
        bound: Bound {
            image: 6,
            ..LOOKED_AT
        },
        right: SERVE_HONESTLY,
    },
    Case {
        name: "wrong-digest",
        setting: USUAL,
        wrong: act!(|stage, _objects| {
            stage.server.replace(stage.other_image.path.clone());
        }),
        expect: &not_to_be_had(
            "DigestMismatch",
            "has digest",
            "upload the image that was approved",
        ),
        bound: AN_HOUR,
        right: act!(|stage, _objects| {
            stage.server.replace(stage.image.path.clone());
        }),
    },
    Case {
        name: "truncated",
        setting: USUAL,
        wrong: act!(|stage, _objects| {
            stage.server.behave(Behaviour::Truncates);
        }),
        expect: &not_to_be_had("Truncated", "ended after", "check the image server"),
        bound: AN_HOUR,
        right: SERVE_HONESTLY,
    },
    Case {
        name: "oversize",
        setting: USUAL,
        wrong: act!(|stage, _objects| {
            stage.server.behave(Behaviour::Oversize);
        }),
        expect: &not_to_be_had("SizeMismatch", "that were announced", "correct the size"),
        bound: AN_HOUR,
        right: SERVE_HONESTLY,
    },
    Case {
        name: "not-found",
        setting: USUAL,
        wrong: act!(|stage, _objects| {
            stage.server.behave(Behaviour::NotFound);
        }),
        expect: &not_to_be_had("NotFound", "answers 404", "upload the image there"),
        bound: AN_HOUR,
        right: SERVE_HONESTLY,
    },
    Case {
        name: "redirect",
        setting: USUAL,
        wrong: act!(|stage, _objects| {
            let elsewhere = stage.elsewhere.url("").replace("127.0.0.1", "localhost");
            let elsewhere = elsewhere.trim_end_matches('/').to_owned();
            stage.server.behave(Behaviour::RedirectsTo(elsewhere));
        }),
        expect: &not_to_be_had("RedirectRefused", "redirects to", "name the final URL"),
        bound: AN_HOUR,
        right: act!(|stage, _objects| {
            stage.nobody_elsewhere()?;
            stage.server.behave(Behaviour::Honest);
        }),
    },
    Case {
        name: "no-seed-slot",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            let image = artefacts::firmware(stage.world.folder(), stage.name)?;
            stage.server.replace(image.path.clone());
            is_of(objects, &image);
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "NoSeedSlot",
            says: ["has no seed slot", "Build it with one seed slot"],
        }],
        bound: LOOKED_AT,
        right: act!(|stage, objects| {
            stage
                .delete(&format!("dpuimage/{}", stage.name), true)
                .await?;
            stage.server.replace(stage.image.path.clone());
            is_of(objects, &stage.image);
            stage.apply_these([&objects.image]).await?;
        }),
    },
    Case {
        name: "image-missing",
        setting: USUAL,
        wrong: act!(|_stage, objects| {
            objects.keep_back(|objects| &mut objects.image);
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "ImageNotFound",
            says: ["does not exist", "Create the DpuImage"],
        }],
        bound: Bound {
            image: 0,
            ..LOOKED_AT
        },
        right: APPLY_KEPT_BACK,
    },
    Case {
        name: "image-deleted",
        setting: Setting {
            when: Moment::MidInstall,
            ..USUAL
        },
        wrong: act!(|stage, _objects| {
            stage
                .delete(&format!("dpuimage/{}", stage.name), true)
                .await?;
        }),
        expect: &[Expect {
            of: &[Of::Card],
            reason: "ImageNotFound",
            says: ["does not exist", "Create the DpuImage"],
        }],
        bound: Bound {
            image: 2,
            ..LOOKED_AT
        },
        right: act!(|stage, objects| {
            stage.apply_these([&objects.image]).await?;
        }),
    },
];
