//! What is said about the replacement of one member: its etcd starts anew with no data, as a learner of the same cluster, and gets everything from the
//! others. A node does this by itself once it was told to; what it has done is in its journal. `docs/RECOVER.md` describes the whole.

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::message::EtcdAccess;
use crate::restore::Kept;

/// What is to be done on a node: the first thing in its journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplacePlan {
    /// Names the replacement: folders on the node bear it. Lowercase letters, digits and dashes, at most 40.
    pub id: String,
    /// Name of the node.
    pub node: String,
    /// Name of its member.
    pub member: String,
    /// ID of the cluster. Nothing is ordered of another one.
    pub cluster_id: u64,
    /// Peer URLs of the member, before and after.
    pub peer_urls: Vec<String>,
    /// etcd's data directory.
    pub data_dir: String,
    /// etcd's WAL directory, where it is not in the data directory.
    #[serde(default)]
    pub wal_dir: Option<String>,
    /// The kubelet's folder of static pod manifests.
    pub manifests_dir: String,
    /// How to reach the member from its node. Its certificates are used for the other members as well.
    pub etcd: EtcdAccess,
    /// Client URLs of the other members that vote, as this node reaches them.
    pub others: Vec<String>,
    /// How many of the others have to answer with a leader once etcd is stopped here.
    pub quorum: u32,
    /// Seconds that etcd may take to stop, and the new member until it has everything.
    pub patience: u32,
    /// The build of the program that made the plan; only a sidecar of the same build carries it out.
    pub build: String,
}

/// How far a replacement is. In the order in which it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReplacePhase {
    /// etcd is about to be stopped.
    Begun,
    /// etcd has ended; the member is in the cluster still. Until here the node returns to what it was if anything fails.
    Stopped,
    /// The member is about to be removed from the cluster.
    Removing,
    /// The cluster has no member here.
    Removed,
    /// The old data has another name, and nothing is in its place.
    SetAside,
    /// The cluster has a learner here, and etcd's manifest is one that joins.
    Joining,
    /// The learner has everything, and etcd is about to get its own manifest back.
    CaughtUp,
    /// etcd runs with its own manifest, as a learner that has everything.
    OwnManifest,
    /// The member votes.
    Done,
    /// Nothing of the cluster was changed, and etcd has its manifest and its data back.
    Undone,
    /// Something that a later version knows.
    #[serde(other)]
    Unknown,
}

impl ReplacePhase {
    /// Whether nothing more is to be done.
    pub fn is_over(self) -> bool {
        matches!(self, ReplacePhase::Done | ReplacePhase::Undone)
    }

    /// Whether the member may have been removed from the cluster, so that its old data is of no use there any more.
    pub fn is_past_return(self) -> bool {
        self >= ReplacePhase::Removing && self != ReplacePhase::Undone
    }
}

/// How a replacement is, by its journal. Answers [`Request::Replace`](crate::Request::Replace) and [`Request::Replacement`](crate::Request::Replacement).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replacement {
    /// ID of the replacement: that of an earlier one if it was unfinished.
    pub id: String,
    /// How far it is.
    pub phase: ReplacePhase,
    /// Whether a process on the node goes on with it.
    pub running: bool,
    /// Why the last process that went on with it has stopped, if it has not come to an end.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Where the old data is; `None` if there was none, or it has not been set aside.
    #[serde(default)]
    pub old_data: Option<String>,
    /// ID of the new member, once the cluster has it.
    #[serde(default)]
    pub new_member: Option<u64>,
    /// Manifests with other bytes that another program has written meanwhile: they were kept here.
    #[serde(default)]
    pub kept: Vec<String>,
}

/// Body of [`Request::ReplacedData`](crate::Request::ReplacedData).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplacedDataRequest {
    /// Data directories in which folders without a journal are looked for, besides those that journals name. If there are none, the node looks for etcd.
    #[serde(default)]
    pub data_dirs: Vec<String>,
}

/// What a replacement has left on a node: its journal, and the old data of the member. Or a folder of which nobody knows what it is, because it has no
/// journal that can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplacedData {
    /// ID of the replacement: the name of its folders.
    pub id: String,
    /// Name of the member, by the journal.
    #[serde(default)]
    pub member: Option<String>,
    /// How far the replacement is, by the journal.
    #[serde(default)]
    pub phase: Option<ReplacePhase>,
    /// When the journal was written last: milliseconds since 1970.
    #[serde(default)]
    pub written_at: Option<i64>,
    /// Where the old data is; `None` if there is none.
    #[serde(default)]
    pub old_data: Option<String>,
    /// Bytes of the old data, with that of a WAL directory of its own.
    #[serde(default)]
    pub old_data_bytes: u64,
    /// Manifests of another program that were kept.
    #[serde(default)]
    pub kept: Vec<Kept>,
    /// Why the journal does not say what this is. Nothing of it is removed then.
    #[serde(default)]
    pub problem: Option<Failure>,
}

impl ReplacedData {
    /// Whether the replacement has ended, by its journal.
    pub fn is_over(&self) -> bool {
        self.problem.is_none() && self.phase.is_some_and(ReplacePhase::is_over)
    }

    /// Bytes of everything that is kept.
    pub fn bytes(&self) -> u64 {
        self.kept.iter().fold(self.old_data_bytes, |bytes, kept| bytes.saturating_add(kept.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_ends_where_the_member_may_be_gone() {
        use ReplacePhase::{Begun, CaughtUp, Done, Joining, OwnManifest, Removed, Removing, SetAside, Stopped, Undone};
        let order = [Begun, Stopped, Removing, Removed, SetAside, Joining, CaughtUp, OwnManifest, Done];
        assert!(order.is_sorted());
        for phase in order {
            assert_eq!(phase.is_past_return(), phase > Stopped, "{phase:?}");
            assert_eq!(phase.is_over(), phase == Done, "{phase:?}");
        }
        let over = |phase: Option<ReplacePhase>, problem: Option<Failure>| {
            ReplacedData { phase, problem, ..ReplacedData::default() }.is_over()
        };
        let unread = Failure::new(crate::FailureCode::Storage, "it cannot be read");
        assert!(over(Some(Done), None) && over(Some(Undone), None));
        assert!(!over(Some(OwnManifest), None) && !over(None, None) && !over(Some(Done), Some(unread)));
        assert!(!over(Some(ReplacePhase::Unknown), None));
        assert!(Undone.is_over() && !Undone.is_past_return());
        assert_eq!(serde_json::to_string(&Joining).expect("text"), "\"joining\"");
        assert_eq!(serde_json::from_str::<ReplacePhase>("\"later\"").expect("known"), ReplacePhase::Unknown);
    }
}
