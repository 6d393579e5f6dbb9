//! The `.json` of a backup: what it is, for whoever restores it years later, and for those who may not decrypt it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Class, ClusterUid, Level, Name, RecoveryPlan};

/// The version of this document. Another one is refused.
pub const API_VERSION: &str = "kubectl-etcd/v1";
/// What this document is.
pub const KIND: &str = "StoredBackup";

/// The whole document. Holds no secrets: anyone who may list a store may read it.
///
/// Fields that this version does not know are ignored: what they say adds to a backup, and takes nothing away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`API_VERSION`].
    pub api_version: String,
    /// [`KIND`].
    pub kind: String,
    /// The name of the backup, which its objects bear.
    pub name: String,
    /// Why the backup was taken.
    pub class: Class,
    /// When the backup began, by the clock of who took it.
    pub taken_at: Timestamp,
    /// Who took it.
    pub program: Program,
    /// How much the writer has checked: [`Level::Digest`] or [`Level::Written`].
    pub level: Level,
    /// Whose it is.
    pub cluster: Cluster,
    /// The member that the snapshot was taken from.
    pub source: SourceMember,
    /// What the snapshot holds.
    pub snapshot: Snapshot,
    /// age recipients of the snapshot, as text. Empty: the snapshot is not encrypted.
    pub recipients: Vec<String>,
    /// The other objects of the backup.
    pub objects: Vec<StoredObject>,
    /// What a restore on new machines has to know.
    pub recovery_plan: RecoveryPlan,
}

/// The program that has written a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Program {
    /// `kubectl-etcd` or `etcd-sidecar`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Whose a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// UID of namespace kube-system, as text. Read out of the snapshot.
    pub uid: String,
    /// What people call the cluster: its name in the kubeconfig, or in the schedule.
    pub name: Option<String>,
    /// Version of the API server, if it was asked.
    pub kubernetes_version: Option<String>,
    /// ID of the etcd cluster, hexadecimal. Not an identity.
    pub etcd_cluster_id: String,
}

/// The member that a snapshot was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceMember {
    /// Its node.
    pub node: String,
    /// Its name in etcd.
    pub name: String,
    /// Its ID, hexadecimal.
    pub member_id: String,
    /// `leader` or `follower`.
    pub role: String,
    /// The version of its etcd.
    pub etcd_version: String,
}

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Bytes of the snapshot file, unpacked, with etcd's digest at its end.
    pub size: u64,
    /// SHA-256 of that file, hexadecimal.
    pub sha256: String,
    /// What the check of the pages has found; nothing at [`Level::Digest`].
    #[serde(flatten)]
    pub checked: Option<Checked>,
}

/// What the check of the pages of a snapshot has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// etcd's revision.
    pub revision: i64,
    /// The hash of all keys at that revision, as `etcdctl endpoint hashkv` prints it.
    pub hash_kv: u32,
    /// The hash of the whole database, as `etcdutl snapshot status` prints it.
    pub hash: u32,
    /// Keys in the file, as `etcdutl snapshot status` counts them.
    pub total_key: u64,
    /// Bytes of the database.
    pub total_size: u64,
    /// The version that the database records of itself; empty before etcd 3.6.
    pub version: String,
    /// Live objects by resource, as in `deployments.apps`.
    pub resources: BTreeMap<String, u64>,
    /// Names of the keys that values are encrypted with, as values begin with them: `secretbox:v1:key1`. Never the keys.
    pub encryption_keys: Vec<String>,
}

/// One stored object of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredObject {
    /// Its file name in the folder of the cluster.
    pub name: String,
    /// Its bytes in the store.
    pub size: u64,
    /// SHA-256 of those bytes, hexadecimal: they can be checked without a key.
    pub sha256: String,
    /// age recipients that can decrypt it.
    pub recipients: Vec<String>,
}

/// A document that is no record of a backup.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is not JSON of this form.
    #[error("the record is not of the expected form: {0}")]
    Form(#[from] serde_json::Error),
    /// It is of another version.
    #[error("the record is a {kind} of {api_version}, and this version reads a {KIND} of {API_VERSION}")]
    Version {
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
    /// It is the record of another backup, or contradicts its own name.
    #[error("the record contradicts its place in the store: {0}")]
    Contradicts(String),
}

impl Record {
    /// Reads a record that lies under a name.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn read(bytes: &[u8], cluster: &ClusterUid, name: &Name) -> Result<Record, RecordError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            api_version: String,
            kind: String,
        }
        let Head { api_version, kind } = serde_json::from_slice(bytes)?;
        if (api_version.as_str(), kind.as_str()) != (API_VERSION, KIND) {
            return Err(RecordError::Version { api_version, kind });
        }
        let record: Record = serde_json::from_slice(bytes)?;
        record.agrees(cluster, name)?;
        Ok(record)
    }

    fn agrees(&self, cluster: &ClusterUid, name: &Name) -> Result<(), RecordError> {
        let is = |what: &str, here: &str, there: &str| match here == there {
            true => Ok(()),
            false => Err(RecordError::Contradicts(format!("{what} is {here:?}, and the place says {there:?}"))),
        };
        is("its name", &self.name, &name.to_string())?;
        is("its cluster", &self.cluster.uid, cluster.as_str())?;
        is("its class", self.class.word(), name.class().word())?;
        is("its time", &self.taken_at.to_string(), &name.taken().to_string())
    }

    /// The record as it is stored: JSON for people, with a newline at its end.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}
