//! Which members are defragmented, and in which order: followers before the leader, which gives its leadership away first. A
//! defragmentation stops its member for as long as it takes, so a member is defragmented only while the others are a quorum.

use std::collections::BTreeSet;

use super::{Refusal, Seen, View};

/// What is refused, for people.
const DOING: &str = "defragment";

/// The next thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The leader gives its leadership away.
    MoveLeader {
        /// ID of the leader.
        from: u64,
        /// ID of the member that leads next.
        to: u64,
    },
    /// A member is defragmented.
    Defragment(u64),
}

/// Bytes of a member's database that a defragmentation gives back to the file system. `None`: it does not answer.
pub fn reclaimable(member: &Seen) -> Option<u64> {
    let status = member.status.as_ref()?;
    u64::try_from(status.db_size.saturating_sub(status.db_size_in_use)).ok()
}

/// The part of it, in percent of the database's size.
pub fn reclaimable_percent(member: &Seen) -> Option<u64> {
    let size = u64::try_from(member.status.as_ref()?.db_size).ok().filter(|size| *size > 0)?;
    Some(u64::try_from(u128::from(reclaimable(member)?) * 100 / u128::from(size)).unwrap_or(100))
}

/// Why a member is left as it is, if it is: the text follows its name.
pub fn left(view: &View, member: &Seen, threshold: u64) -> Option<String> {
    if let Some(trouble) = view.trouble(member) {
        return Some(trouble);
    }
    let percent = reclaimable_percent(member).unwrap_or(0);
    (percent < threshold).then(|| format!("has {percent}% to give back, less than {threshold}%"))
}

/// The members that are to be defragmented.
pub fn wanted(view: &View, threshold: u64) -> BTreeSet<u64> {
    view.members().iter().filter(|one| left(view, one, threshold).is_none()).map(|one| one.id).collect()
}

/// Whether the cluster takes writes while a member stands still.
///
/// # Errors
/// It would not, because another voter is not healthy.
pub fn takes_writes_without(view: &View, id: u64) -> Result<bool, Refusal> {
    if view.healthy_voters_but(id) >= view.quorum() {
        return Ok(true);
    }
    let others = view.troubles(view.voters().filter(|one| one.id != id));
    if others.is_empty() {
        // The only member, or one of two.
        return Ok(false);
    }
    let title = view.member(id).map(Seen::title).unwrap_or_default();
    let refusal = Refusal::new(format!("refuse to defragment member {title}: the cluster needs it for its quorum"));
    let refusal = others.into_iter().fold(refusal, Refusal::cause);
    Err(refusal.hint("bring the other members back first\n  kubectl etcd status"))
}

/// The next step, given what is still to be done. `None`: there is nothing more.
///
/// # Errors
/// It may not be taken now: a member is not healthy or needed, there is no leader, or the data of a member cannot be trusted.
pub fn next(view: &View, to_do: &BTreeSet<u64>) -> Result<Option<Step>, Refusal> {
    let Some(first) = to_do.first() else { return Ok(None) };
    view.is_sound(DOING)?;
    let leader = view.leader(DOING)?;
    if let Some(gone) = to_do.iter().find(|id| view.member(**id).is_none()) {
        return Err(Refusal::new(format!("member {gone:x} is not in the member list any more")));
    }
    let follower = view.members().iter().find(|one| to_do.contains(&one.id) && one.id != leader.id);
    let id = follower.map_or(*first, |one| one.id);
    let member = view.member(id).into_iter();
    if let Some(trouble) = view.troubles(member).first() {
        return Err(Refusal::new(format!("refuse to defragment: {trouble}")));
    }
    takes_writes_without(view, id)?;
    if id != leader.id {
        return Ok(Some(Step::Defragment(id)));
    }
    let next = view.voters().find(|one| one.id != leader.id && view.is_healthy(one));
    Ok(Some(next.map_or(Step::Defragment(id), |next| Step::MoveLeader { from: leader.id, to: next.id })))
}

/// All steps, if each of them goes well.
///
/// # Errors
/// Those of [`next`], also where nothing is to be done.
pub fn steps(view: &View, wanted: &BTreeSet<u64>) -> Result<Vec<Step>, Refusal> {
    view.is_sound(DOING)?;
    view.leader(DOING)?;
    let (mut view, mut to_do, mut steps) = (view.clone(), wanted.clone(), Vec::new());
    while let Some(step) = next(&view, &to_do)? {
        steps.push(step);
        match step {
            Step::Defragment(id) => drop(to_do.remove(&id)),
            Step::MoveLeader { to, .. } => view = led_by(&view, to),
        }
    }
    Ok(steps)
}

