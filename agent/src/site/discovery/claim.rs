//! Which endpoint may speak for a machine. Pure.
//!
//! The one that showed it first, until it no longer shows it; then another. But nobody takes the
//! place of a machine that proved more than he does, by its key or by a certificate, whatever trust
//! his own range has: that takes an administrator, who deletes the report.

use lockstep_redfish::SpkiPin;
use tokio::time::Instant;

use crate::config::FirstTrust;
use crate::site::discovery::catalogue::Catalogue;
use crate::site::discovery::failure::{Bearing, Failure};
use crate::site::discovery::found;
use crate::site::discovery::missing::LOOKS;
use crate::site::discovery::territory::Target;

/// Another endpoint that shows the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rival {
    since: Instant,
    /// Whether the holder has shown the machine since; of the same BMC at another address, never.
    pub(super) certain: bool,
    /// Whether it lacks what the holder proved to be with, so that it is no use to ask it.
    pub(super) barred: bool,
}

/// What a machine becomes for the endpoint that showed it.
pub(super) enum Claim {
    Ours,
    Alias,
    Open,
    Refused(Failure),
}

impl Catalogue {
    /// Whether the endpoint may speak for the machine.
    pub(super) fn claim(
        &mut self,
        id: &str,
        target: &Target,
        pin: Option<&SpkiPin>,
        now: Instant,
    ) -> Claim {
        let Some(machine) = self.machines.get_mut(id) else {
            return Claim::Ours;
        };
        let pin = pin.map(ToString::to_string);
        let remembered = found::pin(&machine.spec);
        let is_same_key = pin.is_some() && remembered == pin.as_deref();
        let is_pinned = target.access.trust == FirstTrust::PinFirstSeen && remembered.is_some();
        let is_holder = machine.holder == target.key;
        if is_holder && (is_same_key || !is_pinned) {
            return Claim::Ours;
        }
        let lacks = found::lacks_proof(&machine.spec, target.access.trust, pin.as_deref());
        if is_holder {
            return Claim::Refused(other_proof(id, &target.key, &machine.holder));
        }
        let rival = machine.rivals.entry(target.key.clone()).or_insert(Rival {
            since: now,
            certain: false,
            barred: false,
        });
        rival.barred = lacks;
        if is_pinned && lacks {
            return Claim::Refused(other_proof(id, &target.key, &machine.holder));
        }
        // Of two that are known to show one identity the first keeps the report a little longer.
        let enough = if rival.certain { LOOKS } else { 1 };
        let looks = machine.lost.as_ref().map_or(0, |lost| lost.looks);
        let is_lost = machine.sight.is_absent() || looks >= enough;
        if is_lost && lacks {
            return Claim::Refused(other_proof(id, &target.key, &machine.holder));
        }
        if is_lost {
            machine.rivals.remove(&target.key);
            return Claim::Ours;
        }
        if is_same_key {
            if found::tell_alias(&mut machine.spec, &target.key) {
                self.changed.insert(id.to_owned());
            }
            return Claim::Alias;
        }
        if !rival.certain && machine.shown.is_none_or(|shown| shown <= rival.since) {
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

fn other_proof(id: &str, key: &str, holder: &str) -> Failure {
    Failure::new(
        "CertificateChanged",
        format!(
            "{key} shows the machine of {holder} and does not prove to be its BMC, by the key that was seen first or by a certificate of its CA bundle: compare its key with the BMC's own; if it is right, delete DpuReport bmc-found-{id}"
        ),
        Bearing::There,
    )
}
