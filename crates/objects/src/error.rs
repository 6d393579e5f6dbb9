//! What can be wrong with a value. No error carries anything of the value but the names of API fields.

use std::fmt;

/// Why a value is no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is encrypted.
    #[error("the value is encrypted by {0}")]
    Encrypted(crate::value::EncryptionKey),
    /// It begins like nothing that the API server stores.
    #[error("the value is in no format that the API server stores")]
    UnknownFormat,
    /// It says that it is of a kind of which the table knows nothing.
    #[error("no built-in kind {kind} of {api_version} is known")]
    UnknownKind {
        /// Its `apiVersion`; a question mark if it is not a name.
        api_version: String,
        /// Its `kind`; a question mark if it is not a name.
        kind: String,
    },
    /// Its bytes are not what they should be.
    #[error("byte {offset}{}: {fault}", In(path))]
    Malformed {
        /// Where in the value.
        offset: usize,
        /// Where in the object, `spec.containers[2].name`; nothing when it is not in the object.
        path: String,
        /// What is wrong.
        fault: Fault,
    },
}

/// Why JSON is not an object of a kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// There is no such kind in the table.
    #[error("no built-in kind {kind} of {api_version} is known")]
    UnknownKind {
        /// The `apiVersion`; a question mark if it is not a name.
        api_version: String,
        /// The `kind`; a question mark if it is not a name.
        kind: String,
    },
    /// A field that its kind does not have, in what this path leads to.
    #[error("{}: a field that is not known", At(.0))]
    UnknownField(String),
    /// Not of the type that its kind has there.
    #[error("{path}: not {expected}")]
    Type {
        /// Where.
        path: String,
        /// What should be there.
        expected: &'static str,
    },
    /// Deeper than anything that is decoded.
    #[error("{}: nested too deep", At(.0))]
    Depth(String),
}

/// What is wrong with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It ends before it should.
    #[error("the value ends too early")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("a number is too long")]
    Varint,
    /// Number 0, or too large a one.
    #[error("an impossible field number")]
    FieldNumber,
    /// Not the wire type that the field has, or one that does not exist.
    #[error("a field of the wrong type")]
    WireType,
    /// Text that is not UTF-8.
    #[error("text that is not UTF-8")]
    Utf8,
    /// A field that can be there once is there again.
    #[error("a field is there twice")]
    Repeated,
    /// A number that its field has no room for, or a time before the year 1 or after 9999.
    #[error("a number out of range")]
    Range,
    /// Messages in messages without end.
    #[error("nested too deep")]
    Depth,
    /// What should be JSON is not.
    #[error("invalid JSON")]
    Json,
    /// What should be CBOR is not, or holds what JSON cannot.
    #[error("CBOR that is invalid or has no form in JSON")]
    Cbor,
    /// An object that says that it is compressed or otherwise encoded.
    #[error("an unknown content encoding")]
    Encoding,
    /// More unknown fields than any newer version of a kind adds.
    #[error("too many unknown fields")]
    TooManyUnknown,
}

/// ` (in PATH)`, if there is one.
struct In<'a>(&'a str);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

/// The path, or what it means that there is none.
struct At<'a>(&'a str);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "the object itself" } else { self.0 })
    }
}

/// A name for an error message: what a value claims to be is shown only if it can be the name of an API version or a kind.
pub(crate) fn name(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"./-".contains(&byte);
    let is_name = !text.is_empty() && text.len() <= 253 && text.bytes().all(plain);
    if is_name { text.to_owned() } else { "?".to_owned() }
}
