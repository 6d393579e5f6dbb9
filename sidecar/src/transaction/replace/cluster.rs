//! The cluster that the member is of, asked and told by the node itself: over the client URLs of the other members.

use std::time::{Duration, Instant};

use etcd_client::MemberAddOptions;
use etcd_client::proto::PbMember;
use etcd_wire::message::EtcdAccess;
use etcd_wire::replace::ReplacePlan;
use etcd_wire::{Failure, FailureCode};
use futures::future::join_all;
use tokio::time::{sleep, timeout};

use crate::etcd::{self, Member};

/// How long an order may take: etcd answers when the change is applied.
const ORDER: Duration = Duration::from_secs(10);
/// How often something is asked again that has to change.
const AGAIN: Duration = Duration::from_millis(300);
/// How long the others may take to have one leader, and to have been connected for a while.
const SETTLED: Duration = Duration::from_secs(60);

/// What etcd says of an order that it will take later: its members have not been connected for long enough, or have no leader yet
/// (etcd api/v3rpc/rpctypes/error.go, 3.4 to 3.7).
const LATER: [&str; 4] = ["unhealthy cluster", "no leader", "leader changed", "not enough started members"];
/// What it says of a learner that lacks something.
const BEHIND: &str = "can only promote a learner member which is in sync with leader";

/// The other members that vote.
pub(super) struct Others<'a> {
    plan: &'a ReplacePlan,
}

/// How far a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reached {
    index: u64,
    revision: i64,
}

impl Reached {
    /// Whether everything that the other one has is here.
    pub(super) fn has(self, other: Reached) -> bool {
        self.index >= other.index && self.revision >= other.revision
    }
}

