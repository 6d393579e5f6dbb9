//! What an entry does to the store, as far as its keys go: etcdserverpb.InternalRaftRequest, and the requests of etcd's old store, by which 3.4
//! and 3.5 record attributes of members.
//!
//! Read from etcd api/etcdserverpb/{raft_internal,rpc,etcdserver}.proto and server/etcdserver/server.go @ v3.6.14, and
//! etcdserver/etcdserverpb @ v3.4.45. No value is kept.

use serde::Serialize;

use crate::protobuf::{Wire, fields};

/// Transactions in transactions. etcd's clients send one level.
const MOST_NESTED: usize = 16;

/// What kind of entry it is (raft raftpb/raft.proto, EntryType).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EntryKind {
    /// A request, or nothing: with an entry without data a leader begins its term.
    #[default]
    Normal,
    /// A change of the members.
    MemberChange,
    /// A change of the members, in raft's newer form.
    MemberChangeV2,
}

impl EntryKind {
    pub(super) fn of(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Normal),
            1 => Some(Self::MemberChange),
            2 => Some(Self::MemberChangeV2),
            _ => None,
        }
    }
}

/// When something happens that an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// In any case.
    Always,
    /// If what a transaction compares holds. Whether it does, only etcd can tell.
    IfTrue,
    /// If it does not.
    IfFalse,
}

/// Something that an entry does, or may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect<'a> {
    /// A key gets a value.
    Put {
        /// The key.
        key: &'a [u8],
        /// When.
        when: Condition,
    },
    /// A key goes, or all keys of a range.
    Delete {
        /// The key, or the first of the range.
        key: &'a [u8],
        /// The end of the range, which is not part of it; empty for one key, and one byte of zero for all keys from `key` on.
        range_end: &'a [u8],
        /// When.
        when: Condition,
    },
    /// The history up to this revision goes.
    Compaction(i64),
    /// A lease is granted.
    LeaseGrant(i64),
    /// A lease ends, and the keys that have it.
    LeaseRevoke(i64),
    /// Users, roles, or whether they are asked for.
    Auth,
    /// An alarm is raised or ends.
    Alarm,
    /// The cluster's version, or the name and URLs of a member.
    Cluster,
    /// A kind of request that no version up to 3.7 has, by the number of its field.
    Unknown(u64),
}

/// The data of an entry is not a request of etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data of the entry is no request of etcd")]
pub struct NotAnEntry;

