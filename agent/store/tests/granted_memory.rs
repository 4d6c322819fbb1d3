//! What it takes in memory to read an image as one card is served it, however large it is. A process
//! of its own: the peak of a process is that of everything in it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};

use futures::StreamExt as _;
use lockstep_store::{Digest, Store, StoreConfig};
use sha2::{Digest as _, Sha256};

const IMAGE: u64 = 1 << 30;
const SLOT: &str = "LOCKSTEP-SEED-SLOT-V1 4096\n";

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}

/// A sparse file with a seed slot at its beginning, and its digest.
fn sparse(path: &std::path::Path) -> Digest {
    let mut file = File::create(path).unwrap();
    file.write_all(SLOT.as_bytes()).unwrap();
    file.write_all(&vec![b' '; 4096 - SLOT.len()]).unwrap();
    file.set_len(IMAGE).unwrap();
    let mut file = File::open(path).unwrap();
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
    }
    let mut digest = "sha256:".to_owned();
    for byte in hasher.finalize() {
        write!(digest, "{byte:02x}").unwrap();
    }
    digest.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_sparse_image_is_read_for_a_push_in_constant_memory() {
    // Only the first test of the process installs it.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let dir = tempfile::tempdir().unwrap();
    let blobs = dir.path().join("sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let made = dir.path().join("image");
    let digest = sparse(&made);
    std::fs::rename(made, blobs.join(digest.hex())).unwrap();
    let store = Store::open(StoreConfig::new(dir.path(), 4 << 30)).unwrap();
    let seed = b"{\"dpu\":\"card-1\"}".to_vec();
    store
        .grant(digest, "uid-1", Some(seed.clone()))
        .await
        .unwrap();

    let mut image = store.read_granted(&digest, "uid-1").await.unwrap();
    assert_eq!(image.length, IMAGE);
    let first = image.bytes.next().await.unwrap().unwrap();
    assert!(first.starts_with(&seed));
    let before = peak_kib();
    let mut came = first.len() as u64;
    while let Some(piece) = image.bytes.next().await {
        came += piece.unwrap().len() as u64;
    }
    assert_eq!(came, IMAGE);
    let after = peak_kib();
    println!("{before} KiB before, {after} KiB after");
    assert!(after - before < 4 * 1024, "{} KiB more", after - before);

    // Who has no grant reads nothing, and a grant that ends cuts what is being read.
    assert!(store.read_granted(&digest, "uid-2").await.is_err());
    let mut image = store.read_granted(&digest, "uid-1").await.unwrap();
    image.bytes.next().await.unwrap().unwrap();
    store.revoke("uid-1").await.unwrap();
    assert!(image.bytes.next().await.unwrap().is_err());
}
