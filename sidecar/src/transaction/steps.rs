//! The steps of a restore on one node. Each can be done again after it was cut off anywhere.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use etcd_wire::restore::{Decision, Ending, RestoreKind, RestorePlan, Step, least_revision};
use etcd_wire::{Failure, FailureCode};

use super::exchange::{self, Way};
use super::ground::{API_SERVER, Component, ETCD};
use super::hold::{Conflict, Reappeared};
use super::journal::{Entry, storage};
use super::member::Expected;
use super::process::{self, Lock};
use super::state::State;
use super::work::Work;
use super::{api_server, guard as intruders, hold, member, peer, preflight, raise, records, sockets};
use crate::etcd;

/// How often something is looked at that has to change.
const POLL: Duration = Duration::from_millis(50);
/// How long everything has to be quiet before it counts as stopped: a kubelet may start again what was killed before it has noticed that
/// the manifest is gone.
const QUIET: Duration = Duration::from_millis(300);
/// How long controllers have to end by themselves.
const GENTLE: Duration = Duration::from_secs(3);
/// How long going back waits for etcd, or an API server, to be well before it starts the next all the same.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long going back may take to raise the revision.
const RAISE: Duration = Duration::from_secs(120);

/// How long a step may take.
pub(super) fn limit(plan: &RestorePlan, step: Step) -> Duration {
    let start = u64::from(plan.start_timeout);
    Duration::from_secs(match step {
        Step::Preflight | Step::Swap | Step::UndoSwap | Step::Finish => 30,
        // A kubelet gives etcd 30 seconds to end.
        Step::StopApi | Step::StopEtcd | Step::UndoStop => 90,
        Step::LaunchEtcd | Step::StartEtcd | Step::StartApi | Step::Recheck => start,
        Step::UndoStart => 2 * PATIENCE.as_secs() + RAISE.as_secs() + 30,
    })
}

/// For people, after "cannot" or "does not".
pub(super) fn name(step: Step) -> &'static str {
    match step {
        Step::Preflight => "pass the preflight",
        Step::StopApi => "stop the API server",
        Step::StopEtcd => "stop etcd",
        Step::Swap => "swap the data directories",
        Step::LaunchEtcd => "launch etcd",
        Step::StartEtcd => "serve the new data",
        Step::StartApi => "start the API server",
        Step::Finish => "start the controllers",
        Step::Recheck => "restart etcd with its own manifest",
        Step::UndoStop => "stop what runs on the new data",
        Step::UndoSwap => "put the old data back",
        Step::UndoStart => "start what was stopped",
    }
}

/// Does a step and proves it.
pub(super) async fn carry_out(work: &Work, step: Step) -> Result<(), Failure> {
    let left_out = work.layout.is_left_out();
    match step {
        // What is stopped stays so, and its data as it is.
        Step::Swap | Step::LaunchEtcd | Step::StartEtcd | Step::StartApi | Step::UndoStop | Step::UndoSwap
            if left_out =>
        {
            Ok(())
        }
        Step::Finish if left_out => work.end(Ending::Restored),
        Step::Preflight => preflight(work).await,
        Step::StopApi => stop_api(work).await,
        Step::StopEtcd => stop_etcd(work).await,
        Step::Swap => exchange_data(work, Way::Forth),
        Step::LaunchEtcd => launch_etcd(work).await,
        Step::StartEtcd => start_etcd(work).await,
        Step::StartApi => start_api(work).await,
        Step::Finish => finish(work),
        // Members start with their own manifests.
        Step::Recheck => Ok(()),
        Step::UndoStop => undo_stop(work).await,
        Step::UndoSwap => exchange_data(work, Way::Back),
        Step::UndoStart => undo_start(work).await,
    }
}

fn component(work: &Work, name: &str) -> Result<Component, Failure> {
    work.state(|state| state.ground.component(name).cloned())
}

fn controllers(work: &Work) -> Vec<Component> {
    work.state(|state| state.ground.controllers().cloned().collect())
}

