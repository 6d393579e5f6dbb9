//! The kubelet's side of the API: the node object, the node's pods, their status, mirror pods. While the server is
//! down pods run on; when it is back, what it does not know any more is ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::handle::{Handle, Report};
use super::status::now;
use super::{Node, volumes, worker};
use crate::manifests::VERSION;
use crate::pod::Pod;

/// How soon a server that is away is asked again.
const RETRY: Duration = Duration::from_millis(200);
/// How often the node's status is written.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How soon a mirror pod that was refused is tried again.
const MIRROR_RETRY: Duration = Duration::from_secs(1);
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The node's pods in the API, by namespace and name.
type Known = BTreeMap<(String, String), Value>;

/// Follows the API for ever.
pub(super) async fn run(node: Arc<Node>) -> Result<()> {
    loop {
        if let Err(error) = session(&node).await {
            tracing::debug!("API server: {error:#}");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// One connection: a list, then its watch until that breaks.
async fn session(node: &Arc<Node>) -> Result<()> {
    heartbeat(node).await?;
    let selector = format!("fieldSelector=spec.nodeName%3D{}", node.name);
    let list = node.api.get(&format!("/api/v1/pods?{selector}")).await?;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let mut known = Known::new();
    for pod in list["items"].as_array().into_iter().flatten() {
        known.insert(key(pod), pod.clone());
    }
    for handle in node.pods() {
        let listed = known.values().any(|pod| pod["metadata"]["uid"] == *handle.pod.metadata.uid);
        if !handle.is_static() && !listed {
            gone(node, &handle);
        }
        handle.repost.notify_one();
    }
    for pod in known.values() {
        admit(node, pod).await?;
    }
    let mut watch = node.api.watch(&format!("/api/v1/pods?{selector}&watch=1&resourceVersion={version}")).await?;
    let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        let complete = mirrors(node, &known).await?;
        tokio::select! {
            event = watch.next() => {
                let Some(event) = event? else { return Ok(()) };
                let object = &event["object"];
                match event["type"].as_str() {
                    Some("ADDED" | "MODIFIED") => {
                        known.insert(key(object), object.clone());
                        admit(node, object).await?;
                    }
                    Some("DELETED") => {
                        known.remove(&key(object));
                        let handle = node.pods().into_iter().find(|handle| object["metadata"]["uid"] == *handle.pod.metadata.uid);
                        if let Some(handle) = handle.filter(|handle| !handle.is_static()) {
                            gone(node, &handle);
                        }
                    }
                    Some("BOOKMARK") => {}
                    _ => bail!("watch: {event}"),
                }
            }
            () = node.statics_changed.notified() => {}
            _ = beat.tick() => heartbeat(node).await?,
            () = tokio::time::sleep(MIRROR_RETRY), if !complete => {}
        }
    }
}

fn key(pod: &Value) -> (String, String) {
    let field = |name: &str| pod["metadata"][name].as_str().unwrap_or_default().to_owned();
    (field("namespace"), field("name"))
}

/// Ends a pod whose object is gone, and forgets it.
fn gone(node: &Arc<Node>, handle: &Arc<Handle>) {
    handle.end(handle.grace());
    let (node, handle) = (Arc::clone(node), Arc::clone(handle));
    tokio::spawn(async move {
        handle.wait_end().await;
        node.remove(&handle.pod.metadata.uid);
        if let Err(error) = volumes::remove(&handle.pod, &handle.dir(&node)) {
            tracing::error!("{error:#}");
        }
    });
}

/// Starts a new pod, or ends one that is to be deleted.
async fn admit(node: &Arc<Node>, object: &Value) -> Result<()> {
    if object["metadata"]["annotations"].get(MIRROR).is_some() {
        return Ok(());
    }
    let pod: Pod = match Pod::parse(object.clone()) {
        Ok(pod) => pod,
        Err(error) => {
            tracing::warn!("a pod that cannot be read: {error}");
            return Ok(());
        }
    };
    let uid = pod.metadata.uid.clone();
    let known = node.pods().into_iter().find(|handle| handle.pod.metadata.uid == uid);
    let handle = match known {
        Some(handle) => {
            handle.renew(object);
            handle
        }
        None if pod.metadata.deletion_timestamp.is_some() => {
            let path = format!("/api/v1/namespaces/{}/pods/{}", pod.metadata.namespace, pod.metadata.name);
            return delete(node, &path, &uid).await;
        }
        None if pod.is_terminal() => return Ok(()),
        None => {
            let (handle, reports) = Handle::new(pod.clone(), object.clone(), false);
            let handle = Arc::new(handle);
            node.insert(&uid, Arc::clone(&handle));
            tokio::spawn(report(Arc::clone(node), Arc::clone(&handle), reports));
            let (node, of_pod) = (Arc::clone(node), Arc::clone(&handle));
            tokio::spawn(async move {
                if let Err(error) = worker::run(node, Arc::clone(&of_pod)).await {
                    tracing::error!(pod = of_pod.pod.metadata.name, "{error:#}");
                }
            });
            handle
        }
    };
    if pod.metadata.deletion_timestamp.is_some() && !handle.deleting.swap(true, Ordering::SeqCst) {
        if handle.is_active() {
            let grace = pod.metadata.deletion_grace_period_seconds.map_or(handle.grace(), Duration::from_secs);
            handle.observe(pod.metadata.generation.unwrap_or_default());
            // The worker says first that it saw the deletion.
            handle.end(grace);
        } else {
            // The reporter lives as long as the handle.
            let _ = handle.reports.send(Report::Delete);
        }
    }
    Ok(())
}

async fn delete(node: &Node, path: &str, uid: &str) -> Result<()> {
    let options =
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
    match node.api.call(Method::DELETE, path, Some(&options)).await? {
        (status, _) if status.is_success() || status == StatusCode::NOT_FOUND || status == StatusCode::CONFLICT => {
            Ok(())
        }
        (status, answer) => bail!("DELETE {path}: {status}: {answer}"),
    }
}

/// Makes the API's mirror pods those of the static pods, and says whether it could: one that is refused, as when etcd is
/// full, changes nothing for the pod.
async fn mirrors(node: &Arc<Node>, known: &Known) -> Result<bool> {
    let mut complete = true;
    let statics: Vec<_> = node.pods().into_iter().filter(|handle| handle.is_static() && handle.is_active()).collect();
    for ((namespace, name), pod) in known {
        let Some(hash) = pod["metadata"]["annotations"].get(MIRROR) else { continue };
        let own = statics.iter().any(|handle| *hash == *handle.pod.metadata.uid);
        if !own || !pod["metadata"]["deletionTimestamp"].is_null() {
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
            delete(node, &format!("/api/v1/namespaces/{namespace}/pods/{name}"), uid).await?;
        }
    }
    for handle in statics {
        let key = (handle.namespace().to_owned(), handle.api_name(&node.name));
        if known.contains_key(&key) {
            continue;
        }
        let path = format!("/api/v1/namespaces/{}/pods", key.0);
        let mut mirror = handle.object();
        let object = node.api.get(&format!("/api/v1/nodes/{}", node.name)).await?;
        mirror["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "controller": true,
            "name": node.name, "uid": object["metadata"]["uid"]}]);
        match node.api.call(Method::POST, &path, Some(&mirror)).await? {
            (StatusCode::CREATED, _) => handle.repost.notify_one(),
            // The watch has yet to say so.
            (StatusCode::CONFLICT, _) => {}
            (status, answer) => {
                tracing::warn!("no mirror pod: POST {path}: {status}: {answer}");
                complete = false;
            }
        }
    }
    Ok(complete)
}

