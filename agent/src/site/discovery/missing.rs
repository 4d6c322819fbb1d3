//! Machines that are out of sight. Pure.
//!
//! A look that fails is no news by itself. After a few the machine is told to be out of reach;
//! when it has been gone for a while it is told to be missing; and its report stays.
//!
//! An endpoint that answers speaks for the machines that it showed when it was read whole, and for
//! no others: one that it lacked then is as lost as one of an endpoint that is silent. Of one that it
//! may list and that could not be read nothing is known, and it stays as it is.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::report::Reachability;
use tokio::time::Instant;

use crate::site::discovery::catalogue::{Catalogue, Machine, Sight};
use crate::site::discovery::claim::other_proof;
use crate::site::discovery::failure::{Bearing, Failure};
use crate::site::discovery::found;
use crate::site::discovery::partial::Here;
use crate::site::discovery::territory::Target;

/// Failed looks after which a machine is told to be out of reach.
pub(super) const LOOKS: u32 = 3;

/// How long it must have been so before it is told to be missing.
const GRACE: Duration = Duration::from_secs(600);

/// Since when a machine is out of sight.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    since: Instant,
    at: Time,
    pub(super) looks: u32,
    gone: bool,
}

impl Catalogue {
    /// The endpoint answered then, and shows what it showed when it was read whole.
    pub(super) fn answered(&mut self, target: &Target, then: Instant, at: &Time) {
        for id in self.held_by(&target.key) {
            let Some(machine) = self.machines.get_mut(&id) else {
                continue;
            };
            match machine.sight {
                // Whether it is there was not seen.
                Sight::Others | Sight::Nothing | Sight::NotRead => continue,
                // It shows what it showed.
                Sight::Unproved => {
                    let failure = other_proof(&id, None, &target.key);
                    self.lose(&id, &failure, then, at);
                    continue;
                }
                // It answers, so nobody is out of reach.
                Sight::InTurn => {
                    machine.lost = None;
                    continue;
                }
                Sight::Shown => {}
            }
            machine.shown = machine.shown.max(Some(then));
            machine.lost = None;
            if found::is_back(&mut machine.spec, target, at) {
                self.changed.insert(id.clone());
            }
            self.tell_aliases(&id);
        }
    }

    /// The endpoint answered, and whether it shows these machines was not seen. After a few such
    /// looks they are told to be out of reach; missing they never are for that.
    pub(super) fn leave(&mut self, key: &str, ids: &BTreeSet<String>, now: Instant, at: &Time) {
        let failure = Failure::new(
            "SystemNotRead",
            format!(
                "{key} answers, and what it lists in the place of this machine could not be read, or shows nothing to tell it by; if this lasts, reset that BMC, or have its maker's tools enter serial number and UUID"
            ),
            Bearing::There,
        );
        for id in ids {
            if let Some(machine) = self.machines.get_mut(id) {
                machine.sight = Sight::NotRead;
            }
            self.lose(id, &failure, now, at);
        }
    }

    /// The endpoint has these machines and no others, of which it showed this. Tells who else
    /// shows those.
    pub(super) fn release(
        &mut self,
        target: &Target,
        here: &Here,
        absent: Sight,
        now: Instant,
        at: &Time,
    ) -> Vec<String> {
        let mut ask = Vec::new();
        for id in self.held_by(&target.key) {
            let Some(machine) = self.machines.get_mut(&id).filter(|_| !here.has(&id)) else {
                continue;
            };
            // What was gone before the others began to take turns stays so.
            if absent != Sight::InTurn || !machine.sight.is_absent() {
                machine.sight = absent;
            }
            match absence(machine.sight, &target.key) {
                Some(failure) => ask.extend(self.lose(&id, &failure, now, at)),
                None => machine.lost = None,
            }
        }
        ask
    }

    /// Whether the endpoint has the report of a machine that it shows no more.
    pub(super) fn has_absent(&self, key: &str) -> bool {
        self.absent_at(key).next().is_some()
    }

    /// Whether that machine is one that the endpoint showed no more when it was read last.
    pub(super) fn is_absent_at(&self, key: &str, id: &str) -> bool {
        let machine = self.machines.get(id);
        machine.is_some_and(|machine| {
            let is_in_doubt = !matches!(machine.sight, Sight::Shown | Sight::Unproved);
            machine.holder == key && is_in_doubt
        })
    }

    /// Whether the endpoint has the report of a machine that it shows no more, and that is not
    /// told to be missing yet.
    pub(super) fn lacks(&self, key: &str) -> bool {
        self.absent_at(key).any(|machine| !is_told_missing(machine))
    }

