//! Waiting for what has to change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_wire::Failure;

use super::refused;
use crate::node::Place;
use crate::transaction::backoff;
use crate::transaction::ground::Component;
use crate::transaction::hold;
use crate::transaction::journal::storage;
use crate::transaction::process;
use crate::transaction::work::{Cancel, Work};

/// How often something is looked at that has to change.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// How long everything has to be quiet before it counts as stopped: a kubelet may start again what was killed before it has noticed that
/// the manifest is gone.
const QUIET: Duration = Duration::from_millis(300);
/// How often the disks are written to while etcd starts.
const WRITE: Duration = Duration::from_secs(2);

/// Waits until it has been true for a while.
pub(super) async fn quiet(
    work: &Arc<Work>,
    cancel: &Cancel,
    is_quiet: fn(&Work) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut since = None;
    loop {
        if work.blocking(is_quiet).await? {
            if since.get_or_insert_with(Instant::now).elapsed() >= QUIET {
                return Ok(());
            }
        } else {
            since = None;
        }
        pause(cancel).await?;
    }
}

/// A moment, unless the step is cancelled.
pub(super) async fn pause(cancel: &Cancel) -> Result<(), Failure> {
    let slept = async {
        tokio::time::sleep(POLL).await;
        Ok(())
    };
    cancel.or(slept).await
}

/// Waits until the kubelet would start a component at once, see [`backoff`]. A wait is told.
///
/// # Errors
/// The step is cancelled.
pub(super) async fn until_forgotten(
    work: &Arc<Work>,
    component: &str,
    limit: Duration,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let component = work.component(component)?;
    let held = component.clone();
    // A step that goes on may have put the manifest back already.
    if !work.blocking(move |work| hold::is_held(&work.layout, &held)).await? {
        return Ok(());
    }
    let node = &work.layout.node().node;
    let waited = cancel.or(async { Ok(backoff::until_forgotten(&component, node, limit).await) }).await?;
    if waited >= TOLD {
        let (name, seconds) = (&component.name, waited.as_secs());
        work.note(format!(
            "{name} ended again and again before: waited {seconds}s, so that the kubelet starts it without delay"
        ));
    }
    Ok(())
}

/// The shortest wait that is told.
const TOLD: Duration = Duration::from_secs(1);

/// Asks until the answer is good, or for long enough.
pub(super) async fn until_well<F, T>(what: &str, limit: Duration, cancel: &Cancel, mut ask: F) -> Result<(), Failure>
where
    F: FnMut() -> T,
    T: Future<Output = Result<(), Failure>>,
{
    let begun = Instant::now();
    let mut last: Option<Failure> = None;
    loop {
        let asked = async { Ok(ask().await) };
        let cancelled = match cancel.or(asked).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => {
                last = Some(failure);
                pause(cancel).await.is_err()
            }
            Err(_) => true,
        };
        if cancelled || begun.elapsed() > limit {
            let late = refused(format!("{what} is not healthy {}s after its start", begun.elapsed().as_secs()));
            let Some(failure) = last else { return Err(late) };
            return Err(failure.causes.into_iter().fold(late.cause(failure.message), Failure::cause));
        }
    }
}

/// Waits, and writes to the disks of etcd meanwhile. An etcd whose disk hangs looks like one that reads much data before it is healthy, for which
/// everybody waits. A write that does not return is an operation of this node that goes on for too long: then nobody waits for the node.
///
/// # Errors
/// Those of `wait`, or a disk does not take what is written.
pub(super) async fn while_disks_answer(
    work: &Arc<Work>,
    wait: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut wait = std::pin::pin!(wait);
    loop {
        tokio::select! {
            biased;
            done = &mut wait => return done,
            () = tokio::time::sleep(WRITE) => {}
        }
        // Not dropped when the wait ends: an operation is waited for.
        work.blocking(|work| {
            let touch = |folder: Place| folder.touch().map_err(|error| storage("write to the disk of etcd", &error));
            work.layout.folders().into_iter().try_for_each(touch)
        })
        .await?;
    }
}

/// Waits until a component has a process, whatever that can do.
///
/// # Errors
/// It has none for that long, or the step is cancelled.
pub(super) async fn until_running(component: &Component, limit: Duration, cancel: &Cancel) -> Result<(), Failure> {
    let begun = Instant::now();
    while running(component).await? == 0 {
        if begun.elapsed() > limit {
            let late = format!("{} has not started within {}s", component.name, limit.as_secs());
            return Err(refused(late).hint(component.log()));
        }
        pause(cancel).await?;
    }
    Ok(())
}

/// How many processes a component has.
pub(super) async fn running(component: &Component) -> Result<usize, Failure> {
    let looked = component.clone();
    // Not by `Work::blocking`, which has to be waited for: whoever waits for this drops it.
    let looking =
        tokio::task::spawn_blocking(move || process::running(&looked.command_lines()).map(|found| found.len()));
    let found = looking.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    found.map_err(|error| storage("look at the processes of the node", &error))
}
