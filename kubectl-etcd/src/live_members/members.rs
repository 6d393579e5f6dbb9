//! Puts the member list of a cluster and what its members say together: pure functions.

use etcd_members::Seen;
use etcd_wire::message::{Member, MemberStatus};

use crate::etcd_clusters::lists;
use crate::sidecar::{Surveyed, Via};

/// A member of the list.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// As rules judge it.
    pub(crate) seen: Seen,
    /// Node of its pod, where one was found.
    pub(crate) node: Option<String>,
    /// As the list has it.
    pub(crate) peer_urls: Vec<String>,
    pub(crate) client_urls: Vec<String>,
    /// How it was asked, if it has answered.
    pub(crate) via: Option<Via>,
    /// Why it does not answer.
    pub(crate) error: Option<String>,
}

/// ID of the cluster of a member that answers.
pub(super) fn cluster_of(one: &Surveyed) -> Option<u64> {
    status(one).map(|status| status.cluster_id)
}

fn status(one: &Surveyed) -> Option<&MemberStatus> {
    one.outcome.as_ref().ok()?.etcd.as_ref()
}

/// The members, by name; none if nobody tells the list. The list of the member counts that has applied most.
pub(super) fn list(cluster: u64, surveyed: &[Surveyed]) -> Vec<Listed> {
    let statuses = surveyed.iter().filter_map(status).filter(|status| status.cluster_id == cluster);
    let told = statuses.filter(|status| !status.members.is_empty());
    let Some(newest) = told.max_by_key(|status| (!status.learner, status.raft_applied_index)) else {
        return Vec::new();
    };
    let mut listed: Vec<Listed> = newest.members.iter().map(|member| of(cluster, member, surveyed)).collect();
    listed.sort_by(|a, b| (&a.seen.name, a.seen.id).cmp(&(&b.seen.name, b.seen.id)));
    listed
}

fn of(cluster: u64, member: &Member, surveyed: &[Surveyed]) -> Listed {
    let answers = |one: &&Surveyed| {
        status(one).is_some_and(|status| status.cluster_id == cluster && status.member_id == member.id)
    };
    let is_silent = |one: &&Surveyed| status(one).is_none() && lists(std::slice::from_ref(member), &one.member);
    let own = surveyed.iter().find(answers).or_else(|| surveyed.iter().find(is_silent));
    let said = own.and_then(status);
    let quota = said.and_then(|status| status.quota.filter(|quota| *quota > 0));
    Listed {
        seen: Seen {
            id: member.id,
            name: member.name.clone(),
            learner: member.learner,
            status: said.cloned(),
            quota: quota.or_else(|| own.map(|one| one.member.quota)).unwrap_or_default(),
        },
        node: own.map(|one| one.member.node.clone()),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        via: own.filter(|_| said.is_some()).map(|one| one.via),
        error: match own {
            Some(one) => one.etcd().err().map(|failed| failed.one_line()),
            None => Some("no etcd pod of this member was found".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd_clusters::samples::{answers, held, silent};

    /// With the IDs that the members of the samples have.
    fn three() -> Vec<Surveyed> {
        let mut all: Vec<Surveyed> =
            ["cp1", "cp2"].map(|node| answers(node, 2379, 9, &["cp1", "cp2", "cp3"], held("ours"))).into();
        let ids: Vec<u64> = all.iter().filter_map(status).map(|status| status.member_id).chain([77]).collect();
        for one in &mut all {
            let Ok(node) = &mut one.outcome else { continue };
            let members = node.etcd.iter_mut().flat_map(|status| &mut status.members);
            members.zip(&ids).for_each(|(member, id)| member.id = *id);
        }
        all
    }

    #[test]
    fn the_list_says_who_there_is_and_the_pods_how_they_are() {
        let mut all = three();
        all[0].member.quota = 5;
        let listed = list(9, &all);
        let nodes: Vec<_> = listed.iter().map(|one| one.node.as_deref()).collect();
        assert_eq!(nodes, [Some("cp1"), Some("cp2"), None]);
        assert_eq!((listed[0].seen.quota, listed[0].via), (5, Some(Via::Sidecar)));
        assert!(
            listed[2].seen.status.is_none() && listed[2].error.as_ref().is_some_and(|why| why.contains("no etcd pod"))
        );
        // A pod that is silent is that of the member with its URLs.
        all.push(silent("cp3", 2379));
        let listed = list(9, &all);
        assert_eq!((listed[2].node.as_deref(), listed[2].error.as_deref()), (Some("cp3"), Some("no answer")));
    }

    #[test]
    fn another_cluster_tells_nothing() {
        let all = three();
        assert!(list(8, &all).is_empty());
        assert!(list(9, &[silent("cp1", 2379)]).is_empty());
    }
}
