//! Pushes against an API server in memory, a small store, and the imitation of an rshim.

mod limits;
mod restarts;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::SignedDuration;
use lockstep_rshim_imitation::{Imitation, OnOpen};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::fake_api::FakeApi;
use crate::host::{Host, reporter};
use crate::local_inventory::LocalMachine;
use crate::machine_figures::MachineFigures;

const UUID: &str = "4c4c4544-0051-3510-8052-b4c04f4d3132";
const SERIAL: &str = "MT2333X00001";
const BOOT: &str = "01234567-89ab-cdef-0123-456789abcdef";
const REPORT: &str = "dpureports/host-node1";
const SLOT: usize = 256;
/// Of an image, in bytes.
const MOST: u64 = 8 << 20;

/// The files of a server with one BlueField-3 at 0000:03:00.
pub(in crate::host) fn machine_at(root: &Path) {
    let write = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("proc/sys/kernel/random/boot_id", BOOT.as_bytes());
    write("proc/uptime", b"12.50 3.00\n");
    write("sys/class/dmi/id/product_uuid", UUID.as_bytes());
    for (function, device, class) in [(0, "0xa2dc", "0x020000"), (2, "0xc2d5", "0x080100")] {
        let folder = format!("sys/bus/pci/devices/0000:03:00.{function}");
        for (file, text) in [("vendor", "0x15b3"), ("device", device), ("class", class)] {
            write(&format!("{folder}/{file}"), format!("{text}\n").as_bytes());
        }
        let mut vpd = b"\x82\x05\x00Card1\x90\x0f\x00SN\x0c".to_vec();
        vpd.extend(SERIAL.as_bytes());
        vpd.push(0x78);
        write(&format!("{folder}/vpd"), &vpd);
    }
}

/// A boot stream for that generation with a slot for a seed behind it.
fn stream(version: u8) -> Vec<u8> {
    let body = b"boot loader and all the rest of it, long enough to be cut";
    let mut padded = body.to_vec();
    padded.resize(body.len().next_multiple_of(8), 0);
    let first = 0x1302_6642_u64 | 1 << 32 | 2 << 36 | u64::from(version) << 48 | 3 << 52 | 1 << 56;
    let second = body.len() as u64 | u64::from(crc(&padded)) << 32;
    let mut bytes: Vec<u8> = [first, second, 0]
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .collect();
    bytes.extend(padded);
    let mut slot = format!("LOCKSTEP-SEED-SLOT-V1 {SLOT}\n").into_bytes();
    slot.resize(SLOT, b' ');
    bytes.extend(slot);
    bytes
}

/// CRC-32 as the maker's tool computes it, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let fold = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ (0xedb8_8320 * (crc & 1))
        })
    };
    !bytes.iter().fold(!0, fold)
}

