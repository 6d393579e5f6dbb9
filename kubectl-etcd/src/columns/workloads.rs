//! What makes pods, and what scales and protects them.

use serde_json::Value;

use super::Kind;
use super::view::{NONE, View, human_duration, items, labels, or, scalar, selector, truth};

pub(super) const KINDS: &[Kind] = &[
    Kind::new(
        "Deployment",
        &["READY", "UP-TO-DATE", "AVAILABLE", "AGE", "+CONTAINERS", "+IMAGES", "+SELECTOR"],
        |view| {
            let up = [view.number("/status/updatedReplicas"), view.number("/status/availableReplicas")];
            with_template(
                view,
                vec![ready(view), up[0].to_string(), up[1].to_string(), view.age()],
                "/spec/template/spec",
            )
        },
    ),
    Kind::new("ReplicaSet", REPLICAS, |view| with_template(view, replicas(view), "/spec/template/spec")),
    Kind::new("ReplicationController", REPLICAS, |view| {
        let mut cells = replicas(view);
        cells.extend(view.containers("/spec/template/spec"));
        cells.push(labels(view.at("/spec/selector")));
        cells
    }),
    Kind::new("StatefulSet", &["READY", "AGE", "+CONTAINERS", "+IMAGES"], |view| {
        let [names, images] = view.containers("/spec/template/spec");
        vec![ready(view), view.age(), names, images]
    }),
    Kind::new(
        "DaemonSet",
        &[
            "DESIRED",
            "CURRENT",
            "READY",
            "UP-TO-DATE",
            "AVAILABLE",
            "NODE SELECTOR",
            "AGE",
            "+CONTAINERS",
            "+IMAGES",
            "+SELECTOR",
        ],
        |view| {
            let counts = [
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ];
            let mut cells: Vec<String> =
                counts.iter().map(|field| view.number(&format!("/status/{field}")).to_string()).collect();
            cells.extend([labels(view.at("/spec/template/spec/nodeSelector")), view.age()]);
            with_template(view, cells, "/spec/template/spec")
        },
    ),
    Kind::new("Job", &["STATUS", "COMPLETIONS", "DURATION", "AGE", "+CONTAINERS", "+IMAGES", "+SELECTOR"], |view| {
        let cells = vec![job_status(view).to_owned(), completions(view), job_duration(view), view.age()];
        with_template(view, cells, "/spec/template/spec")
    }),
    Kind::new(
        "CronJob",
        &["SCHEDULE", "TIMEZONE", "SUSPEND", "ACTIVE", "LAST SCHEDULE", "AGE", "+CONTAINERS", "+IMAGES", "+SELECTOR"],
        |view| {
            let last = if view.has("/status/lastScheduleTime") {
                view.since("/status/lastScheduleTime")
            } else {
                NONE.to_owned()
            };
            let mut cells = vec![
                view.text("/spec/schedule").to_owned(),
                view.text_or("/spec/timeZone", NONE),
                truth(view.at("/spec/suspend"), "<unset>"),
                view.count("/status/active").to_string(),
                last,
                view.age(),
            ];
            cells.extend(view.containers("/spec/jobTemplate/spec/template/spec"));
            cells.push(selector(view.at("/spec/jobTemplate/spec/selector")));
            cells
        },
    ),
    Kind::new("ControllerRevision", &["CONTROLLER", "REVISION", "AGE"], |view| {
        let owner = view.items("/metadata/ownerReferences").iter().find(|one| one["controller"] == true);
        vec![owner.map_or_else(|| NONE.to_owned(), controller), view.number("/revision").to_string(), view.age()]
    }),
    Kind::new("PodDisruptionBudget", &["MIN AVAILABLE", "MAX UNAVAILABLE", "ALLOWED DISRUPTIONS", "AGE"], |view| {
        let share = |pointer: &str| or(&scalar(view.at(pointer)), "N/A");
        let allowed = view.number("/status/disruptionsAllowed").to_string();
        vec![share("/spec/minAvailable"), share("/spec/maxUnavailable"), allowed, view.age()]
    }),
    Kind::new("HorizontalPodAutoscaler", &["REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"], |view| {
        vec![
            format!("{}/{}", view.text("/spec/scaleTargetRef/kind"), view.text("/spec/scaleTargetRef/name")),
            targets(view),
            or(&scalar(view.at("/spec/minReplicas")), "<unset>"),
            view.number("/spec/maxReplicas").to_string(),
            view.number("/status/currentReplicas").to_string(),
            view.age(),
        ]
    }),
];

