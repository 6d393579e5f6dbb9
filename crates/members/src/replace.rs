//! The replacement of one member: whether it may be replaced, and by which steps.

use etcd_wire::message::Member;

use super::space::NO_SPACE;
use super::view::majority;
use super::{Refusal, Seen, View, alarms};

/// The member of a node, as its manifest has it: whether or not the cluster's list has it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// Name of the member.
    pub name: &'a str,
    /// Its peer URLs.
    pub peer_urls: &'a [String],
}

impl Target<'_> {
    /// Whether an entry of the member list is this node's. One that has not started has only its peer URLs.
    pub fn is(&self, member: &Member) -> bool {
        (!member.name.is_empty() && member.name == self.name)
            || member.peer_urls.iter().any(|url| self.peer_urls.contains(url))
    }
}

/// What the keys of a member hash to, all members asked at the same revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// ID of the member.
    pub id: u64,
    /// The hash, and the compacted revision from which it counts; or why it is not known.
    pub outcome: Result<(u32, i64), String>,
}

/// A member that may be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The member that votes and goes; `None` if it was removed before.
    pub member: Option<u64>,
    /// A learner of an earlier try, which goes first.
    pub learner: Option<u64>,
    /// IDs of the other members, which all vote.
    pub others: Vec<u64>,
    /// How many of the others have to be healthy while etcd is stopped on the node.
    pub quorum: usize,
}

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// etcd is stopped on the node.
    Stop,
    /// A member is removed from the list, by its ID: the one that is replaced, or a learner of an earlier try.
    Remove(u64),
    /// The old data gets another name.
    SetAside,
    /// The cluster gets a learner with the same peer URLs.
    AddLearner,
    /// etcd starts with a manifest that joins the cluster, and gets all data.
    Join,
    /// etcd gets its own manifest back, and starts again.
    OwnManifest,
    /// The learner becomes a voter.
    Promote,
}

impl Replacement {
    /// All steps, in their order.
    ///
    /// etcd is stopped before its member is removed, so that everything can be taken back as long as possible; and it has its own manifest
    /// before it votes, so that the restart for it is no loss of a voter.
    pub fn steps(&self) -> Vec<Step> {
        let removed = self.member.iter().chain(&self.learner).map(|id| Step::Remove(*id));
        let rest = [Step::SetAside, Step::AddLearner, Step::Join, Step::OwnManifest, Step::Promote];
        std::iter::once(Step::Stop).chain(removed).chain(rest).collect()
    }
}

/// Whether a member may be replaced. `list` is the member list, and `hashes` what the keys of the others hash to.
///
/// What the member on the node says of itself does not count: a wiped one may be the leader of an empty cluster with the same IDs.
///
/// # Errors
/// The others have no quorum without it, one of them is not well, their data differs, or another change is in progress.
pub fn replacement(
    view: &View,
    list: &[Member],
    target: &Target<'_>,
    hashes: &[Hashed],
) -> Result<Replacement, Refusal> {
    let doing = format!("replace the member on node {}", target.node);
    let refused = |why: String| Refusal::new(format!("refuse to {doing}: {why}"));
    let owned = |one: &Seen| list.iter().any(|member| member.id == one.id && target.is(member));
    let (own, others): (Vec<&Seen>, Vec<&Seen>) = view.members().iter().partition(|one| owned(one));
    let (learners, voters): (Vec<&Seen>, Vec<&Seen>) = own.iter().partition(|one| one.learner);
    if let Some(learner) = others.iter().find(|one| one.learner) {
        let why = format!("another change is in progress: member {} is a learner", learner.title());
        return Err(refused(why).hint(format!(
            "let it vote, or remove it\n  kubectl etcd member promote {id:x}\n  kubectl etcd member remove {id:x}",
            id = learner.id
        )));
    }
    if voters.len() > 1 || learners.len() > 1 {
        let refusal = refused("several members have its name or its peer URLs".to_owned());
        let refusal = own.iter().fold(refusal, |refusal, one| refusal.cause(format!("{} ({:x})", one.title(), one.id)));
        return Err(refusal.hint("remove those that should not be there\n  kubectl etcd member remove ID"));
    }
    if others.is_empty() {
        return Err(refused("it is the only member".to_owned()).hint(RESTORE));
    }
    let judged = View::new(
        view.members()
            .iter()
            .map(|one| Seen { status: one.status.clone().filter(|_| !owned(one)), ..one.clone() })
            .collect(),
    );
    let quorum = majority(others.len() + voters.len());
    let trouble = |one: &&Seen| Some(format!("member {} {}", one.title(), judged.trouble(judged.member(one.id)?)?));
    let troubles: Vec<String> = others.iter().filter_map(trouble).collect();
    let with = |refusal: Refusal| troubles.iter().fold(refusal, Refusal::cause);
    let healthy = others.len() - troubles.len();
    if healthy < quorum {
        let of = others.len() + voters.len();
        let why = format!(
            "there is no quorum without it: {quorum} of {of} members have to be healthy, and {healthy} of the others are"
        );
        return Err(with(refused(why)).hint(if voters.is_empty() { STATUS } else { RESTORE }));
    }
    judged.leader(&doing)?;
    if !troubles.is_empty() {
        let why = "another member is not healthy, and etcd takes no new member until all others are".to_owned();
        return Err(with(refused(why)).hint(STATUS));
    }
    let known = judged.statuses();
    if others.iter().any(|one| alarms(&known, one.id).iter().any(|alarm| alarm == NO_SPACE)) {
        return Err(refused("etcd is full (alarm NOSPACE)".to_owned())
            .hint("make room first\n  kubectl etcd compact --physical\n  kubectl etcd defrag"));
    }
    equal(&others, hashes).map_err(|causes| {
        let refusal = refused("the data of the other members is not known to be equal".to_owned());
        let refusal = causes.into_iter().fold(refusal, Refusal::cause);
        refusal.hint("compare all members with a backup, then replace the one that differs, or restore\n  kubectl etcd verify FILE --live")
    })?;
    let id = |of: &[&Seen]| of.first().map(|one| one.id);
    let others = others.iter().map(|one| one.id).collect();
    Ok(Replacement { member: id(&voters), learner: id(&learners), others, quorum })
}

