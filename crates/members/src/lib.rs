//! What members of one etcd cluster say of themselves, judged: pure functions, for the plugin and for the pod of a schedule.
//!
//! Here: roles, alarms, and which member a snapshot is taken from. [`View`] is a cluster as its member list and its members show it, with the
//! rules of quorum; [`defrag`], [`space`], [`change`] and [`replace`] say what may be ordered, and in which order;
//! [`order`] says what became of an order.

pub mod change;
pub mod defrag;
pub mod order;
pub mod replace;
pub mod space;
mod view;

use std::cmp::Reverse;

use etcd_wire::message::MemberStatus;

pub use view::{Refusal, Seen, View};

/// A member whose applied index is further behind than this is not taken. A busy cluster commits a few hundred
/// entries in the moments between two members' answers.
const LAG: u64 = 1000;

/// The role of a member without a leader.
pub const NO_LEADER: &str = "no-leader";

/// What a member is in its cluster: `learner`, [`NO_LEADER`], `leader` or `follower`.
pub fn role(status: &MemberStatus) -> &'static str {
    match status {
        status if status.learner => "learner",
        status if status.leader_id == 0 => NO_LEADER,
        status if status.leader_id == status.member_id => "leader",
        _ => "follower",
    }
}

/// The alarms of a member, whoever tells of them, each once.
pub fn alarms(known: &[&MemberStatus], member: u64) -> Vec<String> {
    let mut kinds: Vec<String> = known
        .iter()
        .flat_map(|status| &status.alarms)
        .filter(|alarm| alarm.member_id == member)
        .map(|alarm| alarm.kind.clone())
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// What speaks against a member as the source of a snapshot. The text follows the member's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// Its snapshot would be wrong or is not to be had.
    Never(String),
    /// Its snapshot may be old; taken only when the user names its node.
    Unhealthy(String),
}

/// What speaks against a member. `known` is what all members of its cluster say that answer, this one among them.
pub fn objection(status: &MemberStatus, known: &[&MemberStatus]) -> Option<Objection> {
    if status.learner {
        return Some(Objection::Never("is a learner: it may be far behind".to_owned()));
    }
    let raised = alarms(known, status.member_id);
    if let Some(alarm) = raised.iter().find(|alarm| *alarm != "NOSPACE") {
        return Some(Objection::Never(format!("has raised the alarm {alarm}: its data cannot be trusted")));
    }
    if !raised.is_empty() {
        return Some(Objection::Unhealthy("has raised the alarm NOSPACE: the cluster takes no writes".to_owned()));
    }
    if status.leader_id == 0 {
        return Some(Objection::Unhealthy("knows of no leader: its state may be old".to_owned()));
    }
    let newest = known.iter().map(|status| status.raft_index).max().unwrap_or(0);
    let lag = newest.saturating_sub(status.raft_applied_index);
    (lag > LAG && status.raft_applied_index > 0)
        .then(|| Objection::Unhealthy(format!("lags {lag} raft entries behind")))
}

/// The best member to take a snapshot from, of those that nothing speaks against: followers before the leader, then the newest state, then by
/// name so that the choice can be foretold.
pub fn best<T>(fit: Vec<T>, of: impl Fn(&T) -> (&MemberStatus, &str)) -> Option<T> {
    fit.into_iter().min_by_key(|one| {
        let (status, name) = of(one);
        (role(status) == "leader", Reverse(status.raft_applied_index), name.to_owned())
    })
}

/// Why the best member is taken, of so many that are fit, and of so many that were asked.
pub fn reason(status: &MemberStatus, fit: usize, asked: usize) -> String {
    match (fit, role(status)) {
        (1, _) if asked == 1 => "it is the only member".to_owned(),
        (1, _) => format!("it is the only healthy one of {asked}"),
        (_, "leader") => "no follower is healthy".to_owned(),
        (_, role) => format!("a healthy {role}, at raft index {}", status.raft_applied_index),
    }
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::Alarm;

    use super::*;

    fn status(id: u64) -> MemberStatus {
        MemberStatus { member_id: id, leader_id: 1, raft_index: 5000, raft_applied_index: 5000, ..Default::default() }
    }

    fn chosen(all: &[MemberStatus]) -> Option<(u64, String)> {
        let known: Vec<&MemberStatus> = all.iter().collect();
        let fit: Vec<&MemberStatus> = all.iter().filter(|one| objection(one, &known).is_none()).collect();
        let count = fit.len();
        let one = best(fit, |one| (one, "same"))?;
        Some((one.member_id, reason(one, count, all.len())))
    }

    #[test]
    fn a_healthy_follower_with_the_newest_state_is_taken() {
        let behind = MemberStatus { raft_applied_index: 4990, ..status(2) };
        assert_eq!(
            chosen(&[status(1), behind, status(3)]),
            Some((3, "a healthy follower, at raft index 5000".to_owned()))
        );
        let lost = MemberStatus { raft_applied_index: 10, ..status(2) };
        assert_eq!(chosen(&[status(1), lost.clone()]), Some((1, "it is the only healthy one of 2".to_owned())));
        assert_eq!(chosen(&[status(1)]), Some((1, "it is the only member".to_owned())));
        assert_eq!(chosen(&[MemberStatus { leader_id: 0, ..status(2) }, lost]), None);
    }

    #[test]
    fn what_speaks_against_a_member_is_said() {
        let alarm = |kind: &str| vec![Alarm { member_id: 2, kind: kind.into() }];
        // Told by another member.
        let corrupt = MemberStatus { alarms: alarm("CORRUPT"), ..status(1) };
        let full = MemberStatus { alarms: alarm("NOSPACE"), ..status(1) };
        let one = status(2);
        assert!(matches!(objection(&one, &[&one, &corrupt]), Some(Objection::Never(_))));
        assert!(matches!(objection(&one, &[&one, &full]), Some(Objection::Unhealthy(_))));
        let learner = MemberStatus { learner: true, ..status(2) };
        assert!(matches!(objection(&learner, &[&learner]), Some(Objection::Never(_))));
        assert_eq!(objection(&one, &[&one, &status(1)]), None);
    }
}
