//! What a restore has to know when the cluster cannot be asked any more.

use serde::{Deserialize, Serialize};

/// Nodes, members, paths and certificates of a control plane when a backup was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RecoveryPlan {
    /// The control-plane nodes.
    pub nodes: Vec<Node>,
    /// Where the API is, as clients are told: `https://HOST:PORT`.
    pub api: Option<Api>,
}

/// Where the API is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Api {
    /// The address in the kubeconfig, or in the cluster's own configuration.
    pub server: String,
    /// `--secure-port` of the API servers.
    pub secure_port: Option<u16>,
}

/// A control-plane node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    /// Its name in the API.
    pub name: String,
    /// Its addresses in the API.
    pub addresses: Vec<String>,
    /// Its etcd member, if it has one.
    pub member: Option<Member>,
    /// The folder of static pods.
    pub manifests_folder: Option<String>,
    /// Digests of the manifests there.
    pub manifests: Vec<ManifestDigest>,
}

/// An etcd member on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its ID, hexadecimal.
    pub id: Option<String>,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Its data directory on the node.
    pub data_dir: Option<String>,
    /// Its WAL directory on the node, if that is another.
    pub wal_dir: Option<String>,
    /// The image of its container.
    pub image: Option<String>,
    /// The flags of its command line.
    pub flags: Vec<String>,
    /// `--quota-backend-bytes`, if it is set.
    pub quota_bytes: Option<u64>,
    /// Owner of its data directory, as UID:GID.
    pub owner: Option<String>,
    /// Mode of its data directory, octal.
    pub mode: Option<String>,
    /// Its certificates and keys on the node. Only public parts are described.
    pub certificates: Vec<Certificate>,
}

/// A certificate file on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificate {
    /// What it is for: `ca`, `server`, `peer`, `client`.
    pub purpose: String,
    /// Its path on the node.
    pub path: String,
    /// SHA-256 of its DER, hexadecimal, if it could be read.
    pub fingerprint: Option<String>,
}

/// A manifest file on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManifestDigest {
    /// Its file name.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}
