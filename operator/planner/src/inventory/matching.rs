//! Which bodies of evidence are about one machine.
//!
//! Keys are taken strongest first, each once. All that hold a key are one machine, unless any of
//! them contradicts another: then nobody is joined by that key, and it is told as contested.
//! A key that two machines claim proves nothing about a third. The result does not depend on
//! the order in which the bodies come, and the work grows with the number of keys.

use std::collections::{BTreeMap, BTreeSet};

use super::agreement::{Claim, Summary, are_one};
use super::keys::{Key, Keys, Kind};

/// What is known of one machine from one place, or from several that are tied by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    pub keys: Keys,
    /// Keys that nobody but the card's own operating system tells.
    pub own_word: Keys,
    /// It is an object.
    pub object: bool,
    /// It is an object that nobody may take for another.
    pub anchor: bool,
    /// Which view of a host, and which PCI device there: one view shows no card twice.
    pub seat: Option<(usize, Option<String>)>,
    /// It is an agent on a host.
    pub agent: bool,
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
    let mut holders: BTreeMap<&Key, Vec<usize>> = BTreeMap::new();
    for (index, body) in bodies.iter().enumerate() {
        for key in &body.keys {
            holders.entry(key).or_default().push(index);
        }
    }
    let mut at: Vec<usize> = (0..bodies.len()).collect();
    let mut summaries: Vec<Summary> = bodies
        .iter()
        .enumerate()
        .map(|(index, body)| Summary::of(index, body, rules))
        .collect();
    let mut contested: Vec<(Key, Vec<usize>)> = Vec::new();
    for (key, bodies_of_key) in holders {
        let mut roots: BTreeMap<usize, usize> = BTreeMap::new();
        let mut firm: BTreeSet<usize> = BTreeSet::new();
        for index in bodies_of_key {
            let root = root(&mut at, index);
            roots.entry(root).or_insert(index);
            if let (Some(body), Some(summary)) = (bodies.get(index), summaries.get(root))
                && summary.holds_firmly(body, key)
            {
                firm.insert(root);
            }
        }
        if roots.len() < 2 {
            continue;
        }
        *comparisons += roots.len();
        let those: Vec<usize> = roots.keys().copied().collect();
        let claims: Vec<Claim<'_>> = claims(&those, &firm, &summaries);
        if are_one(key, &claims) {
            join(&those, &firm, &mut at, &mut summaries);
        } else {
            contested.push((key.clone(), roots.into_values().collect()));
        }
    }
    conclude(bodies.len(), &mut at, contested)
}

fn join(roots: &[usize], firm: &BTreeSet<usize>, at: &mut [usize], summaries: &mut [Summary]) {
    let Some(into) = roots.iter().copied().max_by_key(|root| {
        summaries
            .get(*root)
            .map_or((0, 0), |one| (one.members.len(), usize::MAX - root))
    }) else {
        return;
    };
    let by_own_word = roots.iter().any(|root| {
        let summary = summaries.get(*root);
        !firm.contains(root) && summary.is_some_and(|one| one.objects > 0)
    });
    for root in roots.iter().copied().filter(|root| *root != into) {
        let from = summaries
            .get_mut(root)
            .map(std::mem::take)
            .unwrap_or_default();
        if let Some(place) = at.get_mut(root) {
            *place = into;
        }
        if let Some(target) = summaries.get_mut(into) {
            target.absorb(from);
        }
    }
    if let Some(target) = summaries.get_mut(into) {
        target.by_own_word |= by_own_word;
    }
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

fn claims<'s>(roots: &[usize], firm: &BTreeSet<usize>, summaries: &'s [Summary]) -> Vec<Claim<'s>> {
    roots
        .iter()
        .filter_map(|root| {
            Some(Claim {
                summary: summaries.get(*root)?,
                firm: firm.contains(root),
            })
        })
        .collect()
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
