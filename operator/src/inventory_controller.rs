//! One namespace: join what everybody tells, keep it for plans, and write what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use lockstep_crds::dpu_inventory::DpuInventorySpec;
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuReport, names};
use lockstep_planner::inventory::{Around, Plugged, SiteJoin, SiteView, plugged};
use lockstep_planner::left_behind;

use crate::chores::{self, Chore};
use crate::context::{Context, Outcome};
use crate::inventory_objects::{change, timeless, wanted};
use crate::joins::{Joined, alive, has_evidence};
use crate::key::Key;
use crate::kstatus;
use crate::queue::Ended;
use crate::quiet::Quiet;
use crate::refused::Refused;
use crate::stores::Waker;
use crate::table::Entry;
use crate::world::World;
use crate::writes::WriteError;

/// Passes over one namespace begin no closer together than this.
const PACE: Duration = Duration::from_secs(2);
/// Every namespace is looked at this often even if nothing changes: what is gone for long by then
/// is found out so.
const RESYNC: Duration = Duration::from_secs(600);
/// How many objects one pass writes at most, so that news is joined in between.
const LIMIT: usize = 64;
/// How many of them at a time.
const CONCURRENCY: usize = 4;

/// What the controller remembers between passes. A successor may do without.
#[derive(Debug, Default)]
struct Pace {
    began: Option<Instant>,
    quiet: Quiet,
    refused: Refused,
}

/// How everything of one namespace is joined.
pub type Join = fn(&SiteView<'_>) -> SiteJoin;

/// The controller of inventories.
#[derive(Debug)]
pub struct Inventories {
    join: Join,
    waker: Waker,
    paces: Mutex<BTreeMap<Key, Pace>>,
}

impl Inventories {
    /// A controller that joins by `join` and wakes others by `waker`.
    pub fn new(join: Join, waker: Waker) -> Self {
        Self {
            join,
            waker,
            paces: Mutex::default(),
        }
    }

    /// One pass over the namespace that `key` names.
    pub async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let time = Timestamp::now();
        self.pass(context, key, Instant::now(), time).await
    }

    /// The same at a given time, by the clock that waits and by the one that others go by, too.
    pub async fn pass(
        &self,
        context: &Context,
        key: &Key,
        now: Instant,
        time: Timestamp,
    ) -> Outcome {
        if let Some(at) = self.too_early(key, now) {
            return Outcome {
                result: "paced",
                ended: Ended::Again(at),
            };
        }
        let namespace = key.name.as_str();
        let inputs = Inputs::of(&context.world.read(), namespace, time);
        let complete = inputs.complete;
        let join = self.join;
        let joining = tokio::task::spawn_blocking(move || inputs.joined(join));
        let joined = match joining.await {
            Ok(joined) => joined,
            Err(error) => {
                tracing::error!(namespace, %error, "the reports could not be joined");
                return Outcome::failed();
            }
        };
        let wake = context.world.write().joined(namespace, joined);
        self.waker.wake(wake);
        let work = self.work(context, key, complete, now);
        let (outcome, refused) = write(context, namespace, work).await;
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = paces.entry(key.clone()).or_default();
        for what in refused {
            pace.refused.note(what, now);
        }
        outcome
    }

    fn too_early(&self, key: &Key, now: Instant) -> Option<Instant> {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = paces.entry(key.clone()).or_default();
        let at = pace.began.map(|began| began + PACE).filter(|at| *at > now);
        if at.is_none() {
            pace.began = Some(now);
        }
        at
    }

    /// What is to be written now, and when there will be more.
    fn work(&self, context: &Context, key: &Key, complete: bool, now: Instant) -> Work {
        let world = context.world.read();
        let Some(joined) = world.joins.of(&key.name) else {
            return Work::default();
        };
        // Objects are made and approved on the word of agents, which the guards vouch for; and
        // what cannot be read may stand for the very machine that would be proposed.
        let mut work = Work::default();
        if complete && world.guards().intact() {
            work.discovery = chores::of_discovery(&world, &key.name, joined);
        }
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let Pace { quiet, refused, .. } = paces.entry(key.clone()).or_default();
        let is_due = |chore: &Chore| refused.is_due(&chore.what(), now);
        work.discovery.retain(is_due);
        work.next = refused.next(now);
        let mut due = BTreeSet::new();
        for (name, dpu) in &joined.cards {
            let Some(told) = to_tell(context, &world, joined, name, dpu) else {
                continue;
            };
            let at = quiet.ends(name, &told.facts, is_on_its_way(&world, key, dpu), now);
            due.insert(name.as_str());
            if !is_due(&told.chore) {
                continue;
            }
            if at > now {
                work.next = Some(work.next.map_or(at, |other| other.min(at)));
            } else {
                work.inventories.push(told.chore);
            }
        }
        quiet.keep(|card| due.contains(card));
        work
    }
}

