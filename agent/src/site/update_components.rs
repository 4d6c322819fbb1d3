//! The components of a card that firmware images are wanted for: what its BMC shows and offers of
//! them, and a restart of that BMC.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use lockstep_crds::directive::Directive;
use lockstep_crds::image::FirmwareWriter;
use lockstep_crds::inventory::FirmwareComponent;
use lockstep_crds::observed::Offer;
use lockstep_crds::report::{BmcReport, ComponentReport, FetchReport};
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage};
use lockstep_redfish::{Components, ImageUrl, NotReady, Reading, readiness};
use tokio::time::Instant;

use crate::clock;
use crate::site::calls::BmcPort;
use crate::site::execute::{End, Port};
use crate::site::fetches::MOST_FETCHES;
use crate::site::judge::Refusal;
use crate::site::machine::{Care, MachineKey, MachineKind};
use crate::site::plan::staged_image;
use crate::site::update_note::{Subject, UpdateNote};
use crate::site::update_watch::{is_good, newer};
use crate::site::wanted::firmware_of;
use crate::site::worker::Worker;

/// Components that are looked after at one card.
const MOST: usize = 8;

/// Tells the workers of cards which components firmware images are wanted for. Pure.
pub(super) fn watch_components(
    cares: &mut BTreeMap<MachineKey, Care>,
    hosts: &[Arc<DpuHost>],
    cards: &[Arc<Dpu>],
    policies: &[Arc<DpuBootPolicy>],
    images: &[Arc<DpuImage>],
) {
    for card in cards {
        let key = MachineKey {
            kind: MachineKind::Card,
            name: card.name_any(),
        };
        let Some(Care::Look(input)) = cares.get_mut(&key) else {
            continue;
        };
        let firmware = firmware_of(card, hosts, policies, images);
        let named = firmware
            .into_iter()
            .filter(|image| image.spec.written_by != Some(FirmwareWriter::HostDevlink))
            .filter_map(|image| image.spec.component.clone());
        input.components = named.collect();
        input.components.sort();
        input.components.dedup();
    }
}

impl Worker {
    /// Adds to a report what is known of components and of the last update of one.
    pub(super) async fn report_components(
        &mut self,
        report: &mut BmcReport,
        bmc: &Arc<dyn BmcPort>,
    ) {
        let mut names = self.current().components.clone();
        match self.own_update(Subject::Component) {
            Ok(Some(mut note)) => {
                self.watch(Subject::Component, &mut note, bmc).await;
                report.component_update = Some(note.component_report());
                self.end_bare_grant(&note, report).await;
                if !names.contains(&note.component) {
                    names.push(note.component.clone());
                }
            }
            Ok(None) => {}
            Err(refusal) => {
                tracing::error!(machine = %self.current().key, "{}", refusal.message);
                // Not to be taken for none.
                let known = self.bmc.as_ref();
                report.component_update = known.and_then(|known| known.component_update.clone());
            }
        }
        names.truncate(MOST);
        let offers = &mut self.updates.component_offers;
        offers.retain(|name, _| names.contains(name));
        for name in &names {
            self.read_component_offer(name, bmc).await;
        }
        let shown = self.versions(&names, bmc).await;
        let components = names
            .iter()
            .map(|name| self.component(name, shown.as_deref()));
        report.components = Some(components.collect());
    }

    async fn read_component_offer(&mut self, name: &str, bmc: &Arc<dyn BmcPort>) {
        let known = self.updates.component_offers.get(name);
        if known.is_some_and(is_good) {
            return;
        }
        let read = bmc.component_update(name).await;
        let known = self.updates.component_offers.remove(name);
        let offers = &mut self.updates.component_offers;
        offers.insert(name.to_owned(), newer(known, read));
    }

    /// What is shown of them; `None`: it was not read.
    async fn versions(
        &self,
        names: &[String],
        bmc: &Arc<dyn BmcPort>,
    ) -> Option<Vec<FirmwareComponent>> {
        if names.is_empty() {
            return None;
        }
        match bmc
            .observe_updates(&Components::Named(names.to_vec()))
            .await
        {
            Ok(facts) => facts.firmware.value().cloned(),
            Err(error) => {
                tracing::debug!(machine = %self.current().key, "versions were not read: {error}");
                None
            }
        }
    }

