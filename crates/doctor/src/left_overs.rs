//! What may be left over after a restore, as it was looked at. Whoever collects it changes nothing.
//!
//! A cluster is looked at while it changes: a pod may end between two questions. So there may be several looks, and what counts was there in all
//! of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::facts::Known;

/// Nodes, and names of pods of each, that are named to people.
const NODES: usize = 20;
const PODS: usize = 3;

/// What was seen, and what a restore knows besides.
#[derive(Debug, Clone)]
pub struct LeftOvers {
    /// One or more, the latest last.
    pub looks: Vec<Look>,
    /// Nodes that came back with the restored data and were no nodes of the cluster before the restore. Only a restore knows them.
    pub came_back: Vec<CameBack>,
}

impl LeftOvers {
    /// Nothing could be looked at, for this reason.
    pub fn not_looked(why: &str) -> LeftOvers {
        LeftOvers { looks: vec![Look::unknown(why)], came_back: Vec::new() }
    }
}

/// One look at the cluster.
#[derive(Debug, Clone)]
pub struct Look {
    /// The Node objects.
    pub nodes: Known<Vec<NodeObject>>,
    /// When the leases of nodes were renewed last, by node: seconds since 1970.
    pub node_leases: Known<BTreeMap<String, i64>>,
    /// What the kubelets said, by node.
    pub kubelets: BTreeMap<String, Kubelet>,
    /// UIDs of the pods of the API, and those of the static pods of which they are mirrors. They were listed after the kubelets had answered.
    pub pods: Known<BTreeSet<String>>,
    /// The leases by which API servers tell that they are there.
    pub api_server_leases: Known<Vec<ApiServerLease>>,
    /// Addresses of service `kubernetes`: those at which API servers have registered in etcd.
    pub registered: Known<BTreeSet<String>>,
    /// The pods of the API servers.
    pub api_servers: Known<Vec<ApiServer>>,
    /// PersistentVolumes.
    pub volumes: Known<Vec<Volume>>,
    /// PersistentVolumeClaims. They were listed after the volumes.
    pub claims: Known<Vec<Claim>>,
    /// Secrets of type service-account-token, without their data.
    pub tokens: Known<Vec<Token>>,
    /// UIDs of the ServiceAccounts, by namespace and name. They were listed after the tokens.
    pub accounts: Known<BTreeMap<(String, String), String>>,
}

impl Look {
    /// Nothing is known.
    pub fn unknown(why: &str) -> Look {
        let why = why.to_owned();
        Look {
            nodes: Err(why.clone()),
            node_leases: Err(why.clone()),
            kubelets: BTreeMap::new(),
            pods: Err(why.clone()),
            api_server_leases: Err(why.clone()),
            registered: Err(why.clone()),
            api_servers: Err(why.clone()),
            volumes: Err(why.clone()),
            claims: Err(why.clone()),
            tokens: Err(why.clone()),
            accounts: Err(why),
        }
    }
}

/// A Node object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeObject {
    /// Its name.
    pub name: String,
    /// Whether the control plane has given up hearing of its kubelet: condition Ready is Unknown. `Some` says since when, as the API has it.
    pub silent_since: Option<String>,
}

/// What the kubelet of a node said to the API server's node proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kubelet {
    /// What it runs.
    Runs(Vec<RunningPod>),
    /// It gave no answer of use, for this reason.
    Silent(String),
    /// Nobody asked it, for this reason.
    NotAsked(String),
}

/// A pod that a kubelet runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunningPod {
    /// UID, as the node has it.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it comes from a manifest on the node.
    pub is_static: bool,
}

/// A lease by which an API server tells that it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiServerLease {
    /// Its name, in namespace kube-system.
    pub name: String,
    /// Name of the machine.
    pub host: String,
    /// When it was renewed last: seconds since 1970.
    pub renewed: Option<i64>,
}

/// An API server's pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiServer {
    /// Its node.
    pub node: String,
    /// Addresses of the pod and its node, and `--advertise-address`.
    pub addresses: BTreeSet<String>,
}

/// A PersistentVolume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The claim that it is for.
    pub claim: Option<ClaimRef>,
    /// Whether a provisioner has made it: such a volume is made for a claim.
    pub provisioned: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `Retain`, `Delete`, `Recycle`.
    pub policy: String,
}

/// The claim that a volume is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty as long as the volume is only reserved for a claim of this name.
    pub uid: String,
}

/// A PersistentVolumeClaim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The volume that it is bound to; empty: none yet.
    pub volume: String,
}

/// A Secret of type service-account-token, by its annotations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Token {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Name of the ServiceAccount.
    pub account: String,
    /// UID of the ServiceAccount; empty as long as no token was made.
    pub account_uid: String,
}

/// A node that came back with the restored data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CameBack {
    /// Its name.
    pub node: String,
    /// What came back with it, where that is known.
    pub with: Option<NodeLeft>,
}

/// A Node without a machine, and what comes back with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeLeft {
    /// Its name.
    pub node: String,
    /// Its pods, NAMESPACE/NAME.
    pub pods: Vec<String>,
    /// Whether it has a lease in namespace kube-node-lease.
    pub lease: bool,
}

impl NodeLeft {
    /// What comes back with it, for people.
    pub fn brings(&self) -> String {
        let lease = if self.lease { ", a lease" } else { "" };
        match self.pods.len() {
            0 => format!("no pods{lease}"),
            count => {
                let names = self.pods.iter().take(PODS).cloned().collect::<Vec<_>>().join(", ");
                let more = if count > PODS { ", ..." } else { "" };
                let noun = if count == 1 { "pod" } else { "pods" };
                format!("{count} {noun} ({names}{more}){lease}")
            }
        }
    }

    /// All of them for people, a line each.
    pub fn lines(all: &[NodeLeft]) -> Vec<String> {
        let mut lines: Vec<String> =
            all.iter().take(NODES).map(|one| format!("{}: {}", one.node, one.brings())).collect();
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
