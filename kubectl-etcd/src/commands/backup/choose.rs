//! Which member to take the snapshot from: a pure choice over what the members said.

use etcd_members::{Objection, best, objection, reason};
use etcd_wire::message::MemberStatus;

use crate::discovery::EtcdPod;
use crate::output::visible::quoted;
use crate::output::{Exit, Failed, Outcome};
use crate::road::Sidecar;
use crate::sidecar::Surveyed;

/// The member to take, and why.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) member: &'a EtcdPod,
    pub(super) status: &'a MemberStatus,
    pub(super) sidecar: &'a Sidecar,
    pub(super) reason: String,
    /// What the user should know of it; only a member that was asked for by name has any.
    pub(super) warnings: Vec<String>,
}

/// Chooses among the members of one cluster. `named` says that the user has named the one member that was surveyed.
///
/// # Errors
/// No member can be taken: what speaks against each, and whether `--node` would overrule it.
pub(super) fn choose<'a>(surveyed: &[&'a Surveyed], named: bool) -> Outcome<Choice<'a>> {
    let known: Vec<&MemberStatus> = surveyed.iter().filter_map(|one| one.etcd().ok()).collect();
    let mut against = Vec::new();
    let mut fit = Vec::new();
    let mut overrulable = None;
    for &one in surveyed {
        let (status, sidecar) = match (one.etcd(), &one.sidecar) {
            (Ok(status), Some(sidecar)) => (status, sidecar),
            (Err(failed), _) => {
                against.push((&one.member, failed.one_line(), Some(failed)));
                continue;
            }
            (Ok(_), None) => continue, // A snapshot needs a sidecar, and survey() gives one to each that answers.
        };
        let candidate = |reason: String, warnings| Choice { member: &one.member, status, sidecar, reason, warnings };
        match objection(status, &known) {
            None => fit.push(candidate(String::new(), Vec::new())),
            Some(Objection::Unhealthy(why)) if named => {
                return Ok(candidate("it was asked for".to_owned(), vec![format!("member {} {why}", one.member.name)]));
            }
            Some(Objection::Unhealthy(why)) => {
                overrulable.get_or_insert(&one.member.node);
                against.push((&one.member, why, None));
            }
            Some(Objection::Never(why)) => against.push((&one.member, why, None)),
        }
    }
    let votes = fit.len();
    if let Some(mut choice) = best(fit, |choice: &Choice<'_>| (choice.status, choice.member.node.as_str())) {
        choice.reason = match named {
            true => "it was asked for".to_owned(),
            false => reason(choice.status, votes, surveyed.len()),
        };
        return Ok(choice);
    }
    Err(refuse(against, overrulable))
}

fn refuse(against: Vec<(&EtcdPod, String, Option<Failed>)>, overrulable: Option<&String>) -> Failed {
    let lines = against.iter().map(|(member, why, _)| format!("{} on node {}: {why}", member.name, member.node));
    let mut failed = Failed::new(Exit::Refused, "no member can be snapshotted").causes(lines);
    let mut hints: Vec<String> = Vec::new();
    for (_, _, inner) in against {
        let Some(inner) = inner else { continue };
        if inner.exit != Exit::Refused {
            failed.exit = Exit::Failed;
        }
        hints.extend(inner.hints);
    }
    if let Some(node) = overrulable {
        hints.push(format!("to take it all the same, name its node:\n  kubectl etcd backup --node {}", quoted(node)));
    }
    hints.dedup();
    hints.into_iter().fold(failed, Failed::hint)
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::{Alarm, NodeStatus};

    use super::super::member;
    use super::*;
    use crate::sidecar::Via;

    fn answer(node: &str, id: u64, change: impl FnOnce(&mut MemberStatus)) -> Surveyed {
        let mut status = MemberStatus {
            member_id: id,
            leader_id: 1,
            raft_index: 5000,
            raft_applied_index: 5000,
            ..Default::default()
        };
        change(&mut status);
        let sidecar =
            Sidecar::Pod { pod: format!("pod-{node}"), namespace: "kube-system".into(), program: "/etcd-sidecar" };
        let status = NodeStatus { etcd: Some(status), ..Default::default() };
        Surveyed { member: member(node), outcome: Ok(status), via: Via::Sidecar, sidecar: Some(sidecar), served: None }
    }

    fn choose(surveyed: &[Surveyed], named: bool) -> Outcome<Choice<'_>> {
        super::choose(&surveyed.iter().collect::<Vec<_>>(), named)
    }

    fn alarm(member_id: u64, kind: &str) -> Alarm {
        Alarm { member_id, kind: kind.into() }
    }

    #[test]
    fn a_healthy_follower_comes_before_the_leader() {
        let three =
            [answer("cp1", 1, |_| {}), answer("cp2", 2, |s| s.raft_applied_index = 4990), answer("cp3", 3, |_| {})];
        let choice = choose(&three, false).unwrap();
        assert_eq!(choice.member.node, "cp3");
        assert!(choice.reason.contains("follower"));
        assert!(choice.warnings.is_empty());
    }

    #[test]
    fn the_leader_is_better_than_a_sick_follower() {
        let sick = [
            answer("cp1", 1, |_| {}),
            answer("cp2", 2, |s| s.learner = true),
            answer("cp3", 3, |s| s.raft_applied_index = 10),
        ];
        assert_eq!(choose(&sick, false).unwrap().member.node, "cp1");
    }

    #[test]
    fn an_alarm_is_believed_whoever_tells_of_it() {
        let told_elsewhere = [answer("cp1", 1, |s| s.alarms = vec![alarm(2, "CORRUPT")]), answer("cp2", 2, |_| {})];
        assert_eq!(choose(&told_elsewhere, false).unwrap().member.node, "cp1");
    }

    #[test]
    fn nobody_fit_is_explained_member_by_member() {
        let outcome = Err(Failed::plain("no pod").cause("image").hint("--image"));
        let down = Surveyed { member: member("cp2"), outcome, via: Via::Sidecar, sidecar: None, served: None };
        let all = [answer("cp1", 1, |s| s.alarms = vec![alarm(1, "NOSPACE")]), down];
        let failed = choose(&all, false).unwrap_err();
        assert_eq!(failed.exit, Exit::Failed);
        assert!(failed.causes[0].contains("cp1") && failed.causes[0].contains("NOSPACE"), "{failed}");
        assert!(failed.causes[1].contains("no pod: image"), "{failed}");
        assert!(
            failed.hints.iter().any(|hint| hint == "--image")
                && failed.hints.iter().any(|hint| hint.contains("--node cp1"))
        );
    }

    #[test]
    fn naming_a_node_overrules_age_but_not_corruption() {
        let full = [answer("cp1", 1, |s| s.alarms = vec![alarm(1, "NOSPACE")])];
        assert_eq!(choose(&full, true).unwrap().warnings.len(), 1);
        assert_eq!(choose(&full, false).unwrap_err().exit, Exit::Refused);
        for bad in [answer("cp1", 1, |s| s.learner = true), answer("cp1", 1, |s| s.alarms = vec![alarm(1, "CORRUPT")])]
        {
            assert_eq!(choose(&[bad], true).unwrap_err().exit, Exit::Refused);
        }
    }
}
