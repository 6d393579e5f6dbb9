//! The sidecar's pod, as a pure function of what it is for: least privilege by operation.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::discovery::EtcdPod;

/// The image of this release; a release build pins it by digest.
pub(crate) const DEFAULT_IMAGE: &str = match option_env!("KUBECTL_ETCD_IMAGE_REF") {
    Some(reference) => reference,
    None => concat!("ghcr.io/kubectl-etcd/etcd-sidecar:v", env!("CARGO_PKG_VERSION")),
};

/// Label selector that finds every pod of ours.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by=kubectl-etcd";
/// What the names of pods of this program begin with.
pub(crate) const POD_NAMES: &str = "etcd-sidecar-";
/// Label: what a pod was made for.
pub(crate) const OPERATION: &str = "kubectl-etcd/operation";
/// Label: the run of the plugin that made it.
pub(crate) const SESSION: &str = "kubectl-etcd/session";

/// Seconds without a session after which a sidecar ends by itself, on top of the time that pods have to start.
const IDLE: u64 = 60;

/// How the sidecar's pod is made.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Sidecar pod")]
pub(crate) struct SidecarArgs {
    /// Image of the sidecar
    #[arg(long, env = "KUBECTL_ETCD_IMAGE", default_value = DEFAULT_IMAGE, value_name = "REF",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) image: String,
    /// When the node pulls the image
    #[arg(long, env = "KUBECTL_ETCD_IMAGE_PULL_POLICY", default_value = "IfNotPresent", value_name = "POLICY",
          value_parser = ["Always", "IfNotPresent", "Never"])]
    pub(crate) image_pull_policy: String,
    /// Secret in the pod's namespace with which the image is pulled, this flag can be repeated
    #[arg(long, env = "KUBECTL_ETCD_IMAGE_PULL_SECRET", value_name = "NAME", value_delimiter = ',')]
    pub(crate) image_pull_secret: Vec<String>,
    /// Namespace of the sidecar's pod
    #[arg(long, env = "KUBECTL_ETCD_POD_NAMESPACE", default_value = "kube-system", value_name = "NAMESPACE")]
    pub(crate) pod_namespace: String,
    /// How long to wait for the sidecar's pod to run
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = crate::connection::parse_duration)]
    pub(crate) pod_running_timeout: std::time::Duration,
}

/// What a sidecar is for; decides what its pod may see and how long it may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Read the member's state.
    Status,
    /// Stream a snapshot.
    Backup,
    /// Compare the member with a snapshot.
    Verify,
    /// Tell what a restore would change.
    Plan,
    /// Take part in a restore: change the data directory and the static pods.
    Restore,
    /// Read and tidy away what restores have left on the node.
    Recall,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Status => "status",
            Operation::Backup => "backup",
            Operation::Verify => "verify",
            Operation::Plan => "plan",
            Operation::Restore => "restore",
            Operation::Recall => "recall",
        }
    }

    /// Seconds after which the kubelet ends the pod, whatever happens.
    fn deadline(self) -> i64 {
        match self {
            Operation::Status | Operation::Verify | Operation::Plan | Operation::Recall => 600,
            Operation::Backup | Operation::Restore => 6 * 3600,
        }
    }

    /// Whether it changes the node itself.
    fn is_privileged(self) -> bool {
        matches!(self, Operation::Restore | Operation::Recall)
    }
}

/// Everything that the pod depends on.
#[derive(Debug)]
pub(crate) struct PodPlan<'a> {
    pub(crate) member: &'a EtcdPod,
    pub(crate) operation: Operation,
    pub(crate) args: &'a SidecarArgs,
    /// Identifies this run of the plugin.
    pub(crate) session: &'a str,
    /// Five random characters that make the name unique.
    pub(crate) suffix: &'a str,
    /// A folder of the node to write to, for `--on-node`.
    pub(crate) writable: Option<&'a str>,
    /// Who started it and from where, for whoever finds it.
    pub(crate) started_by: &'a str,
}

