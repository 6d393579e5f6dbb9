//! The rows of bucket `key`: each is what one revision did to one user key.
//!
//! Read from etcd server/storage/mvcc/revision.go, kvstore_txn.go and api/mvccpb/kv.proto @ v3.6.14; the same since v3.4.

use crate::bytes::{be_u64, varint};
use crate::keys::{KeyBytes, KeyHash, KeyHasher};
use crate::protobuf::{Message, Parser};
use crate::{Finding, FindingKind};

/// The key of a row: revision, `_`, number of the change within it, and a mark on a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowKey {
    pub(crate) revision: i64,
    pub(crate) sub: i64,
    pub(crate) tombstone: bool,
}

impl RowKey {
    pub(crate) fn parse(key: &[u8]) -> Option<Self> {
        let tombstone = match (key.len(), key.get(17)) {
            (17, None) => false,
            (18, Some(b't')) => true,
            _ => return None,
        };
        let revision = i64::try_from(be_u64(key, 0)?).ok()?;
        let sub = i64::try_from(be_u64(key, 9)?).ok()?;
        (key.get(8) == Some(&b'_')).then_some(Self { revision, sub, tombstone })
    }
}

/// A row's value, which comes in pieces: mvccpb.KeyValue. A row without a value is the mark that a revision bump leaves; its
/// user key is empty.
#[derive(Debug)]
pub(crate) struct RowValue {
    parser: Parser,
    fields: KeyValue,
}

/// What is kept of the record's fields; those that are absent are 0.
#[derive(Debug)]
struct KeyValue {
    key: KeyBytes,
    /// The key's hash, if the key came in one piece.
    key_hash: Option<KeyHash>,
    key_bytes: Option<u64>,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
    /// There is more than a key, which is all that a deletion has.
    more: bool,
}

impl RowValue {
    pub(crate) fn new(hasher: KeyHasher) -> Self {
        let fields = KeyValue {
            key: hasher.start(),
            key_hash: None,
            key_bytes: None,
            create_revision: 0,
            mod_revision: 0,
            version: 0,
            lease: 0,
            more: false,
        };
        Self { parser: Parser::new(), fields }
    }

    pub(crate) fn feed(&mut self, piece: &[u8]) {
        if self.parser.is_complete()
            && self.fields.are_absent()
            && let Some(usual) = Usual::parse(piece)
        {
            self.fields.take(&usual);
        } else {
            self.parser.feed(piece, &mut self.fields);
        }
    }

    /// The user's key.
    pub(crate) fn key(&self) -> KeyHash {
        self.fields.key_hash.unwrap_or_else(|| self.fields.key.finish())
    }

    /// The lease that the key is bound to, if it is.
    pub(crate) fn lease(&self) -> Option<i64> {
        Some(self.fields.lease).filter(|&lease| lease != 0)
    }

    /// Compares the whole value with its row's key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self, row: RowKey, value_bytes: u64) -> Result<(), Finding> {
        let wrong = |kind, message: String| Err(Finding::new(kind, message));
        let KeyValue { key_bytes, create_revision, mod_revision, version, more, .. } = self.fields;
        if value_bytes == 0 && !row.tombstone {
            return Ok(());
        }
        if !self.parser.is_complete() || key_bytes.unwrap_or_default() == 0 {
            return wrong(FindingKind::Record, "the row's value is no record with a user's key".to_owned());
        }
        if row.tombstone {
            return if more {
                wrong(FindingKind::Record, "a deletion with more than the user's key".to_owned())
            } else {
                Ok(())
            };
        }
        if mod_revision != row.revision {
            let message = format!("mod revision {mod_revision} in a row of revision {}", row.revision);
            return wrong(FindingKind::Revision, message);
        }
        // A key is changed at most once in a revision, so that the first version alone was created by its own.
        let first = create_revision == mod_revision;
        if !(1..=mod_revision).contains(&create_revision) || version < 1 || first != (version == 1) {
            let message = format!("version {version}, created in {create_revision}, changed in {mod_revision}");
            return wrong(FindingKind::Revision, message);
        }
        Ok(())
    }
}

