//! The keys that a store has at a file's current revision, as its clients would read them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::encryption::{Beginning, EncryptionKey, EncryptionKeys};
use crate::protobuf::{Message, Parser};
use crate::row::RowKey;
use crate::sink::{Sink, Store};
use crate::verify::verify_into;
use crate::{Options, Progress, Report, Source, VerifyError};

/// A key that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveKey {
    /// The revision that last changed it.
    pub mod_revision: i64,
    /// How many of its revisions the file still has, since it was made.
    pub versions: u32,
    /// Bytes of its value.
    pub value_bytes: u64,
    /// By which key the API server has encrypted the value, if it has. Up to a hundred are told apart: of the values of further
    /// ones this is not known.
    pub encrypted_by: Option<Arc<EncryptionKey>>,
    /// Its value, if it was asked for.
    pub value: Option<Vec<u8>>,
    /// What its value hashes to, if that was asked for: equal in all files for equal values, and for others different.
    pub fingerprint: Option<u128>,
}

/// Keys that are there, in byte order.
pub type LiveKeys = BTreeMap<Vec<u8>, LiveKey>;

/// What is kept of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: it is passed over.
    Nothing,
    /// That it is there.
    Key,
    /// Its value as well.
    Value,
}

/// Which keys are gathered, as of when, and what of them.
#[derive(Clone, Copy)]
pub struct Pick<'a> {
    /// What is kept of a key.
    pub keep: &'a dyn Fn(&[u8]) -> Keep,
    /// As of which revision; `None` for the file's own. One that the file has compacted away, or has not reached, gives what is left of it:
    /// the [`Report`] tells which those are.
    pub at: Option<i64>,
    /// Whether values are hashed, to be compared with those of another file.
    pub fingerprints: bool,
}

impl<'a> Pick<'a> {
    /// All that `keep` says, at the file's own revision.
    pub fn new(keep: &'a dyn Fn(&[u8]) -> Keep) -> Pick<'a> {
        Pick { keep, at: None, fingerprints: false }
    }
}

/// Verifies a file and gives its live keys. The memory that this takes is that of what is kept.
///
/// The key without a name, which a raised revision leaves in the store and no client can ask for, is not among them.
///
/// # Errors
/// See [`VerifyError`].
pub fn live_keys(
    source: &dyn Source,
    options: &Options<'_>,
    pick: &Pick<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Report, LiveKeys), VerifyError> {
    let mut gather = Gather {
        pick,
        is_key: false,
        row: None,
        parser: Parser::new(),
        record: Record::default(),
        encryption: EncryptionKeys::default(),
        keys: LiveKeys::new(),
    };
    let report = verify_into(source, options, progress, &mut gather)?;
    Ok((report, gather.keys))
}

/// Rows come in the order of revisions: the last one of a key decides.
struct Gather<'a> {
    pick: &'a Pick<'a>,
    /// Whether the bucket that is being walked is that of the rows.
    is_key: bool,
    row: Option<RowKey>,
    parser: Parser,
    record: Record,
    encryption: EncryptionKeys,
    keys: LiveKeys,
}

/// What counts of a row's value.
#[derive(Debug, Default)]
struct Record {
    key: Vec<u8>,
    value_bytes: u64,
    beginning: Beginning,
    value: Option<Vec<u8>>,
    hasher: Option<SipHasher13>,
}

/// A record that is being read: whether its value is wanted is known once its key is.
struct Reading<'a> {
    record: &'a mut Record,
    pick: &'a Pick<'a>,
}

const KEY: u64 = 1;
const VALUE: u64 = 5;

impl Message for Reading<'_> {
    fn varint(&mut self, _: u64, _: u64) -> bool {
        true
    }

    fn begin(&mut self, field: u64, length: u64) -> bool {
        match field {
            KEY => self.record.key.clear(),
            VALUE => {
                self.record.value_bytes = length;
                self.record.beginning.clear();
                let keep = (self.pick.keep)(&self.record.key);
                self.record.value = (keep == Keep::Value).then(Vec::new);
                self.record.hasher = (self.pick.fingerprints && keep != Keep::Nothing).then(SipHasher13::new);
            }
            _ => {}
        }
        true
    }

    fn bytes(&mut self, field: u64, piece: &[u8]) {
        match field {
            KEY => self.record.key.extend_from_slice(piece),
            VALUE => {
                self.record.beginning.feed(piece);
                self.record.value.iter_mut().for_each(|value| value.extend_from_slice(piece));
                self.record.hasher.iter_mut().for_each(|hasher| hasher.write(piece));
            }
            _ => {}
        }
    }
}

impl Gather<'_> {
    /// The row before this one is all there.
    fn finish_row(&mut self) {
        let Some(row) = self.row.take() else { return };
        let Record { key, value_bytes, beginning, mut value, mut hasher } = std::mem::take(&mut self.record);
        if row.tombstone {
            self.keys.remove(&key);
            return;
        }
        let keep = if key.is_empty() { Keep::Nothing } else { (self.pick.keep)(&key) };
        if keep == Keep::Nothing {
            return;
        }
        // A value without bytes may not be in the record at all.
        if value_bytes == 0 {
            value = value.or_else(|| (keep == Keep::Value).then(Vec::new));
            hasher = hasher.or_else(|| self.pick.fingerprints.then(SipHasher13::new));
        }
        let encrypted_by = self.encryption.of(&beginning);
        let fingerprint = hasher.map(|hasher| hasher.finish128().as_u128());
        let (mod_revision, versions) = (row.revision, 1);
        let new = LiveKey { mod_revision, versions, value_bytes, encrypted_by, value, fingerprint };
        match self.keys.entry(key) {
            Entry::Vacant(entry) => drop(entry.insert(new)),
            Entry::Occupied(mut entry) => {
                let versions = entry.get().versions.saturating_add(1);
                entry.insert(LiveKey { versions, ..new });
            }
        }
    }
}

impl Sink for Gather<'_> {
    fn bucket(&mut self, name: &[u8]) -> Result<(), VerifyError> {
        self.finish_row();
        self.is_key = name == b"key";
        Ok(())
    }

    fn item(&mut self, key: &[u8], _: u64) -> Result<(), VerifyError> {
        self.finish_row();
        let counts = |row: &RowKey| self.pick.at.is_none_or(|at| row.revision <= at);
        self.row = self.is_key.then(|| RowKey::parse(key)).flatten().filter(counts);
        self.parser = Parser::new();
        Ok(())
    }

    fn value(&mut self, piece: &[u8]) -> Result<(), VerifyError> {
        if self.row.is_some() {
            self.parser.feed(piece, &mut Reading { record: &mut self.record, pick: self.pick });
        }
        Ok(())
    }

    fn end(&mut self, _: &Store<'_>) -> Result<(), VerifyError> {
        self.finish_row();
        Ok(())
    }
}
