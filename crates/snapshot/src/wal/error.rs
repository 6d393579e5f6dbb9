//! Why a log cannot be trusted.

use std::io;

use super::name::SegmentName;

/// Why [`Log::read`](super::Log::read) gave no log. Nothing is concluded from a log with an error in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The folder or a file in it could not be read.
    #[error("cannot read {name}: {error}")]
    Io {
        /// The file, or `the log` for the folder.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// There is no segment in the folder.
    #[error("there are no files *.wal")]
    NoSegments,
    /// A segment is missing between two others.
    #[error("a segment is missing between {before} and {after}")]
    Gap {
        /// The last one before the gap.
        before: SegmentName,
        /// The first one after it.
        after: SegmentName,
    },
    /// There is no whole record of whose log it is.
    #[error("{segment} has no whole record of the member that it belongs to")]
    Empty {
        /// The only segment.
        segment: SegmentName,
    },
    /// A record is wrong that is not the end of a write which was cut off.
    #[error("{segment} is corrupt at offset {offset}: {fault}")]
    Corrupt {
        /// The segment.
        segment: SegmentName,
        /// Where the frame of the record is.
        offset: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The log replaces its own entries more often than is kept in memory.
    #[error("{segment} replaces entries at offset {offset} once more than any cluster does")]
    TooManyRewrites {
        /// The segment.
        segment: SegmentName,
        /// Where the frame of the record is.
        offset: u64,
    },
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Its length is none that etcd writes.
    #[error("the length of a record is none that etcd writes")]
    Length,
    /// It ends beyond the end of the file.
    #[error("a record ends beyond the end of the file")]
    Beyond,
    /// It is not laid out like one.
    #[error("a record is none that etcd writes")]
    Record,
    /// Its checksum is wrong.
    #[error("a record has another checksum than it says")]
    Checksum,
    /// The segment does not begin with the checksum at the end of the segment before it.
    #[error("the segment does not continue the one before it")]
    Chain,
    /// It is the log of another member than before.
    #[error("a record names another member or cluster than the ones before it")]
    Owner,
    /// An entry does not follow the one before it.
    #[error("entries are missing before an entry")]
    Index,
    /// The commit index or the term is lower than before.
    #[error("the commit index or the term is lower than before")]
    HardState,
    /// A log that has changed meanwhile.
    #[error("the record has changed since it was read first")]
    Changed,
}
