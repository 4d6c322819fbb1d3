//! Which bodies of evidence are about one machine.
//!
//! Keys are taken strongest first, each once. All that hold a key are one machine, unless any of
//! them contradicts another: then it is told as contested, and nobody is joined by it but to the
//! one object whose spec demands it, or the one BMC that tells it, as far as they agree. Else a
//! key that two machines claim proves nothing about a third. What is missing comes after all
//! that is there, and changes nothing about that. The result does not depend on
//! the order in which the bodies come, and the work grows with the number of keys.

use std::collections::{BTreeMap, BTreeSet};

use super::agreement::{Claim, Summary, agreeing, are_one};
use super::keys::{Key, Keys, Kind};
use super::strangers::{FoundAt, NamedBmc};

/// What is known of one machine from one place, or from several that are tied by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    pub keys: Keys,
    /// The identity that its object demands.
    pub demanded: Keys,
    /// It is an object.
    pub object: bool,
    /// It is an object that nobody may take for another.
    pub anchor: bool,
    /// Which view of a host, and which PCI device there: one view shows no card twice.
    pub seat: Option<(usize, Option<String>)>,
    /// A card: who made it, as far as that tells one card from another.
    pub maker: Option<&'static str>,
    /// It is an agent on a host.
    pub agent: bool,
    /// A host: what it tells of the cards in it.
    pub inside: Keys,
    /// The machine's own BMC tells this.
    pub by_bmc: bool,
    /// An object: the BMC that it names, which is no other.
    pub named: Option<NamedBmc>,
    /// A BMC that was found: how.
    pub found_at: Option<FoundAt>,
    /// It shows what an object is known by that names another BMC: it is joined with nobody by that.
    pub aside: bool,
    /// Where a BMC that was found, or that this was proposed for, answers now.
    pub place: Option<Key>,
    /// It tells of what was there before: it neither contradicts nor joins who is there.
    pub missing: bool,
}

/// What tells machines apart.
pub(super) struct Rules {
    /// Kinds of which a machine has one.
    pub single: &'static [Kind],
}

/// A key that machines claim that cannot be one.
#[derive(Clone, Debug)]
pub(super) struct Contested {
    pub key: Key,
    /// One body of each cluster that holds the key, and its cluster.
    pub holders: Vec<(usize, usize)>,
}

/// The result.
#[derive(Debug)]
pub(super) struct Matching {
    /// Bodies of each cluster, in order.
    pub clusters: Vec<Vec<usize>>,
    /// The cluster of each body.
    pub cluster_of: Vec<usize>,
    pub contested: Vec<Contested>,
}

pub(super) fn matched(bodies: &[Body], rules: &Rules) -> Matching {
    counted(bodies, rules, &mut 0)
}

/// Counts the clusters that it looks at to compare them.
fn counted(bodies: &[Body], rules: &Rules, comparisons: &mut usize) -> Matching {
    let mut joining = Joining::of(bodies, rules);
    let mut holders: BTreeMap<&Key, Vec<usize>> = BTreeMap::new();
    let mut missed: BTreeMap<&Key, Vec<usize>> = BTreeMap::new();
    for (index, body) in bodies.iter().enumerate() {
        let those = if body.missing {
            &mut missed
        } else {
            &mut holders
        };
        let stands = |key: &&Key| match key {
            Key::Found(_) | Key::Endpoint(..) => true,
            Key::Serial(_)
            | Key::Uuid(_)
            | Key::DeviceSerial(_)
            | Key::Mac(_)
            | Key::CardInside(_)
            | Key::Node(_) => !body.aside,
        };
        for key in body.keys.iter().filter(stands) {
            those.entry(key).or_default().push(index);
        }
    }
    let mut contested: Vec<(Key, Vec<usize>)> = Vec::new();
    for (key, those) in &holders {
        let holding = joining.holding(key, those);
        *comparisons += holding.of_several();
        if holding.first.len() > 1 && !joining.settle(key, &holding) {
            joining.side_with_the_rightful(key, those, &holding);
            contested.push(((*key).clone(), holding.first.into_values().collect()));
        }
    }
    for (key, mut those) in missed {
        those.extend(holders.get(key).into_iter().flatten());
        let holding = joining.holding(key, &those);
        *comparisons += holding.of_several();
        joining.attach(key, &holding);
    }
    conclude(bodies.len(), &mut joining.at, contested)
}

