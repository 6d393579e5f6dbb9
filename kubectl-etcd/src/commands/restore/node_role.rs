//! What becomes of each node, by `--to-nodes`: a pure function. A node that is left out is stopped; what can neither get the snapshot nor
//! be stopped must not be able to go on as the old cluster.

use etcd_wire::message::Member;
use serde::Serialize;

use super::plan::Seen;

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum NodeRole {
    /// It gets the snapshot.
    Restored,
    /// It is left out: its static pods are stopped, and stay so.
    Stopped,
    /// It is left out, and cannot be reached to be stopped.
    NotReached,
}

impl NodeRole {
    /// `to_nodes` is empty if no node is to be left out.
    pub(super) fn of(seen: &Seen<'_>, to_nodes: &[String]) -> NodeRole {
        if to_nodes.is_empty() || to_nodes.contains(&seen.pod.node) {
            NodeRole::Restored
        } else if seen.facts.is_some() {
            NodeRole::Stopped
        } else {
            NodeRole::NotReached
        }
    }
}

/// What speaks against leaving nodes out as was asked for. `server` is the URL that the kubeconfig leads to.
pub(super) fn objections(to_nodes: &[String], server: &str, seen: &[Seen<'_>]) -> Vec<String> {
    let mut against = Vec::new();
    for node in to_nodes {
        if !seen.iter().any(|one| one.pod.node == *node) {
            let known: Vec<&str> = seen.iter().map(|one| one.pod.node.as_str()).collect();
            against.push(format!("no etcd member runs on node {node}, only on {}", known.join(", ")));
        }
    }
    let left_out: Vec<&Seen<'_>> =
        seen.iter().filter(|one| NodeRole::of(one, to_nodes) != NodeRole::Restored).collect();
    let server = host(server);
    for one in &left_out {
        let mut own = one.pod.peer_urls.iter().filter_map(|url| host(url)).chain([one.pod.node.clone()]);
        if server.is_some() && own.any(|host| Some(host) == server) {
            against.push(format!(
                "the kubeconfig leads to the API server of node {}, which would be left out: --server names another",
                one.pod.node
            ));
        }
    }
    let voters = voters(seen);
    let stays = |name: &&String| match seen.iter().find(|one| one.pod.name == **name) {
        Some(one) => NodeRole::of(one, to_nodes) == NodeRole::NotReached,
        None => !to_nodes.is_empty(),
    };
    let stay: Vec<&str> = voters.iter().filter(stays).map(String::as_str).collect();
    if stay.len() > voters.len() / 2 {
        against.push(format!(
            "{} of {} members would be left out without being stopped ({}): together they have quorum and could keep serving the old data",
            stay.len(),
            voters.len(),
            stay.join(", ")
        ));
    }
    against
}

/// What is left out without being stopped: nodes, and members of the old cluster of which there is no pod.
pub(super) fn not_reached(to_nodes: &[String], seen: &[Seen<'_>]) -> Vec<String> {
    let nodes =
        seen.iter().filter(|one| NodeRole::of(one, to_nodes) == NodeRole::NotReached).map(|one| one.pod.node.clone());
    let lost = if to_nodes.is_empty() { Vec::new() } else { without_pod(seen) };
    nodes.chain(lost).collect()
}

/// Names of the etcd cluster's members that have no pod.
pub(super) fn without_pod(seen: &[Seen<'_>]) -> Vec<String> {
    let unknown = |member: &&Member| !seen.iter().any(|one| one.pod.name == member.name);
    listed(seen).iter().filter(unknown).map(name).collect()
}

/// Names of the members that have a vote in the cluster as it is.
fn voters(seen: &[Seen<'_>]) -> Vec<String> {
    match listed(seen) {
        [] => seen.iter().map(|one| one.pod.name.clone()).collect(),
        members => members.iter().filter(|member| !member.learner).map(name).collect(),
    }
}

/// The members as one of them lists them.
fn listed<'a>(seen: &[Seen<'a>]) -> &'a [Member] {
    let mut all = seen.iter().filter_map(|one| one.status.as_ref().ok().map(|status| status.members.as_slice()));
    all.find(|members| !members.is_empty()).unwrap_or_default()
}

/// A member that has not started yet has only its ID.
fn name(member: &Member) -> String {
    if member.name.is_empty() { format!("{:x}", member.id) } else { member.name.clone() }
}

/// The host of a URL.
fn host(url: &str) -> Option<String> {
    url.parse::<http::Uri>().ok()?.host().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use etcd_wire::facts::NodeFacts;
    use etcd_wire::message::MemberStatus;

    use super::*;
    use crate::discovery::EtcdPod;

    #[test]
    fn what_is_not_named_is_stopped_or_must_be_too_few_to_go_on() {
        let pods = ["cp1", "cp2", "cp3"].map(|name| EtcdPod {
            name: name.into(),
            node: name.into(),
            peer_urls: vec![format!("https://{name}.example:2380")],
            ..Default::default()
        });
        let member = |name: &str| Member { name: name.into(), ..Default::default() };
        let status = MemberStatus { members: ["cp1", "cp2", "cp3"].map(member).to_vec(), ..Default::default() };
        let facts = NodeFacts::default();
        let seen = |reached: [bool; 3]| -> Vec<Seen<'_>> {
            let of = |(pod, reached)| match reached {
                true => Seen { pod, status: Ok(&status), facts: Some(Ok(&facts)) },
                false => Seen { pod, status: Err("no pod".to_owned()), facts: None },
            };
            pods.iter().zip(reached).map(of).collect()
        };
        let to = |nodes: &[&str]| nodes.iter().map(|node| (*node).to_owned()).collect::<Vec<_>>();
        let fates = |nodes: &[&str], reached| -> Vec<NodeRole> {
            seen(reached).iter().map(|one| NodeRole::of(one, &to(nodes))).collect()
        };
        assert_eq!(fates(&[], [true, true, false]), [NodeRole::Restored; 3]);
        assert_eq!(fates(&["cp1"], [true, true, false]), [NodeRole::Restored, NodeRole::Stopped, NodeRole::NotReached]);
        let against = |nodes: &[&str], server: &str, reached| objections(&to(nodes), server, &seen(reached));
        assert!(against(&[], "https://cp3.example:6443", [true, false, false]).is_empty());
        assert!(against(&["cp1", "cp2"], "https://lb:6443", [true, true, false]).is_empty());
        assert!(against(&["cp1"], "https://lb:6443", [true, true, false]).is_empty());
        for (nodes, server, reached, text) in [
            (&["cp9"][..], "https://lb:6443", [true; 3], "no etcd member runs on node cp9, only on cp1, cp2, cp3"),
            (
                &["cp1"],
                "https://lb:6443",
                [true, false, false],
                "2 of 3 members would be left out without being stopped",
            ),
            (&["cp1", "cp2"], "https://cp3.example:6443", [true; 3], "leads to the API server of node cp3"),
            (&["cp1", "cp2"], "https://cp3:6443", [true, true, false], "leads to the API server of node cp3"),
        ] {
            let said = against(nodes, server, reached);
            assert!(said.len() == 1 && said[0].contains(text), "{said:?}");
        }
        // A member without a pod is left out only where nodes are named.
        let two = &seen([true; 3])[..2];
        assert_eq!(without_pod(two), ["cp3"]);
        assert_eq!((not_reached(&to(&["cp1"]), two), not_reached(&[], two)), (vec!["cp3".to_owned()], Vec::new()));
    }
}
