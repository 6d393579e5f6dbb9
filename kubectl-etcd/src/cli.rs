//! What can be typed, and what happens around every command: interruption, cleaning up, reporting, the exit code.

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use futures::{FutureExt as _, Stream, StreamExt as _};

use crate::commands;
use crate::connection::ConnectionArgs;
use crate::context::Context;
use crate::help;
use crate::idle::{self, Idle};
use crate::interruption::interrupted;
use crate::output::{Exit, Failed, Log, Outcome, Printer};
use crate::road::Left;
use crate::typed::Typed;

/// How long what is left of a command may take to end once its work is over.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// Back up, verify and restore the etcd of a self-managed Kubernetes control plane
///
/// Finds the etcd static pods and their certificates through the Kubernetes API, runs a sidecar on the control-plane
/// nodes for as long as a command takes, and needs nothing but a kubeconfig.
#[derive(Debug, Parser)]
#[command(name = "kubectl-etcd", version, disable_help_subcommand = true, propagate_version = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Print only data, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Log level, as in kubectl: 0 is silent, 6 shows requests, 9 everything
    #[arg(short, long, global = true, default_value_t = 0, value_name = "LEVEL")]
    v: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Backup(Box<commands::backup::Args>),
    Verify(commands::verify::Args),
    List(commands::list::Args),
    Freshness(commands::freshness::Args),
    #[cfg(unix)]
    Drill(Box<commands::drill::Args>),
    Prune(Box<commands::prune::Args>),
    Copy(commands::copy::Args),
    Schedule(Box<commands::schedule::Args>),
    Restore(Box<commands::restore::Args>),
    Rollback(commands::rollback::Args),
    Inspect(commands::inspect::Args),
    Get(commands::get::Args),
    Diff(commands::diff::Args),
    Apply(commands::apply::Args),
    Status(commands::status::Args),
    Doctor(Box<commands::doctor::Args>),
    Recover(Box<commands::recover::Args>),
    Alarms(commands::alarms::Args),
    Compact(commands::compact::Args),
    Defrag(commands::defrag::Args),
    Member(commands::member::Args),
    Cleanup(commands::cleanup::Args),
    Store(commands::store::Args),
    Version(commands::version::Args),
    Completion(commands::completion::Args),
    Help(commands::help::Args),
    Options(commands::options::Args),
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Complete(commands::complete::Args),
}

impl Command {
    /// The flags that have no effect with these arguments.
    fn idle(&self, connection: &ConnectionArgs) -> Vec<Idle> {
        match self {
            Command::Verify(args) => args.idle(),
            Command::List(args) => args.idle(),
            Command::Freshness(args) => args.idle(),
            #[cfg(unix)]
            Command::Drill(args) => args.idle(),
            Command::Prune(args) => args.idle(),
            Command::Copy(args) => args.idle(),
            Command::Schedule(args) => args.idle(),
            Command::Restore(args) => args.idle(),
            Command::Inspect(args) => args.idle(),
            Command::Get(args) => args.idle(connection),
            Command::Diff(args) => args.idle(connection),
            Command::Apply(args) => args.idle(),
            Command::Store(args) => args.idle(),
            Command::Version(args) => args.idle(),
            Command::Completion(args) => args.idle(),
            Command::Help(args) => args.idle(),
            Command::Options(args) => args.idle(),
            Command::Backup(args) => args.idle(),
            Command::Rollback(args) => args.idle(),
            Command::Status(args) => args.idle(),
            Command::Doctor(args) => args.idle(),
            Command::Recover(args) => args.idle(),
            Command::Alarms(args) => args.idle(),
            Command::Member(args) => args.idle(),
            Command::Cleanup(args) => args.idle(),
            Command::Compact(args) => args.idle(),
            Command::Defrag(args) => args.idle(),
            Command::Complete(_) => Vec::new(),
        }
    }
}

/// The clap tree, with the name that the user typed (`kubectl etcd` when kubectl runs the plugin), and with its help.
pub(crate) fn command(program: &str) -> clap::Command {
    help::dress(Cli::command(), program)
}

/// The clap tree as the commands describe it.
#[cfg(test)]
pub(crate) fn undressed() -> clap::Command {
    Cli::command()
}

