//! Why a snapshot was not restored.

use std::io;
use std::path::PathBuf;

use crate::VerifyError;

/// Why [`restore`](super::restore()) made no directory. There is nothing of it left, whichever it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot could not be read, cannot be trusted, or the caller's cancel flag was set.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The file is a copy of a database: it has no digest that would prove its bytes.
    #[error("the file has no digest at its end, so nothing proves its bytes")]
    NoDigest,
    /// The snapshot's etcd is newer than the one that is to read the directory.
    #[error("the snapshot is of etcd {snapshot}, newer than {server}")]
    NewerEtcd {
        /// Minor version in the snapshot.
        snapshot: String,
        /// Minor version that was asked for.
        server: String,
    },
    /// Revisions are signed 64-bit numbers, and this would be a larger one.
    #[error("revision {revision} cannot be raised by {bump}")]
    RevisionOverflow {
        /// The snapshot's revision.
        revision: i64,
        /// By how much it was to be raised.
        bump: u64,
    },
    /// There is something in the data directory.
    #[error("{} is not empty", .0.display())]
    DataDirNotEmpty(PathBuf),
    /// An etcd is running on the data directory.
    #[error("an etcd is running on {}", .0.display())]
    DataDirInUse(PathBuf),
    /// There is something in the directory of the log.
    #[error("{} is not empty", .0.display())]
    WalDirNotEmpty(PathBuf),
    /// One of the two directories is inside the other, or is the other.
    #[error("data directory {} and log directory {} are not apart", .data_dir.display(), .wal_dir.display())]
    DirectoriesOverlap {
        /// The data directory.
        data_dir: PathBuf,
        /// The directory of the log.
        wal_dir: PathBuf,
    },
    /// A file or directory could not be created, read or written.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// What was written is not what was meant, as reading it again shows.
    #[error("read back what was written: {0}")]
    ReadBack(String),
}
