//! By which key a value is encrypted: what the API server writes before it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What encrypted values begin with, before `PROVIDER:VERSION:NAME:`. Read from kubernetes apiserver
/// pkg/server/options/encryptionconfig/config.go @ v1.36.0.
const MARK: &[u8] = b"k8s:enc:";
/// Bytes in which the whole prefix has to be: names of keys are short.
const LONGEST: usize = 320;
/// Keys that are told apart. A cluster has a handful.
const MOST: usize = 100;

/// A key of the API server, by its name. Who made the file chose the bytes: control characters are replaced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncryptionKey {
    /// `aescbc`, `aesgcm`, `secretbox` or `kms`.
    pub provider: String,
    /// `v1` or `v2`.
    pub version: String,
    /// Name of the key, or of the KMS plugin; up to a colon, if it has one.
    pub name: String,
}

impl fmt::Display for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.provider, self.version, self.name)
    }
}

impl EncryptionKey {
    /// Reads what a value begins with.
    fn parse(begin: &[u8]) -> Option<EncryptionKey> {
        let mut parts = begin.strip_prefix(MARK)?.splitn(4, |&byte| byte == b':');
        let mut text = || {
            let text = String::from_utf8_lossy(parts.next()?);
            let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
            Some(text.chars().map(plain).collect::<String>())
        };
        let (provider, version, name) = (text()?, text()?, text()?);
        // The colon after the name is there if something follows it, and be it nothing.
        parts.next().map(|_| EncryptionKey { provider, version, name })
    }
}

/// The beginning of a value that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    bytes: Vec<u8>,
    /// It is not that of an encrypted value, as most are not: nothing is kept of them.
    plain: bool,
}

impl Beginning {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.plain = false;
    }

    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let marks = MARK.get(self.bytes.len()..).unwrap_or_default();
        self.plain |= piece.iter().zip(marks).any(|(byte, mark)| byte != mark);
        if !self.plain {
            let room = LONGEST.saturating_sub(self.bytes.len());
            self.bytes.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
    }

    fn key(&self) -> Option<EncryptionKey> {
        if self.plain { None } else { EncryptionKey::parse(&self.bytes) }
    }
}

/// The keys that were met, each held once however many values it encrypts.
#[derive(Debug, Default)]
pub(crate) struct EncryptionKeys(BTreeSet<Arc<EncryptionKey>>);

impl EncryptionKeys {
    /// The key of the value that begins so; `None` if it is not encrypted, or if there are too many keys already.
    pub(crate) fn of(&mut self, value: &Beginning) -> Option<Arc<EncryptionKey>> {
        let key = value.key()?;
        if let Some(known) = self.0.get(&key) {
            return Some(Arc::clone(known));
        }
        if self.0.len() >= MOST {
            // Those that no value has any more make room.
            self.0.retain(|key| Arc::strong_count(key) > 1);
        }
        if self.0.len() >= MOST {
            return None;
        }
        let key = Arc::new(key);
        self.0.insert(Arc::clone(&key));
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &[u8], piece: usize) -> Option<String> {
        let mut beginning = Beginning::default();
        value.chunks(piece).for_each(|piece| beginning.feed(piece));
        assert!(beginning.bytes.len() <= LONGEST);
        EncryptionKeys::default().of(&beginning).map(|key| key.to_string())
    }

    #[test]
    fn prefixes_in_pieces_of_any_size() {
        let long = [&b"k8s:enc:aescbc:v1:"[..], &[b'n'; LONGEST], b":x"].concat();
        for (value, key) in [
            (&b"k8s:enc:aescbc:v1:key1:\0\xff:more"[..], Some("aescbc:v1:key1")),
            (b"k8s:enc:kms:v2:name:", Some("kms:v2:name")),
            (b"k8s:enc:a:b:\x1b[31m\xff:x", Some("a:b:\u{fffd}[31m\u{fffd}")),
            (b"k8s:enc:::::", Some("::")),
            (b"k8s:enc:aescbc:v1:key1", None),
            (b"k8s:enc", None),
            (b"k8s\0\n\x0c", None),
            (b"x8s:enc:aescbc:v1:key1:", None),
            (b"k8s:env:aescbc:v1:key1:", None),
            (b"k8s:en:k8s:enc:aescbc:v1:key1:", None),
            (b"", None),
            (&long, None),
        ] {
            for piece in [1, 3, 8, 1 << 20] {
                assert_eq!(parse(value, piece).as_deref(), key, "{:?} by {piece}", value.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn a_file_with_ever_new_keys_takes_no_more_memory() {
        let (mut keys, mut beginning) = (EncryptionKeys::default(), Beginning::default());
        let mut held = Vec::new();
        let mut of = |name: usize| {
            beginning.clear();
            beginning.feed(format!("k8s:enc:aescbc:v1:key{name}:").as_bytes());
            keys.of(&beginning)
        };
        held.extend(of(0));
        // Nobody holds these any more: they keep none out.
        assert!((1..1000).all(|name| of(name).is_some()));
        held.extend((1000..2000).filter_map(&mut of));
        assert_eq!((held.len(), held[0].name.as_str()), (MOST, "key0"));
        assert!(of(0).is_some() && of(1).is_none());
    }
}
