//! What a node's disk tells about a restore: room, static pods, and the names of the keys that encrypt what is stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Failure;

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
