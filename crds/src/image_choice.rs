//! Which image a card gets by what it is: `DpuBootPolicy.spec.imageChoices`.

use std::collections::BTreeMap;

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bmc::LocalRef;
use crate::boot_policy::{DpuBootPolicySpec, InventorySelector};
use crate::dpu::DpuSpec;

/// An image for the cards that are so. All that is given must fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.cards) || (has(self.matchLabels) && size(self.matchLabels) > 0)")
        .message("a choice of an image needs cards or matchLabels: what all others get is imageRef of the policy"),
    validation = Rule::new("!has(self.cards) || !has(self.cards.pairingObserved) || !self.cards.pairingObserved")
        .message("an image is chosen by what a card is: cards of a choice takes no pairingObserved")
)]
pub struct ImageChoice {
    /// What statuses call it.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Labels that the `Dpu` has, with these values.
    #[schemars(schema_with = "labels")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// What the card is made of, by its `DpuInventory`. What is asked for and not known is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cards: Option<InventorySelector>,
    /// The image of such a card.
    pub image_ref: LocalRef,
    /// The firmware images of such a card, in place of all of the policy's, also if it is empty.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 4))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_refs: Option<Vec<LocalRef>>,
}

/// Labels, within the bounds of Kubernetes.
fn labels(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "description": "Value of the label.",
        },
    })
}

/// What the `imageChoices` of its policy came to for a card. It stays when what is known of the card
/// changes after something was done: nobody changes a system that runs because of a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChosenImage {
    /// Name of the choice; absent if none fits, so that the card gets the policy's `imageRef`.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// Name of the `DpuImage`.
    #[schemars(length(max = 253))]
    pub image: String,
    /// Digest of that choice as it was, and of whether the card had its labels.
    #[schemars(length(max = 16))]
    pub by: String,
    /// The same of all that it was chosen from. What stood there before comes to nothing by an edit
    /// beside it: a card that has this one done to it keeps it.
    #[schemars(length(max = 17), inner(length(max = 16)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub among: Vec<String>,
    /// `retryToken` of the `Dpu` then. With another one it is chosen anew.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_token: Option<String>,
}

impl DpuBootPolicySpec {
    /// Name of the image that is wanted of a card, if the choices came to that for it.
    pub fn image_for<'a>(
        &'a self,
        card: &'a DpuSpec,
        chosen: Option<&'a ChosenImage>,
    ) -> Option<&'a str> {
        match (&card.image_ref, chosen) {
            (Some(own), _) => Some(own.name.as_str()),
            (None, _) if self.image_choices.is_empty() => {
                self.image_ref.as_ref().map(|named| named.name.as_str())
            }
            (None, chosen) => chosen.map(|chosen| chosen.image.as_str()),
        }
    }

    /// The firmware images that are wanted of a card, if the choices came to that for it.
    pub fn firmware_for<'a>(
        &'a self,
        card: &'a DpuSpec,
        chosen: Option<&ChosenImage>,
    ) -> &'a [LocalRef] {
        if let Some(own) = &card.firmware_refs {
            return own;
        }
        let chosen = chosen.filter(|_| card.image_ref.is_none());
        let name = chosen.and_then(|chosen| chosen.choice.as_ref());
        let choice = name.and_then(|name| self.image_choices.iter().find(|one| one.name == *name));
        choice
            .and_then(|choice| choice.firmware_refs.as_ref())
            .unwrap_or(&self.firmware_refs)
    }

    /// Every image that the policy names for operating systems, firmware and services.
    pub fn images_named(&self) -> impl Iterator<Item = &LocalRef> {
        let choices = self.image_choices.iter();
        let of_choices = choices.flat_map(|choice| {
            let firmware = choice.firmware_refs.iter().flatten();
            std::iter::once(&choice.image_ref).chain(firmware)
        });
        let named = self.image_ref.iter().chain(of_choices);
        named.chain(&self.firmware_refs).chain(&self.service_refs)
    }
}
