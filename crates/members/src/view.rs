//! A cluster as its member list and its members show it.

use etcd_wire::message::MemberStatus;

use super::{LAG, alarms};

/// A member of the cluster's list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Member ID.
    pub id: u64,
    /// Name; empty until the member has started for the first time.
    pub name: String,
    /// Whether the list has it as a learner, which does not vote.
    pub learner: bool,
    /// What it says of itself; `None`: it does not answer.
    pub status: Option<MemberStatus>,
    /// Bytes that its database may have; 0: that is not known; less: there is no limit.
    pub quota: i64,
}

impl Seen {
    /// What the member is called: its name, or its ID in hex as etcdctl prints it.
    pub fn title(&self) -> String {
        if self.name.is_empty() { format!("{:x}", self.id) } else { self.name.clone() }
    }
}

/// Why an order is not given. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is refused: one line.
    pub message: String,
    /// Why, one line each.
    pub causes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal without a cause or a hint.
    pub fn new(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), causes: Vec::new(), hint: None }
    }

    /// The same with a cause more.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Refusal {
        self.causes.push(cause.into());
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Refusal {
        Refusal { hint: Some(hint.into()), ..self }
    }
}

/// All members of a cluster's list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    members: Vec<Seen>,
}

impl View {
    /// A view of a cluster with these members: all that its list has, and no other.
    pub fn new(mut members: Vec<Seen>) -> View {
        members.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        View { members }
    }

    /// The members, by name.
    pub fn members(&self) -> &[Seen] {
        &self.members
    }

    /// A member by its ID.
    pub fn member(&self, id: u64) -> Option<&Seen> {
        self.members.iter().find(|one| one.id == id)
    }

    /// A member by its name, or by its ID in hex.
    ///
    /// # Errors
    /// There is none, or the name is that of several.
    pub fn find(&self, text: &str) -> Result<&Seen, Refusal> {
        let known = |one: &Seen| match one.name.as_str() {
            "" => format!("{:x} (not started)", one.id),
            name => format!("{name} ({:x})", one.id),
        };
        let named: Vec<&Seen> = self.members.iter().filter(|one| !text.is_empty() && one.name == text).collect();
        match named.as_slice() {
            [one] => return Ok(one),
            [] => {}
            several => {
                let refusal = Refusal::new(format!("{} members are called {text:?}", several.len()));
                let refusal = several.iter().fold(refusal, |refusal, one| refusal.cause(known(one)));
                return Err(refusal.hint("name the member by its ID"));
            }
        }
        let id = u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        id.and_then(|id| self.member(id)).ok_or_else(|| {
            let all: Vec<String> = self.members.iter().map(known).collect();
            Refusal::new(format!("the cluster has no member {text:?}")).cause(format!("it has {}", all.join(", ")))
        })
    }

    /// The members that vote.
    pub fn voters(&self) -> impl Iterator<Item = &Seen> {
        self.members.iter().filter(|one| !one.learner)
    }

    /// How many voters have to agree.
    pub fn quorum(&self) -> usize {
        majority(self.voters().count())
    }

    /// What the members say that answer.
    pub fn statuses(&self) -> Vec<&MemberStatus> {
        self.members.iter().filter_map(|one| one.status.as_ref()).collect()
    }

    /// The newest revision that a member knows; 0 if none answers.
    pub fn revision(&self) -> i64 {
        self.statuses().iter().map(|status| status.revision).max().unwrap_or(0)
    }

    /// What is wrong with a member, if anything: the text follows its name. The alarm NOSPACE is of the cluster, and is no such thing.
    pub fn trouble(&self, member: &Seen) -> Option<String> {
        let known = self.statuses();
        if let Some(alarm) = alarms(&known, member.id).iter().find(|alarm| *alarm != super::space::NO_SPACE) {
            return Some(format!("has raised the alarm {alarm}: its data cannot be trusted"));
        }
        let Some(status) = &member.status else {
            return Some(if member.name.is_empty() { "has not started yet" } else { "does not answer" }.to_owned());
        };
        if status.leader_id == 0 {
            return Some("knows of no leader".to_owned());
        }
        let newest = known.iter().map(|status| status.raft_index).max().unwrap_or(0);
        let lag = newest.saturating_sub(status.raft_applied_index);
        let behind = self.revision().saturating_sub(status.revision);
        match () {
            () if lag > LAG => Some(format!("lags {lag} raft entries behind")),
            () if u64::try_from(behind).is_ok_and(|behind| behind > LAG) => {
                Some(format!("is {behind} revisions behind"))
            }
            () => None,
        }
    }

