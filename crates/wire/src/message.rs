//! What the frames say. JSON with camelCase names; fields are only ever added, and unknown ones are passed over.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bounds::{TOLD_CAUSES, told};
use crate::drill::{DrillDone, DrillRequest};
use crate::facts::{FactsRequest, NodeFacts};
use crate::order::{OrderOutcome, OrderRequest};
use crate::replace::{ReplacePlan, ReplacedData, ReplacedDataRequest, Replacement};
use crate::replay::{ReplayDone, ReplayRequest};
use crate::restore::{
    Answer, ArmRequest, Control, DirectRequest, Message, NodeRestore, ParticipantState, PrepareRequest, Prepared,
    RemoveAsideRequest, StageRequest, Staged,
};
use crate::services::NodeServices;
use crate::survey::{NodeSurvey, SurveyRequest};

/// What this build can do, as it says in its [`Hello`]. A client asks only for what it finds here.
pub const CAPABILITIES: &[&str] = &[
    "status",
    "snapshot",
    "keep",
    "zstd",
    "hashKv",
    "keys",
    "keptKeys",
    "restore",
    "facts",
    "kubeSystem",
    "nodeFiles",
    "survey",
    "copies",
    "ownBinary",
    "quorumLost",
    "replay",
    "health",
    "replaceMember",
    "drill",
    "drillApiServer",
    "services",
    "unfinishedReplacement",
    "replacedData",
    "orders",
];

/// Who is speaking and what it can do. Decisions are made on `capabilities`, never on `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Version of the program, for people.
    pub version: String,
    /// See [`CAPABILITIES`].
    pub capabilities: Vec<String>,
    /// Which sources the program was built from; absent from programs that do not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
}

impl Hello {
    /// This version's greeting, of no build.
    pub fn ours() -> Hello {
        Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: CAPABILITIES.iter().map(|&c| c.to_owned()).collect(),
            build: None,
        }
    }

    /// The greeting of a build.
    #[must_use]
    pub fn of_build(self, build: &str) -> Hello {
        Hello { build: Some(build.to_owned()), ..self }
    }

    /// Whether the speaker has a capability.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c == capability)
    }
}

