//! Images that are well signed, for other cards than this one.

use http::Method;
use lockstep_lab::front::{Fault, Rule};
use serde_json::{Map, Value, json};

use super::{SIGN_WELL, refused, sign_anew, signed_with};
use crate::bad_input::act;
use crate::bad_input::case::{Case, LOOKED_AT, USUAL};
use crate::bad_input::stage::Stage;

/// What the card's BMC says that the card is.
const MODEL: &str = "Example DPU 200";

/// The remedy of an image that is for other cards.
const NAME_ANOTHER: &str = "Name an image that is made for this card";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "which-architecture",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            let fits = json!({"fits": {"architectures": ["aarch64"]}});
            signed_with(stage, objects, fits).await?;
        }),
        expect: &refused(
            "ImageFitNotKnown",
            "nobody has told the card's",
            "DpuInventory",
        ),
        bound: LOOKED_AT,
        right: SIGN_WELL,
    },
    Case {
        name: "wrong-model",
        setting: USUAL,
        wrong: act!(|stage, objects| {
            is_of(stage, MODEL);
            let fits = json!({"fits": {"models": ["Example DPU 100", "Example DPU 2000"]}});
            signed_with(stage, objects, fits).await?;
        }),
        expect: &refused(
            "ImageDoesNotFit",
            "it is for model Example DPU 100, Example DPU 2000, and the card's is Example DPU 200",
            NAME_ANOTHER,
        ),
        bound: LOOKED_AT,
        right: act!(|stage, objects| {
            let fits = json!({"fits": {"models": ["Example DPU 100", MODEL]}});
            sign_anew(stage, objects, fits).await?;
        }),
    },
];

/// The card's BMC names the card's model, and nobody who made it.
fn is_of(stage: &Stage<'_>, model: &str) {
    let told = [("Manufacturer", Value::Null), ("Model", model.into())];
    let told = told.map(|(name, value)| (name.to_owned(), value));
    let system = format!("/redfish/v1/Systems/{}", stage.bmc.system());
    let fault = Fault::Tells(Map::from_iter(told));
    stage.bmc.add_rule(Rule::on(Method::GET, &system, fault));
}
