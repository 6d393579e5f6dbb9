//! What is said about the restore of a running control plane: by the plugin to a node's sidecar, and by the nodes to each other.
//!
//! A restore is one transaction over all control-plane nodes. The plugin prepares, stages and arms every node, and then tells the
//! coordinator, one of the nodes, to commit. From then on the nodes are on their own: the API server, and with it the plugin's way
//! to them, goes away. What they did is read from their journals afterwards. `docs/RESTORE.md` describes the whole.

pub use etcd_transaction::{Answer, Ballot, Decision, Ending, Message, Operator, Step};
use serde::{Deserialize, Serialize};

use crate::message::EtcdAccess;
use crate::survey::RaftPosition;

/// What is to be done, the same for every node. It is the first entry of every node's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan {
    /// Names the restore: folders on the nodes bear it. Lowercase letters, digits and dashes, at most 40.
    pub id: String,
    /// What becomes of the members' data.
    pub kind: RestoreKind,
    /// The cluster's name, for people.
    pub cluster: String,
    /// Who started it and from where, for people.
    pub started_by: String,
    /// Name of the node that coordinates; one of `nodes`.
    pub coordinator: String,
    /// The nodes that take part: those with the members of the new cluster, and those that are stopped and left out of it.
    pub nodes: Vec<RestoreNode>,
    /// Members of the old cluster, or their nodes, that are left out and nobody can stop. They are fewer than its quorum.
    #[serde(default)]
    pub not_reached: Vec<String>,
    /// TCP port on which the nodes speak to each other.
    pub peer_port: u16,
    /// What the restored API has to serve; `None` to take its readiness as enough.
    pub marker: Option<Marker>,
    /// Seconds that etcd, and then the API server, may take until it is well on the new data.
    #[serde(default = "three_minutes")]
    pub start_timeout: u32,
    /// Wait for API servers no longer than `start_timeout`. After the decision the new state stays in any case.
    #[serde(default)]
    pub keep_unready: bool,
    /// The etcd cluster has no quorum: the nodes are taken as they are found, whether or not etcd and the API server run there. Capability `quorumLost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum_lost: Option<QuorumLost>,
    /// UID of namespace kube-system of the cluster that is in place, where the new data is that of another one. Revisions of the two have nothing to do with
    /// each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The build of the program that made the plan; only sidecars of the same build begin with it. Absent from earlier versions' journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
}

impl RestorePlan {
    /// The nodes with members of the new cluster.
    pub fn serving(&self) -> impl Iterator<Item = &RestoreNode> {
        self.nodes.iter().filter(|node| !node.left_out && node.has_etcd())
    }

    /// The plan by which the nodes roll back by themselves if no API server becomes ready on the new data: a second transaction of the same nodes.
    /// `None` where they do not: after a rollback, where API servers that are not ready are not waited for, where the new data
    /// may begin below the old, where a member of the old cluster has no part in it, where etcd and API servers are on different nodes, so that no node can
    /// tell whether an API server was ready on its data, and where the old cluster had no quorum: it would not serve, and its databases lack what only the logs
    /// have.
    pub fn way_back(&self) -> Option<RestorePlan> {
        let stacked = self.nodes.iter().all(|node| !node.left_out && node.parts == Parts::Both);
        let whole = self.not_reached.is_empty() && stacked && self.quorum_lost.is_none();
        let raises = matches!(self.kind, RestoreKind::Snapshot { allow_lower_revisions: false, .. });
        let returns = raises && !self.keep_unready && whole;
        returns.then(|| {
            let id = format!("{}{WAY_BACK}", self.id);
            let kind = RestoreKind::Aside { of: self.id.clone(), raise: true, token: format!("rollback-{id}") };
            RestorePlan { id, kind, marker: None, replaces: None, ..self.clone() }
        })
    }

    /// The restore from which the nodes roll back by themselves in this one, if it is such a rollback.
    pub fn rolls_back_from(&self) -> Option<&str> {
        match &self.kind {
            RestoreKind::Aside { of, .. } => Some(of.as_str()).filter(|of| self.id.strip_suffix(WAY_BACK) == Some(of)),
            RestoreKind::Snapshot { .. } => None,
        }
    }

