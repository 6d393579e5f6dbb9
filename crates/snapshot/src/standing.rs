//! Which rows are their key's newest, and which of them drop out of HashKV: what becomes of each row is known only once later ones
//! were seen. Of a large file a thread of its own works that out, a batch of rows behind the walk.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::bits::Bits;
use crate::keys::{Change, LiveKeys};

/// Rows that are handed over at once.
const BATCH: usize = 4096;
/// Batches that wait for the thread.
const QUEUE: usize = 4;

/// The rows so far.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) live: LiveKeys,
    /// How many rows there are.
    rows: u32,
    /// How many rows, from the first on, are up to the compacted revision, once the rows are past it.
    compacted: Option<u32>,
    /// Of these rows: the deletions, and those that are not their key's newest at the cut.
    pub(crate) dropped: Bits,
    /// The same as of the compacted revision, once the rows are past it: what the compaction removes. Some versions of etcd
    /// keep the deletions at that very revision, but no hash counts them.
    removed: Bits,
    /// The rows are past the cut: those before `limit` are up to it.
    closed: bool,
    pub(crate) limit: u32,
}

/// A place between two rows that changes what the next ones mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// All compacted rows are there.
    Compacted,
    /// All rows up to the cut are there. Compacted rows come first.
    Closed,
}

impl Standing {
    /// For the keys of a file of so many pages.
    fn new(pages: u64) -> Self {
        Self { live: LiveKeys::new(pages), ..Self::default() }
    }

    fn take(&mut self, (changes, mark): Step) {
        for change in changes {
            self.push(change);
        }
        match mark {
            None => {}
            Some(Mark::Compacted) => self.compact(),
            Some(Mark::Closed) => self.close(),
        }
    }

    fn push(&mut self, change: Change) {
        self.rows = self.rows.saturating_add(1);
        if self.compacted.is_none() && change.is_tombstone() {
            self.dropped.insert(change.row());
        }
        let (limit, dropped) = (self.drops_below(), &mut self.dropped);
        self.live.push(change, |old| {
            if old < limit {
                dropped.insert(old);
            }
        });
    }

    /// Which superseded rows drop out now.
    fn drops_below(&self) -> u32 {
        if self.closed { 0 } else { self.compacted.unwrap_or(u32::MAX) }
    }

    /// Marks what waits among the compacted rows.
    fn drop_superseded(&mut self) {
        let (limit, dropped) = (self.drops_below(), &mut self.dropped);
        self.live.flush(|old| {
            if old < limit {
                dropped.insert(old);
            }
        });
    }

    fn compact(&mut self) {
        self.drop_superseded();
        self.compacted = Some(self.rows);
        self.removed = self.dropped.clone();
    }

    fn close(&mut self) {
        self.drop_superseded();
        // Where every key is deleted, etcd takes none of the compacted rows for superseded, but for those that are gone.
        if self.live.len() == 0 {
            self.dropped = std::mem::take(&mut self.removed);
        }
        self.limit = self.rows;
        self.closed = true;
    }
}

/// Changes, and what comes behind them.
type Step = (Vec<Change>, Option<Mark>);

/// Has the rows' standing worked out while the next ones are read.
#[derive(Debug)]
pub(crate) struct Clerk {
    batch: Vec<Change>,
    /// Empty while the thread has it.
    standing: Standing,
    thread: Option<(SyncSender<Step>, JoinHandle<Standing>)>,
}

impl Clerk {
    /// For the rows of a file of so many pages.
    pub(crate) fn new(pages: u64) -> Self {
        Self { batch: Vec::new(), standing: Standing::new(pages), thread: None }
    }

    /// The next row; rows rise by one.
    pub(crate) fn push(&mut self, change: Change) {
        self.batch.push(change);
        if self.batch.len() == BATCH {
            self.hand_over(None);
        }
    }