/// What the client wants. Answered by [`Reply`] or [`Failure`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "camelCase")]
pub enum Request {
    /// How the member on this node is. Answered by [`Reply::Status`] even when etcd itself cannot be reached.
    Status(StatusRequest),
    /// Stream a snapshot: `Begin`, `Data`..., `End`, then the client's `Ack`, then [`Reply::Snapshot`].
    Snapshot(SnapshotRequest),
    /// The hash of the member's keys at a revision. Answered by [`Reply::HashKv`].
    HashKv(HashKvRequest),
    /// Stream the member's keys, without their values: `Begin`, `Data`..., `End`, then the client's `Ack`, then [`Reply::Keys`].
    Keys(KeysRequest),
    /// Stream all changes of the keys in the data that a restore has kept on the node, in the order of revisions: `Begin`, `Data`...,
    /// `End`, then the client's `Ack`, then [`Reply::KeptKeys`]. Capability `keptKeys`.
    KeptKeys(KeptKeysRequest),
    /// Stream a tar archive of files of the node: `Begin`, `Data`..., `End`, then the client's `Ack`, then [`Reply::NodeFiles`]. Capability
    /// `nodeFiles`.
    NodeFiles(NodeFilesRequest),
    /// Which snapshots lie in a folder of the node. Answered by [`Reply::Copies`]. Capability `copies`.
    Copies(CopiesRequest),
    /// Check one of them. Answered by [`Reply::CheckedCopy`], also where it is damaged. Capability `copies`.
    CheckCopy(CheckCopyRequest),
    /// What the node's disk tells about a restore. Answered by [`Reply::Facts`] even where it tells only a part.
    Facts(FactsRequest),
    /// What is left of etcd on the node's disk, whether or not it runs. Answered by [`Reply::Survey`] even where it tells only a part. Capability
    /// `survey`.
    Survey(SurveyRequest),
    /// Which etcd the node starts outside of static pods. Answered by [`Reply::Services`] even where it tells only a part. Capability `services`.
    Services,
    /// Stream a snapshot of a member without quorum, with everything that its log has: `Begin`, `Data`..., `End`, then the client's `Ack`, then
    /// [`Reply::Replay`]. `Begin` comes once the log is applied, which may take minutes. Capability `replay`.
    Replay(Box<ReplayRequest>),
    /// Let the etcd program beside the sidecar serve a snapshot in a throw-away folder, and compare: the client's `Begin`, `Data`..., `End` follow. Answered by
    /// [`Reply::Drill`], also where the drill has failed. Capability `drill`.
    Drill(Box<DrillRequest>),
    /// Check that this node can take part in a restore. Answered by [`Reply::Prepared`].
    Prepare(Box<PrepareRequest>),
    /// Put the new data beside the old: the client's `Begin`, `Data`..., `End` follow for a snapshot. Answered by [`Reply::Staged`].
    Stage(StageRequest),
    /// Start the node's participant, which outlives the API server. Answered by [`Reply::Armed`].
    Arm(Box<ArmRequest>),
    /// Give the participant of an unfinished restore an identity, an order, or both. Answered by [`Reply::Armed`].
    Direct(Box<DirectRequest>),
    /// To the coordinator: begin. Answered by [`Reply::Committing`] once every node has passed its preflight.
    Commit,
    /// What the node's journals say. Answered by [`Reply::Restores`].
    Restores,
    /// Take away what ended restores have set aside. Answered by [`Reply::Restores`], with what was taken away.
    RemoveAside(RemoveAsideRequest),
    /// Replace the member on this node, or go on with a replacement that is unfinished here. Answered by [`Reply::Replacement`] once it has begun; it goes on
    /// when the session ends. Capability `replaceMember`.
    Replace(Box<ReplacePlan>),
    /// How the replacement with this ID is. Answered by [`Reply::Replacement`]. Capability `replaceMember`.
    Replacement {
        /// The replacement.
        id: String,
    },
    /// The plan of a replacement that is unfinished on this node. Answered by [`Reply::UnfinishedReplacement`]. Capability `unfinishedReplacement`.
    UnfinishedReplacement,
    /// What replacements have left on the node. Answered by [`Reply::ReplacedData`]. Capability `replacedData`.
    ReplacedData(ReplacedDataRequest),
    /// Take away what ended replacements have set aside, and their journals. Answered by [`Reply::ReplacedData`], with what was taken away. Capability
    /// `replacedData`.
    RemoveReplacedData(RemoveAsideRequest),
    /// Give a member an order. Answered by [`Reply::Ordered`] whatever became of it. Capability `orders`.
    Order(OrderRequest),
    /// From another node of a restore, which its certificate names. Answered by [`Reply::Heard`].
    Message {
        /// ID of the restore that the message is of. Participants of another one do not hear it.
        of: String,
        /// The message.
        message: Box<Message>,
    },
    /// From a node of a restore that has no identity: what was decided? Answered by [`Reply::Answer`].
    Query {
        /// ID of the restore. Participants of another one do not answer.
        of: String,
    },
    /// To a participant, from a session on its node. Answered by [`Reply::Participant`].
    Control(Control),
    /// Something a later version knows. Answered by [`FailureCode::Unsupported`].
    #[serde(other)]
    Unknown,
}

/// How to reach the etcd member on this node. Paths are the node's own: the pod mounts them where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdAccess {
    /// Client URLs, tried in order; `https://` needs the fields below.
    pub endpoints: Vec<String>,
    /// File of the authority that signed the server's certificate.
    pub ca: Option<String>,
    /// Client certificates, best first; the first pair of which both files exist is used.
    pub credentials: Vec<KeyPair>,
}

/// A certificate and its key, PEM files on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyPair {
    /// Certificate file.
    pub cert: String,
    /// Key file.
    pub key: String,
}

/// Body of [`Request::Status`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusRequest {
    /// How to reach the member.
    pub etcd: EtcdAccess,
    /// Certificate files whose expiry is wanted.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Key of namespace kube-system, where the object is wanted: its UID tells whose etcd this is. Capability `kubeSystem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_system: Option<String>,
    /// etcd's data directory on the node, where its owner and mode are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<String>,
}

/// How the key of namespace kube-system ends, whatever the API server's prefix. A sidecar reads no other key.
pub const KUBE_SYSTEM: &str = "/namespaces/kube-system";

