//! Every machine that was found, as its report says it. Pure.
//!
//! A machine is its identity, not its address. The endpoint that shows it first has its report;
//! another takes it over when the first no longer shows the machine, whatever the first shows
//! instead, and is told of as a contradiction while it does. Reports are never deleted: a machine that is not found any more
//! is marked.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::DpuReportSpec;
use lockstep_crds::inspection::Inspected;
use lockstep_redfish::{ExploredSystem, SpkiPin};
use tokio::time::Instant;

use crate::site::discovery::claim::{Claim, Rival};
use crate::site::discovery::failure::{Bearing, Failure};
use crate::site::discovery::found;
use crate::site::discovery::identity::{self, id_of};
use crate::site::discovery::missing::Lost;
use crate::site::discovery::partial::Here;
use crate::site::discovery::territory::Target;
use crate::site::worker::keep_time;

/// Machines whose reports an endpoint may have and that it shows no more, for it to get the report
/// of another one. One that shows another identity at every read would fill the API server with
/// reports; so would two that take turns at that, if one could take over what the other made up.
const MOST_BEFORE: usize = 8;

/// Why such an endpoint has no report; it may have one when earlier ones are deleted.
pub(super) const TOO_MANY: &str = "IdentityChanges";

/// One machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) spec: DpuReportSpec,
    /// The endpoint that has the report.
    pub(super) holder: String,
    /// When that endpoint last showed the machine.
    pub(super) shown: Option<Instant>,
    pub(super) sight: Sight,
    pub(super) lost: Option<Lost>,
    /// Other endpoints that show the same identity.
    pub(super) rivals: BTreeMap<String, Rival>,
}

/// What the endpoint that has the report of a machine showed of it when it was read whole last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// The machine, or it was not read since the report was remembered.
    Shown,
    /// It may list the machine, and could not be read to the end.
    NotRead,
    /// Other machines only.
    Others,
    /// No machine at all.
    Nothing,
    /// Others, as so often before in turn with this one.
    InTurn,
    /// The machine, without proof that it is its BMC.
    Unproved,
}

impl Sight {
    /// Whether the endpoint proved that it does not have the machine now.
    pub(super) fn is_absent(self) -> bool {
        match self {
            Self::Others | Self::Nothing | Self::InTurn => true,
            Self::Shown | Self::NotRead | Self::Unproved => false,
        }
    }
}

/// What was read behind one endpoint.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    /// The endpoint.
    pub(super) target: &'a Target,
    /// The key that it showed.
    pub(super) pin: Option<&'a SpkiPin>,
    /// What is behind it.
    pub(super) systems: Vec<ExploredSystem>,
    /// The machines among that.
    pub(super) here: &'a Here,
    /// Whether it shows something else too often for what it does not show to be gone.
    pub(super) is_restless: bool,
    /// The inspections that were asked for before it was read.
    pub(super) asked: &'a Inspections,
}

/// What follows from it for the endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Finding {
    /// Why it has no report, if it has none.
    pub(super) failure: Option<Failure>,
    /// Whether another endpoint stands for the same BMC.
    pub(super) is_alias: bool,
    /// Whether it is to be read again as soon as the endpoints in `ask` have been looked at.
    pub(super) is_open: bool,
    /// Whether it is to be read again at the next look: it lacks a machine that it had, and that
    /// is not told to be missing yet.
    pub(super) lacks: bool,
    /// Endpoints that are to be looked at at once.
    pub(super) ask: Vec<String>,
    /// Endpoints that are to be read at once: they show what is shown here no longer.
    pub(super) read: Vec<String>,
    /// Endpoints that no longer have the report of a machine that is shown here.
    pub(super) left: Vec<String>,
    /// Machines whose reports stand in the way, unless somebody deleted them.
    pub(super) barred_by: Vec<String>,
}

/// The inspections that are to be answered, by machine.
pub(super) type Inspections = BTreeMap<String, Inspected>;

/// All machines.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// The site that looks.
    pub(super) site: String,
    pub(super) machines: BTreeMap<String, Machine>,
    /// Machines whose reports are to be compared with what the API server holds.
    pub(super) changed: BTreeSet<String>,
}

impl Catalogue {
    /// Takes in a report that was written before.
    pub(super) fn remember(&mut self, spec: DpuReportSpec) {
        let Some(found) = &spec.found else {
            return;
        };
        let machine = Machine {
            holder: found.endpoint.address.clone(),
            shown: None,
            sight: Sight::Shown,
            lost: None,
            rivals: BTreeMap::new(),
            spec,
        };
        self.machines.insert(machine.spec.subject.clone(), machine);
    }

