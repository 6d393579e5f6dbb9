//! The command line.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{restore, serve, transaction, wait};

/// The node's half of kubectl-etcd. Started by it, in a pod of its own.
#[derive(Debug, Parser)]
#[command(name = "etcd-sidecar", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep the container alive as long as somebody uses it.
    Wait {
        /// End when no other process has been in the container for this long.
        #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
        idle_timeout: Duration,
    },
    /// Serve one client over stdin and stdout.
    Serve {
        /// Give up a client that says nothing for this long.
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
        client_timeout: Duration,
    },
    /// Take part in a restore of the control plane, until it is over.
    Participate {
        /// The restore.
        id: String,
    },
    /// Build a member's data directory from a snapshot file.
    Restore(restore::Args),
    /// Print the version.
    Version,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be longer than nothing".to_owned()),
    }
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    // stdout belongs to the protocol.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        // Nobody hears that stderr is lost: to tell it there would be a panic.
        .log_internal_errors(false)
        .init();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Wait { idle_timeout } => {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(wait::run(idle_timeout))
        }
        Command::Serve { client_timeout } => {
            // One worker receives from etcd while the other writes; compression has a thread of its own.
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let ended = runtime.block_on(serve::run(client_timeout));
            // A read of stdin or a write to stdout may be stuck for ever; the process does not wait for it.
            runtime.shutdown_background();
            ended
        }
        Command::Participate { id } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let ended = runtime.block_on(transaction::participate(&id));
            runtime.shutdown_background();
            ended
        }
        Command::Restore(args) => {
            let done = restore::run(args)?;
            print(&done).context("the directory is built; only the report of it is lost")
        }
        Command::Version => print(&format!("etcd-sidecar {} (build {})", env!("CARGO_PKG_VERSION"), etcd_build::ID)),
    }
}

/// What was asked for. Only `serve` keeps stdout for the protocol.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("cannot write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_are_not_nothing() {
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("1m").unwrap(), Duration::from_secs(60));
        for wrong in ["0s", "-3s", "7", "", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
