//! Ranges of etcd's keys at one revision, read a piece at a time. However much is stored, a few megabytes of it are
//! here at once.

use etcd_client::{GetOptions, KeyValue, SortOrder, SortTarget};

use super::{respond::Failure, store::Store};

/// How many bytes a piece is to have. A larger one costs memory; a smaller one costs time, as etcd counts the rest of the
/// range for each.
const PIECE: usize = 8 << 20;
/// How many rows the first piece has, before anything is known of their size.
const FIRST: i64 = 64;

/// What is left of a range.
pub(super) struct Pieces {
    store: Store,
    /// The first key to be read; none once the range has been read.
    start: Option<Vec<u8>>,
    end: Vec<u8>,
    /// Of the whole range; 0 until the first piece has been read, if it is to be the current one.
    revision: i64,
    rows: i64,
}

/// Consecutive rows of a range.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) rows: Vec<KeyValue>,
    /// How many rows the range has behind these.
    pub(super) remaining: i64,
}

impl Pieces {
    /// `[start, end of prefix)`; a prefix ends in `/`. `revision` 0 is now.
    pub(super) fn new(store: Store, prefix: &str, start: &str, revision: i64) -> Self {
        let mut end = prefix.as_bytes().to_vec();
        // The first key after those of the prefix is the one ending in '0'.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        Self { store, start: Some(start.as_bytes().to_vec()), end, revision, rows: FIRST }
    }

    /// The next piece, of at most so many rows; nothing once all have been read.
    pub(super) async fn next(&mut self, at_most: Option<usize>) -> Result<Option<Piece>, Failure> {
        let Some(start) = self.start.take() else { return Ok(None) };
        let at_most = at_most.and_then(|most| i64::try_from(most).ok()).unwrap_or(i64::MAX);
        let mut answer = loop {
            let rows = self.rows.min(at_most);
            let options = GetOptions::new()
                .with_range(self.end.clone())
                .with_limit(rows)
                .with_revision(self.revision)
                .with_sort(SortTarget::Key, SortOrder::Ascend);
            match self.store.read_within(start.clone(), options).await? {
                Some(answer) => break answer,
                None if rows > 1 => self.rows = rows / 2,
                None => return Err(Failure::internal("an object is larger than etcd lets it be")),
            }
        };
        if self.revision == 0 {
            self.revision = answer.header().map_or(0, |header| header.revision());
        }
        let rows = answer.take_kvs();
        let bytes: usize = rows.iter().map(|row| row.key().len() + row.value().len()).sum();
        let average = (bytes / rows.len().max(1)).max(1);
        self.rows = i64::try_from(PIECE / average).unwrap_or(i64::MAX).clamp(1, self.rows.saturating_mul(2));
        let remaining = answer.count() - i64::try_from(rows.len()).unwrap_or(0);
        if let Some(last) = rows.last().filter(|_| remaining > 0) {
            self.start = Some([last.key(), b"\0"].concat());
        }
        Ok(Some(Piece { rows, remaining }))
    }

    /// The revision of the whole range, once a piece has been read.
    pub(super) fn revision(&self) -> i64 {
        self.revision
    }
}