/// Body of [`Request::Snapshot`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRequest {
    /// How to reach the member.
    pub etcd: EtcdAccess,
    /// How the stream is compressed on the wire.
    #[serde(default)]
    pub compression: Compression,
    /// Keep a copy on the node under this absolute path, which must not exist. It appears whole, after the client's
    /// `Ack`, or not at all.
    #[serde(default)]
    pub keep: Option<String>,
}

/// Body of [`Request::HashKv`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HashKvRequest {
    /// How to reach the member.
    pub etcd: EtcdAccess,
    /// The revision up to which keys are hashed; 0 for the member's newest.
    pub revision: i64,
}

/// Body of [`Request::Keys`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysRequest {
    /// How to reach the member.
    pub etcd: EtcdAccess,
    /// How the stream is compressed on the wire.
    #[serde(default)]
    pub compression: Compression,
}

/// Body of [`Request::KeptKeys`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptKeysRequest {
    /// etcd's data directory on the node.
    pub data_dir: String,
    /// The restore that has kept the data.
    pub id: String,
    /// How the stream is compressed on the wire.
    #[serde(default)]
    pub compression: Compression,
}

/// Body of [`Request::NodeFiles`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFilesRequest {
    /// Folders and files of the node, absolute: each is taken with all that is below it.
    pub paths: Vec<String>,
    /// Whether the files of the systemd unit that starts etcd are taken as well. The machine need not have a folder `/etc/kubernetes` then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub etcd_unit: bool,
    /// How the stream is compressed on the wire.
    #[serde(default)]
    pub compression: Compression,
}

/// Body of [`Request::Copies`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopiesRequest {
    /// The folder, absolute.
    pub folder: String,
}

/// Body of [`Request::CheckCopy`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckCopyRequest {
    /// The folder, absolute.
    pub folder: String,
    /// Name of a file in it.
    pub name: String,
}

/// Most snapshots of a folder that are told.
pub const MAX_COPIES: usize = 2000;

/// Most bytes of an archive of node files.
pub const MAX_NODE_FILES: u64 = 80 << 20;

/// Compression of a stream on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// zstd, chunk by chunk.
    Zstd,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "camelCase")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<NodeStatus>),
    /// To [`Request::Snapshot`].
    Snapshot(SnapshotDone),
    /// To [`Request::HashKv`].
    HashKv(MemberHash),
    /// To [`Request::Keys`].
    Keys(KeysDone),
    /// To [`Request::KeptKeys`].
    KeptKeys(KeptKeysDone),
    /// To [`Request::NodeFiles`].
    NodeFiles(NodeFilesDone),
    /// To [`Request::Copies`].
    Copies(CopiesFound),
    /// To [`Request::CheckCopy`].
    CheckedCopy(CheckedCopy),
    /// To [`Request::Facts`].
    Facts(Box<NodeFacts>),
    /// To [`Request::Survey`].
    Survey(Box<NodeSurvey>),
    /// To [`Request::Replay`].
    Replay(ReplayDone),
    /// To [`Request::Services`].
    Services(Box<NodeServices>),
    /// To [`Request::Drill`].
    Drill(DrillDone),
    /// To [`Request::Prepare`].
    Prepared(Prepared),
    /// To [`Request::Stage`].
    Staged(Staged),
    /// To [`Request::Arm`].
    Armed,
    /// To [`Request::Commit`].
    Committing,
    /// To [`Request::Restores`] and [`Request::RemoveAside`].
    Restores {
        /// Oldest first.
        restores: Vec<NodeRestore>,
    },
    /// To [`Request::Replace`] and [`Request::Replacement`].
    Replacement(Box<Replacement>),
    /// To [`Request::UnfinishedReplacement`].
    UnfinishedReplacement {
        /// `None` if there is none.
        plan: Option<Box<ReplacePlan>>,
    },
    /// To [`Request::ReplacedData`] and [`Request::RemoveReplacedData`].
    ReplacedData {
        /// By their IDs.
        replacements: Vec<ReplacedData>,
    },
    /// To [`Request::Order`].
    Ordered {
        /// What became of it.
        outcome: OrderOutcome,
    },
    /// To [`Request::Message`]: it has arrived.
    Heard,
    /// To [`Request::Query`].
    Answer {
        /// ID of the restore that the answer is of.
        of: String,
        /// What is known.
        answer: Answer,
    },
    /// To [`Request::Control`].
    Participant(ParticipantState),
}