    /// Names of what the new cluster is without: nodes that stay stopped, what could not be reached, and members that are gone.
    pub fn left_out(&self) -> Vec<&str> {
        let stopped = self.nodes.iter().filter(|node| node.left_out).map(|node| node.node.as_str());
        let gone = self.quorum_lost.iter().flat_map(|lost| &lost.gone);
        stopped.chain(self.not_reached.iter().chain(gone).map(String::as_str)).collect()
    }
}

/// What the ID of a rollback of the nodes' own has after that of the restore.
const WAY_BACK: &str = "-r";

fn three_minutes() -> u32 {
    180
}

/// An etcd cluster that has lost its quorum, as an operator sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuorumLost {
    /// Members of the old cluster that are gone for good, by their names; one without a name by its ID, hexadecimal. All other members that vote are on nodes of the plan.
    pub gone: Vec<String>,
}

/// What becomes of the members' data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RestoreKind {
    /// It is made from a snapshot, which every node gets.
    Snapshot {
        /// By how much the revision is raised.
        bump: u64,
        /// Token of the new cluster.
        token: String,
        /// Accept a file whose bytes nothing proves.
        skip_hash_check: bool,
        /// Whether the new data may begin below [`least_revision`]: watches that clients have then receive no events any more.
        #[serde(default)]
        allow_lower_revisions: bool,
    },
    /// What an earlier restore has set aside comes back.
    Aside {
        /// The id of that restore.
        of: String,
        /// Whether the data is built anew with a revision above all that clients have seen. As it is, it takes revisions back, which a client
        /// that watches does not notice: it just hears nothing any more.
        raise: bool,
        /// Token of the new cluster, if the data is built anew.
        token: String,
    },
}

impl RestoreKind {
    /// Whether revisions may go below those that clients have seen.
    pub fn may_lower_revisions(&self) -> bool {
        match self {
            RestoreKind::Snapshot { allow_lower_revisions, .. } => *allow_lower_revisions,
            RestoreKind::Aside { raise, .. } => !raise,
        }
    }
}

/// The least revision that new data may begin with when clients have seen `highest`. They watch from the revision after that on, and etcd
/// tells them to read everything anew only if that is below the compacted revision, with which the new data begins.
///
/// Read from etcd server/storage/mvcc/watcher_group.go, chooseAll @ v3.6.14; the same since v3.4.
pub fn least_revision(highest: i64) -> i64 {
    highest.saturating_add(2)
}

/// One node of a restore. Paths are the node's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreNode {
    /// Name of the node.
    pub node: String,
    /// Name of its member.
    pub member: String,
    /// Address, without a port, under which the other nodes reach it.
    pub address: String,
    /// Peer URLs of the member.
    pub peer_urls: Vec<String>,
    /// etcd's data directory.
    pub data_dir: String,
    /// etcd's WAL directory, where it is not in the data directory.
    pub wal_dir: Option<String>,
    /// Which parts of the control plane are on the node. Without etcd, what is said of a member is empty.
    #[serde(default, skip_serializing_if = "Parts::are_both")]
    pub parts: Parts,
    /// The kubelet's folder of static pod manifests.
    pub manifests_dir: String,
    /// The file of the systemd unit that starts etcd, where the kubelet does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// How to reach the member from its node.
    pub etcd: EtcdAccess,
    /// The new cluster has no member here: what runs is stopped, and stays so; the data stays as it is.
    #[serde(default)]
    pub left_out: bool,
    /// The last entry of the member's log when it was surveyed. The node votes no if the log has another one once etcd is stopped. Only where the
    /// quorum is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_end: Option<RaftPosition>,
}

/// Which parts of a control plane are on a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Parts {
    /// etcd and the API server.
    #[default]
    Both,
    /// etcd alone: the API servers are on other nodes.
    Etcd,
    /// The API server alone, which uses the etcd of other nodes.
    ApiServer,
}

