//! A snapshot of a member that has lost its quorum, with everything that its log has.
//!
//! A member that was killed has acknowledged writes that are not in its database, and whose commitment its log does not record yet: they are in the log,
//! up to its last valid entry. So, on a copy, the log is made to say that all of its entries are committed, and the node's own etcd, alone in a network
//! without anybody, applies them as it would have. The copy's database is then the snapshot. Nothing of the member itself is changed, and
//! `--force-new-cluster`, which drops entries, is not used.

mod alone;
mod copy;
mod loopback;
mod metrics;
mod program;
mod rest;
mod send;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use etcd_snapshot::wal::{Folder, Log, Position, Raise, SnapshotFiles};
use etcd_snapshot::{DigestCheck, FileSource, Options, Report, StreamHead, glance, verify};
use etcd_wire::{Failure, FailureCode};
use tokio::signal::unix::{SignalKind, signal};

use crate::keep::Unnamed;
use crate::node::{Place, left_over};
use alone::Start;
pub(crate) use alone::become_etcd;
use copy::{Member, Work, cannot};
use rest::Watch;
pub(crate) use send::send;

/// The command by which this program becomes etcd.
pub(crate) const ALONE: &str = "alone";

/// What is asked for on the command line.
#[derive(Debug)]
pub(crate) struct Args {
    /// Data directory of the member.
    pub(crate) data_dir: PathBuf,
    /// Folder of its log, if that is not in the data directory.
    pub(crate) wal_dir: Option<PathBuf>,
    /// Program of the etcd that has written the data. Without this, the one of the same minor version that the node's container runtime has, or the node.
    pub(crate) etcd: Option<PathBuf>,
    /// Snapshot file to make.
    pub(crate) snapshot: PathBuf,
}

/// Makes the snapshot until SIGINT or SIGTERM, and tells what it has.
pub(crate) async fn order(args: Args) -> Result<String, Failure> {
    let cancel = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&cancel);
    let work = tokio::task::spawn_blocking(move || {
        let Args { data_dir, wal_dir, etcd, snapshot } = args;
        let order = Order {
            data_dir: &data_dir,
            wal_dir: wal_dir.as_deref(),
            etcd: etcd.as_deref(),
            beside: &snapshot,
            may_run: false,
            last: None,
        };
        run(&order, &asked, &tell)
    });
    let cannot =
        |error: &dyn std::error::Error| Failure::new(FailureCode::Other, "cannot wait for signals").source(error);
    let mut ended = signal(SignalKind::terminate()).map_err(|error| cannot(&error))?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| cannot(&error))?;
    tokio::pin!(work);
    let done = tokio::select! {
        done = &mut work => done,
        _ = async { tokio::select! { _ = ended.recv() => {}, _ = interrupted.recv() => {} } } => {
            cancel.store(true, Ordering::Relaxed);
            work.await
        }
    };
    let replayed =
        done.unwrap_or_else(|error| Err(Failure::new(FailureCode::Other, "the work has failed").source(&error)))?;
    let Replayed { log, before, report, file } = replayed;
    let told = serde_json::json!({
        "snapshot": file,
        "revision": report.hash_kv.revision,
        "databaseRevision": before,
        "term": log.last.term,
        "index": log.last.index,
        "hashKv": report.hash_kv.hash,
        "totalSize": report.total_size,
    });
    Ok(told.to_string())
}

fn tell(phase: Phase) {
    match phase {
        Phase::Copying => tracing::info!("copying the member's files"),
        Phase::Applying { applied, last } => tracing::info!("etcd has applied the log up to entry {applied} of {last}"),
        Phase::Checking => tracing::info!("checking the database"),
    }
}

