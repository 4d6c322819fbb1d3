//! A web server before the store, which speaks HTTPS as firmware of cards does: TLS 1.2 without
//! elliptic curves.

use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};

use crate::nginx::Nginx;

/// An authority for servers.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Authority {
    /// A new one of this name.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).context("no key for an authority")?;
        let certificate = params.self_signed(&key)?;
        let der = certificate.der().to_vec();
        Ok(Self {
            issuer: Issuer::new(params, key),
            der,
        })
    }

    /// Its certificate, DER.
    pub(crate) fn der(&self) -> Vec<u8> {
        self.der.clone()
    }

    /// Certificate and key of a server at this address, PEM.
    fn server(&self, address: &str) -> Result<(String, String)> {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).context("no key for a server")?;
        let certificate = CertificateParams::new([address.to_owned()])?;
        let certificate = certificate.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// Begins to hand on what is asked of `address` to the store. Its URLs are capabilities, and not
/// logged.
pub(crate) async fn before(
    store: &str,
    address: &str,
    authority: &Authority,
    folder: &Path,
) -> Result<Nginx> {
    let (certificate, key) = authority.server(address)?;
    let folder = folder.join("front");
    std::fs::create_dir_all(&folder)?;
    for (name, text) in [("server.crt", certificate), ("server.key", key)] {
        std::fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    let server = format!(
        "    ssl_certificate {folder}/server.crt;
    ssl_certificate_key {folder}/server.key;
    ssl_protocols TLSv1.2;
    ssl_ciphers AES256-GCM-SHA384:AES128-GCM-SHA256:AES256-SHA256:AES128-SHA256;
    error_log {folder}/nginx/error.log info;
    location / {{
      proxy_pass {store};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_max_temp_file_size 0;
    }}
",
        folder = folder.display()
    );
    Nginx::start(&folder, true, &server).await
}
