//! The hash of the member's keys, by which a snapshot can be compared with it.

use std::time::Duration;

use etcd_wire::message::{HashKvRequest, HashOutcome, MemberHash};
use etcd_wire::{Failure, FailureCode};
use tokio::time::timeout;

use crate::etcd;

/// How long the member may take: it reads all of its keys. Shorter than a client waits for us.
const PATIENCE: Duration = Duration::from_secs(50);

/// What etcd says of a revision that it no longer has, or does not have yet. 3.4 and 3.5 say it as `Unknown`, 3.6 and later
/// as `OutOfRange`; the text is the same. Read from etcd api/v3rpc/rpctypes/error.go @ v3.6.14.
const COMPACTED: &str = "required revision has been compacted";
const FUTURE: &str = "required revision is a future revision";

pub(crate) async fn run(request: HashKvRequest) -> Result<MemberHash, Failure> {
    if request.revision < 0 {
        return Err(Failure::new(FailureCode::BadRequest, format!("there is no revision {}", request.revision)));
    }
    let member = etcd::connect(&request.etcd).await?;
    let header = member
        .status
        .header()
        .ok_or_else(|| Failure::new(FailureCode::Etcd, format!("{} answers without a header", member.endpoint)))?;
    let (member_id, current_revision) = (header.member_id(), header.revision());
    let answer = timeout(PATIENCE, member.client.maintenance_client().hash_kv(request.revision)).await;
    let outcome = match answer {
        Ok(Ok(answer)) => HashOutcome::Known { hash: answer.hash(), compact_revision: answer.compact_version() },
        Ok(Err(etcd_client::Error::GRpcStatus(status))) if status.message().contains(COMPACTED) => {
            HashOutcome::Compacted
        }
        Ok(Err(etcd_client::Error::GRpcStatus(status))) if status.message().contains(FUTURE) => HashOutcome::Future,
        Ok(Err(error)) => return Err(etcd::refusal(&member.endpoint, "hash the keys of", &error)),
        Err(_) => {
            let message = format!("{} has not hashed its keys within {} seconds", member.endpoint, PATIENCE.as_secs());
            return Err(Failure::new(FailureCode::Etcd, message));
        }
    };
    Ok(MemberHash { member_id, current_revision, outcome })
}