/// Of what a snapshot is made, and how.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    /// The member's data directory.
    pub(crate) data_dir: &'a Path,
    /// The folder of its log, if that is not in the data directory.
    pub(crate) wal_dir: Option<&'a Path>,
    /// The program of the version that has written the data, if the user names one.
    pub(crate) etcd: Option<&'a Path>,
    /// The snapshot file; the copy is made in its folder.
    pub(crate) beside: &'a Path,
    /// Whether etcd may run on the data directory. It must have no quorum then: whether it has changed anything is looked at.
    pub(crate) may_run: bool,
    /// Where the log has to end, if that is known.
    pub(crate) last: Option<Position>,
}

/// A snapshot that was made.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// The log that was applied.
    pub(crate) log: Log,
    /// What the member's own database has.
    pub(crate) before: i64,
    /// What the snapshot has.
    pub(crate) report: Report,
    /// The snapshot file.
    pub(crate) file: PathBuf,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The files are copied.
    Copying,
    /// etcd applies the log.
    Applying {
        /// Index of the last entry that was applied.
        applied: u64,
        /// Index of the last entry.
        last: u64,
    },
    /// The database is checked, and becomes the snapshot.
    Checking,
}

/// A copy whose database has everything that the log has. It goes when this does.
struct Applied {
    work: Work,
    log: Log,
    before: i64,
    report: Report,
    /// Copies that a killed run has left, which were removed.
    swept: Vec<String>,
}

impl Applied {
    /// The database.
    fn database(&self) -> PathBuf {
        self.work.path().join("member/snap/db")
    }
}

/// Makes the snapshot file. Whatever fails, nothing is left behind, and nothing of the member is changed.
///
/// # Errors
/// [`FailureCode::Refused`]: etcd runs on the data directory. Else: see the message.
pub(crate) fn run(
    order: &Order<'_>,
    cancel: &AtomicBool,
    progress: &(dyn Fn(Phase) + Sync),
) -> Result<Replayed, Failure> {
    let target = std::path::absolute(order.beside).map_err(|error| cannot("use", order.beside, &error))?;
    let snapshot = Unnamed::create(&target.display().to_string())?;
    let applied = apply(order, &target, cancel, progress)?;
    let file = publish(&applied.database(), snapshot)?;
    let Applied { work, log, before, report, swept: _ } = applied;
    work.remove()?;
    Ok(Replayed { log, before, report, file })
}

