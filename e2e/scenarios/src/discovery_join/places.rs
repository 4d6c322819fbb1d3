//! Where cards sit: swapped between hosts, and a host that is renamed and installed anew.

use anyhow::{Result, ensure};
use kube::ResourceExt;
use lockstep_crds::dpu_inventory::{KnownPairing, SeenInHost};

use super::looks::{node_of, uuid_of};
use super::sightings::{host_bmc, host_os};
use super::teller::Who;
use super::{HOST_A, HOST_B, Stories, first, second};
use crate::objects;
use crate::report::Report;

/// Whether a card is seen there alone: system UUID, Node, slot and the one function. The host that
/// it was proposed for stays until somebody corrects `hostRefs`, and is told not to list it.
fn is_only_in(hosts: &[SeenInHost], there: (&str, &str, &str, &str)) -> bool {
    let is_unknown = |seen: &&SeenInHost| seen.pairing == KnownPairing::Unknown;
    let (unknown, seen): (Vec<_>, Vec<_>) = hosts.iter().partition(is_unknown);
    matches!(&seen[..], [only] if is_in(only, there)) && unknown.len() == 1
}

/// Whether that is what a sighting says.
fn is_in(seen: &SeenInHost, (uuid, node, slot, function): (&str, &str, &str, &str)) -> bool {
    seen.pairing == KnownPairing::Observed
        && seen.system_uuid.as_deref() == Some(uuid)
        && seen.node_name.as_deref() == Some(node)
        && seen.slot.as_deref() == Some(slot)
        && seen.functions == [function]
}

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
        for (id, seen_in) in [
            ("c1", (HOST_B, "node-b", "SLOT 2", "0000:5e:00.0")),
            ("c2", (HOST_A, "node-a", "SLOT 1", "0000:3b:00.0")),
        ] {
            let name = self.proposed(id, "a card").await?.name_any();
            self.inventory(&name, "in the other host and nowhere else", |inventory| {
                let conflicts = &inventory.spec.conflicts;
                is_only_in(&inventory.spec.hosts, seen_in)
                    && conflicts.iter().any(|conflict| conflict.field == "hosts")
            })
            .await?;
        }
        report.say("swapped: both cards are shown where they are seen now and nowhere else, and that they were proposed for other hosts");
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
