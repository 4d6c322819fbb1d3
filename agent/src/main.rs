//! `lockstep-agent`: roles `site`, `host` and `xpu`, the offline release, and a look at the machine.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Parser, Subcommand, ValueEnum};
use lockstep_agent::config::SiteConfig;
use lockstep_agent::host::HostArgs;
use lockstep_agent::pxe::service::PxeArgs;
use lockstep_agent::release::ReleaseArgs;
use lockstep_agent::xpu::XpuArgs;
use lockstep_agent::{host, inventory, pxe, release, shutdown, site, xpu};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

/// The hands of Lockstep.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Form of the log on stderr. What is logged: RUST_LOG, default `info`.
    #[arg(long, value_enum, default_value = "text", global = true)]
    log_format: LogFormat,
    #[command(subcommand)]
    role: Role,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Reaches the BMCs of one site, keeps its image store, carries out directives.
    Site {
        /// Configuration file.
        #[arg(long, env = "LOCKSTEP_CONFIG")]
        config: PathBuf,
    },
    /// Reports from the operating system of a host: what it is made of, and its cards.
    Host(HostArgs),
    /// Reports from a card's own operating system.
    Xpu(XpuArgs),
    /// Prints what this machine tells of itself, as JSON. Reads only, and reaches nothing.
    Inventory {
        /// Folder that stands for the machine's root.
        #[arg(long, default_value = "/")]
        root: PathBuf,
    },
    /// Boots the cards by PXE to which a site's agent offers something: runs a dnsmasq.
    Pxe(PxeArgs),
    /// Ends the hold of a host without Kubernetes, straight at its BMC.
    Release(ReleaseArgs),
}

fn main() -> ExitCode {
    // First of all: every TLS client and server in this process needs it.
    let provider = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    log_to_stderr(cli.log_format);
    let result = match provider {
        Ok(()) => run(cli.role),
        Err(_) => Err(anyhow!(
            "a rustls crypto provider was installed before main"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(role: Role) -> Result<()> {
    match role {
        Role::Site { config } => {
            let config = SiteConfig::load(&config)?;
            Runtime::new()?.block_on(async { site::run(config, shutdown::on_signal()?).await })
        }
        Role::Host(args) => of_the_machine(async { host::run(args, shutdown::on_signal()?).await }),
        Role::Xpu(args) => of_the_machine(async { xpu::run(args, shutdown::on_signal()?).await }),
        Role::Pxe(args) => small_runtime()?
            .block_on(async { pxe::service::run(&args, shutdown::on_signal()?).await }),
        Role::Inventory { root } => {
            writeln!(std::io::stdout(), "{}", inventory::of(&root)?)?;
            Ok(())
        }
        Role::Release(args) => {
            let said = small_runtime()?.block_on(release::run(&args))?;
            writeln!(std::io::stdout(), "{said}")?;
            Ok(())
        }
    }
}

/// Runs a role that reads the machine: a device that is slow to answer does not delay its end.
fn of_the_machine(role: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = small_runtime()?;
    let result = runtime.block_on(role);
    runtime.shutdown_background();
    result
}

/// One thread is enough for a card, and for one command.
fn small_runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
