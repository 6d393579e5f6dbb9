//! What tells the age of backups: a Deployment without any right to nodes or API, and the way to its metrics.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::cadence::short;
use super::objects::{PORT, Pod, WATCH, confined, labels, metadata, typed};
use super::plan::Plan;

pub(super) fn deployment(plan: &Plan) -> Value {
    let mut pod = Pod::new(plan, "watch");
    pod.arg("max-age", short(plan.max_age));
    if let Some(cluster) = &plan.cluster {
        pod.arg("cluster-uid", cluster);
    }
    pod.trust(plan);
    pod.arg("listen", format!("0.0.0.0:{PORT}"));
    let resources = json!({"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}});
    let mut spec = pod.spec(plan, plan.credential.as_deref(), confined(), resources);
    let container = &mut spec["containers"][0];
    container["ports"] = json!([{"name": "metrics", "containerPort": PORT}]);
    // Whether the process lives. That the store does not answer is what the metrics tell: another start would not help.
    let alive = json!({"httpGet": {"path": "/healthz", "port": "metrics"}});
    container["livenessProbe"] = alive.clone();
    container["readinessProbe"] = alive;
    typed::<Deployment>(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(plan, WATCH),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app.kubernetes.io/name": WATCH}},
            "template": {"metadata": {"labels": labels(WATCH)}, "spec": spec},
        },
    }))
}

pub(super) fn service(plan: &Plan) -> Value {
    typed::<Service>(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(plan, WATCH),
        "spec": {
            "selector": {"app.kubernetes.io/name": WATCH},
            "ports": [{"name": "metrics", "port": PORT, "targetPort": "metrics"}],
        },
    }))
}

/// For the Prometheus operator, of whose API there are no types here.
pub(super) fn monitor(plan: &Plan) -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata(plan, WATCH),
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/name": WATCH}},
            "endpoints": [{"port": "metrics", "interval": "60s"}],
        },
    })
}
