//! Whether those who hold one key can be one machine.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{Key, Keys, Kind, contradictions};
use super::matching::{Body, Rules};
use super::strangers::{FoundAt, NamedBmc};

/// What the bodies that are one machine come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    single: BTreeMap<Kind, BTreeSet<String>>,
    makers: BTreeSet<&'static str>,
    anchors: usize,
    agents: usize,
    /// The cards that its BMC sees, and those that each agent on it does.
    seen_by_bmc: Keys,
    seen_by_agents: Vec<Keys>,
    seats: Vec<(usize, Option<String>)>,
    /// Where BMCs of it that were found answer now, and by what else than serial numbers those
    /// are known.
    places: BTreeSet<Key>,
    known_by: Keys,
    /// The BMCs that its objects name which give way to none, and those of it that were found.
    named: Vec<NamedBmc>,
    found_at: Vec<FoundAt>,
    /// The machine's own BMC is among them.
    by_bmc: bool,
    /// Somebody among them is there, not missing.
    pub there: bool,
    pub members: Vec<usize>,
}

impl Summary {
    pub(super) fn of(index: usize, body: &Body, rules: &Rules) -> Self {
        let mut single: BTreeMap<Kind, BTreeSet<String>> = BTreeMap::new();
        for key in &body.keys {
            if rules.single.contains(&key.kind()) {
                single
                    .entry(key.kind())
                    .or_default()
                    .insert(key.value().to_owned());
            }
        }
        Self {
            single,
            makers: body.maker.into_iter().collect(),
            anchors: usize::from(body.anchor),
            agents: usize::from(body.agent),
            seen_by_bmc: if body.agent {
                Keys::new()
            } else {
                body.inside.clone()
            },
            seen_by_agents: body
                .agent
                .then(|| body.inside.clone())
                .into_iter()
                .collect(),
            seats: body.seat.iter().cloned().collect(),
            places: body.place.iter().cloned().collect(),
            known_by: match body.place {
                Some(_) => body
                    .keys
                    .iter()
                    .filter(|key| tells_apart(key))
                    .cloned()
                    .collect(),
                None => Keys::new(),
            },
            named: body.named.iter().filter(|_| body.anchor).cloned().collect(),
            found_at: body.found_at.iter().cloned().collect(),
            by_bmc: body.by_bmc,
            there: !body.missing,
            members: vec![index],
        }
    }

    pub(super) fn absorb(&mut self, other: Self) {
        for (kind, values) in other.single {
            self.single.entry(kind).or_default().extend(values);
        }
        self.makers.extend(other.makers);
        self.anchors += other.anchors;
        self.agents += other.agents;
        self.seen_by_bmc.extend(other.seen_by_bmc);
        self.seen_by_agents.extend(other.seen_by_agents);
        self.seats.extend(other.seats);
        self.places.extend(other.places);
        self.known_by.extend(other.known_by);
        self.named.extend(other.named);
        self.found_at.extend(other.found_at);
        self.by_bmc |= other.by_bmc;
        self.there |= other.there;
        self.members.extend(other.members);
    }
}

/// A machine that holds the key in question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'s> {
    /// Its cluster.
    pub root: usize,
    pub summary: &'s Summary,
}

impl Claim<'_> {
    /// It has an object that nobody may take for another.
    pub(super) fn is_anchored(&self) -> bool {
        self.summary.anchors > 0
    }
}