/// Applies the log to a copy of the member, in a folder beside `target`.
fn apply(
    order: &Order<'_>,
    target: &Path,
    cancel: &AtomicBool,
    progress: &(dyn Fn(Phase) + Sync),
) -> Result<Applied, Failure> {
    let absolute = |folder: &Path| std::path::absolute(folder).map_err(|error| cannot("use", folder, &error));
    // What a killed run has left holds every Secret, and takes the room that this one needs.
    let places = BTreeSet::from([absolute(order.data_dir)?, target.parent().unwrap_or(Path::new("/")).to_owned()]);
    let swept = places.into_iter().flat_map(|folder| left_over::sweep(&Place::new(folder))).collect();
    let member = Member::new(&absolute(order.data_dir)?, order.wal_dir.map(absolute).transpose()?.as_deref());
    let lock = if order.may_run { member.lock_if_stopped()? } else { member.lock()? };
    let etcd = match order.etcd {
        Some(named) => absolute(named)?,
        None => {
            let database = lock.try_clone().and_then(FileSource::new);
            let database = database.map_err(|error| cannot("read the database in", order.data_dir, &error))?;
            let glance = glance(&database)
                .map_err(|error| Failure::new(FailureCode::Incomplete, "the database is damaged").source(&error))?;
            program::choose(&program::find(Path::new("/"))?, glance.cluster_version.as_deref())?.path
        }
    };
    progress(Phase::Copying);
    let work = Work::beside(target)?;
    member.copy(work.path(), cancel)?;
    if order.may_run {
        member.assert_unchanged(work.path(), cancel)?;
    }
    drop(lock);

    let (snap, wal) = (work.path().join("member/snap"), work.path().join("member/wal"));
    let damaged = |error: &dyn std::error::Error| {
        Failure::new(FailureCode::Incomplete, format!("the log of {} cannot be applied", order.data_dir.display()))
            .source(error)
    };
    let log = Log::read(&Folder::new(&wal), Some(cancel)).map_err(|error| damaged(&error))?;
    let begun = SnapshotFiles::read(&Folder::new(&snap)).map_err(|error| cannot("read", &snap, &error))?;
    if let Some(expected) = order.last.filter(|expected| *expected != log.last) {
        let (Position { term, index }, now) = (expected, log.last);
        let message = format!(
            "the log of {} ends at term {}, index {}, and ended at term {term}, index {index} before",
            order.data_dir.display(),
            now.term,
            now.index
        );
        let failure = Failure::new(FailureCode::Refused, message).cause("etcd has written to it meanwhile");
        return Err(failure.hint("a cluster that takes writes has a quorum: look again"));
    }
    let raise = Raise::of(&log);
    raise.apply(&wal).map_err(|error| cannot("write to", &wal, &error))?;
    let before = checked(&snap.join("db"), cancel)?;

    // etcd writes a snapshot before its log says so, and begins only with one of which the log says so.
    let recorded = begun.files.iter().filter(|file| file.damage.is_none() && log.snapshots.contains(&file.at));
    let begun = recorded.map(|file| file.at.index).max().unwrap_or_default();
    let log_file = work.path().join("etcd.log");
    let start = Start { etcd: &etcd, name: "recovered", data: work.path(), log: &log_file };
    let last = log.last.index;
    let rested =
        alone::run(&start, Watch::new(last, begun), cancel, &|applied| progress(Phase::Applying { applied, last }))?;

    progress(Phase::Checking);
    let report = checked(&snap.join("db"), cancel)?;
    let revision = report.hash_kv.revision;
    // What etcd has in memory is what it has applied; the database has to have the same.
    if let Some(told) = rested.revision.filter(|told| i64::try_from(*told) != Ok(revision)) {
        let message = format!("the database has revision {revision}, and etcd had applied up to {told}");
        return Err(Failure::new(FailureCode::Incomplete, message).hint("try again"));
    }
    Ok(Applied { work, log, before: before.hash_kv.revision, report, swept })
}

/// Reads a whole database and checks it.
fn checked(database: &Path, cancel: &AtomicBool) -> Result<Report, Failure> {
    let opened = File::open(database).and_then(FileSource::new);
    let source = opened.map_err(|error| cannot("open", database, &error))?;
    let options = Options { digest: DigestCheck::Skip, cancel: Some(cancel), ..Options::default() };
    let report = verify(&source, &options, &|_| {});
    report.map_err(|error| Failure::new(FailureCode::Incomplete, "the database is damaged").source(&error))
}

/// Writes a snapshot file, as etcd sends one: the pages of the database, and their SHA-256.
fn publish(database: &Path, mut snapshot: Unnamed) -> Result<PathBuf, Failure> {
    let unread = |error: &std::io::Error| cannot("read", database, error);
    let mut file = File::open(database).map_err(|error| unread(&error))?;
    let source = file.try_clone().and_then(FileSource::new).map_err(|error| unread(&error))?;
    let head = StreamHead::read(&source)
        .map_err(|error| Failure::new(FailureCode::Incomplete, "the database is damaged").source(&error))?;
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    digest.update(&head.pages);
    snapshot.write(&head.pages)?;
    let begun = head.pages.len() as u64;
    file.seek(SeekFrom::Start(begun)).map_err(|error| unread(&error))?;
    let mut rest = file.take(head.bytes.saturating_sub(begun));
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = rest.read(&mut piece).map_err(|error| unread(&error))?;
        let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
        snapshot.write(read)?;
    }
    snapshot.write(digest.finish().as_ref())?;
    snapshot.publish().map(PathBuf::from)
}

/// The user has ended it.
fn stopped() -> Failure {
    Failure::new(FailureCode::Other, "interrupted; nothing was changed")
}
