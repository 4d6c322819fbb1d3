//! Workers and work orders against an API server and a BMC in memory.

mod boot_entry;
mod configuration;
mod directives;
mod fetches;
mod holds;
mod host_door;
mod http_boot;
mod images_restart;
mod installs;
mod private_images;
mod pxe_boot;
mod reach;
mod rest;
mod service_door;
mod stored_images;
mod unreadable;
mod updates;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::MockConnectInfo;
use axum::routing::get;
use lockstep_crds::directive::Directive;
use lockstep_redfish::{Capability, ImageUrl, Offer, PowerRestorePolicy, PowerState, Reading};
use lockstep_store::{Digest, ImageRequest, Place, SourcePolicy, Store, StoreConfig};
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
use crate::site::activity::Activity;
use crate::site::attended::Attended;
use crate::site::bundle::Bundle;
use crate::site::context::Site;
use crate::site::custody::Custodian;
use crate::site::fake::FakeBmc;
use crate::site::glances::Glances;
use crate::site::inventories::Inventories;
use crate::site::journal::Journal;
use crate::site::machine::{MachineInput, MachineKey, MachineKind};
use crate::site::order::OrderState;
use crate::site::orders::OrderBook;
use crate::site::samples;
use crate::site::worker::{Progress, Worker};
use lockstep_redfish::UrlOwner;

/// As the store's port has them served: to an address that is known.
fn from_here(router: Router) -> Router {
    router.layer(MockConnectInfo(IpAddr::from([127, 0, 0, 1])))
}

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
         xpu: {{apiServer: 'https://192.0.2.6:6443', storeUrl: 'http://198.51.100.5:8080'}}\npoll: {{intervalSeconds: 1, idleSeconds: 1}}\n",
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
        pxe: None,
        glances: Glances::default(),
        attended: Attended::default(),
        inventories: Inventories::default(),
        mandate,
        metrics: Arc::new(Metrics::new(None)),
        store,
        seed_ca: Arc::new(Bundle::fixed("PEM")),
        store_ca: None,
        callers: lockstep_serve::Callers::default(),
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
        self.start_with(kind, |_| {})
    }

    /// A worker that finds its input changed like this.
    fn start_with(&self, kind: MachineKind, change: impl FnOnce(&mut MachineInput)) -> Running {
        let (worker, input, ending) = self.worker(kind);
        input.send_modify(change);
        Running {
            input,
            ending,
            task: tokio::spawn(worker.run()),
        }
    }

    fn worker(
        &self,
        kind: MachineKind,
    ) -> (Worker, watch::Sender<MachineInput>, CancellationToken) {
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
            activity: Activity::UnderWay,
            inspection: None,
            held: false,
            work_order: None,
            configuration: None,
            components: Vec::new(),
            boot_entries: false,
            resync: 0,
        };
        let (input, receiver) = watch::channel(input);
        let ending = CancellationToken::new();
        let worker = Worker::new(Arc::clone(&self.site), receiver, ending.clone());
        (worker, input, ending)
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

/// These bytes as an image in the store.
async fn keep(store: &Store, image: Vec<u8>) -> Digest {
    let digest = Digest::of(&image);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = format!("http://{}/a.iso", listener.local_addr().unwrap());
    let router = Router::new().route("/a.iso", get(move || async move { image }));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let request = ImageRequest {
        digest,
        size: None,
        sources: vec![source.parse::<Place>().unwrap().into()],
    };
    store.fetch(&request).await.unwrap();
    server.abort();
    digest
}

/// A directive that is in time.
fn directive(seq: i64, kind: &str) -> Directive {
    let mut directive = samples::directive(seq, kind);
    let ahead = jiff::SignedDuration::from_secs(60);
    directive.deadline.0 = clock::now().0 + ahead;
    directive
}
