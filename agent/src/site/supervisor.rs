//! One worker for each machine that has a BMC, started, told and stopped as
//! the site's objects say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use lockstep_crds::Dpu;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::site::context::Site;
use crate::site::machines::{MachineInput, MachineKey, machines};
use crate::site::objects::Objects;
use crate::site::wanted::{Wanted, wanted};
use crate::site::worker::Worker;

/// Changes that come together are looked at together.
const GATHER: Duration = Duration::from_millis(50);

struct Running {
    uid: String,
    input: watch::Sender<MachineInput>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Runs the workers until `ending`, then waits for them to finish.
pub async fn run(
    site: Arc<Site>,
    mut objects: Objects,
    images: watch::Sender<Wanted>,
    ending: CancellationToken,
) {
    let mut running: BTreeMap<MachineKey, Running> = BTreeMap::new();
    let mut leaving: HashMap<MachineKey, JoinHandle<()>> = HashMap::new();
    loop {
        let name = &site.config.site;
        let (hosts, cards) = (objects.hosts.state(), objects.cards.state());
        let inputs = machines(name, &hosts, &cards, objects.resync());
        let (policies, all) = (objects.policies.state(), objects.images.state());
        let now_wanted = wanted(name, &hosts, &cards, &policies, &all);
        images.send_if_modified(|before| {
            let changed = *before != now_wanted;
            *before = now_wanted;
            changed
        });
        let gone: Vec<MachineKey> = running
            .iter()
            .filter(|(key, worker)| inputs.get(key).is_none_or(|input| input.uid != worker.uid))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(worker) = running.remove(&key) {
                tracing::info!(machine = %key, "no longer looked after");
                worker.stop.cancel();
                leaving.insert(key, worker.task);
            }
        }
        for (key, input) in inputs {
            if let Some(worker) = running.get(&key) {
                worker.input.send_if_modified(|before| {
                    let changed = *before != input;
                    *before = input;
                    changed
                });
                continue;
            }
            match start(&site, input, leaving.remove(&key), &ending) {
                Ok(worker) => {
                    tracing::info!(machine = %key, "looked after");
                    running.insert(key, worker);
                }
                Err(error) => tracing::error!(machine = %key, "{error}"),
            }
        }
        end_grants_of_gone_cards(&site, &cards).await;
        tokio::select! {
            () = ending.cancelled() => break,
            more = objects.change() => if !more { break },
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

/// A card that is gone leaves no token in the store.
async fn end_grants_of_gone_cards(site: &Site, cards: &[Arc<Dpu>]) {
    let gone: BTreeSet<String> = site
        .store
        .grants()
        .into_iter()
        .map(|grant| grant.card_key)
        .filter(|key| !cards.iter().any(|card| card.uid().as_ref() == Some(key)))
        .collect();
    for key in gone {
        if let Err(error) = site.store.revoke(&key).await {
            tracing::error!("grant of a card that is gone: {error}; {}", error.remedy());
        }
    }
}

fn start(
    site: &Arc<Site>,
    input: MachineInput,
    before: Option<JoinHandle<()>>,
    ending: &CancellationToken,
) -> Result<Running, crate::durable::StateError> {
    let stop = ending.child_token();
    let uid = input.uid.clone();
    let (input, receiver) = watch::channel(input);
    let worker = Worker::new(Arc::clone(site), receiver, stop.clone())?;
    let task = tokio::spawn(async move {
        // Two workers of one machine must never overlap.
        if let Some(before) = before
            && let Err(error) = before.await
        {
            tracing::error!("a worker ended badly: {error}");
        }
        worker.run().await;
    });
    Ok(Running {
        uid,
        input,
        stop,
        task,
    })
}
