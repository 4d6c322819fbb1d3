//! `cargo xtask image` and `cargo xtask card-agent`: what goes to registries and into cards' images.

use anyhow::Result;
use lockstep_scenarios::artefacts::{self, workspace};
use lockstep_scenarios::{cross, images};

pub(crate) async fn build(repository: &str) -> Result<()> {
    let binaries = artefacts::binaries().await?;
    let folder = workspace().join("target/images");
    let images = images::pack(&binaries, repository, &folder).await?;
    for image in [images.operator, images.agent] {
        println!("{}\n  {}", image.name, image.digest);
        println!("  archive {}", image.archive.display());
        println!(
            "  push    skopeo copy oci-archive:{} docker://{}",
            image.archive.display(),
            image.name
        );
    }
    Ok(())
}

/// Builds the static agent for the architectures of cards.
pub(crate) async fn card_agent() -> Result<()> {
    let aarch64 = cross::aarch64_agent().await?;
    cross::check_static_aarch64(&aarch64).await?;
    println!("x86_64   {}", artefacts::binaries().await?.agent.display());
    println!("aarch64  {}", aarch64.display());
    Ok(())
}