/// Parses, runs, cleans up, reports.
pub(crate) fn main(mut args: Vec<OsString>) -> ExitCode {
    #[cfg(unix)]
    if let Some(code) = etcd_drill::guard::run(&args) {
        return code;
    }
    let program = args.first().map(std::path::Path::new).and_then(std::path::Path::file_stem);
    let program = program.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // kubectl runs `kubectl_complete-etcd WORDS...` for completion; the plugin under that name is that program.
    if program.starts_with("kubectl_complete-") {
        args.splice(0..1, ["kubectl-etcd".into(), "__complete".into()]);
    }
    // The words after it are the user's line so far, not this program's own flags.
    if args.get(1).is_some_and(|word| word == "__complete") {
        args.insert(2, "--".into());
    }
    // As kubectl does.
    if args.len() == 1 {
        args.push("--help".into());
    }
    let mut command = command(&program);
    let cli = match parse(&mut command, args.clone()) {
        Ok(cli) => cli,
        Err(usage) => {
            let printer = Printer::new(false);
            if let Some(failed) = help::explain(&command, &args, &usage) {
                printer.failure(&failed);
                return code(failed.exit);
            }
            return match printer.usage(&usage) {
                Ok(()) if usage.use_stderr() => code(Exit::Usage),
                Ok(()) => ExitCode::SUCCESS,
                Err(failed) => {
                    printer.failure(&failed);
                    code(failed.exit)
                }
            };
        }
    };
    log(cli.v);
    let code: fn(Exit) -> ExitCode = match cli.command {
        Command::Diff(_) => |exit| ExitCode::from(exit.code_of_diff()),
        _ => code,
    };
    let context = Context::new(Printer::new(cli.quiet).verbose(cli.v > 0), cli.connection);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            context.printer.failure(&Failed::plain("cannot start").source(&error));
            return code(Exit::Failed);
        }
    };
    let outcome =
        runtime.block_on(async { supervise(run(cli.command, context.clone()), interruptions(), &context).await });
    runtime.shutdown_timeout(WIND_DOWN);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            let failed = context.connection.with_trouble(failed);
            context.printer.failure(&failed);
            code(failed.exit)
        }
    }
}

/// Reads a command line.
///
/// # Errors
/// Usage, of which a flag that has no effect is one.
pub(crate) fn parse(command: &mut clap::Command, args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let words: Vec<String> = args.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let matches = command.try_get_matches_from_mut(args)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.connection.typed = Typed::new(matches.subcommand_name().unwrap_or_default(), &words);
    let idle = cli.command.idle(&cli.connection);
    let found = matches.subcommand().and_then(|(name, typed)| idle::find(&idle, typed, command, name));
    match found {
        Some(message) => Err(command.error(ErrorKind::ArgumentConflict, message)),
        None => Ok(cli),
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit.code())
}

fn log(level: u8) {
    let filter = match level {
        0 => return,
        1..=3 => "kubectl_etcd=info",
        4..=5 => "kubectl_etcd=debug",
        6..=8 => "kubectl_etcd=debug,kube=debug,hyper_util=info",
        _ => "trace",
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Log).init();
}

/// Runs a command until it ends, tells it when it is interrupted, and then deletes what it has made.
async fn supervise(
    running: impl Future<Output = Outcome>,
    mut interruptions: impl Stream<Item = ()> + Unpin,
    context: &Context,
) -> Outcome {
    let printer = context.printer;
    // A fault in this program must not leave pods either.
    let mut running = Box::pin(AssertUnwindSafe(running).catch_unwind());
    let ended = tokio::select! {
        // A command that has ended was not interrupted.
        biased;
        ended = &mut running => Some(ended),
        Some(()) = interruptions.next() => {
            printer.note("interrupted, cleaning up; interrupt again to stop at once");
            context.interruption.raise();
            tokio::select! {
                biased;
                ended = &mut running => Some(ended),
                Some(()) = interruptions.next() => {
                    context.interruption.urge();
                    // What must not be told as a mere interruption says so now; nothing else is waited for.
                    (&mut running).now_or_never()
                }
            }
        }
    };
    drop(running);
    let mut outcome = match ended.map(|ended| ended.unwrap_or_else(|_| Err(fault()))) {
        // It may have been done before it heard of the interruption, or have failed for a reason of its own.
        Some(outcome) => outcome,
        None => Err(interrupted()),
    };
    let Some(road) = context.road() else { return outcome };
    let names = road.places();
    tokio::select! {
        left = road.end() => {
            for Left { place, reason } in &left {
                printer.warn(format!("{place} is still there: {reason}; it ends by itself within minutes, see\n  {}", road.by_hand()));
            }
            if !left.is_empty() {
                outcome = outcome.map_err(with_something_left);
            }
        }
        Some(()) = interruptions.next() => outcome = Err(interrupted_at_the_end(outcome, &names, road.by_hand())),
    }
    outcome
}

