//! What every process needs once: cryptography, a log, a name, and its end.

use std::io::IsTerminal;

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Chooses the TLS implementation. Must come before the first TLS connection.
///
/// # Errors
/// If one was chosen already.
pub fn install_crypto() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("a TLS implementation was chosen already"))
}

/// Starts the log on standard error, at `info` unless RUST_LOG says otherwise.
///
/// # Errors
/// If RUST_LOG cannot be understood, or a log was started already.
pub fn log(format: LogFormat) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) => EnvFilter::try_new(filter)
            .context("RUST_LOG is not a filter such as `info,lockstep_operator=debug`")?,
        Err(_) => EnvFilter::new("info"),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    started.map_err(|error| anyhow!("the log cannot be started: {error}"))
}

/// A name that no other process has: the Pod's, and when this process began.
pub fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "lockstep-operator".to_owned());
    let began = Timestamp::now().as_microsecond();
    format!("{host}-{}-{began:x}", std::process::id())
}

/// Cancels `stop` on SIGTERM or SIGINT.
///
/// # Errors
/// If signals cannot be received.
pub fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be received")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be received")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}
