//! etcd on a copy, in a network of its own, until its database has everything.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use etcd_wire::{Failure, FailureCode};
use rustix::process::Signal;

use super::copy::cannot;
use super::metrics::{APPLIED, REVISION, figure};
use super::rest::{Look, Next, PATIENCE, Watch};
use super::{loopback, stopped};
use crate::transaction::Server;

/// How often etcd is asked.
const PULSE: Duration = Duration::from_millis(100);
/// What of etcd's log is shown where etcd ends.
const LINES: usize = 5;
/// The ports of a network in which nothing else is.
const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
const METRICS: u16 = 2381;

/// What is started, and on what.
#[derive(Debug)]
pub(super) struct Start<'a> {
    /// The program.
    pub(super) etcd: &'a Path,
    /// The member's name.
    pub(super) name: &'a str,
    /// The copy.
    pub(super) data: &'a Path,
    /// Where etcd's log goes.
    pub(super) log: &'a Path,
}

/// How etcd was when its database rested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rested {
    /// The index up to which etcd has applied entries.
    pub(super) applied: u64,
    /// The revision in its memory, where etcd tells it.
    pub(super) revision: Option<u64>,
}

/// Starts etcd, waits until it has applied everything and its database rests, and ends it.
///
/// # Errors
/// No network can be made, etcd does not start or ends, stops applying, or the user has ended it.
pub(super) fn run(
    start: &Start<'_>,
    watch: Watch,
    cancel: &AtomicBool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Rested, Failure> {
    // The network is that of a thread, and of the sockets and processes which that thread makes.
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            loopback::enter().map_err(|error| {
                Failure::new(FailureCode::Other, "cannot make a network for etcd alone")
                    .source(&error)
                    .hint("run this as root on the node; in a container, as a privileged one")
            })?;
            let mut running = Running::new(start)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Failure::new(FailureCode::Other, "cannot start").source(&error))?;
            runtime.block_on(running.rest(start, watch, cancel, progress))
        });
        thread.join().unwrap_or_else(|_| Err(Failure::new(FailureCode::Other, "cannot wait for etcd")))
    })
}

/// Becomes etcd, as a process that ends when the thread that has started it does.
///
/// # Errors
/// It cannot be started. There is no other return.
pub(crate) fn become_etcd(etcd: &Path, arguments: &[String]) -> anyhow::Error {
    // Kept across an exec (prctl(2)).
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    let error = std::os::unix::process::CommandExt::exec(Command::new(etcd).args(arguments));
    anyhow::Error::from(error).context(format!("cannot run {}", etcd.display()))
}

/// A process that is killed when this goes.
#[derive(Debug)]
struct Running(Child);

impl Running {
    fn new(start: &Start<'_>) -> Result<Running, Failure> {
        let log = File::create_new(start.log).map_err(|error| cannot("create", start.log, &error))?;
        let errors = log.try_clone().map_err(|error| cannot("open", start.log, &error))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(super::ALONE).arg(start.etcd).arg("--").args(arguments(start));
        // etcd takes flags from the environment, too. For arm64, 3.4 asks for this one.
        command.env_clear().env("ETCD_UNSUPPORTED_ARCH", "arm64");
        command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(start.data);
        let child = command.spawn();
        let child = child.map_err(|error| Failure::new(FailureCode::Other, "cannot start etcd").source(&error))?;
        Ok(Running(child))
    }

    async fn rest(
        &mut self,
        start: &Start<'_>,
        mut watch: Watch,
        cancel: &AtomicBool,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Rested, Failure> {
        let metrics = Server { host: "127.0.0.1".to_owned(), port: METRICS, tls: None };
        let database = start.data.join("member/snap/db");
        let (begun, mut told_last) = (Instant::now(), None);
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(stopped());
            }
            let ended = self.0.try_wait();
            if let Some(status) =
                ended.map_err(|error| Failure::new(FailureCode::Other, "cannot wait for etcd").source(&error))?
            {
                let failure = Failure::new(FailureCode::Etcd, format!("etcd has ended on the copy: {status}"));
                return Err(told(failure, start.log));
            }
            let text = match metrics.get("/metrics").await {
                Ok((status, body)) if status.is_success() => Some(String::from_utf8_lossy(&body).into_owned()),
                // It does not listen yet, or is busy.
                _ => None,
            };
            // The database is looked at after etcd has said what it applied: a change between both is seen.
            let applied = text.as_ref().map(|text| figure(text, APPLIED).unwrap_or_default());
            let look = Look { applied, database: signature(&database)? };
            if told_last != applied {
                applied.into_iter().for_each(progress);
                told_last = applied;
            }
            match watch.see(begun.elapsed(), look) {
                Next::Wait => tokio::time::sleep(PULSE).await,
                Next::Done => {
                    let revision = text.and_then(|text| figure(&text, REVISION));
                    return Ok(Rested { applied: applied.unwrap_or_default(), revision });
                }
                Next::Stuck => {
                    let message = format!("etcd has applied nothing for {} seconds", PATIENCE.as_secs());
                    return Err(told(Failure::new(FailureCode::Etcd, message), start.log));
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It rests, or has failed: a copy is nobody's.
        let ended = self.0.kill().and_then(|()| self.0.wait());
        if let Err(error) = ended {
            tracing::error!("cannot end etcd, process {}: {error}", self.0.id());
        }
    }
}

/// Whoever the members are, their identities are in the log: names and URLs are for this process alone. An election would raise the term and, in a
/// cluster of one, begin to write; so there is none for as long as etcd allows (server/embed/config.go, `maxElectionMs`).
fn arguments(start: &Start<'_>) -> Vec<String> {
    let data = start.data.display().to_string();
    let (clients, peers) = (format!("http://127.0.0.1:{CLIENTS}"), format!("http://127.0.0.1:{PEERS}"));
    let metrics = format!("http://127.0.0.1:{METRICS}");
    let flags = [
        ("name", start.name),
        ("data-dir", &data),
        ("listen-client-urls", &clients),
        ("advertise-client-urls", &clients),
        ("listen-peer-urls", &peers),
        ("initial-advertise-peer-urls", &peers),
        ("listen-metrics-urls", &metrics),
        ("election-timeout", "50000"),
        ("initial-election-tick-advance", "false"),
        // A database above the quota could not be written to: the largest that etcd recommends.
        ("quota-backend-bytes", "8589934592"),
    ];
    let initial = format!("--initial-cluster={}={peers}", start.name);
    flags.iter().map(|(name, value)| format!("--{name}={value}")).chain([initial]).collect()
}

fn signature(database: &Path) -> Result<(u64, i128), Failure> {
    let meta = std::fs::metadata(database).map_err(|error| cannot("look at", database, &error))?;
    use std::os::unix::fs::MetadataExt as _;
    Ok((meta.len(), i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())))
}

/// Adds the last lines of etcd's log. They have keys at most, never values.
fn told(failure: Failure, log: &Path) -> Failure {
    let Ok(bytes) = std::fs::read(log) else { return failure };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LINES));
    last.fold(failure, |failure, line| failure.cause(line.chars().take(400).collect::<String>()))
}