/// What nobody can vouch for. The fault itself was told when it happened.
fn fault() -> Failed {
    Failed::new(Exit::Changed, "a fault in this program has stopped the command")
        .effect("whether anything was changed is not known")
        .hint("report it, with all that was printed\n  https://github.com/kubectl-etcd/kubectl-etcd/issues")
}

/// What stays on nodes is a change.
fn with_something_left(failed: Failed) -> Failed {
    match failed.exit {
        Exit::Failed => Failed { exit: Exit::Changed, ..failed },
        _ => failed,
    }
}

/// Of a command that had ended, and was interrupted while what it had brought to nodes was taken away: what it failed of counts for more.
fn interrupted_at_the_end(outcome: Outcome, places: &[String], by_hand: &str) -> Failed {
    let failed = match outcome {
        Ok(()) => interrupted(),
        Err(failed) => with_something_left(failed),
    };
    let left = places.iter().map(|place| format!("{place} may be left behind; it ends by itself within minutes"));
    left.fold(failed, Failed::effect).hint(by_hand)
}

/// Runs a command. Those that must not be dropped in their middle hear of an interruption themselves.
async fn run(typed: Command, context: Context) -> Outcome {
    let whole = context.clone();
    match typed {
        Command::Restore(args) => commands::restore::run(*args, context).await,
        Command::Rollback(args) => commands::rollback::run(args, context).await,
        Command::Apply(args) => commands::apply::run(args, context).await,
        Command::Backup(args) => commands::backup::run(*args, context).await,
        Command::Alarms(args) => commands::alarms::run(args, context).await,
        Command::Compact(args) => commands::compact::run(args, context).await,
        Command::Defrag(args) => commands::defrag::run(args, context).await,
        Command::Member(args) => commands::member::run(args, context).await,
        Command::Verify(args) => whole.interruptible(commands::verify::run(args, context)).await,
        Command::List(args) => whole.interruptible(commands::list::run(args, context)).await,
        Command::Freshness(args) => whole.interruptible(commands::freshness::run(args, context)).await,
        #[cfg(unix)]
        Command::Drill(args) => commands::drill::run(*args, context).await,
        Command::Prune(args) => commands::prune::run(*args, context).await,
        Command::Schedule(args) => whole.interruptible(commands::schedule::run(*args, context)).await,
        Command::Copy(args) => commands::copy::run(args, context).await,
        Command::Inspect(args) => whole.interruptible(commands::inspect::run(args, context)).await,
        Command::Get(args) => whole.interruptible(commands::get::run(args, context)).await,
        Command::Diff(args) => whole.interruptible(commands::diff::run(args, context)).await,
        Command::Status(args) => whole.interruptible(commands::status::run(args, context)).await,
        Command::Doctor(args) => whole.interruptible(commands::doctor::run(*args, context)).await,
        Command::Recover(args) => commands::recover::run(*args, context).await,
        Command::Cleanup(args) => whole.interruptible(commands::cleanup::run(args, context)).await,
        Command::Store(args) => whole.interruptible(commands::store::run(args, context)).await,
        Command::Version(args) => whole.interruptible(commands::version::run(args, context)).await,
        Command::Completion(args) => commands::completion::run(args, context),
        Command::Help(args) => commands::help::run(args, command("kubectl-etcd"), context),
        Command::Options(args) => commands::options::run(args, command("kubectl-etcd"), context),
        Command::Complete(args) => {
            let root = command("kubectl-etcd");
            whole.interruptible(commands::complete::run(args, &root, context)).await
        }
    }
}