/// The clusters that hold a key.
#[derive(Default)]
struct Holding {
    /// One body of each that does.
    first: BTreeMap<usize, usize>,
    /// Those with an object that demands it.
    demanding: BTreeSet<usize>,
    /// Those whose own BMC tells it: what is proposed for them will demand it.
    telling: BTreeSet<usize>,
}

impl Holding {
    fn of_several(&self) -> usize {
        match self.first.len() {
            1 => 0,
            several => several,
        }
    }
}

struct Joining<'b> {
    bodies: &'b [Body],
    /// For each body another of its cluster; the root is its own.
    at: Vec<usize>,
    /// Of each root.
    summaries: Vec<Summary>,
}

impl<'b> Joining<'b> {
    fn of(bodies: &'b [Body], rules: &Rules) -> Self {
        let each = bodies.iter().enumerate();
        Self {
            bodies,
            at: (0..bodies.len()).collect(),
            summaries: each
                .map(|(index, body)| Summary::of(index, body, rules))
                .collect(),
        }
    }

    fn holding(&mut self, key: &Key, holders: &[usize]) -> Holding {
        let mut holding = Holding::default();
        for index in holders {
            let root = root(&mut self.at, *index);
            holding.first.entry(root).or_insert(*index);
            let Some(body) = self.bodies.get(*index) else {
                continue;
            };
            if body.demanded.contains(key) {
                holding.demanding.insert(root);
            }
            if body.by_bmc && !body.missing {
                holding.telling.insert(root);
            }
        }
        holding
    }

    /// All holders are one, or it is told that they are not.
    fn settle(&mut self, key: &Key, holding: &Holding) -> bool {
        let all = self.claims(holding);
        if !are_one(key, &all) {
            return false;
        }
        let roots = roots(&all);
        self.join(&roots);
        true
    }

    /// The objects that demand the key and give way to none; where there are none, those that may
    /// give way, with the BMCs that tell it: the same with an object that discovery proposes as
    /// without it.
    fn rightful(&self, key: &Key, holding: &Holding) -> Vec<Claim<'_>> {
        let identifies = matches!(key.kind(), Kind::Serial | Kind::Uuid | Kind::DeviceSerial);
        let demanding = |claim: &Claim<'_>| holding.demanding.contains(&claim.root);
        let telling = |claim: &Claim<'_>| holding.telling.contains(&claim.root);
        let mut those = self.claims(holding);
        those.retain(|claim| identifies && (demanding(claim) || telling(claim)));
        let anchored = |claim: &Claim<'_>| demanding(claim) && claim.is_anchored();
        if those.iter().any(anchored) {
            those.retain(anchored);
        }
        those
    }

    /// Of holders that cannot be one, those that agree with the one machine whose key it is are one
    /// with it: whoever contradicts takes nothing from it.
    fn side_with_the_rightful(&mut self, key: &Key, holders: &[usize], holding: &Holding) {
        let rightful = self.rightful(key, holding);
        if rightful.is_empty() || !are_one(key, &rightful) {
            return;
        }
        let rightful = roots(&rightful);
        self.join(&rightful);
        let holding = self.holding(key, holders);
        let (one, others): (Vec<_>, Vec<_>) = self
            .claims(&holding)
            .into_iter()
            .partition(|claim| rightful.contains(&claim.root));
        let Some(one) = one.first().copied() else {
            return;
        };
        let kept = agreeing(key, one, others);
        let joined: Vec<usize> = roots(&kept).into_iter().chain([one.root]).collect();
        self.join(&joined);
    }

    /// What is missing goes to whoever is there and holds the key, where nothing contradicts.
    fn attach(&mut self, key: &Key, holding: &Holding) {
        let (there, missing): (Vec<_>, Vec<_>) = self
            .claims(holding)
            .into_iter()
            .partition(|claim| claim.summary.there);
        let joined = match there.as_slice() {
            [] if are_one(key, &missing) => roots(&missing),
            [one] => {
                let kept = agreeing(key, *one, missing);
                roots(&kept).into_iter().chain([one.root]).collect()
            }
            [] => return,
            [_, _, ..] => match self.rightful(key, holding).as_slice() {
                [one] => {
                    let kept = agreeing(key, *one, missing);
                    roots(&kept).into_iter().chain([one.root]).collect()
                }
                [] | [_, _, ..] => return,
            },
        };
        self.join(&joined);
    }

    fn claims(&self, holding: &Holding) -> Vec<Claim<'_>> {
        let those = holding.first.keys().copied();
        those
            .filter_map(|root| {
                Some(Claim {
                    root,
                    summary: self.summaries.get(root)?,
                })
            })
            .collect()
    }

    fn join(&mut self, roots: &[usize]) {
        let size = |root: &usize| {
            let summary = self.summaries.get(*root);
            summary.map_or((0, 0), |one| (one.members.len(), usize::MAX - root))
        };
        let Some(into) = roots.iter().copied().max_by_key(size) else {
            return;
        };
        for root in roots.iter().copied().filter(|root| *root != into) {
            let from = self.summaries.get_mut(root).map(std::mem::take);
            if let Some(place) = self.at.get_mut(root) {
                *place = into;
            }
            if let Some(target) = self.summaries.get_mut(into) {
                target.absorb(from.unwrap_or_default());
            }
        }
    }
}

