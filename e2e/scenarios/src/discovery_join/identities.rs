//! Who a card is: junk, contradictions, rivals, and cards that move or are replaced.

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt;
use lockstep_crds::dpu_inventory::Completeness;

use super::sightings::Card;
use super::teller::Who;
use super::{QUIET, Stories, card};
use crate::report::Report;
use crate::story;

impl Stories<'_> {
    pub(super) async fn junk(&self, report: &mut Report) -> Result<()> {
        let mut cards = [
            card(
                "j1",
                "Unspecified System Serial Number",
                "11",
                "https://10.0.0.11",
                "02:00:00:00:00:11",
            ),
            card(
                "j2",
                "Unspecified System Serial Number",
                "12",
                "https://10.0.0.12",
                "02:00:00:00:00:12",
            ),
            card("j3", "  ", "13", "https://10.0.0.13", "02:00:00:00:00:13"),
        ];
        let zero = card(
            "j4",
            "To be filled by O.E.M.",
            "14",
            "https://10.0.0.14",
            "02:00:00:00:00:14",
        );
        for one in &mut cards {
            one.serial.push(' ');
        }
        let nameless = Card {
            uuid: "00000000-0000-0000-0000-000000000000".to_owned(),
            ..zero
        };
        self.teller
            .tell(Who::Site, cards.iter().chain([&nameless]).map(Card::found))
            .await?;
        let mut names = Vec::new();
        for one in &cards {
            names.push(
                self.proposed(one.id, "a proposal of its own")
                    .await?
                    .name_any(),
            );
        }
        names.sort();
        names.dedup();
        ensure!(names.len() == cards.len(), "cards were joined: {names:?}");
        for name in &names {
            self.inventory(name, "seen by its own BMC only", |inventory| {
                inventory.spec.views.len() == 1
            })
            .await?;
        }
        let nobody = async || Ok(self.labelled("j4").await?.is_none());
        story::stays_so(QUIET, "what identifies nothing proposes nothing", nobody).await?;
        report.say("junk: three cards with one placeholder serial stay three; one without any identity is none");
        Ok(())
    }

    pub(super) async fn contradicting(&self, report: &mut Report) -> Result<()> {
        let one = card(
            "x1",
            "MT2251XZ0021",
            "21",
            "https://10.0.0.21",
            "02:00:00:00:00:21",
        );
        self.teller.tell(Who::Site, [one.found()]).await?;
        let proposed = self.proposed("x1", "a proposal").await?;
        let (name, uid) = (proposed.name_any(), proposed.uid().unwrap_or_default());
        self.account(&name).await?;
        self.teller
            .tell(Who::Card(&name), one.own(&name, &uid, "MT2251XZ9999"))
            .await?;
        let shown = self
            .inventory(&name, "Conflicting", |inventory| {
                inventory.spec.completeness == Completeness::Conflicting
            })
            .await?;
        let conflict = shown
            .spec
            .conflicts
            .iter()
            .find(|conflict| conflict.field.ends_with("serialNumber"))
            .with_context(|| format!("no word of the serial number: {:?}", shown.spec.conflicts))?;
        for value in ["MT2251XZ0021", "MT2251XZ9999"] {
            ensure!(
                conflict
                    .said
                    .iter()
                    .any(|said| said.value.starts_with(value)),
                "nobody is shown to say {value}"
            );
        }
        report.say(format!(
            "contradicting: {} is told by {}",
            conflict.field,
            conflict
                .said
                .iter()
                .map(|said| format!("{} ({})", said.report, said.value))
                .collect::<Vec<_>>()
                .join(" against ")
        ));
        Ok(())
    }

    pub(super) async fn claimed_twice(&self, report: &mut Report) -> Result<()> {
        let one = card(
            "t1",
            "MT2251XZ0031",
            "31",
            "https://10.0.0.31",
            "02:00:00:00:00:31",
        );
        let other = card(
            "t2",
            "MT2251XZ0031",
            "32",
            "https://10.0.0.32",
            "02:00:00:00:00:32",
        );
        self.teller
            .tell(Who::Site, [one.found(), other.found()])
            .await?;
        for id in ["t1", "t2"] {
            let name = self.proposed(id, "a proposal").await?.name_any();
            self.inventory(&name, "Conflicting", |inventory| {
                inventory.spec.completeness == Completeness::Conflicting
            })
            .await?;
        }
        report.say("claimed twice: two cards with one serial number stay two, both Conflicting");
        Ok(())
    }

    pub(super) async fn moved_and_replaced(&self, report: &mut Report) -> Result<()> {
        let one = card(
            "m1",
            "MT2251XZ0041",
            "41",
            "https://10.0.0.41",
            "02:00:00:00:00:41",
        );
        self.teller.tell(Who::Site, [one.found()]).await?;
        let before = self.proposed("m1", "a proposal").await?;
        let moved = Card {
            address: "https://10.0.0.49",
            ..one.clone()
        };
        self.teller.tell(Who::Site, [moved.found()]).await?;
        let name = before.name_any();
        let after = self
            .card(&name, "its new address", |dpu| {
                dpu.spec
                    .bmc
                    .as_ref()
                    .is_some_and(|bmc| bmc.address == "https://10.0.0.49")
            })
            .await?;
        ensure!(after.uid() == before.uid(), "it became another object");
        // Another card answers there now.
        let spare = card(
            "m2",
            "MT2251XZ0042",
            "42",
            "https://10.0.0.49",
            "02:00:00:00:00:42",
        );
        let (gone_name, mut gone) = moved.found();
        gone.reachable = gone.reachable.map(|mut reach| {
            reach.ok = false;
            reach
        });
        if let Some(found) = &mut gone.found {
            found.missing_since = Some(gone.observed_at.clone());
        }
        self.teller
            .tell(Who::Site, [(gone_name, gone), spare.found()])
            .await?;
        let fresh = self.proposed("m2", "a proposal of its own").await?;
        ensure!(
            fresh.name_any() != name && !fresh.spec.approved,
            "it inherited something"
        );
        let old = self.cards.get(&name).await?;
        ensure!(
            old.uid() == before.uid(),
            "the card that is gone lost its object"
        );
        report.say(format!(
            "moved: {name} is followed to its new address; replaced: {} is a new card, {name} stays",
            fresh.name_any()
        ));
        Ok(())
    }
}
