//! Bucket `key` as a whole: its rows in order, which of them are in force, and which count for HashKV.

use std::ops::Range;

use crate::bits::Bits;
use crate::keys::{Change, KeyHasher};
use crate::row::{RowKey, RowValue};
use crate::standing::{Clerk, Mark};
use crate::{Finding, FindingKind};

/// Between which revisions HashKV looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The last revision.
    pub(crate) revision: i64,
    /// The history up to here counts as compacted; -1 for none.
    pub(crate) compacted: i64,
}

/// The ids of the leases that exist.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// Rising.
    pub(crate) ids: Vec<u64>,
    /// There are more than are kept.
    pub(crate) overflowed: bool,
}

impl Leases {
    /// How many are kept at most.
    pub(crate) const LIMIT: usize = 1 << 20;

    fn exists(&self, lease: i64) -> bool {
        self.overflowed || self.ids.binary_search(&lease.cast_unsigned()).is_ok()
    }
}

/// The rows so far.
#[derive(Debug)]
pub(crate) struct Rows {
    cut: Cut,
    leases: Leases,
    pub(crate) hasher: KeyHasher,
    clerk: Clerk,
    /// The next row's ordinal.
    next: u32,
    last: Option<RowKey>,
    /// The rows are past the compacted revision, and past the cut.
    compacted: bool,
    closed: bool,
    /// Rows that have a lease, and those whose lease does not exist.
    leased: Bits,
    orphaned: Bits,
}

/// What all rows together tell.
#[derive(Debug)]
pub(crate) struct Summary {
    /// Revision of the last row; 0 without one.
    pub(crate) revision: i64,
    pub(crate) live_keys: u64,
    pub(crate) keys_with_lease: u64,
    /// Live keys whose lease does not exist.
    pub(crate) orphans: u64,
    pub(crate) leases_unchecked: bool,
}

impl Rows {
    pub(crate) fn new(cut: Cut, leases: Leases, pages: u64) -> Self {
        Self {
            cut,
            leases,
            hasher: KeyHasher::new(),
            clerk: Clerk::new(pages),
            next: 0,
            last: None,
            compacted: false,
            closed: false,
            leased: Bits::default(),
            orphaned: Bits::default(),
        }
    }

    /// Whether there is no number left for another row: over 4 billion, a database of hundreds of gigabytes.
    pub(crate) fn is_full(&self) -> bool {
        self.next == u32::MAX
    }

    /// Takes the next row, whose value is complete.
    ///
    /// # Errors
    /// What is wrong with it; it is left out.
    pub(crate) fn push(&mut self, key: &[u8], value: &RowValue, value_bytes: u64) -> Result<(), Finding> {
        let Some(row) = RowKey::parse(key) else {
            return Err(Finding::new(FindingKind::Record, "the row's key is no revision"));
        };
        value.check(row, value_bytes)?;
        // The same key once more is for the walk to find: keys rise strictly.
        if self.last.is_some_and(|last| RowKey { tombstone: row.tombstone, ..last } == row && last != row) {
            return Err(Finding::new(FindingKind::Revision, "the row before it has the same revision"));
        }
        self.last = Some(row);
        if row.revision > self.cut.compacted && !self.compacted {
            self.compact();
        }
        if row.revision > self.cut.revision && !self.closed {
            self.close();
        }
        let ordinal = self.next;
        self.next += 1;
        if let Some(lease) = value.lease() {
            self.leased.insert(ordinal);
            if !self.leases.exists(lease) {
                self.orphaned.insert(ordinal);
            }
        }
        self.clerk.push(Change::new(value.key(), ordinal, row.tombstone));
        Ok(())
    }

    fn compact(&mut self) {
        self.compacted = true;
        self.clerk.mark(Mark::Compacted);
    }

    fn close(&mut self) {
        if !self.compacted {
            self.compact();
        }
        self.closed = true;
        self.clerk.mark(Mark::Closed);
    }

    /// To be called after the last row.
    pub(crate) fn finish(&mut self) -> Summary {
        if !self.closed {
            self.close();
        }
        self.clerk.finish();
        let live = &self.clerk.standing().live;
        let count = |bits: &Bits| live.rows().filter(|&row| bits.contains(row)).count() as u64;
        let orphans = if self.orphaned.is_empty() { 0 } else { count(&self.orphaned) };
        let keys_with_lease = if self.leased.is_empty() { 0 } else { count(&self.leased) };
        Summary {
            revision: self.last.map_or(0, |row| row.revision),
            live_keys: live.len(),
            keys_with_lease,
            orphans,
            leases_unchecked: self.leases.overflowed && !self.leased.is_empty(),
        }
    }

    /// Whether a row counts for HashKV; to be asked after [`finish`](Self::finish).
    pub(crate) fn counts(&self, row: u32) -> bool {
        let standing = self.clerk.standing();
        row < standing.limit && !standing.dropped.contains(row)
    }

    /// Whether all rows of a range do.
    pub(crate) fn all_count(&self, rows: Range<u32>) -> bool {
        let standing = self.clerk.standing();
        rows.end <= standing.limit && !standing.dropped.any(rows)
    }

    /// The newest row of each live key, in no order; to be asked after [`finish`](Self::finish).
    pub(crate) fn newest(&self) -> impl Iterator<Item = u32> {
        self.clerk.standing().live.rows()
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> u32 {
        self.next
    }
}
