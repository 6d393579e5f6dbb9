//! Raises the old cluster's revision once it is back, before API servers serve it again.
//!
//! A client that has seen the new state would go on watching from a revision that the old state has not reached, and hear nothing, without
//! an error: kubelets did so for as long as they ran. Above what they have seen, and with everything below compacted, they are told that
//! they are too late, and read everything anew. There is no other way to a higher revision than to write.

use std::future::ready;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use etcd_client::{Client, CompactionOptions};
use etcd_wire::message::EtcdAccess;
use etcd_wire::{Failure, FailureCode};
use futures::{StreamExt, TryStreamExt, stream};

use crate::etcd;

/// What is written, and deleted in the end. No API server watches it.
const KEY: &str = "kubectl-etcd/raise";
/// Writes that are under way at the same time.
const AT_ONCE: usize = 256;
/// After so many writes their history is compacted, so that the database does not grow.
const BATCH: i64 = 20_000;
/// Farther than this takes too long: a bump that somebody has chosen may be a thousand million.
const FARTHEST: i64 = 2_000_000;
/// How long one write may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes until the revision is above `seen`. Several nodes may do so at once: each writes until it is.
///
/// # Errors
/// It is too far, or etcd does not take it. Nothing of the cluster's own keys has changed.
pub(super) async fn above(access: &EtcdAccess, seen: i64) -> Result<(), Failure> {
    let member = etcd::connect(access).await?;
    let refused = |error: &etcd_client::Error| etcd::refusal(&member.endpoint, "raise the revision of", error);
    let mut revision = member.revision()?;
    if seen - revision > FARTHEST {
        return Err(Failure::new(
            FailureCode::Refused,
            format!("revision {revision} is too far below {seen} to be raised"),
        ));
    }
    while revision <= seen {
        revision =
            write(&member.client, (seen - revision + 1).min(BATCH), seen).await.map_err(|error| refused(&error))?;
        compact(&member.client, revision).await.map_err(|error| refused(&error))?;
    }
    // Whoever wrote up to here, this node before it was killed or another one, may not have come to it.
    compact(&member.client, seen + 1).await.map_err(|error| refused(&error))?;
    member.client.kv_client().delete(KEY, None).await.map_err(|error| refused(&error))?;
    Ok(())
}

/// Takes away all history before a revision; what another node has taken away already is no error.
async fn compact(client: &Client, revision: i64) -> Result<(), etcd_client::Error> {
    match client.kv_client().compact(revision, Some(CompactionOptions::new())).await {
        Err(etcd_client::Error::GRpcStatus(status)) if status.code() == tonic::Code::OutOfRange => Ok(()),
        compacted => compacted.map(|_| ()),
    }
}

/// Writes so often, or until somebody's write was above `seen`; gives the revision that was reached. Nothing is under way any more then.
async fn write(client: &Client, times: i64, seen: i64) -> Result<i64, etcd_client::Error> {
    let highest = AtomicI64::new(0);
    let put = |_| {
        let mut kv = client.kv_client();
        async move {
            let late = |_| etcd_client::Error::GRpcStatus(tonic::Status::deadline_exceeded("etcd does not answer"));
            let put = tokio::time::timeout(PATIENCE, kv.put(KEY, "", None)).await.map_err(late)??;
            Ok::<i64, etcd_client::Error>(put.header().map(etcd_client::ResponseHeader::revision).unwrap_or(0))
        }
    };
    stream::iter(0..times)
        .take_while(|_| ready(highest.load(Ordering::Relaxed) <= seen))
        .map(put)
        .buffer_unordered(AT_ONCE)
        .try_for_each(|now| {
            highest.fetch_max(now, Ordering::Relaxed);
            ready(Ok(()))
        })
        .await?;
    Ok(highest.into_inner())
}
