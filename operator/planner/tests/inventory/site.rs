//! A namespace with its objects and reports, said in few words.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lockstep_crds::{
    DISCOVERED_ADDRESS, Dpu, DpuBootPolicy, DpuHost, DpuHostSpec, DpuReportSpec, DpuSpec,
    PROPOSED_SPEC,
};
use lockstep_planner::inventory::{JoinedCard, Proposal, SiteJoin, SiteView, Subject, join};
use serde_json::{Value, json};

pub const UUID: &str = "4c4c4544-0042-3510-8052-b4c04f4d3732";
pub const OTHER_UUID: &str = "27946b59-9e44-4fa7-8e91-f3527a1ef094";
pub const HOST_UUID: &str = "7e5c0a3e-3f1c-4a55-9d0e-0a1b2c3d4e5f";
pub const OTHER_HOST_UUID: &str = "0a7d8c55-11aa-4b6f-8f6e-99aabbccdd01";

#[derive(Clone, Debug, Default)]
pub struct Site {
    pub cards: Vec<Dpu>,
    pub hosts: Vec<DpuHost>,
    pub policies: Vec<DpuBootPolicy>,
    pub reports: BTreeMap<String, DpuReportSpec>,
    /// Reports of agents that are silent, or of BMCs that do not answer.
    pub silent: BTreeSet<String>,
    pub now: Timestamp,
}

/// What is given, over what is usual.
fn over(mut usual: Value, given: Value) -> Value {
    match (&mut usual, given) {
        (Value::Object(usual), Value::Object(given)) => {
            for (key, value) in given {
                let place = usual.entry(key).or_insert(Value::Null);
                *place = over(place.take(), value);
            }
        }
        (usual, given) => *usual = given,
    }
    usual
}

