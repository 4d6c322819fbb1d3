//! A fleet of BMCs in memory, and the search for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lockstep_crds::inventory::Inventory;
use lockstep_crds::names;
use lockstep_crds::report::MachineRole;
use lockstep_redfish::{
    BmcError, Credentials, Endpoint, Explored, ExploredSystem, Explorer, Identified, Service,
    SpkiPin, SystemIdentity, TlsTrust, UnreadSystem,
};
use lockstep_store::{SourcePolicy, Store, StoreConfig};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{DiscoverySection, SiteConfig};
use crate::fake_api::FakeApi;
use crate::health::Metrics;
use crate::lease::Mandate;
use crate::site::attended::Attended;
use crate::site::bundle::Bundle;
use crate::site::context::Site;
use crate::site::discovery::{Doors, Means, run};
use crate::site::fake::FakeBmc;
use crate::site::glances::Glances;
use crate::site::inventories::Inventories;
use crate::site::orders::OrderBook;

/// One request takes this long.
pub(super) const REQUEST: Duration = Duration::from_millis(30);
/// Requests of one exploration.
const REQUESTS: u32 = 40;

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// As it should.
    Answers,
    /// Ten times slower.
    Slow,
    /// It accepts connections and says nothing, for ever.
    Hangs,
    /// It tells who it is, and then nothing more.
    Stalls,
    /// It answers everything with an error.
    Refuses,
    /// Nothing listens.
    Dead,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub(super) struct Bmc {
    pub(super) manner: Manner,
    pub(super) key: Option<String>,
    pub(super) serial: String,
    pub(super) service: Service,
    /// Whether it serves nothing now.
    pub(super) is_bare: bool,
    /// What else it serves, in this order.
    pub(super) others: Vec<String>,
    /// What of all that it answers with an error.
    pub(super) unreadable: Vec<String>,
    pub(super) password: String,
}

/// A call as the fleet saw it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) verb: &'static str,
    pub(super) to: String,
    /// User name and password, where they were shown.
    pub(super) shown: Option<String>,
    pub(super) pinned: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    bmcs: BTreeMap<String, Bmc>,
    calls: Vec<Call>,
    /// When explorations ended, by endpoint.
    ended: BTreeMap<String, (Instant, Instant)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Fleet(Arc<Mutex<State>>);

impl Fleet {
    pub(super) fn put(&self, key: &str, serial: &str) {
        let bmc = Bmc {
            manner: Manner::Answers,
            key: Some(format!("key of {serial}")),
            serial: serial.to_owned(),
            service: Service {
                uuid: None,
                redfish_version: Some("1.18.0".to_owned()),
            },
            is_bare: false,
            others: Vec::new(),
            unreadable: Vec::new(),
            password: "b".to_owned(),
        };
        self.0.lock().unwrap().bmcs.insert(key.to_owned(), bmc);
    }

    pub(super) fn change(&self, key: &str, change: impl FnOnce(&mut Bmc)) {
        change(self.0.lock().unwrap().bmcs.get_mut(key).unwrap());
    }

    /// Another machine is in its place, with a key of its own.
    pub(super) fn replace(&self, key: &str, serial: &str) {
        self.change(key, |bmc| {
            bmc.serial = serial.to_owned();
            bmc.key = Some(format!("key of {serial}"));
        });
    }

    pub(super) fn readdress(&self, from: &str, to: &str) {
        let mut state = self.0.lock().unwrap();
        let bmc = state.bmcs.remove(from).unwrap();
        state.bmcs.insert(to.to_owned(), bmc);
    }

    pub(super) fn calls(&self, verb: &str) -> Vec<Call> {
        let state = self.0.lock().unwrap();
        let calls = state.calls.iter().filter(|call| call.verb == verb);
        calls.cloned().collect()
    }

    /// How long each endpoint took from its first byte to its inventory.
    pub(super) fn durations(&self) -> BTreeMap<String, Duration> {
        let state = self.0.lock().unwrap();
        let ended = state.ended.iter();
        ended
            .map(|(key, (begun, ended))| (key.clone(), *ended - *begun))
            .collect()
    }

