//! Where a walk can take what it finds, beside checking it.

use crate::VerifyError;

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