fn led_by(view: &View, leader: u64) -> View {
    let mut members = view.members().to_vec();
    members.iter_mut().filter_map(|one| one.status.as_mut()).for_each(|status| status.leader_id = leader);
    View::new(members)
}

#[cfg(test)]
mod tests {
    use super::super::view::samples::{cluster, healthy, subsets};
    use super::Step::{Defragment, MoveLeader};
    use super::*;

    fn all(view: &View) -> Result<Vec<Step>, Refusal> {
        steps(view, &wanted(view, 20))
    }

    #[test]
    fn followers_come_first_and_the_leader_gives_its_leadership_away() {
        let expected = [Defragment(2), Defragment(3), MoveLeader { from: 1, to: 2 }, Defragment(1)];
        assert_eq!(all(&cluster(3)), Ok(expected.to_vec()));
        assert_eq!(all(&cluster(1)), Ok(vec![Defragment(1)]));
        // A learner neither votes nor leads.
        let learner = Seen { learner: true, ..healthy(2) };
        let view = View::new(vec![healthy(1), learner]);
        assert_eq!(all(&view), Ok(vec![Defragment(2), Defragment(1)]));
    }

    #[test]
    fn no_member_stands_still_that_the_quorum_needs_while_another_is_down() {
        for (count, down) in subsets(7) {
            let view = cluster(count).down(&down);
            let healthy = usize::try_from(count).expect("small") - down.len();
            let allowed = down.is_empty() || healthy > view.quorum();
            let planned = all(&view);
            assert_eq!(planned.is_ok(), allowed, "{count} members, down: {down:?}");
            let Ok(planned) = planned else { continue };
            // Each that answers once, none that does not, and never the leader.
            let ids: Vec<u64> =
                planned.iter().filter_map(|step| if let Defragment(id) = step { Some(*id) } else { None }).collect();
            assert_eq!(ids.iter().copied().collect::<BTreeSet<u64>>(), wanted(&view, 20));
            assert_eq!(ids.len(), healthy);
            let mut leader = view.leader("x").expect("a leader").id;
            for step in planned {
                match step {
                    MoveLeader { from, to } => {
                        assert!(from == leader && !down.contains(&to) && to != from);
                        leader = to;
                    }
                    Defragment(id) => assert!(id != leader || healthy == 1),
                }
            }
            // One and two members take no writes meanwhile.
            assert!(ids.iter().all(|id| takes_writes_without(&view, *id) == Ok(count > 2)), "{count}, {down:?}");
        }
    }

    #[test]
    fn what_is_not_worth_it_is_left() {
        let view = cluster(3).with(|one| {
            if let (1 | 3, Some(status)) = (one.id, &mut one.status) {
                status.db_size_in_use = 801;
            }
        });
        assert_eq!(all(&view), Ok(vec![Defragment(2)]));
        let m1 = view.find("m1").expect("m1");
        assert_eq!(left(&view, m1, 20).as_deref(), Some("has 19% to give back, less than 20%"));
        assert_eq!((left(&view, m1, 19), reclaimable(m1)), (None, Some(199)));
        // Sizes that make no sense give nothing back.
        let odd = cluster(1).with(|one| {
            if let Some(status) = &mut one.status {
                (status.db_size, status.db_size_in_use) = (10, 20);
            }
        });
        assert_eq!((wanted(&odd, 1), reclaimable(&odd.members()[0])), (BTreeSet::new(), None));
    }

    #[test]
    fn what_has_changed_meanwhile_stops_it() {
        let view = cluster(3);
        let to_do = BTreeSet::from([2, 3]);
        assert_eq!(next(&view, &to_do), Ok(Some(Defragment(2))));
        // The leadership has wandered by itself.
        assert_eq!(next(&led_by(&view, 2), &to_do), Ok(Some(Defragment(3))));
        assert_eq!(next(&led_by(&view, 2), &BTreeSet::from([2])), Ok(Some(MoveLeader { from: 2, to: 1 })));
        assert!(next(&view.down(&[1]), &to_do).is_err() && next(&view.alarm(1, "CORRUPT"), &to_do).is_err());
        assert!(next(&view, &BTreeSet::from([9])).expect_err("gone").message.contains("not in the member list"));
        let behind = view.with(|one| {
            if let (2, Some(status)) = (one.id, &mut one.status) {
                status.raft_applied_index = 1;
            }
        });
        assert!(next(&behind, &to_do).expect_err("behind").message.contains("member m2 lags 4999 raft entries"));
    }
}
