//! The nodes whose journals are read. Through the API server they are those of the members that it knows. Over SSH they are all that were named: while etcd
//! is stopped no manifest tells of it, and the journals themselves say where its member is.

use super::recall::{Recalled, by_time};
use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{EtcdPod, Manifests, Overrides};
use crate::output::Outcome;

/// The members of the nodes that are asked. Of one that is reached over SSH only the node is known.
///
/// # Errors
/// None is found.
pub(crate) async fn to_recall(
    plane: &ControlPlane,
    context: &Context,
    overrides: &Overrides,
    manifests: &Manifests,
) -> Outcome<Vec<EtcdPod>> {
    match plane.hosts() {
        None => Ok(plane.with_manifests(context, overrides, manifests).await?.readable(context.printer)),
        Some(hosts) => {
            let member = |node: &String| EtcdPod { node: node.clone(), name: node.clone(), ..EtcdPod::default() };
            Ok(hosts.iter().map(|host| member(&host.node)).collect())
        }
    }
}

/// Adds what the newest journal of its node says of a member of which only the node is known.
pub(crate) fn describe(members: &mut [EtcdPod], nodes: &[Recalled]) {
    let plans: Vec<_> = by_time(nodes).into_iter().map(|restore| &restore.plan).collect();
    for member in members.iter_mut().filter(|member| member.access.endpoints.is_empty()) {
        let mut known = plans.iter().flat_map(|plan| &plan.nodes);
        if let Some(node) = known.find(|node| node.node == member.node) {
            member.name.clone_from(&node.member);
            member.access = node.etcd.clone();
            member.peer_urls.clone_from(&node.peer_urls);
            member.parts = node.parts;
            member.data_dir = Some(node.data_dir.clone()).filter(|_| node.has_etcd());
            member.wal_dir.clone_from(&node.wal_dir);
            member.manifests_dir = Some(node.manifests_dir.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::journal;
    use super::*;

    #[test]
    fn the_newest_journal_tells_where_a_member_is() {
        let mut older = journal("cp1", 2);
        let mut newer = journal("cp1", 2);
        (older.plan.id, older.begun_at) = ("older".into(), 1);
        (newer.plan.id, newer.begun_at) = ("newer".into(), 2);
        older.plan.nodes[0].data_dir = "/old".into();
        newer.plan.nodes[0].data_dir = "/new".into();
        newer.plan.nodes[0].etcd.endpoints = vec!["https://127.0.0.1:2379".into()];
        let nodes = [Recalled { node: "cp1".into(), outcome: Ok(vec![older, newer]) }];
        let only = |node: &str| EtcdPod { node: node.into(), ..EtcdPod::default() };
        let mut members = [only("cp1"), only("cp9")];
        describe(&mut members, &nodes);
        assert_eq!(members[0].data_dir.as_deref(), Some("/new"));
        assert_eq!(members[0].access.endpoints, ["https://127.0.0.1:2379"]);
        assert_eq!(members[1], only("cp9"));
        // What discovery has found stays.
        let mut found = [EtcdPod { data_dir: Some("/found".into()), access: members[0].access.clone(), ..only("cp1") }];
        describe(&mut found, &nodes);
        assert_eq!(found[0].data_dir.as_deref(), Some("/found"));
    }
}