/// What asks this process to end: Ctrl-C, and on Unix whoever stops processes or closes the terminal.
///
/// It listens from the start to the end of a command, so that no second interruption falls into a gap. A platform that lets
/// nobody listen ends the process itself.
fn interruptions() -> impl Stream<Item = ()> + Unpin {
    #[cfg(unix)]
    let mut signals: Vec<_> = {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect()
    };
    #[cfg(windows)]
    let mut signals: Vec<_> = tokio::signal::windows::ctrl_c().into_iter().collect();
    futures::stream::poll_fn(move |task| {
        let came = signals.iter_mut().any(|signal| signal.poll_recv(task).is_ready());
        if came { Poll::Ready(Some(())) } else { Poll::Pending }
    })
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn context() -> Context {
        Context::new(Printer::new(true), ConnectionArgs::default())
    }

    /// Interrupted once, at once.
    fn once() -> impl Stream<Item = ()> + Unpin {
        stream::iter([()]).chain(stream::pending())
    }

    fn damaged() -> Outcome {
        Err(Failed::new(Exit::Damaged, "damaged"))
    }

    #[tokio::test]
    async fn an_error_of_a_command_is_told_although_it_was_interrupted() {
        // It had ended already.
        let failed = supervise(async { damaged() }, once(), &context()).await.expect_err("damaged");
        assert_eq!((failed.exit, failed.message.as_str()), (Exit::Damaged, "damaged"));
        // It ends itself when it hears of it: well, with an error of its own, or because of it.
        for (outcome, told) in [
            (Ok(()), None),
            (damaged(), Some(Exit::Damaged)),
            (Err(Failed::new(Exit::Interrupted, "stopped verifying a.db")), Some(Exit::Interrupted)),
        ] {
            let context = context();
            let interruption = context.interruption.clone();
            let running = async {
                interruption.heard().await;
                outcome
            };
            let ended = supervise(running, once(), &context).await;
            assert_eq!(ended.map_err(|failed| failed.exit).err(), told);
        }
        // It would have gone on, or does not end.
        let context = context();
        let ended = supervise(context.interruptible(std::future::pending()), once(), &context).await;
        assert_eq!(ended.expect_err("interrupted").exit, Exit::Interrupted);
        let second = stream::iter([(), ()]).chain(stream::pending());
        let ended = supervise(std::future::pending(), second, &self::context()).await.expect_err("interrupted");
        assert_eq!(ended.exit, Exit::Interrupted);
        // A cluster that goes on changing is told as one, however often the user interrupts.
        let context = self::context();
        let interruption = context.interruption.clone();
        let going_on = || Failed::new(Exit::Changed, "the restore continues on the nodes");
        let running = async { interruption.unless_urged(going_on, std::future::pending()).await? };
        let second = stream::iter([(), ()]).chain(stream::pending());
        let ended = supervise(running, second, &context).await.expect_err("interrupted");
        assert_eq!(ended.exit, Exit::Changed);
    }

    #[test]
    fn what_a_command_failed_of_counts_for_more_than_an_interruption_at_its_end() {
        let places = ["pod kube-system/a".to_owned()];
        for (outcome, exit) in [
            (Ok(()), Exit::Interrupted),
            (damaged(), Exit::Damaged),
            (Err(Failed::plain("no route")), Exit::Changed),
            (Err(Failed::new(Exit::Changed, "half done")), Exit::Changed),
            (Err(Failed::new(Exit::Interrupted, "interrupted")), Exit::Interrupted),
        ] {
            let failed = interrupted_at_the_end(outcome, &places, "kubectl etcd cleanup");
            assert_eq!(failed.exit, exit, "{failed}");
            assert!(
                failed.effects.iter().any(|effect| effect.starts_with("pod kube-system/a may be left behind")),
                "{failed}"
            );
        }
    }

    #[tokio::test]
    async fn a_fault_is_told_as_one() {
        let failed = supervise(async { panic!("a fault, made by a test") }, stream::pending(), &context()).await;
        assert_eq!(failed.expect_err("a fault").exit, Exit::Changed);
    }
}
