//! Certificates that are renewed, that do not fit, and clients that do not trust them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{Bounds, Call, Callers, TlsFault, serve_to};

/// Longer than anything here may take.
const HANGS: Duration = Duration::from_secs(60);
const BOUNDS: Bounds = Bounds {
    head: Duration::from_millis(500),
    still: Duration::from_secs(30),
    in_all: 8,
    per_peer: 8,
    keep_alive: true,
};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        // The first test of the process installs it, the others find it.
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    /// PEM of a certificate for loopback, and of its key.
    fn issue(&self) -> (String, String) {
        self.issue_until(None)
    }

    /// One that has ended with this year.
    fn issue_until(&self, year: Option<i32>) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        if let Some(year) = year {
            params.not_before = rcgen::date_time_ymd(year, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, 12, 31);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file as renewals do: by another file of that name.
    fn put(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn put_pair(&self, (certificate, key): &(String, String)) {
        self.put("crt", certificate);
        self.put("key", key);
    }

    fn open(&self) -> Result<Certificate, CertificateError> {
        Certificate::open(self.path("crt"), self.path("key"))
    }
}

async fn served(certificate: Certificate) -> SocketAddr {
    served_to(certificate, Callers::default()).await
}

async fn served_to(certificate: Certificate, callers: Callers) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(|| async { vec![7_u8; 3_000_000] }));
    tokio::spawn(serve_to(
        listener,
        Some(Arc::new(certificate)),
        router,
        BOUNDS,
        callers,
        CancellationToken::new(),
    ));
    address
}

/// How many bytes a client gets that trusts one authority.
async fn read(address: SocketAddr, trusted: &Authority) -> io::Result<usize> {
    get_path(address, trusted, "/").await
}

async fn get_path(address: SocketAddr, trusted: &Authority, path: &str) -> io::Result<usize> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.root.clone()).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut all = Vec::new();
    timeout(HANGS, stream.read_to_end(&mut all)).await??;
    Ok(all.iter().filter(|byte| **byte == 7).count())
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let (before, after, files) = (Authority::new(), Authority::new(), Files::new());
    files.put_pair(&before.issue());
    let address = served(files.open().unwrap()).await;
    assert_eq!(read(address, &before).await.unwrap(), 3_000_000);
    assert!(read(address, &after).await.is_err());

    let renewed = after.issue();
    files.put("crt", &renewed.0);
    // The key is still the former one's.
    assert_eq!(read(address, &before).await.unwrap(), 3_000_000);
    files.put("key", &renewed.1);
    assert_eq!(read(address, &after).await.unwrap(), 3_000_000);
    assert!(read(address, &before).await.is_err());

    fs::remove_file(files.path("crt")).unwrap();
    assert_eq!(read(address, &after).await.unwrap(), 3_000_000);
}

#[tokio::test]
async fn who_does_not_speak_tls_is_not_waited_for_and_gets_nothing() {
    let (authority, files) = (Authority::new(), Files::new());
    files.put_pair(&authority.issue());
    let address = served(files.open().unwrap()).await;
    let begun = Instant::now();
    for text in ["", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        // A reset ends it as well as a close.
        drop(
            timeout(HANGS, stream.read_to_end(&mut got))
                .await
                .expect("closed"),
        );
        assert!(!got.starts_with(b"HTTP"), "{text:?}");
    }
    assert!(begun.elapsed() >= BOUNDS.head);
    assert_eq!(read(address, &authority).await.unwrap(), 3_000_000);
}

#[tokio::test]
async fn why_a_caller_got_nothing_is_remembered_by_its_address() {
    let (authority, stranger, files) = (Authority::new(), Authority::new(), Files::new());
    files.put_pair(&authority.issue_until(Some(2001)));
    let callers = Callers::default();
    let address = served_to(files.open().unwrap(), callers.clone()).await;
    assert_eq!(callers.of(address.ip()), None);

    assert!(read(address, &authority).await.is_err());
    told(&callers, Call::Tls(TlsFault::OutOfDate)).await;
    files.put_pair(&authority.issue());
    assert!(read(address, &stranger).await.is_err());
    told(&callers, Call::Tls(TlsFault::Untrusted)).await;
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    told(&callers, Call::Tls(TlsFault::NotTls)).await;
    drop(TcpStream::connect(address).await.unwrap());
    told(&callers, Call::Tls(TlsFault::BrokenOff)).await;
    assert!(read(address, &authority).await.is_ok());
    told(&callers, Call::Answered).await;
    assert_eq!(get_path(address, &authority, "/other").await.unwrap(), 0);
    told(&callers, Call::Refused(404)).await;
}

/// Waits until that is what became of the last call.
async fn told(callers: &Callers, wanted: Call) {
    let own = Ipv4Addr::LOCALHOST.into();
    let last = || callers.of(own).and_then(|caller| caller.last);
    let begun = Instant::now();
    while last().map(|(call, _)| call) != Some(wanted) {
        assert!(begun.elapsed() < HANGS, "{wanted:?}: {:?}", last());
        tokio::task::yield_now().await;
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let (authority, files) = (Authority::new(), Files::new());
    let (pair, other) = (authority.issue(), authority.issue());
    let said = |files: &Files| files.open().unwrap_err().to_string();
    assert!(said(&files).contains("crt"));
    files.put("crt", &pair.0);
    assert!(said(&files).contains("key"));
    files.put("key", &other.1);
    assert!(said(&files).contains("cannot be used together"));
    files.put("key", &pair.1);
    assert!(files.open().is_ok());
    files.put("crt", &pair.1);
    assert!(said(&files).contains("no certificate is in it"));
}
