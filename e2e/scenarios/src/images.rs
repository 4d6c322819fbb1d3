//! The container images that a user would push to a registry, packed by the Dockerfile without a daemon.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lockstep_cluster::{Image, build_image};
use serde::Deserialize;
use tokio::process::Command;

use crate::artefacts::{Binaries, workspace};
use crate::packages;

/// One image in an OCI archive.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Full name with tag.
    pub name: String,
    /// The archive.
    pub archive: PathBuf,
    /// Digest of its manifest: what `name@digest` in a registry will be.
    pub digest: String,
}

/// Images of one release.
#[derive(Clone, Debug)]
pub struct Images {
    /// Of `lockstep-operator`.
    pub operator: Packed,
    /// Of `lockstep-agent`.
    pub agent: Packed,
}

/// The tag that the chart asks for where its values name none.
pub const TAG: &str = env!("CARGO_PKG_VERSION");

/// Packs the binaries into `REPOSITORY/operator` and `REPOSITORY/agent`, with archives in
/// `folder`. The same binaries give the same digests.
///
/// # Errors
/// When buildah is absent and cannot be installed, or the Dockerfile cannot be built.
pub async fn pack(binaries: &Binaries, repository: &str, folder: &Path) -> Result<Images> {
    tokio::task::spawn_blocking(packages::ensure_node)
        .await
        .context("the task that installs packages ended early")??;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for binary in [&binaries.operator, &binaries.agent] {
        ensure!(
            binary.starts_with(workspace().join("target/static")),
            "{} is not where the Dockerfile looks",
            binary.display()
        );
    }
    Ok(Images {
        operator: one("operator", repository, folder).await?,
        agent: one("agent", repository, folder).await?,
    })
}

async fn one(target: &str, repository: &str, folder: &Path) -> Result<Packed> {
    let name = format!("{repository}/{target}:{TAG}");
    let archive = folder.join(format!("{target}.tar"));
    let context = workspace();
    let image = Image {
        context: &context,
        target: Some(target),
        name: &name,
    };
    // A store of its own: layers of earlier builds would only take room.
    let scratch = folder.join("scratch");
    build_image(image, &scratch, &archive).await?;
    std::fs::remove_dir_all(&scratch)
        .with_context(|| format!("cannot remove {}", scratch.display()))?;
    let digest = digest(&archive).await?;
    Ok(Packed {
        name,
        archive,
        digest,
    })
}

/// The part of an OCI layout's index that names the image.
#[derive(Deserialize)]
struct Index {
    manifests: Vec<Manifest>,
}

#[derive(Deserialize)]
struct Manifest {
    digest: String,
}

async fn digest(archive: &Path) -> Result<String> {
    let output = Command::new("tar")
        .args(["--extract", "--to-stdout", "--file"])
        .arg(archive)
        .arg("index.json")
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run tar")?;
    let shown = archive.display();
    ensure!(output.status.success(), "{shown} has no index.json");
    let index: Index = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{shown} is no OCI archive"))?;
    let [manifest] = index.manifests.as_slice() else {
        anyhow::bail!("{shown} holds {} images", index.manifests.len());
    };
    Ok(manifest.digest.clone())
}
