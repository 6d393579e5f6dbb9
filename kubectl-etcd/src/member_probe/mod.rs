//! Asks members how they are without a pod of ours: with `etcdctl` in the member's own container, by exec or, where the API has no
//! pod of the member, by the kubelet of its node. Nothing is written.

mod etcdctl;
mod exec;
mod kubelet;
mod served_certificate;

use std::time::Duration;

use etcd_wire::message::{KubeSystem, MemberStatus, NodeStatus};
use futures::future::join_all;

use crate::connection::Connection;
use crate::discovery::{EtcdPod, NodeTrouble};
use crate::output::Failed;
use crate::sidecar::{Surveyed, Via};
use etcdctl::Command;

/// How long a member may take to answer. `etcdctl` itself gives up before that.
const LIMIT: Duration = Duration::from_secs(5);

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

/// Asks all members at the same time. `kube_system` is the key of namespace kube-system; `certificates` says whether to look at the
/// certificates that they present.
pub(crate) async fn probe(
    connection: &Connection,
    members: Vec<EtcdPod>,
    kube_system: &str,
    certificates: bool,
) -> Probed {
    let all = members.into_iter().map(|member| one(connection, member, kube_system, certificates));
    let mut probed = Probed::default();
    for result in join_all(all).await {
        match result {
            Ok(surveyed) => probed.asked.push(surveyed.named()),
            Err(unreached) => probed.unreached.push(*unreached),
        }
    }
    probed
}

async fn one(
    connection: &Connection,
    member: EtcdPod,
    kube_system: &str,
    certificates: bool,
) -> Result<Surveyed, Box<(EtcdPod, Failed)>> {
    if let Some(trouble @ NodeTrouble::Silent { .. }) = &member.node_trouble {
        let outcome = Err(Failed::plain(trouble.describe(&member.node)));
        return Ok(Surveyed { member, outcome, via: Via::Pod, sidecar: None, served: None });
    }
    if let Err(why) = etcdctl::possible(&member) {
        return Err(Box::new((member, why)));
    }
    let served = async {
        match certificates && member.own.mirror {
            true => served_certificate::look(connection, &member).await,
            false => None,
        }
    };
    let (answer, served) = tokio::join!(by_any_way(connection, &member, kube_system), served);
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
    kube_system: &str,
) -> Result<(Via, MemberStatus), (Via, Trouble)> {
    let mut first = None;
    if member.own.mirror {
        match by(Via::Pod, connection, member, kube_system).await {
            Ok(status) => return Ok((Via::Pod, status)),
            Err(Trouble::NoWay(failed)) => first = Some(failed),
            Err(silent) => return Err((Via::Pod, silent)),
        }
    }
    match by(Via::Kubelet, connection, member, kube_system).await {
        Ok(status) => Ok((Via::Kubelet, status)),
        Err(Trouble::NoWay(failed)) => {
            let failed = match first {
                Some(first) => first.cause(failed.one_line()),
                None => failed,
            };
            Err((Via::Kubelet, Trouble::NoWay(failed)))
        }
        Err(silent) => Err((Via::Kubelet, silent)),
    }
}

/// The three questions, at the same time.
async fn by(via: Via, connection: &Connection, member: &EtcdPod, kube_system: &str) -> Result<MemberStatus, Trouble> {
    let run = |command: Command| async move {
        let asked = async {
            let mut failed = None;
            for words in etcdctl::lines(member, &command) {
                match run(via, connection, member, &words).await {
                    Err(Ended::Failed(said)) if etcdctl::lacks_file(&said) => failed = Some(said),
                    other => return other,
                }
            }
            Err(Ended::Failed(failed.unwrap_or_default()))
        };
        let silent = || Ended::Failed(format!("no answer within {} seconds", LIMIT.as_secs()));
        tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(|_| Err(silent()))
    };
    let (status, members, namespace) =
        tokio::join!(run(Command::Status), run(Command::Members), run(Command::Get(kube_system.to_owned())));
    let mut status = match status {
        Ok(said) => etcdctl::status(&said).map_err(Trouble::Silent)?,
        Err(Ended::NoWay(failed)) => return Err(Trouble::NoWay(failed)),
        Err(Ended::Failed(said)) => return Err(Trouble::Silent(etcdctl::explain(&said))),
    };
    let text = |ended: Ended| match ended {
        Ended::NoWay(failed) => failed.one_line(),
        Ended::Failed(said) => etcdctl::explain(&said).one_line(),
    };
    match members.map_err(text).and_then(|said| etcdctl::members(&said)) {
        Ok(members) => status.members = members,
        // A learner does not answer this in any version; that is no complaint.
        Err(_) if status.learner => {}
        Err(why) => status.errors.push(format!("the member list is not known: {why}")),
    }
    let namespace = namespace.map_err(text).and_then(|said| etcdctl::namespace(&said));
    status.kube_system = Some(namespace.unwrap_or_else(|why| KubeSystem::Unread { why }));
    Ok(status)
}

/// How a command line did not do what it should.
#[derive(Debug)]
enum Ended {
    /// It could not be started.
    NoWay(Failed),
    /// It failed; what it said.
    Failed(String),
}

async fn run(via: Via, connection: &Connection, member: &EtcdPod, words: &[String]) -> Result<String, Ended> {
    match via {
        Via::Kubelet => kubelet::run(connection, member, words).await,
        Via::Pod | Via::Sidecar => exec::run(connection, member, words).await,
    }
}