fn roots(claims: &[Claim<'_>]) -> Vec<usize> {
    claims.iter().map(|claim| claim.root).collect()
}

fn root(at: &mut [usize], body: usize) -> usize {
    let mut here = body;
    while let Some(&next) = at.get(here) {
        if next == here {
            break;
        }
        here = next;
    }
    if let Some(place) = at.get_mut(body) {
        *place = here;
    }
    here
}

fn conclude(bodies: usize, at: &mut [usize], contested: Vec<(Key, Vec<usize>)>) -> Matching {
    let mut number: BTreeMap<usize, usize> = BTreeMap::new();
    let mut clusters: Vec<Vec<usize>> = Vec::new();
    let mut cluster_of = Vec::with_capacity(bodies);
    for body in 0..bodies {
        let cluster = *number.entry(root(at, body)).or_insert_with(|| {
            clusters.push(Vec::new());
            clusters.len() - 1
        });
        if let Some(members) = clusters.get_mut(cluster) {
            members.push(body);
        }
        cluster_of.push(cluster);
    }
    let contested = contested
        .into_iter()
        .filter_map(|(key, holders)| {
            let holders: Vec<(usize, usize)> = holders
                .into_iter()
                .map(|body| (body, cluster_of.get(body).copied().unwrap_or(body)))
                .collect();
            // A weaker key may have shown that they are one after all.
            let apart: BTreeSet<usize> = holders.iter().map(|(_, cluster)| *cluster).collect();
            (apart.len() > 1).then_some(Contested { key, holders })
        })
        .collect();
    Matching {
        clusters,
        cluster_of,
        contested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARDS: Rules = Rules {
        single: &[Kind::Serial, Kind::Uuid, Kind::DeviceSerial],
    };

    fn body(keys: &[Key]) -> Body {
        Body {
            keys: keys.iter().cloned().collect(),
            ..Body::default()
        }
    }

    fn serial(text: &str) -> Key {
        Key::Serial(text.into())
    }

    fn uuid(text: &str) -> Key {
        Key::Uuid(text.into())
    }

    fn mac(text: &str) -> Key {
        Key::Mac(text.into())
    }

    #[test]
    fn what_shares_keys_is_one_across_several_steps() {
        let bodies = [
            body(&[uuid("u"), mac("m")]),
            body(&[serial("s"), mac("m")]),
            body(&[serial("s")]),
            body(&[serial("t")]),
        ];
        let matching = matched(&bodies, &CARDS);
        assert_eq!(matching.clusters, [vec![0, 1, 2], vec![3]]);
        assert!(matching.contested.is_empty());
    }

    #[test]
    fn what_is_missing_neither_splits_nor_joins_who_is_there() {
        let missing = |keys: &[Key]| Body {
            missing: true,
            ..body(keys)
        };
        let bodies = [
            body(&[serial("s"), uuid("u")]),
            body(&[serial("s")]),
            missing(&[serial("s"), uuid("v")]),
            missing(&[uuid("u"), mac("m")]),
            body(&[mac("m")]),
            missing(&[mac("n")]),
            missing(&[mac("n")]),
        ];
        let matching = matched(&bodies, &CARDS);
        assert_eq!(
            matching.clusters,
            [vec![0, 1, 3], vec![2], vec![4], vec![5, 6]]
        );
        assert!(matching.contested.is_empty());
    }

    #[test]
    fn a_key_of_two_machines_joins_nobody() {
        let bodies = [
            body(&[serial("s"), uuid("u")]),
            body(&[serial("s"), uuid("v")]),
            body(&[serial("s")]),
        ];
        let matching = matched(&bodies, &CARDS);
        assert_eq!(matching.clusters.len(), 3);
        assert_eq!(matching.contested.len(), 1);
        assert_eq!(matching.contested[0].holders.len(), 3);
    }

    #[test]
    fn whoever_contradicts_takes_nothing_from_the_object_that_demands_the_key() {
        let object = |demanded: &[Key]| Body {
            demanded: demanded.iter().cloned().collect(),
            object: true,
            anchor: true,
            ..body(demanded)
        };
        let bmc = Body {
            by_bmc: true,
            ..body(&[serial("s"), uuid("u")])
        };
        let bodies = [
            object(&[serial("s")]),
            bmc.clone(),
            body(&[serial("s")]),
            body(&[serial("s"), uuid("v")]),
        ];
        let matching = matched(&bodies, &CARDS);
        assert_eq!(matching.clusters, [vec![0, 1, 2], vec![3]]);
        assert_eq!(matching.contested[0].holders.len(), 4);
        // Nobody decides between two BMCs, nor between two objects.
        let other = Body {
            by_bmc: true,
            ..body(&[serial("s"), uuid("v")])
        };
        let bodies = [object(&[serial("s")]), bmc.clone(), other];
        assert_eq!(matched(&bodies, &CARDS).clusters.len(), 3);
        let bodies = [object(&[serial("s")]), bmc, object(&[serial("s")])];
        assert_eq!(matched(&bodies, &CARDS).clusters.len(), 3);
    }

    #[test]
    fn cards_of_two_makers_are_never_one() {
        let by = |maker: &'static str| Body {
            maker: Some(maker),
            ..body(&[serial("s")])
        };
        let matching = matched(&[by("Intel"), by("NVIDIA")], &CARDS);
        assert_eq!(matching.clusters.len(), 2);
        assert_eq!(matching.contested.len(), 1);
        let object = Body {
            demanded: Keys::from([serial("s")]),
            object: true,
            anchor: true,
            ..body(&[serial("s")])
        };
        let bmc = Body {
            by_bmc: true,
            ..by("Intel")
        };
        let bodies = [object, bmc, by("NVIDIA"), by("Intel")];
        assert_eq!(matched(&bodies, &CARDS).clusters, [vec![0, 1, 3], vec![2]]);
    }

    #[test]
    fn two_objects_are_never_one() {
        let object = |keys: &[Key]| Body {
            anchor: true,
            ..body(keys)
        };
        let bodies = [object(&[serial("s")]), object(&[serial("s")])];
        assert_eq!(matched(&bodies, &CARDS).clusters.len(), 2);
    }

    #[test]
    fn a_view_shows_two_cards_and_not_one_twice_unless_the_device_is_one() {
        let seat = |device: Option<&str>| Body {
            seat: Some((7, device.map(str::to_owned))),
            ..body(&[serial("s")])
        };
        let apart = matched(&[seat(None), seat(None)], &CARDS);
        assert_eq!(apart.clusters.len(), 2);
        let one = matched(&[seat(Some("d")), seat(Some("d"))], &CARDS);
        assert_eq!(one.clusters.len(), 1);
    }

    #[test]
    fn five_thousand_cards_cost_as_many_comparisons_as_they_have_keys() {
        let bodies: Vec<Body> = (0..5000)
            .flat_map(|n| {
                [
                    body(&[serial(&format!("s{n}")), uuid(&format!("u{n}"))]),
                    body(&[serial(&format!("s{n}")), mac(&format!("m{n}"))]),
                    body(&[uuid(&format!("u{n}")), mac("shared by all")]),
                ]
            })
            .collect();
        let mut comparisons = 0;
        let matching = counted(&bodies, &CARDS, &mut comparisons);
        assert_eq!(matching.clusters.len(), 5000);
        assert_eq!(matching.contested.len(), 1);
        let held: usize = bodies.iter().map(|body| body.keys.len()).sum();
        assert!(comparisons <= held, "{comparisons} for {held} keys");
    }
}