/// Whether members have the same keys; else what each says.
///
/// # Errors
/// One has others, or does not say.
pub fn equal(members: &[&Seen], hashes: &[Hashed]) -> Result<(), Vec<String>> {
    let of = |one: &&Seen| hashes.iter().find(|hashed| hashed.id == one.id).map(|hashed| &hashed.outcome);
    let known: Vec<_> = members.iter().filter_map(|one| of(one)?.as_ref().ok()).collect();
    if known.len() == members.len() && known.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    let said = |one: &&Seen| {
        let said = match of(one) {
            Some(Ok((hash, from))) => format!("hash {hash:08x}, compacted at revision {from}"),
            Some(Err(why)) => why.clone(),
            None => "was not asked".to_owned(),
        };
        format!("member {}: {said}", one.title())
    };
    Err(members.iter().map(said).collect())
}

const STATUS: &str = "see what is wrong with the others\n  kubectl etcd status";
const RESTORE: &str = "bring the others back, or restore from a backup\n  kubectl etcd status\n  kubectl etcd restore FILE --dry-run=client";

#[cfg(test)]
mod tests {
    use super::super::view::samples::{cluster, healthy, subsets};
    use super::*;

    fn url(id: u64) -> Vec<String> {
        vec![format!("https://10.0.0.{id}:2380")]
    }

    fn list(view: &View) -> Vec<Member> {
        let member =
            |one: &Seen| Member { id: one.id, name: one.name.clone(), peer_urls: url(one.id), ..Member::default() };
        view.members().iter().map(member).collect()
    }

    fn hashes(view: &View) -> Vec<Hashed> {
        view.members().iter().map(|one| Hashed { id: one.id, outcome: Ok((7, 3)) }).collect()
    }

    /// Judges the member with this number, as its node's manifest has it.
    fn judge(view: &View, id: u64) -> Result<Replacement, Refusal> {
        judge_by(view, &list(view), id, &hashes(view))
    }

    fn judge_by(view: &View, list: &[Member], id: u64, hashes: &[Hashed]) -> Result<Replacement, Refusal> {
        let (name, peer_urls) = (format!("m{id}"), url(id));
        replacement(view, list, &Target { node: "n", name: &name, peer_urls: &peer_urls }, hashes)
    }

    /// The same with one member more.
    fn and(view: &View, more: Seen) -> View {
        View::new(view.members().iter().cloned().chain([more]).collect())
    }

