//! The write-ahead log of a member that has lived, as etcd 3.4 to 3.7 write it.
//!
//! What a member has acknowledged is in its log before it is in its database: of a member that was killed, the database alone lacks the
//! last writes. [`Log::read`] checks all segments of a log, and says how far it is valid; [`OnlyInLog`] says which keys are changed
//! only there; [`rank()`] says which of several members has the most. Nothing is written, and the log may be that of an etcd that runs.
//!
//! ```text
//! segment:  NNNNNNNNNNNNNNNN-IIIIIIIIIIIIIIII.wal   (sequence number, index of its first entry), zeros after its last frame
//! frame:    length u64 (low 56 bits; top byte 0x80 | pad if there is a pad), record, pad to 8 bytes
//! record:   1 type (1 metadata, 2 entry, 3 hard state, 4 crc, 5 snapshot), 2 crc, 3 data
//! ```
//! A segment begins with a crc record, which has the checksum at the end of the segment before it, and the metadata. Read from etcd
//! server/storage/wal/{wal,decoder,repair,util}.go and walpb/record.proto @ v3.6.14, and raft raftpb/raft.proto @ v3.6.0.

mod builder;
mod entry;
mod error;
mod files;
mod judge;
mod log;
mod name;
mod only;
mod raise;
mod rank;
mod record;
mod segment;
mod snapshot_file;
#[cfg(test)]
mod tests;

pub use self::log::{EntryAt, Log, Visit};
pub use crate::restore::HardState;
pub use builder::{ConfState, MemberChange, MemberChangeKind, Owner};
pub use entry::{Condition, Effect, EntryKind, NotAnEntry, effects};
pub use error::{Fault, LogError};
pub use files::{Files, Folder};
pub use judge::{TornReason, TornTail};
pub use name::SegmentName;
pub use only::{KeyChange, KeyListing, Limits, OnlyInLog};
pub use raise::Raise;
pub use rank::{Candidate, Place, Ranking, Standing, rank};
pub use snapshot_file::{SnapshotFile, SnapshotFiles};

use std::fmt;

/// A place in raft's log. Of two members, raft prefers the one whose last entry has the higher term, and of those of one term the one
/// with the higher index: that is how positions are ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Raft term.
    pub term: u64,
    /// Raft index.
    pub index: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term {}, index {}", self.term, self.index)
    }
}
