//! What is offered to this card, by the status of its own `Dpu`, which the operator alone writes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use lockstep_crds::Dpu;
use lockstep_crds::report::Reachability;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::decide::Wish;
use crate::kube_client::{REQUEST_DEADLINE, said};
use crate::seed::Seed;
use crate::site::judge::Refusal;

/// What is wanted of each service, by its name, and in which version.
pub(super) type Wishes = BTreeMap<String, (Wish, Option<String>)>;

/// The card's object. This agent is as old as the card's image: it reads what it knows of it, and
/// nothing else.
pub(super) struct Card {
    api: Api<DynamicObject>,
    name: String,
    uid: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    service: String,
    wanted_image: Option<String>,
    offered: Option<Offered>,
}

#[derive(Deserialize)]
struct Offered {
    digest: String,
    version: String,
}

impl Card {
    pub(super) fn of(seed: &Seed, client: &Client) -> Self {
        let kind = ApiResource::erase::<Dpu>(&());
        Self {
            api: Api::namespaced_with(client.clone(), &seed.namespace, &kind),
            name: seed.dpu.clone(),
            uid: seed.dpu_uid.clone(),
        }
    }

    /// Reads it. `Ok(None)`: nothing was ever said of services.
    pub(super) async fn wishes(&self) -> Result<Option<Wishes>, Refusal> {
        let refused = |reason: &str, why: String| Refusal::new(reason, why);
        let object = match timeout(REQUEST_DEADLINE, self.api.get(&self.name)).await {
            Ok(Ok(object)) => object,
            Ok(Err(error)) => {
                let code = if let kube::Error::Api(status) = &error {
                    status.code
                } else {
                    0
                };
                let reason = match code {
                    403 => "Forbidden",
                    404 => "NotFound",
                    _ => "Unreachable",
                };
                return Err(refused(reason, said(&error)));
            }
            Err(_) => {
                let why = "the API server gave no answer".to_owned();
                return Err(refused("Unreachable", why));
            }
        };
        if self.uid.is_some() && object.uid() != self.uid {
            let why = "another Dpu has the name of this card's now; install the card again for it";
            return Err(refused("AnotherObject", why.to_owned()));
        }
        understood(&object.data["status"]["services"])
    }
}

/// A list of which a part is not understood says nothing: its rest must not pass for the whole.
fn understood(services: &Value) -> Result<Option<Wishes>, Refusal> {
    if services.is_null() {
        return Ok(None);
    }
    let unclear = |why: String| {
        Refusal::new(
            "NotUnderstood",
            format!(
                "status.services of the Dpu is not understood: {why}; install the card with an image whose agent is newer"
            ),
        )
    };
    let entries =
        Vec::<Entry>::deserialize(services).map_err(|error| unclear(error.to_string()))?;
    let mut wishes = Wishes::new();
    for entry in entries {
        if entry.wanted_image.is_none() {
            continue;
        }
        let wish = match &entry.offered {
            None => Wish::Leave,
            Some(_) if !is_name(&entry.service) => {
                return Err(unclear(format!("{:?} names no service", entry.service)));
            }
            Some(offered) => {
                let digest = offered.digest.parse();
                Wish::Run(digest.map_err(|_| unclear(format!("{:?}", offered.digest)))?)
            }
        };
        let version = entry.offered.map(|offered| offered.version);
        wishes.insert(entry.service, (wish, version));
    }
    Ok(Some(wishes))
}

/// It names files.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(allowed) && !text.starts_with('-')
}

/// How reading it went, since when.
pub(super) fn reached(
    before: Option<&Reachability>,
    found: Result<(), &Refusal>,
    now: &Time,
) -> Reachability {
    let reason = found.err().map(|refusal| refusal.reason.clone());
    let same = before.filter(|before| before.ok == found.is_ok() && before.reason == reason);
    if let Some(same) = same {
        return same.clone();
    }
    Reachability {
        ok: found.is_ok(),
        since: now.clone(),
        reason,
        message: found
            .err()
            .map(|refusal| refusal.message.chars().take(1024).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_taken_as_a_whole_or_not_at_all() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let offered = json!({
            "service": "web", "wantedImage": "web-2", "newer": true,
            "offered": {"service": "web", "image": "web-1", "version": "1", "digest": digest},
        });
        let found = understood(&json!([
            offered,
            {"service": "dns", "wantedImage": "dns-1"},
            {"service": "old", "state": "Running"},
        ]));
        let found = found.unwrap().unwrap();
        let run = Wish::Run(digest.parse().unwrap());
        assert_eq!(found["web"], (run, Some("1".to_owned())));
        assert_eq!(found["dns"], (Wish::Leave, None));
        assert!(!found.contains_key("old"));
        assert!(understood(&Value::Null).unwrap().is_none());
        assert!(understood(&json!([])).unwrap().unwrap().is_empty());
        for (field, wrong) in [
            ("/0/offered/digest", json!("sha256:short")),
            ("/0/service", json!("../../etc/passwd")),
            ("/0/offered", json!("yes")),
        ] {
            let mut list = json!([offered]);
            *list.pointer_mut(field).unwrap() = wrong;
            assert!(understood(&list).is_err(), "{field}");
        }
    }
}
