//! `bench store`: the image store beside nginx, which serves the very same file, and beside
//! `openssl`, which hashes it. Ratios, measured alternately in one run.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lockstep_store::Digest;
use lockstep_store_process::{Answer, Order};
use tokio::process::Command;

use crate::artefacts;
use crate::nginx::Nginx;
use crate::registry::Context;
use crate::report::Report;
use crate::store_process::StoreProcess;

/// The image.
const SIZE: u64 = 2 << 30;
/// Clients that read it at the same time.
const CLIENTS: u64 = 32;
/// How long they read in each round.
const WINDOW: Duration = Duration::from_secs(4);
/// Rounds of each, in turn.
const ROUNDS: usize = 3;
/// Bar for bytes served, against nginx.
const SERVED: f64 = 0.8;
/// Bar for verification, against openssl.
const VERIFIED: f64 = 0.9;
/// Bar for resident memory.
const RESIDENT: u64 = 64 << 20;

/// Runs the benchmark.
///
/// # Errors
/// When it cannot be run, or misses a bar.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let binary = artefacts::store_process().await?;
    let folder = &context.folder;
    let source = folder.join("image.bin");
    write_image(&source)?;
    let digest = openssl(&source).await?.0;
    let store_dir = folder.join("store");
    let blob = store_dir.join("sha256").join(digest.hex());
    let files: String = [("/source", &source), ("/image", &blob)]
        .map(|(path, file)| format!("    location = {path} {{ alias {}; }}\n", file.display()))
        .concat();
    let nginx = Nginx::start(folder, false, &files).await?;
    let log = folder.join("store.log");
    let command = [
        binary.into_os_string(),
        store_dir.into_os_string(),
        (4 * SIZE).to_string().into(),
    ];
    let mut store = StoreProcess::start(&command, &log).await?;
    let fetch = Order::Fetch {
        digest,
        size: Some(SIZE),
        sources: vec![format!("http://127.0.0.1:{}/source", nginx.port())],
        accounts: None,
    };
    let answer = store.order(&fetch).await?;
    ensure!(
        matches!(answer, Answer::Stored { .. }),
        "the image was not fetched: {answer:?}"
    );
    std::fs::remove_file(&source)?;
    let fetched = resident(&store)?;
    let path = granted(&mut store, digest).await?;
    let mut bytes = [0_u64; 2];
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let theirs = read(nginx.port(), "/image").await?;
        let ours = read(store.port(), &path).await?;
        ratios.push(ours as f64 / theirs as f64);
        bytes = [bytes[0] + ours, bytes[1] + theirs];
    }
    let served = bytes[0] as f64 / bytes[1] as f64;
    let peak = resident(&store)?;
    store.end().await?;
    report.figure(
        &format!("bytes to {CLIENTS} clients, against nginx on the same file"),
        format!("{served:.2} (rounds: {ratios:.2?})"),
    );
    report.figure(
        "most resident memory in MiB after the fetch, and after all",
        format!("{}, {}", fetched >> 20, peak >> 20),
    );
    let verified = verify(&command, &log, digest, &blob).await?;
    report.figure(
        "speed of verification, against openssl dgst -sha256",
        format!("{verified:.2}"),
    );
    std::fs::remove_file(&blob)?;
    nginx.stop().await?;
    let mut missed = Vec::new();
    if served < SERVED {
        missed.push(format!("served {served:.2} of nginx, not {SERVED}"));
    }
    if peak >= RESIDENT {
        missed.push(format!("{peak} bytes resident, not below {RESIDENT}"));
    }
    if verified < VERIFIED {
        missed.push(format!(
            "verifies at {verified:.2} of openssl, not {VERIFIED}"
        ));
    }
    ensure!(missed.is_empty(), "{}\n{report}", missed.join("\n"));
    Ok(report)
}

async fn granted(store: &mut StoreProcess, digest: Digest) -> Result<String> {
    let order = Order::Grant {
        digest,
        card: "card".to_owned(),
    };
    let answer = store.order(&order).await?;
    let Answer::Granted { path } = answer else {
        bail!("the image was not granted: {answer:?}");
    };
    Ok(path)
}

/// How fast a new process hashes the image before its first use, against openssl: the best of
/// some tries of each.
async fn verify<S: AsRef<std::ffi::OsStr>>(
    command: &[S],
    log: &Path,
    digest: Digest,
    blob: &Path,
) -> Result<f64> {
    let mut ours = Duration::MAX;
    let mut theirs = Duration::MAX;
    for _ in 0..ROUNDS {
        let mut store = StoreProcess::start(command, log).await?;
        let began = Instant::now();
        granted(&mut store, digest).await?;
        ours = ours.min(began.elapsed());
        store.end().await?;
        theirs = theirs.min(openssl(blob).await?.1);
    }
    Ok(theirs.as_secs_f64() / ours.as_secs_f64())
}

/// Bytes that no two parts of the file have in common.
fn write_image(path: &Path) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block = vec![0_u8; 1 << 20];
    for _ in 0..SIZE >> 20 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(file.sync_all()?)
}

/// What openssl says of a file, and how long it takes.
async fn openssl(path: &Path) -> Result<(Digest, Duration)> {
    let began = Instant::now();
    let output = Command::new("openssl")
        .args(["dgst", "-sha256", "-r"])
        .arg(path)
        .output()
        .await
        .context("openssl cannot be run; apt-get install openssl")?;
    let took = began.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    let digits = text.split_whitespace().next().unwrap_or_default();
    Ok((digits.parse()?, took))
}

/// The most that was resident of a process so far, in bytes.
fn resident(store: &StoreProcess) -> Result<u64> {
    let id = store.id().context("the store has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("no VmHWM")?.parse()?;
    Ok(kib << 10)
}

/// Bytes that all clients together get from a server. Each begins at another place, and begins
/// anew at the end, so that they read all of the image between them.
async fn read(port: u16, path: &str) -> Result<u64> {
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (over, path) = (Arc::clone(&over), path.to_owned());
            std::thread::spawn(move || client(port, &path, number * (SIZE / CLIENTS), &over))
        })
        .collect();
    tokio::time::sleep(WINDOW).await;
    over.store(true, Ordering::Relaxed);
    let mut bytes = 0;
    for client in clients {
        let got = client.join();
        bytes += got.map_err(|_| anyhow::anyhow!("a client ended in a panic"))??;
    }
    Ok(bytes)
}

fn client(port: u16, path: &str, start: u64, over: &AtomicBool) -> Result<u64> {
    let mut bytes = 0;
    let mut from = start;
    let mut buffer = vec![0; 256 << 10];
    while !over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes={from}-\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let begun = stream.read(&mut buffer)?;
        ensure!(
            buffer[..begun].starts_with(b"HTTP/1.1 206"),
            "{}",
            String::from_utf8_lossy(&buffer[..begun.min(200)])
        );
        while !over.load(Ordering::Relaxed) {
            match stream.read(&mut buffer)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
        from = 0;
    }
    Ok(bytes)
}
