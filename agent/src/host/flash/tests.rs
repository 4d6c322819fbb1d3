//! Flashes against an API server in memory, a small store, and a driver of a script.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;

use jiff::SignedDuration;
use lockstep_local::netlink::{Version, VersionKind};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;

use super::*;
use crate::fake_api::FakeApi;
use crate::host::push::tests::{Site, agent, bmc, machine_at, store};

const SERIAL: &str = "MT2333X00001";
const UUID: &str = "4c4c4544-0051-3510-8052-b4c04f4d3132";
const REPORT: &str = "dpureports/host-node1";
const HANDLE: &str = "pci/0000:03:00.0";

/// A driver that lists what it is told to, and remembers what it was given.
#[derive(Default)]
struct Driver {
    folder: PathBuf,
    script: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    missing: bool,
    /// Why the kernel does not answer.
    silent: Option<&'static str>,
    running: &'static str,
    stored: &'static str,
    /// What is stored once it is done.
    then: &'static str,
    ends: Option<FlashError>,
    given: Vec<(String, Vec<u8>)>,
    /// How often it was asked what it lists.
    asked: usize,
    /// How far the journal said it was when it was asked.
    noted: Vec<Value>,
}

impl Devlink for Driver {
    fn info(&self, handle: &Handle) -> Fact<DeviceInfo> {
        let mut script = self.script.lock().unwrap();
        script.asked += 1;
        if script.missing {
            return Fact::NotOffered;
        }
        if let Some(why) = script.silent {
            return Fact::NotRead(why.to_owned());
        }
        let version = |kind, value: &str| Version {
            kind,
            name: "fw".to_owned(),
            value: value.to_owned(),
        };
        Fact::Known(DeviceInfo {
            bus: handle.bus().to_owned(),
            device: handle.device().to_owned(),
            driver: None,
            serial: None,
            board_serial: None,
            versions: vec![
                version(VersionKind::Running, script.running),
                version(VersionKind::Stored, script.stored),
            ],
        })
    }

    fn flash(
        &self,
        _: &Handle,
        file: &str,
        told: &mut dyn FnMut(Progress),
    ) -> Result<(), FlashError> {
        let bytes = fs::read(self.folder.join(file)).unwrap();
        let mut script = self.script.lock().unwrap();
        script.given.push((file.to_owned(), bytes));
        let note = fs::read(self.folder.with_file_name("journal/card-c1.json")).unwrap();
        let mut note: Value = serde_json::from_slice(&note).unwrap();
        script.noted.push(note["stage"].take());
        told(Progress {
            message: Some("Erasing".to_owned()),
            ..Progress::default()
        });
        if let Some(error) = &script.ends {
            return Err(error.clone());
        }
        script.stored = script.then;
        Ok(())
    }
}

