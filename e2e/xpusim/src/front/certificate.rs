//! Self-signed certificates, one for each BMC, made when first needed and
//! anew when the BMC gets another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::fleet::Fleet;

/// The certificates of a fleet.
#[derive(Debug)]
pub(super) struct Certificates {
    fleet: Arc<Fleet>,
    made: Mutex<HashMap<String, Arc<Certificate>>>,
}

/// A key and its certificate.
#[derive(Debug)]
pub(super) struct Certificate {
    generation: u64,
    pub(super) pem: String,
    key: Arc<CertifiedKey>,
}

impl Certificates {
    pub(super) fn new(fleet: Arc<Fleet>) -> Self {
        Self {
            fleet,
            made: Mutex::default(),
        }
    }

    /// The certificate of a machine's BMC as it is now.
    pub(super) fn of(&self, name: &str) -> Result<Arc<Certificate>> {
        let place = self.fleet.place(name)?;
        let generation = self.fleet.domain(place).machines[place.machine]
            .bmc
            .certificate;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(name)
            && known.generation == generation
        {
            return Ok(Arc::clone(known));
        }
        let certificate = Arc::new(make(name, generation)?);
        made.insert(name.to_owned(), Arc::clone(&certificate));
        Ok(certificate)
    }

    /// TLS for one machine, or for the one that the client names.
    pub(super) fn server(self: &Arc<Self>, only: Option<String>) -> Result<ServerConfig> {
        let resolver = Resolver {
            certificates: Arc::clone(self),
            only,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        // A renewed certificate must show, and thousands of caches would be too many.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

fn make(name: &str, generation: u64) -> Result<Certificate> {
    let names = [
        name.to_owned(),
        format!("{name}.localhost"),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let made = rcgen::generate_simple_self_signed(names)
        .with_context(|| format!("no certificate can be made for {name}"))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let key = aws_lc_rs::sign::any_supported_type(&key)
        .with_context(|| format!("the key made for {name} cannot be used"))?;
    Ok(Certificate {
        generation,
        pem: made.cert.pem(),
        key: Arc::new(CertifiedKey::new(vec![made.cert.der().clone()], key)),
    })
}

#[derive(Debug)]
struct Resolver {
    certificates: Arc<Certificates>,
    only: Option<String>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().map(super::connection::first_label);
        // An address names nobody: any certificate will do for encryption.
        let any = self.certificates.fleet.names().first().map(String::as_str);
        let name = self.only.as_deref().or(named).or(any)?;
        match self.certificates.of(name) {
            Ok(certificate) => Some(Arc::clone(&certificate.key)),
            Err(error) => {
                tracing::debug!(%error, "no certificate");
                None
            }
        }
    }
}
