//! What pods do differently: defaults, graceful deletion, binding, the few fields of a spec that may change.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    request::Query,
    resource::{self, Resource},
    respond::{Cause, Failure, Reply, json_reply},
    rest,
    server::Cx,
};
use crate::defaults;

/// Annotation of the API's image of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Fills in what the real server does.
pub(super) fn default(pod: &mut Value) -> Result<(), Failure> {
    if pod.get("spec").is_none() {
        pod["spec"] = json!({});
    }
    let is_mirror = pod["metadata"]["annotations"].get(MIRROR).is_some();
    let name = text(&pod["metadata"]["name"]).to_owned();
    let spec = &mut pod["spec"];
    defaults::set(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    if !is_mirror {
        defaults::set(spec, "serviceAccountName", json!("default"));
        spec["serviceAccount"] = spec["serviceAccountName"].clone();
    }
    let priority = match text(&spec["priorityClassName"]) {
        "" => 0,
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        class => {
            let why = format!("no PriorityClass with name {class} was found");
            return Err(Failure::forbidden("", "pods", Some(&name), &why));
        }
    };
    defaults::set(spec, "priority", json!(priority));
    defaults::spec(spec);
    pod["status"] = json!({ "phase": "Pending", "qosClass": qos(&pod["spec"]) });
    Ok(())
}

fn qos(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| spec[list].as_array().into_iter().flatten())
        .map(|container| &container["resources"])
        .collect();
    let has = |resources: &&Value, field: &str| resources[field].as_object().is_some_and(|map| !map.is_empty());
    if !containers.iter().any(|r| has(r, "requests") || has(r, "limits")) {
        return "BestEffort";
    }
    let guaranteed = containers.iter().all(|r| {
        ["cpu", "memory"].iter().all(|what| {
            let limit = &r["limits"][what];
            limit.is_string() && (r["requests"].get(what).is_none_or(|request| request == limit))
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// How long the kubelet may take to end the pod, seconds; 0 deletes it at once.
pub(super) fn grace(pod: &Value, options: &Value, query: &Query) -> Result<i64, Failure> {
    let asked = options["gracePeriodSeconds"].as_i64().or(query.number("gracePeriodSeconds")?);
    let unbound = text(&pod["spec"]["nodeName"]).is_empty();
    let ended = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
    let mirror = pod["metadata"]["annotations"].get(MIRROR).is_some();
    if unbound || ended || mirror {
        return Ok(0);
    }
    Ok(asked.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30).max(0))
}

/// The object with its deletion written on it; `None` when one at least as quick already is.
pub(super) fn mark_deleted(object: &Value, grace: i64) -> Option<Value> {
    let metadata = &object["metadata"];
    if metadata["deletionTimestamp"].is_string()
        && metadata["deletionGracePeriodSeconds"].as_i64().is_some_and(|before| before <= grace)
    {
        return None;
    }
    let mut marked = object.clone();
    let when = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
    marked["metadata"]["deletionTimestamp"] = json!(when.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    marked["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    if let Some(generation) = metadata["generation"].as_i64() {
        marked["metadata"]["generation"] = json!(generation + 1);
    }
    Some(marked)
}

/// Refuses changes of a spec that only a new pod may have.
pub(super) fn check_update(res: &Resource, old: &Value, new: &mut Value) -> Result<(), Failure> {
    let mut allowed = new["spec"].clone();
    for field in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
        match old["spec"].get(field) {
            Some(value) => allowed[field] = value.clone(),
            None => drop(allowed.as_object_mut().and_then(|spec| spec.remove(field))),
        }
    }
    for list in ["initContainers", "containers"] {
        let before = old["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default();
        for (container, before) in allowed.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().zip(before)
        {
            container["image"] = before["image"].clone();
        }
    }
    if allowed == old["spec"] {
        return Ok(());
    }
    let message = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
        `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
        tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    let cause = Cause { reason: "FieldValueForbidden", message: message.to_owned(), field: "spec".to_owned() };
    Err(Failure::invalid(res, text(&old["metadata"]["name"]), &[cause]))
}

/// Binds a pod to the node a Binding names.
pub(super) async fn bind(cx: &Cx, binding: &Value) -> Result<Reply, Failure> {
    let node = text(&binding["target"]["name"]);
    let name = cx.info.name.as_deref().unwrap_or_default();
    let res = resource::pods();
    let old = rest::read(cx, res).await?;
    let bound = text(&old.object["spec"]["nodeName"]);
    if !bound.is_empty() {
        let why = format!("pod {name} is already assigned to node {bound:?}");
        return Err(Failure::conflict(res, name, &why));
    }
    if node.is_empty() {
        let cause = Cause {
            reason: "FieldValueRequired",
            message: "Required value".to_owned(),
            field: "target.name".to_owned(),
        };
        return Err(Failure::invalid(res, name, &[cause]));
    }
    let mut pod = old.object.clone();
    pod["spec"]["nodeName"] = json!(node);
    if cx.server.store.update(&old.key, old.revision, &pod).await?.is_none() {
        return Err(Failure::conflict(res, name, "the pod has changed while it was bound"));
    }
    Ok(json_reply(
        StatusCode::CREATED,
        &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 }),
    ))
}
