//! What Kubernetes fills in of a pod that says nothing of it, in the API server and in a kubelet that reads a manifest.

use serde_json::{Value, json};

/// Sets a field that is not there.
pub(crate) fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.entry(field).or_insert(value);
    }
}

/// Fills in a pod's spec.
pub(crate) fn spec(spec: &mut Value) {
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "schedulerName", json!("default-scheduler"));
    set(spec, "enableServiceLinks", json!(true));
    set(spec, "securityContext", json!({}));
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            set(container, "terminationMessagePath", json!("/dev/termination-log"));
            set(container, "terminationMessagePolicy", json!("File"));
            set(container, "resources", json!({}));
            let image = container["image"].as_str().unwrap_or_default();
            let tagged = image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
            let policy = if !tagged || image.ends_with(":latest") { "Always" } else { "IfNotPresent" };
            set(container, "imagePullPolicy", json!(policy));
            for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                set(port, "protocol", json!("TCP"));
            }
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        if volume["hostPath"].is_object() {
            set(&mut volume["hostPath"], "type", json!(""));
        }
    }
}
