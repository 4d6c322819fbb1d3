//! Two objects that claim one machine, kept up to date with every change.
//!
//! Claims cross namespaces: a BMC does not care which site's objects name it.
//! Objects at one BMC address are told apart by system path, else by identity,
//! for there are BMCs that stand for several systems.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use lockstep_crds::bmc::place;
use lockstep_crds::{BmcEndpoint, Dpu, DpuHost, MachineIdentity};

use crate::chores::{is_proposed, nothing_begun};
use crate::key::Key;

/// Who claims a machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claimant {
    /// A `Dpu`.
    Card(Key),
    /// A `DpuHost`.
    Host(Key),
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Card(key) => write!(f, "Dpu {key}"),
            Self::Host(key) => write!(f, "DpuHost {key}"),
        }
    }
}

/// What an object says its machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Declared {
    address: Option<String>,
    system_path: Option<String>,
    uuid: Option<String>,
    serial: Option<String>,
    node: Option<String>,
    /// Discovery has proposed it, and nothing was begun for it: it gives way to others.
    yields: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Claim {
    Bmc(String),
    Uuid(String),
    Serial(String),
    Node(String),
}

impl Declared {
    fn new(
        bmc: Option<&BmcEndpoint>,
        identity: Option<&MachineIdentity>,
        node: Option<&String>,
    ) -> Self {
        Self {
            address: bmc.map(|bmc| place(&bmc.address)),
            system_path: bmc.and_then(|bmc| bmc.system_path.clone()),
            uuid: identity
                .and_then(|identity| identity.system_uuid.as_ref())
                .map(|uuid| uuid.to_lowercase()),
            serial: identity
                .and_then(|identity| identity.serial_number.as_ref())
                .map(|serial| serial.trim().to_owned()),
            node: node.cloned(),
            yields: false,
        }
    }

    fn claims(&self) -> Vec<Claim> {
        let claims = [
            self.address.clone().map(Claim::Bmc),
            self.uuid.clone().map(Claim::Uuid),
            self.serial.clone().map(Claim::Serial),
            self.node.clone().map(Claim::Node),
        ];
        claims.into_iter().flatten().collect()
    }

    /// Why `self` and `other` cannot both be right, if they cannot.
    fn collides(&self, other: &Self) -> Option<String> {
        if let Some(uuid) = shared(&self.uuid, &other.uuid) {
            return Some(format!("system UUID {uuid}"));
        }
        if let Some(node) = shared(&self.node, &other.node) {
            return Some(format!("nodeName {node}"));
        }
        if let Some(serial) = shared(&self.serial, &other.serial)
            && !differ(&self.uuid, &other.uuid)
        {
            return Some(format!("serial number {serial}"));
        }
        let address = shared(&self.address, &other.address)?;
        if let (Some(mine), Some(theirs)) = (&self.system_path, &other.system_path) {
            return (mine == theirs).then(|| format!("BMC {address}{mine}"));
        }
        let apart = differ(&self.uuid, &other.uuid) || differ(&self.serial, &other.serial);
        (!apart).then(|| format!("BMC {address}"))
    }
}

fn shared<'a>(mine: &'a Option<String>, theirs: &Option<String>) -> Option<&'a String> {
    mine.as_ref().filter(|mine| theirs.as_ref() == Some(mine))
}

fn differ(mine: &Option<String>, theirs: &Option<String>) -> bool {
    mine.as_ref()
        .zip(theirs.as_ref())
        .is_some_and(|(mine, theirs)| mine != theirs)
}

/// All claims, indexed by what is claimed.
#[derive(Debug, Default)]
pub struct Claims {
    declared: BTreeMap<Claimant, Declared>,
    by_claim: HashMap<Claim, BTreeSet<Claimant>>,
}

impl Claims {
    /// Takes note of a card, or of its end. Returns the others whose conflicts this may change.
    pub fn card(&mut self, key: &Key, card: Option<&Dpu>) -> BTreeSet<Claimant> {
        let declared = card.map(|card| Declared {
            yields: is_proposed(card) && !card.spec.approved,
            ..Declared::new(card.spec.bmc.as_ref(), card.spec.identity.as_ref(), None)
        });
        self.set(&Claimant::Card(key.clone()), declared)
    }

