//! What a node's disk tells about a restore: room, static pods, and the names of the keys that encrypt what is stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::restore::Parts;

/// Body of [`Request::Facts`](crate::Request::Facts). Paths are the node's own, absolute. What the pod has not mounted is not seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FactsRequest {
    /// etcd's data directory.
    pub data_dir: String,
    /// etcd's WAL directory, where it is not in the data directory.
    pub wal_dir: Option<String>,
    /// The kubelet's folder of static pod manifests.
    pub manifests_dir: String,
    /// Which parts of the control plane are on the node. Without etcd, `data_dir` is empty.
    #[serde(default, skip_serializing_if = "Parts::are_both")]
    pub parts: Parts,
    /// Whether there may be no database: the room of a node whose data was deleted is measured all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_empty: bool,
    /// What is asked besides. Capability `health`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthRequest>,
}

/// What is asked besides for a check of everything that can make a restore fail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthRequest {
    /// URLs with `http:` where etcd tells its metrics, tried in order; as seen from the node.
    pub metrics_urls: Vec<String>,
    /// The port at which the nodes of a restore speak to each other.
    pub peer_port: u16,
}

/// What a node's disk tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFacts {
    /// The data directory's file system.
    pub disk: Option<Disk>,
    /// The files in the manifests folder, by the component that they start.
    pub manifests: Option<BTreeMap<String, String>>,
    /// By what the API server encrypts.
    #[serde(default)]
    pub encryption: Encryption,
    /// Why what is missing above is missing.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// What was asked besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthFacts>,
}

/// The answer to a [`HealthRequest`]. What is not known has the reason, one line, in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthFacts {
    /// The node's clock, milliseconds since 1970.
    pub clock_ms: i64,
    /// The files in the manifests folder that its kubelet reads, by name, at most [`MOST_FILES`].
    pub static_files: Result<Vec<StaticFile>, String>,
    /// Databases that kubeadm has left, the oldest first, at most [`MOST_FILES`].
    pub kubeadm_backups: Result<Vec<LeftFile>, String>,
    /// IDs of the members that the database itself has, in hex, as etcdctl prints them.
    pub database_members: Result<Vec<String>, String>,
    /// IDs of those of them that vote by raft's own state in the database, and are learners by their records in it.
    #[serde(default = "untold")]
    pub unrecorded_promotions: Result<Vec<String>, String>,
    /// How long etcd has waited for the disk of its log.
    pub wal_fsync: Result<Waits, String>,
    /// Whether a process listens at the port that was asked about.
    pub peer_port_taken: Result<bool, String>,
}

/// What a sidecar does not tell that does not know the fact.
fn untold<T>() -> Result<T, String> {
    Err("the sidecar cannot tell: it is of another version".to_owned())
}

/// Most files of a folder that are told.
pub const MOST_FILES: usize = 200;

/// A file in the manifests folder. A kubelet runs every one that is a pod, whatever its name ends in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StaticFile {
    /// Its name.
    pub name: String,
    /// The component of a control plane that it starts: `etcd`, `kube-apiserver`, `kube-controller-manager` or `kube-scheduler`.
    pub component: Option<String>,
    /// Why it is no pod.
    pub trouble: Option<String>,
}

/// A file that was left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeftFile {
    /// Where it is.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
}

/// How long something has taken, as a histogram of Prometheus counts it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Waits {
    /// How often it was done.
    pub count: u64,
    /// How often it took no longer than so many microseconds, the shortest first.
    pub within: Vec<Within>,
}

/// A bucket of a histogram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Within {
    /// Upper bound, microseconds.
    pub micros: u64,
    /// How often it took no longer.
    pub count: u64,
}

impl Waits {
    /// How often it took longer than so many microseconds: by the smallest bucket that holds that bound, so rather too few than too many.
    pub fn longer_than(&self, micros: u64) -> u64 {
        let within =
            self.within.iter().find(|within| within.micros >= micros).map_or(self.count, |within| within.count);
        self.count.saturating_sub(within)
    }
}

/// The room on a node, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// Free on the file system of the data directory.
    pub free_bytes: u64,
    /// Free on the file system of the WAL directory, where it is not in the data directory.
    pub wal_free_bytes: Option<u64>,
    /// Size of the member's database file.
    pub database_bytes: u64,
}

/// How an API server encrypts what it stores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Encryption {
    /// It does not: nothing tells it to.
    Off,
    /// By these keys.
    Keys {
        /// For whatever resources, in the order of the file.
        keys: Vec<EncryptionKey>,
    },
    /// Its configuration could not be read.
    Unread {
        /// Why.
        why: String,
    },
    /// Not known, as when its manifest is not; or something a later version knows.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A key by its name. A value that it encrypted begins with `k8s:enc:PROVIDER:VERSION:NAME:`. The key itself stays on the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionKey {
    /// `aescbc`, `aesgcm`, `secretbox` or `kms`.
    pub provider: String,
    /// `v1`, or `v2` for the second KMS interface.
    pub version: String,
    /// Name of the key, or of the KMS plugin.
    pub name: String,
}

/// Bytes that a restore needs on a data directory's file system while the old data is still in place: the snapshot that was sent
/// there and the database that is made of it, each as large as the snapshot at most, and [`WAL_BYTES`].
pub fn staging_bytes(snapshot_bytes: u64) -> u64 {
    snapshot_bytes.saturating_mul(2).saturating_add(WAL_BYTES)
}

/// Bytes that a new member needs where its WAL is: etcd fills one file of 64 MiB and keeps the next one ready.
pub const WAL_BYTES: u64 = 128 << 20;
