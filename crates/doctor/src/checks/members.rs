//! Whether the members are enough, and hold the same.

use std::collections::BTreeMap;

use etcd_wire::facts::HealthFacts;
use etcd_wire::message::{HashOutcome, Member, MemberStatus};

use super::versions::Version;
use crate::check::Check;
use crate::facts::{Facts, Known, Node};
use crate::judgement::Judgement;

/// The member list, by the member that has applied most.
pub(super) fn listed(facts: &Facts) -> Option<&[Member]> {
    let statuses = facts.nodes.iter().filter_map(|node| node.status.as_ref().ok());
    let told = statuses.filter(|status| !status.members.is_empty());
    told.max_by_key(|status| (!status.learner, status.raft_applied_index)).map(|status| status.members.as_slice())
}

/// Why the member list is not known.
fn unlisted(facts: &Facts) -> Judgement {
    let mut judgement = Judgement::each(&facts.nodes, "", Node::status, |_, _, _| {});
    judgement.lacks("no member tells the member list");
    judgement
}

fn name(member: &Member) -> String {
    if member.name.is_empty() { format!("{:x} (not started)", member.id) } else { member.name.clone() }
}

pub(super) const QUORUM: Check = Check {
    name: "quorum",
    title: "enough members, and all of them in order",
    looks_at: "The member list, and whether every voting member answers and knows a leader. It is an error if a member does not, and if the cluster has no
leader. It is a warning if there are only one or two members.",
    why: "etcd takes writes as long as more than half of its voting members answer. With one or two members the first failure stops the cluster, and the next thing
is a restore. A member that is down already takes the margin away.",
    by_hand: "See which member is down, and on its node, why:
    kubectl etcd status
    journalctl -u kubelet
    crictl ps -a --name etcd
    crictl logs ID

A node that is gone for good: kubectl etcd member remove NAME, then kubeadm join --control-plane on a new machine. Three members survive the loss of one,
five that of two; an even number is no better than one less.",
    judge: quorum,
};

fn quorum(facts: &Facts) -> Judgement {
    let Some(members) = listed(facts) else { return unlisted(facts) };
    let voters: Vec<&Member> = members.iter().filter(|member| !member.learner).collect();
    let mut judgement = Judgement::pass(format!("all {} voting members answer", voters.len()));
    let status = |id: u64| {
        let statuses = facts.nodes.iter().filter_map(|node| node.status.as_ref().ok());
        { statuses }.find(|status| status.member_id == id)
    };
    for voter in &voters {
        match status(voter.id) {
            Some(MemberStatus { leader_id: 0, .. }) => {
                judgement.error(format!("member {} knows of no leader", name(voter)), "kubectl etcd status");
            }
            Some(_) => {}
            None => {
                let asked = facts.nodes.iter().find(|node| !voter.name.is_empty() && node.member == voter.name);
                let why = asked.and_then(|node| node.status.as_ref().err());
                let why = why.map_or("no etcd pod of it was found", String::as_str);
                judgement.error(format!("member {} does not answer: {why}", name(voter)), "kubectl etcd status");
            }
        }
    }
    judgement.unknown.extend(facts.unreadable.iter().cloned());
    match voters.len() {
        1 => judgement.warning(
            "there is one member: if its disk is lost, only a backup is left",
            "kubeadm join --control-plane (on two more machines)",
        ),
        2 => judgement.warning(
            "there are two members: if either fails, etcd stops",
            "kubeadm join --control-plane (on a third machine)",
        ),
        _ => {}
    }
    judgement
}

pub(super) const LEARNERS: Check = Check {
    name: "learners",
    title: "no learner is left",
    looks_at: "The member list: a learner is a warning.",
    why: "A learner does not vote, so it does not count for quorum, and no snapshot is taken from it. One that stays is a join that was not completed, and
keeps the next member from being added: etcd takes one learner at a time.",
    by_hand: "Promote it once it has caught up; remove it if its node is gone:
    kubectl etcd member promote NAME
    kubectl etcd member remove NAME",
    judge: learners,
};

