//! The sidecar's pod, as a pure function of what it is for: least privilege by operation.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::drill_pod;
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

/// Name of the container to which an exec leads.
pub(crate) const CONTAINER: &str = "sidecar";

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
    /// The same, and give the member orders, which may take a quarter of an hour.
    Order,
    /// Stream a snapshot.
    Backup,
    /// Stream a snapshot, and tell for the record of a store whose the data directory is.
    Store,
    /// Read the files of the node that a new control plane needs.
    NodeFiles,
    /// Read the snapshots that backups have kept on the node.
    List,
    /// Compare the member with a snapshot.
    Verify,
    /// Tell what a restore would change.
    Plan,
    /// Tell everything that can make a restore fail.
    Doctor,
    /// Take part in a restore: change the data directory and the static pods.
    Restore,
    /// Give the member new data from the rest of its cluster.
    Replace,
    /// Let the cluster's own etcd program serve a snapshot, in a volume of so many bytes. The pod sees nothing of its node.
    Drill {
        /// Bytes.
        room: u64,
    },
    /// Read what restores have left on the node.
    Recall,
    /// Follow a restore to its end.
    Follow,
    /// Take away what restores have left on the node.
    Remove,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Status => "status",
            Operation::Order => "order",
            Operation::Backup | Operation::Store => "backup",
            Operation::NodeFiles => "node-files",
            Operation::List => "list",
            Operation::Verify => "verify",
            Operation::Plan => "plan",
            Operation::Doctor => "doctor",
            Operation::Restore => "restore",
            Operation::Replace => "replace",
            Operation::Drill { .. } => "drill",
            Operation::Recall => "recall",
            Operation::Follow => "follow",
            Operation::Remove => "remove",
        }
    }

    /// Seconds after which the kubelet ends the pod, whatever happens.
    fn deadline(self) -> i64 {
        match self {
            Operation::Status
            | Operation::Verify
            | Operation::Plan
            | Operation::Doctor
            | Operation::NodeFiles
            | Operation::Recall
            | Operation::Follow
            | Operation::Remove => 600,
            Operation::Order
            | Operation::Backup
            | Operation::Store
            | Operation::Restore
            | Operation::Replace
            | Operation::Drill { .. }
            | Operation::List => 6 * 3600,
        }
    }

    /// The sidecar's program in the container to which an exec leads.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Operation::Drill { .. } => drill_pod::SIDECAR,
            _ => "/etcd-sidecar",
        }
    }

    /// Whether it changes the node itself.
    fn is_privileged(self) -> bool {
        matches!(self, Operation::Restore | Operation::Replace | Operation::Follow | Operation::Remove)
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
    /// The folder of `--on-node`: a backup writes to it, and nothing else does.
    pub(crate) folder: Option<&'a str>,
    /// Who started it and from where, for whoever finds it.
    pub(crate) started_by: &'a str,
}

