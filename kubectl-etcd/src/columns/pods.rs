//! Pods and their templates.

use serde_json::Value;

use super::Kind;
use super::view::{NONE, View, human_duration, items, labels, or};

pub(super) const KINDS: &[Kind] = &[
    Kind::new(
        "Pod",
        &["READY", "STATUS", "RESTARTS", "AGE", "+IP", "+NODE", "+NOMINATED NODE", "+READINESS GATES"],
        pod,
    ),
    Kind::new("PodTemplate", &["CONTAINERS", "IMAGES", "POD LABELS"], |view| {
        let [names, images] = view.containers("/template/spec");
        vec![names, images, labels(view.at("/template/metadata/labels"))]
    }),
];

fn pod(view: &View<'_>) -> Vec<String> {
    let standing = Standing::of(view);
    let gates = view.items("/spec/readinessGates");
    let open = gates.iter().filter_map(|gate| gate["conditionType"].as_str()).filter(|kind| view.is(kind)).count();
    let first = items(view.at("/status/podIPs")).first().and_then(|one| one["ip"].as_str());
    vec![
        format!("{}/{}", standing.ready, standing.total),
        standing.status,
        match (standing.restarts, standing.last_restart) {
            (0, _) | (_, None) => standing.restarts.to_string(),
            (restarts, Some(last)) => format!("{restarts} ({} ago)", human_duration(view.now.as_second() - last)),
        },
        view.age(),
        first.map_or_else(|| view.text_or("/status/podIP", NONE), str::to_owned),
        view.text_or("/spec/nodeName", NONE),
        view.text_or("/status/nominatedNodeName", NONE),
        if gates.is_empty() { NONE.to_owned() } else { format!("{open}/{}", gates.len()) },
    ]
}

/// What the statuses of its containers come to.
struct Standing {
    ready: usize,
    total: usize,
    status: String,
    restarts: i64,
    /// In seconds since 1970.
    last_restart: Option<i64>,
}

impl Standing {
    fn of(view: &View<'_>) -> Standing {
        let phase = view.text("/status/phase");
        let gated = view.condition("PodScheduled").is_some_and(|one| one["reason"] == "SchedulingGated");
        let status = if gated { "SchedulingGated" } else { view.text("/status/reason") };
        let inits = view.items("/spec/initContainers");
        let mut standing = Standing {
            ready: 0,
            total: view.count("/spec/containers") + inits.iter().filter(|one| is_sidecar(one)).count(),
            status: or(status, phase),
            restarts: 0,
            last_restart: None,
        };
        let initializing = standing.add_init_containers(view, inits);
        if !initializing || view.is("Initialized") {
            standing.add_containers(view, inits);
        }
        let over = matches!(phase, "Failed" | "Succeeded");
        if view.has("/metadata/deletionTimestamp") {
            if view.text("/status/reason") == "NodeLost" {
                "Unknown".clone_into(&mut standing.status);
            } else if !over {
                "Terminating".clone_into(&mut standing.status);
            }
        }
        standing
    }

