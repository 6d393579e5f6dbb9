//! The steps after the decision to abort.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use etcd_transaction::Fact;
use etcd_wire::Failure;
use etcd_wire::restore::Step;

use super::forth::{exchange_data, in_place, take_api, take_etcd};
use super::wait::{until_running, until_well};
use super::{is_exchanged, put, put_as_found};
use crate::etcd;
use crate::transaction::exchange::{self, Way};
use crate::transaction::ground::{API_SERVER, ETCD};
use crate::transaction::hold::Conflict;
use crate::transaction::member::Expected;
use crate::transaction::work::{Cancel, Work};
use crate::transaction::{api_server, member, raise, records};

/// How long going back waits for etcd, or an API server, to be well before it starts the next all the same.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long going back may take to raise the revision.
const RAISE: Duration = Duration::from_secs(120);
/// How many revisions the new data may have gained while it was served, where it could not be asked any more.
const UNKNOWN: i64 = 20_000;

/// Stops what runs, or would run, on new data. A node that still has its old data is left as it is until it is started.
pub(super) async fn undo_stop(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    let exchanged = work
        .blocking(|work| {
            in_place(work)?;
            is_exchanged(work)
        })
        .await?;
    if exchanged {
        take_api(work, cancel).await?;
        note_served(work).await?;
        take_etcd(work, cancel).await?;
    }
    Ok(())
}

/// Writes down how far the new data has come, if its etcd still runs.
async fn note_served(work: &Arc<Work>) -> Result<(), Failure> {
    let Some(staged) = &work.staged else { return Ok(()) };
    let (cluster, begins) = (staged.cluster_id, staged.revision);
    // What an earlier try has seen may not have come to the participant.
    if work.served().is_some_and(|revision| revision > begins) {
        work.saw(Fact::ServedAbove);
    }
    let Ok(member) = etcd::connect(&work.layout.node().etcd).await else { return Ok(()) };
    let Some(header) = member.status.header().filter(|header| header.cluster_id() == cluster) else { return Ok(()) };
    let revision = header.revision();
    work.blocking(move |work| work.serve(revision)).await?;
    if revision > begins {
        work.saw(Fact::ServedAbove);
    }
    Ok(())
}

/// Puts the old data back. New data on which etcd may have run is kept.
pub(super) async fn undo_swap(work: &Arc<Work>, keeps: bool) -> Result<(), Failure> {
    work.blocking(move |work| {
        exchange_data(work, Way::Back)?;
        if keeps {
            keep_new_data(work)?;
        }
        Ok(())
    })
    .await
}

/// Starts everything that was stopped.
pub(super) async fn undo_start(work: &Arc<Work>, raises: bool, cancel: &Cancel) -> Result<(), Failure> {
    *work.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let begun = work.recorded().begun();
    // Without a quorum nothing serves, and nothing did when the restore began.
    let as_found = work.layout.plan().quorum_lost.is_some();
    // After a restore whose API servers were not ready, etcd may still run with the manifest of its launch.
    let of_etcd = begun.contains(Step::StopEtcd) || work.layout.plan().rolls_back_from().is_some();
    if of_etcd && work.layout.node().has_etcd() {
        work.blocking(|work| put_as_found(work, &work.component(ETCD)?)).await?;
        let before = work.ground.before;
        // One that did not answer before need not do so now, and a unit that did not run is not started.
        let runs_again = work.component(ETCD)?.unit.is_none_or(|unit| unit.ran);
        if as_found {
            if runs_again {
                told(work, until_running(&work.component(ETCD)?, PATIENCE, cancel).await);
            }
            if raises {
                tell_of_higher_revisions(work);
            }
        } else if before.cluster_id != 0 {
            let expected = Expected { cluster_id: before.cluster_id, revision: before.revision, members: None };
            let well = until_well("etcd", PATIENCE, cancel, || member::prove(&work.layout, &expected)).await;
            // An API server that knows other members would go to those, and they may still serve the new data where they have not heard of the decision.
            match work.api_server().is_none_or(|server| server.has_one_etcd()) {
                true => told(work, well),
                false => well?,
            }
            if raises {
                let begins = work.staged.as_ref().map_or(before.revision, |staged| staged.revision);
                raise_above(work, work.served().unwrap_or(begins.saturating_add(UNKNOWN)), cancel).await;
            }
        }
    }
    if begun.contains(Step::StopApi)
        && let Some(api) = &work.ground.api
    {
        work.blocking(|work| put(work, &work.component(API_SERVER)?, Conflict::KeepHeld)).await?;
        let open = work.ground.api_is_open;
        let expected = api_server::Expected::default();
        let up = match as_found {
            true => until_running(&work.component(API_SERVER)?, PATIENCE, cancel).await,
            false => until_well("the API server", PATIENCE, cancel, || api_server::prove(api, open, &expected)).await,
        };
        told(work, up);
        work.blocking(|work| work.controllers().iter().try_for_each(|one| put(work, one, Conflict::KeepHeld))).await?;
    }
    if cancel.is_cancelled() {
        return Err(super::refused("the step was cancelled".to_owned()));
    }
    // Nothing was put beside the data of a node that is left out, whose disk may be why.
    if work.layout.is_left_out() {
        return Ok(());
    }
    work.blocking(|work| records::discard_data(&work.layout)).await
}

/// A cluster without a quorum takes no write that would raise its revision.
fn tell_of_higher_revisions(work: &Work) {
    if let Some(seen) = work.served() {
        work.note(format!(
            "clients may have seen revision {seen} of the new data: pass a --bump-revision with which the next try begins above that"
        ));
    }
}

/// Clients that have seen the new state must not wait for it in vain.
async fn raise_above(work: &Arc<Work>, seen: i64, cancel: &Cancel) {
    let late = |_| Err(super::refused(format!("it took longer than {}s", RAISE.as_secs())));
    let raising = tokio::time::timeout(RAISE, raise::above(&work.layout.node().etcd, seen));
    let raised = cancel.or(async { raising.await.unwrap_or_else(late) }).await;
    if let Err(failure) = raised {
        work.note(format!(
            "clients may have seen revision {seen}, and the old data could not be raised above it: {failure}; existing watches stop \
             receiving events: on every node, systemctl restart kubelet; then restart controllers"
        ));
    }
}

/// Everything is where it was: what is not well yet may need the other nodes, and must not keep the rest from being started.
fn told(work: &Work, well: Result<(), Failure>) {
    if let Err(failure) = well {
        let causes = failure.causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
        work.note(format!("{failure}{causes}"));
    }
}

/// Gives new data on which etcd ran a name of its own, and writes down why it is kept: a client may have been told that a write had succeeded.
fn keep_new_data(work: &Work) -> Result<(), Failure> {
    let (member, wal) = work.layout.exchanges();
    for exchange in [Some(&member), wal.as_ref()].into_iter().flatten() {
        if let Some(served) = exchange::set_served_apart(exchange)? {
            let why = "etcd ran on this data before the restore was rolled back; remove it with kubectl etcd cleanup --old-data";
            work.keep(served.display(), why.to_owned())?;
        }
    }
    Ok(())
}
