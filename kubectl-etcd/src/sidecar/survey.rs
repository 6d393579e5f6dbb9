//! Asks every member, each from its own node, how it is.

use etcd_wire::message::{NodeStatus, StatusRequest};
use futures::future::join_all;

use super::{Operation, Pods, Session, Started, TransferError};
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

/// Runs a sidecar on every member's node, at the same time, and asks them all at one moment, so that their answers can
/// be compared. One node's trouble is that node's only.
pub(crate) async fn survey(
    connection: &Connection,
    pods: &Pods,
    members: Vec<EtcdPod>,
    operation: Operation,
) -> Vec<Surveyed> {
    let opened = join_all(members.iter().map(|member| converse(connection, pods, member, operation, "status"))).await;
    join_all(members.into_iter().zip(opened).map(|(member, opened)| async move {
        let outcome = match opened {
            Ok((sidecar, session)) => ask(&member, sidecar, session).await,
            Err(failed) => Err(failed),
        };
        Surveyed { member, outcome }
    }))
    .await
}

/// Runs a sidecar on a member's node and opens a session with it.
///
/// # Errors
/// The pod does not start, the session does not open, or the sidecar lacks the capability (exit 4).
pub(crate) async fn converse(
    connection: &Connection,
    pods: &Pods,
    member: &EtcdPod,
    operation: Operation,
    capability: &str,
) -> Outcome<(Started, Session)> {
    let sidecar = pods.start(member, operation, None).await?;
    let session = Session::open(connection, &sidecar).await.map_err(TransferError::into_failed)?;
    let theirs = session.peer();
    if theirs.version != env!("CARGO_PKG_VERSION") {
        let (node, ours) = (&member.node, env!("CARGO_PKG_VERSION"));
        pods.printer().warn(format!("the sidecar on node {node} has version {}, this plugin {ours}", theirs.version));
    }
    session.require(capability)?;
    Ok((sidecar, session))
}

async fn ask(member: &EtcdPod, sidecar: Started, mut session: Session) -> Outcome<Answer> {
    let request = StatusRequest { etcd: member.access.clone(), certificates: member.certificate_files() };
    let status = session.status(request).await?;
    Ok(Answer { sidecar, status })
}
