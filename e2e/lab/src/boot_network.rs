//! A network from which a VM's firmware boots: one wire from the VM to an interface of this
//! machine, with nothing on it but what a scenario puts there.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::command::run;
use crate::requirements;

const PACKAGES: [&str; 2] = ["dnsmasq-base", "iproute2"];
/// For tests of networks; each lab has a /24 of it.
const BLOCK: [u8; 2] = [198, 18];

/// The network of a running lab. Dropping it takes it away.
#[derive(Debug)]
pub struct BootNetwork {
    interface: String,
    third: u8,
    mac: String,
}

impl BootNetwork {
    /// Makes the interface, in place of one that an earlier lab in this folder left.
    pub(crate) fn up(state: &Path, machine: &str) -> Result<Self> {
        requirements::ensure_these(&PACKAGES)?;
        let network = Self::of(state, machine)?;
        network.remove()?;
        let name = network.interface.as_str();
        let address = format!("{}/24", network.address());
        run(&mut ip(&["tuntap", "add", "dev", name, "mode", "tap"]))
            .context("a boot network needs root and /dev/net/tun")?;
        run(&mut ip(&["addr", "add", &address, "dev", name]))?;
        run(&mut ip(&["link", "set", name, "up"]))?;
        Ok(network)
    }

    pub(crate) fn of(state: &Path, machine: &str) -> Result<Self> {
        let state = state.to_str().context("the state folder is not UTF-8")?;
        let digest = Sha256::digest(state);
        let own = Sha256::digest(format!("{machine} boots"));
        let hex = hex::encode(own);
        Ok(Self {
            interface: format!("lockstep{}", hex::encode(&digest[..3])),
            third: digest[3],
            mac: format!("52:54:00:{}:{}:{}", &hex[..2], &hex[2..4], &hex[4..6]),
        })
    }

    fn at(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(BLOCK[0], BLOCK[1], self.third, last)
    }

    /// The interface on this machine.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.at(1)
    }

    /// Addresses that nobody has: the first, the last, the mask.
    pub fn free(&self) -> [Ipv4Addr; 3] {
        [self.at(10), self.at(99), Ipv4Addr::new(255, 255, 255, 0)]
    }

    /// The VM's own address there.
    pub fn mac(&self) -> &str {
        &self.mac
    }

    fn remove(&self) -> Result<()> {
        let path = Path::new("/sys/class/net").join(&self.interface);
        if !path.exists() {
            return Ok(());
        }
        ensure!(
            path.join("tun_flags").exists(),
            "{} is an interface of somebody else's",
            self.interface
        );
        run(&mut ip(&["link", "del", "dev", &self.interface])).map(drop)
    }
}

impl Drop for BootNetwork {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::error!(%error, "the interface {} is left over", self.interface);
        }
    }
}

fn ip(arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_labs_have_two_networks_and_a_name_that_the_kernel_takes() {
        let one = BootNetwork::of("/a".as_ref(), "card1").unwrap();
        let other = BootNetwork::of("/b".as_ref(), "card1").unwrap();
        assert_ne!(one.interface, other.interface);
        assert_ne!(one.address(), other.address());
        assert!(one.interface.len() < 16);
        assert_eq!(one.mac(), other.mac());
    }
}
