//! Which hosts a card sits in, and how that is known.
//!
//! A serial number or a PCI device serial number that the host itself or its BMC reads from the
//! card proves it. MAC addresses do not: software can set them. What nobody has seen is the
//! user's word, or unknown. A card may sit in several hosts.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_crds::Dpu;
use lockstep_crds::dpu::{HostPlace, Pairing};
use lockstep_crds::dpu_inventory::{Conflict, KnownPairing, SeenInHost};
use lockstep_crds::inventory::{CardHealth, Inventory, NamedFunctions};
use lockstep_crds::report::Vantage;

use super::cards::{Evidence, expected_of, said_by_spec};
use super::conflicts::{MOST_SAID, cut, said};
use super::keys::{Key, Keys, Kind};
use super::machines::{Machine, Machines};
use super::proposed::name;
use super::sightings::Sighting;

/// Hosts in a `DpuInventory`.
const MOST_HOSTS: usize = 8;
const MOST_FUNCTIONS: usize = 16;
/// Of a card in one host, by name.
const MOST_NAMED: usize = 32;
const LONGEST_PROOF: usize = 512;

/// A card seen in one machine.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub machine: usize,
    pub place: SeenInHost,
    /// The reports that read a serial number from the card there.
    pub proved_by: Vec<String>,
}

/// Keys that more than one view of a card tells.
pub(super) fn shared<'e>(evidence: &'e Evidence<'_>) -> BTreeSet<&'e Key> {
    let mut holders: BTreeMap<&Key, usize> = BTreeMap::new();
    for key in evidence.sightings.iter().flat_map(|one| &one.keys) {
        *holders.entry(key).or_default() += 1;
    }
    let expected = match evidence.card {
        Some(card) => expected_of(card),
        None => expected_to_be(evidence),
    };
    holders
        .into_iter()
        .filter(|(key, holders)| *holders > 1 || expected.contains(*key))
        .map(|(key, _)| key)
        .collect()
}

/// What an object for the card will demand, of what a host can see.
fn expected_to_be(evidence: &Evidence<'_>) -> Keys {
    let of = |kind: Kind| -> Keys {
        let keys = evidence.keys.iter().filter(|key| key.kind() == kind);
        keys.cloned().collect()
    };
    let serials = of(Kind::Serial);
    if serials.is_empty() && of(Kind::Uuid).is_empty() {
        of(Kind::DeviceSerial)
    } else {
        serials
    }
}

/// What is known of a card, for a host to see.
struct Known<'e> {
    /// Keys that more than one view tells, or its object demands.
    told: BTreeSet<&'e Key>,
    /// Those by which a host's view proves that it is this card.
    proving: Keys,
}

fn is_strong(key: &Key) -> bool {
    matches!(key.kind(), Kind::Serial | Kind::DeviceSerial)
}

/// What the card itself is known by: what its object demands, and what its own views add that
/// are about it by name, by their place, or by more than a MAC address. What only its own operating
/// system tells is not among it: that could be the number of any card that the host sees.
fn proving(evidence: &Evidence<'_>) -> Keys {
    let identifies = |key: &&Key| is_strong(key) || key.kind() == Kind::Uuid;
    let mut known = match evidence.card {
        Some(card) => expected_of(card),
        None => expected_to_be(evidence),
    };
    let mut open: Vec<&Sighting<'_>> = evidence
        .sightings
        .iter()
        .filter(|one| one.seen.is_none() && !one.missing() && *one.from() != Vantage::CardOs)
        .collect();
    loop {
        let (its_own, others): (Vec<_>, Vec<_>) = open.into_iter().partition(|one| {
            one.by_name
                || one.named_by(&evidence.named)
                || one
                    .keys
                    .iter()
                    .filter(identifies)
                    .any(|key| known.contains(key))
        });
        if its_own.is_empty() {
            break;
        }
        for one in its_own {
            known.extend(one.keys.iter().filter(identifies).cloned());
        }
        open = others;
    }
    known.retain(is_strong);
    known
}

/// Where the card is seen, by machine.
pub(super) fn seats(evidence: &Evidence<'_>, machines: &Machines<'_>) -> Vec<Seat> {
    let known = Known {
        told: shared(evidence),
        proving: proving(evidence),
    };
    let mut by_machine: BTreeMap<usize, Vec<&Sighting<'_>>> = BTreeMap::new();
    for sighting in &evidence.sightings {
        if let Some((_, machine)) = sighting.seen {
            by_machine.entry(machine).or_default().push(sighting);
        }
    }
    by_machine
        .into_iter()
        .filter_map(|(number, mut those)| {
            those.sort_by_key(|one| {
                let rank = match one.from() {
                    Vantage::HostOs => 0,
                    Vantage::HostBmc => 1,
                    Vantage::FoundBmc
                    | Vantage::CardBmc
                    | Vantage::CardOs
                    | Vantage::Site
                    | Vantage::Scan
                    | Vantage::Spec
                    | Vantage::Unrecognized(_) => 2,
                };
                (one.missing(), rank, one.report)
            });
            let machine = machines.list.get(number)?;
            let proved = those
                .iter()
                .filter(|one| proof(one, &known).is_some_and(|(strong, _)| strong));
            Some(Seat {
                machine: number,
                place: place(machine, &those, &known),
                proved_by: proved.map(|one| one.report.to_owned()).collect(),
            })
        })
        .collect()
}

