//! Which row is the newest of each user key, in some 14 bytes a live key.
//!
//! User keys have no bound that would let them stay in memory. What stands for a key is 72 bits of a hash under a secret of
//! this run, so that nobody can choose keys that meet: 64 bits as a fingerprint, 8 as the number of its shard. A shard is
//! two sorted arrays, fingerprints and the rows' ordinals. Changes wait until there are enough to merge them in one pass, so
//! memory is not walked at random.

use std::hash::{BuildHasher, Hasher, RandomState};

use siphasher::sip128::{Hash128, Hasher128, SipHasher13};

const SHARD_BITS: u32 = 8;
/// A shard takes its changes in when there are so many, or a sixteenth of its keys: all that wait take 8 MiB, or a byte a key.
const LEAST_PENDING: usize = 2048;
const PENDING_PART: usize = 16;

/// Makes the hashes of user keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyHasher(u64, u64);

/// A user key, by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash {
    shard: u8,
    fingerprint: u64,
}

/// A user key that comes in pieces.
#[derive(Debug)]
pub(crate) struct KeyBytes(SipHasher13);

impl KeyHasher {
    /// With a secret that is new each time.
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(0), random.hash_one(1))
    }

    pub(crate) fn start(self) -> KeyBytes {
        KeyBytes(SipHasher13::new_with_keys(self.0, self.1))
    }
}

impl KeyBytes {
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    pub(crate) fn finish(&self) -> KeyHash {
        KeyHash::of(self.0.finish128())
    }

    /// The same of a key that comes in one piece, instead of feeding it.
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash::of(self.0.hash(key))
    }
}

impl KeyHash {
    fn of(hash: Hash128) -> Self {
        let shard = (hash.h2 >> (u64::BITS - SHARD_BITS)) as u8;
        Self { shard, fingerprint: hash.h1 }
    }
}

/// The newest row of each key that is not deleted, by the rows' ordinals.
#[derive(Debug, Default)]
pub(crate) struct LiveKeys {
    shards: Vec<Shard>,
    merged: Shard,
    live: u64,
}

#[derive(Debug, Default)]
struct Shard {
    /// Rising.
    fingerprints: Vec<u64>,
    /// The newest row of each.
    rows: Vec<u32>,
    pending: Vec<Change>,
}

/// A row that a key got: in one number, which is fast to sort, the fingerprint, then the row, then the shard and whether that is a
/// deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change(u128);

impl Change {
    pub(crate) fn new(key: KeyHash, row: u32, tombstone: bool) -> Self {
        let rest = u128::from(row) << 32 | u128::from(key.shard) << 1 | u128::from(tombstone);
        Self(u128::from(key.fingerprint) << 64 | rest)
    }

    fn fingerprint(self) -> u64 {
        (self.0 >> 64) as u64
    }

    pub(crate) fn row(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn shard(self) -> usize {
        (self.0 as u32 >> 1) as usize
    }

    pub(crate) fn is_tombstone(self) -> bool {
        self.0 & 1 != 0
    }
}

impl LiveKeys {
    /// For the keys of a file of so many pages: a small one needs few shards.
    pub(crate) fn new(pages: u64) -> Self {
        let shards = pages.clamp(1, 1 << SHARD_BITS).next_power_of_two() as usize;
        Self {
            shards: std::iter::repeat_with(Shard::default).take(shards).collect(),
            merged: Shard::default(),
            live: 0,
        }
    }

    /// The next row of a key; rows rise. `superseded` hears, now or later, of a row that is no longer its key's newest.
    pub(crate) fn push(&mut self, change: Change, superseded: impl FnMut(u32)) {
        let number = change.shard() & self.shards.len().saturating_sub(1);
        let Some(shard) = self.shards.get_mut(number) else { return };
        shard.pending.push(change);
        if shard.pending.len() >= LEAST_PENDING.max(shard.rows.len() / PENDING_PART) {
            self.live = self.live.wrapping_add_signed(shard.merge(&mut self.merged, superseded));
        }
    }

    /// Takes in what waits: all that `superseded` has to hear about the rows so far, it has heard then.
    pub(crate) fn flush(&mut self, mut superseded: impl FnMut(u32)) {
        for shard in &mut self.shards {
            self.live = self.live.wrapping_add_signed(shard.merge(&mut self.merged, &mut superseded));
        }
    }

    /// How many keys there are, as of the last [`flush`](Self::flush).
    pub(crate) fn len(&self) -> u64 {
        self.live
    }

