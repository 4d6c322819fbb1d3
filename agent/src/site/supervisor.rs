//! One worker for each machine that can be looked after, started, told and
//! stopped as the site's objects say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use lockstep_crds::{Dpu, DpuHost};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::site::boot_entry::watch_boot_entries;
use crate::site::configuration::configure;
use crate::site::context::Site;
use crate::site::demand::Demand;
use crate::site::inventories;
use crate::site::machine::{Care, MachineInput, MachineKey, Untended};
use crate::site::machines::machines;
use crate::site::objects::{Known, Objects};
use crate::site::untended;
use crate::site::update_components::watch_components;
use crate::site::wanted::{Wanted, wanted};
use crate::site::worker::Worker;

/// Changes that come together are looked at together.
const GATHER: Duration = Duration::from_millis(50);
/// The pause before what was granted to cards that are gone is ended again, where it was not.
const UNENDED: Duration = Duration::from_secs(30);

/// Objects that cannot be read which a message names.
const NAMED: usize = 3;

struct Running {
    work: Work,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

enum Work {
    Looks {
        uid: String,
        input: watch::Sender<MachineInput>,
    },
    Tells(Untended),
}

impl Work {
    /// Whether this is still what is to be done.
    fn suits(&self, care: &Care) -> bool {
        match (self, care) {
            (Self::Looks { uid, .. }, Care::Look(input)) => input.uid == *uid,
            (Self::Tells(told), Care::Tell(untended)) => told == untended,
            (Self::Looks { .. }, Care::Tell(_)) | (Self::Tells(_), Care::Look(_)) => false,
        }
    }
}

/// Runs the workers until `ending`, then waits for them to finish.
pub async fn run(
    site: Arc<Site>,
    mut objects: Objects,
    images: watch::Sender<Option<Wanted>>,
    ending: CancellationToken,
) {
    let mut running: BTreeMap<MachineKey, Running> = BTreeMap::new();
    let mut leaving: HashMap<MachineKey, JoinHandle<()>> = HashMap::new();
    let mut demand = Demand::default();
    loop {
        let name = &site.config.site;
        let (hosts, cards) = (objects.hosts.known(), objects.cards.known());
        let mut cares = machines(name, &hosts, &cards, objects.resync());
        configure(
            &mut cares,
            &hosts.objects,
            &cards.objects,
            &objects.policies.known().objects,
            &objects.images.known().objects,
        );
        watch_components(
            &mut cares,
            &hosts.objects,
            &cards.objects,
            &objects.policies.known().objects,
            &objects.images.known().objects,
        );
        watch_boot_entries(
            &mut cares,
            &hosts.objects,
            &cards.objects,
            &objects.policies.known().objects,
            &objects.images.known().objects,
        );
        want_images(&site, &objects, &hosts, &cards, &mut demand, &images);
        site.inventories.want(inventories::wanted(&hosts.objects));
        let gone: Vec<MachineKey> = running
            .iter()
            .filter(|(key, running)| cares.get(key).is_none_or(|care| !running.work.suits(care)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(running) = running.remove(&key) {
                tracing::info!(machine = %key, "no longer looked after as before");
                running.stop.cancel();
                leaving.insert(key, running.task);
            }
        }
        for (key, care) in cares {
            if let Some(running) = running.get(&key) {
                if let (Work::Looks { input, .. }, Care::Look(wanted)) = (&running.work, care) {
                    input.send_if_modified(|before| {
                        let changed = *before != *wanted;
                        *before = *wanted;
                        changed
                    });
                }
                continue;
            }
            let before = leaving.remove(&key);
            running.insert(key.clone(), start(&site, key, care, before, &ending));
        }
        let are_ended = end_grants_of_gone_cards(&site, &cards).await;
        tokio::select! {
            () = ending.cancelled() => break,
            more = objects.change() => if !more { break },
            () = tokio::time::sleep(UNENDED), if !are_ended => {}
        }
        tokio::time::sleep(GATHER).await;
    }
    drop(images);
    let tasks = running
        .into_values()
        .map(|worker| worker.task)
        .chain(leaving.into_values());
    for task in tasks {
        if let Err(error) = task.await {
            tracing::error!("a worker ended badly: {error}");
        }
    }
}

/// Has the wanted images fetched. The store knows what must stay before anything is fetched for
/// which something else might go.
fn want_images(
    site: &Site,
    objects: &Objects,
    hosts: &Known<DpuHost>,
    cards: &Known<Dpu>,
    demand: &mut Demand,
    images: &watch::Sender<Option<Wanted>>,
) {
    let (policies, all) = (objects.policies.known(), objects.images.known());
    let now_wanted = wanted(
        &site.config.site,
        &hosts.objects,
        &cards.objects,
        &policies.objects,
        &all.objects,
    );
    let unread = hosts.unread().chain(cards.unread());
    let unread = unread.chain(policies.unread()).chain(all.unread());
    let unread = listed(unread.collect());
    demand.update(now_wanted, unread.is_none());
    site.store.cannot_read(unread);
    if let Some(pinned) = demand.pinned() {
        site.store.want(pinned);
    }
    images.send_if_modified(|before| {
        let changed = before.as_ref() != Some(demand.images());
        if changed {
            *before = Some(demand.images().clone());
        }
        changed
    });
}

/// The first of these by name, and how many more there are.
fn listed(mut names: Vec<String>) -> Option<String> {
    let others = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let first = names.join(", ");
    match (names.is_empty(), others) {
        (true, _) => None,
        (false, 0) => Some(first),
        (false, others) => Some(format!("{first} and {others} more")),
    }
}

/// A card that is gone leaves no token in the store. False if something of one may come back yet.
async fn end_grants_of_gone_cards(site: &Site, cards: &Known<Dpu>) -> bool {
    let readable = cards.objects.iter().filter_map(|card| card.uid());
    let unreadable = cards.unreadable.values().map(|card| card.uid.clone());
    let there: BTreeSet<String> = readable.chain(unreadable).collect();
    let gone: BTreeSet<String> = site
        .store
        .grants()
        .into_iter()
        .map(|grant| grant.card_key)
        .filter(|key| !there.contains(key))
        .collect();
    for key in gone {
        if let Err(error) = site.store.revoke(&key).await {
            tracing::error!("grant of a card that is gone: {error}; {}", error.remedy());
        }
    }
    let settled = site.store.settle().await;
    if let Err(error) = &settled {
        tracing::error!("grants of images: {error}; {}", error.remedy());
    }
    let ended = site.end_outdated_pxe_offers();
    if let Err(error) = &ended {
        tracing::error!("offer by PXE to a card that is gone: {error}");
    }
    settled.is_ok() && ended.is_ok()
}

fn start(
    site: &Arc<Site>,
    key: MachineKey,
    care: Care,
    before: Option<JoinHandle<()>>,
    ending: &CancellationToken,
) -> Running {
    let stop = ending.child_token();
    // Two writers of one machine's report must never overlap.
    let after = async move {
        if let Some(before) = before
            && let Err(error) = before.await
        {
            tracing::error!("a worker ended badly: {error}");
        }
    };
    let (work, task) = match care {
        Care::Look(wanted) => {
            tracing::info!(machine = %key, "looked after");
            let uid = wanted.uid.clone();
            let (input, receiver) = watch::channel(*wanted);
            let worker = Worker::new(Arc::clone(site), receiver, stop.clone());
            let task = tokio::spawn(async move {
                after.await;
                worker.run().await;
            });
            (Work::Looks { uid, input }, task)
        }
        Care::Tell(untended) => {
            let (site, stop) = (Arc::clone(site), stop.clone());
            let told = untended.clone();
            let task = tokio::spawn(async move {
                after.await;
                untended::tell(site, key, told, stop).await;
            });
            (Work::Tells(untended), task)
        }
    };
    Running { work, stop, task }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_and_the_others_counted() {
        let names = |many: usize| listed((1..=many).map(|n| format!("Dpu c{n}")).collect());
        assert_eq!(names(0), None);
        assert_eq!(names(1).unwrap(), "Dpu c1");
        assert_eq!(names(3).unwrap(), "Dpu c1, Dpu c2, Dpu c3");
        assert_eq!(names(5).unwrap(), "Dpu c1, Dpu c2, Dpu c3 and 2 more");
    }
}
