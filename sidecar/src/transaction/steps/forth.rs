//! The steps before the vote.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use etcd_transaction::{Fact, Node};
use etcd_wire::restore::least_revision;
use etcd_wire::{Failure, FailureCode};

use super::ends::Ends;
use super::wait::{pause, quiet, until_forgotten, until_well, while_disks_answer};
use super::{found_again, is_exchanged, new_cluster, put, refused, take};
use crate::etcd;
use crate::transaction::backoff::FORGETS;
use crate::transaction::exchange::{self, Way};
use crate::transaction::ground::ETCD;
use crate::transaction::hold::Conflict;
use crate::transaction::journal::storage;
use crate::transaction::process::{self, Lock};
use crate::transaction::work::{Cancel, Work};
use crate::transaction::{launch, member, preflight, quorum_lost, sockets};

/// How long controllers have to end by themselves.
const GENTLE: Duration = Duration::from_secs(3);

/// Looks whether everything that the steps need is there.
pub(super) async fn preflight(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    work.blocking(|work| {
        preflight::check(&work.layout, &work.ground)?;
        match work.etcd().filter(|_| work.layout.serves()) {
            Some(etcd) => launch::is_as_prepared(&work.layout, &etcd),
            None => Ok(()),
        }
    })
    .await?;
    if work.layout.plan().quorum_lost.is_none() || !work.layout.serves() || work.blocking(is_exchanged).await? {
        return Ok(());
    }
    // The members that are gone may have come back since the node was prepared.
    cancel.or(quorum_lost::none_serves(&work.layout.node().etcd)).await
}

/// Stops controllers and API server. In etcd's last moments as the old cluster, its leader is found: it is stopped last.
pub(super) async fn stop_api(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    take_api(work, cancel).await?;
    if !work.layout.node().has_etcd() {
        return Ok(());
    }
    if let Some(index) = member::leader(&work.layout).await
        && let Ok(index) = u8::try_from(index)
    {
        work.saw(Fact::Leader(Node(index)));
    }
    Ok(())
}

/// Takes the manifests of controllers and API server out, and waits until the API server has ended.
pub(super) async fn take_api(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    work.blocking(|work| {
        work.controllers().iter().chain(&work.api_server()).try_for_each(|component| take(work, component))
    })
    .await?;
    // What it could still write would go to a member whose data is about to be set aside.
    api_ended(work, cancel).await
}

/// Waits until no API server runs whose manifest was taken out. One that does not end by itself is ended.
pub(super) async fn api_ended(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    quiet(work, cancel, |work| {
        let Some(server) = work.api_server() else { return Ok(true) };
        let ended = || -> std::io::Result<bool> {
            Ok(process::kill(&server.command_lines())? == 0 && sockets::listening(&work.ground.listens.api)?.is_empty())
        };
        ended().map_err(|error| storage("look at the processes of the node", &error))
    })
    .await
}

/// etcd ends as gently as its kubelet lets it: its directory is the way back.
pub(super) async fn stop_etcd(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    if !work.layout.node().has_etcd() {
        return controllers_ended(work, cancel).await;
    }
    cancel.or(outgrown(work)).await?;
    take_etcd(work, cancel).await?;
    // Nobody writes to the log any more. What was added since the new data was made of it would be lost.
    if work.layout.is_left_out() {
        return Ok(());
    }
    work.blocking(|work| match is_exchanged(work)? {
        // A journal that has lost its end: the log was as surveyed then, and the one in place is new.
        true => Ok(()),
        false => quorum_lost::log_is_as_surveyed(&work.layout),
    })
    .await
}

/// On a node without etcd: waits until the controllers have ended.
async fn controllers_ended(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    let begun = Instant::now();
    while !work.blocking(move |work| are_stopped(work, begun.elapsed() > GENTLE)).await? {
        pause(cancel).await?;
    }
    Ok(())
}

/// Takes etcd's manifest out, and waits until etcd and the controllers have ended.
pub(super) async fn take_etcd(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    work.blocking(|work| take(work, &work.component(ETCD)?)).await?;
    let (data_dir, begun) = (work.layout.data_dir(), Instant::now());
    loop {
        if work.blocking(move |work| is_stopped(work, begun.elapsed() > GENTLE)).await? {
            let place = data_dir.clone();
            let lock = work
                .blocking(move |work| {
                    // Our own of an earlier step would count as somebody's.
                    *work.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    match process::lock(&place) {
                        // A disk that fails may be why it is left out.
                        Err(_) if work.layout.is_left_out() => Ok(Lock::Missing),
                        lock => lock.map_err(|error| storage("look at the database's lock", &error)),
                    }
                })
                .await?;
            if !matches!(lock, Lock::Held) {
                *work.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
                return Ok(());
            }
        }
        pause(cancel).await?;
    }
}

/// Whether etcd and the controllers have ended.
fn is_stopped(work: &Work, late: bool) -> Result<bool, Failure> {
    let etcd = work.component(ETCD)?;
    let stopped = || -> std::io::Result<bool> {
        Ok(sockets::listening(&work.ground.listens.etcd)?.is_empty()
            && process::running(&etcd.command_lines())?.is_empty())
    };
    let looked = |error: std::io::Error| storage("look at the processes of the node", &error);
    Ok(are_stopped(work, late)? && stopped().map_err(looked)?)
}

