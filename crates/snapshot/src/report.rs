//! What a snapshot that was verified holds.

use serde::Serialize;

use crate::record::minor;
use crate::warning::is_inconsistent_release;
use crate::{HashKv, Warning};

/// The figures of a snapshot. The first five have the names and values of `etcdutl snapshot status -w json` of the etcd
/// version that wrote the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// CRC-32C over all buckets' names, keys and values.
    pub hash: u32,
    /// Revision of the last change; 0 in a store without one.
    pub revision: i64,
    /// As the writer's own tool counts: [`items`](Self::items) up to 3.5, [`live_keys`](Self::live_keys) from 3.6 on.
    pub total_key: u64,
    /// Bytes of the database, without the digest.
    pub total_size: u64,
    /// The storage version that 3.6 and later record, for example "3.6.0"; empty before.
    pub version: String,

    /// Items in all buckets.
    pub items: u64,
    /// Distinct user keys that are not deleted.
    pub live_keys: u64,
    /// Minor version of the etcd that wrote the file, as its records tell: "3.4" (or older), "3.5", "3.6" ...
    pub writer: String,
    /// The cluster's agreed version; a cluster has none in its first seconds.
    pub cluster_version: Option<String>,
    /// Raft index of the last entry applied.
    pub consistent_index: Option<u64>,
    /// Raft term of that entry; from 3.5 on.
    pub term: Option<u64>,
    /// The members that the file names.
    pub members: Vec<Member>,
    /// Ids in hex of members that were removed and must not come back.
    pub members_removed: Vec<String>,

    /// What a member answers to HashKV at its current revision, with exactly this data.
    pub hash_kv: HashKv,
    /// The revision that the store is at: that of the last change, or of a compaction or revision bump above it; at least 1.
    pub current_revision: i64,
    /// How far the history has been compacted.
    pub compaction: Compaction,
    /// How many leases there are.
    pub leases: u64,
    /// How many live keys have a lease.
    pub keys_with_lease: u64,
    /// Who may use the store.
    pub auth: Auth,
    /// The alarms that are active.
    pub alarms: Vec<Alarm>,
    /// What is no damage, but worth knowing before a restore.
    pub warnings: Vec<Warning>,

    /// Bytes of a page.
    pub page_size: u32,
    /// Pages of the database, free ones included.
    pub pages: u64,
    /// Pages that nothing uses: what a defragmentation would give back.
    pub free_pages: u64,
    /// bbolt's transaction id.
    pub txid: u64,
    /// The two meta pages.
    pub meta: [MetaState; 2],
    /// Which of them is in force.
    pub active_meta: u8,
    /// Why that one.
    pub active_meta_reason: MetaReason,

    /// What the file itself says about its bytes.
    pub digest: DigestState,
    /// SHA-256 of the database, in hex: [`total_size`](Self::total_size) bytes. Unknown if it was to be skipped.
    pub sha256: Option<String>,
    /// SHA-256 of the whole file, in hex; unknown unless the check computed it.
    pub file_sha256: Option<String>,
    /// Bytes of the whole file.
    pub file_size: u64,
}

impl Report {
    /// Adds the [`Warning`] that the release of the member needs which the file was taken from, given as "3.5.1": the file tells only
    /// the minor version.
    pub fn taken_from(&mut self, etcd_version: &str) {
        if is_inconsistent_release(etcd_version) {
            self.warnings.push(Warning::Etcd35Inconsistency { version: etcd_version.to_owned() });
        }
    }

    /// Major and minor version of etcd that knows everything in the file: the highest of those that it names and of the one
    /// that wrote it.
    pub fn etcd(&self) -> Option<(u32, u32)> {
        let texts = [Some(self.version.as_str()), self.cluster_version.as_deref(), Some(self.writer.as_str())];
        texts.into_iter().flatten().filter_map(minor).max()
    }
}

/// What the digest at the end of a file proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DigestState {
    /// The bytes are those that etcd sent.
    Matches,
    /// They are not. Only ever seen in [`Damage::report`](crate::Damage::report).
    Mismatch,
    /// A copy of a database file: it has no digest, nothing proves its bytes.
    Absent,
    /// There is a digest, and it was to be skipped.
    Unchecked,
}

/// State of a meta page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum MetaState {
    /// Valid.
    #[error("valid")]
    Valid,
    /// bbolt's mark is missing.
    #[error("bbolt's mark is missing")]
    BadMagic,
    /// Another format version than 2.
    #[error("another format version than 2")]
    BadVersion,
    /// Its checksum is wrong.
    #[error("its checksum is wrong")]
    BadChecksum,
    /// A page size that bbolt cannot have, or another than the file's.
    #[error("its page size is wrong")]
    BadPageSize,
}

/// Why one of the two meta pages is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum MetaReason {
    /// Both are valid, and its transaction is the later one.
    #[error("its transaction is the later one")]
    LaterTransaction,
    /// Both are valid and of the same transaction: bbolt then takes the first.
    #[error("both are of the same transaction, and bbolt takes the first")]
    First,
    /// The other one is not valid.
    #[error("the other one is not valid")]
    OnlyValid,
}

/// How far the history has been compacted, in revisions; `None` if it never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compaction {
    /// Up to where a compaction was begun. Above `finished` it was cut short, or a revision bump asks for it: etcd resumes
    /// it when it starts.
    pub scheduled: Option<i64>,
    /// Up to where a compaction was finished.
    pub finished: Option<i64>,
}

/// Who may use the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Whether etcd asks who its clients are.
    pub enabled: bool,
    /// How many users there are.
    pub users: u64,
    /// How many roles there are.
    pub roles: u64,
}

/// An alarm that a member has raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// The member's id in hex. After a restore it may be that of a member that is no more.
    pub member_id: String,
    /// What it is about.
    pub kind: AlarmKind,
}

/// What an alarm is about, named as etcd names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "UPPERCASE")]
pub enum AlarmKind {
    /// The database has reached its quota.
    #[error("NOSPACE")]
    NoSpace,
    /// A member's data differs from that of the others.
    #[error("CORRUPT")]
    Corrupt,
    /// A kind that a later etcd may have added.
    #[error("UNKNOWN")]
    Unknown,
}

/// A member, as etcd records it in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its id in hex, as etcdctl prints it.
    pub id: String,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Whether it is a learner.
    pub is_learner: bool,
}
