//! `discovery-join`: every vantage point of a card in one object, and what does not belong there
//! kept out of it. Agents' reports are written under their identities to a real API server; the
//! operator is the real one.

mod identities;
mod looks;
mod places;
mod sightings;
mod teller;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use lockstep_cluster::{Look, eventually};
use lockstep_crds::dpu_inventory::{Completeness, KnownPairing};
use lockstep_crds::{Dpu, DpuHost, DpuInventory, PROPOSED_LABEL, Phase};

use self::sightings::{Card, host_bmc, host_os};
use self::teller::{Teller, Who};
use crate::objects::{self, NAMESPACE};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::{Kind, World};

const SOON: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(8);

const HOST_A: &str = "7d3f6c1a-52b8-4e0f-9a6d-00000000000a";
const HOST_B: &str = "7d3f6c1a-52b8-4e0f-9a6d-00000000000b";

fn card(
    id: &'static str,
    serial: &str,
    last: &str,
    address: &'static str,
    mac: &'static str,
) -> Card {
    Card {
        id,
        serial: serial.to_owned(),
        uuid: format!("0b8e2d94-6f17-4c3a-8d52-9e7a1f6c4b{last}"),
        address,
        mac,
    }
}

/// Runs the scenario.
///
/// # Errors
/// When anything is not as told.
pub async fn run(context: Context) -> Result<Report> {
    let mut report = Report::default();
    let mut world = World::start(
        &context.folder,
        Kind::Nothing,
        Vec::new(),
        &context.binaries,
    )
    .await?;
    world.start_operator().await?;
    let stories = Stories {
        teller: Teller {
            control_plane: &world.control_plane,
        },
        cards: Api::namespaced(world.control_plane.client(), NAMESPACE),
        hosts: Api::namespaced(world.control_plane.client(), NAMESPACE),
        inventories: Api::namespaced(world.control_plane.client(), NAMESPACE),
    };
    stories.teller.live(Who::Site).await?;
    stories.agreeing(&mut report).await?;
    stories.swapped(&mut report).await?;
    stories.renamed(&mut report).await?;
    stories.junk(&mut report).await?;
    stories.contradicting(&mut report).await?;
    stories.claimed_twice(&mut report).await?;
    stories.moved_and_replaced(&mut report).await?;
    stories.users_object_wins(&mut report).await?;
    stories.approved(&mut report).await?;
    story::comes_to_rest(&world.control_plane, QUIET, SOON).await?;
    world.check()?;
    world.stop().await?;
    Ok(report)
}

struct Stories<'a> {
    teller: Teller<'a>,
    cards: Api<Dpu>,
    hosts: Api<DpuHost>,
    inventories: Api<DpuInventory>,
}

/// The card of most stories.
fn first() -> Card {
    card(
        "c1",
        "MT2251XZ0001",
        "01",
        "https://10.0.0.1",
        "02:00:00:00:00:01",
    )
}

fn second() -> Card {
    card(
        "c2",
        "MT2251XZ0002",
        "02",
        "https://10.0.0.2",
        "02:00:00:00:00:02",
    )
}

