//! JSON, and where in it something is wrong: the parser's own message may repeat what is there.

use serde_json::{Error, Value};

use crate::error::Fault;
use crate::wire::At;

/// Reads JSON that begins at a place of the whole value.
pub(crate) fn parse(bytes: &[u8], offset: usize) -> Result<Value, At> {
    serde_json::from_slice(bytes).map_err(|error| match error.is_eof() {
        true => (offset + bytes.len(), Fault::Truncated),
        false => (offset + place(bytes, &error), Fault::Json),
    })
}

/// The byte at which the parser has stopped. Its lines and columns count from one.
fn place(bytes: &[u8], error: &Error) -> usize {
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let line = error.line().checked_sub(2).map_or(Some(0), |before| ends.nth(before)).unwrap_or(bytes.len());
    (line + error.column().saturating_sub(1)).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_a_place_in_the_whole_value() {
        for (text, offset, fault) in [
            (&br#"{"a": 1,}"#[..], 8, Fault::Json),
            (b"{\n  \"a\": 1,\n  \"b\": x\n}", 19, Fault::Json),
            (b"{\"a\": \"\xFF\"}", 7, Fault::Json),
            (b"{} {}", 3, Fault::Json),
            (b"{\"a\": [1,\n", 10, Fault::Truncated),
            (b"{\"a\": \"b", 8, Fault::Truncated),
            (b"", 0, Fault::Truncated),
        ] {
            let (at, found) = parse(text, 100).expect_err("not JSON");
            assert_eq!((at - 100, found), (offset, fault), "{}", String::from_utf8_lossy(text));
        }
        assert!(parse(b" {\"a\": 1}\n", 100).is_ok());
    }
}