/// A record with its fields in the order in which etcd writes them, each once, and no others. It is read at once: what the parser would
/// say of it, field by field, is the same.
struct Usual<'a> {
    key: &'a [u8],
    create_revision: u64,
    mod_revision: u64,
    version: u64,
    lease: u64,
}

impl<'a> Usual<'a> {
    /// `None` for any other bytes, which may be a record all the same.
    #[inline]
    fn parse(record: &'a [u8]) -> Option<Self> {
        let (key, rest) = string(record, 1)?;
        let (create_revision, rest) = number(rest, 2)?;
        let (mod_revision, rest) = number(rest, 3)?;
        let (version, rest) = number(rest, 4)?;
        // What is 0 or empty is left out.
        let rest = string(rest, 5).map_or(rest, |(_, rest)| rest);
        let (lease, rest) = if rest.is_empty() { (0, rest) } else { number(rest, 6)? };
        let whole = rest.is_empty() && !key.is_empty();
        whole.then_some(Self { key, create_revision, mod_revision, version, lease })
    }
}

/// The bytes of this field at the start of a message, and what follows them.
#[inline]
fn string(message: &[u8], field: u8) -> Option<(&[u8], &[u8])> {
    let rest = message.strip_prefix(&[field << 3 | 2])?;
    let (length, taken) = varint(rest)?;
    rest.get(taken..)?.split_at_checked(usize::try_from(length).ok()?)
}

/// The number of this field at the start of a message, and what follows it.
#[inline]
fn number(message: &[u8], field: u8) -> Option<(u64, &[u8])> {
    let rest = message.strip_prefix(&[field << 3])?;
    let (value, taken) = varint(rest)?;
    Some((value, rest.get(taken..)?))
}

impl KeyValue {
    fn are_absent(&self) -> bool {
        self.key_bytes.is_none() && !self.more
    }

    fn take(&mut self, usual: &Usual<'_>) {
        self.key_bytes = Some(usual.key.len() as u64);
        self.key_hash = Some(self.key.hash(usual.key));
        self.create_revision = usual.create_revision.cast_signed();
        self.mod_revision = usual.mod_revision.cast_signed();
        self.version = usual.version.cast_signed();
        self.lease = usual.lease.cast_signed();
        self.more = true;
    }
}

impl Message for KeyValue {
    fn varint(&mut self, field: u64, value: u64) -> bool {
        let value = value.cast_signed();
        match field {
            2 => self.create_revision = value,
            3 => self.mod_revision = value,
            4 => self.version = value,
            6 => self.lease = value,
            1 | 5 => return false,
            _ => return true,
        }
        self.more = true;
        true
    }

    fn begin(&mut self, field: u64, length: u64) -> bool {
        match field {
            1 => self.key_bytes.replace(length).is_none(),
            2..=4 | 6 => false,
            5 => {
                self.more = true;
                true
            }
            _ => true,
        }
    }