    /// Whether nothing is wrong with a member.
    pub fn is_healthy(&self, member: &Seen) -> bool {
        self.trouble(member).is_none()
    }

    /// How many voters are healthy, a member not counted.
    pub fn healthy_voters_but(&self, id: u64) -> usize {
        self.voters().filter(|one| one.id != id && self.is_healthy(one)).count()
    }

    /// Members with what is wrong with them, of those that `wanted` gives: a line each.
    pub(crate) fn troubles<'a>(&self, wanted: impl Iterator<Item = &'a Seen>) -> Vec<String> {
        wanted.filter_map(|one| Some(format!("member {} {}", one.title(), self.trouble(one)?))).collect()
    }

    /// The leader, whom every voter that answers names. `doing` is what needs one.
    ///
    /// # Errors
    /// There is none, they name several, or the list does not have it.
    pub fn leader(&self, doing: &str) -> Result<&Seen, Refusal> {
        let mut named: Vec<u64> =
            self.voters().filter_map(|one| one.status.as_ref()).map(|status| status.leader_id).collect();
        named.retain(|id| *id != 0);
        named.sort_unstable();
        named.dedup();
        let refused = || Refusal::new(format!("refuse to {doing}: the cluster has no leader"));
        match named.as_slice() {
            [] => Err(refused()
                .cause("no voter that answers knows of a leader: there is no quorum, or an election goes on")
                .hint("see what is wrong with the members\n  kubectl etcd status")),
            [id] => {
                self.member(*id).ok_or_else(|| refused().cause(format!("member {id:x} leads and is not in the list")))
            }
            _ => Err(refused().cause("members name different leaders: an election goes on").hint("try again")),
        }
    }

    /// Whether no member has raised an alarm by which its data cannot be trusted.
    ///
    /// # Errors
    /// Which members have.
    pub fn is_sound(&self, doing: &str) -> Result<(), Refusal> {
        let known = self.statuses();
        let raised: Vec<String> = known
            .iter()
            .flat_map(|status| &status.alarms)
            .filter(|alarm| alarm.kind != super::space::NO_SPACE)
            .map(|alarm| {
                let title = self.member(alarm.member_id).map_or_else(|| format!("{:x}", alarm.member_id), Seen::title);
                format!("member {title} has raised the alarm {}", alarm.kind)
            })
            .collect();
        let Some(first) = raised.first() else { return Ok(()) };
        let refusal = Refusal::new(format!("refuse to {doing}: the data of a member cannot be trusted")).cause(first);
        let mut others: Vec<&String> = raised.iter().filter(|one| *one != first).collect();
        others.dedup();
        Err(others.into_iter().fold(refusal, |refusal, one| refusal.cause(one)).hint(CORRUPT))
    }
}

/// What to do about corrupt data.
const CORRUPT: &str = "compare the members, then replace the one that differs, or restore from a backup\n  \
                       kubectl etcd verify FILE --live\n  kubectl etcd restore FILE --dry-run=client";

/// How many of so many voters have to agree.
pub(crate) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
pub(crate) mod samples {
    use etcd_wire::message::{Alarm, MemberStatus};

    use super::*;

    /// A cluster of so many healthy voters m1, m2 and so on, of which m1 leads; with a database of 1000 bytes, half of them in use.
    pub(crate) fn cluster(voters: u64) -> View {
        View::new((1..=voters).map(healthy).collect())
    }

    pub(crate) fn healthy(id: u64) -> Seen {
        let status = MemberStatus {
            member_id: id,
            leader_id: 1,
            revision: 500,
            raft_index: 5000,
            raft_applied_index: 5000,
            db_size: 1000,
            db_size_in_use: 500,
            ..MemberStatus::default()
        };
        Seen { id, name: format!("m{id}"), learner: false, status: Some(status), quota: 10_000 }
    }

