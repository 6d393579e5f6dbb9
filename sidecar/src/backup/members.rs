//! All members of the cluster are asked, and one is chosen.

use etcd_members::{Objection, best, objection, reason};
use etcd_store::{ClusterUid, uid_of};
use etcd_wire::message::{KubeSystem, MemberStatus, StatusRequest};
use etcd_wire::{Failure, FailureCode};
use futures::future::join_all;

use super::node::Node;
use crate::status;

/// What the members say.
#[derive(Debug)]
pub(super) struct Asked {
    /// The ID of the member on this node, if it has answered.
    pub(super) local: Option<u64>,
    /// Which is taken, and why.
    chosen: MemberStatus,
    reason: String,
}

/// Asks the member of this node who is in the cluster, and then all of those.
///
/// # Errors
/// No member can be taken: what speaks against each.
pub(super) async fn ask(node: &Node) -> Result<Asked, Failure> {
    let mut silent = Vec::new();
    let (mut answers, mut local): (Vec<MemberStatus>, _) = (Vec::new(), None);
    match one(node, node.endpoints()).await {
        Ok(answer) => {
            local = Some(answer.member_id);
            answers.push(answer);
        }
        Err(failure) => {
            tracing::warn!("the member on this node does not answer: {failure}");
            silent.push(("the member on this node".to_owned(), failure));
        }
    }
    let others: Vec<(String, Vec<String>)> = match answers.first() {
        Some(first) => {
            let others = first.members.iter().filter(|member| member.id != first.member_id);
            others.map(|member| (format!("member {}", member.name), member.client_urls.clone())).collect()
        }
        None => node.guessed_endpoints().into_iter().map(|url| (url.clone(), vec![url])).collect(),
    };
    let asked = others.into_iter().map(|(name, urls)| async move { (name, one(node, urls).await) });
    for (name, answer) in join_all(asked).await {
        match answer {
            // Members of different clusters are never compared, and an address may lead to the same member twice.
            Ok(answer) if answers.iter().any(|first| first.cluster_id != answer.cluster_id) => {
                tracing::warn!("{name} is one of another etcd cluster");
            }
            Ok(answer) if answers.iter().any(|one| one.member_id == answer.member_id) => {}
            Ok(answer) => answers.push(answer),
            Err(failure) => {
                tracing::warn!("{name} does not answer: {failure}");
                silent.push((name, failure));
            }
        }
    }
    let (chosen, reason) = choose(&answers, &silent)?;
    Ok(Asked { local, chosen, reason })
}

async fn one(node: &Node, endpoints: Vec<String>) -> Result<MemberStatus, Failure> {
    let request = StatusRequest {
        etcd: node.access(endpoints),
        certificates: Vec::new(),
        kube_system: Some(node.kube_system()),
        ..StatusRequest::default()
    };
    let answer = status::run(request).await;
    let silent = || Failure::new(FailureCode::Etcd, "the member does not answer");
    answer.etcd.ok_or_else(|| answer.failure.unwrap_or_else(silent))
}

/// The name of the member that has answered.
pub(super) fn name(status: &MemberStatus) -> String {
    let listed = status.members.iter().find(|member| member.id == status.member_id);
    listed
        .map(|member| member.name.clone())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("{:x}", status.member_id))
}

/// Chooses by the rules of `kubectl etcd backup`.
fn choose(answers: &[MemberStatus], silent: &[(String, Failure)]) -> Result<(MemberStatus, String), Failure> {
    let known: Vec<&MemberStatus> = answers.iter().collect();
    let (mut fit, mut against) = (Vec::new(), Vec::new());
    for status in answers {
        match objection(status, &known) {
            None => fit.push((status, name(status))),
            Some(Objection::Never(why) | Objection::Unhealthy(why)) => {
                against.push(format!("member {} {why}", name(status)));
            }
        }
    }
    let (count, all) = (fit.len(), answers.len() + silent.len());
    match best(fit, |(status, name)| (status, name)) {
        Some((status, _)) => Ok((status.clone(), reason(status, count, all))),
        None => {
            let code = if silent.is_empty() { FailureCode::Refused } else { FailureCode::Unreachable };
            let failure = Failure::new(code, "no member can be snapshotted");
            let failure = against.into_iter().fold(failure, Failure::cause);
            let failure = silent.iter().fold(failure, |failure, (name, why)| {
                let failure = failure.cause(format!("{name}: {why}"));
                why.causes.iter().fold(failure, Failure::cause)
            });
            match silent.iter().find_map(|(_, why)| why.hint.clone()) {
                Some(hint) => Err(failure.hint(hint)),
                None => Err(failure),
            }
        }
    }
}

