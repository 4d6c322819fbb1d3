//! Builds an installer image and the host's disk and prints where they are:
//! `cargo run -p lockstep-lab --example build_image -- VERSION AGENT [hangs]`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use lockstep_lab::image::{self, Behaviour, InstallerSpec};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: build_image VERSION AGENT [hangs]";
    let version = arguments.next().context(usage)?;
    let agent = PathBuf::from(arguments.next().context(usage)?);
    let behaviour = match arguments.next().as_deref() {
        None => Behaviour::Installs,
        Some("hangs") => Behaviour::Hangs,
        Some(_) => bail!(usage),
    };
    let image = image::installer(&InstallerSpec {
        version,
        agent,
        behaviour,
        slot: None,
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
