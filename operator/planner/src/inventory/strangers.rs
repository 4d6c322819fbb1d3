//! BMCs that show what an object is known by and are not the BMC that it names.
//!
//! Whoever answers somewhere can show any UUID, and boards are sold with one for all. So where an
//! object says which BMC is its own, a BMC that was found speaks for it only if it is that one: it
//! answers at the place of `spec.bmc`, or at the one that its name led the site agent to, or shows the TLS key that is pinned there or that the object's
//! own BMC was last read with. A key that is pinned decides alone, also at that place; one that several
//! machines are found to show, as makers leave it in, tells none from another. Where discovery
//! wrote that address, the BMC that it proposed the object for speaks for it wherever that is found,
//! as long as it has the same id, and, once a person took the object up, the key that is pinned
//! there, if one is. Any other is a stranger: nothing that it tells is taken, nothing is
//! proposed for it, and it is told. An object that gives way to another has no say in this.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lockstep_crds::bmc::place;
use lockstep_crds::report::FoundEndpoint;
use lockstep_crds::{BmcEndpoint, DISCOVERED_ADDRESS, DpuReportSpec};

use super::ids;
use super::keys::{self, Key, Keys, Kind};
use super::machines::host_keys;
use super::mark::{Proposable, is_as_written};
use super::matching::{Body, Rules};
use super::proposed::{annotation, proposed_id};

/// A key that more objects share tells none of them from another.
const MOST_SHARING: usize = 64;

/// Strangers that are told of one object.
const MOST_TOLD: usize = 8;

/// The BMC that an object names.
#[derive(Clone, Debug)]
pub(super) struct NamedBmc {
    address: String,
    at: (bool, String),
    /// Where it was last read: `spec.bmc` may be a name, and a search finds addresses.
    read_at: Option<(bool, String)>,
    pinned: Option<String>,
    /// The key that it was last read with.
    shown: Option<String>,
    /// The id for which discovery proposed the object, and wrote the address.
    proposed_for: Option<Key>,
    /// Nobody but discovery has written the object: whoever has the id is meant, also with another
    /// key than it wrote. An id can be shown by anybody, and a person's pin is there for that.
    is_as_proposed: bool,
}

/// How a BMC was found.
#[derive(Clone, Debug)]
pub(super) struct FoundAt {
    report: String,
    id: Option<Key>,
    address: String,
    at: (bool, String),
    shown: Option<String>,
    /// Other machines show that key, too.
    is_shared: bool,
}

/// TLS keys that BMCs of several machines show, or showed when they were read last: a key that was in
/// several hands is so still while the others do not answer.
pub(super) struct SharedKeys<'a>(BTreeSet<&'a str>);

impl<'a> SharedKeys<'a> {
    /// One BMC may be found at several addresses, and several systems behind it.
    pub(super) fn of(reports: &BTreeMap<&str, &'a DpuReportSpec>) -> Self {
        let mut holders: BTreeMap<&str, Holders> = BTreeMap::new();
        for (spec, found) in reports
            .values()
            .filter_map(|spec| Some((spec, spec.found.as_ref()?)))
        {
            let mut identity = host_keys(spec);
            identity.retain(|key| matches!(key.kind(), Kind::Uuid | Kind::Serial));
            let by = |kind| identity.iter().find(move |key| key.kind() == kind);
            let strongest = by(Kind::Uuid).or_else(|| by(Kind::Serial)).cloned();
            let is_alone = found.endpoint.system_path.is_none();
            if let (true, Some(machine), Some(key)) = (is_alone, strongest, shown(&found.endpoint))
            {
                let there = place(&found.endpoint.address);
                let holders = holders.entry(key).or_default();
                if found.missing_since.is_some() {
                    holders.missing.push((identity, there));
                } else {
                    holders.known.extend(identity);
                    holders.found.insert(machine, there);
                }
            }
        }
        holders.retain(|_, holders| holders.are_several());
        Self(holders.into_keys().collect())
    }
}

/// The machines whose BMCs show one key.
#[derive(Default)]
struct Holders {
    /// Where each is found.
    found: BTreeMap<Key, String>,
    /// What those are known by.
    known: Keys,
    /// What others were known by, and where they were found.
    missing: Vec<(Keys, String)>,
}

