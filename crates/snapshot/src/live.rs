//! The keys that a store has at a file's current revision, as its clients would read them.

use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// Bytes of its value.
    pub value_bytes: u64,
    /// By which key the API server has encrypted the value, if it has. Up to a hundred are told apart: of the values of further
    /// ones this is not known.
    pub encrypted_by: Option<Arc<EncryptionKey>>,
    /// Its value, if it was asked for.
    pub value: Option<Vec<u8>>,
}

/// All keys that are there, in byte order.
pub type LiveKeys = BTreeMap<Vec<u8>, LiveKey>;

/// Verifies a file and gives its live keys, with the values of those that `wanted` names. The memory that this takes is that of the
/// keys and those values.
///
/// The key without a name, which a raised revision leaves in the store and no client can ask for, is not among them.
///
/// # Errors
/// See [`VerifyError`].
pub fn live_keys(
    source: &dyn Source,
    options: &Options<'_>,
    wanted: &dyn Fn(&[u8]) -> bool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Report, LiveKeys), VerifyError> {
    let mut gather = Gather {
        wanted,
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
    wanted: &'a dyn Fn(&[u8]) -> bool,
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
}

/// A record that is being read: whether its value is wanted is known once its key is.
struct Reading<'a> {
    record: &'a mut Record,
    wanted: &'a dyn Fn(&[u8]) -> bool,
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
                self.record.value = (self.wanted)(&self.record.key).then(Vec::new);
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
            }
            _ => {}
        }
    }
}

impl Gather<'_> {
    /// The row before this one is all there.
    fn finish_row(&mut self) {
        let Record { key, value_bytes, beginning, value } = std::mem::take(&mut self.record);
        match self.row.take() {
            Some(row) if row.tombstone => drop(self.keys.remove(&key)),
            Some(row) if !key.is_empty() => {
                // A value without bytes may not be in the record at all.
                let value = value.or_else(|| (value_bytes == 0 && (self.wanted)(&key)).then(Vec::new));
                let encrypted_by = self.encryption.of(&beginning);
                self.keys.insert(key, LiveKey { mod_revision: row.revision, value_bytes, encrypted_by, value });
            }
            _ => {}
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
        self.row = self.is_key.then(|| RowKey::parse(key)).flatten();
        self.parser = Parser::new();
        Ok(())
    }

    fn value(&mut self, piece: &[u8]) -> Result<(), VerifyError> {
        if self.is_key {
            self.parser.feed(piece, &mut Reading { record: &mut self.record, wanted: self.wanted });
        }
        Ok(())
    }

    fn end(&mut self, _: &Store<'_>) -> Result<(), VerifyError> {
        self.finish_row();
        Ok(())
    }
}
