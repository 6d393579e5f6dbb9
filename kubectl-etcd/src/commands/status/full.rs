//! What to do about an etcd that takes no writes any more.

use etcd_members::space::NO_SPACE;

use crate::etcd_clusters::EtcdCluster;

/// The next steps, where a member has raised the alarm.
pub(super) fn next_steps(cluster: &EtcdCluster<'_>) -> Option<&'static str> {
    cluster.statuses().iter().flat_map(|status| &status.alarms).find(|alarm| alarm.kind == NO_SPACE)?;
    Some(
        "etcd is full: the cluster takes no writes. Make room in this order. If old revisions were not what filled etcd, delete\n  \
         objects or raise --quota-backend-bytes\n  \
         kubectl etcd compact --physical\n  \
         kubectl etcd defrag",
    )
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::Alarm;

    use super::*;
    use crate::etcd_clusters::samples::{answers, held};
    use crate::etcd_clusters::{EtcdClusters, Evidence};

    #[test]
    fn steps_are_told_where_etcd_is_full() {
        let mut all = ["cp1", "cp2"].map(|node| answers(node, 2379, 9, &["cp1", "cp2"], held("ours")));
        let steps = |all: &[crate::sidecar::Surveyed]| {
            let clusters = EtcdClusters::of(all, &Evidence { api_servers: &[], served: Err("no right") });
            next_steps(&clusters.all[0])
        };
        assert_eq!(steps(&all), None, "no alarm is raised");
        let mut raise = |kind: &str| {
            if let Ok(status) = &mut all[0].outcome {
                let status = status.etcd.as_mut().expect("it answers");
                status.alarms = vec![Alarm { member_id: 5, kind: kind.into() }];
            }
            steps(&all)
        };
        assert_eq!(raise("CORRUPT"), None);
        assert!(raise(NO_SPACE).is_some_and(|told| told.ends_with("\n  kubectl etcd defrag")));
    }
}