    fn note(
        &self,
        verb: &'static str,
        endpoint: &Endpoint,
        shown: Option<&Credentials>,
    ) -> Option<Bmc> {
        let to = endpoint.address.origin().ascii_serialization();
        let mut state = self.0.lock().unwrap();
        let pinned = match &endpoint.tls {
            TlsTrust::PinnedKey(pin) => Some(pin.to_string()),
            TlsTrust::CaBundle(_) | TlsTrust::NoVerification | TlsTrust::PlainHttp => None,
        };
        state.calls.push(Call {
            verb,
            to: to.clone(),
            shown: shown.map(|shown| format!("{}:{}", shown.username, shown.password)),
            pinned,
        });
        state.bmcs.get(&to).cloned()
    }
}

fn unreachable(endpoint: &Endpoint) -> BmcError {
    BmcError::Unreachable {
        address: endpoint.address.to_string(),
        reason: "connection refused".to_owned(),
    }
}

async fn time_passes(bmc: &Bmc, endpoint: &Endpoint, requests: u32) -> Result<(), BmcError> {
    match bmc.manner {
        Manner::Answers => tokio::time::sleep(REQUEST * requests).await,
        Manner::Slow => tokio::time::sleep(REQUEST * requests * 10).await,
        Manner::Stalls if requests == 1 => tokio::time::sleep(REQUEST).await,
        Manner::Hangs | Manner::Stalls => std::future::pending().await,
        Manner::Refuses => {
            return Err(BmcError::ReadFailed {
                address: endpoint.address.to_string(),
                path: "/redfish/v1".to_owned(),
                status: 503,
                detail: String::new(),
            });
        }
        Manner::Dead => return Err(unreachable(endpoint)),
    }
    Ok(())
}

#[async_trait]
impl Explorer for Fleet {
    async fn identify(&self, endpoint: &Endpoint) -> Result<Identified, BmcError> {
        let bmc = self.note("identify", endpoint, None);
        let bmc = bmc.ok_or_else(|| unreachable(endpoint))?;
        time_passes(&bmc, endpoint, 1).await?;
        Ok(Identified {
            remote: ([10, 0, 0, 1], 443).into(),
            tls_pin: bmc.key.as_ref().map(|key| SpkiPin::of(key.as_bytes())),
            service: bmc.service.clone(),
            vendor: None,
            product: None,
        })
    }

