//! Configuration of `lockstep-agent site`, one YAML file.

mod discovery;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use url::Url;

pub use discovery::{
    DiscoverySection, FirstTrust, LeaseSection, NameRef, RangeSection, TlsSection,
};

/// Most seconds between two looks at a BMC: what was seen counts until the next one, and
/// the operator takes nothing for seen twice that need not have been.
const LONGEST_POLL: u64 = 300;

/// What one site agent is told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteConfig {
    /// Name of the site, as in `spec.site` of its objects.
    pub site: String,
    /// Namespace that holds the site's objects.
    pub namespace: String,
    /// Networks that may be dialled for BMCs and image sources. Any other
    /// address is refused before a packet is sent.
    #[serde(deserialize_with = "networks")]
    pub allowed_networks: Vec<IpNet>,
    /// The image store.
    pub store: StoreSection,
    /// Folder for what must outlive this process: the journal of accepted
    /// directives and the work orders of held hosts. It holds BMC credentials
    /// of held hosts (files of mode 0600), so that a hold can be ended while
    /// the API server is gone; put it on a volume of its own.
    pub state_dir: PathBuf,
    /// What the agents on cards are told of the API server.
    pub xpu: XpuSection,
    /// How often BMCs are looked at.
    #[serde(default)]
    pub poll: PollSection,
    /// PXE, for cards that get their image so; without it, none does.
    #[serde(default)]
    pub pxe: Option<PxeSection>,
    /// Where BMCs are looked for; without it, nowhere.
    #[serde(default)]
    pub discovery: Option<DiscoverySection>,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[serde(default = "default_health")]
    pub health: SocketAddr,
}

/// The image store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreSection {
    /// Its folder.
    pub dir: PathBuf,
    /// What images and partial downloads may take together.
    pub quota_bytes: u64,
    /// Where images are served to BMCs.
    pub listen: SocketAddr,
    /// How BMCs reach `listen`: `http://10.0.0.5:8080`.
    pub advertise_url: Url,
    /// The largest image accepted; without it, the quota.
    #[serde(default)]
    pub max_image_bytes: Option<u64>,
    /// PEM bundle that alone is trusted for https image sources; without it,
    /// the system's trust store counts.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// With it, images are served over HTTPS alone.
    #[serde(default)]
    pub tls: Option<StoreTlsSection>,
}

/// The certificate under which images are served. Its files may be renewed at
/// any time; connections that come afterwards are served with the new ones.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreTlsSection {
    /// PEM chain, the store's own certificate first.
    pub cert_file: PathBuf,
    /// PEM key of that certificate.
    pub key_file: PathBuf,
}

/// How images are offered by PXE.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PxeSection {
    /// Folder from which the site's PXE service answers, `lockstep-agent pxe` or a dnsmasq of the
    /// site. It belongs to this agent alone, and has room for the image of each card that is being
    /// installed so.
    pub dir: PathBuf,
}

/// What cards are told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct XpuSection {
    /// The API server as cards reach it. An IP address saves them a resolver.
    pub api_server: Url,
    /// PEM bundle that signs the API server; without it, the one that this
    /// agent itself uses.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How the cards' own firmware reaches the store, for UEFI HTTP boot; without it, as BMCs do.
    #[serde(default)]
    pub store_url: Option<Url>,
    /// With it, cards that are installed from now on can fetch services from the store. It takes
    /// rights that are bound apart: `lockstep-xpu-services` and `lockstep-token-reviewer`.
    #[serde(default)]
    pub services: Option<ServicesSection>,
}

/// What cards need to fetch services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicesSection {
    /// PEM bundle that signs the store's certificate; needed where cards reach it over https.
    #[serde(default)]
    pub store_ca_file: Option<PathBuf>,
}

/// How often BMCs are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PollSection {
    /// Seconds between looks while something goes on for a machine.
    pub interval_seconds: u64,
    /// Seconds between looks otherwise.
    pub idle_seconds: u64,
}

impl Default for PollSection {
    fn default() -> Self {
        Self {
            interval_seconds: 10,
            idle_seconds: 60,
        }
    }
}

impl PollSection {
    /// While something goes on.
    pub fn busy(self) -> Duration {
        Duration::from_secs(self.interval_seconds)
    }

    /// Otherwise.
    pub fn idle(self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }
}

fn default_health() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8081))
}

fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    Vec::<String>::deserialize(from)?
        .iter()
        .map(|text| {
            text.parse().map(canonical).map_err(|_| {
                serde::de::Error::custom(format!(
                    "{text:?} is no network: write ADDRESS/PREFIX, such as 10.0.0.0/8"
                ))
            })
        })
        .collect()
}

