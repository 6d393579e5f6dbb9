//! What makes an object invalid: names for everything, and for pods what a client can plausibly get wrong.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    resource::Resource,
    respond::{Cause, Failure},
};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
    and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn required(field: impl Into<String>, more: &str) -> Cause {
    let message = if more.is_empty() { "Required value".to_owned() } else { format!("Required value: {more}") };
    Cause { reason: "FieldValueRequired", message, field: field.into() }
}

fn wrong(field: impl Into<String>, value: &str, why: &str) -> Cause {
    Cause { reason: "FieldValueInvalid", message: format!("Invalid value: {value:?}: {why}"), field: field.into() }
}

fn unsupported(field: String, value: &str, known: &[&str]) -> Cause {
    let known: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
    let message = format!("Unsupported value: {value:?}: supported values: {}", known.join(", "));
    Cause { reason: "FieldValueNotSupported", message, field }
}

/// Lower-case letters, digits and inner dashes.
fn is_dashed(part: &str) -> bool {
    let plain = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain) && bytes.iter().all(|c| plain(c) || *c == b'-')
}

fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_dashed(name)
}

/// Its parts have no length limit of their own, unlike DNS's.
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dashed)
}

/// Refuses an invalid object, naming everything wrong with it.
pub(super) fn object(res: &Resource, object: &Value) -> Result<(), Failure> {
    let name = text(&object["metadata"]["name"]);
    let mut causes = Vec::new();
    let field = "metadata.name";
    let is_path_segment = !matches!(name, "." | "..") && !name.contains(['/', '%']);
    let (fits, rule) = match res.kind {
        "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => {
            (is_path_segment, "may not contain '/' or '%' or be '.' or '..'")
        }
        "Namespace" | "Service" => (is_label(name), LABEL),
        _ => (is_subdomain(name), SUBDOMAIN),
    };
    if name.is_empty() {
        causes.push(required(field, "name or generateName is required"));
    } else if !fits {
        causes.push(wrong(field, name, rule));
    }
    if res.is_pods() {
        pod(&object["spec"], &mut causes);
    }
    if causes.is_empty() { Ok(()) } else { Err(Failure::invalid(res, name, &causes)) }
}

fn pod(spec: &Value, causes: &mut Vec<Cause>) {
    let mut volumes = BTreeSet::new();
    for (index, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        let field = format!("spec.volumes[{index}]");
        named(volume, &field, &mut volumes, causes);
        if volume.as_object().is_some_and(|v| v.len() < 2) {
            causes.push(required(field.clone(), "must specify a volume type"));
        }
        if volume["hostPath"].is_object() {
            host_path(&volume["hostPath"], &field, causes);
        }
    }
    let mut names = BTreeSet::new();
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        causes.push(required("spec.containers", ""));
    }
    for list in ["containers", "initContainers"] {
        for (index, item) in spec[list].as_array().into_iter().flatten().enumerate() {
            let field = format!("spec.{list}[{index}]");
            named(item, &field, &mut names, causes);
            container(item, &field, &volumes, causes);
        }
    }
    one_of(&spec["restartPolicy"], "spec.restartPolicy".to_owned(), &["Always", "OnFailure", "Never"], causes);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(&spec["dnsPolicy"], "spec.dnsPolicy".to_owned(), &policies, causes);
    if spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds < 1) {
        let why = "must be between 1 and 2147483647, inclusive";
        causes.push(wrong("spec.activeDeadlineSeconds", &spec["activeDeadlineSeconds"].to_string(), why));
    }
    let node = text(&spec["nodeName"]);
    if !node.is_empty() && !is_subdomain(node) {
        causes.push(wrong("spec.nodeName", node, SUBDOMAIN));
    }
}

fn host_path(source: &Value, volume: &str, causes: &mut Vec<Cause>) {
    let field = format!("{volume}.hostPath");
    let path = text(&source["path"]);
    if path.is_empty() {
        causes.push(required(format!("{field}.path"), ""));
    } else if path.split('/').any(|part| part == "..") {
        causes.push(wrong(format!("{field}.path"), path, "must not contain '..'"));
    }
    let kinds = ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
    one_of(&source["type"], format!("{field}.type"), &kinds, causes);
}

fn one_of(value: &Value, field: String, known: &[&str], causes: &mut Vec<Cause>) {
    if let Some(value) = value.as_str().filter(|value| !known.contains(value)) {
        causes.push(unsupported(field, value, known));
    }
}

/// Names of things in a pod are labels and occur once.
fn named<'a>(item: &'a Value, field: &str, seen: &mut BTreeSet<&'a str>, causes: &mut Vec<Cause>) {
    let name = text(&item["name"]);
    let field = format!("{field}.name");
    if name.is_empty() {
        causes.push(required(field, ""));
    } else if !is_label(name) {
        causes.push(wrong(field, name, LABEL));
    } else if !seen.insert(name) {
        causes.push(Cause { reason: "FieldValueDuplicate", message: format!("Duplicate value: {name:?}"), field });
    }
}

