//! From a snapshot to a directory that a new member starts from.
//!
//! It is not an edit of the snapshot but a rewrite: the walk that verifies it feeds a bulk loader, so the new database is compact,
//! and nothing that the walk has not seen can get into it. Log and raft snapshot are written beside it; then everything is read
//! again and compared with what was meant, and only then gets its name.

mod directory;
mod error;
mod loader;
mod membership;
mod proto;
mod raft_snapshot;
mod readback;
mod rebuild;
mod urls;
mod wal;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use directory::Destination;
pub use error::RestoreError;
pub use membership::{Membership, MembershipError, NewCluster, NewMember};
pub use raft_snapshot::{RaftSnapshot, RaftSnapshotError};
pub(crate) use wal::hard_state_record;
pub use wal::{HardState, Wal, WalEntry, WalError, WalSnapshot};

use crate::meta::{Extent, MetaPair, extent};
use crate::sink::{Sink, Store};
use crate::verify::verify_into;
use crate::{Alarm, AlarmKind, DigestCheck, HashKv, Options, Progress, Report, Source, VerifyError};
use directory::{Staging, create_file, failed, write_file};
use loader::Loader;
use rebuild::{Built, Rebuild};

/// How to restore.
#[derive(Debug, Clone, Copy)]
pub struct RestoreOptions<'a> {
    /// By how much the revision is raised; all history up to there then counts as compacted. Without it a client that has
    /// seen revisions which the snapshot does not have will take new ones for old ones. 0 does neither.
    pub bump: u64,
    /// What proves the snapshot's bytes. A file without a digest is restored only with [`DigestCheck::Skip`].
    pub digest: DigestCheck,
    /// Major and minor version of the etcd that is to read the directory, if it is known.
    pub etcd_version: Option<(u32, u32)>,
    /// Whether that may be an older version than the snapshot's.
    pub allow_older_etcd: bool,
    /// Set it to make [`restore()`] return [`VerifyError::Cancelled`] soon.
    pub cancel: Option<&'a AtomicBool>,
}

/// How far [`restore()`] is. The snapshot is hashed, walked and written again at the same time; what was written is read again, which
/// may begin before the hashing ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreProgress {
    /// Bytes of work that are done.
    pub done: u64,
    /// Bytes of work that there are: about three times the snapshot.
    pub total: u64,
}

/// What became of a snapshot.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The snapshot's figures.
    pub report: Report,
    /// The new member's id.
    pub member_id: u64,
    /// The new cluster's id.
    pub cluster_id: u64,
    /// The revision that the member starts with.
    pub revision: i64,
    /// What the snapshot's rows hash to, in the snapshot and in what was made of it.
    pub hash_kv: HashKv,
    /// Bytes of the new database.
    pub database_bytes: u64,
    /// Alarms that were left out: that the old database was full says nothing about the new one.
    pub dropped_alarms: Vec<Alarm>,
    /// Alarms that are active again: data that was found to be corrupt still is.
    pub kept_alarms: Vec<Alarm>,
    /// What is worth knowing.
    pub warnings: Vec<RestoreWarning>,
}

/// What is right, but worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreWarning {
    /// A peer URL that leads nowhere from another machine, in a cluster of several members.
    LocalPeerUrl {
        /// The member's name.
        member: String,
        /// The URL.
        url: String,
    },
    /// A bucket of a later etcd, which is not copied.
    UnknownBucket(String),
}

impl fmt::Display for RestoreWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalPeerUrl { member, url } => {
                write!(f, "{url} of member {member} cannot be reached from the machines of other members")
            }
            Self::UnknownBucket(name) => write!(f, "bucket {name} is not known to any etcd up to 3.7 and was left out"),
        }
    }
}

/// Builds the directory of one member of a new cluster from a snapshot, which is verified in the same pass.
///
/// For a cluster of several members, do the same on the machine of each, with the same snapshot, cluster, token and bump.
///
/// The directory appears whole or not at all. `progress` is called about once a mebibyte, from several threads.
///
/// # Errors
/// See [`RestoreError`]. Nothing is left of what was made.
pub fn restore(
    source: &dyn Source,
    membership: &Membership,
    destination: &Destination,
    options: &RestoreOptions<'_>,
    progress: &(dyn Fn(RestoreProgress) + Sync),
) -> Result<Restored, RestoreError> {
    let pair = MetaPair::read(source)?;
    if extent(&pair, source.len(), options.digest)? == Extent::Copy && options.digest != DigestCheck::Skip {
        return Err(RestoreError::NoDigest);
    }
    let staging = Staging::create(destination)?;
    let meter = Meter::new(source.len(), options.digest == DigestCheck::Compute, progress);
    let mut work = Work::start(&staging, membership, options, &meter, pair.meta.page_size)?;
    let verify = Options { digest: options.digest, cancel: options.cancel, ..Options::default() };
    let verified = verify_into(source, &verify, &|at| meter.build(at), &mut work);
    let (report, built) = match (verified, work.built) {
        (_, Some(Err(error))) => return Err(error),
        (Err(error), _) => return Err(error.into()),
        (Ok(report), Some(Ok(built))) => (report, built),
        (Ok(_), None) => unreachable!("a walk that found nothing wrong has told the sink that it ended"),
    };
    check_version(&report, options)?;
    let database_bytes = work.database_bytes;
    staging.publish()?;

    let Built { revision, unknown_buckets, .. } = built;
    let mut warnings = membership.warnings().to_vec();
    warnings.extend(unknown_buckets.into_iter().map(RestoreWarning::UnknownBucket));
    let (dropped_alarms, kept_alarms) =
        report.alarms.iter().cloned().partition(|alarm| alarm.kind == AlarmKind::NoSpace);
    Ok(Restored {
        hash_kv: report.hash_kv,
        report,
        member_id: membership.local().id,
        cluster_id: membership.cluster_id(),
        revision,
        database_bytes,
        dropped_alarms,
        kept_alarms,
        warnings,
    })
}

