//! What follows from what was done. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_redfish::{BmcError, Endpoint, Explored, Identified};

use crate::site::discovery::book::{Next, Outcome};
use crate::site::discovery::catalogue::{Reading, TOO_MANY};
use crate::site::discovery::engine::{Check, Done, Engine, Gone, Job, Moment, Visit};
use crate::site::discovery::failure::{Bearing, Failure};
use crate::site::discovery::identity::id_in;
use crate::site::discovery::login::trust_to_log_in;
use crate::site::discovery::reread::{Again, Seen, Whole};
use crate::site::discovery::sweep::Door;
use crate::site::discovery::territory::Target;
use crate::site::inventories::Wanted;

/// Looks for reports that stand in the way of an endpoint.
fn check(key: &str, barred_by: Vec<String>) -> Job {
    Job::Check(Check {
        ids: barred_by,
        barred: Some(key.to_owned()),
    })
}

impl Engine {
    /// Takes in what became of a job; some lead to the next one at once.
    pub(super) fn done(&mut self, done: Done, moment: Moment<'_>) -> Option<Job> {
        match done {
            Done::Keys(found) => self.keys_read(found, moment.now),
            Done::Listed(_) => self.listed(moment.now),
            Done::Leases(found) => self.leases_read(found, moment),
            Done::Swept(door, open) => self.swept(&door, &open, moment),
            Done::Knocked(key, result) => {
                self.slots.give_back(&key);
                match result {
                    Ok(()) => self.book.listens(&key, moment.now),
                    Err(why) => self.fail(&key, Failure::closed(&key, &why), moment),
                }
            }
            Done::Identified(key, result) => return self.identified(&key, result, moment),
            Done::Explored(visit, result) => return self.explored(&visit, result, moment),
            Done::Checked(gone) => self.gone(&gone, moment),
        }
        None
    }

    fn swept(&mut self, door: &Door, open: &[u16], moment: Moment<'_>) {
        self.slots.give_back(&door.to_string());
        let mut tracked = false;
        for port in &door.ports {
            if let Some(target) = self.territory.scanned_endpoint(door.ip, *port) {
                if open.contains(port) {
                    self.book.found(&target, moment.now);
                }
                tracked |= self.book.is_tracked(&target.key);
            }
        }
        self.sweep.knocked(!tracked);
    }

    fn identified(
        &mut self,
        key: &str,
        result: Option<Result<Identified, BmcError>>,
        moment: Moment<'_>,
    ) -> Option<Job> {
        let failed = match result {
            Some(Ok(identified)) => {
                self.slots.answered(key, moment.now);
                let job = self.log_in(key, identified, moment);
                if !matches!(job, Some(Job::Explore(_))) {
                    self.slots.give_back(key);
                }
                return job;
            }
            Some(Err(error)) => Failure::of_identify(&error),
            None => Some(Failure::hung(key)),
        };
        self.slots.give_back(key);
        match failed {
            Some(failure) => self.fail(key, failure, moment),
            None => self.book.postponed(key, moment.now),
        }
        None
    }