impl PodPlan<'_> {
    /// Name of the pod. Node names can be longer than a pod's name may be: a hash stands for them.
    pub(crate) fn name(&self) -> String {
        format!("{POD_NAMES}{:08x}-{}", etcd_wire::crc32c(self.member.node.as_bytes()), self.suffix)
    }

    /// What the pod sees of its node, a folder before what is in it.
    fn mounts(&self) -> Vec<Mount> {
        let member = self.member;
        let mut mounts = match self.operation {
            Operation::Status | Operation::Order | Operation::Backup | Operation::Verify => {
                member.folders().into_iter().map(|folder| Mount::read(folder, "Directory")).collect()
            }
            Operation::Store => {
                let folders = member.folders().into_iter().chain(member.data_dir.clone());
                topmost(folders.map(|folder| Mount::read(folder, "Directory")).collect())
            }
            Operation::NodeFiles => {
                let folder = Mount::read(KUBERNETES.to_owned(), "Directory");
                let files = member.encryption_config.clone().into_iter().map(|file| Mount::read(file, "File"));
                topmost(std::iter::once(folder).chain(files).collect())
            }
            Operation::List | Operation::Drill { .. } => Vec::new(),
            Operation::Plan => {
                let folders = [&member.manifests_dir, &member.data_dir, &member.wal_dir].into_iter().flatten();
                let folders = folders.map(|folder| Mount::read(folder.clone(), "Directory"));
                let files = member.files().into_iter().chain(member.encryption_config.clone());
                topmost(folders.chain(files.map(|file| Mount::read(file, "File"))).collect())
            }
            Operation::Doctor => {
                let folders = [&member.manifests_dir, &member.data_dir, &member.wal_dir].into_iter().flatten().cloned();
                let folders = folders.chain(member.folders()).map(|folder| Mount::read(folder, "Directory"));
                let files = member.encryption_config.clone().into_iter().map(|file| Mount::read(file, "File"));
                let ours = [STATE, KUBEADM].map(|folder| Mount::read(folder.to_owned(), "DirectoryOrCreate"));
                topmost(folders.chain(files).chain(ours).collect())
            }
            Operation::Recall => {
                let folders = [&member.data_dir, &member.wal_dir].into_iter().flatten();
                let folders = folders.map(|folder| Mount::read(folder.clone(), "Directory"));
                topmost(folders.chain([Mount::read(STATE.to_owned(), "DirectoryOrCreate")]).collect())
            }
            Operation::Restore | Operation::Replace | Operation::Follow | Operation::Remove => {
                let certificates = member.folders().into_iter().map(|folder| Mount::read(folder, "Directory"));
                // Whoever replaces a member may have a new disk without the directory. The kubelet makes it, too, when it starts etcd.
                let data = if self.operation == Operation::Replace { "DirectoryOrCreate" } else { "Directory" };
                topmost(certificates.chain(worked_in(member, data)).collect())
            }
        };
        if let Some(folder) = self.folder {
            mounts.retain(|mount| mount.path != folder);
            let folder = folder.to_owned();
            mounts.push(match self.operation {
                Operation::List => Mount::read(folder, "Directory"),
                _ => Mount::work(folder, "Directory"),
            });
        }
        mounts
    }

    /// Whether a folder is written to that may be anybody's.
    fn writes_to_folder(&self) -> bool {
        self.folder.is_some() && self.operation != Operation::List
    }

    /// The pod.
    pub(crate) fn pod(&self) -> Pod {
        // While other nodes' pods may still be waited for, nobody speaks to the one that started first.
        let idle = IDLE + self.args.pod_running_timeout.as_secs();
        let wait = ["wait".to_owned(), format!("--idle-timeout={idle}s")];
        let mut spec = match self.operation {
            Operation::Drill { room } => drill_pod::spec(self.member, room, &wait, self.args),
            _ => self.on_the_node(&wait),
        };
        let secrets = self.args.image_pull_secret.iter().filter(|name| !name.is_empty());
        let secrets: Vec<_> = secrets.map(|name| json!({"name": name})).collect();
        spec["nodeName"] = json!(self.member.node);
        spec["restartPolicy"] = json!("Never");
        spec["automountServiceAccountToken"] = json!(false);
        spec["enableServiceLinks"] = json!(false);
        spec["terminationGracePeriodSeconds"] = json!(2);
        spec["activeDeadlineSeconds"] = json!(self.operation.deadline());
        spec["tolerations"] = json!([{"operator": "Exists"}]);
        spec["imagePullSecrets"] = json!(secrets);
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
            "spec": spec,
        });
        serde_json::from_value(pod).expect("the structure above is a pod")
    }

    /// What a pod is that works with its node.
    fn on_the_node(&self, wait: &[String]) -> Value {
        let mut volumes = Vec::new();
        let mut mounts = Vec::new();
        for (index, Mount { path, kind, read_only }) in self.mounts().into_iter().enumerate() {
            let name = format!("node-{index}");
            volumes.push(json!({"name": name, "hostPath": {"path": path, "type": kind}}));
            mounts.push(json!({"name": name, "mountPath": path, "readOnly": read_only}));
        }
        let privileged = self.operation.is_privileged();
        // Certificates, data and manifests may belong to any user, and be for that user only: root without this may not read them. A
        // folder to write to may be another user's, too; nothing else is mounted writable.
        let added = if self.writes_to_folder() { "DAC_OVERRIDE" } else { "DAC_READ_SEARCH" };
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
        // What etcd's pod may read by its type, or by that of containers, is its own files: not manifests and journals.
        let looks_wider = matches!(
            self.operation,
            Operation::Plan | Operation::Doctor | Operation::NodeFiles | Operation::Recall | Operation::List
        )
        .then_some("spc_t");
        if let Some(kind) = looks_wider.or(self.member.selinux_type.as_deref()) {
            security["seLinuxOptions"] = json!({"type": kind});
        }
        json!({
            // A node short of disk or memory takes and keeps no others, and that is when backups are wanted.
            "priorityClassName": "system-node-critical",
            "hostNetwork": true,
            "containers": [{
                "name": CONTAINER,
                "image": self.args.image,
                "imagePullPolicy": self.args.image_pull_policy,
                "args": wait,
                "securityContext": security,
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        })
    }
}

/// Where kubeadm keeps what makes a node one of the control plane: authorities, keys, manifests, kubeconfigs.
pub(crate) const KUBERNETES: &str = "/etc/kubernetes";

/// Where kubeadm keeps copies of what it replaces.
const KUBEADM: &str = "/etc/kubernetes/tmp";

/// Where a restore keeps its journal and its certificate on a node.
const STATE: &str = "/var/lib/kubectl-etcd";

/// What a pod sees of its node, under the same path.
#[derive(Debug, Clone)]
struct Mount {
    path: String,
    /// What a kubelet looks for, and makes if it may: a type of `hostPath`.
    kind: &'static str,
    read_only: bool,
}

impl Mount {
    fn read(path: String, kind: &'static str) -> Mount {
        Mount { path: path.trim_end_matches('/').to_owned(), kind, read_only: true }
    }

    fn work(path: String, kind: &'static str) -> Mount {
        Mount { read_only: false, ..Mount::read(path, kind) }
    }
}

/// Without what another one shows: a mount shows all that is mounted below it. The root of the node is never mounted.
fn topmost(all: Vec<Mount>) -> Vec<Mount> {
    let shown = |index: usize| {
        let mount = &all[index];
        let shows = |(other, above): (usize, &Mount)| {
            let shows = match (mount.read_only, above.read_only) {
                (false, true) => false,
                (true, false) => true,
                _ => mount.path != above.path || other < index,
            };
            other != index && is_below(&mount.path, &above.path) && shows
        };
        all.iter().enumerate().filter(|(_, mount)| !mount.path.is_empty()).any(shows)
    };
    (0..all.len())
        .filter(|&index| !all[index].path.is_empty() && !shown(index))
        .map(|index| all[index].clone())
        .collect()
}

/// The folders of the node that a restore writes to.
fn worked_in(member: &EtcdPod, data: &'static str) -> Vec<Mount> {
    // Manifests are moved out of their folder, and never into another file system.
    let beside = member.manifests_dir.as_deref().and_then(|folder| folder.trim_end_matches('/').rsplit_once('/'));
    let beside = beside.map(|(above, _)| above.to_owned());
    let data =
        [&member.data_dir, &member.wal_dir].into_iter().flatten().map(|folder| Mount::work(folder.clone(), data));
    data.chain(beside.map(|folder| Mount::work(folder, "Directory")))
        .chain([Mount::work(STATE.to_owned(), "DirectoryOrCreate")])
        .collect()
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

    fn pod(member: &EtcdPod, folder: Option<&str>) -> serde_json::Value {
        pod_for(Operation::Backup, member, folder)
    }

    fn pod_for(operation: Operation, member: &EtcdPod, folder: Option<&str>) -> serde_json::Value {
        let args = SidecarArgs {
            image: "image:1".into(),
            pod_namespace: "kube-system".into(),
            pod_running_timeout: std::time::Duration::from_secs(60),
            ..Default::default()
        };
        let plan = PodPlan { member, operation, args: &args, session: "s", suffix: "abcde", folder, started_by: "x" };
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
    fn a_list_sees_the_folder_of_the_copies_read_only_and_nothing_else() {
        let pod = pod_for(Operation::List, &kubeadm(), Some("/var/backups"));
        assert_eq!((mounts(&pod, true), mounts(&pod, false)), (vec!["/var/backups"], vec![]));
        let security = &pod["spec"]["containers"][0]["securityContext"];
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]}));
        assert_eq!((&security["privileged"], &security["readOnlyRootFilesystem"]), (&false.into(), &true.into()));
        // The copies may have a type that etcd's container may not read.
        assert_eq!(security["seLinuxOptions"]["type"], "spc_t");
    }

    /// A member as kubeadm makes it. The folder of its certificates has the key of etcd's own authority.
    fn kubeadm() -> EtcdPod {
        let pki = |name: &str| format!("/etc/kubernetes/pki/etcd/{name}");
        let pair = |name: &str| KeyPair { cert: pki(&format!("{name}.crt")), key: pki(&format!("{name}.key")) };
        EtcdPod {
            node: "cp1".into(),
            data_dir: Some("/var/lib/etcd".into()),
            manifests_dir: Some("/etc/kubernetes/manifests".into()),
            encryption_config: Some("/etc/kubernetes/enc/enc.yaml".into()),
            access: EtcdAccess {
                endpoints: vec!["https://127.0.0.1:2379".into()],
                ca: Some(pki("ca.crt")),
                credentials: vec![pair("healthcheck-client"), pair("server")],
            },
            ..Default::default()
        }
    }

    /// For every operation: what is mounted read-only and writable, and whether the pod is privileged.
    #[test]
    fn every_operation_sees_what_it_needs() {
        let certificates = ["/etc/kubernetes/pki/etcd"];
        let work = ["/var/lib/etcd", "/etc/kubernetes", "/var/lib/kubectl-etcd"];
        let recall = ["/var/lib/etcd", "/var/lib/kubectl-etcd"];
        let plan = [
            "/etc/kubernetes/manifests",
            "/var/lib/etcd",
            "/etc/kubernetes/pki/etcd/ca.crt",
            "/etc/kubernetes/pki/etcd/server.crt",
            "/etc/kubernetes/pki/etcd/server.key",
            "/etc/kubernetes/enc/enc.yaml",
        ];
        let doctor = [
            "/etc/kubernetes/manifests",
            "/var/lib/etcd",
            "/etc/kubernetes/pki/etcd",
            "/etc/kubernetes/enc/enc.yaml",
            "/var/lib/kubectl-etcd",
            "/etc/kubernetes/tmp",
        ];
        for (operation, read, written, privileged) in [
            (Operation::Status, &certificates[..], &[][..], false),
            (Operation::Order, &certificates, &[], false),
            (Operation::Backup, &certificates, &[], false),
            (Operation::Verify, &certificates, &[], false),
            (Operation::Plan, &plan, &[], false),
            (Operation::Doctor, &doctor, &[], false),
            (Operation::Recall, &recall, &[], false),
            (Operation::Restore, &[], &work, true),
            (Operation::Replace, &[], &work, true),
            (Operation::Follow, &[], &work, true),
            (Operation::Remove, &[], &work, true),
        ] {
            let pod = pod_for(operation, &kubeadm(), None);
            assert_eq!((mounts(&pod, true), mounts(&pod, false)), (read.to_vec(), written.to_vec()), "{operation:?}");
            let volumes = pod["spec"]["volumes"].as_array().unwrap().iter();
            let paths: Vec<_> = volumes.map(|volume| volume["hostPath"]["path"].as_str().unwrap()).collect();
            assert_eq!(paths.len(), read.len() + written.len(), "{operation:?}");
            let security = &pod["spec"]["containers"][0]["securityContext"];
            assert_eq!(security["privileged"], privileged, "{operation:?}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{operation:?}");
            assert_eq!(pod["spec"]["hostPID"], serde_json::Value::Null, "{operation:?}");
            if !privileged {
                assert_eq!(security["allowPrivilegeEscalation"], false, "{operation:?}");
                let capabilities = json!({"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]});
                assert_eq!(security["capabilities"], capabilities, "{operation:?}");
            }
        }
        for operation in [Operation::Plan, Operation::Recall] {
            let pod = pod_for(operation, &kubeadm(), None);
            let sees = |file: &str| mounts(&pod, true).iter().any(|path| is_below(file, path));
            for key in ["/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/etcd/ca.key", "/etc/kubernetes/admin.conf"] {
                assert!(!sees(key), "{operation:?} sees {key}");
            }
        }
    }

    #[test]
    fn a_backup_in_a_store_sees_the_data_and_only_node_files_see_the_keys() {
        let member = EtcdPod { data_dir: Some("/var/lib/etcd".into()), ..kubeadm() };
        let pod = pod_for(Operation::Store, &member, None);
        let sees = mounts(&pod, true);
        assert!(sees.contains(&"/var/lib/etcd") && mounts(&pod, false).is_empty(), "{sees:?}");
        assert!(!sees.iter().any(|path| is_below("/etc/kubernetes/pki/ca.key", path)), "{sees:?}");
        let apart = EtcdPod { encryption_config: Some("/enc/c.yaml".into()), ..member.clone() };
        let pod = pod_for(Operation::NodeFiles, &apart, None);
        assert_eq!((mounts(&pod, true), mounts(&pod, false)), (vec!["/etc/kubernetes", "/enc/c.yaml"], vec![]));
        let security = &pod["spec"]["containers"][0]["securityContext"];
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]}));
        assert_eq!((&security["privileged"], &security["readOnlyRootFilesystem"]), (&false.into(), &true.into()));
        assert_eq!(security["seLinuxOptions"]["type"], "spc_t");
        let within = EtcdPod { encryption_config: Some("/etc/kubernetes/enc.yaml".into()), ..member };
        assert_eq!(mounts(&pod_for(Operation::NodeFiles, &within, None), true), ["/etc/kubernetes"]);
    }

    #[test]
    fn what_looks_beyond_etcds_own_files_is_not_confined_to_them() {
        let kind = |operation, member: &EtcdPod| {
            let pod = pod_for(operation, member, None);
            pod["spec"]["containers"][0]["securityContext"]["seLinuxOptions"]["type"].as_str().map(str::to_owned)
        };
        for operation in [Operation::Plan, Operation::Recall] {
            assert_eq!(kind(operation, &kubeadm()).as_deref(), Some("spc_t"), "{operation:?}");
        }
        assert_eq!(kind(Operation::Backup, &kubeadm()), None);
        let own = EtcdPod { selinux_type: Some("etcd_t".into()), ..kubeadm() };
        assert_eq!(kind(Operation::Recall, &own).as_deref(), Some("spc_t"));
        assert_eq!(kind(Operation::Backup, &own).as_deref(), Some("etcd_t"));
    }

    #[test]
    fn a_plan_mounts_files_that_are_there_and_each_once() {
        let types = |pod: &serde_json::Value| -> Vec<String> {
            let volumes = pod["spec"]["volumes"].as_array().unwrap().iter();
            volumes.map(|volume| volume["hostPath"]["type"].as_str().unwrap().to_owned()).collect()
        };
        let pod = pod_for(Operation::Plan, &kubeadm(), None);
        assert_eq!(types(&pod), ["Directory", "Directory", "File", "File", "File", "File"]);
        // What is in a folder that is mounted, or is named twice, is not mounted again; the root never is.
        let mut within = EtcdPod { wal_dir: Some("/var/lib/etcd/wal/".into()), encryption_config: None, ..kubeadm() };
        within.access.ca = Some("/var/lib/etcd/ca.crt".into());
        within.access.credentials = vec![KeyPair { cert: "/c.pem".into(), key: "/c.pem".into() }];
        let pod = pod_for(Operation::Plan, &within, None);
        assert_eq!(mounts(&pod, true), ["/etc/kubernetes/manifests", "/var/lib/etcd", "/c.pem"]);
        let open = EtcdPod { data_dir: Some("/".into()), access: EtcdAccess::default(), ..within };
        assert_eq!(
            mounts(&pod_for(Operation::Plan, &open, None), true),
            ["/etc/kubernetes/manifests", "/var/lib/etcd/wal"]
        );
    }

    fn mounts(pod: &serde_json::Value, read_only: bool) -> Vec<&str> {
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
        mounts.iter().filter(|m| m["readOnly"] == read_only).map(|m| m["mountPath"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_pod_that_gives_orders_outlives_the_longest_one() {
        let deadline = pod_for(Operation::Order, &member(), None)["spec"]["activeDeadlineSeconds"].as_u64();
        assert!(deadline > Some(2 * etcd_wire::order::Order::Defragment.limit().as_secs()), "{deadline:?}");
    }

    #[test]
    fn a_restore_works_in_the_folders_of_data_and_manifests_and_no_others() {
        let member = EtcdPod {
            data_dir: Some("/var/lib/etcd".into()),
            manifests_dir: Some("/etc/kubernetes/manifests".into()),
            ..member()
        };
        for (operation, deadline) in [(Operation::Restore, 21600), (Operation::Follow, 600), (Operation::Remove, 600)] {
            let pod = pod_for(operation, &member, None);
            let spec = &pod["spec"];
            assert_eq!(mounts(&pod, false), ["/var/lib/etcd", "/etc/kubernetes", "/var/lib/kubectl-etcd"]);
            assert_eq!(mounts(&pod, true), ["/pki/etcd"]);
            let kinds: Vec<_> =
                spec["volumes"].as_array().unwrap().iter().map(|v| v["hostPath"]["type"].as_str().unwrap()).collect();
            assert_eq!(kinds, ["Directory", "Directory", "Directory", "DirectoryOrCreate"]);
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
        assert_eq!(mounts(&pod, false), ["/var/lib/etcd", "/etc/kubernetes", "/var/lib/kubectl-etcd"]);
        assert_eq!(mounts(&pod, true), ["/etc/kubernetesx"]);
        // A folder to write to is not hidden by one above it that is only read.
        let mut above = kubeadm.clone();
        above.access.ca = Some("/var/lib/ca.crt".into());
        let pod = pod_for(Operation::Restore, &above, None);
        assert_eq!(mounts(&pod, true), ["/etc/kubernetesx", "/var/lib"]);
        assert_eq!(mounts(&pod, false)[0], "/var/lib/etcd");
        let disk = EtcdPod { wal_dir: Some("/wal".into()), data_dir: Some("/var/lib".into()), ..kubeadm };
        assert_eq!(mounts(&pod_for(Operation::Restore, &disk, None), false), ["/var/lib", "/wal", "/etc/kubernetes"]);
    }

    #[test]
    fn a_long_node_name_makes_no_long_pod_name() {
        let long = EtcdPod { node: "n".repeat(253), ..member() };
        assert!(pod(&long, None)["metadata"]["name"].as_str().unwrap().len() <= 63);
    }
}
