//! A snapshot of a member that has lost its quorum, with everything that its log has: made on a copy, by the node's own etcd.

use serde::{Deserialize, Serialize};

use crate::message::Compression;
use crate::survey::RaftPosition;

/// Body of [`Request::Replay`](crate::Request::Replay). Paths are the node's own, absolute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayRequest {
    /// The member's data directory.
    pub data_dir: String,
    /// The folder of its log, where it is not in the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_dir: Option<String>,
    /// The etcd program that applies the log, where the node's own is not found by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<String>,
    /// The last entry of the log, as the survey had it: a log that ends elsewhere is refused.
    pub last: RaftPosition,
    /// Whether etcd may run. Without quorum it applies nothing, so that a copy of its files is whole; whether it did is looked at.
    #[serde(default)]
    pub may_run: bool,
    /// How the stream is compressed on the wire.
    #[serde(default)]
    pub compression: Compression,
}

/// The snapshot was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayDone {
    /// The last entry that was applied.
    pub last: RaftPosition,
    /// Revision of the snapshot.
    pub revision: i64,
    /// Revision that the member's own database has.
    pub database_revision: i64,
    /// Folders with copies that an earlier run has left on the node, because it was killed: they were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}