impl PodPlan<'_> {
    /// Name of the pod. Node names can be longer than a pod's name may be: a hash stands for them.
    pub(crate) fn name(&self) -> String {
        format!("{POD_NAMES}{:08x}-{}", etcd_wire::crc32c(self.member.node.as_bytes()), self.suffix)
    }

    /// The pod.
    pub(crate) fn pod(&self) -> Pod {
        let mut volumes = Vec::new();
        let mut mounts = Vec::new();
        let mut mount = |name: String, path: &str, kind: &str, read_only: bool| {
            volumes.push(json!({"name": name, "hostPath": {"path": path, "type": kind}}));
            mounts.push(json!({"name": name, "mountPath": path, "readOnly": read_only}));
        };
        let privileged = self.operation.is_privileged();
        let worked_in = if privileged { worked_in(self.member) } else { Vec::new() };
        let folders = match self.operation {
            Operation::Plan => self.member.folders_of_a_plan(),
            _ => self.member.folders(),
        };
        for (index, folder) in folders.iter().enumerate() {
            let shown = worked_in.iter().any(|(above, _)| is_below(folder, above))
                || privileged && folders.iter().any(|above| above != folder && is_below(folder, above));
            if Some(folder.as_str()) != self.writable && !shown {
                mount(format!("node-{index}"), folder, "Directory", true);
            }
        }
        for (index, (folder, kind)) in worked_in.iter().enumerate() {
            mount(format!("work-{index}"), folder, kind, false);
        }
        if let Some(folder) = self.writable {
            mount("keep".to_owned(), folder, "Directory", false);
        }
        // Certificates, data and manifests may belong to any user, and be for that user only: root without this may not read them. A
        // folder to write to may be another user's, too; nothing else is mounted writable.
        let added = if self.writable.is_some() { "DAC_OVERRIDE" } else { "DAC_READ_SEARCH" };
        let mut security = if privileged {
            json!({"runAsUser": 0, "runAsGroup": 0, "privileged": true, "readOnlyRootFilesystem": true})
        } else {
            json!({
                "runAsUser": 0,
                "runAsGroup": 0,
                "privileged": false,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"], "add": [added]},
                "seccompProfile": {"type": "RuntimeDefault"},
            })
        };
        if let Some(kind) = &self.member.selinux_type {
            security["seLinuxOptions"] = json!({"type": kind});
        }
        // While other nodes' pods may still be waited for, nobody speaks to the one that started first.
        let idle = IDLE + self.args.pod_running_timeout.as_secs();
        let secrets: Vec<_> = self
            .args
            .image_pull_secret
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| json!({"name": name}))
            .collect();
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name(),
                "namespace": self.args.pod_namespace,
                "labels": {
                    "app.kubernetes.io/name": "etcd-sidecar",
                    "app.kubernetes.io/managed-by": "kubectl-etcd",
                    "app.kubernetes.io/version": env!("CARGO_PKG_VERSION"),
                    SESSION: self.session,
                    OPERATION: self.operation.name(),
                },
                "annotations": {"kubectl-etcd/started-by": self.started_by},
            },
            "spec": {
                "nodeName": self.member.node,
                // A node short of disk or memory takes and keeps no others, and that is when backups are wanted.
                "priorityClassName": "system-node-critical",
                "hostNetwork": true,
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 2,
                "activeDeadlineSeconds": self.operation.deadline(),
                "tolerations": [{"operator": "Exists"}],
                "imagePullSecrets": secrets,
                "containers": [{
                    "name": "sidecar",
                    "image": self.args.image,
                    "imagePullPolicy": self.args.image_pull_policy,
                    "args": ["wait", format!("--idle-timeout={idle}s")],
                    "securityContext": security,
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                    "volumeMounts": mounts,
                }],
                "volumes": volumes,
            },
        });
        serde_json::from_value(pod).expect("the structure above is a pod")
    }
}

/// Where a restore keeps its journals on a node, and its certificates in the node's memory.
const STATE: [&str; 2] = ["/var/lib/kubectl-etcd", "/run/kubectl-etcd"];