fn learners(facts: &Facts) -> Judgement {
    let Some(members) = listed(facts) else { return unlisted(facts) };
    let mut judgement = Judgement::pass("every member votes");
    for member in members.iter().filter(|member| member.learner) {
        let title = if member.name.is_empty() { format!("{:x}", member.id) } else { member.name.clone() };
        judgement.warning(
            format!("member {} is a learner: it does not vote", name(member)),
            format!("kubectl etcd member promote {title}"),
        );
    }
    judgement
}

pub(super) const HASH: Check = Check {
    name: "data",
    title: "all members hold the same data",
    looks_at: "The hash of all keys (HashKV) of every member at one revision. It is an error if two members have compacted the same history and their hashes
differ. Members that have not compacted the same history are asked again, and otherwise not compared.",
    why: "Members whose data differs give different answers to the same question, and a snapshot of the wrong one is a wrong backup. etcd does not notice by
itself unless its corruption checks are on.",
    by_hand: "With three members or more, those that agree are right; keep a backup of each side before anything else:
    kubectl etcd backup good.db --node cp1
    kubectl etcd backup other.db --node cp3
    kubectl etcd diff good.db other.db

Then replace the member that differs: kubectl etcd member remove NAME, kubeadm reset on its node, kubeadm join --control-plane. With two members, or with
no majority, only what the difference shows tells which one is right.",
    judge: hash,
};

fn hash(facts: &Facts) -> Judgement {
    let mut hashes: BTreeMap<i64, BTreeMap<u32, Vec<String>>> = BTreeMap::new();
    let mut judgement = Judgement::each(
        &facts.nodes,
        "all members have the same hash",
        |node| node.hash.as_ref().map_err(Clone::clone),
        |node, hash, judgement| match hash.as_ref().map(|hash| &hash.outcome) {
            // A learner has not got everything yet.
            None => {}
            Some(HashOutcome::Known { hash, compact_revision }) => {
                hashes.entry(*compact_revision).or_default().entry(*hash).or_default().push(node.title());
            }
            Some(HashOutcome::Compacted) => judgement.lacks(format!("{}: it has compacted the revision", node.title())),
            Some(HashOutcome::Future) => judgement.lacks(format!("{}: it has not reached the revision", node.title())),
            Some(HashOutcome::Unknown) => judgement.lacks(format!("{}: its answer is not understood", node.title())),
        },
    );
    for sides in hashes.values().filter(|sides| sides.len() > 1) {
        let sides: Vec<String> =
            sides.iter().map(|(hash, members)| format!("{} {hash:08x}", members.join(", "))).collect();
        judgement.error(
            format!("the data of members differs: {}", sides.join("; ")),
            "kubectl etcd doctor --explain data (which member to replace)",
        );
    }
    let members: usize = hashes.values().flat_map(BTreeMap::values).map(Vec::len).sum();
    if hashes.len() > 1 && judgement.found.is_empty() {
        judgement.lacks("members have compacted different parts of the history: try again");
    }
    if facts.nodes.len() == 1 && members == 1 {
        judgement.passed = "there is one member, and nothing to compare it with".to_owned();
    }
    judgement
}

/// What mends databases that etcd 3.6 would misread.
const UPDATE: &str = "update etcd to 3.5.26 or later, one member at a time, before 3.6";

pub(super) const STALE: Check = Check {
    name: "stale-members",
    title: "no removed member is left in a database",
    looks_at: "Before etcd 3.6: the members in each database beside the member list that etcd answers with. It is an error if a database has a member that the
list does not have. From 3.6 on the database is the list.",
    why: "Up to 3.5 etcd keeps its members twice, and uses the copy outside of its database. A restore with etcd 3.4, --force-new-cluster, or bugs before 3.5.26 can leave
removed members in the database. etcd 3.6 uses that copy: the removed members come back on the upgrade, count for quorum, and can stop the cluster.",
    by_hand: "Update etcd to 3.5.26 or later, which repairs the database when it starts, one member at a time, before any upgrade to 3.6. Then run this check again.",
    judge: stale,
};