    /// Whether the endpoint that was identified is logged in to now.
    fn log_in(&mut self, key: &str, identified: Identified, moment: Moment<'_>) -> Option<Job> {
        let target = self.book.target(key)?;
        let keys = self.keyring.get(&target.access)?.clone();
        let tls = match keys.tls {
            Ok(tls) => tls,
            Err(refusal) => {
                self.fail(key, Failure::of_refusal(&refusal, Bearing::There), moment);
                return None;
            }
        };
        let memory = self.catalogue.memory(&target, &identified, &self.logged_in);
        let tls = match trust_to_log_in(key, target.access.trust, tls, &identified, &memory) {
            Ok(tls) => tls,
            Err(failure) => {
                self.unusable(key, failure, moment);
                return Some(check(key, memory.told_by));
            }
        };
        let (credentials, version) = match keys.credentials {
            Ok(found) => found,
            Err(refusal) => {
                let failure = Failure::of_refusal(&refusal, Bearing::There);
                self.unusable(key, failure, moment);
                return None;
            }
        };
        if self
            .book
            .is_to_be_read(key, &identified, &version, moment.now)
        {
            return Some(Job::Explore(Box::new(Visit {
                key: key.to_owned(),
                endpoint: Endpoint {
                    address: target.url,
                    tls,
                },
                credentials,
                version,
                identified,
                asked: Arc::clone(&self.inspections),
            })));
        }
        match self.book.verdict(key).cloned() {
            Some(failure) if !self.book.is_as_before(key, &identified) => {
                self.book.strays(key);
                self.unusable(key, failure, moment);
            }
            Some(failure) => {
                match failure.bearing {
                    Bearing::Beside => self.catalogue.answered(&target, moment.now, moment.at),
                    // What it does not let be read it does not speak for.
                    Bearing::There | Bearing::Gone => {
                        let ask = self.catalogue.failed(key, &failure, moment.now, moment.at);
                        self.ask(&ask, moment);
                    }
                }
                self.book.unchanged(key, moment.now);
                if failure.reason == TOO_MANY {
                    let barred_by = self.catalogue.held_by(key);
                    return Some(check(key, barred_by));
                }
            }
            None => {
                self.catalogue.answered(&target, moment.now, moment.at);
                self.book.unchanged(key, moment.now);
            }
        }
        None
    }

    fn explored(
        &mut self,
        visit: &Visit,
        result: Option<Result<Explored, BmcError>>,
        moment: Moment<'_>,
    ) -> Option<Job> {
        let key = visit.key.as_str();
        match &result {
            Some(Ok(_)) => self.slots.was_read(key, moment.now),
            Some(Err(_)) | None => self.slots.give_back(key),
        }
        if let Some(pin) = &visit.identified.tls_pin {
            self.logged_in.insert(key.to_owned(), pin.to_string());
        }
        match result {
            Some(Ok(explored)) => {
                let target = self.book.target(key)?;
                return self.read(&target, visit, explored, moment);
            }
            Some(Err(error)) => match Failure::of_explore(&error) {
                Some(failure)
                    if matches!(error, BmcError::CredentialsRefused { locked: true, .. }) =>
                {
                    self.book.bar(key, &visit.version, failure.clone());
                    self.unusable(key, failure, moment);
                }
                Some(failure) => self.fail(key, failure, moment),
                None => self.book.postponed(key, moment.now),
            },
            None => self.fail(key, Failure::hung(key), moment),
        }
        None
    }

    fn read(
        &mut self,
        target: &Target,
        visit: &Visit,
        explored: Explored,
        moment: Moment<'_>,
    ) -> Option<Job> {
        let key = &target.key;
        let seen = Seen::new(&visit.identified, &visit.version);
        let unread = Failure::of_unread(&explored.unread);
        let is_empty = explored.systems.is_empty();
        let nothing = is_empty.then(|| {
            Failure::new(
                "SystemNotFound",
                format!("{key} serves no ComputerSystem: check that it is the BMC of a machine"),
                Bearing::There,
            )
        });
        let here = self.catalogue.here(key, &explored);
        let is_wanting = unread.is_some() || is_empty || !here.unread.is_empty();
        let is_restless = self.book.is_restless(key, &seen, &here.all());
        let restless = is_restless.then(|| Failure::restless(key));
        let reading = Reading {
            target,
            pin: visit.identified.tls_pin.as_ref(),
            systems: explored.systems,
            here: &here,
            is_restless,
            asked: &visit.asked,
        };
        let finding = self.catalogue.read(reading, moment.now, moment.at);
        for left in &finding.left {
            self.logged_in.remove(left);
        }
        let outcome = match finding.failure.or(nothing).or(unread).or(restless) {
            Some(failure) => Outcome::Failed(failure),
            None if finding.is_open => Outcome::NotYet,
            None => Outcome::Identified,
        };
        let again = if finding.lacks {
            Again::Next
        } else if finding.is_open || is_wanting {
            Again::Soon
        } else if self.catalogue.has_absent(key) {
            Again::Hourly
        } else {
            Again::AtRefresh
        };
        let next = if finding.is_alias && again == Again::AtRefresh && !is_restless {
            Next::Refresh
        } else {
            Next::Poll
        };
        let whole = Whole {
            seen,
            here: here.all(),
            again,
        };
        self.book
            .answered(key, outcome, Some(whole), next, moment.now);
        // What was asked for while it was read is not answered by that.
        let since = |id: &String| self.inspections.get(id) != visit.asked.get(id);
        if here.shown.iter().any(since) && self.is_unanswered(key) {
            self.book.hurry(key, true, moment.now);
        }
        for ask in &finding.ask {
            self.book.hurry(ask, false, moment.now);
        }
        self.ask(&finding.read, moment);
        (!finding.barred_by.is_empty()).then(|| check(key, finding.barred_by))
    }

