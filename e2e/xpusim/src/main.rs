//! `xpusim`: a fleet of simulated BMCs on loopback addresses.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use lockstep_xpusim::fault::ABOUT;
use lockstep_xpusim::spec::{EXAMPLE, FleetSpec};
use lockstep_xpusim::{Control, Fleet, Listen, Server, personality};
use tracing_subscriber::EnvFilter;

/// Simulates the BMCs of xPUs and their hosts, on loopback addresses only.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The fleet file; without it the example.
    #[arg(long, value_name = "FILE")]
    fleet: Option<PathBuf>,
    /// All machines on this address, told apart by the Host header.
    #[arg(long, value_name = "ADDRESS:PORT", group = "listening")]
    listen: Option<SocketAddr>,
    /// Each machine on an IPv4 address of its own, counting up from this one.
    #[arg(long, value_name = "ADDRESS:PORT", group = "listening")]
    addresses: Option<SocketAddr>,
    /// Each machine on a port of its own, counting up from this one.
    #[arg(long, value_name = "ADDRESS:PORT", group = "listening")]
    ports: Option<SocketAddr>,
    /// Without TLS.
    #[arg(long)]
    plain: bool,
    /// Where the control API listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Prints a fleet file to begin with.
    #[arg(long, group = "listening")]
    example: bool,
    /// Lists the personalities.
    #[arg(long, group = "listening")]
    personalities: bool,
    /// Lists the faults.
    #[arg(long, group = "listening")]
    faults: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    if arguments.example {
        print!("{EXAMPLE}");
    } else if arguments.personalities {
        for one in personality::ALL {
            println!("{:<16} {}", one.name, one.about);
        }
    } else if arguments.faults {
        for one in ABOUT {
            println!("{:<26} {} [{}]", one.name, one.does, one.source);
        }
    } else {
        serve(&arguments).await?;
    }
    Ok(())
}

async fn serve(arguments: &Arguments) -> Result<()> {
    let yaml = match &arguments.fleet {
        None => EXAMPLE.to_owned(),
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the fleet file {}", file.display()))?,
    };
    let fleet = Fleet::new(&FleetSpec::parse(&yaml)?)?;
    let listen = match (arguments.listen, arguments.addresses, arguments.ports) {
        (Some(address), ..) => Listen::Named(address),
        (_, Some(address), _) => Listen::Addresses(address),
        (_, _, Some(address)) => Listen::Ports(address),
        (None, None, None) => Listen::Ports(SocketAddr::from(([127, 0, 0, 1], 0))),
    };
    let server = Server::start(&fleet, listen, !arguments.plain).await?;
    let control = Control::start(&fleet, &server, arguments.control).await?;
    for (name, url) in server.urls() {
        let state = fleet.state(name)?;
        println!(
            "{name:<24} {:<16} {url}  {} / {}",
            state.personality, state.user, state.password
        );
    }
    println!("control: http://{}/xpusim/v1/machines", control.address());
    tokio::signal::ctrl_c()
        .await
        .context("cannot wait for Ctrl-C")
}
