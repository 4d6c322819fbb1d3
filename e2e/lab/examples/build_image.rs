//! Builds an installer image and the host's disk and prints where they are:
//! `cargo run -p lockstep-lab --example build_image -- VERSION AGENT`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use lockstep_lab::image::{self, Behaviour, InstallerSpec};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: build_image VERSION AGENT";
    let version = arguments.next().context(usage)?;
    let agent = PathBuf::from(arguments.next().context(usage)?);
    let image = image::installer(&InstallerSpec {
        version,
        agent,
        behaviour: Behaviour::Installs,
    })?;
    println!(
        "{} sha256:{} {} bytes",
        image.path.display(),
        image.sha256,
        image.size
    );
    let host = image::host_disk()?;
    println!("{} {} bytes", host.path.display(), host.size);
    Ok(())
}
