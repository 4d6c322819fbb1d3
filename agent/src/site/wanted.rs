//! Which images the site's store should hold. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use lockstep_crds::boot_policy::PolicyMode;
use lockstep_crds::directive::ImageFacts;
use lockstep_crds::host::{ArmedEffect, CardRecord};
use lockstep_crds::{ChosenImage, Dpu, DpuBootPolicy, DpuHost, DpuImage};
use lockstep_store::{Digest, Place};

/// The images wanted, by digest.
pub type Wanted = BTreeMap<Digest, WantedImage>;

/// The most signatures of one image that are passed on, as many as the schema of reports takes.
const MOST_SIGNATURES: usize = 8;

/// One image, where it may come from, and the files that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedImage {
    /// Its sha256.
    pub digest: Digest,
    /// Its size, if all objects of these bytes say the same: the digest decides, and a size that one
    /// of them has wrong must not keep the bytes from the cards of another.
    pub size: Option<u64>,
    /// Tried in this order.
    pub sources: Vec<WantedSource>,
    /// Where its signatures are.
    pub signatures: Vec<WantedSignature>,
}

/// Where a signature is; what is tried in order gives the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedSignature {
    /// A DSSE envelope at these places.
    Dsse(Vec<WantedSource>),
    /// What cosign has put beside these artefacts.
    Cosign(Vec<WantedSource>),
}

/// A place, and the Secret with the accounts that may be shown there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedSource {
    /// Where the image is.
    pub place: Place,
    /// Name of the Secret.
    pub pull_secret: Option<String>,
}

/// The images that cards of the site name, or the policies of their hosts, and those to which
/// cards may have to go back. A policy that only observes wants nothing, and neither does a card
/// whose host or policy is not known.
pub fn wanted(
    site: &str,
    hosts: &[Arc<DpuHost>],
    cards: &[Arc<Dpu>],
    policies: &[Arc<DpuBootPolicy>],
    images: &[Arc<DpuImage>],
) -> Wanted {
    let mut found = Wanted::new();
    let cards = cards.iter().filter(|card| card.spec.site == site);
    let of_cards = cards.flat_map(|card| {
        let standing = Standing::of(card, hosts, policies).into_iter();
        standing.flat_map(|standing| {
            let firmware = standing.firmware(images).into_iter().map(Some);
            let golden = standing.golden(images).into_iter().map(Some);
            let systems = [standing.named(images), standing.fallback(images)];
            let services = standing.services(images).into_iter().map(Some);
            let wiper = [standing.wiper(images)];
            let others = golden.chain(firmware).chain(services).chain(wiper);
            systems.into_iter().chain(others)
        })
    });
    for image in of_cards.flatten() {
        // The API takes only digests and URLs; anything else is an older object.
        let Ok(digest) = image.spec.digest.parse::<Digest>() else {
            tracing::warn!(image = %image.name_any(), "not fetched: its digest is none");
            continue;
        };
        let size = image.spec.size_bytes;
        let size = size.and_then(|size| u64::try_from(size).ok());
        let request = found.entry(digest).or_insert_with(|| WantedImage {
            digest,
            size,
            sources: Vec::new(),
            signatures: Vec::new(),
        });
        if request.size != size {
            request.size = None;
        }
        let pull_secret = image.spec.pull_secret_ref.as_ref();
        let sources_of = |texts: &[String]| -> Vec<WantedSource> {
            let mut found = Vec::new();
            for text in texts {
                match text.parse::<Place>() {
                    Ok(place) => found.push(WantedSource {
                        place,
                        pull_secret: pull_secret.map(|reference| reference.name.clone()),
                    }),
                    Err(error) => {
                        tracing::warn!(image = %image.name_any(), "a source is passed over: {error}");
                    }
                }
            }
            found
        };
        for source in sources_of(&image.spec.sources) {
            if !request.sources.contains(&source) {
                request.sources.push(source);
            }
        }
        for signature in &image.spec.signatures {
            let dsse = signature.dsse.iter();
            let dsse = dsse.map(|file| WantedSignature::Dsse(sources_of(&file.sources)));
            let cosign = signature.cosign.iter();
            let cosign = cosign.map(|beside| WantedSignature::Cosign(sources_of(&beside.sources)));
            for wanted in dsse.chain(cosign) {
                let is_new = !wanted.is_empty() && !request.signatures.contains(&wanted);
                if is_new && request.signatures.len() < MOST_SIGNATURES {
                    request.signatures.push(wanted);
                }
            }
        }
    }
    found
}

