//! Asks every member, each from its own node, how it is.

use std::time::Duration;

use etcd_wire::message::{Certificate, MemberStatus, NodeStatus, StatusRequest};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::{Operation, Session, TransferError};
use crate::discovery::{EtcdPod, NodeTrouble};
use crate::output::{Failed, Outcome};
use crate::road::{Road, Sidecar};

/// How long the other members are waited for once a quorum has answered, where that will do.
const GRACE: Duration = Duration::from_secs(5);

/// A member, and what was answered when it was asked.
#[derive(Debug)]
pub(crate) struct Surveyed {
    pub(crate) member: EtcdPod,
    /// The answer, or why there is nothing to ask. An answer may itself say that etcd does not answer.
    pub(crate) outcome: Outcome<NodeStatus>,
    /// How the member was asked.
    pub(crate) via: Via,
    /// The sidecar on its node, where one was asked and has answered.
    pub(crate) sidecar: Option<Sidecar>,
    /// The certificate that the member presents to clients, where that was looked at; its path is the URL.
    pub(crate) served: Option<Certificate>,
}

/// How a member was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Via {
    /// `etcdctl` in its own container, by exec.
    Pod,
    /// `etcdctl` in its own container, by the kubelet of its node.
    Kubelet,
    /// A sidecar on its node.
    Sidecar,
}

impl Via {
    /// As a word for people.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Via::Pod => "pod",
            Via::Kubelet => "kubelet",
            Via::Sidecar => "sidecar",
        }
    }
}

/// What a sidecar answered.
struct Answer {
    sidecar: Sidecar,
    status: NodeStatus,
}

impl Surveyed {
    /// Gives a member whose pod does not show its name the one that it has in its cluster, or else that of its pod; outside of pods, its host and port.
    pub(crate) fn named(mut self) -> Surveyed {
        if self.member.name.is_empty() {
            let listed = self.etcd().ok().and_then(|status| {
                let own = status.members.iter().find(|one| one.id == status.member_id)?;
                Some(own.name.clone()).filter(|name| !name.is_empty())
            });
            let endpoint = self.member.access.endpoints.first().filter(|_| self.member.pod.is_empty());
            let at = endpoint.and_then(|url| Some(url.split_once("://")?.1.trim_end_matches('/').to_owned()));
            self.member.name = listed.or(at).unwrap_or_else(|| self.member.pod.clone());
        }
        self
    }

    /// The member's own status, or what stood in the way of it.
    pub(crate) fn etcd(&self) -> Result<&MemberStatus, Failed> {
        match &self.outcome {
            Ok(status) => match (&status.etcd, &status.failure) {
                (Some(status), _) => Ok(status),
                (None, Some(failure)) => Err(failure.clone().into()),
                (None, None) => Err(Failed::plain("the sidecar reported nothing about etcd")),
            },
            Err(failed) => Err(failed.copy()),
        }
    }
}

/// What members are asked, and how long for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    /// Key of namespace kube-system, where the object is wanted.
    pub(crate) kube_system: Option<String>,
    /// Whether a quorum's answers will do: the members of nodes that do not report are not asked, and the others are not waited for
    /// longer than [`GRACE`] once a quorum has answered.
    pub(crate) quorum_will_do: bool,
}