/// Writes a pod's statuses, in order, each until the server took it. What a server that is away missed is made up by
/// the latest one.
pub(super) async fn report(node: Arc<Node>, handle: Arc<Handle>, mut reports: mpsc::UnboundedReceiver<Report>) {
    let path = handle.api_path(&node.name);
    let mut latest: Option<Value> = None;
    loop {
        tokio::select! {
            biased;
            report = reports.recv() => match report {
                Some(Report::Status(status)) => {
                    latest = Some(status.clone());
                    while !write(&node, &handle, &path, latest.as_ref()).await {
                        tokio::time::sleep(RETRY).await;
                    }
                }
                Some(Report::Delete) => {
                    while let Err(error) = delete(&node, &path, &handle.pod.metadata.uid).await {
                        tracing::debug!("{error:#}");
                        tokio::time::sleep(RETRY).await;
                    }
                    return;
                }
                None => return,
            },
            () = handle.repost.notified() => {
                while !write(&node, &handle, &path, latest.as_ref()).await {
                    tokio::time::sleep(RETRY).await;
                }
            }
            () = removed(&handle) => return,
        }
    }
}

/// A static pod that ended has no object to report to; any other is reported on until its object is gone.
async fn removed(handle: &Handle) {
    if handle.is_static() { handle.wait_end().await } else { std::future::pending().await }
}

