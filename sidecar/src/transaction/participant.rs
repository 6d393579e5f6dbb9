//! The main process of a participant: a static pod, which needs no API server, is started again when it is killed, and is not taken for a
//! stranger when the API server serves another state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use etcd_wire::Failure;
use etcd_wire::restore::{Decision, Identity, Order, Step};
use tokio::signal::unix::{SignalKind, signal};

use super::layout::{Layout, STATE};
use super::tls::Tls;
use super::work::Work;
use super::{arm, coordinator, ground, journal, member, peer, state, steps};
use crate::node::Place;

const TICK: Duration = Duration::from_millis(500);
/// How long an armed node waits for the word to begin.
const WORD: Duration = Duration::from_secs(120);
/// How long a node hears nothing before it goes back by itself. Longer than the coordinator takes to count a node as lost, so that it is
/// the coordinator that decides where it can.
const SILENCE: Duration = Duration::from_secs(45);
/// How long a node that is through stays at least, to be dismissed or asked.
const LINGER: Duration = Duration::from_secs(15);
/// How often it is looked whether there are new certificates.
const RENEWAL: Duration = Duration::from_secs(2);

/// Takes part in a restore until it is over, or until the kubelet ends it.
pub(crate) async fn run(id: &str) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let (work, known) = open(id).map_err(shown)?;
    let work = Arc::new(work);
    let port = work.layout.plan().peer_port;
    let listener = peer::bind(port).await.with_context(|| format!("cannot listen on TCP port {port}"))?;
    tokio::spawn(peer::listen(listener, Arc::clone(&work)));
    if work.tls().is_none() {
        work.note("the node restarted and lost its certificate: kubectl etcd restore --resume".to_owned());
    }
    tokio::spawn(renew(Arc::clone(&work), known));
    let guarding = Arc::clone(&work);
    tokio::spawn(async move { steps::guard(&guarding).await });
    if coordinator::was_cut_off_early(&work) {
        work.decide(Decision::Abort, "the coordinator was stopped before all nodes had passed their preflight")
            .map_err(shown)?;
    }
    let watched = Arc::clone(&work);
    let over = async {
        tokio::select! {
            () = work.dismissed.notified() => {}
            () = watch(&watched) => {}
        }
    };
    tokio::select! {
        biased;
        () = work.broken.notified() => anyhow::bail!("the journal cannot be written"),
        () = over => arm::leave(&work.layout).map_err(shown)?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    // The kubelet ends the container because its manifest is gone; should it end by itself, it would be started again first.
    tokio::select! {
        _ = terminate.recv() => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => {}
    }
    Ok(())
}

fn shown(failure: Failure) -> anyhow::Error {
    failure
        .causes
        .iter()
        .rev()
        .fold(None, |inner: Option<anyhow::Error>, cause| {
            Some(inner.map_or_else(|| anyhow::anyhow!("{cause}"), |inner| inner.context(cause.clone())))
        })
        .map_or_else(|| anyhow::anyhow!("{failure}"), |inner| inner.context(failure.message.clone()))
}

fn open(id: &str) -> Result<(Work, Option<Identity>), Failure> {
    let (lines, _) = journal::read(&Place::new(STATE).join(id).join("journal"))?;
    let begun = state::State::of(lines)?;
    let layout = Layout::new(begun.plan, &begun.node)?;
    let known = identity(&layout)?;
    let tls = known.as_ref().map(Tls::new).transpose()?;
    Ok((Work::open(layout, tls)?, known))
}

/// What the node was given to prove who it is; `None` after it was started anew.
fn identity(layout: &Layout) -> Result<Option<Identity>, Failure> {
    match layout.identity().read() {
        Ok(bytes) => {
            let read = serde_json::from_slice(&bytes);
            read.map(Some).map_err(|error| journal::storage("read the node's certificate", &error))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(journal::storage("read the node's certificate", &error)),
    }
}

/// Takes the new certificates that whoever resumes a restore brings.
async fn renew(work: Arc<Work>, mut known: Option<Identity>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        let given =
            identity(&work.layout).and_then(|given| match given.filter(|given| known.as_ref() != Some(given)) {
                Some(given) => Ok(Some((Tls::new(&given)?, given))),
                None => Ok(None),
            });
        match given {
            Ok(Some((tls, given))) => {
                work.set_tls(tls);
                known = Some(given);
            }
            Ok(None) => {}
            Err(failure) => tracing::warn!(causes = ?failure.causes, "{failure}"),
        }
    }
}

/// Looks after what nobody orders: that the word never comes, that the coordinator is gone. A node that is through stays until the coordinator
/// has heard of it and dismisses it, if the coordinator waits for that.
async fn watch(work: &Arc<Work>) {
    let mut ended = None;
    loop {
        tokio::time::sleep(TICK).await;
        if coordinator::is_due(work) {
            coordinator::run(Arc::clone(work)).await;
        } else if work.state(|state| state.ended.is_none()) {
            if let Err(failure) = alone(work).await {
                tracing::warn!(causes = ?failure.causes, "{failure}");
            }
        } else {
            let since = ended.get_or_insert_with(Instant::now).elapsed();
            // Before all members have served nobody can have given a word, and the coordinator waits for nobody.
            let unbound = work.state(|state| !state.done.contains(&Step::StartEtcd));
            if since > LINGER && (unbound || coordinator::has_dismissed(work).await) {
                return;
            }
        }
    }
}

/// What a node does by itself.
async fn alone(work: &Arc<Work>) -> Result<(), Failure> {
    let (begun, voted) = work.state(|state| (!state.begun.is_empty(), state.voted()));
    let patience = if begun { SILENCE } else { WORD };
    if work.silence() < patience {
        return Ok(());
    }
    match work.decision() {
        Some(Decision::Abort) => work.go_back().await,
        Some(Decision::Commit) => work.perform(Step::Finish).await,
        // The coordinator may have counted on this node's word. It, or whoever has heard of it, knows.
        None if voted => ask(work).await,
        None => {
            let why = if begun { "no message from the coordinator" } else { "the order to begin never arrived" };
            work.give_up(why)?;
            // The coordinator takes the others back with it.
            if coordinator::is_due(work) { Ok(()) } else { work.go_back().await }
        }
    }
}

/// Asks the other nodes what was decided; and, because this node may have lost its certificate or they may have ended, their members: one that is of
/// the old cluster again can only be so because all are to go back.
pub(super) async fn ask(work: &Arc<Work>) -> Result<(), Failure> {
    let others: Vec<usize> =
        (0..work.layout.plan().nodes.len()).filter(|&index| index != work.layout.index()).collect();
    if let Some(tls) = work.tls() {
        for &index in &others {
            let answer = peer::give(&work.layout, &tls, index, Order::Ask, Duration::from_secs(5)).await;
            if let Some(decision) = answer.ok().and_then(|standing| standing.decision) {
                return work.decide(
                    decision,
                    &format!("node {} has recorded the decision", work.layout.plan().nodes[index].node),
                );
            }
        }
    }
    let (old, client) = work.state(|state| (state.ground.before.cluster_id, state.ground.peer.clone()));
    for index in others {
        let node = &work.layout.plan().nodes[index];
        let port = node.peer_urls.first().and_then(|url| ground::peer_port(url, client.clone()));
        let Some(port) = port else { continue };
        if member::cluster_of(&port).await == Some(old) {
            return work.decide(Decision::Abort, &format!("the member on node {} has its old data again", node.node));
        }
    }
    Ok(())
}
