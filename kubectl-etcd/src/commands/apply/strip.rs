//! What is taken out of an object before it is sent: what the server has set in it, and what holds only for the object that was.

use serde_json::{Map, Value};

use crate::contents::plain;

/// What a claim is told by whoever binds it: kubernetes/component-helpers storage/volume/pv_helpers.go @ v0.36.0.
const BIND_ANNOTATIONS: [&str; 2] = ["pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"];
/// Which node the volume was made for; another one may be needed by now: kubernetes/component-helpers storage/volume/pv_helpers.go @ v0.36.0.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// How an object goes that is being deleted: kubernetes/apimachinery pkg/apis/meta/v1/types.go @ v0.36.0.
const OF_A_DELETION: [&str; 2] = ["foregroundDeletion", "orphan"];
/// What the server writes into the pods of a job: kubernetes/kubernetes pkg/registry/batch/job/strategy.go.
const JOB_LABELS: [&str; 4] =
    ["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"];

/// What is known of the cluster beside the object.
#[derive(Debug, Default)]
pub(super) struct Around<'a> {
    /// The object as it is there.
    pub(super) live: Option<&'a Value>,
    /// For a claim: the volume that it names, there or about to be.
    pub(super) volume: Option<&'a Value>,
    /// For a volume: the claim that it names.
    pub(super) claim: Option<&'a Value>,
}

/// What is sent of an object, and what has to be said about it.
pub(super) fn strip(object: &Value, around: &Around<'_>) -> (Value, Vec<String>) {
    let mut sent = plain(object, false);
    let mut notes = Vec::new();
    // It was being deleted when the snapshot was taken, and is not any more.
    if let Some(finalizers) = sent.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) {
        finalizers.retain(|one| !OF_A_DELETION.iter().any(|of| one == of));
        if finalizers.is_empty() {
            remove(&mut sent, "/metadata", "finalizers");
        }
    }
    let group = sent["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
    match (group, sent["kind"].as_str().unwrap_or_default()) {
        // The server knows who finalizes it.
        ("", "Namespace") => drop(remove(&mut sent, "/spec", "finalizers")),
        ("", "Pod") => pod(&mut sent, &mut notes),
        ("", "Service") => service(&mut sent, around.live, &mut notes),
        ("", "PersistentVolumeClaim") => claim(&mut sent, around, &mut notes),
        ("", "PersistentVolume") => volume(&mut sent, around.claim, &mut notes),
        ("batch", "Job") => job(&mut sent, &mut notes),
        _ => {}
    }
    (sent, notes)
}

fn fields<'a>(object: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    object.pointer_mut(pointer)?.as_object_mut()
}

/// Takes a field out of what is at the pointer; what is empty then goes as well. Whether it was there.
fn remove(object: &mut Value, pointer: &str, field: &str) -> bool {
    let Some(map) = fields(object, pointer) else { return false };
    let there = map.remove(field).is_some();
    if map.is_empty()
        && let Some((above, name)) = pointer.rsplit_once('/')
        && let Some(above) = fields(object, above)
    {
        above.remove(name);
    }
    there
}

fn pod(pod: &mut Value, notes: &mut Vec<String>) {
    if remove(pod, "/spec", "nodeName") {
        notes.push("without spec.nodeName: the scheduler finds a node".to_owned());
    }
    if remove(pod, "/spec", "ephemeralContainers") {
        notes.push("without its ephemeral containers".to_owned());
    }
    let is_injected = |volume: &Value| {
        volume["projected"].is_object()
            && volume["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"))
    };
    let volumes = pod.pointer_mut("/spec/volumes").and_then(Value::as_array_mut);
    let injected: Vec<Value> = volumes
        .map(|volumes| {
            volumes.extract_if(.., |volume| is_injected(volume)).map(|volume| volume["name"].clone()).collect()
        })
        .unwrap_or_default();
    if injected.is_empty() {
        return;
    }
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in pod.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(mounts) = container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                mounts.retain(|mount| !injected.contains(&mount["name"]));
            }
        }
    }
    notes.push("without the volume of its account's token: the server adds a new one".to_owned());
}

/// A service that is there keeps its addresses and ports: they cannot be changed, or others may have the old ones.
fn service(service: &mut Value, live: Option<&Value>, notes: &mut Vec<String>) {
    let Some(live) = live else { return };
    if service["spec"]["clusterIP"] == "None" || service["spec"]["clusterIP"] == live["spec"]["clusterIP"] {
        return;
    }
    if drop_addresses(service) {
        let own = live["spec"]["clusterIP"].as_str().unwrap_or("none");
        notes.push(format!("without spec.clusterIP: the service that is there keeps its own ({own})"));
    }
}