fn container(container: &Value, field: &str, volumes: &BTreeSet<&str>, causes: &mut Vec<Cause>) {
    if text(&container["image"]).is_empty() {
        causes.push(required(format!("{field}.image"), ""));
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(&container["imagePullPolicy"], format!("{field}.imagePullPolicy"), &policies, causes);
    let mut paths = BTreeSet::new();
    for (index, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let field = format!("{field}.volumeMounts[{index}]");
        let (name, path) = (text(&mount["name"]), text(&mount["mountPath"]));
        if name.is_empty() {
            causes.push(required(format!("{field}.name"), ""));
        } else if !volumes.contains(name) {
            let message = format!("Not found: {name:?}");
            causes.push(Cause { reason: "FieldValueNotFound", message, field: format!("{field}.name") });
        }
        if path.is_empty() {
            causes.push(required(format!("{field}.mountPath"), ""));
        } else if !paths.insert(path) {
            causes.push(wrong(format!("{field}.mountPath"), path, "must be unique"));
        }
    }
    for (index, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        if text(&variable["name"]).is_empty() {
            causes.push(required(format!("{field}.env[{index}].name"), ""));
        }
    }
    let context = &container["securityContext"];
    if context["privileged"] == true && context["allowPrivilegeEscalation"] == false {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        causes.push(wrong(format!("{field}.securityContext"), &context.to_string(), why));
    }
}

/// Fields of pods as of 1.36, by the kind of thing they are in; objects not named here are not looked into.
const KNOWN: &[(&str, &str)] = &[
    ("", "apiVersion kind metadata spec status"),
    (
        "metadata",
        "name generateName namespace selfLink uid resourceVersion generation creationTimestamp deletionTimestamp \
         deletionGracePeriodSeconds labels annotations ownerReferences finalizers managedFields",
    ),
    (
        "spec",
        "volumes initContainers containers ephemeralContainers restartPolicy terminationGracePeriodSeconds \
         activeDeadlineSeconds dnsPolicy nodeSelector serviceAccountName serviceAccount automountServiceAccountToken \
         nodeName hostNetwork hostPID hostIPC shareProcessNamespace securityContext imagePullSecrets hostname subdomain \
         affinity schedulerName tolerations hostAliases priorityClassName priority dnsConfig readinessGates \
         runtimeClassName enableServiceLinks preemptionPolicy overhead topologySpreadConstraints setHostnameAsFQDN os \
         hostUsers schedulingGates resourceClaims resources hostnameOverride workloadRef schedulingGroup",
    ),
    (
        "container",
        "name image command args workingDir ports envFrom env resources resizePolicy restartPolicy restartPolicyRules \
         volumeMounts volumeDevices livenessProbe readinessProbe startupProbe lifecycle terminationMessagePath \
         terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty",
    ),
    (
        "containerSecurity",
        "capabilities privileged seLinuxOptions windowsOptions runAsUser runAsGroup runAsNonRoot \
         readOnlyRootFilesystem allowPrivilegeEscalation procMount seccompProfile appArmorProfile",
    ),
    ("mount", "name readOnly recursiveReadOnly mountPath subPath mountPropagation subPathExpr"),
    ("hostPath", "path type"),
];

/// Finds fields no pod has; strictly they are refused, else they are warnings. Other kinds have no schema here.
pub(super) fn fields(res: &Resource, object: &Value, mode: Option<&str>) -> Result<Vec<String>, Failure> {
    if !res.is_pods() || mode == Some("Ignore") {
        return Ok(Vec::new());
    }
    let mut unknown = Vec::new();
    look(object, "", "", &mut unknown);
    look(&object["metadata"], "metadata", "metadata", &mut unknown);
    let spec = &object["spec"];
    look(spec, "spec", "spec", &mut unknown);
    for list in ["containers", "initContainers"] {
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("spec.{list}[{index}]");
            look(container, "container", &path, &mut unknown);
            look(&container["securityContext"], "containerSecurity", &format!("{path}.securityContext"), &mut unknown);
            for (index, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
                look(mount, "mount", &format!("{path}.volumeMounts[{index}]"), &mut unknown);
            }
        }
    }
    for (index, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        look(&volume["hostPath"], "hostPath", &format!("spec.volumes[{index}].hostPath"), &mut unknown);
    }
    if mode == Some("Strict") && !unknown.is_empty() {
        let kind = res.kind;
        let message = format!(
            "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {}",
            res.version,
            unknown.join(", ")
        );
        return Err(Failure::bad_request(message));
    }
    Ok(unknown)
}

fn look(object: &Value, kind: &str, path: &str, unknown: &mut Vec<String>) {
    let known = KNOWN.iter().find(|(name, _)| *name == kind).map(|(_, fields)| *fields).unwrap_or_default();
    for field in object.as_object().into_iter().flat_map(|map| map.keys()) {
        if !known.split_ascii_whitespace().any(|k| k == field) {
            let dot = if path.is_empty() { "" } else { "." };
            unknown.push(format!("unknown field \"{path}{dot}{field}\""));
        }
    }
}
