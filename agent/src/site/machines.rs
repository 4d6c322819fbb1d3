//! From the site's objects to the machines whose BMCs are looked after. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use kube::ResourceExt;
use lockstep_crds::directive::Directive;
use lockstep_crds::inspection::Inspected;
use lockstep_crds::{Dpu, DpuHost};

use crate::site::activity::Activity;
use crate::site::machine::{Care, MachineInput, MachineKey, MachineKind, Untended};
use crate::site::objects::{Known, Unreadable};

/// Every machine of the site, with what can be done for it.
///
/// A card takes directives from the host that gives it power and from no
/// other: one power domain, one author.
pub fn machines(
    site: &str,
    hosts: &Known<DpuHost>,
    cards: &Known<Dpu>,
    resync: u64,
) -> BTreeMap<MachineKey, Care> {
    let unreadable = |kind: MachineKind, objects: &BTreeMap<String, Unreadable>| {
        let tell = move |(name, object): (&String, &Unreadable)| {
            let name = name.clone();
            let key = MachineKey { kind, name };
            (key, Care::Tell(Untended::unreadable(object)))
        };
        objects.iter().map(tell).collect::<Vec<_>>()
    };
    let ours: HashMap<String, &Arc<DpuHost>> = hosts
        .objects
        .iter()
        .filter(|host| host.spec.site == site)
        .map(|host| (host.name_any(), host))
        .collect();
    let approved = cards
        .objects
        .iter()
        .filter(|card| card.spec.site == site && card.spec.approved);
    let with_approved_card: HashSet<&str> = approved
        .filter_map(|card| card.spec.host_refs.first())
        .map(|first| first.name.as_str())
        .collect();
    let activity =
        |host: &DpuHost| Activity::of(host, with_approved_card.contains(host.name_any().as_str()));
    let mut found = BTreeMap::new();
    found.extend(unreadable(MachineKind::Host, &hosts.unreadable));
    found.extend(unreadable(MachineKind::Card, &cards.unreadable));
    for host in ours.values() {
        let key = MachineKey {
            kind: MachineKind::Host,
            name: host.name_any(),
        };
        let uid = host.uid().unwrap_or_default();
        let Some(endpoint) = &host.spec.bmc else {
            found.insert(key, Care::Tell(Untended::without_bmc(uid)));
            continue;
        };
        let hold = host.status.as_ref().and_then(|status| status.hold.as_ref());
        let input = MachineInput {
            uid,
            endpoint: endpoint.clone(),
            identity: host.spec.identity.clone(),
            hands_off: host.spec.hands_off,
            directives: directives(site, host, &key),
            activity: activity(host),
            inspection: inspection(host),
            held: hold.is_some(),
            work_order: hold.and_then(|hold| hold.work_order.clone()),
            configuration: None,
            components: Vec::new(),
            boot_entries: false,
            resync,
            key: key.clone(),
        };
        found.insert(key, Care::Look(Box::new(input)));
    }
    for card in cards.objects.iter().filter(|card| card.spec.site == site) {
        let key = MachineKey {
            kind: MachineKind::Card,
            name: card.name_any(),
        };
        let uid = card.uid().unwrap_or_default();
        let Some(endpoint) = &card.spec.bmc else {
            found.insert(key, Care::Tell(Untended::without_bmc(uid)));
            continue;
        };
        let first = card.spec.host_refs.first();
        let domain = first.and_then(|first| ours.get(&first.name));
        // Nobody can say that a host which cannot be read does not want us to keep off.
        let unsaid = first.is_some_and(|first| hosts.unreadable.contains_key(&first.name));
        let input = MachineInput {
            uid,
            endpoint: endpoint.clone(),
            identity: card.spec.identity.clone(),
            hands_off: unsaid || domain.is_some_and(|host| host.spec.hands_off),
            directives: domain.map_or_else(Vec::new, |host| directives(site, host, &key)),
            activity: match domain {
                Some(host) => activity(host),
                None if card.spec.approved => Activity::Kept,
                None => Activity::Proposed,
            },
            inspection: domain.and_then(|host| inspection(host)),
            held: false,
            work_order: None,
            configuration: None,
            components: Vec::new(),
            boot_entries: false,
            resync,
            key: key.clone(),
        };
        found.insert(key, Care::Look(Box::new(input)));
    }
    found
}

fn inspection(host: &DpuHost) -> Option<Inspected> {
    let asked = host.status.as_ref()?.inspection.as_ref()?;
    Some(asked.of(host.metadata.uid.as_deref()?))
}