/// Takes out the addresses of a service, for the server to give it others. Whether it had any.
pub(super) fn drop_addresses(service: &mut Value) -> bool {
    let one = remove(service, "/spec", "clusterIP");
    remove(service, "/spec", "clusterIPs") || one
}

/// Takes out the node ports of a service, for the server to give it others. Whether it had any.
pub(super) fn drop_node_ports(service: &mut Value) -> bool {
    let mut dropped = remove(service, "/spec", "healthCheckNodePort");
    for port in service
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        dropped |= port.remove("nodePort").is_some();
    }
    dropped
}

fn claim(claim: &mut Value, around: &Around<'_>, notes: &mut Vec<String>) {
    let Some(name) = claim["spec"]["volumeName"].as_str().filter(|name| !name.is_empty()).map(str::to_owned) else {
        return;
    };
    // What is bound stays so.
    if around.live.is_some_and(|live| live["spec"]["volumeName"] == name.as_str()) {
        return;
    }
    // Whoever binds it writes them anew: a claim that says of itself that it is bound, to a volume that does not name its UID, is lost
    // for good (kubernetes/kubernetes pkg/controller/volume/persistentvolume/pv_controller.go, syncBoundClaim @ v1.36.0).
    for annotation in BIND_ANNOTATIONS {
        remove(claim, "/metadata/annotations", annotation);
    }
    let why = match around.volume {
        None => "is not there".to_owned(),
        Some(volume) => {
            let by = &volume["spec"]["claimRef"];
            let same = ["namespace", "name"].iter().all(|field| by[field] == claim["metadata"][field]);
            let uid = by["uid"].as_str().filter(|uid| !uid.is_empty());
            match (by.is_object(), same) {
                (false, _) => return,
                (true, true)
                    if uid.is_none() || uid == around.live.and_then(|live| live["metadata"]["uid"].as_str()) =>
                {
                    return;
                }
                (true, true) => "is still claimed by the claim that was deleted".to_owned(),
                (true, false) => "is claimed by another claim".to_owned(),
            }
        }
    };
    remove(claim, "/spec", "volumeName");
    remove(claim, "/metadata/annotations", SELECTED_NODE);
    notes.push(format!("without spec.volumeName: volume {name} {why}, and the claim gets another one"));
}

/// A claim that is made anew is another one, whatever it is called.
fn volume(volume: &mut Value, claim: Option<&Value>, notes: &mut Vec<String>) {
    let uid = volume["spec"]["claimRef"]["uid"].clone();
    if uid.is_null() || claim.is_some_and(|claim| claim["metadata"]["uid"] == uid) {
        return;
    }
    remove(volume, "/spec/claimRef", "uid");
    remove(volume, "/spec/claimRef", "resourceVersion");
    notes.push("for a claim of the same name: the one that it was bound to is not there any more".to_owned());
}

