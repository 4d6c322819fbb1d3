//! Where cards sit: swapped between hosts, and a host that is renamed and installed anew.

use anyhow::{Result, ensure};
use kube::ResourceExt;
use lockstep_crds::dpu_inventory::KnownPairing;

use super::looks::{node_of, uuid_of};
use super::sightings::{host_bmc, host_os};
use super::teller::Who;
use super::{HOST_A, HOST_B, Stories, first, second};
use crate::objects;
use crate::report::Report;

impl Stories<'_> {
    pub(super) async fn swapped(&self, report: &mut Report) -> Result<()> {
        let (one, two) = (first(), second());
        let (in_a, in_b) = (
            vec![two.seen("SLOT 1", "0000:3b:00.0")],
            vec![one.seen("SLOT 2", "0000:5e:00.0")],
        );
        for (node, uuid, seen) in [("node-a", HOST_A, &in_a), ("node-b", HOST_B, &in_b)] {
            self.teller
                .tell(Who::Host(node), host_os(node, uuid, "boot-2", seen.clone()))
                .await?;
        }
        self.teller
            .tell(
                Who::Site,
                [
                    host_bmc("ha", HOST_A, "https://10.0.1.1", in_a),
                    host_bmc("hb", HOST_B, "https://10.0.1.2", in_b),
                ],
            )
            .await?;
        let name = self.proposed("c1", "the first card").await?.name_any();
        self.inventory(&name, "in the other host", |inventory| {
            let hosts = &inventory.spec.hosts;
            let there = |uuid: &str| {
                hosts.iter().any(|host| {
                    host.pairing == KnownPairing::Observed
                        && host.system_uuid.as_deref() == Some(uuid)
                })
            };
            there(HOST_B) && !there(HOST_A)
        })
        .await?;
        report.say("swapped: each card is shown where it is seen now");
        Ok(())
    }

    pub(super) async fn renamed(&self, report: &mut Report) -> Result<()> {
        let host = self
            .host("bound to node-b", |host| {
                uuid_of(host) == Some(HOST_B) && node_of(host) == Some("node-b")
            })
            .await?;
        // Reinstalled: another boot, another operating system, the same machine.
        let seen = vec![first().seen("SLOT 2", "0000:5e:00.0")];
        self.teller
            .tell(
                Who::Host("node-b"),
                host_os("node-b", HOST_B, "boot-3", seen.clone()),
            )
            .await?;
        // Renamed: another Node, and nobody takes away what was told under the old name.
        let kubectl = self.teller.control_plane.kubectl();
        kubectl.run(&["delete", "node", "node-b"]).await?;
        kubectl.apply_text(&objects::node("node-b2")).await?;
        self.teller.live(Who::Host("node-b2")).await?;
        self.teller
            .tell(
                Who::Host("node-b2"),
                host_os("node-b2", HOST_B, "boot-4", seen),
            )
            .await?;
        let again = self
            .host("bound to node-b2", |host| {
                uuid_of(host) == Some(HOST_B) && node_of(host) == Some("node-b2")
            })
            .await?;
        ensure!(again.uid() == host.uid(), "it became another object");
        report.say(format!(
            "renamed and reinstalled: {} is the same host, bound to node-b2",
            again.name_any()
        ));
        Ok(())
    }
}