struct Bench {
    api: FakeApi,
    imitation: Imitation,
    image: Arc<Mutex<Vec<u8>>>,
    site: Arc<Mutex<Site>>,
    work: tempfile::TempDir,
    store: Url,
    pusher: Pusher,
    /// Seconds until a directive must have been accepted.
    accept_within: i64,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What the site's agent says.
#[derive(Default)]
pub(in crate::host) struct Site {
    /// Refusals, one for each question whether the card may be reset; then it may.
    own: Vec<&'static str>,
    pub(in crate::host) go: Option<&'static str>,
    /// It speaks of another directive.
    of_another: bool,
    asked: Vec<&'static str>,
    pub(in crate::host) seq: i64,
    /// It never gives the image out.
    hangs: bool,
    /// It does not say how long the image is.
    hides_length: bool,
}

fn refusal(reason: &str) -> Response {
    let body = json!({"reason": reason, "message": "said by the site's agent"});
    (StatusCode::CONFLICT, Json(body)).into_response()
}

pub(in crate::host) async fn store(
    image: Arc<Mutex<Vec<u8>>>,
    site: Arc<Mutex<Site>>,
) -> (Url, JoinHandle<()>) {
    let allowed = |headers: &HeaderMap| {
        headers
            .get("authorization")
            .is_some_and(|token| token == "Bearer a-token")
    };
    let of_site = Arc::clone(&site);
    let bytes = move |State(image): State<Arc<Mutex<Vec<u8>>>>, headers: HeaderMap| async move {
        if of_site.lock().unwrap().hangs {
            std::future::pending::<()>().await;
        }
        if !allowed(&headers) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let image = image.lock().unwrap().clone();
        if of_site.lock().unwrap().hides_length {
            let pieces: Vec<_> = image.chunks(1 << 20).map(Bytes::copy_from_slice).collect();
            let pieces = pieces.into_iter().map(Ok::<_, std::convert::Infallible>);
            return Body::from_stream(futures::stream::iter(pieces)).into_response();
        }
        image.into_response()
    };
    let own = {
        let site = Arc::clone(&site);
        move || async move {
            let mut site = site.lock().unwrap();
            site.asked.push("own");
            match site.own.pop() {
                Some(reason) => refusal(reason),
                None => Json(json!({"seed": hex::encode("the seed")})).into_response(),
            }
        }
    };
    let go = move || async move {
        let mut site = site.lock().unwrap();
        site.asked.push("go");
        match site.go {
            Some(reason) => refusal(reason),
            None => {
                let seq = site.seq + i64::from(site.of_another);
                Json(json!({"seq": seq})).into_response()
            }
        }
    };
    let router = Router::new()
        .route("/h/uid-c1/image", get(bytes))
        .route("/h/uid-c1/own", get(own))
        .route("/h/uid-c1/go", get(go))
        .with_state(image);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url.parse().unwrap(), task)
}

async fn bench() -> Bench {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let api = FakeApi::default();
    let imitation = Imitation::mount().unwrap();
    machine_at(imitation.root());
    let image = Arc::new(Mutex::new(stream(2)));
    let site = Arc::<Mutex<Site>>::default();
    let (store, serving) = store(Arc::clone(&image), Arc::clone(&site)).await;
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("token"), "a-token\n").unwrap();
    api.put("dpureports/bmc-card-c1", bmc("OsRunning"));
    let (pusher, reporting) = agent(&api, imitation.root(), &store, work.path());
    Bench {
        api,
        imitation,
        image,
        site,
        work,
        store,
        pusher,
        accept_within: 60,
        tasks: vec![serving, reporting],
    }
}

/// The agent as it starts: what reports, and what pushes.
pub(in crate::host) fn agent(
    api: &FakeApi,
    root: &Path,
    store: &Url,
    work: &Path,
) -> (Pusher, JoinHandle<()>) {
    let machine = LocalMachine::at(root);
    let root = machine.root.clone();
    let host = Host {
        node: "node1".to_owned(),
        figures: Arc::new(MachineFigures::new(root.clone())),
    };
    let (tell, told) = mpsc::channel(1);
    let (_, latest) = watch::channel(Some(lockstep_crds::inventory::Inventory::default()));
    let reporter = reporter(&api.client(), "site", host, machine, latest).hearing(told);
    let reporting = tokio::spawn(reporter.run(CancellationToken::new()));
    let args = InstallArgs {
        store: Some(store.clone()),
        store_ca: None,
        store_token: work.join("token"),
        work_dir: work.to_owned(),
        max_image_bytes: MOST,
        firmware_dir: None,
    };
    let orders = Orders::new(&api.client(), "site", "node1");
    let mut pusher = Pusher::new(orders, root, store, &args, tell).unwrap();
    pusher.pause = Duration::from_millis(10);
    pusher.cut = Duration::from_millis(700);
    pusher.look_again = Duration::from_millis(10);
    (pusher, reporting)
}

