//! The certificate under which a port is served, from files that may be renewed meanwhile.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read, or is not what it should be.
    #[error("{path}: {reason}; give {wanted} as PEM, readable for this process")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What should be there.
        wanted: &'static str,
    },
    /// Certificate and key are none together.
    #[error(
        "{certificate} and {key} cannot be used together: {reason}; give a certificate chain, the server's own first, and the key of that one"
    )]
    Pair {
        /// The file of the chain.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What shows that a file was replaced, also behind a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    len: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            place: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[derive(Debug)]
struct Loaded {
    /// The files that were read last, whether or not they could be used.
    stamps: Option<[Stamp; 2]>,
    config: Arc<ServerConfig>,
}

/// A certificate chain and its key in two PEM files.
///
/// Each connection gets what is in the files when it comes. Files that cannot be used, such as
/// a certificate that was renewed a moment before its key, leave the last good pair in use.
#[derive(Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Mutex<Loaded>,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// If they cannot be used. The process must have a rustls crypto provider.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        // Taken before the files are read: what is replaced in between is read again.
        let stamps = stamps(&certificate, &key).ok();
        let config = load(&certificate, &key)?;
        Ok(Self {
            certificate,
            key,
            loaded: Mutex::new(Loaded { stamps, config }),
        })
    }

    /// What the next connection is served with.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.certificate, &self.key).ok();
        if stamps != loaded.stamps {
            loaded.stamps = stamps;
            match load(&self.certificate, &self.key) {
                Ok(config) => {
                    tracing::info!(certificate = %self.certificate.display(), "certificate renewed");
                    loaded.config = config;
                }
                Err(error) => tracing::error!("the former certificate stays in use: {error}"),
            }
        }
        Arc::clone(&loaded.config)
    }
}

fn stamps(certificate: &Path, key: &Path) -> io::Result<[Stamp; 2]> {
    let of = |path: &Path| fs::metadata(path).map(|metadata| Stamp::of(&metadata));
    Ok([of(certificate)?, of(key)?])
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let unusable = |path: &Path, wanted, reason: String| CertificateError::File {
        path: path.to_owned(),
        reason,
        wanted,
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(certificate, "a certificate chain", error.to_string()))?;
    if chain.is_empty() {
        let reason = "no certificate is in it".to_owned();
        return Err(unusable(certificate, "a certificate chain", reason));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| unusable(key, "a private key", error.to_string()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| CertificateError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            reason: error.to_string(),
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
