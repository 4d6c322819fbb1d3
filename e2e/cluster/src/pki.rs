//! The lab's certificates: one CA, a server, clients, and the ServiceAccount key.
//!
//! The CA lies in the state folder, so that a folder that is continued keeps its
//! trust; everything else is issued from it at each start.

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// Who a client certificate speaks for.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The user name (`CN`).
    pub user: String,
    /// The groups (`O`), at most one: a certificate made here holds one value per attribute.
    pub group: Option<String>,
}

impl Subject {
    /// A user in no group of its own.
    pub fn user(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            group: None,
        }
    }

    /// Puts the user into `group`.
    #[must_use]
    pub fn in_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }
}

/// A certificate with its key, PEM.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// What a certificate is for.
enum Use {
    Server { names: Vec<String> },
    Client,
}

/// The lab's certificate authority.
pub(crate) struct Pki {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    ca: String,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pki")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Pki {
    /// Opens the CA in `folder`, or makes one there.
    pub(crate) fn open(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let ca_file = folder.join("ca.crt");
        let key_file = folder.join("ca.key");
        let params = ca_params();
        let (ca, key) = if ca_file.exists() {
            let key = KeyPair::from_pem(&read(&key_file)?)
                .with_context(|| format!("{} holds no private key", key_file.display()))?;
            (read(&ca_file)?, key)
        } else {
            let key = KeyPair::generate().context("cannot make the CA key")?;
            let ca = params
                .self_signed(&key)
                .context("cannot make the CA certificate")?
                .pem();
            write_secret(&key_file, &key.serialize_pem())?;
            write_secret(&ca_file, &ca)?;
            let tokens = KeyPair::generate().context("cannot make the ServiceAccount key")?;
            write_secret(&folder.join("sa.pub"), &tokens.public_key_pem())?;
            write_secret(&folder.join("sa.key"), &tokens.serialize_pem())?;
            (ca, key)
        };
        Ok(Self {
            folder,
            issuer: Issuer::new(params, key),
            ca,
        })
    }

    /// The CA certificate, PEM.
    pub(crate) fn ca(&self) -> &str {
        &self.ca
    }

    /// A file of the folder: `ca.crt`, `ca.key`, `sa.pub`, `sa.key`, or one written by `issue_*`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A client certificate.
    pub(crate) fn client(&self, subject: &Subject) -> Result<Pair> {
        self.issue(subject, Use::Client)
    }

    /// A server certificate for `names` (addresses or DNS names).
    pub(crate) fn server(&self, subject: &Subject, names: Vec<String>) -> Result<Pair> {
        self.issue(subject, Use::Server { names })
    }

    /// Writes a client certificate to `<name>.crt` and `<name>.key`.
    pub(crate) fn write_client(&self, name: &str, subject: &Subject) -> Result<()> {
        self.write(name, &self.client(subject)?)
    }

    /// Writes a server certificate for `names` (addresses or DNS names) to `<name>.crt` and `<name>.key`.
    pub(crate) fn write_server(
        &self,
        name: &str,
        subject: &Subject,
        names: Vec<String>,
    ) -> Result<()> {
        self.write(name, &self.server(subject, names)?)
    }

    fn write(&self, name: &str, pair: &Pair) -> Result<()> {
        write_secret(&self.file(&format!("{name}.key")), &pair.key)?;
        write_secret(&self.file(&format!("{name}.crt")), &pair.certificate)
    }

    fn issue(&self, subject: &Subject, purpose: Use) -> Result<Pair> {
        let (names, usage) = match purpose {
            Use::Server { names } => (names, ExtendedKeyUsagePurpose::ServerAuth),
            Use::Client => (Vec::new(), ExtendedKeyUsagePurpose::ClientAuth),
        };
        let mut params =
            CertificateParams::new(names).context("a name does not fit into a certificate")?;
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, &subject.user);
        if let Some(group) = &subject.group {
            params
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        lasting(&mut params);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("cannot issue the certificate of {}", subject.user))?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Constant: an issuer made from them later is the same issuer.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "lockstep-lab-ca");
    lasting(&mut params);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

/// A lab's guests may have a clock that is years off; the CA dies with the state folder.
fn lasting(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file that only its owner can read.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    let unwritable = || format!("cannot write {}", path.display());
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(unwritable)?
        .write_all(text.as_bytes())
        .with_context(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continued_folder_keeps_its_ca_and_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pki");
        let first = Pki::open(path.clone()).unwrap();
        let tokens = read(&first.file("sa.key")).unwrap();
        let second = Pki::open(path).unwrap();
        assert_eq!(first.ca(), second.ca());
        assert_eq!(tokens, read(&second.file("sa.key")).unwrap());
        second
            .write_server("server", &Subject::user("s"), vec!["127.0.0.1".to_owned()])
            .unwrap();
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::open(folder.path().join("pki")).unwrap();
        pki.write_client("admin", &Subject::user("admin").in_group("system:masters"))
            .unwrap();
        for name in ["ca.key", "sa.key", "admin.key"] {
            let mode = std::fs::metadata(pki.file(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