pub(in crate::host) fn bmc(stage: &str) -> Value {
    let offered = "Offered";
    json!({
        "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuReport",
        "metadata": {"name": "bmc-card-c1"},
        "spec": {
            "vantage": "CardBmc", "subject": "c1", "subjectUid": "uid-c1", "agentVersion": "1",
            "observedAt": "2026-01-01T00:00:00Z",
            "reachable": {"ok": true, "since": "2026-01-01T00:00:00Z"},
            "bmc": {
                "identity": {"serialNumber": SERIAL}, "power": "On", "stage": stage,
                "stageKnowledge": "Known", "media": {"owner": "Nobody"},
                "capabilities": {
                    "virtualMedia": offered, "sessions": offered, "bootProgress": offered,
                    "powerRestorePolicy": offered,
                },
            },
        },
    })
}

impl Bench {
    /// A directive to push what the store has, in time.
    fn directive(&self, seq: i64) -> Value {
        let now = clock::now().0;
        let digest = Digest::of(&self.image.lock().unwrap()).to_string();
        json!({
            "seq": seq, "step": "BootCard", "executor": "host-node1",
            "target": {"kind": "Card", "name": "c1", "uid": "uid-c1"},
            "action": {"kind": "PushImage", "image": {"digest": digest, "version": "1"}},
            "expects": {
                "identity": {"serialNumber": SERIAL}, "power": "On", "safeStage": true,
                "rshim": {"name": "rshim0", "serialNumber": SERIAL},
            },
            "issuedAt": now.to_string(), "deadline": (now + SignedDuration::from_secs(self.accept_within)).to_string(),
            "settleSeconds": 20,
        })
    }

    fn want(&self, directive: &Value, trust: &str) {
        self.site.lock().unwrap().seq = directive["seq"].as_i64().unwrap();
        self.api.put(
            "dpuhosts/h1",
            json!({
                "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuHost",
                "metadata": {"name": "h1", "uid": "uid-h1"},
                "spec": {
                    "site": "s", "policyRef": {"name": "p"}, "nodeName": "node1",
                    "identity": {"systemUuid": UUID}, "trustDomain": trust,
                },
                "status": {"seq": 9, "directives": [directive]},
            }),
        );
    }

    /// Has it carried out; result, reason and message of its end.
    async fn outcome(&mut self, seq: i64) -> (String, String, String) {
        self.pusher.turn().await.unwrap();
        let report = self.api.get(REPORT).unwrap();
        let execution = &report["spec"]["execution"];
        assert_eq!(execution["accepted"], seq, "{execution}");
        let part = |name: &str| {
            let text = execution["outcome"][name].as_str();
            text.unwrap_or_default().to_owned()
        };
        (part("result"), part("reason"), part("message"))
    }

    async fn refused(&mut self, seq: i64, reason: &str) -> String {
        let (result, told, message) = self.outcome(seq).await;
        assert_eq!((&*result, &*told), ("Failed", reason), "{message}");
        assert_eq!(self.imitation.card().resets, 0, "{reason}");
        message
    }

    /// So much more between the last image of the stream and the slot.
    fn lengthen(&self, bytes: usize) {
        let mut image = self.image.lock().unwrap();
        let slot = image.len() - SLOT;
        image.splice(slot..slot, std::iter::repeat_n(0, bytes));
    }

    /// What the card is to receive: the image with the seed over its slot.
    fn laid(&self) -> Vec<u8> {
        let mut bytes = self.image.lock().unwrap().clone();
        let slot = bytes.len() - SLOT;
        bytes[slot..].fill(b' ');
        bytes[slot..slot + 8].copy_from_slice(b"the seed");
        bytes
    }
}

#[tokio::test]
async fn an_image_is_checked_pushed_once_and_followed_to_its_end() {
    let mut bench = bench().await;
    bench.imitation.card().installs(Duration::from_millis(20));
    let directive = bench.directive(4);
    bench.want(&directive, "Trusted");
    let (result, _, message) = bench.outcome(4).await;
    assert_eq!(result, "Done", "{message}");
    assert!(bench.imitation.card().received == bench.laid());
    assert_eq!(bench.imitation.card().resets, 1);
    // The acceptance was written down before the end, and nothing is done twice.
    let writes = bench.api.writes();
    let ours = writes.iter().filter(|write| write.starts_with(REPORT));
    assert!(ours.count() >= 2, "{writes:?}");
    bench.pusher.turn().await.unwrap();
    assert_eq!(bench.imitation.card().resets, 1);
    assert!(!bench.work.path().join("spool").exists());
    let everything = format!("{:?}{writes:?}", bench.api.get(REPORT));
    assert!(!everything.contains("a-token") && !everything.contains("the seed"));
}