    async fn explore(
        &self,
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<Explored, BmcError> {
        let begun = Instant::now();
        let bmc = self.note("explore", endpoint, Some(credentials));
        let bmc = bmc.ok_or_else(|| unreachable(endpoint))?;
        if bmc.password != credentials.password {
            return Err(BmcError::CredentialsRefused {
                address: endpoint.address.to_string(),
                tries: 2,
                locked: true,
            });
        }
        time_passes(&bmc, endpoint, REQUESTS).await?;
        let key = endpoint.address.origin().ascii_serialization();
        let mut state = self.0.lock().unwrap();
        state.ended.insert(key, (begun, Instant::now()));
        let probes = state.calls.len();
        serve(&bmc, endpoint, probes)
    }
}

/// What a BMC serves, as far as it can be read.
fn serve(bmc: &Bmc, endpoint: &Endpoint, probe: usize) -> Result<Explored, BmcError> {
    let mut explored = Explored::default();
    if bmc.is_bare {
        return Ok(explored);
    }
    let serials = std::iter::once(&bmc.serial).chain(&bmc.others);
    for (number, serial) in serials.enumerate() {
        let path = format!("/redfish/v1/Systems/{}", number + 1);
        if bmc.unreadable.contains(serial) {
            let why = BmcError::ReadFailed {
                address: endpoint.address.to_string(),
                path: path.clone(),
                status: 500,
                detail: String::new(),
            };
            explored.unread.push(UnreadSystem { path, why });
            continue;
        }
        let mut system = system(serial, probe);
        system.identity.system_path.clone_from(&path);
        system.system_path = (!bmc.others.is_empty()).then_some(path);
        explored.systems.push(system);
    }
    if explored.systems.is_empty() && !explored.unread.is_empty() {
        return Err(explored.unread.remove(0).why);
    }
    Ok(explored)
}

/// A card; `probe` moves the time at which its capabilities were probed.
pub(super) fn system(serial: &str, probe: usize) -> ExploredSystem {
    let offer = json!({"offer": "NotOffered", "source": "/redfish/v1"});
    let probed_at = jiff::Timestamp::UNIX_EPOCH + Duration::from_secs(probe as u64);
    let mut capabilities = json!({"vendorTable": "generic", "probedAt": probed_at.to_string()});
    for name in [
        "reset",
        "bmcReset",
        "bootOverride",
        "virtualMedia",
        "simpleUpdate",
        "multipartPush",
        "bootProgress",
        "secureBoot",
        "spdm",
        "sessions",
        "events",
    ] {
        capabilities[name] = offer.clone();
    }
    let unread = "NotRead";
    let hot = json!({
        "identity": {"serialNumber": serial}, "stageKnowledge": unread,
        "media": {"owner": "Nobody"},
        "capabilities": {
            "virtualMedia": unread, "sessions": unread, "bootProgress": unread,
            "powerRestorePolicy": unread,
        },
    });
    ExploredSystem {
        role: MachineRole::Card,
        recognised_by: "SystemType DPU".to_owned(),
        identity: SystemIdentity {
            system_path: "/redfish/v1/Systems/1".to_owned(),
            serial_number: Some(serial.to_owned()),
            manufacturer: Some("ACME".to_owned()),
            ..SystemIdentity::default()
        },
        system_path: None,
        bmc: serde_json::from_value(hot).unwrap(),
        inventory: Inventory {
            capabilities: Some(serde_json::from_value(capabilities).unwrap()),
            ..Inventory::default()
        },
    }
}

#[async_trait]
impl Doors for Fleet {
    async fn knock(&self, door: SocketAddr) -> Result<(), String> {
        let manner = {
            let mut state = self.0.lock().unwrap();
            state.calls.push(Call {
                verb: "knock",
                to: door.to_string(),
                shown: None,
                pinned: None,
            });
            let url: url::Url = format!("https://{door}").parse().unwrap();
            let key = url.origin().ascii_serialization();
            let plain: url::Url = format!("http://{door}").parse().unwrap();
            let plain = plain.origin().ascii_serialization();
            let bmc = state.bmcs.get(&key).or_else(|| state.bmcs.get(&plain));
            bmc.map(|bmc| bmc.manner)
        };
        match manner {
            Some(Manner::Dead) | None => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                Err("no connection within 2 s".to_owned())
            }
            Some(
                Manner::Answers | Manner::Slow | Manner::Hangs | Manner::Stalls | Manner::Refuses,
            ) => Ok(()),
        }
    }
}

/// A site with its API server and its fleet.
pub(super) struct Bench {
    pub(super) api: FakeApi,
    pub(super) fleet: Fleet,
    pub(super) means: Means,
    _dir: tempfile::TempDir,
}

/// A search under way.
pub(super) struct Search {
    ending: CancellationToken,
    task: JoinHandle<()>,
}

impl Search {
    pub(super) async fn end(self) {
        self.ending.cancel();
        self.task.await.unwrap();
    }
}

pub(super) fn secret(api: &FakeApi, name: &str, username: &str, password: &str) {
    let base64 = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let data = json!({"username": base64(username), "password": base64(password)});
    api.put(
        &format!("secrets/{name}"),
        json!({"metadata": {"name": name}, "data": data}),
    );
}

/// A bench whose configuration has this section `discovery`.
pub(super) fn bench(discovery: &str) -> Bench {
    // Only the first test of the process installs it.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let api = FakeApi::default();
    secret(&api, "c", "a", "b");
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let text = format!(
        "site: s\nnamespace: site\nallowedNetworks: [10.0.0.0/8, 'fd00::/8']\nstateDir: {}\n\
         store: {{dir: {}, quotaBytes: 1000000, listen: 127.0.0.1:0, advertiseUrl: 'http://10.0.0.5:8080'}}\n\
         xpu: {{apiServer: 'https://10.0.0.6:6443'}}\ndiscovery:\n{discovery}\n",
        state.display(),
        dir.path().join("store").display()
    );
    let config: SiteConfig = serde_yaml::from_str(&text).unwrap();
    let mut store = StoreConfig::new(&config.store.dir, config.store.quota_bytes);
    store.sources = SourcePolicy::Any;
    let mandate = Mandate::default();
    mandate.extend_from(Instant::now() + Duration::from_secs(1_000_000));
    let fleet = Fleet::default();
    let site = Site {
        client: api.client(),
        dial: Arc::new(FakeBmc::default()),
        orders: OrderBook::open(&state).unwrap(),
        pxe: None,
        glances: Glances::default(),
        attended: Attended::default(),
        inventories: Inventories::default(),
        mandate,
        metrics: Arc::new(Metrics::new(None)),
        store: Store::open(store).unwrap(),
        seed_ca: Arc::new(Bundle::fixed("PEM")),
        store_ca: None,
        callers: lockstep_serve::Callers::default(),
        config,
    };
    let means = Means {
        site: Arc::new(site),
        explorer: Arc::new(fleet.clone()),
        doors: Arc::new(fleet.clone()),
    };
    Bench {
        api,
        fleet,
        means,
        _dir: dir,
    }
}

