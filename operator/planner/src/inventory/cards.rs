//! Cards: which objects and which sightings are about one card.
//!
//! A card's own agent and its named BMC are joined by name, if their report is about this very
//! object and does not contradict the identity in its spec; everybody else by identity. What
//! contradicts is told as a conflict and gives the card nothing. Nobody is joined by what only
//! the card's own operating system tells: it could be the number of any other card.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_crds::dpu_inventory::{Conflict, Said};
use lockstep_crds::report::{MachineRole, Vantage};
use lockstep_crds::{Dpu, DpuReportSpec, names};

use super::SiteView;
use super::conflicts;
use super::contested;
use super::endpoint;
use super::ids::{self, Found};
use super::keys::{self, Key, Keys, Kind};
use super::machines::Machines;
use super::matching::{Body, Matching, Rules, matched};
use super::proposed::{age, card_may_yield, name, proposed_id, recorded, uid};
use super::sightings::Sighting;
use super::strangers::{self, FoundAt, NamedBmc, SharedKeys, Stranger};
use super::vendors::maker_of_card;

/// What a card has one of.
pub(super) const SINGLE: &[Kind] = &[Kind::Serial, Kind::Uuid, Kind::DeviceSerial];

const CARDS: Rules = Rules { single: SINGLE };

/// Prefix of the id of a card that is known by its PCI device serial number alone.
pub(super) const DEVICE_ID: &str = "dsn-";

/// Everything that is known of one card.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence<'a> {
    /// Its object.
    pub card: Option<&'a Dpu>,
    /// Proposed objects for the same card that give way to it.
    pub yielding: Vec<&'a Dpu>,
    pub sightings: Vec<Sighting<'a>>,
    pub keys: Keys,
    /// Where its object says that its BMC is, and which it was proposed for.
    pub named: Keys,
    /// It is of a BMC that shows what a card is known by whose object names another.
    pub is_stranger: bool,
    /// Keys that another card claims as well.
    pub contested: BTreeSet<Key>,
    /// The operating system of another card tells that it is known by what this one is.
    pub is_claimed_by_word: bool,
    pub conflicts: Vec<Conflict>,
}

/// What is known of one card from one place, or of an object with all that is tied to it by name.
#[derive(Default)]
pub(super) struct Source<'a> {
    pub body: Body,
    pub card: Option<&'a Dpu>,
    /// Keys that nobody but the card's own operating system tells. They join it with nobody.
    pub own_word: Keys,
    /// Where the object says that the BMC is, and which it was proposed for.
    named: Keys,
    pub sightings: Vec<Sighting<'a>>,
    conflicts: Vec<Conflict>,
}

/// Joins them.
pub(super) fn cards<'a>(view: &SiteView<'a>, machines: &Machines<'a>) -> Vec<Evidence<'a>> {
    let paths = endpoint::paths(&view.reports);
    let recorded = recorded(&view.hosts);
    let found = Found::of(&view.reports);
    let shared = SharedKeys::of(&view.reports);
    let mut sources: Vec<Source<'a>> = Vec::new();
    let mut strangers: Vec<Source<'a>> = Vec::new();
    for card in &view.cards {
        let mut source = of_object(view, card, (&paths, &found), &mut strangers);
        source.body.object = true;
        source.body.anchor = !card_may_yield(card, &recorded);
        sources.push(source);
    }
    sources.extend(strangers);
    for (number, (report, spec)) in view.reports.iter().enumerate() {
        if may_be_card(spec) {
            let sighting = Sighting::of_itself(report, spec);
            let place = sighting.place.clone();
            let mut source = free(sighting, None);
            source.body.keys.extend(ids::of_report(spec));
            source.body.keys.extend(place.clone());
            source.body.place = place;
            let endpoint = spec.found.as_ref().map(|found| &found.endpoint);
            source.body.found_at =
                endpoint.map(|endpoint| FoundAt::of(report, spec, endpoint, &shared));
            sources.push(source);
        }
        let inside = spec.inventory.iter().flat_map(|inventory| &inventory.cards);
        let machine = machines.of_report.get(report);
        let is_stranger = |machine: &&usize| {
            let machine = machines.list.get(**machine);
            machine.is_some_and(|machine| machine.is_stranger)
        };
        if let Some(machine) = machine.filter(|machine| !is_stranger(machine)) {
            for card in inside {
                let device = card.device_serial.as_deref().and_then(Key::device_serial);
                let seat = (number, device.map(|key| key.value().to_owned()));
                let sighting = Sighting::in_host(report, spec, card, *machine);
                sources.push(free(sighting, Some(seat)));
            }
        }
    }
    let mut bodies: Vec<Body> = sources.iter().map(|source| source.body.clone()).collect();
    let strangers = strangers::set_aside(&mut bodies, &CARDS);
    let matching = matched(&bodies, &CARDS);
    tell_strangers(strangers, &mut sources);
    for (source, body) in sources.iter_mut().zip(bodies) {
        source.body.aside = body.aside;
    }
    assembled(sources, &matching)
}

