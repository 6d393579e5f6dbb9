//! Changes of the membership and of the leadership: what may be ordered.

use super::view::majority;
use super::{Refusal, Seen, View, best, space};

/// A member that may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// ID of the member.
    pub id: u64,
    /// ID of the member that is asked to remove it.
    pub at: u64,
    /// Whether it answers: it works for the cluster until it is removed.
    pub running: bool,
    /// How many voters there are afterwards.
    pub voters_left: usize,
}

/// Whether a member may be removed.
///
/// # Errors
/// It is the only voter, the others would have no quorum, another voter is not healthy while this one is, or there is no leader.
pub fn removal(view: &View, member: &Seen) -> Result<Removal, Refusal> {
    let title = member.title();
    let refused = |why: &str| Refusal::new(format!("refuse to remove member {title}: {why}"));
    let rest = View::new(view.members().iter().filter(|one| one.id != member.id).cloned().collect());
    let others = rest.voters().count();
    if others == 0 {
        return Err(refused("it is the only member that votes"));
    }
    view.leader(&format!("remove member {title}"))?;
    // Judged with what all members say: the newest index may be that of the one that goes.
    let healthy = view.healthy_voters_but(member.id);
    let troubles = view.troubles(view.voters().filter(|one| one.id != member.id));
    let with = |refusal: Refusal| troubles.iter().fold(refusal, Refusal::cause);
    let status = "see what is wrong with the others\n  kubectl etcd status";
    if healthy < majority(others) {
        let refusal = refused(&format!("the others would have no quorum ({healthy} of {others} are healthy)"));
        return Err(with(refusal).hint(status));
    }
    if !troubles.is_empty() && !member.learner && view.is_healthy(member) {
        return Err(with(refused("it is healthy, and another member is not")).hint(status));
    }
    let at = space::asked(&rest_with_leader(&rest, view), &format!("remove member {title}"))?.id;
    Ok(Removal { id: member.id, at, running: member.status.is_some(), voters_left: others })
}

/// The others, for whom the leader that goes is a leader still.
fn rest_with_leader(rest: &View, view: &View) -> View {
    if rest.leader("").is_ok() {
        return rest.clone();
    }
    // Any of them passes an order on to the leader.
    let mut members = rest.members().to_vec();
    let id = members.iter().find(|one| !one.learner && view.is_healthy(one)).map_or(0, |one| one.id);
    members.iter_mut().filter_map(|one| one.status.as_mut()).for_each(|status| status.leader_id = id);
    View::new(members)
}

/// Whether a learner may become a voter; gives the ID of the member that is asked.
///
/// # Errors
/// It is a voter, it has not caught up, or the voters would have no quorum with it.
pub fn promotion(view: &View, member: &Seen) -> Result<u64, Refusal> {
    let title = member.title();
    let refused = |why: String| Refusal::new(format!("refuse to promote member {title}: {why}"));
    if !member.learner {
        return Err(refused("it votes already".to_owned()));
    }
    let doing = format!("promote member {title}");
    view.is_sound(&doing)?;
    view.leader(&doing)?;
    if let Some(trouble) = view.trouble(member) {
        return Err(refused(format!("it {trouble}")).hint("wait until it has caught up\n  kubectl etcd member list"));
    }
    let (voters, healthy) = (view.voters().count(), view.healthy_voters_but(member.id));
    if healthy + 1 < majority(voters + 1) {
        let refusal = refused(format!("of {} voters {} would be healthy", voters + 1, healthy + 1));
        return Err(view.troubles(view.voters()).into_iter().fold(refusal, Refusal::cause));
    }
    Ok(space::asked(view, &doing)?.id)
}

/// From which member to which one the leadership goes, by their IDs. `None`: the member leads already.
///
/// # Errors
/// The member is not a healthy voter, no other one is, or the leader does not answer.
pub fn new_leader(view: &View, to: Option<&Seen>) -> Result<Option<(u64, u64)>, Refusal> {
    const DOING: &str = "move the leadership";
    let leader = view.leader(DOING)?;
    let refused = |why: String| Refusal::new(format!("refuse to {DOING}: {why}"));
    let to = match to {
        Some(to) if to.id == leader.id => return Ok(None),
        Some(to) if to.learner => return Err(refused(format!("member {} is a learner", to.title()))),
        Some(to) => to,
        None => {
            let fit = view.voters().filter(|one| one.id != leader.id && view.is_healthy(one));
            let fit = fit.filter_map(|one| Some((one, one.status.as_ref()?))).collect();
            let next = best(fit, |(one, status)| (status, &one.name)).map(|(one, _)| one);
            next.ok_or_else(|| {
                let refusal = refused("no other voter is healthy".to_owned());
                view.troubles(view.voters().filter(|one| one.id != leader.id)).into_iter().fold(refusal, Refusal::cause)
            })?
        }
    };
    if let Some(trouble) = view.trouble(to) {
        return Err(refused(format!("member {} {trouble}", to.title())));
    }
    if leader.status.is_none() {
        return Err(refused(format!("the leader, member {}, cannot be asked", leader.title())));
    }
    Ok(Some((leader.id, to.id)))
}

