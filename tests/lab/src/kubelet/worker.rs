//! One pod from its acceptance to its end, and every status on the way, in a real kubelet's order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::container::{Event, Life, RETRY};
use super::handle::{Handle, Report};
use super::status::{Conditions, State, Summary, Track, now, status};
use super::{Node, api, volumes};
use crate::pod::RestartPolicy;

struct Worker {
    node: Arc<Node>,
    handle: Arc<Handle>,
    tracks: Vec<Track>,
    /// Of the init containers.
    init: Vec<Track>,
    started: String,
    conditions: Conditions,
}

impl Worker {
    fn report(&mut self, summary: &Summary) {
        let value =
            status(&self.node, &self.handle, (&self.init, &self.tracks), summary, &self.started, &mut self.conditions);
        self.handle.report(value);
    }
}

fn plain(phase: &'static str, sandbox: bool) -> Summary {
    Summary { phase, sandbox, ending: false, reason: None, message: None }
}

/// Runs a pod to its end.
pub(super) async fn run(node: Arc<Node>, handle: Arc<Handle>) -> Result<()> {
    let result = drive(Arc::clone(&node), Arc::clone(&handle)).await;
    if handle.deleting.load(Ordering::SeqCst) {
        let _ = handle.reports.send(Report::Delete);
    }
    handle.ended.send_replace(true);
    result
}

async fn drive(node: Arc<Node>, handle: Arc<Handle>) -> Result<()> {
    let initialises = !handle.pod.spec.init_containers.is_empty();
    let reason = if initialises { "PodInitializing" } else { "ContainerCreating" };
    let waiting =
        Track { state: State::Waiting { reason, message: None }, last: None, restarts: 0, image_id: String::new() };
    let mut worker = Worker {
        init: vec![waiting.clone(); handle.pod.spec.init_containers.len()],
        tracks: vec![waiting; handle.pod.spec.containers.len()],
        started: handle.pod.status.start_time.clone().unwrap_or_else(now),
        node,
        handle,
        conditions: Conditions::default(),
    };
    let (node, handle) = (Arc::clone(&worker.node), Arc::clone(&worker.handle));
    if let Some(message) = handle.pod.unsupported() {
        worker.report(&Summary { reason: Some("LabUnsupported"), message: Some(message), ..plain("Failed", false) });
        return Ok(());
    }
    if let Some(id) =
        node.lost.get(&handle.pod.metadata.uid).filter(|_| handle.pod.spec.restart_policy == RestartPolicy::Never)
    {
        // What the runtime says of a container whose end nobody saw.
        let (id, started) = (id.clone(), worker.started.clone());
        let lost = State::Terminated { id, code: 255, started, finished: now(), reason: "Unknown" };
        worker.tracks.iter_mut().for_each(|track| track.state = lost.clone());
        worker.report(&plain("Failed", false));
        return Ok(());
    }
    worker.report(&plain("Pending", false));

    let deadline = async {
        match handle.pod.spec.active_deadline_seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(deadline);
    let (mut late, mut told) = (false, false);
    let mut stop = handle.stop.subscribe();
    fs_err::create_dir_all(handle.dir(&node))?;
    loop {
        match volumes::ready(&node, &handle.pod, &handle.dir(&node)).await {
            Ok(()) => break,
            // The API says it only in an event: the pod's status stays at ContainerCreating.
            Err(error) if !told => {
                told = true;
                let (node, handle) = (Arc::clone(&node), Arc::clone(&handle));
                tokio::spawn(async move { api::warn(&node, &handle, "FailedMount", &format!("{error:#}")).await });
            }
            Err(_) => {}
        }
        tokio::select! {
            _ = stop.wait_for(Option::is_some) => break,
            () = &mut deadline => { late = true; break }
            () = tokio::time::sleep(RETRY) => {}
        }
    }
    if late || stop.borrow().is_some() {
        finish(&mut worker, late);
        return Ok(());
    }
    worker.report(&plain("Pending", true));

    for (index, container) in handle.pod.spec.init_containers.iter().enumerate() {
        let (stop, (events, mut inbox)) = (handle.stop.subscribe(), mpsc::unbounded_channel());
        let life = Life { node: &node, handle: &handle, index, container, stop, events }.run();
        tokio::pin!(life);
        let code = loop {
            tokio::select! {
                biased;
                Some(event) = inbox.recv() => {
                    note(&mut worker.init, event);
                    worker.report(&plain("Pending", true));
                }
                code = &mut life => break code?,
            }
        };
        while let Ok(event) = inbox.try_recv() {
            note(&mut worker.init, event);
        }
        if code != Some(0) {
            // The containers have not run: the pod has failed.
            finish(&mut worker, late);
            return Ok(());
        }
    }
    let (events, mut inbox) = mpsc::unbounded_channel();
    let mut lives = JoinSet::new();
    for index in 0..handle.pod.spec.containers.len() {
        let (node, handle, events) = (Arc::clone(&node), Arc::clone(&handle), events.clone());
        lives.spawn(async move {
            let stop = handle.stop.subscribe();
            let container = &handle.pod.spec.containers[index];
            Life { node: &node, handle: &handle, index, container, stop, events }.run().await
        });
    }
    drop(events);
    loop {
        tokio::select! {
            biased;
            event = inbox.recv() => match event {
                Some(event) => {
                    note(&mut worker.tracks, event);
                    // The end of a pod that is told to end is one step; of one that ends by itself it is two.
                    if handle.stop.borrow().is_none() {
                        let summary = plain(phase(&worker.tracks), true);
                        worker.report(&summary);
                    }
                }
                None => break,
            },
            () = handle.generation_changed.notified() => {
                let summary = plain(phase(&worker.tracks), true);
                worker.report(&summary);
            }
            () = &mut deadline, if !late => {
                late = true;
                let summary = Summary { ending: true, ..plain(phase(&worker.tracks), true) };
                worker.report(&summary);
                handle.end(handle.grace());
            }
        }
    }
    while let Some(ended) = lives.join_next().await {
        ended??;
    }
    finish(&mut worker, late);
    Ok(())
}

/// The phase of a pod that has not ended: it is pending until each container has run once.
fn phase(tracks: &[Track]) -> &'static str {
    let pending = |track: &Track| matches!(track.state, State::Waiting { .. }) && track.last.is_none();
    if tracks.iter().any(pending) { "Pending" } else { "Running" }
}

fn note(tracks: &mut [Track], event: Event) {
    let track = &mut tracks[event.index];
    let old = std::mem::replace(&mut track.state, event.state);
    if matches!(old, State::Terminated { .. }) {
        track.last = Some(old);
    }
    track.restarts = event.restarts;
    track.image_id = event.image_id;
}

/// The last status.
fn finish(worker: &mut Worker, late: bool) {
    let good = worker.tracks.iter().all(|track| matches!(track.state, State::Terminated { code: 0, .. }));
    let summary = if late {
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        Summary { reason: Some("DeadlineExceeded"), message: Some(message), ..plain("Failed", false) }
    } else {
        plain(if good { "Succeeded" } else { "Failed" }, false)
    };
    worker.report(&summary);
}
