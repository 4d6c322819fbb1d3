//! Services for real: processes of this machine, executed from memory.

mod groups;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex as Held, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;

use super::*;
use crate::fake_api::FakeApi;
use crate::seed::StoreSeed;

/// An agent knows its services by what they execute, wherever they came from: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// An executable of this machine that needs no other file: it does what `code` does.
fn executable(code: &[u8], tag: &str) -> Vec<u8> {
    const AT: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let length = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [AT + HEADERS, 64, 0] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    elf.extend_from_slice(b"\x01\0\0\0\x05\0\0\0");
    for word in [0, AT, AT, length, length, 0x1000] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(code);
    elf.extend_from_slice(tag.as_bytes());
    elf
}

/// Waits for signals, for ever: `pause`.
fn waits(tag: &str) -> Vec<u8> {
    executable(b"\xb8\x22\0\0\0\x0f\x05\xeb\xf7", tag)
}

/// Says `no` to its standard error, and exits with status 3.
fn gives_up() -> Vec<u8> {
    let mut code =
        b"\xb8\x01\0\0\0\xbf\x02\0\0\0\x48\x8d\x35\x13\0\0\0\xba\x02\0\0\0\x0f\x05".to_vec();
    code.extend_from_slice(b"\xb8\x3c\0\0\0\xbf\x03\0\0\0\x0f\x05no");
    executable(&code, "")
}

/// What the store gives out, and what it was asked for.
#[derive(Default)]
struct Shared {
    bytes: Held<BTreeMap<String, Vec<u8>>>,
    ranges: Held<Vec<Option<String>>>,
}

async fn served(
    State(shared): State<Arc<Shared>>,
    Path((_, digest)): Path<(String, String)>,
    headers: HeaderMap,
) -> (StatusCode, Vec<u8>) {
    if headers.get("authorization").unwrap() != "Bearer store-secret" {
        return (StatusCode::UNAUTHORIZED, Vec::new());
    }
    let range = headers
        .get("range")
        .map(|range| range.to_str().unwrap().to_owned());
    let from = range.as_ref().map(|range| {
        let from = range
            .strip_prefix("bytes=")
            .unwrap()
            .strip_suffix('-')
            .unwrap();
        from.parse::<usize>().unwrap()
    });
    shared
        .ranges
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(range);
    let bytes = shared.bytes.lock().unwrap_or_else(PoisonError::into_inner);
    match (bytes.get(&digest), from) {
        (None, _) => (StatusCode::NOT_FOUND, Vec::new()),
        (Some(bytes), None) => (StatusCode::OK, bytes.clone()),
        (Some(bytes), Some(from)) => (StatusCode::PARTIAL_CONTENT, bytes[from..].to_vec()),
    }
}

struct Bench {
    api: FakeApi,
    store: Arc<Shared>,
    url: String,
    dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Bench {
    async fn new() -> Self {
        // Only the first test of the process installs it.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let alone = ALONE.lock().await;
        let store = Arc::<Shared>::default();
        let router = Router::new()
            .route("/s/{card}/{digest}", get(served))
            .with_state(Arc::clone(&store));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            api: FakeApi::default(),
            store,
            url,
            dir: tempfile::tempdir().unwrap(),
            _alone: alone,
        }
    }

    fn dir(&self) -> PathBuf {
        self.dir.path().join("services")
    }

    /// The store has these bytes under that digest, whatever they are.
    fn holds(&self, digest: Digest, bytes: &[u8]) {
        let mut held = self.store.bytes.lock().unwrap();
        held.insert(digest.hex(), bytes.to_vec());
    }

    fn says(&self, services: &Value) {
        let dpu = json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "Dpu",
            "metadata": {"name": "c1", "uid": "uid-1"}, "spec": {},
            "status": {"services": services},
        });
        self.api.put("dpus/c1", dpu);
    }

    fn offers(&self, version: &str, digest: Digest) {
        self.says(&json!([{
            "service": "web", "wantedImage": "web",
            "offered": {"service": "web", "image": "web", "version": version, "digest": digest},
        }]));
    }

    fn agent(&self) -> Agent {
        let seed = Seed {
            api_server: "https://192.0.2.1:6443".to_owned(),
            ca: String::new(),
            namespace: "site".to_owned(),
            dpu: "c1".to_owned(),
            dpu_uid: Some("uid-1".to_owned()),
            token: "secret".to_owned(),
            image_version: "1".to_owned(),
            image_digest: "sha256:aa".to_owned(),
            wipe: None,
            store: Some(StoreSeed {
                url: self.url.clone(),
                ca: None,
                token: "store-secret".to_owned(),
            }),
        };
        let made = Services::of(&seed, &self.api.client(), self.dir());
        let (mut services, told) = made.unwrap();
        services.look_every = Duration::from_millis(50);
        let ending = CancellationToken::new();
        let task = tokio::spawn(services.run(ending.clone()));
        Agent { task, told, ending }
    }
}

struct Agent {
    task: JoinHandle<()>,
    told: Told,
    ending: CancellationToken,
}

impl Agent {
    async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&[ServiceReport]) -> bool,
    ) -> Vec<ServiceReport> {
        let is_it = |told: &Option<ServicesReport>| {
            told.as_ref().is_some_and(|told| wanted(&told.services))
        };
        let waited = self.told.wait_for(is_it);
        let found = tokio::time::timeout(Duration::from_secs(60), waited).await;
        let found = found.map(|told| told.unwrap().clone().unwrap().services);
        match found {
            Ok(services) => services,
            Err(_) => panic!("never {what}: {:?}", *self.told.borrow()),
        }
    }

    async fn end(self) {
        self.ending.cancel();
        self.task.await.unwrap();
    }
}

