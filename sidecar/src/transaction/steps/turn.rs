//! The steps after commit to a rollback of the nodes' own, where no API server becomes ready.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use etcd_transaction::Fact;
use etcd_wire::restore::{RestoreKind, Staged};
use etcd_wire::{Failure, FailureCode, crc32c};

use super::forth::take_api;
use super::refused;
use crate::etcd;
use crate::transaction::api_watch::SURE;
use crate::transaction::ground::Before;
use crate::transaction::layout::Layout;
use crate::transaction::work::{Cancel, Work};
use crate::transaction::{api_server, enlist, records, stage, way_back};

/// By how much the old data begins above the new data, which nobody but clients that need no API server to be ready has written to.
const RAISE: i64 = 100_000;
/// How long etcd may take to say how it is.
const ANSWER: Duration = Duration::from_secs(10);

/// Builds the old data anew, beside the data in place, at a revision above it.
pub(super) async fn restage(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    never_ready(work)?;
    let back = way_back(work)?;
    let RestoreKind::Aside { of, token, .. } = back.plan().kind.clone() else { return Err(none()) };
    let staged = work.staged.as_ref().ok_or_else(none)?;
    let raise_to = staged.revision.saturating_add(RAISE);
    cancel.or(looks_as_it_should(work, &back, raise_to)).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (layout, wanted) = (back.clone(), Arc::clone(&stop));
    // Not by `Work::blocking`: nobody waits for it, and it takes long.
    let mut building = tokio::task::spawn_blocking(move || {
        // What an earlier try has left.
        records::discard_data(&layout)?;
        enlist::room(&layout.data_dir(), enlist::bytes_to_build(&layout, 0)?)?;
        stage::raise(&layout, &of, token, raise_to, &wanted)
    });
    let outcome = tokio::select! {
        biased;
        outcome = &mut building => outcome,
        () = cancel.cancelled() => {
            stop.store(true, Ordering::Relaxed);
            building.await
        }
    };
    let lost = |error| Err(Failure::new(FailureCode::Other, "building was cut off").source(&error));
    match outcome.unwrap_or_else(lost) {
        Ok(built) => {
            work.saw(Fact::Restaged { digest: digest(&built)? });
            *work.restaged.lock().unwrap_or_else(PoisonError::into_inner) = Some(built);
            Ok(())
        }
        Err(failure) => {
            let left = work.blocking(move |_| records::discard_data(&back)).await;
            Err(left.err().into_iter().fold(failure, |failure, worse| failure.cause(worse.message)))
        }
    }
}

/// Stops the API server, and arms the node for the rollback. Arms nothing unless it is certain that the API server was never ready.
pub(super) async fn hand_over(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    let back = way_back(work)?;
    let built = work.restaged.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(none)?;
    let before = cancel.or(looks_as_it_should(work, &back, built.revision)).await?;
    let looked = Instant::now();
    let api = work.ground.api.as_ref().ok_or_else(none)?;
    work.api.add(looked, api_server::look(api, work.ground.api_is_open).await);
    never_ready(work)?;
    take_api(work, cancel).await?;
    // From now on it runs no more. What it was since it was looked at is not known, and may not have been for longer than that.
    if looked.elapsed() > SURE {
        return Err(refused("the API server took too long to stop".to_owned()));
    }
    never_ready(work)?;
    let limit = work.layout.plan().start_timeout;
    let why = format!(
        "no API server became ready within {limit}s on the new data of restore {}, so the nodes roll back by themselves; on this node: {}",
        work.layout.plan().id,
        work.api.why()
    );
    work.blocking(move |work| way_back::arm(work, &back, &built, before, why)).await
}

/// Whether an earlier process has armed the node.
pub(super) async fn is_handed_over(work: &Arc<Work>) -> Result<(), Failure> {
    let back = way_back(work)?;
    work.blocking(move |work| match way_back::is_armed(&back) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused("the node was not armed for a rollback".to_owned())),
        Err(failure) => {
            work.end(failure.clone());
            Err(failure)
        }
    })
    .await
}

fn way_back(work: &Work) -> Result<Layout, Failure> {
    work.layout.way_back().ok_or_else(none)
}

fn none() -> Failure {
    refused("nothing is there for a rollback".to_owned())
}

fn never_ready(work: &Work) -> Result<(), Failure> {
    if work.api.was_never_ready() {
        return Ok(());
    }
    Err(refused("the API server may have been ready on the new data".to_owned()))
}

/// Looks whether the cluster is that of the restore, with no other members, and below what the old data will begin with.
async fn looks_as_it_should(work: &Work, back: &Layout, begins: i64) -> Result<Before, Failure> {
    let looking = async {
        enlist::nobody_goes_on(back).await?;
        let member = etcd::connect(&back.node().etcd).await?;
        let header = member.status.header().ok_or_else(|| etcd::headless(&member.endpoint))?;
        Ok(Before { cluster_id: header.cluster_id(), revision: header.revision() })
    };
    let late = |_| Err(Failure::new(FailureCode::Etcd, "etcd does not answer"));
    let now = tokio::time::timeout(ANSWER, looking).await.unwrap_or_else(late)?;
    if work.staged.as_ref().map(|staged| staged.cluster_id) != Some(now.cluster_id) {
        return Err(refused(format!("etcd serves cluster {:x}, which is not that of the restore", now.cluster_id)));
    }
    enlist::not_lower(&back.plan().kind, now.revision.max(work.ground.before.revision), begins)?;
    Ok(now)
}

/// Equal where nodes have built the same cluster, with the same keys at the same revision.
fn digest(built: &Staged) -> Result<u64, Failure> {
    let keys = built.hash_kv.ok_or_else(none)?;
    let of = [built.cluster_id.to_be_bytes(), built.revision.to_be_bytes()].concat();
    Ok(u64::from(keys) << 32 | u64::from(crc32c(&of)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_has_another_digest() {
        let built = Staged { cluster_id: 1, member_id: 1, revision: 1, hash_kv: Some(1), ..Staged::default() };
        let one = digest(&built).unwrap();
        assert_eq!(digest(&Staged { member_id: 2, ..built.clone() }).unwrap(), one);
        for other in [
            Staged { cluster_id: 2, ..built.clone() },
            Staged { revision: 2, ..built.clone() },
            Staged { hash_kv: Some(2), ..built.clone() },
        ] {
            assert_ne!(digest(&other).unwrap(), one, "{other:?}");
        }
        assert!(digest(&Staged { hash_kv: None, ..built }).is_err());
    }
}
