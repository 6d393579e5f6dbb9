//! Who else has a say when a pod is made: namespaces, Pod Security, quotas, and a webhook that is a fault.

use http::StatusCode;
use serde_json::Value;

use super::{
    resource::{self, Resource},
    respond::Failure,
    server::Cx,
    store,
};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Objects are made only in a namespace that is there and stays.
pub(super) async fn namespace_open(cx: &Cx, name: &str) -> Result<(), Failure> {
    let namespace = namespace(cx, name).await?;
    if namespace["metadata"]["deletionTimestamp"].is_string() {
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        return Err(Failure::forbidden(&cx.info.group, &cx.info.resource, None, &why));
    }
    Ok(())
}

async fn namespace(cx: &Cx, name: &str) -> Result<Value, Failure> {
    let res: &Resource = resource::namespaces();
    let found =
        cx.server.store.cached(res, None).await?.into_iter().find(|item| item.object["metadata"]["name"] == name);
    Ok(found.ok_or_else(|| Failure::not_found(res, name))?.object)
}

/// Judges a new pod, its defaults filled in.
pub(super) async fn pod(cx: &Cx, pod: &Value) -> Result<(), Failure> {
    let name = text(&pod["metadata"]["name"]);
    let in_namespace = cx.info.namespace.as_deref().unwrap_or_default();
    let labels = &namespace(cx, in_namespace).await?["metadata"]["labels"];
    let level = labels["pod-security.kubernetes.io/enforce"].as_str().unwrap_or("privileged");
    let version = labels["pod-security.kubernetes.io/enforce-version"].as_str().unwrap_or("latest");
    let violations = violations(level, &pod["spec"]);
    if !violations.is_empty() {
        let why = format!("violates PodSecurity \"{level}:{version}\": {}", violations.join(", "));
        return Err(Failure::forbidden("", "pods", Some(name), &why));
    }
    if let Some(message) = &cx.faults.refuse_pods {
        let message = format!("admission webhook \"pods.lab.example\" denied the request: {message}");
        return Err(Failure::new(StatusCode::FORBIDDEN, "Forbidden", message));
    }
    quota(cx, in_namespace, name).await
}

/// Counts pods that have not ended against every quota of the namespace.
async fn quota(cx: &Cx, namespace: &str, name: &str) -> Result<(), Failure> {
    let Some(quotas) = resource::find("", "v1", "resourcequotas") else { return Ok(()) };
    for quota in cx.server.store.cached(quotas, Some(namespace)).await? {
        for what in ["pods", "count/pods"] {
            let hard = &quota.object["spec"]["hard"][what];
            let Some(hard) = hard.as_i64().or_else(|| hard.as_str()?.parse().ok()) else { continue };
            let ended = |pod: &Value| matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
            let mut pods = cx.server.store.all(resource::pods(), Some(namespace));
            let mut used = 0_usize;
            while let Some(piece) = pods.next(None).await? {
                for row in &piece.rows {
                    used += usize::from(what != "pods" || !ended(&store::decode(row)?.object));
                }
            }
            if i64::try_from(used).is_ok_and(|used| used + 1 > hard) {
                let of = text(&quota.object["metadata"]["name"]);
                let why =
                    format!("exceeded quota: {of}, requested: {what}=1, used: {what}={used}, limited: {what}={hard}");
                return Err(Failure::forbidden("", "pods", Some(name), &why));
            }
        }
    }
    Ok(())
}

