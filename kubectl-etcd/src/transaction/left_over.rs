//! What comes back with the state of a cluster whose machines are lost, and belongs to none of the machines that are here.

use serde::Serialize;

/// Nodes, and names of pods of each, that are named to people.
const NODES: usize = 20;
const PODS: usize = 3;

/// A Node without a machine, and what comes back with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeLeft {
    pub(crate) node: String,
    /// Its pods, NAMESPACE/NAME.
    pub(crate) pods: Vec<String>,
    /// Whether it has a lease in namespace kube-node-lease.
    pub(crate) lease: bool,
}

impl NodeLeft {
    fn line(&self) -> String {
        let lease = if self.lease { ", a lease" } else { "" };
        match self.pods.len() {
            0 => format!("{}: no pods{lease}", self.node),
            count => {
                let names = self.pods.iter().take(PODS).cloned().collect::<Vec<_>>().join(", ");
                let more = if count > PODS { ", ..." } else { "" };
                let noun = if count == 1 { "pod" } else { "pods" };
                format!("{}: {count} {noun} ({names}{more}){lease}", self.node)
            }
        }
    }

    /// All of them for people, a line each.
    pub(crate) fn lines(all: &[NodeLeft]) -> Vec<String> {
        let mut lines: Vec<String> = all.iter().take(NODES).map(NodeLeft::line).collect();
        if all.len() > NODES {
            lines.push(format!("and {} more", all.len() - NODES));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_a_line_for_each_node_up_to_a_number() {
        let node = |pods: &[&str], lease| NodeLeft {
            node: "old".into(),
            pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
            lease,
        };
        let all = [node(&["a/1", "a/2", "a/3", "a/4"], true), node(&["a/1"], false), node(&[], false)];
        let lines = NodeLeft::lines(&all);
        assert_eq!(lines, ["old: 4 pods (a/1, a/2, a/3, ...), a lease", "old: 1 pod (a/1)", "old: no pods"]);
        let many = vec![node(&[], true); 25];
        assert_eq!(NodeLeft::lines(&many).last().map(String::as_str), Some("and 5 more"));
    }
}