    /// The newest row of each key, in no order, as of the last [`flush`](Self::flush).
    pub(crate) fn rows(&self) -> impl Iterator<Item = u32> {
        self.shards.iter().flat_map(|shard| shard.rows.iter().copied())
    }
}

impl Shard {
    /// Takes in the changes that wait, and returns by how much the number of keys has changed. What was there before goes into
    /// `merged`, whose memory serves the next shard.
    fn merge(&mut self, merged: &mut Shard, mut superseded: impl FnMut(u32)) -> i64 {
        self.pending.sort_unstable();
        merged.start(self.rows.len() + self.pending.len());
        let mut old = self.fingerprints.iter().copied().zip(self.rows.iter().copied()).peekable();
        for changes in self.pending.chunk_by(|a, b| a.fingerprint() == b.fingerprint()) {
            let Some(fingerprint) = changes.first().map(|change| change.fingerprint()) else { continue };
            while let Some((smaller, row)) = old.next_if(|&(other, _)| other < fingerprint) {
                merged.push(smaller, row);
            }
            let mut newest = old.next_if(|&(other, _)| other == fingerprint).map(|(_, row)| row);
            for change in changes {
                newest.into_iter().for_each(&mut superseded);
                newest = (!change.is_tombstone()).then_some(change.row());
            }
            if let Some(row) = newest {
                merged.push(fingerprint, row);
            }
        }
        old.for_each(|(fingerprint, row)| merged.push(fingerprint, row));
        self.pending.clear();
        std::mem::swap(&mut self.fingerprints, &mut merged.fingerprints);
        std::mem::swap(&mut self.rows, &mut merged.rows);
        self.rows.len() as i64 - merged.rows.len() as i64
    }

    /// Makes room for so many keys. A vector of its own doubles when it grows; this one gets an eighth more.
    fn start(&mut self, keys: usize) {
        self.fingerprints.clear();
        self.rows.clear();
        if self.rows.capacity() < keys {
            let room = keys + keys / 8;
            (self.fingerprints, self.rows) = (Vec::with_capacity(room), Vec::with_capacity(room));
        }
    }

    fn push(&mut self, fingerprint: u64, row: u32) {
        self.fingerprints.push(fingerprint);
        self.rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    fn hash(hasher: KeyHasher, key: &[u8]) -> KeyHash {
        let mut bytes = hasher.start();
        key.chunks(3).for_each(|piece| bytes.feed(piece));
        bytes.finish()
    }

    #[test]
    fn a_secret_for_each_run() {
        let (one, other) = (KeyHasher::new(), KeyHasher::new());
        assert_eq!(hash(one, b"/registry/a"), hash(one, b"/registry/a"));
        assert_ne!(hash(one, b"/registry/a"), hash(one, b"/registry/b"));
        assert_ne!(hash(one, b"/registry/a"), hash(other, b"/registry/a"));
    }

    #[test]
    fn memory_of_many_keys() {
        let (hasher, mut keys) = (KeyHasher::new(), LiveKeys::new(1 << 20));
        let many = 1_u32 << 20;
        for row in 0..many {
            keys.push(Change::new(hash(hasher, &row.to_le_bytes()), row, false), |_| {});
        }
        keys.flush(|_| {});
        assert_eq!(keys.len(), u64::from(many));
        let bytes: usize = keys
            .shards
            .iter()
            .map(|shard| shard.fingerprints.capacity() * 8 + shard.rows.capacity() * 4 + shard.pending.capacity() * 16)
            .sum();
        // The shards themselves and what waits in them are a part that does not grow.
        assert!(bytes < many as usize * 14 + (1 << SHARD_BITS) * LEAST_PENDING * size_of::<Change>(), "{bytes}");
    }

    proptest! {
        #[test]
        fn as_a_map_does(changes in prop::collection::vec((0..40_u16, prop::bool::weighted(0.3)), 0..4000)) {
            let (hasher, mut keys) = (KeyHasher::new(), LiveKeys::new(5));
            let (mut map, mut gone, mut heard) = (HashMap::new(), BTreeSet::new(), BTreeSet::new());
            // All in one shard, so that it merges again and again.
            let one_shard = |key: u16| KeyHash { shard: 7, ..hash(hasher, &key.to_le_bytes()) };
            for (row, &(key, tombstone)) in (0..).zip(&changes) {
                keys.push(Change::new(one_shard(key), row, tombstone), |row| assert!(heard.insert(row)));
                let before = if tombstone { map.remove(&key) } else { map.insert(key, row) };
                gone.extend(before);
            }
            keys.flush(|row| assert!(heard.insert(row)));
            prop_assert_eq!(keys.len(), map.len() as u64);
            prop_assert_eq!(heard, gone);
            prop_assert_eq!(keys.rows().collect::<BTreeSet<_>>(), map.into_values().collect::<BTreeSet<_>>());
        }
    }
}