/// Whether the controllers have ended. Those that have not are ended when it is late: they have been told to end together with the API server, and can do
/// nothing without one.
fn are_stopped(work: &Work, late: bool) -> Result<bool, Failure> {
    for component in work.ground.controllers() {
        let lines = component.command_lines();
        let alive = if late { process::kill(&lines) } else { process::running(&lines).map(|found| found.len()) };
        if alive.map_err(|error| storage("look at the processes of the node", &error))? > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// More may have been written since the new data was made than its revision was raised by: clients would take new for old.
async fn outgrown(work: &Work) -> Result<(), Failure> {
    let staged = work.staged.as_ref().filter(|_| !work.layout.plan().kind.may_lower_revisions());
    let Some(staged) = staged else { return Ok(()) };
    // One that is stopped already was looked at.
    let Ok(member) = etcd::connect(&work.layout.node().etcd).await else { return Ok(()) };
    let now = member.status.header().map(etcd_client::ResponseHeader::revision).unwrap_or(0);
    if staged.revision >= least_revision(now) {
        return Ok(());
    }
    Err(refused(format!("the cluster is at revision {now}, and the new data begins at {}", staged.revision))
        .hint("too much was written since the new data was built: try again, or pass a higher --bump-revision"))
}

/// Sets the old data aside, and puts the new data in its place.
pub(super) async fn swap(work: &Arc<Work>) -> Result<(), Failure> {
    work.blocking(|work| exchange_data(work, Way::Forth)).await
}

/// A data directory whose disk is not mounted looks like one where nothing was exchanged.
pub(super) fn in_place(work: &Work) -> Result<(), Failure> {
    for folder in work.layout.folders() {
        let there = folder.is_folder().map_err(|error| storage("look at the data directory", &error))?;
        if !there {
            return Err(refused(format!("{} is not there: is the disk mounted?", folder.display())));
        }
    }
    Ok(())
}

/// Exchanges the data of a member that is stopped.
pub(super) fn exchange_data(work: &Work, way: Way) -> Result<(), Failure> {
    in_place(work)?;
    if way == Way::Forth {
        preflight::disks_are_the_nodes(&work.layout)?;
    }
    let etcd = work.component(ETCD)?;
    let (member, wal) = work.layout.exchanges();
    if way == Way::Back && !is_exchanged(work)? {
        // It may have been found undone by a process that was killed before the disk had it.
        return exchange::settled([Some(&member), wal.as_ref()].into_iter().flatten());
    }
    // etcd may have been started by somebody since it was stopped.
    let mut held = work.lock.lock().unwrap_or_else(PoisonError::into_inner);
    if held.is_none() {
        let lock = process::lock(&member.live).map_err(|error| storage("look at the database's lock", &error))?;
        *held = Some(lock);
    }
    let running = process::running(&etcd.command_lines())
        .map_err(|error| storage("look at the processes of the node", &error))?;
    if matches!(*held, Some(Lock::Held)) || !running.is_empty() {
        *held = None;
        return Err(refused("etcd runs although it was stopped".to_owned()));
    }
    if let Some(wal) = &wal {
        exchange::wal(wal, way)?;
    }
    exchange::member(&member, way)?;
    *held = None;
    Ok(())
}

/// How long something is asked whether it is well: a little less than the step may take, so that the last answer can be told.
pub(super) fn start_limit(work: &Work) -> Duration {
    let limit = Duration::from_secs(u64::from(work.layout.plan().start_timeout));
    limit - limit.min(Duration::from_secs(12)) / 2
}

/// Starts etcd on the new data.
pub(super) async fn launch_etcd(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    let etcd = work.component(ETCD)?;
    let unchecked = work.is_rechecked();
    if etcd.launch_argv.is_none() || !unchecked {
        until_forgotten(work, ETCD, FORGETS.min(start_limit(work) / 2), cancel).await?;
    }
    let ends = Ends::of(etcd, &work.layout.data_dir().join("member/snap"));
    work.blocking(move |work| launch(work, unchecked)).await?;
    let early = work.ground.etcd.clone().ok_or_else(|| refused("etcd is not on this node".to_owned()))?;
    let up = until_well("etcd", start_limit(work), cancel, || member::launched(&early));
    let up_or_over = async {
        tokio::select! {
            up = up => up,
            failure = ends.twice() => Err(failure),
        }
    };
    while_disks_answer(work, up_or_over).await
}

/// Without its check of the data where that is made up for later: what all members have was proved equal while it was staged.
fn launch(work: &Work, unchecked: bool) -> Result<(), Failure> {
    let etcd = work.component(ETCD)?;
    if !unchecked {
        return put(work, &etcd, Conflict::KeepHeld);
    }
    if let Some(reappeared) = launch::start(&work.layout, &etcd)?.reappeared {
        found_again(work, &etcd, &reappeared);
    }
    Ok(())
}

/// Waits until the member serves the new data together with all others: what an API server would show is there.
pub(super) async fn start_etcd(work: &Arc<Work>, cancel: &Cancel) -> Result<(), Failure> {
    let expected = new_cluster(work)?;
    let serves = until_well("etcd", start_limit(work), cancel, || async {
        member::prove(&work.layout, &expected).await?;
        match &work.layout.plan().marker {
            Some(marker) => member::serves(&work.layout, &work.ground.kube_system, marker).await,
            None => Ok(()),
        }
    });
    while_disks_answer(work, serves).await.map_err(|failure| Failure { code: FailureCode::Refused, ..failure })
}
