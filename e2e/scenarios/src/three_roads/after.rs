//! Images that somebody wants on a card after the signed one runs: as well signed, and kept out by what
//! the card has told since.

use anyhow::{Result, ensure};
use lockstep_lab::image::Behaviour;
use serde_json::{Value, json};

use super::{CARD, HOST, NAME, SOON, Signed};
use crate::artefacts;
use crate::image_server::ImageServer;
use crate::image_trust::Signer;
use crate::objects::{self, Choices};
use crate::registry::Context;
use crate::report::Report;
use crate::story;
use crate::world::World;

/// One of them.
struct Other {
    name: &'static str,
    version: &'static str,
    said: Value,
    reason: &'static str,
    says: &'static str,
}

fn others() -> [Other; 2] {
    [
        Other {
            name: "signed-0",
            version: "0.9",
            said: json!({"securityVersion": 0}),
            reason: "SecurityVersionTooLow",
            says: "its security version is 0, and the card has run 1",
        },
        Other {
            name: "signed-2",
            version: "2.0",
            said: json!({"securityVersion": 2, "fits": {"architectures": ["aarch64"]}}),
            reason: "ImageDoesNotFit",
            says: "it is for architecture aarch64, and the card's is x86_64",
        },
    ]
}

impl Signed {
    /// An image that the card has outrun, and one for another architecture than its system tells: each is
    /// refused with nothing done at either BMC, and the card is as wanted once its own is wanted again.
    pub(crate) async fn keeps_others_out(
        &self,
        context: &Context,
        world: &World,
        report: &mut Report,
    ) -> Result<()> {
        let folder = context.folder.join("signing");
        let signer = Signer::of(&folder, "releases").await?;
        let kubectl = world.control_plane.kubectl();
        let wanting = |name| {
            let choices = Choices::default();
            objects::requiring(&objects::policy(name, &choices), &self.rules)
        };
        let changes = || -> Result<usize> {
            let card = world.machines.bmc(CARD)?.changes().len();
            Ok(card + world.machines.bmc(HOST)?.changes().len())
        };
        let before = changes()?;
        for other in others() {
            let image =
                artefacts::installer(&context.binaries, other.version, Behaviour::Installs).await?;
            let mut said = other.said;
            said["version"] = image.version.clone().into();
            // Each signing writes the same file.
            let envelope = folder.join(other.name);
            std::fs::copy(signer.sign(&image.sha256, &said).await?, &envelope)?;
            let server = ImageServer::serve(image.path.clone()).await?;
            let signature = ImageServer::serve(envelope).await?;
            let (url, beside) = (server.url("image.iso"), signature.url("image.iso.dsse"));
            let signed = objects::signed_image(other.name, &image, &url, &beside);
            kubectl.apply_text(&(signed + &wanting(other.name))).await?;
            let what = format!("{}: {}", other.reason, other.says);
            story::await_card(&world.control_plane, CARD, &what, SOON, |card| {
                let message = card.status.as_ref().and_then(|one| one.message.as_deref());
                story::reason(card) == other.reason
                    && message.is_some_and(|message| message.contains(other.says))
            })
            .await?;
            report.say(format!("{} {}: {what}", other.name, other.version));
        }
        kubectl.apply_text(&wanting(NAME)).await?;
        let what = "as wanted, with its own image";
        story::await_card(&world.control_plane, CARD, what, SOON, |card| {
            story::reason(card) == "AsWanted"
        })
        .await?;
        let after = changes()?;
        ensure!(
            after == before,
            "{} changes at the BMCs while other images were wanted",
            after - before
        );
        Ok(())
    }
}
