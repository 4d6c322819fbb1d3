//! What a store may use and how long it waits.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// Everything that [`Store::open`](crate::Store::open) needs to know.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The store's folder; made if absent.
    pub dir: PathBuf,
    /// What blobs and partial downloads may take together.
    pub quota_bytes: u64,
    /// The largest image accepted from anywhere.
    pub max_image_bytes: u64,
    /// Which image servers may be dialled.
    pub sources: SourcePolicy,
    /// PEM certificates that alone are trusted for https sources; without
    /// them the system's trust store counts.
    pub ca_bundle: Option<Vec<u8>>,
    /// Deadlines and attempts of a fetch.
    pub limits: FetchLimits,
}

impl StoreConfig {
    /// A store in `dir` with room for `quota_bytes`, any source, default
    /// limits; one image may take the whole quota.
    pub fn new(dir: impl Into<PathBuf>, quota_bytes: u64) -> Self {
        Self {
            dir: dir.into(),
            quota_bytes,
            max_image_bytes: quota_bytes,
            sources: SourcePolicy::Any,
            ca_bundle: None,
            limits: FetchLimits::default(),
        }
    }
}

/// Which addresses image sources may have. It binds the address that is
/// dialled, after name resolution, so a name cannot lead elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePolicy {
    /// Every address.
    Any,
    /// Addresses in these networks only.
    Networks(Vec<IpNet>),
}

impl SourcePolicy {
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        match self {
            SourcePolicy::Any => true,
            SourcePolicy::Networks(networks) => {
                // ::ffff:a.b.c.d reaches the same machine as a.b.c.d.
                let address = address.to_canonical();
                networks.iter().any(|network| network.contains(&address))
            }
        }
    }
}

/// Deadlines and attempts of a fetch. All waits of a fetch are bounded by
/// these together with the size limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchLimits {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// From the request to the response's headers.
    pub response: Duration,
    /// The window over which throughput is measured.
    pub stall_window: Duration,
    /// A source that sends less than this in a window is cut off.
    pub stall_min_bytes: u64,
    /// Attempts with one source in one fetch. What an attempt received is
    /// kept for the next one.
    pub attempts: u32,
    /// The first pause between attempts; it doubles, with jitter.
    pub backoff: Duration,
    /// The longest pause between attempts.
    pub backoff_max: Duration,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            response: Duration::from_secs(30),
            stall_window: Duration::from_secs(30),
            stall_min_bytes: 30 * 16 * 1024,
            attempts: 5,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_what_they_map() {
        let policy = SourcePolicy::Networks(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(policy.allows("10.1.2.3".parse().unwrap()));
        assert!(policy.allows("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!policy.allows("11.1.2.3".parse().unwrap()));
        assert!(!policy.allows("::1".parse().unwrap()));
        assert!(!SourcePolicy::Networks(vec![]).allows("10.1.2.3".parse().unwrap()));
    }
}
