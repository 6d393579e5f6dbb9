//! The objects, each from a plan: a pure function. Those with a type go through it, so that no field is misspelled.

use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cadence::short;
use super::plan::Plan;
use super::{drill, rules, watch};

/// Name of the backup's objects, and of those that both pods share.
pub(super) const BACKUP: &str = "etcd-backup";
/// Name of the objects of the metrics.
pub(super) const WATCH: &str = "etcd-backup-watch";
/// Name of the objects that delete old backups.
pub(super) const PRUNE: &str = "etcd-backup-prune";
/// Name of the objects of the restore drill.
pub(super) const DRILL: &str = "etcd-backup-drill";
/// Port of the metrics.
pub(super) const PORT: u16 = 8080;
/// A user that owns nothing.
const NOBODY: u32 = 65532;
/// Where public keys are, in the pods.
const TRUST: &str = "/etc/kubectl-etcd/trust";

/// An object, and the name of its file for kustomize.
pub(super) type Named = (&'static str, Value);

/// All of them, in the order in which they can be applied.
pub(super) fn all(plan: &Plan) -> Vec<Named> {
    let mut all = vec![("namespace", namespace(plan)), ("service-account", service_account(plan))];
    if !plan.trust.is_empty() {
        all.push(("trusted-keys", trusted_keys(plan)));
    }
    all.push(("network-policy", network_policy(plan)));
    all.push(("backup", backup(plan)));
    if !plan.keep.is_empty() {
        all.push(("prune", prune(plan)));
    }
    if let Some(drill) = &plan.drill {
        all.push(("drill", drill::cron(plan, drill)));
    }
    all.extend([("watch", watch::deployment(plan)), ("watch-service", watch::service(plan))]);
    if plan.prometheus {
        all.extend([("service-monitor", watch::monitor(plan)), ("prometheus-rule", rules::rule(plan))]);
    }
    all
}

/// The same object, as its type writes it.
pub(super) fn typed<T: Serialize + DeserializeOwned>(object: Value) -> Value {
    let typed: T = serde_json::from_value(object.clone()).expect("the structure is one of its type");
    let written = serde_json::to_value(typed).expect("a type of Kubernetes is JSON");
    debug_assert_eq!(written, object, "a field is not of this type");
    written
}

pub(super) fn metadata(plan: &Plan, name: &str) -> Value {
    json!({"name": name, "namespace": plan.namespace, "labels": labels(name)})
}

pub(super) fn labels(name: &str) -> Value {
    json!({
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": BACKUP,
        "app.kubernetes.io/version": env!("CARGO_PKG_VERSION"),
    })
}

fn namespace(plan: &Plan) -> Value {
    let mut labels = labels(BACKUP);
    // The network and folders of the node take this; audit and warn would only repeat it.
    labels["pod-security.kubernetes.io/enforce"] = json!("privileged");
    typed::<Namespace>(json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": plan.namespace, "labels": labels},
    }))
}

fn service_account(plan: &Plan) -> Value {
    typed::<ServiceAccount>(json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(plan, BACKUP),
        "automountServiceAccountToken": false,
    }))
}

fn trusted_keys(plan: &Plan) -> Value {
    let data: serde_json::Map<String, Value> =
        plan.trust.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    typed::<ConfigMap>(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(plan, "etcd-backup-trusted-keys"),
        "data": data,
    }))
}

/// Nobody reaches the pods but for the metrics, and they reach names and the store. Pods with the network of the node are not covered: that of
/// a backup is one.
fn network_policy(plan: &Plan) -> Value {
    let tcp = |port: u16| json!({"protocol": "TCP", "port": port});
    let mut out = vec![json!({"protocol": "UDP", "port": 53}), tcp(53), tcp(store_port(plan))];
    if plan.credential.is_none() {
        // The server of metadata, which gives a credential; and those that exchange one token for another.
        out.extend([80, 443].into_iter().filter(|port| *port != store_port(plan)).map(tcp));
    }
    typed::<NetworkPolicy>(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(plan, BACKUP),
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [tcp(PORT)]}],
            "egress": [{"ports": out}],
        },
    }))
}

