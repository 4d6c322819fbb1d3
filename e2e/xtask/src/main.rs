//! Developer commands: `cargo xtask --help`.

mod bench;
mod cluster;
mod demo;
mod e2e;
mod fuzz;
mod generate;
mod image;
mod lab;
mod policy;
mod room;
mod state;
mod suite;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Build, try and test Lockstep. Everything that is needed is built or installed, or named.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring up a control plane and a simulated fleet, and watch its cards get to Ready.
    Demo {
        /// One card and one host as VMs with real firmware instead: needs root and Debian.
        #[arg(long)]
        vm: bool,
    },
    /// Run the CI tier: format, lints, generated files, unit and edge tests, quick scenarios.
    Test {
        /// Run every scenario.
        #[arg(long)]
        all: bool,
    },
    /// Run one scenario.
    E2e {
        /// Its name.
        #[arg(required_unless_present = "list")]
        name: Option<String>,
        /// List the scenarios.
        #[arg(long)]
        list: bool,
    },
    /// Fuzz one parser of bytes from outside for a while; needs nightly Rust and cargo-fuzz.
    Fuzz {
        /// Its name.
        #[arg(required_unless_present = "list")]
        target: Option<String>,
        /// How long.
        #[arg(long, default_value_t = 300)]
        seconds: u64,
        /// List the targets.
        #[arg(long)]
        list: bool,
    },
    /// Measure something; figures are ratios and counts of one run.
    Bench {
        /// Its name.
        #[arg(required_unless_present = "list")]
        name: Option<String>,
        /// List the benchmarks.
        #[arg(long)]
        list: bool,
    },
    /// Write everything that is generated from the API types.
    Generate {
        /// Write nothing; fail and name what is out of date.
        #[arg(long)]
        check: bool,
    },
    /// Pack the container images of operator and agent.
    Image {
        /// Registry and path that they will be pushed to.
        #[arg(long, default_value = "localhost/lockstep")]
        repository: String,
    },
    /// Build the static agent that goes into cards' images, for x86_64 and aarch64.
    CardAgent,
    /// Judge the dependencies: licences, sources, banned crates, duplicates, purity.
    Policy,
    /// A control plane to play with.
    Cluster {
        #[command(subcommand)]
        action: UpDown,
    },
    /// A card VM and a host VM behind Redfish BMCs to play with.
    Lab {
        #[command(subcommand)]
        action: UpDown,
    },
}

#[derive(Clone, Copy, Subcommand)]
enum UpDown {
    /// Start it; `lab up` stays in the foreground.
    Up,
    /// Stop what is left of it.
    Down,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| {
            EnvFilter::new("warn,lockstep_lab=info,lockstep_cluster=info,kube_client=off")
        }))
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    if let Command::Generate { check } = command {
        return generate::run(check);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Demo { vm } => demo::run(vm).await,
            Command::Test { all } => suite::run(all).await,
            Command::E2e { list: true, .. } => {
                e2e::list();
                Ok(())
            }
            Command::E2e { name, .. } => e2e::run_named(&name.unwrap_or_default()).await,
            Command::Fuzz { list: true, .. } => {
                fuzz::list();
                Ok(())
            }
            Command::Fuzz {
                target, seconds, ..
            } => fuzz::run(&target.unwrap_or_default(), seconds),
            Command::Bench { list: true, .. } => {
                bench::list();
                Ok(())
            }
            Command::Bench { name, .. } => bench::run(&name.unwrap_or_default()).await,
            Command::Generate { check } => generate::run(check),
            Command::Image { repository } => image::build(&repository).await,
            Command::CardAgent => image::card_agent().await,
            Command::Policy => policy::run(),
            Command::Cluster { action: UpDown::Up } => cluster::up().await,
            Command::Cluster {
                action: UpDown::Down,
            } => cluster::down().await,
            Command::Lab { action: UpDown::Up } => lab::up().await,
            Command::Lab {
                action: UpDown::Down,
            } => lab::down(),
        }
    })
}