fn place(machine: &Machine<'_>, those: &[&Sighting<'_>], known: &Known<'_>) -> SeenInHost {
    let cards = || {
        those
            .iter()
            .filter_map(|one| one.seen.map(|(card, _)| card))
    };
    let proofs: Vec<(bool, String)> = those.iter().filter_map(|one| proof(one, known)).collect();
    let proved = proofs.iter().any(|(strong, _)| *strong);
    let observed = proved && !machine.disputed;
    let words: Vec<String> = proofs
        .into_iter()
        .filter(|(strong, _)| *strong || !proved)
        .map(|(_, words)| words)
        .collect();
    let mut words = words.join("; ");
    if proved && machine.disputed {
        words.push_str(", and which machine that is is contested");
    }
    let mut functions = cards()
        .map(|card| &card.functions)
        .find(|f| !f.is_empty())
        .cloned();
    if let Some(functions) = &mut functions {
        functions.truncate(MOST_FUNCTIONS);
    }
    SeenInHost {
        name: machine.host_name().unwrap_or_default().to_owned(),
        pairing: if observed {
            KnownPairing::Observed
        } else {
            KnownPairing::Unknown
        },
        proof: Some(cut(&words, LONGEST_PROOF)),
        slot: cards().find_map(|card| card.slot.clone()),
        functions: functions.unwrap_or_default(),
        named: cards().find_map(|card| card.named.clone()).map(bounded),
        system_uuid: machine.system_uuid(),
        node_name: machine.node_name().map(str::to_owned),
    }
}

/// An agent of another release may list more.
fn bounded(mut named: NamedFunctions) -> NamedFunctions {
    let beyond = named.functions.len().saturating_sub(MOST_NAMED);
    named.functions.truncate(MOST_NAMED);
    let beyond = i64::try_from(beyond).unwrap_or(i64::MAX);
    named.omitted = named.omitted.saturating_add(beyond);
    named
}

/// By what a host's view of the card proves that it is this one.
fn proof(one: &Sighting<'_>, known: &Known<'_>) -> Option<(bool, String)> {
    let mut held = one.keys.iter();
    let proving = held.clone().find(|key| known.proving.contains(*key));
    let first = proving.or_else(|| held.find(|key| known.told.contains(key)))?;
    let who = match one.from() {
        Vantage::HostOs => "the host's operating system",
        Vantage::HostBmc | Vantage::FoundBmc => "the host's BMC",
        Vantage::CardBmc
        | Vantage::CardOs
        | Vantage::Site
        | Vantage::Scan
        | Vantage::Spec
        | Vantage::Unrecognized(_) => "a report",
    };
    let what = |sees: &str| {
        let (kind, value) = (first.kind().words(), first.value());
        format!("{who} ({}) {sees} {kind} {value}", one.report)
    };
    if one.missing() {
        let saw = what("saw");
        return Some((
            false,
            format!("{saw} and is not found any more, which proves nothing now"),
        ));
    }
    let what = what("sees");
    let health = one.seen.and_then(|(card, _)| card.health.as_ref());
    if health == Some(&CardHealth::Gone) {
        return Some((
            false,
            format!("{what}, and the card does not answer there, which proves nothing"),
        ));
    }
    Some(match (proving.is_some(), is_strong(first)) {
        (true, _) => (true, what),
        (false, false) => (
            false,
            format!("{what}, which software can set and proves nothing"),
        ),
        (false, true) => (
            false,
            format!(
                "{what}, and only a MAC address ties it to this card, which software can set and proves nothing"
            ),
        ),
    })
}

/// The places that are shown: seen ones first, then what the spec says.
pub(super) fn places(card: &Dpu, seats: &[Seat], machines: &Machines<'_>) -> Vec<SeenInHost> {
    let mut places: Vec<SeenInHost> = seats.iter().map(|seat| seat.place.clone()).collect();
    for wanted in &card.spec.host_refs {
        let said = match wanted.pairing {
            Pairing::Asserted => (KnownPairing::Asserted, "spec.hostRefs says so".to_owned()),
            Pairing::Observed => (
                KnownPairing::Unknown,
                lists_without(&wanted.name, machines).unwrap_or_else(|| {
                    "nobody has seen it there: run an agent on the host, or let its BMC be \
                     explored"
                        .to_owned()
                }),
            ),
        };
        match places.iter_mut().find(|place| place.name == wanted.name) {
            Some(place) if place.pairing == KnownPairing::Unknown => {
                if said.0 == KnownPairing::Asserted {
                    (place.pairing, place.proof) = (said.0, Some(said.1));
                }
            }
            Some(_) => {}
            None => places.push(SeenInHost {
                name: wanted.name.clone(),
                pairing: said.0,
                proof: Some(said.1),
                ..SeenInHost::default()
            }),
        }
    }
    places.sort_by_key(|place| {
        let rank = match place.pairing {
            KnownPairing::Observed => 0,
            KnownPairing::Asserted => 1,
            KnownPairing::Unknown | KnownPairing::Unrecognized(_) => 2,
        };
        (rank, place.name.is_empty(), place.name.clone())
    });
    places.truncate(MOST_HOSTS);
    places
}

