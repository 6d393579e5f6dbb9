//! The stream of a list of keys: one record behind the other, in byte order of the keys.
//!
//! ```text
//!  0             8          12
//!  +-------------+----------+-------------+
//!  | mod revision| length   | key         |   big-endian i64, u32
//!  +-------------+----------+-------------+
//! ```

use crate::WireError;

/// Longest key. etcd takes no request beyond 1.5 MiB unless it is told to (etcd server/embed/config.go @ v3.6.14).
pub const MAX_KEY: usize = 16 << 20;

/// Most bytes of a list of keys. The largest Kubernetes clusters have a few million objects, with keys of about 100 bytes.
pub const MAX_KEYS_BYTES: u64 = 1 << 30;
/// Most keys of a list.
pub const MAX_KEYS: u64 = 10_000_000;

const HEADER: usize = 12;

/// Most bytes of the list of keys of a database of this size. Each record is shorter than the row that it is about, and the database may
/// have grown since its size was told.
pub fn keys_bound(database_bytes: u64) -> u64 {
    database_bytes.saturating_mul(2).saturating_add(64 << 20).min(MAX_KEYS_BYTES)
}

/// A key of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRecord<'a> {
    /// The revision that last changed it; in a list of changes, 0 where the key was deleted.
    pub mod_revision: i64,
    /// The key.
    pub key: &'a [u8],
}

impl KeyRecord<'_> {
    /// Appends the record to a stream.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for a key longer than [`MAX_KEY`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let length = u32::try_from(self.key.len()).ok().filter(|&length| length as usize <= MAX_KEY);
        let length = length.ok_or_else(|| too_long(self.key.len()))?;
        out.extend_from_slice(&self.mod_revision.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(self.key);
        Ok(())
    }
}

/// Takes a stream of records apart, whatever pieces it comes in.
#[derive(Debug, Default)]
pub struct KeyRecords {
    /// The beginning of a record that goes on in the next piece.
    rest: Vec<u8>,
    /// The key of the last record.
    last: Option<Vec<u8>>,
    count: u64,
    /// Whether a key may come again, and in any order.
    changes: bool,
}

impl KeyRecords {
    /// Before the first piece.
    pub fn new() -> KeyRecords {
        KeyRecords::default()
    }

    /// Before the first piece of a list of changes: a key comes as often as it was changed, in the order of revisions.
    pub fn of_changes() -> KeyRecords {
        KeyRecords { changes: true, ..KeyRecords::default() }
    }