/// What a pass has to write.
#[derive(Default)]
struct Work {
    /// Of cards and hosts themselves.
    discovery: Vec<Chore>,
    /// Of inventories; what discovery cannot write keeps none of them waiting.
    inventories: Vec<Chore>,
    /// When there will be more, if nothing else happens.
    next: Option<Instant>,
}

/// What is to be written of a card's inventory.
struct Told {
    facts: serde_json::Value,
    chore: Chore,
}

fn to_tell(
    context: &Context,
    world: &World,
    joined: &Joined,
    name: &str,
    dpu: &Arc<Dpu>,
) -> Option<Told> {
    let card = joined.join.cards.get(name)?;
    let going = dpu.metadata.deletion_timestamp.is_some();
    let mut wanted = wanted(dpu, card);
    let evident = has_evidence(&card.inventory);
    let chore = match world.inventories.entry(&Key::of(dpu.as_ref())) {
        _ if going => return None,
        // A card of which nobody tells has none.
        None if !evident => return None,
        None => Chore::Tell(Box::new(wanted.clone())),
        Some(Entry::Readable(current)) if !context.writes.caught_up(current.as_ref()) => {
            return None;
        }
        Some(Entry::Readable(current)) => {
            let befell = befell(world, joined, dpu, &current.spec, &wanted.spec);
            if !evident {
                // One that was told of keeps what was known, but for where it is seen.
                if befell.is_empty() {
                    return None;
                }
                wanted.metadata.labels.clone_from(&current.metadata.labels);
                let DpuInventorySpec { hosts, views, .. } = wanted.spec;
                wanted.spec = DpuInventorySpec {
                    hosts,
                    views,
                    ..current.spec.clone()
                };
            }
            let change = change(current, &wanted)?;
            if befell.is_empty() {
                Chore::Retell(Arc::clone(current), change)
            } else {
                Chore::RetellPlugged(Arc::clone(current), change, Arc::clone(dpu), befell)
            }
        }
        Some(Entry::Unreadable(_)) => return None,
    };
    Some(Told {
        facts: timeless(&wanted.spec),
        chore,
    })
}

/// What befell a card in its hosts since its inventory was told.
fn befell(
    world: &World,
    joined: &Joined,
    dpu: &Dpu,
    before: &DpuInventorySpec,
    after: &DpuInventorySpec,
) -> Vec<Plugged> {
    let card = Key::of(dpu);
    let prefix = names::host("");
    let report = |name: &str| {
        let node = name.strip_prefix(prefix.as_str())?;
        // What an agent has left behind under the name of a Node that is gone is no news.
        world.nodes.get(node)?;
        let report = world.reports.get(&card.sibling(name))?;
        Some(&report.spec)
    };
    let host = |name: &str| joined.hosts.get(name).map(AsRef::as_ref);
    let around = Around {
        report: &report,
        host: &host,
    };
    plugged(&card.name, before, after, around)
}

/// Whether a card's own operating system is about to tell of it: it is being brought up.
fn is_on_its_way(world: &World, site: &Key, dpu: &Dpu) -> bool {
    if !dpu.spec.approved {
        return false;
    }
    let host = dpu.spec.host_refs.first();
    let host = host.and_then(|host| world.hosts.get(&Key::new(site.name.as_str(), &*host.name)));
    // Without its host nothing is done to it.
    let Some(host) = host else {
        return false;
    };
    kstatus::is_card_on_its_way(dpu) || kstatus::is_host_on_its_way(host)
}