fn refused(what: String) -> Failure {
    Failure::new(FailureCode::Refused, what)
}

async fn preflight(work: &Work) -> Result<(), Failure> {
    preflight::check(&work.layout, &work.state(|state| state.ground.clone()))?;
    let Some(tls) = work.tls() else { return Err(refused("the node has lost its certificate".to_owned())) };
    for index in (0..work.layout.plan().nodes.len()).filter(|&index| index != work.layout.index()) {
        peer::give(&work.layout, &tls, index, etcd_wire::restore::Order::Ask, Duration::from_secs(5)).await.map_err(
            |failure| {
                let port = work.layout.plan().peer_port;
                failure.hint(format!(
                    "control-plane nodes must reach each other on TCP port {port}; choose another port with --peer-port"
                ))
            },
        )?;
    }
    Ok(())
}

/// Takes a manifest out. Another one that was written in its place before the vote ends the restore.
fn take(work: &Work, component: &Component) -> Result<(), Failure> {
    match hold::take(&work.layout, component)?.reappeared {
        Some(reappeared) => found_again(work, &reappeared),
        None => Ok(()),
    }
}

fn put(work: &Work, component: &Component, conflict: Conflict) -> Result<(), Failure> {
    for kept in hold::put(&work.layout, component, conflict)?.kept {
        let why = match conflict {
            Conflict::KeepFound => "another program wrote a new one while it was stopped; this is the earlier one",
            Conflict::KeepHeld => "another program wrote it while it was stopped; the earlier one is in place",
        };
        keep(work, kept.display().to_string(), &format!("a manifest of {}: {why}", component.name))?;
    }
    Ok(())
}

/// Tells of a manifest that was there again.
fn found_again(work: &Work, reappeared: &Reappeared) -> Result<(), Failure> {
    let (name, kept) = (&reappeared.component, reappeared.kept.display());
    let what = if reappeared.equal_bytes { "" } else { ", with other contents," };
    let text =
        format!("the manifest of {name} was written again{what} while {name} is stopped; it was moved to {kept}");
    if reappeared.equal_bytes || work.decision().is_some() || work.state(State::voted) {
        work.note(text);
        return Ok(());
    }
    Err(refused(text).hint("stop configuration management on the control-plane nodes"))
}

async fn stop_api(work: &Work) -> Result<(), Failure> {
    let controllers = controllers(work);
    for component in &controllers {
        take(work, component)?;
    }
    let server = component(work, API_SERVER)?;
    take(work, &server)?;
    let listens = work.state(|state| state.ground.listens.api.clone());
    // What it could still write would go to a member whose data is about to be set aside.
    quiet(|| Ok(process::kill(&server.command_lines())? == 0 && sockets::listening(&listens)?.is_empty())).await
}

