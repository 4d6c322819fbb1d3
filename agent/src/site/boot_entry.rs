//! The boot entries of a card's own disk: what is told of them, a boot of one of them once, and its
//! place in the boot order.
//!
//! A directive names an entry as people see it. Which one that is by now is read just before it is
//! named to the BMC: firmware numbers its entries anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use lockstep_crds::directive::Directive;
use lockstep_crds::observed::Offer;
use lockstep_crds::report::{BmcReport, BootEntriesReport, BootEntryReport};
use lockstep_crds::{Dpu, DpuBootPolicy, DpuHost, DpuImage};
use lockstep_redfish::{
    BmcFacts, BootEntries, BootEntry, BootOverride, BootTarget, Reading, override_in_force,
    override_setting,
};
use tokio::time::Instant;

use crate::durable::StateError;
use crate::site::calls::BmcPort;
use crate::site::context::Site;
use crate::site::execute::{End, Port, refusal_of};
use crate::site::http_boot::require_boot_read;
use crate::site::judge::Refusal;
use crate::site::machine::{Care, MachineKey, MachineKind};
use crate::site::override_note::OverrideNote;
use crate::site::plan::Plan;
use crate::site::wanted::has_slots;
use crate::site::worker::Worker;

/// How long what a BMC lists is taken as read.
const AGE: Duration = Duration::from_secs(60);
/// For how long entries that cannot be read are not told of.
const PASSES: Duration = Duration::from_secs(300);
/// The same for what could not be read.
const GAP_AGE: Duration = Duration::from_secs(15);

/// What was read of boot entries, and when.
pub(super) type Known = (Instant, Reading<BootEntries>);

/// Tells the workers of cards whether somebody asks for their boot entries. Pure.
pub(super) fn watch_boot_entries(
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
        if let Some(Care::Look(input)) = cares.get_mut(&key) {
            input.boot_entries = has_slots(card, hosts, policies, images);
        }
    }
}

/// The boot entry to which the next boot goes, by reference, if it goes to one.
fn next_entry(facts: &BmcFacts) -> Option<&String> {
    let leads = matches!(override_in_force(facts), Some(BootTarget::Other(target)) if target == BootTarget::BOOT_NEXT);
    override_setting(facts)
        .filter(|_| leads)
        .and_then(|state| state.next.as_ref())
}

/// The name of the entry that a directive is about.
fn named(directive: &Directive) -> Result<&str, Refusal> {
    let image = directive.action.image.as_ref();
    let slot = image.and_then(|image| image.slot.as_ref());
    slot.map(|slot| slot.boot_entry.as_str()).ok_or_else(|| {
        Refusal::new(
            "BootEntryMissing",
            "the directive names no boot entry; upgrade operator and site agent to one release",
        )
    })
}

/// The one entry of that name.
fn find<'a>(found: &'a BootEntries, name: &str) -> Result<&'a BootEntry, Refusal> {
    let mut same = found.entries.iter().filter(|entry| entry.name == name);
    match (same.next(), same.next()) {
        (Some(entry), None) => Ok(entry),
        (None, _) => Err(Refusal::new(
            "BootEntryNotListed",
            format!(
                "the card's BMC lists no boot entry {name} any more; the operator plans anew from what is seen"
            ),
        )),
        (Some(_), Some(_)) => Err(Refusal::new(
            "BootEntryNotListed",
            format!(
                "the card's BMC lists several boot entries {name}, and nothing tells which one is meant; delete those that are left over"
            ),
        )),
    }
}

impl Site {
    /// Whether the next boot goes to the entry that we named for it.
    pub(super) fn is_our_entry(&self, name: &str, uid: &str, facts: &BmcFacts) -> bool {
        let noted = match OverrideNote::read(&self.config.state_dir, name, uid) {
            Ok(note) => note.and_then(|note| note.entry),
            Err(error) => {
                tracing::error!("{error}");
                None
            }
        };
        noted.is_some_and(|noted| next_entry(facts) == Some(&noted))
    }
}

impl Worker {
    pub(super) fn plan_boot_entry(
        &self,
        directive: &Directive,
        facts: &BmcFacts,
    ) -> Result<Plan, Refusal> {
        self.only(MachineKind::Card)?;
        named(directive)?;
        require_boot_read(facts)?;
        Ok(Plan::Act)
    }

    /// Reads boot entries where somebody wants to know them, and what was read is not good any more.
    pub(super) async fn read_boot_entries(&mut self, bmc: &Arc<dyn BmcPort>) {
        if !self.current().boot_entries {
            self.entries = None;
            return;
        }
        let is_good = |(at, read): &Known| {
            let age = match read {
                Reading::Read(_) | Reading::NotOffered => AGE,
                Reading::NotRead(_) => GAP_AGE,
            };
            at.elapsed() < age
        };
        if !self.entries.as_ref().is_some_and(is_good) {
            let read = bmc.boot_entries().await;
            let read = read.unwrap_or_else(|error| Reading::NotRead(error.to_string()));
            self.entries_unread = match &read {
                Reading::NotRead(_) => self.entries_unread.or(Some(Instant::now())),
                Reading::Read(_) | Reading::NotOffered => None,
            };
            self.entries = Some((Instant::now(), read));
        }
    }