    fn component(&self, name: &str, shown: Option<&[FirmwareComponent]>) -> ComponentReport {
        let (pull, push) = match self.updates.component_offers.get(name) {
            Some((_, Reading::Read(offer))) => {
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
            Some((_, Reading::NotOffered)) => (Offer::NotOffered, Offer::NotOffered),
            Some((_, Reading::NotRead(_))) | None => (Offer::NotRead, Offer::NotRead),
        };
        let known = self
            .bmc
            .as_ref()
            .and_then(|known| known.components.as_ref());
        let known = known.and_then(|known| known.iter().find(|one| one.name == name));
        let (running, pending) = match shown {
            Some(shown) => {
                // Some BMCs list what runs and what waits as two items of one id.
                let mut running = shown.iter().filter(|one| one.name == name);
                let mut pending = running.clone();
                (
                    running.find_map(|one| one.running.clone()),
                    pending.find_map(|one| one.pending.clone()),
                )
            }
            // What was read before, and of which nobody has told otherwise.
            None => known
                .map(|one| (one.running.clone(), one.pending.clone()))
                .unwrap_or_default(),
        };
        ComponentReport {
            name: name.to_owned(),
            running,
            pending,
            simple_update: pull,
            multipart_push: push,
        }
    }

    /// The card's URL of firmware, which is the same for every card.
    pub(super) async fn grant_bare(&mut self, directive: &Directive) -> Result<ImageUrl, Refusal> {
        let (_, digest) = staged_image(directive)?;
        self.updates.fetch = None;
        let uid = &self.current().uid;
        let grant = self.site.store.grant(digest, uid, None).await;
        let grant = grant.map_err(|error| {
            Refusal::new(error.category(), format!("{error}; {}", error.remedy()))
        })?;
        Ok(self.site.served_url(&grant.path))
    }

    /// Nothing of it is fetched any more once it is over: of a lost one once nobody waits for it, and
    /// not while it is read. That is reported after this. What the card
    /// boots from by another grant it still boots from.
    async fn end_bare_grant(&mut self, note: &UpdateNote, report: &BmcReport) {
        let uid = &self.current().uid;
        let Ok(digest) = note.digest.parse() else {
            return;
        };
        // What is being prepared may be another update of the same bytes.
        let open = self.execution.as_ref();
        let open = open.is_some_and(|execution| execution.outcome.is_none());
        let sights = self.site.store.sights(uid);
        let is_read = sights
            .iter()
            .any(|(read, sight)| *read == digest && sight.active > 0 && !note.told.is_final());
        let is_over = note.is_over(clock::now().0) && !is_read;
        if open || !is_over || self.site.store.granted(&digest, uid).is_none() {
            return;
        }
        // The store forgets it with the grant, and the failure is not told yet.
        let mut seen = self.site.fetches(uid, report).into_iter();
        self.updates.fetch = seen.find(|seen| seen.digest == note.digest);
        let uid = &self.current().uid;
        if let Err(error) = self.site.store.revoke_one(uid, &digest).await {
            tracing::error!(machine = %self.current().key, "{error}");
        }
    }

    /// What keeps the card from its images, and did from the firmware that was last asked for.
    pub(super) fn fetches(&self, bmc: &BmcReport) -> Vec<FetchReport> {
        let mut fetches = self.site.fetches(&self.current().uid, bmc);
        let last = bmc
            .component_update
            .as_ref()
            .map(|told| &told.update.digest);
        let kept = self.updates.fetch.as_ref();
        if let Some(kept) = kept.filter(|kept| last == Some(&kept.digest)) {
            fetches.retain(|seen| seen.digest != kept.digest);
            fetches.insert(0, kept.clone());
            fetches.truncate(MOST_FETCHES);
        }
        fetches
    }

    /// Whether nothing goes on at this BMC, which is to restart, or to reset its card.
    pub(super) async fn require_idle_bmc(&mut self) -> Result<(), Refusal> {
        self.only(MachineKind::Card)?;
        let bmc = self.may_go_on()?;
        let nothing = Components::Named(Vec::new());
        let seen = bmc.observe_updates(&nothing).await;
        let why = match seen.map(|facts| readiness(&facts, &[])) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(NotReady::Wait(why) | NotReady::Refused(why))) => why,
            Err(error) => error.to_string(),
        };
        Err(Refusal::new(
            "UpdatesBusy",
            format!("nothing was sent: {why}"),
        ))
    }

    /// Restarts the BMC: whether it did shows in nothing but what it runs afterwards.
    pub(super) async fn reset_bmc(&mut self, bmc: Port, settled: Instant) -> End {
        self.step(bmc.reset_bmc(), settled, |_| false).await
    }
}