const REPLICAS: &[&str] = &["DESIRED", "CURRENT", "READY", "AGE", "+CONTAINERS", "+IMAGES", "+SELECTOR"];

fn replicas(view: &View<'_>) -> Vec<String> {
    let count = |pointer: &str| view.number(pointer).to_string();
    vec![count("/spec/replicas"), count("/status/replicas"), count("/status/readyReplicas"), view.age()]
}

/// Ready of desired.
fn ready(view: &View<'_>) -> String {
    format!("{}/{}", view.number("/status/readyReplicas"), view.number("/spec/replicas"))
}

/// Adds containers, images and the selector.
fn with_template(view: &View<'_>, mut cells: Vec<String>, template: &str) -> Vec<String> {
    cells.extend(view.containers(template));
    cells.push(selector(view.at("/spec/selector")));
    cells
}

/// `statefulset/db`
fn controller(owner: &Value) -> String {
    let text = |field: &str| owner[field].as_str().unwrap_or_default();
    let group = text("apiVersion").split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    format!("{}{group}/{}", text("kind").to_lowercase(), text("name"))
}

fn job_status(view: &View<'_>) -> &'static str {
    match () {
        () if view.is("Complete") => "Complete",
        () if view.is("Failed") => "Failed",
        () if view.has("/metadata/deletionTimestamp") => "Terminating",
        () if view.is("Suspended") => "Suspended",
        () if view.is("FailureTarget") => "FailureTarget",
        () if view.is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(view: &View<'_>) -> String {
    let succeeded = view.number("/status/succeeded");
    match (view.at("/spec/completions").as_i64(), view.number("/spec/parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel @ 2..) => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn job_duration(view: &View<'_>) -> String {
    let Some(start) = view.moment("/status/startTime") else { return String::new() };
    let end = view.moment("/status/completionTime").unwrap_or(view.now);
    human_duration(end.as_second() - start.as_second())
}

/// Two metrics of an autoscaler, each as it is and as it should be.
fn targets(view: &View<'_>) -> String {
    let specs = view.items("/spec/metrics");
    // Version 1 has one metric, with names of its own.
    if let Some(wanted) = view.at("/spec/targetCPUUtilizationPercentage").as_i64() {
        let now = view.at("/status/currentCPUUtilizationPercentage").as_i64();
        return format!("cpu: {}/{wanted}%", now.map_or_else(|| "<unknown>".to_owned(), |now| format!("{now}%")));
    }
    let statuses = items(view.at("/status/currentMetrics"));
    let shown: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| metric(spec, statuses.get(index).unwrap_or(&Value::Null)))
        .collect();
    match shown.as_slice() {
        [] => NONE.to_owned(),
        [first, second, rest @ ..] if !rest.is_empty() => format!("{first}, {second} + {} more...", rest.len()),
        all => all.join(", "),
    }
}

fn metric(spec: &Value, status: &Value) -> String {
    let field = match spec["type"].as_str() {
        Some("External") => "external",
        Some("Pods") => "pods",
        Some("Object") => "object",
        Some("Resource") => "resource",
        Some("ContainerResource") => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (spec, current) = (&spec[field], &status[field]["current"]);
    let target = &spec["target"];
    let is_resource = field.ends_with("esource");
    let name = match spec["name"].as_str().filter(|_| is_resource) {
        Some(name) => format!("{name}: "),
        None => String::new(),
    };
    let unknown = |value: &Value| or(&scalar(value), "<unknown>");
    let average = &target["averageValue"];
    if !average.is_null() {
        let suffix = if matches!(field, "external" | "object") { " (avg)" } else { "" };
        return format!("{name}{}/{}{suffix}", unknown(&current["averageValue"]), scalar(average));
    }
    if is_resource {
        let percent = |value: &Value, other: &str| value.as_i64().map_or(other.to_owned(), |share| format!("{share}%"));
        let (now, wanted) = (&current["averageUtilization"], &target["averageUtilization"]);
        return format!("{name}{}/{}", percent(now, "<unknown>"), percent(wanted, "<auto>"));
    }
    format!("{}/{}", unknown(&current["value"]), scalar(&target["value"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::row;
    use super::*;

    fn made(mut object: Value) -> Value {
        object["metadata"]["creationTimestamp"] = json!("2026-11-14T03:00:00Z");
        object
    }

    #[test]
    fn controllers_of_pods() {
        let template = json!({"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "i:2"}]}});
        let selector = json!({"matchLabels": {"app": "web"}});
        let deployment = made(json!({
            "spec": {"replicas": 3, "selector": selector, "template": template},
            "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2, "replicas": 4},
        }));
        assert_eq!(row("Deployment", true, &deployment), ["2/3", "3", "2", "7d3h", "a,b", "i:1,i:2", "app=web"]);
        assert_eq!(row("ReplicaSet", false, &deployment), ["3", "4", "2", "7d3h"]);
        assert_eq!(row("StatefulSet", true, &deployment), ["2/3", "7d3h", "a,b", "i:1,i:2"]);
        let daemons = made(json!({
            "spec": {"selector": selector, "template": {"spec": {"nodeSelector": {"os": "linux"}}}},
            "status": {"desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3, "updatedNumberScheduled": 2,
                       "numberAvailable": 1},
        }));
        assert_eq!(row("DaemonSet", false, &daemons), ["5", "4", "3", "2", "1", "os=linux", "7d3h"]);
    }

    #[test]
    fn jobs() {
        let job = |spec: Value, status: Value| {
            row("Job", false, &made(json!({"spec": spec, "status": status})))[..3].join(" ")
        };
        let complete = json!([{"type": "Complete", "status": "True"}]);
        let times = json!({
            "startTime": "2026-11-21T05:00:00Z", "completionTime": "2026-11-21T05:03:10Z", "succeeded": 1, "conditions": complete,
        });
        assert_eq!(job(json!({"completions": 1}), times), "Complete 1/1 3m10s");
        assert_eq!(
            job(json!({"parallelism": 4}), json!({"startTime": "2026-11-21T05:59:00Z"})),
            "Running 0/1 of 4 60s"
        );
        assert_eq!(job(json!({}), json!({"conditions": [{"type": "Suspended", "status": "True"}]})), "Suspended 0/1 ");
        let cron = made(json!({
            "spec": {"schedule": "*/5 * * * *", "suspend": false}, "status": {"active": [{}], "lastScheduleTime": "2026-11-21T05:55:00Z"},
        }));
        assert_eq!(row("CronJob", false, &cron), ["*/5 * * * *", NONE, "False", "1", "5m", "7d3h"]);
    }

    #[test]
    fn what_guards_and_scales() {
        let budget = made(json!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}}));
        assert_eq!(row("PodDisruptionBudget", false, &budget), ["50%", "N/A", "1", "7d3h"]);
        let resource = |name: &str, share: i64| json!({"type": "Resource", "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": share}}});
        let scaler = made(json!({
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 9,
                     "metrics": [resource("cpu", 80), resource("memory", 70),
                                 {"type": "Pods", "pods": {"target": {"averageValue": "10"}}}]},
            "status": {"currentReplicas": 3, "currentMetrics": [{"type": "Resource", "resource": {"current": {"averageUtilization": 12}}}]},
        }));
        let cells = row("HorizontalPodAutoscaler", false, &scaler);
        let shown = ["Deployment/web", "cpu: 12%/80%, memory: <unknown>/70% + 1 more...", "2", "9", "3", "7d3h"];
        assert_eq!(cells, shown);
        let owned = made(json!({"revision": 4, "metadata": {"ownerReferences": [
            {"kind": "StatefulSet", "apiVersion": "apps/v1", "name": "db", "controller": true}]}}));
        assert_eq!(row("ControllerRevision", false, &owned), ["statefulset.apps/db", "4", "7d3h"]);
    }
}
