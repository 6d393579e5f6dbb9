//! What must be known before the rows are walked, though it stands behind them: how far they are compacted, and which
//! leases exist. Damage in here is for the main walk to find.

use crate::VerifyError;
use crate::bytes::be_u64;
use crate::figures::bucket_root;
use crate::report::Compaction;
use crate::rows::Leases;
use crate::settings::mark;
use crate::tree::{Entry, Root, Tree, Walk};
use crate::window::WINDOW_BYTES;

/// Read ahead of the walk.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    pub(crate) compaction: Compaction,
    pub(crate) leases: Leases,
}

impl Ahead {
    /// Walks the buckets `lease` and `meta`; `walk` is one of its own.
    pub(crate) fn read(walk: &mut Walk<'_>, root: u64) -> Result<Self, VerifyError> {
        let mut ahead = Self::default();
        let (mut buckets, mut items) = (Tree::default(), Tree::default());
        buckets.enter(walk, Root::Page(root))?;
        while let Some(entry) = buckets.next(walk)? {
            let is_meta = match buckets.key() {
                b"lease" => false,
                b"meta" => true,
                _ => continue,
            };
            let Some(root) = bucket_root(walk, &mut buckets, &entry)? else { continue };
            items.enter(walk, root)?;
            while let Some(item) = items.next(walk)? {
                match items.key() {
                    key if !is_meta => ahead.leases.push(key),
                    b"scheduledCompactRev" => ahead.compaction.scheduled = read_mark(walk, &mut items, &item)?,
                    b"finishedCompactRev" => ahead.compaction.finished = read_mark(walk, &mut items, &item)?,
                    _ => {}
                }
            }
        }
        Ok(ahead)
    }
}

impl Leases {
    fn push(&mut self, key: &[u8]) {
        let Some(id) = be_u64(key, 0) else { return };
        if self.ids.len() < Self::LIMIT {
            self.ids.push(id);
        } else {
            self.overflowed = true;
        }
    }
}

fn read_mark(walk: &Walk<'_>, items: &mut Tree, item: &Entry) -> Result<Option<i64>, VerifyError> {
    let mut found = None;
    if item.value.length <= WINDOW_BYTES as u64 {
        items.value(walk, item.value, |piece| {
            found = mark(piece);
            Ok(())
        })?;
    }
    Ok(found)
}
