//! Whether the members' nodes can run a pod: the Ready condition of their Node objects.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;

use super::EtcdPod;
use crate::connection::Connection;

/// How long the API may take to tell of a node: this is a courtesy, and no command fails for want of it.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// Why a node may not run a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeTrouble {
    /// Its kubelet does not report any more (Ready is Unknown): no pod starts there.
    Silent {
        /// When it reported last, as the API has it.
        since: Option<String>,
    },
    /// Its kubelet reports that it is not ready. Pods on the host's network may start all the same, as on a node without a
    /// network plugin.
    NotReady {
        /// What the kubelet says.
        why: String,
    },
}

impl NodeTrouble {
    /// For people.
    pub(crate) fn describe(&self, node: &str) -> String {
        match self {
            NodeTrouble::Silent { since: Some(since) } => {
                format!("node {node} is not ready: its kubelet has not reported since {since}")
            }
            NodeTrouble::Silent { since: None } => format!("node {node} is not ready: its kubelet does not report"),
            NodeTrouble::NotReady { why } => format!("node {node} is not ready: {why}"),
        }
    }

    /// What a Node object tells.
    pub(super) fn of(node: &Node) -> Option<NodeTrouble> {
        let conditions = node.status.as_ref()?.conditions.as_ref()?;
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
        match ready.status.as_str() {
            "True" => None,
            "False" => {
                let why = ready.message.clone().or_else(|| ready.reason.clone()).unwrap_or_default();
                Some(NodeTrouble::NotReady { why })
            }
            _ => Some(NodeTrouble::Silent { since: ready.last_heartbeat_time.as_ref().map(|time| time.0.to_string()) }),
        }
    }
}

/// Looks at each member's node. A user who may not see nodes learns nothing of them.
pub(super) async fn look(connection: &Connection, members: &mut [EtcdPod]) {
    let troubles = troubles(connection, members.iter().map(|member| member.node.clone())).await;
    give(&troubles, members);
}

/// What keeps nodes from running a pod, by their names.
pub(super) async fn troubles(
    connection: &Connection,
    names: impl Iterator<Item = String>,
) -> Vec<(String, NodeTrouble)> {
    let names: std::collections::BTreeSet<String> = names.collect();
    let nodes: Api<Node> = Api::all(connection.client.clone());
    let asked = names.into_iter().map(|name| {
        let nodes = nodes.clone();
        async move {
            let node = tokio::time::timeout(LIMIT, nodes.get_opt(&name)).await;
            let node = node.ok().and_then(Result::ok).flatten()?;
            Some((name, NodeTrouble::of(&node)?))
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Gives each member the trouble of its node.
pub(super) fn give(troubles: &[(String, NodeTrouble)], members: &mut [EtcdPod]) {
    for member in members {
        let trouble = troubles.iter().find(|(name, _)| *name == member.node);
        member.node_trouble = trouble.map(|(_, trouble)| trouble.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(status: &str) -> Option<NodeTrouble> {
        let node = serde_json::json!({"metadata": {}, "status": {"conditions": [
            {"type": "MemoryPressure", "status": "Unknown"},
            {"type": "Ready", "status": status, "reason": "R", "message": "no network plugin",
             "lastHeartbeatTime": "2026-11-21T04:57:09Z"}]}});
        NodeTrouble::of(&serde_json::from_value(node).expect("a node"))
    }

    #[test]
    fn a_kubelet_that_reports_is_told_from_one_that_does_not() {
        assert_eq!(trouble("True"), None);
        let why = trouble("False").expect("trouble").describe("cp2");
        assert_eq!(why, "node cp2 is not ready: no network plugin");
        let silent = trouble("Unknown").expect("trouble").describe("cp2");
        assert_eq!(silent, "node cp2 is not ready: its kubelet has not reported since 2026-11-21T04:57:09Z");
        assert_eq!(NodeTrouble::of(&Node::default()), None);
    }
}