impl Parts {
    pub(crate) fn are_both(&self) -> bool {
        *self == Parts::Both
    }
}

impl RestoreNode {
    /// Whether a member of etcd is on the node.
    pub fn has_etcd(&self) -> bool {
        self.parts != Parts::ApiServer
    }

    /// Whether an API server is on the node.
    pub fn has_api_server(&self) -> bool {
        self.parts != Parts::Etcd
    }

    /// Whether systemd runs the participant: where it starts etcd, and no API server is there, there need be no kubelet.
    pub fn participates_by_unit(&self) -> bool {
        self.parts == Parts::Etcd && self.unit.is_some()
    }

    /// The drop-in that keeps the unit of etcd from being started while it is held (systemd.unit(5)).
    pub fn drop_in(&self) -> Option<String> {
        let name = self.unit.as_ref()?.rsplit('/').next()?;
        Some(format!("/etc/systemd/system/{name}.d/{DROP_IN}"))
    }
}

/// The name of the drop-in by which a unit is held. The last by name counts where several set the same.
pub const DROP_IN: &str = "zz-kubectl-etcd-restore.conf";

/// An object that the restored API has to serve: namespace kube-system as the snapshot has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// Its UID.
    pub uid: String,
    /// Its resource version: the revision that last changed it in the snapshot.
    pub resource_version: i64,
    /// Its key in etcd, for nodes without an API server; those with one know it by its prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Body of [`Request::Prepare`](crate::Request::Prepare): checks that the node can take part, and keeps others out until the session ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrepareRequest {
    /// The plan.
    pub plan: RestorePlan,
    /// Which of its nodes this is.
    pub node: String,
    /// Bytes of the snapshot that will come; 0 if none will.
    pub snapshot_bytes: u64,
}

/// The node can take part; nothing on it has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prepared {
    /// Bytes that are free where the data directory is.
    pub free_bytes: u64,
    /// Where the old data will be kept.
    pub aside: String,
    /// The member's revision.
    pub revision: i64,
    /// Folders in the data directory with copies that a killed `recover` has left: they were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

/// Body of [`Request::Stage`](crate::Request::Stage), for nodes that get a member of the new cluster. For [`RestoreKind::Snapshot`] the client's `Begin`, `Data`... and `End` follow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageRequest {
    /// For [`RestoreKind::Aside`] that is raised: the revision to begin with.
    #[serde(default)]
    pub raise_to: i64,
    /// For [`RestoreKind::Snapshot`]: by how much the revision is raised, where that is more than the plan said, because more was written
    /// since.
    #[serde(default)]
    pub bump: u64,
}

/// The new data lies beside the old. Equal on all nodes, but for the member's id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Staged {
    /// ID of the cluster that will serve.
    pub cluster_id: u64,
    /// ID of this node's member in it.
    pub member_id: u64,
    /// The revision that it begins with, at least.
    pub revision: i64,
    /// What its keys hash to, by the engine's reading; `None` for data that was set aside.
    pub hash_kv: Option<u32>,
    /// Bytes of the database.
    pub database_bytes: u64,
    /// What is worth knowing.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Body of [`Request::Arm`](crate::Request::Arm): the node's participant starts as a static pod.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmRequest {
    /// By what the node proves to the others who it is; kept in memory only.
    pub identity: Identity,
    /// What the participant's container runs.
    pub runs: Runs,
    /// What the others have staged, for a node that is left out or has no etcd: it tells how far clients may come.
    #[serde(default)]
    pub staged: Option<Staged>,
}

/// What the container of a node's participant runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Runs {
    /// An image with the sidecar: the one that this sidecar runs from.
    Image(String),
    /// A copy of the sidecar that answers, in the image of the node's own etcd: where no registry is needed. Capability `ownBinary`.
    OwnBinary,
}

/// Body of [`Request::Direct`](crate::Request::Direct): what an operator wants of the participant of a restore on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectRequest {
    /// The restore.
    pub id: String,
    /// What the node is to prove itself by from now on, where that is to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// What the participant is to do, if there is anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Operator>,
}