#[tokio::test]
async fn what_speaks_against_a_push_is_told_before_the_card_is_reset() {
    let mut bench = bench().await;
    let mut seq = 0;
    let mut next = |bench: &Bench, change: &dyn Fn(&mut Value)| {
        seq += 1;
        let mut directive = bench.directive(seq);
        change(&mut directive);
        bench.want(&directive, "Trusted");
        seq
    };
    let number = next(&bench, &|_| {});
    let directive = bench.directive(number);
    bench.want(&directive, "Isolated");
    let message = bench.refused(number, "Unsupported").await;
    assert!(message.contains("trustDomain: Trusted"), "{message}");

    let number = next(&bench, &|d| {
        d["expects"]["rshim"]["serialNumber"] = json!("MT0");
    });
    bench.refused(number, "IdentityMismatch").await;

    bench
        .api
        .put("dpureports/bmc-card-c1", bmc("FirmwareUpdating"));
    let number = next(&bench, &|_| {});
    bench.refused(number, "StageForbids").await;
    bench.api.put("dpureports/bmc-card-c1", bmc("OsRunning"));

    bench.imitation.card().locked = true;
    let number = next(&bench, &|_| {});
    bench.refused(number, "Unsupported").await;
    bench.imitation.card().locked = false;

    bench.imitation.card().on_open = OnOpen::Gone;
    let number = next(&bench, &|_| {});
    bench.refused(number, "RshimGone").await;
    bench.imitation.card().on_open = OnOpen::Resets;

    let number = next(&bench, &|d| d["deadline"] = json!("2026-01-01T00:00:00Z"));
    bench.refused(number, "DirectiveExpired").await;
}

#[tokio::test]
async fn no_byte_is_pushed_of_what_is_not_the_image_or_not_for_this_card() {
    let mut bench = bench().await;
    let directive = bench.directive(1);
    bench.want(&directive, "Trusted");
    bench.image.lock().unwrap()[30] ^= 1;
    bench.refused(1, "ImageNotVerified").await;
    // Now that is the image, and its CRC is wrong.
    let directive = bench.directive(2);
    bench.want(&directive, "Trusted");
    bench.refused(2, "ImageNotSound").await;
    *bench.image.lock().unwrap() = stream(1);
    let directive = bench.directive(3);
    bench.want(&directive, "Trusted");
    let message = bench.refused(3, "ImageDoesNotFit").await;
    assert!(message.contains("BlueField-2"), "{message}");
    fs::write(bench.work.path().join("token"), "another").unwrap();
    let directive = bench.directive(4);
    bench.want(&directive, "Trusted");
    bench.refused(4, "StoreRefused").await;
}

#[tokio::test]
async fn a_busy_rshim_is_no_install_and_a_push_that_breaks_off_is_half_of_one() {
    let mut bench = bench().await;
    let held = fs::OpenOptions::new()
        .write(true)
        .open(bench.imitation.file("boot"))
        .unwrap();
    let directive = bench.directive(1);
    bench.want(&directive, "Trusted");
    let (result, reason, _) = bench.outcome(1).await;
    assert_eq!((&*result, &*reason), ("Failed", "RshimBusy"));
    drop(held);
    while bench.imitation.card().boot_open {
        tokio::task::yield_now().await;
    }
    bench.imitation.card().takes = Some(40);
    let directive = bench.directive(2);
    bench.want(&directive, "Trusted");
    let (result, reason, message) = bench.outcome(2).await;
    assert_eq!((&*result, &*reason), ("Partly", "PushBroken"), "{message}");
    bench.imitation.card().takes = None;
    let failed = "INFO[MISC]: CRITICAL ERROR: no room";
    bench.imitation.card().says(Duration::ZERO, &[failed]);
    let directive = bench.directive(3);
    bench.want(&directive, "Trusted");
    let (result, reason, message) = bench.outcome(3).await;
    // It may go on writing.
    assert_eq!((&*result, &*reason), ("Unknown", "InstallerFailed"));
    assert!(message.contains("no room"), "{message}");
    // The ring has lost what spoke for an install.
    bench
        .imitation
        .card()
        .says(Duration::ZERO, &["INFO[MISC]: DPU is ready"]);
    let directive = bench.directive(4);
    bench.want(&directive, "Trusted");
    let (result, reason, _) = bench.outcome(4).await;
    assert_eq!((&*result, &*reason), ("Unknown", "NothingInstalled"));
}