/// Whether the status needs no second try: it is written, or its object is gone.
async fn write(node: &Node, handle: &Handle, path: &str, status: Option<&Value>) -> bool {
    let Some(status) = status else { return true };
    let mut patch = json!({"status": status});
    if !handle.is_static() {
        patch["metadata"] = json!({"uid": handle.pod.metadata.uid});
    }
    match node.api.call(Method::PATCH, &format!("{path}/status"), Some(&patch)).await {
        Ok((code, _)) if code.is_success() || code == StatusCode::NOT_FOUND || code == StatusCode::CONFLICT => true,
        Ok((code, answer)) => {
            tracing::warn!("PATCH {path}/status: {code}: {answer}");
            false
        }
        Err(_) => !handle.is_active() && handle.is_static(),
    }
}

/// Tells of a pod, in an event, what its status does not say. Like a real kubelet it does not try again.
pub(super) async fn warn(node: &Node, handle: &Handle, reason: &str, message: &str) {
    let (namespace, name) = (handle.namespace(), handle.api_name(&node.name));
    let event = json!({"apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": reason, "message": message,
        "metadata": {"name": format!("{name}.{:016x}", rand::random::<u64>()), "namespace": namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": name, "namespace": namespace,
            "uid": handle.pod.metadata.uid},
        "source": {"component": "kubelet", "host": node.name}, "reportingComponent": "kubelet",
        "reportingInstance": node.name, "count": 1, "firstTimestamp": now(), "lastTimestamp": now()});
    match node.api.call(Method::POST, &format!("/api/v1/namespaces/{namespace}/events"), Some(&event)).await {
        Ok((StatusCode::CREATED, _)) => {}
        Ok((status, answer)) => tracing::warn!("POST event: {status}: {answer}"),
        Err(error) => tracing::warn!("POST event: {error:#}"),
    }
}

/// Makes the node object if it is not there, and writes its status.
async fn heartbeat(node: &Node) -> Result<()> {
    let path = format!("/api/v1/nodes/{}", node.name);
    let object = match node.api.call(Method::GET, &path, None).await? {
        (StatusCode::OK, object) => object,
        (StatusCode::NOT_FOUND, _) => {
            let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": {
                "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux",
                "node-role.kubernetes.io/control-plane": "",
                "node.kubernetes.io/exclude-from-external-load-balancers": ""}}, "spec": {}});
            match node.api.call(Method::POST, "/api/v1/nodes", Some(&object)).await? {
                (StatusCode::CREATED, object) => object,
                (status, answer) => bail!("POST node: {status}: {answer}"),
            }
        }
        (status, answer) => bail!("GET node: {status}: {answer}"),
    };
    let ready = object["status"]["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready");
    let since = ready.and_then(|one| one["lastTransitionTime"].as_str()).map_or_else(now, str::to_owned);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
               "lastHeartbeatTime": now(), "lastTransitionTime": since})
    };
    let images: Vec<_> = node.images.references()?.into_iter().map(|name| json!({"names": [name]})).collect();
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": node.address}, {"type": "Hostname", "address": node.name}],
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "images": images,
        "nodeInfo": {"architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": VERSION,
            "containerRuntimeVersion": "containerd://2.3.4", "osImage": "kubectl-etcd lab", "kernelVersion": "",
            "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": ""},
    }});
    match node.api.call(Method::PATCH, &format!("{path}/status"), Some(&status)).await? {
        (code, _) if code.is_success() => Ok(()),
        // The next one may be taken; what is there of pods is looked after all the same.
        (code, answer) => {
            tracing::warn!("PATCH {path}/status: {code}: {answer}");
            Ok(())
        }
    }
}