impl Asked {
    /// The member to take the snapshot from.
    pub(super) fn chosen(&self) -> &MemberStatus {
        &self.chosen
    }

    /// Why it is taken.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whose the backup is, as the chosen member says: the place in the store. The snapshot is compared with it.
    ///
    /// # Errors
    /// The member has no namespace kube-system that can be read.
    pub(super) fn cluster(&self) -> Result<ClusterUid, Failure> {
        let refused = |why: &str| {
            let message = "the UID of namespace kube-system is not known, and a backup in a store is kept under it";
            Failure::new(FailureCode::Refused, message).cause(format!("member {}: {why}", name(&self.chosen)))
        };
        let value = match &self.chosen.kube_system {
            Some(KubeSystem::Held { value, .. }) => value,
            Some(KubeSystem::Absent) => return Err(refused("it has no such object")),
            Some(KubeSystem::Unread { why }) => return Err(refused(why)),
            Some(KubeSystem::Unknown) | None => return Err(refused("it does not say")),
        };
        let uid = uid_of(value).ok_or_else(|| refused("the object is encrypted, or cannot be read"))?;
        uid.parse().map_err(|error: etcd_store::UidError| refused(&error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::Member;

    use super::*;

    fn status(id: u64) -> MemberStatus {
        let member = Member { id, name: format!("cp{id}"), ..Member::default() };
        MemberStatus {
            member_id: id,
            leader_id: 1,
            raft_index: 5000,
            raft_applied_index: 5000,
            members: vec![member],
            ..Default::default()
        }
    }

    #[test]
    fn a_follower_is_taken_and_the_reason_told() {
        let (chosen, reason) = choose(&[status(1), status(2)], &[]).unwrap();
        assert_eq!((chosen.member_id, reason.as_str()), (2, "a healthy follower, at raft index 5000"));
        let down = [("member cp2".to_owned(), Failure::new(FailureCode::Unreachable, "down"))];
        let (chosen, reason) = choose(&[status(1)], &down).unwrap();
        assert_eq!((chosen.member_id, reason.as_str()), (1, "it is the only healthy one of 2"));
    }

    #[test]
    fn nobody_fit_is_explained_member_by_member() {
        let down =
            [("member cp2".to_owned(), Failure::new(FailureCode::Unreachable, "down").cause("refused").hint("h"))];
        let learner = MemberStatus { learner: true, ..status(1) };
        let failure = choose(std::slice::from_ref(&learner), &down).unwrap_err();
        assert_eq!(failure.causes, ["member cp1 is a learner: it may be far behind", "member cp2: down", "refused"]);
        assert_eq!((failure.code, failure.hint.as_deref()), (FailureCode::Unreachable, Some("h")));
        assert_eq!(choose(&[learner], &[]).unwrap_err().code, FailureCode::Refused);
    }

    #[test]
    fn a_cluster_is_known_by_its_namespace_or_not_at_all() {
        let of = |kube_system| {
            let chosen = MemberStatus { kube_system, ..status(1) };
            Asked { local: None, chosen, reason: String::new() }.cluster()
        };
        let uid = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
        let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system", "uid": uid}});
        let held = |value: Vec<u8>| Some(KubeSystem::Held { mod_revision: 1, value });
        assert_eq!(of(held(object.to_string().into_bytes())).unwrap().to_string(), uid);
        for unknown in [held(b"k8s:enc:aescbc:v1:k:x".to_vec()), Some(KubeSystem::Absent), None] {
            assert_eq!(of(unknown).unwrap_err().code, FailureCode::Refused);
        }
    }
}
