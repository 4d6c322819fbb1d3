//! Workers and work orders against an API server and a BMC in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use lockstep_crds::directive::Directive;
use lockstep_redfish::{Capability, ImageUrl, Offer, PowerRestorePolicy, PowerState, Reading};
use lockstep_store::{Digest, ImageRequest, SourcePolicy, Store, StoreConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::SiteConfig;
use crate::fake_api::FakeApi;
use crate::health::Metrics;
use crate::lease::Mandate;
use crate::site::context::Site;
use crate::site::custody::Custodian;
use crate::site::facts::UrlOwner;
use crate::site::fake::FakeBmc;
use crate::site::journal::Journal;
use crate::site::machines::{MachineInput, MachineKey, MachineKind};
use crate::site::order::OrderState;
use crate::site::orders::OrderBook;
use crate::site::samples;
use crate::site::worker::Worker;

const CARD: &str = "dpureports/bmc-card-c1";
const HOST: &str = "dpureports/bmc-host-c1";

struct Bench {
    api: FakeApi,
    bmc: FakeBmc,
    site: Arc<Site>,
    _dir: tempfile::TempDir,
}

struct Running {
    input: watch::Sender<MachineInput>,
    ending: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn want(&self, directives: &[Directive]) {
        self.input
            .send_modify(|input| input.directives = directives.to_vec());
    }

    async fn end(self) {
        self.ending.cancel();
        self.task.await.unwrap();
    }
}

fn bench() -> Bench {
    // Only the first test of the process installs it.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let api = FakeApi::default();
    api.put(
        "secrets/c",
        json!({"metadata": {"name": "c"}, "data": {"username": "YQ==", "password": "Yg=="}}),
    );
    let bmc = FakeBmc::default();
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let text = format!(
        "site: s\nnamespace: site\nallowedNetworks: [127.0.0.0/8]\nstateDir: {}\n\
         store: {{dir: {}, quotaBytes: 1000000, listen: 127.0.0.1:0, advertiseUrl: 'http://192.0.2.5:8080'}}\n\
         xpu: {{apiServer: 'https://192.0.2.6:6443'}}\npoll: {{intervalSeconds: 1, idleSeconds: 1}}\n",
        state.display(),
        dir.path().join("store").display()
    );
    let config: SiteConfig = serde_yaml::from_str(&text).unwrap();
    let mut store = StoreConfig::new(&config.store.dir, config.store.quota_bytes);
    store.sources = SourcePolicy::Any;
    let store = Store::open(store).unwrap();
    let mandate = Mandate::default();
    mandate.extend_from(Instant::now());
    let site = Site {
        client: api.client(),
        dial: Arc::new(bmc.clone()),
        orders: OrderBook::open(&state).unwrap(),
        mandate,
        metrics: Arc::new(Metrics::new(None)),
        store,
        seed_ca: "PEM".to_owned(),
        config,
    };
    Bench {
        api,
        bmc,
        site: Arc::new(site),
        _dir: dir,
    }
}

impl Bench {
    fn start(&self, kind: MachineKind) -> Running {
        let input = MachineInput {
            key: MachineKey {
                kind,
                name: "c1".to_owned(),
            },
            uid: "uid-1".to_owned(),
            endpoint: serde_json::from_value(json!({
                "address": "http://192.0.2.1", "credentialsRef": {"name": "c"},
                "tls": {"trust": "PlainHttp"},
            }))
            .unwrap(),
            identity: None,
            hands_off: false,
            directives: Vec::new(),
            busy: true,
            held: false,
            work_order: None,
            resync: 0,
        };
        let (input, receiver) = watch::channel(input);
        let ending = CancellationToken::new();
        let worker = Worker::new(Arc::clone(&self.site), receiver, ending.clone()).unwrap();
        Running {
            input,
            ending,
            task: tokio::spawn(worker.run()),
        }
    }

    async fn outcome(&self, key: &str, seq: i64) -> Value {
        let report = self
            .api
            .until(key, |report| {
                let execution = &report["spec"]["execution"];
                execution["accepted"] == seq && execution["outcome"].is_object()
            })
            .await;
        report["spec"]["execution"]["outcome"].clone()
    }

    fn causes(&self, key: &str) -> Vec<String> {
        self.api
            .writes()
            .iter()
            .filter_map(|write| write.strip_prefix(key))
            .map(|manager| manager.trim().replace("lockstep-agent/", ""))
            .collect()
    }
}

/// A directive that is in time.
fn directive(seq: i64, kind: &str) -> Directive {
    let mut directive = samples::directive(seq, kind);
    let ahead = jiff::SignedDuration::from_secs(60);
    directive.deadline.0 = clock::now().0 + ahead;
    directive
}

fn hold(seq: i64, expires_in: i64, on_orphan: &str) -> Directive {
    let mut directive = directive(seq, "HoldHost");
    directive.target.kind = "Host".into();
    let expires = clock::now().0 + jiff::SignedDuration::from_secs(expires_in);
    directive.action.work_order =
        Some(serde_json::from_value(json!({"expiresAt": expires, "onOrphan": on_orphan})).unwrap());
    directive
}

/// A host whose BMC has a PowerRestorePolicy.
fn with_policy(bmc: &FakeBmc) {
    bmc.set(|facts| {
        facts.power_restore = Reading::Read(PowerRestorePolicy::LastState);
        facts.capabilities.power_restore = Capability {
            offer: Offer::Offered,
            source: String::new(),
            values: None,
        };
    });
}

#[tokio::test]
async fn an_effect_is_accepted_first_sent_once_and_told_with_its_facts() {
    let bench = bench();
    let running = bench.start(MachineKind::Card);
    running.want(&[directive(1, "PowerOn")]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done");
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["power"], "On");
    assert_eq!(report["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    // The directive stays on record for a while; nothing more happens.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(bench.bmc.effects(), ["power On"]);
    assert_eq!(bench.causes(CARD), ["report", "accept", "outcome"]);
    running.end().await;
}

#[tokio::test]
async fn what_needs_no_effect_or_is_refused_is_one_write() {
    let bench = bench();
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    let running = bench.start(MachineKind::Card);
    bench.api.until(CARD, |_| true).await;
    running.want(&[directive(1, "PowerOn")]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let mut stranger = directive(2, "ForceOff");
    stranger.expects.identity.serial_number = Some("other".to_owned());
    let mut late = samples::directive(3, "ForceOff");
    late.target.uid = "uid-1".to_owned();
    running.want(&[stranger]);
    assert_eq!(bench.outcome(CARD, 2).await["reason"], "IdentityMismatch");
    running.want(&[late]);
    assert_eq!(bench.outcome(CARD, 3).await["reason"], "DirectiveExpired");
    assert!(bench.bmc.effects().is_empty());
    assert_eq!(
        bench.causes(CARD),
        ["report", "outcome", "outcome", "outcome"]
    );
    running.end().await;
}

#[tokio::test]
async fn hands_off_and_a_lost_lease_stop_every_effect() {
    let bench = bench();
    let running = bench.start(MachineKind::Card);
    bench.api.until(CARD, |_| true).await;
    running.input.send_modify(|input| {
        input.hands_off = true;
        input.directives = vec![directive(1, "PowerOn")];
    });
    assert_eq!(bench.outcome(CARD, 1).await["reason"], "HandsOff");
    bench.site.mandate.end();
    running.input.send_modify(|input| {
        input.hands_off = false;
        input.directives = vec![directive(2, "PowerOn")];
    });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        bench.api.get(CARD).unwrap()["spec"]["execution"]["accepted"],
        1
    );
    bench.site.mandate.extend_from(Instant::now());
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    running.end().await;
}

#[tokio::test]
async fn an_acceptance_that_cannot_be_recorded_is_no_acceptance() {
    let bench = bench();
    let running = bench.start(MachineKind::Card);
    bench.api.until(CARD, |_| true).await;
    bench.api.refuse(Some("lockstep-agent/accept"));
    running.want(&[directive(1, "PowerOn")]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Failed");
    assert_eq!(outcome["reason"], "AcceptanceNotRecorded");
    assert!(bench.bmc.effects().is_empty());
    running.end().await;
}

#[tokio::test]
async fn a_lost_reply_is_looked_for_and_never_sent_again() {
    let bench = bench();
    bench.bmc.lose_replies(true);
    let running = bench.start(MachineKind::Card);
    running.want(&[directive(1, "PowerOn")]);
    let outcome = bench.outcome(CARD, 1).await;
    assert_eq!(outcome["result"], "Done");
    assert!(
        outcome["message"]
            .as_str()
            .unwrap()
            .contains("reply was lost")
    );
    bench.bmc.numb();
    running.want(&[directive(2, "ForceOff")]);
    let outcome = bench.outcome(CARD, 2).await;
    assert_eq!(outcome["result"], "Unknown");
    assert_eq!(outcome["reason"], "EffectNotSeen");
    assert_eq!(bench.bmc.effects(), ["power On", "power ForceOff"]);
    running.end().await;
}

#[tokio::test]
async fn what_a_stranger_shows_is_no_effect_and_is_told_meanwhile() {
    let bench = bench();
    bench.bmc.numb();
    let running = bench.start(MachineKind::Card);
    let mut wanted = directive(1, "PowerOn");
    wanted.settle_seconds = 5;
    running.want(&[wanted]);
    bench
        .api
        .until(CARD, |report| report["spec"]["execution"]["accepted"] == 1)
        .await;
    bench.bmc.set(|facts| {
        facts.identity.serial_number = Some("stranger".to_owned());
        facts.power = Reading::Read(PowerState::On);
    });
    let report = bench
        .api
        .until(CARD, |report| report["spec"]["bmc"]["power"] == "On")
        .await;
    assert!(report["spec"]["execution"]["outcome"].is_null());
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Unknown");
    running.end().await;
}

#[tokio::test]
async fn an_effect_that_is_looked_for_at_the_end_is_looked_for_by_the_next_process() {
    let bench = bench();
    bench.bmc.numb();
    let running = bench.start(MachineKind::Card);
    let mut wanted = directive(1, "PowerOn");
    wanted.settle_seconds = 60;
    running.want(std::slice::from_ref(&wanted));
    for _ in 0..1000 {
        if !bench.bmc.effects().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.end().await;
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["execution"], json!({"accepted": 1}));
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    let running = bench.start(MachineKind::Card);
    running.want(&[wanted]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    assert_eq!(bench.bmc.effects(), ["power On"]);
    running.end().await;
}

#[tokio::test]
async fn a_restart_tells_what_became_and_repeats_nothing() {
    for (acting, on, result) in [
        (false, false, "Failed"),
        (true, false, "Unknown"),
        (true, true, "Done"),
    ] {
        let bench = bench();
        let key = MachineKey {
            kind: MachineKind::Card,
            name: "c1".to_owned(),
        };
        let wanted = directive(4, "PowerOn");
        let mut journal = Journal::open(&bench.site.config.state_dir, &key).unwrap();
        journal.accept(&wanted).unwrap();
        if acting {
            journal.act(&wanted).unwrap();
        }
        if on {
            bench
                .bmc
                .set(|facts| facts.power = Reading::Read(PowerState::On));
        }
        let running = bench.start(MachineKind::Card);
        running.want(&[wanted]);
        let outcome = bench.outcome(CARD, 4).await;
        assert_eq!(outcome["result"], result);
        assert_eq!(outcome["reason"], "ExecutorRestarted");
        assert!(bench.bmc.effects().is_empty());
        running.end().await;
    }
}

#[tokio::test]
async fn an_api_server_that_was_set_back_learns_what_was_accepted() {
    let bench = bench();
    let running = bench.start(MachineKind::Card);
    bench.api.until(CARD, |_| true).await;
    let snapshot = bench.api.get(CARD).unwrap();
    running.want(&[directive(1, "PowerOn")]);
    bench.outcome(CARD, 1).await;
    bench.api.put(CARD, snapshot);
    running.input.send_modify(|input| input.resync += 1);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    assert_eq!(bench.bmc.effects(), ["power On"]);
    running.end().await;
}

#[tokio::test]
async fn a_missing_secret_is_told_and_its_creation_noticed() {
    let bench = bench();
    let secret = bench.api.get("secrets/c").unwrap();
    bench.api.remove("secrets/c");
    let running = bench.start(MachineKind::Card);
    let report = bench.api.until(CARD, |_| true).await;
    let reachable = &report["spec"]["reachable"];
    assert_eq!(reachable["reason"], "SecretMissing");
    assert!(reachable["message"].as_str().unwrap().contains("create it"));
    bench.api.put("secrets/c", secret);
    bench
        .api
        .until(CARD, |report| report["spec"]["reachable"]["ok"] == true)
        .await;
    assert_eq!(bench.bmc.targets(), 1);
    running.end().await;
}

#[tokio::test]
async fn silence_keeps_the_facts_and_is_told_once() {
    let bench = bench();
    let running = bench.start(MachineKind::Card);
    bench.api.until(CARD, |_| true).await;
    bench.bmc.silence(true);
    let report = bench
        .api
        .until(CARD, |report| report["spec"]["reachable"]["ok"] == false)
        .await;
    assert_eq!(report["spec"]["reachable"]["reason"], "Unreachable");
    assert_eq!(report["spec"]["bmc"]["power"], "Off");
    bench.bmc.silence(false);
    bench
        .api
        .until(CARD, |report| report["spec"]["reachable"]["ok"] == true)
        .await;
    assert_eq!(bench.causes(CARD), ["report", "report", "report"]);
    running.end().await;
}

#[tokio::test]
async fn a_hold_stores_what_it_changes_and_a_release_puts_it_back() {
    let bench = bench();
    with_policy(&bench.bmc);
    let running = bench.start(MachineKind::Host);
    running.want(&[hold(1, 3600, "KeepHeld")]);
    assert_eq!(bench.outcome(HOST, 1).await["result"], "Done");
    let report = bench.api.get(HOST).unwrap();
    assert_eq!(report["spec"]["custody"]["state"], "Kept");
    assert_eq!(
        report["spec"]["custody"]["previous"],
        json!(["PowerRestorePolicy=LastState"])
    );
    let mut release = directive(2, "ReleaseHost");
    release.action.power_on = Some(true);
    running.want(&[release]);
    assert_eq!(bench.outcome(HOST, 2).await["result"], "Done");
    let report = bench.api.get(HOST).unwrap();
    assert!(report["spec"]["custody"].is_null());
    assert_eq!(report["spec"]["bmc"]["power"], "On");
    assert_eq!(
        bench.bmc.effects(),
        ["restore AlwaysOff", "restore LastState", "power On"]
    );
    assert!(bench.site.orders.list().unwrap().is_empty());
    running.end().await;
}

#[tokio::test]
async fn a_release_cut_short_keeps_its_order_until_the_settings_are_back() {
    let bench = bench();
    with_policy(&bench.bmc);
    let running = bench.start(MachineKind::Host);
    running.want(&[hold(1, 3600, "KeepHeld")]);
    assert_eq!(bench.outcome(HOST, 1).await["result"], "Done");
    running.end().await;
    let mut release = directive(2, "ReleaseHost");
    release.action.power_on = Some(false);
    let key = MachineKey {
        kind: MachineKind::Host,
        name: "c1".to_owned(),
    };
    release.target.name = "c1".to_owned();
    let mut journal = Journal::open(&bench.site.config.state_dir, &key).unwrap();
    journal.accept(&release).unwrap();
    journal.act(&release).unwrap();
    let running = bench.start(MachineKind::Host);
    assert_eq!(bench.outcome(HOST, 2).await["result"], "Unknown");
    assert!(bench.site.orders.get("c1").unwrap().is_some());
    release.seq = 3;
    running.want(&[release]);
    assert_eq!(bench.outcome(HOST, 3).await["result"], "Done");
    assert_eq!(
        bench.bmc.effects(),
        ["restore AlwaysOff", "restore LastState"]
    );
    assert!(bench.site.orders.get("c1").unwrap().is_none());
    running.end().await;
}

#[tokio::test]
async fn a_hold_that_changes_nothing_is_one_write_and_a_running_host_is_never_held() {
    let bench = bench();
    let running = bench.start(MachineKind::Host);
    bench.api.until(HOST, |_| true).await;
    running.want(&[hold(1, 3600, "KeepHeld")]);
    assert_eq!(bench.outcome(HOST, 1).await["result"], "Done");
    assert_eq!(bench.causes(HOST), ["report", "outcome"]);
    bench
        .bmc
        .set(|facts| facts.power = Reading::Read(PowerState::On));
    running.want(&[hold(2, 3600, "KeepHeld")]);
    assert_eq!(
        bench.outcome(HOST, 2).await["reason"],
        "PowerStateUnexpected"
    );
    assert!(bench.bmc.effects().is_empty());
    running.end().await;
}

#[tokio::test]
async fn an_expired_order_releases_the_host_while_the_api_server_is_gone() {
    let bench = bench();
    with_policy(&bench.bmc);
    let running = bench.start(MachineKind::Host);
    running.want(&[hold(1, 1, "RestoreAndRelease")]);
    assert_eq!(bench.outcome(HOST, 1).await["result"], "Done");
    bench.api.vanish(true);
    // Not even the Lease is needed.
    bench.site.mandate.end();
    let ending = CancellationToken::new();
    let custodian = tokio::spawn(Custodian::new(Arc::clone(&bench.site)).run(ending.clone()));
    for _ in 0..3000 {
        let order = bench.site.orders.get("c1").unwrap().unwrap();
        if order.state == OrderState::ExpiredReleased {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        bench.bmc.effects(),
        ["restore AlwaysOff", "restore LastState", "power On"]
    );
    bench.api.vanish(false);
    // The hold is on record until the operator has read the custody.
    running.input.send_modify(|input| {
        input.held = true;
        input.directives.clear();
    });
    bench
        .api
        .until(HOST, |report| {
            report["spec"]["custody"]["state"] == "ExpiredReleased"
        })
        .await;
    running.input.send_modify(|input| input.held = false);
    bench
        .api
        .until(HOST, |report| report["spec"]["custody"].is_null())
        .await;
    ending.cancel();
    custodian.await.unwrap();
    running.end().await;
}

/// An image with a seed slot, in the store.
async fn publish(store: &Store) -> Digest {
    let mut image = b"LOCKSTEP-SEED-SLOT-V1 4096\n".to_vec();
    image.resize(4096, b' ');
    image.extend([7; 1000]);
    let digest = Digest::of(&image);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = format!("http://{}/a.iso", listener.local_addr().unwrap());
    let router = Router::new().route("/a.iso", get(move || async move { image }));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let request = ImageRequest {
        digest,
        size: None,
        sources: vec![source.parse().unwrap()],
    };
    store.fetch(&request).await.unwrap();
    server.abort();
    digest
}

#[tokio::test]
async fn an_install_is_staged_with_a_seed_and_taken_back_to_what_was_found() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    let running = bench.start(MachineKind::Card);
    let mut stage = directive(1, "StageInstall");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    running.want(&[stage]);
    assert_eq!(bench.outcome(CARD, 1).await["result"], "Done");
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["media"]["owner"], "Lockstep");
    assert_eq!(report["spec"]["bmc"]["media"]["digest"], digest.to_string());
    assert_eq!(report["spec"]["bmc"]["bootOverride"], "Cd");
    let grant = bench.site.store.granted(&digest, "uid-1").unwrap();
    let everything = format!("{:?}", bench.api.get(CARD)) + &format!("{:?}", bench.api.writes());
    assert!(!everything.contains(&grant.path) && !everything.contains("very-secret"));
    running.want(&[directive(2, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 2).await["result"], "Done");
    running.want(&[directive(3, "ClearInstall")]);
    assert_eq!(bench.outcome(CARD, 3).await["result"], "Done");
    assert_eq!(
        bench.bmc.effects(),
        [
            "insert",
            "override Cd Once",
            "override Hdd Continuous",
            "eject"
        ]
    );
    assert!(bench.site.store.granted(&digest, "uid-1").is_none());
    let report = bench.api.get(CARD).unwrap();
    assert_eq!(report["spec"]["bmc"]["media"]["owner"], "Nobody");
    assert!(report["spec"]["bmc"]["bootOverride"].is_null());
    running.end().await;
}

#[tokio::test]
async fn foreign_media_and_absent_images_are_refused_before_acceptance() {
    let bench = bench();
    let digest = publish(&bench.site.store).await;
    bench.bmc.set(|facts| {
        facts.media = Reading::Read(vec![samples::slot(Some("http://elsewhere/a.iso"))]);
    });
    let running = bench.start(MachineKind::Card);
    let mut stage = directive(1, "StageInstall");
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": digest.to_string(), "version": "1.2"})).unwrap(),
    );
    running.want(&[stage.clone()]);
    assert_eq!(bench.outcome(CARD, 1).await["reason"], "ForeignMedia");
    stage.seq = 2;
    stage.action.image = Some(
        serde_json::from_value(json!({"digest": Digest::of(b"x").to_string(), "version": "2"}))
            .unwrap(),
    );
    running.want(&[stage]);
    assert_eq!(bench.outcome(CARD, 2).await["reason"], "ImageNotStored");
    assert!(bench.bmc.effects().is_empty());
    running.end().await;
}

#[tokio::test]
async fn urls_are_ours_by_grant_or_by_where_they_are_served() {
    let bench = bench();
    for (url, owner) in [
        (
            "http://192.0.2.5:8080/i/lost/image.iso",
            UrlOwner::Ours(None),
        ),
        ("http://192.0.2.5:8080/other", UrlOwner::Foreign),
        ("http://192.0.2.5:9090/i/lost/image.iso", UrlOwner::Foreign),
        ("no url", UrlOwner::Foreign),
    ] {
        assert_eq!(bench.site.owner_of(&ImageUrl::new(url)), owner, "{url}");
    }
}