    /// The next row is behind this mark; each comes once at most.
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.hand_over(Some(mark));
    }

    fn hand_over(&mut self, mark: Option<Mark>) {
        // A small file needs no thread; and where the system has none to give, it takes longer.
        if self.thread.is_none() && self.batch.len() == BATCH {
            self.thread = self.start();
        }
        let step = (std::mem::take(&mut self.batch), mark);
        match &self.thread {
            Some((steps, _)) => {
                // It ends early only by a panic, which joining it passes on.
                let _ = steps.send(step);
            }
            None => self.standing.take(step),
        }
    }

    fn start(&mut self) -> Option<(SyncSender<Step>, JoinHandle<Standing>)> {
        let (steps, to_take) = sync_channel::<Step>(QUEUE);
        let (give, given) = sync_channel::<Standing>(1);
        let work = move || {
            let mut standing = given.recv().unwrap_or_default();
            to_take.into_iter().for_each(|step| standing.take(step));
            standing
        };
        let handle = std::thread::Builder::new().name("keys".to_owned()).spawn(work).ok()?;
        match give.send(std::mem::take(&mut self.standing)) {
            Ok(()) => Some((steps, handle)),
            Err(back) => {
                self.standing = back.0;
                None
            }
        }
    }

    /// All rows are there.
    pub(crate) fn finish(&mut self) {
        self.hand_over(None);
        if let Some((steps, handle)) = self.thread.take() {
            drop(steps);
            self.standing = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        self.standing.live.flush(|_| {});
    }

    /// As of [`finish`](Self::finish).
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;
    use crate::keys::KeyHasher;

    /// Rows in force at the end, and those before `compacted` that have dropped out before `closed`.
    fn expected(rows: &[(u32, bool)], compacted: usize, closed: usize) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let (mut newest, mut dropped) = (HashMap::new(), BTreeSet::new());
        for (row, &(key, tombstone)) in rows.iter().enumerate() {
            let before = newest.remove(&key);
            dropped.extend(before.filter(|&before| row < closed && before < compacted));
            if tombstone {
                dropped.extend((row < compacted).then_some(row));
            } else {
                newest.insert(key, row);
            }
        }
        let numbers = |rows: BTreeSet<usize>| rows.into_iter().map(|row| row as u32).collect();
        (numbers(newest.into_values().collect()), numbers(dropped))
    }

    #[test]
    fn with_a_thread_and_without() {
        let hasher = KeyHasher::new();
        for many in [0, 1, 100, BATCH, BATCH + 1, 5 * BATCH + 3] {
            let rows: Vec<_> =
                (0..many as u32).map(|row| (row.wrapping_mul(2_654_435_761) % 900, row % 7 == 3)).collect();
            for (compacted, closed) in [(0, 0), (0, many), (many / 2, many), (many / 3, many / 2), (many, many)] {
                let mut clerk = Clerk::new(1000);
                for (row, &(key, tombstone)) in rows.iter().enumerate() {
                    if row == compacted {
                        clerk.mark(Mark::Compacted);
                    }
                    if row == closed {
                        clerk.mark(Mark::Closed);
                    }
                    clerk.push(Change::new(hasher.start().hash(&key.to_le_bytes()), row as u32, tombstone));
                }
                if compacted == many {
                    clerk.mark(Mark::Compacted);
                }
                if closed == many {
                    clerk.mark(Mark::Closed);
                }
                assert!(if many < BATCH {
                    clerk.thread.is_none()
                } else {
                    many <= 2 * BATCH || clerk.thread.is_some()
                });
                clerk.finish();
                let standing = clerk.standing();
                let live: BTreeSet<u32> = standing.live.rows().collect();
                let dropped = (0..many as u32).filter(|&row| standing.dropped.contains(row)).collect::<BTreeSet<_>>();
                let at = format!("{many} rows, {compacted}, {closed}");
                assert_eq!((live.len() as u64, standing.limit), (standing.live.len(), closed as u32), "{at}");
                // Without a key that is in force at the cut, other rules hold.
                if closed > 1 {
                    assert_eq!((live, dropped), expected(&rows, compacted, closed), "{at}");
                }
            }
        }
    }
}
