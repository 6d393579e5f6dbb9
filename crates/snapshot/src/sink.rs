//! Where a walk can take what it finds, beside checking it.

use crate::hashkv::KeyBucket;
use crate::report::Compaction;
use crate::rows::Rows;
use crate::{HashKv, VerifyError};

/// Takes what a walk finds, in order: buckets in byte order, each with its items in key order.
///
/// It sees items of damaged files too, as far as they can be read: what it made of them counts only once the walk has
/// ended well.
pub(crate) trait Sink {
    /// A bucket begins.
    fn bucket(&mut self, name: &[u8]) -> Result<(), VerifyError>;

    /// An item of it begins, whose value has so many bytes.
    fn item(&mut self, key: &[u8], value_bytes: u64) -> Result<(), VerifyError>;

    /// Its value, in pieces; none for a value without bytes.
    fn value(&mut self, piece: &[u8]) -> Result<(), VerifyError>;

    /// The walk has come to its end and found everything in order. The digest may still be being computed.
    fn end(&mut self, _: &Store<'_>) -> Result<(), VerifyError> {
        Ok(())
    }
}

/// What a walk knows about the store at its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Store<'a> {
    pub(crate) current_revision: i64,
    pub(crate) compaction: Compaction,
    pub(crate) hash_kv: HashKv,
    /// The rows' bytes, and which of them that hash counts.
    pub(crate) key_bucket: &'a KeyBucket,
    pub(crate) rows: &'a Rows,
}

/// Only checks.
impl Sink for () {
    fn bucket(&mut self, _: &[u8]) -> Result<(), VerifyError> {
        Ok(())
    }

    fn item(&mut self, _: &[u8], _: u64) -> Result<(), VerifyError> {
        Ok(())
    }

    fn value(&mut self, _: &[u8]) -> Result<(), VerifyError> {
        Ok(())
    }
}
