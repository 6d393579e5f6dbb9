//! The `.snap` file: where raft's log starts, and the members as etcd before 3.6 knows them.
//!
//! ```text
//! file:      1 crc (CRC-32C of field 2), 2 raft snapshot
//! snapshot:  1 the v2 store as JSON, 2 { 1 voters, 2 index, 3 term }
//! ```
//! Without it a member that joins later would replay the log instead of asking for the database, and serve an empty keyspace.
//! Read from etcd server/etcdserver/api/snap/snapshotter.go, snappb/snap.proto and etcdserver/api/v2store/{store,node}.go @
//! v3.5.33; 3.6 reads the same, 3.7 does not read it.

use std::collections::BTreeMap;

use crc32c::crc32c;
use serde::Serialize;

use super::membership::Membership;
use super::proto::Message;
use super::wal::{Malformed, TERM, conf_state, voters};
use crate::protobuf::{Wire, fields};

/// What a `.snap` file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RaftSnapshot {
    /// Index of the last entry it stands for.
    pub index: u64,
    /// Raft term of that entry.
    pub term: u64,
    /// The members that vote.
    pub voters: Vec<u64>,
    /// The v2 store, as JSON: before 3.6, the members.
    pub store: Vec<u8>,
}

/// Why bytes are not a `.snap` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RaftSnapshotError {
    /// It is not laid out like one.
    #[error("not a raft snapshot")]
    Malformed,
    /// Its checksum is wrong.
    #[error("the raft snapshot has another checksum than it says")]
    Checksum,
}

impl From<Malformed> for RaftSnapshotError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl RaftSnapshot {
    /// That of a restored member: after the entries that add the members.
    pub(super) fn of(membership: &Membership) -> Self {
        let index = membership.last_index();
        Self { index, term: TERM, voters: membership.ids(), store: store(membership) }
    }

    /// The name by which etcd finds it.
    pub(super) fn file_name(&self) -> String {
        format!("{:016x}-{:016x}.snap", self.term, self.index)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let state = conf_state(&self.voters);
        let metadata = Message::default().bytes(1, &state).varint(2, self.index).varint(3, self.term).finish();
        let snapshot = Message::default().bytes(1, &self.store).bytes(2, &metadata).finish();
        Message::default().varint(1, u64::from(crc32c(&snapshot))).bytes(2, &snapshot).finish()
    }

    /// Reads a `.snap` file.
    ///
    /// # Errors
    /// See [`RaftSnapshotError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RaftSnapshotError> {
        let (mut crc, mut snapshot) = (None, &[][..]);
        for field in fields(bytes) {
            match field.ok_or(Malformed)? {
                (1, Wire::Varint(stored)) => crc = Some(stored),
                (2, Wire::Bytes(bytes)) => snapshot = bytes,
                _ => return Err(RaftSnapshotError::Malformed),
            }
        }
        if crc != Some(u64::from(crc32c(snapshot))) {
            return Err(RaftSnapshotError::Checksum);
        }
        let mut decoded = Self::default();
        for field in fields(snapshot) {
            match field.ok_or(Malformed)? {
                (1, Wire::Bytes(store)) => decoded.store = store.to_vec(),
                (2, Wire::Bytes(metadata)) => decoded.take_metadata(metadata)?,
                _ => return Err(RaftSnapshotError::Malformed),
            }
        }
        Ok(decoded)
    }

    fn take_metadata(&mut self, metadata: &[u8]) -> Result<(), Malformed> {
        for field in fields(metadata) {
            match field.ok_or(Malformed)? {
                (1, Wire::Bytes(state)) => self.voters = voters(state)?,
                (2, Wire::Varint(index)) => self.index = index,
                (3, Wire::Varint(term)) => self.term = term,
                _ => return Err(Malformed),
            }
        }
        Ok(())
    }
}

/// A node of etcd's v2 store: a directory has children, a value has none.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    path: String,
    created_index: u64,
    modified_index: u64,
    expire_time: &'static str,
    value: String,
    children: Option<BTreeMap<String, Node>>,
}

/// The least that 3.4 to 3.6 read: the members, and the empty directory in which users' keys once were. Nothing says
/// which version the cluster has, so it finds out by itself.
fn store(membership: &Membership) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Store {
        root: Node,
        current_index: u64,
        current_version: u8,
    }
    let members = (1..).zip(membership.members()).map(|(index, member)| {
        let name = format!("{:x}", member.id);
        let path = format!("/0/members/{name}");
        let urls = serde_json::json!({ "peerURLs": member.peer_urls }).to_string();
        let attributes = node(format!("{path}/raftAttributes"), index, urls, None);
        let children = BTreeMap::from([("raftAttributes".to_owned(), attributes)]);
        (name, node(path, index, String::new(), Some(children)))
    });
    let directory = |path: &str, index, children| node(path.to_owned(), index, String::new(), Some(children));
    let members = directory("/0/members", 1, members.collect());
    let cluster = directory("/0", 0, BTreeMap::from([("members".to_owned(), members)]));
    let keys = directory("/1", 0, BTreeMap::new());
    let root = directory("/", 0, BTreeMap::from([("0".to_owned(), cluster), ("1".to_owned(), keys)]));
    let store = Store { root, current_index: membership.last_index(), current_version: 2 };
    serde_json::to_vec(&store).expect("numbers, strings and maps of strings are always JSON")
}

fn node(path: String, index: u64, value: String, children: Option<BTreeMap<String, Node>>) -> Node {
    Node { path, created_index: index, modified_index: index, expire_time: "0001-01-01T00:00:00Z", value, children }
}
