//! The command line of the operator.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use lockstep_operator::process::{self, LogFormat};
use lockstep_operator::run::{Options, run};
use lockstep_operator::stores::Sites;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
#[command(version, about = "Provisions DPUs and keeps hosts in step with them")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reconcile until told to stop.
    Run {
        /// Namespace of the operator and of its Lease.
        #[arg(long, env = "LOCKSTEP_NAMESPACE", default_value = "lockstep-system")]
        namespace: String,
        /// Where /livez, /readyz and /metrics are served.
        #[arg(long, default_value = "[::]:8080")]
        listen: SocketAddr,
        /// Namespaces that hold sites, separated by commas, or `all`.
        #[arg(long, default_value = "all")]
        site_namespaces: Sites,
        /// How the log is written. What is written is chosen with RUST_LOG.
        #[arg(long, default_value = "text")]
        log_format: LogFormat,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    process::install_crypto()?;
    let Command::Run {
        namespace,
        listen,
        site_namespaces,
        log_format,
    } = Cli::parse().command;
    process::log(log_format)?;
    let stop = CancellationToken::new();
    process::stop_on_signal(stop.clone())?;
    let identity = process::identity();
    run(
        Options {
            namespace,
            listen,
            sites: site_namespaces,
            identity,
        },
        stop,
    )
    .await
}