fn job(job: &mut Value, notes: &mut Vec<String>) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let mut dropped = remove(job, "/spec", "selector");
    for pointer in ["/spec/template/metadata/labels", "/metadata/labels"] {
        for label in JOB_LABELS {
            dropped |= remove(job, pointer, label);
        }
    }
    if dropped {
        notes.push("without the selector and the labels that the server makes".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn alone(object: &Value) -> (Value, String) {
        let (sent, notes) = strip(object, &Around::default());
        (sent, notes.join("; "))
    }

    #[test]
    fn a_pod_goes_where_the_scheduler_puts_it() {
        let mounts = json!([{"name": "data", "mountPath": "/d"}, {"name": "kube-api-access-x", "mountPath": "/t"}]);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "uid": "u"}, "status": {}, "spec": {
            "nodeName": "cp1", "containers": [{"name": "c", "volumeMounts": mounts}], "initContainers": [{"name": "i"}],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "kube-api-access-x", "projected": {}}],
        }});
        let (sent, notes) = alone(&pod);
        assert_eq!(
            sent["spec"],
            json!({"containers": [{"name": "c", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}],
                "initContainers": [{"name": "i"}], "volumes": [{"name": "data", "emptyDir": {}}]})
        );
        assert!(sent["metadata"].get("uid").is_none() && sent.get("status").is_none(), "{sent}");
        assert!(notes.contains("spec.nodeName") && notes.contains("token"), "{notes}");
    }

    #[test]
    fn a_service_keeps_its_addresses_if_it_can() {
        let service = |ip: &str| {
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {
            "clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80, "nodePort": 30080}], "healthCheckNodePort": 30081}})
        };
        let (one, other) = (service("10.0.0.1"), service("10.0.0.2"));
        assert_eq!(alone(&one), (one.clone(), String::new()));
        let (sent, notes) = strip(&one, &Around { live: Some(&one), ..Around::default() });
        assert_eq!((sent, notes.len()), (one.clone(), 0));
        let (mut sent, notes) = strip(&one, &Around { live: Some(&other), ..Around::default() });
        assert!(sent["spec"].get("clusterIP").is_none() && sent["spec"].get("clusterIPs").is_none(), "{sent}");
        assert!(notes[0].contains("10.0.0.2"), "{notes:?}");
        assert!(drop_node_ports(&mut sent) && !drop_node_ports(&mut sent) && !drop_addresses(&mut sent));
        assert_eq!(sent["spec"], json!({"ports": [{"port": 80}]}));
        let headless = service("None");
        let (sent, _) = strip(&headless, &Around { live: Some(&other), ..Around::default() });
        assert_eq!(sent["spec"]["clusterIP"], "None");
    }

    #[test]
    fn a_claim_keeps_a_volume_that_is_its_own() {
        let annotations =
            json!({"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"});
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"volumeName": "pv"},
            "metadata": {"name": "a", "namespace": "shop", "annotations": annotations}});
        let volume = |claim: Value| json!({"spec": {"claimRef": claim}});
        let live = json!({"metadata": {"uid": "u"}, "spec": {}});
        for (live, volume, why) in [
            (None, None, Some("is not there")),
            (None, Some(json!({"spec": {}})), None),
            (None, Some(volume(json!({"namespace": "shop", "name": "a"}))), None),
            (
                None,
                Some(volume(json!({"namespace": "shop", "name": "a", "uid": "u"}))),
                Some("the claim that was deleted"),
            ),
            (Some(&live), Some(volume(json!({"namespace": "shop", "name": "a", "uid": "u"}))), None),
            (None, Some(volume(json!({"namespace": "shop", "name": "b"}))), Some("another claim")),
            (Some(&claim), None, None),
        ] {
            let (sent, notes) = strip(&claim, &Around { live, volume: volume.as_ref(), claim: None });
            assert_eq!(sent["spec"].get("volumeName").is_none(), why.is_some(), "{volume:?}");
            // Only what is bound to it now says so.
            let bound = live.is_some_and(|live| live["spec"]["volumeName"] == "pv");
            assert_eq!(sent["metadata"].get("annotations").is_some(), bound, "{sent}");
            assert_eq!(notes.iter().any(|note| note.contains(why.unwrap_or("?"))), why.is_some(), "{notes:?}");
        }
        let named = json!({"namespace": "shop", "name": "a", "uid": "u", "resourceVersion": "3"});
        let bound = json!({"apiVersion": "v1", "kind": "PersistentVolume", "spec": {"claimRef": named}});
        assert_eq!(alone(&bound).0["spec"]["claimRef"], json!({"namespace": "shop", "name": "a"}));
        assert_eq!(strip(&bound, &Around { claim: Some(&live), ..Around::default() }), (bound.clone(), Vec::new()));
    }

    #[test]
    fn what_was_being_deleted_is_not_any_more() {
        let map = |finalizers: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": finalizers, "deletionTimestamp": "x"}});
        assert_eq!(alone(&map(json!(["foregroundDeletion"]))).0["metadata"], json!({"name": "a"}));
        let kept = alone(&map(json!(["orphan", "example.com/x"]))).0;
        assert_eq!(kept["metadata"]["finalizers"], json!(["example.com/x"]));
    }

    #[test]
    fn a_job_gets_a_new_selector() {
        let labels = json!({"app": "a", "controller-uid": "u", "batch.kubernetes.io/job-name": "a"});
        let job = |manual: bool| {
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "labels": {"job-name": "a"}},
            "spec": {"manualSelector": manual, "selector": {"matchLabels": {"controller-uid": "u"}}, "template": {"metadata": {"labels": labels}}}})
        };
        let (sent, notes) = alone(&job(false));
        assert_eq!(sent["spec"]["template"]["metadata"]["labels"], json!({"app": "a"}));
        assert!(sent["spec"].get("selector").is_none() && sent["metadata"].get("labels").is_none(), "{sent}");
        assert!(notes.contains("selector"), "{notes}");
        assert_eq!(alone(&job(true)), (job(true), String::new()));
    }

    #[test]
    fn others_are_sent_as_they_are() {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}});
        assert_eq!(alone(&namespace).0, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
        let custom = json!({"apiVersion": "example.com/v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"nodeName": "x"}});
        assert_eq!(alone(&custom), (custom.clone(), String::new()));
    }
}
