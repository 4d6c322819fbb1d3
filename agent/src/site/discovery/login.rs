//! To whom credentials are shown, and which keys count at an address for that. Pure.
//!
//! Those keys are told by reports, so that they outlive the agent: that of the machine that was
//! found there, and that of a BMC that was seen there beside the address of its report. Where no
//! report tells of a login, its key is remembered until the agent restarts.

use std::collections::BTreeMap;

use lockstep_crds::names;
use lockstep_redfish::{Identified, SpkiPin, TlsTrust};

use crate::config::FirstTrust;
use crate::site::discovery::catalogue::Catalogue;
use crate::site::discovery::failure::{Bearing, Failure};
use crate::site::discovery::found;
use crate::site::discovery::proof;
use crate::site::discovery::territory::Target;

/// Reports that are named in a refusal; more do not fit.
const MOST_NAMED: usize = 2;

/// The keys to which name and password were shown, by endpoint.
pub(super) type LoggedIn = BTreeMap<String, String>;

/// What is remembered about keys when an endpoint was identified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Whether any key counts there.
    is_taken: bool,
    /// Whether the key that it shows now does, or is that of a BMC met elsewhere with these
    /// credentials.
    is_known: bool,
    /// The machines whose reports say which keys count there.
    pub(super) told_by: Vec<String>,
}

impl Catalogue {
    /// What is remembered about keys at an endpoint that was identified.
    pub(super) fn memory(
        &self,
        target: &Target,
        identified: &Identified,
        logged_in: &LoggedIn,
    ) -> Memory {
        let shown = identified.tls_pin.as_ref().map(ToString::to_string);
        let is_it = |key: &str| shown.as_deref() == Some(key);
        let last = logged_in.get(&target.key);
        let mut memory = Memory {
            is_taken: last.is_some(),
            is_known: last.is_some_and(|key| is_it(key)),
            told_by: Vec::new(),
        };
        for (id, machine) in &self.machines {
            let spec = &machine.spec;
            let pinned = found::pin(spec);
            let is_there = machine.holder == target.key;
            let is_also_there = found::aliases(spec).contains(&target.key);
            let here = pinned.filter(|_| is_there);
            let counts = here.or_else(|| proof::key(spec).filter(|_| is_also_there));
            if counts.is_some() {
                memory.is_taken = true;
                memory.told_by.push(id.clone());
            }
            let is_same_way = found::credentials(spec) == Some(&target.access.credentials);
            let elsewhere = pinned.filter(|_| is_same_way);
            memory.is_known |= counts.is_some_and(is_it) || elsewhere.is_some_and(is_it);
        }
        memory
    }
}

/// The trust in which to log in, if the endpoint may be shown credentials at all.
///
/// `tls` is the trust in which it was identified. Where no certificate is asked for, the login goes
/// to the very key that was identified and to no other, for whoever has a key is known by it. With
/// `PinFirstSeen` that key must be one that counts there, if any does, or that of a BMC that moved
/// here.
pub(super) fn trust_to_log_in(
    key: &str,
    trust: FirstTrust,
    tls: TlsTrust,
    identified: &Identified,
    memory: &Memory,
) -> Result<TlsTrust, Failure> {
    match trust {
        FirstTrust::Ca | FirstTrust::PlainHttp => return Ok(tls),
        FirstTrust::NoVerification => {
            let pin = identified.tls_pin.clone();
            return Ok(pin.map_or(tls, TlsTrust::PinnedKey));
        }
        FirstTrust::PinFirstSeen => {}
    }
    let Some(pin) = &identified.tls_pin else {
        return Err(Failure::new(
            "CertificateRefused",
            format!("{key} showed no key that could be remembered: use https, or another trust"),
            Bearing::There,
        ));
    };
    if memory.is_taken && !memory.is_known {
        return Err(changed(pin, &memory.told_by));
    }
    Ok(TlsTrust::PinnedKey(pin.clone()))
}

fn changed(pin: &SpkiPin, told_by: &[String]) -> Failure {
    let names: Vec<String> = told_by.iter().map(|id| names::found_bmc(id)).collect();
    let remedy = match names.len() {
        0 => "restart the agent".to_owned(),
        1..=MOST_NAMED => format!("delete DpuReport {}", names.join(" and ")),
        many => format!("delete the {many} bmc-found reports with this address"),
    };
    Failure::new(
        "CertificateChanged",
        format!(
            "key {pin} is not the one seen first here; nothing was logged in to. If it is the BMC's own, {remedy}"
        ),
        Bearing::Gone,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identified(pin: Option<&SpkiPin>) -> Identified {
        Identified {
            remote: "10.0.0.7:443".parse().unwrap(),
            tls_pin: pin.cloned(),
            service: lockstep_redfish::Service::default(),
            vendor: None,
            product: None,
        }
    }

    /// A memory of that.
    fn memory(is_taken: bool, is_known: bool) -> Memory {
        Memory {
            is_taken,
            is_known,
            told_by: Vec::new(),
        }
    }

    #[test]
    fn a_login_goes_to_a_key_that_counts_and_to_no_other() {
        let first = SpkiPin::of(b"first");
        let judge = |seen: Option<&SpkiPin>, memory: Memory| {
            let tls = TlsTrust::NoVerification;
            let trust = FirstTrust::PinFirstSeen;
            trust_to_log_in("k", trust, tls, &identified(seen), &memory)
                .map_err(|failure| failure.reason)
        };
        let pinned = Ok(TlsTrust::PinnedKey(first.clone()));
        assert_eq!(judge(Some(&first), memory(false, false)), pinned);
        assert_eq!(judge(Some(&first), memory(true, true)), pinned);
        assert_eq!(
            judge(Some(&first), memory(true, false)),
            Err("CertificateChanged")
        );
        assert_eq!(judge(None, memory(false, false)), Err("CertificateRefused"));
    }

    #[test]
    fn a_refusal_names_what_is_to_be_deleted_to_the_end() {
        let pin = SpkiPin::of(b"other");
        let id = |number: usize| format!("{number:020}");
        for (reports, remedy) in [
            (0, "restart the agent".to_owned()),
            (1, format!("delete DpuReport bmc-found-{}", id(0))),
            (2, format!("bmc-found-{} and bmc-found-{}", id(0), id(1))),
            (
                3,
                "delete the 3 bmc-found reports with this address".to_owned(),
            ),
        ] {
            let told_by: Vec<String> = (0..reports).map(id).collect();
            let message = changed(&pin, &told_by).message;
            assert!(message.ends_with(&remedy), "{message}");
        }
    }

    #[test]
    fn other_trusts_stay_what_they_are() {
        let ca = TlsTrust::CaBundle("PEM".to_owned());
        for (trust, tls) in [
            (FirstTrust::Ca, ca),
            (FirstTrust::NoVerification, TlsTrust::NoVerification),
            (FirstTrust::PlainHttp, TlsTrust::PlainHttp),
        ] {
            let memory = memory(true, false);
            let login = trust_to_log_in("k", trust, tls.clone(), &identified(None), &memory);
            assert_eq!(login, Ok(tls));
        }
    }
}
