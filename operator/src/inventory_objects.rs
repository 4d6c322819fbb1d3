//! `DpuInventory` objects as they should be, and how what is there differs from it. No I/O.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use lockstep_crds::dpu_inventory::DpuInventorySpec;
use lockstep_crds::{Dpu, DpuInventory, GROUP};
use lockstep_planner::inventory::JoinedCard;
use serde_json::{Value, json};

use crate::key::Key;
use crate::merge_patch::difference;

/// Longest value of a label.
const LABEL_MAX: usize = 63;
/// Labels of ours on a `DpuInventory`, after the group.
const LABELS: [&str; 4] = ["vendor", "family", "host", "site"];

/// The inventory of a card as it should be.
pub(crate) fn wanted(dpu: &Dpu, joined: &JoinedCard) -> DpuInventory {
    let key = Key::of(dpu);
    DpuInventory {
        metadata: ObjectMeta {
            name: Some(key.name),
            namespace: Some(key.namespace),
            labels: Some(labels(dpu, joined)),
            owner_references: dpu.owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: joined.inventory.clone(),
    }
}

/// For selectors: whose make and family it is, where it sits, and which site's.
fn labels(dpu: &Dpu, joined: &JoinedCard) -> BTreeMap<String, String> {
    let system = joined.inventory.system.as_ref().map(|system| &system.facts);
    let vendor = joined.summary.vendor.as_deref();
    let family = system.and_then(|system| system.family.as_deref());
    let host = joined.places.first().map(|place| place.name.as_str());
    let values = [vendor, family, host, Some(dpu.spec.site.as_str())];
    LABELS
        .iter()
        .zip(values)
        .filter_map(|(name, value)| Some((label(name), label_value(value?)?)))
        .collect()
}

fn label(name: &str) -> String {
    format!("{GROUP}/{name}")
}

/// `text` as the value of a label: what may not stand there becomes `-`. `None` where nothing is
/// left of it, or where it would have to be cut: two of them could then look like one.
pub(crate) fn label_value(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let value: String = text
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .collect();
    let value = value.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    (!value.is_empty() && value.len() <= LABEL_MAX).then(|| value.to_owned())
}

/// The merge patch that turns `current` into `wanted`; `None` if only times differ. Labels and
/// owners of others stay.
pub(crate) fn change(current: &DpuInventory, wanted: &DpuInventory) -> Option<Value> {
    let same_facts = timeless(&current.spec) == timeless(&wanted.spec);
    let metadata = difference(&ours(current, wanted), &ours(wanted, wanted));
    if same_facts && metadata.is_none() {
        return None;
    }
    let mut patch = json!({});
    if let Some(metadata) = metadata {
        patch["metadata"] = metadata;
    }
    if !same_facts && let Some(spec) = difference(&json!(current.spec), &json!(wanted.spec)) {
        patch["spec"] = spec;
    }
    Some(patch)
}

/// What is ours of an object's metadata.
fn ours(object: &DpuInventory, wanted: &DpuInventory) -> Value {
    let meta = &object.metadata;
    let label = |name: &&str| {
        let key = label(name);
        let value = meta.labels.as_ref()?.get(&key)?.clone();
        Some((key, value))
    };
    let labels: BTreeMap<String, String> = LABELS.iter().filter_map(label).collect();
    let owner = wanted.metadata.owner_references.iter().flatten().next();
    let is_owned = |owners: &[OwnerReference]| {
        let uid = owner.map(|owner| owner.uid.as_str());
        owners.iter().any(|owner| Some(owner.uid.as_str()) == uid)
    };
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let owners = if is_owned(owners) {
        json!(wanted.metadata.owner_references)
    } else {
        json!(owners)
    };
    json!({"labels": labels, "ownerReferences": owners})
}

/// An inventory without the times at which its facts were told: they alone are no news.
pub(crate) fn timeless(spec: &DpuInventorySpec) -> Value {
    let mut value = json!(spec);
    for group in value
        .as_object_mut()
        .into_iter()
        .flat_map(|map| map.values_mut())
    {
        if let Some(group) = group.as_object_mut()
            && group.contains_key("facts")
        {
            group.remove("observedAt");
            if let Some(facts) = group.get_mut("facts").and_then(Value::as_object_mut) {
                facts.remove("probedAt");
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_planner::inventory::Verdict;

    fn dpu() -> Dpu {
        serde_json::from_value(json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "Dpu",
            "metadata": {"name": "card1", "namespace": "site", "uid": "uid-1"},
            "spec": {"site": "lab", "hostRefs": [{"name": "host1"}]},
        }))
        .unwrap()
    }

    fn joined(serial: &str, observed_at: &str) -> JoinedCard {
        let inventory = serde_json::from_value(json!({
            "completeness": "Complete",
            "system": {
                "from": "CardBmc", "report": "bmc-card-card1",
                "observedAt": observed_at,
                "facts": {"family": "BlueField-3", "serialNumber": serial},
            },
        }));
        JoinedCard {
            inventory: inventory.unwrap(),
            summary: serde_json::from_value(json!({"vendor": "NVIDIA (Mellanox)"})).unwrap(),
            places: Vec::new(),
            inventoried: Verdict {
                status: "True",
                reason: "Complete",
                message: String::new(),
            },
            tellers: BTreeMap::new(),
            disks: Vec::new(),
            inspected: BTreeMap::new(),
            witnesses: Vec::new(),
            is_told_by_others: true,
            is_claimed_by_word: false,
        }
    }

    const EARLY: &str = "2026-01-01T00:00:00Z";
    const LATE: &str = "2026-01-01T01:00:00Z";

    #[test]
    fn it_is_owned_by_its_card_and_can_be_selected() {
        let wanted = wanted(&dpu(), &joined("S1", EARLY));
        let labels = wanted.metadata.labels.unwrap();
        assert_eq!(
            labels["provisioning.opiproject.org/vendor"],
            "NVIDIA--Mellanox"
        );
        assert_eq!(labels["provisioning.opiproject.org/family"], "BlueField-3");
        assert_eq!(labels["provisioning.opiproject.org/site"], "lab");
        assert_eq!(labels.len(), 3, "nobody has seen its host");
        assert_eq!(wanted.metadata.owner_references.unwrap()[0].uid, "uid-1");
    }

    #[test]
    fn times_alone_are_no_change() {
        let current = wanted(&dpu(), &joined("S1", EARLY));
        assert_eq!(change(&current, &wanted(&dpu(), &joined("S1", LATE))), None);
        let patch = change(&current, &wanted(&dpu(), &joined("S2", LATE))).unwrap();
        let system = &patch["spec"]["system"];
        assert_eq!(system["facts"], json!({"serialNumber": "S2"}));
        assert_eq!(
            system["observedAt"], LATE,
            "and when it was told goes with it"
        );
        assert_eq!(patch.get("metadata"), None);
    }

    #[test]
    fn what_others_put_there_stays_and_what_is_ours_is_mended() {
        let wanted = wanted(&dpu(), &joined("S1", EARLY));
        let mut current = wanted.clone();
        let labels = current.metadata.labels.as_mut().unwrap();
        labels.insert("team".to_owned(), "blue".to_owned());
        assert_eq!(change(&current, &wanted), None);
        let labels = current.metadata.labels.as_mut().unwrap();
        labels.remove("provisioning.opiproject.org/site");
        let host = "provisioning.opiproject.org/host";
        labels.insert(host.to_owned(), "old".to_owned());
        let patch = change(&current, &wanted).unwrap();
        assert_eq!(patch["metadata"]["labels"][host], Value::Null);
        assert_eq!(
            patch["metadata"]["labels"]["provisioning.opiproject.org/site"],
            "lab"
        );
        assert_eq!(patch["metadata"]["labels"].get("team"), None);
        assert_eq!(patch.get("spec"), None);
        // Left over from an earlier card of that name.
        let mut stale = wanted.clone();
        stale.metadata.owner_references.as_mut().unwrap()[0].uid = "uid-0".to_owned();
        let patch = change(&stale, &wanted).unwrap();
        assert_eq!(patch["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    }

    #[test]
    fn values_of_labels_are_legal_or_left_out() {
        let table = [
            ("BlueField-3", Some("BlueField-3")),
            ("  Intel Corp. ", Some("Intel-Corp")),
            ("--", None),
            ("", None),
            (&"x".repeat(64), None),
        ];
        for (text, value) in table {
            assert_eq!(label_value(text).as_deref(), value, "{text}");
        }
    }
}
