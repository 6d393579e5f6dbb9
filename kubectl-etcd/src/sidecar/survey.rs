//! Asks every member, each from its own node, how it is.

use etcd_wire::message::{NodeStatus, StatusRequest};
use futures::future::join_all;

use super::{Operation, Pods, Session, Started};
use crate::connection::Connection;
use crate::discovery::EtcdPod;
use crate::output::{Failed, Outcome};

/// A member, and what its node's sidecar said of it.
#[derive(Debug)]
pub(crate) struct Surveyed {
    pub(crate) member: EtcdPod,
    /// The answer, or why there is no sidecar to ask. An answer may itself say that etcd does not answer.
    pub(crate) outcome: Outcome<Answer>,
}

/// What a sidecar answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) sidecar: Started,
    pub(crate) status: NodeStatus,
}

impl Surveyed {
    /// The member's own status, or what stood in the way of it.
    pub(crate) fn etcd(&self) -> Result<&etcd_wire::message::MemberStatus, Failed> {
        match &self.outcome {
            Ok(answer) => match (&answer.status.etcd, &answer.status.failure) {
                (Some(status), _) => Ok(status),
                (None, Some(failure)) => Err(failure.clone().into()),
                (None, None) => Err(Failed::plain("the sidecar said nothing about etcd")),
            },
            Err(failed) => Err(failed.copy()),
        }
    }
}

/// Runs a sidecar on every member's node, at the same time, and asks it. One node's trouble is that node's only.
pub(crate) async fn survey(
    connection: &Connection,
    pods: &Pods,
    members: Vec<EtcdPod>,
    operation: Operation,
) -> Vec<Surveyed> {
    join_all(members.into_iter().map(|member| async move {
        let outcome = ask(connection, pods, &member, operation).await;
        Surveyed { member, outcome }
    }))
    .await
}

async fn ask(connection: &Connection, pods: &Pods, member: &EtcdPod, operation: Operation) -> Outcome<Answer> {
    let sidecar = pods.start(member, operation, None).await?;
    let mut session = Session::open(connection, &sidecar).await?;
    let request = StatusRequest { etcd: member.access.clone(), certificates: member.certificate_files() };
    let status = session.status(request).await?;
    let theirs = &session.peer().version;
    if theirs != env!("CARGO_PKG_VERSION") {
        let ours = env!("CARGO_PKG_VERSION");
        pods.printer().warn(format!("the sidecar on node {} has version {theirs}, this plugin {ours}", member.node));
    }
    Ok(Answer { sidecar, status })
}
