//! Asks the node's own etcd how far it is, and whether it serves what it should.

use etcd_wire::message::StatusRequest;
use etcd_wire::{Failure, FailureCode};

use super::http::Server;
use super::layout::Layout;
use crate::{etcd, status};

/// Whether the member runs, and is through with the check of its data that it makes before anything else.
///
/// It answers on the ports of its metrics and its peers only after that check, while its client port waits for the other members. The check
/// asks the others in turn, 7 seconds each with kubeadm's flags, and one that is in its own check does not answer: etcd
/// server/embed/etcd.go `StartEtcd` and server/etcdserver/corrupt.go `InitialCheck` @ v3.6.13, alike from 3.4 to 3.7.
///
/// # Errors
/// Nobody answers yet.
pub(super) async fn launched(etcd: &Server) -> Result<(), Failure> {
    // Whatever it says: that there is no leader yet is as good.
    etcd.get("/version").await.map(|_| ())
}

/// The cluster that another member is of, as it tells its peers.
///
/// The header is that of every answer to them: etcd server/etcdserver/api/etcdhttp/peer.go and rafthttp/http.go @ v3.6.13, alike from 3.4 to 3.7.
pub(super) async fn cluster_of(peer: &Server) -> Option<u64> {
    let (head, _) = peer.answer("/members").await.ok()?;
    u64::from_str_radix(head.headers.get("x-etcd-cluster-id")?.to_str().ok()?, 16).ok()
}

/// Which node of the plan has the leader, as the member here knows it.
pub(super) async fn leader(layout: &Layout) -> Option<usize> {
    let status =
        status::run(StatusRequest { etcd: layout.node().etcd.clone(), ..StatusRequest::default() }).await.etcd?;
    let leader = status.members.iter().find(|member| member.id == status.leader_id)?;
    layout.plan().nodes.iter().position(|node| node.member == leader.name)
}

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
    let status = status::run(StatusRequest { etcd: access.clone(), ..StatusRequest::default() }).await;
    let status = match (status.etcd, status.failure) {
        (Some(status), _) => status,
        (None, Some(failure)) => return Err(failure),
        (None, None) => return Err(Failure::new(FailureCode::Etcd, "etcd says nothing")),
    };
    let not = |what: String| Err(Failure::new(FailureCode::Etcd, format!("etcd {what}")));
    if status.cluster_id != expected.cluster_id {
        return not(format!("serves cluster {:x} instead of {:x}", status.cluster_id, expected.cluster_id));
    }
    if status.leader_id == 0 {
        return not("has no leader".to_owned());
    }
    if let Some(members) = expected.members.filter(|&members| members != status.members.len()) {
        return not(format!("lists {} members instead of {members}", status.members.len()));
    }
    if status.revision < expected.revision {
        return not(format!("is at revision {} instead of {}", status.revision, expected.revision));
    }
    let member = etcd::connect(&access).await?;
    let read = tokio::time::timeout(etcd::PATIENCE, member.client.kv_client().get("health", None)).await;
    match read {
        // That it refuses us, it has decided together with the others.
        Ok(Ok(_)) => Ok(()),
        Ok(Err(etcd_client::Error::GRpcStatus(status))) if status.code() == tonic::Code::PermissionDenied => Ok(()),
        Ok(Err(error)) => Err(etcd::refusal(&member.endpoint, "read from", &error)),
        Err(_) => not("does not answer a linearizable read yet".to_owned()),
    }
}