/// Waits until it has been true for a while.
async fn quiet(mut is_quiet: impl FnMut() -> std::io::Result<bool>) -> Result<(), Failure> {
    let mut since = None;
    loop {
        if is_quiet().map_err(|error| storage("look at the processes of the node", &error))? {
            if since.get_or_insert_with(Instant::now).elapsed() >= QUIET {
                return Ok(());
            }
        } else {
            since = None;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// etcd ends as gently as its kubelet lets it: its directory is the way back.
async fn stop_etcd(work: &Work) -> Result<(), Failure> {
    if work.decision().is_none() {
        outgrown(work).await?;
    }
    let etcd = component(work, ETCD)?;
    take(work, &etcd)?;
    let listens = work.state(|state| state.ground.listens.etcd.clone());
    let data_dir = work.layout.data_dir();
    let (controllers, begun) = (controllers(work), Instant::now());
    loop {
        let stopped = || -> std::io::Result<Option<Lock>> {
            // They have been told to end together with the API server, and can do nothing without one.
            for component in &controllers {
                let late = begun.elapsed() > GENTLE;
                let alive = if late {
                    process::kill(&component.command_lines())?
                } else {
                    process::running(&component.command_lines())?.len()
                };
                if alive > 0 {
                    return Ok(None);
                }
            }
            if !process::running(&etcd.command_lines())?.is_empty() || !sockets::listening(&listens)?.is_empty() {
                return Ok(None);
            }
            let lock = match process::lock(&data_dir) {
                // A disk that fails may be why it is left out.
                Err(_) if work.layout.is_left_out() => Lock::Missing,
                lock => lock?,
            };
            Ok(Some(lock).filter(|lock| !matches!(lock, Lock::Held)))
        };
        if let Some(lock) = stopped().map_err(|error| storage("look at the processes of the node", &error))? {
            *work.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A data directory whose disk is not mounted looks like one where nothing was exchanged.
fn in_place(work: &Work) -> Result<(), Failure> {
    for folder in work.layout.folders() {
        let there = folder.is_folder().map_err(|error| storage("look at the data directory", &error))?;
        if !there {
            return Err(refused(format!("{} is not there: is the disk mounted?", folder.display())));
        }
    }
    Ok(())
}

fn exchange_data(work: &Work, way: Way) -> Result<(), Failure> {
    in_place(work)?;
    if way == Way::Forth {
        preflight::disks_are_the_nodes(&work.layout)?;
    }
    let etcd = component(work, ETCD)?;
    let (member, wal) = work.layout.exchanges();
    if way == Way::Back && !is_exchanged(work)? {
        return keep_served(work);
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
        return Err(refused("etcd runs although its manifest was moved away".to_owned()));
    }
    if let Some(wal) = &wal {
        exchange::wal(wal, way)?;
    }
    exchange::member(&member, way)?;
    *held = None;
    if way == Way::Back { keep_served(work) } else { Ok(()) }
}

/// Gives new data on which etcd ran a name of its own, and writes down why it is kept.
fn keep_served(work: &Work) -> Result<(), Failure> {
    if !work.state(State::ran_on_new) {
        return Ok(());
    }
    let (member, wal) = work.layout.exchanges();
    for exchange in [Some(&member), wal.as_ref()].into_iter().flatten() {
        if let Some(served) = exchange::set_served_apart(exchange)? {
            let why = "etcd ran on this data before the restore was rolled back; remove it with kubectl etcd cleanup --old-data";
            keep(work, served.display(), why)?;
        }
    }
    Ok(())
}

/// Writes down once that something is kept.
fn keep(work: &Work, path: String, why: &str) -> Result<(), Failure> {
    if work.state(|state| state.kept.contains_key(&path)) {
        return Ok(());
    }
    work.write(Entry::Kept { path, why: why.to_owned() })
}

/// Whether new data is, or may be, in place.
fn is_exchanged(work: &Work) -> Result<bool, Failure> {
    let (member, wal) = work.layout.exchanges();
    Ok(exchange::is_exchanged(&member)? || wal.as_ref().map_or(Ok(false), exchange::wal_is_exchanged)?)
}

fn new_cluster(work: &Work) -> Result<Expected, Failure> {
    let staged = work.state(|state| state.staged.clone());
    let staged = staged.ok_or_else(|| refused("nothing was staged on the node".to_owned()))?;
    let members = match work.layout.plan().kind {
        RestoreKind::Aside { raise: false, .. } => None,
        RestoreKind::Snapshot { .. } | RestoreKind::Aside { .. } => Some(work.layout.plan().serving().count()),
    };
    Ok(Expected { cluster_id: staged.cluster_id, revision: staged.revision, members })
}

/// How long something is asked whether it is well: a little less than the step may take, so that the last answer can be told.
fn start_limit(work: &Work) -> Duration {
    let limit = limit(work.layout.plan(), Step::StartApi);
    limit - limit.min(Duration::from_secs(12)) / 2
}

async fn launch_etcd(work: &Work) -> Result<(), Failure> {
    let etcd = component(work, ETCD)?;
    put(work, &etcd, Conflict::KeepHeld)?;
    let early = work.state(|state| state.ground.etcd.clone());
    let up = until_well("etcd", start_limit(work), || member::launched(&early));
    tokio::select! {
        up = up => up,
        failure = ends_again(&etcd) => Err(failure),
    }
}

/// Ends when a component has started and ended twice: what will not run need not be waited for.
async fn ends_again(component: &Component) -> Failure {
    let (mut ran, mut ends) = (false, 0);
    while ends < 2 {
        tokio::time::sleep(POLL).await;
        match process::running(&component.command_lines()) {
            Ok(running) => {
                ends += u32::from(ran && running.is_empty());
                ran = !running.is_empty();
            }
            Err(error) => return storage("look at the processes of the node", &error),
        }
    }
    refused(format!("{} started and ended twice", component.name)).hint("read its log: crictl logs, or /var/log/pods")
}

async fn start_etcd(work: &Work) -> Result<(), Failure> {
    let expected = new_cluster(work)?;
    until_well("etcd", start_limit(work), || member::prove(&work.layout, &expected)).await
}

async fn start_api(work: &Work) -> Result<(), Failure> {
    let server = component(work, API_SERVER)?;
    put(work, &server, Conflict::KeepHeld)?;
    let api = work.state(|state| state.ground.api.clone());
    let open = work.state(|state| state.ground.api_is_open);
    let revision = new_cluster(work)?.revision;
    let expected = api_server::Expected { marker: work.layout.plan().marker.clone(), revision };
    let ready = until_well("the API server", start_limit(work), || api_server::prove(&api, open, &expected)).await;
    match ready {
        Err(failure) if work.layout.plan().keep_unready => {
            let cause = failure.causes.first().map(|cause| format!(": {cause}")).unwrap_or_default();
            work.note(format!("{failure}{cause}; the new data stays (--no-rollback)"));
            Ok(())
        }
        ready => ready,
    }
}

/// Asks until the answer is good, or for long enough.
async fn until_well<F, T>(what: &str, limit: Duration, mut ask: F) -> Result<(), Failure>
where
    F: FnMut() -> T,
    T: Future<Output = Result<(), Failure>>,
{
    let begun = Instant::now();
    loop {
        let Err(failure) = ask().await else { return Ok(()) };
        if begun.elapsed() > limit {
            let late = refused(format!("{what} is not healthy {}s after its start", begun.elapsed().as_secs()));
            return Err(failure.causes.into_iter().fold(late.cause(failure.message), Failure::cause));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn finish(work: &Work) -> Result<(), Failure> {
    for component in &controllers(work) {
        put(work, component, Conflict::KeepFound)?;
    }
    // What has come into its place leaves empty folders.
    for folder in work.layout.folders() {
        let new = folder.join("new");
        new.remove_if_empty().map_err(|error| storage(&format!("remove {}", new.display()), &error))?;
    }
    work.end(Ending::Restored)
}

/// Only what runs, or would run, on new data is stopped. A node that still has its old data is left as it is until it is started.
async fn undo_stop(work: &Work) -> Result<(), Failure> {
    in_place(work)?;
    if is_exchanged(work)? {
        stop_api(work).await?;
        note_served(work).await?;
        stop_etcd(work).await?;
    }
    Ok(())
}

/// Writes down how far the new data has come, if its etcd still runs.
async fn note_served(work: &Work) -> Result<(), Failure> {
    // One that does not answer any more may have come to a revision that nobody knows: `State::seen` reckons with it.
    if work.state(|state| state.seen().is_some())
        && let Ok(member) = etcd::connect(&work.layout.node().etcd).await
    {
        work.write(Entry::Served { revision: member.revision()? })?;
    }
    Ok(())
}

/// More may have been written since the new data was made than its revision was raised by: clients would take new for old.
async fn outgrown(work: &Work) -> Result<(), Failure> {
    let staged = work.state(|state| state.staged.clone());
    let Some(staged) = staged.filter(|_| !work.layout.plan().kind.may_lower_revisions()) else { return Ok(()) };
    // One that is being stopped already was looked at, and one that never answered is of a node that is left out.
    let was_dead = work.state(|state| state.ground.before.cluster_id == 0);
    if was_dead || hold::is_held(&work.layout, &component(work, ETCD)?)? {
        return Ok(());
    }
    let now = etcd::connect(&work.layout.node().etcd).await?.revision()?;
    if staged.revision >= least_revision(now) {
        return Ok(());
    }
    Err(refused(format!("the cluster is at revision {now}, and the new data begins at {}", staged.revision))
        .hint("too much was written since the new data was built: try again, or pass a higher --bump-revision"))
}

async fn undo_start(work: &Work) -> Result<(), Failure> {
    *work.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let (stopped_api, stopped_etcd) =
        work.state(|state| (state.begun.contains(&Step::StopApi), state.begun.contains(&Step::StopEtcd)));
    if stopped_etcd {
        put(work, &component(work, ETCD)?, Conflict::KeepHeld)?;
        let before = work.state(|state| state.ground.before);
        // One that did not answer before need not do so now.
        if before.cluster_id != 0 {
            let expected = Expected { cluster_id: before.cluster_id, revision: before.revision, members: None };
            told(work, until_well("etcd", PATIENCE, || member::prove(&work.layout, &expected)).await);
        }
        // One that did not answer before need not be written to.
        if let Some(seen) = work.state(State::seen).filter(|_| before.cluster_id != 0) {
            raise_above(work, seen).await;
        }
    }
    if stopped_api {
        put(work, &component(work, API_SERVER)?, Conflict::KeepHeld)?;
        let api = work.state(|state| state.ground.api.clone());
        let open = work.state(|state| state.ground.api_is_open);
        let expected = api_server::Expected::default();
        let well = until_well("the API server", PATIENCE, || api_server::prove(&api, open, &expected)).await;
        told(work, well);
        for component in &controllers(work) {
            put(work, component, Conflict::KeepHeld)?;
        }
    }
    // Nothing was put beside the data of a node that is left out, whose disk may be why.
    if !work.layout.is_left_out() {
        records::discard_data(&work.layout)?;
    }
    work.end(if stopped_api { Ending::WentBack } else { Ending::GivenUp })
}

/// Clients that have seen the new state must not wait for it in vain.
async fn raise_above(work: &Work, seen: i64) {
    let late = |_| Err(refused(format!("it took longer than {}s", RAISE.as_secs())));
    let raised = tokio::time::timeout(RAISE, raise::above(&work.layout.node().etcd, seen)).await.unwrap_or_else(late);
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

/// Looks after what is held, until the new state is decided: a kubelet that has not noticed yet starts an API server again, and configuration
/// management writes manifests again.
pub(super) async fn guard(work: &Arc<Work>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let guarded = Arc::clone(work);
        if let Err(error) = tokio::task::spawn_blocking(move || look_after(&guarded)).await {
            tracing::warn!("cannot look after what is stopped: {error}");
        }
    }
}

fn look_after(work: &Work) {
    let (components, stopped) = work.state(|state| {
        // From when it is launched on the new data until that is seen stopped, etcd is given its time again.
        let launched = state.begun.contains(&Step::LaunchEtcd) && !state.done.contains(&Step::UndoStop);
        (state.ground.components.clone(), state.done.contains(&Step::StopEtcd) && !launched)
    });
    for component in components {
        if work.decision() == Some(Decision::Commit) {
            return;
        }
        let looked = intruders::look(&work.layout, &component, stopped).and_then(|intrusion| {
            let Some(intrusion) = intrusion else { return Ok(()) };
            if intrusion.ended > 0 {
                tracing::info!("ended {} process(es) of {}, whose manifest is held", intrusion.ended, component.name);
            }
            intrusion.reappeared.as_ref().map_or(Ok(()), |reappeared| found_again(work, reappeared))
        });
        if let Err(failure) = looked {
            match failure.code {
                // Before the vote it is this node's to decide.
                FailureCode::Refused => {
                    if let Err(failure) = work.give_up(&failure.message) {
                        tracing::warn!(causes = ?failure.causes, "{failure}");
                    }
                }
                _ => tracing::warn!(causes = ?failure.causes, "{failure}"),
            }
        }
    }
}
