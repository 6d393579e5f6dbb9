//! Asks members how they are, and gives them orders, without a pod of ours: with `etcdctl` in the member's own container, by exec or,
//! where the API has no pod of the member, by the kubelet of its node. A question writes nothing.

mod etcdctl;
mod exec;
mod kubelet;
mod look;
mod order;
mod served_certificate;

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_wire::message::{KubeSystem, Member, MemberStatus, NodeStatus};
use etcd_wire::order::Order;
use futures::future::join_all;

use crate::connection::Connection;
use crate::discovery::{EtcdPod, NodeTrouble};
use crate::output::Failed;
use crate::sidecar::{Surveyed, Via};
use etcdctl::Command;
pub(crate) use look::{Looked, look};
pub(crate) use order::NotDone;

/// How long a member may take to answer. `etcdctl` itself gives up before that.
const LIMIT: Duration = Duration::from_secs(4);
/// The same for a question for which the member reads all of its keys.
const HASHED: Duration = Duration::from_secs(64);

/// Members that were asked.
#[derive(Debug, Default)]
pub(crate) struct Probed {
    /// Those that were asked, whether they answered or not.
    pub(crate) asked: Vec<Surveyed>,
    /// Those that can only be asked by a sidecar, each with the reason.
    pub(crate) unreached: Vec<(EtcdPod, Failed)>,
}

/// What was learned of a member's own container.
#[derive(Debug)]
enum Trouble {
    /// `etcdctl` cannot be run this way: no right, no pod, no such program.
    NoWay(Failed),
    /// The member was asked, and does not answer.
    Silent(Failed),
}

/// What is asked of members.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Questions<'a> {
    /// Key of namespace kube-system.
    pub(crate) kube_system: &'a str,
    /// Whether to look at the certificates that they present.
    pub(crate) certificates: Certificates<'a>,
}

/// Of which members the certificate is looked at that they present: each look is a line in etcd's log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Certificates<'a> {
    /// Of none.
    OfNone,
    /// Of all but those of these whose certificate was seen.
    Unseen(&'a [Surveyed]),
}

impl Certificates<'_> {
    fn wants(self, member: &EtcdPod) -> bool {
        let seen = |one: &Surveyed| {
            let same = one.member.node == member.node && one.member.pod == member.pod;
            same && one.served.as_ref().is_some_and(|served| served.error.is_none())
        };
        match self {
            Certificates::OfNone => false,
            Certificates::Unseen(known) => !known.iter().any(seen),
        }
    }
}

/// Asks all members at the same time. What all members of a cluster would answer alike, the first is asked; another only where that has
/// told nothing.
pub(crate) async fn probe(connection: &Connection, members: Vec<EtcdPod>, questions: Questions<'_>) -> Probed {
    let first = members.iter().position(|member| member.node_trouble.is_none() && etcdctl::possible(member).is_ok());
    let all = members.into_iter().enumerate().map(|(index, member)| {
        let shared = (Some(index) == first).then_some(questions.kube_system);
        one(connection, member, questions.certificates, shared)
    });
    let mut probed = Probed::default();
    for result in join_all(all).await {
        match result {
            Ok(surveyed) => probed.asked.push(surveyed),
            Err(unreached) => probed.unreached.push(*unreached),
        }
    }
    let asked = &probed.asked;
    let answers = join_all(without_shared(asked).into_iter().map(|index| async move {
        (index, shared(asked[index].via, connection, &asked[index].member, questions.kube_system).await)
    }));
    for (index, answer) in answers.await {
        if let Ok(status) = &mut probed.asked[index].outcome
            && let Some(status) = &mut status.etcd
        {
            answer.put_into(status);
        }
    }
    probed.asked = probed.asked.into_iter().map(Surveyed::named).collect();
    probed
}

/// One member of each cluster whose member list or namespace is not known yet: a member that may know, a voter with a leader if there is one.
fn without_shared(asked: &[Surveyed]) -> Vec<usize> {
    let statuses = || asked.iter().enumerate().filter_map(|(index, one)| Some((index, one.etcd().ok()?)));
    let clusters: BTreeSet<u64> = statuses().map(|(_, status)| status.cluster_id).collect();
    let lacks = |id: &u64| {
        let mut of_it = statuses().filter(|(_, status)| status.cluster_id == *id).map(|(_, status)| status);
        !of_it.any(|status| !status.members.is_empty() && status.kube_system.is_some())
    };
    let best = |id: u64| {
        let of_it = statuses().filter(|(_, status)| status.cluster_id == id && status.kube_system.is_none());
        of_it.min_by_key(|(index, status)| (status.learner, status.leader_id == 0, *index)).map(|(index, _)| index)
    };
    clusters.into_iter().filter(lacks).filter_map(best).collect()
}