impl WantedSignature {
    fn is_empty(&self) -> bool {
        match self {
            Self::Dsse(sources) | Self::Cosign(sources) => sources.is_empty(),
        }
    }
}

/// What decides which images a card gets.
struct Standing<'a> {
    card: &'a Dpu,
    policy: &'a DpuBootPolicy,
    /// What was done to it, if anything.
    kept: Option<&'a CardRecord>,
}

impl<'a> Standing<'a> {
    fn of(
        card: &'a Dpu,
        hosts: &'a [Arc<DpuHost>],
        policies: &'a [Arc<DpuBootPolicy>],
    ) -> Option<Self> {
        let first = card.spec.host_refs.first()?;
        let host = hosts.iter().find(|host| host.name_any() == first.name)?;
        let policy = &host.spec.policy_ref.name;
        let policy = policies
            .iter()
            .find(|each| each.name_any() == *policy)
            .filter(|policy| policy.spec.mode != PolicyMode::Observe)?;
        let uid = card.metadata.uid.as_deref().unwrap_or_default();
        let record = host.status.as_ref();
        Some(Self {
            card,
            policy,
            kept: record.and_then(|record| record.record_of(uid)),
        })
    }

    /// What the policy's choices came to, as the operator recorded it.
    fn chosen(&self) -> Option<&ChosenImage> {
        self.kept.and_then(|kept| kept.chosen.as_ref())
    }

    /// The image that the card names, or the policy of its host for such a card.
    fn named<'i>(&self, images: &'i [Arc<DpuImage>]) -> Option<&'i Arc<DpuImage>> {
        let policy = &self.policy.spec;
        let name = policy.image_for(&self.card.spec, self.chosen())?;
        images.iter().find(|image| image.name_any() == name)
    }

    /// The firmware images that the card names, or the policy of its host for such a card.
    fn firmware<'i>(&self, images: &'i [Arc<DpuImage>]) -> Vec<&'i Arc<DpuImage>> {
        let policy = &self.policy.spec;
        let named = policy.firmware_for(&self.card.spec, self.chosen());
        let named = named.iter().filter_map(|reference| {
            let mut images = images.iter();
            images.find(|image| image.name_any() == reference.name)
        });
        named.collect()
    }

    /// The services that the card names, or the policy of its host, and those that are offered to it.
    fn services<'i>(&self, images: &'i [Arc<DpuImage>]) -> Vec<&'i Arc<DpuImage>> {
        let own = self.card.spec.service_refs.as_ref();
        let named = own.unwrap_or(&self.policy.spec.service_refs).iter();
        let named = named.filter_map(|reference| {
            let mut images = images.iter();
            images.find(|image| image.name_any() == reference.name)
        });
        let offered = self.kept.into_iter().flat_map(|kept| &kept.services);
        let offered = offered.filter_map(|one| {
            let mut images = images.iter();
            images.find(|image| image.name_any() == one.image && image.spec.digest == one.digest)
        });
        named.chain(offered).collect()
    }

    /// The image that the card is to be wiped with.
    fn wiper<'i>(&self, images: &'i [Arc<DpuImage>]) -> Option<&'i Arc<DpuImage>> {
        let wish = self.card.spec.wipe.as_ref()?;
        let mut images = images.iter();
        images.find(|image| image.name_any() == wish.image_ref.name)
    }

    /// The image to which the card may have to go back.
    fn fallback<'i>(&self, images: &'i [Arc<DpuImage>]) -> Option<&'i Arc<DpuImage>> {
        let good = self.kept?.fallback(self.policy.spec.install.on_failure)?;
        recorded(&good.name, &good.image, images)
    }

    /// The golden image, and the one that the card goes back to as such if that was another.
    fn golden<'i>(&self, images: &'i [Arc<DpuImage>]) -> Vec<&'i Arc<DpuImage>> {
        let named = self.policy.spec.install.golden_image_ref.as_ref();
        let named =
            named.and_then(|named| images.iter().find(|image| image.name_any() == named.name));
        let back = self.kept.and_then(CardRecord::back_to);
        let back = back.and_then(|back| recorded(back.name, back.image, images));
        named.into_iter().chain(back).collect()
    }
}

