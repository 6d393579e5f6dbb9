//! One order to the member on this node: given once, and what became of it told.

use std::error::Error as _;

use etcd_client::{AlarmAction, AlarmOptions, AlarmType, CompactionOptions, Error};
use etcd_members::order::{Verdict, verdict};
use etcd_wire::order::{Order, OrderOutcome, OrderRequest};
use etcd_wire::{Failure, FailureCode};
use tokio::time::timeout;

use crate::etcd::{self, Member};

/// Gives the order, and waits for its end.
pub(crate) async fn carry_out(request: OrderRequest) -> OrderOutcome {
    let member = match reach(&request).await {
        Ok(member) => member,
        Err(failure) => return OrderOutcome::Refused { failure },
    };
    let limit = request.order.limit();
    let outcome = timeout(limit, give(&member, request.order)).await.unwrap_or_else(|_| {
        let message = format!("{} has not answered within {} seconds", member.endpoint, limit.as_secs());
        OrderOutcome::MaybeDone { failure: Failure::new(FailureCode::Etcd, message) }
    });
    tracing::info!(order = ?request.order, endpoint = member.endpoint, ?outcome, "an order to etcd");
    outcome
}

/// The member that is meant.
///
/// # Errors
/// It does not answer, or another one does.
async fn reach(request: &OrderRequest) -> Result<Member, Failure> {
    if let Order::Compact { revision: ..=0, .. } = request.order {
        return Err(Failure::new(FailureCode::BadRequest, "there is no such revision"));
    }
    let member = etcd::connect(&request.etcd).await?;
    let header = member.status.header().ok_or_else(|| etcd::headless(&member.endpoint))?;
    let (answers, meant) = ((header.cluster_id(), header.member_id()), (request.cluster_id, request.member_id));
    if answers != meant {
        let message = format!("another member than the one that is meant answers at {}", member.endpoint);
        let which = |(cluster, id)| format!("{id:x} of cluster {cluster:x}");
        return Err(Failure::new(FailureCode::Refused, message).cause(format!(
            "member {} answers, and {} is meant",
            which(answers),
            which(meant)
        )));
    }
    Ok(member)
}

async fn give(member: &Member, order: Order) -> OrderOutcome {
    let (mut cluster, mut maintenance) = (member.client.cluster_client(), member.client.maintenance_client());
    let answered = match order {
        Order::Compact { revision, physical } => {
            let options = CompactionOptions::new();
            let options = if physical { options.with_physical() } else { options };
            member.client.kv_client().compact(revision, Some(options)).await.map(drop)
        }
        Order::Defragment => maintenance.defragment().await.map(drop),
        Order::DisarmNoSpace => return disarm(member).await,
        Order::RemoveMember { id } => cluster.member_remove(id).await.map(drop),
        Order::Promote { id } => cluster.member_promote(id).await.map(drop),
        Order::MoveLeader { id } => maintenance.move_leader(id).await.map(drop),
    };
    answered.map_or_else(|error| became(&member.endpoint, &error), |()| OrderOutcome::Done)
}

/// Disarms the alarm NOSPACE of each member that has raised it; no other alarm.
async fn disarm(member: &Member) -> OrderOutcome {
    let mut maintenance = member.client.maintenance_client();
    let listed = match maintenance.alarm(AlarmAction::Get, AlarmType::None, None).await {
        Ok(listed) => listed,
        Err(error) => {
            return OrderOutcome::Refused { failure: etcd::refusal(&member.endpoint, "list the alarms at", &error) };
        }
    };
    let mut some = false;
    for alarm in listed.alarms().iter().filter(|alarm| alarm.alarm() == AlarmType::Nospace) {
        let mut options = AlarmOptions::new();
        options.with_member(alarm.member_id());
        if let Err(error) = maintenance.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(options)).await {
            return match became(&member.endpoint, &error) {
                OrderOutcome::Refused { failure } if some => OrderOutcome::MaybeDone { failure },
                outcome => outcome,
            };
        }
        some = true;
    }
    OrderOutcome::Done
}

/// What an error says of an order that was sent.
fn became(endpoint: &str, error: &Error) -> OrderOutcome {
    let failure = etcd::refusal(endpoint, "give the order to", error);
    // A status with a source was made here, of a broken connection, not by the server.
    let said = match error {
        Error::GRpcStatus(status) if status.source().is_none() => status.message(),
        _ => return OrderOutcome::MaybeDone { failure },
    };
    match verdict(said) {
        _ if failure.code == FailureCode::Denied => OrderOutcome::Refused { failure },
        Verdict::Refused => OrderOutcome::Refused { failure },
        Verdict::AlreadyCompacted => OrderOutcome::AlreadyCompacted,
        Verdict::Unknown => OrderOutcome::MaybeDone { failure },
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::*;

    #[test]
    fn only_what_etcd_itself_refuses_is_refused() {
        let of = |status: Status| match became("https://e:2379", &Error::GRpcStatus(status)) {
            OrderOutcome::Refused { .. } => "refused",
            OrderOutcome::AlreadyCompacted => "compacted",
            OrderOutcome::MaybeDone { .. } => "maybe",
            other => panic!("{other:?}"),
        };
        let refused = || Status::new(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
        assert_eq!(of(refused()), "refused");
        assert_eq!(of(Status::new(Code::InvalidArgument, "etcdserver: user name is empty")), "refused");
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        assert_eq!(of(Status::new(Code::OutOfRange, compacted)), "compacted");
        assert_eq!(of(Status::new(Code::Unavailable, "etcdserver: request timed out")), "maybe");
        // A connection that breaks may say the same as a server.
        let mut broken = refused();
        broken.set_source(std::sync::Arc::new(std::io::Error::other("broken pipe")));
        assert_eq!(of(broken), "maybe");
    }
}
