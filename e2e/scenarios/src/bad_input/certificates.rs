//! Certificates of BMCs: one that the site's CA signed, and one by somebody else.

use anyhow::{Context as _, Result};
use lockstep_lab::front::TlsIdentity;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Two CAs, with a certificate for 127.0.0.1 of each.
pub struct Certificates {
    /// The site's CA, PEM.
    pub ca: String,
    /// Signed by it.
    pub trusted: TlsIdentity,
    /// Signed by another one.
    pub stranger: TlsIdentity,
}

impl Certificates {
    /// Makes them.
    ///
    /// # Errors
    /// When a key or certificate cannot be made.
    pub fn new() -> Result<Self> {
        let (ca, trusted) = signed("the site's CA")?;
        let (_, stranger) = signed("somebody else's CA")?;
        Ok(Self {
            ca,
            trusted,
            stranger,
        })
    }
}

fn signed(name: &str) -> Result<(String, TlsIdentity)> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().context("no key for a CA")?;
    let ca = authority
        .self_signed(&key)
        .context("no certificate for a CA")?
        .pem();
    let issuer = Issuer::new(authority, key);
    let own = KeyPair::generate().context("no key for a BMC")?;
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])
        .context("no certificate for an address")?
        .signed_by(&own, &issuer)
        .context("no certificate for a BMC")?;
    let identity = TlsIdentity {
        certificate: certificate.pem(),
        key: own.serialize_pem(),
    };
    Ok((ca, identity))
}