impl Site {
    pub fn view(&self) -> SiteView<'_> {
        SiteView {
            cards: self.cards.iter().collect(),
            hosts: self.hosts.iter().collect(),
            policies: self.policies.iter().collect(),
            reports: self
                .reports
                .iter()
                .map(|(name, spec)| (name.as_str(), spec))
                .collect(),
            alive: self
                .reports
                .keys()
                .filter(|name| !self.silent.contains(*name))
                .map(String::as_str)
                .collect(),
            now: self.now,
        }
    }

    /// Whoever writes this report falls silent, and what it said last stands.
    pub fn silent(mut self, report: &str) -> Self {
        self.silent.insert(report.to_owned());
        self
    }

    /// The same later: noon of that day of May 2026, when everything here takes place.
    pub fn on_may(mut self, day: i8) -> Self {
        self.now = format!("2026-05-{day:02}T12:00:00Z").parse().unwrap();
        self
    }

    pub fn join(&self) -> SiteJoin {
        join(&self.view())
    }

    pub fn joined(&self, card: &str) -> JoinedCard {
        self.join().cards[card].clone()
    }

    /// A user's card. Its uid is `uid-NAME`.
    pub fn card(mut self, name: &str, spec: Value) -> Self {
        let card = json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "Dpu",
            "metadata": {"name": name, "uid": format!("uid-{name}")},
            "spec": over(json!({"hostRefs": [{"name": "h"}]}), spec),
        });
        self.cards.push(serde_json::from_value(card).unwrap());
        self
    }

    /// A user's host. Its uid is `uid-NAME`.
    pub fn host(mut self, name: &str, spec: Value) -> Self {
        let host = json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuHost",
            "metadata": {"name": name, "uid": format!("uid-{name}")},
            "spec": over(json!({"policyRef": {"name": "p"}}), spec),
        });
        self.hosts.push(serde_json::from_value(host).unwrap());
        self
    }

    pub fn policy(mut self, name: &str, spec: Value) -> Self {
        let policy = json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuBootPolicy",
            "metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": spec,
        });
        self.policies.push(serde_json::from_value(policy).unwrap());
        self
    }

    pub fn report(mut self, name: &str, vantage: &str, subject: &str, more: Value) -> Self {
        let usual = json!({
            "vantage": vantage, "subject": subject, "agentVersion": "0.1.0",
            "observedAt": "2026-05-01T00:00:00Z",
        });
        let spec = serde_json::from_value(over(usual, more)).unwrap();
        self.reports.insert(name.to_owned(), spec);
        self
    }

    /// What the agent in the card's operating system tells of it.
    pub fn own_agent(self, card: &str, inventory: Value) -> Self {
        let more = json!({"subjectUid": format!("uid-{card}"), "inventory": inventory});
        self.report(&format!("xpu-{card}"), "CardOs", card, more)
    }

    /// What the named BMC of a card tells.
    pub fn card_bmc(self, card: &str, inventory: Value) -> Self {
        let more = json!({"subjectUid": format!("uid-{card}"), "inventory": inventory});
        self.report(&format!("bmc-card-{card}"), "CardBmc", card, more)
    }

    /// What the named BMC of a host tells.
    pub fn host_bmc(self, host: &str, inventory: Value) -> Self {
        let more = json!({"subjectUid": format!("uid-{host}"), "inventory": inventory});
        self.report(&format!("bmc-host-{host}"), "HostBmc", host, more)
    }

    /// What the agent on a Node tells: the UUID of the machine, and the cards that it sees.
    pub fn agent(self, node: &str, uuid: &str, cards: Value) -> Self {
        let told = json!({"machine": {"systemUuid": uuid}, "inventory": {"cards": cards}});
        self.report(&format!("host-{node}"), "HostOs", node, told)
    }

    /// A BMC that was found.
    pub fn found(self, id: &str, role: &str, address: &str, more: Value) -> Self {
        let usual = json!({"found": {
            "role": role, "recognisedBy": "SystemType", "sources": ["list"], "site": "berlin",
            "endpoint": {
                "address": address, "credentials": "bmc", "trust": "PinnedKey",
                "pinnedKeySha256": "ab".repeat(32),
            },
        }});
        self.report(
            &format!("bmc-found-{id}"),
            "FoundBmc",
            id,
            over(usual, more),
        )
    }

    /// Everything is made anew from a backup: with its labels and annotations, and counted from 1.
    pub fn restore(mut self) -> Self {
        let cards = self.cards.iter_mut().map(|card| &mut card.metadata);
        for meta in cards.chain(self.hosts.iter_mut().map(|host| &mut host.metadata)) {
            meta.generation = Some(1);
            meta.uid = Some(format!("{}-restored", meta.uid.as_deref().unwrap()));
        }
        self
    }

    /// A person changes the spec of a card, and the API server counts it.
    pub fn edit_card(&mut self, index: usize, change: impl FnOnce(&mut DpuSpec)) {
        let card = &mut self.cards[index];
        change(&mut card.spec);
        card.metadata.generation = Some(card.metadata.generation.unwrap_or(1) + 1);
    }

    /// The same of a host.
    pub fn edit_host(&mut self, index: usize, change: impl FnOnce(&mut DpuHostSpec)) {
        let host = &mut self.hosts[index];
        change(&mut host.spec);
        host.metadata.generation = Some(host.metadata.generation.unwrap_or(1) + 1);
    }

    /// Creates what is proposed and deletes what gives way, as the operator does.
    pub fn apply(mut self) -> Self {
        let joined = self.join();
        for gone in &joined.withdrawals {
            // With them go the reports about them.
            self.reports.retain(|_, spec| spec.subject_uid != gone.uid);
            match gone.subject {
                Subject::Card => self
                    .cards
                    .retain(|card| card.metadata.uid.as_ref() != Some(&gone.uid)),
                Subject::Host => self
                    .hosts
                    .retain(|host| host.metadata.uid.as_ref() != Some(&gone.uid)),
            }
        }
        for moved in &joined.moves {
            let is_meant = |meta: &ObjectMeta| meta.uid.as_ref() == Some(&moved.uid);
            let (meta, bmc) = match moved.subject {
                Subject::Card => {
                    let mut cards = self.cards.iter_mut();
                    let card = cards.find(|card| is_meant(&card.metadata)).unwrap();
                    (&mut card.metadata, card.spec.bmc.as_mut())
                }
                Subject::Host => {
                    let mut hosts = self.hosts.iter_mut();
                    let host = hosts.find(|host| is_meant(&host.metadata)).unwrap();
                    (&mut host.metadata, host.spec.bmc.as_mut())
                }
            };
            bmc.unwrap().address.clone_from(&moved.address);
            written(meta, moved.mark.clone());
            let annotations = meta.annotations.get_or_insert_default();
            annotations.insert(DISCOVERED_ADDRESS.to_owned(), moved.address.clone());
        }
        for approval in &joined.approvals {
            let mut cards = self.cards.iter_mut();
            let card = cards.find(|card| card.metadata.uid.as_ref() == Some(&approval.uid));
            let card = card.unwrap();
            card.spec.approved = true;
            written(&mut card.metadata, Some(approval.mark.clone()));
        }
        for taken in &joined.taken_up {
            let cards = self.cards.iter_mut().map(|card| &mut card.metadata);
            let mut all = cards.chain(self.hosts.iter_mut().map(|host| &mut host.metadata));
            let meta = all.find(|meta| meta.uid.as_ref() == Some(&taken.uid));
            marked(meta.unwrap(), None);
        }
        for proposal in joined.proposals {
            match proposal {
                Proposal::Card(mut card) => {
                    let name = card.metadata.name.clone().unwrap();
                    card.metadata.uid = Some(format!("uid-{name}"));
                    card.metadata.generation = Some(1);
                    self.cards.push(*card);
                }
                Proposal::Host(mut host) => {
                    let name = host.metadata.name.clone().unwrap();
                    host.metadata.uid = Some(format!("uid-{name}"));
                    host.metadata.generation = Some(1);
                    self.hosts.push(*host);
                }
            }
        }
        self
    }
}