/// What a member's keys hash to, by etcd's `HashKV`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberHash {
    /// ID of the member that answered.
    pub member_id: u64,
    /// Its newest revision.
    pub current_revision: i64,
    /// What it said.
    pub outcome: HashOutcome,
}

/// The answer to a [`HashKvRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum HashOutcome {
    /// The hash.
    Known {
        /// CRC-32C over the rows that count.
        hash: u32,
        /// The revision up to which old rows do not count any more; -1 if nothing was ever compacted.
        compact_revision: i64,
    },
    /// The member has compacted the revision away.
    Compacted,
    /// The member has not reached the revision.
    Future,
    /// Something a later version knows.
    #[serde(other)]
    Unknown,
}

/// How one node's member is, as seen from that node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// What the member answered.
    pub etcd: Option<MemberStatus>,
    /// Why there is no answer; set exactly when `etcd` is not.
    pub failure: Option<Failure>,
    /// One entry for each file that was asked for, in the same order.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// Whose the data directory is; `None` where it was not asked for, or could not be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<Owned>,
}

/// Whose a file or folder is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owned {
    /// User ID of its owner.
    pub owner: u32,
    /// ID of its group.
    pub group: u32,
    /// Permissions: the lower twelve bits of its mode.
    pub mode: u32,
}

/// etcd's `Status`, `MemberList` and `AlarmList`, put together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The client URL that answered.
    pub endpoint: String,
    /// Cluster ID.
    pub cluster_id: u64,
    /// ID of the member that answered.
    pub member_id: u64,
    /// ID of the leader; 0 when there is none.
    pub leader_id: u64,
    /// Version of the server, such as `3.5.16`.
    pub version: String,
    /// Storage version, 3.6 and later.
    pub storage_version: Option<String>,
    /// Bytes of the database file.
    pub db_size: i64,
    /// Bytes of it that are in use.
    pub db_size_in_use: i64,
    /// Backend quota in bytes, where the server reports it (3.6 and later).
    pub quota: Option<i64>,
    /// Revision of the key space.
    pub revision: i64,
    /// Raft term.
    pub raft_term: u64,
    /// Raft index of the newest entry.
    pub raft_index: u64,
    /// Raft index of the newest applied entry; 0 where it is not reported.
    pub raft_applied_index: u64,
    /// True for a learner.
    pub learner: bool,
    /// What the server itself complains of.
    #[serde(default)]
    pub errors: Vec<String>,
    /// The cluster's members as this one knows them; empty when it would not say (a learner, or no leader).
    #[serde(default)]
    pub members: Vec<Member>,
    /// The cluster's alarms.
    #[serde(default)]
    pub alarms: Vec<Alarm>,
    /// Namespace kube-system as the member has it; `None` where it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_system: Option<KubeSystem>,
}

/// What a member has under the key of namespace kube-system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum KubeSystem {
    /// An object.
    Held {
        /// The revision that last changed it.
        mod_revision: i64,
        /// The object as the API server stored it, encrypted or not.
        value: Vec<u8>,
    },
    /// Nothing.
    Absent,
    /// The member does not say.
    Unread {
        /// Why: one line.
        why: String,
    },
    /// Something a later version knows.
    #[serde(other)]
    Unknown,
}

/// A member of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Member ID.
    pub id: u64,
    /// Name; empty for a member that has not started yet.
    pub name: String,
    /// Peer URLs.
    pub peer_urls: Vec<String>,
    /// Client URLs.
    pub client_urls: Vec<String>,
    /// True for a learner.
    pub learner: bool,
}

/// An alarm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// The member it concerns.
    pub member_id: u64,
    /// `NOSPACE`, `CORRUPT`, or the number of a kind this build does not know.
    pub kind: String,
}

/// What a certificate file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The file.
    pub path: String,
    /// Subject of its first certificate.
    pub subject: Option<String>,
    /// End of validity, seconds since 1970.
    pub not_after: Option<i64>,
    /// SHA-256 of the DER of its first certificate; absent from a sidecar that does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Sha256>,
    /// Why there is nothing to tell.
    pub error: Option<String>,
}