async fn one(
    connection: &Connection,
    member: EtcdPod,
    certificates: Certificates<'_>,
    shared: Option<&str>,
) -> Result<Surveyed, Box<(EtcdPod, Failed)>> {
    if let Some(trouble @ NodeTrouble::Silent { .. }) = &member.node_trouble {
        let outcome = Err(Failed::plain(trouble.describe(&member.node)));
        return Ok(Surveyed { member, outcome, via: Via::Pod, sidecar: None, served: None });
    }
    if let Err(why) = etcdctl::possible(&member) {
        return Err(Box::new((member, why)));
    }
    let served = async {
        match certificates.wants(&member) && member.own.mirror {
            true => served_certificate::look(connection, &member).await,
            false => None,
        }
    };
    let (answer, served) = tokio::join!(by_any_way(connection, &member, shared), served);
    let (via, outcome) = match answer {
        Ok((via, status)) => (via, Ok(NodeStatus { etcd: Some(status), ..NodeStatus::default() })),
        Err((_, Trouble::NoWay(failed))) => return Err(Box::new((member, failed))),
        Err((via, Trouble::Silent(failed))) => (via, Err(failed)),
    };
    let outcome = outcome.map_err(|failed| match &member.node_trouble {
        Some(trouble) => failed.cause(trouble.describe(&member.node)),
        None => failed,
    });
    Ok(Surveyed { member, outcome, via, sidecar: None, served })
}

/// By exec where the API has the member's pod; else, and where exec is not possible, by the kubelet.
async fn by_any_way(
    connection: &Connection,
    member: &EtcdPod,
    shared: Option<&str>,
) -> Result<(Via, MemberStatus), (Via, Trouble)> {
    let mut first = None;
    if member.own.mirror {
        match by(Via::Pod, connection, member, shared).await {
            Ok(status) => return Ok((Via::Pod, status)),
            Err(Trouble::NoWay(failed)) => first = Some(failed),
            Err(silent) => return Err((Via::Pod, silent)),
        }
    }
    match by(Via::Kubelet, connection, member, shared).await {
        Ok(status) => Ok((Via::Kubelet, status)),
        Err(Trouble::NoWay(failed)) => {
            let failed = match first {
                // Both ways lead to the same container.
                Some(first) if first.message == failed.message => first,
                Some(first) => first.cause(failed.one_line()),
                None => failed,
            };
            Err((Via::Kubelet, Trouble::NoWay(failed)))
        }
        Err(silent) => Err((Via::Kubelet, silent)),
    }
}

/// A member's status and, at the same time, what all members of its cluster know, where the key of namespace kube-system is given.
async fn by(
    via: Via,
    connection: &Connection,
    member: &EtcdPod,
    kube_system: Option<&str>,
) -> Result<MemberStatus, Trouble> {
    let shared = async {
        match kube_system {
            Some(key) => Some(shared(via, connection, member, key).await),
            None => None,
        }
    };
    let (status, shared) = tokio::join!(in_turn(via, connection, member, Command::Status), shared);
    let mut status = match status {
        Ok(said) => etcdctl::status(&said).map_err(Trouble::Silent)?,
        Err(Ended::NoWay(failed)) => return Err(Trouble::NoWay(failed)),
        Err(Ended::Failed(said)) => return Err(Trouble::Silent(etcdctl::explain(&said))),
    };
    if let Some(shared) = shared {
        shared.put_into(&mut status);
    }
    Ok(status)
}

/// What all members of a cluster know.
#[derive(Debug)]
struct Shared {
    members: Result<Vec<Member>, String>,
    kube_system: KubeSystem,
}

impl Shared {
    fn put_into(self, status: &mut MemberStatus) {
        match self.members {
            Ok(members) => status.members = members,
            // A learner does not answer this in any version; that is no complaint.
            Err(_) if status.learner => {}
            Err(why) => status.errors.push(format!("the member list is not known: {why}")),
        }
        status.kube_system = Some(self.kube_system);
    }
}

async fn shared(via: Via, connection: &Connection, member: &EtcdPod, key: &str) -> Shared {
    let text = |ended: Ended| match ended {
        Ended::NoWay(failed) => failed.one_line(),
        Ended::Failed(said) => etcdctl::explain(&said).one_line(),
    };
    let (members, namespace) = tokio::join!(
        in_turn(via, connection, member, Command::Members),
        in_turn(via, connection, member, Command::Get(key.to_owned()))
    );
    let namespace = namespace.map_err(text).and_then(|said| etcdctl::namespace(&said));
    Shared {
        members: members.map_err(text).and_then(|said| etcdctl::members(&said)),
        kube_system: namespace.unwrap_or_else(|why| KubeSystem::Unread { why }),
    }
}

