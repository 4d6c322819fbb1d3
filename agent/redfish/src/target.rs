//! One BMC: where it is, how it is trusted, who we are to it, and what must
//! be behind it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use url::Url;

use crate::identity::ExpectedIdentity;

/// One BMC and the machine that is meant behind it.
#[derive(Clone, Debug)]
pub struct BmcTarget {
    /// Base URL of the Redfish service, without a path.
    pub address: Url,
    /// Path of the ComputerSystem, for a BMC that serves several. Without it
    /// the only system is taken, else the one with the expected UUID.
    pub system_path: Option<String>,
    /// Who we are to the BMC.
    pub credentials: Credentials,
    /// How the BMC proves itself on the wire.
    pub tls: TlsTrust,
    /// What must be found before anything is changed.
    pub expected: ExpectedIdentity,
}

/// A BMC account. `Debug` shows neither of its halves' secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"[redacted]")
            .finish()
    }
}

/// The ways to trust a BMC's channel, strongest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsTrust {
    /// The certificate chains to this PEM bundle and names the address.
    CaBundle(String),
    /// The certificate's public key is this one; names and dates are not looked at.
    PinnedKey(SpkiPin),
    /// Encrypted, but nobody checks by whom. The key seen is reported.
    NoVerification,
    /// Not even encrypted: the address must be `http://`.
    PlainHttp,
}

/// SHA-256 of a certificate's DER SubjectPublicKeyInfo. Shown as 64 hex digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpkiPin([u8; 32]);

impl SpkiPin {
    /// The pin of a DER SubjectPublicKeyInfo.
    pub fn of(spki_der: &[u8]) -> Self {
        Self(Sha256::digest(spki_der).into())
    }
}

/// A string is no pin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key pin is the SHA-256 of the SubjectPublicKeyInfo in 64 hex digits, not {0:?}")]
pub struct SpkiPinError(String);

impl FromStr for SpkiPin {
    type Err = SpkiPinError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text.trim(), &mut digest)
            .map_err(|_| SpkiPinError(text.to_owned()))?;
        Ok(Self(digest))
    }
}

impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpkiPin({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_output_shows_a_password() {
        let target = BmcTarget {
            address: "https://192.0.2.7".parse().unwrap(),
            system_path: None,
            credentials: Credentials {
                username: "admin".to_owned(),
                password: "hunter2".to_owned(),
            },
            tls: TlsTrust::NoVerification,
            expected: ExpectedIdentity::default(),
        };
        let shown = format!("{target:?}");
        assert!(shown.contains("admin") && shown.contains("[redacted]"));
        assert!(!shown.contains("hunter2"));
    }

    #[test]
    fn a_pin_survives_its_text_form() {
        let pin = SpkiPin::of(b"spki");
        assert_eq!(pin.to_string().parse(), Ok(pin.clone()));
        assert_eq!(pin.to_string().to_uppercase().parse(), Ok(pin));
        assert!("abcd".parse::<SpkiPin>().is_err());
    }
}
