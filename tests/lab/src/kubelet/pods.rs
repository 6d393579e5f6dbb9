//! `/pods`: the node's pods as its kubelet knows them. A static pod is the one of its manifest, with a mirror pod in the
//! API or without: its UID is its hash, it came from a file, and nothing of it is a mirror's.

use http::{Response, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::Node;
use super::handle::Handle;
use super::server::Answer;
use crate::defaults;

/// The list.
pub(super) fn list(node: &Node) -> Answer {
    answer(node.pods().iter().map(|handle| pod(handle)).collect())
}

/// `/runningpods/`: what runs, as the container runtime tells it, whatever the API knows. There are no sandboxes here: a pod of which no container
/// runs is none of these.
pub(super) fn running(node: &Node) -> Answer {
    answer(node.pods().iter().filter_map(|handle| in_runtime(handle, node)).collect())
}

/// One pod of the runtime: no more than it knows. A static pod has its hash as its UID there.
fn in_runtime(handle: &Handle, node: &Node) -> Option<Value> {
    let containers = handle.pod.spec.containers.iter().filter(|one| handle.container_id(&one.name).is_some());
    let containers: Vec<Value> =
        containers.map(|one| json!({"name": one.name, "image": one.image, "resources": {}})).collect();
    let metadata = json!({"name": handle.api_name(&node.name), "namespace": handle.namespace(), "uid": handle.pod.metadata.uid,
        "creationTimestamp": null});
    (!containers.is_empty()).then(|| json!({"metadata": metadata, "spec": {"containers": containers}, "status": {}}))
}

fn answer(mut pods: Vec<Value>) -> Answer {
    pods.sort_by_key(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned());
    // Of no pods Go makes null.
    let items = if pods.is_empty() { Value::Null } else { pods.into() };
    let list = json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items });
    let mut answer = Response::new(Full::from(format!("{list}\n")));
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

/// One pod. In a list it has no kind and no version.
fn pod(handle: &Handle) -> Value {
    let mut pod = handle.object();
    for field in ["kind", "apiVersion"] {
        pod.as_object_mut().and_then(|pod| pod.remove(field));
    }
    if handle.is_static() {
        pod["metadata"]["uid"] = handle.pod.metadata.uid.clone().into();
        if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
            annotations.remove("kubernetes.io/config.mirror");
        }
        defaults::spec(&mut pod["spec"]);
    }
    pod["status"] = handle.status();
    pod
}