/// The operator has written a spec, and this is the mark from then on.
fn written(meta: &mut ObjectMeta, mark: Option<String>) {
    meta.generation = Some(meta.generation.unwrap_or(1) + 1);
    marked(meta, mark);
}

fn marked(meta: &mut ObjectMeta, mark: Option<String>) {
    let annotations = meta.annotations.get_or_insert_default();
    match mark {
        Some(mark) => annotations.insert(PROPOSED_SPEC.to_owned(), mark),
        None => annotations.remove(PROPOSED_SPEC),
    };
}

/// Names of the cards and of the hosts that are proposed.
pub fn proposed(joined: &SiteJoin) -> (Vec<String>, Vec<String>) {
    let (mut cards, mut hosts) = (Vec::new(), Vec::new());
    for proposal in &joined.proposals {
        match proposal {
            Proposal::Card(card) => cards.push(card.metadata.name.clone().unwrap()),
            Proposal::Host(host) => hosts.push(host.metadata.name.clone().unwrap()),
        }
    }
    (cards, hosts)
}

pub fn proposed_card(joined: &SiteJoin, name: &str) -> Dpu {
    let cards = joined
        .proposals
        .iter()
        .filter_map(|proposal| match proposal {
            Proposal::Card(card) => Some(card.as_ref().clone()),
            Proposal::Host(_) => None,
        });
    cards
        .into_iter()
        .find(|card| card.metadata.name.as_deref() == Some(name))
        .unwrap()
}

pub fn proposed_host(joined: &SiteJoin, name: &str) -> DpuHost {
    let hosts = joined
        .proposals
        .iter()
        .filter_map(|proposal| match proposal {
            Proposal::Host(host) => Some(host.as_ref().clone()),
            Proposal::Card(_) => None,
        });
    hosts
        .into_iter()
        .find(|host| host.metadata.name.as_deref() == Some(name))
        .unwrap()
}

/// The reports that are believed to be about a card, with what joins each.
pub fn views(card: &JoinedCard) -> Vec<(String, Vec<String>)> {
    let views = card.inventory.views.iter();
    views
        .map(|view| (view.report.clone(), view.joined_by.clone()))
        .collect()
}

/// The fields that are in conflict.
pub fn conflicts(card: &JoinedCard) -> Vec<String> {
    card.inventory
        .conflicts
        .iter()
        .map(|conflict| conflict.field.clone())
        .collect()
}

/// Who says what about a field.
pub fn said(card: &JoinedCard, field: &str) -> Vec<(String, String)> {
    let conflict = card
        .inventory
        .conflicts
        .iter()
        .find(|conflict| conflict.field == field);
    let said = conflict.unwrap_or_else(|| panic!("no conflict about {field}: {card:#?}"));
    said.said
        .iter()
        .map(|said| (said.report.clone(), said.value.clone()))
        .collect()
}
