//! Images that are not what they should be, or are not to be had.

use crate::bad_input::act;
use crate::bad_input::case::{Bmcs, Bound, Case, Expect, Moment, Of, SLOWLY, SOON, Then};
use crate::image_server::Behaviour;

/// While an image cannot be had, its card's BMC is only looked at.
const LOOKED_AT: usize = 120;

/// Fetches that a person has to put right, an hour. A new image anywhere in the site
/// hurries one of them.
const AN_HOUR: u64 = 12;

/// The cases.
pub const CASES: &[Case] = &[
    Case {
        name: "slow-loris",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SLOWLY,
        wrong: act!(|stage, _objects| {
            stage.server.behave(Behaviour::SlowLoris);
        }),
        expect: &[
            Expect {
                of: Of::Image,
                reason: "TooSlow",
                says: &["sent only", "image server's load"],
            },
            Expect {
                of: Of::Card,
                reason: "ImageUnavailable",
                says: &["TooSlow", "image server's load"],
            },
        ],
        bound: Bound {
            bmc: LOOKED_AT,
            refused: None,
            image: 6,
        },
        right: act!(|stage, _objects| {
            stage.server.behave(Behaviour::Honest);
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "wrong-digest",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            stage.server.replace(stage.other_image.path.clone());
        }),
        expect: &[
            Expect {
                of: Of::Image,
                reason: "DigestMismatch",
                says: &["has digest", "upload the image that was approved"],
            },
            Expect {
                of: Of::Card,
                reason: "ImageUnavailable",
                says: &["DigestMismatch", "upload the image that was approved"],
            },
        ],
        bound: Bound {
            bmc: LOOKED_AT,
            refused: None,
            image: AN_HOUR,
        },
        right: act!(|stage, _objects| {
            stage.server.replace(stage.image.path.clone());
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "truncated",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            stage.server.behave(Behaviour::Truncates);
        }),
        expect: &[
            Expect {
                of: Of::Image,
                reason: "Truncated",
                says: &["ended after", "check the image server"],
            },
            Expect {
                of: Of::Card,
                reason: "ImageUnavailable",
                says: &["Truncated", "check the image server"],
            },
        ],
        bound: Bound {
            bmc: LOOKED_AT,
            refused: None,
            image: AN_HOUR,
        },
        right: act!(|stage, _objects| {
            stage.server.behave(Behaviour::Honest);
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "oversize",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            stage.server.behave(Behaviour::Oversize);
        }),
        expect: &[
            Expect {
                of: Of::Image,
                reason: "SizeMismatch",
                says: &["that were announced", "correct the size"],
            },
            Expect {
                of: Of::Card,
                reason: "ImageUnavailable",
                says: &["SizeMismatch", "correct the size"],
            },
        ],
        bound: Bound {
            bmc: LOOKED_AT,
            refused: None,
            image: AN_HOUR,
        },
        right: act!(|stage, _objects| {
            stage.server.behave(Behaviour::Honest);
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "not-found",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            stage.server.behave(Behaviour::NotFound);
        }),
        expect: &[
            Expect {
                of: Of::Image,
                reason: "NotFound",
                says: &["answers 404", "upload the image there"],
            },
            Expect {
                of: Of::Card,
                reason: "ImageUnavailable",
                says: &["NotFound", "upload the image there"],
            },
        ],
        bound: Bound {
            bmc: LOOKED_AT,
            refused: None,
            image: AN_HOUR,
        },
        right: act!(|stage, _objects| {
            stage.server.behave(Behaviour::Honest);
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "redirect",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            let elsewhere = stage.elsewhere.url("").replace("127.0.0.1", "localhost");
            let elsewhere = elsewhere.trim_end_matches('/').to_owned();
            stage.server.behave(Behaviour::RedirectsTo(elsewhere));
        }),
        expect: &[
            Expect {
                of: Of::Image,
                reason: "RedirectRefused",
                says: &["redirects to", "name the final URL"],
            },
            Expect {
                of: Of::Card,
                reason: "ImageUnavailable",
                says: &["RedirectRefused", "name the final URL"],
            },
        ],
        bound: Bound {
            bmc: LOOKED_AT,
            refused: None,
            image: AN_HOUR,
        },
        right: act!(|stage, _objects| {
            stage.nobody_elsewhere()?;
            stage.server.behave(Behaviour::Honest);
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "image-missing",
        when: Moment::Before,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|_stage, objects| {
            objects.keep_back(|objects| &mut objects.image);
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "ImageNotFound",
            says: &["does not exist", "Create the DpuImage"],
        }],
        bound: Bound {
            bmc: LOOKED_AT,
            refused: None,
            image: 0,
        },
        right: act!(|stage, objects| {
            stage.apply_these(&objects.kept_back).await?;
        }),
        then: Then::PowerOn,
    },
    Case {
        name: "image-deleted",
        when: Moment::MidInstall,
        bmcs: Bmcs::One,
        within: SOON,
        wrong: act!(|stage, _objects| {
            stage
                .delete(&format!("dpuimage/{}", stage.name), true)
                .await?;
        }),
        expect: &[Expect {
            of: Of::Card,
            reason: "ImageNotFound",
            says: &["does not exist", "Create the DpuImage"],
        }],
        bound: Bound {
            bmc: LOOKED_AT,
            refused: None,
            image: 2,
        },
        right: act!(|stage, objects| {
            stage.apply_these([&objects.image]).await?;
        }),
        then: Then::PowerOn,
    },
];