/// A certificate made for one node and one restore. PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The authority that signed those of all nodes.
    pub ca: String,
    /// This node's certificate, for [`peer_name`] of the node.
    pub cert: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for ArmRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArmRequest").field("runs", &self.runs).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// The name in the certificate of the `index`th node of a plan. Node names can be longer than a name in a certificate may be.
pub fn peer_name(index: usize) -> String {
    format!("node-{index}.restore.kubectl-etcd")
}

/// How a restore is on one node, from its journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRestore {
    /// The plan.
    pub plan: RestorePlan,
    /// Which of its nodes this is.
    pub node: String,
    /// When it was prepared, milliseconds since 1970 by the node's clock.
    pub begun_at: i64,
    /// What was staged, if it came to that.
    pub staged: Option<Staged>,
    /// Whether the node is on its own.
    pub armed: bool,
    /// Whether it still has the certificate that it was given: that is only in memory, and does not outlive a power cut.
    #[serde(default)]
    pub has_identity: bool,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What was decided, as far as this node knows.
    pub decision: Option<Decision>,
    /// How it ended here; `None` while it goes on.
    pub ended: Option<Ending>,
    /// Whether it has ended here, and this node has not heard from every other one yet that it ended there.
    #[serde(default)]
    pub waits_for_others: bool,
    /// The node's vote, if it has voted.
    #[serde(default)]
    pub vote: Option<bool>,
    /// What it has accepted, and in which ballot.
    #[serde(default)]
    pub accepted: Option<(Ballot, Decision)>,
    /// Names of nodes that an operator has said are gone for good.
    #[serde(default)]
    pub excluded: Vec<String>,
    /// The epoch of ballots without them.
    #[serde(default)]
    pub epoch: u8,
    /// Whether an API server ran on the new data before the decision.
    #[serde(default)]
    pub intruded: bool,
    /// Whether the participant's manifest is among the static pods.
    #[serde(default)]
    pub participates: bool,
    /// What the participant says of itself; `None` if there is none, or it does not answer.
    #[serde(default)]
    pub live: Option<Live>,
    /// What was kept besides the old data, and why.
    #[serde(default)]
    pub kept: Vec<Kept>,
    /// Which version of the journal's format it is in. 1 is that of version 0.1.
    #[serde(default = "first_format")]
    pub format: u32,
    /// Where the data that was in place before is kept, if it is.
    pub aside: Option<String>,
    /// Bytes that it takes.
    pub aside_bytes: u64,
}

impl NodeRestore {
    /// Bytes of everything that is kept on the node.
    pub fn kept_bytes(&self) -> u64 {
        self.kept.iter().fold(self.aside_bytes, |bytes, kept| bytes.saturating_add(kept.bytes))
    }

    /// Paths of everything that is kept on the node.
    pub fn kept_paths(&self) -> impl Iterator<Item = &str> {
        self.aside.iter().map(String::as_str).chain(self.kept.iter().map(|kept| kept.path.as_str()))
    }
}

fn first_format() -> u32 {
    1
}

/// What a participant says of itself that is in no journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// Names of the nodes that it does not hear.
    pub unheard: Vec<String>,
    /// Milliseconds for which its oldest write or file operation has been going on; 0 if there is none.
    pub oldest: u64,
    /// Whether its API server did not become ready in time on the new data.
    pub unready: bool,
    /// On a node without etcd that rolls back: names of the nodes that its API server waits for, because etcd may still run on the new data there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awaited: Vec<String>,
    /// Whether its API server was never ready on the new data, so that the node may roll back by itself together with all others.
    #[serde(default)]
    pub turns: bool,
    /// On the coordinator: whether all nodes have passed their preflight.
    pub passed_preflight: bool,
}

/// Something that a restore has kept instead of deleting it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Where it lies on the node.
    pub path: String,
    /// Why it was kept.
    pub why: String,
    /// Bytes that it takes.
    #[serde(default)]
    pub bytes: u64,
}

