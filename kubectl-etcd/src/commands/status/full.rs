//! What to do about an etcd that takes no writes any more: the commands for this very cluster.

use crate::etcd_clusters::EtcdCluster;
use crate::member_probe::by_hand;

/// etcd's name of the alarm that stops writes.
const NO_SPACE: &str = "NOSPACE";

/// The next steps, where a member has raised the alarm; none where no member can be asked with `etcdctl`.
pub(super) fn next_steps(cluster: &EtcdCluster<'_>) -> Option<String> {
    let statuses = cluster.statuses();
    statuses.iter().flat_map(|status| &status.alarms).find(|alarm| alarm.kind == NO_SPACE)?;
    let revision = statuses.iter().map(|status| status.revision).max()?.to_string();
    // Followers first: the leader is busy with all of them.
    let mut asked: Vec<_> = cluster.members.iter().filter_map(|one| Some((*one, one.etcd().ok()?))).collect();
    asked.sort_by_key(|(_, status)| status.leader_id == status.member_id);
    let line = |index: usize, words: &[&str]| {
        let (one, _) = asked.get(index)?;
        by_hand(one.via, &one.member, words)
    };
    let mut lines = vec![line(0, &["compact", &revision])?];
    for index in 0..asked.len() {
        lines.push(line(index, &["defrag"])?);
    }
    lines.push(line(0, &["alarm", "disarm"])?);
    let lines: String = lines.iter().map(|line| format!("\n  {line}")).collect();
    Some(format!(
        "etcd is full: the cluster takes no writes. Make room in this order. If old revisions were not what filled etcd, raise\n  \
         --quota-backend-bytes instead. A defragmentation stops its member for seconds: wait for each{lines}"
    ))
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::{Alarm, KeyPair};

    use super::*;
    use crate::etcd_clusters::samples::{answers, held};
    use crate::etcd_clusters::{EtcdClusters, Evidence};
    use crate::sidecar::Via;

    #[test]
    fn the_steps_are_those_of_this_cluster() {
        let mut all = ["cp1", "cp2"].map(|node| answers(node, 2379, 9, &["cp1", "cp2"], held("ours")));
        for (one, via) in all.iter_mut().zip([Via::Pod, Via::Kubelet]) {
            one.via = via;
            one.member.access.endpoints = vec!["https://127.0.0.1:2379".into()];
            (one.member.own.namespace, one.member.own.container) = ("kube-system".into(), "etcd".into());
            one.member.own.ca = Some("/p/ca.crt".into());
            one.member.own.credentials = vec![KeyPair { cert: "/p/s.crt".into(), key: "/p/s.key".into() }];
        }
        let steps = |all: &[crate::sidecar::Surveyed]| {
            let clusters = EtcdClusters::of(all, &Evidence { api_servers: &[], served: Err("no right") });
            next_steps(&clusters.all[0])
        };
        assert_eq!(steps(&all), None, "no alarm is raised");
        if let Ok(status) = &mut all[0].outcome {
            let status = status.etcd.as_mut().expect("it answers");
            (status.leader_id, status.revision) = (status.member_id, 77);
            status.alarms = vec![Alarm { member_id: 5, kind: NO_SPACE.into() }];
        }
        let told = steps(&all).expect("steps");
        let lines: Vec<&str> = told.lines().skip(2).collect();
        let kubelet =
            "  kubectl create --raw '/api/v1/nodes/cp2/proxy/run/kube-system/etcd-cp2-2379/etcd?cmd=etcdctl%20";
        assert!(lines[0].starts_with(kubelet) && lines[0].ends_with("compact%2077' -f /dev/null"), "{told}");
        assert!(lines[1].starts_with(kubelet) && lines[1].ends_with("defrag' -f /dev/null"), "{told}");
        assert_eq!(
            lines[2],
            "  kubectl exec -n kube-system etcd-cp1-2379 -c etcd -- etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/p/ca.crt \
             --cert=/p/s.crt --key=/p/s.key --command-timeout=5m defrag"
        );
        assert!(lines[3].ends_with("alarm%20disarm' -f /dev/null") && lines.len() == 4, "{told}");
        // By a sidecar there is no etcdctl.
        all[1].via = Via::Sidecar;
        assert_eq!(steps(&all), None);
    }
}