    impl View {
        /// The same with another member.
        pub(crate) fn with(&self, change: impl Fn(&mut Seen)) -> View {
            let mut members = self.members.clone();
            members.iter_mut().for_each(change);
            View::new(members)
        }

        /// The same with members that do not answer; the others have a leader as long as there is a quorum.
        pub(crate) fn down(&self, ids: &[u64]) -> View {
            let up: Vec<u64> = self.voters().map(|one| one.id).filter(|id| !ids.contains(id)).collect();
            let leader = if up.len() >= self.quorum() { up.first().copied().unwrap_or(0) } else { 0 };
            self.with(|one| match &mut one.status {
                _ if ids.contains(&one.id) => one.status = None,
                Some(status) => status.leader_id = leader,
                None => {}
            })
        }

        /// The same with an alarm that a member has raised.
        pub(crate) fn alarm(&self, member_id: u64, kind: &str) -> View {
            self.with(|one| {
                if let Some(status) = &mut one.status {
                    status.alarms.push(Alarm { member_id, kind: kind.to_owned() });
                }
            })
        }
    }

    /// Every set of members of 1 to `most`, each with how many there are in all.
    pub(crate) fn subsets(most: u64) -> impl Iterator<Item = (u64, Vec<u64>)> {
        (1..=most).flat_map(|count| {
            (0_u64..1 << count).map(move |bits| (count, (1..=count).filter(|id| bits >> (id - 1) & 1 == 1).collect()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{cluster, healthy, subsets};
    use super::*;

    #[test]
    fn a_leader_is_known_exactly_where_a_quorum_is_up() {
        for (count, down) in subsets(7) {
            let view = cluster(count).down(&down);
            let up = usize::try_from(count).expect("small") - down.len();
            assert_eq!(view.leader("x").is_ok(), up >= view.quorum(), "{count}, {down:?}");
            assert_eq!(view.voters().filter(|one| view.is_healthy(one)).count() >= view.quorum(), up >= view.quorum());
        }
        let torn = cluster(3).with(|one| {
            if let (2, Some(status)) = (one.id, &mut one.status) {
                status.leader_id = 2;
            }
        });
        assert!(torn.leader("x").expect_err("two leaders").causes[0].contains("election"));
    }

    #[test]
    fn what_is_wrong_with_a_member_is_said() {
        let behind = cluster(3).with(|one| {
            if let (2, Some(status)) = (one.id, &mut one.status) {
                status.raft_applied_index = 3999;
            }
        });
        assert_eq!(behind.trouble(&behind.members[1]).as_deref(), Some("lags 1001 raft entries behind"));
        let old = cluster(3).with(|one| {
            if let (2, Some(status)) = (one.id, &mut one.status) {
                (status.raft_applied_index, status.revision) = (4000, -501);
            }
        });
        assert_eq!(old.trouble(&old.members[1]).as_deref(), Some("is 1001 revisions behind"));
        assert_eq!(cluster(3).alarm(1, "NOSPACE").trouble(&healthy(1)), None);
        let corrupt = cluster(3).alarm(2, "CORRUPT");
        assert!(corrupt.trouble(&corrupt.members[1]).is_some_and(|why| why.contains("CORRUPT")));
        assert_eq!(corrupt.trouble(&corrupt.members[0]), None, "the alarm is that of another member");
        assert_eq!(corrupt.is_sound("x").expect_err("corrupt").causes, ["member m2 has raised the alarm CORRUPT"]);
    }

    #[test]
    fn a_member_is_found_by_its_name_or_its_id() {
        let view = View::new(vec![
            Seen { id: 0xab, name: "cp1".into(), ..Seen::default() },
            Seen { id: 7, ..Seen::default() },
        ]);
        for text in ["cp1", "ab", "0xab", "AB"] {
            assert_eq!(view.find(text).expect(text).id, 0xab);
        }
        assert_eq!(view.find("7").expect("7").title(), "7");
        for text in ["", "cp2", "abc"] {
            assert_eq!(view.find(text).expect_err(text).causes, ["it has 7 (not started), cp1 (ab)"]);
        }
        let twins = View::new([1, 2].map(|id| Seen { id, name: "a".into(), ..Seen::default() }).into());
        assert_eq!(twins.find("a").expect_err("two").causes, ["a (1)", "a (2)"]);
    }
}
