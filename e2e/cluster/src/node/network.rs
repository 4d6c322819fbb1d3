//! The wire between the machine and the node, and the pods' network inside it.
//!
//! One veth pair; the machine's end goes away with the node's network namespace.
//! Nothing of the machine's own network is changed, so pods reach what listens on
//! [`Network::host`] and nothing further.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::namespace::Namespaces;
use crate::command;

const DEADLINE: Duration = Duration::from_secs(20);
/// Numbers to choose from: as many nodes can run on one machine at once.
const NUMBERS: std::ops::RangeInclusive<u8> = 1..=250;

/// Addresses of one node, told apart by a number that is free on this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Network {
    number: u8,
}

impl Network {
    /// Makes the pair; whoever made the interface of a number owns that number.
    pub(super) async fn claim() -> Result<Self> {
        for number in NUMBERS {
            let this = Self { number };
            let (outer, inner) = (this.outer(), this.inner());
            let add = ip(&[
                "link", "add", &outer, "type", "veth", "peer", "name", &inner,
            ]);
            match command::run(add, None, DEADLINE).await {
                Ok(_silence) => return Ok(this),
                Err(error) if format!("{error:#}").contains("File exists") => {}
                Err(error) => {
                    return Err(error).context(
                        "cannot make a network interface for the node; it needs root and the kernel's veth",
                    );
                }
            }
        }
        bail!(
            "all {} node networks are in use; look for nodes left over with `ip link`",
            NUMBERS.count()
        )
    }

    fn outer(self) -> String {
        format!("lsnode{}", self.number)
    }

    fn inner(self) -> String {
        format!("lsnode{}p", self.number)
    }

    /// The machine, as the node and its pods see it.
    pub(super) fn host(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 79, self.number, 1)
    }

    /// The node, as the machine sees it.
    pub(super) fn node(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 79, self.number, 2)
    }

    /// The pods' network, in CIDR form.
    pub(super) fn pods(self) -> String {
        format!("10.80.{}.0/24", self.number)
    }

    /// A name that no other node on this machine has.
    pub(super) fn unique_name(self) -> String {
        format!("lockstep-node-{}", self.number)
    }

    /// The system UUID of the machine that the node passes for.
    pub(super) fn system_uuid(self) -> String {
        format!("6c6f636b-7374-4570-8000-{:012x}", self.number)
    }

    /// Moves the inner end into the node and gives both ends their addresses.
    pub(super) async fn connect(self, namespaces: &Namespaces) -> Result<()> {
        let (outer, inner) = (self.outer(), self.inner());
        let pid = namespaces.pid().to_string();
        let (host, node) = (self.host().to_string(), self.node().to_string());
        let outside: [&[&str]; 4] = [
            &["link", "set", &inner, "netns", &pid, "name", "eth0"],
            &["addr", "add", &format!("{host}/24"), "dev", &outer],
            &["link", "set", &outer, "up"],
            &["route", "add", &self.pods(), "via", &node],
        ];
        let inside: [&[&str]; 3] = [
            &["addr", "add", &format!("{node}/24"), "dev", "eth0"],
            &["link", "set", "eth0", "up"],
            &["route", "add", "default", "via", &host],
        ];
        // The route to the pods needs the node's end up, so the inside goes in between.
        for args in &outside[..3] {
            command::run(ip(args), None, DEADLINE).await?;
        }
        for args in inside {
            let mut ip = namespaces.command("ip");
            ip.args(args);
            command::run(ip, None, DEADLINE).await?;
        }
        command::run(ip(outside[3]), None, DEADLINE).await?;
        let mut nft = namespaces.command("nft");
        nft.args(["-f", "-"]);
        command::run(nft, Some(&self.masquerade()), DEADLINE)
            .await
            .context("cannot set up the pods' network; it needs `nft` (nftables)")?;
        Ok(())
    }

    /// Pods leave the node with its address: the machine knows no other way back for sure.
    fn masquerade(self) -> String {
        let pods = self.pods();
        format!(
            "table ip lockstep {{\n\
               chain leave {{\n\
                 type nat hook postrouting priority 100;\n\
                 ip saddr {pods} ip daddr != {pods} masquerade\n\
               }}\n\
             }}\n"
        )
    }

    /// The pods' network as a CNI configuration.
    pub(super) fn cni(self) -> serde_json::Value {
        serde_json::json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [{
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-addresses",
                    "ranges": [[{ "subnet": self.pods() }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            }],
        })
    }

    /// Removes the pair, if it is still there.
    pub(super) async fn release(self) -> Result<()> {
        let delete = ip(&["link", "delete", &self.outer()]);
        match command::run(delete, None, DEADLINE).await {
            Err(error) if !format!("{error:#}").contains("Cannot find device") => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn ip(args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(args);
    command
}
