//! Free loopback ports.

use std::{
    net::TcpListener,
    ops::RangeInclusive,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Below the kernel's usual range for outgoing connections: a port that is free now is
/// not taken by somebody's outgoing connection a moment later.
const RANGE: RangeInclusive<u16> = 21000..=31999;

/// The ports of one control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) apiserver: u16,
    pub(crate) etcd_client: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) controller_manager: u16,
}

impl Ports {
    /// The given ports if all are free, otherwise others.
    pub(crate) fn choose(preferred: Option<Self>) -> Result<Self> {
        if let Some(ports) = preferred
            && ports.all().map(hold).iter().all(Option::is_some)
        {
            return Ok(ports);
        }
        let [apiserver, etcd_client, etcd_peer, controller_manager] = free()?;
        Ok(Self {
            apiserver,
            etcd_client,
            etcd_peer,
            controller_manager,
        })
    }

    fn all(self) -> [u16; 4] {
        [
            self.apiserver,
            self.etcd_client,
            self.etcd_peer,
            self.controller_manager,
        ]
    }
}

fn hold(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).ok()
}

/// Where the next search of this process begins, relative to the process's own beginning:
/// a port that was given but is not in use yet must not be given again.
static GIVEN: AtomicU32 = AtomicU32::new(0);

/// `N` different free ports. Where to begin depends on the process, so that two that start
/// at the same moment rarely look at the same ports.
pub(crate) fn free<const N: usize>() -> Result<[u16; N]> {
    let span = u32::from(*RANGE.end() - *RANGE.start()) + 1;
    let own = std::process::id().wrapping_mul(7919) % span;
    // Room for ports that turn out to be taken.
    let room = u32::try_from(2 * N + 8).context("too many ports")?;
    let begin = own + GIVEN.fetch_add(room, Ordering::Relaxed) % span;
    // All are held until the last is found: no port is given twice.
    let found: Vec<_> = (0..span)
        .filter_map(|step| u16::try_from((begin + step) % span).ok())
        .filter_map(|offset| {
            let port = RANGE.start() + offset;
            hold(port).map(|listener| (port, listener))
        })
        .take(N)
        .collect();
    let ports: Vec<_> = found.iter().map(|(port, _)| *port).collect();
    ports.try_into().ok().with_context(|| {
        format!(
            "fewer than {N} free loopback ports between {} and {}; stop what uses them",
            RANGE.start(),
            RANGE.end()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferred_ports_are_kept_while_they_are_free() {
        let first = Ports::choose(None).unwrap();
        assert_eq!(Ports::choose(Some(first)).unwrap(), first);
        let _taken = hold(first.etcd_client).unwrap();
        let second = Ports::choose(Some(first)).unwrap();
        assert_ne!(second.etcd_client, first.etcd_client);
    }

    #[test]
    fn no_port_is_given_twice() {
        let mut ports = free::<4>().unwrap().to_vec();
        ports.extend(free::<4>().unwrap());
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }
}
