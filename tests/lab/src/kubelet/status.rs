//! A pod's status as a kubelet writes it, from the states of its containers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Node;
use super::handle::Handle;
use crate::pod::Container;

/// The state of one container.
#[derive(Debug, Clone)]
pub(super) enum State {
    Waiting { reason: &'static str, message: Option<String> },
    Running { id: String, started: String },
    Terminated { id: String, code: i32, started: String, finished: String, reason: &'static str },
}

/// A container's state, and what it was before.
#[derive(Debug, Clone)]
pub(super) struct Track {
    pub(super) state: State,
    pub(super) last: Option<State>,
    pub(super) restarts: u32,
    pub(super) image_id: String,
}

/// The parts of a pod's status that are not its containers'.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) phase: &'static str,
    /// `PodReadyToStartContainers`.
    pub(super) sandbox: bool,
    /// Set when the pod is being ended by its kubelet: containers run on but the pod is not ready.
    pub(super) ending: bool,
    pub(super) reason: Option<&'static str>,
    pub(super) message: Option<String>,
}

/// When each condition last changed.
#[derive(Debug, Default)]
pub(super) struct Conditions(BTreeMap<&'static str, (bool, String)>);

/// Now, as Kubernetes writes times.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn state(state: &State) -> Value {
    match state {
        State::Waiting { reason, message: None } => json!({"waiting": {"reason": reason}}),
        State::Waiting { reason, message: Some(message) } => json!({"waiting": {"reason": reason, "message": message}}),
        State::Running { started, .. } => json!({"running": {"startedAt": started}}),
        State::Terminated { id, code, started, finished, reason } => json!({"terminated": {
            "exitCode": code, "reason": reason, "startedAt": started, "finishedAt": finished,
            "containerID": format!("containerd://{id}")}}),
    }
}

fn id(state: &State) -> Option<&String> {
    match state {
        State::Running { id, .. } | State::Terminated { id, .. } => Some(id),
        State::Waiting { .. } => None,
    }
}

/// The whole status.
pub(super) fn status(
    node: &Node,
    handle: &Handle,
    (init, tracks): (&[Track], &[Track]),
    summary: &Summary,
    started: &str,
    conditions: &mut Conditions,
) -> Value {
    let generation = handle.generation.load(std::sync::atomic::Ordering::SeqCst);
    let runs = |track: &Track| matches!(track.state, State::Running { .. });
    let ready = tracks.iter().all(runs) && !summary.ending;
    let unready = || {
        let names: Vec<_> = handle
            .pod
            .spec
            .containers
            .iter()
            .zip(tracks)
            .filter(|(_, track)| !runs(track))
            .map(|(c, _)| &*c.name)
            .collect();
        match summary.phase {
            "Succeeded" => ("PodCompleted", None),
            "Failed" => ("PodFailed", None),
            _ => ("ContainersNotReady", Some(format!("containers with unready status: [{}]", names.join(" ")))),
        }
    };
    let mut list = Vec::new();
    for (kind, value) in [
        ("PodReadyToStartContainers", summary.sandbox),
        ("Initialized", true),
        ("Ready", ready),
        ("ContainersReady", ready),
        ("PodScheduled", true),
    ] {
        let entry = conditions.0.entry(kind).or_insert_with(|| (value, now()));
        if entry.0 != value {
            *entry = (value, now());
        }
        let mut condition = json!({"type": kind, "status": if value { "True" } else { "False" },
            "lastProbeTime": null, "lastTransitionTime": entry.1});
        if kind.ends_with("Ready") && !value {
            let (reason, message) = unready();
            condition["reason"] = reason.into();
            if let Some(message) = message {
                condition["message"] = message.into();
            }
        }
        if generation > 0 {
            condition["observedGeneration"] = generation.into();
        }
        list.push(condition);
    }
    let of = |containers: &[Container], tracks: &[Track], is_init: bool| {
        let one = |(container, track): (&Container, &Track)| {
            let mut status = json!({
                "name": container.name, "image": container.image, "imageID": track.image_id,
                // An init container is ready once it has done its work.
                "ready": runs(track) || matches!(track.state, State::Terminated { code: 0, .. }) && is_init,
                "started": runs(track), "restartCount": track.restarts,
                "state": state(&track.state), "lastState": track.last.as_ref().map_or_else(|| json!({}), state),
            });
            if let Some(id) = id(&track.state).or(track.last.as_ref().and_then(id)) {
                status["containerID"] = format!("containerd://{id}").into();
            }
            status
        };
        containers.iter().zip(tracks).map(one).collect::<Vec<_>>()
    };
    let mut status = json!({
        "phase": summary.phase, "conditions": list, "containerStatuses": of(&handle.pod.spec.containers, tracks, false),
        "hostIP": node.address, "hostIPs": [{"ip": node.address}],
        "startTime": started, "qosClass": "BestEffort",
    });
    if !init.is_empty() {
        status["initContainerStatuses"] = of(&handle.pod.spec.init_containers, init, true).into();
    }
    if handle.pod.spec.host_network {
        status["podIP"] = json!(node.address);
        status["podIPs"] = json!([{"ip": node.address}]);
    }
    if generation > 0 {
        status["observedGeneration"] = generation.into();
    }
    if let Some(reason) = summary.reason {
        status["reason"] = reason.into();
    }
    if let Some(message) = &summary.message {
        status["message"] = message.clone().into();
    }
    status
}