fn stale(facts: &Facts) -> Judgement {
    let Some(members) = listed(facts) else { return unlisted(facts) };
    let known: Vec<String> = members.iter().map(|member| format!("{:x}", member.id)).collect();
    let told = before_3_6(|health| &health.database_members);
    Judgement::each(&facts.nodes, "databases and member list agree", told, |node, told, judgement| {
        for id in told.iter().filter(|id| !known.contains(id)) {
            judgement.error(format!("{}: its database has member {id}, which was removed", node.title()), UPDATE);
        }
    })
}

/// What the database of a member says, where another copy of it may say something else: from 3.6 on there is none, and nothing has to be known.
fn before_3_6(
    fact: impl for<'a> Fn(&'a HealthFacts) -> &'a Known<Vec<String>>,
) -> impl for<'a> Fn(&'a Node) -> Known<&'a [String]> {
    const NONE: &[String] = &[];
    move |node| {
        let version = node.status.as_ref().ok().and_then(|status| Version::parse(&status.version));
        match version {
            Some(version) if version >= Version { major: 3, minor: 6, patch: 0 } => Ok(NONE),
            _ => fact(node.health()?).as_deref().map_err(Clone::clone),
        }
    }
}

pub(super) const PROMOTIONS: Check = Check {
    name: "promotions",
    title: "every promoted member is recorded as a voter",
    looks_at: "Before etcd 3.6: raft's list of voters in each database beside the records of the members in it. It is a warning if a member votes and its
record says that it is a learner.",
    why: "etcd 3.5.1 to 3.5.19 do not record in the database that a learner was promoted (etcd-io/etcd issue 19557), and kubeadm lets members join as learners. etcd 3.5 does not
use these records. etcd 3.6 does: after an upgrade these members no longer vote, and with two or more of them etcd does not start: too many learner members in cluster. Then the way
back is a restore.",
    by_hand: "Update etcd to 3.5.26 or later, one member at a time, before any upgrade to 3.6: it corrects the records when it starts. 3.5.20 is the first that does; up to 3.5.23 a member
can get the wrong records again from one of an earlier version (etcd-io/etcd issue 20793). Then run this check again.",
    judge: promotions,
};

fn promotions(facts: &Facts) -> Judgement {
    let members = listed(facts).unwrap_or_default();
    let title = |id: &String| {
        let member = members.iter().find(|member| format!("{:x}", member.id) == *id);
        member.map_or_else(|| id.clone(), name)
    };
    let told = before_3_6(|health| &health.unrecorded_promotions);
    Judgement::each(&facts.nodes, "every member that votes is recorded as a voter", told, |node, told, judgement| {
        if !told.is_empty() {
            let titles: Vec<String> = told.iter().map(title).collect();
            judgement.warning(
                format!("{}: its database has {} as learners, and they vote", node.title(), titles.join(", ")),
                UPDATE,
            );
        }
    })
}

#[cfg(test)]
mod tests {
    use etcd_wire::message::{HashOutcome, MemberHash};

    use crate::check::Severity;
    use crate::samples::{assert_finds, assert_passes, health, healthy, made};

    #[test]
    fn a_quorum_needs_three_members_that_answer() {
        assert_passes("quorum");
        let mut down = healthy(3);
        down.nodes[2].status = Err("no answer".to_owned());
        assert_finds("quorum", &down, Severity::Error, "member cp3 does not answer: no answer");
        let mut headless = healthy(3);
        headless.nodes[1].status.as_mut().unwrap().leader_id = 0;
        assert_finds("quorum", &headless, Severity::Error, "member cp2 knows of no leader");
        assert_finds("quorum", &healthy(1), Severity::Warning, "there is one member");
        assert_finds("quorum", &healthy(2), Severity::Warning, "there are two members");
        // A member that no pod was found of.
        let mut unseen = healthy(3);
        unseen.nodes.pop();
        assert_finds("quorum", &unseen, Severity::Error, "member cp3 does not answer: no etcd pod of it was found");
        let mut silent = healthy(3);
        silent.nodes.iter_mut().for_each(|node| node.status = Err("no right".to_owned()));
        assert_finds("quorum", &silent, Severity::Unknown, "cp1, cp2, cp3: no right");
    }