    fn bytes(&mut self, field: u64, piece: &[u8]) {
        match field {
            1 if self.key_bytes == Some(piece.len() as u64) => self.key_hash = Some(self.key.hash(piece)),
            1 => self.key.feed(piece),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(revision: u64, tail: &[u8]) -> Vec<u8> {
        [&revision.to_be_bytes()[..], b"_", &1_u64.to_be_bytes(), tail].concat()
    }

    #[test]
    fn row_keys() {
        assert_eq!(RowKey::parse(&row(7, b"")), Some(RowKey { revision: 7, sub: 1, tombstone: false }));
        assert_eq!(RowKey::parse(&row(7, b"t")), Some(RowKey { revision: 7, sub: 1, tombstone: true }));
        for bad in [row(7, b"x"), row(7, b"tt"), row(1 << 63, b""), b"k".to_vec(), vec![0; 17]] {
            assert_eq!(RowKey::parse(&bad), None);
        }
    }

    fn parse(hasher: KeyHasher, bytes: &[u8], size: usize) -> RowValue {
        let mut value = RowValue::new(hasher);
        bytes.chunks(size).for_each(|piece| value.feed(piece));
        value
    }

    #[test]
    fn values_in_pieces() {
        let hasher = KeyHasher::new();
        let bytes = b"\x0a\x03abc\x10\x05\x18\x07\x20\x02\x2a\x02vv\x30\x09\x3a\x01?";
        let whole = parse(hasher, bytes, bytes.len());
        let pieces = parse(hasher, bytes, 1);
        assert_eq!((whole.key(), whole.lease()), (pieces.key(), pieces.lease()));
        assert_eq!(whole.lease(), Some(9));
        let row = RowKey { revision: 7, sub: 0, tombstone: false };
        assert!(whole.check(row, 20).is_ok() && pieces.check(row, 20).is_ok());
        assert_ne!(whole.key(), parse(hasher, b"\x0a\x03abd", 9).key());
    }

    #[test]
    fn usual_records_are_read_as_others_are() {
        let hasher = KeyHasher::new();
        let start = b"\x0a\x03abc\x10\x85\x01\x18\x87\x01\x20\x02";
        for tail in [&b""[..], b"\x2a\x02vv", b"\x30\x09", b"\x2a\x02vv\x30\x89\x7f", b"\x2a\x00\x30\x00"] {
            let record = [start, tail].concat();
            let (at_once, in_pieces) = (parse(hasher, &record, record.len()), parse(hasher, &record, 1));
            assert!(Usual::parse(&record).is_some() && at_once.fields.key_hash.is_some(), "{record:x?}");
            let seen = |value: &RowValue| {
                let KeyValue { key_bytes, create_revision, mod_revision, version, lease, more, .. } = value.fields;
                let complete = value.parser.is_complete();
                (value.key(), key_bytes, create_revision, mod_revision, version, lease, more, complete)
            };
            assert_eq!(seen(&at_once), seen(&in_pieces), "{record:x?}");
        }
        let twice = [&start[..], start].concat();
        let others = [
            &start[..9],
            b"\x0a\x00\x10\x05\x18\x07\x20\x02",
            b"\x10\x05\x0a\x01a",
            b"\x0a\x05a",
            &twice,
            b"\x0a\x01a",
        ];
        others.iter().for_each(|other| assert!(Usual::parse(other).is_none(), "{other:x?}"));
    }

    #[test]
    fn contradictions() {
        let hasher = KeyHasher::new();
        let kind = |tombstone, bytes: &[u8]| {
            let row = RowKey { revision: 7, sub: 0, tombstone };
            parse(hasher, bytes, 4).check(row, bytes.len() as u64).err().map(|finding| finding.kind)
        };
        assert_eq!(kind(false, b""), None);
        assert_eq!(kind(true, b"\x0a\x01a"), None);
        assert_eq!(kind(true, b"\x0a\x01a\x3a\x01?"), None);
        assert_eq!(kind(false, b"\x0a\x01a\x10\x07\x18\x07\x20\x01"), None);
        for (tombstone, bytes) in [
            (true, &b""[..]),
            (true, b"\x0a\x01a\x18\x07"),
            (true, b"\x0a\x01a\x2a\x00"),
            (false, b"\x0a"),
            (false, b"\x0a\x7fa"),
            (false, b"\x0a\x00\x10\x07\x18\x07\x20\x01"),
            (false, b"\x10\x07\x18\x07\x20\x01"),
            (false, b"\x0a\x01a\x0a\x01a\x10\x07\x18\x07\x20\x01"),
            (false, b"\x08\x01\x10\x07\x18\x07\x20\x01"),
            (false, b"\x0a\x01a\x12\x01\x07\x18\x07\x20\x01"),
        ] {
            assert_eq!(kind(tombstone, bytes), Some(FindingKind::Record), "{bytes:x?}");
        }
        for (create, modified, version) in [(7, 6, 1), (8, 7, 2), (0, 7, 2), (7, 7, 2), (6, 7, 1), (6, 7, 0)] {
            let bytes = [&b"\x0a\x01a"[..], &[0x10, create, 0x18, modified, 0x20, version]].concat();
            assert_eq!(kind(false, &bytes), Some(FindingKind::Revision), "{bytes:x?}");
        }
    }
}