struct Bench {
    api: FakeApi,
    image: Arc<Mutex<Vec<u8>>>,
    site: Arc<Mutex<Site>>,
    machine: tempfile::TempDir,
    work: tempfile::TempDir,
    store: Url,
    driver: Arc<Driver>,
    pusher: Pusher,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn bench() -> Bench {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let api = FakeApi::default();
    let (machine, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    machine_at(machine.path());
    let image = Arc::new(Mutex::new(b"firmware, as its maker made it".to_vec()));
    let site = Arc::<Mutex<Site>>::default();
    let (store, serving) = store(Arc::clone(&image), Arc::clone(&site)).await;
    fs::write(work.path().join("token"), "a-token\n").unwrap();
    fs::create_dir(work.path().join("firmware")).unwrap();
    api.put("dpureports/bmc-card-c1", bmc("OsRunning"));
    let (pusher, reporting) = agent(&api, machine.path(), &store, work.path());
    let script = Script {
        running: "1.0",
        stored: "1.0",
        then: "2.0",
        ..Script::default()
    };
    let driver = Arc::new(Driver {
        folder: work.path().join("firmware"),
        script: Mutex::new(script),
    });
    let mut bench = Bench {
        api,
        image,
        site,
        machine,
        work,
        store,
        driver,
        pusher,
        tasks: vec![serving, reporting],
    };
    bench.equip();
    bench
}

impl Bench {
    fn equip(&mut self) {
        self.pusher.devlink = Arc::clone(&self.driver) as Arc<dyn Devlink>;
        self.pusher.firmware = Some(Folder::new(self.driver.folder.clone()));
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.driver.script.lock().unwrap()
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.image.lock().unwrap())
    }

    fn directive(&self, seq: i64) -> Value {
        let now = clock::now().0;
        json!({
            "seq": seq, "step": "UpdateFirmware", "executor": "host-node1",
            "target": {"kind": "Card", "name": "c1", "uid": "uid-c1"},
            "action": {
                "kind": "FlashFirmware", "component": "fw",
                "image": {"digest": self.digest().to_string(), "version": "2.0"},
            },
            "expects": {
                "identity": {"serialNumber": SERIAL}, "power": "On", "safeStage": true,
                "devlink": {"handle": HANDLE, "serialNumber": SERIAL},
            },
            "issuedAt": now.to_string(),
            "deadline": (now + SignedDuration::from_secs(60)).to_string(),
            "settleSeconds": 60,
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

    /// Has the directive carried out; result, reason and message of its end.
    async fn outcome(&mut self, seq: i64) -> (String, String, String) {
        self.pusher.turn().await.unwrap();
        let report = self.api.get(REPORT).unwrap();
        let execution = &report["spec"]["execution"];
        assert_eq!(execution["accepted"], seq, "{execution}");
        let left = fs::read_dir(self.driver.folder.join("lockstep"));
        assert_eq!(left.map_or(0, Iterator::count), 0, "firmware stays there");
        let part = |name: &str| {
            let text = execution["outcome"][name].as_str();
            text.unwrap_or_default().to_owned()
        };
        (part("result"), part("reason"), part("message"))
    }

    async fn told(&mut self, seq: i64, directive: &Value) -> (String, String, String) {
        self.want(directive, "Trusted");
        self.outcome(seq).await
    }
}

#[tokio::test]
async fn firmware_is_laid_there_by_digest_flashed_once_and_taken_away() {
    let mut bench = bench().await;
    let directive = bench.directive(4);
    let (result, _, message) = bench.told(4, &directive).await;
    assert_eq!(result, "Done", "{message}");
    assert!(
        message.contains("of fw running 1.0, stored 2.0"),
        "{message}"
    );
    let name = format!("lockstep/{}", bench.digest().hex());
    let bytes = bench.image.lock().unwrap().clone();
    assert_eq!(bench.script().given, [(name, bytes)]);
    assert_eq!(bench.script().noted, ["Acting"]);
    bench.pusher.turn().await.unwrap();
    assert_eq!(bench.script().given.len(), 1);
}

#[tokio::test]
async fn firmware_that_runs_already_is_not_written() {
    let mut bench = bench().await;
    bench.script().running = "2.0";
    let directive = bench.directive(1);
    let (result, reason, message) = bench.told(1, &directive).await;
    assert_eq!((&*result, &*reason), ("Failed", "RunsAlready"), "{message}");
    assert!(message.contains("nothing was written"), "{message}");
    assert!(bench.script().given.is_empty());
    // The report may be what is wrong.
    let read = timeout(Duration::ZERO, bench.pusher.changed.notified());
    assert!(read.await.is_ok());
}

#[tokio::test]
async fn what_speaks_against_it_is_told_before_the_driver_is_asked() {
    let mut bench = bench().await;
    let directive = bench.directive(1);
    bench.want(&directive, "Isolated");
    let (_, reason, message) = bench.outcome(1).await;
    assert_eq!(reason, "Unsupported");
    assert!(message.contains("trustDomain: Trusted"), "{message}");

    type Change = fn(&Bench, &mut Value);
    let grounds: [(&str, Change); 8] = [
        ("ComponentNotListed", |_, d| {
            d["action"]["component"] = json!("fw.psid");
        }),
        ("ImageMissing", |_, d| {
            d["action"]["component"] = Value::Null;
        }),
        ("IdentityMismatch", |_, d| {
            d["expects"]["devlink"]["serialNumber"] = json!("MT0");
        }),
        ("IdentityMismatch", |_, d| {
            d["expects"]["devlink"]["handle"] = json!("netdevsim/netdevsim1");
        }),
        ("IdentityMismatch", |_, d| {
            d["expects"]["devlink"] = Value::Null;
        }),
        ("ImageNotVerified", |bench, _| {
            bench.image.lock().unwrap()[0] ^= 1;
        }),
        ("UpdatesBusy", |bench, _| {
            bench.site.lock().unwrap().go = Some("UpdatesBusy");
        }),
        ("DevlinkMissing", |bench, _| bench.script().missing = true),
    ];
    for (seq, (reason, change)) in (2..).zip(grounds) {
        let mut directive = bench.directive(seq);
        change(&bench, &mut directive);
        let (result, told, message) = bench.told(seq, &directive).await;
        assert_eq!((&*result, &*told), ("Failed", reason), "{message}");
        assert!(bench.script().given.is_empty(), "{reason}");
    }
}

#[tokio::test]
async fn an_agent_that_knows_no_folder_of_the_kernel_flashes_nothing() {
    let mut bench = bench().await;
    bench.pusher.firmware = None;
    let directive = bench.directive(1);
    let (_, reason, message) = bench.told(1, &directive).await;
    assert_eq!(reason, "Unsupported");
    assert!(message.contains("--firmware-dir"), "{message}");
    bench.pusher.firmware = Some(Folder::new(bench.driver.folder.join("not-there")));
    let directive = bench.directive(2);
    let (_, reason, message) = bench.told(2, &directive).await;
    assert_eq!(reason, "FirmwareFolderUnusable", "{message}");
    assert!(bench.script().given.is_empty());
}

#[tokio::test]
async fn how_a_driver_ends_is_told_by_what_it_says_and_what_it_lists() {
    let mut bench = bench().await;
    let why = || "signature of section 3 is bad".to_owned();
    let cases = [
        (Some(FlashError::NotBegun(why())), "Failed", "FlashRefused"),
        (Some(FlashError::Broken(why())), "Partly", "FlashFailed"),
        (Some(FlashError::Unclear(why())), "Unknown", "FlashUnclear"),
        (None, "Unknown", "VersionNotSeen"),
    ];
    for (seq, (ends, wanted, reason)) in (1..).zip(cases) {
        let is_error = ends.is_some();
        {
            let mut script = bench.script();
            script.ends = ends;
            script.then = "1.0";
            // It lists it all the same: what it lists may be written first.
            script.stored = if reason == "FlashUnclear" {
                "2.0"
            } else {
                "1.0"
            };
        }
        let directive = bench.directive(seq);
        let (result, told, message) = bench.told(seq, &directive).await;
        assert_eq!((&*result, &*told), (wanted, reason), "{message}");
        let words = if is_error {
            "section 3 is bad"
        } else {
            "stored 1.0, not 2.0"
        };
        assert!(message.contains(words), "{message}");
        assert_eq!(bench.script().given.len(), usize::try_from(seq).unwrap());
    }
}

#[tokio::test]
async fn after_a_crash_nothing_is_flashed_again_and_what_the_driver_lists_proves_nothing() {
    let cases = [
        ("2.0", None, "Unknown", "FlashInterrupted"),
        ("1.0", None, "Unknown", "FlashInterrupted"),
        ("2.0", Some("it is busy"), "Unknown", "FlashHangs"),
    ];
    for (stored, silent, wanted, reason) in cases {
        let mut bench = bench().await;
        bench.script().stored = stored;
        bench.script().silent = silent;
        let directive = bench.directive(7);
        bench.want(&directive, "Trusted");
        let directive: Directive = serde_json::from_value(directive).unwrap();
        let mut journal = bench.pusher.journal(&directive);
        journal.load().unwrap();
        journal.act(&directive).unwrap();
        let ours = bench.driver.folder.join("lockstep");
        fs::create_dir(&ours).unwrap();
        fs::write(ours.join(bench.digest().hex()), "left there").unwrap();
        for task in bench.tasks.drain(1..) {
            task.abort();
        }
        let (root, work) = (
            bench.machine.path().to_owned(),
            bench.work.path().to_owned(),
        );
        let (pusher, task) = agent(&bench.api, &root, &bench.store, &work);
        bench.pusher = pusher;
        bench.tasks.push(task);
        bench.equip();
        let (result, told, message) = bench.outcome(7).await;
        assert_eq!((&*result, &*told), (wanted, reason), "{message}");
        assert!(message.contains("restarted"), "{message}");
        bench.pusher.turn().await.unwrap();
        assert!(bench.script().given.is_empty());
    }
}

#[tokio::test]
async fn a_driver_that_has_not_answered_is_asked_nothing_more() {
    let mut bench = bench().await;
    let handle: Handle = HANDLE.parse().unwrap();
    let earlier = bench.pusher.turns.take(&handle).unwrap();
    for seq in 1..4 {
        let directive = bench.directive(seq);
        let (result, reason, message) = bench.told(seq, &directive).await;
        let told = (&*result, &*reason);
        assert_eq!(told, ("Failed", "DevlinkUnusable"), "{message}");
    }
    assert_eq!(bench.script().asked, 0);
    let other = "pci/0000:04:00.0".parse().unwrap();
    assert!(bench.pusher.turns.take(&other).is_some());
    drop(earlier);
    let directive = bench.directive(4);
    let (result, _, message) = bench.told(4, &directive).await;
    assert_eq!(result, "Done", "{message}");
    assert!(bench.pusher.turns.take(&handle).is_some());
}

#[test]
fn what_was_changed_where_it_lies_is_not_flashed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("spool"), "firmware").unwrap();
    let digest = Digest::of(b"firmware");
    let file = fs::File::open(dir.path().join("spool")).unwrap();
    let medium = Medium::lay(file, digest, &lockstep_store::Own::default()).unwrap();
    let placed = Folder::new(dir.path().to_owned())
        .place(&medium, digest)
        .unwrap();
    let path = dir.path().join(placed.name());
    assert!(placed.verify(digest).is_ok());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "firmwarf").unwrap();
    let Err(End::Failed(refusal)) = placed.verify(digest) else {
        panic!("believed");
    };
    assert_eq!(refusal.reason, "ImageNotVerified");
    drop(placed);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_machine_is_read_again_while_flashed_firmware_is_awaited_but_not_all_the_time() {
    let mut bench = bench().await;
    let changed = Arc::clone(&bench.pusher.changed);
    let is_told = async || timeout(Duration::ZERO, changed.notified()).await.is_ok();
    let record = |begun: &str, method: &str| {
        json!({
            "apiVersion": "provisioning.opiproject.org/v1alpha1", "kind": "DpuHost",
            "metadata": {"name": "h1", "uid": "uid-h1"},
            "spec": {"site": "s", "policyRef": {"name": "p"}, "nodeName": "node1"},
            "status": {"cards": [{
                "name": "c1", "uid": "uid-c1", "physicalId": SERIAL,
                "components": [{
                    "component": "fw", "image": {"digest": "sha256:0", "version": "2.0"},
                    "method": method, begun: "2026-01-01T00:00:00Z",
                }],
            }]},
        })
    };
    for (begun, method) in [("begunAt", "SimpleUpdate"), ("observedAt", "DevlinkFlash")] {
        bench.api.put("dpuhosts/h1", record(begun, method));
        bench.pusher.turn().await.unwrap();
        assert!(!is_told().await, "{begun} {method}");
    }
    bench
        .api
        .put("dpuhosts/h1", record("begunAt", "DevlinkFlash"));
    bench.pusher.turn().await.unwrap();
    assert!(is_told().await);
    bench.pusher.turn().await.unwrap();
    assert!(!is_told().await);
    let long_ago = Instant::now().checked_sub(Duration::from_secs(61));
    bench.pusher.read_at = Some(long_ago.unwrap());
    bench.pusher.turn().await.unwrap();
    assert!(is_told().await);
}