/// The same network, with one of IPv4 addresses that are written as IPv6 ones
/// (`::ffff:10.0.0.0/104`) as what it is.
fn canonical(network: IpNet) -> IpNet {
    /// Of the addresses that stand for IPv4 ones.
    const MAPPED: u8 = 96;
    let inner = match network.addr() {
        IpAddr::V6(address) if network.prefix_len() >= MAPPED => address.to_ipv4_mapped(),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    inner
        .and_then(|address| IpNet::new(address.into(), network.prefix_len() - MAPPED).ok())
        .unwrap_or(network)
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path} cannot be read: {reason}; give its path with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not what is documented.
    #[error("configuration {path}: {reason}; correct the file and start again")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl SiteConfig {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Self::parse(&text).map_err(|reason| ConfigError::Invalid {
            path: path.to_owned(),
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(config)
    }

    /// How the firmware of cards reaches the store.
    pub fn store_url_of_cards(&self) -> &Url {
        let own = self.xpu.store_url.as_ref();
        own.unwrap_or(&self.store.advertise_url)
    }

    fn check(&self) -> Result<(), String> {
        if self.site.is_empty() || self.namespace.is_empty() {
            return Err("site and namespace must not be empty".to_owned());
        }
        if self.allowed_networks.is_empty() {
            return Err(
                "allowedNetworks is empty, so nothing could be dialled: name the networks of BMCs and image servers"
                    .to_owned(),
            );
        }
        for (name, url) in [
            ("store.advertiseUrl", &self.store.advertise_url),
            ("xpu.storeUrl", self.store_url_of_cards()),
        ] {
            if !matches!(url.scheme(), "http" | "https")
                || !matches!(url.path(), "" | "/")
                || url.query().is_some()
            {
                return Err(format!("{name} must be http(s)://HOST:PORT without a path"));
            }
            if self.store.tls.is_some() && url.scheme() != "https" {
                return Err(format!(
                    "{name} must be an https URL, since store.tls lets images be read over HTTPS alone"
                ));
            }
        }
        if let Some(services) = &self.xpu.services
            && services.store_ca_file.is_none()
            && self.store_url_of_cards().scheme() == "https"
        {
            return Err(
                "xpu.services needs storeCaFile, since cards reach the store over https and trust nobody else"
                    .to_owned(),
            );
        }
        if self.xpu.api_server.scheme() != "https" {
            return Err("xpu.apiServer must be an https URL: cards send a token to it".to_owned());
        }
        for (name, seconds) in [
            ("poll.intervalSeconds", self.poll.interval_seconds),
            ("poll.idleSeconds", self.poll.idle_seconds),
        ] {
            if !(1..=LONGEST_POLL).contains(&seconds) {
                return Err(format!("{name} must be between 1 and {LONGEST_POLL}"));
            }
        }
        if self.store.quota_bytes == 0 {
            return Err("store.quotaBytes must be positive".to_owned());
        }
        if let Some(discovery) = &self.discovery {
            discovery.check(&self.allowed_networks)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r"
site: berlin
namespace: lockstep-berlin
allowedNetworks: [10.0.0.0/8]
stateDir: /var/lib/lockstep/state
store:
  dir: /var/lib/lockstep/store
  quotaBytes: 20000000000
  listen: 0.0.0.0:8080
  advertiseUrl: http://10.0.0.5:8080
xpu:
  apiServer: https://10.0.0.1:6443
";

    #[test]
    fn the_minimal_file_gets_the_documented_defaults() {
        let config = SiteConfig::parse(MINIMAL).unwrap();
        assert_eq!(config.poll.busy(), Duration::from_secs(10));
        assert_eq!(config.poll.idle(), Duration::from_secs(60));
        assert_eq!(config.health.port(), 8081);
        assert_eq!(config.store.max_image_bytes, None);
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for (from, to, says) in [
            ("site: berlin", "site: ''", "site and namespace"),
            ("[10.0.0.0/8]", "[]", "allowedNetworks"),
            (
                "http://10.0.0.5:8080",
                "http://10.0.0.5:8080/x",
                "advertiseUrl",
            ),
            (
                "advertiseUrl:",
                "tls: {certFile: /tls/tls.crt, keyFile: /tls/tls.key}\n  advertiseUrl:",
                "must be an https URL, since store.tls",
            ),
            (
                "xpu:",
                "xpu:\n  storeUrl: http://10.9.0.5:8080/x",
                "xpu.storeUrl must be",
            ),
            (
                "xpu:",
                "xpu:\n  services: {}\n  storeUrl: https://10.9.0.5:8443",
                "xpu.services needs storeCaFile",
            ),
            ("https://10.0.0.1", "http://10.0.0.1", "apiServer"),
            (
                "stateDir:",
                "poll: {intervalSeconds: 0}\nstateDir:",
                "intervalSeconds",
            ),
            ("stateDir:", "surprise: 1\nstateDir:", "surprise"),
            (
                "stateDir:",
                "discovery: {ranges: []}\nstateDir:",
                "nowhere to look",
            ),
        ] {
            let text = MINIMAL.replace(from, to);
            let error = SiteConfig::parse(&text).unwrap_err();
            assert!(error.contains(says), "{to}: {error}");
        }
    }
}