/// The port of the store's server.
fn store_port(plan: &Plan) -> u16 {
    let Some(endpoint) = plan.store.endpoint() else { return 443 };
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let authority = rest.split('/').next().unwrap_or_default();
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.unwrap_or(if scheme == "http" { 80 } else { 443 })
}

/// A pod's container and what it mounts, with what all of them have in common.
#[derive(Default)]
pub(super) struct Pod {
    args: Vec<String>,
    volumes: Vec<Value>,
    mounts: Vec<Value>,
}

impl Pod {
    pub(super) fn new(plan: &Plan, command: &str) -> Pod {
        let mut pod = Pod { args: vec![command.to_owned()], ..Pod::default() };
        pod.arg("store", &plan.store);
        if let Some((path, config_map)) = &plan.ca {
            pod.volumes.push(json!({"name": "ca", "configMap": {"name": config_map}}));
            pod.mounts.push(json!({"name": "ca", "mountPath": path, "subPath": "ca.crt", "readOnly": true}));
        }
        pod
    }

    pub(super) fn arg(&mut self, flag: &str, value: impl std::fmt::Display) {
        self.args.push(format!("--{flag}={value}"));
    }

    pub(super) fn trust(&mut self, plan: &Plan) {
        if !plan.trust.is_empty() {
            self.volumes.push(json!({"name": "trust", "configMap": {"name": "etcd-backup-trusted-keys"}}));
            self.mounts.push(json!({"name": "trust", "mountPath": TRUST, "readOnly": true}));
        }
        plan.trust.iter().for_each(|(name, _)| self.arg("trust-key", format!("{TRUST}/{name}")));
    }

    /// A flag without a value.
    pub(super) fn flag(&mut self, flag: &str) {
        self.args.push(format!("--{flag}"));
    }

    /// A Secret as files of this mode.
    pub(super) fn secret(&mut self, name: &str, secret: &str, path: &str, mode: u32) {
        self.read_only(name, path, json!({"secret": {"secretName": secret, "defaultMode": mode}}));
    }

    /// A volume that is not written to.
    pub(super) fn read_only(&mut self, name: &str, path: &str, mut volume: Value) {
        volume["name"] = json!(name);
        self.volumes.push(volume);
        self.mounts.push(json!({"name": name, "mountPath": path, "readOnly": true}));
    }

    /// A folder of the pod, for as many bytes.
    pub(super) fn empty(&mut self, name: &str, path: &str, size: &str) {
        self.volumes.push(json!({"name": name, "emptyDir": {"sizeLimit": size}}));
        self.mounts.push(json!({"name": name, "mountPath": path}));
    }

    fn host(&mut self, name: String, path: &str) {
        self.volumes.push(json!({"name": name, "hostPath": {"path": path, "type": "Directory"}}));
        self.mounts.push(json!({"name": name, "mountPath": path, "readOnly": true}));
    }

    /// The spec of the pod, and its only container in it.
    pub(super) fn spec(self, plan: &Plan, credential: Option<&str>, security: Value, resources: Value) -> Value {
        let mut container = json!({
            "name": "etcd-sidecar",
            "image": plan.image,
            "imagePullPolicy": plan.pull_policy,
            "args": self.args,
            "securityContext": security,
            "resources": resources,
        });
        if let Some(name) = credential {
            container["envFrom"] = json!([{"secretRef": {"name": name}}]);
        }
        let mut spec = json!({
            "serviceAccountName": BACKUP,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
        });
        if !self.mounts.is_empty() {
            container["volumeMounts"] = json!(self.mounts);
            spec["volumes"] = json!(self.volumes);
        }
        if !plan.pull_secrets.is_empty() {
            let secrets: Vec<Value> = plan.pull_secrets.iter().map(|name| json!({"name": name})).collect();
            spec["imagePullSecrets"] = json!(secrets);
        }
        spec["containers"] = json!([container]);
        spec
    }
}

