//! `cargo xtask image`: both container images, without a daemon.

use anyhow::Result;
use lockstep_scenarios::artefacts::{self, workspace};
use lockstep_scenarios::images;

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
