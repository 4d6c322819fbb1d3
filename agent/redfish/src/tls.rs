//! TLS towards BMCs: a CA bundle, a pinned key, or neither, and in every case
//! a record of the key that was seen.
//!
//! The handshake signature is checked in every mode, so a recorded key is one
//! that the peer holds. Sessions are not resumed: each connection proves its
//! key anew.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};

use crate::target::{SpkiPin, TlsTrust};

/// What was seen of the peer: the key of its latest handshake, trusted or
/// not, and the address that answered last.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedPeer(Arc<Mutex<Observed>>);

#[derive(Debug, Default)]
struct Observed {
    pin: Option<SpkiPin>,
    remote: Option<SocketAddr>,
}

impl ObservedPeer {
    pub(crate) fn pin(&self) -> Option<SpkiPin> {
        self.observed().pin.clone()
    }

    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        self.observed().remote
    }

    pub(crate) fn answered_from(&self, remote: SocketAddr) {
        self.observed().remote = Some(remote);
    }

    fn showed(&self, pin: SpkiPin) {
        self.observed().pin = Some(pin);
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client side of TLS for one target. `expected_pin` is enforced on top of
/// whatever `trust` asks for.
///
/// # Errors
///
/// Why the CA bundle cannot be used.
pub(crate) fn client_config(
    trust: &TlsTrust,
    expected_pin: Option<&SpkiPin>,
    observed: ObservedPeer,
) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut pins: Vec<SpkiPin> = expected_pin.cloned().into_iter().collect();
    let chain = match trust {
        TlsTrust::CaBundle(pem) => Some(chain_verifier(pem, &provider)?),
        TlsTrust::PinnedKey(pin) => {
            pins.push(pin.clone());
            None
        }
        TlsTrust::NoVerification | TlsTrust::PlainHttp => None,
    };
    let verifier = PeerVerifier {
        chain,
        pins,
        observed,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn chain_verifier(
    pem: &str,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("the CA bundle: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("the CA bundle: {error}"))?;
    }
    if roots.is_empty() {
        return Err("the CA bundle holds no PEM certificate".to_owned());
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| format!("the CA bundle: {error}"))
}

/// The peer's key is not the pinned one.
#[derive(Debug)]
struct PinMismatch {
    pinned: SpkiPin,
    seen: SpkiPin,
}

impl fmt::Display for PinMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the key pin is {}, the BMC's key has {}",
            self.pinned, self.seen
        )
    }
}

impl std::error::Error for PinMismatch {}

#[derive(Debug)]
struct PeerVerifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<SpkiPin>,
    observed: ObservedPeer,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let seen = SpkiPin::of(&parsed.subject_public_key_info());
        self.observed.showed(seen.clone());
        if let Some(pinned) = self.pins.iter().find(|pin| **pin != seen) {
            let mismatch = PinMismatch {
                pinned: pinned.clone(),
                seen,
            };
            return Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into());
        }
        match &self.chain {
            Some(chain) => {
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