/// What a container may that needs nothing of its node.
pub(super) fn confined() -> Value {
    json!({
        "runAsUser": NOBODY,
        "runAsGroup": NOBODY,
        "runAsNonRoot": true,
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// When a Job is made.
pub(super) struct Tick<'a> {
    pub(super) name: &'a str,
    pub(super) schedule: String,
    pub(super) late: u64,
    pub(super) longest: u64,
}

/// One Job of a schedule at a time. What overlaps all the same, as a pod on a node that comes back, does no harm: a backup finds that of the other or is a
/// whole one beside it, and deletes nothing; a deletion goes by its own plan, and finds some of it done.
pub(super) fn cron_job(plan: &Plan, tick: &Tick<'_>, mut spec: Value) -> Value {
    spec["restartPolicy"] = json!("Never");
    spec["terminationGracePeriodSeconds"] = json!(30);
    typed::<CronJob>(json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(plan, tick.name),
        "spec": {
            "schedule": tick.schedule,
            "timeZone": plan.time_zone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": tick.late,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "metadata": {"labels": labels(tick.name)},
                "spec": {
                    "activeDeadlineSeconds": tick.longest,
                    "backoffLimit": 2,
                    "template": {"metadata": {"labels": labels(tick.name)}, "spec": spec},
                },
            },
        },
    }))
}

/// The backup: on any control-plane node that lives, with the network of the node, because etcd may listen there only.
fn backup(plan: &Plan) -> Value {
    let mut pod = Pod::new(plan, "backup");
    pod.arg("every", short(plan.cadence.every()));
    match plan.encryption.is_on() {
        true => plan.encryption.names().iter().for_each(|name| pod.arg("recipient", name)),
        false => pod.flag("no-encryption"),
    }
    if let Some(secret) = &plan.sign_key {
        pod.arg("sign-key", "/etc/kubectl-etcd/sign/key");
        pod.secret("sign", secret, "/etc/kubectl-etcd/sign", 0o400);
    }
    if plan.node_files {
        pod.flag("node-files");
        pod.host("kubernetes".to_owned(), "/etc/kubernetes");
    } else {
        pod.host("pki".to_owned(), "/etc/kubernetes/pki");
        pod.host("manifests".to_owned(), "/etc/kubernetes/manifests");
    }
    for (index, path) in plan.node_dirs.iter().enumerate() {
        pod.host(format!("node-{index}"), path);
    }
    pod.arg("spool", "/spool");
    pod.empty("spool", "/spool", &plan.spool);
    // Certificates and manifests may be for their owner only: root without this capability may not read them. And a container's usual type of
    // SELinux may not read the folders of the node.
    let security = json!({
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]},
        "seccompProfile": {"type": "RuntimeDefault"},
        "seLinuxOptions": {"type": "spc_t"},
    });
    let resources = json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}});
    let mut spec = pod.spec(plan, plan.credential.as_deref(), security, resources);
    spec["hostNetwork"] = json!(true);
    // The names of the node: backups are wanted most while those of the cluster do not work.
    spec["dnsPolicy"] = json!("Default");
    spec["priorityClassName"] = json!("system-node-critical");
    let selector: serde_json::Map<String, Value> =
        plan.node_selector.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    spec["nodeSelector"] = json!(selector);
    let tolerated =
        ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master", "node.kubernetes.io/unschedulable"];
    let tolerations = tolerated.map(|key| json!({"key": key, "operator": "Exists", "effect": "NoSchedule"}));
    spec["tolerations"] = json!(tolerations);
    let tick = Tick {
        name: BACKUP,
        schedule: plan.cadence.cron(plan.number()),
        late: plan.cadence.starting_deadline(),
        longest: plan.cadence.active_deadline(),
    };
    cron_job(plan, &tick, spec)
}

/// What deletes old backups, once a day, with a credential of its own: that of the backups needs no right to delete.
fn prune(plan: &Plan) -> Value {
    let mut pod = Pod::new(plan, "prune");
    if let Some(cluster) = &plan.cluster {
        pod.arg("cluster-uid", cluster);
    }
    pod.args.extend(plan.keep.iter().cloned());
    pod.arg("max-age", short(plan.max_age));
    pod.trust(plan);
    let resources = json!({"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}});
    let spec = pod.spec(plan, plan.prune_credential.as_deref(), confined(), resources);
    // Not at the time of a backup, where that is once a day.
    let number = plan.number().rotate_left(16);
    let schedule = format!("{} {} * * *", number % 60, number / 60 % 24);
    cron_job(plan, &Tick { name: PRUNE, schedule, late: 6 * 3600, longest: 3600 }, spec)
}