/// The image of a record, as long as its object names the same bytes.
fn recorded<'i>(
    name: &str,
    image: &ImageFacts,
    images: &'i [Arc<DpuImage>],
) -> Option<&'i Arc<DpuImage>> {
    let is_it =
        |there: &&Arc<DpuImage>| there.name_any() == name && there.spec.digest == image.digest;
    images.iter().find(is_it)
}

/// The image that a card is to get: the one that it names, or the policy of its host; or if that
/// one was given up, the one to which the card goes back.
pub(super) fn image_of<'a>(
    card: &Dpu,
    hosts: &[Arc<DpuHost>],
    policies: &[Arc<DpuBootPolicy>],
    images: &'a [Arc<DpuImage>],
) -> Option<&'a Arc<DpuImage>> {
    let standing = Standing::of(card, hosts, policies)?;
    let named = standing.named(images)?;
    let token = card.spec.retry_token.as_deref();
    let back = standing
        .kept
        .and_then(|kept| kept.goes_back_to(&named.spec.digest, token));
    match back {
        Some(back) => recorded(back.name, back.image, images),
        None => Some(named),
    }
}

/// Whether an image of the card lies in a slot of its own disk, or one has been booted from there.
pub(super) fn has_slots(
    card: &Dpu,
    hosts: &[Arc<DpuHost>],
    policies: &[Arc<DpuBootPolicy>],
    images: &[Arc<DpuImage>],
) -> bool {
    let Some(standing) = Standing::of(card, hosts, policies) else {
        return false;
    };
    let systems = [standing.named(images), standing.fallback(images)];
    let mut systems = systems.into_iter().flatten().chain(standing.golden(images));
    let recorded = standing
        .kept
        .is_some_and(|kept| !kept.slots.is_empty() || kept.armed.contains(&ArmedEffect::BootEntry));
    recorded || systems.any(|image| image.spec.slot.is_some())
}