fn free(sighting: Sighting<'_>, seat: Option<(usize, Option<String>)>) -> Source<'_> {
    Source {
        body: Body {
            keys: sighting.keys.clone(),
            maker: maker(&sighting),
            missing: sighting.missing(),
            by_bmc: seat.is_none(),
            seat,
            ..Body::default()
        },
        sightings: vec![sighting],
        ..Source::default()
    }
}

fn maker(sighting: &Sighting<'_>) -> Option<&'static str> {
    maker_of_card(sighting.facts.system.as_ref()?.vendor.as_deref()?)
}

/// A BMC that was found and does not stand for a host.
fn may_be_card(spec: &DpuReportSpec) -> bool {
    spec.found.as_ref().is_some_and(|found| match found.role {
        MachineRole::Card | MachineRole::Unclear | MachineRole::Unrecognized(_) => true,
        MachineRole::Host => false,
    })
}

fn of_object<'a>(
    view: &SiteView<'a>,
    card: &'a Dpu,
    (paths, found): (&endpoint::Paths, &Found),
    strangers: &mut Vec<Source<'a>>,
) -> Source<'a> {
    let expected = expected_of(card);
    let mut source = Source {
        card: Some(card),
        ..Source::default()
    };
    source.named.extend(
        card.spec
            .bmc
            .as_ref()
            .and_then(|bmc| endpoint::key_of_spec(bmc, paths)),
    );
    source.named.extend(found.key(&card.metadata));
    source.body.place = found.place(&card.metadata);
    source.body.keys.extend(source.named.iter().cloned());
    let own = name(&card.metadata);
    // The BMC's word comes first: what the card's own system says against it is a stranger's.
    let mut known = expected.clone();
    let mut bmc = None;
    for (report, vantage) in [
        (names::card_bmc(own), Vantage::CardBmc),
        (names::xpu(own), Vantage::CardOs),
    ] {
        let Some((report, spec)) = view.reports.get_key_value(report.as_str()) else {
            continue;
        };
        if spec.subject_uid != uid(&card.metadata) {
            continue;
        }
        let mut sighting = Sighting::of_itself(report, spec);
        let against = keys::contradictions(&sighting.keys, &known, SINGLE);
        if against.is_empty() {
            sighting.by_name = true;
            if vantage == Vantage::CardBmc {
                known.extend(sighting.keys.iter().cloned());
                source.body.keys.extend(sighting.keys.iter().cloned());
                source.body.by_bmc = true;
                source.body.maker = maker(&sighting);
                bmc = Some(*spec);
            } else {
                source.own_word = sighting.keys.difference(&known).cloned().collect();
            }
            source.sightings.push(sighting);
            continue;
        }
        for kind in against {
            let first = source.sightings.first();
            source
                .conflicts
                .push(stranger(card, (&expected, first), &sighting, kind));
        }
        if vantage == Vantage::CardBmc {
            let bmc = card.spec.bmc.as_ref();
            sighting.answers_at = bmc.map(|bmc| (bmc, card.spec.site.as_str()));
            strangers.push(free(sighting, None));
        }
    }
    source.body.keys.extend(expected.iter().cloned());
    source.body.demanded = expected;
    source.body.named = NamedBmc::of(card, card.spec.bmc.as_ref(), bmc);
    source
}