impl Holders {
    fn are_several(&self) -> bool {
        // Under another id, what is missing may be what is found elsewhere by now.
        let gone = self.missing.iter();
        let gone = gone.filter(|(identity, _)| identity.is_disjoint(&self.known));
        let places: BTreeSet<&String> = self
            .found
            .values()
            .chain(gone.map(|(_, there)| there))
            .collect();
        places.len() > 1
    }
}

/// The key that a BMC was found with.
fn shown(endpoint: &FoundEndpoint) -> Option<&str> {
    let shown = endpoint.shown_key_sha256.as_deref();
    shown.or(endpoint.pinned_key_sha256.as_deref())
}

/// Place and scheme.
fn at(address: &str) -> (bool, String) {
    let scheme = address.trim().get(..5).unwrap_or_default();
    (scheme.eq_ignore_ascii_case("https"), place(address))
}

/// Whether the address in the spec is one that discovery wrote.
pub(super) fn is_discovered(metadata: &ObjectMeta, bmc: &BmcEndpoint) -> bool {
    proposed_id(metadata).is_some()
        && annotation(metadata, DISCOVERED_ADDRESS)
            .is_some_and(|address| place(address) == place(&bmc.address))
}

impl NamedBmc {
    /// `own` is what the site agent reads there, where that is the machine that is meant.
    pub(super) fn of(
        object: &impl Proposable,
        bmc: Option<&BmcEndpoint>,
        own: Option<&DpuReportSpec>,
    ) -> Option<Self> {
        let bmc = bmc?;
        let metadata = object.metadata();
        let told = own.and_then(keys::told_by_bmc);
        let at = at(&bmc.address);
        let read_at = told.and_then(|told| told.answers_at.as_deref());
        let read_at = read_at.map(|peer| {
            let scheme = if at.0 { "https" } else { "http" };
            (at.0, place(&format!("{scheme}://{peer}")))
        });
        let id = proposed_id(metadata).filter(|_| is_discovered(metadata, bmc));
        Some(Self {
            is_as_proposed: id.is_some() && is_as_written(object),
            proposed_for: id.map(|id| Key::Found(id.to_owned())),
            address: bmc.address.clone(),
            at,
            read_at,
            pinned: bmc.tls.pinned_key_sha256.clone(),
            shown: told.and_then(|told| told.key_pin.clone()),
        })
    }

    /// Whether that one was found.
    pub(super) fn is(&self, found: &FoundAt) -> bool {
        let has_key = self.is_as_proposed || self.pinned.is_none() || self.pinned == found.shown;
        if has_key && self.proposed_for.is_some() && self.proposed_for == found.id {
            return true;
        }
        let is_there = self.at == found.at || self.read_at.as_ref() == Some(&found.at);
        match (&self.pinned, &self.shown, &found.shown) {
            (Some(pinned), _, Some(shown)) => pinned == shown && (!found.is_shared || is_there),
            (None, Some(own), Some(shown)) if own == shown && !found.is_shared => true,
            (None | Some(_), None | Some(_), None | Some(_)) => is_there,
        }
    }
}

impl FoundAt {
    pub(super) fn of(
        report: &str,
        spec: &DpuReportSpec,
        endpoint: &FoundEndpoint,
        shared: &SharedKeys<'_>,
    ) -> Self {
        let shown = shown(endpoint);
        Self {
            report: report.to_owned(),
            id: ids::of_report(spec),
            address: endpoint.address.clone(),
            at: at(&endpoint.address),
            is_shared: shown.is_some_and(|key| shared.0.contains(key)),
            shown: shown.map(str::to_owned),
        }
    }
}

/// A BMC that shows what an object is known by, and is another than it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    /// Body of the object.
    pub object: usize,
    /// Body of the BMC.
    pub found: usize,
    /// What it shows, where it answers, and the remedy.
    pub words: String,
}

