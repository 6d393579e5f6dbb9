//! A drill in a pod: the sidecar runs beside an etcd program that serves no cluster, and the client sends the snapshot.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most bytes of an [`EncryptionConfig`].
pub const MAX_ENCRYPTION_CONFIG: usize = 64 << 10;

/// Body of [`Request::Drill`](crate::Request::Drill): the backup, and what was recorded of it. What is not known was not recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillRequest {
    /// The backup, for people.
    pub name: String,
    /// Bytes of the snapshot that follows.
    pub bytes: u64,
    /// Prefix of the API server whose objects are read, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Who has signed the record, if a trusted key has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// What the cluster is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// UID of its namespace kube-system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_system_uid: Option<String>,
    /// When the backup began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// Version of the member that it was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<String>,
    /// The revision of the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// The hash of all keys at that revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_kv: Option<u32>,
    /// What values are decrypted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_config: Option<EncryptionConfig>,
    /// The cluster's own API server, where one is to be started on that etcd, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<DrillApiServer>,
}

/// The API server of a drill: its program is in the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillApiServer {
    /// The image that the program is of.
    pub image: String,
    /// The flags of the cluster's own that say something of the data, as `--name=value`.
    pub flags: Vec<String>,
}

/// The text of an API server's EncryptionConfiguration. It holds keys, and is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EncryptionConfig(pub String);

impl fmt::Debug for EncryptionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionConfig(..)")
    }
}

/// The drill was made, whatever it came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillDone {
    /// The document, as docs/DRILL.md describes it.
    pub document: Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_shown() {
        let request =
            DrillRequest { encryption_config: Some(EncryptionConfig("secret: c2VjcmV0".into())), ..Default::default() };
        assert!(!format!("{request:?}").contains("c2VjcmV0"));
        assert!(serde_json::to_string(&request).unwrap().contains("c2VjcmV0"));
    }
}
