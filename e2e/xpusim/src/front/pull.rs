//! Images that BMCs fetch: from loopback and from nowhere else, by HTTP, or by
//! HTTPS without a look at the certificate, as a BMC does that trusts nobody
//! in particular. What comes is hashed and not kept.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::fleet::{Fleet, Place};
use crate::kept::Kept;
use crate::machine::{Arrived, Pull};

/// For a whole image, in real time.
const PATIENCE: Duration = Duration::from_secs(600);

/// Begins to fetch what a BMC was just asked to.
pub(super) fn begin(fleet: &Arc<Fleet>, place: Place) {
    let pulls = {
        let mut domain = fleet.domain(place);
        std::mem::take(&mut domain.machines[place.machine].bmc.pulls)
    };
    for pull in pulls {
        let fleet = Arc::clone(fleet);
        tokio::spawn(async move {
            let Pull { task, life, url } = pull;
            let kept = Kept::new(fleet.domain(place).keeps.clone());
            let came = match timeout(PATIENCE, fetch(&url, kept)).await {
                Ok(Ok(arrived)) => Ok(arrived),
                Ok(Err(error)) => Err(format!("{error:#}")),
                Err(_) => Err("it takes too long".to_owned()),
            };
            fleet.domain(place).arrived(place.machine, life, task, came);
        });
    }
}

async fn fetch(url: &str, kept: Kept) -> Result<Arrived> {
    let url: Uri = url.parse().context("the URL")?;
    let host = url.host().context("the URL has no host")?;
    let bare = host.trim_matches(['[', ']']);
    let secure = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((bare, port))
        .await
        .context("no connection")?;
    ensure!(stream.peer_addr()?.ip().is_loopback(), "it is elsewhere");
    if !secure {
        return exchange(stream, &url, kept).await;
    }
    let name = ServerName::try_from(bare.to_owned()).context("the host's name")?;
    let stream = TlsConnector::from(Arc::new(config()?))
        .connect(name, stream)
        .await
        .context("no TLS")?;
    exchange(stream, &url, kept).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Uri,
    mut kept: Kept,
) -> Result<Arrived> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let host = url.authority().context("the URL has no host")?.as_str();
    let request = Request::get(path)
        .header(header::HOST, host)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    if status != StatusCode::OK {
        bail!("HTTP {}", status.as_u16());
    }
    let mut body = response.into_body();
    let (mut bytes, mut digest) = (0, Sha256::new());
    while let Some(frame) = body.frame().await {
        if let Some(piece) = frame?.data_ref() {
            bytes += piece.len() as u64;
            digest.update(piece);
            kept.take(piece);
        }
    }
    driver.abort();
    Ok(Arrived {
        bytes,
        sha256: hex::encode(digest.finalize()),
        part: kept.into_bytes(),
    })
}

fn config() -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth())
}

/// Takes any certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
