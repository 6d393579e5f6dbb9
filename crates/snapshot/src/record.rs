//! What etcd keeps in its small buckets: about itself, not about users' keys. Records and fields that a later etcd may have
//! added are no damage.
//!
//! Read from etcd server/storage/schema, server/lease/leasepb, api/etcdserverpb and api/authpb @ v3.6.14.

use serde::Deserialize;

use crate::bytes::be_u64;
use crate::protobuf::{Wire, fields};
use crate::report::{Alarm, AlarmKind, Member};

/// Longest JSON that is parsed: what is made of it can be some times as long. etcd's is of some hundred bytes.
const MAX_JSON: usize = 64 << 10;

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
    let StoredMember { id, peer_urls, is_learner, name, client_urls } = json(value)?;
    let id = format!("{id:x}");
    (id.as_bytes() == key).then_some(Member { id, name, peer_urls, client_urls, is_learner })
}

/// A record of bucket `members_removed`: the id in hex.
pub(crate) fn removed_member(key: &[u8], value: &[u8]) -> Option<String> {
    let id = u64::from_str_radix(str::from_utf8(key).ok()?, 16).ok()?;
    let id = format!("{id:x}");
    (id.as_bytes() == key && value == b"removed").then_some(id)
}

/// Raft's voters and learners. etcd writes them, but reads them nowhere; a restore by etcdutl leaves stale ones.
#[derive(Deserialize)]
struct StoredConfState {
    voters: Option<Vec<u64>>,
    #[serde(rename = "learners")]
    _learners: Option<Vec<u64>>,
}

/// The IDs of the members that vote, by `meta`'s confState; `None` if that is none.
pub(crate) fn voters(value: &[u8]) -> Option<Vec<u64>> {
    Some(json::<StoredConfState>(value)?.voters.unwrap_or_default())
}

/// Record `downgrade` of bucket `cluster`.
#[derive(Deserialize)]
struct StoredDowngrade {
    #[serde(rename = "target-version", default)]
    target: String,
    #[serde(default)]
    enabled: bool,
}

/// Whether a downgrade is under way, and then to which version; outer `None` if that is no such record.
pub(crate) fn downgrade(value: &[u8]) -> Option<Option<String>> {
    let StoredDowngrade { target, enabled } = json(value)?;
    Some(enabled.then_some(target))
}

/// A version, of which the first two numbers must be there: "3.6.0".
pub(crate) fn version(value: &[u8]) -> Option<String> {
    let text = str::from_utf8(value).ok()?;
    minor(text)?;
    text.is_ascii().then(|| text.to_owned())
}

/// The first two numbers of a version of etcd; `None` if it does not begin with two.
pub fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.splitn(3, '.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A number in eight bytes.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    be_u64(value, 0).filter(|_| value.len() == 8)
}

/// Whether that is a record of bucket `lease`, under its own id.
pub(crate) fn is_lease(key: &[u8], value: &[u8]) -> bool {
    let (mut id, mut ttl) = (0, 0);
    for field in fields(value) {
        match field {
            Some((1, Wire::Varint(value))) => id = value,
            Some((2, Wire::Varint(value))) => ttl = value.cast_signed(),
            None | Some((1..=3, Wire::Bytes(_) | Wire::Fixed)) => return false,
            Some(_) => {}
        }
    }
    id != 0 && number(key) == Some(id) && ttl >= 1
}

/// A record of bucket `alarm`, all of which is in its key.
pub(crate) fn alarm(key: &[u8], value: &[u8]) -> Option<Alarm> {
    let (mut member, mut kind) = (0, 0);
    for field in fields(key) {
        match field? {
            (1, Wire::Varint(value)) => member = value,
            (2, Wire::Varint(value)) => kind = value,
            (1 | 2, _) => return None,
            _ => {}
        }
    }
    let kind = match kind {
        0 => return None,
        1 => AlarmKind::NoSpace,
        2 => AlarmKind::Corrupt,
        _ => AlarmKind::Unknown,
    };
    value.is_empty().then(|| Alarm { member_id: format!("{member:x}"), kind })
}

/// Whether that is a record of bucket `authUsers`, under its own name.
pub(crate) fn is_user(key: &[u8], value: &[u8]) -> bool {
    let mut name: &[u8] = b"";
    for field in fields(value) {
        match field {
            Some((1, Wire::Bytes(value))) => name = value,
            Some((2 | 3, Wire::Bytes(_))) => {}
            Some((4, Wire::Bytes(options))) if are(options, |field, wire| field != 1 || is_varint(wire)) => {}
            None | Some((1..=4, _)) => return false,
            Some(_) => {}
        }
    }
    name == key
}

/// Whether that is a record of bucket `authRoles`, under its own name.
pub(crate) fn is_role(key: &[u8], value: &[u8]) -> bool {
    let permission = |field: u64, wire: Wire<'_>| match field {
        1 => is_varint(wire),
        2 | 3 => matches!(wire, Wire::Bytes(_)),
        _ => true,
    };
    let mut name: &[u8] = b"";
    for field in fields(value) {
        match field {
            Some((1, Wire::Bytes(value))) => name = value,
            Some((2, Wire::Bytes(value))) if are(value, permission) => {}
            None | Some((1 | 2, _)) => return false,
            Some(_) => {}
        }
    }
    name == key
}

