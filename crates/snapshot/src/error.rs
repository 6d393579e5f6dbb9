//! Why a file cannot be trusted as a snapshot.

use std::fmt;
use std::io;

use serde::Serialize;

use crate::{Finding, Report};

/// Why [`verify`](crate::verify()) did not vouch for a file. Everything but [`Io`](Self::Io) and
/// [`Cancelled`](Self::Cancelled) speaks about the file's bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The file could not be read: nothing is known about it.
    #[error("cannot read the snapshot")]
    Io(#[from] io::Error),
    /// The caller's cancel flag was set.
    #[error("cancelled")]
    Cancelled,
    /// The bytes are those of something else.
    #[error("not an etcd snapshot: {0}")]
    NotASnapshot(NotASnapshot),
    /// The file ends too early.
    #[error("truncated: {length} bytes of {expected}")]
    Truncated {
        /// Bytes there are.
        length: u64,
        /// Bytes there must be at least.
        expected: u64,
    },
    /// A snapshot is followed by bytes that are no part of it.
    #[error("bytes after the end of the snapshot: {length} bytes instead of {expected}")]
    TrailingBytes {
        /// Bytes there are.
        length: u64,
        /// Bytes that the snapshot and its digest have.
        expected: u64,
    },
    /// The bytes are not those that etcd wrote.
    #[error("{0}")]
    Damaged(Box<Damage>),
}

/// What the bytes are instead of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotASnapshot {
    /// No bytes.
    #[error("the file is empty")]
    Empty,
    /// Fewer bytes than the first page's header and meta record have.
    #[error("only {length} bytes")]
    TooShort {
        /// Bytes there are.
        length: u64,
    },
    /// A compressed file.
    #[error("the file is compressed with {0}")]
    Compressed(&'static str),
    /// A database from a big-endian machine (s390x).
    #[error("the database was written on a big-endian machine")]
    BigEndian,
    /// bbolt's mark is there, but neither meta page is valid.
    #[error("neither of the two meta pages is valid")]
    NoValidMeta,
    /// Not a bbolt database at all.
    #[error("no bbolt database")]
    NoDatabase,
}

/// What is wrong with a damaged file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Damage {
    /// What was found, up to [`Options::max_findings`](crate::Options::max_findings); at least one.
    pub findings: Vec<Finding>,
    /// How many more findings there were.
    pub omitted: u64,
    /// The figures, if every page could be read and all of the tree is in order: only the proof of the bytes is broken.
    /// They are then those that etcdutl prints, which does not look at the digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("damaged")?;
        if let Some(first) = self.findings.first() {
            write!(f, ": {first}")?;
        }
        match (self.findings.len() as u64).saturating_sub(1).saturating_add(self.omitted) {
            0 => Ok(()),
            more => write!(f, " (and {more} more)"),
        }
    }
}
