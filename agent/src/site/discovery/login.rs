//! To whom credentials are shown. Pure.

use lockstep_redfish::{Identified, SpkiPin, TlsTrust};

use crate::config::FirstTrust;
use crate::site::discovery::failure::{Bearing, Failure};

/// What is remembered about keys when an endpoint was identified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory<'a> {
    /// The key that was seen first at this endpoint.
    pub(super) here: Option<&'a str>,
    /// Whether the key that it shows now is that of a BMC met elsewhere with these credentials.
    pub(super) is_met: bool,
}

/// The trust in which to log in, if the endpoint may be shown credentials at all.
///
/// `tls` is the trust in which it was identified. Where no certificate is asked for, the login goes
/// to the very key that was identified and to no other, for whoever has a key is known by it. With
/// `PinFirstSeen` that key must be the one that was seen first there, or that of a BMC that moved
/// here.
pub(super) fn trust_to_log_in(
    key: &str,
    trust: FirstTrust,
    tls: TlsTrust,
    identified: &Identified,
    memory: Memory<'_>,
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
    match memory.here {
        Some(first) if first != pin.to_string() && !memory.is_met => Err(changed(pin)),
        Some(_) | None => Ok(TlsTrust::PinnedKey(pin.clone())),
    }
}

fn changed(pin: &SpkiPin) -> Failure {
    Failure::new(
        "CertificateChanged",
        format!(
            "key {pin} is not the one seen first here; nothing was logged in to. If it is the BMC's own, delete the bmc-found report of this address (or with it in alsoAt), or restart the agent if none has it"
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

    #[test]
    fn a_login_goes_to_the_key_that_was_seen_first_and_to_no_other() {
        let (first, other) = (SpkiPin::of(b"first"), SpkiPin::of(b"other"));
        let remembered = first.to_string();
        let judge = |seen: Option<&SpkiPin>, here: Option<&str>, is_met: bool| {
            let memory = Memory { here, is_met };
            let tls = TlsTrust::NoVerification;
            let trust = FirstTrust::PinFirstSeen;
            trust_to_log_in("k", trust, tls, &identified(seen), memory)
                .map_err(|failure| failure.reason)
        };
        let pinned = |pin: &SpkiPin| Ok(TlsTrust::PinnedKey(pin.clone()));
        assert_eq!(judge(Some(&first), None, false), pinned(&first));
        assert_eq!(
            judge(Some(&first), Some(&remembered), false),
            pinned(&first)
        );
        assert_eq!(
            judge(Some(&other), Some(&remembered), false),
            Err("CertificateChanged")
        );
        assert_eq!(judge(Some(&other), Some(&remembered), true), pinned(&other));
        assert_eq!(judge(None, None, false), Err("CertificateRefused"));
    }

    #[test]
    fn other_trusts_stay_what_they_are() {
        let ca = TlsTrust::CaBundle("PEM".to_owned());
        for (trust, tls) in [
            (FirstTrust::Ca, ca),
            (FirstTrust::NoVerification, TlsTrust::NoVerification),
            (FirstTrust::PlainHttp, TlsTrust::PlainHttp),
        ] {
            let memory = Memory {
                here: Some("x"),
                is_met: false,
            };
            let login = trust_to_log_in("k", trust, tls.clone(), &identified(None), memory);
            assert_eq!(login, Ok(tls));
        }
    }
}
