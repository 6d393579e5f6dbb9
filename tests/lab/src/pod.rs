//! The part of a pod the lab's kubelet acts on, and the refusal of what it cannot do.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spec,
    #[serde(default)]
    pub(crate) status: Status,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) name: String,
    #[serde(default = "default_namespace")]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) uid: String,
    #[serde(default)]
    pub(crate) generation: Option<u64>,
    #[serde(default)]
    pub(crate) deletion_timestamp: Option<String>,
    #[serde(default)]
    pub(crate) deletion_grace_period_seconds: Option<u64>,
}

fn default_namespace() -> String {
    "default".into()
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    pub(crate) phase: String,
    pub(crate) start_time: Option<String>,
    pub(crate) container_statuses: Vec<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) containers: Vec<Container>,
    #[serde(default)]
    pub(crate) init_containers: Vec<Container>,
    #[serde(default)]
    pub(crate) volumes: Vec<Volume>,
    #[serde(default, rename = "hostNetwork")]
    pub(crate) host_network: bool,
    #[serde(default, rename = "hostPID")]
    pub(crate) host_pid: bool,
    #[serde(default, rename = "hostIPC")]
    pub(crate) host_ipc: bool,
    #[serde(default)]
    pub(crate) restart_policy: RestartPolicy,
    #[serde(default = "default_grace")]
    pub(crate) termination_grace_period_seconds: u64,
    #[serde(default)]
    pub(crate) active_deadline_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) security_context: Option<SecurityContext>,
}

fn default_grace() -> u64 {
    30
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    #[serde(default)]
    pub(crate) image_pull_policy: Option<String>,
    #[serde(default)]
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) working_dir: String,
    #[serde(default)]
    pub(crate) env: Vec<Env>,
    #[serde(default)]
    pub(crate) env_from: Vec<EnvFrom>,
    #[serde(default)]
    pub(crate) volume_mounts: Vec<VolumeMount>,
    #[serde(default)]
    pub(crate) security_context: Option<SecurityContext>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Env {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) value: String,
    #[serde(default)]
    pub(crate) value_from: Option<Value>,
}

/// All of a Secret or a ConfigMap as variables.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnvFrom {
    #[serde(default)]
    pub(crate) prefix: String,
    #[serde(default)]
    pub(crate) secret_ref: Option<Source>,
    #[serde(default)]
    pub(crate) config_map_ref: Option<Source>,
}

/// A Secret or a ConfigMap of the pod's namespace, as a volume or as variables.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Source {
    #[serde(alias = "secretName")]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) optional: bool,
    #[serde(default)]
    pub(crate) default_mode: Option<u32>,
    #[serde(default)]
    pub(crate) items: Vec<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VolumeMount {
    pub(crate) name: String,
    pub(crate) mount_path: String,
    #[serde(default)]
    pub(crate) sub_path: String,
    #[serde(default)]
    pub(crate) read_only: bool,
}

/// A container's, or a pod's: the pod's has fewer fields, of the same meaning.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SecurityContext {
    pub(crate) run_as_user: Option<u32>,
    pub(crate) run_as_group: Option<u32>,
    pub(crate) run_as_non_root: Option<bool>,
    pub(crate) privileged: Option<bool>,
    pub(crate) read_only_root_filesystem: Option<bool>,
    pub(crate) allow_privilege_escalation: Option<bool>,
    pub(crate) capabilities: Option<Capabilities>,
    pub(crate) supplemental_groups: Vec<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    pub(crate) add: Vec<String>,
    pub(crate) drop: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Volume {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) host_path: Option<HostPath>,
    #[serde(default)]
    pub(crate) empty_dir: Option<EmptyDir>,
    #[serde(default)]
    pub(crate) secret: Option<Source>,
    #[serde(default)]
    pub(crate) config_map: Option<Source>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct HostPath {
    pub(crate) path: String,
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct EmptyDir {
    #[serde(default)]
    pub(crate) medium: String,
}

impl Pod {
    /// Reads a pod. As in Kubernetes a field that is null is one that is not there.
    pub(crate) fn parse(mut object: Value) -> serde_json::Result<Self> {
        drop_nulls(&mut object);
        serde_json::from_value(object)
    }

    /// Why the lab cannot run this pod, if it cannot.
    pub(crate) fn unsupported(&self) -> Option<String> {
        let spec = &self.spec;
        if !spec.host_network && spec.containers.len() > 1 {
            return Some(
                "the lab has no pod network: a container has a loopback of its own, so set hostNetwork".into(),
            );
        }
        if !spec.init_containers.is_empty() && spec.restart_policy != RestartPolicy::Never {
            return Some("the lab runs init containers only of pods that are never restarted".into());
        }
        for volume in &spec.volumes {
            let object = volume.secret.as_ref().or(volume.config_map.as_ref());
            if volume.host_path.is_none() && volume.empty_dir.is_none() && object.is_none() {
                return Some(format!(
                    "the lab has hostPath, emptyDir, secret and configMap volumes only, and {} is none of them",
                    volume.name
                ));
            }
            if object.is_some_and(|object| !object.items.is_empty()) {
                return Some(format!("the lab has no items of volumes, for {}", volume.name));
            }
        }
        for container in spec.init_containers.iter().chain(&spec.containers) {
            if container.volume_mounts.iter().any(|mount| !mount.sub_path.is_empty()) {
                return Some("the lab has no subPath".into());
            }
            for env in &container.env {
                if env.value_from.is_some() && field_ref(env).is_none() {
                    return Some(format!("the lab has no valueFrom but fieldRef, for {}", env.name));
                }
            }
        }
        None
    }

    /// A pod that will never run again.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// The field path of a downward API variable.
pub(crate) fn field_ref(env: &Env) -> Option<&str> {
    env.value_from.as_ref()?.pointer("/fieldRef/fieldPath")?.as_str()
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