/// Whether the holders of a key can be one machine.
pub(super) fn are_one(key: &Key, claims: &[Claim<'_>]) -> bool {
    of_one_identity(claims)
        && of_one_maker(claims)
        && of_one_object(claims)
        && through_its_own_bmc(claims)
        && in_one_seat(claims)
        && with_a_card_in_common(claims)
        && (key.kind() != Kind::Serial || in_one_place(claims))
        && (key.kind() != Kind::CardInside || told_by_a_card_inside(claims))
}

/// Those of several that can be one machine with one that is believed. Where they contradict
/// each other the machine's own BMC decides; where that does not, none of those that do is taken.
pub(super) fn agreeing<'s>(
    key: &Key,
    one: Claim<'s>,
    others: impl IntoIterator<Item = Claim<'s>>,
) -> Vec<Claim<'s>> {
    let mut kept: Vec<Claim<'s>> = others
        .into_iter()
        .filter(|other| are_one(key, &[one, *other]))
        .collect();
    if key.kind() == Kind::CardInside && kept.len() > 1 {
        return Vec::new();
    }
    drop_disputed_identities(&mut kept);
    drop_disputed_makers(&mut kept);
    drop_disputed_seats(&mut kept);
    drop_strange_agents(one, &mut kept);
    if key.kind() == Kind::Serial && !in_one_place(&with(one, &kept)) {
        kept.retain(|other| other.summary.places.is_subset(&one.summary.places));
    }
    let anchors = one.summary.anchors
        + kept
            .iter()
            .map(|other| other.summary.anchors)
            .sum::<usize>();
    if anchors > 1 {
        kept.retain(|other| other.summary.anchors == 0);
    }
    kept
}