/// Runs a sidecar on every member's node, at the same time, and asks them all at one moment, so that their answers can
/// be compared. One node's trouble is that node's only.
pub(crate) async fn survey(road: &Road, members: Vec<EtcdPod>, operation: Operation, ask: &Ask) -> Vec<Surveyed> {
    let enough = |so_far: &[Option<Outcome<Opened>>]| {
        let statuses = so_far.iter().flatten().filter_map(|one| one.as_ref().ok()?.status.etcd.as_ref());
        ask.quorum_will_do && is_quorum(&statuses.collect::<Vec<_>>(), members.len())
    };
    let first = gather(members.iter().map(|member| open(road, member, operation, ask)).collect(), enough);
    // The first answers came one after the other: those who gave one are asked again, all at once.
    let again = first.await.into_iter().map(|one| async move {
        match one {
            Some(Ok(opened)) if opened.status.etcd.is_some() => opened.again(road).await.map(Some),
            Some(Ok(Opened { sidecar, session, status, .. })) => {
                road.rest(&sidecar, session);
                Ok(Some(Answer { sidecar, status }))
            }
            Some(Err(failed)) => Err(failed),
            None => Ok(None),
        }
    });
    let enough = |so_far: &[Option<Outcome<Option<Answer>>>]| {
        let answers = so_far.iter().flatten().filter_map(|one| one.as_ref().ok()?.as_ref());
        ask.quorum_will_do
            && is_quorum(&answers.filter_map(|one| one.status.etcd.as_ref()).collect::<Vec<_>>(), members.len())
    };
    let answers = gather(again.collect(), enough).await;
    let outcomes = members.iter().zip(answers).map(|(member, answer)| match answer {
        Some(Ok(Some(answer))) => Ok(answer),
        Some(Err(failed)) => Err(failed),
        Some(Ok(None)) | None => Err(not_waited_for(member)),
    });
    let outcomes: Vec<Outcome<Answer>> = outcomes.collect();
    let surveyed = members.into_iter().zip(outcomes).map(|(member, outcome)| {
        let (outcome, sidecar) = match outcome {
            Ok(Answer { sidecar, status }) => (Ok(status), Some(sidecar)),
            Err(failed) => (Err(failed), None),
        };
        Surveyed { member, outcome, via: Via::Sidecar, sidecar, served: None }.named()
    });
    surveyed.collect()
}

/// A session that is open, and the first answer in it.
struct Opened {
    sidecar: Sidecar,
    session: Session,
    request: StatusRequest,
    status: NodeStatus,
}

impl Opened {
    async fn again(mut self, road: &Road) -> Outcome<Answer> {
        let status = self.session.status(self.request).await?;
        road.rest(&self.sidecar, self.session);
        Ok(Answer { sidecar: self.sidecar, status })
    }
}

/// Runs a sidecar on a member's node, and asks it.
async fn open(road: &Road, member: &EtcdPod, operation: Operation, ask: &Ask) -> Outcome<Opened> {
    if let (Some(trouble @ NodeTrouble::Silent { .. }), true) = (&member.node_trouble, ask.quorum_will_do) {
        return Err(Failed::plain(trouble.describe(&member.node)));
    }
    let opened = converse(road, member, operation, "status").await;
    let (sidecar, mut session) = opened.map_err(|failed| match &member.node_trouble {
        Some(trouble) => failed.cause(trouble.describe(&member.node)),
        None => failed,
    })?;
    let request = StatusRequest {
        etcd: member.access.clone(),
        certificates: member.certificate_files(),
        kube_system: ask.kube_system.clone().filter(|_| session.peer().can("kubeSystem")),
        data_dir: member.data_dir.clone().filter(|_| operation == Operation::Store),
    };
    let status = session.status(request.clone()).await?;
    Ok(Opened { sidecar, session, request, status })
}

fn not_waited_for(member: &EtcdPod) -> Failed {
    let failed = Failed::plain(format!(
        "no answer within {} seconds after a quorum of the members had answered",
        GRACE.as_secs()
    ));
    match &member.node_trouble {
        Some(trouble) => failed.cause(trouble.describe(&member.node)),
        None => failed,
    }
}

/// Whether of every cluster that has answered a quorum has, and these list as many members as were asked: one more may be of a cluster
/// that has not answered yet. `pods` are all that were asked: where no member lists the others, their number is that of the voters.
fn is_quorum(statuses: &[&MemberStatus], pods: usize) -> bool {
    let clusters: std::collections::BTreeSet<u64> = statuses.iter().map(|status| status.cluster_id).collect();
    let quorum = |id: &u64| {
        let of_it = || statuses.iter().filter(|status| status.cluster_id == *id);
        let listed = of_it().map(|status| status.members.iter().filter(|member| !member.learner).count()).max();
        let voters = listed.filter(|voters| *voters > 0).unwrap_or(pods);
        of_it().filter(|status| !status.learner).count() > voters / 2
    };
    let listed = |id: &u64| {
        let of_it = statuses.iter().filter(|status| status.cluster_id == *id);
        of_it.map(|status| status.members.len()).max().filter(|&listed| listed > 0).unwrap_or(pods)
    };
    !clusters.is_empty() && clusters.iter().map(listed).sum::<usize>() >= pods && clusters.iter().all(quorum)
}