/// The end of a snapshot that the client acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotDone {
    /// Where on the node the copy is.
    pub kept: Option<String>,
}

/// The end of a list of keys that the client acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysDone {
    /// ID of the member that answered.
    pub member_id: u64,
    /// The revision at which these were its keys.
    pub revision: i64,
    /// How many there were.
    pub count: u64,
}

/// The end of a list of changes that the client acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptKeysDone {
    /// The revision of the data.
    pub revision: i64,
    /// How many changes there were.
    pub count: u64,
}

/// The end of an archive of node files that the client acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFilesDone {
    /// How many files there are, without folders and links.
    pub files: u64,
    /// What is not in the archive: the first of it.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// How much of that there is in all.
    #[serde(default)]
    pub left_out_count: u64,
}

/// Something of a node that is not in an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// Where it is.
    pub path: String,
    /// Why it is not there, as in `is a device`.
    pub why: String,
}

/// The snapshots in a folder of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopiesFound {
    /// By name, at most [`MAX_COPIES`].
    pub copies: Vec<CopyFile>,
    /// How many there are besides: beyond that number, or with a name that is not text.
    #[serde(default)]
    pub omitted: u64,
}

/// A file that is a snapshot, or should be one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyFile {
    /// Name in its folder.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// What a check of a snapshot on a node has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckedCopy {
    /// The first thing that is wrong; `None` where no damage was found.
    pub damage: Option<String>,
    /// Whether the digest at the end of the file is there and right.
    pub proven: bool,
    /// Revision of the snapshot.
    pub revision: Option<i64>,
    /// UID of its namespace kube-system; `None` where it has none, or none that can be read.
    pub kube_system_uid: Option<String>,
}

/// A stream begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begin {
    /// Bytes to come, where they are known.
    pub total: Option<u64>,
}

/// A stream is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Bytes in the stream.
    pub length: u64,
    /// SHA-256 of those bytes. For a snapshot this is the digest that etcd itself sent after the database, so that
    /// it covers the whole way from the member's backend to the client's disk.
    pub sha256: Sha256,
}

/// The client has the whole stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// Bytes that it has.
    pub length: u64,
}

/// Why a request failed, as told by the side that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What kind of failure it is.
    pub code: FailureCode,
    /// What could not be done: one line, lowercase.
    pub message: String,
    /// Why, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What to do about it.
    #[serde(default)]
    pub hint: Option<String>,
}

/// Kinds of failure that a client tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum FailureCode {
    /// The request is not known to this version.
    Unsupported,
    /// The request makes no sense here.
    BadRequest,
    /// A certificate or key file is missing, unreadable or wrong.
    Credentials,
    /// No endpoint answers, or TLS fails: expired, another authority.
    Unreachable,
    /// etcd answers and refuses: authentication is on and this certificate is nobody.
    Denied,
    /// etcd failed in the middle of its work.
    Etcd,
    /// What etcd sent is not whole.
    Incomplete,
    /// The node's file system refused.
    Storage,
    /// Another restore is under way, or was left unfinished.
    Busy,
    /// A check before a restore failed, or a step of it; the message says what was found.
    Refused,
    /// A snapshot is damaged, or no etcd serves it.
    Damaged,
    /// A kind that a later version added.
    #[serde(other)]
    Other,
}

impl Failure {
    /// A failure without causes or hint. Text beyond 4096 bytes is cut, and so are causes beyond 32: a peer takes no more.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Failure {
        Failure { code, message: told(message.into()), causes: Vec::new(), hint: None }
    }

    /// Adds why.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Failure {
        self.push(cause.to_string());
        self
    }

    fn push(&mut self, cause: String) {
        if self.causes.len() < TOLD_CAUSES {
            self.causes.push(told(cause));
        }
    }

    /// Adds an error and everything below it as causes.
    #[must_use]
    pub fn source(mut self, error: &dyn std::error::Error) -> Failure {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = told(error.to_string());
            if self.causes.last() != Some(&text) {
                self.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(told(hint.into()));
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A SHA-256 digest; 64 hexadecimal digits in text and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sha256, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("a SHA-256 has 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut digest = [0; 32];
        for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Sha256(digest))
    }
}
