//! Container images without a daemon: buildah builds, an archive carries, containerd imports.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::command;

/// An image holds copies of static binaries: nothing in it takes longer.
const DEADLINE: Duration = Duration::from_secs(180);

/// What to build.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// Folder that `COPY` reads from, with the `Dockerfile`.
    pub context: &'a Path,
    /// Stage of the Dockerfile, if not the last one.
    pub target: Option<&'a str>,
    /// Full name with tag, as pods will use it. Nothing is ever pulled or pushed under it.
    pub name: &'a str,
}

/// Builds `image` into the OCI archive `archive`, in a store of its own below `scratch`.
/// The same inputs give the same digest.
///
/// # Errors
/// When buildah is absent or the Dockerfile cannot be built without the network.
pub async fn build_image(image: Image<'_>, scratch: &Path, archive: &Path) -> Result<()> {
    let buildah = || {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(scratch.join("buildah"))
            .arg("--runroot")
            .arg(scratch.join("buildah-run"))
            .args(["--storage-driver", "vfs"]);
        command
    };
    let mut build = buildah();
    build.args([
        "bud",
        "--isolation=chroot",
        "--pull-never",
        "--format=oci",
        "--timestamp=0",
        "--tag",
        image.name,
    ]);
    if let Some(target) = image.target {
        build.args(["--target", target]);
    }
    build.arg(image.context);
    command::run(build, None, DEADLINE).await.with_context(|| {
        format!(
            "cannot build the image {}; it needs buildah (`apt-get install buildah`)",
            image.name
        )
    })?;
    // buildah refuses to add to an archive.
    match std::fs::remove_file(archive) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", archive.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let mut push = buildah();
    push.args(["push", image.name]).arg(format!(
        "oci-archive:{}:{}",
        archive.display(),
        image.name
    ));
    command::run(push, None, DEADLINE)
        .await
        .with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(())
}

/// Name of the image that holds a pod's namespaces.
pub(super) const PAUSE: &str = "lockstep.test/pause:1";

/// Builds the image that holds a pod's namespaces: a static program that does nothing.
pub(super) async fn build_pause(scratch: &Path, archive: &Path) -> Result<()> {
    let context = scratch.join("pause");
    std::fs::create_dir_all(&context)
        .with_context(|| format!("cannot make {}", context.display()))?;
    std::fs::copy("/bin/busybox", context.join("busybox"))
        .context("pods need a static busybox at /bin/busybox (`apt-get install busybox-static`)")?;
    let dockerfile = "FROM scratch\n\
                      COPY busybox /busybox\n\
                      ENTRYPOINT [\"/busybox\", \"sleep\", \"2147483647\"]\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).context("cannot write a Dockerfile")?;
    let image = Image {
        context: &context,
        target: None,
        name: PAUSE,
    };
    build_image(image, scratch, archive).await
}
