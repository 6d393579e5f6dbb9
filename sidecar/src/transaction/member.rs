//! Asks the node's own etcd how far it is, and whether it serves what it should.

use etcd_wire::message::{EtcdAccess, StatusRequest};
use etcd_wire::restore::Marker;
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

/// Which node of the plan has the leader, as the member here knows it.
pub(super) async fn leader(layout: &Layout) -> Option<usize> {
    let status =
        status::run(StatusRequest { etcd: layout.node().etcd.clone(), ..StatusRequest::default() }).await.etcd?;
    let leader = status.members.iter().find(|member| member.id == status.leader_id)?;
    layout.plan().nodes.iter().position(|node| node.member == leader.name)
}

/// Whether the cluster serves without this member: all members are there and follow one leader.
///
/// # Errors
/// Which one is not.
pub(super) async fn can_be_spared(layout: &Layout) -> Result<(), Failure> {
    let not = |what: String| Err(Failure::new(FailureCode::Etcd, what));
    let request = StatusRequest { etcd: layout.node().etcd.clone(), ..StatusRequest::default() };
    let Some(own) = status::run(request).await.etcd else { return not("etcd does not answer".to_owned()) };
    for member in own.members.iter().filter(|member| member.id != own.member_id) {
        let access = EtcdAccess { endpoints: member.client_urls.clone(), ..layout.node().etcd.clone() };
        let other = etcd::connect(&access).await?;
        let leader = other.status.0.leader;
        if leader == 0 || leader != own.leader_id {
            return not(format!("member {} does not follow the leader", member.name));
        }
    }
    Ok(())
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

/// Whether the member has the object that the restored API will show: namespace kube-system as it is in the new data, or newer.
///
/// # Errors
/// It has another one, an older one or none, or does not say.
pub(super) async fn serves(layout: &Layout, key: &str, marker: &Marker) -> Result<(), Failure> {
    let not = |what: String| Err(Failure::new(FailureCode::Etcd, format!("etcd {what}")));
    let member = etcd::connect(&layout.node().etcd).await?;
    let read = tokio::time::timeout(etcd::PATIENCE, member.client.kv_client().get(key, None)).await;
    let answer = match read {
        Ok(Ok(answer)) => answer,
        // What it refuses us, the API server's own credentials may read.
        Ok(Err(etcd_client::Error::GRpcStatus(status))) if status.code() == tonic::Code::PermissionDenied => {
            return Ok(());
        }
        Ok(Err(error)) => return Err(etcd::refusal(&member.endpoint, "read from", &error)),
        Err(_) => return not("does not answer a linearizable read yet".to_owned()),
    };
    let Some(pair) = answer.kvs().first() else { return not(format!("has nothing at {key}")) };
    // The UID is a part of the stored object, in JSON and in protobuf; an encrypted object does not show it.
    let (value, uid) = (pair.value(), marker.uid.as_bytes());
    let shown = value.starts_with(b"k8s:enc:") || value.windows(uid.len().max(1)).any(|part| part == uid);
    if !shown {
        return not(format!("has another namespace kube-system than the snapshot, whose UID is {}", marker.uid));
    }
    if pair.mod_revision() < marker.resource_version {
        let (has, wants) = (pair.mod_revision(), marker.resource_version);
        return not(format!("has namespace kube-system as of revision {has}, and the snapshot has it as of {wants}"));
    }
    Ok(())
}
