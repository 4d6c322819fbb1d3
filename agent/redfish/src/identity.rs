//! Proof that a BMC stands for the machine that was meant (S13).
//!
//! Pure. What a board maker left at its default never proves anything,
//! neither as expectation nor as finding.

use std::fmt;

use lockstep_crds::identity::{meaningful_serial, meaningful_uuid};

use crate::facts::SystemIdentity;
use crate::target::SpkiPin;

/// What must be found before anything is changed.
///
/// A system UUID or a serial number is needed: a key alone does not tell which
/// machine is behind a BMC, and some vendors ship one key on every board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedIdentity {
    /// `ComputerSystem.UUID`.
    pub system_uuid: Option<String>,
    /// `ComputerSystem.SerialNumber`.
    pub serial_number: Option<String>,
    /// Key of the BMC's TLS certificate. Enforced in the handshake as well.
    pub tls_pin: Option<SpkiPin>,
}

/// The part of an identity that did not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityField {
    /// `ComputerSystem.UUID`.
    SystemUuid,
    /// `ComputerSystem.SerialNumber`.
    SerialNumber,
    /// Key of the BMC's TLS certificate.
    TlsPin,
}

impl fmt::Display for IdentityField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SystemUuid => "system UUID",
            Self::SerialNumber => "serial number",
            Self::TlsPin => "TLS key pin",
        })
    }
}

/// Why an identity is not proved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, found {found}")]
pub struct IdentityMismatch {
    /// What was compared.
    pub what: IdentityField,
    /// What was expected, or why the expectation is worth nothing.
    pub expected: String,
    /// What the BMC showed.
    pub found: String,
}

/// Whether `found` is the machine that `expected` describes.
///
/// Everything expected must match, and at least the UUID or the serial number
/// must be expected.
///
/// # Errors
///
/// The first field that does not match, or that can prove nothing.
pub fn prove_identity(
    found: &SystemIdentity,
    expected: &ExpectedIdentity,
) -> Result<(), IdentityMismatch> {
    if let Some(pin) = &expected.tls_pin
        && found.tls_pin.as_ref() != Some(pin)
    {
        return Err(IdentityMismatch {
            what: IdentityField::TlsPin,
            expected: pin.to_string(),
            found: found
                .tls_pin
                .as_ref()
                .map_or_else(|| "no TLS".to_owned(), ToString::to_string),
        });
    }
    if expected.system_uuid.is_none() && expected.serial_number.is_none() {
        return Err(IdentityMismatch {
            what: IdentityField::SystemUuid,
            expected: "a system UUID or serial number, and none was given".to_owned(),
            found: shown(found.system_uuid.as_deref()),
        });
    }
    compare(
        IdentityField::SystemUuid,
        expected.system_uuid.as_deref(),
        found.system_uuid.as_deref(),
        meaningful_uuid,
    )?;
    compare(
        IdentityField::SerialNumber,
        expected.serial_number.as_deref(),
        found.serial_number.as_deref(),
        |text| meaningful_serial(text).map(str::to_owned),
    )
}

fn compare(
    what: IdentityField,
    expected: Option<&str>,
    found: Option<&str>,
    meaningful: fn(&str) -> Option<String>,
) -> Result<(), IdentityMismatch> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let mismatch = |expected: String| IdentityMismatch {
        what,
        expected,
        found: shown(found),
    };
    let Some(meant) = meaningful(expected) else {
        return Err(mismatch(format!(
            "{expected:?}, a default value that proves nothing"
        )));
    };
    match found.and_then(meaningful) {
        Some(value) if value == meant => Ok(()),
        Some(_) | None => Err(mismatch(expected.to_owned())),
    }
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"))
}

/// An id that may be a UUID, without what differs between spellings.
pub(crate) fn canonical_uuid(value: &str) -> String {
    value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "27946b59-9e44-4fa7-8e91-f3527a1ef094";

    fn found(uuid: Option<&str>, serial: Option<&str>) -> SystemIdentity {
        SystemIdentity {
            system_uuid: uuid.map(str::to_owned),
            serial_number: serial.map(str::to_owned),
            ..SystemIdentity::default()
        }
    }

    fn expected(uuid: Option<&str>, serial: Option<&str>) -> ExpectedIdentity {
        ExpectedIdentity {
            system_uuid: uuid.map(str::to_owned),
            serial_number: serial.map(str::to_owned),
            tls_pin: None,
        }
    }

    #[test]
    fn a_uuid_matches_whatever_its_spelling() {
        let found = found(Some("27946B599E444FA78E91F3527A1EF094"), None);
        assert_eq!(prove_identity(&found, &expected(Some(UUID), None)), Ok(()));
    }

    #[test]
    fn a_padded_serial_matches() {
        let found = found(None, Some("  MT2334XZ0A1 "));
        assert_eq!(
            prove_identity(&found, &expected(None, Some("MT2334XZ0A1"))),
            Ok(())
        );
    }

    #[test]
    fn everything_expected_must_match() {
        let found = found(Some(UUID), Some("A17"));
        let error = prove_identity(&found, &expected(Some(UUID), Some("B17"))).unwrap_err();
        assert_eq!(error.what, IdentityField::SerialNumber);
        assert_eq!(error.found, "\"A17\"");
        assert_eq!(error.expected, "B17");
    }

    #[test]
    fn what_is_expected_must_be_shown() {
        let error =
            prove_identity(&found(Some(UUID), None), &expected(None, Some("B17"))).unwrap_err();
        assert_eq!(error.found, "nothing");
    }

    #[test]
    fn nothing_expected_proves_nothing() {
        assert!(prove_identity(&found(Some(UUID), Some("A17")), &expected(None, None)).is_err());
    }

    #[test]
    fn a_pin_alone_is_not_enough_and_a_wrong_pin_is_too_much() {
        let pin = SpkiPin::of(b"key");
        let with_pin = |uuid: Option<&str>| ExpectedIdentity {
            tls_pin: Some(pin.clone()),
            ..expected(uuid, None)
        };
        let mut identity = found(Some(UUID), None);
        assert_eq!(
            prove_identity(&identity, &with_pin(Some(UUID)))
                .unwrap_err()
                .what,
            IdentityField::TlsPin
        );
        identity.tls_pin = Some(pin.clone());
        assert_eq!(prove_identity(&identity, &with_pin(Some(UUID))), Ok(()));
        assert!(prove_identity(&identity, &with_pin(None)).is_err());
        identity.tls_pin = Some(SpkiPin::of(b"other"));
        assert!(prove_identity(&identity, &with_pin(Some(UUID))).is_err());
    }

    #[test]
    fn junk_never_proves_anything_even_when_equal() {
        let uuids = [
            "",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "not-a-uuid",
        ];
        for junk in uuids {
            let result = prove_identity(&found(Some(junk), None), &expected(Some(junk), None));
            assert!(result.is_err(), "{junk:?}");
        }
        let serials = [
            "",
            "   ",
            "None",
            "Default string",
            "To be filled by O.E.M.",
            "0",
            "0000000000",
            "xxxxxxxx",
            "0123456789",
            "123456",
            "----",
            "N/A",
            "7",
            "To be filled by O.E.M. 17",
        ];
        for junk in serials {
            let result = prove_identity(&found(None, Some(junk)), &expected(None, Some(junk)));
            assert!(result.is_err(), "{junk:?}");
        }
        for serial in ["MT2334XZ0A1", "11"] {
            let result = prove_identity(&found(None, Some(serial)), &expected(None, Some(serial)));
            assert_eq!(result, Ok(()), "{serial:?}");
        }
    }
}
