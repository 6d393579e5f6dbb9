//! In which form a value is stored, by what it begins with.

use std::fmt;

/// Protobuf: kubernetes/apimachinery pkg/runtime/serializer/protobuf/protobuf.go @ v0.36.2.
pub const PROTOBUF: &[u8] = b"k8s\0";
/// CBOR that describes itself: kubernetes/apimachinery pkg/runtime/serializer/cbor/internal/modes/encode.go @ v0.36.2.
pub const CBOR: &[u8] = &[0xD9, 0xD9, 0xF7];
/// What is encrypted: kubernetes/apiserver pkg/server/options/encryptionconfig/config.go @ v0.36.2.
pub const ENCRYPTED: &[u8] = b"k8s:enc:";
/// Bytes in which a provider, a version and a name have to be.
const LONGEST: usize = 1024;

/// The form of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `k8s\0` and a protobuf envelope, as built-in kinds are.
    Protobuf,
    /// JSON, as custom resources are.
    Json,
    /// CBOR, as custom resources are with the feature gate CBORServingAndStorage.
    Cbor,
    /// Encrypted at rest.
    Encrypted(EncryptionKey),
    /// No form that the API server stores objects in.
    Other,
}

/// By which key a value is encrypted, as it says before its ciphertext.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncryptionKey {
    /// `aescbc`, `aesgcm`, `secretbox` or `kms`.
    pub provider: String,
    /// `v1` or `v2`.
    pub version: String,
    /// Name of the key, or of the KMS plugin.
    pub name: String,
}

impl fmt::Display for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.provider, self.version, self.name)
    }
}

impl Format {
    /// Looks at what a value begins with. JSON is told by its first brace: whether it is sound shows when it is decoded.
    #[must_use]
    pub fn of(value: &[u8]) -> Format {
        if value.starts_with(PROTOBUF) {
            return Format::Protobuf;
        }
        if value.starts_with(CBOR) {
            return Format::Cbor;
        }
        if let Some((key, _)) = split_encrypted(value) {
            return Format::Encrypted(key);
        }
        // White space before it is what a hand may have left; the API server leaves none.
        match value.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Format::Json,
            _ => Format::Other,
        }
    }
}

/// The key of an encrypted value, and what follows it.
pub(crate) fn split_encrypted(value: &[u8]) -> Option<(EncryptionKey, &[u8])> {
    let rest = value.strip_prefix(ENCRYPTED)?;
    let mut parts = rest.get(..LONGEST).unwrap_or(rest).splitn(4, |&byte| byte == b':');
    let mut length = 0;
    let mut text = || {
        let part = parts.next()?;
        length += part.len() + 1;
        // Control characters would reach a terminal.
        let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        Some(String::from_utf8_lossy(part).chars().map(plain).collect::<String>())
    };
    let (provider, version, name) = (text()?, text()?, text()?);
    parts.next()?;
    Some((EncryptionKey { provider, version, name }, rest.get(length..)?))
}
