//! Looking after an update that a card's BMC was asked for, and what such a BMC offers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_crds::observed::Offer;
use lockstep_crds::report::{BmcReport, FetchReport, UpdateState};
use lockstep_redfish::{BmcError, ComponentOffer, Components, Reading};
use tokio::time::Instant;

use crate::site::calls::BmcPort;
use crate::site::machine::MachineKind;
use crate::site::update_note::{Subject, Told, UpdateNote};
use crate::site::update_told::{by_facts, by_task};
use crate::site::worker::Worker;

/// How long what a BMC offers is taken as read.
const OFFER_AGE: Duration = Duration::from_secs(600);
/// The same for what could not be read.
const GAP_AGE: Duration = Duration::from_secs(15);
/// Between looks at an update of which nothing is told any more.
const LOST_PAUSE: Duration = Duration::from_secs(15);

/// What a worker knows of updates, beside its note.
#[derive(Debug, Default)]
pub(super) struct Updates {
    /// What the BMC offers for the card's system, and when that was read.
    pub(super) offer: Option<(Instant, Reading<ComponentOffer>)>,
    /// Whether its image is being sent: nothing can be told of it yet.
    pub(super) sending: bool,
    /// What it offers for each component that is looked after, and when that was read.
    pub(super) component_offers: BTreeMap<String, (Instant, Reading<ComponentOffer>)>,
    /// What the store had seen of the last firmware that the BMC was to fetch, when its grant ended.
    pub(super) fetch: Option<FetchReport>,
    /// When an update was looked at last, by the directive that asked for it.
    looked: BTreeMap<i64, Instant>,
}

impl Worker {
    /// Adds to a report what is known of updates.
    pub(super) async fn report_updates(&mut self, report: &mut BmcReport, bmc: &Arc<dyn BmcPort>) {
        if self.current().key.kind != MachineKind::Card {
            return;
        }
        self.read_offer(bmc).await;
        let (pull, push) = self.offers();
        report.capabilities.simple_update = Some(pull);
        report.capabilities.multipart_push = Some(push);
        match self.own_update(Subject::System) {
            Ok(Some(mut note)) => {
                self.watch(Subject::System, &mut note, bmc).await;
                report.update = Some(note.report());
            }
            Ok(None) => {}
            Err(refusal) => {
                tracing::error!(machine = %self.current().key, "{}", refusal.message);
                // Not to be taken for none.
                report.update = self.bmc.as_ref().and_then(|known| known.update.clone());
            }
        }
        self.report_components(report, bmc).await;
        report.capabilities.max_image_bytes = self.max_image_bytes();
    }

    /// The longest image that the BMC takes, whatever is written of it: its service has one limit.
    fn max_image_bytes(&self) -> Option<i64> {
        let components = self.updates.component_offers.values();
        let offers = self.updates.offer.iter().chain(components);
        let most = offers.filter_map(|(_, read)| match read {
            Reading::Read(offer) => offer.service.max_image_bytes,
            Reading::NotOffered | Reading::NotRead(_) => None,
        });
        // A limit that no report can hold keeps no image away.
        most.min().and_then(|most| i64::try_from(most).ok())
    }

    fn offers(&self) -> (Offer, Offer) {
        let offer = match &self.updates.offer {
            Some((_, Reading::Read(offer))) => offer,
            Some((_, Reading::NotOffered)) => return (Offer::NotOffered, Offer::NotOffered),
            Some((_, Reading::NotRead(_))) | None => return (Offer::NotRead, Offer::NotRead),
        };
        let offered = |is: bool| {
            if is {
                Offer::Offered
            } else {
                Offer::NotOffered
            }
        };
        let pull = offer.fetches(&self.site.served_url("/"));
        (offered(pull), offered(offer.takes_pushes()))
    }

    async fn read_offer(&mut self, bmc: &Arc<dyn BmcPort>) {
        if self.updates.offer.as_ref().is_some_and(is_good) {
            return;
        }
        let read = bmc.os_update().await;
        let known = self.updates.offer.take();
        self.updates.offer = Some(newer(known, read));
    }

    /// Looks at the update again, and keeps what is news.
    pub(super) async fn watch(
        &mut self,
        subject: Subject,
        note: &mut UpdateNote,
        bmc: &Arc<dyn BmcPort>,
    ) {
        let looked = self.updates.looked.get(&note.seq);
        let waits = note.told.state == UpdateState::Lost
            && looked.is_some_and(|at| at.elapsed() < LOST_PAUSE);
        // What a stranger at this address shows says nothing about our update.
        if note.told.is_final() || waits || self.updates.sending || !self.is_proved() {
            return;
        }
        self.updates.looked.insert(note.seq, Instant::now());
        let told = match told(subject, note, bmc).await {
            Ok(told) => told,
            Err(error) => {
                tracing::debug!(machine = %self.current().key, "an update was not looked at: {error}");
                return;
            }
        };
        if told != note.told {
            note.told = told;
            if let Err(refusal) = self.keep_update(subject, note) {
                tracing::error!(machine = %self.current().key, "{}", refusal.message);
            }
        }
    }
}

/// Whether what was read is good still.
pub(super) fn is_good((at, offer): &(Instant, Reading<ComponentOffer>)) -> bool {
    let age = match offer {
        Reading::Read(_) | Reading::NotOffered => OFFER_AGE,
        Reading::NotRead(_) => GAP_AGE,
    };
    at.elapsed() < age
}

/// What counts after it was read again: what was read once is not unread because a BMC is busy.
pub(super) fn newer(
    known: Option<(Instant, Reading<ComponentOffer>)>,
    read: Result<Reading<ComponentOffer>, BmcError>,
) -> (Instant, Reading<ComponentOffer>) {
    let read = read.unwrap_or_else(|error| Reading::NotRead(error.to_string()));
    match known {
        Some(known @ (_, Reading::Read(_))) if matches!(read, Reading::NotRead(_)) => known,
        Some(_) | None => (Instant::now(), read),
    }
}

async fn told(
    subject: Subject,
    note: &UpdateNote,
    bmc: &Arc<dyn BmcPort>,
) -> Result<Told, BmcError> {
    let reading = match &note.ticket {
        Some(ticket) => Some(bmc.task(ticket).await?),
        None => None,
    };
    if let (Some(ticket), Some(reading)) = (&note.ticket, &reading)
        && let Some(told) = by_task(ticket, reading)
    {
        return Ok(told);
    }
    let named = Components::Named(vec![note.component.clone()]);
    let facts = bmc.observe_updates(&named).await?;
    Ok(by_facts(subject, note, reading.as_ref(), &facts))
}