fn runs(services: &[ServiceReport], digest: Digest) -> bool {
    let [one] = services else { return false };
    one.state == ServiceState::Running && one.digest == Some(digest.to_string())
}

fn pids() -> Vec<(String, Digest)> {
    let all = Process::all().into_iter();
    all.map(|(service, process)| (service, process.digest))
        .collect()
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_service_runs_as_offered_outlives_its_agent_is_replaced_and_ends() {
    let bench = Bench::new().await;
    let (one, two) = (waits("1"), waits("2"));
    let (v1, v2, v3) = (Digest::of(&one), Digest::of(&two), Digest::of(b"other"));
    bench.holds(v1, &one);
    bench.holds(v2, &two);
    // Other bytes than are offered.
    bench.holds(v3, &two);
    bench.offers("1", v1);
    let mut agent = bench.agent();
    let told = agent.until("v1", |told| runs(told, v1)).await;
    assert_eq!(told[0].version.as_deref(), Some("1"));
    agent.end().await;
    assert_eq!(pids(), [("web".to_owned(), v1)], "it outlives its agent");

    let mut agent = bench.agent();
    agent.until("v1 again", |told| runs(told, v1)).await;
    assert_eq!(pids(), [("web".to_owned(), v1)], "and is not started again");
    bench.offers("2", v2);
    agent.until("v2", |told| runs(told, v2)).await;
    assert_eq!(pids(), [("web".to_owned(), v2)]);

    bench.offers("3", v3);
    let refused =
        |told: &[ServiceReport]| runs(told, v2) && told[0].reason.as_deref() == Some("BytesDiffer");
    agent.until("other bytes refused", refused).await;
    assert_eq!(pids(), [("web".to_owned(), v2)], "v2 goes on");

    // Nothing can be read, and nothing is said: neither is a wish.
    bench.api.forbid("dpus/c1", true);
    let unread = |told: &Option<ServicesReport>| told.as_ref().is_some_and(|told| !told.asked.ok);
    agent.told.wait_for(unread).await.unwrap();
    bench.api.forbid("dpus/c1", false);
    bench.says(&Value::Null);
    let read = |told: &Option<ServicesReport>| told.as_ref().is_some_and(|told| told.asked.ok);
    agent.told.wait_for(read).await.unwrap();
    assert_eq!(pids(), [("web".to_owned(), v2)]);

    bench.says(&json!([]));
    agent.until("gone", <[ServiceReport]>::is_empty).await;
    assert_eq!(pids(), []);
    assert_eq!(std::fs::read_dir(bench.dir()).unwrap().count(), 0);
    agent.end().await;
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_service_that_ends_is_started_again_and_its_last_words_are_told() {
    let bench = Bench::new().await;
    let bytes = gives_up();
    let digest = Digest::of(&bytes);
    bench.holds(digest, &bytes);
    bench.offers("1", digest);
    let mut agent = bench.agent();
    let told = agent
        .until("twice", |told| {
            told.iter()
                .any(|one| one.restarts >= 2 && one.state == ServiceState::BackingOff)
        })
        .await;
    let message = told[0].message.clone().unwrap();
    assert!(
        message.contains("status 3; its last words: no"),
        "{message}"
    );
    // What is withdrawn is neither fetched nor started.
    bench.says(&json!([{"service": "web", "wantedImage": "web"}]));
    agent
        .until("not offered", |told| {
            told.iter().any(|one| one.state == ServiceState::NotOffered)
        })
        .await;
    bench.says(&json!([]));
    agent.until("gone", <[ServiceReport]>::is_empty).await;
    agent.end().await;
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_download_goes_on_where_it_was_cut_off() {
    let bench = Bench::new().await;
    let bytes = waits("resumed");
    let digest = Digest::of(&bytes);
    bench.holds(digest, &bytes);
    let shelf = Shelf::open(&bench.dir()).unwrap();
    shelf
        .partial(&digest)
        .unwrap()
        .write_all(&bytes[..40])
        .unwrap();
    bench.offers("1", digest);
    let mut agent = bench.agent();
    agent.until("running", |told| runs(told, digest)).await;
    let asked = bench.store.ranges.lock().unwrap().clone();
    assert_eq!(asked, [Some("bytes=40-".to_owned())]);
    bench.says(&json!([]));
    agent.until("gone", <[ServiceReport]>::is_empty).await;
    agent.end().await;
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn services_of_the_same_bytes_have_them_fetched_once() {
    let bench = Bench::new().await;
    let bytes = waits("shared");
    let digest = Digest::of(&bytes);
    bench.holds(digest, &bytes);
    let offered = ["api", "web"].map(|service| {
        json!({
            "service": service, "wantedImage": service,
            "offered": {"service": service, "image": service, "version": "1", "digest": digest},
        })
    });
    bench.says(&json!(offered));
    let mut agent = bench.agent();
    let run = |told: &[ServiceReport]| {
        let is_it = |one: &ServiceReport| one.digest == Some(digest.to_string());
        told.len() == 2 && told.iter().all(is_it)
    };
    agent.until("both", run).await;
    assert_eq!(*bench.store.ranges.lock().unwrap(), [None]);
    bench.says(&json!([]));
    agent.until("gone", <[ServiceReport]>::is_empty).await;
    agent.end().await;
}