impl Stories<'_> {
    async fn agreeing(&self, report: &mut Report) -> Result<()> {
        let (one, two) = (first(), second());
        let in_a = vec![one.seen("SLOT 1", "0000:3b:00.0")];
        let in_b = vec![two.seen("SLOT 2", "0000:5e:00.0")];
        self.teller
            .tell(
                Who::Site,
                [
                    one.found(),
                    two.found(),
                    host_bmc("ha", HOST_A, "https://10.0.1.1", in_a.clone()),
                    host_bmc("hb", HOST_B, "https://10.0.1.2", in_b.clone()),
                ],
            )
            .await?;
        let kubectl = self.teller.control_plane.kubectl();
        for (node, uuid, seen) in [("node-a", HOST_A, in_a), ("node-b", HOST_B, in_b)] {
            kubectl.apply_text(&objects::node(node)).await?;
            self.teller.live(Who::Host(node)).await?;
            self.teller
                .tell(Who::Host(node), host_os(node, uuid, "boot-1", seen))
                .await?;
        }
        let proposed = self.proposed("c1", "a proposal").await?;
        ensure!(
            !proposed.spec.approved,
            "{} is approved",
            proposed.name_any()
        );
        let shown = self
            .card(
                &proposed.name_any(),
                "Discovered and seen in its host",
                |dpu| {
                    dpu.status.as_ref().is_some_and(|status| {
                        status.phase == Some(Phase::Discovered)
                            && status.hosts.iter().any(|place| {
                                place.pairing == KnownPairing::Observed
                                    && place.slot.as_deref() == Some("SLOT 1")
                            })
                    })
                },
            )
            .await?;
        // It was proposed anew if it was found before its host was.
        let uid = shown.uid().unwrap_or_default();
        let message = shown.status.and_then(|status| status.message);
        report.say(format!(
            "agreeing: {} proposed, {}",
            proposed.name_any(),
            message.unwrap_or_default()
        ));
        // Its own operating system has not told anything yet.
        let name = proposed.name_any();
        let partial = self
            .inventory(&name, "Partial", |inventory| {
                inventory.spec.completeness == Completeness::Partial
            })
            .await?;
        ensure!(
            partial
                .spec
                .missing
                .iter()
                .any(|one| one.what.starts_with("cpu")),
            "nobody misses the cores: {:?}",
            partial.spec.missing
        );
        self.account(&name).await?;
        self.teller
            .tell(Who::Card(&name), one.own(&name, &uid, &one.serial))
            .await?;
        let whole = self
            .inventory(&name, "Complete", |inventory| {
                inventory.spec.completeness == Completeness::Complete
            })
            .await?;
        ensure!(
            whole.spec.views.len() >= 4,
            "seen from {:?} only",
            whole.spec.views
        );
        report.say(format!(
            "agreeing: joined from {} vantage points, Complete",
            whole.spec.views.len()
        ));
        Ok(())
    }

    async fn users_object_wins(&self, report: &mut Report) -> Result<()> {
        let one = card(
            "u1",
            "MT2251XZ0051",
            "51",
            "https://10.0.0.51",
            "02:00:00:00:00:51",
        );
        self.teller.tell(Who::Site, [one.found()]).await?;
        let proposed = self.proposed("u1", "a proposal").await?;
        let kubectl = self.teller.control_plane.kubectl();
        kubectl
            .apply_text(&format!(
                "apiVersion: provisioning.opiproject.org/v1alpha1\nkind: Dpu\n\
                 metadata: {{name: mine, namespace: {NAMESPACE}}}\n\
                 spec: {{site: a, hostRefs: [{{name: my-host}}], identity: {{serialNumber: {}}}}}\n",
                one.serial
            ))
            .await?;
        eventually(SOON, "the proposal gives way", async || {
            match self.labelled("u1").await {
                Ok(None) => Look::Holds(()),
                Ok(Some(dpu)) => Look::not_yet(dpu.name_any()),
                Err(error) => Look::not_yet(error),
            }
        })
        .await?;
        self.inventory("mine", "what its BMC tells", |inventory| {
            !inventory.spec.views.is_empty()
        })
        .await?;
        report.say(format!(
            "a user's object: {} gave way to dpu/mine",
            proposed.name_any()
        ));
        Ok(())
    }

    async fn approved(&self, report: &mut Report) -> Result<()> {
        let kubectl = self.teller.control_plane.kubectl();
        kubectl
            .apply_text(&format!(
                "apiVersion: provisioning.opiproject.org/v1alpha1\nkind: DpuBootPolicy\n\
                 metadata: {{name: discovered, namespace: {NAMESPACE}}}\n\
                 spec: {{discovered: {{approve: [{{serialNumbers: [MT2251XZ0061, MT2251XZ0062, MT2251XZ0063], pairingObserved: true}}]}}}}\n"
            ))
            .await?;
        let seen = card(
            "a1",
            "MT2251XZ0061",
            "61",
            "https://10.0.0.61",
            "02:00:00:00:00:61",
        );
        let unseen = card(
            "a2",
            "MT2251XZ0062",
            "62",
            "https://10.0.0.62",
            "02:00:00:00:00:62",
        );
        let in_a = vec![
            second().seen("SLOT 1", "0000:3b:00.0"),
            seen.seen("SLOT 3", "0000:5f:00.0"),
        ];
        self.teller
            .tell(
                Who::Host("node-a"),
                host_os("node-a", HOST_A, "boot-2", in_a),
            )
            .await?;
        self.teller
            .tell(Who::Site, [seen.found(), unseen.found()])
            .await?;
        let name = self.proposed("a1", "a card in its host").await?.name_any();
        // Nobody's word proves a pairing before it is known to be alive.
        self.teller.live(Who::Host("node-a")).await?;
        self.card(&name, "approved by the policy", |dpu| dpu.spec.approved)
            .await?;
        let other = self
            .proposed("a2", "a card that nobody sees in a host")
            .await?
            .name_any();
        // Whoever has approved this one has judged that one as well.
        let later = card(
            "a3",
            "MT2251XZ0063",
            "63",
            "https://10.0.0.63",
            "02:00:00:00:00:63",
        );
        let in_a = vec![
            second().seen("SLOT 1", "0000:3b:00.0"),
            seen.seen("SLOT 3", "0000:5f:00.0"),
            later.seen("SLOT 4", "0000:60:00.0"),
        ];
        self.teller.tell(Who::Site, [later.found()]).await?;
        self.proposed("a3", "a card that is seen later").await?;
        self.teller
            .tell(
                Who::Host("node-a"),
                host_os("node-a", HOST_A, "boot-2", in_a),
            )
            .await?;
        let after = self.proposed("a3", "that card").await?.name_any();
        self.card(&after, "approved after it was seen", |dpu| {
            dpu.spec.approved
        })
        .await?;
        self.card(&other, "judged and not approved", |dpu| {
            !dpu.spec.approved
                && dpu
                    .status
                    .as_ref()
                    .is_some_and(|status| status.phase == Some(Phase::Discovered))
        })
        .await?;
        story::comes_to_rest(self.teller.control_plane, QUIET, SOON).await?;
        let approved: BTreeSet<String> = self
            .cards
            .list(&ListParams::default().labels(PROPOSED_LABEL))
            .await?
            .items
            .into_iter()
            .filter(|dpu| dpu.spec.approved)
            .map(|dpu| dpu.name_any())
            .collect();
        ensure!(
            approved == BTreeSet::from([name.clone(), after.clone()]),
            "a pairing was asked for and seen of {name} and {after} only, and these are approved: {approved:?}"
        );
        report.say(format!(
            "approved: {name} and {after} by the policy, and nothing else once all was at rest"
        ));
        Ok(())
    }
}