/// Shows what a request does. A read, and an entry without data, do nothing.
///
/// # Errors
/// It is none.
pub fn effects<'a>(data: &'a [u8], each: &mut dyn FnMut(Effect<'a>)) -> Result<(), NotAnEntry> {
    if is_old_store(data) {
        each(Effect::Cluster);
        return Ok(());
    }
    // A request that cannot be parsed to its end has no effect that can be told: it is looked through first.
    let whole: Option<Vec<(u64, Wire<'a>)>> = fields(data).take(MOST_FIELDS).collect();
    let whole = whole.ok_or(NotAnEntry)?;
    for (field, wire) in whole {
        request(field, wire, each)?;
    }
    Ok(())
}

/// A request has its header, its ID and one operation.
const MOST_FIELDS: usize = 16;

/// A request of the old store: field 2 is its method, and no message.
fn is_old_store(data: &[u8]) -> bool {
    const METHODS: [&[u8]; 5] = [b"PUT", b"POST", b"DELETE", b"QGET", b"SYNC"];
    let mut found = fields(data).take(MOST_FIELDS).map_while(|field| field);
    found.any(|field| matches!(field, (2, Wire::Bytes(method)) if METHODS.contains(&method)))
}

fn request<'a>(field: u64, wire: Wire<'a>, each: &mut dyn FnMut(Effect<'a>)) -> Result<(), NotAnEntry> {
    let body = match (field, wire) {
        // The ID and the header with who asks.
        (1, Wire::Varint(_)) | (100, Wire::Bytes(_)) => return Ok(()),
        (_, Wire::Bytes(body)) => body,
        _ => return Err(NotAnEntry),
    };
    match field {
        // A read; a checkpoint of how long leases still live; who somebody is.
        3 | 11 | 1012 | 1013 | 1102 | 1106 | 1107 | 1202 => {}
        4 => put(body, Condition::Always, each)?,
        5 => delete(body, Condition::Always, each)?,
        6 => transaction(body, None, MOST_NESTED, each)?,
        7 => each(Effect::Compaction(number(body, 1)?.cast_signed())),
        8 => each(Effect::LeaseGrant(number(body, 2)?.cast_signed())),
        9 => each(Effect::LeaseRevoke(number(body, 1)?.cast_signed())),
        10 => each(Effect::Alarm),
        1000..=1299 => each(Effect::Auth),
        2 | 1300..=1303 | 9900 => each(Effect::Cluster),
        _ => each(Effect::Unknown(field)),
    }
    Ok(())
}

fn put<'a>(body: &'a [u8], when: Condition, each: &mut dyn FnMut(Effect<'a>)) -> Result<(), NotAnEntry> {
    each(Effect::Put { key: bytes(body, 1)?, when });
    Ok(())
}

fn delete<'a>(body: &'a [u8], when: Condition, each: &mut dyn FnMut(Effect<'a>)) -> Result<(), NotAnEntry> {
    each(Effect::Delete { key: bytes(body, 1)?, range_end: bytes(body, 2)?, when });
    Ok(())
}

/// Both branches, within a branch of another one.
fn transaction<'a>(
    body: &'a [u8],
    outer: Option<Condition>,
    nested: usize,
    each: &mut dyn FnMut(Effect<'a>),
) -> Result<(), NotAnEntry> {
    // Without a comparison, the first branch is done in any case.
    let compares = has(body, 1)?;
    for field in fields(body) {
        let when = match field.ok_or(NotAnEntry)? {
            (2, Wire::Bytes(operation)) => (operation, if compares { Condition::IfTrue } else { Condition::Always }),
            (3, Wire::Bytes(operation)) if compares => (operation, Condition::IfFalse),
            _ => continue,
        };
        let (operation, own) = when;
        // What is in a branch that may not be done is not certain, whatever it is.
        let when = outer.filter(|&outer| outer != Condition::Always).unwrap_or(own);
        for field in fields(operation) {
            match field.ok_or(NotAnEntry)? {
                (2, Wire::Bytes(body)) => put(body, when, each)?,
                (3, Wire::Bytes(body)) => delete(body, when, each)?,
                (4, Wire::Bytes(body)) => match nested.checked_sub(1) {
                    Some(nested) => transaction(body, Some(when), nested, each)?,
                    None => return Err(NotAnEntry),
                },
                _ => {}
            }
        }
    }
    Ok(())
}

fn has(message: &[u8], wanted: u64) -> Result<bool, NotAnEntry> {
    for field in fields(message) {
        if field.ok_or(NotAnEntry)?.0 == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The last field of bytes with a number, empty if there is none.
fn bytes(message: &[u8], wanted: u64) -> Result<&[u8], NotAnEntry> {
    let mut found: &[u8] = &[];
    for field in fields(message) {
        match field.ok_or(NotAnEntry)? {
            (field, Wire::Bytes(bytes)) if field == wanted => found = bytes,
            _ => {}
        }
    }
    Ok(found)
}

fn number(message: &[u8], wanted: u64) -> Result<u64, NotAnEntry> {
    let mut found = 0;
    for field in fields(message) {
        match field.ok_or(NotAnEntry)? {
            (field, Wire::Varint(number)) if field == wanted => found = number,
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::restore::testing::Message;

    fn all(data: &[u8]) -> Result<Vec<String>, NotAnEntry> {
        let mut seen = Vec::new();
        effects(data, &mut |effect| seen.push(format!("{effect:?}").replace("[107]", "k").replace("[109]", "m")))?;
        Ok(seen)
    }

    fn message(field: u16, body: &[u8]) -> Vec<u8> {
        // Fields above 15 have a tag of two bytes.
        let tag = u32::from(field) << 3 | 2;
        let mut out = Vec::new();
        let mut value = tag;
        while value >= 0x80 {
            out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        out.push(value.to_le_bytes()[0]);
        assert!(body.len() < 0x80);
        out.push(body.len().to_le_bytes()[0]);
        out.extend(body);
        out
    }

    #[test]
    fn requests_are_told_by_their_keys() {
        let put = Message::default().bytes(1, b"k").bytes(2, b"a secret value").finish();
        let delete = Message::default().bytes(1, b"k").bytes(2, b"m").finish();
        let header = message(100, &Message::default().varint(1, 77).finish());
        let with = |field, body: &[u8]| [header.clone(), message(field, body)].concat();
        assert_eq!(all(&with(4, &put)).expect("a put"), ["Put { key: k, when: Always }"]);
        assert_eq!(all(&with(5, &delete)).expect("a delete"), ["Delete { key: k, range_end: m, when: Always }"]);
        let operation = |field, body: &[u8]| Message::default().bytes(field, body).finish();
        let inner = Message::default().bytes(2, &operation(3, &delete)).finish();
        let txn = Message::default()
            .bytes(1, b"")
            .bytes(2, &operation(2, &put))
            .bytes(2, &operation(4, &inner))
            .bytes(3, &operation(1, &put))
            .bytes(3, &operation(3, &delete))
            .finish();
        assert_eq!(
            all(&with(6, &txn)).expect("a transaction"),
            [
                "Put { key: k, when: IfTrue }",
                "Delete { key: k, range_end: m, when: IfTrue }",
                "Delete { key: k, range_end: m, when: IfFalse }"
            ]
        );
        let certain = Message::default().bytes(2, &operation(2, &put)).bytes(3, &operation(3, &delete)).finish();
        assert_eq!(all(&with(6, &certain)).expect("a transaction"), ["Put { key: k, when: Always }"]);
        let one = |field, number| Message::default().varint(field, number).finish();
        assert_eq!(all(&with(7, &one(1, 9))).expect("a compaction"), ["Compaction(9)"]);
        assert_eq!(all(&with(8, &one(2, u64::MAX))).expect("a lease"), ["LeaseGrant(-1)"]);
        assert_eq!(all(&with(9, &one(1, 5))).expect("a lease"), ["LeaseRevoke(5)"]);
        assert_eq!(all(&with(1100, b"")).expect("a user"), ["Auth"]);
        assert_eq!(all(&with(1300, b"")).expect("a version"), ["Cluster"]);
        assert_eq!(all(&with(4000, b"")).expect("a later request"), ["Unknown(4000)"]);
        assert_eq!(all(&with(3, &put)).expect("a read"), [""; 0]);
        assert_eq!(all(b"").expect("nothing"), [""; 0]);
    }

    #[test]
    fn requests_of_the_old_store_are_about_the_cluster() {
        let path = b"/0/members/8e9e05c52164694d/attributes";
        let old = Message::default().varint(1, 7).bytes(2, b"PUT").bytes(3, path).bytes(4, b"{}").finish();
        assert_eq!(all(&old).expect("a request"), ["Cluster"]);
    }

    #[test]
    fn too_deep_is_an_error_and_not_a_crash() {
        let mut txn = Message::default().bytes(1, b"").finish();
        for _ in 0..MOST_NESTED + 2 {
            let operation = Message::default().bytes(4, &txn).finish();
            txn = Message::default().bytes(2, &operation).finish();
        }
        assert_eq!(effects(&Message::default().bytes(6, &txn).finish(), &mut |_| {}), Err(NotAnEntry));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error(data in prop::collection::vec(prop_oneof![any::<u8>(), 0..0x40_u8], 0..60)) {
            let mut bytes = 0;
            let _either = effects(&data, &mut |effect| if let Effect::Put { key, .. } = effect { bytes += key.len() });
            prop_assert!(bytes <= data.len() * 4);
        }
    }
}
