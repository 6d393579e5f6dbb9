//! The steps of a restore on one node. Each can be done again after it was cut off anywhere.
//!
//! What changes files is done on a thread of its own and always waited for; what only waits ends as soon as the step is cancelled.

mod back;
mod ends;
mod forth;
mod guard;
mod on;
mod turn;
mod wait;

use std::sync::Arc;

use etcd_transaction::{Fact, Run};
use etcd_wire::restore::{RestoreKind, Step};
use etcd_wire::{Failure, FailureCode};

pub(super) use guard::{run as guard, tell_again};

use super::ground::Component;
use super::hold::{self, Conflict, Reappeared};
use super::member::Expected;
use super::work::{Cancel, Work};
use super::{api_watch, exchange, words};

/// How a step returned that did not fail.
#[derive(Debug)]
pub(super) enum Done {
    /// It is done, and was seen to be done.
    Proved,
    /// It was cancelled after the API server had got its manifest. Why the API server is not ready yet.
    Unready(Failure),
}

/// Does a step and proves it.
///
/// # Errors
/// Why it is not done. What it did so far can be done again, and undone.
pub(super) async fn carry_out(work: &Arc<Work>, run: Run, cancel: &Cancel) -> Result<Done, Failure> {
    let left_out = work.layout.is_left_out();
    let done = match run.step() {
        Step::Preflight => forth::preflight(work, cancel).await,
        Step::StopApi => forth::stop_api(work, cancel).await,
        Step::StopEtcd => forth::stop_etcd(work, cancel).await,
        Step::Finish if left_out => on::stay_stopped(work, cancel).await,
        // What is stopped stays so, and its data as it is.
        Step::UndoStop | Step::UndoSwap if left_out => Ok(()),
        // There is no data that could be new.
        Step::UndoStop | Step::UndoSwap if !work.layout.node().has_etcd() => Ok(()),
        Step::Swap => forth::swap(work).await,
        Step::LaunchEtcd => forth::launch_etcd(work, cancel).await,
        Step::StartEtcd => forth::start_etcd(work, cancel).await,
        Step::StartApi => {
            if !run.is_resumed() && work.layout.way_back().is_some() {
                api_watch::start(&work.api, &work.ground);
            }
            return on::start_api(work, cancel).await;
        }
        Step::Finish => on::finish(work, cancel).await,
        Step::Recheck => on::recheck(work, cancel).await,
        Step::Restage => turn::restage(work, cancel).await,
        Step::HandOver if run.is_resumed() => turn::is_handed_over(work).await,
        Step::HandOver => turn::hand_over(work, cancel).await,
        Step::UndoStop => back::undo_stop(work, cancel).await,
        Step::UndoSwap => back::undo_swap(work, run.keeps_new_data()).await,
        Step::UndoStart => back::undo_start(work, run.raises_revision(), cancel).await,
    };
    done.map(|()| Done::Proved)
}

fn refused(what: String) -> Failure {
    Failure::new(FailureCode::Refused, what)
}

/// Whether new data is, or may be, in place.
fn is_exchanged(work: &Work) -> Result<bool, Failure> {
    let (member, wal) = work.layout.exchanges();
    Ok(exchange::is_exchanged(&member)? || wal.as_ref().map_or(Ok(false), exchange::wal_is_exchanged)?)
}

/// What the member on new data has to be.
fn new_cluster(work: &Work) -> Result<Expected, Failure> {
    let staged = work.staged.as_ref().ok_or_else(|| refused("nothing was staged on the node".to_owned()))?;
    let members = match work.layout.plan().kind {
        RestoreKind::Aside { raise: false, .. } => None,
        RestoreKind::Snapshot { .. } | RestoreKind::Aside { .. } => Some(work.layout.plan().serving().count()),
    };
    Ok(Expected { cluster_id: staged.cluster_id, revision: staged.revision, members })
}

/// Takes a component's manifest out. One that has reappeared meanwhile was moved aside, which the participant judges.
fn take(work: &Work, component: &Component) -> Result<(), Failure> {
    if let Some(reappeared) = hold::take(&work.layout, component)?.reappeared {
        found_again(work, component, &reappeared);
    }
    Ok(())
}

/// Tells of a manifest that was there again.
fn found_again(work: &Work, component: &Component, reappeared: &Reappeared) {
    let (name, kept) = (&component.name, reappeared.kept.display());
    let what = if reappeared.equal_bytes { "" } else { ", with other contents," };
    work.note(format!(
        "the manifest of {name} was written again{what} while {name} is stopped; it was moved to {kept}"
    ));
    let fact = Fact::Intruder { component: words::kind(component), other_bytes: !reappeared.equal_bytes };
    work.saw(fact);
}

/// Puts a component's manifest back.
fn put(work: &Work, component: &Component, conflict: Conflict) -> Result<(), Failure> {
    keep(work, component, conflict, hold::put(&work.layout, component, conflict)?)
}

/// The same on the way back: what did not run when the node was prepared is not started.
fn put_as_found(work: &Work, component: &Component) -> Result<(), Failure> {
    keep(work, component, Conflict::KeepHeld, hold::put_as_found(&work.layout, component)?)
}

fn keep(work: &Work, component: &Component, conflict: Conflict, put: hold::Put) -> Result<(), Failure> {
    for kept in put.kept {
        let why = match conflict {
            Conflict::KeepFound => "another program wrote a new one while it was stopped; this is the earlier one",
            Conflict::KeepHeld => "another program wrote it while it was stopped; the earlier one is in place",
        };
        work.keep(kept.display().to_string(), format!("a manifest of {}: {why}", component.name))?;
    }
    Ok(())
}