    /// Whether a machine is known, and so has a report.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.machines.contains_key(id)
    }

    /// Where the BMC of a machine was seen.
    pub(super) fn places_of(&self, id: &str) -> Vec<String> {
        let machine = self.machines.get(id);
        let places = machine.map(|one| {
            let others = found::aliases(&one.spec).iter();
            std::iter::once(&one.holder)
                .chain(others)
                .cloned()
                .collect()
        });
        places.unwrap_or_default()
    }

    /// Endpoints that show a machine and do not have its report.
    pub(super) fn rivals_of(&self, id: &str) -> Vec<String> {
        let machine = self.machines.get(id);
        machine.map_or_else(Vec::new, |one| one.rivals.keys().cloned().collect())
    }

    /// Forgets a machine whose report an administrator deleted.
    pub(super) fn forget(&mut self, id: &str) {
        self.machines.remove(id);
        self.changed.remove(id);
    }

    /// The reports that may have changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> Vec<DpuReportSpec> {
        let changed = std::mem::take(&mut self.changed);
        let specs = changed.iter().filter_map(|id| self.machines.get(id));
        specs.map(|machine| machine.spec.clone()).collect()
    }

    /// The machines whose reports name this endpoint.
    pub(super) fn held_by(&self, key: &str) -> Vec<String> {
        self.ids_where(|machine| machine.holder == key)
    }

    pub(super) fn ids_where(&self, is_so: impl Fn(&Machine) -> bool) -> Vec<String> {
        let all = self.machines.iter();
        all.filter(|(_, machine)| is_so(machine))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// How many machines are found and how many are missing.
    pub(super) fn counts(&self) -> (usize, usize) {
        let missing = self.machines.values().filter(|machine| {
            let found = machine.spec.found.as_ref();
            found.is_some_and(|found| found.missing_since.is_some())
        });
        let missing = missing.count();
        (self.machines.len() - missing, missing)
    }

    /// Takes in what was read behind an endpoint.
    pub(super) fn read(&mut self, reading: Reading<'_>, now: Instant, at: &Time) -> Finding {
        let Reading {
            target,
            pin,
            systems,
            here,
            is_restless,
            asked,
        } = reading;
        let mut finding = Finding::default();
        let absent = match (is_restless, systems.is_empty()) {
            (true, _) => Sight::InTurn,
            (false, true) => Sight::Nothing,
            (false, false) => Sight::Others,
        };
        let mut before_here = self.held_by(&target.key);
        before_here.retain(|id| !here.has(id));
        let is_full = before_here.len() >= MOST_BEFORE;
        let mut shown: BTreeMap<String, String> = BTreeMap::new();
        let mut before: BTreeMap<String, Option<DpuReportSpec>> = BTreeMap::new();
        for system in systems {
            let path = system.identity.system_path.clone();
            let Some(id) = id_of(&system.identity) else {
                finding.failure = Some(Failure::new(
                    "NotIdentifiable",
                    format!(
                        "the system {path} of {} shows neither UUID nor serial number that tells it from others: have its maker's tools enter them, or write its object by hand",
                        target.key
                    ),
                    Bearing::Beside,
                ));
                continue;
            };
            if let Some(first) = shown.get(&id) {
                self.contradict(&id, &target.key, &[first, &path]);
                continue;
            }
            shown.insert(id.clone(), path);
            let machine = identity::machine(&system.identity);
            let holder = self.holder(&id);
            let is_held = holder.as_ref() == Some(&target.key);
            match self.claim(&id, target, pin, machine.as_ref(), now) {
                Claim::Ours if is_full && !is_held => {
                    finding.failure = Some(too_many(&target.key, before_here.len()));
                    finding.barred_by.clone_from(&before_here);
                }
                Claim::Ours => {
                    let left = holder.filter(|_| !is_held);
                    let keeps = left.is_some() && self.keeps_key(&id, target);
                    // It may be a second address.
                    if self.is_in_sight(&id) {
                        finding.read.extend(left.clone());
                    }
                    let known = self.take(&id, target, pin, system, now, at);
                    if !self.has_key_of(&id, known.as_ref()) {
                        finding.read.extend(self.rivals_of(&id));
                    }
                    match left {
                        Some(left) if keeps => self.tell_alias(&id, &left),
                        left => finding.left.extend(left),
                    }
                    self.answer(&id, asked.get(&id), known.as_ref());
                    before.insert(id, known);
                }
                Claim::Alias => finding.is_alias = true,
                Claim::Open => {
                    finding.is_open = true;
                    finding.ask.extend(self.holder(&id));
                }
                Claim::Refused(failure) => {
                    if failure.reason == "CertificateChanged" {
                        finding
                            .read
                            .extend(self.unproved(&id, target, &failure, now, at));
                        finding.barred_by.push(id);
                    }
                    finding.failure = Some(failure);
                }
            }
        }
        finding.is_alias &= before.is_empty();
        for (id, known) in before {
            self.keep_time(id, known.as_ref());
        }
        self.leave(&target.key, &here.unread, now, at);
        if !here.is_partial {
            self.end_rivalries(&target.key, &here.shown);
        }
        let read = self.release(target, here, absent, now, at);
        finding.read.extend(read);
        finding.lacks = self.lacks(&target.key);
        finding
    }

    /// Whether a machine shows the key that it showed before, by which others are told from it.
    fn has_key_of(&self, id: &str, known: Option<&DpuReportSpec>) -> bool {
        let machine = self.machines.get(id);
        let now = machine.and_then(|machine| found::shown_key(&machine.spec));
        known.is_none_or(|known| found::shown_key(known) == now)
    }

    /// Whether its endpoint showed the machine when it was looked at last.
    fn is_in_sight(&self, id: &str) -> bool {
        let machine = self.machines.get(id);
        machine.is_some_and(|one| one.lost.is_none() && !one.sight.is_absent())
    }

    pub(super) fn holder(&self, id: &str) -> Option<String> {
        self.machines.get(id).map(|machine| machine.holder.clone())
    }

    /// Makes the machine's report say what its endpoint shows. Returns what it said before.
    fn take(
        &mut self,
        id: &str,
        target: &Target,
        pin: Option<&SpkiPin>,
        system: ExploredSystem,
        now: Instant,
        at: &Time,
    ) -> Option<DpuReportSpec> {
        let (known, mut rivals) = match self.machines.remove(id) {
            Some(machine) => (Some(machine.spec), machine.rivals),
            None => (None, BTreeMap::new()),
        };
        rivals.remove(&target.key);
        let machine = Machine {
            spec: found::report(&self.site, id, target, pin, system, known.as_ref(), at),
            holder: target.key.clone(),
            shown: Some(now),
            sight: Sight::Shown,
            lost: None,
            rivals,
        };
        self.machines.insert(id.to_owned(), machine);
        self.tell_rivals(id);
        known
    }

    /// Says which inspection the report of a machine answers that was just read: that which asks
    /// for it, and where none does the last one.
    fn answer(&mut self, id: &str, asked: Option<&Inspected>, known: Option<&DpuReportSpec>) {
        if let Some(machine) = self.machines.get_mut(id) {
            let before = known.and_then(|known| known.inspected.as_ref());
            machine.spec.inspected = asked.or(before).cloned();
        }
    }

    /// The endpoints that show machines of which an inspection is not answered yet.
    pub(super) fn unanswered(&self, asked: &Inspections) -> impl Iterator<Item = &str> {
        asked.iter().filter_map(|(id, asked)| {
            let machine = self.machines.get(id)?;
            let is_answered = machine.spec.inspected.as_ref() == Some(asked);
            (!is_answered && machine.sight == Sight::Shown).then_some(machine.holder.as_str())
        })
    }

    /// A report that says what it said before is no change.
    fn keep_time(&mut self, id: String, known: Option<&DpuReportSpec>) {
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.spec = keep_time(machine.spec.clone(), known);
            if known == Some(&machine.spec) {
                self.changed.remove(&id);
            } else {
                self.changed.insert(id);
            }
        }
    }

    fn contradict(&mut self, id: &str, key: &str, paths: &[&String; 2]) {
        let Some(machine) = self.machines.get_mut(id) else {
            return;
        };
        if machine.holder == key && found::tell_paths(&mut machine.spec, paths) {
            self.changed.insert(id.to_owned());
        }
    }
}

fn too_many(key: &str, before: usize) -> Failure {
    Failure::new(
        TOO_MANY,
        format!(
            "{key} showed {before} other machines before, so this one is not reported there: give it an identity that stays; if those were real, delete their DpuReports (bmc-found-*, missingSince, this address)"
        ),
        Bearing::Beside,
    )
}
