//! A cluster that has lost its quorum, as far as the disks of its nodes tell.

use etcd_wire::restore::{QuorumLost, RestorePlan};
use etcd_wire::survey::RaftPosition;

use crate::commands::proposal::Keys;
use crate::output::Outcome;
use crate::road::Host;

/// What takes the place of answers of etcd.
#[derive(Debug)]
pub(crate) struct Lost {
    /// The nodes that are left, which take part.
    pub(crate) hosts: Vec<Host>,
    /// Those of them on which no etcd was found: they take part if an API server is there.
    pub(crate) without_etcd: Vec<String>,
    /// Members that vote and are gone for good.
    pub(crate) gone: Vec<String>,
    /// Where the logs of the nodes end, by the names of nodes.
    pub(crate) ends: Vec<(String, RaftPosition)>,
    /// No revision that any of them has is higher; `None` if none of them has data.
    pub(crate) highest: Option<i64>,
    /// UID of namespace kube-system.
    pub(crate) kube_system_uid: Option<String>,
    /// The keys of the member that has the most, its log included; or why they are not known.
    pub(crate) before: Outcome<Keys>,
}

impl Lost {
    /// Whether no log was found on a node: nothing of its member is known.
    pub(super) fn is_without_log(&self, node: &str) -> bool {
        self.ends.iter().all(|(name, _)| name != node)
    }

    /// Tells the nodes that there is no quorum, and where each of their logs ended.
    pub(super) fn mark(&self, plan: &mut RestorePlan) {
        plan.quorum_lost = Some(QuorumLost { gone: self.gone.clone() });
        for node in plan.nodes.iter_mut().filter(|node| node.has_etcd()) {
            node.log_end = self.ends.iter().find(|(name, _)| *name == node.node).map(|(_, end)| *end);
        }
    }
}
