//! Asks the node's own etcd whether it serves what it should.

use etcd_wire::message::StatusRequest;
use etcd_wire::{Failure, FailureCode};

use super::layout::Layout;
use crate::{etcd, status};

/// What a member has to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) cluster_id: u64,
    /// At least.
    pub(super) revision: i64,
    /// How many members the cluster has, where that is known.
    pub(super) members: Option<usize>,
}

/// Whether the member serves: the right cluster, with all its members, a leader, the revision, and a read that all agree on.
///
/// # Errors
/// What it is not yet, or not at all.
pub(super) async fn prove(layout: &Layout, expected: &Expected) -> Result<(), Failure> {
    let access = layout.node().etcd.clone();
    let status = status::run(StatusRequest { etcd: access.clone(), certificates: Vec::new() }).await;
    let status = match (status.etcd, status.failure) {
        (Some(status), _) => status,
        (None, Some(failure)) => return Err(failure),
        (None, None) => return Err(Failure::new(FailureCode::Etcd, "etcd says nothing")),
    };
    let not = |what: String| Err(Failure::new(FailureCode::Etcd, format!("etcd {what}")));
    if status.cluster_id != expected.cluster_id {
        return not(format!("serves cluster {:x}, and not {:x}", status.cluster_id, expected.cluster_id));
    }
    if status.leader_id == 0 {
        return not("has no leader".to_owned());
    }
    if let Some(members) = expected.members.filter(|&members| members != status.members.len()) {
        return not(format!("knows {} members, and not {members}", status.members.len()));
    }
    if status.revision < expected.revision {
        return not(format!("is at revision {}, and not at {}", status.revision, expected.revision));
    }
    let member = etcd::connect(&access).await?;
    let read = tokio::time::timeout(etcd::PATIENCE, member.client.kv_client().get("health", None)).await;
    match read {
        // That it refuses us, it has decided together with the others.
        Ok(Ok(_)) => Ok(()),
        Ok(Err(etcd_client::Error::GRpcStatus(status))) if status.code() == tonic::Code::PermissionDenied => Ok(()),
        Ok(Err(error)) => Err(etcd::refusal(&member.endpoint, "read from", &error)),
        Err(_) => not("does not answer a read: the members do not agree yet".to_owned()),
    }
}