#[tokio::test]
async fn the_card_is_reset_only_by_leave_of_the_site_s_agent_which_looks_at_it_now() {
    let mut bench = bench().await;
    bench.imitation.card().installs(Duration::from_millis(5));
    // What is reported is from before the download, and says nothing against it.
    for (seq, reason) in [(1, "StageForbids"), (2, "UpdatesBusy"), (3, "HostNotSeen")] {
        bench.site.lock().unwrap().go = Some(reason);
        let directive = bench.directive(seq);
        bench.want(&directive, "Trusted");
        let message = bench.refused(seq, reason).await;
        assert_eq!(message, "said by the site's agent");
        assert_eq!(bench.site.lock().unwrap().asked, ["own", "go"]);
        bench.site.lock().unwrap().asked.clear();
    }
    bench.site.lock().unwrap().go = None;
    bench.site.lock().unwrap().of_another = true;
    let directive = bench.directive(4);
    bench.want(&directive, "Trusted");
    bench.refused(4, "Withdrawn").await;
    bench.site.lock().unwrap().of_another = false;
    bench.site.lock().unwrap().own = vec!["StageForbids"];
    let directive = bench.directive(5);
    bench.want(&directive, "Trusted");
    bench.refused(5, "StageForbids").await;
}

#[tokio::test]
async fn a_push_waits_until_what_goes_on_at_a_bmc_has_ended() {
    let mut bench = bench().await;
    bench.imitation.card().installs(Duration::from_millis(5));
    bench.site.lock().unwrap().own = vec!["UpdatesBusy", "UpdatesBusy"];
    let directive = bench.directive(1);
    bench.want(&directive, "Trusted");
    let (result, _, message) = bench.outcome(1).await;
    assert_eq!(result, "Done", "{message}");
    let asked = bench.site.lock().unwrap().asked.clone();
    assert_eq!(asked, ["own", "own", "own", "go"]);
}

#[tokio::test]
async fn the_card_is_reset_whatever_an_earlier_push_has_left_set() {
    for knows in [true, false] {
        let mut bench = bench().await;
        {
            let mut card = bench.imitation.card();
            card.installs(Duration::from_millis(5));
            (card.skips_reset, card.knows_reset_skip) = (knows, knows);
        }
        let directive = bench.directive(1);
        bench.want(&directive, "Trusted");
        let (result, _, message) = bench.outcome(1).await;
        assert_eq!(result, "Done", "{message}");
        let card = bench.imitation.card();
        assert_eq!(card.resets, 1);
        assert!(card.settings.contains(&"CLEAR_ON_READ 0".to_owned()));
    }
}

#[tokio::test]
async fn who_keeps_an_rshim_busy_is_told() {
    let mut bench = bench().await;
    let held = fs::OpenOptions::new()
        .write(true)
        .open(bench.imitation.file("boot"))
        .unwrap();
    let mut stranger = tokio::process::Command::new("sleep")
        .arg("1000")
        .stdout(held)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let directive = bench.directive(1);
    bench.want(&directive, "Trusted");
    let (result, reason, message) = bench.outcome(1).await;
    assert_eq!((&*result, &*reason), ("Failed", "RshimBusy"));
    let named = format!("sleep (pid {})", stranger.id().unwrap());
    assert!(message.contains(&named), "{message}");
    stranger.kill().await.unwrap();
}