/// An entry of the journal, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Milliseconds since 1970 by the node's clock.
    pub at: i64,
    /// What it is about, if it is about a step.
    pub step: Option<Step>,
    /// Whether the step is done and proved, or only begun.
    pub done: bool,
    /// What else there is to tell: why something failed.
    pub note: Option<String>,
}

/// Body of [`Request::RemoveAside`](crate::Request::RemoveAside) and of
/// [`Request::RemoveReplacedData`](crate::Request::RemoveReplacedData).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoveAsideRequest {
    /// Restores, or replacements, whose old data and journals are to go. One that has not ended is refused.
    pub ids: Vec<String>,
}

/// How a participant is, for a session on the same node: the answer to [`Request::Control`](crate::Request::Control).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantState {
    /// What is in no journal.
    pub live: Live,
    /// What is decided.
    pub decision: Option<Decision>,
    /// How it ended here.
    pub ended: Option<Ending>,
}

/// Body of [`Request::Control`](crate::Request::Control): from a session on the same node to its participant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "control", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Control {
    /// Say how you are.
    Look,
    /// An operator's order.
    Operator {
        /// The order.
        order: Operator,
    },
    /// There is a new identity in the folder of the journal.
    Identity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_restore_of_all_members_has_a_way_back_of_the_nodes_own() {
        let node = |name: &str, left_out| RestoreNode { node: name.into(), left_out, ..RestoreNode::default() };
        let kind =
            RestoreKind::Snapshot { bump: 0, token: "t".into(), skip_hash_check: false, allow_lower_revisions: false };
        let plan = RestorePlan {
            id: "id".into(),
            kind,
            cluster: "c".into(),
            started_by: "me".into(),
            coordinator: "cp1".into(),
            nodes: vec![node("cp1", false)],
            not_reached: Vec::new(),
            peer_port: 1,
            marker: Some(Marker { uid: "u".into(), resource_version: 1, key: None }),
            start_timeout: 1,
            keep_unready: false,
            quorum_lost: None,
            replaces: None,
            build: None,
        };
        let back = plan.way_back().expect("a restore");
        let token = "rollback-id-r".to_owned();
        assert_eq!(back.kind, RestoreKind::Aside { of: "id".into(), raise: true, token: token.clone() });
        assert_eq!((back.id.as_str(), &back.marker, back.rolls_back_from()), ("id-r", &None, Some("id")));
        assert_eq!((back.way_back(), plan.rolls_back_from()), (None, None));
        let ordered = RestorePlan { id: "later".into(), ..back };
        assert_eq!((ordered.rolls_back_from(), ordered.way_back()), (None, None));
        for without in [
            RestorePlan { keep_unready: true, ..plan.clone() },
            RestorePlan {
                kind: RestoreKind::Snapshot {
                    bump: 0,
                    token: "t".into(),
                    skip_hash_check: false,
                    allow_lower_revisions: true,
                },
                ..plan.clone()
            },
            RestorePlan { not_reached: vec!["cp2".into()], ..plan.clone() },
            RestorePlan { quorum_lost: Some(QuorumLost::default()), ..plan.clone() },
            RestorePlan { nodes: vec![node("cp1", false), node("cp2", true)], ..plan.clone() },
            RestorePlan {
                nodes: vec![node("cp1", false), RestoreNode { parts: Parts::ApiServer, ..node("cp2", false) }],
                ..plan.clone()
            },
            RestorePlan { nodes: vec![RestoreNode { parts: Parts::Etcd, ..node("cp1", false) }], ..plan.clone() },
        ] {
            assert_eq!(without.way_back(), None);
        }
        let gone = Some(QuorumLost { gone: vec!["cp3".into()] });
        assert_eq!(RestorePlan { quorum_lost: gone, ..plan.clone() }.left_out(), ["cp3"]);
        // Plans and journals of before say nothing of it.
        let json = serde_json::to_value(&plan).expect("JSON");
        for absent in ["logEnd", "parts", "unit"] {
            assert!(json.get("quorumLost").is_none() && json["nodes"][0].get(absent).is_none(), "{json}");
        }
        assert_eq!(serde_json::from_value::<RestorePlan>(json).expect("a plan"), plan);
    }
}