/// What the keys of a member hash to at a revision: the hash, and the compacted revision from which it counts.
///
/// # Errors
/// It does not say.
pub(crate) async fn hash(connection: &Connection, asked: &Surveyed, revision: i64) -> Result<(u32, i64), Failed> {
    match in_turn(asked.via, connection, &asked.member, Command::HashKv(revision)).await {
        Ok(said) => etcdctl::hash(&said).map_err(Failed::plain),
        Err(Ended::NoWay(failed)) => Err(failed),
        Err(Ended::Failed(said)) => Err(etcdctl::explain(&said)),
    }
}

/// Gives an order to a member that was asked this way before.
///
/// # Errors
/// It was not carried out, or nobody knows.
pub(crate) async fn order(connection: &Connection, asked: &Surveyed, order: Order) -> Result<(), NotDone> {
    match in_turn(asked.via, connection, &asked.member, Command::Order(order)).await {
        Ok(_) => Ok(()),
        Err(Ended::NoWay(failed)) => Err(NotDone::Refused(failed)),
        Err(Ended::Failed(said)) => Err(NotDone::of(&said, etcdctl::explain(&said))),
    }
}

/// Runs a command, with each client certificate that may be there in turn.
async fn in_turn(via: Via, connection: &Connection, member: &EtcdPod, command: Command) -> Result<String, Ended> {
    let limit = match &command {
        Command::Order(order) => order.limit() + LIMIT,
        // It reads all of its keys.
        Command::HashKv(_) => HASHED,
        _ => LIMIT,
    };
    let asked = async {
        let mut failed = None;
        for words in etcdctl::lines(member, &command) {
            match run(via, connection, member, &words, &command).await {
                Err(Ended::Failed(said)) if etcdctl::lacks_file(&said) => failed = Some(said),
                other => return other,
            }
        }
        Err(Ended::Failed(failed.unwrap_or_default()))
    };
    let silent = || Ended::Failed(format!("no answer within {} seconds", limit.as_secs()));
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(silent()))
}

/// How a command line did not do what it should.
#[derive(Debug)]
enum Ended {
    /// It could not be started.
    NoWay(Failed),
    /// It failed; what it said.
    Failed(String),
}

async fn run(
    via: Via,
    connection: &Connection,
    member: &EtcdPod,
    words: &[String],
    command: &Command,
) -> Result<String, Ended> {
    // An order is not given twice.
    let client = if matches!(command, Command::Order(_)) { &connection.orders } else { &connection.client };
    match via {
        Via::Kubelet => kubelet::run(client, member, words).await,
        Via::Pod | Via::Sidecar => exec::run(connection, member, words).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd_clusters::samples::{answers, held, silent};

    #[test]
    fn a_certificate_is_looked_at_until_it_was_seen() {
        let certificate = |error: Option<&str>| etcd_wire::message::Certificate {
            error: error.map(str::to_owned),
            ..etcd_wire::message::Certificate::default()
        };
        let with = |node: &str, served| Surveyed { served, ..silent(node, 2379) };
        let known = [
            with("cp1", Some(certificate(None))),
            with("cp2", Some(certificate(Some("no answer")))),
            with("cp3", None),
        ];
        for (node, wanted) in [("cp1", false), ("cp2", true), ("cp3", true), ("cp4", true)] {
            let member = silent(node, 2379).member;
            assert_eq!(Certificates::Unseen(&known).wants(&member), wanted, "{node}");
            assert!(!Certificates::OfNone.wants(&member));
        }
    }

    #[test]
    fn each_cluster_is_asked_once_for_what_its_members_share() {
        let told = |node: &str, id| answers(node, 2379, id, &["cp1", "cp2"], held("ours"));
        let untold = |node: &str, id, leader| {
            let mut one = told(node, id);
            if let Ok(NodeStatus { etcd: Some(status), .. }) = &mut one.outcome {
                (status.members, status.kube_system, status.leader_id) = (Vec::new(), None, leader);
            }
            one
        };
        assert!(without_shared(&[told("cp1", 9), untold("cp2", 9, 1), silent("cp3", 2379)]).is_empty());
        // Another cluster, and of that the member that has a leader.
        assert_eq!(without_shared(&[told("cp1", 9), untold("cp2", 5, 0), untold("cp3", 5, 1)]), [2]);
        // The one that was asked did not tell: another is, and nobody twice.
        let mut deaf = told("cp1", 9);
        if let Ok(NodeStatus { etcd: Some(status), .. }) = &mut deaf.outcome {
            status.members.clear();
        }
        assert_eq!(without_shared(&[deaf, untold("cp2", 9, 1)]), [1]);
    }
}
