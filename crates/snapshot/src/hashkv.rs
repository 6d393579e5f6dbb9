//! HashKV, the hash by which etcd's members compare their key spaces, recomputed from a file.
//!
//! Read from etcd server/storage/mvcc/hash.go, kvstore.go and key_index.go @ v3.6.14, mvcc/kvstore.go @ v3.4.45.

use std::io;

use crc32c::{crc32c, crc32c_append, crc32c_combine};
use serde::Serialize;

use crate::figures::KeyBucket;
use crate::report::Compaction;
use crate::row::RowKey;
use crate::rows::{Cut, Rows};
use crate::tree::{Tree, Walk};
use crate::verify::run;
use crate::{Options, Progress, Source, VerifyError};

/// A hash over the rows of the key space, and of which revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HashKv {
    /// CRC-32C over the rows that count.
    pub hash: u32,
    /// The last revision that counts.
    pub revision: i64,
    /// The revision up to which the history was compacted, as the hash sees it; -1 if it never was. Two hashes of one
    /// revision can only be compared if this is the same.
    pub compact_revision: i64,
}

/// Which HashKV to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HashKvAt {
    /// The last revision that counts; 0 stands for the current one.
    pub revision: i64,
    /// Answer as a member that has compacted its history up to here, instead of as one with the file's own compaction.
    /// Not below the compaction that the file has finished; -1 for none.
    pub compact_revision: Option<i64>,
}

/// Why there is no [`HashKv`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashKvError {
    /// The file is none to compute it from.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The rows of that revision are gone, or count as gone.
    #[error("revision {revision} has been compacted; the history starts at {compact_revision}")]
    Compacted {
        /// The revision asked for.
        revision: i64,
        /// The first one that can be asked for.
        compact_revision: i64,
    },
    /// The file ends before that revision.
    #[error("revision {revision} is in the future; the file is at {current_revision}")]
    FutureRevision {
        /// The revision asked for.
        revision: i64,
        /// The last one that can be asked for.
        current_revision: i64,
    },
}

/// Computes what a member with exactly this data answers to HashKV, and verifies the file while at it.
///
/// The one of the file's current revision is in every [`Report`](crate::Report) already.
///
/// # Errors
/// See [`HashKvError`].
pub fn hash_kv(
    source: &dyn Source,
    options: &Options<'_>,
    at: HashKvAt,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<HashKv, HashKvError> {
    let report = run(source, options, at, progress, &mut ())?;
    let current = report.current_revision;
    let HashKv { revision, compact_revision, .. } = report.hash_kv;
    if revision > current {
        return Err(HashKvError::FutureRevision { revision, current_revision: current });
    }
    let finished = report.compaction.finished.unwrap_or(-1);
    if compact_revision < finished {
        return Err(HashKvError::Compacted { revision: compact_revision, compact_revision: finished });
    }
    if revision < compact_revision {
        return Err(HashKvError::Compacted { revision, compact_revision });
    }
    Ok(report.hash_kv)
}

impl HashKvAt {
    /// Which rows that means in a file of this compaction.
    pub(crate) fn cut(self, compaction: Compaction) -> Cut {
        let revision = if self.revision == 0 { i64::MAX } else { self.revision };
        // A compaction that was begun counts at once: etcd resumes it before it answers.
        let own = compaction.scheduled.max(compaction.finished).unwrap_or(-1);
        Cut { revision, compacted: self.compact_revision.unwrap_or(own) }
    }
}

/// The hash of the rows that count, once all of them were walked and are in order. Where only a part of them counts, it
/// takes another walk, as the last row decides about the first.
pub(crate) fn compute(walk: &mut Walk<'_>, bucket: &KeyBucket, rows: &Rows) -> Result<u32, VerifyError> {
    let mut hash = crc32c(b"key");
    if rows.all_count() {
        return Ok(append(hash, without(bucket.before, bucket.after, bucket.bytes), bucket.bytes));
    }
    let mut tree = Tree::default();
    let mut ordinal = 0;
    tree.enter(walk, bucket.root)?;
    while let Some(item) = tree.next(walk)? {
        let Some(row) = RowKey::parse(tree.key()) else { continue };
        if row.revision > rows.cut().revision {
            return Ok(hash);
        }
        if rows.counts(row, ordinal) {
            hash = crc32c_append(hash, tree.key());
            tree.value(walk, item.value, |piece| {
                hash = crc32c_append(hash, piece);
                Ok(())
            })?;
        }
        ordinal += 1;
    }
    if ordinal == rows.len() && walk.findings.is_empty() {
        Ok(hash)
    } else {
        Err(VerifyError::Io(io::Error::other("the file changed while it was read")))
    }
}

/// The CRC of the last `bytes` of a string, from the CRC before them and that after them.
fn without(before: u32, after: u32, bytes: u64) -> u32 {
    append(before, 0, bytes) ^ after
}

/// The CRC of two strings one after the other; the second is so many bytes long.
fn append(mut first: u32, second: u32, bytes: u64) -> u32 {
    const STEP: u64 = 1 << 30;
    for _ in 0..bytes / STEP {
        first = crc32c_combine(first, 0, STEP as usize);
    }
    crc32c_combine(first, 0, (bytes % STEP) as usize) ^ second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_crc() {
        let (start, rows) = (&b"alarmkey"[..], &b"some rows"[..]);
        let (before, after) = (crc32c(start), crc32c_append(crc32c(start), rows));
        let bytes = rows.len() as u64;
        assert_eq!(without(before, after, bytes), crc32c(rows));
        assert_eq!(append(crc32c(b"key"), crc32c(rows), bytes), crc32c(b"keysome rows"));
        assert_eq!((without(before, before, 0), append(before, 0, 0)), (0, before));
        let whole_steps = (0..3).fold(before, |crc, _| crc32c_combine(crc, 0, 1 << 30));
        assert_eq!(append(before, 7, 3 << 30), whole_steps ^ 7);
    }
}