    #[test]
    fn a_learner_is_told() {
        assert_passes("learners");
        let mut facts = healthy(3);
        for node in &mut facts.nodes {
            node.status.as_mut().unwrap().members[2].learner = true;
        }
        let finding = made("learners", &facts);
        assert_eq!(
            (finding.severity, &*finding.mend),
            (Severity::Warning, &["kubectl etcd member promote cp3".to_owned()][..])
        );
    }

    #[test]
    fn data_that_differs_is_an_error_and_what_cannot_be_compared_is_not() {
        assert_passes("data");
        let known = |hash, compact_revision| MemberHash {
            member_id: 1,
            current_revision: 9,
            outcome: HashOutcome::Known { hash, compact_revision },
        };
        let mut facts = healthy(3);
        facts.nodes[1].hash = Ok(Some(known(7, 5)));
        assert_finds("data", &facts, Severity::Error, "cp2 00000007");
        facts.nodes[1].hash = Ok(Some(known(7, 6)));
        assert_finds("data", &facts, Severity::Unknown, "different parts of the history");
        facts.nodes[1].hash = Ok(Some(MemberHash { outcome: HashOutcome::Compacted, ..known(7, 6) }));

        assert_finds("data", &facts, Severity::Unknown, "cp2: it has compacted the revision");
        facts.nodes[1].hash = Ok(None);
        assert_finds("data", &facts, Severity::Ok, "all members have the same hash");
        assert_eq!(made("data", &healthy(1)).evidence, ["there is one member, and nothing to compare it with"]);
    }

    #[test]
    fn members_that_were_removed_and_are_still_in_a_database_are_told() {
        assert_passes("stale-members");
        let mut facts = healthy(3);
        let health = facts.nodes[0].disk.as_mut().unwrap().health.as_mut().unwrap();
        health.database_members.as_mut().unwrap().push("abc".to_owned());
        assert_finds("stale-members", &facts, Severity::Error, "cp1: its database has member abc");
        // The database is the list.
        facts.nodes[0].status.as_mut().unwrap().version = "3.6.1".to_owned();
        assert_eq!(made("stale-members", &facts).severity, Severity::Ok);
        let mut unread = healthy(3);
        unread.nodes[0].disk = Err("no pod".to_owned());
        assert_finds("stale-members", &unread, Severity::Unknown, "cp1: no pod");
    }

    #[test]
    fn a_promotion_that_a_database_does_not_have_is_told() {
        assert_passes("promotions");
        let mut facts = healthy(3);
        health(&mut facts, 0).unrecorded_promotions = Ok(vec!["2".to_owned(), "3".to_owned()]);
        let wanted = "cp1: its database has cp2, cp3 as learners, and they vote";
        assert_finds("promotions", &facts, Severity::Warning, wanted);
        // A member that is in no list is named by its ID.
        health(&mut facts, 0).unrecorded_promotions = Ok(vec!["abc".to_owned()]);
        assert_finds("promotions", &facts, Severity::Warning, "cp1: its database has abc as learners");
        // What the database says is what the member goes by.
        facts.nodes[0].status.as_mut().unwrap().version = "3.6.1".to_owned();
        assert_eq!(made("promotions", &facts).severity, Severity::Ok);
        health(&mut facts, 1).unrecorded_promotions = Err("no file".to_owned());
        assert_finds("promotions", &facts, Severity::Unknown, "cp2: no file");
    }
}
