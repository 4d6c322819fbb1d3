//! What was seen of those who called, by their addresses: for whoever has to tell why a caller
//! that was sent here got nothing.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::http::StatusCode;
use rustls::{AlertDescription, Error as TlsError};

/// Addresses that are remembered. The one that called longest ago makes room.
const MOST: usize = 1024;

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It was answered, with what was asked for or where that is.
    Answered,
    /// The request was refused with this status.
    Refused(u16),
    /// It was closed at once: its address has as many connections as it may.
    TooMany,
    /// There was no TLS, which is asked for here.
    Tls(TlsFault),
    /// What was sent is no HTTP.
    NoHttp,
}

/// Why there was no TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The caller does not take our certificate: it knows no authority for it, or its name or use
    /// do not fit. Some callers say so of one that is not valid yet by their clock.
    Untrusted,
    /// It is out of date by the caller's clock.
    OutOfDate,
    /// We have no version, cipher or key exchange in common, or the caller asks for a certificate
    /// of a kind that we do not have.
    NothingInCommon,
    /// The caller speaks no TLS.
    NotTls,
    /// The caller went away, fell silent or broke it off with no word that says why.
    BrokenOff,
}

/// What is remembered of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// When it connected last.
    pub connected: SystemTime,
    /// What became of a call of it, the last of which that is known.
    pub last: Option<(Call, SystemTime)>,
}

/// Who called.
#[derive(Clone, Debug, Default)]
pub struct Callers(Arc<Mutex<HashMap<IpAddr, Caller>>>);

impl Callers {
    /// What is remembered of this address.
    pub fn of(&self, address: IpAddr) -> Option<Caller> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.get(&address.to_canonical()).copied()
    }

    pub(crate) fn connected(&self, address: IpAddr) {
        let now = SystemTime::now();
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if book.len() >= MOST && !book.contains_key(&address) {
            let oldest = book.iter().min_by_key(|(_, caller)| caller.connected);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                book.remove(&oldest);
            }
        }
        let caller = book.entry(address).or_insert(Caller {
            connected: now,
            last: None,
        });
        caller.connected = now;
    }

    pub(crate) fn ended(&self, address: IpAddr, call: Call) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caller) = book.get_mut(&address) {
            caller.last = Some((call, SystemTime::now()));
        }
    }
}

impl Call {
    pub(crate) fn of_status(status: StatusCode) -> Self {
        if status.is_client_error() {
            Self::Refused(status.as_u16())
        } else {
            Self::Answered
        }
    }

    /// Of a handshake that failed.
    pub(crate) fn of_handshake(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
        Self::Tls(tls.map_or(TlsFault::BrokenOff, TlsFault::of))
    }
}

/// Alerts of a caller that takes no certificate of ours.
const UNTRUSTED: [AlertDescription; 8] = [
    AlertDescription::UnknownCA,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateUnknown,
    AlertDescription::CertificateRevoked,
    AlertDescription::AccessDenied,
    // Signed by another key of an authority with that name.
    AlertDescription::DecryptError,
    AlertDescription::BadCertificateStatusResponse,
    AlertDescription::UnrecognisedName,
];
/// Alerts of one that cannot do what we offer.
const NOTHING_IN_COMMON: [AlertDescription; 7] = [
    AlertDescription::ProtocolVersion,
    AlertDescription::HandshakeFailure,
    AlertDescription::InsufficientSecurity,
    AlertDescription::IllegalParameter,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::UnsupportedExtension,
    AlertDescription::NoApplicationProtocol,
];

impl TlsFault {
    fn of(error: &TlsError) -> Self {
        if let TlsError::AlertReceived(alert) = error {
            return Self::of_alert(*alert);
        }
        if matches!(
            error,
            TlsError::PeerIncompatible(_) | TlsError::NoApplicationProtocol
        ) {
            return Self::NothingInCommon;
        }
        if matches!(
            error,
            TlsError::InvalidMessage(_) | TlsError::InappropriateMessage { .. }
        ) {
            return Self::NotTls;
        }
        Self::BrokenOff
    }

    fn of_alert(alert: AlertDescription) -> Self {
        if alert == AlertDescription::CertificateExpired {
            Self::OutOfDate
        } else if UNTRUSTED.contains(&alert) {
            Self::Untrusted
        } else if NOTHING_IN_COMMON.contains(&alert) {
            Self::NothingInCommon
        } else {
            // The rest says nothing of what a person could mend.
            Self::BrokenOff
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_refuse_a_certificate_is_told_apart() {
        for (alert, fault) in [
            (AlertDescription::UnknownCA, TlsFault::Untrusted),
            (AlertDescription::BadCertificate, TlsFault::Untrusted),
            (AlertDescription::CertificateExpired, TlsFault::OutOfDate),
            (AlertDescription::ProtocolVersion, TlsFault::NothingInCommon),
            (AlertDescription::InternalError, TlsFault::BrokenOff),
        ] {
            let error = io::Error::other(TlsError::AlertReceived(alert));
            assert_eq!(Call::of_handshake(&error), Call::Tls(fault), "{alert:?}");
        }
        let gone = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(Call::of_handshake(&gone), Call::Tls(TlsFault::BrokenOff));
    }

    #[test]
    fn who_called_longest_ago_makes_room() {
        let callers = Callers::default();
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        for n in 0..=MOST {
            callers.connected(address(n));
            // Another call of the first.
            callers.connected(address(0));
        }
        callers.ended(address(0), Call::NoHttp);
        callers.ended(address(1), Call::NoHttp);
        assert_eq!(callers.of(address(1)), None);
        assert!(callers.of(address(MOST)).is_some());
        let first = callers.of(address(0)).unwrap();
        assert_eq!(first.last.unwrap().0, Call::NoHttp);
    }
}
