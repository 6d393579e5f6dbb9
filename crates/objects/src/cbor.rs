//! CBOR
use serde_json::Value;
pub(crate) fn parse(_: &[u8]) -> Option<Value> {
    None
}