#[cfg(test)]
mod tests {
    use super::super::view::samples::{cluster, healthy, subsets};
    use super::*;

    #[test]
    fn what_is_left_has_a_quorum_whoever_goes() {
        for (count, down) in subsets(7) {
            let view = cluster(count).down(&down);
            let up = usize::try_from(count).expect("small") - down.len();
            let others = usize::try_from(count).expect("small") - 1;
            for member in view.members() {
                let is_down = down.contains(&member.id);
                let healthy = if is_down { up } else { up - 1 };
                let quorum_now = up >= view.quorum();
                let allowed = others > 0 && quorum_now && healthy > others / 2 && (is_down || down.is_empty());
                let judged = removal(&view, member);
                assert_eq!(judged.is_ok(), allowed, "{count} members, down: {down:?}, {} goes: {judged:?}", member.id);
                let Ok(removal) = judged else { continue };
                assert!(removal.at != member.id && !down.contains(&removal.at), "{removal:?}");
                assert_eq!((removal.running, removal.voters_left), (!is_down, others));
            }
        }
    }

    #[test]
    fn a_learner_goes_whenever_there_is_a_leader() {
        let with_learner = |view: &View, status: bool| {
            let learner = Seen { learner: true, ..healthy(9) };
            let learner = if status { learner } else { Seen { status: None, ..learner } };
            View::new(view.members().iter().cloned().chain([learner]).collect())
        };
        for status in [true, false] {
            let view = with_learner(&cluster(3).down(&[3]), status);
            let removal = removal(&view, view.member(9).expect("it is there")).expect("it may go");
            assert_eq!((removal.running, removal.voters_left), (status, 3));
            let none = with_learner(&cluster(3).down(&[2, 3]), status);
            assert!(super::removal(&none, none.member(9).expect("it is there")).is_err());
        }
        // The last voter stays, whatever learners there are.
        let view = with_learner(&cluster(1), true);
        assert!(removal(&view, view.member(1).expect("it is there")).is_err());
    }

    #[test]
    fn only_a_learner_that_has_caught_up_is_promoted() {
        let joined = |learner: Seen, view: &View| View::new(view.members().iter().cloned().chain([learner]).collect());
        let learner = || Seen { learner: true, ..healthy(9) };
        let promoted = |view: &View, id: u64| promotion(view, view.member(id).expect("it is there"));
        for (count, down) in subsets(7) {
            let view = joined(learner(), &cluster(count).down(&down));
            let view = match view.leader("x").map(|leader| leader.id) {
                Ok(leader) => view.with(|one| one.status.iter_mut().for_each(|status| status.leader_id = leader)),
                Err(_) => view,
            };
            let up = usize::try_from(count).expect("small") - down.len();
            let voters = usize::try_from(count).expect("small");
            let allowed = up > voters / 2 && up + 1 > voters.div_ceil(2);
            assert_eq!(promoted(&view, 9).is_ok(), allowed, "{count}, {down:?}");
        }
        assert!(promoted(&cluster(3), 1).expect_err("a voter").message.contains("it votes already"));
        let behind =
            learner().status.map(|status| etcd_wire::message::MemberStatus { raft_applied_index: 10, ..status });
        let refusal = promoted(&joined(Seen { status: behind, ..learner() }, &cluster(3)), 9).expect_err("behind");
        assert!(refusal.message.contains("it lags 4990 raft entries behind"), "{refusal:?}");
        let unstarted = Seen { status: None, name: String::new(), ..learner() };
        let refusal = promoted(&joined(unstarted, &cluster(3)), 9).expect_err("not started");
        assert!(refusal.message.contains("it has not started yet"), "{refusal:?}");
    }

    #[test]
    fn the_leadership_goes_to_a_healthy_voter_only() {
        for (count, down) in subsets(7) {
            let view = cluster(count).down(&down);
            let Ok(leader) = view.leader("x") else {
                assert!(new_leader(&view, None).is_err());
                continue;
            };
            let healthy: Vec<u64> = view.voters().filter(|one| view.is_healthy(one)).map(|one| one.id).collect();
            match new_leader(&view, None) {
                Ok(Some((from, to))) => assert!(from == leader.id && to != from && healthy.contains(&to)),
                Ok(None) => panic!("it moves"),
                Err(_) => assert_eq!(healthy, [leader.id]),
            }
            for member in view.members() {
                let moved = new_leader(&view, Some(member));
                assert_eq!(moved == Ok(None), member.id == leader.id);
                assert_eq!(moved.is_ok(), healthy.contains(&member.id), "{count}, {down:?}: {moved:?}");
            }
        }
        let learner = Seen { learner: true, ..healthy(9) };
        let view = View::new(cluster(1).members().iter().cloned().chain([learner]).collect());
        assert!(new_leader(&view, view.member(9)).expect_err("a learner").message.contains("is a learner"));
    }
}