/// The folders of the node that a restore writes to, with what a kubelet is told of them. None lies below another: a mount shows all
/// that is mounted below it.
fn worked_in(member: &EtcdPod) -> Vec<(String, &'static str)> {
    // Manifests are moved out of their folder, and never into another file system.
    let beside = member.manifests_dir.as_deref().and_then(|folder| folder.trim_end_matches('/').rsplit_once('/'));
    let beside = beside.map(|(above, _)| above.to_owned()).filter(|above| !above.is_empty());
    let there = [member.data_dir.clone(), member.wal_dir.clone(), beside].into_iter().flatten();
    let all: Vec<(String, &str)> = there
        .map(|folder| (folder, "Directory"))
        .chain(STATE.map(|folder| (folder.to_owned(), "DirectoryOrCreate")))
        .collect();
    let held = |index: usize| {
        let below = |(other, (above, _)): (usize, &(String, &str))| {
            other != index && is_below(&all[index].0, above) && (*above != all[index].0 || other < index)
        };
        all.iter().enumerate().any(below)
    };
    (0..all.len()).filter(|&index| !held(index)).map(|index| all[index].clone()).collect()
}

/// Whether a folder is another, or lies in it.
fn is_below(folder: &str, above: &str) -> bool {
    folder.strip_prefix(above.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_wire::message::{EtcdAccess, KeyPair};

    fn member() -> EtcdPod {
        EtcdPod {
            node: "cp1".into(),
            access: EtcdAccess {
                endpoints: vec!["https://127.0.0.1:2379".into()],
                ca: Some("/pki/etcd/ca.crt".into()),
                credentials: vec![KeyPair { cert: "/pki/etcd/c.crt".into(), key: "/pki/etcd/c.key".into() }],
            },
            ..Default::default()
        }
    }

    fn pod(member: &EtcdPod, writable: Option<&str>) -> serde_json::Value {
        pod_for(Operation::Backup, member, writable)
    }

    fn pod_for(operation: Operation, member: &EtcdPod, writable: Option<&str>) -> serde_json::Value {
        let args = SidecarArgs {
            image: "image:1".into(),
            pod_namespace: "kube-system".into(),
            pod_running_timeout: std::time::Duration::from_secs(60),
            ..Default::default()
        };
        let plan = PodPlan { member, operation, args: &args, session: "s", suffix: "abcde", writable, started_by: "x" };
        serde_json::to_value(plan.pod()).unwrap()
    }

    /// A real kubelet under disk pressure refuses any pod of a lower priority.
    #[test]
    fn a_node_in_trouble_takes_the_pod() {
        let spec = &pod(&member(), None)["spec"];
        assert_eq!(spec["priorityClassName"], "system-node-critical");
        assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]));
    }

    #[test]
    fn a_backup_sees_the_certificates_read_only_and_nothing_else() {
        let pod = pod(&member(), None);
        let spec = &pod["spec"];
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
        assert_eq!(spec["volumes"][0]["hostPath"]["path"], "/pki/etcd");
        let container = &spec["containers"][0];
        assert_eq!(container["volumeMounts"][0]["readOnly"], true);
        let security = &container["securityContext"];
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
        assert_eq!(security["capabilities"]["add"], json!(["DAC_READ_SEARCH"]));
        assert_eq!((&security["privileged"], &security["readOnlyRootFilesystem"]), (&false.into(), &true.into()));
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert!(spec["activeDeadlineSeconds"].as_i64().is_some());
        assert_eq!(spec["hostPID"], serde_json::Value::Null);
        assert_eq!(container["args"], json!(["wait", "--idle-timeout=120s"]));
    }

    #[test]
    fn only_on_node_makes_a_folder_writable() {
        let pod = pod(&member(), Some("/var/backups"));
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap().clone();
        let writable: Vec<_> =
            mounts.iter().filter(|m| m["readOnly"] != true).map(|m| m["mountPath"].clone()).collect();
        assert_eq!(writable, ["/var/backups"]);
        // The folder may be another user's.
        let capabilities = &pod["spec"]["containers"][0]["securityContext"]["capabilities"];
        assert_eq!(*capabilities, json!({"drop": ["ALL"], "add": ["DAC_OVERRIDE"]}));
    }

    #[test]
    fn a_plan_sees_the_data_and_the_manifests_and_changes_neither() {
        let member = EtcdPod {
            data_dir: Some("/var/lib/etcd".into()),
            manifests_dir: Some("/etc/kubernetes/manifests".into()),
            ..member()
        };
        let pod = pod_for(Operation::Plan, &member, None);
        let container = &pod["spec"]["containers"][0];
        let mounts = container["volumeMounts"].as_array().unwrap();
        let paths: Vec<_> = mounts.iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
        assert_eq!(paths, ["/etc/kubernetes", "/pki/etcd", "/var/lib/etcd"]);
        assert!(mounts.iter().all(|mount| mount["readOnly"] == true), "{mounts:?}");
        assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]}));
        let elsewhere = pod_for(Operation::Verify, &member, None);
        assert_eq!(elsewhere["spec"]["volumes"].as_array().unwrap().len(), 1);
    }

    fn mounts(pod: &serde_json::Value, read_only: bool) -> Vec<&str> {
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
        mounts.iter().filter(|m| m["readOnly"] == read_only).map(|m| m["mountPath"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_restore_works_in_the_folders_of_data_and_manifests_and_no_others() {
        let member = EtcdPod {
            data_dir: Some("/var/lib/etcd".into()),
            manifests_dir: Some("/etc/kubernetes/manifests".into()),
            ..member()
        };
        for (operation, deadline) in [(Operation::Restore, 21600), (Operation::Recall, 600)] {
            let pod = pod_for(operation, &member, None);
            let spec = &pod["spec"];
            assert_eq!(
                mounts(&pod, false),
                ["/var/lib/etcd", "/etc/kubernetes", "/var/lib/kubectl-etcd", "/run/kubectl-etcd"]
            );
            assert_eq!(mounts(&pod, true), ["/pki/etcd"]);
            let kinds: Vec<_> =
                spec["volumes"].as_array().unwrap().iter().map(|v| v["hostPath"]["type"].as_str().unwrap()).collect();
            assert_eq!(kinds, ["Directory", "Directory", "Directory", "DirectoryOrCreate", "DirectoryOrCreate"]);
            let security = &spec["containers"][0]["securityContext"];
            assert_eq!((&security["privileged"], &security["runAsUser"]), (&true.into(), &0.into()));
            // The API server refuses a pod that has both.
            assert_eq!(security["allowPrivilegeEscalation"], serde_json::Value::Null);
            assert_eq!((&spec["hostNetwork"], &spec["hostPID"]), (&true.into(), &serde_json::Value::Null));
            assert_eq!(spec["activeDeadlineSeconds"], deadline);
            assert_eq!(pod["metadata"]["labels"][OPERATION], operation.name());
            assert_eq!(spec["containers"][0]["resources"]["limits"]["memory"], "128Mi");
        }
    }

    #[test]
    fn no_folder_is_mounted_twice() {
        let kubeadm = EtcdPod {
            data_dir: Some("/var/lib/etcd".into()),
            wal_dir: Some("/var/lib/etcd/wal".into()),
            manifests_dir: Some("/etc/kubernetes/manifests/".into()),
            access: EtcdAccess {
                ca: Some("/etc/kubernetes/pki/etcd/ca.crt".into()),
                credentials: vec![KeyPair {
                    cert: "/etc/kubernetesx/c.crt".into(),
                    key: "/etc/kubernetesx/c.key".into(),
                }],
                ..Default::default()
            },
            ..member()
        };
        let pod = pod_for(Operation::Restore, &kubeadm, None);
        assert_eq!(
            mounts(&pod, false),
            ["/var/lib/etcd", "/etc/kubernetes", "/var/lib/kubectl-etcd", "/run/kubectl-etcd"]
        );
        assert_eq!(mounts(&pod, true), ["/etc/kubernetesx"]);
        let disk = EtcdPod { wal_dir: Some("/wal".into()), data_dir: Some("/var/lib".into()), ..kubeadm };
        assert_eq!(
            mounts(&pod_for(Operation::Restore, &disk, None), false),
            ["/var/lib", "/wal", "/etc/kubernetes", "/run/kubectl-etcd"]
        );
    }

    #[test]
    fn a_long_node_name_makes_no_long_pod_name() {
        let long = EtcdPod { node: "n".repeat(253), ..member() };
        assert!(pod(&long, None)["metadata"]["name"].as_str().unwrap().len() <= 63);
    }
}