/// That a host's own agent tells of its cards, and since when; for a card that it does not list.
fn lists_without(host: &str, machines: &Machines<'_>) -> Option<String> {
    let machine = machines.list.get(*machines.of_host.get(host)?)?;
    let mut views = machine.views.iter();
    let view = views.find(|view| {
        let readable = |inventory: &Inventory| {
            let mut unread = inventory.unread.iter();
            !inventory.cards.is_empty() || !unread.any(|group| group.group == "cards")
        };
        view.spec.vantage == Vantage::HostOs && view.inventory().is_some_and(readable)
    })?;
    let words = format!(
        "the operating system of dpuhost/{host} ({}) does not list it, by its report of {}: look \
         whether it is in its slot and has power, power-cycle the host when it may go down, or \
         correct spec.hostRefs; a family that is not recognised over PCI is never listed",
        view.report,
        view.at().0
    );
    Some(cut(&words, LONGEST_PROOF))
}

/// The hosts of the spec whose agents tell of their cards and not of this one.
pub(super) fn unlisted(
    card: &Dpu,
    places: &[SeenInHost],
    machines: &Machines<'_>,
) -> Option<String> {
    let not_seen = card.spec.host_refs.iter().filter(|wanted| {
        let place = places.iter().find(|place| place.name == wanted.name);
        // A machine that sees it, however weakly, numbers its functions.
        place.is_some_and(|place| place.functions.is_empty() && place.node_name.is_none())
    });
    let words: Vec<String> = not_seen
        .filter_map(|wanted| lists_without(&wanted.name, machines))
        .collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// The same in short: a machine without an object has no name to show.
pub(super) fn in_short(places: &[SeenInHost]) -> Vec<HostPlace> {
    places
        .iter()
        .filter(|place| !place.name.is_empty())
        .map(|place| HostPlace {
            name: place.name.clone(),
            pairing: place.pairing.clone(),
            proof: place.proof.clone(),
            slot: place.slot.clone(),
        })
        .collect()
}

/// Whether the machines of a card's hosts are told apart: a host of the spec that nobody knows
/// may be the machine that nobody has named.
pub(super) fn all_known(card: &Dpu, machines: &Machines<'_>) -> bool {
    card.spec.host_refs.iter().all(|wanted| {
        let machine = machines.of_host.get(wanted.name.as_str());
        machine
            .and_then(|number| machines.list.get(*number))
            .is_some_and(|machine| {
                let mut keys = machine.keys.iter();
                keys.any(|key| matches!(key.kind(), Kind::Serial | Kind::Uuid))
            })
    })
}

/// The card is seen in a host that its spec does not name.
pub(super) fn seen_elsewhere(
    card: &Dpu,
    evidence: &Evidence<'_>,
    seats: &[Seat],
    machines: &Machines<'_>,
) -> Option<Conflict> {
    let named = |host: &str| card.spec.host_refs.iter().any(|wanted| wanted.name == host);
    let all_known = all_known(card, machines);
    let elsewhere: Vec<&Seat> = seats
        .iter()
        .filter(|seat| seat.place.pairing == KnownPairing::Observed)
        .filter(|seat| match seat.place.name.as_str() {
            "" => all_known,
            host => !named(host),
        })
        .collect();
    if elsewhere.is_empty() {
        return None;
    }
    let wanted: Vec<String> = card
        .spec
        .host_refs
        .iter()
        .map(|host| format!("dpuhost/{}", host.name))
        .collect();
    let mut word = vec![said_by_spec(
        card,
        &format!("it sits in {}", wanted.join(", ")),
    )];
    for seat in elsewhere {
        let told = evidence.sightings.iter().filter(|one| {
            one.keys.iter().any(is_strong)
                && one.seen.is_some_and(|(_, machine)| machine == seat.machine)
        });
        let place = &seat.place;
        let slot = place.slot.as_ref().map(|slot| format!(", slot {slot}"));
        let slot = slot.unwrap_or_default();
        let value = if place.name.is_empty() {
            let uuid = place.system_uuid.as_deref().unwrap_or("unknown");
            format!("it is seen in a machine without a DpuHost, system UUID {uuid}{slot}")
        } else {
            format!("it is seen in dpuhost/{}{slot}", place.name)
        };
        word.extend(told.map(|one| said(one, &value)));
    }
    word.truncate(MOST_SAID);
    Some(Conflict {
        field: "hosts".to_owned(),
        said: word,
    })
}

/// Names of the hosts that a card is seen in or said to sit in.
pub(super) fn host_names(places: &[SeenInHost]) -> impl Iterator<Item = &str> {
    places
        .iter()
        .map(|place| place.name.as_str())
        .filter(|host| !host.is_empty())
}

/// For messages.
pub(super) fn shown(card: &Dpu) -> String {
    format!("dpu/{}", name(&card.metadata))
}