    fn absent_at(&self, key: &str) -> impl Iterator<Item = &Machine> {
        let all = self.machines.values();
        all.filter(move |machine| machine.holder == key && machine.sight.is_absent())
    }

    /// The endpoint failed. Tells which endpoints show the same machines and are to be read.
    ///
    /// What it lacked before stays lost for that: its failures say nothing about another machine.
    pub(super) fn failed(
        &mut self,
        key: &str,
        failure: &Failure,
        now: Instant,
        at: &Time,
    ) -> Vec<String> {
        let mut ask = Vec::new();
        for id in self.held_by(key) {
            let sight = self.machines.get(&id).map(|one| one.sight);
            let absence = sight.and_then(|sight| absence(sight, key));
            ask.extend(self.lose(&id, absence.as_ref().unwrap_or(failure), now, at));
        }
        if failure.bearing == Bearing::Gone {
            let rivals: Vec<String> = self.rivalled_by(key);
            for id in rivals {
                self.end_rival(&id, key);
            }
        }
        ask
    }

    /// Notes that time passes, and machines whose endpoints nobody looks at any more. Tells which
    /// endpoints show those and are to be read.
    pub(super) fn tend(
        &mut self,
        is_looked_at: impl Fn(&str) -> bool,
        now: Instant,
        at: &Time,
    ) -> Vec<String> {
        let mut ask = Vec::new();
        for id in self.ids_where(|machine| !is_looked_at(&machine.holder)) {
            let failure = Failure::new(
                "NoLongerNamed",
                "no list, no lease and no answer in a range names its address any more: it is found again wherever it shows up",
                Bearing::Gone,
            );
            ask.extend(self.lose(&id, &failure, now, at));
        }
        for (id, machine) in &mut self.machines {
            if mark_missing(machine, now, at) {
                self.changed.insert(id.clone());
            }
        }
        ask
    }

    /// The machine was looked for where it was and not found. Tells who else shows it.
    pub(super) fn lose(
        &mut self,
        id: &str,
        failure: &Failure,
        now: Instant,
        at: &Time,
    ) -> Vec<String> {
        let Some(machine) = self.machines.get_mut(id) else {
            return Vec::new();
        };
        let lost = machine.lost.get_or_insert_with(|| Lost {
            since: now,
            at: at.clone(),
            looks: 0,
            gone: false,
        });
        lost.looks = lost.looks.saturating_add(1);
        lost.gone = failure.bearing == Bearing::Gone;
        if lost.looks >= LOOKS {
            let before = machine.spec.reachable.as_ref();
            let is_told = before
                .is_some_and(|told| !told.ok && told.reason.as_deref() == Some(failure.reason));
            if !is_told {
                machine.spec.reachable = Some(Reachability {
                    ok: false,
                    since: before
                        .filter(|told| !told.ok)
                        .map_or_else(|| lost.at.clone(), |told| told.since.clone()),
                    reason: Some(failure.reason.to_owned()),
                    message: Some(failure.message.clone()),
                });
                machine.spec.observed_at = at.clone();
                self.changed.insert(id.to_owned());
            }
        }
        if mark_missing(machine, now, at) {
            self.changed.insert(id.to_owned());
        }
        let rivals = machine.rivals.iter().filter(|(_, rival)| !rival.barred);
        rivals.map(|(key, _)| key.clone()).collect()
    }
}

fn mark_missing(machine: &mut Machine, now: Instant, at: &Time) -> bool {
    let Some(lost) = &machine.lost else {
        return false;
    };
    let Some(found) = &mut machine.spec.found else {
        return false;
    };
    let is_missing = lost.gone && lost.looks >= LOOKS && now >= lost.since + GRACE;
    if !is_missing || found.missing_since.is_some() {
        return false;
    }
    found.missing_since = Some(lost.at.clone());
    machine.spec.observed_at = at.clone();
    true
}

fn is_told_missing(machine: &Machine) -> bool {
    let found = machine.spec.found.as_ref();
    found.is_some_and(|found| found.missing_since.is_some())
}

/// Why a machine is absent that the endpoint has proved to have no more.
fn absence(sight: Sight, key: &str) -> Option<Failure> {
    match sight {
        Sight::Shown | Sight::NotRead | Sight::InTurn | Sight::Unproved => None,
        Sight::Others => Some(Failure::new(
            "AnotherMachine",
            format!(
                "another machine answers at {key} now: this one is found again wherever it shows up"
            ),
            Bearing::Gone,
        )),
        Sight::Nothing => Some(Failure::new(
            "SystemNotFound",
            format!(
                "{key} answers and serves no machine any more: if it should, reset that BMC; this one is found again wherever it shows up"
            ),
            Bearing::Gone,
        )),
    }
}