impl<'a> Others<'a> {
    pub(super) fn new(plan: &'a ReplacePlan) -> Others<'a> {
        Others { plan }
    }

    fn access(&self, endpoints: Vec<String>) -> EtcdAccess {
        EtcdAccess { endpoints, ..self.plan.etcd.clone() }
    }

    /// Those that answer and have a leader, of this cluster; all have the same leader.
    async fn led(&self) -> Result<Vec<Member>, Failure> {
        let asked =
            self.plan.others.iter().map(|url| async move { etcd::connect(&self.access(vec![url.clone()])).await });
        let mut led: Vec<Member> = Vec::new();
        let mut failures = Vec::new();
        for answer in join_all(asked).await {
            match answer {
                Ok(member) if !self.is_of_cluster(&member) => {
                    failures
                        .push(Failure::new(FailureCode::Etcd, format!("{} is of another cluster", member.endpoint)));
                }
                Ok(member) if member.status.leader() == 0 => {
                    failures.push(Failure::new(FailureCode::Etcd, format!("{} knows of no leader", member.endpoint)));
                }
                Ok(member) => led.push(member),
                Err(failure) => failures.push(failure),
            }
        }
        let agree = led.windows(2).all(|pair| pair[0].status.leader() == pair[1].status.leader());
        let quorum = usize::try_from(self.plan.quorum).unwrap_or(usize::MAX);
        if led.len() >= quorum && agree && !led.is_empty() {
            return Ok(led);
        }
        let message = match agree {
            true => format!("of the other members {} answer and have a leader, and {quorum} have to", led.len()),
            false => "the other members name different leaders".to_owned(),
        };
        let failure = Failure::new(FailureCode::Refused, message);
        Err(failures
            .into_iter()
            .fold(failure, |all, one| one.causes.into_iter().fold(all.cause(one.message), Failure::cause)))
    }

    fn is_of_cluster(&self, member: &Member) -> bool {
        member.status.header().is_some_and(|header| header.cluster_id() == self.plan.cluster_id)
    }

    /// Waits until enough of them have one leader.
    ///
    /// # Errors
    /// They have none in time.
    pub(super) async fn with_quorum(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            match self.led().await {
                Ok(_) => return Ok(()),
                Err(failure) if begun.elapsed() > SETTLED => return Err(failure),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// One of them that has a leader.
    async fn one(&self) -> Result<Member, Failure> {
        let begun = Instant::now();
        loop {
            match self.led().await.map(|led| led.into_iter().next()) {
                Ok(Some(member)) => return Ok(member),
                Err(failure) if begun.elapsed() > SETTLED => return Err(failure),
                _ => sleep(AGAIN).await,
            }
        }
    }

    /// How far the cluster is, and how large its database.
    pub(super) async fn reached(&self) -> Result<(Reached, u64), Failure> {
        let member = self.one().await?;
        Ok((reached(&member), u64::try_from(member.status.db_size()).unwrap_or(0)))
    }

    /// All members of the cluster.
    pub(super) async fn list(&self) -> Result<Vec<PbMember>, Failure> {
        let member = self.one().await?;
        list(&member).await
    }

    /// Whether an entry of the list is that of this node.
    fn is_own(&self, member: &PbMember) -> bool {
        (!member.name.is_empty() && member.name == self.plan.member)
            || member.peer_ur_ls.iter().any(|url| self.plan.peer_urls.contains(url))
    }

    /// The entry of this node, if there is one.
    ///
    /// # Errors
    /// There are several.
    pub(super) fn own(&self, members: Vec<PbMember>) -> Result<Option<PbMember>, Failure> {
        let mut own = members.into_iter().filter(|member| self.is_own(member));
        let first = own.next();
        match own.next() {
            None => Ok(first),
            Some(_) => {
                let message =
                    format!("the cluster has several members with the name or the peer URLs of {}", self.plan.member);
                Err(Failure::new(FailureCode::Refused, message).hint("kubectl etcd member list"))
            }
        }
    }

    /// Removes every entry of this node from the list.
    ///
    /// # Errors
    /// The others have no quorum, or etcd refuses.
    pub(super) async fn remove_own(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let member = self.one().await?;
            let members = list(&member).await?;
            let Some(own) = members.iter().find(|one| self.is_own(one)) else { return Ok(()) };
            if !members.iter().any(|one| !one.is_learner && !self.is_own(one)) {
                return Err(Failure::new(FailureCode::Refused, "the cluster has no other member that votes"));
            }
            let ordered = timeout(ORDER, member.client.cluster_client().member_remove(own.id)).await;
            match answer(&member, "remove a member at", ordered.map(|done| done.map(drop))) {
                // Whether it was done is seen in the list.
                Ok(()) => {}
                Err(failure) if begun.elapsed() > SETTLED => return Err(failure),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// Sees to it that the cluster has a learner with the peer URLs of this node, and gives its ID with the list that has it.
    ///
    /// # Errors
    /// Another member has them, or etcd does not take a learner.
    pub(super) async fn add_learner(&self) -> Result<(u64, Vec<PbMember>), Failure> {
        let begun = Instant::now();
        loop {
            let member = self.one().await?;
            let members = list(&member).await?;
            if let Some(own) = self.own(members.clone())? {
                if own.is_learner {
                    return Ok((own.id, members));
                }
                let message = format!(
                    "the cluster has a member that votes with the name or the peer URLs of {}",
                    self.plan.member
                );
                return Err(Failure::new(FailureCode::Refused, message).hint("kubectl etcd member list"));
            }
            let options = MemberAddOptions::new().with_is_learner();
            let ordered =
                timeout(ORDER, member.client.cluster_client().member_add(self.plan.peer_urls.clone(), Some(options)))
                    .await;
            match answer(&member, "add a learner at", ordered.map(|done| done.map(drop))) {
                Ok(()) => {}
                Err(failure) if begun.elapsed() > SETTLED || !is_for_later(&failure) => return Err(failure),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// Makes the learner of this node a voter, once it has caught up.
    ///
    /// # Errors
    /// It has not in time, or etcd refuses.
    pub(super) async fn promote(&self, patience: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let member = self.one().await?;
            let own = self.own(list(&member).await?)?;
            let Some(own) = own else {
                return Err(Failure::new(FailureCode::Refused, "the learner is not in the member list any more"));
            };
            if !own.is_learner {
                return Ok(());
            }
            let ordered = timeout(ORDER, member.client.cluster_client().member_promote(own.id)).await;
            match answer(&member, "promote the learner at", ordered.map(|done| done.map(drop))) {
                Ok(()) => {}
                Err(failure) if begun.elapsed() > patience || !is_for_later(&failure) => return Err(failure),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// Waits until the member on this node has everything that the cluster had when it was first seen to serve.
    ///
    /// # Errors
    /// It does not in time.
    pub(super) async fn caught_up(&self, patience: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut wanted = None;
        loop {
            let why = match etcd::connect(&self.plan.etcd).await {
                Ok(own) if !self.is_of_cluster(&own) => format!("{} serves another cluster", own.endpoint),
                Ok(own) if own.status.leader() == 0 => "the new member knows of no leader".to_owned(),
                Ok(_) if wanted.is_none() => {
                    wanted = Some(self.reached().await?.0);
                    continue;
                }
                Ok(own) => match wanted {
                    Some(wanted) if reached(&own).has(wanted) => return Ok(()),
                    _ => format!("the new member has applied index {}", reached(&own).index),
                },
                Err(failure) => {
                    failure.causes.into_iter().fold(failure.message, |all, cause| format!("{all}: {cause}"))
                }
            };
            if begun.elapsed() > patience {
                let message = format!("the new member has not caught up within {} s", patience.as_secs());
                return Err(Failure::new(FailureCode::Etcd, message).cause(why).hint(
                    "read the log of etcd on the node (crictl logs, or /var/log/pods), then run the same command again",
                ));
            }
            sleep(AGAIN).await;
        }
    }
}

fn reached(member: &Member) -> Reached {
    let status = &member.status;
    let revision = status.header().map_or(0, etcd_client::ResponseHeader::revision);
    Reached { index: status.raft_applied_index(), revision }
}

async fn list(member: &Member) -> Result<Vec<PbMember>, Failure> {
    let asked = timeout(etcd::PATIENCE, member.client.cluster_client().member_list()).await;
    answer(member, "list the members at", asked).map(|list| list.0.members)
}

/// The flag that names all members of a list; this node's may not have started.
///
/// # Errors
/// Another one has not started either.
pub(super) fn initial_cluster(members: &[PbMember], own: u64, name: &str) -> Result<String, Failure> {
    let mut all = Vec::new();
    for member in members {
        let name = if member.id == own { name } else { &member.name };
        if name.is_empty() {
            let message = format!("member {:x} has not started yet: another change is in progress", member.id);
            return Err(Failure::new(FailureCode::Refused, message).hint("kubectl etcd member list"));
        }
        all.extend(member.peer_ur_ls.iter().map(|url| format!("{name}={url}")));
    }
    all.sort();
    Ok(all.join(","))
}

fn answer<T>(
    member: &Member,
    what: &str,
    answer: Result<Result<T, etcd_client::Error>, tokio::time::error::Elapsed>,
) -> Result<T, Failure> {
    match answer {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(etcd::refusal(&member.endpoint, what, &error)),
        Err(_) => Err(Failure::new(FailureCode::Etcd, format!("cannot {what} {}: no answer", member.endpoint))),
    }
}

/// Whether the same order may be taken in a moment: also one of which nobody knows, for what it has done is seen in the list.
fn is_for_later(failure: &Failure) -> bool {
    let texts = || std::iter::once(&failure.message).chain(&failure.causes);
    let says = |text: &str| texts().any(|said| said.contains(text));
    LATER.into_iter().chain([BEHIND, "no answer", "timed out", "deadline"]).any(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str, url: &str, is_learner: bool) -> PbMember {
        PbMember { id, name: name.into(), peer_ur_ls: vec![url.into()], is_learner, ..PbMember::default() }
    }

    #[test]
    fn the_flag_names_all_members_and_this_one_by_its_name() {
        let all = [
            member(1, "cp1", "https://a:2380", false),
            member(9, "", "https://c:2380", true),
            member(2, "cp2", "https://b:2380", false),
        ];
        let flag = initial_cluster(&all, 9, "cp3").unwrap();
        assert_eq!(flag, "cp1=https://a:2380,cp2=https://b:2380,cp3=https://c:2380");
        assert!(initial_cluster(&all, 1, "cp1").unwrap_err().message.contains("member 9 has not started"));
    }

    #[test]
    fn the_own_entry_is_known_by_name_or_url_and_is_the_only_one() {
        let plan =
            ReplacePlan { member: "cp3".into(), peer_urls: vec!["https://c:2380".into()], ..ReplacePlan::default() };
        let others = Others::new(&plan);
        let cp1 = || member(1, "cp1", "https://a:2380", false);
        assert_eq!(others.own(vec![cp1()]).unwrap(), None);
        for own in [member(9, "", "https://c:2380", true), member(9, "cp3", "https://x:2380", false)] {
            assert_eq!(others.own(vec![cp1(), own]).unwrap().map(|own| own.id), Some(9));
        }
        let twice = vec![member(8, "cp3", "https://x:2380", false), member(9, "", "https://c:2380", true)];
        assert!(others.own(twice).unwrap_err().message.contains("several members"));
    }

    #[test]
    fn orders_are_given_again_only_where_that_can_help() {
        let failure = |cause: &str| Failure::new(FailureCode::Etcd, "etcd refuses").cause(cause);
        for later in
            ["etcdserver: unhealthy cluster", "etcdserver: request timed out", &format!("etcdserver: {BEHIND}")]
        {
            assert!(is_for_later(&failure(later)), "{later}");
        }
        for never in [
            "etcdserver: Peer URLs already exists",
            "etcdserver: too many learner members in cluster",
            "permission denied",
        ] {
            assert!(!is_for_later(&failure(never)), "{never}");
        }
        let at = |index, revision| Reached { index, revision };
        assert!(at(5, 5).has(at(5, 5)) && !at(5, 4).has(at(5, 5)) && !at(4, 9).has(at(5, 5)));
    }
}