fn json<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Option<T> {
    (value.len() <= MAX_JSON).then(|| serde_json::from_slice(value).ok()).flatten()
}

/// Whether a message can be parsed and all its fields are as they must be.
fn are(message: &[u8], accepted: impl Fn(u64, Wire<'_>) -> bool) -> bool {
    fields(message).all(|field| field.is_some_and(|(field, wire)| accepted(field, wire)))
}

fn is_varint(wire: Wire<'_>) -> bool {
    matches!(wire, Wire::Varint(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members() {
        let value = br#"{"id":10276657743932975437,"peerURLs":["http://a:2380"],"isLearner":true}"#;
        let found = member(b"8e9e05c52164694d", value);
        assert!(found.is_some_and(|member| member.is_learner && member.peer_urls == ["http://a:2380"]));
        assert!(member(b"8e9e05c52164694e", value).is_none());
        assert!(member(b"8e9e05c52164694d", b"{").is_none());
        assert_eq!(removed_member(b"8e9e05c52164694d", b"removed").as_deref(), Some("8e9e05c52164694d"));
        for (key, value) in [(&b"08e9"[..], &b"removed"[..]), (b"8e9", b""), (b"8E9", b"removed"), (b"x", b"removed")] {
            assert!(removed_member(key, value).is_none());
        }
    }

    #[test]
    fn leases() {
        let key = 0x1234_i64.to_be_bytes();
        assert!(is_lease(&key, b"\x08\xb4\x24\x10\x3c"));
        assert!(is_lease(&key, b"\x08\xb4\x24\x10\x3c\x18\x05\x22\x01?"));
        for bad in [&b""[..], b"\x08\xb5\x24\x10\x3c", b"\x08\xb4\x24", b"\x08\xb4\x24\x12\x00", b"\x08"] {
            assert!(!is_lease(&key, bad), "{bad:x?}");
        }
        assert!(!is_lease(&key[1..], b"\x08\xb4\x24\x10\x3c"));
    }

    #[test]
    fn alarms() {
        let key = b"\x08\xb0\xa7\x86\xf6\xf0\xfd\xa5\xbe\xac\x01\x10\x01";
        let found = alarm(key, b"").expect("a record of a real file");
        assert_eq!((found.member_id.as_str(), found.kind), ("ac7c97ef0ec193b0", AlarmKind::NoSpace));
        assert_eq!(alarm(b"\x08\x01\x10\x02", b"").map(|alarm| alarm.kind), Some(AlarmKind::Corrupt));
        assert_eq!(alarm(b"\x08\x01\x10\x09", b"").map(|alarm| alarm.kind), Some(AlarmKind::Unknown));
        for (key, value) in [(&key[..], &b"v"[..]), (b"\x08\x01", b""), (b"\x0a\x00\x10\x01", b""), (b"\x08", b"")] {
            assert!(alarm(key, value).is_none());
        }
    }

    #[test]
    fn users_and_roles() {
        assert!(is_user(b"root", b"\x0a\x04root\x12\x02pw\x1a\x04root\x22\x02\x08\x01\x2a\x00"));
        for bad in
            [&b"\x0a\x04ruut"[..], b"\x12\x02pw", b"\x0a\x04root\x22\x02\x0a\x05", b"\x0a\x04root\x10\x01", b"\x0a"]
        {
            assert!(!is_user(b"root", bad), "{bad:x?}");
        }
        assert!(is_role(b"r", b"\x0a\x01r\x12\x07\x08\x02\x12\x01a\x1a\x00\x12\x03\x12\x01b"));
        for bad in [&b"\x0a\x01s"[..], b"\x0a\x01r\x12\x02\x08", b"\x0a\x01r\x12\x02\x10\x01", b"\x0a\x01r\x10\x01"] {
            assert!(!is_role(b"r", bad), "{bad:x?}");
        }
    }

    #[test]
    fn small_ones() {
        assert_eq!(version(b"3.6.0").as_deref(), Some("3.6.0"));
        assert!([&b""[..], b"3", b"3.x", b"\xff", b"3.6.\xc3\xa4"].iter().all(|bad| version(bad).is_none()));
        assert_eq!(downgrade(br#"{"target-version":"","enabled":false}"#), Some(None));
        assert_eq!(downgrade(br#"{"target-version":"3.5.0","enabled":true}"#), Some(Some("3.5.0".to_owned())));
        assert_eq!(downgrade(b"{"), None);
        assert_eq!(
            voters(br#"{"voters":[10276657743932975437],"auto_leave":false}"#),
            Some(vec![10276657743932975437])
        );
        assert_eq!((voters(br#"{"voters":null,"x":1}"#), voters(b"{}")), (Some(vec![]), Some(vec![])));
        assert_eq!((voters(br#"{"voters":["a"]}"#), voters(b"[1")), (None, None));
        assert_eq!((number(&[0, 0, 0, 0, 0, 0, 1, 0]), number(&[0; 7]), number(&[0; 9])), (Some(256), None, None));
    }
}
