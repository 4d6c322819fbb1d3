//! Certificates: the configured CA and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use axum::serve::Listener;
use lockstep_store::{OpenError, Store, StoreConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use url::Url;

use crate::site::{Site, image, request};

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // A client that does not trust us ends the handshake.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

async fn server(issuer: &Issuer<'static, KeyPair>, name: &str, bytes: Vec<u8>) -> Url {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = tcp.local_addr().unwrap().port();
    let tls = Tls {
        tcp,
        acceptor: TlsAcceptor::from(Arc::new(config)),
    };
    let router = Router::new().route("/image.iso", get(move || async move { bytes.clone() }));
    tokio::spawn(async move { axum::serve(tls, router).await.unwrap() });
    Url::parse(&format!("https://127.0.0.1:{port}/image.iso")).unwrap()
}

#[tokio::test]
async fn only_the_configured_authority_is_trusted() {
    let (site, bytes) = (Site::new(), image(1, 100_000));
    let ((pem, ours), (_, theirs)) = (authority(), authority());
    let store = Store::open(StoreConfig {
        ca_bundle: Some(pem.into_bytes()),
        ..site.config()
    })
    .unwrap();
    for (issuer, name) in [(&theirs, "127.0.0.1"), (&ours, "127.0.0.2")] {
        let url = server(issuer, name, bytes.clone()).await;
        let error = store.fetch(&request(&bytes, &[url])).await.unwrap_err();
        assert_eq!(error.category(), "TlsUntrusted", "{error}");
        assert!(error.is_permanent());
    }
    let url = server(&ours, "127.0.0.1", bytes.clone()).await;
    store.fetch(&request(&bytes, &[url])).await.unwrap();
}

#[tokio::test]
async fn without_a_bundle_an_unknown_authority_is_not_trusted() {
    let (site, bytes) = (Site::new(), image(2, 1000));
    let url = server(&authority().1, "127.0.0.1", bytes.clone()).await;
    let error = site
        .open()
        .fetch(&request(&bytes, &[url]))
        .await
        .unwrap_err();
    assert_eq!(error.category(), "TlsUntrusted", "{error}");
}

#[tokio::test]
async fn a_bundle_without_certificates_is_refused() {
    let site = Site::new();
    for pem in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let opened = Store::open(StoreConfig {
            ca_bundle: Some(pem.as_bytes().to_vec()),
            ..site.config()
        });
        assert!(matches!(opened, Err(OpenError::CaBundle { .. })), "{pem}");
    }
}
