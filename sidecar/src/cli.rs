//! The command line.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use etcd_wire::{Failure, FailureCode};
use tracing_subscriber::EnvFilter;

use crate::{
    backup, drill, install, on_node, prune, recover, replay, restore, serve, status, transaction, wait, watch,
};

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
    /// Build a member's data directory from a snapshot file; or look at a restore of the control plane that has begun, and end it, on a node
    /// without an API server.
    #[command(after_help = EXAMPLES, override_usage = USAGE)]
    Restore(Box<restore::Args>),
    /// Tell how old the backups in a store are, as metrics for Prometheus, until SIGTERM.
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(watch::Args),
    /// Take a scheduled backup into a store, on a control-plane node.
    #[command(after_help = backup::EXAMPLES)]
    Backup(Box<backup::Args>),
    /// Delete old backups from a store.
    #[command(after_help = prune::EXAMPLES)]
    Prune(Box<prune::Args>),
    /// Prove that a real etcd serves the newest backup of a store.
    #[command(after_help = drill::EXAMPLES)]
    Drill(Box<drill::Args>),
    /// Copy this program to a folder, for a container of another image.
    #[command(hide = true)]
    Install(install::Args),
    /// Show what is left of etcd on this node: how far its log and its database are, and what only the log has; or make a snapshot of a member
    /// that has lost its quorum, with everything that its log has.
    #[command(after_help = recover::EXAMPLES)]
    Recover(recover::Args),
    /// Show how the member of etcd on this node is, without an API server.
    #[command(after_help = status::command::EXAMPLES)]
    Status(status::command::Args),
    /// Become etcd, as a process that ends with this one's parent.
    #[command(name = replay::ALONE, hide = true)]
    Alone {
        etcd: std::path::PathBuf,
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Become a program of the node, or read the unit of etcd, in the node's own file tree.
    #[command(name = on_node::NAME, hide = true)]
    OnNode(on_node::Args),
    /// Print the version.
    Version,
}

const WATCH_EXAMPLES: &str = "\
Examples:

  # the age of the newest backup, at http://ADDRESS:8080/metrics; GET /healthz says that the process lives
  etcd-sidecar watch --store s3://backups/prod --max-age 3h

  # all clusters of a store, and only backups that this key has signed
  etcd-sidecar watch --store s3://backups --all-clusters --max-age 3h --trust-key backup.pub

While the store does not answer, the age of the backup that was seen last goes on growing, and kubectl_etcd_watch_success is 0.";

const USAGE: &str = "etcd-sidecar restore FILE --data-dir DIR --name NAME --initial-cluster MEMBERS --bump-revision N
       etcd-sidecar restore --status | --resume [ID] | --forget ID";

const EXAMPLES: &str = "\
Examples, in the participant's container on a node:

  # how the restore is by this node's journal, and what can be heard of the other nodes
  etcd-sidecar restore --status

  # bring a decision that another node's journal has
  etcd-sidecar restore --resume --journal /var/lib/kubectl-etcd/cp1-journal

  # all nodes have lost their certificates: make new ones here, and take each on its node
  etcd-sidecar restore --resume --journal /var/lib/kubectl-etcd/cp2-journal --write-identities /var/lib/kubectl-etcd/new
  etcd-sidecar restore --resume --identity /var/lib/kubectl-etcd/ID-cp1.identity.json

  # cp2 and cp3 are gone for good: decide without them
  etcd-sidecar restore --resume --without cp2,cp3 --confirm CLUSTER

Exit codes: 0 done, 1 failed, 2 wrong usage, 4 refused; nothing was changed.";

/// A duration of the command line.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be longer than nothing".to_owned()),
    }
}