    /// It answers, and cannot be used: it is looked at again after a poll interval.
    fn unusable(&mut self, key: &str, failure: Failure, moment: Moment<'_>) {
        let ask = self.catalogue.failed(key, &failure, moment.now, moment.at);
        let outcome = Outcome::Failed(failure);
        self.book
            .answered(key, outcome, None, Next::Poll, moment.now);
        self.ask(&ask, moment);
    }

    /// It failed: it is looked at again after a pause.
    pub(super) fn fail(&mut self, key: &str, failure: Failure, moment: Moment<'_>) {
        let ask = self.catalogue.failed(key, &failure, moment.now, moment.at);
        self.book.failed(key, failure, moment.now);
        self.ask(&ask, moment);
    }

    /// Whoever else shows a machine that was lost here is read at once.
    pub(super) fn ask(&mut self, keys: &[String], moment: Moment<'_>) {
        for key in keys {
            self.book.hurry(key, true, moment.now);
        }
    }

    /// Machines are to be read because something is about to begin with them. One that is not
    /// known answers when it is found.
    pub(super) fn inspect(&mut self, wanted: &Wanted, moment: Moment<'_>) {
        let asked = wanted.iter().filter_map(|(report, inspected)| {
            let id = id_in(report)?;
            Some((id.to_owned(), inspected.clone()))
        });
        self.inspections = Arc::new(asked.collect());
        let unanswered = self.catalogue.unanswered(&self.inspections);
        let unanswered: BTreeSet<String> = unanswered.map(str::to_owned).collect();
        for key in unanswered {
            self.book.hurry(&key, true, moment.now);
        }
    }

    /// Whether the endpoint is to be read for an inspection.
    pub(super) fn is_unanswered(&self, key: &str) -> bool {
        let mut unanswered = self.catalogue.unanswered(&self.inspections);
        unanswered.any(|holder| holder == key)
    }

    /// Reports were asked for and do not exist any more. An endpoint in whose way they stood is
    /// read.
    fn gone(&mut self, gone: &Gone, moment: Moment<'_>) {
        for (id, _) in &gone.ids {
            self.put_away(id, moment);
        }
        if let Some(key) = gone.barred.as_ref().filter(|_| !gone.ids.is_empty()) {
            self.logged_in.remove(key);
            self.book.hurry(key, true, moment.now);
        }
    }

    /// The report of a machine was deleted. Its key is forgotten, and wherever it was seen it is
    /// read anew.
    pub(super) fn put_away(&mut self, id: &str, moment: Moment<'_>) {
        tracing::info!("DpuReport bmc-found-{id} is gone: its machine and key are forgotten");
        for place in self.catalogue.places_of(id) {
            self.logged_in.remove(&place);
            self.book.hurry(&place, true, moment.now);
        }
        let refused = self.book.refused("CertificateChanged");
        for other in self.catalogue.rivals_of(id).into_iter().chain(refused) {
            self.book.hurry(&other, true, moment.now);
        }
        self.catalogue.forget(id);
    }
}
