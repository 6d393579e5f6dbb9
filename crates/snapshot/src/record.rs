//! What etcd keeps in its buckets, as far as verifying needs it.
//!
//! Read from etcd server/storage/schema and server/storage/mvcc/revision.go @ v3.6.14; `key` is the same since v3.4.

use ring::digest::{Context, SHA256};
use serde::Deserialize;

use crate::Member;
use crate::bytes::{be_u64, varint};
use crate::digest::finish;

/// The key of a row in bucket `key`: revision, `_`, number of the change within it, and a mark on a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowKey {
    pub(crate) revision: i64,
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
        i64::try_from(be_u64(key, 9)?).ok()?;
        (key.get(8) == Some(&b'_')).then_some(Self { revision, tombstone })
    }
}

/// Reads the user's key, field 1, off the front of a row's value, and keeps only a digest of it: user keys have no bound
/// that would let them stay in memory. A row without a value is the mark that a revision bump leaves; its key is empty.
pub(crate) struct UserKey {
    context: Context,
    /// Bytes of the key still to come.
    left: u64,
}

/// Enough of a SHA-256 to tell keys apart, whoever chose them.
pub(crate) type KeyDigest = [u8; 16];

const KEY_FIELD: u8 = 0x0a;

impl UserKey {
    /// Starts on the first piece of the value; `None` if that is no row of etcd's.
    pub(crate) fn start(value_bytes: u64, piece: &[u8]) -> Option<Self> {
        let mut key = Self { context: Context::new(&SHA256), left: 0 };
        if value_bytes > 0 {
            let (&tag, rest) = piece.split_first()?;
            let (length, taken) = varint(rest)?;
            if tag != KEY_FIELD || length > value_bytes.checked_sub(1 + taken as u64)? {
                return None;
            }
            key.left = length;
            key.feed(rest.get(taken..)?);
        }
        Some(key)
    }

    /// Takes the next piece of the value.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let piece = usize::try_from(self.left).ok().and_then(|left| piece.get(..left)).unwrap_or(piece);
        self.context.update(piece);
        self.left -= piece.len() as u64;
    }

    pub(crate) fn finish(self) -> KeyDigest {
        let mut digest = KeyDigest::default();
        for (to, from) in digest.iter_mut().zip(finish(self.context)) {
            *to = from;
        }
        digest
    }
}

/// A member as etcd writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredMember {
    id: u64,
    #[serde(rename = "peerURLs", default)]
    peer_urls: Vec<String>,
    #[serde(default)]
    is_learner: bool,
    #[serde(default)]
    name: String,
    #[serde(rename = "clientURLs", default)]
    client_urls: Vec<String>,
}

/// A record of bucket `members`; its key is the id in hex.
pub(crate) fn member(key: &[u8], value: &[u8]) -> Option<Member> {
    let StoredMember { id, peer_urls, is_learner, name, client_urls } = serde_json::from_slice(value).ok()?;
    let id = format!("{id:x}");
    (id.as_bytes() == key).then_some(Member { id, name, peer_urls, client_urls, is_learner })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(revision: u64, tail: &[u8]) -> Vec<u8> {
        [&revision.to_be_bytes()[..], b"_", &0_u64.to_be_bytes(), tail].concat()
    }

    #[test]
    fn row_keys() {
        assert_eq!(RowKey::parse(&row(7, b"")), Some(RowKey { revision: 7, tombstone: false }));
        assert_eq!(RowKey::parse(&row(7, b"t")), Some(RowKey { revision: 7, tombstone: true }));
        for bad in [row(7, b"x"), row(7, b"tt"), row(1 << 63, b""), b"k".to_vec(), vec![0; 17]] {
            assert_eq!(RowKey::parse(&bad), None);
        }
    }

    #[test]
    fn user_keys_in_pieces() {
        let value = b"\x0a\x03abc\x10\x02";
        let whole = UserKey::start(7, value).map(UserKey::finish);
        let mut pieces = UserKey::start(7, &value[..3]);
        if let Some(key) = &mut pieces {
            key.feed(&value[3..4]);
            key.feed(&value[4..]);
        }
        assert!(whole.is_some());
        assert_eq!(whole, pieces.map(UserKey::finish));
        assert_ne!(whole, UserKey::start(7, b"\x0a\x03abd\x10\x02").map(UserKey::finish));
        assert!(UserKey::start(0, b"").is_some());
        for bad in [&b"\x10\x02"[..], b"\x0a", b"\x0a\x03ab", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(UserKey::start(bad.len() as u64, bad).is_none());
        }
    }

    #[test]
    fn members() {
        let value = br#"{"id":10276657743932975437,"peerURLs":["http://a:2380"],"isLearner":true}"#;
        let found = member(b"8e9e05c52164694d", value);
        assert!(found.is_some_and(|member| member.is_learner && member.peer_urls == ["http://a:2380"]));
        assert!(member(b"8e9e05c52164694e", value).is_none());
        assert!(member(b"8e9e05c52164694d", b"{").is_none());
    }
}