    /// Adds to a report what is known of them.
    pub(super) fn report_boot_entries(&self, report: &mut BmcReport) {
        let facts = self.facts.as_ref();
        let next = facts.and_then(next_entry).cloned();
        // A BMC that has just restarted answers late: another way is taken once that lasts.
        let may_pass = self.entries_unread.is_some_and(|at| at.elapsed() < PASSES);
        let known = self.entries.as_ref().filter(|_| !may_pass);
        report.boot_entries = known.map(|(_, read)| told(read, next));
    }

    /// The entry that a directive is about, and the order, as the BMC lists them now.
    async fn entry_of(
        &mut self,
        directive: &Directive,
        bmc: &Port,
    ) -> Result<(BootEntry, Vec<String>), Refusal> {
        let name = named(directive)?;
        self.entries = None;
        match bmc
            .boot_entries()
            .await
            .map_err(|error| refusal_of(&error))?
        {
            Reading::Read(found) => {
                let entry = find(&found, name)?.clone();
                Ok((entry, found.order))
            }
            Reading::NotOffered => Err(Refusal::new(
                "NotOffered",
                "the card's BMC lists no boot entries, or no boot order",
            )),
            Reading::NotRead(why) => Err(Refusal::new(
                "BootEntriesNotRead",
                format!(
                    "the boot entries could not be read ({why}); they are read again before the next try"
                ),
            )),
        }
    }

    /// Leads the next boot to the entry, once.
    pub(super) async fn boot_entry_once(
        &mut self,
        directive: &Directive,
        bmc: Port,
        settled: Instant,
    ) -> End {
        let reference = match self.entry_of(directive, &bmc).await {
            Ok((entry, _)) => entry.reference,
            Err(refusal) => return End::Failed(refusal),
        };
        if let Err(error) = self.note_entry(&reference) {
            return End::Failed(Refusal::new("StateUnusable", error.to_string()));
        }
        let bmc = match self.may_go_on() {
            Ok(bmc) => bmc,
            Err(refusal) => return End::Failed(refusal),
        };
        let wanted = BootOverride::OnceEntry(reference.clone());
        self.step(bmc.set_boot_override(&wanted), settled, |facts| {
            next_entry(facts) == Some(&reference)
        })
        .await
    }

    /// Puts the entry first in the boot order, and says what the order was.
    pub(super) async fn set_boot_order(
        &mut self,
        directive: &Directive,
        bmc: Port,
        settled: Instant,
    ) -> End {
        let (entry, before) = match self.entry_of(directive, &bmc).await {
            Ok(found) => found,
            Err(refusal) => return End::Failed(refusal),
        };
        let bmc = match self.may_go_on() {
            Ok(bmc) => bmc,
            Err(refusal) => return End::Failed(refusal),
        };
        // Of an order that is not seen to change the next look at the entries tells.
        let end = self
            .step(bmc.boot_first(&entry.reference), settled, |_| false)
            .await;
        self.entries = None;
        match end {
            End::Done(how) => End::Done(how.or_else(|| {
                Some(format!(
                    "{} is first in the boot order now, which was {}",
                    entry.reference,
                    before.join(", ")
                ))
            })),
            End::Failed(_) | End::Partly(_) | End::Unknown(_) => end,
        }
    }

    /// Remembers what ours displaces, and which entry is ours.
    fn note_entry(&self, reference: &str) -> Result<(), StateError> {
        if let Some(facts) = &self.facts {
            self.note_override(facts, &BootTarget::Other(BootTarget::BOOT_NEXT.to_owned()))?;
        }
        let state_dir = &self.site.config.state_dir;
        let (name, uid) = (&self.current().key.name, &self.current().uid);
        let before = OverrideNote::read(state_dir, name, uid)?;
        let note = OverrideNote {
            entry: Some(reference.to_owned()),
            ..before.unwrap_or_else(|| OverrideNote::of(uid))
        };
        note.write(state_dir, name)
    }
}

fn told(read: &Reading<BootEntries>, next: Option<String>) -> BootEntriesReport {
    let (listed, found) = match read {
        Reading::Read(found) => (Offer::Offered, Some(found)),
        Reading::NotOffered => (Offer::NotOffered, None),
        Reading::NotRead(_) => (Offer::NotRead, None),
    };
    let entries = found.into_iter().flat_map(|found| &found.entries);
    BootEntriesReport {
        listed,
        entries: entries
            .map(|entry| BootEntryReport {
                reference: entry.reference.clone(),
                name: entry.name.clone(),
            })
            .collect(),
        order: found.map(|found| found.order.clone()).unwrap_or_default(),
        next,
    }
}
