//! Who is there to be found, and what is true of each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use lockstep_crds::DpuReport;
use lockstep_lab::{Credentials, FakeBmcs, LabSpec, MachineSpec};
use lockstep_xpusim::Listen;

use super::MachineRole;
use super::dhcp::Client;
use super::trap::Trap;
use crate::objects;
use crate::simulated::{self, PASSWORD, range};
use crate::world::Simulated;

/// Processes of sushy-tools, a card and a host each.
const SUSHY: usize = 20;
/// Listed endpoints where nothing listens.
pub(super) const DEAD: usize = 21;
/// Passwords of the same user in other ranges: whoever is shown the Secret of a range that is not
/// its own refuses it.
const NETWORK_PASSWORD: &str = "xpusim-network-1";
const LEASED_PASSWORD: &str = "xpusim-leased-1";
const NETWORK_SECRET: &str = "bmc-network";
const LEASED_SECRET: &str = "bmc-leased";
/// First address of the BMCs that are found by knocking.
const FIRST: &str = "127.60.0.1:8443";
const RANGE: &str = "127.60.0.0/24";
/// First address of the BMCs that only leases name.
const FIRST_LEASED: &str = "127.61.0.50:8443";
/// What the section of the lease file has credentials for: half of what dnsmasq serves.
const LEASED: &str = "127.61.0.0/25";
const LEASED_PORT: u16 = 8443;
/// Where a trap has a lease: in the other half, on the port of that section.
pub(super) const STRAY: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 61, 0, 200)), LEASED_PORT);