/// Sets strangers aside: nobody is joined with them by what they show. Returns those to be told.
pub(super) fn set_aside(bodies: &mut [Body], rules: &Rules) -> Vec<Stranger> {
    let known = Known::of(bodies);
    let mut told: BTreeMap<usize, Vec<Stranger>> = BTreeMap::new();
    let mut aside = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        let Some(found) = &body.found_at else {
            continue;
        };
        let mut sharing = known.sharing(body, bodies, rules);
        let object = |index: &usize| bodies.get(*index);
        let stays = |index: &usize| object(index).is_some_and(|object| object.anchor);
        if sharing.keys().any(stays) {
            sharing.retain(|index, _| stays(index));
        }
        let is_its = |index: &usize| {
            let named = object(index).map(|object| &object.named);
            named.is_some_and(|named| named.as_ref().is_none_or(|named| named.is(found)))
        };
        let named: Vec<(usize, &NamedBmc, &Key)> = sharing
            .iter()
            .filter_map(|(index, key)| Some((*index, object(index)?.named.as_ref()?, *key)))
            .collect();
        if named.is_empty() || sharing.keys().any(is_its) {
            continue;
        }
        aside.push(index);
        for (object, named, key) in named.into_iter().filter(|_| !body.missing) {
            let told = told.entry(object).or_default();
            if told.len() < MOST_TOLD {
                told.push(Stranger {
                    object,
                    found: index,
                    words: words(named, found, key),
                });
            }
        }
    }
    for index in aside {
        if let Some(body) = bodies.get_mut(index) {
            body.aside = true;
        }
    }
    told.into_values().flatten().collect()
}

fn words(named: &NamedBmc, found: &FoundAt, key: &Key) -> String {
    let what = match key {
        Key::Endpoint(..) => "answers there with another key or scheme".to_owned(),
        Key::Serial(_)
        | Key::Uuid(_)
        | Key::DeviceSerial(_)
        | Key::Mac(_)
        | Key::CardInside(_)
        | Key::Node(_)
        | Key::Found(_) => format!("shows its {}", key.kind().words()),
    };
    format!(
        "{} at {} {what}, and spec.bmc names {}: no key proves them one, and its word is not taken; \
         correct spec.bmc, or give that machine its own identity",
        found.report, found.address, named.address
    )
}

/// Objects by what they are known by.
struct Known {
    objects: BTreeMap<Key, Vec<usize>>,
}

impl Known {
    fn of(bodies: &[Body]) -> Self {
        let mut objects: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        let each = bodies.iter().enumerate();
        for (index, body) in each.clone().filter(|(_, body)| body.object) {
            for key in own(body) {
                objects.entry(key.clone()).or_default().push(index);
            }
        }
        // What the agent on a host tells besides the host's UUID is that host's, unless it is the
        // identity of another object: a BMC that shows it must not take the agent away.
        let mut by_agents: Vec<(Key, Vec<usize>)> = Vec::new();
        for (_, body) in each.filter(|(_, body)| body.agent) {
            let uuids = body.keys.iter().filter(|key| key.kind() == Kind::Uuid);
            let hosts: Vec<usize> = uuids
                .filter_map(|key| objects.get(key))
                .flatten()
                .copied()
                .collect();
            let serials = body.keys.iter().filter(|key| key.kind() == Kind::Serial);
            let new = serials.filter(|key| !hosts.is_empty() && !objects.contains_key(*key));
            by_agents.extend(new.map(|key| (key.clone(), hosts.clone())));
        }
        for (key, hosts) in by_agents {
            objects.entry(key).or_default().extend(hosts);
        }
        Self { objects }
    }

    /// The objects that are known by what a BMC shows and do not contradict it, each with the
    /// strongest key.
    fn sharing<'b>(
        &self,
        body: &'b Body,
        bodies: &[Body],
        rules: &Rules,
    ) -> BTreeMap<usize, &'b Key> {
        let mut sharing = BTreeMap::new();
        for key in own(body) {
            let those = self.objects.get(key).map(Vec::as_slice);
            let those = those.filter(|those| those.len() <= MOST_SHARING);
            for object in those.unwrap_or_default() {
                let known: Option<Keys> =
                    bodies.get(*object).map(|one| own(one).cloned().collect());
                let agrees = known.is_some_and(|known| {
                    keys::contradictions(&known, &body.keys, rules.single).is_empty()
                });
                if agrees {
                    sharing.entry(*object).or_insert(key);
                }
            }
        }
        sharing
    }
}

/// What tells the machine of a body from others.
fn own(body: &Body) -> impl Iterator<Item = &Key> {
    let identifies = |key: &&Key| match key {
        Key::Serial(_) | Key::Uuid(_) | Key::DeviceSerial(_) | Key::Endpoint(..) => true,
        Key::Mac(_) | Key::CardInside(_) | Key::Node(_) | Key::Found(_) => false,
    };
    body.keys.iter().filter(identifies)
}
