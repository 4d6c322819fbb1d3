//! Whether the kernel drives a TPM.

use crate::{Fact, Root};

/// The first TPM of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tpm {
    /// The major version of the TPM specification (2 for TPM 2.0), where the
    /// kernel tells it.
    pub version_major: Option<u32>,
}

/// The TPM: [`Fact::NotOffered`] when the kernel drives none,
/// [`Fact::NotRead`] when `/sys` cannot be looked at.
pub fn tpm(root: &Root) -> Fact<Tpm> {
    const TPM: &str = "/sys/class/tpm/tpm0";
    match root.exists(TPM) {
        Ok(true) => Fact::Known(Tpm {
            version_major: root
                .line(&format!("{TPM}/tpm_version_major"))
                .known()
                .and_then(|text| text.parse().ok()),
        }),
        // Without /sys there is nothing to conclude from the absence.
        Ok(false) => match root.exists("/sys/class") {
            Ok(true) => Fact::NotOffered,
            Ok(false) => Fact::NotRead("/sys is not mounted".to_owned()),
            Err(error) => Fact::NotRead(format!("/sys/class: {error}")),
        },
        Err(error) => Fact::NotRead(format!("{TPM}: {error}")),
    }
}