    /// Gives the records that a piece completes to `take`.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for a key longer than [`MAX_KEY`], or, except in a list of changes, one that is not above the last; [`WireError::Bound`] for more than
    /// [`MAX_KEYS`]. The stream is then broken.
    pub fn push(&mut self, piece: &[u8], mut take: impl FnMut(KeyRecord<'_>)) -> Result<(), WireError> {
        let mut buffer = std::mem::take(&mut self.rest);
        buffer.extend_from_slice(piece);
        let mut left = buffer.as_slice();
        let last = self.last.take();
        let mut above = last.as_deref();
        while let Some((record, after)) = split(left)? {
            if !self.changes && above.is_some_and(|above| above >= record.key) {
                return Err(WireError::malformed("keys", "a key is not above the one before it"));
            }
            self.count += 1;
            if self.count > MAX_KEYS {
                return Err(WireError::Bound { frame: "data", what: "keys", limit: MAX_KEYS });
            }
            take(record);
            (above, left) = (Some(record.key), after);
        }
        (self.last, self.rest) = (above.map(<[u8]>::to_vec), left.to_vec());
        Ok(())
    }

    /// Checks that the stream did not end in the middle of a record.
    ///
    /// # Errors
    /// [`WireError::Malformed`].
    pub fn finish(self) -> Result<(), WireError> {
        let bytes = self.rest.len();
        if bytes == 0 {
            Ok(())
        } else {
            Err(WireError::malformed("keys", format!("{bytes} bytes of a record at the end")))
        }
    }
}

/// The first record and what is behind it; `None` if it is not all there.
fn split(bytes: &[u8]) -> Result<Option<(KeyRecord<'_>, &[u8])>, WireError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = word(8) as usize;
    if length > MAX_KEY {
        return Err(too_long(length));
    }
    let mod_revision = (u64::from(word(0)) << 32 | u64::from(word(4))).cast_signed();
    Ok(rest.split_at_checked(length).map(|(key, after)| (KeyRecord { mod_revision, key }, after)))
}

fn too_long(length: usize) -> WireError {
    WireError::malformed("keys", format!("a key of {length} bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apart(stream: &[u8], size: usize) -> Result<Vec<(i64, Vec<u8>)>, WireError> {
        let (mut records, mut found) = (KeyRecords::new(), Vec::new());
        for piece in stream.chunks(size) {
            records.push(piece, |record| found.push((record.mod_revision, record.key.to_vec())))?;
        }
        records.finish()?;
        Ok(found)
    }

    fn stream(keys: &[(i64, Vec<u8>)]) -> Vec<u8> {
        let mut stream = Vec::new();
        for (mod_revision, key) in keys {
            KeyRecord { mod_revision: *mod_revision, key }.encode(&mut stream).expect("a short key");
        }
        stream
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_any_pieces(
            keys in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..40), any::<i64>(), 0..20),
            size in 1..100_usize,
        ) {
            let keys: Vec<(i64, Vec<u8>)> = keys.into_iter().map(|(key, revision)| (revision, key)).collect();
            let stream = stream(&keys);
            prop_assert_eq!(apart(&stream, size).expect("whole"), keys);
            // A record that is cut is noticed.
            if !stream.is_empty() {
                prop_assert!(apart(&stream[..stream.len() - 1], size).is_err());
            }
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_its_bytes() {
        let stream = [&1_i64.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
        assert!(matches!(apart(&stream, 5), Err(WireError::Malformed { .. })));
        let long = vec![0; MAX_KEY + 1];
        assert!(KeyRecord { mod_revision: 1, key: &long }.encode(&mut Vec::new()).is_err());
    }

    #[test]
    fn keys_must_rise_in_whatever_pieces_they_come() {
        for keys in [["b", "b"], ["b", "a"], ["b", ""]] {
            let stream = stream(&keys.map(|key| (1, key.as_bytes().to_vec())));
            for size in [1, 13, 100] {
                assert!(matches!(apart(&stream, size), Err(WireError::Malformed { .. })), "{keys:?}");
            }
        }
    }

    #[test]
    fn a_list_of_changes_has_a_key_as_often_as_it_was_changed() {
        let all = [(2, b"b".to_vec()), (3, b"a".to_vec()), (0, b"b".to_vec())];
        for size in [1, 13, 100] {
            let (mut records, mut found) = (KeyRecords::of_changes(), Vec::new());
            for piece in stream(&all).chunks(size) {
                records.push(piece, |record| found.push((record.mod_revision, record.key.to_vec()))).expect("in order");
            }
            records.finish().expect("whole");
            assert_eq!(found, all);
        }
    }

    #[test]
    fn there_is_an_end_to_how_many_keys_there_can_be() {
        let mut records = KeyRecords { count: MAX_KEYS - 1, ..KeyRecords::default() };
        let both = stream(&[(1, vec![1]), (1, vec![2])]);
        let mut taken = 0;
        let refused = records.push(&both, |_| taken += 1).expect_err("one too many");
        assert!(matches!(refused, WireError::Bound { limit: MAX_KEYS, .. }) && taken == 1, "{refused:?}");

        assert_eq!(keys_bound(0), 64 << 20);
        assert_eq!(keys_bound(100 << 20), 264 << 20);
        assert_eq!(keys_bound(u64::MAX), MAX_KEYS_BYTES);
    }
}