/// Does as many of the chores as one pass may, and tells when to look again, and what was refused.
async fn write(context: &Context, namespace: &str, work: Work) -> (Outcome, Vec<String>) {
    let more = work.discovery.len() > LIMIT || work.inventories.len() > LIMIT;
    let now = work.discovery.into_iter().take(LIMIT);
    let doing = now
        .chain(work.inventories.into_iter().take(LIMIT))
        .map(|chore| async {
            let what = chore.what();
            let done = chores::carry_out(&context.writes, chore).await;
            done.map_err(|error| (what, error))
        });
    let done: Vec<Result<(), (String, WriteError)>> = futures::stream::iter(doing)
        .buffered(CONCURRENCY)
        .collect()
        .await;
    let mut outcome = match work.next {
        _ if more => Outcome::soon("more"),
        at => Outcome {
            result: "ok",
            ended: Ended::Again(at.unwrap_or_else(|| Instant::now() + RESYNC)),
        },
    };
    let mut refused = Vec::new();
    for (chore, failed) in done.into_iter().filter_map(Result::err) {
        match failed {
            error @ WriteError::Refused { .. } if error.is_for_what_it_says() => {
                tracing::warn!(namespace, %error, "what discovery asks for is refused, and tried again later");
                refused.push(chore);
            }
            WriteError::Conflict(what) | WriteError::Gone(what) => {
                tracing::debug!(namespace, %what, "changed meanwhile, looked at again");
                if outcome.ended != Ended::Failed {
                    outcome = Outcome::soon("conflict");
                }
            }
            error @ (WriteError::NoAnswer { .. }
            | WriteError::ForeignAccount(_)
            | WriteError::Refused { .. }) => {
                tracing::warn!(namespace, %error, "what discovery asks for was not written");
                outcome = Outcome::failed();
            }
        }
    }
    (outcome, refused)
}

/// Everything of one namespace, as it is at one moment.
struct Inputs {
    cards: BTreeMap<String, Arc<Dpu>>,
    hosts: BTreeMap<String, Arc<DpuHost>>,
    policies: Vec<Arc<DpuBootPolicy>>,
    reports: BTreeMap<String, Arc<DpuReport>>,
    /// Nodes that exist, of those whose agents have reported.
    nodes: BTreeSet<String>,
    /// Reports whose word counts now.
    alive: BTreeSet<String>,
    now: Timestamp,
    /// Whether every card and host could be read.
    complete: bool,
}

impl Inputs {
    fn of(world: &World, namespace: &str, now: Timestamp) -> Self {
        let cards = named(world.cards.within(namespace));
        let hosts = named(world.hosts.within(namespace));
        let reports = named(world.reports.within(namespace));
        let readable = cards.len() + hosts.len();
        let prefix = names::host("");
        let nodes = reports
            .keys()
            .filter_map(|name| name.strip_prefix(prefix.as_str()))
            .filter(|node| world.nodes.get(node).is_some())
            .map(str::to_owned)
            .collect();
        let all = world.cards.within(namespace).count() + world.hosts.within(namespace).count();
        Self {
            policies: named(world.policies.within(namespace))
                .into_values()
                .collect(),
            nodes,
            alive: alive(world, namespace, now),
            now,
            complete: readable == all,
            cards,
            hosts,
            reports,
        }
    }

    fn joined(self, join: Join) -> Joined {
        let mut reports: BTreeMap<_, _> = self
            .reports
            .iter()
            .map(|(name, report)| (name.as_str(), &report.spec))
            .collect();
        for name in left_behind(&reports, |node| self.nodes.contains(node)) {
            reports.remove(name.as_str());
        }
        let join = join(&SiteView {
            cards: self.cards.values().map(AsRef::as_ref).collect(),
            hosts: self.hosts.values().map(AsRef::as_ref).collect(),
            policies: self.policies.iter().map(AsRef::as_ref).collect(),
            reports,
            alive: self.alive.iter().map(String::as_str).collect(),
            now: self.now,
        });
        Joined {
            join,
            cards: self.cards,
            hosts: self.hosts,
        }
    }
}

fn named<'a, K: 'a>(
    entries: impl Iterator<Item = (&'a Key, &'a Entry<K>)>,
) -> BTreeMap<String, Arc<K>> {
    entries
        .filter_map(|(key, entry)| Some((key.name.clone(), entry.shared()?)))
        .collect()
}