fn with<'s>(one: Claim<'s>, others: &[Claim<'s>]) -> Vec<Claim<'s>> {
    others.iter().copied().chain([one]).collect()
}

fn drop_disputed_identities(kept: &mut Vec<Claim<'_>>) {
    let told = |kept: &[Claim<'_>], by_bmc: bool| {
        let mut told: BTreeMap<Kind, BTreeSet<String>> = BTreeMap::new();
        for other in kept.iter().filter(|other| !by_bmc || other.summary.by_bmc) {
            for (kind, values) in &other.summary.single {
                told.entry(*kind)
                    .or_default()
                    .extend(values.iter().cloned());
            }
        }
        told
    };
    let mut believed = told(kept, true);
    believed.retain(|_, values| values.len() == 1);
    for (kind, values) in told(kept, false) {
        if values.len() > 1 {
            let believed = believed.get(&kind);
            kept.retain(|other| {
                let own = other.summary.single.get(&kind);
                own.is_none() || own == believed
            });
        }
    }
}

fn drop_disputed_makers(kept: &mut Vec<Claim<'_>>) {
    if of_one_maker(kept) {
        return;
    }
    let by_bmc: Vec<Claim<'_>> = kept
        .iter()
        .copied()
        .filter(|other| other.summary.by_bmc)
        .collect();
    let believed = makers(&by_bmc);
    let believed = (believed.len() == 1).then_some(believed);
    kept.retain(|other| {
        let own = &other.summary.makers;
        own.is_empty() || Some(own) == believed.as_ref()
    });
}

fn drop_strange_agents(one: Claim<'_>, kept: &mut Vec<Claim<'_>>) {
    let all = kept.iter().chain([&one]);
    let by_bmc: Keys = all
        .flat_map(|claim| claim.summary.seen_by_bmc.iter().cloned())
        .collect();
    kept.retain(|other| {
        let mut agents = other.summary.seen_by_agents.iter();
        !agents.any(|seen| sees_other_cards(seen, &by_bmc))
    });
}

fn drop_disputed_seats(kept: &mut Vec<Claim<'_>>) {
    let mut seats: BTreeMap<usize, Vec<&Option<String>>> = BTreeMap::new();
    for (view, device) in kept.iter().flat_map(|other| &other.summary.seats) {
        seats.entry(*view).or_default().push(device);
    }
    let disputed = |devices: &Vec<&Option<String>>| {
        let first = devices.first();
        let one = |device: &&Option<String>| device.is_some() && Some(device) == first;
        devices.len() > 1 && !devices.iter().all(one)
    };
    kept.retain(|other| {
        let mut own = other.summary.seats.iter();
        !own.any(|(view, _)| seats.get(view).is_some_and(disputed))
    });
}

/// All that any of them tells of a kind of which a machine has one is the same.
fn of_one_identity(claims: &[Claim<'_>]) -> bool {
    let mut told: BTreeMap<Kind, &String> = BTreeMap::new();
    let mut all = claims.iter().flat_map(|claim| &claim.summary.single);
    all.all(|(kind, values)| {
        let mut values = values.iter();
        values.all(|value| *told.entry(*kind).or_insert(value) == value)
    })
}

/// Makers number their cards independently of each other.
fn of_one_maker(claims: &[Claim<'_>]) -> bool {
    makers(claims).len() <= 1
}

fn makers(claims: &[Claim<'_>]) -> BTreeSet<&'static str> {
    let each = claims.iter().flat_map(|claim| &claim.summary.makers);
    each.copied().collect()
}

/// Two objects that nobody may take for others are two machines.
fn of_one_object(claims: &[Claim<'_>]) -> bool {
    claims
        .iter()
        .map(|claim| claim.summary.anchors)
        .sum::<usize>()
        <= 1
}

/// Each BMC of it that was found is the one that its object names.
fn through_its_own_bmc(claims: &[Claim<'_>]) -> bool {
    let mut named = claims.iter().flat_map(|claim| &claim.summary.named);
    named.all(|named| {
        let mut found = claims.iter().flat_map(|claim| &claim.summary.found_at);
        found.all(|found| named.is(found))
    })
}

/// One view shows no card twice.
fn in_one_seat(claims: &[Claim<'_>]) -> bool {
    let mut seats: BTreeMap<usize, &Option<String>> = BTreeMap::new();
    let mut all = claims.iter().flat_map(|claim| &claim.summary.seats);
    all.all(|(view, device)| match seats.get(view) {
        Some(other) => device.is_some() && *other == device,
        None => {
            seats.insert(*view, device);
            true
        }
    })
}

/// Where an agent and the BMC of one host both tell of cards, they see one in common.
fn with_a_card_in_common(claims: &[Claim<'_>]) -> bool {
    let mut agents = claims
        .iter()
        .flat_map(|claim| &claim.summary.seen_by_agents)
        .peekable();
    if agents.peek().is_none() {
        return true;
    }
    let of_bmcs = claims.iter().flat_map(|claim| &claim.summary.seen_by_bmc);
    let by_bmc: Keys = of_bmcs.cloned().collect();
    agents.all(|seen| !sees_other_cards(seen, &by_bmc))
}

/// Both tell of cards, and of what both tell nothing is the same.
pub(super) fn sees_other_cards(agent: &Keys, bmc: &Keys) -> bool {
    let kinds = [Kind::Serial, Kind::DeviceSerial, Kind::Mac];
    !contradictions(agent, bmc, &kinds).is_empty() && agent.is_disjoint(bmc)
}

/// BMCs that answer at several places now are not one by a serial number alone: makers number
/// independently of each other, and some leave in what they all have.
fn in_one_place(claims: &[Claim<'_>]) -> bool {
    let found = || {
        claims
            .iter()
            .filter(|claim| !claim.summary.places.is_empty())
    };
    let places: BTreeSet<&Key> = found().flat_map(|claim| &claim.summary.places).collect();
    let mut known_by = found().map(|claim| claim.summary.known_by.iter().collect());
    let common = known_by.next().map(|first: BTreeSet<&Key>| {
        known_by.fold(first, |common, other| {
            common.intersection(&other).copied().collect()
        })
    });
    places.len() < 2 || common.is_some_and(|common| !common.is_empty())
}

fn tells_apart(key: &Key) -> bool {
    match key {
        Key::Uuid(_) | Key::DeviceSerial(_) | Key::Mac(_) | Key::Found(_) => true,
        Key::Serial(_) | Key::CardInside(_) | Key::Node(_) | Key::Endpoint(..) => false,
    }
}

/// A card may serve several hosts: it proves one machine only to the one agent and the one BMC
/// that see it, and only where no system UUID could tell: an agent reads the UUID that a BMC shows, so
/// one that tells none runs on another machine, which the card may have been moved to.
fn told_by_a_card_inside(claims: &[Claim<'_>]) -> bool {
    let agents = claims.iter().filter(|claim| claim.summary.agents > 0);
    let told = claims
        .iter()
        .any(|claim| claim.summary.agents == 0 && claim.summary.single.contains_key(&Kind::Uuid));
    claims.len() == 2 && agents.count() == 1 && !told
}