    /// Takes note of a host, or of its end. Returns the others whose conflicts this may change.
    pub fn host(&mut self, key: &Key, host: Option<&DpuHost>) -> BTreeSet<Claimant> {
        let declared = host.map(|host| {
            let spec = &host.spec;
            let begun = host
                .status
                .as_ref()
                .is_some_and(|status| !nothing_begun(status));
            Declared {
                yields: is_proposed(host) && !begun,
                ..Declared::new(
                    spec.bmc.as_ref(),
                    spec.identity.as_ref(),
                    spec.node_name.as_ref(),
                )
            }
        });
        self.set(&Claimant::Host(key.clone()), declared)
    }

    fn set(&mut self, who: &Claimant, declared: Option<Declared>) -> BTreeSet<Claimant> {
        if self.declared.get(who) == declared.as_ref() {
            return BTreeSet::new();
        }
        let mut touched = self.rivals(who);
        if let Some(old) = self.declared.remove(who) {
            for claim in old.claims() {
                if let Some(claimants) = self.by_claim.get_mut(&claim) {
                    claimants.remove(who);
                    if claimants.is_empty() {
                        self.by_claim.remove(&claim);
                    }
                }
            }
        }
        if let Some(new) = declared {
            for claim in new.claims() {
                self.by_claim.entry(claim).or_default().insert(who.clone());
            }
            self.declared.insert(who.clone(), new);
            touched.extend(self.rivals(who));
        }
        touched
    }

    /// Others that share a claim with `who`, whether or not they can be told apart.
    fn rivals(&self, who: &Claimant) -> BTreeSet<Claimant> {
        let claims = self
            .declared
            .get(who)
            .map(Declared::claims)
            .unwrap_or_default();
        claims
            .iter()
            .filter_map(|claim| self.by_claim.get(claim))
            .flatten()
            .filter(|other| *other != who)
            .cloned()
            .collect()
    }

    /// Why another than `who` counts as the host of a Node that was seen to run on `who`, in words.
    pub fn node_named_elsewhere(&self, who: &Claimant, node: &str) -> Option<String> {
        let named = self.by_claim.get(&Claim::Node(node.to_owned()))?;
        let other = named.iter().find(|other| *other != who)?;
        Some(format!(
            "Node {node} was seen to run on {who}, and {other} names it as its own"
        ))
    }

