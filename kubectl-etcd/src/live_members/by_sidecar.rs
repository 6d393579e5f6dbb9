//! Members that are asked and given orders by sidecars on nodes: over SSH, or in pods where etcd itself runs in none.

use etcd_wire::message::{HashKvRequest, HashOutcome, StatusRequest};
use etcd_wire::order::{Order, OrderRequest};
use futures::future::join_all;

use crate::context::Context;
use crate::control_plane::ControlPlane;
use crate::discovery::{ApiServer, EtcdPod, Found, Overrides};
use crate::etcd_clusters::Evidence;
use crate::kube_system;
use crate::member_probe::NotDone;
use crate::output::{Failed, Outcome};
use crate::road::{Road, Sidecar};
use crate::sidecar::{Ask, Operation, Session, Surveyed, TransferError, Via, converse, survey};

/// What a sidecar has to be able to do that gives orders.
const ORDERS: &str = "orders";

/// The members on nodes that are reached over SSH.
pub(crate) struct OnNodes {
    /// By node. One of a node that was not reached is a member that does not answer.
    pub(crate) surveyed: Vec<Surveyed>,
    /// The API servers of these nodes.
    pub(crate) api_servers: Vec<ApiServer>,
    /// Whether the user has named the members.
    pub(crate) named: bool,
}

/// Asks every node over SSH. With `only`, that one.
///
/// # Errors
/// No member is found on any of them.
pub(crate) async fn look_on_nodes(
    context: &Context,
    plane: &ControlPlane,
    road: &Road,
    overrides: &Overrides,
    only: Option<&str>,
) -> Outcome<OnNodes> {
    let Found { members, unreadable, api_servers, named, .. } = plane.find(context, overrides, only).await?;
    let prefix = Evidence { api_servers: &api_servers, served: Err("") }.prefix();
    let ask = Ask { kube_system: Some(kube_system::key(prefix)), quorum_will_do: true };
    let mut surveyed = survey(road, members, Operation::Status, &ask).await;
    surveyed.extend(unreadable.into_iter().map(|one| {
        let node = one.node.unwrap_or_default();
        let member = EtcdPod { name: node.clone(), node, ..EtcdPod::default() };
        Surveyed { member, outcome: Err(one.failed), via: Via::Sidecar, sidecar: None, served: None }
    }));
    surveyed.sort_by(|a, b| a.member.node.cmp(&b.member.node));
    Ok(OnNodes { surveyed, api_servers, named })
}

/// Asks the same members again, all at the same time. One whose node was never reached is not tried again.
pub(super) async fn again(road: &Road, known: &[Surveyed]) -> Vec<Surveyed> {
    join_all(known.iter().map(|one| async move {
        let member = one.member.clone();
        let via = Via::Sidecar;
        let Some(sidecar) = &one.sidecar else {
            let outcome = one.outcome.as_ref().map(Clone::clone).map_err(Failed::copy);
            return Surveyed { member, outcome, via, sidecar: None, served: None };
        };
        let asked = async {
            let (sidecar, mut session) = open(road, &member, sidecar).await?;
            let request = StatusRequest { etcd: member.access.clone(), ..StatusRequest::default() };
            let status = session.status(request).await?;
            road.rest(&sidecar, session);
            Ok((sidecar, status))
        };
        let (sidecar, outcome) = match asked.await {
            Ok((sidecar, status)) => (sidecar, Ok(status)),
            Err(failed) => (sidecar.clone(), Err(failed)),
        };
        Surveyed { member, outcome, via, sidecar: Some(sidecar), served: None }
    }))
    .await
}

/// Gives an order to a member of this cluster that was asked before.
///
/// # Errors
/// It was not carried out, or nobody knows.
pub(super) async fn order(road: &Road, asked: &Surveyed, cluster_id: u64, order: Order) -> Result<(), NotDone> {
    let member_id = asked.etcd().map_err(NotDone::Refused)?.member_id;
    let (sidecar, mut session) = with_sidecar(road, asked).await.map_err(NotDone::Refused)?;
    session.require(ORDERS).map_err(NotDone::Refused)?;
    let request = OrderRequest { etcd: asked.member.access.clone(), cluster_id, member_id, order };
    let outcome = session.order(request).await.map_err(NotDone::Unknown)?;
    road.rest(&sidecar, session);
    NotDone::told(outcome)
}

/// What the keys of a member hash to at a revision: the hash, and the compacted revision from which it counts.
///
/// # Errors
/// It does not say.
pub(super) async fn hash(road: &Road, asked: &Surveyed, revision: i64) -> Outcome<(u32, i64)> {
    let (sidecar, mut session) = with_sidecar(road, asked).await?;
    let told = session.hash_kv(HashKvRequest { etcd: asked.member.access.clone(), revision }).await?;
    road.rest(&sidecar, session);
    match told.outcome {
        HashOutcome::Known { hash, compact_revision } => Ok((hash, compact_revision)),
        HashOutcome::Compacted => Err(Failed::plain(format!("revision {revision} is compacted already"))),
        HashOutcome::Future => Err(Failed::plain(format!("revision {revision} is not there yet"))),
        HashOutcome::Unknown => Err(Failed::plain("the sidecar's answer is one of a later version")),
    }
}

async fn with_sidecar(road: &Road, asked: &Surveyed) -> Outcome<(Sidecar, Session)> {
    match &asked.sidecar {
        Some(sidecar) => open(road, &asked.member, sidecar).await,
        None => Err(Failed::plain(format!("node {} was not reached", asked.member.node))),
    }
}

/// A session with the sidecar that was asked before. A pod ends that had no session for a while, as during a long order: then with another one.
async fn open(road: &Road, member: &EtcdPod, sidecar: &Sidecar) -> Outcome<(Sidecar, Session)> {
    match road.session(sidecar).await.map_err(TransferError::into_failed) {
        Ok(session) => Ok((sidecar.clone(), session)),
        Err(failed) if sidecar.is_only_one_of_its_node() => Err(failed),
        Err(_) => converse(road, member, Operation::Order, "status").await,
    }
}