/// Everything that is done in the walk through the snapshot: also what comes after its last item, so that the digest, which takes
/// longest, is computed meanwhile. Nothing of it counts before the digest has been compared.
struct Work<'a> {
    staging: &'a Staging,
    membership: &'a Membership,
    options: &'a RestoreOptions<'a>,
    meter: &'a Meter<'a>,
    /// Until the walk ends.
    rebuild: Option<Rebuild>,
    database_bytes: u64,
    /// Once it has, or if the writing failed.
    built: Option<Result<Built, RestoreError>>,
}

impl<'a> Work<'a> {
    fn start(
        staging: &'a Staging,
        membership: &'a Membership,
        options: &'a RestoreOptions<'a>,
        meter: &'a Meter<'a>,
        page_size: u32,
    ) -> Result<Self, RestoreError> {
        let database = staging.database();
        let loader = Loader::new(create_file(&database)?, page_size).map_err(failed("write", &database))?;
        let rebuild = Some(Rebuild::new(loader));
        Ok(Self { staging, membership, options, meter, rebuild, database_bytes: 0, built: None })
    }

    fn finish(&mut self, store: &Store<'_>) -> Result<Built, RestoreError> {
        let Self { staging, membership, options, .. } = self;
        let database = staging.database();
        let rebuild = self.rebuild.take().expect("a walk ends once");
        let (built, file) = rebuild.finish(membership, store, options.bump, failed("write", &database))?;
        let progress = |at| self.meter.read_back(at);
        // The disk takes the database while it is read again.
        self.database_bytes = std::thread::scope(|scope| {
            let sync = || file.sync_all().map_err(failed("write", &database));
            let sync = std::thread::Builder::new().name("sync".to_owned()).spawn_scoped(scope, sync);
            let sync = sync.map_err(failed("write", &database))?;
            let bytes = readback::check_database(staging, store, &built, options.cancel, &progress);
            sync.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            bytes
        })?;
        let snapshot = RaftSnapshot::of(membership);
        write_file(&staging.snap().join(snapshot.file_name()), &snapshot.encode())?;
        write_file(&staging.wal(), &Wal::of(membership).encode())?;
        staging.sync()?;
        readback::check_raft(staging, membership)?;
        Ok(built)
    }

    /// Ends the walk if what it feeds has failed: an error of the file that is written is not one of the snapshot's.
    fn write(&mut self, write: impl FnOnce(&mut Rebuild) -> io::Result<()>) -> Result<(), VerifyError> {
        let Some(rebuild) = &mut self.rebuild else { return Ok(()) };
        write(rebuild).map_err(|error| {
            self.built = Some(Err(failed("write", &self.staging.database())(error)));
            VerifyError::Cancelled
        })
    }
}

impl Sink for Work<'_> {
    fn bucket(&mut self, name: &[u8]) -> Result<(), VerifyError> {
        self.write(|rebuild| {
            rebuild.start_bucket(name);
            Ok(())
        })
    }

    fn item(&mut self, key: &[u8], value_bytes: u64) -> Result<(), VerifyError> {
        self.write(|rebuild| rebuild.start_item(key, value_bytes))
    }

    fn value(&mut self, piece: &[u8]) -> Result<(), VerifyError> {
        self.write(|rebuild| rebuild.take_value(piece))
    }

    fn end(&mut self, store: &Store<'_>) -> Result<(), VerifyError> {
        let built = self.finish(store);
        let ended = if built.is_ok() { Ok(()) } else { Err(VerifyError::Cancelled) };
        self.built = Some(built);
        ended
    }
}

/// Adds up what the threads do.
struct Meter<'a> {
    /// Of the snapshot; the new database is not larger, and counts as much.
    bytes: u64,
    hashes: bool,
    built: AtomicU64,
    read_back: AtomicU64,
    notify: &'a (dyn Fn(RestoreProgress) + Sync),
}

impl<'a> Meter<'a> {
    fn new(bytes: u64, hashes: bool, notify: &'a (dyn Fn(RestoreProgress) + Sync)) -> Self {
        Self { bytes, hashes, built: AtomicU64::new(0), read_back: AtomicU64::new(0), notify }
    }

    fn build(&self, at: Progress) {
        let hashed = if self.hashes { at.hashed } else { at.walked };
        self.built.fetch_max(hashed.saturating_add(at.walked), Ordering::Relaxed);
        self.notify();
    }

    fn read_back(&self, at: Progress) {
        let part = u128::from(at.walked) * u128::from(self.bytes) / u128::from(at.total.max(1));
        self.read_back.fetch_max(u64::try_from(part).unwrap_or(self.bytes), Ordering::Relaxed);
        self.notify();
    }

    fn notify(&self) {
        let done = self.built.load(Ordering::Relaxed).saturating_add(self.read_back.load(Ordering::Relaxed));
        (self.notify)(RestoreProgress { done, total: self.bytes.saturating_mul(3) });
    }
}

/// A member of a version below the snapshot's may not know records that are in it.
fn check_version(report: &Report, options: &RestoreOptions<'_>) -> Result<(), RestoreError> {
    let Some(server) = options.etcd_version.filter(|_| !options.allow_older_etcd) else { return Ok(()) };
    match report.etcd() {
        Some(snapshot) if snapshot > server => {
            let text = |(major, minor)| format!("{major}.{minor}");
            Err(RestoreError::NewerEtcd { snapshot: text(snapshot), server: text(server) })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
