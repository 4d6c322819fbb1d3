//! A store in a folder of its own, and the images of these tests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstep_store::{Digest, FetchLimits, ImageRequest, Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        // The first test of the process installs it, the others find it.
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn config(&self) -> StoreConfig {
        StoreConfig {
            limits: FetchLimits {
                attempts: 3,
                backoff: Duration::from_millis(5),
                backoff_max: Duration::from_millis(20),
                ..FetchLimits::default()
            },
            ..StoreConfig::new(self.dir.path(), 64 << 20)
        }
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.config()).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.path("sha256").join(digest.hex())
    }

    /// Names of everything in a folder of the store.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Limits under which a slow server is given up in well under a second.
pub(crate) fn impatient(config: StoreConfig) -> StoreConfig {
    StoreConfig {
        limits: FetchLimits {
            response: Duration::from_millis(300),
            stall_window: Duration::from_millis(300),
            stall_min_bytes: 1000,
            attempts: 2,
            ..config.limits
        },
        ..config
    }
}

/// Bytes that differ everywhere and from seed to seed.
pub(crate) fn image(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// An image with a seed slot of `len` bytes at `offset`.
pub(crate) fn with_slot(mut image: Vec<u8>, offset: usize, len: usize) -> Vec<u8> {
    let header = format!("LOCKSTEP-SEED-SLOT-V1 {len}\n");
    image[offset..offset + len].fill(b' ');
    image[offset..offset + header.len()].copy_from_slice(header.as_bytes());
    image
}

pub(crate) fn request(image: &[u8], sources: &[Url]) -> ImageRequest {
    ImageRequest {
        digest: Digest::of(image),
        size: Some(image.len() as u64),
        sources: sources.iter().cloned().map(Into::into).collect(),
    }
}

/// Waits until a condition holds; fails loudly when it never does.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}

pub(crate) async fn serve(store: &Store) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = store.router();
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, server)
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
