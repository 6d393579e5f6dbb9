//! What is left of etcd on a node, read from its disk: how far its log and its database are, and whose they are. IDs are hexadecimal text, as etcdctl
//! prints them, so that every reader of JSON keeps all their digits.

use serde::{Deserialize, Serialize};

use crate::Failure;

/// Body of [`Request::Survey`](crate::Request::Survey). Paths are the node's own, absolute. Without a data directory the sidecar looks for etcd itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SurveyRequest {
    /// etcd's data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<String>,
    /// etcd's WAL directory, where it is not in the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_dir: Option<String>,
    /// The kubelet's folder of static pod manifests; `/etc/kubernetes/manifests` if it is not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests_dir: Option<String>,
}

/// What is on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSurvey {
    /// The node's own name for itself.
    pub node: String,
    /// The data directories that were found, the most likely first. More than one means that it is for a person to say which is in use.
    pub etcd: Vec<EtcdSurvey>,
    /// What could not be looked at.
    pub failures: Vec<Failure>,
}

/// One data directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EtcdSurvey {
    /// What has named it, for people: `the manifest /etc/kubernetes/manifests/etcd.yaml`.
    pub found_by: String,
    /// Where it is.
    pub data_dir: String,
    /// Where the log is, if it is not in it.
    pub wal_dir: Option<String>,
    /// Whether a process has it open.
    pub state: EtcdState,
    /// True if there is no log, readable or not: such a member votes for nothing and serves nobody, whatever else is there.
    pub empty: bool,
    /// The log; `None` if it cannot be read.
    pub log: Option<LogSurvey>,
    /// The database; `None` if it cannot be read.
    pub database: Option<DatabaseSurvey>,
    /// What the log has and the database has not; `None` if one of them cannot be read.
    pub only_in_log: Option<OnlyInLog>,
    /// The newest whole `.snap` file.
    pub raft_snapshot: Option<RaftPosition>,
    /// Raft indexes of whole databases that a leader has sent, and that may not be in place yet, the newest first.
    pub received_databases: Vec<u64>,
    /// Free on the file system of the data directory, bytes.
    pub free_bytes: Option<u64>,
    /// Free on the file system of the WAL directory, where it is not in the data directory, bytes.
    pub wal_free_bytes: Option<u64>,
    /// Why what is missing above is missing.
    pub failures: Vec<Failure>,
}

impl EtcdSurvey {
    /// Whether there is no data: no log, and at most a database that an etcd has made which ended before it had one.
    pub fn is_bare(&self) -> bool {
        let nothing = |database: &DatabaseSurvey| database.members.is_empty() && database.revision <= 1;
        self.empty && self.database.as_ref().is_none_or(nothing)
    }
}

/// Whether a process has a data directory open, by the locks on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EtcdState {
    /// One has.
    Running,
    /// None has.
    Stopped,
    /// It could not be tried; or something a later version knows.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A place in raft's log. Members are ranked by it: first by the term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RaftPosition {
    /// Raft term.
    pub term: u64,
    /// Raft index.
    pub index: u64,
}

/// What a log says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogSurvey {
    /// ID of the member, hexadecimal.
    pub member_id: String,
    /// ID of the cluster, hexadecimal.
    pub cluster_id: String,
    /// The last valid entry, or the snapshot that the log continues.
    pub last: RaftPosition,
    /// Index of the last entry that the log says is committed: often below the last one.
    pub commit: u64,
    /// Raft term of the member.
    pub term: u64,
    /// Index of the first entry that is there.
    pub first: Option<u64>,
    /// How many entries count.
    pub entries: u64,
    /// How many entries were replaced by those of a later leader.
    pub replaced: u64,
    /// Bytes of all records.
    pub bytes: u64,
    /// What is left of a write that was cut off.
    pub torn: Option<TornSurvey>,
}

/// The end of a log that was cut off while it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TornSurvey {
    /// The file.
    pub segment: String,
    /// Up to where it is valid.
    pub offset: u64,
    /// Why it is not valid from there on, for people.
    pub reason: String,
    /// Bytes from there to the last one that is not zero.
    pub bytes: u64,
    /// Whether whole records follow.
    pub records_follow: bool,
}

/// What a database says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DatabaseSurvey {
    /// Bytes of its pages.
    pub bytes: u64,
    /// The revision that it is at.
    pub revision: i64,
    /// Raft index of the last entry that it has applied.
    pub consistent_index: Option<u64>,
    /// Raft term of that entry; from etcd 3.5 on.
    pub term: Option<u64>,
    /// The storage version of etcd 3.6 and later; empty before.
    pub storage_version: String,
    /// The cluster's agreed version.
    pub cluster_version: Option<String>,
    /// The members that it knows, up to 32.
    pub members: Vec<SurveyedMember>,
    /// Active alarms, as `NOSPACE of member 8e9e05c52164694d`.
    pub alarms: Vec<String>,
    /// UID of namespace kube-system: which cluster's data this is.
    pub kube_system_uid: Option<String>,
}

/// A member that a database knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SurveyedMember {
    /// Its ID, hexadecimal.
    pub id: String,
    /// Its name; empty for a member that has not started yet.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// True for a learner.
    pub learner: bool,
}

impl SurveyedMember {
    /// Whether it votes, or may: etcd 3.5 before 3.5.20 writes neither the promotion of a learner nor its name to the database
    /// (<https://github.com/etcd-io/etcd/issues/19557>).
    pub fn may_vote(&self) -> bool {
        !self.learner || self.name.is_empty()
    }
}

/// What a log has above the last entry that the database has applied: what would be lost with the log. No values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OnlyInLog {
    /// How many entries.
    pub entries: u64,
    /// How many of them are above the commit index of the log. They may have been acknowledged all the same.
    pub uncommitted: u64,
    /// The first index that neither has, if entries between them are missing.
    pub missing_from: Option<u64>,
    /// Whether the database has applied more than the log has.
    pub database_is_ahead: bool,
    /// The keys that are changed, or may be, in byte order.
    pub keys: Vec<KeyInLog>,
    /// Changes of keys that are not listed, because there are too many.
    pub more_changes: u64,
    /// Leases that are granted.
    pub leases_granted: u64,
    /// Leases that end.
    pub leases_revoked: u64,
    /// The highest revision up to which the history is compacted.
    pub compacted: Option<i64>,
    /// Changes of users and roles.
    pub auth_changes: u64,
    /// Changes of the members.
    pub member_changes: u64,
    /// Entries that are too large to be looked into, or whose request is not known.
    pub unread: u64,
}

/// A key that is changed in a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyInLog {
    /// The key; bytes that are no text are written as `\xNN`.
    pub key: String,
    /// The end of the range that is deleted, where one is.
    pub range_end: Option<String>,
    /// How many entries put it.
    pub puts: u64,
    /// How many delete it, or the range.
    pub deletes: u64,
    /// Whether at least one of these changes happens in any case, and does not depend on what a transaction compares.
    pub certain: bool,
}