pub(crate) fn main() -> ExitCode {
    if let Some(code) = etcd_drill::guard::run(&std::env::args_os().collect::<Vec<_>>()) {
        return code;
    }
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
    let ended = match cli.command {
        Command::Backup(args) => return operate(backup::run(&args), USAGE_CODE),
        Command::Prune(args) => return operate(prune::run(&args), USAGE_CODE),
        Command::Drill(args) => return operate(drill::run(&args), USAGE_CODE),
        Command::Install(args) => return operate(async { install::run(&args) }, USAGE_CODE),
        Command::Restore(args) if args.begun.looks_back() => {
            return operate(transaction::operate(&args.begun), REFUSED);
        }
        Command::Restore(args) => build(*args),
        Command::Status(args) => return operate(status::command::run(&args), USAGE_CODE),
        Command::Recover(args) => {
            return match args.replay() {
                Some(replay) => operate(replay::order(replay), USAGE_CODE),
                None => operate(recover::run(&args), USAGE_CODE),
            };
        }
        Command::Alone { etcd, arguments } => Err(replay::become_etcd(&etcd, &arguments)),
        Command::OnNode(args) => {
            return match on_node::run(&args).and_then(|done| print(&done)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    // For the process that has started this one. That the reason is lost changes nothing.
                    let _lost = writeln!(std::io::stderr(), "{error:#}");
                    ExitCode::FAILURE
                }
            };
        }
        Command::Watch(args) => concurrently(watch::run(args)),
        Command::Wait { idle_timeout } => keep_waiting(idle_timeout),
        Command::Serve { client_timeout } => concurrently(serve::run(client_timeout)),
        Command::Participate { id } => concurrently(transaction::participate(&id)),
        Command::Version => print(&format!("etcd-sidecar {} (build {})", env!("CARGO_PKG_VERSION"), etcd_build::ID)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn keep_waiting(idle_timeout: Duration) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(wait::run(idle_timeout))
}

fn build(args: restore::Args) -> anyhow::Result<()> {
    let done = restore::run(args)?;
    print(&done).context("the directory is built; only the report of it is lost")
}

/// Two workers: one receives from etcd while the other writes; compression has a thread of its own.
fn concurrently(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(work);
    // A read of stdin or of a folder, or a write to stdout, may be stuck for ever; the process does not wait for it.
    runtime.shutdown_background();
    ended
}

/// Exit codes, beside 0 and 1.
const USAGE_CODE: u8 = 2;
const REFUSED: u8 = 4;

/// Does what is not spoken over the protocol, tells how it ended, and gives the exit code; `wrong` is that of a request that makes no sense.
fn operate<T: Told>(work: impl Future<Output = Result<T, Failure>>, wrong: u8) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    match done.map(Told::tell) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
        Err(failure) => {
            // Nobody hears that stderr is lost; the exit code tells all the same.
            let _lost = writeln!(std::io::stderr(), "{}", transaction::shown_failure(&failure));
            match failure.code {
                FailureCode::BadRequest => ExitCode::from(wrong),
                FailureCode::Refused | FailureCode::Busy => ExitCode::from(REFUSED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// What there is to tell of something that went well.
trait Told {
    fn tell(self) -> anyhow::Result<()>;
}

impl Told for String {
    fn tell(self) -> anyhow::Result<()> {
        print(&self)
    }
}

impl Told for recover::Surveyed {
    fn tell(self) -> anyhow::Result<()> {
        recover::Surveyed::tell(self, print)
    }
}

impl Told for status::command::Looked {
    fn tell(self) -> anyhow::Result<()> {
        status::command::Looked::tell(self, print)
    }
}

impl Told for drill::Done {
    fn tell(self) -> anyhow::Result<()> {
        drill::Done::tell(self, print)
    }
}

/// The log has it all.
impl Told for () {
    fn tell(self) -> anyhow::Result<()> {
        Ok(())
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
    fn a_restore_is_built_or_looked_at() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let begun = |line: &str| match parse(line).unwrap().command {
            Command::Restore(args) => args.begun.looks_back(),
            other => panic!("{other:?}"),
        };
        for line in [
            "etcd-sidecar restore --status",
            "etcd-sidecar restore --status -o json",
            "etcd-sidecar restore --resume",
            "etcd-sidecar restore --resume 20261121-100000-abcde --journal a --journal b",
            "etcd-sidecar restore --resume --without cp1,cp2 --confirm c --write-identities d",
            "etcd-sidecar restore --resume --identity f",
            "etcd-sidecar restore --forget 20261121-100000-abcde",
        ] {
            assert!(begun(line), "{line}");
        }
        let build =
            "etcd-sidecar restore a.db --data-dir d --name n --initial-cluster n=http://a:2380 --bump-revision 0";
        assert!(!begun(build));
        for wrong in [
            "etcd-sidecar restore",
            "etcd-sidecar restore a.db --data-dir d",
            &format!("{build} --status"),
            "etcd-sidecar restore --status --resume",
            "etcd-sidecar restore --status --without cp1",
            "etcd-sidecar restore --resume -o json",
            "etcd-sidecar restore --resume --confirm c",
            "etcd-sidecar restore --resume --identity f --write-identities d",
            "etcd-sidecar restore --forget",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units_and_are_not_nothing() {
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("1m").unwrap(), Duration::from_secs(60));
        for wrong in ["0s", "-3s", "7", "", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