/// Waits for answers: for all of them or, once those that came are enough, for as many as come within [`GRACE`]. In the order in which they
/// were asked for; `None` is one that was not waited for.
async fn gather<T>(asked: Vec<impl Future<Output = T>>, enough: impl Fn(&[Option<T>]) -> bool) -> Vec<Option<T>> {
    let mut answers: Vec<Option<T>> = asked.iter().map(|_| None).collect();
    let mut waiting: FuturesUnordered<_> =
        asked.into_iter().enumerate().map(|(index, one)| async move { (index, one.await) }).collect();
    let mut deadline = None;
    loop {
        let next = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, waiting.next()).await,
            None => Ok(waiting.next().await),
        };
        let Ok(Some((index, answer))) = next else { return answers };
        answers[index] = Some(answer);
        if deadline.is_none() && enough(&answers) {
            deadline = Some(tokio::time::Instant::now() + GRACE);
        }
    }
}

/// Runs a sidecar on a member's node and opens a session with it.
///
/// # Errors
/// The pod does not start, the session does not open, or the sidecar lacks the capability (exit 4).
pub(crate) async fn converse(
    road: &Road,
    member: &EtcdPod,
    operation: Operation,
    capability: &str,
) -> Outcome<(Sidecar, Session)> {
    let sidecar = road.start(member, operation, None).await?;
    let session = road.session(&sidecar).await.map_err(TransferError::into_failed)?;
    let theirs = session.peer();
    if theirs.version != env!("CARGO_PKG_VERSION") {
        let (node, ours) = (&member.node, env!("CARGO_PKG_VERSION"));
        road.printer().warn(format!("the sidecar on node {node} has version {}, this plugin {ours}", theirs.version));
    }
    if operation == Operation::Plan && theirs.build.as_deref() != Some(etcd_build::ID) {
        let node = &member.node;
        road.printer().warn(format!(
            "the sidecar on node {node} is another build than this plugin: the plan would not be carried out"
        ));
    }
    session.require(capability)?;
    Ok((sidecar, session))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etcd_wire::message::Member;
    use tokio::time::{Instant, sleep};

    use super::*;

    fn status(cluster_id: u64, voters: usize) -> MemberStatus {
        MemberStatus { cluster_id, members: vec![Member::default(); voters], ..Default::default() }
    }

    #[test]
    fn a_quorum_is_one_of_each_clusters_voters() {
        let quorum = |statuses: &[MemberStatus]| is_quorum(&statuses.iter().collect::<Vec<_>>(), 3);
        assert!(!quorum(&[]));
        assert!(!quorum(&[status(1, 3)]));
        assert!(quorum(&[status(1, 3), status(1, 3)]));
        // The other two may be of a cluster that has not answered yet.
        assert!(!quorum(&[status(1, 1)]));
        assert!(quorum(&[status(1, 1), status(2, 2), status(2, 2)]));
        // Members of two clusters are no quorum of either.
        assert!(!quorum(&[status(1, 3), status(2, 3)]));
        assert!(quorum(&[status(1, 3), status(1, 3), status(2, 1)]));
        // Learners do not vote; where nobody lists members, every pod may.
        let learner = MemberStatus { learner: true, ..status(1, 3) };
        assert!(!quorum(&[status(1, 3), learner]));
        assert!(!quorum(&[status(1, 0)]));
        assert!(quorum(&[status(1, 0), status(1, 0)]));
    }

    /// Answers after so many seconds; how long it all took.
    async fn wait(seconds: &[u64], enough: usize) -> (Vec<Option<u64>>, Duration) {
        let begun = Instant::now();
        let one = |&after: &u64| async move {
            sleep(Duration::from_secs(after)).await;
            after
        };
        let answers = gather(seconds.iter().map(one).collect(), |so_far| so_far.iter().flatten().count() >= enough);
        (answers.await, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_one_is_waited_for_a_few_seconds_after_a_quorum() {
        let (answers, took) = wait(&[1, 60, 2], 2).await;
        assert_eq!((answers, took), (vec![Some(1), None, Some(2)], Duration::from_secs(2) + GRACE));
        // One that comes meanwhile is taken, and none is waited for longer than it takes.
        let (answers, took) = wait(&[1, 4, 2], 2).await;
        assert_eq!((answers, took), (vec![Some(1), Some(4), Some(2)], Duration::from_secs(4)));
        // Without a quorum, or where all are needed, every one is waited for.
        assert_eq!(wait(&[1, 60, 2], 4).await.1, Duration::from_secs(60));
    }
}