fn directives(site: &str, host: &DpuHost, key: &MachineKey) -> Vec<Directive> {
    let recorded = host.status.as_ref().map(|status| &status.directives);
    let mut wanted: Vec<Directive> = recorded
        .into_iter()
        .flatten()
        .filter(|directive| directive.executor == site && key.is_target(directive))
        .cloned()
        .collect();
    wanted.sort_by_key(|directive| directive.seq);
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn host(name: &str, site: &str, status: &Value) -> Arc<DpuHost> {
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "provisioning.opiproject.org/v1alpha1",
                "kind": "DpuHost",
                "metadata": {"name": name, "uid": format!("uid-{name}")},
                "spec": {
                    "site": site, "policyRef": {"name": "p"}, "handsOff": name == "h2",
                    "bmc": bmc(),
                },
                "status": status,
            }))
            .unwrap(),
        )
    }

    fn card(name: &str, hosts: &[&str]) -> Arc<Dpu> {
        let refs: Vec<Value> = hosts.iter().map(|host| json!({"name": host})).collect();
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "provisioning.opiproject.org/v1alpha1",
                "kind": "Dpu",
                "metadata": {"name": name, "uid": format!("uid-{name}")},
                "spec": {"site": "s", "hostRefs": refs, "bmc": bmc()},
            }))
            .unwrap(),
        )
    }

    fn bmc() -> Value {
        json!({
            "address": "http://192.0.2.1", "credentialsRef": {"name": "c"},
            "tls": {"trust": "PlainHttp"},
        })
    }

    fn directive(seq: i64, executor: &str, kind: &str, name: &str) -> Value {
        json!({
            "seq": seq, "step": "BootCard", "executor": executor,
            "target": {"kind": kind, "name": name, "uid": format!("uid-{name}")},
            "action": {"kind": "PowerOn"}, "expects": {},
            "issuedAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:01:00Z",
            "settleSeconds": 10,
        })
    }

    fn known<K>(objects: &[Arc<K>]) -> Known<K> {
        Known {
            objects: objects.to_vec(),
            unreadable: BTreeMap::new(),
        }
    }

    fn input<'a>(
        found: &'a BTreeMap<MachineKey, Care>,
        kind: MachineKind,
        name: &str,
    ) -> &'a MachineInput {
        match &found[&key(kind, name)] {
            Care::Look(input) => input,
            Care::Tell(untended) => panic!("{untended:?}"),
        }
    }

    fn key(kind: MachineKind, name: &str) -> MachineKey {
        MachineKey {
            kind,
            name: name.to_owned(),
        }
    }

    #[test]
    fn directives_go_to_their_target_in_order_and_to_our_site_only() {
        let status = json!({"seq": 9, "step": "Settled", "directives": [
            directive(7, "s", "Card", "c1"),
            directive(5, "s", "Card", "c1"),
            directive(6, "elsewhere", "Card", "c1"),
            directive(8, "s", "Host", "h1"),
            directive(9, "s", "Rack", "h1"),
        ]});
        let hosts = known(&[host("h1", "s", &status)]);
        let found = machines("s", &hosts, &known(&[card("c1", &["h1"])]), 0);
        let seqs = |kind: MachineKind, name: &str| -> Vec<i64> {
            let input = input(&found, kind, name);
            input.directives.iter().map(|each| each.seq).collect()
        };
        assert_eq!(seqs(MachineKind::Card, "c1"), [5, 7]);
        assert_eq!(seqs(MachineKind::Host, "h1"), [8]);
        assert_eq!(
            input(&found, MachineKind::Card, "c1").activity,
            Activity::UnderWay
        );
    }

    #[test]
    fn what_waits_for_a_person_is_not_under_way() {
        let said = |kinds: &[&str]| -> Vec<Value> {
            let ready = json!({"type": "Ready", "status": "False", "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let mut all = vec![ready];
            all.extend(kinds.iter().map(|kind| {
                json!({"type": kind, "status": "True", "reason": "R", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"})
            }));
            all
        };
        let step =
            |step: &str, kinds: &[&str]| json!({"seq": 1, "step": step, "conditions": said(kinds)});
        let with = |mut status: Value, key: &str, value: Value| {
            status[key] = value;
            status
        };
        let armed = json!([{"name": "c1", "uid": "uid-c1", "physicalId": "SN1", "armed": ["VirtualMedia"]}]);
        let asked = json!({"askedAt": "2026-01-01T00:00:00Z"});
        let open = json!([directive(1, "s", "Host", "h1")]);
        let (under_way, kept) = (Activity::UnderWay, Activity::Kept);
        for (status, activity) in [
            // Nobody has judged it yet.
            (Value::Null, under_way),
            (json!({"seq": 0}), under_way),
            (json!({"seq": 0, "step": "Settled"}), kept),
            // A policy that does not exist, and whatever else takes a person.
            (step("Inspect", &["Stalled"]), kept),
            (step("Inspect", &[]), kept),
            (step("AwaitOs", &["Stalled"]), kept),
            // On its way.
            (step("Inspect", &["Reconciling"]), under_way),
            (step("AwaitOs", &["Reconciling"]), under_way),
            (
                with(step("Inspect", &["Stalled"]), "directives", open),
                under_way,
            ),
            // Another card waits for it beside one that is stuck.
            (
                with(step("Inspect", &["Stalled"]), "inspection", asked),
                under_way,
            ),
            (
                with(step("StageInstall", &["Stalled"]), "cards", armed),
                under_way,
            ),
        ] {
            let hosts = known(&[host("h1", "s", &status)]);
            let found = machines("s", &hosts, &known(&[card("c1", &["h1"])]), 0);
            for (kind, name) in [(MachineKind::Host, "h1"), (MachineKind::Card, "c1")] {
                assert_eq!(
                    input(&found, kind, name).activity,
                    activity,
                    "{name}: {status}"
                );
            }
        }
    }

    #[test]
    fn a_machine_is_kept_once_a_card_of_it_was_approved() {
        let status = json!({"seq": 0, "step": "Settled"});
        let hosts = known(&[host("h1", "s", &status)]);
        for (approved, activity) in [(true, Activity::Kept), (false, Activity::Proposed)] {
            let mut card = card("c1", &["h1"]);
            Arc::make_mut(&mut card).spec.approved = approved;
            let found = machines("s", &hosts, &known(&[card]), 0);
            assert_eq!(input(&found, MachineKind::Host, "h1").activity, activity);
            assert_eq!(input(&found, MachineKind::Card, "c1").activity, activity);
            // One whose host nobody described is no other.
            let mut card = self::card("c1", &["nobody"]);
            Arc::make_mut(&mut card).spec.approved = approved;
            let found = machines("s", &hosts, &known(&[card]), 0);
            assert_eq!(input(&found, MachineKind::Card, "c1").activity, activity);
        }
    }

    #[test]
    fn only_the_host_that_gives_power_directs_a_card() {
        let status = json!({"seq": 1, "step": "Settled", "directives": [
            directive(1, "s", "Card", "c1"),
        ]});
        let quiet = json!({"seq": 0, "step": "Settled"});
        let hosts = known(&[host("h1", "s", &quiet), host("h2", "s", &status)]);
        let found = machines("s", &hosts, &known(&[card("c1", &["h1", "h2"])]), 0);
        let first = input(&found, MachineKind::Card, "c1");
        assert!(first.directives.is_empty() && !first.hands_off);
        assert_eq!(first.activity, Activity::Kept);
        let found = machines("s", &hosts, &known(&[card("c1", &["h2"])]), 0);
        assert!(input(&found, MachineKind::Card, "c1").hands_off);
    }

    #[test]
    fn other_sites_are_not_ours() {
        let hosts = known(&[host("h1", "other", &json!({"seq": 0}))]);
        assert!(machines("s", &hosts, &known(&[]), 0).is_empty());
    }

    #[test]
    fn an_unreadable_host_is_neither_gone_nor_does_it_stop_another() {
        let quiet = json!({"seq": 0, "step": "Settled"});
        let mut hosts = known(&[host("h1", "s", &quiet)]);
        let object = Unreadable {
            uid: "uid-h9".to_owned(),
            why: "unknown variant".to_owned(),
        };
        hosts.unreadable.insert("h9".to_owned(), object);
        let cards = known(&[card("c1", &["h1"]), card("c9", &["h9"])]);
        let found = machines("s", &hosts, &cards, 0);
        assert!(!input(&found, MachineKind::Card, "c1").hands_off);
        assert_eq!(input(&found, MachineKind::Host, "h1").uid, "uid-h1");
        let Care::Tell(untended) = &found[&key(MachineKind::Host, "h9")] else {
            panic!("{found:?}");
        };
        assert_eq!(untended.uid, "uid-h9");
        assert_eq!(untended.refusal.reason, "ObjectUnreadable");
        assert!(untended.refusal.message.contains("unknown variant"));
        let kept = input(&found, MachineKind::Card, "c9");
        assert!(kept.hands_off && kept.directives.is_empty());
    }
}