/// Where the report about the machine with this serial number is.
pub(super) fn report_of(serial: &str) -> String {
    format!("dpureports/{}", names::found_bmc(&Bench::id(serial)))
}

/// One range with these fields and the usual way in.
pub(super) fn range(rest: &str) -> String {
    format!(
        "  ranges:\n    - {{{rest}, credentialsRef: {{name: c}}, tls: {{trust: PinFirstSeen}}}}"
    )
}

/// One lease file, whose addresses are looked at in one network in the usual way.
pub(super) fn leased(file: &Path) -> String {
    format!(
        "  leases:
    - {{file: {}, networks: [10.0.0.0/24], credentialsRef: {{name: c}}, tls: {{trust: PinFirstSeen}}}}",
        file.display()
    )
}

/// One range of these addresses, behind which any key will do.
pub(super) fn unverified(addresses: &str) -> String {
    format!(
        "  ranges:\n    - {{addresses: {addresses}, credentialsRef: {{name: c}}, tls: {{trust: NoVerification}}}}"
    )
}

impl Bench {
    /// Waits until what became of every endpoint is told.
    pub(super) async fn all_told(&self) {
        until(Duration::from_secs(300), "all is told", || {
            self.api.get("dpureports/scan-s").is_some()
        })
        .await;
    }

    pub(super) fn start(&self) -> Search {
        let section = self.means.site.config.discovery.clone().unwrap();
        self.search(section)
    }

    /// As after a restart with this section `discovery`.
    pub(super) fn start_with(&self, section: &str) -> Search {
        self.search(serde_yaml::from_str(section).unwrap())
    }

    fn search(&self, section: DiscoverySection) -> Search {
        let ending = CancellationToken::new();
        let task = tokio::spawn(run(self.means.clone(), section, ending.clone()));
        Search { ending, task }
    }

    /// Writes of the search so far.
    pub(super) fn writes(&self) -> usize {
        self.api.writes().len()
    }

    /// The report about the machine with this serial number.
    pub(super) fn found(&self, serial: &str) -> Option<Value> {
        let report = self.api.get(&report_of(serial))?;
        Some(report["spec"].clone())
    }

    pub(super) fn id(serial: &str) -> String {
        super::super::identity::id_of(&system(serial, 0).identity).unwrap()
    }

    /// The outcome of an endpoint that failed.
    pub(super) fn failed(&self, key: &str) -> Option<String> {
        let one = self.failure(key)?;
        Some(one["reason"].as_str().unwrap().to_owned())
    }

    /// What is told of an endpoint that failed.
    pub(super) fn message(&self, key: &str) -> String {
        let one = self.failure(key).unwrap();
        one["message"].as_str().unwrap().to_owned()
    }

    fn failure(&self, key: &str) -> Option<Value> {
        let scan = self.api.get("dpureports/scan-s")?;
        let failed = scan["spec"]["scan"]["failed"].as_array()?.clone();
        failed.into_iter().find(|one| one["address"] == key)
    }

    pub(super) fn address(&self, serial: &str) -> Option<String> {
        let spec = self.found(serial)?;
        Some(spec["found"]["endpoint"]["address"].as_str()?.to_owned())
    }

    pub(super) fn is_missing(&self, serial: &str) -> bool {
        let spec = self.found(serial).unwrap();
        spec["found"]["missingSince"].is_string()
    }
}

/// Lets time pass until something is so.
pub(super) async fn until(within: Duration, what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + within;
    while !is_so() {
        assert!(Instant::now() < end, "not so within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
