//! What the operator made of it: proposals, inventories and hosts, each awaited.

use anyhow::Result;
use kube::ResourceExt;
use kube::api::ListParams;
use lockstep_cluster::{Look, eventually};
use lockstep_crds::{Dpu, DpuHost, DpuInventory, PROPOSED_LABEL};

use super::teller::Who;
use super::{SOON, Stories};
use crate::objects::NAMESPACE;
use crate::story;

impl Stories<'_> {
    /// The ServiceAccount of a card, as the operator makes it for cards that are installed.
    pub(super) async fn account(&self, dpu: &str) -> Result<()> {
        let kubectl = self.teller.control_plane.kubectl();
        kubectl
            .apply_text(&format!(
                "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: xpu-{dpu}, namespace: {NAMESPACE}}}\n"
            ))
            .await?;
        self.teller.live(Who::Card(dpu)).await
    }

    pub(super) async fn labelled(&self, id: &str) -> Result<Option<Dpu>> {
        let found = self
            .cards
            .list(&ListParams::default().labels(&format!("{PROPOSED_LABEL}={id}")))
            .await?;
        Ok(found.items.into_iter().next())
    }

    pub(super) async fn proposed(&self, id: &str, what: &str) -> Result<Dpu> {
        let found = eventually(SOON, format!("{id}: {what}"), async || {
            match self.labelled(id).await {
                Ok(Some(dpu)) => Look::Holds(dpu),
                Ok(None) => Look::not_yet("nothing proposed"),
                Err(error) => Look::not_yet(error),
            }
        })
        .await?;
        Ok(found)
    }

    pub(super) async fn card(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&Dpu) -> bool,
    ) -> Result<Dpu> {
        story::await_card(self.teller.control_plane, name, what, SOON, holds).await
    }

    pub(super) async fn host(
        &self,
        what: &str,
        holds: impl Fn(&DpuHost) -> bool,
    ) -> Result<DpuHost> {
        let found = eventually(SOON, format!("a host {what}"), async || {
            match self.hosts.list(&ListParams::default()).await {
                Ok(hosts) => {
                    let shown: Vec<String> = hosts
                        .items
                        .iter()
                        .map(|host| format!("{} {:?}", host.name_any(), node_of(host)))
                        .collect();
                    hosts
                        .items
                        .into_iter()
                        .find(|host| holds(host))
                        .map_or_else(|| Look::not_yet(shown.join(", ")), Look::Holds)
                }
                Err(error) => Look::not_yet(error),
            }
        })
        .await?;
        Ok(found)
    }

    pub(super) async fn inventory(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&DpuInventory) -> bool,
    ) -> Result<DpuInventory> {
        let found = eventually(
            SOON,
            format!("dpuinventory/{name}: {what}"),
            async || match self.inventories.get(name).await {
                Ok(inventory) if holds(&inventory) => Look::Holds(inventory),
                Ok(inventory) => Look::not_yet(format!(
                    "{}, {} views, missing {:?}, conflicts {:?}, hosts {:?}",
                    inventory.spec.completeness,
                    inventory.spec.views.len(),
                    inventory
                        .spec
                        .missing
                        .iter()
                        .map(|one| &one.what)
                        .collect::<Vec<_>>(),
                    inventory
                        .spec
                        .conflicts
                        .iter()
                        .map(|one| &one.field)
                        .collect::<Vec<_>>(),
                    inventory.spec.hosts,
                )),
                Err(error) => Look::not_yet(error),
            },
        )
        .await?;
        Ok(found)
    }
}

pub(super) fn uuid_of(host: &DpuHost) -> Option<&str> {
    host.spec.identity.as_ref()?.system_uuid.as_deref()
}

pub(super) fn node_of(host: &DpuHost) -> Option<&str> {
    host.status.as_ref()?.node_name.as_deref()
}
