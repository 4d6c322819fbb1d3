//! Who is there to be found, and what is true of each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use lockstep_lab::{Credentials, FakeBmcs, LabSpec, MachineSpec};
use lockstep_xpusim::Listen;

use super::MachineRole;
use super::dhcp::Client;
use super::layout::{
    DEAD, FIRST, FIRST_LEASED, LEASED, LEASED_PASSWORD, LEASED_PORT, LEASED_SECRET,
    NETWORK_PASSWORD, NETWORK_SECRET, RANGE, REFUSING, by_lease, by_list, by_network,
};
use super::trap::Trap;
use super::truth::{self, Truth};
use crate::objects;
use crate::simulated::{self, range};
use crate::world::Simulated;

/// Processes of sushy-tools, a card and a host each.
const SUSHY: usize = 20;
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
                if name.starts_with(REFUSING) {
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
                    vendor: None,
                    model: hardware.model,
                    family: truth::family_of(state.personality)?,
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
                    vendor: Some("Sushy Emulator"),
                    model: "3500RX",
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
                if name.starts_with(REFUSING) {
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
            .filter(|name| name.starts_with(REFUSING))
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
                let allowed = if name.starts_with(REFUSING) {
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

    /// Shows a BMC the Secret of another range, as no agent may.
    pub(super) async fn show_a_strange_credential(&self) -> Result<()> {
        let fronts = self.fronts()?;
        let apart = fronts.iter().find(|front| front.half == Half::Apart);
        let url = &apart.context("no BMC is apart")?.url;
        let Credentials { username, password } = Half::BesideMute.credentials();
        let answer = reqwest::Client::new()
            .get(format!("{url}/redfish/v1/Systems"))
            .basic_auth(username, Some(password))
            .send()
            .await
            .with_context(|| format!("{url} does not answer"))?;
        ensure!(
            answer.status() == reqwest::StatusCode::UNAUTHORIZED,
            "{url} takes the password of another range: {}",
            answer.status()
        );
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