/// Capabilities the baseline lets a container add.
const BASELINE_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Volumes the restricted level knows.
const RESTRICTED_VOLUMES: &[&str] = &[
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What a pod does that its namespace's level forbids, in the words and order of `k8s.io/pod-security-admission`.
fn violations(level: &str, spec: &Value) -> Vec<String> {
    let restricted = match level {
        "privileged" => return Vec::new(),
        "baseline" => false,
        // A level nobody knows is taken for the strictest.
        _ => true,
    };
    let mut found = Vec::new();
    let containers: Vec<&Value> =
        ["initContainers", "containers"].iter().flat_map(|list| spec[list].as_array().into_iter().flatten()).collect();
    let volumes: Vec<&Value> = spec["volumes"].as_array().into_iter().flatten().collect();
    let which = |bad: &dyn Fn(&Value) -> bool| -> Vec<&str> {
        containers.iter().filter(|c| bad(c)).map(|c| text(&c["name"])).collect()
    };
    let added = |c: &Value| -> Vec<String> {
        let added = c["securityContext"]["capabilities"]["add"].as_array();
        added.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    if !restricted {
        let bad = which(&|c| added(c).iter().any(|cap| !BASELINE_CAPABILITIES.contains(&cap.as_str())));
        let caps: std::collections::BTreeSet<String> = containers
            .iter()
            .flat_map(|c| added(c))
            .filter(|cap| !BASELINE_CAPABILITIES.contains(&cap.as_str()))
            .map(|cap| format!("{cap:?}"))
            .collect();
        let caps = caps.into_iter().collect::<Vec<_>>().join(", ");
        let must = format!("not include {caps} in securityContext.capabilities.add");
        complain(&mut found, "non-default capabilities", "", &bad, &must);
    }
    let host: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| spec[**field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    let host_paths: Vec<&str> =
        volumes.iter().filter(|v| v["hostPath"].is_object()).map(|v| text(&v["name"])).collect();
    let privileged = which(&|c| c["securityContext"]["privileged"] == true);
    if !host.is_empty() {
        found.push(format!("host namespaces ({})", host.join(", ")));
    }
    if !restricted && !host_paths.is_empty() {
        found.push(format!("hostPath volumes ({})", listed("volume", &host_paths)));
    }
    complain(&mut found, "privileged", "", &privileged, "not set securityContext.privileged=true");
    if !restricted {
        return found;
    }
    let escalates = which(&|c| c["securityContext"]["allowPrivilegeEscalation"] != false);
    let must = "set securityContext.allowPrivilegeEscalation=false";
    complain(&mut found, "allowPrivilegeEscalation != false", "", &escalates, must);
    let keeps = which(&|c| {
        let dropped = c["securityContext"]["capabilities"]["drop"].as_array();
        !dropped.is_some_and(|d| d.iter().any(|cap| cap == "ALL"))
    });
    complain(&mut found, "unrestricted capabilities", "", &keeps, "set securityContext.capabilities.drop=[\"ALL\"]");
    for volume in &volumes {
        let kind = volume.as_object().and_then(|v| v.keys().find(|k| !RESTRICTED_VOLUMES.contains(&k.as_str())));
        if let Some(kind) = kind {
            let name = text(&volume["name"]);
            found.push(format!("restricted volume types (volume {name:?} uses restricted volume type {kind:?})"));
        }
    }
    let pod = &spec["securityContext"];
    let of = |c: &Value, field: &str| c["securityContext"].get(field).or_else(|| pod.get(field)).cloned();
    let roots = which(&|c| of(c, "runAsNonRoot") != Some(Value::Bool(true)));
    complain(&mut found, "runAsNonRoot != true", "pod or ", &roots, "set securityContext.runAsNonRoot=true");
    let zero = which(&|c| of(c, "runAsUser").is_some_and(|user| user == 0));
    complain(&mut found, "runAsUser=0", "pod or ", &zero, "not set runAsUser=0");
    let unconfined = which(&|c| {
        let profile = of(c, "seccompProfile").unwrap_or_default();
        !matches!(text(&profile["type"]), "RuntimeDefault" | "Localhost")
    });
    let must = "set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    complain(&mut found, "seccompProfile", "pod or ", &unconfined, must);
    found
}

fn complain(found: &mut Vec<String>, what: &str, pod_or: &str, containers: &[&str], must: &str) {
    if !containers.is_empty() {
        found.push(format!("{what} ({pod_or}{} must {must})", listed("container", containers)));
    }
}

/// `container "a"` or `containers "a", "b"`.
fn listed(what: &str, names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("{what}{} {}", if names.len() == 1 { "" } else { "s" }, quoted.join(", "))
}