    /// Why `who` is not the only one to claim its machine, in words.
    pub fn conflicts(&self, who: &Claimant) -> Vec<String> {
        let Some(mine) = self.declared.get(who) else {
            return Vec::new();
        };
        self.rivals(who)
            .into_iter()
            .filter_map(|rival| {
                let theirs = self.declared.get(&rival)?;
                let what = mine
                    .collides(theirs)
                    .filter(|_| mine.yields || !theirs.yields)?;
                Some(format!("{who} and {rival} both claim {what}"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::ResourceExt;

    fn at(address: &str, path: Option<&str>, uuid: Option<&str>) -> Declared {
        Declared {
            address: Some(place(address)),
            system_path: path.map(str::to_owned),
            uuid: uuid.map(str::to_lowercase),
            ..Declared::default()
        }
    }

    #[test]
    fn an_address_or_serial_number_written_otherwise_is_the_same_claim() {
        let said = |address: &str, serial: &str| {
            let bmc = serde_json::json!({
                "address": address, "credentialsRef": {"name": "s"}, "tls": {"trust": "NoVerification"},
            });
            let identity = serde_json::json!({"serialNumber": serial});
            Declared::new(
                Some(&serde_json::from_value(bmc).unwrap()),
                Some(&serde_json::from_value(identity).unwrap()),
                None,
            )
        };
        let mine = said("https://10.0.0.7", "S1");
        for address in ["http://10.0.0.7", "https://[::ffff:10.0.0.7]:443"] {
            assert_eq!(mine, said(address, " S1 "), "{address}");
        }
        assert_ne!(mine, said("https://10.0.0.7:8443", "S1"));
    }

    #[test]
    fn what_shares_a_bmc_must_be_told_apart() {
        let bmc = "https://10.0.0.7";
        let table = [
            (at(bmc, None, None), at(bmc, None, None), true),
            (at(bmc, Some("/1"), None), at(bmc, Some("/2"), None), false),
            (
                at(bmc, Some("/1"), Some("a")),
                at(bmc, Some("/1"), Some("b")),
                true,
            ),
            (at(bmc, None, Some("a")), at(bmc, None, Some("b")), false),
            (at(bmc, Some("/1"), None), at(bmc, None, None), true),
            (
                at(bmc, Some("/1"), Some("a")),
                at(bmc, None, Some("b")),
                false,
            ),
            (
                at(bmc, Some("/1"), Some("A")),
                at(bmc, Some("/2"), Some("a")),
                true,
            ),
            (
                at(bmc, None, None),
                at("https://10.0.0.8", None, None),
                false,
            ),
        ];
        for (one, other, collide) in table {
            assert_eq!(one.collides(&other).is_some(), collide, "{one:?} {other:?}");
            assert_eq!(other.collides(&one).is_some(), collide, "{other:?} {one:?}");
        }
    }

    #[test]
    fn serials_collide_unless_uuids_differ() {
        let serial = |uuid: Option<&str>| Declared {
            serial: Some("S1".into()),
            uuid: uuid.map(str::to_owned),
            ..Declared::default()
        };
        assert!(serial(None).collides(&serial(Some("a"))).is_some());
        assert!(serial(Some("b")).collides(&serial(Some("a"))).is_none());
    }

    #[test]
    fn a_proposal_stands_in_nobodys_way() {
        let mut claims = Claims::default();
        let (user, proposal) = (Key::new("a", "mine"), Key::new("a", "found"));
        let card = |name: &str, proposed: bool, approved: bool| -> Dpu {
            let mut dpu: Dpu = serde_json::from_value(serde_json::json!({
                "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "Dpu",
                "metadata": {"name": name, "namespace": "a"},
                "spec": {
                    "hostRefs": [{"name": "h"}], "approved": approved,
                    "identity": {"serialNumber": "S1"},
                },
            }))
            .unwrap();
            if proposed {
                dpu.labels_mut()
                    .insert(lockstep_crds::PROPOSED_LABEL.to_owned(), "id".to_owned());
            }
            dpu
        };
        claims.card(&user, Some(&card("mine", false, true)));
        claims.card(&proposal, Some(&card("found", true, false)));
        let (user, found) = (Claimant::Card(user), Claimant::Card(proposal.clone()));
        assert!(claims.conflicts(&user).is_empty());
        assert_eq!(claims.conflicts(&found).len(), 1, "it gives way");
        let touched = claims.card(&proposal, Some(&card("found", true, true)));
        assert_eq!(touched, BTreeSet::from([user.clone()]));
        assert_eq!(claims.conflicts(&user).len(), 1, "somebody approved it");
    }

    #[test]
    fn a_node_that_one_host_names_is_not_anothers() {
        let mut claims = Claims::default();
        let named = Claimant::Host(Key::new("a", "named"));
        let seen = Claimant::Host(Key::new("a", "seen"));
        let declared = Declared {
            node: Some("n".to_owned()),
            ..Declared::default()
        };
        claims.set(&named, Some(declared));
        let why = claims.node_named_elsewhere(&seen, "n").unwrap();
        assert!(why.contains("DpuHost a/named names it"), "{why}");
        assert_eq!(claims.node_named_elsewhere(&named, "n"), None);
        assert_eq!(claims.node_named_elsewhere(&seen, "other"), None);
    }

    #[test]
    fn rivals_are_told_when_a_claim_comes_and_goes() {
        let mut claims = Claims::default();
        let card = Claimant::Card(Key::new("a", "card"));
        let host = Claimant::Host(Key::new("b", "host"));
        assert!(
            claims
                .set(&card, Some(at("https://x", None, None)))
                .is_empty()
        );
        let touched = claims.set(&host, Some(at("https://x", None, None)));
        assert_eq!(touched, BTreeSet::from([card.clone()]));
        assert_eq!(
            claims.conflicts(&card),
            ["Dpu a/card and DpuHost b/host both claim BMC x"]
        );
        assert_eq!(claims.conflicts(&host).len(), 1);
        assert_eq!(claims.set(&host, None), BTreeSet::from([card.clone()]));
        assert!(claims.conflicts(&card).is_empty());
    }
}