/// Found by knocking at every address of a network; all take the same account.
fn by_network() -> String {
    format!(
        "domains:
  - count: 50
    hosts: [{{name: \"v4-host-{{n}}\", personality: dell-host, password: {NETWORK_PASSWORD}}}]
    cards:
      - {{name: \"v4-bf3-{{n}}\", personality: bluefield-3, password: {NETWORK_PASSWORD}, slots: [{{host: \"v4-host-{{n}}\"}}]}}
      - {{name: \"v4-bf2-{{n}}\", personality: bluefield-2, password: {NETWORK_PASSWORD}, slots: [{{host: \"v4-host-{{n}}\", number: 2}}]}}
      - {{name: \"v4-ipu-{{n}}\", personality: intel-e2100, password: {NETWORK_PASSWORD}, slots: [{{host: \"v4-host-{{n}}\", number: 3}}]}}
"
    )
}

/// Listed, on [::1]: 5 % slow, 5 % with another password than ours.
fn by_list() -> String {
    let mut yaml = "domains:\n".to_owned();
    for (host, card) in [
        ("hpe-host", "bluefield-3"),
        ("lenovo-host", "bluefield-4"),
        ("supermicro-host", "generic-dpu"),
        ("generic-host", "intel-e2100"),
    ] {
        for (tag, count, password, latency) in [
            ("", 20, PASSWORD, 0),
            ("slow-", 2, PASSWORD, 700),
            ("refusing-", 3, "somebody-elses-1", 0),
        ] {
            let name = |what: &str| format!("\"{tag}{what}-{{n}}\"");
            let rest = format!("password: {password}, latency: {{fixed: {latency}}}");
            yaml.push_str(&format!(
                "  - count: {count}
    hosts: [{{name: {host_name}, personality: {host}, {rest}}}]
    cards: [{{name: {card_name}, personality: {card}, {rest}, slots: [{{host: {host_name}}}]}}]
",
                host_name = name(host),
                card_name = name(&format!("{host}-{card}")),
            ));
        }
    }
    yaml
}

/// Named by leases only: no list has them, and no network that is scanned.
fn by_lease() -> String {
    format!(
        "domains:
  - hosts: [{{name: leased-host, personality: dell-host, password: {LEASED_PASSWORD}}}]
    cards: [{{name: leased-card, personality: bluefield-3, password: {LEASED_PASSWORD}, slots: [{{host: leased-host}}]}}]
"
    )
}

/// The two ranges of sushy-tools' BMCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// With the one that accepts and says nothing.
    BesideMute,
    /// Without it.
    Apart,
}

impl Half {
    fn of(number: usize) -> Self {
        if number.is_multiple_of(2) {
            Self::BesideMute
        } else {
            Self::Apart
        }
    }

    fn secret(self) -> &'static str {
        match self {
            Self::BesideMute => "bmc-sushy-beside",
            Self::Apart => "bmc-sushy-apart",
        }
    }

    fn credentials(self) -> Credentials {
        let default = Credentials::default();
        match self {
            Self::BesideMute => default,
            Self::Apart => Credentials {
                password: "lockstep-apart".to_owned(),
                ..default
            },
        }
    }
}

/// Everything that is there.
pub(super) struct Fleets {
    network: Simulated,
    listed: Simulated,
    leased: Simulated,
    sushy: Vec<FakeBmcs>,
    dead: Vec<String>,
}

/// A BMC of sushy-tools.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) uuid: String,
    pub(super) half: Half,
    url: String,
    name: String,
}

/// What is true of one machine.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) name: String,
    source: String,
    role: MachineRole,
    serial: Option<String>,
    family: Option<&'static str>,
    cores: Option<i64>,
    memory: Option<i64>,
}

impl Truth {
    /// Whether the report says so too.
    pub(super) fn compare(&self, report: &DpuReport) -> Result<()> {
        let spec = &report.spec;
        let found = spec
            .found
            .as_ref()
            .context("nothing says how it was found")?;
        ensure!(
            found.sources == [self.source.as_str()],
            "it was found by {:?}, not by {}",
            found.sources,
            self.source
        );
        let inventory = spec.inventory.as_ref().context("no inventory")?;
        let system = inventory.system.clone().unwrap_or_default();
        // What sushy-tools shows does not tell a card from a host.
        if self.role != MachineRole::Unclear {
            ensure!(
                found.role == self.role,
                "the role is {}, not {}, by {}",
                found.role,
                self.role,
                found.recognised_by
            );
        }
        if let Some(serial) = &self.serial {
            ensure!(
                system.serial_number.as_ref() == Some(serial),
                "the serial number is {:?}, not {serial}",
                system.serial_number
            );
        }
        if let Some(family) = self.family {
            ensure!(
                system.family.as_deref() == Some(family),
                "the family is {:?}, not {family}",
                system.family
            );
        }
        if let Some(cores) = self.cores {
            let told = inventory.cpu.as_ref().and_then(|cpu| cpu.cores);
            ensure!(told == Some(cores), "cores are {told:?}, not {cores}");
        }
        if let Some(memory) = self.memory {
            let told = inventory
                .memory
                .as_ref()
                .and_then(|memory| memory.total_bytes);
            ensure!(told == Some(memory), "memory is {told:?}, not {memory}");
        }
        Ok(())
    }
}

fn client_at(name: &str, address: SocketAddr) -> Result<Client> {
    let SocketAddr::V4(address) = address else {
        bail!("{address} is not what dnsmasq serves");
    };
    Ok(Client {
        name: name.to_owned(),
        address: *address.ip(),
    })
}

fn sushy_machines(number: usize) -> [MachineSpec; 2] {
    [
        MachineSpec::card(&format!("sushy-card-{number}")),
        MachineSpec::host(&format!("sushy-host-{number}")),
    ]
}

/// The account that every BMC of a fleet takes.
fn only_user(fleet: &Simulated) -> Result<String> {
    let mut users = fleet.by_user()?.into_keys();
    match (users.next(), users.next()) {
        (Some(user), None) => Ok(user),
        _ => bail!("the BMCs of a range take no account or several"),
    }
}

impl Fleets {
    pub(super) async fn start(folder: &Path) -> Result<Self> {
        let network = Simulated::start(&by_network(), Listen::Addresses(FIRST.parse()?)).await?;
        let listed = Simulated::start(&by_list(), Listen::Ports("[::1]:0".parse()?)).await?;
        let leased = Listen::Addresses(FIRST_LEASED.parse()?);
        let leased = Simulated::start(&by_lease(), leased).await?;
        let mut sushy = Vec::new();
        for number in 0..SUSHY {
            let mut spec = LabSpec::new(sushy_machines(number));
            spec.credentials = Half::of(number).credentials();
            sushy.push(FakeBmcs::up(&folder.join(format!("sushy-{number}")), &spec).await?);
        }
        let dead = (0..DEAD)
            .map(|_| {
                let free = std::net::TcpListener::bind("[::1]:0").context("no free port")?;
                Ok(format!("https://{}", free.local_addr()?))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            network,
            listed,
            leased,
            sushy,
            dead,
        })
    }

    fn simulated(&self) -> [&Simulated; 3] {
        [&self.network, &self.listed, &self.leased]
    }

    /// Who gets a lease: the BMCs that nothing else names, and the trap.
    pub(super) fn clients(&self, stray: &Trap) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for name in self.leased.fleet.names() {
            clients.push(self.client(name)?);
        }
        clients.push(client_at("stray", stray.address())?);
        Ok(clients)
    }

    /// The leased BMC of this name.
    fn client(&self, name: &str) -> Result<Client> {
        let url = self.leased.server.url(name)?;
        let address = url.trim_start_matches("https://").parse();
        client_at(
            name,
            address.with_context(|| format!("{url} is no address"))?,
        )
    }

    /// The section `discovery` for all of it.
    pub(super) fn section(&self, no_secret: &Trap, mute: &Trap, leases: &Path) -> Result<String> {
        let quoted = |urls: &[String]| {
            let urls: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
            format!("addresses: [{}]", urls.join(", "))
        };
        let half = |half: Half| -> Result<Vec<String>> {
            let fronts = self.fronts()?.into_iter();
            Ok(fronts
                .filter(|front| front.half == half)
                .map(|front| front.url)
                .collect())
        };
        let apart = half(Half::Apart)?;
        let mut beside = half(Half::BesideMute)?;
        beside.push(mute.url());
        Ok([
            "discovery:\n  scanIntervalSeconds: 10\n  ranges:\n".to_owned(),
            range(
                &format!("networks: [{RANGE}], ports: [8443]"),
                NETWORK_SECRET,
                "PinFirstSeen",
            ),
            self.listed.listed()?,
            range(&quoted(&self.dead), NETWORK_SECRET, "PinFirstSeen"),
            range(&quoted(&beside), Half::BesideMute.secret(), "PlainHttp"),
            range(&quoted(&apart), Half::Apart.secret(), "PlainHttp"),
            range(&quoted(&[no_secret.url()]), "bmc-nobody-made", "PlainHttp"),
            format!(
                "  leases:\n    - {{file: {}, networks: [{LEASED}], ports: [{LEASED_PORT}], credentialsRef: {{name: {LEASED_SECRET}}}, tls: {{trust: PinFirstSeen}}}}\n",
                leases.display(),
            ),
        ]
        .concat())
    }

    pub(super) fn secrets(&self) -> Result<String> {
        let mut yaml = simulated::secrets(&[&self.listed])?;
        for (name, fleet, password) in [
            (NETWORK_SECRET, &self.network, NETWORK_PASSWORD),
            (LEASED_SECRET, &self.leased, LEASED_PASSWORD),
        ] {
            yaml.push_str(&objects::secret(name, &only_user(fleet)?, password));
        }
        for half in [Half::BesideMute, Half::Apart] {
            let Credentials { username, password } = half.credentials();
            yaml.push_str(&objects::secret(half.secret(), &username, &password));
        }
        Ok(yaml)
    }

    /// The sushy-tools machines.
    pub(super) fn fronts(&self) -> Result<Vec<Front>> {
        let mut all = Vec::new();
        for (number, bmcs) in self.sushy.iter().enumerate() {
            for spec in sushy_machines(number) {
                all.push(Front {
                    url: bmcs.bmc(&spec.name)?.url(),
                    uuid: spec.uuid.to_lowercase(),
                    name: spec.name,
                    half: Half::of(number),
                });
            }
        }
        Ok(all)
    }

    /// Everything that can be found, by system UUID.
    pub(super) fn truth(&self) -> Result<BTreeMap<String, Truth>> {
        let mut all = BTreeMap::new();
        for fleet in self.simulated() {
            for name in fleet.fleet.names() {
                if name.starts_with("refusing-") {
                    continue;
                }
                let state = fleet.fleet.state(name)?;
                let hardware = &lockstep_xpusim::personality::find(state.personality)
                    .context("a machine without a personality")?
                    .hardware;
                let truth = Truth {
                    name: name.clone(),
                    source: if std::ptr::eq(fleet, &raw const self.network) {
                        format!("range {RANGE}")
                    } else if std::ptr::eq(fleet, &raw const self.leased) {
                        format!("lease {}", self.client(name)?.mac())
                    } else {
                        "list".to_owned()
                    },
                    role: match state.role {
                        "card" => MachineRole::Card,
                        _ => MachineRole::Host,
                    },
                    serial: Some(state.serial),
                    family: match state.personality {
                        "bluefield-2" => Some("BlueField-2"),
                        "bluefield-3" => Some("BlueField-3"),
                        "bluefield-4" => Some("BlueField-4"),
                        _ => None,
                    },
                    cores: Some(i64::from(hardware.cores)),
                    memory: Some(i64::from(hardware.memory.0) << 30),
                };
                all.insert(state.uuid.to_lowercase(), truth);
            }
        }
        for front in self.fronts()? {
            all.insert(
                front.uuid,
                Truth {
                    name: front.name,
                    source: "list".to_owned(),
                    role: MachineRole::Unclear,
                    serial: None,
                    family: None,
                    cores: None,
                    memory: None,
                },
            );
        }
        Ok(all)
    }

    /// Cards and the hosts they sit in, by system UUID, as far as both can be found.
    pub(super) fn pairs(&self) -> Result<BTreeSet<(String, String)>> {
        let mut pairs = BTreeSet::new();
        for fleet in self.simulated() {
            for name in fleet.fleet.names() {
                let state = fleet.fleet.state(name)?;
                if name.starts_with("refusing-") {
                    continue;
                }
                for host in &state.hosts {
                    let host = fleet.fleet.state(host)?;
                    pairs.insert((state.uuid.to_lowercase(), host.uuid.to_lowercase()));
                }
            }
        }
        Ok(pairs)
    }

    /// URLs of those that take another password than ours.
    pub(super) fn refusing(&self) -> Result<Vec<String>> {
        let names = self.listed.fleet.names().iter();
        names
            .filter(|name| name.starts_with("refusing-"))
            .map(|name| Ok(self.listed.server.url(name)?.to_owned()))
            .collect()
    }

    pub(super) fn dead(&self) -> Vec<String> {
        self.dead.clone()
    }

    /// Every BMC that takes our password never had to refuse one; each of the others did, and not
    /// more than twice.
    pub(super) fn nobody_was_shown_a_strange_credential(&self) -> Result<()> {
        for fleet in self.simulated() {
            for name in fleet.fleet.names() {
                let refused = fleet.fleet.requests(name)?.unauthorized;
                let allowed = if name.starts_with("refusing-") {
                    1..=2
                } else {
                    0..=0
                };
                ensure!(
                    allowed.contains(&refused),
                    "{name} refused {refused} requests, not {allowed:?}"
                );
            }
        }
        for (number, bmcs) in self.sushy.iter().enumerate() {
            for MachineSpec { name, .. } in sushy_machines(number) {
                let requests = bmcs.bmc(&name)?.requests();
                let shown = requests.iter().filter(|one| one.authorized).count();
                ensure!(shown > 0, "{name} was shown no credentials at all");
                let refused = requests.iter().filter(|one| one.is_refused()).count();
                ensure!(
                    refused == 0,
                    "{name} refused {refused} of {shown} requests with credentials"
                );
            }
        }
        Ok(())
    }

    pub(super) fn changes(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for fleet in self.simulated() {
            all.extend(fleet.changes()?);
        }
        for (number, bmcs) in self.sushy.iter().enumerate() {
            for MachineSpec { name, .. } in sushy_machines(number) {
                let changes = bmcs.bmc(&name)?.changes();
                all.extend(changes.iter().map(|one| format!("{name}: {one:?}")));
            }
        }
        Ok(all)
    }

    pub(super) fn stop(self) -> Result<()> {
        for bmcs in self.sushy {
            bmcs.down()?;
        }
        Ok(())
    }
}