    #[test]
    fn a_member_is_replaced_only_if_all_others_are_well_and_are_a_quorum() {
        for (count, down) in subsets(7) {
            let view = cluster(count).down(&down);
            for id in 1..=count {
                let others_down = down.iter().filter(|one| **one != id).count();
                let allowed = others_down == 0 && count >= 3;
                let judged = judge(&view, id);
                assert_eq!(judged.is_ok(), allowed, "{count} members, down: {down:?}, m{id}: {judged:?}");
                let Ok(judged) = judged else { continue };
                assert_eq!((judged.member, judged.learner, judged.others.len()), (Some(id), None, count as usize - 1));
                assert_eq!(judged.quorum, count as usize / 2 + 1);
                let rest = [Step::SetAside, Step::AddLearner, Step::Join, Step::OwnManifest, Step::Promote];
                assert_eq!(judged.steps(), [&[Step::Stop, Step::Remove(id)], &rest[..]].concat());
            }
        }
        let message = |view: &View, id| judge(view, id).expect_err("refused").message;
        assert!(message(&cluster(1), 1).ends_with("it is the only member"));
        assert!(
            message(&cluster(2), 2)
                .contains("no quorum without it: 2 of 2 members have to be healthy, and 1 of the others are")
        );
        assert!(message(&cluster(5).down(&[4]), 5).contains("another member is not healthy"));
    }

    #[test]
    fn what_the_member_says_of_itself_does_not_count() {
        // Wiped, it leads an empty cluster with the same IDs; corrupt, it has raised its alarm; or it claims to be far ahead.
        let wiped = cluster(3).with(|one| {
            if let (3, Some(status)) = (one.id, &mut one.status) {
                (status.leader_id, status.revision, status.raft_index, status.raft_applied_index) = (3, 1, 4, 4);
            }
        });
        assert!(wiped.leader("x").is_err());
        let ahead = cluster(3).with(|one| {
            if let (3, Some(status)) = (one.id, &mut one.status) {
                (status.revision, status.raft_index) = (900_000, 900_000);
            }
        });
        for view in [wiped, ahead, cluster(3).alarm(3, "CORRUPT"), cluster(3).down(&[3])] {
            assert_eq!(judge(&view, 3).map(|judged| judged.member), Ok(Some(3)));
        }
        assert!(judge(&cluster(3).alarm(2, "CORRUPT"), 3).is_err(), "the alarm is that of another member");
        assert!(judge(&cluster(3).alarm(2, NO_SPACE), 3).expect_err("full").message.contains("etcd is full"));
    }

    #[test]
    fn the_others_must_have_the_same_data() {
        let view = cluster(3);
        let all = |outcomes: [Result<(u32, i64), String>; 2]| -> Vec<Hashed> {
            outcomes.into_iter().zip(1..).map(|(outcome, id)| Hashed { id, outcome }).collect()
        };
        assert!(judge_by(&view, &list(&view), 3, &all([Ok((7, 3)), Ok((7, 3))])).is_ok());
        for unequal in [
            all([Ok((7, 3)), Ok((8, 3))]),
            all([Ok((7, 3)), Ok((7, 4))]),
            all([Ok((7, 3)), Err("no answer".into())]),
            Vec::new(),
        ] {
            let refusal = judge_by(&view, &list(&view), 3, &unequal).expect_err("unequal");
            assert!(refusal.message.contains("not known to be equal") && refusal.causes.len() == 2, "{refusal:?}");
        }
        // That of the member itself may be anything.
        let mut hashes = hashes(&view);
        hashes[2].outcome = Ok((9, 9));
        assert!(judge_by(&view, &list(&view), 3, &hashes).is_ok());
    }

    #[test]
    fn a_member_that_is_gone_and_a_learner_that_is_left_are_no_obstacle() {
        // Removed by hand: the list of two is healthy, and so is that of one.
        for count in [1, 2] {
            let view = cluster(count);
            let judged = judge(&view, 3).expect("it joins anew");
            assert_eq!((judged.member, judged.learner, judged.others.len()), (None, None, count as usize));
            assert_eq!(judged.steps()[..2], [Step::Stop, Step::SetAside]);
        }
        // A learner with its peer URL, which has not started.
        let learner = |id: u64| Seen { id, name: String::new(), learner: true, status: None, quota: 0 };
        let left = and(&cluster(2), learner(9));
        let mut entries = list(&left);
        entries.iter_mut().filter(|one| one.id == 9).for_each(|one| one.peer_urls = url(3));
        let judged = judge_by(&left, &entries, 3, &hashes(&left)).expect("it is cleared");
        assert_eq!((judged.member, judged.learner), (None, Some(9)));
        assert_eq!(judged.steps()[1], Step::Remove(9));
        // That of another node is somebody's change.
        let refusal = judge(&and(&cluster(3), learner(9)), 3).expect_err("a learner");
        assert!(refusal.message.contains("another change is in progress: member 9 is a learner"), "{refusal:?}");
        // Two entries with its name.
        let twins = and(&cluster(3), Seen { id: 8, ..healthy(3) });
        let refusal = judge(&twins, 3).expect_err("two");
        assert!(refusal.causes.len() == 2 && refusal.message.contains("several members"), "{refusal:?}");
    }
}