/// BMCs that show what a card is known by and are not the one that its object names.
fn tell_strangers(strangers: Vec<Stranger>, sources: &mut [Source<'_>]) {
    for stranger in strangers {
        let found = sources.get(stranger.found);
        let word = found.and_then(|found| found.sightings.first()).cloned();
        let Some(object) = sources.get_mut(stranger.object) else {
            continue;
        };
        let bmc = object
            .card
            .and_then(|card| Some((card, card.spec.bmc.as_ref()?)));
        if let (Some(word), Some((card, bmc))) = (word, bmc) {
            object.conflicts.push(Conflict {
                field: "bmc.address".to_owned(),
                said: vec![
                    said_by_spec(card, &bmc.address),
                    conflicts::said(&word, stranger.words),
                ],
            });
        }
    }
}

/// The identity that an object demands: of its spec, or the one that it was proposed by.
pub(super) fn expected_of(card: &Dpu) -> Keys {
    let identity = card.spec.identity.as_ref();
    let mut expected = identity.map(keys::of_identity).unwrap_or_default();
    if let Some(device) = proposed_id(&card.metadata).and_then(|id| id.strip_prefix(DEVICE_ID)) {
        expected.extend(Key::device_serial(device));
    }
    expected
}

/// Another card answers where this one should, by what its spec says, or its BMC.
fn stranger(
    card: &Dpu,
    (expected, bmc): (&Keys, Option<&Sighting<'_>>),
    sighting: &Sighting<'_>,
    kind: Kind,
) -> Conflict {
    let of = |keys: &Keys| {
        let mut values = keys.iter().filter(|key| key.kind() == kind).map(Key::value);
        values.next().map(str::to_owned)
    };
    let told = of(&sighting.keys).unwrap_or_default();
    let by_bmc = || Some(conflicts::said(bmc?, of(&bmc?.keys)?));
    let rightly = match of(expected) {
        Some(value) => Some(said_by_spec(card, &value)),
        None => by_bmc(),
    };
    let other = conflicts::said(sighting, format!("{told}: another card answers there"));
    Conflict {
        field: format!("system.{}", kind.field()),
        said: rightly.into_iter().chain([other]).collect(),
    }
}

/// What the spec of a card says.
pub(super) fn said_by_spec(card: &Dpu, value: &str) -> Said {
    Said {
        from: Vantage::Spec,
        report: format!("dpu/{}", name(&card.metadata)),
        value: conflicts::cut(value, conflicts::LONGEST_SAID),
    }
}

fn assembled<'a>(mut sources: Vec<Source<'a>>, matching: &Matching) -> Vec<Evidence<'a>> {
    let mut told: BTreeMap<usize, Vec<(Key, Conflict)>> = BTreeMap::new();
    for contested in &matching.contested {
        contested::tell(contested, &sources, matching, &mut told);
    }
    let mut list = vec![Evidence::default(); matching.clusters.len()];
    for word in contested::own_words(&sources, matching) {
        if let Some(source) = sources.get_mut(word.source) {
            source.conflicts.push(word.conflict);
        }
        for cluster in word.known_by_it {
            if let Some(evidence) = list.get_mut(cluster) {
                evidence.is_claimed_by_word = true;
            }
        }
    }
    let mut objects: Vec<Vec<(&'a Dpu, bool)>> = vec![Vec::new(); list.len()];
    for (source, cluster) in sources.into_iter().zip(&matching.cluster_of) {
        let (Some(evidence), Some(objects)) = (list.get_mut(*cluster), objects.get_mut(*cluster))
        else {
            continue;
        };
        evidence.is_stranger |= source.body.aside;
        evidence.keys.extend(source.body.keys);
        evidence.named.extend(source.named);
        evidence.sightings.extend(source.sightings);
        evidence.conflicts.extend(source.conflicts);
        objects.extend(source.card.map(|card| (card, source.body.anchor)));
    }
    for (evidence, mut objects) in list.iter_mut().zip(objects) {
        // Whoever is no proposal first, then whoever came first.
        objects.sort_by_key(|(card, anchor)| (!anchor, age(&card.metadata)));
        let mut objects = objects.into_iter().map(|(card, _)| card);
        evidence.card = objects.next();
        evidence.yielding = objects.collect();
    }
    for (cluster, told) in told {
        if let Some(evidence) = list.get_mut(cluster) {
            for (key, conflict) in told {
                evidence.contested.insert(key);
                evidence.conflicts.push(conflict);
            }
        }
    }
    list
}