    /// Counts what runs before the pod's own containers; says whether one of it is what the pod waits for.
    fn add_init_containers(&mut self, view: &View<'_>, inits: &[Value]) -> bool {
        for (index, one) in view.items("/status/initContainerStatuses").iter().enumerate() {
            self.add_restarts(one);
            let state = &one["state"];
            let terminated = &state["terminated"];
            let own = inits.iter().find(|init| init["name"] == one["name"]);
            if terminated.is_object() && exit_code(terminated) == 0 {
                continue;
            }
            if own.is_some_and(is_sidecar) && one["started"] == true {
                self.ready += usize::from(one["ready"] == true);
                continue;
            }
            let waiting = state["waiting"]["reason"].as_str().unwrap_or_default();
            self.status = if terminated.is_object() {
                format!("Init:{}", end_of(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", inits.len())
            };
            return true;
        }
        false
    }

    /// Counts the pod's own containers. The restarts of those before them no longer matter, but those of sidecars do.
    fn add_containers(&mut self, view: &View<'_>, inits: &[Value]) {
        (self.restarts, self.last_restart) = (0, None);
        let sidecar = |one: &&Value| inits.iter().any(|init| init["name"] == one["name"] && is_sidecar(init));
        let sidecars: Vec<&Value> = view.items("/status/initContainerStatuses").iter().filter(sidecar).collect();
        sidecars.into_iter().for_each(|one| self.add_restarts(one));
        let mut running = false;
        for one in view.items("/status/containerStatuses").iter().rev() {
            self.add_restarts(one);
            let (waiting, terminated) = (&one["state"]["waiting"], &one["state"]["terminated"]);
            if let Some(reason) = waiting["reason"].as_str().filter(|reason| !reason.is_empty()) {
                reason.clone_into(&mut self.status);
            } else if terminated.is_object() {
                self.status = end_of(terminated);
            } else if one["ready"] == true && one["state"]["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        if running && self.status == "Completed" {
            (if view.is("Ready") { "Running" } else { "NotReady" }).clone_into(&mut self.status);
        }
    }

    fn add_restarts(&mut self, status: &Value) {
        self.restarts += status["restartCount"].as_i64().unwrap_or_default();
        let finished = status.pointer("/lastState/terminated/finishedAt").and_then(Value::as_str);
        let finished: Option<jiff::Timestamp> = finished.and_then(|text| text.parse().ok());
        self.last_restart = self.last_restart.max(finished.map(jiff::Timestamp::as_second));
    }
}

/// Whether an init container runs on beside the others.
fn is_sidecar(init: &Value) -> bool {
    init["restartPolicy"] == "Always"
}

fn exit_code(terminated: &Value) -> i64 {
    terminated["exitCode"].as_i64().unwrap_or_default()
}

/// Why a container has ended.
fn end_of(terminated: &Value) -> String {
    match (terminated["reason"].as_str(), terminated["signal"].as_i64()) {
        (Some(reason), _) if !reason.is_empty() => reason.to_owned(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", exit_code(terminated)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::row;
    use super::*;

    fn pod(spec: Value, status: Value) -> Value {
        json!({
            "metadata": {"name": "web", "creationTimestamp": "2026-11-20T06:00:00Z"},
            "spec": spec, "status": status,
        })
    }

    fn first_three(spec: Value, status: Value) -> String {
        row("Pod", false, &pod(spec, status))[..3].join(" ")
    }

    #[test]
    fn a_pod_that_runs() {
        let running = json!({
            "phase": "Running", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}, {"ip": "fd00::9"}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "x/gate", "status": "True"}],
            "containerStatuses": [
                {"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}},
                 "lastState": {"terminated": {"finishedAt": "2026-11-21T05:00:00Z"}}},
                {"name": "b", "ready": false, "restartCount": 1, "state": {"running": {}}},
            ],
        });
        let spec = json!({
            "nodeName": "w1", "containers": [{"name": "a"}, {"name": "b"}],
            "readinessGates": [{"conditionType": "x/gate"}, {"conditionType": "x/other"}],
        });
        let cells = row("Pod", true, &pod(spec, running));
        assert_eq!(cells, ["1/2", "Running", "3 (60m ago)", "24h", "10.0.0.9", "w1", NONE, "1/2"]);
        let pending = row("Pod", true, &pod(json!({"containers": [{"name": "a"}]}), json!({"phase": "Pending"})));
        assert_eq!(pending, ["0/1", "Pending", "0", "24h", NONE, NONE, NONE, NONE]);
    }

    #[test]
    fn the_status_is_what_keeps_a_pod_from_running() {
        let one = json!({"containers": [{"name": "a"}]});
        let state = |state: Value| json!({"phase": "Running", "containerStatuses": [{"name": "a", "restartCount": 7, "state": state}]});
        for (state, expected) in [
            (state(json!({"waiting": {"reason": "CrashLoopBackOff"}})), "0/1 CrashLoopBackOff 7"),
            (state(json!({"terminated": {"exitCode": 0, "reason": "Completed"}})), "0/1 Completed 7"),
            (state(json!({"terminated": {"exitCode": 3}})), "0/1 ExitCode:3 7"),
            (state(json!({"terminated": {"exitCode": 137, "signal": 9}})), "0/1 Signal:9 7"),
            (json!({"phase": "Failed", "reason": "Evicted"}), "0/1 Evicted 0"),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
                "0/1 SchedulingGated 0",
            ),
        ] {
            assert_eq!(first_three(one.clone(), state.clone()), expected, "{state}");
        }
        let mut going = pod(one, json!({"phase": "Running"}));
        going["metadata"]["deletionTimestamp"] = json!("2026-11-21T05:00:00Z");
        assert_eq!(row("Pod", false, &going)[1], "Terminating");
        going["status"]["reason"] = json!("NodeLost");
        assert_eq!(row("Pod", false, &going)[1], "Unknown");
        going["status"] = json!({"phase": "Succeeded"});
        assert_eq!(row("Pod", false, &going)[1], "Succeeded");
    }

    #[test]
    fn what_comes_before_the_containers_is_told_while_it_lasts() {
        let spec = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
        let inits = |states: Value| json!({"phase": "Pending", "initContainerStatuses": states});
        let done = json!({"name": "i", "restartCount": 4, "state": {"terminated": {"exitCode": 0}}});
        for (states, expected) in [
            (json!([{"name": "i", "restartCount": 1, "state": {"running": {}}}]), "0/1 Init:0/2 1"),
            (json!([done, {"name": "j", "state": {"waiting": {"reason": "PodInitializing"}}}]), "0/1 Init:1/2 4"),
            (
                json!([{"name": "i", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]),
                "0/1 Init:ImagePullBackOff 0",
            ),
            (json!([{"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]), "0/1 Init:Error 0"),
            (json!([{"name": "i", "state": {"terminated": {"exitCode": 2}}}]), "0/1 Init:ExitCode:2 0"),
            (json!([done]), "0/1 Pending 0"),
        ] {
            assert_eq!(first_three(spec.clone(), inits(states.clone())), expected, "{states}");
        }
        // A sidecar counts as a container, and so do its restarts.
        let spec = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
        let status = json!({
            "phase": "Running",
            "initContainerStatuses": [{"name": "s", "ready": true, "started": true, "restartCount": 2, "state": {"running": {}}}],
            "containerStatuses": [{"name": "a", "ready": true, "restartCount": 1, "state": {"running": {}}}],
        });
        assert_eq!(first_three(spec, status), "2/2 Running 3");
        // One of two has ended, and the other still runs.
        let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let status = json!({
            "phase": "Running", "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [
                {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
                {"name": "b", "ready": true, "state": {"running": {}}},
            ],
        });
        assert_eq!(first_three(spec, status), "1/2 NotReady 0");
    }
}
