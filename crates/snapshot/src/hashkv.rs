//! HashKV, the hash by which etcd's members compare their key spaces, recomputed from a file.
//!
//! Read from etcd server/storage/mvcc/hash.go, kvstore.go and key_index.go @ v3.6.14, mvcc/kvstore.go @ v3.4.45.

use std::io;
use std::ops::Range;

use crc32c::crc32c;
use serde::Serialize;

use crate::crc::Splice;
use crate::report::Compaction;
use crate::rows::{Cut, Rows};
use crate::tree::{Root, Tree, Walk};
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

/// Bucket `key` as a walk found it.
#[derive(Debug)]
pub(crate) struct KeyBucket {
    pub(crate) root: Root,
    /// Its pages with rows.
    pub(crate) leaves: Leaves,
    /// Before the first row, and behind the last one.
    pub(crate) start: Place,
    pub(crate) end: Place,
}

/// A place between two rows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    /// How many rows are before it.
    pub(crate) row: u32,
    /// A CRC-32C that has run up to here.
    pub(crate) hash: u32,
    /// Bytes of the rows before it, keys and values.
    pub(crate) bytes: u64,
}

/// The pages with rows, in key order, and the place where each begins. Of a large file none are kept.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    last: u64,
    overflowed: bool,
    kept: Vec<(u64, Place)>,
}

impl Leaves {
    /// How many are kept at most: 24 MiB.
    const LIMIT: usize = 1 << 20;

    /// The next row is in this page.
    pub(crate) fn push(&mut self, page: u64, place: impl FnOnce() -> Place) {
        if page == self.last || self.overflowed {
            return;
        }
        self.last = page;
        if self.kept.len() == Self::LIMIT {
            self.overflowed = true;
            self.kept = Vec::new();
        } else {
            self.kept.push((page, place()));
        }
    }
}

/// The hash of the rows that count, once all of them were walked and are in order.
///
/// The last row decides whether the first one counts. But few rows ever drop out, and a hash that has run over all rows is
/// easily split: only pages of which some rows count and some do not are read again.
pub(crate) fn compute(walk: &mut Walk<'_>, bucket: &KeyBucket, rows: &Rows) -> Result<u32, VerifyError> {
    let splice = Splice::new();
    let mut again = Again { tree: Tree::default(), hash: crc32c(b"key"), rows };
    let stretches: &[(u64, Place)] = match bucket.root {
        Root::Page(_) if !bucket.leaves.kept.is_empty() => &bucket.leaves.kept,
        _ => {
            again.walk(walk, bucket.root, bucket.start.row..bucket.end.row)?;
            return Ok(again.hash);
        }
    };
    let ends = stretches.iter().skip(1).map(|(_, place)| *place).chain([bucket.end]);
    // Where the pages begin of which all rows count, and which are not in the hash yet.
    let mut pending = bucket.start;
    for (&(page, start), end) in stretches.iter().zip(ends) {
        if rows.all_count(start.row..end.row) {
            continue;
        }
        again.hash = splice.between(again.hash, pending, start);
        again.walk(walk, Root::Page(page), start.row..end.row)?;
        pending = end;
    }
    Ok(splice.between(again.hash, pending, bucket.end))
}

impl Splice {
    /// Appends the rows between two places.
    fn between(&self, hash: u32, from: Place, to: Place) -> u32 {
        let bytes = to.bytes.saturating_sub(from.bytes);
        self.append(hash, self.last(from.hash, to.hash, bytes), bytes)
    }
}

/// Rows that are read again.
struct Again<'a> {
    tree: Tree,
    hash: u32,
    rows: &'a Rows,
}

impl Again<'_> {
    /// Appends those that count, of a tree or a leaf of it with just these rows.
    fn walk(&mut self, walk: &mut Walk<'_>, root: Root, expected: Range<u32>) -> Result<(), VerifyError> {
        let mut row = expected.start;
        self.tree.enter(walk, root)?;
        self.tree.set_hash(self.hash);
        while let Some(item) = self.tree.next(walk)? {
            if self.rows.counts(row) {
                self.tree.value(walk, item.value, |_| Ok(()))?;
            } else {
                self.tree.leave_out();
            }
            row = row.saturating_add(1);
        }
        self.hash = self.tree.hash();
        if row == expected.end && walk.findings.is_empty() {
            Ok(())
        } else {
            Err(VerifyError::Io(io::Error::other("the file changed while it was read")))
        }
    }
}