/// The firmware images that a card is to run.
pub(super) fn firmware_of<'a>(
    card: &Dpu,
    hosts: &[Arc<DpuHost>],
    policies: &[Arc<DpuBootPolicy>],
    images: &'a [Arc<DpuImage>],
) -> Vec<&'a Arc<DpuImage>> {
    Standing::of(card, hosts, policies)
        .map(|standing| standing.firmware(images))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_crds::boot_policy::OnInstallFailure;
    use serde_json::{Value, json};

    fn object<T: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: &Value) -> Arc<T> {
        let text = json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": kind,
            "metadata": {"name": name}, "spec": spec,
        });
        Arc::new(serde_json::from_value(text).unwrap())
    }

    fn host() -> Arc<DpuHost> {
        object(
            "DpuHost",
            "h",
            &json!({"site": "s", "policyRef": {"name": "p"}}),
        )
    }

    fn card(image: Option<&str>) -> Arc<Dpu> {
        let mut spec = json!({"site": "s", "hostRefs": [{"name": "h"}]});
        if let Some(image) = image {
            spec["imageRef"] = json!({"name": image});
        }
        object("Dpu", "c", &spec)
    }

    fn policy(mode: &str, image: Option<&str>) -> Arc<DpuBootPolicy> {
        let mut spec = json!({"mode": mode});
        if let Some(image) = image {
            spec["imageRef"] = json!({"name": image});
        }
        object("DpuBootPolicy", "p", &spec)
    }

    fn image(name: &str, digit: &str) -> Arc<DpuImage> {
        let spec = json!({
            "version": "1", "digest": format!("sha256:{}", digit.repeat(64)),
            "sources": ["http://192.0.2.9/a.iso"],
        });
        object("DpuImage", name, &spec)
    }

    fn digits(card_image: Option<&str>, mode: &str, policy_image: Option<&str>) -> Vec<String> {
        let found = wanted(
            "s",
            &[host()],
            &[card(card_image)],
            &[policy(mode, policy_image)],
            &[image("one", "1"), image("two", "2")],
        );
        found
            .keys()
            .map(|digest| digest.hex()[..1].to_owned())
            .collect()
    }

    #[test]
    fn the_card_overrides_the_policy_and_observe_wants_nothing() {
        assert_eq!(digits(None, "Plan", Some("one")), ["1"]);
        assert_eq!(digits(Some("two"), "Enforce", Some("one")), ["2"]);
        assert_eq!(digits(Some("two"), "Plan", None), ["2"]);
        assert!(digits(Some("two"), "Observe", Some("one")).is_empty());
        assert!(digits(None, "Plan", None).is_empty());
        assert!(digits(Some("missing"), "Plan", Some("one")).is_empty());
    }

    /// The card of that record runs `two`, which is the last good one of `record`.
    fn with_record(mut record: Value) -> Arc<DpuHost> {
        let mut host = (*host()).clone();
        let two = json!({"version": "1", "digest": format!("sha256:{}", "2".repeat(64))});
        record["lastGood"] = json!({"name": "two", "image": two, "seenAt": "2026-01-01T00:00:00Z"});
        for (field, value) in [("name", "c"), ("uid", "uid-c"), ("physicalId", "p")] {
            record[field] = json!(value);
        }
        host.status = serde_json::from_value(json!({"cards": [record]})).unwrap();
        Arc::new(host)
    }

    #[test]
    fn what_a_card_may_go_back_to_is_kept_and_what_it_goes_back_to_is_configured() {
        let mut wants_one = (*card(Some("one"))).clone();
        wants_one.metadata.uid = Some("uid-c".into());
        let cards = [Arc::new(wants_one)];
        let images = [image("one", "1"), image("two", "2")];
        let from = |digit: &str| {
            let digest = format!("sha256:{}", digit.repeat(64));
            let since = "2026-01-01T00:00:00Z";
            json!({"rollBack": {"from": {"version": "1", "digest": digest}, "since": since}})
        };
        let stalls = || policy("Plan", None);
        let rolls_back = || {
            let mut policy = (*stalls()).clone();
            policy.spec.install.on_failure = OnInstallFailure::RollBack;
            Arc::new(policy)
        };
        let (both, one): (&[&str], &[&str]) = (&["1", "2"], &["1"]);
        let table = [
            (json!({}), stalls(), one, "one"),
            (json!({}), rolls_back(), both, "one"),
            (from("1"), stalls(), both, "two"),
            (from("1"), rolls_back(), both, "two"),
            // Another image was given up than the one that is wanted now.
            (from("3"), rolls_back(), both, "one"),
        ];
        for (record, policy, kept, given) in table {
            let hosts = [with_record(record.clone())];
            let policies = [policy];
            let found = wanted("s", &hosts, &cards, &policies, &images);
            let digits: Vec<_> = found
                .keys()
                .map(|digest| digest.hex()[..1].to_owned())
                .collect();
            assert_eq!(digits, kept, "{record}");
            let image = image_of(&cards[0], &hosts, &policies, &images).unwrap();
            assert_eq!(image.name_any(), given, "{record}");
        }
        // Other bytes by that name are another image.
        let images = [image("one", "1"), image("two", "4")];
        let hosts = [with_record(from("1"))];
        let policies = [rolls_back()];
        assert!(image_of(&cards[0], &hosts, &policies, &images).is_none());
        assert_eq!(wanted("s", &hosts, &cards, &policies, &images).len(), 1);
    }

    #[test]
    fn a_golden_image_is_kept_and_what_a_card_goes_to_as_such_is_configured() {
        let mut wants_one = (*card(Some("one"))).clone();
        wants_one.metadata.uid = Some("uid-c".into());
        let cards = [Arc::new(wants_one)];
        let images = [image("one", "1"), image("two", "2"), image("gold", "3")];
        let mut policy = (*policy("Plan", None)).clone();
        policy.spec.install.on_failure = OnInstallFailure::RollBack;
        let unnamed = Arc::new(policy.clone());
        policy.spec.install.golden_image_ref =
            serde_json::from_value(json!({"name": "gold"})).unwrap();
        let named = Arc::new(policy);
        let facts =
            |digit: &str| json!({"version": "1", "digest": format!("sha256:{}", digit.repeat(64))});
        let gone_to = json!({"rollBack": {
            "from": facts("1"), "since": "2026-01-01T00:00:00Z",
            "golden": {"name": "gold", "image": facts("3")},
        }});
        let (all, both): (&[&str], &[&str]) = (&["1", "2", "3"], &["1", "2"]);
        let table = [
            (json!({}), &unnamed, both, "one"),
            (json!({}), &named, all, "one"),
            (gone_to.clone(), &named, all, "gold"),
            // What the card was given stays, whatever the policy names by now.
            (gone_to, &unnamed, all, "gold"),
        ];
        for (record, policy, kept, given) in table {
            let hosts = [with_record(record.clone())];
            let policies = [Arc::clone(policy)];
            let found = wanted("s", &hosts, &cards, &policies, &images);
            let digits: Vec<_> = found
                .keys()
                .map(|digest| digest.hex()[..1].to_owned())
                .collect();
            assert_eq!(digits, kept, "{record}");
            let image = image_of(&cards[0], &hosts, &policies, &images).unwrap();
            assert_eq!(image.name_any(), given, "{record}");
        }
    }

    #[test]
    fn what_was_chosen_for_a_card_is_had_and_configured_and_nothing_before_that() {
        let mut wants = (*card(None)).clone();
        wants.metadata.uid = Some("uid-c".into());
        let mut policy = (*policy("Plan", Some("one"))).clone();
        policy.spec.image_choices = serde_json::from_value(json!([{
            "name": "bf3", "cards": {"families": ["BlueField-3"]},
            "imageRef": {"name": "two"}, "firmwareRefs": [{"name": "three"}],
        }]))
        .unwrap();
        let images = [image("one", "1"), image("two", "2"), image("three", "3")];
        let (by, others) = (
            json!({"choice": "bf3", "image": "two", "by": "0123456789abcdef"}),
            json!({"image": "one", "by": "0123456789abcdef"}),
        );
        let own = {
            let mut own = wants.clone();
            own.spec.image_ref = Some(lockstep_crds::LocalRef { name: "one".into() });
            own
        };
        let table: [(&Dpu, Value, &[&str]); 4] = [
            (&wants, json!({}), &[]),
            (&wants, json!({"chosen": by}), &["2", "3"]),
            (&wants, json!({"chosen": others}), &["1"]),
            // What was chosen before it named one.
            (&own, json!({"chosen": by}), &["1"]),
        ];
        for (card, mut record, expected) in table {
            for (field, value) in [("name", "c"), ("uid", "uid-c"), ("physicalId", "p")] {
                record[field] = json!(value);
            }
            let mut host = (*host()).clone();
            host.status = serde_json::from_value(json!({"cards": [record]})).unwrap();
            let (hosts, policies) = ([Arc::new(host)], [Arc::new(policy.clone())]);
            let cards = [Arc::new(card.clone())];
            let found = wanted("s", &hosts, &cards, &policies, &images);
            let digits = found.keys().map(|digest| digest.hex()[..1].to_owned());
            assert_eq!(digits.collect::<Vec<_>>(), expected, "{record}");
            let given = image_of(&cards[0], &hosts, &policies, &images);
            let given = given.map(|image| image.spec.digest[7..8].to_owned());
            assert_eq!(given.as_deref(), expected.first().copied());
        }
    }

    #[test]
    fn services_are_kept_as_they_are_wanted_and_as_they_are_offered() {
        let mut host = (*host()).clone();
        let of = |name: &str, digit: &str| {
            let digest = format!("sha256:{}", digit.repeat(64));
            json!({"service": "web", "image": name, "version": "1", "digest": digest})
        };
        host.status = serde_json::from_value(json!({"cards": [{
            "name": "c", "uid": "uid-c", "physicalId": "p",
            // Other bytes go by the name of the third now.
            "services": [of("two", "2"), of("three", "9")],
        }]}))
        .unwrap();
        let mut wants = (*card(None)).clone();
        wants.metadata.uid = Some("uid-c".into());
        let mut with = (*policy("Plan", None)).clone();
        with.spec.service_refs = vec![lockstep_crds::LocalRef { name: "one".into() }];
        let images = [image("one", "1"), image("two", "2"), image("three", "3")];
        let digits = |card: Dpu| {
            let hosts = [Arc::new(host.clone())];
            let policies = [Arc::new(with.clone())];
            let found = wanted("s", &hosts, &[Arc::new(card)], &policies, &images);
            let digits = found.keys().map(|digest| digest.hex()[..1].to_owned());
            digits.collect::<Vec<_>>()
        };
        assert_eq!(digits(wants.clone()), ["1", "2"]);
        wants.spec.service_refs = Some(Vec::new());
        assert_eq!(digits(wants), ["2"], "its own list, though it is empty");
    }

    #[test]
    fn sources_keep_their_order_and_the_secret_of_their_image() {
        let sources = [
            "oci://registry.test/os:1",
            "https://192.0.2.9/a.iso",
            "oci://Nonsense",
        ];
        let mut spec = json!({
            "version": "1", "digest": format!("sha256:{}", "1".repeat(64)), "sources": sources,
            "pullSecretRef": {"name": "pull"},
        });
        let private = object("DpuImage", "private", &spec);
        spec["pullSecretRef"] = Value::Null;
        let public = object("DpuImage", "public", &spec);
        let cards = ["private", "public"].map(|image| card(Some(image)));
        let found = wanted(
            "s",
            &[host()],
            &cards,
            &[policy("Plan", None)],
            &[private, public],
        );
        let sources = &found.values().next().unwrap().sources;
        let shown: Vec<_> = sources
            .iter()
            .map(|source| (source.place.to_string(), source.pull_secret.as_deref()))
            .collect();
        let (registry, mirror) = ("oci://registry.test/os:1", "https://192.0.2.9/a.iso");
        let expected = [
            (registry.to_owned(), Some("pull")),
            (mirror.to_owned(), Some("pull")),
            (registry.to_owned(), None),
            (mirror.to_owned(), None),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn objects_for_the_same_bytes_add_their_sources_and_signatures() {
        let beside = "oci://registry.test/os:1";
        let one = |name: &str, source: &str, signatures: &[&str]| -> Arc<DpuImage> {
            let mut signatures: Vec<Value> = signatures
                .iter()
                .map(|url| json!({"dsse": {"sources": [url]}}))
                .collect();
            signatures.push(json!({"cosign": {"sources": [beside]}}));
            let spec = json!({
                "version": "1", "digest": format!("sha256:{}", "1".repeat(64)),
                "sources": [source], "signatures": signatures, "pullSecretRef": {"name": "pull"},
            });
            object("DpuImage", name, &spec)
        };
        let (a, b) = ("http://192.0.2.9/a.dsse", "http://192.0.2.9/b.dsse");
        let images = [
            one("one", "http://192.0.2.9/a.iso", &[a]),
            one("two", "http://192.0.2.8/a.iso", &[a, b]),
        ];
        let found = wanted(
            "s",
            &[host()],
            &[card(Some("one")), card(Some("two"))],
            &[policy("Plan", None)],
            &images,
        );
        let [image] = found.values().collect::<Vec<_>>()[..] else {
            panic!("{found:?}");
        };
        assert_eq!(image.sources.len(), 2);
        let at = |place: &str| WantedSource {
            place: place.parse().unwrap(),
            pull_secret: Some("pull".to_owned()),
        };
        let envelope = |url: &str| WantedSignature::Dsse(vec![at(url)]);
        let cosign = WantedSignature::Cosign(vec![at(beside)]);
        assert_eq!(image.signatures, [envelope(a), cosign, envelope(b)]);
    }

    #[test]
    fn a_size_is_passed_on_only_where_all_objects_of_the_bytes_say_it() {
        let one = |name: &str, size: Option<i64>| -> Arc<DpuImage> {
            let mut image = (*image(name, "1")).clone();
            image.spec.size_bytes = size;
            Arc::new(image)
        };
        let table = [
            (Some(7), Some(7), Some(7), Some(7)),
            (Some(7), Some(8), Some(7), None),
            (Some(7), None, Some(7), None),
            (None, None, Some(7), None),
            (None, None, None, None),
        ];
        for (a, b, c, passed_on) in table {
            let found = wanted(
                "s",
                &[host()],
                &[card(Some("a")), card(Some("b")), card(Some("c"))],
                &[policy("Plan", None)],
                &[one("a", a), one("b", b), one("c", c)],
            );
            let sizes: Vec<_> = found.values().map(|image| image.size).collect();
            assert_eq!(sizes, [passed_on], "{a:?} {b:?} {c:?}");
        }
    }

    #[test]
    fn a_card_without_a_known_host_wants_nothing() {
        let found = wanted(
            "s",
            &[],
            &[card(Some("one"))],
            &[policy("Plan", None)],
            &[image("one", "1")],
        );
        assert!(found.is_empty());
    }
}
