//! Which endpoint may speak for a machine. Pure.
//!
//! The one that showed it first, until it no longer shows it; then another. But nobody takes the
//! place of a machine that proved more than he does, by its key or by a certificate, whatever trust
//! his own range has: that takes an administrator, who deletes the report. One BMC that is found
//! without proof first, and at another address with it, is spoken for there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lockstep_crds::{MachineIdentity, names};
use lockstep_redfish::SpkiPin;
use tokio::time::Instant;

use crate::config::FirstTrust;
use crate::site::discovery::catalogue::{Catalogue, Sight};
use crate::site::discovery::failure::{Bearing, Failure};
use crate::site::discovery::found;
use crate::site::discovery::missing::LOOKS;
use crate::site::discovery::proof;
use crate::site::discovery::territory::Target;

/// Another endpoint that shows the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rival {
    since: Instant,
    /// Whether the holder has shown the machine since; of the same BMC at another address, never.
    pub(super) certain: bool,
    /// Whether it lacks what the holder proved to be with, so that it is no use to ask it.
    pub(super) barred: bool,
    /// Whether it shows the key that the machine was found with: it is the same BMC.
    is_same: bool,
}

impl Rival {
    /// Whether the holder has answered since it was met.
    fn was_met_before(&self, shown: Option<Instant>) -> bool {
        shown.is_some_and(|shown| shown > self.since)
    }
}

/// What a machine becomes for the endpoint that showed it.
pub(super) enum Claim {
    Ours,
    Alias,
    Open,
    Refused(Failure),
}

impl Catalogue {
    /// Whether the key of the address from which a machine goes to this endpoint counts there
    /// still. It does unless the BMC just got another address: where it was seen at both, or where
    /// the new one is reached in another way, somebody may have silenced the first to be the next
    /// who is shown name and password there.
    pub(super) fn keeps_key(&self, id: &str, target: &Target) -> bool {
        let Some(machine) = self.machines.get(id) else {
            return false;
        };
        let was = machine.spec.found.as_ref().map(|found| &found.endpoint);
        let is_elsewhere = was.is_some_and(|was| {
            target.access.trust != FirstTrust::PinFirstSeen
                || was.credentials != target.access.credentials
        });
        let is_alias = found::aliases(&machine.spec).contains(&target.key);
        found::pin(&machine.spec).is_some()
            && !machine.sight.is_absent()
            && (is_alias || is_elsewhere)
    }

    /// Tells at which other addresses the BMC of a machine answers. One that is met before the
    /// holder answers again may be the address that it got instead.
    pub(super) fn tell_aliases(&mut self, id: &str) {
        let Some(machine) = self.machines.get_mut(id) else {
            return;
        };
        for (key, rival) in &machine.rivals {
            if rival.is_same
                && rival.was_met_before(machine.shown)
                && found::tell_alias(&mut machine.spec, key)
            {
                self.changed.insert(id.to_owned());
            }
        }
    }

    /// The address that a machine left goes on to count.
    pub(super) fn tell_alias(&mut self, id: &str, key: &str) {
        if let Some(machine) = self.machines.get_mut(id)
            && found::tell_alias(&mut machine.spec, key)
        {
            self.changed.insert(id.to_owned());
        }
    }

    /// The endpoint shows a machine without the proof for it. If it has its report it is as if it
    /// did not answer.
    pub(super) fn unproved(
        &mut self,
        id: &str,
        target: &Target,
        failure: &Failure,
        now: Instant,
        at: &Time,
    ) -> Vec<String> {
        let machine = self.machines.get_mut(id);
        match machine.filter(|machine| machine.holder == target.key) {
            Some(machine) => {
                machine.sight = Sight::Unproved;
                self.lose(id, failure, now, at)
            }
            None => Vec::new(),
        }
    }

    /// Whether the endpoint may speak for the machine.
    pub(super) fn claim(
        &mut self,
        id: &str,
        target: &Target,
        pin: Option<&SpkiPin>,
        shown: Option<&MachineIdentity>,
        now: Instant,
    ) -> Claim {
        let Some(machine) = self.machines.get_mut(id) else {
            return Claim::Ours;
        };
        let pin = pin.map(ToString::to_string);
        let lacks = proof::is_lacked(&machine.spec, target, pin.as_deref());
        let refused = || Claim::Refused(other_proof(id, pin.as_deref(), &machine.holder));
        if machine.holder == target.key {
            return if lacks { refused() } else { Claim::Ours };
        }
        let rival = machine.rivals.entry(target.key.clone()).or_insert(Rival {
            since: now,
            certain: false,
            barred: false,
            is_same: false,
        });
        rival.barred = lacks;
        rival.is_same = proof::is_same_bmc(&machine.spec, pin.as_deref(), shown);
        // Of two that are known to show one identity the first keeps the report a little longer.
        let enough = if rival.certain { LOOKS } else { 1 };
        let looks = machine.lost.as_ref().map_or(0, |lost| lost.looks);
        let is_lost = machine.sight.is_absent() || looks >= enough;
        if is_lost && lacks {
            return refused();
        }
        // A report says the most that its BMC proved itself by.
        if is_lost || rival.is_same && proof::proves_more(&machine.spec, target) {
            return Claim::Ours;
        }
        if rival.is_same {
            self.tell_aliases(id);
            return Claim::Alias;
        }
        if !rival.certain && !rival.was_met_before(machine.shown) {
            return Claim::Open;
        }
        let news = !rival.certain;
        rival.certain = true;
        let holder = machine.holder.clone();
        if news {
            self.tell_rivals(id);
        }
        Claim::Refused(Failure::new(
            "IdentityTwice",
            format!(
                "{} and {holder} both show the identity of bmc-found-{id}: correct the serial number or UUID of one machine; until then {holder} is taken for it",
                target.key
            ),
            Bearing::Beside,
        ))
    }
}

/// An endpoint shows a machine of which another one proved more.
pub(super) fn other_proof(id: &str, pin: Option<&str>, holder: &str) -> Failure {
    let what = pin.map_or_else(
        || "what answers here".to_owned(),
        |pin| format!("key {pin}"),
    );
    Failure::new(
        "CertificateChanged",
        format!(
            "delete DpuReport {} if {what} is its BMC's own: it was found at {holder} and proved more",
            names::found_bmc(id)
        ),
        Bearing::Beside,
    )
}
